"""The plan of a request: every cell, before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from probing.data.card import main_metric
from probing.data.draws import first_of_each
from probing.data.task import Task
from probing.encoders.base import Encoder
from probing.errors import ConfigError
from probing.evaluation.measure import Cell, Measure
from probing.evaluation.metrics import chosen
from probing.evaluation.probe import Probe
from probing.evaluation.request import ALL_FLOORS, Request, measured_encoders
from probing.evaluation.rows import IDENTITY
from probing.evaluation.statistics import FEW
from probing.log import info
from probing.probes.controls import unsuited
from probing.probes.floors import FLOORS, shown_as
from probing.probes.other import for_kind
from probing.store.results import key_of
from probing.store.vectors import Store


def plan(tasks: Sequence[Task], encoders: Sequence[Encoder], request: Request, store: Store | None = None) -> list[Cell]:
    """Every row of the request, each once, with its cell; several rows may show one cell (`probing.evaluation.rows.IDENTITY`).
    The store holds the inspection of encoders by earlier runs, so that their weights need not be loaded. ConfigError for
    layers, poolings or a probe that do not fit the encoder, EncoderError for one that cannot be loaded."""
    planned: dict[tuple[Any, ...], Cell] = {}
    measures = [[*_probe(request, task), *request.measures] for task in tasks]
    if request.resample and (folded := [task.name for task in tasks if task.folds]):
        raise ConfigError(f"resample=train needs a train split, but {', '.join(folded)} is cross-validated: set resample=null")
    all_measured = {  # its errors come first
        (words, seed): measured_encoders(encoders, seed, replace(request, words=words), store)
        for words in dict.fromkeys(task.of_words for task in tasks)
        for seed in request.seeds
    }
    drawn = [[drawn_by(task, request, seed) for seed in request.seeds] for task in tasks]
    of_task = [
        replace(request, controls=suited(variants, () if request.probe is None else request.controls), words=variants[0].of_words)
        for variants in drawn
    ]
    for number, seed in enumerate(request.seeds):
        for variants, own, of_one in zip(drawn, of_task, measures, strict=True):
            for measure in of_one:
                for one in (None, *all_measured[own.words, seed]):
                    for cell in measure.cells(variants[number], one, own, seed):
                        planned.setdefault(tuple(getattr(cell.row, name) for name in IDENTITY), cell)
    return list(planned.values())


def drawn_by(task: Task, request: Request, seed: int) -> Task:
    """The task with the train sentences that a request draws of it with this seed."""
    if request.per_class is None:
        return task.subset(request.train_size, seed)
    task.need_classes("per_class")
    if task.folds:
        raise ConfigError(
            f"per_class={request.per_class} needs a train split, but {task.name} is cross-validated: set per_class=null"
        )
    rows = first_of_each(task.train.labels, request.per_class, np.random.default_rng(seed))
    return task if len(rows) == len(task.train) else replace(task, train=task.train.take(rows), train_size=len(rows), seed=seed)


def _probe(request: Request, task: Task) -> list[Measure]:
    """The probe of the request for a task's kind of labels; ConfigError for one that does not fit them, or metrics that need it."""
    if request.probe is None:
        return []
    if task.folds and (names := [*chosen(task, request.metrics)]) and any(chosen(task, names)[name].reads_scores for name in names):
        raise ConfigError(f"{task.name} is cross-validated: scores of several fits have no common scale for {', '.join(names)}")
    for name in (
        name for name in request.floors if name in FLOORS and not (shown_as(name, task) or (task.of_words and name in ALL_FLOORS))
    ):
        info(f"{task.name}: the floor {name} is not measured: it reads classes")
    unordered = task.kind == "classification" and not task.card.get("ordered")
    for name in (name for name in request.metrics if unordered and name not in chosen(task, request.metrics)):
        info(f"{task.name}: {name} is not measured: its classes have no order (ordered: true)")
    main = main_metric(task.card)
    if main == "auroc":
        dev, test = (int(np.bincount(split.labels, minlength=len(task.classes)).min()) for split in (task.dev, task.test))
        if dev < 2 or test < FEW:
            raise ConfigError(
                f"{task.name}: metric auroc needs 2 dev and {FEW} test sentences of each class, its smallest has {dev} and {test}: "
                "leave it out, and report AUROC beside accuracy with metrics=[auroc]"
            )
    return [Probe(for_kind(request.probe, task.kind, task.name), request.metrics)]


def request_key(tasks: Sequence[Task], planned: Sequence[Cell], request: Request) -> str:
    """A hash of the request, which names the run; it does not depend on whether an encoder can list its layers yet."""
    marks = [cell.row.encoder_fingerprint for cell in planned if cell.row.role == "probe"]
    options = {
        one.name: getattr(request, one.name)
        for one in fields(request)
        if one.name not in ("probe", "measures", "metrics", "per_class", "words")
    }
    options["store_dtype"] = request.store_dtype or "float32"
    probes = [for_kind(request.probe, task.kind, task.name).settings(task.name) for task in tasks] if request.probe else []
    if request.metrics:
        options["metrics"] = request.metrics
    if request.per_class is not None:
        options["per_class"] = request.per_class
    if request.measures:
        options["measures"] = [dict(measure.group(task)) for measure in request.measures for task in tasks]
    return key_of({"data": [task.sha256 for task in tasks], "encoders": list(dict.fromkeys(marks)), "probes": probes, **options})


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
