"""Many paired sign-flip tests from the same signs: exact up to `EXACT` units, else from drawn signs.

A unit is a sentence, or a cluster of sentences of one source. The null: each unit's difference is as likely with the other sign.
p is two-sided, the share of sign patterns whose sum is at least as far from 0 as the observed one, which is one of them.
"""

from __future__ import annotations

import numpy as np

from probing.interactions.game import all_coalitions
from probing.types import Values

EXACT = 13
"""Units of which all sign patterns are taken."""


def sign_flips(differences: Values, draws: int = 9999, seed: int = 0) -> Values:
    """The p-value of each column of paired differences (units, tests): (tests,). A difference that is NaN counts in no sum; NaN for
    a column without a number.

    >>> sign_flips(np.array([[1.0], [1.0], [1.0]])).tolist()
    [0.25]
    """
    d = np.nan_to_num(differences)
    if len(d) <= EXACT:
        signs = 1 - 2 * all_coalitions(len(d)).astype(float)  # the first pattern is the observed one
    else:
        signs = np.where(np.random.default_rng(seed).random((draws + 1, len(d))) < 0.5, -1.0, 1.0)
        signs[0] = 1
    sums = np.abs(signs @ d)  # (patterns, tests)
    far = sums >= sums[0] - 1e-12 * np.abs(d).sum(0)
    return np.where(np.isnan(differences).all(0), np.nan, far.mean(0))


def by_cluster(values: Values, clusters: np.ndarray) -> Values:
    """Means of the values (n, columns) over clusters (n,), (clusters, columns), of those that are not NaN; NaN without one."""
    numbers = np.unique(clusters, return_inverse=True)[1]
    known = ~np.isnan(values)
    sums, counts = np.zeros((2, numbers.max() + 1, values.shape[1]))
    np.add.at(sums, numbers, np.nan_to_num(values))
    np.add.at(counts, numbers, known)
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
