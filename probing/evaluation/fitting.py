"""Fits of one column: each label set of a task, of a half of its train split, or of its folds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from probing.data.task import Task
from probing.errors import foreign
from probing.evaluation.folds import FoldData, pooled
from probing.probes.base import Fold, ProbeProtocol, ProbeResult, SplitFeatures
from probing.store.reading import Rows
from probing.types import Features, Representation, Targets


class Fitted(NamedTuple):
    """The fit of a label set of a column: its result, the labels of test and dev, and the features of dev and test; of a
    cross-validated task the folds' result as one, without features."""

    label_set: str
    result: ProbeResult
    gold: Targets
    dev_gold: Any = None
    x_dev: Any = None
    x_test: Any = None


def fit_column(
    column: Representation, rows: Sequence[Rows], parts: Sequence[FoldData], probe: ProbeProtocol, task: Task, seed: int
) -> Iterator[Fitted]:
    """Fits every label set of a column."""

    def fit(part: FoldData, train: Features, dev: Features, test: Features) -> Iterator[tuple[Representation, str, ProbeResult]]:
        blocks = SplitFeatures(train, dev, test, part.order)
        results = None
        while True:
            with foreign(f"probe {probe.name}"):
                if results is None:
                    results = iter(probe.fit(lambda _: blocks, [column], part.label_sets, task.name, len(task.classes), seed))
                result = next(results, None)
            if result is None:
                return
            yield result

    if not task.folds:
        [part] = parts
        blocks = [split.get(column) for split in rows]
        if part.rows:
            blocks = [x[own] for x, own in zip(blocks, part.rows, strict=True)]
        for _, which, result in fit(part, *blocks):
            yield Fitted(which, result, part.gold[which], part.label_sets[which].dev, blocks[1], blocks[2])
        return
    x = np.concatenate([split.get(column) for split in rows])
    by_labels: dict[str, list[ProbeResult]] = {}
    at_once = getattr(probe, "fit_folds", lambda *given: None)
    for which in parts[0].gold:
        with foreign(f"probe {probe.name}"):
            folds = [Fold(train, dev, test, part.label_sets[which]) for part in parts for train, dev, test in [part.rows]]
            if results := at_once(x, folds, len(task.classes)):
                by_labels[which] = results
    for part in parts if not by_labels else ():
        for _, which, result in fit(part, *(x[own] for own in part.rows)):
            by_labels.setdefault(which, []).append(result)
    for which, results in by_labels.items():
        sizes = [len(part.label_sets[which].dev) for part in parts]
        yield Fitted(which, pooled(results, sizes), np.concatenate([part.gold[which] for part in parts]))
