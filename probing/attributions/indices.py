"""Scores of players from a full table of a game, (2^n,) or (2^n, k), bit i of the index = player i; each gives (n,) or (n, k).

    shapley (`probing.interactions.game`)   sum over S of |S|! (n-|S|-1)! / n! [v(S+i) - v(S)]
    banzhaf                                 mean over S of v(S+i) - v(S)
    leave_one_out, add_one_in               v(N) - v(N-i);  v({i}) - v(empty)
    lime                                    coefficients of weighted least squares of v on presence, with intercept

LIME is that of Ribeiro et al. (2016) for texts with infinitely many samples and without its ridge: the number of absent words is
uniform from 1 to n, a sample weighs sqrt(exp(-D^2 / 25^2)), D = 100 (1 - cos(presence, all ones)). Least squares over all sets
with equal weights gives Banzhaf values (Hammer and Holzman 1992), with Shapley's kernel and both ends exact Shapley values
(Charnes et al. 1988).
"""

from __future__ import annotations

from math import comb

import numpy as np

from probing.interactions.game import all_coalitions, players_of, shapley
from probing.types import Values


def sizes_of(n: int) -> np.ndarray:
    """|S| of all sets of n players, (2^n,), in the order of their bit masks."""
    return all_coalitions(n).sum(1)


def banzhaf(v: Values) -> Values:
    n, v = players_of(v), np.asarray(v, float)
    split = (v.reshape(2 ** (n - 1 - i), 2, 2**i, *v.shape[1:]) for i in range(n))
    return np.stack([(s[:, 1] - s[:, 0]).mean((0, 1)) for s in split])


def leave_one_out(v: Values) -> Values:
    full = len(v) - 1
    return np.stack([v[full] - v[full - 2**i] for i in range(players_of(v))])


def add_one_in(v: Values) -> Values:
    return np.stack([v[2**i] - v[0] for i in range(players_of(v))])


def lime(v: Values) -> Values:
    n = players_of(v)
    if n == 1:  # no sample but the empty text: the sentence itself is the other point
        return leave_one_out(v)
    return least_squares(v, lime_weights(n) * lime_sampling(n))


def lime_weights(n: int) -> Values:
    """LIME's weight of a sample with 0, 1, … n words present, (n + 1,)."""
    distance = 100 * (1 - np.sqrt(np.arange(n + 1) / n))
    return np.sqrt(np.exp(-((distance / 25) ** 2)))


def lime_sampling(n: int) -> Values:
    """The chance that LIME draws a given set of 0, 1, … n words, (n + 1,): the whole sentence is never drawn."""
    return np.array([1 / (n * comb(n, s)) for s in range(n)] + [0.0])


def least_squares(v: Values, weights: Values, ridge: float = 0.0) -> Values:
    """Coefficients of v on the presence of players, with an intercept; `weights`: of a set by its size, (n + 1,); `ridge`: the
    penalty on the sum of squared coefficients."""
    present = all_coalitions(players_of(v)).astype(float)
    weight = np.asarray(weights, float)[sizes_of(present.shape[1])]
    return weighted_fit(present, np.asarray(v, float), weight, ridge)[1:]


def weighted_fit(x: Values, y: Values, weight: Values, ridge: float = 0.0) -> Values:
    """Intercept and coefficients (1 + n,) or (1 + n, k) of weighted least squares of y (m,) or (m, k) on x (m, n); those of least
    norm where the samples do not determine them."""
    design = np.column_stack([np.ones(len(x)), x])
    gram = design.T @ (weight[:, None] * design)
    gram[np.arange(1, len(gram)), np.arange(1, len(gram))] += ridge
    fitted = np.linalg.lstsq(gram, design.T @ (y * weight.reshape(-1, *[1] * (y.ndim - 1))), rcond=None)[0]
    return np.asarray(fitted, np.float64)


GAMES = {"shapley": shapley, "banzhaf": banzhaf, "loo": leave_one_out, "add-one": add_one_in, "lime": lime}
"""Name of a method -> its function of a table."""
