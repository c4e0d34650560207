"""Tidy rows, and the tables made of them.

A `Row` is one measurement: a task, a representation (or a floor), a probe, and its scores. A `ResultTable` is a pandas frame of
rows, and the questions a reviewer asks of it: which layer is best (chosen on dev, never on test), which layers are not separated
from it, whether two encoders differ, whether the score is above its floors, what the control task reaches.

Comparisons use the predictions on the test items, kept cell by cell (`probing.store.results`); the table gets them by a function,
so that it knows nothing of files. Accuracy and F1 are 0-1 in rows; formatted tables show percent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest, norm

from probing.encoders.base import CONTEXTUAL
from probing.errors import ConfigError
from probing.evaluation.statistics import compare, holm, letters, mean_accuracy, mean_score, smallest_difference
from probing.types import Estimate

ROLES = ("probe", "static", "random", "control", "resample", "floor", "ceiling")
"""probe: true labels, the encoder as given · static: its layer 0, mean, where not asked for · random: random weights ·
control: control labels · resample: as probe, fitted on a random half of the train split (`seed` is its number, `n_train` the size
of the whole) · floor: no encoder · ceiling: no encoder, on control labels."""


@dataclass(frozen=True)
class Row:
    """One cell as a row. Empty strings and None stand where a field does not apply (a floor has no layer).

    Bounds are those of an interval over the test items of this one fit: over groups of items where `n_groups` is below `n_test`.
    """

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
    edge: str = ""
    twin_of: str = ""
    data_sha256: str = ""
    test_sha256: str = ""
    official_data: bool = False
    n_groups: int | None = None
    encoder_fingerprint: str = ""
    cell: str = ""
    status: str = "done"
    error: str = ""


SCORES = tuple(
    "layer_name dev_accuracy accuracy accuracy_low accuracy_high macro_f1 macro_f1_low macro_f1_high converged chosen".split()
    + ["edge", "status", "error"]
)
"""Fields that a measurement fills; the others are known when it is planned."""

IDENTITY = ("role", "task", "encoder", "twin_of", "cell")
"""What tells rows apart. Several rows may show one cell: the same weights under two labels, or as a twin and as an encoder."""

STATES = ("done", "failed", "missing")
"""Of a cell, the better first: finished; failed, with the reason in `error`; planned, and not measured yet."""

COLUMNS = tuple(column.name for column in fields(Row))
_KEYS = ("task", "encoder", "probe", "n_train")
_TYPES = dict.fromkeys(("layer", "seed", "n_groups"), "Int64") | {
    column.name: float for column in fields(Row) if column.type.startswith("float")
}


class Comparison(NamedTuple):
    """Two columns on the same test items.

    Attributes:
        difference: accuracy of the first less that of the second (0-1), mean over seeds, with its 95 % interval (low, high).
        discordance: share of the items that exactly one of the two has right.
        p: two-sided p-value of no difference.
    """

    difference: float
    low: float
    high: float
    discordance: float
    p: float


@dataclass(frozen=True)
class ResultTable:
    """Rows in a tidy frame (`frame`, columns `COLUMNS`), and by the key of a cell its test predictions (`predictions`), and the
    numbers of its test items' groups (`groups`; None where each item has its own)."""

    frame: pd.DataFrame
    predictions: Callable[[str], tuple[np.ndarray, np.ndarray]] | None = None
    groups: Callable[[str], np.ndarray | None] = lambda cell: None
    _right: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)
    _compared: dict[tuple, Comparison] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, rows: Iterable[Row], predictions: Any = None, groups: Any = lambda cell: None) -> ResultTable:
        frame = pd.DataFrame([asdict(row) for row in rows], columns=list(COLUMNS))
        return cls(frame.astype(_TYPES), predictions, groups)

    @classmethod
    def read_csv(cls, path: str | Path, predictions: Any = None) -> ResultTable:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        frame = frame.assign(
            **{name: "" for name in ("error", "edge", "n_groups") if name not in frame}
        )  # files of before lack them
        for column in fields(Row):  # by hand, so that every float is the one that was written
            kind = {"bool": lambda v: v == "True", "float": float, "int": int}.get(column.type.removesuffix(" | None"), str)
            optional = column.type.endswith("| None")
            frame[column.name] = [None if optional and v == "" else kind(v) for v in frame[column.name]]
        return cls(frame.astype(_TYPES), predictions)

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
        # a train subset is drawn by the seed; one seed has one subset, and means are over seeds, never over data. The seed of a
        # random twin is that of its weights, that of a resampled row the number of its half
        drawn = frame[~frame.role.isin(["random", "resample"])]
        drawn = drawn.assign(drawn=drawn.seed.fillna(-1)).groupby(["task", "n_train", "drawn"]).data_sha256.nunique()
        if mixed := sorted(set(drawn.index.get_level_values("task")[drawn > 1])):
            raise ConfigError(
                f"these rows mix several data sets of one test split ({', '.join(mixed)}: other train or dev sentences or labels): "
                "make one table per data set"
            )

    # What a reviewer asks.

    def best(self, alpha: float = 0.05) -> pd.DataFrame:
        """One line per task, encoder, probe and size of the train split: the dev-best layer and pooling, and its test scores.

        With several seeds accuracies and F1 are means over them, and `seed_sd` is the standard deviation of the accuracy.
        `interval_over` says over what intervals and tests of the layer go: test items, or groups of them; seeds, where there are
        several; train halves, where the probe was fitted on such, too. `static` (layer 0, mean) stands beside it where it was
        measured. `random` is the mean of the random-weights twins, each at its own dev-best layer and pooling, `random_sd` their
        standard deviation, `random_n` their number.

        Accuracies on control tasks are those at the same layer and pooling: `control_permuted` with `leak_p` (`_leaks`);
        `control_word`, `selectivity` (accuracy - control_word), and the ceilings of that control, `ceiling` (bag of words) and
        `ceiling_lookup`.

        `not_separated` lists the columns (layer, pooling) that are not separated from the best on the same test items (see
        `compare_layers`), the best among them; `better` those that are separated and better on test; `n_columns` is how many were
        compared, with the best. `can_show` is the smallest difference of two accuracies (0-1) that this test split shows with a
        probability of 80 % at the first, strictest step of that family: exact McNemar test, at the median of the observed shares of
        items that exactly one of best and other column has right; of a single column at the largest share that two columns of its
        accuracy can have. With groups or train halves it is computed from the median width of the intervals of the differences, as
        of normal distributions; with several seeds it is not (NaN), nor where there is nothing to compare with them.

        `beats_floors`: the score is above every floor of the line (those that read the text, static, each random twin at its
        dev-best column), and each test on the same items says so (two-sided p < 0.05; over items or groups, and seeds, but never
        over train halves, which floors do not have). That all must say so makes it an intersection-union test, whose level needs no
        correction (Berger 1982). One twin is beaten as it was drawn; to be above each of five, and not their mean, holds for other
        draws too: were the score the expected accuracy of a draw, all five would lie below it once in 32. NA without floors or
        predictions. `floor`: the highest floor that is not beaten, or the highest.

        `edge`: the chosen C (or L2) stands at this end of its grid. `missing` says which cells that the line reads are failed or
        not measured yet; everything is computed on the others. A line without a single finished layer has no layer, and the reason
        in `missing`.
        """
        lines = []
        self.check()
        layers = self.compare_layers(alpha) if self.predictions is not None else pd.DataFrame()
        own = dict(list(layers.groupby(list(_KEYS), sort=False))) if len(layers) else {}
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
            halves = self._halves(task, encoder, probe, n_train).get((pooling, layer), {})
            for name in ("accuracy", "macro_f1"):
                line |= self._interval(name, scores, [getattr(row, name) for row in halves.values()])
            line["interval_over"] = _over(first, len(scores), len(halves))
            line |= {name: first[name] for name in ("majority", "n_test", "n_groups", "cell")}
            line |= {"converged": bool(scores.converged.all()), "edge": next(filter(None, scores.edge), "")}
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
            floors = self._floors(task, encoder, probe, n_train)
            twins = [_accuracy(twin) for twin in floors.get("random weights", [])]
            line |= {"random": np.mean(twins) if twins else np.nan, "random_n": len(twins)}
            line["random_sd"] = np.std(twins, ddof=1) if len(twins) > 1 else np.nan
            line["static"] = _accuracy(floors["static"][0]) if "static" in floors else np.nan
            line |= self._against(floors, _cells(scores.itertuples()))
            line |= _family(own.get((task, encoder, probe, n_train)), first, alpha, line["interval_over"])
            lines.append(line | {"missing": missing})
        frame = pd.DataFrame(lines)
        if "permuted" in self.controls:
            frame["leak_p"] = self._leaks(frame)
        return frame.astype({"layer": "Int64", "beats_floors": "boolean"}) if len(frame) else frame

    def _leaks(self, best: pd.DataFrame) -> np.ndarray:
        """For each line of `best` the p-value of test accuracy on permuted labels being no higher than the majority rate.

        One-sided exact binomial test of the hits of all seeds against the share of the largest class, Holm over the lines; NaN
        where the control is not measured, or predictions are not at hand. Labels shuffled among the test sentences give, on
        average, that many hits or fewer, whatever the probe predicts: a probe with clearly more has seen them.
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
        names = [name for name in SCORES if "accuracy" in name or "f1" in name]
        names += ["seed_sd", "random", "random_sd", "static", "can_show"]
        names += [f"control_{kind}" for kind in self.controls]
        names += ["selectivity", "ceiling", "ceiling_lookup"] if "word" in self.controls else []
        line = {name: row[name] for name in (*_KEYS, "paper_name", "majority", "n_test", "n_groups")} | dict.fromkeys(names, np.nan)
        line["interval_over"] = ""
        line |= {"layer": None, "layer_name": "", "pooling": "", "cell": "", "converged": True, "edge": "", "seeds": 0}
        line |= {"random_n": 0, "beats_floors": None, "floor": "", "not_separated": [], "better": [], "n_columns": 0}
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
            ("train halves", frame[own & (frame.role == "resample")]),
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

        Columns: accuracies (0-1, mean over the seeds that are finished), whether it is the best, the difference to the best with
        its 95 % interval (negative: worse than the best), `discordance` (see `Comparison`), the p-value, Holm's over the layers and
        poolings of this task, encoder, probe and size of the train split (other lines of the table change nothing),
        `not_separated` (p_holm >= alpha) and `better` (separated, and better on test than the best). A layer that has no finished
        seed in common with the best has no p-value, is neither, and says why in `missing`. Tests and intervals go over what
        `interval_over` of `best` says; test and interval: `probing.evaluation.statistics.compare`.
        """
        lines = []
        for key, family in self._families():
            done = family[family.status == "done"]
            if done.empty:
                continue
            chosen = _dev_first(done).index[0]
            columns: dict[tuple[str, int], list[Any]] = {}
            for row in family[family.layer.notna()].itertuples():
                columns.setdefault((row.pooling, row.layer), []).append(row)
            best, halves = _cells(columns[chosen]), self._halves(*key)
            for (pooling, layer), rows in columns.items():
                finished = [row for row in rows if row.status == "done"]
                line = dict(zip(_KEYS, key, strict=True)) | {"pooling": pooling, "layer": layer}
                for name in ("dev_accuracy", "accuracy"):
                    line[name] = float(np.mean([getattr(row, name) for row in finished])) if finished else np.nan
                line["best"] = (pooling, layer) == chosen
                cells, others = _same_seeds(_cells(rows), best)
                fits = _differences(halves.get((pooling, layer), {}), halves.get(chosen, {}))
                result = self._compare(cells, others, fits) if cells else Comparison(*[np.nan] * 5)
                line |= {"difference": result.difference, "difference_low": result.low, "difference_high": result.high}
                line |= {"discordance": result.discordance, "p": result.p}
                lost = next((row.status for row in rows if row.status != "done"), "no seed in common")
                lines.append(line | {"missing": "" if cells else lost})
        frame = pd.DataFrame(lines)
        if len(frame):
            frame["p_holm"] = np.where(frame.missing == "", 1.0, np.nan)
            for _, others in frame[~frame.best & (frame.missing == "")].groupby(list(_KEYS)):
                frame.loc[others.index, "p_holm"] = holm(others.p)
            frame["not_separated"] = frame.p_holm >= alpha
            frame["better"] = (frame.p_holm < alpha) & (frame.difference > 0)
        return frame

    def compare_encoders(self) -> pd.DataFrame:
        """Every pair of encoders on every task and probe, each at its dev-best layer, on the same test items.

        Columns: the two accuracies, their difference (0-1), the p-value, Holm's over the whole table (all pairs, tasks and probes),
        and `missing`: which of the two are the best of those layers only that are finished. Encoders without a finished layer are
        left out.
        """
        best = self.best()
        best = best[best.cell != ""] if len(best) else best
        lines = []
        for (task, probe, n_train), group in best.groupby(["task", "probe", "n_train"], sort=False) if len(best) else ():
            entries = list(group.itertuples())
            cells = [self._cells_at(entry) for entry in entries]
            halves = [self._halves(task, entry.encoder, probe, n_train).get((entry.pooling, entry.layer), {}) for entry in entries]
            for i, a in enumerate(entries):
                for j, b in enumerate(entries[i + 1 :], i + 1):
                    same = _same_seeds(cells[i], cells[j], or_first=True)
                    p = self._compare(*same, _differences(halves[i], halves[j])).p
                    where = {"a_at": f"{a.layer}/{a.pooling}", "b_at": f"{b.layer}/{b.pooling}"}
                    scores = {"a_accuracy": a.accuracy, "b_accuracy": b.accuracy, "difference": a.accuracy - b.accuracy}
                    lost = " and ".join(entry.encoder for entry in (a, b) if entry.missing.startswith("layers"))
                    line = {"task": task, "probe": probe, "a": a.encoder, "b": b.encoder, **where, **scores, "p": p}
                    lines.append(line | {"missing": lost, "n_train": n_train})
        frame = pd.DataFrame(lines)
        if len(frame):
            frame["p_holm"] = holm(frame.p)
        return frame

    def _cells_at(self, line: Any) -> dict[int, str]:
        """The finished cells of a line of `best`, by seed."""
        family = self.frame[(self.frame.role == "probe") & (self.frame.layer == line.layer) & (self.frame.pooling == line.pooling)]
        return _cells(family[(family[list(_KEYS)] == [getattr(line, name) for name in _KEYS]).all(axis=1)].itertuples())

    def _halves(self, *key: Any) -> dict[tuple[str, int], dict[int, Any]]:
        """The rows of a family's columns (pooling, layer) that were fitted on halves of the train split, by number of the half."""
        rows = self._role("resample")
        found: dict[tuple[str, int], dict[int, Any]] = {}
        for row in rows[(rows[list(_KEYS)] == list(key)).all(axis=1)].itertuples():
            found.setdefault((row.pooling, row.layer), {})[int(row.seed)] = row
        return found

    def _interval(self, name: str, scores: pd.DataFrame, halves: Sequence[float]) -> dict[str, float]:
        """Mean of a score over the seeds of a column, with its interval."""
        if name == "accuracy" and len(scores) > 1 and self.predictions is not None:
            one = mean_accuracy([self._correct(cell) for cell in scores.cell], self.groups(scores.cell.iloc[0]), halves)
        else:
            bounds = scores[[name, f"{name}_low", f"{name}_high"]].itertuples(index=False)
            one = mean_score([Estimate(*row) for row in bounds], halves)
        return {name: one.value, f"{name}_low": one.lower, f"{name}_high": one.upper}

    def _floors(self, task: str, encoder: str, probe: str, n_train: int) -> dict[str, list[list[Any]]]:
        """The floors of a line by the name of their column in the report: lists of finished rows, one for each random twin."""
        own = (self.frame.task == task) & (self.frame.n_train == n_train) & (self.frame.status == "done")
        frame = self.frame.loc[own, [*IDENTITY, "probe", "layer", "pooling", "seed", "dev_accuracy", "accuracy", "status"]]
        reads_text = frame[frame.role == "floor"].groupby("encoder", sort=False)
        floors = {name: [list(rows.itertuples())] for name, rows in reads_text}
        frame = frame[frame.probe == probe]
        layer_0 = frame.role.isin(["probe", "static"]) & (frame.layer == 0) & (frame.pooling == "mean")
        static = list(frame[layer_0 & (frame.encoder == encoder)].itertuples())
        if static and not self._contextual(encoder):
            floors["static"] = [static]
        twins = []
        for _, rows in frame[(frame.role == "random") & (frame.twin_of == encoder)].groupby(["encoder", "seed"], dropna=False):
            pooling, layer = _dev_first(rows).index[0]
            twins.append(list(rows[(rows.pooling == pooling) & (rows.layer == layer)].itertuples()))
        return floors | ({"random weights": twins} if twins else {})

    def _against(self, floors: Mapping[str, list[list[Any]]], cells: Mapping[int, str]) -> dict[str, Any]:
        """`beats_floors` and `floor` of `best`."""
        order = sorted(floors, key=lambda name: -np.mean([_accuracy(rows) for rows in floors[name]]))
        if not order or self.predictions is None:
            return {"beats_floors": None, "floor": next(iter(order), "")}
        for name in order:
            for rows in floors[name]:
                result = self._compare(*_same_seeds(cells, _cells(rows), or_first=True))
                if not (result.difference > 0 and result.p < 0.05):
                    return {"beats_floors": False, "floor": name}
        return {"beats_floors": True, "floor": order[0]}

    def _compare(self, cells: Sequence[str], others: Sequence[str], halves: Sequence[float] = ()) -> Comparison:
        """Two columns, cell by cell of the same seeds. Once for a table.

        Args:
            halves: differences of the accuracies of the two columns fitted on the same halves of the train split.
        """
        key = (*cells, "", *others, "", *halves)
        if key not in self._compared:
            a, b = (np.stack([self._correct(cell) for cell in column]) for column in (cells, others))
            interval, p = compare(a, b, self.groups(cells[0]), halves)
            self._compared[key] = Comparison(interval.value, interval.lower, interval.upper, float((a != b).mean()), p)
        return self._compared[key]

    def floors(self) -> pd.DataFrame:
        """Test accuracy (0-1) of the floors that read the text: tasks × floors."""
        frame = self._role("floor")
        table = frame.pivot_table("accuracy", "task", "encoder", aggfunc="mean", sort=False)
        return table.reindex([t for t in self.tasks if t in table.index])

    def not_converged(self) -> int:
        return int((~self._role("probe", "random", "control", "resample").converged.astype(bool)).sum())

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

    def _correct(self, cell: str) -> np.ndarray:
        """Whether each test item is right; read once for a table."""
        if self.predictions is None:
            raise ConfigError("this table has no predictions to compare on: make it with evaluate(...) or from a run")
        if cell not in self._right:
            gold, predicted = self.predictions(cell)
            self._right[cell] = gold == predicted
        return self._right[cell]


def letters_of(best: pd.DataFrame, pairs: pd.DataFrame, alpha: float = 0.05) -> list[str]:
    """For each line of `best`, letters: encoders of one task, probe and train size that share one are not separated.

    Args:
        best, pairs: `ResultTable.best()` and `ResultTable.compare_encoders()` of one table.
    """
    given = [""] * len(best)
    apart = {(p.task, p.probe, p.n_train, *sorted((p.a, p.b))) for p in pairs.itertuples() if p.p_holm < alpha}
    groups: dict[tuple, list[tuple[float, int, str]]] = {}
    for i, line in enumerate(best.itertuples()):
        if line.cell:
            groups.setdefault((line.task, line.probe, line.n_train), []).append((-line.accuracy, i, line.encoder))
    for key, group in groups.items():
        ranked = sorted(group)
        separated = [[(*key, *sorted((a, b))) in apart for _, _, b in ranked] for _, _, a in ranked]
        for (_, i, _), found in zip(ranked, letters(separated) if len(ranked) > 1 else [""], strict=True):
            given[i] = found
    return given


def merge(tables: Iterable[ResultTable]) -> ResultTable:
    """One table of several runs; a row (`IDENTITY`) that occurs in more than one is taken once, finished before failed."""
    tables = list(tables)
    frame = pd.concat([t.frame for t in tables], ignore_index=True)
    best_first = frame.assign(state=frame.status.map(STATES.index)).sort_values("state", kind="stable")
    frame = frame.loc[best_first.drop_duplicates(list(IDENTITY)).index.sort_values()].reset_index(drop=True)
    unnamed = (frame.role != "floor") & frame.layer.isna()  # of an encoder that could not say its layers, and can in another run
    by = ["role", "task", "encoder", "twin_of", "probe", "n_train"]
    frame = frame[~unnamed | (frame.groupby(by).layer.transform("count") == 0)].reset_index(drop=True)
    sources: dict[str, ResultTable] = {}
    for t in tables:
        for cell in t.frame.cell[t.frame.status == "done"]:
            sources.setdefault(cell, t)
    return ResultTable(frame, lambda cell: sources[cell].predictions(cell), lambda cell: sources[cell].groups(cell))


def _dev_first(done: pd.DataFrame) -> pd.DataFrame:
    """Mean dev and test accuracy over seeds by (pooling, layer), the best on dev first."""
    mean = done.groupby(["pooling", "layer"], sort=True)[["dev_accuracy", "accuracy"]].mean()
    return mean.sort_values("dev_accuracy", ascending=False, kind="stable")


def _over(row: Any, seeds: int, halves: int) -> str:
    """What the intervals and tests of a column go over, in words."""
    grouped = pd.notna(row.n_groups) and row.n_groups < row.n_test
    parts = ["test items" + (f" in {row.n_groups} groups" if grouped else "")]
    parts += ["seeds"] * (seeds > 1) + ["train halves"] * (halves > 1)
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _differences(a: Mapping[int, Any], b: Mapping[int, Any]) -> list[float]:
    """Differences of the accuracies of two columns fitted on the same halves of the train split."""
    return [a[number].accuracy - b[number].accuracy for number in sorted(a.keys() & b.keys())]


def _family(own: pd.DataFrame | None, first: pd.Series, alpha: float, over: str) -> dict[str, Any]:
    """What `best` says of the other columns of a line, from its lines of `compare_layers` (None: nothing was compared)."""
    if own is None:
        return {"not_separated": None, "better": None, "n_columns": 0, "can_show": np.nan}
    compared = own[own.missing == ""]
    line: dict[str, Any] = {
        name: [(int(row.layer), row.pooling) for row in compared[compared[name]].sort_values(["pooling", "layer"]).itertuples()]
        for name in ("not_separated", "better")
    }
    others = compared[~compared.best]
    level, shown = alpha / max(1, len(others)), np.nan
    if over == "test items":
        discordance = others.discordance.median() if len(others) else 2 * min(first.accuracy, 1 - first.accuracy)
        shown = smallest_difference(int(first.n_test), float(discordance), level)
    elif "seeds" not in over and len(others):
        error = (others.difference_high - others.difference_low).median() / 2 / norm.isf(0.025)
        shown = float(error * (norm.isf(level / 2) + norm.isf(0.2)))
    return line | {"n_columns": len(compared), "can_show": shown}


def _accuracy(rows: Iterable[Any]) -> float:
    return float(np.mean([row.accuracy for row in rows]))


def _cells(rows: Iterable[Any]) -> dict[int, str]:
    """The finished cells of a column by seed; -1 stands for a cell that no seed can change."""
    return {-1 if pd.isna(row.seed) else int(row.seed): row.cell for row in rows if row.status == "done"}


def _same_seeds(a: Mapping[int, str], b: Mapping[int, str], or_first: bool = False) -> tuple[list[str], list[str]]:
    """The cells of two columns, seed by seed; a cell that no seed can change stands beside every seed of the other column.

    Args:
        or_first: without a seed in common the first cells of both; else none.

    >>> _same_seeds({0: "a", 1: "b"}, {-1: "c"}), _same_seeds({0: "a"}, {1: "b"})
    ((['a', 'b'], ['c', 'c']), ([], []))
    """
    seeds = sorted((a.keys() & b.keys()) or (b.keys() if -1 in a else a.keys() if -1 in b else ()))
    if not seeds and or_first:
        return [a[min(a)]], [b[min(b)]]
    return [a.get(seed, a.get(-1, "")) for seed in seeds], [b.get(seed, b.get(-1, "")) for seed in seeds]


def _place(row: Any) -> str:
    """Layer, pooling and seed of a row, as far as it has them."""
    parts = [] if pd.isna(row.layer) else [f"layer {row.layer} {row.pooling}"]
    which = "half" if row.role == "resample" else "seed"
    return " ".join(parts + ([] if pd.isna(row.seed) else [f"{which} {row.seed}"]))
