"""Probes whose result is a number of bits: online and variational codes of labels, and V-information.

`bits` has the arithmetic of codes, `solver` logistic regression that is chosen by dev cross-entropy, `online` and `variational`
the codes of Voita & Titov (2020), `information` V-information (Xu et al. 2020) and the gain over a control (Pimentel et al. 2020).
"""
