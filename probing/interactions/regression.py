"""Regression adjustment: the mean of a quadratic model of the contexts is known exactly, so only its residuals are sampled.

The mean over an antithetic pair keeps only the even part of D(S), and the even quadratic features are z_i z_j with z = +1 for a
player in S, -1 for one outside. Their mean over all S of size s is ((k - 2s)^2 - k) / (k (k - 1)), so a fit f of D on them has a
known mean, and only D - f must be sampled.

The fit is a ridge regression within strata, one penalty for all intervals of a column, with the least leave-one-out error. It is
cross-fitted: a pair is adjusted by fits without it, and a fit's own pairs enter as known, so that the estimate is unbiased at
any sample size and exact when all pairs are drawn.

Reference: model-assisted difference estimator, Särndal, Swensson, Wretman 1992, with cross-fitting.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from probing.interactions.contexts import Stratum
from probing.types import Coalitions, Values

STRENGTHS = (*np.logspace(-5, 3, 9), np.inf)
"""Ridge penalties that are tried, relative to the mean squared singular value of the features."""


def adjust(parts: list[Stratum], sides: list[Coalitions], values: list[Values]) -> tuple[list[Values], list[Values]]:
    """Stratum means (M, K) and residuals of the pairs (n_p, M, K), whose spread is the sampling error, for each stratum.

    Args:
        sides: one side of each pair drawn, (n_p, k) for each stratum, in random order.
        values: pair means of D, (n_p, M, K) for each stratum: M intervals, K columns.
    """
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
