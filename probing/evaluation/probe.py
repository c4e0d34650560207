"""The probe as a measure: accuracy and macro F1 of a light classifier, with its controls, floors and ceilings."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from probing.data.task import Task
from probing.errors import ForeignError, ProbingError, foreign
from probing.evaluation.folds import FoldData, pooled
from probing.evaluation.measure import Cell, Result, by_pooling, reason_of, row_for, row_of, splits_of
from probing.evaluation.request import Measured, Request
from probing.evaluation.statistics import METRICS
from probing.evaluation.statistics import version as scores_version
from probing.log import info
from probing.probes.base import Fold, ProbeProtocol, ProbeResult, SplitFeatures, label
from probing.probes.controls import CEILINGS, FLOORS, control_task, control_version, unsuited
from probing.store.reading import Rows, Vectors
from probing.store.results import key_of
from probing.types import Estimate, Features, Labels, Representation


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
    """The measure "probe": every layer and pooling under one protocol."""

    protocol: ProbeProtocol
    name: str = "probe"

    def group(self, task: Task) -> Mapping[str, Any]:
        return {"probe": self.protocol.settings(task.name)}

    def cells(self, task: Task, measured: Measured | None, request: Request, seed: int) -> Iterable[Cell]:
        if measured is None:
            yield from (self._floor(task, name) for name in request.floors if name in FLOORS)
            yield from (self._ceiling(task, name, seed) for name in CEILINGS if "word" in request.controls)
        elif measured.failure:
            yield self._unnamed(task, measured, request)
        else:
            yield from self._columns(task, measured, request)

    def _floor(self, task: Task, name: str) -> Cell:
        inputs = _inputs_of_text(task, "floor", name)
        return Cell(inputs, row_of(task, "floor", encoder=name, seed=task.seed, cell=key_of(inputs)), task, self)

    def _ceiling(self, task: Task, name: str, seed: int) -> Cell:
        control = {"control": "word", "control_seed": seed, "control_version": control_version(task, "word")}
        inputs = _inputs_of_text(task, "ceiling", name) | control
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

    def run(self, cells: Sequence[Cell], vectors: Vectors | None) -> Iterator[tuple[Cell, Result | str]]:
        if vectors is None:
            yield from ((cell, _from_text(cell)) for cell in cells)
            return
        task, probe = cells[0].task, self.protocol
        rows = [vectors.rows(split.texts) for split in splits_of(task)]
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
                for which, fit, gold in fit_column(column, rows, parts[wanted], probe, task, probe_seed):
                    with foreign(f"probe {probe.name}: reading its result"):
                        chosen, edge = json.dumps(dict(fit.chosen)), getattr(fit, "edge", "")
                        facets = {"converged": fit.converged, "chosen": chosen, "edge": edge}
                        details = {"tried": json.loads(json.dumps(list(fit.tried))), "features_left_out": int(fit.left_out)}
                        scored = _scored(task, fit.dev_accuracy, fit.predictions, gold)
                    details["seconds"] = time.perf_counter() - start
                    yield pending.pop(which), replace(scored, facets=facets, details=details)
                    start = time.perf_counter()
                reason = f"probe {probe.name} gave no result"
            except (ProbingError, MemoryError) as error:
                reason = reason_of(error)
            yield from ((cell, reason) for cell in pending.values())


def _inputs_of_text(task: Task, role: str, name: str) -> dict[str, Any]:
    return {"data": task.sha256, "role": role, role: name, "version": 1, "scores": scores_version(task.test.n_groups)}


def suited(drawn: Sequence[Task], controls: Sequence[str]) -> tuple[str, ...]:
    """Those of the controls that a task can have with every seed of the request (`drawn`: the task as each seed draws it), so that
    a control's mean is over the seeds of the accuracy beside it; a line says why one is not measured."""
    kept = []
    for kind in controls:
        if reason := next((reason for task in drawn if (reason := unsuited(task, kind))), ""):
            info(f"{drawn[0].name}: the control {kind} is not measured: {reason}")
        else:
            kept.append(kind)
    return tuple(kept)


def _from_text(cell: Cell) -> Result | str:
    """A floor, or a ceiling of a control task: a classifier that reads the text alone."""
    start, row, parts = time.perf_counter(), cell.row, list(cell.task.parts)
    if row.control:
        parts = [control_task(part, row.control, cell.own.control_seed) for part in parts]
    try:
        with foreign(f"{row.role} {row.encoder}"):
            predictions = [(FLOORS | CEILINGS)[row.encoder](part) for part in parts]
            hits = [dev == part.dev.labels for (dev, _), part in zip(predictions, parts, strict=True)]
            test, gold = np.concatenate([test for _, test in predictions]), np.concatenate([part.test.labels for part in parts])
            scored = _scored(cell.task, float(np.concatenate(hits).mean()), test, gold)
    except ForeignError as error:
        return str(error)
    return replace(scored, details={"seconds": time.perf_counter() - start})


def _scored(task: Task, dev_accuracy: float, predicted: Labels, gold: Labels) -> Result:
    groups, predicted = task.test.clusters, np.asarray(predicted)
    scores = {
        "dev_accuracy": Estimate(float(dev_accuracy), np.nan, np.nan),
        **{name: metric(gold, predicted, len(task.classes), groups) for name, metric in METRICS.items()},
    }
    items = {"gold": gold, "predicted": predicted} | ({} if groups is None else {"groups": groups})
    return Result(scores, items=items)


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
