"""`evaluate`: tasks × encoders → a table of every layer and pooling, with floors, controls and intervals.

Finished cells are skipped. An exception of an encoder, a measure, a probe or a floor (`probing.errors.ForeignError`), unusable
states, and too little memory fail the cells that need the result; they are recorded and tried again by the next run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from probing.data.frames import as_tasks
from probing.data.task import Task
from probing.encoders.base import Encoder
from probing.encoders.given import as_encoders
from probing.encoders.pooling import in_order
from probing.errors import ConfigError, ForeignError, StatesError, foreign
from probing.evaluation.measure import Cell, Result, as_measures, reason_of, splits_of
from probing.evaluation.planning import plan
from probing.evaluation.refit import Refit
from probing.evaluation.request import Request, many
from probing.evaluation.rows import Row, scores_of
from probing.evaluation.table import ResultTable
from probing.files import os_errors_as_store_error
from probing.log import bar, human_bytes, human_seconds, info
from probing.paths import OUT
from probing.store.reading import Vectors
from probing.store.results import ResultStore, key_of
from probing.store.vectors import Store

STORE = OUT / "store"  # where none is given, as on the command line


def evaluate(
    tasks: Any,
    encoders: Any,
    *,
    data: Any = None,
    store: Store | str | Path | None = None,
    cells: ResultStore | str | Path | None = None,
    probe: Any = "fast",
    layers: int | Iterable[int] | None = None,
    poolings: str | Iterable[str] | None = None,
    seeds: int | Iterable[int] = (0,),
    controls: str | Iterable[str] | None = None,
    floors: str | Iterable[str] | None = None,
    train_size: int | None = None,
    twins: int = 1,
    resample: str | None = None,
    resamples: int = 20,
    measures: Sequence[Any] = (),
    metrics: str | Iterable[str] = (),
    per_class: int | None = None,
    force: bool = False,
) -> ResultTable:
    """Measures every task on every layer of every encoder: a row for each cell, and for each role and encoder name under which it
    was asked for; `frame.status` is "failed" where it could not be computed, and `frame.error` says why.

    Args:
        tasks, encoders: one or many, or dicts from names in tables; see `probing.data.frames` and `probing.encoders.given`.
        data: where tasks that are given by name are: a folder, or a source; None: the built-in grammar.
        store: where vectors are kept (a folder, or a `Store` if they shall be kept in float16); None: `probing-out/store`.
        cells: where finished measurements are kept; None: `probing-out/cells`, beside another store a folder STORE-cells.
        probe: the name of a preset, a protocol, or a scikit-learn classifier, pipeline or search.
        layers, poolings: which representations; None: all that the encoder has.
        seeds: of probes that draw, of control labels, of random weights, and of train subsets.
        controls: of `probing.probes.controls.CONTROLS`: "permuted" (leak check) and "word" (selectivity); None: all.
        floors: of `ALL_FLOORS`; "static" adds the mean of layer 0, "random-weights" untrained twins of each encoder; None: all.
        train_size: train on a stratified subset of about this size.
        twins: random-weights twins of each encoder: one for each of the seeds, and more up to this number.
        resample: "train": every column of the encoders is also fitted on `resamples` random halves of the train split, at the
            first of the seeds (role "resample", seed: number of the half), whose variance widens intervals and tests.
        measures: other measures (`probing.evaluation.measure`), beside the probe; probe=None: alone.
        metrics: beside accuracy and macro F1: of `probing.evaluation.metrics.ASKED`, those that suit the task.
        per_class: train on so many sentences of each class (of a class with fewer on all), drawn by the seed.
        force: measure again what is finished.

    Raises:
        ProbingError: bad arguments, an encoder that cannot be loaded, a store that cannot be written. Finished cells stay.
    """
    store, results = stores(store, cells)
    request = Request.of(
        probe, layers, poolings, seeds, controls, floors, train_size=train_size, store_dtype=store.dtype, twins=twins,
        resample=resample, resamples=resamples, measures=as_measures(measures), metrics=many(metrics), per_class=per_class,
    )  # fmt: skip
    planned = plan(as_tasks(tasks, data), as_encoders(encoders), request, store)
    compute(planned, store, results, force)
    return replace(table_of([cell.row for cell in planned], results), refit=Refit.of(planned, store, results))


def stores(store: Store | str | Path | None, cells: ResultStore | str | Path | None) -> tuple[Store, ResultStore]:
    """The stores of vectors and of results; the latter, if not given, beside the former, as the command line has them."""
    if not isinstance(store, Store | str | Path | None):
        raise ConfigError(f"store: {type(store).__name__} was given; allowed: a folder, or a Store")
    store = store if isinstance(store, Store) else Store(STORE if store is None else store)
    beside = store.root.with_name("cells" if store.root.absolute() == STORE.absolute() else store.root.name + "-cells")
    return store, cells if isinstance(cells, ResultStore) else ResultStore(cells or beside)


def open_cells(planned: Sequence[Cell], results: ResultStore, force: bool) -> list[Cell]:
    """The cells that are not finished, each once; their number is logged."""
    unique: dict[str, Cell] = {}
    for cell in planned:
        unique.setdefault(cell.key, cell)
    open_ = set(unique) if force else set(results.pending(unique))
    info(f"{len(unique)} cells: {len(unique) - len(open_)} done, {len(open_)} to compute")
    return [cell for key, cell in unique.items() if key in open_]


def compute(planned: Sequence[Cell], store: Store, results: ResultStore, force: bool = False) -> None:
    """Computes what is not finished, each cell once, and records it cell by cell."""
    missing = open_cells(planned, results, force)
    of_text = [cell for cell in missing if cell.column is None and not cell.failure]
    with bar("floors", len(of_text)) as advance:
        for cell in of_text:
            for one, result in cell.measure.run([cell], None):
                _record(one, result, results)
                advance(1)
    for cell in (cell for cell in missing if cell.failure):
        _fail([cell], results, cell.failure)
    jobs = jobs_of(missing)
    for job in jobs:
        announce(job, store)
    for job in jobs:
        _compute_encoder(job, store, results, force)
        _release(job.encoder)


class EncoderJob(NamedTuple):
    """The open cells of one encoder, their tasks by hash, the sentences and the poolings."""

    encoder: Encoder
    cells: list[Cell]
    tasks: dict[str, Task]
    texts: list[str]
    poolings: list[str]


def jobs_of(missing: Sequence[Cell]) -> list[EncoderJob]:
    """The cells that read vectors, by encoder."""
    by_encoder: dict[tuple[str, bool], list[Cell]] = {}
    for cell in missing:
        if cell.column is not None:
            by_encoder.setdefault((cell.row.encoder_fingerprint, cell.task.of_words), []).append(cell)
    jobs = []
    for group in by_encoder.values():
        tasks = {cell.task.sha256: cell.task for cell in group}
        poolings = in_order(cell.place.pooling for cell in group)
        encoder = group[0].encoder
        assert encoder is not None
        jobs.append(EncoderJob(encoder, group, tasks, _texts(tasks.values()), poolings))
    return jobs


def _compute_encoder(job: EncoderJob, store: Store, results: ResultStore, force: bool) -> None:
    vectors = _vectors(job, store)
    with bar(f"probing {job.encoder.name}", len(job.cells)) as advance:
        for group in _together(job.cells):
            for sha256 in dict.fromkeys(cell.task.sha256 for cell in group):
                if isinstance(lost := vectors[sha256], str):
                    of_task = [cell for cell in group if cell.task.sha256 == sha256]
                    _fail(of_task, results, lost)
                    advance(len(of_task))
            group = [cell for cell in group if not isinstance(vectors[cell.task.sha256], str)]
            for measure in dict.fromkeys(cell.measure.name for cell in group):
                cells = [cell for cell in group if cell.measure.name == measure]
                first = cells[0]
                name = {"data": first.together or first.task.sha256, "encoder": first.row.encoder_fingerprint}
                for layers in results.claims(
                    key_of({**name, **first.measure.group(first.task)}), {cell.place.layer for cell in cells}
                ):
                    own = [cell for cell in cells if cell.place.layer in layers]
                    left = [cell for cell in own if force or not results.done(cell.key)]  # another run may have been at it
                    advance(len(own) - len(left))
                    if left:
                        read = vectors[first.task.sha256]
                        assert isinstance(read, Vectors)
                        _compute_cells(left, job.encoder, read, results, advance)


def _together(cells: Iterable[Cell]) -> list[list[Cell]]:
    """The cells that are computed in one call: those of a task, or of one value of `Cell.together`."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.together or cell.task.sha256, []).append(cell)
    return list(groups.values())


def _compute_cells(cells: Sequence[Cell], encoder: Encoder, vectors: Vectors, results: ResultStore, advance: Any) -> None:
    tasks = {cell.task.sha256: cell.task for cell in cells}.values()
    sets = [made for task in tasks for split in splits_of(task) for made in vectors.of(split).made_with]
    distinct = [made for k, made in enumerate(sets) if made not in sets[:k]]
    about = _about(encoder) | {"reading": vectors.reading, "extracted_with": distinct}
    names, failed = about.pop("layers"), dict[str, list[Cell]]()
    for cell, result in cells[0].measure.run(cells, vectors):
        if isinstance(result, str):
            failed.setdefault(result, []).append(cell)
        else:
            name = names[cell.place.layer] if cell.place.layer < len(names) else ""
            _record(replace(cell, row=replace(cell.row, layer_name=name)), result, results, {"encoder": about})
        advance(1)
    for reason, group in failed.items():
        _fail(group, results, reason)


def _record(cell: Cell, result: Result | str, results: ResultStore, about: dict[str, Any] | None = None) -> None:
    if isinstance(result, str):
        _fail([cell], results, result)
        return
    row = replace(cell.row, scores=result.scores, facets=result.facets)
    details = {**result.details, "data": cell.task.data_card, **(about or {})}
    results.put(cell.inputs, [row.recorded() | row.measured()], details, result.items)


def _fail(failed: Sequence[Cell], results: ResultStore, reason: str) -> None:
    """Records cells of one task and encoder that failed for the same reason."""
    places = list(dict.fromkeys(f"layer {cell.row.layer} {cell.row.pooling}" for cell in failed if cell.column))
    few = f" ({', '.join(places[:3])}{', …' if places[3:] else ''})" if places else ""
    row = failed[0].row
    info(f"failed: {len(failed)} cell(s) of {row.task}, {row.encoder}{few}: {reason}")
    for cell in failed:
        results.put_failure(cell.inputs, [cell.row.recorded()], reason)


def _vectors(job: EncoderJob, store: Store) -> dict[str, Vectors | str]:
    """For each task the vectors of its sentences, or why there are none: a sentence fails only the tasks that have it."""

    def vectors(texts: Iterable[str]) -> Vectors | str:
        try:
            with foreign(f"{job.encoder.name}: its description"):
                _about(job.encoder)
            return store.vectors(job.encoder, texts, job.poolings)
        except (StatesError, MemoryError) as error:
            return reason_of(error)

    together = vectors(job.texts)
    if isinstance(together, Vectors) or len(job.tasks) == 1:
        return dict.fromkeys(job.tasks, together)
    return {sha256: vectors(_texts([task])) for sha256, task in job.tasks.items()}


def _texts(tasks: Iterable[Task]) -> list[str]:
    return list(dict.fromkeys(text for task in tasks for split in task.splits.values() for text in split.texts))


def _about(encoder: Encoder) -> dict[str, Any]:
    layers = list(encoder.layer_names)
    return {"name": encoder.name, "origin": encoder.origin, "description": dict(encoder.description), "layers": layers}


def _release(encoder: Encoder) -> None:
    try:
        with foreign(f"{encoder.name}: releasing it"):
            encoder.release()
    except ForeignError as error:  # its results are there
        info(str(error))


def announce(job: EncoderJob, store: Store) -> None:
    """Logs sentences, tokens, size, time and memory of the extraction, if there is one; a few batches are run for it."""
    encoder = job.encoder
    try:
        with os_errors_as_store_error(store.root):
            cost = store.estimate(encoder, job.texts, job.poolings)
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


def table_of(planned: Iterable[Row], results: ResultStore) -> ResultTable:
    """The planned rows with the scores that were measured; `status` says which cells failed, and which are missing. Names, roles
    and labels are those of this request; another one may have measured the same cell under others."""
    rows = []
    for row in planned:
        status, record = results.state(row.cell)
        scores = scores_of(record) if status == "done" else {}
        rows.append(replace(row, **scores | {"status": status, "error": record["error"] if status == "failed" else ""}))
    return ResultTable.of(rows, results.predictions, results.groups, results.items)
