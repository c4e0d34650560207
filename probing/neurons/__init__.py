"""Single units: rankings of neurons, accuracy of the best ones beside a rotated basis, words that excite a unit, cells and
gates."""
