"""One study as a run: its folder, rows and manifest; and one report of several runs."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from probing import config as presets
from probing.errors import ConfigError
from probing.files import replace_file
from probing.paths import portable
from probing.provenance import provenance
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.studies import Context


def run(config: Mapping[str, Any], home: Path, store: Store, tasks: tuple[str, ...] | None, seeds: tuple[int, ...]) -> Path:
    """Measures, and writes rows, manifest and report; returns the folder. Finished parts are kept if another cannot be measured."""
    study = presets.build(config["study"], "study")
    context = Context(
        lambda: presets.build(config["encoder"], "encoder"),
        lambda: presets.build(config["data"], "data").tasks(tasks),
        seeds,
        ResultStore(home / "cells"),
        store,
        home,
    )
    options = {key: config[key] for key in ("study", *study.uses, "task", "seed")}
    short = hashlib.sha256(json.dumps(options).encode()).hexdigest()[:8]
    parts = [config["data"]["name"]] * ("data" in study.uses) + [context.encoder.name] * ("encoder" in study.uses)
    name = config["run"]["name"] or "-".join(re.sub(r"\W+", "_", part) for part in (study.name, *parts)) + f"-{short}"
    folder, start = home / "runs" / name, time.perf_counter()
    frame = study.measure(context)
    manifest = {"config": config, "seconds": round(time.perf_counter() - start, 1), **provenance()}
    if "encoder" in study.uses:
        manifest["encoder"] = {"name": context.encoder.name, **dict(context.encoder.description)}
    replace_file(folder / "manifest.json", json.dumps(portable(manifest), indent=1, ensure_ascii=False, default=str).encode())
    _write(study, frame, folder)
    return folder


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
    _write(study, pd.concat([pd.read_csv(folder / "rows.csv") for folder in folders], ignore_index=True), out)


def _write(study: Any, frame: pd.DataFrame, folder: Path) -> None:
    replace_file(folder / "rows.csv", frame.to_csv(index=False).encode())
    study.report(pd.read_csv(folder / "rows.csv"), folder)  # from the written rows, in all cases
