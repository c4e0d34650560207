"""The formula table: families of expressions x numbers of variables x methods, with links found, error of T, and model rows.

Each formula has one random segment. Sampled methods get a quarter of the exact rows, or their minimum. Scores pool links over
formulas, with 95 % bootstrap intervals; `*_tied_out` leaves out the links that are exact ties. `error` is the mean of |T - exact T|
over formulas, `error_relative` that divided by the mean of the exact T; empty for methods that have no T. `rows` is the mean of
model rows a formula.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from probing.data.expressions import FAMILIES, Expression, generate, random_segment
from probing.errors import ConfigError, did_you_mean
from probing.files import replace_file
from probing.interactions.intervals import exact_rows, minimum_rows
from probing.interactions.scoring import METHODS, count, find_links, pooled
from probing.interactions.segment import segment_interaction
from probing.log import bar, info
from probing.studies import Context
from probing.types import Values

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
    """Options of the formula table.

    Args:
        families: keys of `probing.data.expressions.FAMILIES`; null: all.
        variables: pairs of fewest and most variables.
        functions: formulas of a cell; 10,000 in the paper family.
        large: formulas of a cell with more than 12 variables, where exact answers take many rows.
        learned: formulas of a cell that learned_p gets, the first ones.
        methods: keys of `probing.interactions.scoring.METHODS`; null: all.
        operators: by family, e.g. {and_or: [&, "|", "|"]}; families that are not named have their own.
        seed: of formulas, segments and sampling.
    """

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
        for option, asked, known in (
            ("families", self.families, FAMILIES),
            ("methods", self.methods, METHODS),
            ("operators", self.operators, FAMILIES),
        ):
            for name in asked or ():
                if name not in known:
                    raise ConfigError(
                        f"study.{option}: {name!r} is unknown{did_you_mean(name, known)} (allowed: {', '.join(known)})"
                    )
        for option in ("functions", "large", "learned"):
            if getattr(self, option) < 1:
                raise ConfigError(f"study.{option}={getattr(self, option)} must be at least 1")
        if self.seed < 0:
            raise ConfigError(f"study.seed={self.seed} must be at least 0")
        if not self.variables or any(len(pair) != 2 for pair in self.variables):
            raise ConfigError(f"study.variables={self.variables} must hold pairs of fewest and most, as [[5,7],[8,12]]")
        for family in self.families or FAMILIES:
            for least, most in self.variables:
                generate(family, 1, (least, most), self.seed, self.operators.get(family))  # a mistake is said before any work

    def measure(self, context: Context) -> pd.DataFrame:
        """A row for each family, range of variables and method."""
        cells = [
            Cell(family, (least, most), self.functions if most <= LARGEST else self.large, self.operators.get(family), self.seed)
            for least, most in self.variables
            for family in self.families or FAMILIES
        ]
        parts = [
            (cell, method, min(cell.functions, self.learned) if method == "learned_p" else cell.functions)
            for cell in cells
            for method in self.methods or METHODS
        ]
        done = [context.results.get(cell.inputs(method, n)) for cell, method, n in parts]
        open_ = [i for i, rows in enumerate(done) if rows is None]
        formulas = sum(parts[i][2] for i in open_)
        info(f"synthetic: {len(parts)} cells, {len(parts) - len(open_)} done; {formulas:,} formulas to go")
        with bar("synthetic", formulas) as advance:
            for i in open_:
                cell, method, n = parts[i]
                done[i] = context.results.put(cell.inputs(method, n), [cell.measured(method, n)])
                advance(n)
        return pd.DataFrame([row for rows in done for row in rows or []])

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        replace_file(folder / "table.csv", frame.round(6).to_csv(index=False).encode())
        replace_file(folder / "table.md", markdown(frame).encode())


@dataclass(frozen=True)
class Cell:
    """The formulas of a family and a range of variables."""

    family: str
    variables: tuple[int, int]
    functions: int
    operators: list[str] | None
    seed: int

    def inputs(self, method: str, n: int) -> dict[str, Any]:
        """All that decides the numbers of a method on the first n formulas."""
        said = {"family": self.family, "variables": list(self.variables), "operators": self.operators, "seed": self.seed}
        return {"kind": "synthetic", "version": VERSION, **said, "method": method, "functions": n}

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
            found, truth = find_links(e, segment, method, budget, seed=self._seed(i)), e.truth(segment)
            counts.append([count(found, truth, e.sides, free) for free in (True, False)])
            rows.append(found.rows)
            T.append(found.T)
        size = f"{self.variables[0]}-{self.variables[1]}"
        error, scale = math.nan, math.nan
        if not np.isnan(T).any():
            error, scale = float(np.abs(np.array(T) - self.exact[:n]).mean()), float(self.exact[:n].mean())
        row = {"family": self.family, "variables": size, "method": method, "functions": n, "rows": float(np.mean(rows))}
        row |= {"error": error, "error_relative": error / scale if scale > 1e-12 else math.nan}
        row |= scores(np.array(counts))
        return without_nan(row)


def scores(counts: Values) -> dict[str, Any]:
    """Links and scores with intervals of counts (expressions, 2, 4): of all links, and with ties left out as `*_tied_out`."""
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


def shown(row: pd.Series, column: str) -> str:
    """Accuracy of links in % with its interval, and F1."""
    value, lower, upper, f1 = (
        100 * row[name] for name in (f"accuracy{column}", f"accuracy{column}_lower", f"accuracy{column}_upper", f"f1{column}")
    )
    return "-" if np.isnan(value) else f"{value:.1f} [{lower:.1f}, {upper:.1f}]" + ("" if np.isnan(f1) else f" · {f1:.1f}")


def _error(row: pd.Series) -> str:
    if np.isnan(row.error):
        return "-"
    return f"{row.error:.2g}" + ("" if np.isnan(row.error_relative) else f" ({100 * row.error_relative:.2g} %)")


def markdown(frame: pd.DataFrame) -> str:
    lines = [NOTE]
    tables = {
        "All links": lambda row: shown(row, ""),
        "Without the links that are exact ties": lambda row: shown(row, "_tied_out"),
        "Mean absolute error of T (and relative to the mean of the exact T)": _error,
        "Model rows a formula": lambda row: f"{row['rows']:,.0f}",
    }
    methods: Sequence[str] = list(dict.fromkeys(frame.method))
    numbers = frame.select_dtypes("number").columns
    frame = frame.astype(dict.fromkeys(numbers, float))
    for title, cell_of in tables.items():
        lines += ["", f"## {title}", "", "| family | variables | formulas | " + " | ".join(methods) + " |"]
        lines.append("|---" * (3 + len(methods)) + "|")
        for (family, size), part in frame.groupby(["family", "variables"], sort=False):
            found = " | ".join(cell_of(row) for _, row in part.iterrows())
            lines.append(f"| {family} | {size} | {part.functions.max():.0f} | {found} |")
    return "\n".join(lines) + "\n"
