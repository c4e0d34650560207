"""One layer of the study `neurons`: its curves with those of rotated bases, random sets and control labels, as rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probing.data.task import Task
from probing.errors import ConfigError
from probing.evaluation.against_draws import against_draws
from probing.evaluation.statistics import mean_accuracy
from probing.neurons.curves import Basis, Point, Targets, drawn, masked, minimal_set, orders, retrained, sizes_of
from probing.neurons.ranking import Scale
from probing.probes.controls import control_task, unsuited
from probing.studies.layout import columns

REPEATED = ("linear", "mean_abs", "probeless", "mean_difference", "variance", "random")
"""The rankings that are made again in rotated bases, for control labels and of bootstrap samples; gaussian would take too long."""


@dataclass
class Measured:
    """The curves of one layer of one task, with those of rotated bases, random sets and control labels."""

    study: Any  # the options: a `NeuronsStudy`
    basis: Basis
    y: Targets
    task: Task
    seed: int
    orders: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        study, basis, y = self.study, self.basis, self.y
        self.groups, self.sizes = self.task.test.clusters, sizes_of(basis, study.numbers)
        self.classifier = basis.classifier(study.classifier, y, study.l2)
        self.names = [name for name in study.names if name in REPEATED]
        random = [retrained(basis, y, self.classifier, drawn(basis, self.seed * 1000 + s), self.sizes) for s in range(study.draws)]
        self.random = {k: np.stack([points[k].right for points in random]) for k in self.sizes}
        self.rotated = self._repeat((basis.rotated(self.seed * 1000 + r), y) for r in range(study.rotations))
        kind = "word" if self.task.of_words else "permuted"
        self.control = "" if unsuited(self.task, kind) else kind
        labels = (targets_of(control_task(self.task, kind, self.seed * 1000 + c)) for c in range(study.controls))
        controls = list(labels) if self.control else []
        self.controls = self._repeat((basis, own) for own in controls) if controls else {}
        self.constant = _constant(y)  # whether the majority is right, of the labels and of each set of control labels
        self.constants = np.stack([_constant(own) for own in controls]) if controls else None

    def _repeat(self, pairs: Iterable[tuple[Basis, Targets]]) -> dict[str, dict[int, np.ndarray]]:
        """For each ranking and size whether each test item is right, (draws, n), ranked and retrained in these bases for these
        labels."""
        right: dict[str, dict[int, list[np.ndarray]]] = {name: {k: [] for k in self.sizes} for name in self.names}
        for number, (basis, y) in enumerate(pairs):
            classifier = basis.classifier(self.study.classifier, y, self.study.l2)
            for name, order in orders(basis, y, self.names, self.study.l2, self.seed * 1000 + number).items():
                points = retrained(basis, y, classifier, order, [min(k, basis.n_live) for k in self.sizes])
                for k in self.sizes:
                    right[name][k].append(points[min(k, basis.n_live)].right)
        return {name: {k: np.stack(draws) for k, draws in sizes.items()} for name, sizes in right.items()}

    def curve(self, name: str) -> list[dict[str, Any]]:
        order, study = self.orders[name], self.study
        points = retrained(self.basis, self.y, self.classifier, order, self.sizes)
        sides = masked(self.basis, self.y, self.classifier, order, self.sizes)
        return [
            {"kind": "curve", "ranking": name, "classifier": study.classifier, "k": k, **self._row(name, k, points[k])}
            | dict(zip(("keep", "drop"), sides[k], strict=True))
            for k in self.sizes
        ]

    def _row(self, name: str, k: int, point: Point) -> dict[str, Any]:
        row: dict[str, Any] = {"n_test": len(point.right), "dev_accuracy": point.dev}
        row |= columns("accuracy", mean_accuracy(point.right, self.groups))
        for what, draws in (("random", self.random), ("rotated", self.rotated.get(name)), ("control", self.controls.get(name))):
            if draws is None or k == self.basis.n_live and what == "random":  # every set of all neurons is the same
                continue
            accuracies = draws[k].mean(1)
            row |= {what: float(accuracies.mean()), f"{what}_sd": float(accuracies.std(ddof=1))}
            against = against_draws(point.right, draws[k], self.groups)
            row |= columns("selectivity" if what == "control" else f"less_{what}", against.difference)
            if what == "control" and self.constants is not None:  # above the majority, which differs between draws of labels
                against = against_draws(point.right * 1.0 - self.constant, draws[k] * 1.0 - self.constants, self.groups)
            row[f"p_{what}"] = against.p
        return row

    def summary(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The layer in one row: the first ranking at `top` neurons, and its minimal set."""
        name, basis = self.study.names[0], self.basis
        k = min(self.study.top, basis.n_live)
        own = next(row for row in rows if row["ranking"] == name and row["k"] == k)
        full = next(row for row in rows if row["ranking"] == name and row["k"] == basis.n_live)
        least = minimal_set(basis, self.y, self.classifier, self.orders[name], self.study.tolerance)
        majority = float(self.constant.mean())
        return {
            **{column: value for column, value in own.items() if column not in ("keep", "drop", "dev_accuracy")},
            "kind": "layer", "live": basis.n_live, "dead": str(basis.scale.dead), "majority": majority,
            "full": full["accuracy"], "classes": self.y.n_classes, "n_train": len(self.y.train), "control_kind": self.control,
            "groups": self.task.groups_from if self.groups is not None else "", "minimal": least.k,
            "minimal_accuracy": least.accuracy, "without_minimal": least.without,
            "first": str(self.orders[name][:k].tolist()), "rotations": self.study.rotations,
            "draws": self.study.draws,
        }  # fmt: skip


def _constant(y: Targets) -> np.ndarray:
    return y.test == np.bincount(y.train).argmax()


def targets_of(task: Task) -> Targets:
    return Targets(task.train.labels, task.dev.labels, task.test.labels, len(task.classes))


def replace_train(basis: Basis, train: np.ndarray) -> Basis:
    """The basis with other train items, standardised by these; `variance` then reads their deviations in units of the first."""
    scale = Scale.of(train)
    moved = replace(scale, sd=np.where(scale.live, scale.sd * basis.scale.sd, 0.0))
    return Basis(scale(train), scale(basis.dev), scale(basis.test), moved)


def commonest(task: Task, n: int | None) -> Task:
    """The task with its n commonest classes of train, in the order of the classes; None: as it is."""
    if n is None or task.kind != "classification" or n >= len(task.classes):
        return task
    kept = np.sort(np.argsort(-np.bincount(task.train.labels, minlength=len(task.classes)), kind="stable")[:n])

    def lacking(split: str) -> ConfigError:
        return ConfigError(f"study.classes={n}: no {split} item of {task.name} has one of these classes")

    return task.of_classes(kept, lacking)
