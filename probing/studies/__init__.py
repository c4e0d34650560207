"""Studies: measurements other than probing tables. `probing run +experiment=NAME` runs the one that the preset's `study` names.

A study is a dataclass; its fields are its options, written in `conf/experiment/NAME.yaml` under `study`. It has a `name`,
`uses` (the groups of the configuration that it reads, encoder or data), `measure(context)`, which gives tidy rows, and
`report(frame, folder)`, which writes tables and figures of the rows of one or several runs.

    DIR/runs/<study>-<data>-<encoder>-<hash>/rows.csv       measured rows
                                            /manifest.json  configuration, encoder, versions, seconds
                                            /table.md …     the study's report
    DIR/cells/                                              finished parts (probing.store.results), shared by all runs
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from probing import config as presets
from probing.data.task import Task
from probing.encoders.base import Encoder
from probing.errors import ConfigError
from probing.files import replace_file
from probing.paths import portable
from probing.provenance import provenance
from probing.store.results import ResultStore
from probing.store.vectors import Store


def require(condition: bool, message: str) -> None:
    """Raises a `ConfigError` if the condition on the options does not hold."""
    if not condition:
        raise ConfigError(message)


def check_words(words: Sequence[int], least: int = 1, example: str = "[8, 12]") -> None:
    """Raises a `ConfigError` if study.words is no pair of the fewest and the most words of a sentence, at least `least`."""
    fewest = f"the fewest ({least} at least)" if least > 1 else "the fewest"
    message = f"study.words={words}: give {fewest} and the most words of a sentence, such as {example}"
    require(len(words) == 2 and least <= words[0] <= words[1], message)


def layers_of(given: Any, n: int) -> list[int]:
    """The layers, sorted, of `layer` or study.layers: all, or numbers, negative ones from the last of n; ConfigError for others."""
    layers = presets.listed(given, int, "layer", every=tuple(range(n)))
    for layer in layers:
        require(-n <= layer < n, f"layer={layer}: the encoder has the layers 0 to {n - 1}, -1 is the last")
    return sorted({layer % n for layer in layers})


@dataclass(frozen=True)
class Context:
    """The inputs of a study's run; encoder, source and tasks are built at their first use. `results`: finished parts; `home`:
    run.dir; `names`: of the tasks, None for all; `force`: measure again what is finished."""

    make_encoder: Callable[[], Encoder]
    make_tasks: Callable[[], list[Task]]
    seeds: tuple[int, ...]
    results: ResultStore
    store: Store
    home: Path
    make_source: Callable[[], Any] = lambda: None
    names: tuple[str, ...] | None = None
    force: bool = False

    @property
    def seed(self) -> int:
        """The seed of a study that draws once; ConfigError if several were given."""
        if len(self.seeds) > 1:
            raise ConfigError(f"seed={list(self.seeds)}: this study draws once, give one number (and -m for several runs)")
        return self.seeds[0]

    def finished(self, part: Mapping[str, Any], compute: Callable[[], Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
        """The rows of a part, which are computed and kept where they are not yet among the results."""
        rows = self.results.get(part)
        return self.results.put(part, compute()) if rows is None else rows

    @cached_property
    def encoder(self) -> Encoder:
        return self.make_encoder()

    @cached_property
    def source(self) -> Any:
        return self.make_source()

    @cached_property
    def tasks(self) -> list[Task]:
        return self.make_tasks()


def run(config: Mapping[str, Any], home: Path, store: Store, tasks: tuple[str, ...] | None, seeds: tuple[int, ...]) -> Path | None:
    """Measures, and writes rows, manifest and report; returns the folder. Finished parts are kept if another cannot be measured.
    With run.dry only logs what would be measured, if the study has a `forecast`, and returns None."""
    study = presets.build(config["study"], "study")
    context = Context(
        lambda: presets.build(config["encoder"], "encoder"),
        lambda: presets.build(config["data"], "data").tasks(tasks),
        seeds,
        ResultStore(home / "cells"),
        store,
        home,
        lambda: presets.build(config["data"], "data"),
        tasks,
        config["run"].get("force", False),
    )
    if config["run"].get("dry"):
        require(hasattr(study, "forecast"), "run.dry=true knows no plan of this study: leave it out")
        study.forecast(context)
        return None
    home.mkdir(parents=True, exist_ok=True)  # what cannot be made ends it before anything is measured
    options = {key: config[key] for key in ("study", *study.uses, "task", "seed")}
    short = hashlib.sha256(json.dumps(options).encode()).hexdigest()[:8]
    parts = [config["data"].get("name") or context.source.name] * ("data" in study.uses) + [context.encoder.name] * (
        "encoder" in study.uses
    )
    name = config["run"]["name"] or "-".join(re.sub(r"\W+", "_", part) for part in (study.name, *parts)) + f"-{short}"
    folder, start = home / "runs" / name, time.perf_counter()
    frame = study.measure(context)
    manifest = {"config": config, "seconds": round(time.perf_counter() - start, 1), **provenance()}
    if "encoder" in study.uses:
        manifest["encoder"] = {"name": context.encoder.name, **dict(context.encoder.description)}
    replace_file(folder / "manifest.json", json.dumps(portable(manifest), indent=1, ensure_ascii=False, default=str).encode())
    _write(study, frame, folder)
    return folder


def failed(folder: Path) -> int:
    """The number of measurements that failed, of a study whose rows say so in a column `status`."""
    frame = _rows(folder)
    return int((frame.status == "failed").sum()) if "status" in frame else 0


def is_run(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / "manifest.json").read_bytes())["config"]["study"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def together(folders: Sequence[Path], out: Path) -> None:
    """One report of several runs of a study, from their rows; ConfigError for runs of different studies."""
    studies = [json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["config"]["study"] for folder in folders]
    if len(kinds := sorted({options["_target_"].rpartition(".")[2] for options in studies})) > 1:
        raise ConfigError(f"these are runs of several studies ({', '.join(kinds)}): report them one by one")
    study = presets.build(studies[0], "study")
    _write(study, pd.concat([_rows(folder) for folder in folders], ignore_index=True), out)


def _write(study: Any, frame: pd.DataFrame, folder: Path) -> None:
    replace_file(folder / "rows.csv", frame.to_csv(index=False).encode())
    study.report(_rows(folder), folder)  # from the written rows, in all cases


def _rows(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "rows.csv", low_memory=False)  # of whole columns, so that a type does not depend on their lengths
