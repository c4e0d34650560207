"""L-BFGS for the logistic probes: many label sets on one matrix of features."""
