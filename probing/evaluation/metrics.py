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

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import t

from probing.data.card import MAIN, main_metric
from probing.data.task import Task
from probing.errors import ConfigError, did_you_mean
from probing.evaluation.formulas import (
    Outcome,
    auroc,
    auroc_by_item,
    average_precision,
    f1_by_item,
    macro_f1,
    mcc,
    micro_f1,
    quadratic_kappa,
    r2,
    r2_by_item,
    sample_f1,
    spearman,
)
from probing.evaluation.statistics import METRICS, degrees, n_units, percentile, standard_error, wilson
from probing.probes.base import agreement, set_f1
from probing.probes.floors import best_set
from probing.types import Estimate, Labels, Targets, Values

VERSION = 1
"""Part of the key of cells that have these metrics: raise it when the same predictions would give other scores or intervals."""

DRAWS = 400
"""Bootstrap draws of a metric that is not linearised."""


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
        if m < 2:
            return Estimate(value, np.nan, np.nan)
        values = self.by_item(outcome)
        reach = t.ppf(0.975, degrees(values, outcome.groups)) * standard_error(values, outcome.groups)
        return Estimate(value, *self.interval(value, float(reach), m))


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


def _on_logit(value: float, reach: float, m: int) -> tuple[float, float]:
    """Bounds of a score from 0 to 1: a t interval of its logit (`reach`: half its width before that); Wilson's of m units where all
    have the same value."""
    if not 0 < value < 1 or reach < 1e-9:
        bounds = wilson(value * m, m)
        return bounds.lower, bounds.upper
    logit, half = np.log(value / (1 - value)), reach / (value * (1 - value))
    return float(expit(logit - half)), float(expit(logit + half))


def _on_log(value: float, reach: float, m: int) -> tuple[float, float]:
    """Bounds of R²: a t interval of the logarithm of 1 - R², the share of the variance that is left."""
    left = max(1 - value, 1e-12)
    factor = np.exp(min(reach / left, 100.0))
    return float(1 - left * factor), float(1 - left / factor)


OTHER: dict[str, dict[str, Metric]] = {
    "classification": {
        "auroc": Metric(auroc, auroc_by_item, _on_logit, reads_scores=True),
        "average_precision": Metric(average_precision, reads_scores=True),
        "mcc": Metric(mcc),
        "quadratic_kappa": Metric(quadratic_kappa, ordered=True),
        "spearman": Metric(spearman, ordered=True),
    },
    "regression": {"r2": Metric(r2, r2_by_item, _on_log), "spearman": Metric(spearman)},
    "multilabel": {
        "sample_f1": Metric(sample_f1, f1_by_item, _on_logit),
        "macro_f1": Metric(macro_f1),
        "micro_f1": Metric(micro_f1),
    },
}
"""Kind of labels -> metrics beside those of `statistics.METRICS`, which all tasks with classes have."""

ASKED = tuple(OTHER["classification"])
"""What `metrics=[…]` may name; numbers and sets of labels have all theirs."""

SIGNED = ("mcc", "quadratic_kappa", "spearman", "r2")
"""Metrics that can be below 0; R² can be below -1."""

_TITLES = {"auroc": "AUROC", "mcc": "MCC", "r2": "R²", "quadratic_kappa": "quadratic kappa", "spearman": "Spearman's ρ"}

NAMES = tuple(dict.fromkeys(name for metrics in OTHER.values() for name in metrics))


def title(name: str) -> str:
    """The name of a metric in tables.

    >>> title("macro_f1"), title("auroc"), title("average_precision")
    ('macro F1', 'AUROC', 'average precision')
    """
    return _TITLES.get(name, name.replace("_f1", " F1").replace("_", " "))


def in_words(names: Iterable[str]) -> str:
    """What the main scores of a table are.

    >>> in_words(["accuracy", ""]), in_words(["r2", "accuracy"])
    ('accuracy', 'score (accuracy, R²)')
    """
    known = {name for name in names if name} or {"accuracy"}
    return "accuracy" if known == {"accuracy"} else f"score ({', '.join(map(title, sorted(known)))})"


def check(names: Sequence[str]) -> None:
    """Raise a `ConfigError` for a name that `metrics` cannot have."""
    for name in names:
        if name not in ASKED:
            if name in METRICS or name in NAMES:
                raise ConfigError(
                    f"metrics={name!r}: it is reported of itself where it is defined (to ask for: {', '.join(ASKED)})"
                )
            raise ConfigError(f"metrics={name!r} is unknown{did_you_mean(name, ASKED)} (allowed: {', '.join(ASKED)})")


def chosen(task: Task, names: Sequence[str]) -> dict[str, Metric]:
    """The metrics of `OTHER` that are measured on a task; the main one, if it is of them, first."""
    metrics = OTHER[task.kind]
    if task.kind != "classification":
        return metrics
    main = main_metric(task.card)
    ordered = dict.fromkeys([*([main] if main in metrics else []), *(name for name in ASKED if name in names)])
    return {name: metrics[name] for name in ordered if not metrics[name].ordered or task.card.get("ordered")}


def scores_of(task: Task, outcome: Outcome, names: Sequence[str], dev: Mapping[str, float]) -> dict[str, Estimate]:
    """Every score of a probe on a task, with `dev`: the value of the main metric on dev, under its name."""
    estimates = {f"dev_{name}": Estimate(value, np.nan, np.nan) for name, value in dev.items()}
    if task.kind == "classification":
        for name, metric in METRICS.items():
            estimates[name] = metric(outcome.gold, outcome.predicted, outcome.n_classes, outcome.groups)
    return estimates | {name: metric(outcome) for name, metric in chosen(task, names).items()}


def main_reads_scores(task: Task) -> bool:
    """Whether the main metric of a task is one of the scores of classes."""
    metric = OTHER[task.kind].get(main_metric(task.card))
    return metric is not None and metric.reads_scores


def value_on_dev(task: Task, gold: Targets, predicted: Targets, scores: Any) -> float:
    """The main metric on dev."""
    if not main_reads_scores(task):
        return agreement(gold, predicted)
    return OTHER[task.kind][main_metric(task.card)].value(Outcome(gold, predicted, len(task.classes), None, scores))


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
    """The values by item of a main metric other than accuracy, for the constant prediction that is best on these very labels, (n,):
    AUROC 1/2; of numbers the mean, whose R² is 0; of sets the best of those that hold the most frequent labels."""
    if gold.ndim == 1:
        return np.full(len(gold), 0.0 if gold.dtype.kind == "f" else 0.5)
    return set_f1(gold, np.broadcast_to(best_set(gold), gold.shape))
