"""One job of `probing run`, `train`, `interact` and the other verbs: a plain configuration becomes calls of Python.

The groups data, encoder, probe and objective are checked against the dataclass that their `_target_` names (`probing.config`).
Values that are lists (task, layer, pooling, seed, controls, floors, measures, metrics) are loops inside one job.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from probing import config
from probing.data.sources import GrammarCorpus
from probing.errors import ConfigError, ProbingError
from probing.evaluation import adaptive, recall
from probing.evaluation.evaluate import compute
from probing.evaluation.forecast import forecast
from probing.evaluation.measure import Cell, load_measures
from probing.evaluation.metrics import ASKED
from probing.evaluation.planning import plan, request_key
from probing.evaluation.request import Request, all_floors
from probing.evaluation.runs import Run
from probing.files import os_errors_as_store_error, page_file, write_page
from probing.log import info
from probing.probes.controls import CONTROLS
from probing.report import loggers
from probing.store.results import ResultStore
from probing.store.vectors import Store

if TYPE_CHECKING:
    from probing.evaluation.table import ResultTable
    from probing.report.summary import Line

NEXT = """Next, on real data: probing fetch senteval; probing run data=senteval data.root=data/senteval
or your own: probing run data=hf data.path=FOLDER_OR_HUB_ID encoder=hf encoder.name=FOLDER_OR_HUB_ID
"""


def run_job(options: Mapping[str, Any]) -> config.Done:
    """One data source × one encoder × one probe and other measures, or one study."""
    run = config.checked(options, config.RunConfig, config.GROUPS, config.KEYS)
    if run.dry and (options.get("studies") or options["precision"] is not None):
        raise ConfigError("run.dry=true knows no plan of studies, or of samples that grow (precision): leave it out")
    loggers.check(log := config.listed(options.get("log") or "none", str, "log", every=(), none=True))
    if options["study"] is not None or options.get("studies"):
        if log:
            raise ConfigError("log=… is for tables of probes; the report of a study is in its folder (log=null)")
        return _study_job(options, run) if options["study"] is not None else _studies_job(options, run)
    run_paper = config.paper(options.get("paper"))
    source, encoder, request = request_of(options, run)
    names = config.listed(options["task"], str, "task")
    names_of_measures = config.listed(options["measures"], str, "measures", every=())
    if options["precision"] is not None:
        adaptive.check(options["precision"], request)
    _set_threads(run.threads)
    home = Path(run.dir).expanduser()
    cells, store = ResultStore(home / "cells"), Store(run.store or home / "store", run.store_dtype)
    if run.dry:
        forecast(plan(source.tasks(names), [encoder], request, store), store, cells, run.force)
        return config.Done()
    with os_errors_as_store_error(home):
        tasks, flash = source.tasks(names), None
        home.mkdir(parents=True, exist_ok=True)
        if options["precision"] is not None:
            flash = adaptive.search(tasks, [encoder], request, options["precision"], store, cells, run.force)
            tasks = flash.tasks
        planned = plan(tasks, [encoder], request, store)
        if not planned:
            on = ", ".join(task.name for task in tasks)
            raise ConfigError(f"nothing to measure: no cell of measures={','.join(names_of_measures)} on {on}; choose others")
        what = "-".join(names_of_measures) if request.probe is None else request.probe.name
        short = request_key(tasks, planned, request)[:8]
        name = run.name or "-".join(re.sub(r"\W+", "_", part) for part in (source.name, encoder.name, what)) + f"-{short}"
        recorded = Run.write(home / "runs" / name, options, [cell.row for cell in planned], cells)
        compute(planned, store, cells, run.force)
        from probing.report import paper
        from probing.report.terminal import terminal
        from probing.report.write import write

        texts: list[str] = []

        def show(table: ResultTable, lines: Sequence[Line]) -> None:
            text = "" if flash is not None else terminal(table, lines)
            text = f"{paper.title([recorded], table)}\n\n{text}" if run_paper else text
            texts.append(text + (NEXT if isinstance(source, GrammarCorpus) else ""))
            sys.stdout.write(texts[-1])

        write([recorded], recorded.folder, show=show)
        if flash is not None:
            flash.write(recorded.folder)
        state = recorded.state()
    loggers.log(log, recorded)
    if len(state["done"]) == len(recorded.keys) and flash is None:  # after all that the run was asked for
        with os_errors_as_store_error(home):
            recall.record(options, home, recorded.folder, [cells.root / f"{key}.json" for key in recorded.keys], texts[-1])
    written = ", ".join(name for name in ("flash.md", "table.md", "rows.csv", "report.html") if (recorded.folder / name).is_file())
    info(f"{recorded.folder}: {len(state['done'])} of {len(recorded.keys)} cells done; {written}")
    if state["failed"]:
        info(f"{len(state['failed'])} cells failed: probing status {recorded.folder}")
    return config.Done(len(state["failed"]), recorded.folder)


def request_of(options: Mapping[str, Any], run: config.RunConfig) -> tuple[Any, Any, Request]:
    """The source of data, the encoder and the request of a job that is no study."""
    names_of_measures = config.listed(options["measures"], str, "measures", every=())
    encoder = config.build(options["encoder"], "encoder")
    probe = config.build(options["probe"], "probe")
    source = config.build(options["data"], "data")
    if getattr(source, "reads_words", False):
        from probing.encoders.words import WithWords

        encoder = WithWords(encoder)
    return (
        source,
        encoder,
        Request(
            probe if "probe" in names_of_measures else None,
            config.listed(options["layer"], int, "layer"),
            config.listed(options["pooling"], str, "pooling"),
            config.listed(options["seed"], int, "seed", every=()),
            config.listed(options["controls"], str, "controls", every=tuple(CONTROLS), none=True),
            config.listed(options["floors"], str, "floors", every=all_floors(), none=True),
            source.train_size,
            run.store_dtype,
            options["twins"],
            options["resample"],
            options["resamples"],
            load_measures([name for name in names_of_measures if name != "probe"], options),
            config.listed(options.get("metrics", "none"), str, "metrics", every=ASKED, none=True),
            options.get("per_class"),
        ),
    )


def planned_again(options: Mapping[str, Any], home: Path) -> tuple[list[Cell], Store]:
    """The cells of the run with this configuration, and the store of its vectors; nothing is computed."""
    run = config.checked(options, config.RunConfig, config.GROUPS, config.KEYS)
    source, encoder, request = request_of(options, run)
    store = Store(run.store or home / "store", run.store_dtype)
    return plan(source.tasks(config.listed(options["task"], str, "task")), [encoder], request, store), store


def _study_job(options: Mapping[str, Any], run: config.RunConfig) -> config.Done:
    """One study of one encoder; a part that cannot be measured is an error, and finished ones are kept."""
    from probing import studies as study
    from probing.report.terminal import first_table

    if not isinstance(options["study"], dict):
        raise ConfigError(f"study={options['study']}: choose a study by +experiment=NAME (probing list experiments)")
    _set_threads(run.threads)
    home = Path(run.dir).expanduser()
    with os_errors_as_store_error(home):
        tasks, seeds = config.listed(options["task"], str, "task"), config.listed(options["seed"], int, "seed", every=())
        if min(seeds) < 0:
            raise ConfigError(f"seed={list(seeds)} must hold no number below 0")
        store = Store(run.store or home / "store", run.store_dtype)
        if (folder := study.run(options, home, store, tasks, seeds)) is None:  # dry
            return config.Done()
    sys.stdout.write(first_table((folder / "table.md").read_text(encoding="utf-8")) if (folder / "table.md").is_file() else "")
    info(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    return config.Done(study.failed(folder), folder)


def _studies_job(options: Mapping[str, Any], run: config.RunConfig) -> config.Done:
    """Several studies, one after the other; one that cannot be measured is named, and the others are."""
    lost = 0
    for name, one in options["studies"].items():
        study = one["study"]
        if missing := [key for key, value in study.items() if value == "???"]:
            info(f"{name}: left out, as {', '.join(f'studies.{name}.study.{key}' for key in missing)} is not set")
            continue
        try:
            _study_job({**options, "study": study}, run)
        except ProbingError as error:
            info(f"{name}: {error}")
            lost += 1
    return config.Done(lost)


def train_job(options: Mapping[str, Any]) -> config.Done:
    """One training: one architecture × one objective, for every seed."""
    run = config.checked(options, config.TrainConfig, ("encoder", "objective"), config.TRAIN_KEYS)
    seeds = config.listed(options["seed"], int, "seed", every=())
    if min(seeds) < 0:
        raise ConfigError(f"seed={list(seeds)} must hold no number below 0")
    if set(options["data"]) != {"root"} or options["data"]["root"] in (None, "???"):
        raise ConfigError("set data.root=… (the folder of the data, or one text file), and no other key of data")
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
    return config.Done()


def check_job(options: Mapping[str, Any]) -> config.Done:
    """The conformance of one encoder, printed."""
    from probing.encoders.base import fingerprint
    from probing.encoders.conformance import TEXTS, check

    config.checked(options, config.RunConfig, ("encoder",), config.KEYS)
    fingerprint(first := config.build(options["encoder"], "encoder"))  # a mistake in what was given is said here
    samples = getattr(first, "samples", None)
    report = check(lambda: config.build(options["encoder"], "encoder"), texts=samples or TEXTS)
    sys.stdout.write(f"{report}\n")
    return config.Done(sum(rule.held is False for rule in report.checks))


def interact_job(options: Mapping[str, Any]) -> config.Done:
    """The interactions within one sentence, printed."""
    from probing.interactions.text.command import Interact

    run = config.checked(options, config.JobConfig, ("encoder",), config.INTERACT_KEYS)
    if options["text"] in (None, "???"):
        raise ConfigError('set text="…" (a sentence, words parted by blanks)')
    given = {key: value for key, value in options.items() if key != "layer"}
    request = replace(_request(Interact, given, "text", "replacement"), layers=config.listed(options["layer"], int, "layer"))
    _set_threads(run.threads)
    sys.stdout.write(f"{request.run(config.build(options['encoder'], 'encoder'))}\n")
    return config.Done()


def score_job(options: Mapping[str, Any]) -> config.Done:
    """What a language model gives to the tokens of a sentence, printed."""
    from probing.behaviour.command import Score

    run = config.checked(options, config.JobConfig, ("encoder",), config.SCORE_KEYS)
    request = _request(Score, options, "text", "against", "file", "html")
    if request.html is not None:
        page_file(request.html)
    _set_threads(run.threads)
    sys.stdout.write(f"{request.run(config.build(options['encoder'], 'encoder'))}\n")
    if request.html is not None:
        from probing.report.strips import lines, page_of

        shown = [(head, lines(parts, ("text", "against"))) for head, parts in request.pairs]
        write_page(request.html, page_of(shown))
    return config.Done()


def attribute_job(options: Mapping[str, Any]) -> config.Done:
    """Scores of the words of one sentence, printed."""
    from probing.attributions.command import Attribute

    run = config.checked(options, config.JobConfig, ("encoder",), config.ATTRIBUTE_KEYS)
    if options["text"] in (None, "???"):
        raise ConfigError('set text="…" (a sentence, words parted by blanks)')
    request = _request(Attribute, options, "text", "method", "replacement", "target", "head", "html")
    _set_threads(run.threads)
    sys.stdout.write(f"{request.run(config.build(options['encoder'], 'encoder'))}\n")
    return config.Done()


def neuron_job(options: Mapping[str, Any]) -> config.Done:
    """What excites one unit, printed."""
    from probing.neurons.command import Neuron

    run = config.checked(options, config.JobConfig, ("encoder",), config.NEURON_KEYS)
    request = _request(Neuron, options, "file", "text", "html")
    _set_threads(run.threads)
    home = Path(run.dir).expanduser()
    with os_errors_as_store_error(home):
        encoder = config.build(options["encoder"], "encoder")
        sys.stdout.write(f"{request.run(encoder, Store(home / 'store'))}\n")
    return config.Done()


def _request(kind: Any, options: Mapping[str, Any], *verbatim: str) -> Any:
    """The dataclass of a command from the options that are its fields; those named `verbatim` are texts, letter by letter."""
    given = {key: value for key, value in options.items() if key not in ("encoder", "run", *verbatim)}
    try:
        request: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), given))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.key}: {str(error).splitlines()[0]}") from None
    return replace(request, **{key: None if options[key] is None else str(options[key]) for key in verbatim})


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        if threads < 1:
            raise ConfigError(f"run.threads={threads} must be at least 1")
        import torch

        torch.set_num_threads(threads)
