"""Uncertainty of test scores, and comparisons on the same items.

Intervals say how the score would move with other test sentences of the same kind; they do not contain the variance of training.
Accuracy: Wilson's 95 % interval (Wilson 1927). Macro F1: percentile bootstrap over test items. Paired comparison of two
classifiers on the same items: exact McNemar test (McNemar 1947) on the items that one has right and the other wrong, and the
interval of their difference (Agresti & Min 2005). Families of comparisons: Holm's correction (Holm 1979).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from probing.types import Estimate, Labels


def accuracy(correct: int, n: int) -> Estimate:
    """Accuracy (0-1) of `correct` out of `n` with Wilson's 95 % interval.

    >>> accuracy(50, 100)
    Estimate(value=0.5, lower=0.4038..., upper=0.5961...)
    """
    lower, upper = proportion_confint(correct, n, alpha=0.05, method="wilson")
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


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm-adjusted p-values, in the order given; an empty family stays empty.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    if len(p_values) == 0:
        return np.empty(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return multipletests(p_values, method="holm")[1]
