"""Comparisons on the same test items, families of comparisons, and power.

Two classifiers: exact McNemar test (McNemar 1947), with the interval of their difference (Agresti & Min 2005). Groups of items
that share a source flip together. Means over seeds or train halves: t test with the variance between them. Other numbers:
paired t test, or Wilcoxon's (1945). Families: Holm's correction (Holm 1979); letters show all pairs (Piepho 2004). Power of
the exact McNemar test: Duffy (1984).
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.signal import convolve
from scipy.stats import binom, norm, t, wilcoxon

from probing.evaluation.statistics import beyond_items, mean_ci, median_ci, n_units, standard_error
from probing.evaluation.statistics import degrees as degrees_of
from probing.types import Estimate, Labels

DEPENDENCE = 1.25
"""The fits of a cross-validation share train sentences, so that differences vary so many times as much as those of independent test
items (at most; `scripts/calibration/folds.py`)."""

_MIN_P = 1e-30
"""The smallest p-value of the root search."""

_WHOLE = 2**16
"""Parts into which weights are rounded in `sign_flip_mean`."""


def paired(differences: ArrayLike, robust: bool = False, groups: Labels | None = None) -> tuple[Estimate, float]:
    """Return the mean of paired differences, and the two-sided p-value of the t test (1 if all are zero); if `robust` the median
    and Wilcoxon's signed-rank test. With groups (numbers 0..m-1 of the items, (n,)) the t test is over groups; differences that are
    NaN are left out."""
    d = np.asarray(differences, float)
    if groups is not None:
        own, known = np.asarray(groups), ~np.isnan(d)
        d, own = d[known], np.unique(own[known], return_inverse=True)[1]
        m = n_units(len(d), own) if len(d) else 0
        if m < 2 or not d.any():
            return mean_ci(d, own), 1.0 if m > 1 else np.nan
        error = standard_error(d, own)
        return mean_ci(d, own), 2 * float(t.sf(abs(d.mean()) / error, m - 1)) if error else 0.0
    if len(d) < 2 or not d.any():
        return (median_ci if robust else mean_ci)(d), 1.0 if len(d) > 1 else np.nan
    if robust:
        return median_ci(d), float(wilcoxon(d).pvalue)
    error = float(d.std(ddof=1) / np.sqrt(len(d)))
    return mean_ci(d), 2 * float(t.sf(abs(d.mean()) / error, len(d) - 1)) if error else 0.0


def mcnemar(correct_a: Sequence[bool], correct_b: Sequence[bool], groups: Labels | None = None) -> float:
    """Return the two-sided p-value of the exact McNemar test of two classifiers, right or not item by item, (n,); 1 if they never
    differ. With groups (numbers 0..m-1 of the items, (n,)) it is the exact sign-flip test: p is the share of all sign patterns
    of the groups' differences in right items whose sum is at least as far from 0 as the observed one."""
    a, b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    _check_same(a, b)
    d = a.astype(int) - b
    return sign_flip(d if groups is None else np.bincount(groups, d).astype(int))


def sign_flip(differences: ArrayLike) -> float:
    """Return the two-sided p-value of the exact sign-flip test of paired differences, whole numbers, (n,): the share of all sign
    patterns whose sum is at least as far from 0 as the observed one. Of differences -1, 0 and 1 it is the exact McNemar test.

    >>> sign_flip([1, 1, 1, 0]), sign_flip([2, 2, -1])
    (0.25, 0.5)
    """
    d = np.asarray(differences, int)
    sizes, counts = np.unique(np.abs(d[d != 0]), return_counts=True)
    method, least = ("direct", 0.0) if sizes @ counts < 65_000 else ("fft", 1e-15)  # faster, with rounding errors of that size
    negative = np.ones(1)  # probabilities of the sums 0, 1, 2, … of the differences with a minus
    for size, count in zip(sizes, counts, strict=True):
        pmf = np.zeros(size * count + 1)
        pmf[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        negative = np.maximum(convolve(negative, pmf, method=method), 0)
    total = len(negative) - 1  # the sum of signed differences is the total less twice the negative sum
    far = np.abs(total - 2 * np.arange(total + 1)) >= abs(int(d.sum()))
    return float(np.clip(negative[far].sum(), least, 1.0))


def sign_flip_mean(differences: ArrayLike, strata: ArrayLike) -> tuple[float, float]:
    """Return the mean over strata of their mean difference, and the two-sided p-value of its sign-flip test: the share of all sign
    patterns of the items whose mean over strata is at least as far from 0 as the observed one.

    The weights of items, difference / size of the stratum, become whole numbers in their proportion, where these are small. Else
    p is the normal approximation if many items share the variance (more than 1,000 effective ones), and if not the exact test of
    weights rounded to `_WHOLE` parts.

    Args:
        differences: paired differences of items, (n,).
        strata: the stratum of each item, (n,), numbers or names.

    >>> sign_flip_mean([1, 1, 1, 0], [0, 0, 0, 0]), sign_flip_mean([1, -1, -1], [0, 1, 1])
    ((0.75, 0.25), (0.0, 1.0))
    """
    d = np.asarray(differences, float)
    if not len(d):
        return np.nan, 1.0
    _, stratum, sizes = np.unique(np.asarray(strata), return_inverse=True, return_counts=True)
    weights = d / sizes[stratum]
    mean, some = float(weights.sum() / len(sizes)), weights[weights != 0]
    if not len(some):
        return mean, 1.0
    parts = some / np.abs(some).min()
    for factor in range(1, 61):
        if np.allclose(factor * parts, whole := np.rint(factor * parts), rtol=1e-9) and np.abs(whole).sum() <= 8 * _WHOLE:
            return mean, sign_flip(whole)
    squares = float(np.square(some).sum())
    if squares**2 > 1000 * np.power(some, 4).sum():
        return mean, float(2 * norm.sf(abs(some.sum()) / np.sqrt(squares)))
    return mean, sign_flip(np.rint(_WHOLE * some / np.abs(some).sum()))


def compare(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    groups: Labels | None = None,
    halves: Sequence[float] = (),
    dependence: float = 1.0,
) -> tuple[Estimate, float]:
    """Return the difference of two scores on the same items (a - b), mean over seeds, with 95 % interval; its p-value.

    Accuracy, one seed without train halves: the p-value is `mcnemar`'s. Else it is the level at which the interval over items (or
    groups), seeds and train halves ends at 0. To the variance of accuracies over items 1 / n^2 is added, from the half items of
    Agresti & Min (2005).

    Args:
        correct_a, correct_b: whether each item is right, truth values (accuracy), or values by item whose mean is the score:
            (n_seeds, n), seeds and items in the same order, or (n,) for one seed.
        groups: numbers 0..m-1 of the items' groups, (n,), or None.
        halves: differences of the same two columns, both fitted on the same random half of the train split, half by half.
        dependence: factor of the standard error over items; `DEPENDENCE` where the items are those of a cross-validation.
    """
    a, b = (np.atleast_2d(np.asarray(correct, float)) for correct in (correct_a, correct_b))
    _check_same(a, b)
    d, n = a - b, a.shape[1]
    right = all(np.isin(x, (0, 1)).all() for x in (a, b))
    value, furthest = float(d.mean()), 1.0 if right else np.inf
    if n_units(n, groups) < 2:
        return Estimate(value, -furthest, furthest), 1.0
    over_items, *beyond = variances(a, b, groups, halves, dependence)
    errors, degrees = np.array([over_items, *beyond]).T

    def half(level: float) -> float:
        return float(np.sqrt(errors @ t.isf(level / 2, degrees) ** 2))

    interval = Estimate(value, max(-furthest, value - half(0.05)), min(furthest, value + half(0.05)))
    if not d.any() and not beyond:
        return interval, 1.0
    if not beyond and right:
        return interval, widened(mcnemar(a[0], b[0], groups), dependence)
    if abs(value) >= half(_MIN_P):
        return interval, _MIN_P
    if abs(value) <= half(1.0):  # 0, but for the rounding of SciPy before 1.14
        return interval, 1.0
    return interval, float(np.exp(brentq(lambda p: half(np.exp(p)) - abs(value), np.log(_MIN_P), 0.0)))


def variances(
    a: np.ndarray, b: np.ndarray, groups: Labels | None = None, halves: Sequence[float] = (), dependence: float = 1.0
) -> list[tuple[float, float]]:
    """Return variances and their degrees of freedom of the difference of two scores, as `compare` adds them: over items (infinite
    of a single item or group), seeds and train halves; a, b: values by item, (n_seeds, n)."""
    d, n = np.asarray(a, float) - np.asarray(b, float), np.shape(a)[1]
    right = all(np.isin(x, (0, 1)).all() for x in (a, b))
    over_items = dependence**2 * (standard_error(d.mean(0), groups) ** 2 + right / n**2)
    own = n_units(n, groups) - 1 if right else degrees_of(d.mean(0), groups)
    return [(float(over_items), float(max(own, 1))), *beyond_items(d.mean(1), halves)]


def widened(p: float, dependence: float) -> float:
    """Return the two-sided p-value of a normal statistic that is divided by `dependence`."""
    return p if dependence == 1 else float(2 * norm.sf(norm.isf(p / 2) / dependence))


def _check_same(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise ValueError(f"the classifiers were scored on different items: {a.shape} and {b.shape}")


def mcnemar_power(n: int, discordance: float, difference: float, alpha: float) -> float:
    """Return the probability that the exact McNemar test on `n` items gives a two-sided p-value of at most `alpha` (Duffy 1984),
    exactly one of the two being right with the probability `discordance`, and their accuracies (0-1) having this difference."""
    discordance = max(discordance, difference)
    lowest, highest = binom.ppf([1e-9, 1 - 1e-9], n, discordance)
    m = np.arange(lowest, highest + 1)
    critical = binom.isf(alpha / 2, m, 0.5) + 1  # the smallest count x with P(X >= x) <= alpha / 2
    better = (1 + difference / discordance) / 2
    rejected = binom.sf(critical - 1, m, better) + binom.cdf(m - critical, m, better)
    return float(binom.pmf(m, n, discordance) @ rejected)


@cache
def smallest_difference(n: int, discordance: float, alpha: float, power: float = 0.8) -> float:
    """Return the difference of two accuracies (0-1) that `mcnemar_power` detects with probability `power`; inf if there is none.

    >>> round(smallest_difference(1000, 0.1, 0.05), 3)
    0.029
    """
    if mcnemar_power(n, discordance, 1.0, alpha) < power:
        return np.inf
    return float(brentq(lambda d: mcnemar_power(n, discordance, d, alpha) - power, 1e-9, 1.0, xtol=1e-6))


def letters(separated: ArrayLike) -> list[str]:
    """Return all pairwise comparisons, an (n, n) matrix in an order from best to worst, as letters: two share a letter if and
    only if they are not separated. A letter is a largest set of which no two are separated: insert-and-absorb algorithm
    (Piepho 2004).

    >>> letters([[0, 0, 1], [0, 0, 0], [1, 0, 0]])
    ['a', 'ab', 'b']
    """
    x = np.asarray(separated, bool)
    groups = {frozenset(range(len(x)))}
    for pair in map(frozenset, np.argwhere(np.triu(x, 1)).tolist()):
        split = {group - {member} for group in groups for member in (pair if pair <= group else (-1,))}
        groups = {group for group in split if not any(group < other for other in split)}
    names = [string.ascii_letters[k % 52] + "'" * (k // 52) for k in range(len(groups))]
    named = list(zip(names, sorted(groups, key=sorted), strict=True))
    return ["".join(name for name, group in named if k in group) for k in range(len(x))]


def paired_difference(
    correct_a: Sequence[np.ndarray], correct_b: Sequence[np.ndarray], groups: Sequence[Labels | None] | None = None
) -> tuple[float, float, float]:
    """Return the mean over tasks of the difference of two accuracies on the same items (a - b, 0-1), its standard error, and the
    degrees of freedom of that, infinite without groups.

    Each task has the adjusted estimate of Agresti & Min (2005): half an item is added to each cell of the 2 x 2 table. With
    the numbers of its items' groups, m, the error is that between groups, of m - 1 degrees of freedom. Tasks are independent:
    their variances add (degrees of the sum: Satterthwaite 1946). The error is infinite if a task has one group.
    """
    differences, variances, lost = [], [], 0.0
    for a, b, task_groups in zip(correct_a, correct_b, groups or [None] * len(correct_a), strict=True):
        _check_same(a, b)
        n, only_a, only_b = len(a) + 2, (a & ~b).sum() + 0.5, (~a & b).sum() + 0.5
        differences.append((only_a - only_b) / n)
        if task_groups is None:
            variances.append(((only_a + only_b) / n - differences[-1] ** 2) / n)
        else:
            variances.append(standard_error(a.astype(int) - b, task_groups) ** 2 + 1 / n**2)
            lost += variances[-1] ** 2 / max(1, n_units(len(a), task_groups) - 1)
    error = float(np.sqrt(np.sum(variances)) / len(variances))
    degrees = float(np.sum(variances)) ** 2 / lost if lost and np.isfinite(error) else np.inf
    return float(np.mean(differences)), error, degrees


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return Holm-adjusted p-values, in the given order; an empty family stays empty.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted


def max_t(statistics: Sequence[float], draws: Sequence[Sequence[float]]) -> np.ndarray:
    """Return the p-values of m tests, (m,), adjusted for all of them (single-step maxT, Westfall & Young 1993): (1 + draws in which
    the largest of the m is at least as large) / (1 + draws). One test has its plain p-value.

    Unlike Holm's it needs no more draws where tests are many. The draws of a test, (m, draws), must be independent of another's.

    >>> max_t([3.0, 0.5], [[0.0, 1.0, 0.2], [0.1, 0.0, 2.0]]).tolist()
    [0.25, 0.75]
    """
    largest = np.asarray(draws, float).max(0)
    return (1 + (largest >= np.asarray(statistics, float)[:, None] - 1e-9).sum(1)) / (1 + len(largest))
