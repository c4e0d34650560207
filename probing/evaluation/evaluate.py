"""Task × encoder → rows: every layer and pooling, with floors, controls and intervals; nothing is computed twice.

The work is a list of cells, known before anything is computed (`plan`). Finished cells are skipped; the sentences of all tasks
that an encoder still needs go through it once; then the probes of each task are fitted, all columns and label sets in one call.

An exception of an encoder, a probe or a floor (`probing.errors.ForeignError`), states that cannot be used, and too little memory
fail the cells that need the result; they are recorded, and tried again by the next run. The rest goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from probing.data.task import Task, lengths
from probing.encoders.base import POOLINGS, Encoder
from probing.errors import ForeignError, ProbingError, StatesError, StoreError, described, foreign
from probing.evaluation.plan import ALL_FLOORS, Cell, Settings, plan
from probing.evaluation.statistics import macro_f1, mean_accuracy
from probing.evaluation.tables import SCORES, ResultTable, Row
from probing.files import os_errors_as_store_error
from probing.log import bar, human_bytes, human_seconds, info
from probing.probes import load as load_probe
from probing.probes.controls import CEILINGS, CONTROLS, FLOORS, control_task
from probing.probes.protocols import Fold, ProbeProtocol, ProbeResult, SplitFeatures, SplitLabels
from probing.store.results import ResultStore, key_of
from probing.store.vectors import Rows, Store, Vectors
from probing.types import Labels, Representation


def evaluate(
    tasks: Sequence[Task],
    encoders: Sequence[Encoder],
    *,
    store: Store | str | Path,
    cells: ResultStore | str | Path | None = None,
    probe: ProbeProtocol | str = "fast",
    layers: Iterable[int] | None = None,
    poolings: Iterable[str] | None = None,
    seeds: Iterable[int] = (0,),
    controls: Iterable[str] = CONTROLS,
    floors: Iterable[str] = ALL_FLOORS,
    train_size: int | None = None,
    twins: int = 1,
    resample: str | None = None,
    resamples: int = 20,
    force: bool = False,
) -> ResultTable:
    """Measures every task on every layer of every encoder.

    Args:
        store: where vectors are kept (a folder, or a `Store` if they shall be kept in float16).
        cells: where finished measurements are kept; None: beside the store, in a folder of its name and `-cells`.
        probe: a protocol, or the name of a preset.
        layers, poolings: which representations; None: all that the encoder has.
        seeds: of probes that draw, of control labels, of random weights, and of train subsets. A cell that no seed can change
            is measured once.
        controls: of `probing.probes.controls.CONTROLS`: "permuted" (leak check) and "word" (selectivity); a task that cannot have
            "word" goes without, and a line says why.
        floors: of `ALL_FLOORS`; "static" adds the mean of layer 0, "random-weights" untrained twins of each encoder.
        train_size: train on a stratified subset of about this size.
        twins: random-weights twins of each encoder: one for each of the seeds, and more up to this number.
        resample: "train": every column of the encoders is also fitted on `resamples` random halves of the train split, at the
            first of the seeds. These rows (role "resample", seed: number of the half) widen intervals and tests of
            `ResultTable.best` and `compare_layers` by the variance of training, and stand for no layer themselves.
        force: measure again what is finished.

    Returns:
        A row for each cell, and for each role and encoder name under which it was asked for; `frame.status` is "failed" where it
        could not be computed, and `frame.error` says why.

    Raises:
        ProbingError: bad arguments, an encoder that cannot be loaded, a store that cannot be written. Finished cells stay.
    """
    store, cells, settings = opened(
        store, cells, probe, layers, poolings, seeds, controls, floors, train_size, twins, resample, resamples
    )
    planned = plan(tasks, encoders, settings, store)
    compute(planned, settings.probe, store, cells, force)
    return table(planned, cells)


def opened(
    store: Store | str | Path,
    cells: ResultStore | str | Path | None,
    probe: ProbeProtocol | str,
    layers: Iterable[int] | None,
    poolings: Iterable[str] | None,
    seeds: Iterable[int],
    controls: Iterable[str],
    floors: Iterable[str],
    train_size: int | None = None,
    twins: int = 1,
    resample: str | None = None,
    resamples: int = 20,
) -> tuple[Store, ResultStore, Settings]:
    """The arguments of `evaluate` and `flash` as what they stand for: folders opened, names looked up."""
    store = store if isinstance(store, Store) else Store(store)
    cells = cells if isinstance(cells, ResultStore) else ResultStore(cells or store.root.with_name(store.root.name + "-cells"))
    settings = Settings(
        load_probe(probe) if isinstance(probe, str) else probe,
        None if layers is None else tuple(layers),
        None if poolings is None else tuple(poolings),
        tuple(seeds),
        tuple(controls),
        tuple(floors),
        train_size,
        store.dtype,
        twins,
        resample,
        resamples,
    )
    return store, cells, settings


def compute(planned: Sequence[Cell], probe: ProbeProtocol, store: Store, cells: ResultStore, force: bool = False) -> None:
    """Computes what is not finished, each cell once, and records it cell by cell."""
    unique: dict[str, Cell] = {}
    for cell in planned:
        unique.setdefault(cell.key, cell)
    missing = [cell for cell in unique.values() if force or not cells.done(cell.key)]
    info(f"{len(unique)} cells: {len(unique) - len(missing)} done, {len(missing)} to compute")
    if not missing:
        return
    floors = [cell for cell in missing if cell.row.role in ("floor", "ceiling")]
    with bar("floors", len(floors)) as advance:
        for cell in floors:
            _compute_floor(cell, cells)
            advance(1)
    for cell in missing:
        if cell.failure:
            _fail([cell], cells, cell.failure)
    demands = _demands(missing)
    for demand in demands:
        _announce(demand, store)
    for demand in demands:
        _compute_encoder(demand, probe, store, cells, force)
        _release(demand.encoder)


def _compute_encoder(demand: EncoderJob, probe: ProbeProtocol, store: Store, cells: ResultStore, force: bool) -> None:
    """The cells of one encoder, task by task."""
    encoder = demand.encoder
    vectors = _vectors(demand, store)
    with bar(f"probing {encoder.name}", len(demand.cells)) as advance:
        for sha256, task in demand.tasks.items():
            todo = [cell for cell in demand.cells if cell.task.sha256 == sha256]
            if isinstance(reason := vectors[sha256], str):
                _fail(todo, cells, reason)
                advance(len(todo))
                continue
            mark = todo[0].row.encoder_fingerprint
            group = key_of({"data": sha256, "encoder": mark, "probe": probe.settings(task.name)})
            for layers in cells.turns(group, {cell.column.layer for cell in todo}):
                own = [cell for cell in todo if cell.column.layer in layers]
                left = [cell for cell in own if force or not cells.done(cell.key)]  # another run may have been at it
                advance(len(own) - len(left))
                _compute_probes(left, task, encoder, probe, vectors[sha256], cells, advance)


def _vectors(demand: EncoderJob, store: Store) -> dict[str, Vectors | str]:
    """For each task the vectors of its sentences, or why there are none: a sentence fails only the tasks that have it."""
    encoder, tasks = demand.encoder, demand.tasks

    def vectors(texts: Iterable[str]) -> Vectors | str:
        try:
            with foreign(f"{encoder.name}: its description"):
                _about(encoder)
            return store.vectors(encoder, texts, demand.poolings)
        except StatesError as error:
            return str(error)
        except MemoryError as error:
            return described(error)

    together = vectors(demand.texts)
    if isinstance(together, Vectors) or len(tasks) == 1:
        return dict.fromkeys(tasks, together)
    return {sha256: vectors(_texts([task])) for sha256, task in tasks.items()}


def _texts(tasks: Iterable[Task]) -> list[str]:
    return list(dict.fromkeys(text for task in tasks for split in task.splits.values() for text in split.texts))


def _about(encoder: Encoder) -> dict[str, Any]:
    """What a cell's record says of its encoder."""
    layers = list(encoder.layer_names)
    return {"name": encoder.name, "origin": encoder.origin, "description": dict(encoder.description), "layers": layers}


def _release(encoder: Encoder) -> None:
    try:
        with foreign(f"{encoder.name}: releasing it"):
            encoder.release()
    except ForeignError as error:  # its results are there
        info(str(error))


class EncoderJob(NamedTuple):
    """What one encoder is still needed for: its open cells, their tasks by hash, the sentences and the poolings."""

    encoder: Encoder
    cells: list[Cell]
    tasks: dict[str, Task]
    texts: list[str]
    poolings: list[str]


def _demands(missing: Sequence[Cell]) -> list[EncoderJob]:
    by_encoder: dict[str, list[Cell]] = {}
    for cell in missing:
        if cell.column is not None:
            by_encoder.setdefault(cell.row.encoder_fingerprint, []).append(cell)
    demands = []
    for group in by_encoder.values():
        tasks = {cell.task.sha256: cell.task for cell in group}
        poolings = [p for p in POOLINGS if any(cell.column.pooling == p for cell in group)]
        demands.append(EncoderJob(group[0].encoder, group, tasks, _texts(tasks.values()), poolings))
    return demands


def _announce(demand: EncoderJob, store: Store) -> None:
    """Size and time of the extraction, before it starts."""
    encoder = demand.encoder
    try:
        with os_errors_as_store_error(store.root):
            cost = store.estimate(encoder, demand.texts, demand.poolings)
        with foreign(f"{encoder.name}: its origin"):
            origin = encoder.origin
    except (StatesError, MemoryError):
        return  # the extraction will meet it too, and record it
    _release(encoder)
    if cost.sentences:
        info(
            f"{encoder.name} ({origin}): {cost.sentences} sentences, about {cost.tokens} tokens, "
            f"{human_bytes(cost.bytes)} in {store.root}, about {human_seconds(cost.seconds)}, "
            f"about {human_bytes(cost.memory)} of memory"
        )


def _compute_floor(cell: Cell, cells: ResultStore) -> None:
    """A floor, or a ceiling of a control task: what the text alone tells of the labels."""
    start = time.perf_counter()
    row, parts = cell.row, cell.task.parts
    if row.control:
        parts = [control_task(part, row.control, cell.control_seed) for part in parts]
    try:
        with foreign(f"{row.role} {row.encoder}"):
            predictions = [(FLOORS | CEILINGS)[row.encoder](part) for part in parts]
            hits = [dev == part.dev.labels for (dev, _), part in zip(predictions, parts, strict=True)]
            test, gold = np.concatenate([test for _, test in predictions]), np.concatenate([part.test.labels for part in parts])
            row = _scored(cell, float(np.concatenate(hits).mean()), test, gold)
    except ForeignError as error:
        _fail([cell], cells, str(error))
        return
    details = {"seconds": time.perf_counter() - start, "data": cell.task.data_card}
    cells.write(cell.inputs, asdict(row), details, gold, test, cell.task.test.clusters)


def _compute_probes(
    todo: Sequence[Cell], task: Task, encoder: Encoder, probe, vectors: Vectors, cells: ResultStore, advance
) -> None:
    splits = ([task.dev, task.test] if task.folds else task.splits.values()) if todo else []  # of folds, all sentences
    rows = [vectors.rows(split.texts) for split in splits]
    about = _about(encoder) | {"reading": vectors.reading, "extracted_with": _made_with(rows)} if todo else {}
    layer_names = about.pop("layers", [])
    groups: dict[tuple, list[Cell]] = {}  # cells of a column, probe seed and train split, whose label sets are fitted in one call
    for cell in sorted(todo, key=lambda cell: (POOLINGS.index(cell.column.pooling), cell.column.layer)):
        groups.setdefault((cell.column, cell.seed if cell.probe_seed is not None else 0, cell.half), []).append(cell)
    parts: dict[tuple, list[FoldData]] = {}
    for (column, probe_seed, half), group in groups.items():
        pending = {cell.label_set: cell for cell in group}
        wanted = (half, *sorted(pending))
        start = time.perf_counter()
        try:
            if wanted not in parts:
                parts[wanted] = [FoldData.of(part, task, pending, half) for part in task.parts]
            for which, result, gold in _fit(column, rows, parts[wanted], probe, task, probe_seed):
                cell = pending[which]
                with foreign(f"probe {probe.name}: reading its result"):
                    row = replace(
                        _scored(cell, result.dev_accuracy, result.predictions, gold),
                        converged=result.converged,
                        edge=getattr(result, "edge", ""),  # a user's protocol may not say it
                        chosen=json.dumps(dict(result.chosen)),
                        layer_name=layer_names[column.layer] if column.layer < len(layer_names) else "",
                    )
                    tried = json.loads(json.dumps(list(result.tried)))
                    details = {"tried": tried, "features_left_out": int(result.left_out)}
                details |= {"seconds": time.perf_counter() - start, "data": task.data_card, "encoder": about}
                cells.write(cell.inputs, asdict(row), details, gold, result.predictions, task.test.clusters)
                del pending[which]
                advance(1)
                start = time.perf_counter()
            reason = f"probe {probe.name} gave no result"
        except StoreError:
            raise
        except ProbingError as error:
            reason = str(error)
        except MemoryError as error:
            reason = described(error)
        if pending:
            _fail(list(pending.values()), cells, reason)
            advance(len(pending))


def _made_with(rows: Sequence[Rows]) -> list[dict[str, Any]]:
    sets = [made for split in rows for made in split.made_with]
    return [made for k, made in enumerate(sets) if made not in sets[:k]]


class FoldData(NamedTuple):
    """Labels by label set of a task or of one of its folds; the rows of train, dev and test: of a fold among all sentences, of a
    task whose train split is halved in each split; none where each split is taken whole.

    `order`: see `SplitFeatures`.
    """

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
        order = np.lexsort((part.train.labels, lengths(part.train)))
        if half is not None:
            drawn = part.train.half(half)
            label_sets = {name: SplitLabels(labels.train[drawn], labels.dev) for name, labels in label_sets.items()}
            rows = [drawn, np.arange(len(part.dev)), np.arange(len(part.test))]
            order = np.argsort(np.argsort(order)[drawn])  # the half's rows, as they follow each other in the order of the whole
        return cls(label_sets, gold, rows, order)


def _fit(column: Representation, rows: Sequence, parts: Sequence[FoldData], probe: ProbeProtocol, task: Task, seed: int):
    """Yields label set, result and test labels; of a cross-validated task the folds' result as one."""

    def fit(part: FoldData, blocks: SplitFeatures):
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
        for _, which, result in fit(part, SplitFeatures(*blocks, part.order)):
            yield which, result, part.gold[which]
        return
    x = np.concatenate([split.get(column) for split in rows])
    found: dict[str, list[ProbeResult]] = {}
    at_once = getattr(probe, "fit_folds", lambda *given: None)
    for which in parts[0].gold:
        with foreign(f"probe {probe.name}"):
            if results := at_once(x, [Fold(*part.rows, part.label_sets[which]) for part in parts], len(task.classes)):
                found[which] = results
    for part in parts if not found else ():
        for _, which, result in fit(part, SplitFeatures(*(x[own] for own in part.rows), part.order)):
            found.setdefault(which, []).append(result)
    for which, results in found.items():
        sizes = [len(part.label_sets[which].dev) for part in parts]
        yield which, _pooled(results, sizes), np.concatenate([part.gold[which] for part in parts])


def _pooled(results: Sequence[ProbeResult], dev_sizes: Sequence[int]) -> ProbeResult:
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


def _scored(cell: Cell, dev_accuracy: float, predicted: Labels, gold: Labels) -> Row:
    groups = cell.task.test.clusters
    hits = mean_accuracy(predicted == gold, groups)
    f1 = macro_f1(gold, np.asarray(predicted), len(cell.task.classes), groups)
    return replace(
        cell.row, dev_accuracy=dev_accuracy, accuracy=hits.value, accuracy_low=hits.lower, accuracy_high=hits.upper,
        macro_f1=f1.value, macro_f1_low=f1.lower, macro_f1_high=f1.upper,
    )  # fmt: skip


def _fail(failed: Sequence[Cell], cells: ResultStore, reason: str) -> None:
    """Records cells of one task and encoder that failed for the same reason."""
    places = list(dict.fromkeys(f"layer {cell.row.layer} {cell.row.pooling}" for cell in failed if cell.column))
    few = f" ({', '.join(places[:3])}{', …' if places[3:] else ''})" if places else ""
    row = failed[0].row
    info(f"failed: {len(failed)} cell(s) of {row.task}, {row.encoder}{few}: {reason}")
    for cell in failed:
        cells.write_failure(cell.inputs, asdict(replace(cell.row, status="failed", error=reason)), reason)


def table(planned: Sequence[Cell], cells: ResultStore) -> ResultTable:
    """The rows of the planned cells: planned fields, measured scores."""
    return rows_of([cell.row for cell in planned], cells)


def rows_of(planned: Iterable[Row], cells: ResultStore) -> ResultTable:
    """The planned rows with the scores that were measured; `status` says which cells failed, and which are missing.

    Names, roles and labels are those of this request; another one may have measured the same cell under others.
    """
    rows = []
    for row in planned:
        status, record = cells.state(row.cell)
        measured = record["row"] if status == "done" else {}
        scores = {name: measured[name] for name in SCORES if name in measured}
        rows.append(replace(row, **scores | {"status": status, "error": record["error"] if status == "failed" else ""}))
    return ResultTable.of(rows, cells.predictions, cells.groups)
