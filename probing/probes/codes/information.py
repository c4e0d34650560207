"""V-information (Xu et al. 2020): the bits about the labels that a family of probes can use.

    I_V(X -> Y) = H_V(Y) - H_V(Y | X),  H_V = mean over test of -log2 p(right label)

with both probes fitted on train. The null is a probe fitted on empty input: for a logistic probe the label shares of train, here
with add-one smoothing. The value may be negative. By item it is pointwise V-information (Ethayarajh et al. 2022). Between two
representations the difference H(T | c) - H(T | R) is the information gain of R over a control c (Pimentel et al. 2020).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from probing.types import Labels, Values


def null_probabilities(train_counts: ArrayLike) -> Values:
    """Probabilities of the classes, (K,), under the probe of empty input: (count + 1) / (n + K), over train labels."""
    counts = np.asarray(train_counts, float)
    return (counts + 1) / (counts.sum() + len(counts))


def surprisal(probabilities: ArrayLike, labels: Labels) -> Values:
    """Bits of each label, (n,): -log2 of its probability, from (K,) for all items or (n, K); infinite for 0."""
    p = np.asarray(probabilities, float)
    own = p[labels] if p.ndim == 1 else p[np.arange(len(labels)), labels]
    with np.errstate(divide="ignore"):
        return -np.log2(own)


def entropy(labels: Labels, n_classes: int) -> float:
    """Plug-in entropy of labels, in bits."""
    shares = np.bincount(labels, minlength=n_classes) / max(1, len(labels))
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())
