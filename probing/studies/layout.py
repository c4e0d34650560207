"""How studies of encoders show their numbers: estimates with intervals in Markdown tables, and a grid of panels, one an encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from probing.report.figures import RC, legend, svg
from probing.report.markdown import md_table
from probing.types import Estimate


def short_names(frame: pd.DataFrame) -> pd.Series:
    """Encoders without task, seed and hash of a checkpoint's folder, where that still tells them apart within a task."""
    short = pd.Series([e.partition(f"-{t}-")[0] for e, t in zip(frame.encoder, frame.task, strict=True)], index=frame.index)
    pairs = pd.DataFrame({"task": frame.task, "encoder": frame.encoder, "short": short}).drop_duplicates()
    return short if not pairs.duplicated(["task", "short"]).any() else frame.encoder


def shown(x: Estimate) -> str:
    """
    >>> shown(Estimate(0.12345, 0.1, 0.2))
    '0.123 [0.1, 0.2]'
    """
    if np.isnan(x.value):
        return "-"
    value, low, high = (f"{0.0 if abs(number) < 1e-12 else number:.3g}" for number in (x.value, x.lower, x.upper))
    return value if np.isnan(x.lower) else f"{value} [{low}, {high}]"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table after an empty line."""
    return ["", md_table(pd.DataFrame(list(rows), columns=list(header)))]


def panels(made: pd.DataFrame, draw: Callable[..., None]) -> str:
    """A grid as SVG: a row for each task and length of segments, a column for each encoder, and one legend.

    Args:
        made: columns long, task, encoder, and what `draw(panel, part)` needs of the part of one encoder.
    """
    kinds = list(dict.fromkeys(zip(made.long, made.task, strict=True)))
    encoders = list(dict.fromkeys(made.encoder))
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(2.5 * len(encoders) + 0.4, 2.4 * len(kinds) + 0.6), layout="constrained")
        grid = figure.subplots(len(kinds), len(encoders), squeeze=False, sharey="row")
        for row, (long, task) in zip(grid, kinds, strict=True):
            for panel, encoder in zip(row, encoders, strict=True):
                part = made[(made.long == long) & (made.task == task) & (made.encoder == encoder)]
                if part.empty:
                    panel.set_visible(False)
                    continue
                draw(panel, part)
                panel.set(xscale="log", yscale="log", title=f"{encoder}, {task}, {'long' if long else 'short'}")
        legend(figure, grid.ravel(), 6)
        return svg(figure)


def curve(panel, x, mean, low, high, colour: str, label: str) -> None:
    """A line with its band; values at 0 have no place on a log axis, and end it."""
    some = np.asarray(mean) > 1e-9
    x, mean, low, high = (np.where(some, np.asarray(values, float), np.nan) for values in (x, mean, low, high))
    panel.plot(x, mean, color=colour, marker="o", ms=2.5, lw=1.2, label=label)
    panel.fill_between(x, np.maximum(low, 1e-6), high, color=colour, alpha=0.15, lw=0)
