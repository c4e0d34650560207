"""Networks that `probing train` trains: recurrent, convolutional, transformer; vocabularies and checkpoints."""
