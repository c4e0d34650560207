"""What the columns of an atlas would cost, before anything is measured: a small part of each is measured in a folder that is
removed, and its seconds are multiplied.

    encoded      a few batches of the encoder and of each twin; the fits of every property at one layer with their tests, on
                 vectors as wide as the encoder's, means of vectors of hashed words, of at most `MOST` train items
    where        the units of two properties on such vectors, with the fewest and with the most classes
    used         the erasure of one layer, with `FEW` pairs and with three times as many
    interacting  four sentences
    transfers    the encoder on the sentences of the other corpora; fits as in `encoded`

Beside the columns: the start of the program, the loading of the encoder, and a page with as many properties and layers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from probing.data.task import Task
from probing.encoders.networks.recurrent import LSTM
from probing.errors import ConfigError, DataError
from probing.evaluation.corpora import pairs_of
from probing.evaluation.evaluate import evaluate, jobs_of
from probing.evaluation.measure import Cell
from probing.evaluation.planning import plan
from probing.evaluation.request import Request
from probing.evaluation.table import ResultTable
from probing.evaluation.transfer import planned_cells
from probing.log import human_seconds, info, quiet
from probing.report import atlas as report
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.studies import Context
from probing.studies.atlas_parts import NO_CORPUS, WORDS, Parts
from probing.studies.atlas_rows import NAMES, encoded_rows, row
from probing.studies.properties import with_task

MOST = 2000
"""Train items of a property in the sample; more take proportionally longer."""
FEW = 4
"""Pairs in the shorter sample of `used`."""
STARTED = time.process_time()
"""Seconds of the program until its code was loaded."""


def forecast(parts: Parts) -> dict[str, float]:
    """Logs for each column what would be measured, and about how long it would take; returns the seconds of columns that apply."""
    with TemporaryDirectory() as folder:
        start, seconds = time.perf_counter(), dict[str, float]()
        cost = Cost(parts, Path(folder))
        fixed = STARTED + time.perf_counter() - start  # with the encoder, whose layers are counted
        for name in parts.study.chosen:
            with quiet():
                try:
                    what, own = getattr(cost, name)()
                except (ConfigError, DataError) as error:  # such as a sample in which no pair can be scored
                    what, own = f"not known: {error}", None
            if own is not None:
                seconds[name] = own
            info(f"{name}: {what}" + ("" if own is None else f": about {human_seconds(own)}"))
        fixed += cost.page(Path(folder) / "page")
    info(f"start, loading and page: about {human_seconds(fixed)}")
    info(f"all of it: about {human_seconds(sum(seconds.values()) + fixed)} on this machine as it is now")
    return seconds


class Cost:
    """Of each column, in a method of its name: what would be measured, and its seconds, None where it does not apply."""

    def __init__(self, parts: Parts, folder: Path):
        self.parts, self.size, self.encoder = parts, parts.size, parts.encoder
        self.context: Context = replace(parts.context, results=ResultStore(folder / "cells"), store=Store(folder / "store"))
        self.n_layers = len(self.encoder.dims)

    @cached_property
    def stand_in(self) -> LSTM:
        """An encoder whose layer 0, vectors of hashed words, is as wide as the encoder's layers on average."""
        return LSTM(embedding_dim=round(float(np.mean(self.encoder.dims))), hidden=1, buckets=MOST)

    def _sample(self, task: Task) -> tuple[Task, float]:
        """The task with `MOST` train items at most, and how many times more it has."""
        small = task.subset(MOST, self.context.seed)
        return small, len(task.train) / len(small.train)

    @cached_property
    def tables(self) -> list[tuple[Task, float, ResultTable, float]]:
        """Of each property the sample, how many times more items it has, its table, and the seconds that took."""
        made = []
        for task in self.parts.tasks:
            small, times = self._sample(task)
            options = self.parts.options(self.parts.pooling(task)) | {"poolings": WORDS if task.of_words else "mean"}
            options["measures"] = ("mdl",) if self.size.code and not task.of_words else ()
            start = time.perf_counter()
            table = evaluate([small], [self.stand_in], store=self.context.store, cells=self.context.results, layers=[0], **options)
            made.append((small, times, table, time.perf_counter() - start))
        return made

    @cached_property
    def tests(self) -> float:
        """Seconds of the tests of a layer of every property against its floors."""
        start = time.perf_counter()
        for small, _, table, _ in self.tables:
            for line in table.of_measure("probe").best().itertuples():
                list(encoded_rows(small, table, line, self.context.results))
        return time.perf_counter() - start

    @cached_property
    def fits(self) -> dict[tuple[str, str, bool], float]:
        """(task, measure, of vectors) -> seconds of a cell."""
        seconds = dict[tuple[str, str, bool], float]()
        for task, times, table, left in self.tables:
            unknown = list[str]()
            frame = table.frame.drop_duplicates("cell")
            for (measure, of_vectors), rows in frame.groupby(["measure", frame.layer.notna()], sort=False):
                known = [self._seconds(cell) for cell in rows.cell]
                if None in known:
                    unknown.append(str(measure))  # a measure that does not say: what the others leave
                else:
                    seconds[task.name, str(measure), bool(of_vectors)] = times * float(np.mean(known))  # type: ignore[arg-type]
                    left -= sum(filter(None, known))
            for measure in unknown:
                cells = (frame.measure.isin(unknown)).sum()
                seconds[task.name, measure, True] = times * max(left, 0.0) / cells
        return seconds

    def _seconds(self, cell: str) -> float | None:
        _, record = self.context.results.state(cell)
        return record.get("details", {}).get("seconds")

    def _cells(self, cells: list[Cell]) -> float:
        """Seconds of the cells that are not finished: the encoder on their sentences, its trial, and their fits."""
        results, store = self.parts.context.results, self.parts.context.store
        unique = {cell.key: cell for cell in cells}
        open_ = [unique[key] for key in results.pending(unique)]
        start = time.perf_counter()
        model = sum(store.estimate(job.encoder, job.texts, job.poolings).seconds for job in jobs_of(open_))
        trial = time.perf_counter() - start  # which the measurement makes as well
        kinds = [(cell.row.task, cell.row.measure, cell.column is not None) for cell in open_]
        return model + trial + sum(self.fits.get(kind, 0.0) for kind in kinds)

    def _request(self, pooling: str, **more: Any) -> Request:
        options = self.parts.options(pooling) | more
        return Request.of(layers=None, store_dtype=self.parts.context.store.dtype, **options)

    def encoded(self) -> tuple[str, float]:
        tasks, seconds = self.parts.tasks, 0.0
        for pooling in dict.fromkeys(self.parts.pooling(task) for task in tasks):
            own = [task for task in tasks if self.parts.pooling(task) == pooling]
            seconds += self._cells(plan(own, [self.encoder], self._request(pooling), self.parts.context.store))
        if seconds:  # else all is measured, and the rest takes little
            codes = (self.fits.get((task.name, "mdl", True), 0.0) for task in tasks)  # at the dev-best layer alone
            seconds += self.n_layers * self.tests + sum(codes)
        texts = {text for task in tasks for split in task.splits.values() for text in split.texts}
        return f"{len(tasks)} properties, {self.n_layers} layers, {len(texts)} sentences, {self.size.twins} random twins", seconds

    def where(self) -> tuple[str, float | None]:
        tasks = sorted((task for task in self.parts.tasks if task.kind == "classification"), key=lambda task: len(task.classes))
        if not tasks:
            return "not applicable: no property has classes", None
        _ = self.fits  # whose vectors are read
        measured = {}
        for task in (tasks[0], tasks[-1]):
            small, times = self._sample(task)
            context = replace(with_task(self.context, small), make_encoder=lambda: self.stand_in)
            measured[len(task.classes)] = times * _timed(replace(self.parts.neurons(task, 0), pooling="mean").measure, context)
        seconds = float(np.interp([len(task.classes) for task in tasks], list(measured), list(measured.values())).sum())
        what = f"{len(tasks)} properties at one layer each, {self.size.rotations} random bases"
        if "encoded" in self.parts.study.chosen:
            return what, seconds
        return f"{what}, and the table of encoded, which names the layer", seconds + self.encoded()[1]

    def interacting(self) -> tuple[str, float | None]:
        tasks, (least, most) = self.parts.of_sentences, self.size.words
        what = f"{len(tasks)} properties, {self.size.sentences} sentences each of {least} to {most} words"
        for task in tasks:
            context = with_task(self.context, task)
            try:
                self.parts.interactions(1).measure(context)  # loads the model
                seconds = _timed(self.parts.interactions(5).measure, context) / 4
            except ConfigError:  # no sentence of that length
                continue
            return what, seconds * self.size.sentences * len(tasks)
        return "not applicable: no property has sentences of that length", None

    def used(self) -> tuple[str, float | None]:
        more = "" if self.parts.classifier is None else "; the derivative of the classifier takes time that is not known"
        if self.parts.no_pairs:
            return f"not applicable: {self.parts.no_pairs}{more}", None
        tasks = self.parts.with_pairs
        counts = [len(self.parts.given_pairs[task.name].items) for task in tasks]
        what = f"{len(tasks)} properties, {self.n_layers} layers, {sum(counts)} pairs, {self.parts.draws} random draws{more}"
        if not tasks:
            return f"{what}: no pairs", None
        study, context = self.parts.erasing(tasks[0], [self.n_layers - 1]), self.context

        def seconds(pairs: int) -> float:
            return _timed(study.measure, with_task(context, tasks[0], self.parts.pairs(tasks[0], pairs)))

        seconds(2)  # loads the model
        short, long = seconds(FEW), seconds(3 * FEW)
        each = max(long - short, 0.0) / (2 * FEW)
        fixed = max(short - FEW * each, 0.0)
        return what, self.n_layers * (len(tasks) * fixed + sum(counts) * each)

    def transfers(self) -> tuple[str, float | None]:
        if not self.parts.corpora:
            return f"not applicable: {NO_CORPUS}", None
        pairs = pairs_of(self.parts.corpora, None, self.size.items, self.context.seed)
        request = self._request(self.parts.pooling(self.parts.of_sentences[0]), controls=())
        cells = [
            replace(cell, row=replace(cell.row, task=pair.name))
            for pair, cell in planned_cells(pairs, [self.encoder], request, self.parts.context.store)
        ]
        return f"{len(self.parts.of_sentences)} properties, {len(self.parts.corpora) - 1} other corpora", self._cells(cells)

    def page(self, folder: Path) -> float:
        """Seconds of the page and its files, of numbers that say nothing."""
        number = {"low": 0.5, "high": 0.5, "n": 1, "p": 1.0, "against": "floor", "against_value": 0.5}
        rows = []
        for task in self.parts.tasks:
            for role, layer in (*(("layer", k) for k in range(self.n_layers)), ("best", 0)):
                rows.append(row(task, "encoded", "accuracy", 0.5, role=role, layer=layer, **number))
        of = {"encoder": self.encoder.name, "architecture": "", "data": "", "size": self.parts.study.size}
        frame = pd.DataFrame([{**of, **one} for one in rows], columns=NAMES)
        start = time.perf_counter()
        report.write(frame, folder)
        return time.perf_counter() - start


def _timed(measure: Callable[[Context], Any], context: Context) -> float:
    start = time.perf_counter()
    measure(context)
    return time.perf_counter() - start
