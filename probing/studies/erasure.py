"""Study `erasure`: erase one property from a layer's vectors, then read the others (a matrix of tasks).

For each layer and task A the directions of A are fitted on A's train vectors (`probing.probes.erasure`); then a probe is trained
and tested on the erased vectors of every task B. Loss: test accuracy of B's probe before less after, on the same items. The
diagonal says whether the erasure works; off it, what else is in these directions. Controls: random directions of the same rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probing import config
from probing.config import listed
from probing.data.task import Task
from probing.encoders.base import fingerprint
from probing.errors import ConfigError
from probing.evaluation.paired_tests import compare
from probing.log import human_count, info
from probing.probes.base import SplitFeatures, SplitLabels
from probing.probes.erasure import METHODS, Erasure, erase, random
from probing.report import erasure as report
from probing.store.reading import Rows
from probing.studies import Context, layers_of, require
from probing.types import Representation

VERSION = 1
"""Raise when the same options would give other rows."""


@dataclass
class ErasureMatrix:
    """Options:

    Args:
        erasure: a list of leace, inlp and means, or one.
        layers: all, or numbers, negative ones from the last; `layer` where it is not given.
        pooling: of sentences; words have that of their task's vectors, word-mean.
        sizes: most train, dev and test items of a task; null: all.
        draws: sets of random directions.
        probe: a preset's name.
    """

    erasure: Any = "leace"
    layers: Any = "all"
    pooling: str = "mean"
    sizes: Any = field(default_factory=lambda: [2000, 1000, 2000])
    draws: int = 5
    probe: str = "fast"

    name = "erasure"
    uses = ("encoder", "data")

    def __post_init__(self) -> None:
        self.methods = listed(self.erasure, str, "study.erasure", every=METHODS[:3])
        for method in self.methods:
            require(method in METHODS[:3], f"study.erasure={method!r} is unknown (allowed: {', '.join(METHODS[:3])})")
        whole = isinstance(self.sizes, list) and len(self.sizes) == 3 and all(isinstance(n, int) and n >= 20 for n in self.sizes)
        require(self.sizes is None or whole, f"study.sizes={self.sizes} must be three numbers from 20 (train, dev, test), or null")
        require(self.draws >= 2, f"study.draws={self.draws} must be at least 2, for an interval")

    def measure(self, context: Context) -> pd.DataFrame:
        run = Matrix(self, context)
        rows: list[dict[str, Any]] = []
        for layer in run.layers:
            for method in self.methods:
                rows += [row for task in run.tasks for row in run.erased(layer, method, task)]
            info(f"layer {layer}: {human_count(len(self.methods) * len(run.tasks) ** 2, 'cell')} done")
        return pd.DataFrame(rows)

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        """table.md, erasure.csv, a heat map erased × read of each method with a panel for each layer."""
        report.write(frame, folder)


@dataclass
class Matrix:
    """The study, and its tasks' vectors from the store."""

    study: ErasureMatrix
    context: Context

    @cached_property
    def tasks(self) -> list[Task]:
        train, dev, test = self.study.sizes or (None, None, None)
        tasks = [task.subset(train, self.context.seed, dev, test) for task in self.context.tasks]
        for task in tasks:
            task.need_classes("the study erasure")
        require(len({task.of_words for task in tasks}) == 1, "task=… names tasks of words and of sentences: one kind for a matrix")
        return tasks

    @cached_property
    def pooling(self) -> str:
        if self.tasks[0].of_words:
            return "word-mean"
        encoder = self.context.encoder
        message = f"study.pooling={self.study.pooling!r}: {encoder.name} has {', '.join(encoder.poolings)}"
        require(self.study.pooling in encoder.poolings, message)
        return self.study.pooling

    @cached_property
    def layers(self) -> list[int]:
        return layers_of(self.study.layers, len(self.context.encoder.layer_names))

    @cached_property
    def _rows(self) -> dict[str, list[Rows]]:
        texts = [text for task in self.tasks for split in task.splits.values() for text in split.texts]
        vectors = self.context.store.vectors(self.context.encoder, dict.fromkeys(texts), [self.pooling])
        return {task.name: [vectors.of(split) for split in task.splits.values()] for task in self.tasks}

    @cached_property
    def _protocol(self) -> Any:
        return config.build(config.read("probe", self.study.probe), "study.probe")

    _layer: int | None = None

    def features(self, layer: int, task: Task) -> list[np.ndarray]:
        """Vectors of train, dev and test, of the layer that is worked on."""
        if self._layer != layer:
            self._layer, self._kept = layer, dict[str, list[np.ndarray]]()
            self._right: dict[Any, np.ndarray] = {}
        if task.name not in self._kept:
            self._kept[task.name] = [rows.get(Representation(layer, self.pooling)) for rows in self._rows[task.name]]
        return self._kept[task.name]

    def right(self, layer: int, task: Task, erasure: Erasure | None, key: Any = None) -> np.ndarray:
        """Whether a probe of erased vectors is right, for each test item; kept by `key` for the layer."""
        parts = self.features(layer, task)
        if key is not None and (task.name, key) in self._right:
            return self._right[task.name, key]
        if erasure is not None:
            parts = [erasure(x).astype(np.float32) for x in parts]
        labels = {"true": SplitLabels(task.train.labels, task.dev.labels)}
        [(_, result)] = self._protocol.fit_column(SplitFeatures(*parts), labels, task.name, len(task.classes), self.context.seed)
        right = np.asarray(result.predictions == task.test.labels)
        if key is not None:
            self._right[task.name, key] = right
        return right

    def erased(self, layer: int, method: str, task: Task) -> list[dict[str, Any]]:
        """The rows of one erased task, a row for each task that is read."""
        study, encoder = self.study, self.context.encoder
        options = {"method": method, "draws": study.draws, "probe": self._protocol.settings(task.name), "pooling": self.pooling}
        part = {
            "study": "erasure", "version": VERSION, "encoder": fingerprint(encoder), "layer": layer, "erased": task.sha256,
            "read": [other.sha256 for other in self.tasks], "seed": self.context.seed, **options,
        }  # fmt: skip
        of = {"encoder": encoder.name, "layer": layer, "layer_name": encoder.layer_names[layer], "pooling": self.pooling}
        return [of | row for row in self.context.finished(part, lambda: [*self._measured(layer, method, task)])]

    def _measured(self, layer: int, method: str, task: Task) -> Iterator[dict[str, Any]]:
        x, dev, _ = self.features(layer, task)
        fitted = erase(method, x, task.train.labels, (dev, task.dev.labels))
        for other in self.tasks:
            before, after = self.right(layer, other, None, "before"), self.right(layer, other, fitted)
            groups = other.test.groups
            numbers = None if groups is None else np.unique(groups, return_inverse=True)[1]
            loss, p = compare(before, after, numbers)
            drawn = self._controls(layer, other, fitted.rank)
            losses = [float(before.mean() - right.mean()) for right in drawn]
            yield {
                "method": method, "erased": task.name, "read": other.name, "rank": fitted.rank, "n_train": len(other.train),
                "n_test": len(other.test), "before": float(before.mean()), "after": float(after.mean()),
                "majority": float(np.mean(other.test.labels == np.bincount(other.train.labels).argmax())),
                "loss": loss.value, "loss_low": loss.lower, "loss_high": loss.upper, "p": p,
                "control_loss": float(np.mean(losses)), "control_loss_low": min(losses), "control_loss_high": max(losses),
            }  # fmt: skip

    def _controls(self, layer: int, task: Task, rank: int) -> Sequence[np.ndarray]:
        x = self.features(layer, task)[0]
        if rank > x.shape[1]:
            raise ConfigError(f"{human_count(rank, 'direction')} of {human_count(x.shape[1], 'unit')}")
        return [self.right(layer, task, random(x, rank, k), ("random", rank, k)) for k in range(self.study.draws)]
