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
from scipy.stats import binomtest

from probing.encoders.base import CONTEXTUAL
from probing.errors import ConfigError
from probing.statistics import holm, mcnemar

ROLES = ("probe", "static", "random", "control", "floor", "ceiling")
"""probe: true labels, the encoder as given · static: its layer 0, mean, where not asked for · random: random weights ·
control: control labels · floor: no encoder · ceiling: no encoder, on control labels."""


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
    error: str = ""


SCORES = tuple(
    "layer_name dev_accuracy accuracy accuracy_low accuracy_high macro_f1 macro_f1_low macro_f1_high converged chosen".split()
    + ["status", "error"]
)
"""Fields that a measurement fills; the others are known when it is planned."""

IDENTITY = ("role", "task", "encoder", "twin_of", "cell")
"""What tells rows apart. Several rows may show one cell: the same weights under two labels, or as a twin and as an encoder."""

STATES = ("done", "failed", "missing")
"""Of a cell, the better first: finished; failed, with the reason in `error`; planned, and not measured yet."""

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
        frame = frame.assign(**{} if "error" in frame else {"error": ""})  # files of before have no such column
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
        # a train subset is drawn by the seed; one seed has one subset, and means are over seeds, never over data
        drawn = frame.assign(drawn=frame.seed.fillna(-1)).groupby(["task", "n_train", "drawn"]).data_sha256.nunique()
        if mixed := sorted(set(drawn.index.get_level_values("task")[drawn > 1])):
            raise ConfigError(
                f"these rows mix several data sets of one test split ({', '.join(mixed)}: other train or dev sentences or labels): "
                "make one table per data set"
            )

    # What a reviewer asks.

    def best(self, alpha: float = 0.05) -> pd.DataFrame:
        """One line per task, encoder, probe and size of the train split: the dev-best layer and pooling, and its test scores.

        With several seeds accuracies, F1 and the bounds of their intervals are means over them, and `seed_sd` is the standard
        deviation of the accuracy; the tests are those of the first seed. `tied` lists the layers, in the pooling of the best, that
        an exact McNemar test on the same test items does not tell from it at `alpha`, Holm-corrected over all layers, poolings and
        tasks of the encoder. `random` (the random-weights twin at its own dev-best layer and pooling) and `static` (layer 0, mean)
        stand beside it where they were measured, and accuracies on control tasks at the same layer and pooling: `control_permuted`
        with `leak_p` (`_leaks`); `control_word`, `selectivity` (accuracy - control_word), and the control's ceilings, `ceiling`
        (bag of words) and `ceiling_lookup`.

        `missing` says which cells that the line reads are failed or not measured yet; everything is computed on the others. A line
        without a single finished layer has no layer, and the reason in `missing`.
        """
        lines = []
        self.check()
        layers = self.compare_layers(alpha) if self.predictions is not None else None
        for (task, encoder, probe, n_train), family in self._families():
            done = family[family.status == "done"]
            missing = self._missing(task, encoder, probe, n_train)
            if done.empty:
                lines.append(self._nothing(family.iloc[0], missing))
                continue
            mean = _dev_first(done)
            pooling, layer = mean.index[0]
            scores = done[(done.pooling == pooling) & (done.layer == layer)].sort_values("seed")
            first = scores.iloc[0]
            line = {name: first[name] for name in (*_KEYS[:3], "paper_name", "layer", "layer_name", "pooling", "n_train")}
            line |= {"dev_accuracy": mean.dev_accuracy.iloc[0], "accuracy": mean.accuracy.iloc[0]}
            for name in ("accuracy_low", "accuracy_high", "macro_f1", "macro_f1_low", "macro_f1_high"):
                line[name] = float(scores[name].mean())
            line |= {name: first[name] for name in ("majority", "n_test", "cell")}
            line["converged"] = bool(scores.converged.all())
            line["seeds"] = len(scores)
            line["seed_sd"] = float(scores.accuracy.std(ddof=1)) if len(scores) > 1 else np.nan
            same = {"task": task, "probe": probe, "n_train": n_train}
            for kind in self.controls:
                line[f"control_{kind}"] = self._mean(
                    role="control", control=kind, encoder=encoder, layer=layer, pooling=pooling, **same
                )
            if "word" in self.controls:
                line["selectivity"] = line["accuracy"] - line["control_word"]
                for name, reader in (("ceiling", "word bag"), ("ceiling_lookup", "word look-up")):
                    line[name] = self._mean(role="ceiling", encoder=reader, task=task, n_train=n_train)
            line["random"] = self._best_twin(task, encoder, probe, n_train)
            static = self._mean(role=("probe", "static"), encoder=encoder, layer=0, pooling="mean", **same)
            line["static"] = np.nan if self._contextual(encoder) else static
            line["tied"] = None
            if layers is not None:
                own = layers[(layers[list(_KEYS)] == [task, encoder, probe, n_train]).all(axis=1)]
                line["tied"] = [int(i) for i in sorted(own[(own.pooling == pooling) & own.tied].layer)]
            lines.append(line | {"missing": missing})
        frame = pd.DataFrame(lines)
        if "permuted" in self.controls:
            frame["leak_p"] = self._leaks(frame)
        return frame.astype({"layer": "Int64"}) if len(frame) else frame

    def _leaks(self, best: pd.DataFrame) -> np.ndarray:
        """For each line of `best` the p-value of test accuracy on permuted labels being no higher than the majority rate.

        One-sided exact binomial test of the hits of all seeds against the share of the largest class, Holm over the lines; NaN
        where the control is not measured, or predictions are not at hand. Labels shuffled among the test sentences give that many
        hits or fewer, whatever the probe predicts: a probe with more has seen them.
        """
        p = np.full(len(best), np.nan)
        for at, line in enumerate(best.itertuples()):
            where = {name: getattr(line, name) for name in (*_KEYS, "layer", "pooling")} | {"control": "permuted"}
            rows = self._where(role="control", **where) if line.cell else ()
            if self.predictions is None or not len(rows):
                continue
            pairs = [self.predictions(cell) for cell in rows.cell]
            hits, n = sum(int((a == b).sum()) for a, b in pairs), sum(len(gold) for gold, _ in pairs)
            p[at] = binomtest(hits, n, np.bincount(pairs[0][0]).max() / len(pairs[0][0]), alternative="greater").pvalue
        measured = ~np.isnan(p)
        p[measured] = holm(p[measured])
        return p

    def _families(self) -> Iterable[tuple[tuple, pd.DataFrame]]:
        """The layers and poolings, whatever their state, of each task, encoder, probe and size of the train split."""
        return self.frame[self.frame.role == "probe"].groupby(list(_KEYS), sort=False)

    def _nothing(self, row: pd.Series, missing: str) -> dict[str, Any]:
        """The line of a family without a finished cell."""
        names = [name for name in SCORES if "accuracy" in name or "f1" in name] + ["seed_sd", "random", "static"]
        names += [f"control_{kind}" for kind in self.controls]
        names += ["selectivity", "ceiling", "ceiling_lookup"] if "word" in self.controls else []
        line = {name: row[name] for name in (*_KEYS, "paper_name", "majority", "n_test")} | dict.fromkeys(names, np.nan)
        line |= {"layer": None, "layer_name": "", "pooling": "", "cell": "", "converged": True, "seeds": 0, "tied": []}
        return line | {"missing": "; ".join(filter(None, [missing, " ".join(row.error.split())]))}

    def _missing(self, task: str, encoder: str, probe: str, n_train: int) -> str:
        """Which cells that a line of `best` reads are failed or not measured, by role; an empty string if none is."""
        frame = self.frame[(self.frame.task == task) & (self.frame.n_train == n_train)]
        own = (frame.encoder == encoder) & (frame.probe == probe)
        twins = (frame.twin_of == encoder) & (frame.probe == probe)
        parts = []
        for name, rows in (
            ("layers", frame[own & (frame.role == "probe")]),
            ("static", frame[own & (frame.role == "static")]),
            *((f"control {kind}", frame[own & (frame.role == "control") & (frame.control == kind)]) for kind in self.controls),
            ("ceilings", frame[frame.role == "ceiling"]),
            ("random weights", frame[twins & (frame.role == "random")]),
            *((f"floor {name}", rows) for name, rows in frame[frame.role == "floor"].groupby("encoder", sort=False)),
        ):
            lost = rows[rows.status != "done"]
            if len(lost):
                places = [place for row in lost.itertuples() if (place := _place(row))] if len(lost) < len(rows) else []
                few = f" ({', '.join(places[:3])}{', …' if places[3:] else ''})" if places else ""
                parts.append(f"{name}: {len(lost)} of {len(rows)}{few}")
        return "; ".join(parts)

    def compare_layers(self, alpha: float = 0.05) -> pd.DataFrame:
        """Every layer and pooling against the dev-best one of its task, encoder and probe, on the same test items.

        Columns: accuracies (0-1), whether it is the best, the exact McNemar p-value, Holm's over all layers, poolings, tasks and
        probes of the encoder, and `tied`: not told from the best at `alpha`. Of several seeds the first that the best has is
        compared; a layer whose cell of that seed is not finished has no p-value, is not tied, and says so in `missing`.
        """
        lines = []
        for key, family in self._families():
            done = family[family.status == "done"]
            if done.empty:
                continue
            pooling, layer = _dev_first(done).index[0]
            seed = done[(done.pooling == pooling) & (done.layer == layer)].seed.min()
            first = family[family.seed.isna() | (False if pd.isna(seed) else family.seed == seed)]
            is_best = (first.pooling == pooling) & (first.layer == layer) & (first.status == "done")
            best = first.cell[is_best].iloc[0]
            right = self._right(best)
            for row in first[first.layer.notna()].itertuples():
                line = dict(zip(_KEYS, key, strict=True)) | {"pooling": row.pooling, "layer": row.layer}
                line |= {"dev_accuracy": row.dev_accuracy, "accuracy": row.accuracy, "best": row.cell == best}
                lost = row.status != "done"
                p = 1.0 if row.cell == best else np.nan if lost else mcnemar(right, self._right(row.cell))
                lines.append(line | {"p": p, "missing": row.status if lost else ""})
        frame = pd.DataFrame(lines)
        if len(frame):
            frame["p_holm"] = np.where(frame.missing == "", 1.0, np.nan)
            for _, others in frame[~frame.best & (frame.missing == "")].groupby("encoder"):
                frame.loc[others.index, "p_holm"] = holm(others.p)
            frame["tied"] = frame.p_holm >= alpha
        return frame

    def compare_encoders(self) -> pd.DataFrame:
        """Every pair of encoders on every task and probe, each at its dev-best layer, on the same test items.

        Columns: the two accuracies, their difference (0-1), the exact McNemar p-value, Holm's over the whole table, and `missing`:
        which of the two are the best of those layers only that are finished. Encoders without a finished layer are left out.
        """
        best = self.best()
        best = best[best.cell != ""] if len(best) else best
        lines = []
        for (task, probe, _), group in best.groupby(["task", "probe", "n_train"], sort=False) if len(best) else ():
            entries = list(group.itertuples())
            for i, a in enumerate(entries):
                for b in entries[i + 1 :]:
                    p = mcnemar(*(self._right(cell) for cell in self._same_seed(a.cell, b.cell)))
                    where = {"a_at": f"{a.layer}/{a.pooling}", "b_at": f"{b.layer}/{b.pooling}"}
                    scores = {"a_accuracy": a.accuracy, "b_accuracy": b.accuracy, "difference": a.accuracy - b.accuracy}
                    lost = " and ".join(entry.encoder for entry in (a, b) if entry.missing.startswith("layers"))
                    line = {"task": task, "probe": probe, "a": a.encoder, "b": b.encoder, **where, **scores, "p": p}
                    lines.append(line | {"missing": lost})
        frame = pd.DataFrame(lines)
        if len(frame):
            frame["p_holm"] = holm(frame.p)
        return frame

    def _same_seed(self, a: str, b: str) -> tuple[str, str]:
        """The cells of two columns at the first seed that both have; as they are where a column has no seeds, or none in common."""
        columns = []
        for cell in (a, b):
            row = self.frame[self.frame.cell == cell].iloc[0]
            same = ["role", "task", "encoder", "probe", "n_train", "layer", "pooling"]
            column = self.frame[(self.frame[same] == row[same]).all(axis=1) & (self.frame.status == "done")]
            columns.append(column.dropna(subset="seed").set_index("seed").cell)
        both = sorted(set(columns[0].index) & set(columns[1].index))
        return (columns[0][both[0]], columns[1][both[0]]) if both else (a, b)

    def floors(self) -> pd.DataFrame:
        """Test accuracy (0-1) of the floors that read the text: tasks × floors."""
        frame = self._role("floor")
        table = frame.pivot_table("accuracy", "task", "encoder", aggfunc="mean", sort=False)
        return table.reindex([t for t in self.tasks if t in table.index])

    def not_converged(self) -> int:
        return int((~self._role("probe", "random", "control").converged.astype(bool)).sum())

    def _where(self, role: str | tuple[str, ...], **where: Any) -> pd.DataFrame:
        """The finished rows of the role or roles, with these values."""
        frame = self._role(*([role] if isinstance(role, str) else role))
        for name, wanted in where.items():
            frame = frame[frame[name] == wanted]
        return frame

    def _mean(self, **where: Any) -> float:
        frame = self._where(**where)
        return float(frame.accuracy.mean()) if len(frame) else float("nan")

    def _contextual(self, encoder: str) -> bool:
        """Whether layer 0 of the encoder is no embedding output, by its name."""
        rows = self.frame[(self.frame.encoder == encoder) & (self.frame.layer == 0)]
        return bool(rows.layer_name.str.contains(CONTEXTUAL).any())

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
    """One table of several runs; a row (`IDENTITY`) that occurs in more than one is taken once, finished before failed."""
    tables = list(tables)
    frame = pd.concat([t.frame for t in tables], ignore_index=True)
    best_first = frame.assign(state=frame.status.map(STATES.index)).sort_values("state", kind="stable")
    frame = frame.loc[best_first.drop_duplicates(list(IDENTITY)).index.sort_values()].reset_index(drop=True)
    unnamed = (frame.role != "floor") & frame.layer.isna()  # of an encoder that could not say its layers, and can in another run
    by = ["role", "task", "encoder", "twin_of", "probe", "n_train"]
    frame = frame[~unnamed | (frame.groupby(by).layer.transform("count") == 0)].reset_index(drop=True)
    sources: dict[str, Any] = {}
    for t in tables:
        for cell in t.frame.cell[t.frame.status == "done"]:
            sources.setdefault(cell, t.predictions)
    return ResultTable(frame, lambda cell: sources[cell](cell))


def _dev_first(done: pd.DataFrame) -> pd.DataFrame:
    """Mean dev and test accuracy over seeds by (pooling, layer), the best on dev first."""
    mean = done.groupby(["pooling", "layer"], sort=True)[["dev_accuracy", "accuracy"]].mean()
    return mean.sort_values("dev_accuracy", ascending=False, kind="stable")


def _place(row: Any) -> str:
    """Layer, pooling and seed of a row, as far as it has them."""
    parts = [] if pd.isna(row.layer) else [f"layer {row.layer} {row.pooling}"]
    return " ".join(parts + ([] if pd.isna(row.seed) else [f"seed {row.seed}"]))
