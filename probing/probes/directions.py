"""Directions of linear probes: the cosine of their weights, the correlation of their scores, and what chance gives.

Weights are those of raw features: the cosine of weights of standardised features is another number. Two classes are one direction,
so that the cosine has a sign: above 0 where the second classes lie on the same side. A softmax over K > 2 classes does not change
if a vector is added to all its rows, so the mean row is subtracted; what is left spans a subspace, and two subspaces have principal
angles (Björck & Golub 1973), of which the cosines are averaged. That mean has no sign, and is above 0 by chance.

    cosine              w1'w2 / |w1| |w2|                             of raw weights
    score correlation   w1'S w2 / sqrt(w1'S w1 · w2'S w2)             S: covariance of the features
    random directions   sd 1 / sqrt(d), p = I_{1 - cos²}((d - 1)/2, 1/2): too narrow where features are not isotropic
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc, gammaln

from probing.types import Values


def centred(weights: ArrayLike) -> Values:
    """Return weights (rows, d) without what a softmax ignores: one row stays as it is, of several the mean row is subtracted."""
    w = np.atleast_2d(np.asarray(weights, np.float64))
    return w if len(w) == 1 else w - w.mean(0)


def principal_cosines(weights: ArrayLike, others: ArrayLike) -> Values:
    """Return the cosines of the principal angles between the row spaces of two sets of weights, (rows, d) each, without their mean
    rows: largest first, as many as the smaller space has dimensions; NaN for a space of none.

    >>> principal_cosines([[1.0, 0.0], [-1.0, 0.0]], [[3.0, 4.0]]).round(12).tolist()
    [0.6]
    """
    return _principal(*(_basis(centred(w)) for w in (weights, others)))


def _principal(basis: Values, other: Values) -> Values:
    if not len(basis) or not len(other):
        return np.array([np.nan])
    return np.clip(np.linalg.svd(basis @ other.T, compute_uv=False), 0.0, 1.0)


def _mean_cosine(basis: Values, other: Values) -> float:
    return float(_principal(basis, other).mean())


def _basis(w: Values) -> Values:
    """An orthonormal basis of the row space, (rank, d)."""
    _, size, rows = np.linalg.svd(w, full_matrices=False)
    return rows[size > 1e-9 * max(size.max(initial=0.0), 1e-300)]


def cosine(weights: ArrayLike, others: ArrayLike) -> float:
    """Return the cosine of two directions, with its sign, or the mean cosine of the principal angles between two subspaces; NaN for
    weights that are all 0.

    >>> cosine([[1.0, 0.0]], [[-3.0, 4.0]])
    -0.6
    """
    return float(cosines([np.asarray(weights, np.float64)], [np.asarray(others, np.float64)]).item())


def cosines(many: Sequence[Values], others: Sequence[Values]) -> Values:
    """Return `cosine` of each of n weights with each of m others, (n, m)."""
    a, b = ([centred(w) for w in these] for these in (many, others))
    if all(len(w) == 1 for w in (*a, *b)):
        x, y = (np.concatenate(these) for these in (a, b))
        with np.errstate(invalid="ignore"):
            return x @ y.T / np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1))
    bases, other_bases = ([_basis(w) for w in these] for these in (a, b))
    return np.array([[_mean_cosine(basis, other) for other in other_bases] for basis in bases])


def score_correlation(weights: ArrayLike, others: ArrayLike, root: Values) -> float:
    """Return the correlation of the scores of two probes, or the mean canonical correlation of several scores; `root`, (d, r): S =
    root root' is the covariance of the features (`root_of`)."""
    return cosine(centred(weights) @ root, centred(others) @ root)


def root_of(*covariances: ArrayLike) -> Values:
    """Return a root, (d, r), of the mean of covariances (divisor n), (d, d) each."""
    values, vectors = np.linalg.eigh(np.mean([np.asarray(one, np.float64) for one in covariances], axis=0))
    kept = values > 1e-12 * values.max(initial=0.0)
    return vectors[:, kept] * np.sqrt(values[kept])


class OfChance(NamedTuple):
    """Two random directions of d dimensions: standard deviation of their cosine, mean of its size, and for a cosine p-value."""

    sd: float
    mean_abs: float
    p: float


def random_directions(d: int, observed: float = np.nan) -> OfChance:
    """Return what the cosine of two random directions is, and the two-sided p-value of an observed one.

    >>> random_directions(3, 0.5).p
    0.5
    """
    mean = float(np.exp(gammaln(d / 2) - gammaln((d + 1) / 2)) / np.sqrt(np.pi))
    return OfChance(float(1 / np.sqrt(d)), mean, float(betainc((d - 1) / 2, 0.5, 1 - observed**2)))


def permutation_p(observed: float, null: ArrayLike) -> float:
    """Return the two-sided p-value (1 + null values at least as far from 0) / (1 + null values).

    >>> permutation_p(0.5, [0.1, -0.6, 0.2])
    0.5
    """
    drawn = np.abs(np.asarray(null, float))
    return float((1 + (drawn >= abs(observed)).sum()) / (1 + len(drawn)))
