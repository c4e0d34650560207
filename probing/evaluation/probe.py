"""The probe as a measure: the scores of a light classifier, with its controls, floors and ceilings."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from probing.data.card import main_metric
from probing.data.task import Task
from probing.errors import DataError, ProbingError, foreign
from probing.evaluation.folds import FoldData, pooled
from probing.evaluation.formulas import Outcome
from probing.evaluation.measure import Cell, Result, by_pooling, reason_of, row_for, row_of, splits_of
from probing.evaluation.metrics import VERSION as METRICS_VERSION
from probing.evaluation.metrics import chosen, main_reads_scores, scores_of, title, value_on_dev
from probing.evaluation.register import floor_version, metrics_in_key
from probing.evaluation.request import Measured, Request
from probing.evaluation.rows import Row
from probing.evaluation.statistics import version as scores_version
from probing.probes.base import Fold, ProbeProtocol, ProbeResult, SplitFeatures, label
from probing.probes.controls import CEILINGS, ceilings_of, control_task, control_version
from probing.probes.fitted import class_scores
from probing.probes.floors import FLOORS, SCORES, predict, shown_as
from probing.store.reading import Rows, Vectors
from probing.store.results import key_of
from probing.types import Features, Representation, Targets


class Fit(NamedTuple):
    """How a cell of the probe is fitted: seeds of the control task (None: true labels), of the probe (None where no seed can
    change a number), and of the request; number of the random half of the train split (None: all of it)."""

    control_seed: int | None = None
    probe_seed: int | None = None
    seed: int = 0
    half: int | None = None


def label_set(cell: Cell) -> str:
    """The name of a cell's labels: "true", or the control task and its seed."""
    return "true" if cell.own.control_seed is None else f"{cell.row.control}:{cell.own.control_seed}"


@dataclass(frozen=True)
class Probe:
    """The measure "probe": every layer and pooling under one protocol; `metrics`: those asked for (`metrics.ASKED`)."""

    protocol: ProbeProtocol
    metrics: tuple[str, ...] = ()
    name: str = "probe"

    def group(self, task: Task) -> Mapping[str, Any]:
        return {"probe": self.protocol.settings(task.name)}

    def cells(self, task: Task, measured: Measured | None, request: Request, seed: int) -> Iterable[Cell]:
        if measured is None:
            shown = [shown_as(name, task) for name in request.floors if name in FLOORS]
            yield from (self._floor(task, name) for name in shown if name)
            yield from (self._ceiling(task, name, seed) for name in ceilings_of(task) if "word" in request.controls)
        elif measured.failure:
            yield self._unnamed(task, measured, request)
        else:
            yield from self._columns(task, measured, request)

    def _floor(self, task: Task, name: str) -> Cell:
        inputs = self._inputs_of_text(task, "floor", name)
        return Cell(inputs, row_of(task, "floor", encoder=name, seed=task.seed, cell=key_of(inputs)), task, self)

    def _ceiling(self, task: Task, name: str, seed: int) -> Cell:
        control = {"control": "word", "control_seed": seed, "control_version": control_version(task, "word")}
        inputs = self._inputs_of_text(task, "ceiling", name) | control
        row = row_of(task, "ceiling", encoder=name, control="word", seed=seed, cell=key_of(inputs))
        return Cell(inputs, row, task, self, own=Fit(seed))

    def _unnamed(self, task: Task, measured: Measured, request: Request) -> Cell:
        """One cell that stands for all layers of an encoder whose layers cannot be listed."""
        encoder = measured.fingerprint or {"name": measured.name}
        inputs = {"data": task.sha256, "role": "probe", "encoder": encoder, "layer": None, "probe": self._settings(task)}
        row = replace(row_for(task, measured, request), probe=label(self.protocol), cell=key_of(inputs))
        return Cell(inputs, row, task, self, failure=measured.failure)

    def _columns(self, task: Task, measured: Measured, request: Request) -> Iterable[Cell]:
        twin_of, static, seed = measured.twin_of, measured.static, measured.seed
        base = replace(row_for(task, measured, request), probe=label(self.protocol))
        probe_seed, probe_settings = self.protocol.seed(seed), self._settings(task)
        n_halves = request.resamples if request.resample and not twin_of and seed == request.seeds[0] else 0
        halves = {number: key_of({"rows": task.train.half(number).tolist()}) for number in range(n_halves)}
        for column in measured.columns:
            whole: list[tuple[str | None, int | None]] = [(None, None)]
            more = [(control, None) for control in request.controls] + [(None, number) for number in halves]
            for control, half in whole + (more if not twin_of and column != static else []):
                control_seed = None if control is None else seed
                seeds_matter = twin_of or control or probe_seed is not None or task.seed is not None
                inputs = {
                    "data": task.sha256,
                    "role": "probe",
                    "encoder": measured.fingerprint,
                    "layer": column.layer,
                    "pooling": column.pooling,
                    "probe": probe_settings,
                    "probe_seed": probe_seed,
                    "control": control,
                    "control_seed": control_seed,
                    "scores": scores_version(task.test.n_groups),
                }
                inputs |= self._metrics_in_key(task)
                if control is not None:
                    inputs["control_version"] = control_version(task, control)
                if half is not None:
                    inputs["half"] = halves[half]
                inputs |= request.stored
                of_true_labels = "static" if column == static and not twin_of else base.role
                row = replace(
                    base,
                    role="control" if control else of_true_labels if half is None else "resample",
                    layer=column.layer,
                    pooling=column.pooling,
                    control=control or "",
                    seed=half if half is not None else seed if seeds_matter else None,
                    cell=key_of(inputs),
                )
                yield Cell(inputs, row, task, self, measured.encoder, column, Fit(control_seed, probe_seed, seed, half))

    def _settings(self, task: Task) -> dict[str, Any]:
        with foreign(f"probe {self.protocol.name}: its settings"):
            return self.protocol.settings(task.name)

    def _inputs_of_text(self, task: Task, role: str, name: str) -> dict[str, Any]:
        version = floor_version(name) if role == "floor" else 1
        inputs = {"data": task.sha256, "role": role, role: name, "version": version, "scores": scores_version(task.test.n_groups)}
        return inputs | self._metrics_in_key(task)

    def _metrics_in_key(self, task: Task) -> dict[str, Any]:
        """The part of a cell's key that names the metrics beside those that every task with classes has."""
        names, main = [*chosen(task, self.metrics)], main_metric(task.card)
        key = {"metric": main, "metrics": names, "metrics_version": METRICS_VERSION} if names else {}
        return metrics_in_key() | key

    def run(self, cells: Sequence[Cell], vectors: Vectors | None) -> Iterator[tuple[Cell, Result | str]]:
        if vectors is None:
            yield from ((cell, self.from_text(cell)) for cell in cells)
            return
        task, probe = cells[0].task, self.protocol
        rows = [vectors.of(split) for split in splits_of(task)]
        # of a column, probe seed and train half; their label sets are fitted in one call
        groups: dict[tuple[Representation, int, int | None], list[Cell]] = {}
        for cell in by_pooling(cells):
            probe_seed = cell.own.seed if cell.own.probe_seed is not None else 0
            groups.setdefault((cell.place, probe_seed, cell.own.half), []).append(cell)
        parts: dict[tuple[Any, ...], list[FoldData]] = {}
        for (column, probe_seed, half), group in groups.items():
            pending = {label_set(cell): cell for cell in group}
            wanted = (half, *sorted(pending))
            start = time.perf_counter()
            try:
                if wanted not in parts:
                    parts[wanted] = [FoldData.of(part, task, pending, half) for part in task.parts]
                for one in fit_column(column, rows, parts[wanted], probe, task, probe_seed):
                    which, fit = one.label_set, one.result
                    with foreign(f"probe {probe.name}: reading its result"):
                        scored = with_fit(self._scored(task, one), fit, time.perf_counter() - start)
                    yield pending.pop(which), scored
                    start = time.perf_counter()
                reason = f"probe {probe.name} gave no result"
            except (ProbingError, MemoryError) as error:
                reason = reason_of(error)
            yield from ((cell, reason) for cell in pending.values())

    def _scored(self, task: Task, one: Fitted) -> Result:
        test, on_dev = Predicted(np.asarray(one.result.predictions)), one.result.dev_accuracy
        if self._reads_scores(task):
            if one.result.model is None:
                raise ValueError(f"it gives no model (`ProbeResult.model`), which {', '.join(chosen(task, self.metrics))} needs")
            model = one.result.model()
            of_dev, of_test = (class_scores(model, x, len(task.classes)).astype(np.float32) for x in (one.x_dev, one.x_test))
            test = test._replace(scores=of_test)
            if main_reads_scores(task):
                on_dev = value_on_dev(task, one.dev_gold, of_dev.argmax(1), of_dev)
        return self._result(task, one.gold, test, on_dev)

    def _reads_scores(self, task: Task) -> bool:
        return any(metric.reads_scores for metric in chosen(task, self.metrics).values())

    def _result(self, task: Task, gold: Targets, predicted: Predicted, on_dev: float) -> Result:
        groups, main = task.test.clusters, main_metric(task.card)
        outcome = Outcome(gold, predicted.labels, len(task.classes), groups, predicted.scores)
        scores = scores_of(task, outcome, self.metrics, {main: float(on_dev)})
        for split, value in (("test", scores[main].value), ("dev", on_dev)):
            if not np.isfinite(value):
                raise DataError(f"{title(main)} is not defined on {split}: its labels are all the same")
        items = {"gold": gold, "predicted": predicted.labels} | ({} if groups is None else {"groups": groups})
        if main_reads_scores(task):
            items["scores"] = predicted.scores
        if by := task.card.get("by"):
            items["by"] = task.test.facts[by]
        return Result(scores, {"by": by} if by else {}, items=items)

    def from_text(self, cell: Cell) -> Result | str:
        """A floor, or a ceiling of a control task: a classifier that reads the text alone."""
        start, row, task, parts = time.perf_counter(), cell.row, cell.task, list(cell.task.parts)
        if row.control:
            parts = [control_task(part, row.control, cell.own.control_seed) for part in parts]
        try:
            with foreign(f"{row.role} {row.encoder}"):
                both = [self._read_text(row, part) for part in parts]
                dev, test = (Predicted.together([one[k] for one in both]) for k in (0, 1))
                of_dev, gold = (np.concatenate([part.splits[name].labels for part in parts]) for name in ("dev", "test"))
                scored = self._result(task, gold, test, value_on_dev(task, of_dev, *dev))
        except ProbingError as error:
            return reason_of(error)
        return replace(scored, details={"seconds": time.perf_counter() - start})

    def _read_text(self, row: Row, part: Task) -> tuple[Predicted, Predicted]:
        """The predictions of dev and test, with scores where a metric reads them: those of a floor that has them, else 1 for the
        predicted class and 0 for the others."""
        if self._reads_scores(part) and row.role == "floor" and row.encoder in SCORES:
            of_dev, of_test = (Predicted(own.argmax(1), own.astype(np.float32)) for own in SCORES[row.encoder](part))
            return of_dev, of_test
        dev, test = CEILINGS[row.encoder](part) if row.control else predict(row.encoder, part)
        one_hot = np.eye(len(part.classes), dtype=np.float32) if self._reads_scores(part) else None
        of_dev, of_test = (Predicted(np.asarray(y), None if one_hot is None else one_hot[y]) for y in (dev, test))
        return of_dev, of_test


class Predicted(NamedTuple):
    """Predicted labels, and scores of the classes, (n, K), where a metric reads them."""

    labels: Targets
    scores: Any = None

    @classmethod
    def together(cls, parts: Sequence[Predicted]) -> Predicted:
        scores = None if parts[0].scores is None else np.concatenate([part.scores for part in parts])
        return cls(np.concatenate([part.labels for part in parts]), scores)


def with_fit(scored: Result, fit: ProbeResult, seconds: float) -> Result:
    """The result with the facets and details of its fit."""
    facets = {"converged": fit.converged, "chosen": json.dumps(dict(fit.chosen)), "edge": getattr(fit, "edge", "")}
    details = {"tried": json.loads(json.dumps(list(fit.tried))), "features_left_out": int(fit.left_out), "seconds": seconds}
    return replace(scored, facets=facets | dict(scored.facets), details=details)


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
