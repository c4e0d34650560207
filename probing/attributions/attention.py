"""Attention as an explanation: is it what decides, or could other weights say the same?

A classifier with attention reads sum_t alpha_t h_t, so each token has a score s_t = w . h_t and the log-odds of two classes are
sum_t alpha_t s_t + b. With h fixed (Jain and Wallace 2019, NAACL):

    permuted      median over shuffles of alpha of the change of the output
    adversarial   the weights furthest from alpha, by Jensen-Shannon divergence, whose output is within `within` of the given one

Divergence from alpha is convex and the allowed weights are a polytope (a simplex between two planes), so its largest value is at
a corner: a single token, or two. All corners are tried, so the adversary is exact for two classes; the paper's is looked for by
gradient descent, which can fall short. Changes are total variation distances, (|dp_0| + |dp_1|) / 2 (0-1); divergences in nats, at
most log 2.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, xlogy

from probing.types import Values

WITHIN = 0.05
"""How far the output of an adversary may be from the given one, as in the paper."""


def jsd(p: Values, q: Values) -> Values:
    """Jensen-Shannon divergence of weights p (n,) and each row of q (m, n), in nats: (m,)."""
    middle = (p + q) / 2
    return ((xlogy(p, p) + xlogy(q, q)) / 2 - xlogy(middle, middle)).sum(-1)


def permuted(weights: Values, scores: Values, intercept: float, shuffles: int, rng: np.random.Generator) -> float:
    """The median change of the probability (0-1) over shuffles of the weights (n,) of token scores (n,)."""
    shuffled = np.stack([rng.permutation(weights) for _ in range(shuffles)])
    return float(np.median(np.abs(expit(shuffled @ scores + intercept) - expit(weights @ scores + intercept))))


def adversarial(weights: Values, scores: Values, intercept: float, within: float = WITHIN) -> tuple[float, Values]:
    """The largest divergence from the weights (n,) of any weights whose probability is within `within` of theirs; and these."""
    n, p = len(weights), float(expit(weights @ scores + intercept))
    low, high = (_log_odds(p + sign * within) - intercept for sign in (-1, 1))  # what sum_t alpha_t s_t may be
    corners = [np.eye(n)[(scores >= low) & (scores <= high)], weights[None]]
    for bound in (low, high):
        if np.isfinite(bound):
            below, above = np.flatnonzero(scores < bound), np.flatnonzero(scores > bound)
            i, j = (part.ravel() for part in np.meshgrid(below, above, indexing="ij"))
            share = (scores[j] - bound) / (scores[j] - scores[i])  # of token i, so that the sum is the bound
            both = np.zeros((len(i), n))
            both[np.arange(len(i)), i], both[np.arange(len(i)), j] = share, 1 - share
            corners.append(both)
    tried = np.concatenate(corners)
    far = jsd(weights, tried)
    return max(0.0, float(far.max())), tried[far.argmax()]


def _log_odds(p: float) -> float:
    return -np.inf if p <= 0 else np.inf if p >= 1 else float(np.log(p / (1 - p)))
