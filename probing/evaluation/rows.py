"""Rows: one for each cell in memory, one line for each of its metrics in rows.csv.

A new metric is a new name in `Row.scores`, never a new field. A table's frame (`frame_of`) has three columns for each metric: its
name for the value, and the name with `_low` and `_high` for the 95 % interval; and `SCORE`, the main metric of the row's task.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pandas as pd

from probing.evaluation.metrics import NAMES
from probing.evaluation.statistics import METRICS
from probing.types import Estimate

ROLES = ("probe", "static", "random", "control", "resample", "floor", "ceiling")
"""probe: true labels, the encoder as given (and the role of every other measure of it) · static: its layer 0, mean, where not asked
for · random: random weights · control: control labels · resample: as probe, fitted on a random half of the train split (`seed` is
its number, `n_train` the size of the whole) · floor: no encoder · ceiling: no encoder, on control labels."""

IDENTITY = ("role", "task", "encoder", "twin_of", "cell")
"""The key of a row. Several rows may show one cell: the same weights under two labels, or as a twin and as an encoder."""

STATES = ("done", "failed", "missing")
"""Of a cell, the better first: finished; failed, with the reason in `error`; planned, and not measured yet."""

SCORE = ("metric", "score", "score_low", "score_high", "dev_score")
"""Columns of a frame made from the others: name of the main metric of the row's task (empty where nothing is measured yet), its
value with interval on test, and its value on dev. All choices and comparisons read these."""

PROBE_METRICS = ("dev_accuracy", *METRICS)
PROBE_FACETS = {"converged": True, "chosen": "", "edge": ""}
"""Of a probe's fit: whether its solver converged; what it chose, as JSON; the end of its grid at which the choice stands."""


@dataclass(frozen=True)
class Row:
    """One cell as a row; empty strings and None stand where a field does not apply. `scores`: metric -> value with its 95 %
    interval over the test items, or groups of them, of this one fit, accuracies and F1 0-1; `facets`: entries that only its
    measure has; `n_folds`: fits of a cross-validated task, or None."""

    role: str
    task: str
    paper_name: str
    encoder: str = ""
    layer: int | None = None
    layer_name: str = ""
    pooling: str = ""
    probe: str = ""
    control: str = ""
    seed: int | None = None
    n_train: int = 0
    n_dev: int = 0
    n_test: int = 0
    n_classes: int = 0
    majority: float = np.nan
    twin_of: str = ""
    data_sha256: str = ""
    test_sha256: str = ""
    official_data: bool = False
    n_groups: int | None = None
    n_folds: int | None = None
    encoder_fingerprint: str = ""
    cell: str = ""
    status: str = "done"
    error: str = ""
    measure: str = "probe"
    scores: Mapping[str, Estimate] = field(default_factory=dict)
    facets: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def flat(cls, **values: Any) -> Row:
        """A row from its entries in a frame: fields, facets of a probe, and three entries or one for each metric."""
        own = {name: values.pop(name) for name in PLAIN if name in values}
        facets = {name: values.pop(name) for name in PROBE_FACETS if name in values}
        names = [name for name in values if name.removesuffix("_low").removesuffix("_high") == name]
        known = {name: tuple(values.get(f"{name}{end}") for end in ("", "_low", "_high")) for name in names}
        scores = {name: _estimate(score) for name, score in known.items() if score[0] is not None}
        return cls(**own, scores=scores, facets=facets)

    def entries(self) -> dict[str, Any]:
        entries = {name: getattr(self, name) for name in PLAIN}
        for name, score in self.scores.items():
            entries |= {name: score.value, f"{name}_low": score.lower, f"{name}_high": score.upper}
        return entries | dict(self.facets)

    def measured(self) -> dict[str, Any]:
        """The part of the row that is measured, as plain JSON; `recorded` is the other part."""
        scores = {name: [None if np.isnan(x) else x for x in (s.value, s.lower, s.upper)] for name, s in self.scores.items()}
        return {"layer_name": self.layer_name, "scores": scores, "facets": dict(self.facets)}

    def recorded(self) -> dict[str, Any]:
        """The row that a cell was first measured for, as its record holds it."""
        return {name: getattr(self, name) for name in PLAIN if name not in (*MEASURED, "n_folds")}


MEASURED = ("layer_name", "status", "error")
"""Fields that are not known when a row is planned."""
PLAIN = tuple(one.name for one in fields(Row) if one.name not in ("scores", "facets"))
_OPTIONAL = dict.fromkeys(("layer", "seed", "n_groups", "n_folds"), "Int64")
_KINDS = {one.name: one.type.removesuffix(" | None") for one in fields(Row)}


def _estimate(score: Iterable[float | None]) -> Estimate:
    return Estimate(*(np.nan if x is None else x for x in score))


def scores_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `Row` that a cell's record fills; records of earlier versions hold a row's entries."""
    [measured] = record["rows"]
    if "scores" not in measured:
        old = Row.flat(**{name: value for name, value in measured.items() if name not in ("measure", "status", "error")})
        return {"layer_name": old.layer_name, "scores": old.scores, "facets": old.facets}
    scores = {name: _estimate(score) for name, score in measured["scores"].items()}
    return {"layer_name": measured["layer_name"], "scores": scores, "facets": measured["facets"]}


def frame_of(rows: Iterable[Row]) -> pd.DataFrame:
    entries = [row.entries() for row in rows]
    metrics = dict.fromkeys((*PROBE_METRICS, *(name for one in entries for name in one if f"{name}_low" in one)))
    columns = [*PLAIN, *(f"{name}{end}" for name in metrics for end in ("", "_low", "_high"))]
    columns += [name for name in dict.fromkeys((*PROBE_FACETS, *(name for one in entries for name in one))) if name not in columns]
    return with_score(typed(pd.DataFrame(entries, columns=columns))).copy()  # in one block, as pandas wants wide frames


def with_score(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the columns `SCORE`; the main metric of a row is the one that it has on dev."""
    values = pd.DataFrame({"metric": "", **dict.fromkeys(SCORE[1:], np.nan)}, index=frame.index)
    for dev in (name for name in metrics_of(frame) if name.startswith("dev_")):
        main = dev.removeprefix("dev_")
        has = (frame.measure == "probe") & frame[dev].notna()
        if main in frame and has.any():
            values.loc[has, "metric"] = main
            values.loc[has, [*SCORE[1:]]] = frame.loc[has, [main, f"{main}_low", f"{main}_high", dev]].to_numpy(float)
    return frame.drop(columns=[name for name in SCORE if name in frame]).join(values)


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame with the column types that all tables have."""
    for name, usual in PROBE_FACETS.items():
        frame[name] = [usual if value is None or value != value else value for value in frame[name]]
    return frame.astype(_OPTIONAL | {name: float for name in ("majority", *score_columns(frame))})


def by_metric(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame with a column `metric` whose columns of the score (`score`, `dev_score`, `a_score`, …) are named by the metric, and
    without that column, where all lines have the same one."""
    names = [name for name in dict.fromkeys(frame.metric) if name]
    if len(names) > 1:
        return frame
    own = {name: name.replace("score", names[0] if names else "accuracy") for name in frame.columns if "score" in name.split("_")}
    known = [name for name, other in own.items() if other in frame.columns]
    return frame.drop(columns=["metric", *known]).rename(columns=own)


def metrics_of(frame: pd.DataFrame) -> list[str]:
    """The metrics of a frame: names that have the columns `_low` and `_high` beside them, but for `SCORE`."""
    columns = list(frame.columns)
    known = set(columns)
    return [name for name in columns if name != "score" and {f"{name}_low", f"{name}_high"} <= known]


def probe_metrics(frame: pd.DataFrame) -> list[str]:
    """The metrics of the probe that a frame has; one that was registered after its rows were measured is not among them."""
    return [name for name in dict.fromkeys((*METRICS, *NAMES)) if name in frame.columns]


def metrics_of_line(line: Any) -> list[str]:
    """The metrics of the probe that a line of a table (a named tuple) has values of."""
    return [name for name in dict.fromkeys((*METRICS, *NAMES)) if pd.notna(getattr(line, name, np.nan))]


def score_columns(frame: pd.DataFrame) -> list[str]:
    return [f"{name}{end}" for name in metrics_of(frame) for end in ("", "_low", "_high")]


def to_lines(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as lines for rows.csv: one for each row and metric that it has, or one without a metric: the columns of the row,
    facets (JSON), metric, value, low, high, n (items that the value is over)."""
    metrics = metrics_of(frame)
    facets = [name for name in frame.columns if name not in (*PLAIN, *SCORE, *score_columns(frame))]
    lines = []
    for row in frame.to_dict("records"):
        head = {name: row[name] for name in PLAIN}
        own = [name for name in facets if row["measure"] == "probe" or name not in PROBE_FACETS]
        head["facets"] = json.dumps({name: row[name] for name in own if row[name] == row[name]}, ensure_ascii=False)
        present = [name for name in metrics if row[name] == row[name]]
        for name in present or [""]:
            score = {"value": row.get(name), "low": row.get(f"{name}_low"), "high": row.get(f"{name}_high")}
            n = None if not name else row["n_dev"] if name.startswith("dev_") else row["n_test"]
            lines.append(head | {"metric": name} | score | {"n": n})
    columns = [*PLAIN, "facets", "metric", "value", "low", "high", "n"]
    return pd.DataFrame(lines, columns=columns).astype(_OPTIONAL | {"n": "Int64"})


def from_lines(lines: pd.DataFrame) -> pd.DataFrame:
    """The frame whose `to_lines` these are: strings, as `read_csv(dtype=str, keep_default_na=False)` gives them."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for line in lines.to_dict("records"):
        key = tuple(line[name] for name in IDENTITY)
        if key not in rows:
            plain = {name: value(name, line.get(name, "")) for name in PLAIN}
            rows[key] = plain | {"facets": json.loads(line["facets"]), "scores": {}}
        if line["metric"]:
            rows[key]["scores"][line["metric"]] = Estimate(*(float(line[name] or "nan") for name in ("value", "low", "high")))
    return frame_of(Row(**row) for row in rows.values())


def value(name: str, text: str) -> Any:
    """The value of a field of `Row` that was written as text."""
    if text == "" and name in _OPTIONAL:
        return None
    kinds: dict[str, Callable[[str], Any]] = {"bool": lambda v: v == "True", "float": float, "int": int}
    return kinds.get(_KINDS.get(name, "str"), str)(text)
