"""The cells of a request, and its hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from probing.data.task import Task
from probing.encoders.base import Encoder
from probing.errors import ConfigError
from probing.evaluation.measure import Cell, Measure
from probing.evaluation.probe import Probe
from probing.evaluation.request import Request, measured_encoders
from probing.evaluation.rows import IDENTITY
from probing.store.results import key_of
from probing.store.vectors import Store


def plan(tasks: Sequence[Task], encoders: Sequence[Encoder], request: Request, store: Store | None = None) -> list[Cell]:
    """Every row of the request, each once, with its cell; several rows may show one cell (`probing.evaluation.rows.IDENTITY`).

    Args:
        store: holds the inspection of encoders by earlier runs, so that their weights need not be loaded to plan.

    Raises:
        ConfigError: layers, poolings or a probe that do not fit the encoder.
        EncoderError: an encoder that cannot be loaded.
        ForeignError: the probe cannot say its settings.
    """
    planned: dict[tuple[Any, ...], Cell] = {}
    if request.resample and (folded := [task.name for task in tasks if task.folds]):
        raise ConfigError(f"resample=train needs a train split, but {', '.join(folded)} is cross-validated: set resample=null")
    for seed in request.seeds:
        variants = [task.subset(request.train_size, seed) for task in tasks]
        measured = measured_encoders(encoders, seed, request, store)
        for task in variants:
            for measure in measures_of(request):
                for one in (None, *measured):
                    for cell in measure.cells(task, one, request, seed):
                        planned.setdefault(tuple(getattr(cell.row, name) for name in IDENTITY), cell)
    return list(planned.values())


def measures_of(request: Request) -> list[Measure]:
    return [*([] if request.probe is None else [Probe(request.probe)]), *request.measures]


def request_key(tasks: Sequence[Task], planned: Sequence[Cell], request: Request) -> str:
    """A hash of the request, which names the run; it does not depend on whether an encoder can list its layers yet."""
    marks = [cell.row.encoder_fingerprint for cell in planned if cell.row.role == "probe"]
    options = {one.name: getattr(request, one.name) for one in fields(request) if one.name not in ("probe", "measures")}
    probes = [request.probe.settings(task.name) for task in tasks] if request.probe else []
    if request.measures:
        options["measures"] = [dict(measure.group(task)) for measure in request.measures for task in tasks]
    return key_of({"data": [task.sha256 for task in tasks], "encoders": list(dict.fromkeys(marks)), "probes": probes, **options})
