"""Interactions straight from their definitions: sets, permutations and sums over subsets. Slow, and shares no code with ours."""

from __future__ import annotations

from itertools import combinations, permutations
from math import factorial

import numpy as np


def subsets(players):
    players = tuple(players)
    return [frozenset(c) for size in range(len(players) + 1) for c in combinations(players, size)]


def value(v, coalition):
    return v[sum(1 << i for i in coalition)]


def shapley(v, players):
    """Shapley values by averaging over all orders of `players`, the others absent."""
    found = dict.fromkeys(players, 0.0)
    for order in permutations(players):
        before = frozenset()
        for i in order:
            found[i] += (value(v, before | {i}) - value(v, before)) / factorial(len(found))
            before |= {i}
    return found


def block(v, n, segment, inside):
    """phi([C] | N_C): C is one player beside those outside the segment; the rest of the segment is absent."""
    outside = [i for i in range(n) if i not in segment]
    k = len(outside)
    return sum(
        factorial(len(s)) * factorial(k - len(s)) / factorial(k + 1) * (value(v, s | frozenset(inside)) - value(v, s))
        for s in subsets(outside)
    )


def interaction_index(v, players, coalition):
    """Grabisch-Roubens index of a coalition in the game of `players`, the others absent."""
    rest = [i for i in players if i not in coalition]
    k, size = len(rest), len(coalition)
    return sum(
        factorial(len(s)) * factorial(k - len(s)) / factorial(k + 1)
        * sum((-1) ** (size - len(inner)) * value(v, s | inner) for inner in subsets(coalition))
        for s in subsets(rest)
    )  # fmt: skip


def dividend(v, coalition):
    return sum((-1) ** (len(coalition) - len(inner)) * value(v, inner) for inner in subsets(coalition))


def partitions(start, stop):
    """All contiguous partitions of start..stop-1 as tuples of (start, stop)."""
    if start == stop:
        return [()]
    return [((start, j), *rest) for j in range(start + 1, stop + 1) for rest in partitions(j, stop)]


def segment(v, n, start, stop):
    """phi of all intervals, B, B_max, B_min, T and the sets of optimal partitions, by going through all 2^(m-1)."""
    inside = range(start, stop)
    phi = {(i, j): block(v, n, inside, range(i, j)) for i in inside for j in range(i + 1, stop + 1)}
    sums = {partition: sum(phi[part] for part in partition) for partition in partitions(start, stop)}
    alone = sum(phi[i, i + 1] for i in inside)
    top, bottom = max(sums.values()), min(sums.values())
    return {
        "phi": phi,
        "B": phi[start, stop] - alone,
        "B_max": top - alone,
        "B_min": bottom - alone,
        "T": top - bottom,
        "max": {p for p, total in sums.items() if abs(total - top) < 1e-9},
        "min": {p for p, total in sums.items() if abs(total - bottom) < 1e-9},
    }


def random_table(n, seed, columns=()):
    return np.random.default_rng(seed).normal(size=(2**n, *columns))


class RandomNet:
    """A game that is no table: a small random network of the players present, one output a column."""

    def __init__(self, n_players, seed, columns=1, hidden=8):
        rng = np.random.default_rng(seed)
        self.n_players = n_players
        self.first, self.bias = rng.normal(size=(n_players, hidden)), rng.normal(size=hidden)
        self.last = rng.normal(size=(hidden, columns))

    def __call__(self, coalitions):
        found = np.tanh(coalitions @ self.first + self.bias) @ self.last
        return found[:, 0] if found.shape[1] == 1 else found
