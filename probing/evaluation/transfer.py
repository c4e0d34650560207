"""`transfer`: probes that are trained on one corpus and tested on others, layer by layer.

The transfer of a task from A to B is the task with train and dev of A and test of B (`probing.evaluation.corpora`); so it has the
floors of any task, fitted on A. Its cells are those that `evaluate` has for that task. A probe is fitted once for all targets: of
the source's own test split the predictions are those of the fit, so that the diagonal is the plain table to the last bit; of the
others they are those of the fitted classifier (`ProbeResult.model`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from probing.data.task import Task
from probing.encoders.given import as_encoders
from probing.errors import ConfigError, ProbingError, foreign
from probing.evaluation.corpora import Pair, pairs_of
from probing.evaluation.evaluate import compute, stores, table_of
from probing.evaluation.folds import FoldData
from probing.evaluation.measure import Cell, Result, as_measures, by_pooling, reason_of
from probing.evaluation.planning import plan
from probing.evaluation.probe import Probe, fit_column, with_fit
from probing.evaluation.refit import Refit
from probing.evaluation.request import Request, many
from probing.evaluation.transferred import Transfer
from probing.store.reading import Vectors
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.types import Representation

FLOORS = ("majority", "nb-unigram")
"""The floors that are measured where none are named."""


def transfer(
    corpora: Mapping[str, Any],
    encoders: Any,
    *,
    tasks: str | Iterable[str] | None = None,
    sizes: Sequence[int | None] | None = None,
    store: Store | str | Path | None = None,
    cells: ResultStore | str | Path | None = None,
    probe: Any = "fast",
    layers: int | Iterable[int] | None = None,
    poolings: str | Iterable[str] | None = None,
    seeds: int | Iterable[int] = (0,),
    floors: str | Iterable[str] | None = FLOORS,
    twins: int = 1,
    resample: str | None = None,
    resamples: int = 20,
    metrics: str | Iterable[str] = (),
    force: bool = False,
) -> Transfer:
    """Trains a probe on each corpus and tests it on all, for every task in common, layer and pooling.

    Args:
        corpora: name -> "grammar" (the built-in one), a folder of task files, a source of `probing.data.sources`, or tasks.
        tasks: names; None: all that at least two corpora have, with the same classes (`probing.evaluation.corpora`).
        sizes: at most so many train, dev and test sentences of each task, drawn stratified with the first seed; None: all.
        floors: of `probing.evaluation.request.ALL_FLOORS`, each fitted on the source and scored on the target; None: all.
        encoders, store, cells, probe, layers, poolings, seeds, twins, resample, resamples, metrics, force: see `evaluate`.

    Raises:
        ProbingError: fewer than two corpora, no task in common, and what `evaluate` raises. A cell that cannot be computed is a row
            with the status "failed".
    """
    store, results = stores(store, cells)
    request = Request.of(
        probe, layers, poolings, seeds, (), floors, store_dtype=store.dtype, twins=twins, resample=resample, resamples=resamples,
        measures=as_measures(()), metrics=many(metrics),
    )  # fmt: skip
    if request.probe is None:
        raise ConfigError("probe=None: a transfer is of probes; name one (probe='fast')")
    pairs = pairs_of(corpora, None if tasks is None else many(tasks), sizes, request.seeds[0])
    planned = planned_cells(pairs, as_encoders(encoders), request, store)
    compute([cell for _, cell in planned], store, results, force)
    table = table_of([replace(cell.row, task=pair.title, paper_name=pair.title) for pair, cell in planned], results)
    about = {name: [getattr(pair, name) for pair, _ in planned] for name in ("name", "source", "target", "shared", "unseen")}
    frame = table.frame.assign(**{"property" if name == "name" else name: values for name, values in about.items()})
    refit = Refit.of([cell for _, cell in planned], store, results)
    return Transfer(replace(table, frame=frame, refit=refit))


def planned_cells(pairs: Sequence[Pair], encoders: Sequence[Any], request: Request, store: Store) -> list[tuple[Pair, Cell]]:
    """The cells of every pair, those of one source and task to be computed in one call; corpora that are the same data share
    them."""
    unique = {pair.task.sha256: pair.task for pair in pairs}
    own = {pair.task.sha256: pair.own for pair in pairs}
    of_task: dict[str, list[Cell]] = {}
    for cell in plan(list(unique.values()), encoders, request, store):
        if cell.column is not None and not cell.failure:
            assert isinstance(cell.measure, Probe)
            measure = Transferred(cell.measure.protocol, cell.measure.metrics, own=own)
            cell = replace(cell, measure=measure, together=own[cell.task.sha256].sha256)
        of_task.setdefault(cell.task.sha256, []).append(cell)
    return [(pair, cell) for pair in pairs for cell in of_task[pair.task.sha256]]


@dataclass(frozen=True)
class Transferred(Probe):
    """The probe of tasks that share train and dev; `own`: hash of a task -> the source's own task, on which its probe is fitted."""

    own: Mapping[str, Task] = field(default_factory=dict, kw_only=True)

    def run(self, cells: Sequence[Cell], vectors: Vectors | None) -> Iterator[tuple[Cell, Result | str]]:
        if vectors is None:
            yield from super().run(cells, vectors)
            return
        tests = {cell.task.sha256: vectors.of(cell.task.test) for cell in cells}
        first = self.own[cells[0].task.sha256]
        whole = first.sha256
        if whole not in tests:  # its cell is finished: its test split is not read again, and of dev no prediction is
            first = replace(first, test=first.dev)
        rows = [vectors.of(split) for split in first.splits.values()]
        groups: dict[tuple[Representation, int, int | None], list[Cell]] = {}
        for cell in by_pooling(cells):
            groups.setdefault((cell.place, cell.own.seed if cell.own.probe_seed is not None else 0, cell.own.half), []).append(cell)
        for (column, seed, half), group in groups.items():
            start = time.perf_counter()
            try:
                part = FoldData.of(first, first, ["true"], half)
                fits = list(fit_column(column, rows, [part], self.protocol, first, seed))
                if not fits:
                    raise ConfigError(f"probe {self.protocol.name} gave no result")
                with foreign(f"probe {self.protocol.name}: its model"):
                    model = fits[0].result.model and fits[0].result.model()
            except (ProbingError, MemoryError) as error:
                yield from ((cell, reason_of(error)) for cell in group)
                continue
            for cell in group:
                is_own = cell.task.sha256 == whole
                if model is None and not is_own:
                    yield from super().run([cell], vectors)
                    continue
                try:
                    with foreign(f"probe {self.protocol.name}: on another corpus"):
                        one = fits[0]
                        if not is_own:
                            x = tests[cell.task.sha256].get(column)
                            assert model is not None
                            result = replace(one.result, predictions=np.asarray(model.predict(x)))
                            one = one._replace(result=result, gold=cell.task.test.labels, x_test=x)
                        scored = with_fit(self._scored(cell.task, one), one.result, time.perf_counter() - start)
                except (ProbingError, MemoryError) as error:
                    yield cell, reason_of(error)
                else:
                    yield cell, scored
                start = time.perf_counter()
