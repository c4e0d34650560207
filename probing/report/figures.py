"""Pictures of a result table: layer curves and layer × task heat maps, and of interactions by layer; SVG text, made of rows only.

What is drawn on one panel is in `probing.evaluation.plots`, which tables draw with too.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from xml.sax.saxutils import escape

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probing.encoders.pooling import place_in_tables
from probing.evaluation import plots
from probing.evaluation.metrics import in_words
from probing.evaluation.plots import PALETTE, band, by_layer, layer_axis
from probing.evaluation.rows import metrics_of
from probing.evaluation.table import ResultTable
from probing.report.fonts import families, missing_characters_named
from probing.report.markdown import views

Pictures = Iterator[tuple[str, str, str]]
"""Title, name of the file (without figure- and .svg), and SVG text of each picture."""

RC = plots.RC | {"font.family": families()}


def curves(table: ResultTable, probe: str, pooling: str) -> str:
    """The score (percent) by layer, a panel per task: encoders with 95 % bands, their random twins, the control, and the floors."""
    frame = table.where(probe=probe, pooling=pooling)
    tasks = [t for t in table.tasks if t in set(frame.task)]
    with matplotlib.rc_context(RC):
        figure, panels = grid(len(tasks), 4, (2.7, 2.1) if len(tasks) > 1 else (4.2, 2.4))
        for panel, task in zip(panels.ravel(), tasks, strict=False):
            plots.curves(panel, table, task, probe, pooling)
        for panel in panels[:, 0]:
            panel.set_ylabel(f"test {in_words(frame.metric)} (%)")
        legend(figure, panels.ravel(), max(2, panels.shape[1]))
        return svg(figure)


def heat_map(table: ResultTable, encoder: str, probe: str, poolings: Sequence[str]) -> str:
    """Layer × task, one map per pooling; colour: score above that of a constant, as a share of what is left to 100 %."""
    frame = table.where(role="probe", encoder=encoder, probe=probe)
    n_tasks, n_layers = frame.task.nunique(), frame.layer.nunique()
    with matplotlib.rc_context(RC | {"axes.spines.left": False, "axes.spines.bottom": False}):
        figure, panels = grid(len(poolings), 2, (0.55 * n_tasks + 1.4, 0.3 * n_layers + 0.9))
        for panel, pooling in zip(panels.ravel(), poolings, strict=False):
            plots.heat_map(panel, table, encoder, probe, pooling)
        return svg(figure)


def of_measures(table: ResultTable) -> Pictures:
    """Every metric of every measure but the probe over layers: a panel per task, a line per encoder and pooling."""
    for measure in table.measures:
        frame = table.of_measure(measure).frame
        for metric in metrics_of(frame):
            valued = frame[frame[metric].notna() & frame.layer.notna()]
            if len(valued):
                yield f"{measure}: {metric} by layer", f"{measure}-{metric}", _metric_curves(valued, metric)


def _metric_curves(frame: pd.DataFrame, metric: str) -> str:
    tasks = list(dict.fromkeys(frame.paper_name))
    lines = list(dict.fromkeys(zip(frame.encoder, frame.pooling, frame.probe, strict=True)))
    with matplotlib.rc_context(RC):
        figure, panels = grid(len(tasks), 4, (2.7, 2.1) if len(tasks) > 1 else (4.2, 2.4))
        for panel, task in zip(panels.ravel(), tasks, strict=False):
            for k, (encoder, pooling, probe) in enumerate(lines):
                part = frame[(frame.paper_name == task) & (frame.encoder == encoder) & (frame.pooling == pooling)]
                label = ", ".join(filter(None, (encoder, pooling, probe)))
                band(panel, by_layer(part[part.probe == probe], metric), PALETTE[k % len(PALETTE)], label)
            panel.set_title(task, fontsize=9)
            layer_axis(panel)
        panels[0, 0].set_ylabel(metric)
        legend(figure, panels.ravel(), panels.shape[1])
        return svg(figure)


def _all_heat_maps(table: ResultTable) -> Pictures:
    for k, (encoder, probe, poolings) in enumerate(views(table), start=1):
        yield f"Layer × task, {encoder}, {probe}", f"{k}-{encoder}-{probe}", heat_map(table, encoder, probe, poolings)


def _all_curves(table: ResultTable) -> Pictures:
    frame = table.frame[(table.frame.role == "probe") & (table.frame.status == "done")]
    for probe in dict.fromkeys(frame.probe):
        for pooling in sorted(set(frame.pooling[frame.probe == probe]), key=place_in_tables):
            if frame[(frame.probe == probe) & (frame.pooling == pooling)].layer.nunique() > 1:
                yield f"Layer curves, {pooling}, {probe}", f"curves-{pooling}-{probe}", curves(table, probe, pooling)


FIGURES: list[Callable[[ResultTable], Pictures]] = [_all_heat_maps, _all_curves]
"""The figures of every report. To add one, write a function that yields its pictures, and name it in this list."""


_TITLES = {"T": "mean T", "T_relative": "median T_relative"}


def strengths(means: pd.DataFrame) -> str:
    """T and T_relative by layer with 95 % bands, a line per encoder, a row of panels per value.

    Args:
        means: encoder, value, measure, layer, estimate, low, high.
    """
    values, encoders = list(dict.fromkeys(means.value)), list(dict.fromkeys(means.encoder))
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(7.2, 2.2 * len(values)), layout="constrained")
        panels = figure.subplots(len(values), 2, squeeze=False)
        for value, row in zip(values, panels, strict=True):
            for measure, panel in zip(_TITLES, row, strict=True):
                for k, encoder in enumerate(encoders):
                    band(panel, _estimates(means, value, measure, encoder), PALETTE[k % len(PALETTE)], encoder)
                panel.set_title(f"{value}: {_TITLES[measure]}", fontsize=9)
                layer_axis(panel)
        legend(figure, panels.ravel(), 2)
        return svg(figure)


def profile(accuracies: pd.DataFrame, means: pd.DataFrame) -> str:
    """Over one layer axis, probing accuracy of each task, T, and T_relative; a column of panels per encoder.

    Args:
        accuracies: encoder, paper_name, layer, accuracy (0-1).
        means: as in `strengths`.
    """
    encoders = [name for name in dict.fromkeys(means.encoder) if name in set(accuracies.encoder)]
    tasks = list(dict.fromkeys(accuracies.paper_name))
    values = list(dict.fromkeys(means.value))
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(2.6 * len(encoders) + 1.2, 6.4), layout="constrained")
        panels = figure.subplots(3, len(encoders), squeeze=False, sharex="col", height_ratios=[2, 1, 1])
        for encoder, (top, *below) in zip(encoders, panels.T, strict=True):
            for k, task in enumerate(tasks):
                rows_ = accuracies[(accuracies.encoder == encoder) & (accuracies.paper_name == task)].sort_values("layer")
                style = {"color": PALETTE[k % len(PALETTE)], "ls": "-" if k < len(PALETTE) else "--"}
                top.plot(rows_.layer, 100 * rows_.accuracy, marker="o", ms=2.5, lw=1.3, label=task, **style)
            top.set_title(encoder, fontsize=9)
            top.set_ylim(0, 100)
            for measure, panel in zip(_TITLES, below, strict=True):
                for k, value in enumerate(values):
                    shown = _estimates(means, value, measure, encoder)
                    band(panel, shown, "black", f"interaction, {value}", ("-", "--", ":")[k % 3])
            layer_axis(below[-1])
        for panel, name in zip(panels[:, 0], ("test accuracy (%)", *_TITLES.values()), strict=True):
            panel.set_ylabel(name)
        legend(figure, panels.ravel(), min(4, 2 * len(encoders)))
        return svg(figure)


def grid(n: int, widest: int, size: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    """A figure with n panels of a size (width, height), at most `widest` side by side."""
    columns = min(widest, n)
    rows = -(-n // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel in panels.ravel()[n:]:
        panel.set_visible(False)
    return figure, panels


def _estimates(means: pd.DataFrame, value: str, measure: str, encoder: str) -> pd.DataFrame:
    rows_ = means[(means.value == value) & (means.measure == measure) & (means.encoder == encoder)]
    return rows_.set_index("layer")[["estimate", "low", "high"]].sort_index()


def legend(figure: Figure, panels: Iterable[Axes], columns: int) -> None:
    """Adds a legend below the panels, in no more columns than the figure's width holds; the figure gets as much higher, and wider
    where one column needs it."""
    handles = {label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    for n in range(columns, 0, -1):
        made = figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=n, frameon=False)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")  # said when the figure is drawn
            box = made.get_window_extent()
        if box.width <= figure.bbox.width or n == 1:
            break
        made.remove()
    width, height = figure.get_size_inches()
    figure.set_size_inches(max(width, box.width / figure.dpi), height + box.height / figure.dpi)


DARK = "<style>@media (prefers-color-scheme: dark) { svg[role=img] { filter: invert(1) hue-rotate(180deg) } }</style>"
"""Light and dark change places, and a colour keeps its hue."""


def labelled(picture: str, title: str) -> str:
    """The SVG with a title for screen readers, and colours for a dark page; its groups lose their names, which nothing uses and
    which would occur twice in a page of several pictures."""
    name = escape(title, {'"': "&quot;"})
    start = picture.index("<svg")
    head, _, body = picture[start:].partition(">")
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    return f'{picture[:start]}{head} role="img" aria-label="{name}">\n<title>{name}</title>{DARK}{body}'


def svg(figure: Figure) -> str:
    """The figure as SVG text, the same bytes for the same numbers."""
    buffer = io.StringIO()
    with missing_characters_named(), matplotlib.rc_context({"svg.hashsalt": RC["svg.hashsalt"]}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
