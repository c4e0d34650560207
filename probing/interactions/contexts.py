"""Contexts of a segment: the subsets S of the other players that a sampled estimate uses, and their weights.

phi([C]) is the mean over sizes s = 0..k, each with weight 1/(k + 1), of the mean of D(S) = v(S u C) - v(S) over |S| = s.
Contexts are drawn uniformly as antithetic pairs (S, R \\ S), without replacement, within strata of the sizes {s, k - s}; small
strata are taken whole, so that a budget for all pairs is the exact answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from probing.types import Coalitions


@dataclass(frozen=True)
class Stratum:
    """The antithetic pairs of sizes {size, k - size}: their number, and their share of the mean over sizes."""

    size: int
    pairs: int
    weight: float


def strata(k: int) -> list[Stratum]:
    """The strata of k outside players, their weights summing to 1; k = 0 has the one empty context, as a pair with itself.

    >>> strata(2)
    [Stratum(size=0, pairs=1, weight=0.66...), Stratum(size=1, pairs=1, weight=0.33...)]
    """
    outer = [Stratum(s, comb(k, s), 2 / (k + 1)) for s in range((k + 1) // 2)]
    return outer if k % 2 else [*outer, Stratum(k // 2, max(1, comb(k, k // 2) // 2), 1 / (k + 1))]


def allocate(parts: list[Stratum], pairs: int) -> list[int]:
    """The number of pairs to draw from each stratum: in proportion to its weight, at least two (for a standard error), or all."""
    most = np.array([float(part.pairs) for part in parts])
    least = np.minimum(2.0, most)
    weights = np.array([part.weight for part in parts])
    low, high = 0.0, 2 * pairs / weights.min()
    for _ in range(100):  # the level at which all strata fill: counts are monotone in it
        level = (low + high) / 2
        low, high = (level, high) if np.clip(np.floor(level * weights), least, most).sum() <= pairs else (low, level)
    counts = np.clip(np.floor(low * weights), least, most)
    for p in np.argsort(counts / weights, kind="stable"):
        if counts.sum() < pairs and counts[p] < most[p]:
            counts[p] += 1
    return [int(count) for count in counts]


def draw(part: Stratum, count: int, k: int, rng: np.random.Generator) -> Coalitions:
    """One side S of `count` different pairs of a stratum, (count, k), in random order."""
    middle = 2 * part.size == k > 0  # both sides have the same size: S is the side with player 0
    players, size = (k - 1, part.size - 1) if middle else (k, part.size)
    if 2 * count > part.pairs:
        sides = rng.permutation(_subsets(players, size))[:count]
    else:
        sides = np.zeros((0, players), bool)
        while len(sides) < count:
            more = rng.random((count + 8, players)).argsort(1) < size
            sides = np.concatenate([sides, more])
            _, first = np.unique(np.packbits(sides, axis=1), axis=0, return_index=True)
            sides = sides[np.sort(first)]
        sides = sides[:count]
    return np.concatenate([np.ones((count, 1), bool), sides], axis=1) if middle else sides


def prefixes(shape: tuple[int, ...], k: int, rng: np.random.Generator) -> Coalitions:
    """The players before an added one in random orders of k + 1 players, (*shape, k): those whose uniform time is before the added
    one's."""
    return rng.random((*shape, k)) < rng.random((*shape, 1))


def _subsets(players: int, size: int) -> Coalitions:
    """All subsets of one size, (C(players, size), players)."""
    members = np.array(list(combinations(range(players), size)), dtype=np.int64).reshape(comb(players, size), size)
    subsets = np.zeros((len(members), players), bool)
    np.put_along_axis(subsets, members, True, axis=1)
    return subsets
