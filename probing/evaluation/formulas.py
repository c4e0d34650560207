"""Formulas of metrics: the value of an outcome, and for those that can be a task's main metric the values by test item."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from probing.probes.base import set_f1
from probing.types import Labels, Targets, Values


class Outcome(NamedTuple):
    """Test labels, predictions, number of classes, groups of the items (numbers 0..m-1, or None), and for metrics that read them
    scores of the classes, (n, K)."""

    gold: Targets
    predicted: Targets
    n_classes: int
    groups: Labels | None = None
    scores: Values | None = None

    def take(self, rows: np.ndarray) -> Outcome:
        scores = None if self.scores is None else self.scores[rows]
        return Outcome(self.gold[rows], self.predicted[rows], self.n_classes, None, scores)


def _against_others(outcome: Outcome) -> Iterator[tuple[np.ndarray, Values]]:
    """Of each class that occurs with others in test, of two classes the second alone: which items are of it, and their scores."""
    assert outcome.scores is not None
    scores = outcome.scores.astype(np.float64)
    for k in [1] if outcome.n_classes == 2 else range(outcome.n_classes):
        positive = outcome.gold == k
        if positive.any() and not positive.all():
            own = scores[:, 1] - scores[:, 0] if outcome.n_classes == 2 else scores[:, k]
            yield positive, np.nan_to_num(own, nan=0.0, neginf=-1e300, posinf=1e300)


def auroc(outcome: Outcome) -> float:
    return float(np.mean(auroc_by_item(outcome)))


def auroc_by_item(outcome: Outcome) -> Values:
    """Each class against the others, mean over classes. AUROC is the mean placement of the positive items among the negative ones;
    an item's value is AUROC and its influence on it. NaN if the test split has one class."""
    n, values = len(outcome.gold), []
    for positive, score in _against_others(outcome):
        rank, own, n_1 = rankdata(score), np.empty(n), int(positive.sum())
        own[positive] = (rank[positive] - rankdata(score[positive])) / (n - n_1)
        own[~positive] = 1 - (rank[~positive] - rankdata(score[~positive])) / n_1
        area = own[positive].mean()
        n_0 = n - n_1
        scale = [n / k * np.sqrt(k / max(1, k - 1)) for k in (n_1, n_0)]  # the variances of DeLong et al. divide by k - 1
        values.append(area + (own - area) * np.where(positive, *scale))
    return np.mean(values, axis=0) if values else np.full(n, np.nan)


def average_precision(outcome: Outcome) -> float:
    """Mean over classes of the precision at the score of each positive item (ties share one), averaged over these."""
    areas = []
    for positive, score in _against_others(outcome):
        order = np.argsort(-score, kind="stable")
        hits, ends = np.cumsum(positive[order]), np.r_[np.flatnonzero(np.diff(score[order])), len(score) - 1]
        areas.append(np.diff(hits[ends], prepend=0) @ (hits[ends] / (ends + 1)) / hits[-1])
    return float(np.mean(areas)) if areas else float("nan")


def _confusion(outcome: Outcome) -> Values:
    k = outcome.n_classes
    return np.bincount(outcome.gold * k + outcome.predicted, minlength=k * k).reshape(k, k).astype(float)


def mcc(outcome: Outcome) -> float:
    """Matthews' correlation, of several classes (Gorodkin 2004); 0 where gold or predictions are of one class."""
    counts = _confusion(outcome)
    n, gold, predicted = counts.sum(), counts.sum(1), counts.sum(0)
    spread = (n * n - gold @ gold) * (n * n - predicted @ predicted)
    return float((n * np.trace(counts) - gold @ predicted) / np.sqrt(spread)) if spread else 0.0


def quadratic_kappa(outcome: Outcome) -> float:
    """Cohen's kappa with quadratic weights over the ranks of the classes (Cohen 1968); NaN if both are one class."""
    counts, rank = _confusion(outcome), np.arange(outcome.n_classes)
    weights = (rank[:, None] - rank) ** 2.0
    expected = (weights * np.outer(counts.sum(1), counts.sum(0))).sum() / counts.sum()
    return float(1 - (weights * counts).sum() / expected) if expected else float("nan")


def spearman(outcome: Outcome) -> float:
    """Correlation of the ranks, ties in the middle; 0 for predictions that are all the same, NaN for such labels."""
    gold, predicted = (rankdata(x) - (len(x) + 1) / 2 for x in (outcome.gold, outcome.predicted))
    if not gold.any():
        return float("nan")
    return float(gold @ predicted / np.sqrt(gold @ gold * (predicted @ predicted))) if predicted.any() else 0.0


def r2(outcome: Outcome) -> float:
    return float(np.mean(r2_by_item(outcome)))


def r2_by_item(outcome: Outcome) -> Values:
    """R² = 1 - sum(error²) / sum(deviation²), the deviation from the mean of test; NaN if test has one number only."""
    gold = outcome.gold
    if gold.max() == gold.min():
        return np.full(len(gold), np.nan)
    unit = np.abs(gold - gold.mean()).max()  # squares of very small or large numbers are none
    error, deviation = ((gold - outcome.predicted) / unit) ** 2, ((gold - gold.mean()) / unit) ** 2
    share = error.sum() / deviation.sum()
    return 1 - share - (error - share * deviation) / deviation.mean()


def _overlaps(outcome: Outcome) -> tuple[Values, Values]:
    """Twice the sentences that have each label in gold and predicted, and those that have it in either, counted in both: (K,)."""
    gold, predicted = outcome.gold, outcome.predicted
    return 2.0 * (gold * predicted).sum(0), 1.0 * (gold.sum(0) + predicted.sum(0))


def macro_f1(outcome: Outcome) -> float:
    """Mean over the labels that occur in gold or predicted, as of classes."""
    overlap, size = _overlaps(outcome)
    return float((overlap[size > 0] / size[size > 0]).mean()) if size.any() else float("nan")


def micro_f1(outcome: Outcome) -> float:
    overlap, size = _overlaps(outcome)
    return float(overlap.sum() / size.sum()) if size.any() else float("nan")


def sample_f1(outcome: Outcome) -> float:
    return float(f1_by_item(outcome).mean())


def f1_by_item(outcome: Outcome) -> Values:
    return set_f1(outcome.gold, outcome.predicted)
