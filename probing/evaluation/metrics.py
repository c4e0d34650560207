"""Metrics: scores of predictions with their 95 % intervals, for classes, numbers and sets of labels.

A task has one main metric (`main_metric` of its card), by which its layers are chosen on dev and compared on test. Such a metric is
a mean over test items, or is linearised as one (`by_item`; infinitesimal jackknife, Efron 1982), so that intervals and paired tests
are those of means over items, or over groups of them. The variance of AUROC is then that of DeLong et al. (1988) up to n / (n - 1).
The others are reported beside it, with percentile bootstrap intervals over items or groups.

    classification  accuracy (main), macro_f1; auroc (main), average_precision, mcc; ordered classes: quadratic_kappa, spearman
    regression      r2 (main), spearman
    multilabel      sample_f1 (main), macro_f1, micro_f1
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata, t

from probing.data.card import MAIN, main_metric
from probing.data.task import Task
from probing.errors import ConfigError, did_you_mean
from probing.evaluation.statistics import METRICS, n_units, percentile, standard_error, wilson
from probing.probes.floors import best_set, set_f1
from probing.types import Estimate, Labels, Targets, Values

VERSION = 1
"""Part of the key of cells that have these metrics: raise it when the same predictions would give other scores or intervals."""

DRAWS = 400
"""Bootstrap draws of a metric that is not linearised."""


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


@dataclass(frozen=True)
class Metric:
    """A metric: its value of an outcome; `by_item`, if it can be a task's main one: values by item whose mean it is; `interval`: of
    the value from those; `reads_scores`: needs `Outcome.scores`; `ordered`: needs classes that have an order."""

    value: Callable[[Outcome], float]
    by_item: Callable[[Outcome], Values] | None = None
    interval: Callable[[float, float, int], tuple[float, float]] | None = None
    reads_scores: bool = False
    ordered: bool = False

    def __call__(self, outcome: Outcome) -> Estimate:
        """Return the value with its 95 % interval; NaN where it is not defined."""
        value = self.value(outcome)
        m = n_units(len(outcome.gold), outcome.groups)
        if np.isnan(value):
            return Estimate(np.nan, np.nan, np.nan)
        if self.by_item is None or self.interval is None:
            return bootstrap(self.value, outcome)
        lower, upper = self.interval(value, standard_error(self.by_item(outcome), outcome.groups), m)
        return Estimate(value, lower, upper)


def bootstrap(value: Callable[[Outcome], float], outcome: Outcome, draws: int = DRAWS) -> Estimate:
    """Return the value with its 95 % percentile interval over test items, or over groups of them; of one alone it has none."""
    if n_units(len(outcome.gold), outcome.groups) < 2:
        return Estimate(value(outcome), np.nan, np.nan)
    drawn = [value(outcome.take(rows)) for rows in resampled(len(outcome.gold), outcome.groups, draws)]
    return percentile(value(outcome), [*drawn, value(outcome)])


def resampled(n: int, groups: Labels | None, draws: int) -> list[np.ndarray]:
    """Return the rows of each bootstrap draw of n items, or of their groups."""
    rng = np.random.default_rng(0)
    if groups is None:
        return list(rng.integers(n, size=(draws, n)))
    members = [np.flatnonzero(groups == k) for k in range(int(groups.max()) + 1)]
    return [np.concatenate([members[k] for k in rng.integers(len(members), size=len(members))]) for _ in range(draws)]


def _on_logit(value: float, error: float, m: int) -> tuple[float, float]:
    """Bounds of a score from 0 to 1: a t interval of its logit; Wilson's of m units where all have the same value."""
    if m < 2:
        return 0.0, 1.0
    if not 0 < value < 1 or not error:
        bounds = wilson(value * m, m)
        return bounds.lower, bounds.upper
    logit, half = np.log(value / (1 - value)), t.ppf(0.975, m - 1) * error / (value * (1 - value))
    return float(1 / (1 + np.exp(-(logit - half)))), float(1 / (1 + np.exp(-(logit + half))))


def _on_log(value: float, error: float, m: int) -> tuple[float, float]:
    """Bounds of R²: a t interval of the logarithm of 1 - R², the share of the variance that is left."""
    if m < 2:
        return -np.inf, 1.0
    left = max(1 - value, 1e-12)
    factor = np.exp(t.ppf(0.975, m - 1) * error / left)
    return float(1 - left * factor), float(1 - left / factor)


def _against_others(outcome: Outcome) -> Iterator[tuple[np.ndarray, Values]]:
    """Of each class that occurs with others in test, of two classes the second alone: which items are of it, and their scores."""
    assert outcome.scores is not None
    scores = outcome.scores.astype(np.float64)
    for k in [1] if outcome.n_classes == 2 else range(outcome.n_classes):
        positive = outcome.gold == k
        if positive.any() and not positive.all():
            own = scores[:, 1] - scores[:, 0] if outcome.n_classes == 2 else scores[:, k]
            yield positive, np.nan_to_num(own, nan=0.0, neginf=-1e300, posinf=1e300)


def _auroc(outcome: Outcome) -> float:
    return float(np.mean(_auroc_by_item(outcome)))


def _auroc_by_item(outcome: Outcome) -> Values:
    """Each class against the others, mean over classes. AUROC is the mean placement of the positive items among the negative ones;
    an item's value is AUROC and its influence on it. NaN if the test split has one class."""
    n, values = len(outcome.gold), []
    for positive, score in _against_others(outcome):
        rank, own, n_1 = rankdata(score), np.empty(n), int(positive.sum())
        own[positive] = (rank[positive] - rankdata(score[positive])) / (n - n_1)
        own[~positive] = 1 - (rank[~positive] - rankdata(score[~positive])) / n_1
        area = own[positive].mean()
        values.append(area + (own - area) * np.where(positive, n / n_1, n / (n - n_1)))
    return np.mean(values, axis=0) if values else np.full(n, np.nan)


def _average_precision(outcome: Outcome) -> float:
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


def _mcc(outcome: Outcome) -> float:
    """Matthews' correlation, of several classes (Gorodkin 2004); 0 where gold or predictions are of one class."""
    counts = _confusion(outcome)
    n, gold, predicted = counts.sum(), counts.sum(1), counts.sum(0)
    spread = (n * n - gold @ gold) * (n * n - predicted @ predicted)
    return float((n * np.trace(counts) - gold @ predicted) / np.sqrt(spread)) if spread else 0.0


def _quadratic_kappa(outcome: Outcome) -> float:
    """Cohen's kappa with quadratic weights over the ranks of the classes (Cohen 1968); NaN where gold and predictions are one class."""
    counts, rank = _confusion(outcome), np.arange(outcome.n_classes)
    weights = (rank[:, None] - rank) ** 2.0
    expected = (weights * np.outer(counts.sum(1), counts.sum(0))).sum() / counts.sum()
    return float(1 - (weights * counts).sum() / expected) if expected else float("nan")


def _spearman(outcome: Outcome) -> float:
    """Correlation of the ranks, ties in the middle; 0 for predictions that are all the same, NaN for such labels."""
    gold, predicted = (rankdata(x) - (len(x) + 1) / 2 for x in (outcome.gold, outcome.predicted))
    if not gold.any():
        return float("nan")
    return float(gold @ predicted / np.sqrt(gold @ gold * (predicted @ predicted))) if predicted.any() else 0.0


def _r2(outcome: Outcome) -> float:
    return float(np.mean(_r2_by_item(outcome)))


def _r2_by_item(outcome: Outcome) -> Values:
    """R² = 1 - sum(error²) / sum(deviation²), the deviation from the mean of test; NaN if test has one number only."""
    error, deviation = (outcome.gold - outcome.predicted) ** 2, (outcome.gold - outcome.gold.mean()) ** 2
    if not deviation.any():
        return np.full(len(error), np.nan)
    share = error.sum() / deviation.sum()
    return 1 - share - (error - share * deviation) / deviation.mean()


def _overlaps(outcome: Outcome) -> tuple[Values, Values]:
    """Twice the sentences that have each label in gold and predicted, and those that have it in either, counted in both: (K,)."""
    gold, predicted = outcome.gold, outcome.predicted
    return 2.0 * (gold * predicted).sum(0), 1.0 * (gold.sum(0) + predicted.sum(0))


def _macro_f1(outcome: Outcome) -> float:
    """Mean over the labels that occur in gold or predicted, as of classes."""
    overlap, size = _overlaps(outcome)
    return float((overlap[size > 0] / size[size > 0]).mean()) if size.any() else float("nan")


def _micro_f1(outcome: Outcome) -> float:
    overlap, size = _overlaps(outcome)
    return float(overlap.sum() / size.sum()) if size.any() else float("nan")


def _sample_f1(outcome: Outcome) -> float:
    return float(_f1_by_item(outcome).mean())


def _f1_by_item(outcome: Outcome) -> Values:
    return set_f1(outcome.gold, outcome.predicted)


OTHER: dict[str, dict[str, Metric]] = {
    "classification": {
        "auroc": Metric(_auroc, _auroc_by_item, _on_logit, reads_scores=True),
        "average_precision": Metric(_average_precision, reads_scores=True),
        "mcc": Metric(_mcc),
        "quadratic_kappa": Metric(_quadratic_kappa, ordered=True),
        "spearman": Metric(_spearman, ordered=True),
    },
    "regression": {"r2": Metric(_r2, _r2_by_item, _on_log), "spearman": Metric(_spearman)},
    "multilabel": {
        "sample_f1": Metric(_sample_f1, _f1_by_item, _on_logit),
        "macro_f1": Metric(_macro_f1),
        "micro_f1": Metric(_micro_f1),
    },
}
"""Kind of labels -> metrics beside those of `statistics.METRICS`, which all tasks with classes have."""

ASKED = tuple(OTHER["classification"])
"""What `metrics=[…]` may name; numbers and sets of labels have all theirs."""

_TITLES = {"auroc": "AUROC", "mcc": "MCC", "r2": "R²", "quadratic_kappa": "quadratic kappa", "spearman": "Spearman's ρ"}

NAMES = tuple(dict.fromkeys(name for metrics in OTHER.values() for name in metrics))


def title(name: str) -> str:
    """The name of a metric in tables.

    >>> title("macro_f1"), title("auroc"), title("average_precision")
    ('macro F1', 'AUROC', 'average precision')
    """
    return _TITLES.get(name, name.replace("_f1", " F1").replace("_", " "))


def check(names: Sequence[str]) -> None:
    """Raise a `ConfigError` for a name that `metrics` cannot have."""
    for name in names:
        if name not in ASKED:
            hint = " (it is always reported)" if name in METRICS or name in NAMES else did_you_mean(name, ASKED)
            raise ConfigError(f"metrics={name!r} is unknown{hint} (allowed: {', '.join(ASKED)})")


def chosen(task: Task, asked: Sequence[str]) -> dict[str, Metric]:
    """The metrics of `OTHER` that are measured on a task; the main one, if it is of them, first."""
    metrics = OTHER[task.kind]
    if task.kind != "classification":
        return metrics
    main = main_metric(task.card)
    names = dict.fromkeys([*([main] if main in metrics else []), *(name for name in ASKED if name in asked)])
    return {name: metrics[name] for name in names if not metrics[name].ordered or task.card.get("ordered")}


def scores_of(task: Task, outcome: Outcome, asked: Sequence[str], dev: Mapping[str, float]) -> dict[str, Estimate]:
    """Every score of a probe on a task, with `dev`: the value of the main metric on dev, under its name."""
    estimates = {f"dev_{name}": Estimate(value, np.nan, np.nan) for name, value in dev.items()}
    if task.kind == "classification":
        for name, metric in METRICS.items():
            estimates[name] = metric(outcome.gold, outcome.predicted, outcome.n_classes, outcome.groups)
    return estimates | {name: metric(outcome) for name, metric in chosen(task, asked).items()}


def by_item(name: str, items: Mapping[str, Any]) -> Values:
    """The values by test item whose mean is a main metric, from the arrays of a cell; of accuracy whether each item is right."""
    gold, predicted = items["gold"], items["predicted"]
    if name == "accuracy":
        return gold == predicted
    [metric] = [metrics[name] for kind, metrics in OTHER.items() if name in MAIN[kind]]
    assert metric.by_item is not None
    scores = items.get("scores")
    return metric.by_item(Outcome(gold, predicted, 0 if scores is None else scores.shape[1], None, scores))


def of_constant(gold: Targets) -> Values:
    """The values by item of the main metric, for the constant prediction that is best on these very labels, (n,): of numbers the
    mean, whose R² is 0; of sets the best of those that hold the most frequent labels."""
    if gold.ndim == 1:
        return np.zeros(len(gold))
    return set_f1(gold, np.broadcast_to(best_set(gold), gold.shape))
