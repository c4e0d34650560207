"""Fits a probe to a column of a task: to its splits, each of its folds, or a half of its train split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from probing.data.task import Task
from probing.errors import foreign
from probing.probes.base import Fold, ProbeProtocol, ProbeResult, SplitFeatures, SplitLabels
from probing.probes.controls import control_task
from probing.store.reading import Rows
from probing.types import Features, Labels, Representation


class FoldData(NamedTuple):
    """Labels by label set of a task or of one of its folds; the rows of train, dev and test: of a fold among all sentences, of a
    task whose train split is halved in each split; none where each split is taken whole; `order`: see `SplitFeatures`."""

    label_sets: dict[str, SplitLabels]
    gold: dict[str, Labels]
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
        order = np.lexsort((part.train.labels, part.train.lengths))
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


def fit_column(
    column: Representation, rows: Sequence[Rows], parts: Sequence[FoldData], probe: ProbeProtocol, task: Task, seed: int
) -> Iterator[tuple[str, ProbeResult, Labels]]:
    """Yields label set, result and test labels; of a cross-validated task the folds' result as one."""

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
            yield which, result, part.gold[which]
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
        yield which, pooled(results, sizes), np.concatenate([part.gold[which] for part in parts])
