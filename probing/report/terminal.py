"""The table of a run on a terminal: one line for each task and encoder, with a curve over layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from probing.evaluation.table import ResultTable
from probing.report.markdown import MARKS, columns_of, marks, percent

BARS = "▁▂▃▄▅▆▇█"


def terminal(table: ResultTable, best: pd.DataFrame) -> str:
    """The lines of `best` as aligned text in percent, a line that says how many are above every floor, and the legend of marks.

    The curve shows the test accuracy of the layers at the best line's pooling, from the lowest to the highest of them.
    """
    several = best.encoder.nunique() > 1, best.probe.nunique() > 1
    lines = [("task", *_where(several, "encoder", "probe"), "layers", "", "best", "accuracy", "95 %", "", "best floor")]
    for row in best.itertuples():
        curve = _curve(table, row)
        low_high = f"{percent(row.accuracy_low)}-{percent(row.accuracy_high)}" if row.seeds else ""
        lines.append(
            (
                row.paper_name,
                *_where(several, row.encoder, row.probe),
                sparkline(curve),
                f"{percent(min(curve))}-{percent(max(curve))}" if curve else "",
                columns_of(row) if row.not_separated else f"{row.layer} {row.pooling}" if row.seeds else "none",
                percent(row.accuracy),
                low_high,
                marks(row),
                _best_floor(row),
            )
        )
    return "\n".join([*_aligned(lines), "", *_verdict(best), ""])


def sparkline(values: Sequence[float]) -> str:
    """A bar for each value, from the lowest bar for the smallest to the full one for the largest; NaN is a blank.

    >>> sparkline([0.2, 0.4, 0.3]), sparkline([0.5, 0.5]), sparkline([])
    ('▁█▅', '▁▁', '')
    """
    known = [value for value in values if not np.isnan(value)]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    steps = [np.nan if np.isnan(value) else (value - low) / ((high - low) or 1) * (len(BARS) - 1) for value in values]
    return "".join(" " if np.isnan(step) else BARS[round(step)] for step in steps)


def _where(several: tuple[bool, bool], encoder: str, probe: str) -> list[str]:
    return [text for text, shown in zip((encoder, probe), several, strict=True) if shown]


def _curve(table: ResultTable, row: Any) -> list[float]:
    """Mean test accuracy by layer at the line's pooling (0-1); NaN where a layer is not measured."""
    if not row.seeds:
        return []
    where = {name: getattr(row, name) for name in ("task", "encoder", "probe", "n_train", "pooling")}
    means = table.where("probe", **where).groupby("layer").accuracy.mean()
    return [float(means.get(layer, np.nan)) for layer in range(int(means.index.max()) + 1)]


def _best_floor(row: Any) -> str:
    """Name and accuracy of the highest floor of the line that does not hold the label itself."""
    return f"{row.floor} {percent(row.floor_accuracy)}" if row.floor else ""


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _verdict(best: pd.DataFrame) -> list[str]:
    """How many lines are above all their floors, and the marks that occur."""
    judged = best[best.beats_floors.notna()]
    lines = [f"{int(judged.beats_floors.sum())} of {len(judged)} above every floor"] if len(judged) else []
    shown = "".join(marks(row) for row in best.itertuples())
    return lines + [f"{mark} {meaning}" for mark, meaning in MARKS.items() if mark in shown]
