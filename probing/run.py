"""`probing run`, `train`, `check` and `interact`: a Hydra configuration becomes a call of Python. The only file that imports Hydra.

The keys of the top level are `KEYS`; the groups data, encoder and probe are checked against the dataclass that their
`_target_` names (`probing.config`). Values that are lists (task, layer, pooling, seed, controls, floors) are loops inside one
job, also under `-m`: `task=a,b` means both. Multirun sweeps the groups and their options.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from probing import config as presets
from probing.errors import ConfigError, ForeignError, ProbingError, described, did_you_mean, ends_job, out_of_memory
from probing.evaluation import adaptive as sequential
from probing.evaluation.evaluate import compute
from probing.evaluation.plan import ALL_FLOORS, Settings, plan, request_key
from probing.evaluation.runs import Run
from probing.files import os_errors_as_store_error, process
from probing.log import info
from probing.paths import CONF
from probing.probes.controls import CONTROLS
from probing.provenance import own_fault
from probing.store.results import ResultStore
from probing.store.vectors import Store

LISTS = ("task", "layer", "pooling", "seed", "controls", "floors")
"""Keys whose value is a list: loops inside one job."""

GROUPS = ("data", "encoder", "probe")
KEYS = (*GROUPS, *LISTS, "twins", "resample", "resamples", "precision", "study", "run")
TRAIN_KEYS = ("encoder", "objective", "data", "seed", "run")
INTERACT_KEYS = (
    *("encoder", "text", "segment", "value", "target", "head", "layer", "masking", "replacement"),
    *("method", "budget", "seed", "run"),
)
DEFAULTS = {
    "run": {"data": "grammar", "encoder": "minilm", "probe": "fast"},
    "train": {"encoder": "lstm", "objective": "sst2"},
    "interact": {"encoder": "minilm"},
}

_PARENT = "PROBING_RUN_PID"
"""The process that collects exit codes; in others (a launcher's workers, here or elsewhere) a job that failed must raise."""

_FOLDER = "run-folder.txt"
"""Where a job of a multirun, in whatever process or machine, leaves the path of its run, so that one table can be made of them."""

_sweeps: list[str] = []
_exit_codes: list[int] = []


class Sweep(Callback):
    """Hydra's callback: the process that starts a multirun notes its folder."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        _sweeps.append(str(config.hydra.sweep.dir))


class JobFailed(ProbingError):
    """A job in a launcher's worker failed, which has said why; its argument is the exit code. An ordinary exception, so that
    the launcher lets the other jobs finish."""


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


def main(arguments: list[str], verb: str = "run") -> int:
    """Runs the words after `probing run`, `train`, `check` or `interact`.

    Returns:
        The exit code: 0, 1 if a cell or a rule failed or an exception was raised, 2 for a mistake in what was given.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # so that errors reach us, and we say them in one line
    os.environ[_PARENT] = process()
    sys.argv = [f"probing {verb}", *(_as_text(word) if verb == "interact" else _as_list(word) for word in arguments)]
    code = _hydra(arguments, verb)
    if code != 130 and _sweeps:
        jobs = Path(_sweeps[-1]).glob(f"*/{_FOLDER}")
        _one_table(sorted({job.read_text(encoding="utf-8") for job in jobs}))
    return code


def _one_table(folders: list[str]) -> None:
    """The table of all runs of a multirun, encoders compared on the same items; in `tables/` of the run.dir."""
    if len(folders) < 2:
        return
    out = Path(folders[0]).parents[1] / "tables" / hashlib.sha256("\n".join(folders).encode()).hexdigest()[:8]
    from probing.report.write import write
    from probing.studies import job as study

    try:
        if study.is_run(Path(folders[0])):
            study.together([Path(folder) for folder in folders], out)
        else:
            write([Run.read(folder) for folder in folders], out)
    except ProbingError as error:  # each run has its own: such as flash runs that stopped at other sizes
        info(f"no table of all {len(folders)} runs: {error}")
        return
    info(f"{out}: one table of {len(folders)} runs")


def _hydra(arguments: list[str], verb: str) -> int:
    config, work = {
        "run": ("config", _run_job),
        "train": ("train", _train_job),
        "check": ("config", _check_job),
        "interact": ("interact", _interact_job),
    }[verb]
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=config)(work)()
        return max(_exit_codes, default=0)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        info(f"probing: {_plain(error, arguments, verb)}")
    except OSError as error:
        info(f"probing: {error.filename or 'the machine'}: {error.strerror or error}; choose another folder with run.dir=…")
    except JobFailed as failure:
        return failure.args[0]
    except RuntimeError as error:
        if not type(error).__module__.startswith(("submitit", "joblib")):
            raise
        info(f"probing: a job of the sweep was killed or lost ({str(error).splitlines()[0]}); run the same command again")
        return 1
    except KeyboardInterrupt:
        info("probing: interrupted; what was finished is kept, the same command goes on from there")
        return 130
    return 2


def _run_job(config: DictConfig) -> None:
    _guarded(job, config)


def _train_job(config: DictConfig) -> None:
    _guarded(train_job, config)


def _check_job(config: DictConfig) -> None:
    _guarded(check_job, config)


def _interact_job(config: DictConfig) -> None:
    _guarded(interact_job, config)


def _guarded(work: Callable[[DictConfig], int], config: DictConfig) -> None:
    """A job whose errors are said where they happen; the other jobs of a multirun go on. In a launcher's worker it raises as well.

    Exit codes: see `main`; an exception that is not the user's is 1, with a traceback only where this package is at fault.
    """
    try:
        code = 1 if work(config) else 0
    except ProbingError as error:
        info(f"probing: {error}")
        code = 1 if isinstance(error, ForeignError) else 2
    except (HydraException, OmegaConfBaseException, OSError):
        raise
    except Exception as error:
        if ends_job(error):
            raise
        if not out_of_memory(error):
            traceback.print_exc()
        info(f"probing: {described(error) if out_of_memory(error) else own_fault()}")
        code = 1
    _exit_codes.append(code)
    if _exit_codes[-1] and os.environ.get(_PARENT) != process():
        raise JobFailed(_exit_codes[-1])


def job(config: DictConfig) -> int:
    """One job: one data source × one encoder × one probe, or one study. Returns the number of failed cells."""
    said = OmegaConf.to_container(config, resolve=True)
    run = _checked(said, RunConfig, GROUPS, KEYS)
    if said["study"] is not None:
        return study_job(said, run)
    names = _list(said["task"], str, "task")
    encoder = presets.build(said["encoder"], "encoder")
    probe = presets.build(said["probe"], "probe")
    source = presets.build(said["data"], "data")
    settings = Settings(
        probe,
        _list(said["layer"], int, "layer"),
        _list(said["pooling"], str, "pooling"),
        _list(said["seed"], int, "seed", every=()),
        _list(said["controls"], str, "controls", every=CONTROLS, none=True),
        _list(said["floors"], str, "floors", every=ALL_FLOORS, none=True),
        source.train_size,
        run.store_dtype,
        said["twins"],
        said["resample"],
        said["resamples"],
    )
    if said["precision"] is not None:
        sequential.check(said["precision"], settings)
    _set_threads(run.threads)
    home = Path(run.dir).expanduser()
    cells, store = ResultStore(home / "cells"), Store(run.store or home / "store", run.store_dtype)
    with os_errors_as_store_error(home):
        home.mkdir(parents=True, exist_ok=True)
        tasks, flash = source.tasks(names), None
        if said["precision"] is not None:
            flash = sequential.search(tasks, [encoder], settings, said["precision"], store, cells, run.force)
            tasks = flash.tasks
        planned = plan(tasks, [encoder], settings, store)
        short = request_key(tasks, planned, settings)[:8]
        name = run.name or "-".join(re.sub(r"\W+", "_", part) for part in (source.name, encoder.name, probe.name)) + f"-{short}"
        recorded = Run.write(home / "runs" / name, said, [cell.row for cell in planned], cells)
        compute(planned, probe, store, cells, run.force)
        from probing.report.write import write  # matplotlib, only when there is something to draw

        write([recorded], recorded.folder)
        if flash is not None:
            flash.write(recorded.folder)
    _note_folder(recorded.folder)
    state = recorded.state()
    written = ", ".join(name for name in ("flash.md", "table.md", "rows.csv", "report.html") if (recorded.folder / name).is_file())
    info(f"{recorded.folder}: {len(state['done'])} of {len(recorded.keys)} cells done; {written}")
    if state["failed"]:
        info(f"{len(state['failed'])} cells failed: probing status {recorded.folder}")
    return len(state["failed"])


def study_job(said: dict[str, Any], run: RunConfig) -> int:
    """One study of one encoder. Returns 0: a part that cannot be measured is an error, and finished ones are kept."""
    from probing.studies import job as study

    _set_threads(run.threads)
    home = Path(run.dir).expanduser()
    with os_errors_as_store_error(home):
        home.mkdir(parents=True, exist_ok=True)
        tasks, seeds = _list(said["task"], str, "task"), _list(said["seed"], int, "seed", every=())
        folder = study.run(said, home, Store(run.store or home / "store", run.store_dtype), tasks, seeds)
    _note_folder(folder)
    info(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    return 0


def _note_folder(folder: Path) -> None:
    """Leaves the path of a run of a multirun in the job's folder, for the table that ends it."""
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        Path(HydraConfig.get().runtime.output_dir, _FOLDER).write_text(str(folder.resolve()), encoding="utf-8")


def train_job(config: DictConfig) -> int:
    """One training: one architecture × one objective, for every seed. Returns 0."""
    said = OmegaConf.to_container(config, resolve=True)
    run = _checked(said, TrainConfig, ("encoder", "objective"), TRAIN_KEYS)
    seeds = _list(said["seed"], int, "seed", every=())
    if min(seeds) < 0:
        raise ConfigError(f"seed={list(seeds)} must hold no number below 0")
    if set(said["data"]) != {"root"} or said["data"]["root"] in (None, "???"):
        raise ConfigError("set data.root=… (the folder of the data, or one text file); data has no other key here")
    architecture = presets.build(said["encoder"], "encoder")
    objective = presets.build(said["objective"], "objective")
    from probing.encoders.networks.network import Architecture
    from probing.training.train import train

    if not isinstance(architecture, Architecture):
        raise ConfigError("encoder: only lstm, bilstm, bilstm-last, cnn, gated-cnn, transformer and elmo-style can be trained here")
    _set_threads(run.threads)
    home = Path(run.dir).expanduser()
    with os_errors_as_store_error(home):
        for seed in seeds:
            folder = train(architecture, objective, str(said["data"]["root"]), home / "checkpoints", seed, run.force)
            info(f"next: probing run encoder=checkpoint encoder.path={folder}")
    return 0


def check_job(config: DictConfig) -> int:
    """The conformance of one encoder, printed. Returns the number of rules that failed."""
    from probing.encoders.base import fingerprint
    from probing.encoders.conformance import TEXTS, check

    said = OmegaConf.to_container(config, resolve=True)
    _checked(said, RunConfig, ("encoder",), KEYS)
    fingerprint(first := presets.build(said["encoder"], "encoder"))  # a mistake in what was given is said here
    samples = getattr(first, "samples", None)
    found = check(lambda: presets.build(said["encoder"], "encoder"), texts=samples or TEXTS)
    sys.stdout.write(f"{found}\n")
    return sum(rule.held is False for rule in found.checks)


def interact_job(config: DictConfig) -> int:
    """The interactions within one sentence, printed. Returns 0."""
    from probing.interactions.text.command import Interact

    said = OmegaConf.to_container(config, resolve=True)
    run = _checked(said, JobConfig, ("encoder",), INTERACT_KEYS)
    if said["text"] in (None, "???"):
        raise ConfigError('set text="…" (a sentence, words parted by blanks)')
    verbatim = {key: None if said[key] is None else str(said[key]) for key in ("text", "replacement")}
    options = {key: value for key, value in said.items() if key not in ("encoder", "run", "layer", *verbatim)}
    try:
        asked = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Interact), options))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.key}: {str(error).splitlines()[0]}") from None
    asked = replace(asked, layers=_list(said["layer"], int, "layer"), **verbatim)
    _set_threads(run.threads)
    sys.stdout.write(f"{asked.run(presets.build(said['encoder'], 'encoder'))}\n")
    return 0


def _checked(said: dict[str, Any], schema: type, groups: tuple[str, ...], keys: tuple[str, ...]) -> Any:
    """The part `run`, checked by its schema; the lists are checked where they are read."""
    for group in groups:
        if not isinstance(said.get(group), dict):
            raise ConfigError(f"set {group}=… (allowed: {', '.join(presets.names(group))})")
    for key in said:
        if key not in keys:
            raise ConfigError(f"unknown key {key!r}{did_you_mean(key, keys)}")
    try:
        return schema(**OmegaConf.to_container(OmegaConf.merge(OmegaConf.structured(schema), said["run"])))
    except OmegaConfBaseException as error:
        raise ConfigError(f"run.{error.key}: {str(error).splitlines()[0]}") from None


def _list(value: Any, kind: type, key: str, every: tuple | None = None, none: bool = False) -> tuple | None:
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


def _as_list(word: str) -> str:
    """`task=a,b` means a list, not a sweep: brackets are put around it."""
    key, equals, value = word.partition("=")
    if equals and key in LISTS and "," in value and value[:1] not in "[('\"" and "(" not in value:
        return f"{key}=[{value}]"
    return word


def _as_text(word: str) -> str:
    """`text=…` and `replacement=…` are taken letter by letter: quoted for Hydra, nothing in them is interpolated.

    >>> _as_text("text=It isn't (bad)")
    "text='It isn\\\\'t (bad)'"
    """
    key, equals, value = word.partition("=")
    if not equals or key not in ("text", "replacement"):
        return _as_list(word)
    return f"{key}={_quoted(value)}"


def _quoted(value: str, quote: str = "'") -> str:
    r"""The value as one quoted text of Hydra's grammar, in which nothing is interpolated.

    >>> print(_quoted(r'a "b" = ${c}', '"'))
    "a \"b\" = \${c}"
    """
    whole = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    return quote + re.sub(rf"(\\*)({quote}|$)", lambda end: end[1] * 2 + ("\\" + quote if end[2] else ""), whole) + quote


def _to_type(word: str, sweep: bool) -> str:
    """What to type in a shell for KEY=VALUE so that the value is one text to Hydra; in a sweep each part between commas is one."""
    key, _, value = word.partition("=")
    if not sweep:
        return shlex.quote(key + "=" + _quoted(value, '"'))
    parts = [part if re.fullmatch(r"[\w./+-]+", part, re.A) else _quoted(part, '"') for part in value.split(",")]
    return shlex.quote(f"{key}={','.join(parts)}")


def _unparsed(word: str, sweep: bool) -> str:
    """The message for an argument that Hydra's grammar refuses."""
    key, equals, value = word.partition("=")
    if not equals or not re.fullmatch(r"(\+{0,2}|~)[\w$./@:-]+", key, re.A):
        return f"{word!r} is not KEY=VALUE (such as encoder=bert or encoder.max_length=64)"
    return (
        f"{key}: {value!r} holds characters that mean something to Hydra (= , : ~ # brackets, quotes, or letters outside of A-Z); "
        f"so that it is one text, type {_to_type(word, sweep)}"
    )


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        if threads < 1:
            raise ConfigError(f"run.threads={threads} must be at least 1")
        import torch

        torch.set_num_threads(threads)


def _plain(error: Exception, arguments: list[str], verb: str) -> str:
    """Hydra's message in one or two lines, with the nearest valid name."""
    sweep = bool({"-m", "--multirun"} & set(arguments))
    if isinstance(error, OverrideParseException):
        return _unparsed(next((word for word in arguments if _as_list(word) == error.override), error.override), sweep)
    text = " ".join(str(error).split("\n\n")[0].split())
    if comma := re.match(r"Ambiguous value for argument '(.*)' 1\. To use", text):
        word = comma[1]
        typed = _to_type(word, False)
        return f"{word!r} has a comma: for a sweep over its parts put -m after 'probing {verb}'; for one text type {typed}"
    cause = " ".join(str(error.__cause__).splitlines()[:1]) if error.__cause__ else ""
    if found := re.search(r"'hydra/launcher/(submitit|joblib)", text):
        return f"this launcher is not installed: pip install 'probing[{'slurm' if found[1] == 'submitit' else 'sweep'}]'"
    if (found := re.search(r"Could not find '(\w+)/([^']*)'", text)) and presets.names(found[1]):
        group, name = found.groups()
        have = presets.names(group)
        return f"unknown {group} {name!r}{did_you_mean(name, have)} (allowed: {', '.join(have)})"
    if found := re.search(r"Could not override '([\w.]+)'", text):
        key = found[1]
        if key == "data" and verb == "train":
            return "set data.root=… (the folder of the data, or one text file); a training has no data preset"
        if key in _known_keys(arguments, verb):  # Hydra composes a sweep once with the default of the group
            return f"{key} is no option of the default {key.split('.')[0]}: in a sweep over the group write ++{key}=…"
        return f"unknown key {key!r}{did_you_mean(key, _known_keys(arguments, verb))}"
    if found := re.search(r"Missing mandatory value: ([\w.]+)", text):
        return f"set {found[1]}=…"
    if found := re.search(r"Key '([\w.]+)' is not in struct", text):
        key = found[1]
        return f"unknown key {key!r}{did_you_mean(key, _known_keys(arguments, verb))}"
    if "sweep" in text:
        return f"{text} (for a sweep put -m after 'probing {verb}')"
    return text + (f" ({cause})" if cause and cause not in text else "")


def _known_keys(arguments: list[str], verb: str) -> list[str]:
    """Every key of the configuration that the group choices of the command line make."""
    schema, own = {"train": (TrainConfig, (*TRAIN_KEYS, "data.root")), "interact": (JobConfig, INTERACT_KEYS)}.get(
        verb, (RunConfig, (*LISTS, *GROUPS, "suite", "twins", "resample", "resamples", "precision"))
    )
    keys = [*(f"run.{option.name}" for option in fields(schema)), *own]
    for group, default in DEFAULTS.get(verb, DEFAULTS["run"]).items():
        chosen = next((w.partition("=")[2].split(",")[0] for w in arguments if w.startswith(f"{group}=")), default)
        if chosen in presets.names(group):
            keys += [f"{group}.{option}" for option in presets.read(group, chosen)]
    return keys
