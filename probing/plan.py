"""What a request will measure: every cell, with what determines it and the row it will fill, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probing.cells import key_of
from probing.encoders.base import POOLINGS, Encoder, fingerprint
from probing.errors import ConfigError, did_you_mean
from probing.probes.controls import CONTROLS, FLOORS
from probing.probes.protocols import ProbeProtocol, label
from probing.progress import say
from probing.tables import Row
from probing.task import Task
from probing.types import Column

ALL_FLOORS = (*FLOORS, "static", "random-weights")


@dataclass(frozen=True)
class Cell:
    """One planned measurement: what determines it, and the row it will fill."""

    inputs: Mapping[str, Any]
    row: Row
    task: Task
    encoder: Encoder | None
    column: Column | None
    control_seed: int | None = None
    probe_seed: int | None = None

    @property
    def key(self) -> str:
        return self.row.cell

    @property
    def label_set(self) -> str:
        return "true" if self.control_seed is None else f"{self.row.control}:{self.control_seed}"


@dataclass(frozen=True)
class Settings:
    """What is measured, apart from tasks and encoders (see `evaluate`)."""

    probe: ProbeProtocol
    layers: tuple[int, ...] | None = None
    poolings: tuple[str, ...] | None = None
    seeds: tuple[int, ...] = (0,)
    controls: tuple[str, ...] = ("permuted",)
    floors: tuple[str, ...] = ALL_FLOORS
    train_size: int | None = None
    store_dtype: str = "float32"

    def __post_init__(self) -> None:
        for name, given, allowed in (
            ("pooling", self.poolings or (), POOLINGS),
            ("controls", self.controls, CONTROLS),
            ("floors", self.floors, ALL_FLOORS),
        ):
            for value in given:
                if value not in allowed:
                    raise ConfigError(f"{name}={value!r} is unknown{did_you_mean(value, allowed)} (allowed: {', '.join(allowed)})")
        if not self.seeds or min(self.seeds) < 0:
            raise ConfigError(f"seed={list(self.seeds)} must hold at least one number, none below 0")


def plan(tasks: Sequence[Task], encoders: Sequence[Encoder], settings: Settings) -> list[Cell]:
    """Every cell of the request, each once, floors first."""
    found: dict[str, Cell] = {}
    for seed in settings.seeds:
        variants = [task.subset(settings.train_size, seed) for task in tasks]
        measured = [(encoder, "") for encoder in encoders]
        if "random-weights" in settings.floors:
            twins = [(encoder.random_twin(seed), encoder.name) for encoder in encoders]
            measured += [(twin, twin_of) for twin, twin_of in twins if twin is not None]
            if alone := [name for twin, name in twins if twin is None]:
                say(f"{', '.join(alone)}: no random-weights twin, so this floor is left out")
        for task in variants:
            for name in settings.floors:
                if name in FLOORS:
                    cell = _floor_cell(task, name)
                    found.setdefault(cell.key, cell)
            for encoder, twin_of in measured:
                for cell in _probe_cells(task, encoder, twin_of, seed, settings):
                    found.setdefault(cell.key, cell)
    return list(found.values())


def _floor_cell(task: Task, name: str) -> Cell:
    inputs = {"data": task.sha256, "role": "floor", "floor": name, "version": 1}
    row = replace(_row(task), role="floor", encoder=name, seed=task.seed, cell=key_of(inputs))
    return Cell(inputs, row, task, None, None)


def _probe_cells(task: Task, encoder: Encoder, twin_of: str, seed: int, settings: Settings) -> Iterable[Cell]:
    columns, static = _columns(encoder, settings)
    mark, probe = fingerprint(encoder), label(settings.probe)
    probe_seed = settings.probe.seed(seed)
    for column in columns:
        for control in (None, *(settings.controls if not twin_of and column != static else ())):
            control_seed = None if control is None else seed
            seeds_matter = twin_of or control or probe_seed is not None or task.seed is not None
            inputs = {
                "data": task.sha256,
                "role": "probe",
                "encoder": mark,
                "layer": column.layer,
                "pooling": column.pooling,
                "probe": settings.probe.settings(task.name),
                "probe_seed": probe_seed,
                "control": control,
                "control_seed": control_seed,
            }
            if settings.store_dtype != "float32":  # its numbers differ in the last digits: other cells, under another name
                inputs["store_dtype"] = settings.store_dtype
            row = replace(
                _row(task),
                role="control" if control else "random" if twin_of else "static" if column == static else "probe",
                encoder=_named(encoder.name, settings),
                layer=column.layer,
                pooling=column.pooling,
                probe=probe,
                control=control or "",
                seed=seed if seeds_matter else None,
                twin_of=twin_of and _named(twin_of, settings),
                encoder_fingerprint=mark,
            )
            yield Cell(inputs, replace(row, cell=key_of(inputs)), task, encoder, column, control_seed, probe_seed)


def _named(encoder: str, settings: Settings) -> str:
    return encoder if settings.store_dtype == "float32" else f"{encoder}[store={settings.store_dtype}]"


def _columns(encoder: Encoder, settings: Settings) -> tuple[list[Column], Column | None]:
    """The columns asked for, and the mean of layer 0 where it is added as a floor."""
    n_layers = len(encoder.dims)
    layers = range(n_layers) if settings.layers is None else settings.layers
    for layer in layers:
        if not 0 <= layer < n_layers:
            raise ConfigError(f"layer={layer}: {encoder.name} has the layers 0 (embeddings) to {n_layers - 1}")
    for pooling in settings.poolings or ():
        if pooling not in encoder.poolings:
            raise ConfigError(
                f"pooling={pooling}: {encoder.name} allows {', '.join(encoder.poolings)}"
                + (" (its tokenizer puts no classification token first)" if pooling == "cls" else "")
            )
    asked = [Column(layer, p) for p in settings.poolings or encoder.poolings for layer in layers]
    columns = settings.probe.columns(asked)
    if not columns:
        raise ConfigError(f"probe={settings.probe.name} probes none of the layers and poolings asked for ({len(asked)} of them)")
    static = Column(0, "mean")
    if (
        "static" not in settings.floors
        or "mean" not in encoder.poolings
        or static in columns
        or not settings.probe.columns([static])
    ):
        return columns, None
    return [*columns, static], static


def _row(task: Task) -> Row:
    """The part of a row that the task alone decides."""
    counts = np.bincount(task.train.labels)
    return Row(
        role="", task=task.name, paper_name=task.paper_name, encoder="", layer=None, layer_name="", pooling="", probe="",
        control="", seed=None, n_train=len(task.train), n_dev=len(task.dev), n_test=len(task.test),
        n_classes=len(task.classes), majority=float((task.test.labels == counts.argmax()).mean()),
        data_sha256=task.sha256, test_sha256=task.test_sha256, official_data=task.data_card["official"],
    )  # fmt: skip
