"""Uncertainty of test scores, and comparisons on the same items.

Intervals say how the score would move with other test sentences of the same kind; they do not contain the variance of training.
Accuracy: Wilson's 95 % interval (Wilson 1927). Macro F1 and ratios of sums: percentile bootstrap over test items. Paired comparison
of two classifiers on the same items: exact McNemar test (McNemar 1947) on the items that one has right and the other wrong, and the
interval of their difference (Agresti & Min 2005). Means of other numbers: t interval; medians: percentile bootstrap; paired
differences: the t test, or that of Wilcoxon (1945). Families of comparisons: Holm's correction (Holm 1979), all pairs shown by
letters (Piepho 2004). Power of the exact McNemar test: Duffy (1984).
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.sparse import coo_array
from scipy.stats import binom, binomtest, t, wilcoxon
from statsmodels.stats.proportion import proportion_confint

from probing.types import Estimate, Labels

VERSION = 2
"""Part of a cell's key: raise it when the same predictions would give other scores or intervals, or a row gets a new field."""


def accuracy(correct: int, n: int, alpha: float = 0.05) -> Estimate:
    """Accuracy (0-1) of `correct` out of `n` with Wilson's interval, of 95 % at the default alpha.

    >>> accuracy(50, 100)
    Estimate(value=0.5, lower=0.4038..., upper=0.5961...)
    """
    lower, upper = proportion_confint(correct, n, alpha=alpha, method="wilson")
    return Estimate(correct / n, float(lower), float(upper))


def macro_f1(gold: Labels, predicted: Labels, n_classes: int, draws: int = 1000, seed: int = 0) -> Estimate:
    """Macro F1 (0-1) over the classes that occur in gold or predicted, with a 95 % bootstrap interval over items.

    A resample of the items is a multinomial draw of the cells of the confusion matrix, so one draw costs its non-empty cells
    only. The classes of the average stay those of the full sample; a class without an item in a resample counts 0.
    """
    cells, counts = np.unique(gold * n_classes + predicted, return_counts=True)
    row, column = np.divmod(cells, n_classes)
    resampled = np.random.default_rng(seed).multinomial(len(gold), counts / len(gold), size=draws)
    samples = np.vstack([counts, resampled])  # (1 + draws, cells); the first is what was observed
    total = np.zeros((len(samples), n_classes))
    hits = np.zeros_like(total)
    for where in (row, column):  # F1 = 2 hits / (gold + predicted)
        incidence = coo_array((np.ones(len(cells)), (np.arange(len(cells)), where)), shape=(len(cells), n_classes))
        total += samples @ incidence.tocsr()
    diagonal = row == column
    hits[:, row[diagonal]] = samples[:, diagonal]
    present = np.union1d(row, column)
    f1 = (2 * hits[:, present] / np.maximum(total[:, present], 1)).mean(1)
    lower, upper = np.quantile(f1[1:], [0.025, 0.975])
    return Estimate(float(f1[0]), float(min(lower, f1[0])), float(max(upper, f1[0])))


def ratio(parts: ArrayLike, wholes: ArrayLike, draws: int = 2000, seed: int = 0) -> Estimate:
    """sum(parts) / sum(wholes) with a 95 % percentile bootstrap over items; NaN where nothing is to be divided by.

    A rate, a precision, an F1, or a paired difference of two of them (parts: the differences) is such a ratio.

    Args:
        parts, wholes: of each item, (n,).

    >>> ratio([1, 1], [2, 2])
    Estimate(value=0.5, lower=0.5, upper=0.5)
    """
    a, b = np.asarray(parts, float), np.asarray(wholes, float)
    if not b.sum() > 0:
        return Estimate(np.nan, np.nan, np.nan)
    drawn = np.random.default_rng(seed).multinomial(len(a), np.full(len(a), 1 / len(a)), size=draws)
    below = drawn @ b
    lower, upper = np.quantile((drawn @ a)[below > 0] / below[below > 0], [0.025, 0.975])
    return Estimate(float(a.sum() / b.sum()), float(lower), float(upper))


def paired(differences: ArrayLike, robust: bool = False) -> tuple[Estimate, float]:
    """The mean of paired differences, and the two-sided p-value of the t test (1 where all are zero).

    Args:
        robust: the median and Wilcoxon's signed-rank test, for differences with far outliers.
    """
    d = np.asarray(differences, float)
    if len(d) < 2 or not d.any():
        return (median if robust else mean)(d), 1.0 if len(d) > 1 else np.nan
    if robust:
        return median(d), float(wilcoxon(d).pvalue)
    error = float(d.std(ddof=1) / np.sqrt(len(d)))
    return mean(d), 2 * float(t.sf(abs(d.mean()) / error, len(d) - 1)) if error else 0.0


def mcnemar(correct_a: Sequence[bool], correct_b: Sequence[bool]) -> float:
    """Two-sided p-value of the exact McNemar test; 1 where the two never differ in correctness.

    Args:
        correct_a, correct_b: whether each classifier is right, item by item, both (n,).
    """
    a, b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    if a.shape != b.shape:
        raise ValueError(f"the classifiers were scored on different items: {a.shape} and {b.shape}")
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    return 1.0 if only_a + only_b == 0 else float(binomtest(only_a, only_a + only_b).pvalue)


def mcnemar_power(n: int, discordance: float, difference: float, alpha: float) -> float:
    """Probability that the exact McNemar test gives a two-sided p-value of at most `alpha` (Duffy 1984, exact power).

    The number of items on which exactly one of the two is right is binomial, with probability `discordance`; the test looks at
    those alone, and the better one is right in (1 + difference / discordance) / 2 of them.

    Args:
        n: test items.
        discordance: probability that exactly one of the two is right; taken as `difference` where that is larger.
        difference: of the two accuracies (0-1).
    """
    discordance = max(discordance, difference)
    least, most = binom.ppf([1e-9, 1 - 1e-9], n, discordance)
    m = np.arange(least, most + 1)
    critical = binom.isf(alpha / 2, m, 0.5) + 1  # the smallest count x with P(X >= x) <= alpha / 2
    better = (1 + difference / discordance) / 2
    rejected = binom.sf(critical - 1, m, better) + binom.cdf(m - critical, m, better)
    return float(binom.pmf(m, n, discordance) @ rejected)


@cache
def smallest_difference(n: int, discordance: float, alpha: float, power: float = 0.8) -> float:
    """The difference of two accuracies (0-1) that the exact McNemar test on `n` items shows with probability `power`.

    inf where no difference is shown that often. Arguments: see `mcnemar_power`.

    >>> round(smallest_difference(1000, 0.1, 0.05), 3)
    0.029
    """
    if mcnemar_power(n, discordance, 1.0, alpha) < power:
        return np.inf
    return float(brentq(lambda d: mcnemar_power(n, discordance, d, alpha) - power, 1e-9, 1.0, xtol=1e-6))


def letters(separated: ArrayLike) -> list[str]:
    """All pairwise comparisons as letters: two share one if and only if they are not separated.

    A letter is a largest set of which no two are separated. Insert-and-absorb algorithm (Piepho 2004): sets that hold a separated
    pair are split in two, and sets within others are dropped.

    Args:
        separated: (n, n), symmetric; order the n from best to worst, and the best has an a.

    >>> letters([[0, 0, 1], [0, 0, 0], [1, 0, 0]])
    ['a', 'ab', 'b']
    """
    apart = np.asarray(separated, bool)
    groups = {frozenset(range(len(apart)))}
    for pair in map(frozenset, np.argwhere(np.triu(apart, 1)).tolist()):
        split = {group - {one} for group in groups for one in (pair if pair <= group else (-1,))}
        groups = {group for group in split if not any(group < other for other in split)}
    names = [string.ascii_letters[k % 52] + "'" * (k // 52) for k in range(len(groups))]
    named = list(zip(names, sorted(groups, key=sorted), strict=True))
    return ["".join(name for name, group in named if k in group) for k in range(len(apart))]


def paired_difference(correct_a: Sequence[np.ndarray], correct_b: Sequence[np.ndarray]) -> tuple[float, float]:
    """Mean over tasks of the difference of two accuracies on the same items (a - b, 0-1), and its standard error.

    Of one task the adjusted estimate of Agresti & Min (2005): half an item is added to each cell of the 2 x 2 table, so that the
    error is above 0 where the two never differ. Tasks are independent: their variances add.

    Args:
        correct_a, correct_b: for every task, whether each classifier is right, item by item.
    """
    differences, variances = [], []
    for a, b in zip(correct_a, correct_b, strict=True):
        if a.shape != b.shape:
            raise ValueError(f"the classifiers were scored on different items: {a.shape} and {b.shape}")
        n, only_a, only_b = len(a) + 2, (a & ~b).sum() + 0.5, (~a & b).sum() + 0.5
        differences.append((only_a - only_b) / n)
        variances.append(((only_a + only_b) / n - differences[-1] ** 2) / n)
    return float(np.mean(differences)), float(np.sqrt(np.sum(variances)) / len(variances))


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of independent estimates, with the interval that theirs give (Zou & Donner 2008); of one estimate, its own.

    >>> mean_of([Estimate(0.6, 0.57, 0.64), Estimate(0.8, 0.76, 0.83)])
    Estimate(value=0.7, lower=0.675, upper=0.725)
    """
    value, lower, upper = np.array([(one.value, one.lower, one.upper) for one in estimates]).T
    below, above = np.sqrt(np.square(value - lower).sum()), np.sqrt(np.square(upper - value).sum())
    mean = float(value.mean())
    return Estimate(mean, mean - float(below) / len(value), mean + float(above) / len(value))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm-adjusted p-values, in the order given; an empty family stays empty.

    As statsmodels' `multipletests`, which collects all garbage in every call: a third of a second in this package.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted


def mean(values: Sequence[float]) -> Estimate:
    """Mean with its 95 % t interval, which is NaN below two values; NaN among the values are left out.

    >>> mean([1.0, 2.0, 3.0])
    Estimate(value=2.0, lower=-0.48..., upper=4.48...)
    """
    x = np.asarray(values, float)
    x = x[~np.isnan(x)]
    if len(x) < 2:
        return Estimate(float(x.mean()) if len(x) else np.nan, np.nan, np.nan)
    half = float(t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))
    return Estimate(float(x.mean()), float(x.mean()) - half, float(x.mean()) + half)


def median(values: Sequence[float], draws: int = 2000, seed: int = 0) -> Estimate:
    """Median with its 95 % percentile bootstrap interval, which is NaN below two values; NaN among the values are left out.

    >>> median([1.0, 1.0, 1.0])
    Estimate(value=1.0, lower=1.0, upper=1.0)
    """
    x = np.asarray(values, float)
    x = x[~np.isnan(x)]
    if len(x) < 2:
        return Estimate(float(x[0]) if len(x) else np.nan, np.nan, np.nan)
    drawn = np.median(np.random.default_rng(seed).choice(x, (draws, len(x))), axis=1)
    return Estimate(float(np.median(x)), *(float(q) for q in np.quantile(drawn, [0.025, 0.975])))
