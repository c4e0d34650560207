"""Tidy rows, and the tables made of them.

A `Row` is one measurement: a task, a representation (or a floor), a probe, and its scores. A `ResultTable` is a pandas frame of
rows, and the questions a reviewer asks of it: which layer is best (chosen on dev, never on test), which layers cannot be told
from it, whether two encoders differ, what the floors reach, what the control task reaches, what a paper printed.

Comparisons use the predictions on the test items, kept cell by cell (`probing.cells`); the table gets them by a function, so that
it knows nothing of files. Accuracy and F1 are 0-1 in rows; formatted tables show percent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probing.statistics import holm, mcnemar

ROLES = ("probe", "random", "control", "floor")
"""probe: true labels, the encoder as given · random: the same with random weights · control: control labels · floor: no encoder."""


@dataclass(frozen=True)
class Row:
    """One cell as a row. Empty strings and None stand where a field does not apply (a floor has no layer)."""

    role: str
    task: str
    paper_name: str
    encoder: str
    layer: int | None
    layer_name: str
    pooling: str
    probe: str
    control: str
    seed: int | None
    n_train: int
    n_dev: int
    n_test: int
    n_classes: int
    majority: float
    dev_accuracy: float | None = None
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    macro_f1: float | None = None
    macro_f1_low: float | None = None
    macro_f1_high: float | None = None
    converged: bool = True
    chosen: str = ""
    twin_of: str = ""
    data_sha256: str = ""
    official_data: bool = False
    encoder_fingerprint: str = ""
    cell: str = ""
    status: str = "done"


COLUMNS = tuple(field.name for field in fields(Row))
_KEYS = ("task", "encoder", "probe", "n_train")


@dataclass(frozen=True)
class ResultTable:
    """Rows in a tidy frame (`frame`, columns `COLUMNS`), and the test predictions of a cell by its key (`predictions`)."""

    frame: pd.DataFrame
    predictions: Callable[[str], tuple[np.ndarray, np.ndarray]] | None = None

    @classmethod
    def of(cls, rows: Iterable[Row], predictions: Any = None) -> ResultTable:
        frame = pd.DataFrame([asdict(row) for row in rows], columns=list(COLUMNS))
        return cls(frame.astype({"layer": "Int64", "seed": "Int64"}), predictions)

    @classmethod
    def read_csv(cls, path: str | Path, predictions: Any = None) -> ResultTable:
        text = {f.name: str for f in fields(Row) if f.type == "str"}
        frame = pd.read_csv(
            path,
            dtype=text,
            float_precision="round_trip",
            keep_default_na=False,
            na_values={c: [""] for c in COLUMNS if c not in text},
        )
        return cls(frame.astype({"layer": "Int64", "seed": "Int64"}), predictions)

    def to_csv(self, path: str | Path) -> None:
        """Sorted by role, task, encoder, pooling, layer; floats in their shortest exact form."""
        self.sorted().to_csv(path, index=False)

    def to_parquet(self, path: str | Path) -> None:
        self.sorted().to_parquet(path, index=False)

    def sorted(self) -> pd.DataFrame:
        order = ["role", "task", "probe", "encoder", "control", "pooling", "layer", "seed", "cell"]
        return self.frame.sort_values(order, kind="stable", na_position="first", ignore_index=True)

    def _role(self, *roles: str) -> pd.DataFrame:
        return self.frame[self.frame.role.isin(roles) & (self.frame.status == "done")]

    @property
    def tasks(self) -> list[str]:
        """Tasks in the order in which they came."""
        return list(dict.fromkeys(self.frame.task))

    @property
    def encoders(self) -> list[str]:
        """Encoders that were given, without their random twins."""
        return list(dict.fromkeys(self.frame.encoder[self.frame.role == "probe"]))

    @property
    def controls(self) -> list[str]:
        """Kinds of control task that were measured."""
        return list(dict.fromkeys(self.frame.control[self.frame.role == "control"]))

    def pivot(self, rows: str, columns: str, value: str = "accuracy", **where: Any) -> pd.DataFrame:
        """A wide table, mean over seeds; `where` keeps rows, e.g. `pooling="mean", role="probe"`.

        Raises:
            ValueError: cells of several probes, poolings or encoders would be averaged into one; say which with `where`.
        """
        frame = self.frame[self.frame.status == "done"]
        for name, wanted in where.items():
            frame = frame[frame[name] == wanted]
        for name in ("role", "task", "probe", "control", "pooling", "encoder", "layer", "n_train"):
            if name in (rows, columns) or frame.empty:
                continue
            if (frame.groupby([rows, columns], dropna=False)[name].nunique(dropna=False) > 1).any():
                raise ValueError(f"several values of {name!r} fall into one cell; choose one: {name}=…")
        table = frame.pivot_table(value, rows, columns, aggfunc="mean", sort=False, observed=True)
        return table.reindex([t for t in self.tasks if t in table.index]) if rows == "task" else table

    # What a reviewer asks.

    def best(self, alpha: float = 0.05) -> pd.DataFrame:
        """One line per task, encoder, probe and size of the train split: the dev-best layer and pooling, and its test scores.

        With several seeds the dev and test accuracies are means over them, and `seed_sd` their standard deviation; the
        interval and the tests are those of the first seed. `tied` lists the layers, in the pooling of the best, that an exact
        McNemar test on the same test items does not tell from it at `alpha`, Holm-corrected over all layers, poolings and
        tasks of the encoder. `control_KIND`, `selectivity_KIND`, `random` (the random-weights twin at its own dev-best layer and
        pooling) and `static` (layer 0, mean) stand beside it where they were measured.
        """
        lines = []
        family: list[tuple[int, pd.Series, float]] = []
        chosen_of = self._role("probe", "random").groupby(list(_KEYS), sort=False)
        for (task, encoder, probe, n_train), group in chosen_of:
            if group.role.iloc[0] == "random":
                continue
            mean = group.groupby(["pooling", "layer"], sort=True)[["dev_accuracy", "accuracy"]].mean()
            mean = mean.sort_values(["dev_accuracy"], ascending=False, kind="stable")
            pooling, layer = mean.index[0]
            here = group[(group.pooling == pooling) & (group.layer == layer)].sort_values("seed")
            first = here.iloc[0]
            line = {name: first[name] for name in (*_KEYS[:3], "paper_name", "layer", "layer_name", "pooling", "n_train")}
            line |= {"dev_accuracy": mean.dev_accuracy.iloc[0], "accuracy": mean.accuracy.iloc[0]}
            for name in (
                "accuracy_low",
                "accuracy_high",
                "macro_f1",
                "macro_f1_low",
                "macro_f1_high",
                "majority",
                "n_test",
                "cell",
            ):
                line[name] = first[name]
            line["converged"] = bool(here.converged.all())
            line["seeds"] = len(here)
            line["seed_sd"] = float(here.accuracy.std(ddof=1)) if len(here) > 1 else np.nan
            same = {"task": task, "probe": probe, "n_train": n_train}
            for kind in self.controls:
                control = self._mean(role="control", control=kind, encoder=encoder, layer=layer, pooling=pooling, **same)
                line |= {f"control_{kind}": control, f"selectivity_{kind}": line["accuracy"] - control}
            line["random"] = self._best_twin(task, encoder, probe, n_train)
            line["static"] = self._mean(role="probe", encoder=encoder, layer=0, pooling="mean", **same)
            lines.append(line)
            if self.predictions is not None:
                right = self._right(first.cell)
                for other in group[group.seed.isna() | (group.seed == first.seed)].itertuples():
                    if (other.layer, other.pooling) != (layer, pooling):
                        family.append((len(lines) - 1, other, mcnemar(right, self._right(other.cell))))
        for line in lines:
            line["tied"] = [int(line["layer"])] if self.predictions is not None else None
        for encoder in self.encoders:
            mine = [entry for entry in family if lines[entry[0]]["encoder"] == encoder]
            for (i, other, _), p in zip(mine, holm([entry[2] for entry in mine]), strict=True):
                if p >= alpha and other.pooling == lines[i]["pooling"]:
                    lines[i]["tied"] = sorted({*lines[i]["tied"], int(other.layer)})
        return pd.DataFrame(lines)

    def compare_encoders(self) -> pd.DataFrame:
        """Every pair of encoders on every task and probe, each at its dev-best layer, on the same test items.

        Columns: the two accuracies, their difference (0-1), the exact McNemar p-value, and Holm's over the whole table.
        """
        best = self.best()
        lines = []
        for (task, probe, _), group in best.groupby(["task", "probe", "n_train"], sort=False) if len(best) else ():
            entries = list(group.itertuples())
            for i, a in enumerate(entries):
                for b in entries[i + 1 :]:
                    p = mcnemar(self._right(a.cell), self._right(b.cell))
                    where = {"a_at": f"{a.layer}/{a.pooling}", "b_at": f"{b.layer}/{b.pooling}"}
                    scores = {"a_accuracy": a.accuracy, "b_accuracy": b.accuracy, "difference": a.accuracy - b.accuracy}
                    lines.append({"task": task, "probe": probe, "a": a.encoder, "b": b.encoder, **where, **scores, "p": p})
        frame = pd.DataFrame(lines)
        if len(frame):
            frame["p_holm"] = holm(frame.p)
        return frame

    def floors(self) -> pd.DataFrame:
        """Test accuracy (0-1) of the floors that read the text: tasks × floors."""
        frame = self._role("floor")
        table = frame.pivot_table("accuracy", "task", "encoder", aggfunc="mean", sort=False)
        return table.reindex([t for t in self.tasks if t in table.index])

    def not_converged(self) -> int:
        return int((~self._role("probe", "random", "control").converged.astype(bool)).sum())

    def _mean(self, **where: Any) -> float:
        frame = self._role(where.pop("role"))
        for name, wanted in where.items():
            frame = frame[frame[name] == wanted]
        return float(frame.accuracy.mean()) if len(frame) else float("nan")

    def _best_twin(self, task: str, encoder: str, probe: str, n_train: int) -> float:
        frame = self._role("random")
        frame = frame[(frame.task == task) & (frame.twin_of == encoder) & (frame.probe == probe) & (frame.n_train == n_train)]
        if frame.empty:
            return float("nan")
        mean = frame.groupby(["pooling", "layer"])[["dev_accuracy", "accuracy"]].mean()
        return float(mean.accuracy.loc[mean.dev_accuracy.idxmax()])

    def _right(self, cell: str) -> np.ndarray:
        gold, predicted = self.predictions(cell)
        return gold == predicted


def merge(tables: Iterable[ResultTable]) -> ResultTable:
    """One table of several runs; a cell that occurs in more than one is taken once, finished before failed."""
    tables = list(tables)
    frame = pd.concat([t.frame for t in tables], ignore_index=True)
    best_first = frame.assign(open=frame.status != "done").sort_values("open", kind="stable")
    frame = frame.loc[best_first.drop_duplicates("cell").index.sort_values()].reset_index(drop=True)
    sources: dict[str, Any] = {}
    for t in tables:
        for cell in t.frame.cell[t.frame.status == "done"]:
            sources.setdefault(cell, t.predictions)
    return ResultTable(frame, lambda cell: sources[cell](cell))
