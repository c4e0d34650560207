"""The solver of the logistic probes: L-BFGS for many label sets and penalties on one matrix of features."""
