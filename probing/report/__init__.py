"""Tables, figures and comparisons with published numbers, made of the rows of runs."""
