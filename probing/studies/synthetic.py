"""The formula table: families of expressions x numbers of variables x methods, with links found, error of T, and model rows.

Each formula has one random segment. Sampled methods get a quarter of the exact rows, or their minimum. Scores pool links over
formulas, with 95 % bootstrap intervals; `*_tied_out` omits the links that are exact ties. `error`: mean of |T - exact T| over
formulas, `error_relative` that divided by the mean of the exact T; `rows`: model rows a formula.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from probing.data.expressions import FAMILIES, Expression, generate, random_segment
from probing.errors import did_you_mean
from probing.interactions.intervals import exact_rows, minimum_rows
from probing.interactions.scoring import METHODS, count, find_links, pooled
from probing.interactions.segment import segment_interaction
from probing.log import bar, info
from probing.studies import Context, require
from probing.studies.layout import grouped, percent, shown, table, write
from probing.types import Estimate, Values

VERSION = 1
"""Raise when the same inputs would give other numbers."""

LARGEST = 12
"""Variables up to which a cell gets all `functions`."""

NOTE = """# Links found in formulas

Accuracy over links in % with its 95 % interval (bootstrap over formulas) · F1 of the bound links; - where no link is to be scored.
An interval without width says that no formula had an error: with N formulas an error in fewer than 3 / N of them is not excluded.
Links of the first three families are scored on the best partition, of the others on best and worst.
learned_p has the first formulas of a cell only; table.csv has all scores (precision, recall, error) and counts."""


@dataclass
class Synthetic:
    families: list[str] | None = None
    variables: list[list[int]] = field(default_factory=lambda: [[5, 7], [8, 12], [13, 20]])
    functions: int = 1000
    large: int = 20
    learned: int = 60
    methods: list[str] | None = None
    operators: dict[str, list[str]] = field(default_factory=dict)
    seed: int = 0

    name: ClassVar[str] = "synthetic"
    uses: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for option, known in (("families", FAMILIES), ("methods", METHODS), ("operators", FAMILIES)):
            for name in getattr(self, option) or ():
                hint = f"{did_you_mean(name, known)} (allowed: {', '.join(known)})"
                require(name in known, f"study.{option}: {name!r} is unknown{hint}")
        for option in ("functions", "large", "learned"):
            require(getattr(self, option) >= 1, f"study.{option}={getattr(self, option)} must be at least 1")
        require(self.seed >= 0, f"study.seed={self.seed} must be at least 0")
        pairs = bool(self.variables) and all(len(pair) == 2 for pair in self.variables)
        require(pairs, f"study.variables={self.variables} must hold pairs of fewest and most, as [[5,7],[8,12]]")
        for cell in self.cells():
            generate(cell.family, 1, cell.variables, cell.seed, cell.operators)  # a mistake is reported before any work

    def cells(self) -> list[Cell]:
        return [
            Cell(family, (least, most), self.functions if most <= LARGEST else self.large, self.operators.get(family), self.seed)
            for least, most in self.variables
            for family in self.families or FAMILIES
        ]

    def measure(self, context: Context) -> pd.DataFrame:
        """A row for each family, range of variables and method."""
        parts = [
            (cell, method, min(cell.functions, self.learned) if method == "learned_p" else cell.functions)
            for cell in self.cells()
            for method in self.methods or METHODS
        ]
        open_ = [n for cell, method, n in parts if context.results.get(cell.inputs(method, n)) is None]
        info(f"synthetic: {len(parts)} cells, {len(parts) - len(open_)} done; {sum(open_):,} formulas to go")
        rows = []
        with bar("synthetic", sum(open_)) as advance:
            for cell, method, n in parts:

                def compute(cell: Cell = cell, method: str = method, n: int = n) -> list[dict[str, Any]]:
                    row = cell.measured(method, n)
                    advance(n)
                    return [row]

                rows += context.finished(cell.inputs(method, n), compute)
        return pd.DataFrame(rows)

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        tables: dict[str, Callable[[Mapping[str, Any]], str]] = {
            "All links": lambda row: shown_links(row, ""),
            "Without the links that are exact ties": lambda row: shown_links(row, "_tied_out"),
            "Mean absolute error of T (and relative to the mean of the exact T)": _error,
            "Model rows a formula": lambda row: f"{row['rows']:,.0f}",
        }
        numbers, blocks = frame.astype(dict.fromkeys(frame.select_dtypes("number").columns, float)), [NOTE]
        for title, cell_of in tables.items():
            rows = [
                key | {"formulas": f"{part.functions.max():.0f}"} | {row.method: cell_of(row) for _, row in part.iterrows()}
                for key, part in grouped(numbers, "family variables")
            ]
            blocks += [f"## {title}", table(rows)]
        write(folder, blocks, {"table.csv": frame.round(6)})


@dataclass(frozen=True)
class Cell:
    """The formulas of a family and a range of variables."""

    family: str
    variables: tuple[int, int]
    functions: int
    operators: list[str] | None
    seed: int

    def inputs(self, method: str, n: int) -> dict[str, Any]:
        """Everything that determines the numbers of a method on the first n formulas."""
        formulas = {"family": self.family, "variables": list(self.variables), "operators": self.operators, "seed": self.seed}
        return {"kind": "synthetic", "version": VERSION, **formulas, "method": method, "functions": n}

    @cached_property
    def cases(self) -> list[tuple[Expression, tuple[int, int]]]:
        """Expressions with their segments."""
        made = generate(self.family, self.functions, self.variables, self.seed, self.operators)
        return [(e, random_segment(e.n_players, np.random.default_rng(self._seed(i)))) for i, e in enumerate(made)]

    def _seed(self, i: int) -> int:
        return i + 1_000_003 * self.seed

    @cached_property
    def exact(self) -> Values:
        """T of each formula's segment, exactly, (functions,)."""
        return np.array([segment_interaction(e, segment, listed=1).T for e, segment in self.cases])

    def measured(self, method: str, n: int) -> dict[str, Any]:
        """The row of a method on the first n formulas."""
        counts, rows, T = [], [], []
        for i, (e, segment) in enumerate(self.cases[:n]):
            m = segment[1] - segment[0]
            k = e.n_players - m
            budget = max(exact_rows(m, k) // 4, minimum_rows(m, k, method)) if method in ("sampled", "regression") else None
            links, truth = find_links(e, segment, method, budget, seed=self._seed(i)), e.truth(segment)
            counts.append([count(links, truth, e.sides, free) for free in (True, False)])
            rows.append(links.rows)
            T.append(links.T)
        error, scale = math.nan, math.nan
        if not np.isnan(T).any():
            error, scale = float(np.abs(np.array(T) - self.exact[:n]).mean()), float(self.exact[:n].mean())
        row = {"family": self.family, "variables": "{}-{}".format(*self.variables), "method": method, "functions": n}
        row |= {"rows": float(np.mean(rows)), "error": error, "error_relative": error / scale if scale > 1e-12 else math.nan}
        return without_nan(row | scores(np.array(counts)))


def scores(counts: Values) -> dict[str, Any]:
    """Links and scores with intervals of counts (expressions, 2, 4): of all links, and without ties as `*_tied_out`."""
    row: dict[str, Any] = {}
    for at, column in enumerate(("", "_tied_out")):
        part = counts[:, at]
        row[f"links{column}"] = int(part.sum())
        for name, score in pooled(part).items():
            row |= {f"{name}{column}": score.value, f"{name}{column}_lower": score.lower, f"{name}{column}_upper": score.upper}
    return row


def without_nan(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as JSON has it: None where there is no number."""
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}


def shown_links(row: Mapping[str, Any], column: str, prefix: str = "") -> str:
    """Accuracy of links in % with its interval, and F1."""
    accuracy = Estimate(*(row[f"{prefix}accuracy{column}{end}"] for end in ("", "_lower", "_upper")))
    f1 = percent(row[f"{prefix}f1{column}"])
    return shown(accuracy, "%") + (f" · {f1}" if f1 else "")


def _error(row: pd.Series) -> str:
    if np.isnan(row.error):
        return "-"
    return f"{row.error:.2g}" + ("" if np.isnan(row.error_relative) else f" ({100 * row.error_relative:.2g} %)")
