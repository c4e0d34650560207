"""`evaluate`: tasks × encoders → a table of every layer and pooling, with floors, controls and intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from probing.data.task import Task
from probing.encoders.base import Encoder
from probing.evaluation.engine import compute, plan, table_of
from probing.evaluation.request import ALL_FLOORS, Request
from probing.evaluation.table import ResultTable
from probing.probes.base import ProbeProtocol
from probing.probes.controls import CONTROLS
from probing.store.results import ResultStore
from probing.store.vectors import Store


def evaluate(
    tasks: Sequence[Task],
    encoders: Sequence[Encoder],
    *,
    store: Store | str | Path,
    cells: ResultStore | str | Path | None = None,
    probe: ProbeProtocol | str | None = "fast",
    layers: Iterable[int] | None = None,
    poolings: Iterable[str] | None = None,
    seeds: Iterable[int] = (0,),
    controls: Iterable[str] = CONTROLS,
    floors: Iterable[str] = ALL_FLOORS,
    train_size: int | None = None,
    twins: int = 1,
    resample: str | None = None,
    resamples: int = 20,
    measures: Sequence[Any] = (),
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
        measures: other measures (`probing.evaluation.measure`), beside the probe; probe=None: alone.
        force: measure again what is finished.

    Returns:
        A row for each cell, and for each role and encoder name under which it was asked for; `frame.status` is "failed" where it
        could not be computed, and `frame.error` says why.

    Raises:
        ProbingError: bad arguments, an encoder that cannot be loaded, a store that cannot be written. Finished cells stay.
    """
    store, results = stores(store, cells)
    request = Request.of(
        probe, layers, poolings, seeds, controls, floors, train_size=train_size, store_dtype=store.dtype, twins=twins,
        resample=resample, resamples=resamples, measures=tuple(measures),
    )  # fmt: skip
    planned = plan(tasks, encoders, request, store)
    compute(planned, store, results, force)
    return table_of([cell.row for cell in planned], results)


def stores(store: Store | str | Path, cells: ResultStore | str | Path | None) -> tuple[Store, ResultStore]:
    """The stores of vectors and of results; the latter, if not given, beside the former."""
    store = store if isinstance(store, Store) else Store(store)
    return store, cells if isinstance(cells, ResultStore) else ResultStore(
        cells or store.root.with_name(store.root.name + "-cells")
    )
