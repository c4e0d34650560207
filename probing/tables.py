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

from probing.errors import ConfigError
from probing.statistics import holm, mcnemar

ROLES = ("probe", "static", "random", "control", "floor")
"""probe: true labels, the encoder as given · static: its layer 0, mean, where not asked for · random: random weights ·
control: control labels · floor: no encoder."""


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
    test_sha256: str = ""
    official_data: bool = False
    encoder_fingerprint: str = ""
    cell: str = ""
    status: str = "done"


SCORES = tuple(
    "layer_name dev_accuracy accuracy accuracy_low accuracy_high macro_f1 macro_f1_low macro_f1_high converged chosen".split()
    + ["status"]
)
"""Fields that a measurement fills; the others are known when it is planned."""

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
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        for field in fields(Row):  # by hand, so that every float is the one that was written
            kind = {"bool": lambda v: v == "True", "float": float, "int": int}.get(field.type.removesuffix(" | None"), str)
            optional = field.type.endswith("| None")
            frame[field.name] = [None if optional and v == "" else kind(v) for v in frame[field.name]]
        floats = [field.name for field in fields(Row) if field.type.startswith("float")]
        return cls(frame.astype({name: float for name in floats} | {"layer": "Int64", "seed": "Int64"}), predictions)

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

    def check(self) -> None:
        """
        Raises:
            ConfigError: one name stands for several encoders, or for several test sets, so that a table would mix them.
        """
        frame = self.frame
        for name, what, mend in (
            ("encoder", "encoder_fingerprint", "give each its own encoder.label"),
            ("task", "test_sha256", "make one table per data set"),
        ):
            several = frame[frame[what] != ""].groupby(name)[what].nunique()
            if mixed := list(several.index[several > 1]):
                raise ConfigError(f"these rows mix several {name}s of the same name ({', '.join(mixed)}): {mend}")

    # What a reviewer asks.

    def best(self, alpha: float = 0.05) -> pd.DataFrame:
        """One line per task, encoder, probe and size of the train split: the dev-best layer and pooling, and its test scores.

        With several seeds accuracies, F1 and the bounds of their intervals are means over them, and `seed_sd` is the standard
        deviation of the accuracy; the tests are those of the first seed. `tied` lists the layers, in the pooling of the best, that
        an exact McNemar test on the same test items does not tell from it at `alpha`, Holm-corrected over all layers, poolings and
        tasks of the encoder. `control_KIND`, `selectivity_KIND`, `random` (the random-weights twin at its own dev-best layer and
        pooling) and `static` (layer 0, mean) stand beside it where they were measured.
        """
        lines = []
        self.check()
        layers = self.compare_layers(alpha) if self.predictions is not None else None
        for (task, encoder, probe, n_train), group in self._role("probe").groupby(list(_KEYS), sort=False):
            mean = group.groupby(["pooling", "layer"], sort=True)[["dev_accuracy", "accuracy"]].mean()
            mean = mean.sort_values(["dev_accuracy"], ascending=False, kind="stable")
            pooling, layer = mean.index[0]
            here = group[(group.pooling == pooling) & (group.layer == layer)].sort_values("seed")
            first = here.iloc[0]
            line = {name: first[name] for name in (*_KEYS[:3], "paper_name", "layer", "layer_name", "pooling", "n_train")}
            line |= {"dev_accuracy": mean.dev_accuracy.iloc[0], "accuracy": mean.accuracy.iloc[0]}
            for name in ("accuracy_low", "accuracy_high", "macro_f1", "macro_f1_low", "macro_f1_high"):
                line[name] = float(here[name].mean())
            line |= {name: first[name] for name in ("majority", "n_test", "cell")}
            line["converged"] = bool(here.converged.all())
            line["seeds"] = len(here)
            line["seed_sd"] = float(here.accuracy.std(ddof=1)) if len(here) > 1 else np.nan
            same = {"task": task, "probe": probe, "n_train": n_train}
            for kind in self.controls:
                control = self._mean(role="control", control=kind, encoder=encoder, layer=layer, pooling=pooling, **same)
                line |= {f"control_{kind}": control, f"selectivity_{kind}": line["accuracy"] - control}
            line["random"] = self._best_twin(task, encoder, probe, n_train)
            line["static"] = self._mean(role=("probe", "static"), encoder=encoder, layer=0, pooling="mean", **same)
            line["tied"] = None
            if layers is not None:
                mine = layers[(layers[list(_KEYS)] == [task, encoder, probe, n_train]).all(axis=1)]
                line["tied"] = [int(i) for i in sorted(mine[(mine.pooling == pooling) & mine.tied].layer)]
            lines.append(line)
        return pd.DataFrame(lines)

    def compare_layers(self, alpha: float = 0.05) -> pd.DataFrame:
        """Every layer and pooling against the dev-best one of its task, encoder and probe, on the same test items.

        Columns: accuracies (0-1), whether it is the best, the exact McNemar p-value, Holm's over all layers, poolings, tasks and
        probes of the encoder, and `tied`: not told from the best at `alpha`. Of several seeds the first is compared.
        """
        lines = []
        for (task, encoder, probe, n_train), group in self._role("probe").groupby(list(_KEYS), sort=False):
            mean = group.groupby(["pooling", "layer"], sort=True).dev_accuracy.mean()
            best_pooling, best_layer = mean.sort_values(ascending=False, kind="stable").index[0]
            first = group[group.seed.isna() | (group.seed == group.seed.min())]
            [best] = first[(first.pooling == best_pooling) & (first.layer == best_layer)].cell
            right = self._right(best)
            for row in first.itertuples():
                line = {
                    "task": task,
                    "encoder": encoder,
                    "probe": probe,
                    "n_train": n_train,
                    "pooling": row.pooling,
                    "layer": row.layer,
                }
                line |= {"dev_accuracy": row.dev_accuracy, "accuracy": row.accuracy, "best": row.cell == best}
                lines.append(line | {"p": 1.0 if row.cell == best else mcnemar(right, self._right(row.cell))})
        frame = pd.DataFrame(lines)
        if len(frame):
            frame["p_holm"] = 1.0
            for _, mine in frame[~frame.best].groupby("encoder"):
                frame.loc[mine.index, "p_holm"] = holm(mine.p)
            frame["tied"] = frame.p_holm >= alpha
        return frame

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
        roles = where.pop("role")
        frame = self._role(*([roles] if isinstance(roles, str) else roles))
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
        if self.predictions is None:
            raise ConfigError("this table has no predictions to compare on: make it with evaluate(...) or from a run")
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
