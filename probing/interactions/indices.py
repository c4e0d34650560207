"""Interaction indices of a full table of values (2^n,) or (2^n, k), bit i of the index = player i: of all coalitions at once, by
butterflies over the 2^n coalitions; Shapley values.

    harsanyi              dividends h(S) = sum_{L<=S} (-1)^(|S|-|L|) v(L),  so that v(S) = sum_{L<=S} h(L)
    shapley               mean over sizes of the mean difference a player makes
    shapley_interactions  Grabisch-Roubens: SII(A) = sum_{L>=A} h(L) / (|L|-|A|+1), all orders

The last is an integral along the diagonal of the multilinear extension (Owen 1972), exact by floor(n / 2) + 1 Gauss-Legendre
nodes.

References: Harsanyi 1963; Owen 1972; Grabisch and Roubens 1999.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb

import numpy as np

from probing.interactions.game import CachedGame, Game, players_of, table
from probing.types import Values


def harsanyi(v: Values) -> Values:
    """Harsanyi dividends (Moebius transform, AND interactions) of all coalitions, in the shape of v.

    >>> harsanyi(np.array([0, 0, 0, 1.0])).tolist()
    [0.0, 0.0, 0.0, 1.0]
    """
    return _butterfly(v, lambda absent, present: (absent, present - absent))


def shapley(v: Values) -> Values:
    """Shapley values of all players, (n,) or (n, k); they sum to v(N) - v(empty)."""
    n = players_of(v)
    sizes = np.zeros(1, np.int64)  # |S| of all coalitions S of n - 1 players
    for _ in range(n - 1):
        sizes = np.concatenate([sizes, sizes + 1])
    weights = 1 / (n * np.array([comb(n - 1, s) for s in range(n)], dtype=float))[sizes]
    v = np.asarray(v, float)
    split = (v.reshape(2 ** (n - 1 - i), 2, 2**i, *v.shape[1:]) for i in range(n))
    return np.stack([np.tensordot(weights, (s[:, 1] - s[:, 0]).reshape(2 ** (n - 1), *v.shape[1:]), axes=1) for s in split])


def shapley_values(game: Game, budget: int, seed: int) -> Values:
    """Shapley values of a game's players, (n, k): exact if 2^n is within the budget, else sampled.

    Sampled values are means over random orders and their reverses: unbiased (Castro et al. 2009), and exact for games of pairs.

    Args:
        game: bool (rows, n) -> (rows, k).
        budget: model rows, at least 2 n.
    """
    n = game.n_players
    if 2**n <= budget:
        return shapley(table(game))
    rng = np.random.default_rng(seed)
    orders = np.stack([rng.permutation(n) for _ in range(budget // (2 * n))])
    places = np.concatenate([orders, orders[:, ::-1]]).argsort(1)  # (orders, n): the place of a player in an order
    prefixes = places[:, None, :] < np.arange(n + 1)[:, None]  # (orders, n + 1, n)
    values = CachedGame(game)(prefixes.reshape(-1, n)).reshape(*prefixes.shape[:2], -1)
    gains = np.diff(values, axis=1)  # (orders, n, k), by place
    return np.take_along_axis(gains, places[:, :, None], axis=1).mean(0)


def shapley_interactions(v: Values) -> Values:
    """Shapley interaction index of all coalitions, in the shape of v; singles are Shapley values, the empty one the mean of v."""
    nodes, weights = np.polynomial.legendre.leggauss((players_of(v) + 2) // 2)
    total = np.zeros(np.shape(v))
    for t, weight in zip((nodes + 1) / 2, weights / 2, strict=True):

        def mixed(absent: Values, present: Values, t: float = t) -> tuple[Values, Values]:
            difference = present - absent
            return absent + t * difference, difference

        total += weight * _butterfly(v, mixed)
    return total


def _butterfly(v: Values, mixed: Callable[[Values, Values], tuple[Values, Values]]) -> Values:
    """One pass a player: the halves without and with it become two others. The last player's bit leads, and moves to the end."""
    n, v = players_of(v), np.asarray(v, float)
    half = len(v) // 2
    for _ in range(n):
        halves = np.empty((half, 2, *v.shape[1:]))
        halves[:, 0], halves[:, 1] = mixed(v[:half], v[half:])
        v = halves.reshape(v.shape)
    return v
