"""Measures: a measure lists the cells of a request and computes them.

The probe is one (`probing.evaluation.probe`). A measure of the vectors of one layer and pooling is a subclass of `LayerMeasure`
with a `name`, a `version` and a method `score`; `measures=FILE.py` runs the one in a file (docs/howto.md has an example), and
`measures=NAME` one of ours: a preset in `conf/measure`, whose options are keys of the same name (`mdl.shuffles=5`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from probing import config
from probing.data.task import Task
from probing.encoders.base import Encoder
from probing.encoders.pooling import place_in_tables
from probing.encoders.user.usercode import find, sources
from probing.errors import ConfigError, ProbingError, StoreError, described, did_you_mean, foreign
from probing.evaluation.request import Measured, Request
from probing.evaluation.rows import Row
from probing.evaluation.statistics import mean_ci
from probing.probes.base import SplitFeatures
from probing.probes.floors import constant, constant_score
from probing.store.reading import Rows, Vectors
from probing.store.results import key_of
from probing.types import Estimate, Representation


@dataclass(frozen=True)
class Cell:
    """One planned measurement.

    Attributes:
        inputs: everything that determines its numbers; the key is their hash.
        row: the row it fills, as far as that is known; `own`: data of its measure.
        encoder, column: None where the text alone is measured.
        failure: why it cannot be measured, if that is known when it is planned.
        together: cells of an encoder with the same name are computed in one call though they are of several tasks; empty: those
            of a task are.
    """

    inputs: Mapping[str, Any]
    row: Row
    task: Task
    measure: Measure
    encoder: Encoder | None = None
    column: Representation | None = None
    own: Any = None
    failure: str = ""
    together: str = ""

    @property
    def key(self) -> str:
        return self.row.cell

    @property
    def place(self) -> Representation:
        assert self.column is not None
        return self.column


@dataclass(frozen=True)
class Result:
    """The result of a cell: metric -> value with its 95 % interval; entries of the row that only this measure has, plain JSON;
    `details` of the record; and arrays by test item, for paired comparisons; a probe's are `gold`, `predicted`, and `groups`."""

    scores: Mapping[str, Estimate]
    facets: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    items: Mapping[str, np.ndarray] = field(default_factory=dict)


class Measure(Protocol):
    @property
    def name(self) -> str: ...

    def cells(self, task: Task, measured: Measured | None, request: Request, seed: int) -> Iterable[Cell]:
        """The cells of a task and an encoder; of a task alone where `measured` is None."""
        ...

    def run(self, cells: Sequence[Cell], vectors: Vectors | None) -> Iterator[tuple[Cell, Result | str]]:
        """Computes cells of one task and encoder (or of none: `vectors` is None); yields each with its result, or why it failed;
        StoreError if the store cannot be read."""
        ...

    def group(self, task: Task) -> Mapping[str, Any]:
        """What identifies the measure on this task; jobs side by side lock its layers under this name."""
        ...


def load_measures(targets: Sequence[str], options: Mapping[str, Any] | None = None) -> tuple[Measure, ...]:
    """The measures of presets (`conf/measure`), with their options by name, and of Python files: FILE.py:NAME, or every
    `LayerMeasure` of FILE.py; ConfigError if there is none."""
    measures: list[Measure] = []
    for target in targets:
        if target in (known := config.names("measure")):
            measures.append(config.build({**config.read("measure", target), **((options or {}).get(target) or {})}, target))
            continue
        if target.isidentifier() and find_spec(target) is None:
            near = did_you_mean(target, known)
            raise ConfigError(f"measures={target} is unknown{near} (allowed: probe, {', '.join(known)}, or FILE.py)")
        code = find(target, "measures")
        things = [code.thing] if code.attribute else list(vars(code.module).values())
        classes = [one for one in things if isinstance(one, type) and issubclass(one, LayerMeasure) and one is not LayerMeasure]
        if not classes:
            raise ConfigError(f"measures={target}: it holds no subclass of probing.evaluation.measure.LayerMeasure")
        for one in classes:
            measure = one()
            measure.code = json.dumps(sources(code), sort_keys=True)
            measures.append(measure)
    if twice := [name for name, n in Counter(measure.name for measure in measures).items() if n > 1 or not name]:
        raise ConfigError(f"measures={','.join(targets)}: each needs a name of its own (found: {', '.join(map(repr, twice))})")
    return tuple(measures)


def as_measures(given: Any) -> tuple[Measure, ...]:
    """Measures as people have them in Python: objects, and names of ours or of files; ConfigError for anything else."""
    many = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    measures: list[Measure] = []
    for one in many:
        if not isinstance(one, str) and not callable(getattr(one, "cells", None)):
            raise ConfigError(f"measures: {type(one).__name__} was given; allowed: an object of a LayerMeasure, a name, or FILE.py")
        measures += load_measures([one]) if isinstance(one, str) else [one]
    return tuple(measures)


def row_of(task: Task, role: str, **more: Any) -> Row:
    majority = constant_score(task.test.labels, constant(task))
    return Row(
        role, task.name, task.paper_name, n_train=len(task.train), n_dev=len(task.dev), n_test=len(task.test),
        n_groups=task.test.n_groups, n_folds=len(task.folds) or None, n_classes=len(task.classes), majority=majority,
        data_sha256=task.sha256, test_sha256=task.test_sha256, official_data=task.data_card["official"], **more,
    )  # fmt: skip


def row_for(task: Task, measured: Measured, request: Request) -> Row:
    """A row of a task and an encoder: its role is "random" of a random twin, else "probe"."""
    twin_of = measured.twin_of and request.named(measured.twin_of)
    seed = measured.seed if twin_of or task.seed is not None else None
    names = {"encoder": request.named(measured.name), "twin_of": twin_of, "encoder_fingerprint": measured.fingerprint}
    return row_of(task, "random" if twin_of else "probe", seed=seed, **names)


def splits_of(task: Task) -> list[Any]:
    """The splits whose vectors are read: of a cross-validated task dev and test hold all sentences."""
    return [task.dev, task.test] if task.folds else list(task.splits.values())


def rows_of(task: Task, vectors: Vectors) -> list[Rows]:
    """The places of the items of train, dev and test in the store."""
    return [vectors.of(split) for split in task.splits.values()]


def reason_of(error: ProbingError | MemoryError) -> str:
    """Why a cell failed; a StoreError fails no cell, and is raised."""
    if isinstance(error, StoreError):
        raise error
    return str(error) if isinstance(error, ProbingError) else described(error)


def by_pooling(cells: Iterable[Cell]) -> list[Cell]:
    return sorted(cells, key=lambda cell: (place_in_tables(cell.place.pooling), cell.place.layer))


class LayerMeasure:
    """A measure of one layer and pooling of a task's sentences: `score` gives values by test item, with the interval of their mean
    (t, or by groups where test items have groups), or single numbers without one."""

    name: str = ""
    version: int = 1
    code: str = ""
    """Hashes of the files that it was loaded from (`load_measures`), so that a changed file is measured again."""

    def score(self, vectors: SplitFeatures, task: Task) -> Mapping[str, Any] | Result:
        """Metric -> values by test item, (n_test,), or one number; or a `Result`. `vectors` has train, dev and test, each (n,
        d)."""
        raise NotImplementedError

    def group(self, task: Task) -> Mapping[str, Any]:
        return {"measure": self.name, "version": self.version, "code": self.code}

    def cells(self, task: Task, measured: Measured | None, request: Request, seed: int) -> Iterable[Cell]:
        if measured is None:
            return
        row = replace(row_for(task, measured, request), measure=self.name)
        columns: list[Representation | None] = [column for column in measured.columns if column != measured.static]
        for column in columns or [None]:
            inputs = {"data": task.sha256, "encoder": measured.fingerprint or {"name": measured.name}, **self.group(task)}
            inputs |= {} if task.test.groups is None else {"interval": "t, over groups"}
            if column is not None:
                inputs |= {"layer": column.layer, "pooling": column.pooling}
                row = replace(row, layer=column.layer, pooling=column.pooling)
            inputs |= request.stored
            yield Cell(inputs, replace(row, cell=key_of(inputs)), task, self, measured.encoder, column, failure=measured.failure)

    def run(self, cells: Sequence[Cell], vectors: Vectors | None) -> Iterator[tuple[Cell, Result | str]]:
        assert vectors is not None
        task = cells[0].task
        rows = rows_of(task, vectors)
        for cell in by_pooling(cells):
            try:
                with foreign(f"measure {self.name}"):
                    train, dev, test = (split.get(cell.place) for split in rows)
                    values = self.score(SplitFeatures(train, dev, test), task)
                    result = values if isinstance(values, Result) else self._result(values, task)
            except (ProbingError, MemoryError) as error:
                yield cell, reason_of(error)
            else:
                yield cell, result

    @staticmethod
    def _result(values: Mapping[str, Any], task: Task) -> Result:
        arrays = {name: np.asarray(x, float) for name, x in values.items()}
        if wrong := [name for name, x in arrays.items() if x.ndim and x.shape != (len(task.test),)]:
            raise ValueError(f"{', '.join(wrong)}: values by test item must have the shape ({len(task.test)},)")
        scores, groups = {}, task.test.clusters
        for name, x in arrays.items():
            scores[name] = mean_ci(x, groups) if x.ndim else Estimate(float(x), np.nan, np.nan)
        items = {name: x for name, x in arrays.items() if x.ndim} | ({} if groups is None else {"groups": groups})
        return Result(scores, items=items)
