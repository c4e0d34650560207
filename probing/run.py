"""`probing run`, `train`, `check` and so on: a Hydra configuration becomes a call of Python. The only file that imports Hydra.

What one job does is in `probing.jobs`. Values that are lists (`LISTS` there) are loops inside one job, also under `-m`: `task=a,b`
means both. Multirun sweeps the groups and their options."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from probing import config
from probing.config import Done, listed, quoted, to_type
from probing.data.card import load_card
from probing.errors import ForeignError, ProbingError, described, did_you_mean, ends_job, out_of_memory
from probing.evaluation import recall
from probing.files import process
from probing.log import info
from probing.paths import CONF
from probing.provenance import own_fault

_PARENT = "PROBING_RUN_PID"
"""The process that collects exit codes; in others (a launcher's workers, here or elsewhere) a job that failed must raise."""

_FOLDER = "run-folder.txt"
"""Where a job of a multirun, in whatever process or machine, leaves the path of its run, so that one table can be made of them."""

_sweeps: list[str] = []
_exit_codes: list[int] = []
folders: list[Path] = []  # of the finished runs of this process, or of the jobs of its sweep, in order
lost: list[list[str]] = []  # of the jobs of this process that ended without a run, their words


class Sweep(Callback):
    """Hydra's callback: the process that starts a multirun notes its folder."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        _sweeps.append(str(config.hydra.sweep.dir))


class JobFailed(ProbingError):
    """A job in a launcher's worker failed and has reported why; its argument is the exit code. An ordinary exception, so that
    the launcher lets the other jobs finish."""


def main(arguments: list[str], verb: str = "run") -> int:
    """Runs the words after `probing run`, `train`, `check`, `interact`, `attribute`, `score` or `neuron`; returns the exit code: 0,
    1 if a cell or a rule failed or an exception was raised, 2 for a mistake in what was given."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # so that errors reach us, and we say them in one line
    os.environ[_PARENT] = process()
    sys.argv = [
        f"probing {verb}",
        *(_as_text(word, verb) if verb in ("interact", "attribute", "score", "neuron") else _as_list(word) for word in arguments),
    ]
    code = _hydra(arguments, verb)
    if _sweeps:
        folder = Path(_sweeps.pop())
        left = sorted(folder.glob(f"*/{_FOLDER}"), key=lambda path: (len(path.parent.name), path.parent.name))  # by job number
        done = list(dict.fromkeys(path.read_text(encoding="utf-8") for path in left))
        own = {path.resolve() for path in folders}
        folders.extend(path for path in map(Path, done) if path not in own)  # of a launcher's jobs, in other processes
        if code != 130:
            _one_table(done)
        _clear(folder)
    return code


def _clear(folder: Path) -> None:
    """Removes what a multirun needed, and folders that are empty then; the logs of Slurm's jobs stay."""
    for path in (*folder.glob(f"*/{_FOLDER}"), folder / "multirun.yaml"):
        path.unlink(missing_ok=True)
    above = folder.parents[:3] if folder.parents[1].name == "hydra" else ()  # the date, hydra, and run.dir
    for path in (*folder.glob("*/"), folder, *above):
        with suppress(OSError):  # not empty
            path.rmdir()


def _one_table(folders: list[str]) -> None:
    """The table of all runs of a multirun, encoders compared on the same items; in `tables/` of the run.dir."""
    if len(folders) < 2:
        return
    out = Path(folders[0]).parents[1] / "tables" / hashlib.sha256("\n".join(sorted(folders)).encode()).hexdigest()[:8]
    from probing import studies as study
    from probing.evaluation.runs import Run
    from probing.report.write import write

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
        "score": ("score", _score_job),
        "neuron": ("neuron", _neuron_job),
        "attribute": ("attribute", _attribute_job),
    }[verb]
    if sys.version_info >= (3, 14):  # it checks the help of an option when that is declared; Hydra 1.3.8 declares no text
        argparse.ArgumentParser._check_help = lambda *_: None
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=config)(work)()
        return max(_exit_codes, default=0)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        info(f"probing: {_plain(error, arguments, verb)}")
    except BrokenPipeError:
        raise
    except OSError as error:
        info(f"probing: {error.filename or 'the machine'}: {error.strerror or error}; choose another folder with run.dir=…")
    except JobFailed as failure:
        return failure.args[0]
    except RuntimeError as error:
        if 'Could not detect "srun"' in str(error):
            info("probing: this machine has no Slurm (no program srun): run the command on a login node, or take +sweep=local")
            return 2
        if not type(error).__module__.startswith(("submitit", "joblib")):
            raise
        info(f"probing: a job of the sweep was killed or lost ({str(error).splitlines()[0]}); run the same command again")
        return 1
    except KeyboardInterrupt:
        info("probing: interrupted; what was finished is kept, the same command goes on from there")
        return 130
    return 2


def _done(verb: str, config: DictConfig) -> int:
    """Runs a job, and leaves the path of its run in the job's folder of a multirun, for the table that ends it."""
    options: Any = OmegaConf.to_container(config, resolve=True)
    done = _up_to_date(options) if verb == "run" else None
    if done is None:
        from probing import jobs

        done = getattr(jobs, f"{verb}_job")(options)
    folders.extend([done.folder] if done.folder else [])
    if done.folder and HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        Path(HydraConfig.get().runtime.output_dir, _FOLDER).write_text(str(done.folder.resolve()), encoding="utf-8")
    return done.failed


def _up_to_date(options: dict[str, Any]) -> Done | None:
    """The finished run of these options if nothing changed since, its table on the terminal; all before anything is loaded.
    ConfigError: wrong keys, or options of `run`, or a task without a card."""
    config.checked(options, config.RunConfig, config.GROUPS, config.KEYS)
    data = options.get("data")
    if isinstance(data, dict) and str(data.get("_target_")).startswith("probing.data.sources."):  # their tasks have cards
        for name in listed(options.get("task"), str, "task") or ():
            load_card(name)
    recall.watch()
    run = options.get("run")
    if not isinstance(run, dict) or run.get("force") or (last := recall.recall(options, Path(run["dir"]).expanduser())) is None:
        return None
    folder, text = last
    sys.stdout.write(text)
    info(f"{folder}: nothing to do, all is as it was when this run ended (run.force=true measures again)")
    return Done(0, folder)


def _run_job(config: DictConfig) -> None:
    _guarded(partial(_done, "run"), config)


def _train_job(config: DictConfig) -> None:
    _guarded(partial(_done, "train"), config)


def _check_job(config: DictConfig) -> None:
    _guarded(partial(_done, "check"), config)


def _interact_job(config: DictConfig) -> None:
    _guarded(partial(_done, "interact"), config)


def _score_job(config: DictConfig) -> None:
    _guarded(partial(_done, "score"), config)


def _neuron_job(config: DictConfig) -> None:
    _guarded(partial(_done, "neuron"), config)


def _attribute_job(config: DictConfig) -> None:
    _guarded(partial(_done, "attribute"), config)


def _guarded(work: Callable[[DictConfig], int], config: DictConfig) -> None:
    """Runs a job and reports its errors at once; other jobs of a multirun go on. In a launcher's worker it raises too.
    Exit codes: see `main`; an exception that is not the user's is 1, with a traceback only where this package is at fault."""
    runs = len(folders)
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
    if code and len(folders) == runs and HydraConfig.initialized():
        lost.append(list(HydraConfig.get().overrides.task))
    if code and os.environ.get(_PARENT) != process():
        raise JobFailed(code)


def _as_list(word: str) -> str:
    """`task=a,b` means a list, not a sweep: brackets are put around it."""
    key, equals, value = word.partition("=")
    if equals and key in config.LISTS and "," in value and value[:1] not in "[('\"" and "(" not in value:
        return f"{key}=[{value}]"
    return word


def _as_text(word: str, verb: str = "") -> str:
    """`text=…`, `replacement=…`, `file=…`, `html=…`, and of attribute `method=…`, are taken letter by letter: quoted for Hydra,
    nothing in them is interpolated.

    >>> _as_text("text=It isn't (bad)")
    "text='It isn\\\\'t (bad)'"
    """
    key, equals, value = word.partition("=")
    if not equals or key not in ("text", "replacement", "file", "html", *["method"] * (verb == "attribute")):
        return _as_list(word)
    return f"{key}={quoted(value)}"


def _unparsed(word: str, sweep: bool) -> str:
    """The message for an argument that Hydra's grammar refuses."""
    key, equals, value = word.partition("=")
    if not equals or not re.fullmatch(r"(\+{0,2}|~)[\w$./@:-]+", key, re.A):
        return f"{word!r} is not KEY=VALUE (such as encoder=bert or encoder.max_length=64)"
    return (
        f"{key}: {value!r} holds characters that mean something to Hydra (= , : ~ # brackets, quotes, or letters outside of A-Z); "
        f"so that it is one text, type {to_type(word, sweep)}"
    )


def _plain(error: Exception, arguments: list[str], verb: str) -> str:
    """Hydra's message in one or two lines, with the nearest valid name."""
    sweep = bool({"-m", "--multirun"} & set(arguments))
    if isinstance(error, OverrideParseException):
        return _unparsed(next((word for word in arguments if _as_list(word) == error.override), error.override), sweep)
    text = " ".join(str(error).split("\n\n")[0].split())
    if match := re.match(r"Ambiguous value for argument '(.*)' 1\. To use", text):
        typed = to_type(match[1], False)
        return f"{match[1]!r} has a comma: for a sweep over its parts put -m after 'probing {verb}'; for one text type {typed}"
    cause = " ".join(str(error.__cause__).splitlines()[:1]) if error.__cause__ else ""
    if match := re.search(r"'hydra/launcher/(submitit|joblib)", text):
        return f"this launcher is not installed: pip install 'probing-bench[{'slurm' if match[1] == 'submitit' else 'sweep'}]'"
    if (match := re.search(r"Could not find '(\w+)/([^']*)'", text)) and config.names(match[1]):
        group, name = match.groups()
        have = config.names(group)
        return f"unknown {group} {name!r}{did_you_mean(name, have)} (allowed: {', '.join(have)})"
    if match := re.search(r"Could not override '([\w.]+)'", text):
        key = match[1]
        if key == "data" and verb == "train":
            return "set data.root=… (the folder of the data, or one text file); a training has no data preset"
        if key in config.known_keys(arguments, verb):  # Hydra composes a sweep once with the default of the group
            return f"{key} is no option of the default {key.split('.')[0]}: in a sweep over the group write ++{key}=…"
        return f"unknown key {key!r}{config.nearest_key(key, config.known_keys(arguments, verb))}"
    if "Config group override must be" in text:
        empty = [group for group in config.GROUPS if {f"{group}=null", f"{group}="} & set(arguments)]
        return "; ".join(f"{group}=null names no {group} (allowed: {', '.join(config.names(group))})" for group in empty) or text
    if match := re.search(r"Missing mandatory value: ([\w.]+)", text):
        return f"set {match[1]}=…"
    if match := re.search(r"Key '([\w.]+)' is not in struct", text):
        return f"unknown key {match[1]!r}{config.nearest_key(match[1], config.known_keys(arguments, verb))}"
    if "sweep" in text:
        return f"{text} (for a sweep put -m after 'probing {verb}')"
    return text + (f" ({cause})" if cause and cause not in text else "")
