"""SentEval's probes: its scikit-learn path (`senteval-logreg`) and its torch loop (`senteval`, `jawahar2019`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from probing.encoders.pooling import POOLINGS
from probing.probes.base import (
    ProbeResult,
    SplitFeatures,
    SplitLabels,
    best_of,
    check_choice,
    check_grid,
    edge_of,
    ordered_rows,
)
from probing.probes.path import ColumnProbe
from probing.types import Labels, Representation

ORDERS = ("file", "senteval")


def logistic(solver: str, C: float, max_iter: int, n_classes: int) -> Any:
    """Return scikit-learn's default logistic regression, before 0.22 if liblinear: one-vs-rest, the intercept penalised."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    model = LogisticRegression(C=C, solver=solver, max_iter=max_iter, random_state=1111)
    return OneVsRestClassifier(model) if solver == "liblinear" and n_classes != 2 else model


@dataclass
class SentEvalLogReg(ColumnProbe):
    """`senteval-logreg`: SentEval's scikit-learn path, logistic regression on raw features, C chosen on dev.

    SentEval leaves all but C and the seed at the library's defaults: liblinear, one-vs-rest with a penalised intercept, when
    its numbers were published; lbfgs with softmax, which `senteval-logreg-lbfgs` has, since scikit-learn 0.22. The dev
    accuracy is rounded to two decimals of a percent before the first maximum is taken. `order`: see `ORDERS`.
    """

    name: str = "senteval-logreg"
    grid: list[float] = field(default_factory=lambda: [0.25, 0.5, 1.0, 2.0, 4.0, 8.0])
    max_iter: int = 100
    solver: str = "liblinear"
    order: str = "file"

    def __post_init__(self) -> None:
        check_grid("grid", self.grid, above=0)
        check_grid("max_iter", [self.max_iter], above=0)
        check_choice("order", self.order, ORDERS)
        check_choice("solver", self.solver, ("liblinear", "lbfgs"))

    def settings(self, task: str) -> dict[str, Any]:
        settings = {"estimator": "sklearn.LogisticRegression", "grid": self.grid, "max_iter": self.max_iter}
        return settings | {"solver": self.solver, "order": self.order, "version": 2}

    def fit_column(
        self, blocks: SplitFeatures, label_sets: Mapping[str, SplitLabels], task: str, n_classes: int, seed: int
    ) -> Iterator[tuple[str, ProbeResult]]:
        import warnings

        from sklearn.exceptions import ConvergenceWarning

        rows = ordered_rows(self.order, blocks)
        x = blocks.train[rows]
        for name, labels in label_sets.items():
            path = []
            for C in self.grid:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)  # marked in the row
                    model = logistic(self.solver, C, self.max_iter, n_classes).fit(x, labels.train[rows])
                dev = round(100 * float((model.predict(blocks.dev) == labels.dev).mean()), 2) / 100
                steps = max(int(np.max(part.n_iter_)) for part in getattr(model, "estimators_", [model]))
                path.append(({"C": C, "dev_accuracy": dev, "converged": steps < self.max_iter}, model))
            yield name, best_of(path, blocks.test, self.grid)


@dataclass
class SentEvalTorch(ColumnProbe):
    """`senteval` and `jawahar2019`: the torch loop of SentEval over an L2 grid, and over nhid and dropout where lists are given.

    Args:
        nhid: hidden units to try; 0 is a linear probe. The paper tunes 50, 100, 200; the released code does not.
        dropout: rates to try; the paper tunes 0, 0.1, 0.2.
        base_seed: the seed of every fit is base_seed + the run's seed, so that seed 0 is the original's.
        early_stop: False stops after `epoch_size` passes (see `probing.probes.mlp.train_batch`).
        linear_word_content: SentEval forces a linear probe on WordContent; Jawahar et al.'s code does not.
        poolings: only these are probed; null: all.
        embeddings: whether layer 0 is probed.
        first_appearance: number the labels in order of first appearance, not sorted.
        order: "file", or "senteval": train sentences by length and label before the seeded shuffling (see `SplitFeatures.order`).
    """

    name: str = "senteval"
    nhid: list[int] = field(default_factory=lambda: [50])
    dropout: list[float] = field(default_factory=lambda: [0.0])
    l2: list[float] = field(default_factory=lambda: [1e-5, 1e-4, 1e-3, 1e-2])
    batch_size: int = 64
    tenacity: int = 5
    epoch_size: int = 4
    max_epoch: int = 200
    base_seed: int = 1111
    early_stop: bool = True
    linear_word_content: bool = True
    poolings: list[str] | None = None
    embeddings: bool = True
    first_appearance: bool = False
    order: str = "file"

    def __post_init__(self) -> None:
        check_grid("nhid", self.nhid, above=-1)
        check_grid("dropout", self.dropout, above=-1e-9, below=1)
        check_grid("l2", self.l2, above=-1e-9)
        for name in ("batch_size", "epoch_size", "max_epoch", "base_seed"):
            check_grid(name, [getattr(self, name)], above=-1 if name == "base_seed" else 0)
        check_choice("order", self.order, ORDERS)
        for pooling in self.poolings or ():
            check_choice("poolings", pooling, POOLINGS)

    def _nhid(self, task: str) -> list[int]:
        return [0] if self.linear_word_content and task == "word_content" else self.nhid

    def settings(self, task: str) -> dict[str, Any]:
        nhid = self._nhid(task)
        dropout = self.dropout if any(nhid) else [0.0]
        settings: dict[str, Any] = {"estimator": "senteval", "nhid": nhid, "dropout": dropout, "l2": self.l2}
        for name in ("batch_size", "tenacity", "epoch_size", "max_epoch", "early_stop", "first_appearance", "order"):
            settings[name] = getattr(self, name)
        return settings | {"version": 2}

    def seed(self, seed: int) -> int | None:
        return self.base_seed + seed

    def columns(self, columns: Sequence[Representation]) -> list[Representation]:
        return [c for c in columns if (self.poolings is None or c.pooling in self.poolings) and (self.embeddings or c.layer > 0)]

    def fit_column(
        self, blocks: SplitFeatures, label_sets: Mapping[str, SplitLabels], task: str, n_classes: int, seed: int
    ) -> Iterator[tuple[str, ProbeResult]]:
        from probing.probes.mlp import Recipe, train_batch

        grid = [(nhid, p, l2) for nhid in self._nhid(task) for p in (self.dropout if nhid else [0.0]) for l2 in self.l2]
        recipes = [
            Recipe(nhid, p, l2, self.batch_size, self.tenacity, self.epoch_size, self.max_epoch, self.early_stop)
            for nhid, p, l2 in grid
        ]
        cells = [dict(zip(("nhid", "dropout", "l2"), cell, strict=True)) for cell in grid]
        rows, dev = ordered_rows(self.order, blocks), [labels.dev for labels in label_sets.values()]
        train = [labels.train[rows] for labels in label_sets.values()]
        orders = [self._order(labels, n_classes) for labels in train]
        ys, dev_ys = (
            [np.argsort(order)[labels] for order, labels in zip(orders, split, strict=True) for _ in grid] for split in (train, dev)
        )
        runs = train_batch(recipes * len(orders), blocks.train[rows], ys, blocks.dev, dev_ys, n_classes, self.base_seed + seed)
        for k, (name, order) in enumerate(zip(label_sets, orders, strict=True)):
            own_runs = runs[k * len(grid) : (k + 1) * len(grid)]
            best = max(range(len(grid)), key=lambda i: round(100 * own_runs[i].dev_accuracy, 2))  # the first, as SentEval
            settings = tuple(
                cell | {"dev_accuracy": run.dev_accuracy, "dev_curve": list(run.curve)}
                for cell, run in zip(cells, own_runs, strict=True)
            )
            predicted = order[own_runs[best].predict(blocks.test)]
            edge = edge_of(cells[best]["l2"], self.l2) if len(grid) == len(self.l2) else ""  # a grid of L2 alone
            yield name, ProbeResult(predicted, own_runs[best].dev_accuracy, cells[best], settings, True, edge)

    def _order(self, labels: Labels, n_classes: int) -> Labels:
        """Return the class indices in the order in which the probe numbers the classes."""
        order = np.arange(n_classes)
        if not self.first_appearance:
            return order
        classes, first = np.unique(labels, return_index=True)
        return np.r_[classes[np.argsort(first)], np.setdiff1d(order, classes)]
