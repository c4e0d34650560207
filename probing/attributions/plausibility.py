"""Plausibility: whether scores put first the words that people marked (gold). It says nothing about what the classifier uses.

    average_precision   mean over gold words of the share of gold among the words ranked down to it; equal scores share one
                        threshold, as in `sklearn.metrics.average_precision_score`, which checks its input for 10 ms a call
    trapezoid           area under precision over recall by trapezoids from the point (0, 1): what papers print as AUPRC
    auroc               chance that a gold word is above another word, ties counting half
    f1, jaccard         of the k words of highest score, k the number of gold words; of equal scores the first word first
    pointing            whether the word of the highest score is gold (pointing game); of equal ones the share that is
    reciprocal_rank     1 / rank of the first gold word, the first word first among equal ones

`chance` gives each one's mean over all orders of the words of a sentence with n words, k of them gold: average precision is then
far above the share k / n. All are 0-1 and NaN where no word is gold, or every word.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np

from probing.attributions.ranks import order, rounded
from probing.errors import DataError
from probing.types import Values

MEASURES = ("average_precision", "trapezoid", "auroc", "f1", "jaccard", "pointing", "reciprocal_rank")
ENUMERATED = 5000
"""Sets of gold places up to which the chance of the trapezoid is enumerated; above it is the mean over as many drawn ones."""


def plausibility(scores: Values, gold: Sequence[bool] | np.ndarray) -> dict[str, float]:
    """All measures of scores (n,) against gold words (n,), bool.

    Raises:
        DataError: other numbers of scores and gold marks.
    """
    scores, marks = rounded(scores), np.asarray(gold, bool)
    if scores.shape != marks.shape:
        raise DataError(f"{len(scores)} scores and {len(marks)} gold marks: give one mark for each word")
    k = int(marks.sum())
    if not 0 < k < len(marks):
        return dict.fromkeys(MEASURES, np.nan)
    precision, recall = _curve(scores, marks)
    differences = scores[marks][:, None] - scores[~marks]
    ranked = marks[order(scores)]
    hits = int(ranked[:k].sum())
    return {
        "average_precision": float(np.diff(recall) @ precision[1:]),
        "trapezoid": float(np.diff(recall) @ (precision[1:] + precision[:-1]) / 2),
        "auroc": float((differences > 0).mean() + (differences == 0).mean() / 2),
        "f1": hits / k,
        "jaccard": hits / (2 * k - hits),
        "pointing": float(marks[scores == scores.max()].mean()),
        "reciprocal_rank": 1 / float(ranked.argmax() + 1),
    }


def _curve(scores: Values, marks: np.ndarray) -> tuple[Values, Values]:
    """Precision and recall at each distinct score, from the highest, after the point of precision 1 and recall 0."""
    ranked = np.argsort(-scores)
    hits = np.cumsum(marks[ranked])
    ends = np.append(np.flatnonzero(np.diff(scores[ranked])), len(scores) - 1)  # the last word of each score
    return np.append(1.0, hits[ends] / (ends + 1)), np.append(0.0, hits[ends] / hits[-1])


def chance(n: int, k: int) -> dict[str, float]:
    """The mean of each measure over all orders of n words with k gold ones, no ties.

    >>> round(chance(6, 2)["average_precision"], 3), round(chance(20, 3)["average_precision"], 3)
    (0.527, 0.266)
    """
    if not 0 < k < n:
        return dict.fromkeys(MEASURES, np.nan)
    rank = np.arange(1, n + 1)
    overlap = np.array([comb(k, h) * comb(n - k, k - h) / comb(n, k) for h in range(k + 1)])  # of k drawn words with gold
    hits = np.arange(k + 1)
    first = np.array([comb(n - r, k - 1) / comb(n, k) for r in rank])  # the first gold word has rank r
    return {
        "average_precision": float(((1 + (rank - 1) * (k - 1) / (n - 1)) / rank).mean()),
        "trapezoid": _mean_trapezoid(n, k),
        "auroc": 0.5,
        "f1": float(overlap @ hits) / k,
        "jaccard": float(overlap @ (hits / (2 * k - hits))),
        "pointing": k / n,
        "reciprocal_rank": float(first @ (1 / rank)),
    }


def _mean_trapezoid(n: int, k: int) -> float:
    places: Sequence[Sequence[int]]
    if comb(n, k) <= ENUMERATED:
        places = list(combinations(range(n), k))
    else:
        places = np.random.default_rng(0).random((ENUMERATED, n)).argsort(1)[:, :k].tolist()
    ranked = np.zeros((len(places), n))
    ranked[np.arange(len(places))[:, None], np.array(places)] = 1
    hits = ranked.cumsum(1)
    precision = np.concatenate([np.ones((len(places), 1)), hits / np.arange(1, n + 1)], 1)
    return float((ranked / k * (precision[:, 1:] + precision[:, :-1]) / 2).sum(1).mean())


def gold_of(marks: np.ndarray, kind: str = "majority") -> np.ndarray:
    """The gold words (n,) of annotators' marks (annotators, n), bool: of most annotators (more than half), of any (union), or the
    share of annotators (soft)."""
    share = np.asarray(marks, float).mean(0)
    return {"majority": share > 0.5, "union": share > 0, "soft": share}[kind]


def ceiling(marks: np.ndarray, kind: str = "majority") -> dict[str, float]:
    """What people reach: each annotator's marks as scores against the gold of the others, the mean over annotators for whom the
    measure exists; `pairwise_f1`: mean F1 of the marks of two annotators, NaN for fewer than two.

    Args:
        marks: (annotators, n), bool.
    """
    marks = np.asarray(marks, bool)
    if len(marks) < 2:
        return dict.fromkeys((*MEASURES, "pairwise_f1"), np.nan)
    each = [plausibility(own.astype(float), gold_of(np.delete(marks, a, 0), kind)) for a, own in enumerate(marks)]
    means = {name: _mean([one[name] for one in each]) for name in MEASURES}
    means["f1"] = _mean([_f1(own, gold_of(np.delete(marks, a, 0), kind)) for a, own in enumerate(marks)])
    return means | {"pairwise_f1": _mean([_f1(a, b) for a, b in combinations(marks, 2)])}


def _f1(a: np.ndarray, b: np.ndarray) -> float:
    total = int(a.sum() + b.sum())
    return 2 * int((a & b).sum()) / total if total else np.nan


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else np.nan
