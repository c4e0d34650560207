"""Interaction indices of a full table of values, all of them at once by butterflies over the 2^n coalitions.

Tables are (2^n,) or (2^n, k); bit i of the index = player i. With h the Harsanyi dividends:

    harsanyi              AND:  h(S) = sum_{L<=S} (-1)^(|S|-|L|) v(L),  v(S) = sum_{L<=S} h(L)
    or_interactions       OR:   I(S) = -sum_{L<=S} (-1)^(|S|-|L|) v(N\\L),  v(S) = v(empty) + sum_{L meets S} I(L)
    shapley               mean over sizes of the mean difference a player makes
    shapley_interactions  Grabisch-Roubens: SII(A) = sum_{L>=A} h(L) / (|L|-|A|+1), all orders
    multi_order           I^(m)(i,j) = mean over |S| = m, S without i and j, of the second difference
    elementary_reduced    SII of A' in the game of R u A' (the rest of A absent): sums to B([A]) over |A'| > 1
    elementary_full       SII of A' in the game of all players: does not sum to B, but for A' = A it is the same
    block_values          phi([W] | N_W) of every W <= A, contiguous or not

The Shapley-type ones are integrals along the diagonal of the multilinear extension (Owen 1972): per player, the table's two halves
(absent, present) become (1 - t) absent + t present and present - absent; the integrand is a polynomial in t of
degree at most n, so floor(n / 2) + 1 Gauss-Legendre nodes on [0, 1] give it exactly: n passes of 2^n each, no Moebius transform.

References: Harsanyi 1963; Owen 1972; Grabisch and Roubens 1999; Zhang et al. 2021. Left out: Shapley-Taylor and faithful indices.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import combinations
from math import comb

import numpy as np

from probing.errors import ConfigError
from probing.types import Values

Pass = Callable[[Values, Values], tuple[Values, Values]]


def harsanyi(v: Values) -> Values:
    """Harsanyi dividends (Moebius transform, AND interactions) of all coalitions, in the shape of v.

    >>> harsanyi(np.array([0, 0, 0, 1.0])).tolist()
    [0.0, 0.0, 0.0, 1.0]
    """
    return _butterfly(v, [lambda absent, present: (absent, present - absent)] * players_of(v))


def sum_of_subsets(h: Values) -> Values:
    """sum_{L<=S} h(L) for all S: the inverse of `harsanyi`."""
    return _butterfly(h, [lambda absent, present: (absent, present + absent)] * players_of(h))


def or_interactions(v: Values) -> Values:
    """OR interactions of all coalitions, in the shape of v; for the empty one v(empty)."""
    found = -harsanyi(v[::-1])  # v(N \ L) is the table backwards
    found[0] = v[0]
    return found


def shapley(v: Values) -> Values:
    """Shapley values of all players, (n,) or (n, k); they sum to v(N) - v(empty)."""
    n = players_of(v)
    sizes = _sizes(n - 1)
    weights = 1 / (n * np.array([comb(n - 1, s) for s in range(n)], dtype=float))[sizes]
    v = np.asarray(v, float)
    split = (v.reshape(2 ** (n - 1 - i), 2, 2**i, *v.shape[1:]) for i in range(n))
    return np.stack([np.tensordot(weights, (s[:, 1] - s[:, 0]).reshape(2 ** (n - 1), *v.shape[1:]), axes=1) for s in split])


def shapley_interactions(v: Values) -> Values:
    """Shapley interaction index of all coalitions, in the shape of v; singles are Shapley values, the empty one the mean of v."""
    return _integral(v, [_derivative] * players_of(v))


def pairs(index: Values) -> Values:
    """The pairs of a table of all coalitions as a symmetric matrix with a zero diagonal, (n, n) or (n, n, k)."""
    n = players_of(index)
    found = np.zeros((n, n, *index.shape[1:]))
    for i, j in combinations(range(n), 2):
        found[i, j] = found[j, i] = index[1 << i | 1 << j]
    return found


def multi_order(v: Values) -> Values:
    """I^(m)(i,j) for all pairs and context sizes m = 0..n-2: (n, n, n - 1) or (n, n, n - 1, k), symmetric, zero where i = j.

    Raises:
        ConfigError: a game of one player, which has no pairs.
    """
    n = players_of(v)
    if n < 2:
        raise ConfigError("a game of one player has no pairs")
    v = np.asarray(v, float)
    columns = v.reshape(len(v), -1)
    found = np.zeros((n, n, n - 1, columns.shape[1]))
    sizes = _sizes(n - 2)
    mean = np.zeros((n - 1, len(sizes)))
    mean[sizes, np.arange(len(sizes))] = 1
    mean /= mean.sum(1, keepdims=True)
    for i, j in combinations(range(n), 2):
        split = columns.reshape(2 ** (n - 1 - j), 2, 2 ** (j - 1 - i), 2, 2**i, -1)
        second = split[:, 1, :, 1] - split[:, 1, :, 0] - split[:, 0, :, 1] + split[:, 0, :, 0]
        found[i, j] = found[j, i] = mean @ second.reshape(len(sizes), -1)
    return found.reshape(n, n, n - 1, *v.shape[1:])


def block_values(v: Values, players: Collection[int]) -> Values:
    """phi([W] | N_W) of every subset W of `players`, (2^m,) or (2^m, k); bit i of the index = players[i], in the order given.

    Raises:
        ConfigError: a player is not in the game, or named twice.
    """
    means = _within(_integral(v, _passes(v, players, lambda absent, present: (absent, present))), players)
    return means - means[0]


def elementary_reduced(v: Values, players: Collection[int]) -> Values:
    """I(A') of every A' <= A = `players`, in the game of R u A': shape and errors as of `block_values`; 0 for the empty one.

    B([A]) is their sum over |A'| > 1, and B([C]) the sum over |A'| > 1, A' <= C.
    """
    return harsanyi(block_values(v, players))


def elementary_full(v: Values, players: Collection[int]) -> Values:
    """I(A') of every A' <= A = `players`, in the game of all players: shape and errors as of `block_values`."""
    return _within(_integral(v, _passes(v, players, None)), players)


def players_of(v: Values) -> int:
    """The number of players of a table.

    Raises:
        ConfigError: the table has not 2^n rows, n at least 1.
    """
    size = np.shape(v)[0] if np.ndim(v) else 0
    if size < 2 or size & (size - 1):
        raise ConfigError(f"a table of shape {np.shape(v)} is not one of 2^n coalitions: give 2^n rows, n at least 1")
    return size.bit_length() - 1


def _butterfly(v: Values, passes: list[Pass]) -> Values:
    """One pass a player: the halves without and with it become two others. The last player's bit leads, and moves to the end."""
    v = np.asarray(v, float)
    half = len(v) // 2
    for one in reversed(passes):
        mixed = np.empty((half, 2, *v.shape[1:]))
        mixed[:, 0], mixed[:, 1] = one(v[:half], v[half:])
        v = mixed.reshape(v.shape)
    return v


def _derivative(absent: Values, present: Values, t: float) -> tuple[Values, Values]:
    difference = present - absent
    return absent + t * difference, difference


def _integral(v: Values, passes: list) -> Values:
    """Mean over t in [0, 1] of the butterfly whose passes may take t."""
    nodes, weights = np.polynomial.legendre.leggauss(max(1, (len(passes) + 2) // 2))
    total = np.zeros(np.shape(v))
    for t, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        total += weight * _butterfly(v, [_at(one, t) for one in passes])
    return total


def _at(one: Callable, t: float) -> Pass:
    return (lambda absent, present: _derivative(absent, present, t)) if one is _derivative else one


def _passes(v: Values, players: Collection[int], inside: Pass | None) -> list:
    """`inside` for the players named, the mean over contexts for the rest; None stands for the derivative."""
    n = players_of(v)
    named = list(players)
    if len(set(named)) < len(named) or not all(0 <= i < n for i in named):
        raise ConfigError(f"players={named}: name different players from 0 to {n - 1}")
    return [_derivative if i not in named or inside is None else inside for i in range(n)]


def _within(whole: Values, players: Collection[int]) -> Values:
    """The entries of a table of all coalitions whose players are all named, (2^m, ...)."""
    at = np.zeros(1, np.int64)
    for player in players:
        at = np.concatenate([at, at | 1 << player])
    return whole[at]


def _sizes(n: int) -> np.ndarray:
    """|S| of all 2^n coalitions."""
    sizes = np.zeros(1, np.int64)
    for _ in range(n):
        sizes = np.concatenate([sizes, sizes + 1])
    return sizes
