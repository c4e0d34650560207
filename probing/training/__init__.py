"""Training of our own networks: objectives and the loop."""
