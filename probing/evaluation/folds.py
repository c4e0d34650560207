"""The data of one fit: a task, one of its folds, or a half of its train split; and the results of the folds as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from probing.data.task import Task
from probing.probes.base import ProbeResult, SplitLabels
from probing.probes.controls import control_task
from probing.types import Targets


class FoldData(NamedTuple):
    """Labels by label set of a task or of one of its folds; the rows of train, dev and test: of a fold among all sentences, of a
    task whose train split is halved in each split; none where each split is taken whole; `order`: see `SplitFeatures`."""

    label_sets: dict[str, SplitLabels]
    gold: dict[str, Targets]
    rows: list[np.ndarray]
    order: np.ndarray

    @classmethod
    def of(cls, part: Task, whole: Task, wanted: Iterable[str], half: int | None = None) -> FoldData:
        label_sets, gold = {}, {}
        for name in wanted:
            kind, _, drawn = name.partition(":")
            labelled = part if kind == "true" else control_task(part, kind, int(drawn))
            label_sets[name] = SplitLabels(labelled.train.labels, labelled.dev.labels)
            gold[name] = labelled.test.labels
        place = {text: row for row, text in enumerate((*whole.dev.texts, *whole.test.texts))} if whole.folds else {}
        rows = [np.array([place[text] for text in split.texts]) for split in part.splits.values()] if place else []
        order = np.lexsort((part.train.strata, part.train.lengths))
        if half is not None:
            kept = part.train.half(half)
            label_sets = {name: SplitLabels(labels.train[kept], labels.dev) for name, labels in label_sets.items()}
            rows = [kept, np.arange(len(part.dev)), np.arange(len(part.test))]
            order = np.argsort(np.argsort(order)[kept])  # the half's rows, as they follow each other in the order of the whole
        return cls(label_sets, gold, rows, order)


def pooled(results: Sequence[ProbeResult], dev_sizes: Sequence[int]) -> ProbeResult:
    """The folds' results as one."""
    return ProbeResult(
        np.concatenate([result.predictions for result in results]),
        float(np.average([result.dev_accuracy for result in results], weights=dev_sizes)),
        {name: [result.chosen[name] for result in results] for name in results[0].chosen},
        tuple({"fold": k, **tried} for k, result in enumerate(results) for tried in result.tried),
        all(result.converged for result in results),
        next((result.edge for result in results if result.edge), ""),
        max(result.left_out for result in results),
    )
