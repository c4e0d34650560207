"""A table of results: rows, the arrays by test item that comparisons read, and the questions that are asked of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from probing.errors import ConfigError
from probing.evaluation import best, comparisons, plots
from probing.evaluation.comparisons import Comparison
from probing.evaluation.metrics import by_item
from probing.evaluation.paired_tests import DEPENDENCE, compare
from probing.evaluation.rows import IDENTITY, STATES, Row, frame_of, from_lines, metrics_of, to_lines, value

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from probing.probes.fitted import FittedProbe

Key = tuple[Any, ...]

_OLD = ("error", "edge", "n_groups", "measure")
"""Fields that the rows of some earlier versions lack."""


@dataclass(frozen=True, repr=False)
class ResultTable:
    """Rows in a tidy frame (see `probing.evaluation.rows.frame_of`), and by the key of a cell its gold and predicted test classes
    (`predictions`), the numbers of its test items' groups (`groups`; None where each item has its own), and its other `items`."""

    frame: pd.DataFrame
    predictions: Callable[[str], tuple[np.ndarray, np.ndarray]] | None = None
    groups: Callable[[str], np.ndarray | None] = lambda cell: None
    items: Callable[[str], Mapping[str, np.ndarray]] = lambda cell: {}
    refit: Callable[[str], FittedProbe] | None = field(default=None, repr=False, compare=False)
    _by_item: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)
    _compared: dict[Key, Comparison] = field(default_factory=dict, init=False, repr=False, compare=False)
    _answers: dict[Key, pd.DataFrame] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, rows: Iterable[Row], predictions: Any = None, groups: Any = lambda cell: None, items: Any = dict) -> ResultTable:
        return cls(frame_of(rows), predictions, groups, items)

    @classmethod
    def read_csv(cls, path: str | Path, predictions: Any = None) -> ResultTable:
        """The table that `to_csv` wrote, every float as it was; tables of earlier versions, a line a cell, as well."""
        lines = pd.read_csv(path, dtype=str, keep_default_na=False)
        if "metric" in lines:
            return cls(from_lines(lines), predictions)
        lines = lines.assign(**{name: "probe" if name == "measure" else "" for name in _OLD if name not in lines})
        scores = [name for name in lines if "accuracy" in name or "macro_f1" in name]
        rows = []
        for line in lines.to_dict("records"):
            entry = {k: (float(v) if v else None) if k in scores else value(k, v) for k, v in line.items()}
            rows.append(Row.flat(**entry | {"converged": line["converged"] == "True"}))
        return cls(frame_of(rows), predictions)

    def to_csv(self, path: str | Path) -> None:
        """A line for each row and metric (`probing.evaluation.rows.to_lines`), sorted; floats in their shortest exact form."""
        to_lines(self.sorted()).to_csv(path, index=False)

    def to_parquet(self, path: str | Path) -> None:
        to_lines(self.sorted()).to_parquet(path, index=False)

    def to_dataset(self) -> Any:
        """The lines of `to_csv` as a `datasets.Dataset`; ConfigError without that package."""
        from probing.data.hub import library

        return library().Dataset.from_pandas(to_lines(self.sorted()), preserve_index=False)

    def sorted(self) -> pd.DataFrame:
        order = ["role", "task", "probe", "encoder", "control", "pooling", "layer", "seed", "cell"]
        return self.frame.sort_values(order, kind="stable", na_position="first", ignore_index=True)

    def where(self, **where: Any) -> pd.DataFrame:
        """The finished rows with these values; of a tuple with any of its values."""
        kept = self.frame.status == "done"
        for name, wanted in where.items():
            kept &= self.frame[name].isin(wanted) if isinstance(wanted, tuple) else self.frame[name] == wanted
        return self.frame[kept]  # once: a selection copies every column

    def role(self, *roles: str) -> pd.DataFrame:
        return self.where(role=roles)

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(self.frame.task))

    @property
    def encoders(self) -> list[str]:
        """Encoders that were given, without their random twins."""
        return list(dict.fromkeys(self.frame.encoder[self.frame.role == "probe"]))

    @property
    def measures(self) -> list[str]:
        return [name for name in dict.fromkeys(self.frame.measure) if name != "probe"]

    def of_measure(self, measure: str) -> ResultTable:
        """The rows of one measure, with the metrics that it has; this table, with what it has computed, where it has no other."""
        frame = self.frame[self.frame.measure == measure]
        if measure != "probe":
            names = [name for name in metrics_of(frame) if frame[name].isna().all()]
            frame = frame.drop(columns=[f"{name}{end}" for name in names for end in ("", "_low", "_high")])
        return self if measure == "probe" and not self.measures else replace(self, frame=frame.reset_index(drop=True))

    @property
    def controls(self) -> list[str]:
        return list(dict.fromkeys(self.frame.control[self.frame.role == "control"]))

    def pivot(self, rows: str, columns: str, value: str = "score", **where: Any) -> pd.DataFrame:
        """A wide table, mean over seeds; `where` keeps rows, e.g. `pooling="mean", role="probe"`; ValueError if cells of several
        probes, poolings or encoders would be averaged into one."""
        frame = self.where(**where)
        for name in ("role", "task", "probe", "control", "pooling", "encoder", "layer", "n_train"):
            if name in (rows, columns) or frame[name].nunique(dropna=False) < 2:
                continue
            if (frame.groupby([rows, columns], dropna=False)[name].nunique(dropna=False) > 1).any():
                raise ValueError(f"several values of {name!r} fall into one cell; choose one: {name}=…")
        table = frame.pivot_table(value, rows, columns, aggfunc="mean", sort=False, observed=True)
        return table.reindex([t for t in self.tasks if t in table.index]) if rows == "task" else table

    def check(self) -> None:
        """Raises a `ConfigError` if one name stands for several encoders, or for several test sets, so that a table would mix
        them."""
        frame = self.frame
        for name, what, mend in (
            ("encoder", "encoder_fingerprint", "give each its own encoder.label"),
            ("task", "test_sha256", "make one table per data set"),
        ):
            several = frame[frame[what] != ""].groupby(name)[what].nunique()
            if mixed := list(several.index[several > 1]):
                raise ConfigError(f"these rows mix several {name}s of the same name ({', '.join(mixed)}): {mend}")
        # one seed has one train subset; the seed of a random twin is that of its weights, of a resampled row the number of its half
        drawn = frame[~frame.role.isin(["random", "resample"])]
        drawn = drawn.assign(drawn=drawn.seed.fillna(-1)).groupby(["task", "n_train", "drawn"]).data_sha256.nunique()
        if mixed := sorted(set(drawn.index.get_level_values("task")[drawn > 1])):
            raise ConfigError(
                f"these rows mix several data sets of one test split ({', '.join(mixed)}: other train or dev sentences, labels or "
                "metrics): make one table per data set"
            )

    def best(self, alpha: float = 0.05) -> pd.DataFrame:
        return self._once(best.best, alpha)

    def compare_layers(self, alpha: float = 0.05) -> pd.DataFrame:
        return self._once(comparisons.compare_layers, alpha)

    def compare_encoders(self) -> pd.DataFrame:
        return self._once(comparisons.compare_encoders)

    def compare_measure(self, measure: str) -> pd.DataFrame:
        return comparisons.compare_measure(self.of_measure(measure))

    def _once(self, ask: Callable[..., pd.DataFrame], *options: Any) -> pd.DataFrame:
        if (ask, *options) not in self._answers:
            self._answers[ask, *options] = ask(self, *options)
        return self._answers[ask, *options].copy()

    def compare_cells(self, cells: Sequence[str], others: Sequence[str], halves: Sequence[float] = ()) -> Comparison:
        """Two columns, cell by cell of the same seeds, computed once for a table; `halves`: see `differences`."""
        key = (*cells, "", *others, "", *halves)
        if key not in self._compared:
            a, b = (np.stack([self.by_item(cell) for cell in column]) for column in (cells, others))
            dependence = DEPENDENCE if cells[0] in self._of_folds else 1.0
            interval, p = compare(a, b, self.groups(cells[0]), halves, dependence)
            discordance = float((a != b).mean()) if a.dtype == bool else np.nan
            self._compared[key] = Comparison(interval.value, interval.lower, interval.upper, discordance, p)
        return self._compared[key]

    @cached_property
    def _of_folds(self) -> frozenset[str]:
        return frozenset(self.frame.cell[self.frame.n_folds.notna()])

    def floors(self) -> pd.DataFrame:
        """Test scores of the floors that read the text: tasks × floors."""
        table = self.role("floor").pivot_table("score", "task", "encoder", aggfunc="mean", sort=False)
        return table.reindex([t for t in self.tasks if t in table.index])

    def not_converged(self) -> int:
        return int((~self.role("probe", "random", "control", "resample").converged.astype(bool)).sum())

    def mean(self, **where: Any) -> float:
        frame = self.where(**where)
        return float(frame.score.mean()) if len(frame) else float("nan")

    def refitted(self, cell: str) -> FittedProbe:
        if self.refit is None:
            raise ConfigError(
                "this table was read from files, without the encoder: make it with evaluate(...), finished cells are kept"
            )
        return self.refit(cell)

    def probe(
        self,
        task: str | None = None,
        encoder: str | None = None,
        layer: int | None = None,
        pooling: str | None = None,
        **where: Any,
    ) -> FittedProbe:
        """The fitted probe of one cell, from the stored vectors: `coef_` and `intercept_` of raw features, `classes_`, `predict`
        (`probing.probes.fitted.FittedProbe`). Without layer and pooling that of the dev-best one. `where`: other columns of the
        frame, such as `seed`, `probe`, or role="control" with `control`.

        Raises:
            ConfigError: no finished cell has these values, or several have; a table that was read from files.
            DataError: the probe, fitted again, predicts other classes of the test sentences than were recorded.
        """
        given: dict[str, Any] = {"measure": "probe", "role": "probe", **where}
        chosen = {"task": task, "encoder": encoder, "layer": layer, "pooling": pooling}
        given |= {name: wanted for name, wanted in chosen.items() if wanted is not None}
        for name in given:
            if name not in self.frame:
                raise ConfigError(f"table.probe: the table has no column {name!r}")
        rows = self.where(**given)
        if layer is None and pooling is None and len(rows) > 1 and given["role"] == "probe":
            pooling, layer = comparisons.dev_first(rows).index[0]
            rows = rows[(rows.pooling == pooling) & (rows.layer == layer)]
        if len(rows) != 1:
            free = [
                name for name in ("task", "encoder", "layer", "pooling", "probe", "control", "seed") if rows[name].nunique() > 1
            ]
            values = "; ".join(f"{name}={', '.join(map(str, rows[name].unique()))}" for name in free)
            have = (
                f"choose one: {values}"
                if free
                else f"the table has the tasks {', '.join(self.tasks)} and the encoders {', '.join(self.encoders)}"
            )
            raise ConfigError(f"table.probe: {len(rows)} finished cells have these values; {have}")
        return self.refitted(rows.cell.iloc[0])

    def plot_layers(self, ax: Axes | None = None, **choice: str) -> Axes:
        """Draw the test score by layer, and return the axes: of one task (`task`, or the only one) with random twins, controls and
        floors, of several a line each. `choice`: task, pooling, probe; ConfigError for one that the table has not."""
        return plots.plot_layers(self, ax, **choice)

    def plot_heat_map(self, ax: Axes | None = None, **choice: str) -> Axes:
        """Draw layer × task of one encoder, and return the axes. `choice`: encoder, pooling, probe; the first (mean) by default."""
        return plots.plot_heat_map(self, ax, **choice)

    def __repr__(self) -> str:
        kinds = (("task", self.tasks), ("encoder", self.encoders))
        sizes = " × ".join(f"{len(names)} {kind}{'s' * (len(names) != 1)}" for kind, names in kinds)
        lost = int((self.frame.status != "done").sum())
        return f"ResultTable({sizes}, {len(self.frame)} rows{f', {lost} not finished' if lost else ''})"

    def _repr_html_(self) -> str:
        """The dev-best layers, in percent, for notebooks."""
        from html import escape

        try:
            shown = (
                best.shown(self.best()) if len(self.role("probe")) else self.frame[["role", "task", "encoder", "status"]].head(10)
            )
        except ConfigError as error:
            return f"<p>{escape(repr(self))}: {escape(str(error))}</p>"
        html: str = shown.to_html(index=False, border=0, na_rep="", float_format="{:.1f}".format)
        return f"<p>{escape(repr(self))}</p>{html}"

    def predicted(self, cell: str) -> tuple[np.ndarray, np.ndarray]:
        """Gold and predicted classes of the test items; ConfigError if the table has no predictions."""
        if self.predictions is None:
            raise ConfigError("this table has no predictions to compare on: make it with evaluate(...) or from a run")
        return self.predictions(cell)

    def by_item(self, cell: str) -> np.ndarray:
        """The values by test item whose mean is the score of a cell (`metrics.by_item`); read once for a table."""
        if cell not in self._by_item:
            pair = dict(zip(("gold", "predicted"), self.predicted(cell), strict=True))
            metric = next(iter(self.frame.metric[self.frame.cell == cell]), "") or "accuracy"
            self._by_item[cell] = by_item(metric, pair if metric == "accuracy" else {**self.items(cell), **pair})
        return self._by_item[cell]


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
    return ResultTable(
        frame,
        None if all(t.predictions is None for t in tables) else lambda cell: sources[cell].predicted(cell),
        lambda cell: sources[cell].groups(cell),
        lambda cell: sources[cell].items(cell),
        lambda cell: sources[cell].refitted(cell),
    )
