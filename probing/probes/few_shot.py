"""MTEB's classification protocol: logistic regression on k train sentences of each label, the mean of ten draws.

From the description of mteb 1.14 (`AbsTaskClassification`, `LogRegClassificationEvaluator`): the numbers 0 .. n-1 of the train
sentences are shuffled in place by a fresh `RandomState(42)` before each of ten experiments, so that experiment e has one
permutation applied e + 1 times; the first k of each label in that order are the train set, of a label with fewer all. The
classifier is scikit-learn's `LogisticRegression(random_state=42, max_iter=100)` on raw vectors, otherwise at its defaults, and
usually stops unconverged. The score is the mean accuracy over the draws on all test sentences.

A run's seed is the number of the draw, so that `seed=[0,1,2,3,4,5,6,7,8,9]` are the ten and a table's mean over seeds is mteb's
main score. Draws share the test sentences and the shuffle: their standard deviation is no standard error. Nothing is chosen on
dev but the layer.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from probing.data.mteb import TASKS
from probing.probes.base import ProbeResult, SplitFeatures, SplitLabels, check_grid
from probing.probes.path import ColumnProbe
from probing.types import Labels

SHUFFLED_BY = 42


def order_of(n: int, number: int) -> np.ndarray:
    """The order of n train sentences in draw `number` (0 is the first): mteb's permutation applied number + 1 times, (n,)."""
    order = np.arange(n)
    for _ in range(number + 1):
        np.random.RandomState(SHUFFLED_BY).shuffle(order)
    return order


def draw(labels: Labels | Sequence[Any], k: int, number: int) -> np.ndarray:
    """The rows of draw `number`, in the order in which they are drawn: the first k of each label, or all of a label with fewer."""
    labels, drawn = np.asarray(labels), list[int]()
    left = dict.fromkeys(np.unique(labels).tolist(), k)
    for row in order_of(len(labels), number).tolist():
        if left[labels[row].item()]:
            left[labels[row].item()] -= 1
            drawn.append(row)
    return np.array(drawn, dtype=np.int64)


def scores(gold: Sequence[Any] | Labels, predictions: Sequence[Sequence[Any] | Labels]) -> dict[str, Any]:
    """The scores that mteb prints of the predictions of several draws on one test split: for each draw accuracy, macro F1 over the
    labels that occur in test or predictions (`f1`) and F1 weighted by test counts (`f1_weighted`), 0-1; mean accuracy over draws,
    and their standard deviation (ddof 1; NaN of one draw)."""
    from sklearn.metrics import accuracy_score, f1_score

    draws = [
        {
            "accuracy": float(accuracy_score(gold, predicted)),
            "f1": float(f1_score(gold, predicted, average="macro", zero_division=0)),
            "f1_weighted": float(f1_score(gold, predicted, average="weighted", zero_division=0)),
        }
        for predicted in predictions
    ]
    accuracies = [one["accuracy"] for one in draws]
    sd = float(np.std(accuracies, ddof=1)) if len(draws) > 1 else float("nan")
    return {"draws": draws, "mean_accuracy": float(np.mean(accuracies)), "sd": sd}


@dataclass
class FewShot(ColumnProbe):
    """`mteb`: the protocol above.

    Args:
        k: train sentences of each label, of tasks that are not in `k_of`.
        k_of: task -> k; by default mteb's of the tasks of `probing.data.mteb.TASKS` whose k is another.
        max_iter: most steps of the solver.
    """

    name: str = "mteb"
    k: int = 8
    k_of: dict[str, int] = field(default_factory=lambda: {name: task.k for name, task in TASKS.items() if task.k != 8})
    max_iter: int = 100

    def __post_init__(self) -> None:
        check_grid("k", [self.k, *self.k_of.values()], above=0)
        check_grid("max_iter", [self.max_iter], above=0)

    def settings(self, task: str) -> dict[str, Any]:
        return {"estimator": "mteb few-shot", "k": self.k_of.get(task, self.k), "max_iter": self.max_iter, "version": 1}

    def seed(self, seed: int) -> int | None:
        return seed

    def fit_column(
        self, blocks: SplitFeatures, label_sets: Mapping[str, SplitLabels], task: str, n_classes: int, seed: int
    ) -> Iterator[tuple[str, ProbeResult]]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        for name, labels in label_sets.items():
            rows = draw(labels.train, self.k_of.get(task, self.k), seed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # marked in the row
                model = LogisticRegression(random_state=42, max_iter=self.max_iter).fit(blocks.train[rows], labels.train[rows])
            dev = float((model.predict(blocks.dev) == labels.dev).mean())
            converged = bool(np.max(model.n_iter_) < self.max_iter)
            tried = ({"draw": seed, "dev_accuracy": dev, "converged": converged},)
            chosen = {"draw": seed, "sentences": len(rows)}
            yield name, ProbeResult(model.predict(blocks.test), dev, chosen, tried, converged, model=partial(_itself, model))


def _itself(model: Any) -> Any:
    return model
