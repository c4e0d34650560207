"""ELMo, ELMo-style networks and textgenrnn: their files (HDF5), networks and encoders."""
