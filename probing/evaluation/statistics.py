"""Uncertainty of test scores: intervals over test items, groups of items, seeds and train halves.

Accuracy: Wilson's 95 % interval (Wilson 1927). Macro F1 and ratios of sums: percentile bootstrap over test items. Items that
share a source are a group (cluster): intervals use the variance between groups, bootstraps draw whole groups. The variance of
fits on random halves of the train split is that of the score over train splits of the full size (delete-half jackknife, Shao &
Wu 1989). The half-widths t_k s_k of items, seeds and train halves add as squares (Howe 1974; Zou & Donner 2008).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import coo_array
from scipy.stats import norm, t
from statsmodels.stats.proportion import proportion_confint

from probing.types import Estimate, Labels

VERSION = 2
"""Part of a cell's key: raise it when the same predictions would give other scores or intervals, or a row gets a new field."""

FEW = 10
"""Below so many items, or groups, a bootstrap interval is too narrow, and is widened (`macro_f1`)."""

_Z = norm.ppf(0.975)


def version(n_units: int) -> int:
    """Return the part of a cell's key that stands for its scores: `VERSION`; of few items or groups, one more."""
    return VERSION + (n_units < FEW)


def wilson(correct: float, n: float, alpha: float = 0.05) -> Estimate:
    """Return the accuracy (0-1) of `correct` out of `n` with Wilson's interval, of 95 % at the default alpha.

    >>> wilson(50, 100)
    Estimate(value=0.5, lower=0.4038..., upper=0.5961...)
    """
    lower, upper = proportion_confint(correct, n, alpha=alpha, method="wilson")
    return Estimate(correct / n, float(lower), float(upper))


def n_units(n: int, groups: Labels | None) -> int:
    """Return the number of independent units of n items: their groups, numbered 0..m-1, or without groups the items."""
    return n if groups is None else int(np.max(groups)) + 1


def _deviations(values: ArrayLike, groups: Labels | None) -> np.ndarray:
    """Return the values less their mean, (n,), or the sums of these over groups, (m,)."""
    x = np.asarray(values, float)
    return x - x.mean() if groups is None else np.bincount(groups, x - x.mean())


def standard_error(values: ArrayLike, groups: Labels | None = None) -> float:
    """Return the standard error of the mean of n values; infinite for a single group (or value). With groups, numbers 0..m-1,
    (n,), it is cluster-robust: sqrt(m / (m - 1) * sum_g e_g^2) / n, e_g the sum over group g of value less mean.

    >>> standard_error([1, 1, 0, 0], [0, 0, 1, 1])
    0.5
    """
    e = _deviations(values, groups)
    return float(np.sqrt(len(e) / (len(e) - 1) * (e @ e)) / np.size(values)) if len(e) > 1 else np.inf


def degrees(values: ArrayLike, groups: Labels | None = None) -> float:
    """Return the degrees of freedom of `standard_error`: 2 m / (kurtosis - 1) of the m values (or group sums), at most m - 1: a few
    values that hold most of the variance count as few (Satterthwaite 1946)."""
    e = _deviations(values, groups)
    square = float(e @ e)
    if not square:
        return max(1.0, len(e) - 1.0)
    kurtosis = len(e) * float((e**2) @ (e**2)) / square**2
    return float(np.clip(2 * len(e) / max(kurtosis - 1, 1e-12), 1.0, max(1.0, len(e) - 1.0)))


def mean_accuracy(correct: ArrayLike, groups: Labels | None = None, halves: Sequence[float] = (), alpha: float = 0.05) -> Estimate:
    """Return the accuracy (0-1), mean over seeds, with one interval (alpha: of 95 %) over items, seeds and train halves.

    One seed without groups and halves: `wilson`. Else Wilson's interval at the effective number of items, p (1 - p) /
    variance, at most items times seeds, times (z / t)^2 (Korn & Graubard 1998, for surveys in clusters; Dean & Pagano
    2015); of the groups if all items are right, or all wrong.

    Args:
        correct: whether each item is right: (n_seeds, n), or (n,) for one seed; `groups`: numbers 0..m-1 of the items' groups,
            (n,).
        halves: accuracies of the same column fitted on random halves of the train split; fewer than two add nothing.
    """
    x = np.atleast_2d(np.asarray(correct, float))
    n, p = x.shape[1], float(x.mean())
    m = n_units(n, groups)
    if len(x) == 1 and groups is None:
        items = wilson(int(x.sum()), n, alpha)
    elif m < 2:
        items = Estimate(p, 0.0, 1.0)
    else:
        variance = max(standard_error(x.mean(0), groups) ** 2, p * (1 - p) / x.size)
        z_t = norm.ppf(1 - alpha / 2) / t.ppf(1 - alpha / 2, m - 1)
        effective = (p * (1 - p) / variance if 0 < p < 1 else m) * z_t**2
        around = wilson(p * effective, effective, alpha)
        items = Estimate(p, around.lower, around.upper)
    return _widened(items, beyond_items(x.mean(1), halves), alpha)


def mean_score(single: Sequence[Estimate], halves: Sequence[float] = ()) -> Estimate:
    """Return a score (at most 1), mean over seeds, with one 95 % interval over items, seeds and train halves (as `mean_accuracy`).
    Over items the bounds are the means of the seeds' bounds, as if all seeds erred on the same items: an upper bound of the
    width."""
    values = np.array([(score.value, score.lower, score.upper) for score in single], float)
    return _widened(Estimate(*map(float, values.mean(0))), beyond_items(values[:, 0], halves))


def beyond_items(seeds: Sequence[float] | np.ndarray, halves: Sequence[float]) -> list[tuple[float, float]]:
    """Return variances and degrees of freedom: of the mean over seeds, and of the fit over train halves (two of each at least)."""
    variances: list[tuple[float, float]] = []
    if len(seeds) > 1:
        variances.append((float(np.var(seeds, ddof=1)) / len(seeds), len(seeds) - 1))
    if len(halves) > 1:
        variances.append((float(np.var(halves, ddof=1)), len(halves) - 1))
    return variances


def _widened(items: Estimate, beyond: Sequence[tuple[float, float]], alpha: float = 0.05) -> Estimate:
    """Return the interval of a score (at most 1) over items and other sources; `beyond`: variances and degrees of freedom of the
    latter."""
    more = sum(variance * t.ppf(1 - alpha / 2, degrees) ** 2 for variance, degrees in beyond)
    if not more:
        return items
    value = items.value
    lower, upper = (np.sqrt((value - bound) ** 2 + more) for bound in (items.lower, items.upper))
    lowest = 0.0 if items.lower >= 0 else -np.inf  # of R² and correlations
    return Estimate(value, float(max(lowest, value - lower)), float(min(1, value + upper)))


def percentile(value: float, resampled: ArrayLike) -> Estimate:
    """Return the value with the 2.5 % and 97.5 % quantiles of its bootstrap resamples that are not NaN."""
    lower, upper = np.nanquantile(np.asarray(resampled, float), [0.025, 0.975])
    return Estimate(float(value), float(lower), float(upper))


def macro_f1(
    gold: Labels, predicted: Labels, n_classes: int, groups: Labels | None = None, draws: int = 1000, seed: int = 0
) -> Estimate:
    """Return macro F1 (0-1) over the classes in gold or predicted, with a 95 % bootstrap interval over items, or over groups.

    A resample of items is a multinomial draw of the non-empty cells of the confusion matrix, one of groups a draw of their
    distinct compositions; a class without an item in a resample counts 0. With fewer than `FEW` items or groups, m, the
    distances to the bounds are multiplied by t_(m-1) / 1.96 sqrt(m / (m - 1)); of one alone the interval is [0, 1].
    """
    cells, cell_of, counts = np.unique(gold * n_classes + predicted, return_inverse=True, return_counts=True)
    row, column = np.divmod(cells, n_classes)
    rng = np.random.default_rng(seed)
    if groups is None:
        resampled = rng.multinomial(len(gold), counts / len(gold), size=draws)
    else:
        order = np.lexsort((cell_of, groups))
        parts = np.split(cell_of[order], np.flatnonzero(np.diff(np.asarray(groups)[order])) + 1)
        compositions = Counter(tuple(part.tolist()) for part in parts)
        index = np.repeat(np.arange(len(compositions)), [*map(len, compositions)]), np.concatenate([*compositions])
        cell_counts = coo_array((np.ones(len(index[0]), int), index), shape=(len(compositions), len(cells)))
        share = np.array([*compositions.values()]) / len(parts)
        resampled = rng.multinomial(len(parts), share, size=draws) @ cell_counts.tocsr()
    samples = np.vstack([counts, resampled])  # (1 + draws, cells); the first is the observed one
    total = np.zeros((len(samples), n_classes))
    hits = np.zeros_like(total)
    for classes in (row, column):  # F1 = 2 hits / (gold + predicted)
        incidence = coo_array((np.ones(len(cells)), (np.arange(len(cells)), classes)), shape=(len(cells), n_classes))
        total += samples @ incidence.tocsr()
    diagonal = row == column
    hits[:, row[diagonal]] = samples[:, diagonal]
    present = np.union1d(row, column)
    f1 = (2 * hits[:, present] / np.maximum(total[:, present], 1)).mean(1)
    drawn = percentile(f1[0], f1[1:])
    value, lower, upper = drawn.value, drawn.lower, drawn.upper
    m = n_units(len(gold), groups)
    if m < 2:
        return Estimate(value, 0.0, 1.0)
    if m >= FEW:
        return Estimate(value, float(min(lower, value)), float(max(upper, value)))
    factor = t.ppf(0.975, m - 1) / _Z * np.sqrt(m / (m - 1))
    below, above = max(0.0, value - lower) * factor, max(0.0, upper - value) * factor
    return Estimate(value, float(max(0.0, value - below)), float(min(1.0, value + above)))


METRICS: dict[str, Callable[[Labels, Labels, int, Labels | None], Estimate]] = {
    "accuracy": lambda gold, predicted, n_classes, groups: mean_accuracy(predicted == gold, groups),
    "macro_f1": macro_f1,
}
"""Name -> function of the test labels, the predictions, the number of classes and the items' groups to a score (0-1) of a probe,
with its interval. To add one, write a function, name it in this dict, and raise `VERSION`."""


def ratio(parts: ArrayLike, wholes: ArrayLike, draws: int = 2000, seed: int = 0) -> Estimate:
    """Return sum(parts) / sum(wholes), (n,), with a 95 % percentile bootstrap interval over items; NaN if the divisor is 0.

    >>> ratio([1, 1], [2, 2])
    Estimate(value=0.5, lower=0.5, upper=0.5)
    """
    a, b = np.asarray(parts, float), np.asarray(wholes, float)
    if not b.sum() > 0:
        return Estimate(np.nan, np.nan, np.nan)
    weights = np.random.default_rng(seed).multinomial(len(a), np.full(len(a), 1 / len(a)), size=draws)
    divisors = weights @ b
    return percentile(a.sum() / b.sum(), (weights @ a)[divisors > 0] / divisors[divisors > 0])


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of independent estimates, with an interval from their intervals (Zou & Donner 2008).

    >>> mean_of([Estimate(0.6, 0.57, 0.64), Estimate(0.8, 0.76, 0.83)])
    Estimate(value=0.7, lower=0.67..., upper=0.725)
    """
    value, lower, upper = np.array([(estimate.value, estimate.lower, estimate.upper) for estimate in estimates]).T
    below, above = np.sqrt(np.square(value - lower).sum()), np.sqrt(np.square(upper - value).sum())
    mean = float(value.mean())
    return Estimate(mean, mean - float(below) / len(value), mean + float(above) / len(value))


def mean_of_accuracies(correct: ArrayLike, n: ArrayLike, alpha: float = 0.05) -> Estimate:
    """Return the unweighted mean of accuracies of strata, `correct` (m,) out of `n` (m,), with a 95 % interval: the wider one, on
    each side, of that from Wilson's intervals (`mean_of`), which is too narrow for many small strata, and of the t interval.

    The latter has the sum of the strata's variances, p (1 - p) / (n - 1), or of those with one more right and one more wrong item,
    whichever is larger, so that strata without an error count; a single item has 1/4. Degrees of freedom: Satterthwaite (1946).
    """
    x, size = np.asarray(correct, float), np.asarray(n, float)
    around = [Estimate(*map(float, bounds)) for bounds in zip(x / size, *proportion_confint(x, size, alpha, "wilson"), strict=True)]
    if (m := len(x)) == 1:
        return around[0]
    narrow = mean_of(around)
    unbiased = np.where(size > 1, x * (size - x) / (size**2 * np.maximum(size - 1, 1)), 0.25)
    smoothed = (x + 1) * (size - x + 1) / ((size + 2) ** 2 * size)
    variances = max(unbiased, smoothed, key=lambda one: float(one.sum()))
    df = variances.sum() ** 2 / (np.square(variances) / np.maximum(size - 1, 1)).sum()
    half = float(t.ppf(1 - alpha / 2, df) * np.sqrt(variances.sum()) / m)
    lower, upper = min(narrow.lower, narrow.value - half), max(narrow.upper, narrow.value + half)
    return Estimate(narrow.value, max(0.0, lower), min(1.0, upper))


def mean_ci(values: ArrayLike, groups: Labels | None = None) -> Estimate:
    """Return the mean of the values that are not NaN, with its 95 % t interval over values, or over their groups (numbers 0..m-1,
    (n,)); it is NaN below two of these.

    >>> mean_ci([1.0, 2.0, 3.0])
    Estimate(value=2.0, lower=-0.48..., upper=4.48...)
    """
    x = np.asarray(values, float)
    known = ~np.isnan(x)
    x, kept = x[known], None if groups is None else np.unique(np.asarray(groups)[known], return_inverse=True)[1]
    m = n_units(len(x), kept) if len(x) else 0
    if m < 2:
        return Estimate(float(x.mean()) if m else np.nan, np.nan, np.nan)
    half = float(t.ppf(0.975, m - 1) * standard_error(x, kept))
    return Estimate(float(x.mean()), float(x.mean()) - half, float(x.mean()) + half)


def median_ci(values: ArrayLike, draws: int = 2000, seed: int = 0) -> Estimate:
    """Return the median of the values that are not NaN, with its 95 % percentile bootstrap interval, NaN below two values.

    >>> median_ci([1.0, 1.0, 1.0])
    Estimate(value=1.0, lower=1.0, upper=1.0)
    """
    x = np.asarray(values, float)
    x = x[~np.isnan(x)]
    if len(x) < 2:
        return Estimate(float(x[0]) if len(x) else np.nan, np.nan, np.nan)
    drawn = np.median(np.random.default_rng(seed).choice(x, (draws, len(x))), axis=1)
    return percentile(np.median(x), drawn)
