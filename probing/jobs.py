"""One job of `probing run`, `train`, `check` or `interact`: a plain configuration becomes calls of Python.

The groups data, encoder, probe and objective are checked against the dataclass that their `_target_` names (`probing.config`).
Values that are lists (task, layer, pooling, seed, controls, floors, measures) are loops inside one job.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, overload

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from probing import config
from probing.errors import ConfigError, did_you_mean
from probing.evaluation import adaptive
from probing.evaluation.evaluate import compute, plan, request_key
from probing.evaluation.forecast import forecast
from probing.evaluation.measure import load_measures
from probing.evaluation.request import ALL_FLOORS, Request
from probing.evaluation.runs import Run
from probing.files import os_errors_as_store_error
from probing.log import info
from probing.probes.controls import CONTROLS
from probing.store.results import ResultStore
from probing.store.vectors import Store

T = TypeVar("T")

LISTS = ("task", "layer", "pooling", "seed", "controls", "floors", "measures")
"""Keys whose value is a list: loops inside one job."""

GROUPS = ("data", "encoder", "probe")
KEYS = (*GROUPS, *LISTS, "twins", "resample", "resamples", "precision", "study", "run")
TRAIN_KEYS = ("encoder", "objective", "data", "seed", "run")
INTERACT_KEYS = (
    *("encoder", "text", "segment", "value", "target", "head", "layer", "masking", "replacement"),
    *("method", "budget", "seed", "run"),
)


@dataclass
class JobConfig:
    dir: str = "probing-out"
    threads: int | None = None


@dataclass
class TrainConfig(JobConfig):
    force: bool = False


@dataclass
class RunConfig(TrainConfig):
    name: str | None = None
    store: str | None = None
    store_dtype: str = "float32"
    dry: bool = False


@dataclass(frozen=True)
class Done:
    """How a job ended: how many of its cells (or rules) failed, and the folder of its run if it has one."""

    failed: int = 0
    folder: Path | None = None


def run_job(options: Mapping[str, Any]) -> Done:
    """One data source × one encoder × one probe and other measures, or one study."""
    run = checked(options, RunConfig, GROUPS, KEYS)
    if run.dry and (options["study"] is not None or options["precision"] is not None):
        raise ConfigError("run.dry=true knows no plan of a study or of samples that grow (precision): leave one of the two out")
    if options["study"] is not None:
        return _study_job(options, run)
    names = listed(options["task"], str, "task")
    names_of_measures = listed(options["measures"], str, "measures", every=())
    encoder = config.build(options["encoder"], "encoder")
    probe = config.build(options["probe"], "probe")
    source = config.build(options["data"], "data")
    request = Request(
        probe if "probe" in names_of_measures else None,
        listed(options["layer"], int, "layer"),
        listed(options["pooling"], str, "pooling"),
        listed(options["seed"], int, "seed", every=()),
        listed(options["controls"], str, "controls", every=tuple(CONTROLS), none=True),
        listed(options["floors"], str, "floors", every=ALL_FLOORS, none=True),
        source.train_size,
        run.store_dtype,
        options["twins"],
        options["resample"],
        options["resamples"],
        load_measures([name for name in names_of_measures if name != "probe"]),
    )
    if options["precision"] is not None:
        adaptive.check(options["precision"], request)
    _set_threads(run.threads)
    home = Path(run.dir).expanduser()
    cells, store = ResultStore(home / "cells"), Store(run.store or home / "store", run.store_dtype)
    if run.dry:
        forecast(plan(source.tasks(names), [encoder], request, store), store, cells, run.force)
        return Done()
    with os_errors_as_store_error(home):
        tasks, flash = source.tasks(names), None
        home.mkdir(parents=True, exist_ok=True)
        if options["precision"] is not None:
            flash = adaptive.search(tasks, [encoder], request, options["precision"], store, cells, run.force)
            tasks = flash.tasks
        planned = plan(tasks, [encoder], request, store)
        short = request_key(tasks, planned, request)[:8]
        name = run.name or "-".join(re.sub(r"\W+", "_", part) for part in (source.name, encoder.name, probe.name)) + f"-{short}"
        recorded = Run.write(home / "runs" / name, options, [cell.row for cell in planned], cells)
        compute(planned, store, cells, run.force)
        from probing.report.write import write  # matplotlib, only when there is something to draw

        write([recorded], recorded.folder)
        if flash is not None:
            flash.write(recorded.folder)
    state = recorded.state()
    written = ", ".join(name for name in ("flash.md", "table.md", "rows.csv", "report.html") if (recorded.folder / name).is_file())
    info(f"{recorded.folder}: {len(state['done'])} of {len(recorded.keys)} cells done; {written}")
    if state["failed"]:
        info(f"{len(state['failed'])} cells failed: probing status {recorded.folder}")
    return Done(len(state["failed"]), recorded.folder)


def _study_job(options: Mapping[str, Any], run: RunConfig) -> Done:
    """One study of one encoder; a part that cannot be measured is an error, and finished ones are kept."""
    from probing import studies as study

    _set_threads(run.threads)
    home = Path(run.dir).expanduser()
    with os_errors_as_store_error(home):
        home.mkdir(parents=True, exist_ok=True)
        tasks, seeds = listed(options["task"], str, "task"), listed(options["seed"], int, "seed", every=())
        folder = study.run(options, home, Store(run.store or home / "store", run.store_dtype), tasks, seeds)
    info(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    return Done(0, folder)


def train_job(options: Mapping[str, Any]) -> Done:
    """One training: one architecture × one objective, for every seed."""
    run = checked(options, TrainConfig, ("encoder", "objective"), TRAIN_KEYS)
    seeds = listed(options["seed"], int, "seed", every=())
    if min(seeds) < 0:
        raise ConfigError(f"seed={list(seeds)} must hold no number below 0")
    if set(options["data"]) != {"root"} or options["data"]["root"] in (None, "???"):
        raise ConfigError("set data.root=… (the folder of the data, or one text file); data has no other key here")
    architecture = config.build(options["encoder"], "encoder")
    objective = config.build(options["objective"], "objective")
    from probing.encoders.networks.architecture import Architecture
    from probing.training.train import train

    if not isinstance(architecture, Architecture):
        raise ConfigError("encoder: only lstm, bilstm, bilstm-last, cnn, gated-cnn, transformer and elmo-style can be trained here")
    _set_threads(run.threads)
    home = Path(run.dir).expanduser()
    with os_errors_as_store_error(home):
        for seed in seeds:
            folder = train(architecture, objective, str(options["data"]["root"]), home / "checkpoints", seed, run.force)
            info(f"next: probing run encoder=checkpoint encoder.path={folder}")
    return Done()


def check_job(options: Mapping[str, Any]) -> Done:
    """The conformance of one encoder, printed."""
    from probing.encoders.base import fingerprint
    from probing.encoders.conformance import TEXTS, check

    checked(options, RunConfig, ("encoder",), KEYS)
    fingerprint(first := config.build(options["encoder"], "encoder"))  # a mistake in what was given is said here
    samples = getattr(first, "samples", None)
    report = check(lambda: config.build(options["encoder"], "encoder"), texts=samples or TEXTS)
    sys.stdout.write(f"{report}\n")
    return Done(sum(rule.held is False for rule in report.checks))


def interact_job(options: Mapping[str, Any]) -> Done:
    """The interactions within one sentence, printed."""
    from probing.interactions.text.command import Interact

    run = checked(options, JobConfig, ("encoder",), INTERACT_KEYS)
    if options["text"] in (None, "???"):
        raise ConfigError('set text="…" (a sentence, words parted by blanks)')
    verbatim = {key: None if options[key] is None else str(options[key]) for key in ("text", "replacement")}
    given = {key: value for key, value in options.items() if key not in ("encoder", "run", "layer", *verbatim)}
    try:
        request: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Interact), given))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.key}: {str(error).splitlines()[0]}") from None
    request = replace(request, layers=listed(options["layer"], int, "layer"), **verbatim)
    _set_threads(run.threads)
    sys.stdout.write(f"{request.run(config.build(options['encoder'], 'encoder'))}\n")
    return Done()


def checked(options: Mapping[str, Any], schema: type, groups: tuple[str, ...], keys: tuple[str, ...]) -> Any:
    """The part `run`, checked by its schema; the lists are checked where they are read."""
    for group in groups:
        if not isinstance(options.get(group), dict):
            raise ConfigError(f"set {group}=… (allowed: {', '.join(config.names(group))})")
    for key in options:
        if key not in keys:
            raise ConfigError(f"unknown key {key!r}{did_you_mean(key, keys)}")
    try:
        run: Any = OmegaConf.to_container(OmegaConf.merge(OmegaConf.structured(schema), options["run"]))
        return schema(**run)
    except OmegaConfBaseException as error:
        raise ConfigError(f"run.{error.key}: {str(error).splitlines()[0]}") from None


@overload
def listed(value: Any, kind: type[T], key: str, every: tuple[T, ...], none: bool = False) -> tuple[T, ...]: ...
@overload
def listed(value: Any, kind: type[T], key: str) -> tuple[T, ...] | None: ...
def listed(value: Any, kind: type[T], key: str, every: tuple[T, ...] | None = None, none: bool = False) -> tuple[T, ...] | None:
    """A value or a list of them as a tuple; `all` is `every`, and `none`, where it is allowed, is empty.

    Raises:
        ConfigError: a value of another type, or an empty list.
    """
    if value == "all" and every != ():
        return every
    if value == "none" and none:
        return ()
    values = value if isinstance(value, list) else [value]
    if not values or value == "none":
        raise ConfigError(f"{key}={value} leaves nothing to do")
    for one in values:
        if not isinstance(one, kind) or isinstance(one, bool):
            raise ConfigError(f"{key}={one!r} is not {'a whole number' if kind is int else 'a name'}")
    return tuple(dict.fromkeys(values))


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        if threads < 1:
            raise ConfigError(f"run.threads={threads} must be at least 1")
        import torch

        torch.set_num_threads(threads)
