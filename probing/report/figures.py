"""Pictures of a result table: layer curves and layer × task heat maps, and of interactions by layer; SVG text, made of rows only.

Colour follows the encoder (Okabe & Ito's palette, safe for colour-blind readers), grey is for floors.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from xml.sax.saxutils import escape

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probing.encoders.pooling import place_in_tables
from probing.evaluation.best import interval
from probing.evaluation.comparisons import halves_of
from probing.evaluation.rows import metrics_of
from probing.evaluation.table import ResultTable
from probing.report.fonts import families, missing_characters_named
from probing.report.markdown import views

Pictures = Iterator[tuple[str, str, str]]
"""Title, name of the file (without figure- and .svg), and SVG text of each picture."""

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
FLOOR_STYLES = {"majority": (0, (1, 1)), "length": (0, (4, 2)), "nb-unigram": (0, (6, 2, 1, 2)), "nb-bigram": "-"}
RC = {"svg.hashsalt": "probing", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "font.family": families()}


def curves(table: ResultTable, probe: str, pooling: str) -> str:
    """Accuracy (percent) by layer, a panel per task: encoders with 95 % bands, their random twins, the control, and the floors."""
    frame = table.frame[(table.frame.status == "done")]
    part = frame[(frame.probe == probe) & (frame.pooling == pooling)]
    floors = table.floors()
    tasks = [t for t in table.tasks if t in set(part.task)]
    with matplotlib.rc_context(RC):
        figure, panels = _grid(len(tasks), 4, (2.7, 2.1), 0.6)
        for panel, task in zip(panels.ravel(), tasks, strict=False):
            rows_ = part[part.task == task]
            for k, encoder in enumerate(table.encoders):
                colour = PALETTE[k % len(PALETTE)]
                trained = _accuracies(table, rows_[(rows_.role == "probe") & (rows_.encoder == encoder)])
                if trained.empty:
                    continue
                _band(panel, 100 * trained, colour, encoder)
                beside: list[tuple[str, str, str, Any, str]] = [("random", "twin_of", "", "--", "random weights")]
                beside += [
                    ("control", "encoder", kind, (0, (1, 1 + i)), f"control ({kind})") for i, kind in enumerate(table.controls)
                ]
                for role, column, kind, style, name in beside:
                    same = (rows_.role == role) & (rows_[column] == encoder) & (rows_.control == kind)
                    other = _by_layer(rows_[same], "accuracy")
                    if len(other):
                        panel.plot(other.index, 100 * other.accuracy, color=colour, ls=style, lw=1, label=f"{encoder}, {name}")
            for name in floors.columns if task in floors.index else ():
                panel.axhline(100 * floors.loc[task, name], color="#777777", lw=0.9, ls=FLOOR_STYLES.get(name, "-"), label=name)
            panel.set_title(rows_.paper_name.iloc[0], fontsize=9)
            _layer_axis(panel)
        for panel in panels[:, 0]:
            panel.set_ylabel("test accuracy (%)")
        legend(figure, panels.ravel(), max(2, panels.shape[1]))
        return svg(figure)


def heat_map(table: ResultTable, encoder: str, probe: str, poolings: Sequence[str]) -> str:
    """Layer × task, one map per pooling; colour: accuracy above the majority rate, as a share of what is left to 100 %."""
    frame = table.frame[(table.frame.role == "probe") & (table.frame.encoder == encoder) & (table.frame.probe == probe)]
    frame = frame[frame.status == "done"]
    tasks = [t for t in table.tasks if t in set(frame.task)]
    names = frame.drop_duplicates("task").set_index("task").paper_name
    layers = sorted(int(layer) for layer in frame.layer.unique())
    with matplotlib.rc_context(RC | {"axes.spines.left": False, "axes.spines.bottom": False}):
        figure, panels = _grid(len(poolings), 2, (0.55 * len(tasks) + 1.4, 0.3 * len(layers) + 0.9))
        for panel, pooling in zip(panels.ravel(), poolings, strict=False):
            part = frame[frame.pooling == pooling]
            value = part.pivot_table("accuracy", "layer", "task").reindex(index=layers, columns=tasks)
            floor = part.groupby("task").majority.first().reindex(tasks)
            gain = ((value - floor) / (1 - floor)).astype(float).to_numpy()
            panel.imshow(gain, cmap="Blues", vmin=0, vmax=1, aspect="auto", origin="lower")
            for (i, j), score in np.ndenumerate(value.to_numpy(float)):
                if not np.isnan(score):
                    colour = "white" if gain[i, j] > 0.55 else "black"
                    panel.text(j, i, f"{100 * score:.0f}", ha="center", va="center", fontsize=7, color=colour)
            panel.set_xticks(range(len(tasks)), [names[t] for t in tasks], rotation=45, ha="right")
            panel.set_yticks(range(len(layers)), [str(layer) for layer in layers])
            panel.tick_params(length=0)
            panel.set_title(f"{encoder}, {pooling}", fontsize=9)
            panel.set_ylabel("layer")
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
    lines = list(dict.fromkeys(zip(frame.encoder, frame.pooling, strict=True)))
    with matplotlib.rc_context(RC):
        figure, panels = _grid(len(tasks), 4, (2.7, 2.1), 0.6)
        for panel, task in zip(panels.ravel(), tasks, strict=False):
            for k, (encoder, pooling) in enumerate(lines):
                part = frame[(frame.paper_name == task) & (frame.encoder == encoder) & (frame.pooling == pooling)]
                _band(panel, _by_layer(part, metric), PALETTE[k % len(PALETTE)], f"{encoder}, {pooling}")
            panel.set_title(task, fontsize=9)
            _layer_axis(panel)
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
        figure = Figure(figsize=(7.2, 2.2 * len(values) + 0.5), layout="constrained")
        panels = figure.subplots(len(values), 2, squeeze=False)
        for value, row in zip(values, panels, strict=True):
            for measure, panel in zip(_TITLES, row, strict=True):
                for k, encoder in enumerate(encoders):
                    _band(panel, _estimates(means, value, measure, encoder), PALETTE[k % len(PALETTE)], encoder)
                panel.set_title(f"{value}: {_TITLES[measure]}", fontsize=9)
                _layer_axis(panel)
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
                    _band(panel, shown, "black", f"interaction, {value}", ("-", "--", ":")[k % 3])
            _layer_axis(below[-1])
        for panel, name in zip(panels[:, 0], ("test accuracy (%)", *_TITLES.values()), strict=True):
            panel.set_ylabel(name)
        legend(figure, panels.ravel(), min(4, 2 * len(encoders)))
        return svg(figure)


def _grid(n: int, widest: int, size: tuple[float, float], below: float = 0.0) -> tuple[Figure, np.ndarray]:
    """A figure with n panels of a size (width, height), at most `widest` side by side, and room for a legend below."""
    columns = min(widest, n)
    rows = -(-n // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows + below), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel in panels.ravel()[n:]:
        panel.set_visible(False)
    return figure, panels


def _by_layer(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The metric with its interval by layer: mean over seeds."""
    values = frame.groupby("layer")[[metric, f"{metric}_low", f"{metric}_high"]].mean().astype(float)
    return values.set_axis(values.index.astype(int)).sort_index()


def _accuracies(table: ResultTable, rows: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy of the layers of one task, encoder, pooling and probe: mean over seeds, with the interval of the table, which
    holds the variance between seeds and between train halves where there are several."""
    lines = {}
    for layer, column in rows.groupby("layer"):
        first = column.iloc[0]
        halves = halves_of(table, first.task, first.encoder, first.probe, first.n_train).get((first.pooling, layer), {})
        lines[int(layer)] = interval(table, "accuracy", column.sort_values("seed"), [half.accuracy for half in halves.values()])
    return pd.DataFrame.from_dict(lines, orient="index", columns=["accuracy", "accuracy_low", "accuracy_high"]).sort_index()


def _estimates(means: pd.DataFrame, value: str, measure: str, encoder: str) -> pd.DataFrame:
    rows_ = means[(means.value == value) & (means.measure == measure) & (means.encoder == encoder)]
    return rows_.set_index("layer")[["estimate", "low", "high"]].sort_index()


def _band(panel: Axes, values: pd.DataFrame, colour: str, label: str, style: str = "-") -> None:
    """A line with its band; the columns of `values` are estimate, low and high, its index the layers."""
    estimate, low, high = (values[column] for column in values)
    if estimate.notna().any():
        panel.plot(values.index, estimate, color=colour, ls=style, marker="o", ms=3, lw=1.6, label=label)
        panel.fill_between(values.index, low, high, color=colour, alpha=0.2, lw=0)


def _layer_axis(panel: Any) -> None:
    panel.set_xlabel("layer")
    panel.xaxis.get_major_locator().set_params(integer=True)


def legend(figure: Figure, panels: Iterable[Axes], columns: int) -> None:
    handles = {label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns, frameon=False)


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
    with missing_characters_named():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
