"""A finished run goes to an experiment tracker: `log=trackio|wandb|mlflow` (one or several).

Each logger gets the configuration, the numbers of the dev-best layers, the accuracies by layer as curves (step = layer), and the
files of the report as an artifact. Names of metrics: TASK/ENCODER/best/accuracy, TASK/ENCODER/POOLING/accuracy.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from probing.errors import ConfigError, did_you_mean, foreign
from probing.evaluation.rows import metrics_of_line
from probing.evaluation.runs import Run
from probing.log import info

PROJECT = "probing"
"""Name of the project (mlflow: experiment), where the variables of the logger name none."""

FILES = ("report.html", "table.md", "table.csv", "rows.csv", "run.json")


@dataclass(frozen=True)
class Logged:
    """What a logger gets: a name, options as dotted keys, numbers by name, curves by layer, and files."""

    name: str
    options: Mapping[str, Any]
    numbers: Mapping[str, float]
    curves: Mapping[int, Mapping[str, float]]
    files: Sequence[Path]

    @classmethod
    def of(cls, run: Run) -> Logged:
        table = run.table().of_measure("probe")
        best = table.best() if len(table.frame) else pd.DataFrame()
        numbers: dict[str, float] = {}
        for row in best.itertuples():
            if row.seeds:
                at = f"{row.task}/{row.encoder}/best"
                numbers |= {
                    _name(f"{at}/{metric}"): float(getattr(row, metric)) for metric in (f"dev_{row.metric}", *metrics_of_line(row))
                }
                numbers |= {_name(f"{at}/layer"): float(row.layer), _name(f"{at}/majority"): float(row.majority)}
        curves: dict[int, dict[str, float]] = {}
        by = ["layer", "task", "encoder", "pooling", "metric"]
        for (layer, *place), value in table.role("probe").groupby(by, sort=False).score.mean().dropna().items():
            curves.setdefault(int(layer), {})[_name("/".join(place))] = float(value)
        files = [path for name in FILES if (path := run.folder / name).is_file()]
        return cls(run.folder.name, _flat(run.config), numbers, dict(sorted(curves.items())), files)


def check(names: Sequence[str]) -> None:
    """Before anything is measured: whether the loggers are known and installed.

    Raises:
        ConfigError: one is not.
    """
    for name in names:
        if name not in LOGGERS:
            raise ConfigError(f"log={name} is unknown{did_you_mean(name, LOGGERS)} (allowed: {', '.join(LOGGERS)}, or null)")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            raise ConfigError(f"log={name} needs the package {name}: pip install 'probing-bench[{name}]'") from None


def log(names: Sequence[str], run: Run) -> None:
    """Log a run whose report is written.

    Raises:
        ForeignError: a logger failed; the run and its report are there.
    """
    if not names:
        return
    logged = Logged.of(run)
    for name in names:
        with foreign(f"log={name}: the run is finished, but logging it failed"):
            LOGGERS[name](logged)
        info(f"{logged.name}: logged to {name}")


def _mlflow(logged: Logged) -> None:
    """To MLFLOW_TRACKING_URI, in MLFLOW_EXPERIMENT_NAME; parameters are cut to the length that mlflow allows."""
    import mlflow

    if "MLFLOW_EXPERIMENT_NAME" not in os.environ and "MLFLOW_EXPERIMENT_ID" not in os.environ:
        mlflow.set_experiment(PROJECT)
    with mlflow.start_run(run_name=logged.name):
        mlflow.log_params({key: str(value)[:500] for key, value in logged.options.items()})
        mlflow.log_metrics(dict(logged.numbers))
        for layer, values in logged.curves.items():
            mlflow.log_metrics(dict(values), step=layer)
        for path in logged.files:
            mlflow.log_artifact(str(path))


def _wandb(logged: Logged) -> None:
    """To WANDB_PROJECT, offline with WANDB_MODE=offline; the numbers are the run's summary."""
    import wandb

    run = wandb.init(project=os.environ.get("WANDB_PROJECT", PROJECT), name=logged.name, config=dict(logged.options))
    for layer, values in logged.curves.items():
        run.log(dict(values), step=layer)
    run.summary.update(dict(logged.numbers))
    artifact = wandb.Artifact(_artifact(logged), type="report")
    for path in logged.files:
        artifact.add_file(str(path))
    run.log_artifact(artifact)
    run.finish()


def _trackio(logged: Logged) -> None:
    """To the local folder of trackio (TRACKIO_DIR); the numbers are logged at the last step."""
    import trackio

    last = max(logged.curves, default=0)
    trackio.init(
        project=PROJECT, name=logged.name, config=dict(logged.options), embed=False, auto_log_gpu=False, auto_log_cpu=False
    )
    for layer, values in logged.curves.items():
        trackio.log(dict(values) | (dict(logged.numbers) if layer == last else {}), step=layer)
    artifact = trackio.Artifact(_artifact(logged), type="report")
    for path in logged.files:
        artifact.add_file(str(path))
    trackio.log_artifact(artifact)
    trackio.finish()


LOGGERS: dict[str, Callable[[Logged], None]] = {"trackio": _trackio, "wandb": _wandb, "mlflow": _mlflow}
"""Loggers by the name of their package, which is also the name of the extra."""


def _name(text: str) -> str:
    """A metric's name of characters that all loggers allow."""
    return re.sub(r"[^\w./ -]", "_", text)


def _artifact(logged: Logged) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", logged.name)


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options as dotted keys.

    >>> _flat({"probe": {"C": [1, 2]}, "seed": 0})
    {'probe.C': [1, 2], 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in options.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {f"{prefix}{key}": value}
    return flat
