"""What a request will measure: every cell, with what determines it and the row it will fill, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import count, islice
from typing import Any, NamedTuple

import numpy as np

from probing.data.task import Task
from probing.encoders.base import POOLINGS, Encoder, fingerprint
from probing.errors import ConfigError, ForeignError, did_you_mean, foreign
from probing.evaluation.statistics import VERSION as SCORES_VERSION
from probing.evaluation.tables import IDENTITY, Row
from probing.log import info
from probing.probes.controls import CEILINGS, CONTROL_VERSIONS, CONTROLS, FLOORS, unsuited
from probing.probes.protocols import ProbeProtocol, label
from probing.store.results import key_of
from probing.store.vectors import Store
from probing.types import Representation

ALL_FLOORS = (*FLOORS, "static", "random-weights")


@dataclass(frozen=True)
class Cell:
    """One planned measurement: what determines it, and the row it will fill."""

    inputs: Mapping[str, Any]
    row: Row
    task: Task
    encoder: Encoder | None
    column: Representation | None
    control_seed: int | None = None
    probe_seed: int | None = None
    seed: int = 0  # the run's, which the probe is given
    half: int | None = None  # number of the random half of the train split that the probe is fitted on; None: all of it
    failure: str = ""  # why it cannot be measured, where that is known already

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
    controls: tuple[str, ...] = CONTROLS
    floors: tuple[str, ...] = ALL_FLOORS
    train_size: int | None = None
    store_dtype: str = "float32"
    twins: int = 1
    resample: str | None = None
    resamples: int = 20

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
        if isinstance(self.twins, bool) or not isinstance(self.twins, int) or self.twins < 1:
            raise ConfigError(f"twins={self.twins!r} must be a whole number of at least 1; floors without random-weights has none")
        if self.resample not in (None, "train"):
            raise ConfigError(f"resample={self.resample!r} is unknown (allowed: null, train)")
        if isinstance(self.resamples, bool) or not isinstance(self.resamples, int) or self.resamples < 5:
            raise ConfigError(f"resamples={self.resamples!r} must be a whole number of at least 5, enough for a variance")

    @property
    def more_twins(self) -> list[int]:
        """Seeds of the random twins beside one for each seed of the run: the smallest numbers that are not among those."""
        unused = (number for number in count() if number not in self.seeds)
        return list(islice(unused, max(0, self.twins - len(self.seeds))))


class Measured(NamedTuple):
    """An encoder of the request, or a random twin: its columns, or why it cannot say them."""

    encoder: Encoder | None
    name: str
    twin_of: str
    fingerprint: str = ""
    columns: Sequence[Representation] = ()
    static: Representation | None = None
    failure: str = ""


def plan(tasks: Sequence[Task], encoders: Sequence[Encoder], settings: Settings, store: Store | None = None) -> list[Cell]:
    """Every row of the request, each once, with its cell; several rows may show one cell (`probing.evaluation.tables.IDENTITY`).

    An encoder that cannot say its layers, because its own code raises an exception, has one cell per task, which fails.

    Args:
        store: remembers what earlier runs learned of an encoder, so that its weights need not be loaded to plan.

    Raises:
        ConfigError: layers, poolings or a probe that do not fit the encoder.
        EncoderError: an encoder that cannot be loaded.
        ForeignError: the probe cannot say its settings.
    """
    planned: dict[tuple, Cell] = {}
    if settings.resample and (folded := [task.name for task in tasks if task.folds]):
        raise ConfigError(f"resample=train needs a train split, but {', '.join(folded)} is cross-validated: set resample=null")
    for seed in settings.seeds:
        variants = [task.subset(settings.train_size, seed) for task in tasks]
        measured = [(_measured(encoder, "", settings, store), seed) for encoder in encoders]
        if "random-weights" in settings.floors:
            for drawn in (seed, *(settings.more_twins if seed == settings.seeds[0] else ())):
                twins = [_twin(encoder, drawn, settings, store) for encoder in encoders]
                measured += [(twin, drawn) for twin in twins if twin is not None]
            if alone := [encoder.name for encoder, twin in zip(encoders, twins, strict=True) if twin is None]:
                info(f"{', '.join(alone)}: no random-weights twin, so this floor is left out")
        for task in variants:
            suited = replace(settings, controls=_suited(task, settings.controls, aloud=seed == settings.seeds[0]))
            cells = [_floor_cell(task, name) for name in settings.floors if name in FLOORS]
            cells += [_ceiling_cell(task, name, seed) for name in CEILINGS if "word" in suited.controls]
            for one, drawn in measured:
                cells += [_unnamed_cell(task, one, drawn, suited)] if one.failure else _probe_cells(task, one, drawn, suited)
            for cell in cells:
                planned.setdefault(tuple(getattr(cell.row, name) for name in IDENTITY), cell)
    return list(planned.values())


def request_key(tasks: Sequence[Task], planned: Sequence[Cell], settings: Settings) -> str:
    """A hash of what was asked for: the same before and after an encoder can say its layers, so that the run keeps its name."""
    marks = [cell.row.encoder_fingerprint for cell in planned if cell.row.role == "probe"]
    asked = {option.name: getattr(settings, option.name) for option in fields(settings) if option.name != "probe"}
    probes = [settings.probe.settings(task.name) for task in tasks]
    return key_of({"data": [task.sha256 for task in tasks], "encoders": list(dict.fromkeys(marks)), "probes": probes, **asked})


def _measured(encoder: Encoder, twin_of: str, settings: Settings, store: Store | None) -> Measured:
    mark = ""
    try:
        with foreign(f"{encoder.name}: its description"):
            mark = fingerprint(encoder)
        with foreign(f"{encoder.name}: its layers"):
            if store is not None:
                store.recall(encoder)
            n_layers, poolings = len(encoder.dims), tuple(encoder.poolings)
            context_free = getattr(encoder, "context_free", True)
    except ForeignError as error:
        return Measured(encoder, encoder.name, twin_of, mark, failure=str(error))
    columns, static = _columns(encoder.name, n_layers, poolings, settings)
    if static is not None and not context_free:
        info(f"{encoder.name}: its layer 0 depends on other words, so the floor static is left out")
        columns, static = [column for column in columns if column != static], None
    return Measured(encoder, encoder.name, twin_of, mark, columns, static)


def _twin(encoder: Encoder, seed: int, settings: Settings, store: Store | None) -> Measured | None:
    try:
        with foreign(f"{encoder.name}: its random twin"):
            twin = encoder.random_twin(seed)
    except ForeignError as error:
        return Measured(None, f"{encoder.name} (random {seed})", encoder.name, failure=str(error))
    return None if twin is None else _measured(twin, encoder.name, settings, store)


def _floor_cell(task: Task, name: str) -> Cell:
    inputs = {"data": task.sha256, "role": "floor", "floor": name, "version": 1, "scores": SCORES_VERSION}
    row = replace(_row(task), role="floor", encoder=name, seed=task.seed, cell=key_of(inputs))
    return Cell(inputs, row, task, None, None)


def _ceiling_cell(task: Task, name: str, seed: int) -> Cell:
    """What the words alone reach on the control task of `seed`."""
    inputs = {"data": task.sha256, "role": "ceiling", "ceiling": name, "version": 1, "scores": SCORES_VERSION}
    inputs |= {"control": "word", "control_seed": seed, "control_version": CONTROL_VERSIONS["word"]}
    row = replace(_row(task), role="ceiling", encoder=name, control="word", seed=seed, cell=key_of(inputs))
    return Cell(inputs, row, task, None, None, seed)


def _suited(task: Task, controls: Iterable[str], aloud: bool) -> tuple[str, ...]:
    """Those of the controls that the task can have."""
    reasons = {kind: unsuited(task, kind) for kind in controls}
    for kind, reason in reasons.items() if aloud else ():
        if reason:
            info(f"{task.name}: the control {kind} is left out: {reason}")
    return tuple(kind for kind, reason in reasons.items() if not reason)


def _unnamed_cell(task: Task, measured: Measured, seed: int, settings: Settings) -> Cell:
    """What stands for all cells of an encoder that cannot say its layers."""
    inputs = {
        "data": task.sha256,
        "role": "probe",
        "encoder": measured.fingerprint or {"name": measured.name},
        "layer": None,
        "probe": _said_by(settings.probe, task),
    }
    row = replace(
        _row(task),
        role="random" if measured.twin_of else "probe",
        encoder=_named(measured.name, settings),
        probe=label(settings.probe),
        seed=seed if measured.twin_of or task.seed is not None else None,
        twin_of=measured.twin_of and _named(measured.twin_of, settings),
        encoder_fingerprint=measured.fingerprint,
        cell=key_of(inputs),
    )
    return Cell(inputs, row, task, None, None, failure=measured.failure)


def _probe_cells(task: Task, measured: Measured, seed: int, settings: Settings) -> Iterable[Cell]:
    twin_of, static, probe = measured.twin_of, measured.static, label(settings.probe)
    probe_seed, probe_settings = settings.probe.seed(seed), _said_by(settings.probe, task)
    drawn = settings.resamples if settings.resample and not twin_of and seed == settings.seeds[0] else 0
    halves = {number: key_of({"rows": task.train.half(number).tolist()}) for number in range(drawn)}
    for column in measured.columns:
        whole: list[tuple[str | None, int | None]] = [(None, None)]
        more = [(control, None) for control in settings.controls] + [(None, number) for number in halves]
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
                "scores": SCORES_VERSION,
            }
            if control is not None:
                inputs["control_version"] = CONTROL_VERSIONS[control]
            if half is not None:
                inputs["half"] = halves[half]
            if settings.store_dtype != "float32":  # its numbers differ in the last digits: other cells, under another name
                inputs["store_dtype"] = settings.store_dtype
            of_true_labels = "random" if twin_of else "static" if column == static else "probe"
            row = replace(
                _row(task),
                role="control" if control else of_true_labels if half is None else "resample",
                encoder=_named(measured.name, settings),
                layer=column.layer,
                pooling=column.pooling,
                probe=probe,
                control=control or "",
                seed=half if half is not None else seed if seeds_matter else None,
                twin_of=twin_of and _named(twin_of, settings),
                encoder_fingerprint=measured.fingerprint,
            )
            row = replace(row, cell=key_of(inputs))
            yield Cell(inputs, row, task, measured.encoder, column, control_seed, probe_seed, seed, half)


def _said_by(probe: ProbeProtocol, task: Task) -> dict[str, Any]:
    with foreign(f"probe {probe.name}: its settings"):
        return probe.settings(task.name)


def _named(encoder: str, settings: Settings) -> str:
    return encoder if settings.store_dtype == "float32" else f"{encoder}[store={settings.store_dtype}]"


def _columns(
    name: str, n_layers: int, poolings: Sequence[str], settings: Settings
) -> tuple[list[Representation], Representation | None]:
    """The columns asked for, and the mean of layer 0 where it is added as a floor."""
    layers = range(n_layers) if settings.layers is None else settings.layers
    for layer in layers:
        if not 0 <= layer < n_layers:
            raise ConfigError(f"layer={layer}: {name} has the layers 0 (embeddings) to {n_layers - 1}")
    for pooling in settings.poolings or ():
        if pooling not in poolings:
            raise ConfigError(
                f"pooling={pooling}: {name} allows {', '.join(poolings)}"
                + (" (its tokenizer puts no classification token first)" if pooling == "cls" else "")
            )
    asked = [Representation(layer, p) for p in settings.poolings or poolings for layer in layers]
    columns = settings.probe.columns(asked)
    if not columns:
        raise ConfigError(f"probe={settings.probe.name} probes none of the layers and poolings asked for ({len(asked)} of them)")
    static = Representation(0, "mean")
    if "static" not in settings.floors or "mean" not in poolings or static in columns or not settings.probe.columns([static]):
        return columns, None
    return [*columns, static], static


def _row(task: Task) -> Row:
    """The part of a row that the task alone decides."""
    counts = np.bincount(task.train.labels)
    return Row(
        role="", task=task.name, paper_name=task.paper_name, encoder="", layer=None, layer_name="", pooling="", probe="",
        control="", seed=None, n_train=len(task.train), n_dev=len(task.dev), n_test=len(task.test),
        n_groups=task.test.n_groups, n_classes=len(task.classes), majority=float((task.test.labels == counts.argmax()).mean()),
        data_sha256=task.sha256, test_sha256=task.test_sha256, official_data=task.data_card["official"],
    )  # fmt: skip
