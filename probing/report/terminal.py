"""The main table of a run on a terminal: one line for each task and encoder, with a curve over layers; a study's first table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from probing.evaluation.rows import metrics_of
from probing.evaluation.table import ResultTable
from probing.report.summary import MARKS, Line, span

BARS = "▁▂▃▄▅▆▇█"


SHOWN = 4
"""Metrics of a measure beside the probe that are on the terminal; table.md has all."""

LINES = 28
"""Lines of a study's table that are on the terminal."""


def terminal(table: ResultTable, lines: Sequence[Line]) -> str:
    """The lines as aligned text in percent, a line that says how many are above every floor, and the marks that occur; then, by
    layer, the first metrics of other measures.

    The bars show the test score of the layers at the line's pooling, from the lowest to the highest, which stand beside them.
    """
    shown = [name for name in ("encoder", "probe") if len({line.values.get(name) for line in lines}) > 1]
    score = [*(["metric"] if lines and lines[0].column == "score" else []), lines[0].column if lines else "accuracy"]
    rows = [["task", *shown, *score, "95 %", "layer", "layers", "lowest-highest", "not separated from it", "best floor"]]
    for line in lines:
        curve = _curve(table, line)
        known = [value for value in curve if not np.isnan(value)]
        floor = f"{line.best_floor} {line.floors[line.best_floor].text}" if line.best_floor else ""
        rows.append(
            [
                *(line.values.get(name, "") for name in ("task", *shown, *score, "95 % interval", "layer")),
                sparkline(curve),
                span(min(known), max(known), "-") if known else "",
                line.values["not separated from it"],
                floor,
            ]
        )
    others = _measures(table)
    if not lines:
        return others
    judged = [line.row.beats_floors for line in lines if not pd.isna(line.row.beats_floors)]
    notes = [f"{sum(map(bool, judged))} of {len(judged)} lines are above every floor."] if judged else []
    text = "".join(value for line in lines for value in (line.score, *(floor.text for floor in line.floors.values())))
    notes += [f"{mark} {about.meaning}" for mark, about in MARKS.items() if mark in text]
    return "\n".join([*_aligned(rows), "", *notes, ""]) + others


def _measures(table: ResultTable) -> str:
    """The first metrics of each measure beside the probe, mean over seeds, a column for each layer; empty without one."""
    tables = []
    for measure in table.measures:
        frame = table.of_measure(measure).frame
        frame = frame[(frame.status == "done") & (frame.role == "probe")]
        frame = frame.assign(layer=["all layers" if pd.isna(layer) else f"layer {layer}" for layer in frame.layer])
        columns, rows = list(dict.fromkeys(frame.layer)), []
        for metric in [name for name in metrics_of(frame) if not name.startswith("dev_")][:SHOWN]:
            for key, part in frame[frame[metric].notna()].groupby(["paper_name", "encoder", "pooling", "probe"], sort=False):
                means = part.groupby("layer")[metric].mean()
                rows.append([measure, metric, *key, *(f"{means[name]:.4g}" if name in means else "" for name in columns)])
        if rows:
            tables += [*_aligned([["measure", "metric", "task", "encoder", "pooling", "of", *columns], *rows]), ""]
    return "\n".join(["", *tables]) if tables else ""


def sparkline(values: Sequence[float]) -> str:
    """A bar for each value, from the lowest bar for the smallest to the full one for the largest; NaN is a blank.

    >>> sparkline([0.2, 0.4, 0.3]), sparkline([0.5, 0.5]), sparkline([])
    ('▁█▄', '▁▁', '')
    """
    low, high = (np.nanmin(values), np.nanmax(values)) if len(values) and not np.isnan(values).all() else (0.0, 0.0)
    steps = [np.nan if np.isnan(value) else (value - low) / ((high - low) or 1) * (len(BARS) - 1) for value in values]
    return "".join(" " if np.isnan(step) else BARS[round(step)] for step in steps)


def _curve(table: ResultTable, line: Line) -> list[float]:
    """Mean test score by layer at the line's pooling; NaN where a layer is not measured."""
    if not line.row.seeds:
        return []
    where = {name: getattr(line.row, name) for name in ("task", "encoder", "probe", "n_train", "pooling")}
    means = table.where(role="probe", **where).groupby("layer").score.mean()
    return [float(means.get(layer, np.nan)) for layer in range(int(means.index.max()) + 1)]


def first_table(markdown: str) -> str:
    """The first table of a report, as aligned text of at most `LINES` lines below its head; empty where there is none.

    >>> print(first_table("# Title\\n\\n| a | b |\\n|---|---|\\n| 10 |  |\\n"), end="")
    a   b
    10
    """
    block = next((part for part in markdown.split("\n\n") if part.startswith("| ")), "")
    cells = [line[2:-2].split(" | ") for line in block.split("\n") if line.startswith("| ")]
    head, *rows = [row for row in cells if len(row) == len(cells[0])] or [[]]
    more = [f"… {len(rows) - LINES} more lines in table.md"] if len(rows) > LINES else []
    return "".join(f"{line}\n" for line in [*_aligned([head, *rows[:LINES]]), *more]) if rows else ""


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
