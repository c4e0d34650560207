"""Contexts of a segment: the subsets S of the other players that a sampled estimate uses, their weights, and regression
adjustment.

phi([C]) is the mean over sizes s = 0..k, each with weight 1/(k + 1), of the mean of D(S) = v(S u C) - v(S) over |S| = s.
Contexts are drawn uniformly as antithetic pairs (S, R \\ S), without replacement, within strata of the sizes {s, k - s}; small
strata are taken whole.

The even quadratic features z_i z_j of a pair (z = +1 for a player in S, -1 for one outside) have the mean ((k - 2s)^2 - k) /
(k (k - 1)) over all S of size s, so a fit f of D on them has a known mean, and only D - f must be sampled: a model-assisted
difference estimator (Särndal, Swensson, Wretman 1992). The fit is a ridge regression within strata, one penalty for all
intervals of a column, with the least leave-one-out error, and cross-fitted, so that the estimate is unbiased, and exact when
all pairs are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from probing.types import Coalitions, Values

STRENGTHS = (*np.logspace(-5, 3, 9), np.inf)
"""Ridge penalties that are tried, relative to the mean squared singular value of the features."""


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
        members = np.array(list(combinations(range(players), size)), dtype=np.int64).reshape(comb(players, size), size)
        subsets = np.zeros((len(members), players), bool)  # all of this size
        np.put_along_axis(subsets, members, True, axis=1)
        sides = rng.permutation(subsets)[:count]
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


def adjust(parts: list[Stratum], sides: list[Coalitions], values: list[Values]) -> tuple[list[Values], list[Values]]:
    """Stratum means (M, K) and residuals of the pairs (n_p, M, K), whose spread is the sampling error, for each stratum; from one
    side of each pair drawn, (n_p, k), in random order, and the pair means of D, (n_p, M, K): M intervals, K columns."""
    k = sides[0].shape[1]
    open_ = [p for p, part in enumerate(parts) if len(sides[p]) < part.pairs]
    means, residuals = [value.mean(0) for value in values], [value - value.mean(0) for value in values]
    if not open_:
        return means, residuals
    smallest = min(len(sides[p]) for p in open_)
    folds = 8 if smallest >= 16 else 4 if smallest >= 8 else 2
    features = {p: _features(sides[p], parts[p].size, k) for p in open_}
    shape = values[0].shape[1:]
    flat = {p: values[p].reshape(len(values[p]), -1) for p in open_}  # (n_p, M K)
    estimates: dict[int, list[Values]] = {p: [] for p in open_}
    left = {p: np.empty_like(flat[p]) for p in open_}
    for fold in range(folds):
        trained = {p: np.arange(len(flat[p])) % folds != fold for p in open_}
        beta = _fit(parts, features, flat, trained, shape)
        for p in open_:
            rest = flat[p] - features[p] @ beta
            seen, n = trained[p], parts[p].pairs
            held = rest[~seen].mean(0)
            estimates[p].append((rest[seen].sum(0) / n) + (1 - seen.sum() / n) * held)
            left[p][~seen] = rest[~seen]
    for p in open_:
        means[p] = np.mean(estimates[p], axis=0).reshape(shape)
        residuals[p] = left[p].reshape(-1, *shape)
    return means, residuals


def _features(side: Coalitions, size: int, k: int) -> Values:
    """z_i z_j of all pairs of outside players, minus their mean over the stratum: (n_p, k (k - 1) / 2)."""
    z = np.where(side, 1.0, -1.0)
    i, j = np.array(list(combinations(range(k), 2))).T
    return z[:, i] * z[:, j] - ((k - 2 * size) ** 2 - k) / (k * (k - 1))


def _fit(
    parts: list[Stratum],
    features: Mapping[int, Values],
    flat: Mapping[int, Values],
    trained: Mapping[int, NDArray[np.bool_]],
    shape: tuple[int, ...],
) -> Values:
    """Coefficients (features, M K) from the trained pairs; one penalty a column."""
    drawn, differences, shares = [], [], []
    for p, seen in trained.items():
        n, count = parts[p].pairs, seen.sum()
        if count < 2:
            continue
        weight = parts[p].weight * np.sqrt((1 - len(seen) / n) / (len(seen) * (len(seen) - 1)))
        drawn.append(weight * (features[p][seen] - features[p][seen].mean(0)))
        differences.append(weight * (flat[p][seen] - flat[p][seen].mean(0)))
        shares.append(np.full(count, 1 / count))
    width, targets = next(iter(features.values())).shape[1], next(iter(flat.values())).shape[1]
    if not drawn:
        return np.zeros((width, targets))
    x, y, centring = np.concatenate(drawn), np.concatenate(differences), np.concatenate(shares)
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    rank = int((s > 1e-10 * s[0]).sum())  # the other directions are the stratum means, which are subtracted
    if rank == 0:
        return np.zeros((width, targets))
    u, s, vt = u[:, :rank], s[:rank], vt[:rank]
    projected = u.T @ y
    best, chosen = np.full(shape[1], np.inf), np.zeros(shape[1], int)
    power = np.square(s)
    keeps = np.array([1 / (1 + power / (strength * power.mean())) for strength in STRENGTHS])  # of the residual: (strengths, r)
    outside, unfitted = y - u @ projected, np.maximum(1 - np.square(u).sum(1) - centring, 0)
    for at, keep in enumerate(keeps):
        free = np.maximum(unfitted + np.square(u) @ keep, 1e-12)  # 1 - leverage
        error = np.square((outside + u @ (keep[:, None] * projected)) / free[:, None]).sum(0)  # leave-one-out, (M K,)
        error = error.reshape(shape).sum(0)
        chosen, best = np.where(error < best, at, chosen), np.minimum(error, best)
    shrink = np.tile(1 - keeps[chosen].T, (1, shape[0]))  # targets lie interval by interval, columns within: (r, M K)
    return vt.T @ (shrink / s[:, None] * projected)
