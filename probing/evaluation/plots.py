"""Drawings of a result table on axes of matplotlib: layer curves and layer × task heat maps, of `ResultTable` and of the report.

Colour follows the encoder (Okabe & Ito's palette, safe for colour-blind readers), grey is for floors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from probing.errors import ConfigError
from probing.evaluation.best import interval
from probing.evaluation.comparisons import halves_of
from probing.evaluation.metrics import in_words, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from probing.evaluation.table import ResultTable

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
FLOOR_STYLES = {"majority": (0, (1, 1)), "length": (0, (4, 2)), "nb-unigram": (0, (6, 2, 1, 2)), "nb-bigram": "-"}
_OF_NUMBERS = ("mean", "length", "ridge-unigram", "ridge-bigram")
FLOOR_STYLES |= dict(zip(_OF_NUMBERS, FLOOR_STYLES.values(), strict=True))
FLOOR_STYLES["constant set"] = FLOOR_STYLES["majority"]
RC = {"svg.hashsalt": "probing", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "font.family": "DejaVu Sans"}


def curves(panel: Axes, table: ResultTable, task: str, probe: str, pooling: str) -> None:
    """Draw the score (percent) of a task by layer: encoders with 95 % bands, their random twins, the controls and floors."""
    frame, floors = table.frame, table.floors()
    rows = frame[(frame.status == "done") & (frame.probe == probe) & (frame.pooling == pooling) & (frame.task == task)]
    for k, encoder in enumerate(table.encoders):
        colour = PALETTE[k % len(PALETTE)]
        trained = _scores(table, rows[(rows.role == "probe") & (rows.encoder == encoder)])
        if trained.empty:
            continue
        band(panel, 100 * trained, colour, encoder)
        beside: list[tuple[str, str, str, Any, str]] = [("random", "twin_of", "", "--", "random weights")]
        beside += [("control", "encoder", kind, (0, (1, 1 + i)), f"control ({kind})") for i, kind in enumerate(table.controls)]
        for role, column, kind, style, name in beside:
            other = by_layer(rows[(rows.role == role) & (rows[column] == encoder) & (rows.control == kind)], "score")
            if len(other):
                panel.plot(other.index, 100 * other.score, color=colour, ls=style, lw=1, label=f"{encoder}, {name}")
    for name in floors.columns[floors.loc[task].notna()] if task in floors.index else ():
        panel.axhline(100 * floors.loc[task, name], color="#777777", lw=0.9, ls=FLOOR_STYLES.get(name, "-"), label=name)
    mixed = in_words(frame.metric) not in ("accuracy", f"score ({title(rows.metric.iloc[0])})")
    panel.set_title(rows.paper_name.iloc[0] + (f", {title(rows.metric.iloc[0])}" if mixed else ""), fontsize=9)
    layer_axis(panel)


def all_tasks(panel: Axes, table: ResultTable, probe: str, pooling: str) -> None:
    """Draw the score (percent) by layer with a line for each task, in the colour of its place, and a style for each encoder."""
    frame = table.where(role="probe", probe=probe, pooling=pooling)
    encoders = [name for name in table.encoders if name in set(frame.encoder)]
    for k, task in enumerate(name for name in table.tasks if name in set(frame.task)):
        for i, encoder in enumerate(encoders):
            own = frame[(frame.task == task) & (frame.encoder == encoder)]
            if len(own):
                label = own.paper_name.iloc[0] + (f", {encoder}" if len(encoders) > 1 else "")
                band(panel, 100 * _scores(table, own), PALETTE[k % len(PALETTE)], label, ("-", "--", ":", "-.")[i % 4])
    layer_axis(panel)


def heat_map(panel: Axes, table: ResultTable, encoder: str, probe: str, pooling: str) -> None:
    """Draw layer × task; colour: score above that of a constant prediction, as a share of what is left to 100 %."""
    frame = table.where(role="probe", encoder=encoder, probe=probe)
    tasks = [t for t in table.tasks if t in set(frame.task)]
    names = frame.drop_duplicates("task").set_index("task").paper_name
    layers = sorted(int(layer) for layer in frame.layer.unique())
    part = frame[frame.pooling == pooling]
    value = part.pivot_table("score", "layer", "task").reindex(index=layers, columns=tasks)
    floor = part.groupby("task")[["metric", "majority"]].first().reindex(tasks)
    floor = floor.majority.where(floor.metric != "auroc", 0.5)
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


def by_layer(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The metric with its interval by layer: mean over seeds."""
    values = frame.groupby("layer")[[metric, f"{metric}_low", f"{metric}_high"]].mean().astype(float)
    return values.set_axis(values.index.astype(int)).sort_index()


def _scores(table: ResultTable, rows: pd.DataFrame) -> pd.DataFrame:
    """Test score of the layers of one task, encoder, pooling and probe: mean over seeds, with the interval of the table, which
    holds the variance between seeds and between train halves where there are several."""
    lines = {}
    for layer, column in rows.groupby("layer"):
        first = column.iloc[0]
        halves = halves_of(table, first.task, first.encoder, first.probe, first.n_train).get((first.pooling, layer), {})
        lines[int(layer)] = interval(table, first.metric, column.sort_values("seed"), [half.score for half in halves.values()])
    columns = [f"{rows.metric.iloc[0] if len(rows) else 'accuracy'}{end}" for end in ("", "_low", "_high")]
    return pd.DataFrame.from_dict(lines, orient="index", columns=columns).sort_index()


def band(panel: Axes, values: pd.DataFrame, colour: str, label: str, style: str = "-") -> None:
    """A line with its band; the columns of `values` are estimate, low and high, its index the layers."""
    estimate, low, high = (values[column] for column in values)
    if estimate.notna().any():
        panel.plot(values.index, estimate, color=colour, ls=style, marker="o", ms=3, lw=1.6, label=label)
        panel.fill_between(values.index, low, high, color=colour, alpha=0.2, lw=0)


def layer_axis(panel: Any) -> None:
    panel.set_xlabel("layer")
    panel.xaxis.get_major_locator().set_params(integer=True)


# Of a table in a notebook.


def plot_layers(
    table: ResultTable, ax: Axes | None = None, task: str | None = None, pooling: str | None = None, probe: str | None = None
) -> Axes:
    """See `ResultTable.plot_layers`."""
    frame = table.where(role="probe", measure="probe")
    probe, pooling = _chosen(frame, "probe", probe), _chosen(frame, "pooling", pooling)
    tasks = list(dict.fromkeys(frame.task[(frame.probe == probe) & (frame.pooling == pooling)]))
    panel = _axes(ax)
    if task is not None or len(tasks) == 1:
        tasks = [_chosen(frame, "task", task)]
        curves(panel, table, tasks[0], probe, pooling)
    else:
        all_tasks(panel, table, probe, pooling)
    panel.set_ylabel(f"test {in_words(frame.metric[frame.task.isin(tasks)])} (%)")
    panel.legend(fontsize="small", frameon=False)
    return panel


def plot_heat_map(
    table: ResultTable, ax: Axes | None = None, encoder: str | None = None, pooling: str | None = None, probe: str | None = None
) -> Axes:
    """See `ResultTable.plot_heat_map`."""
    frame = table.where(role="probe", measure="probe")
    panel, encoder = _axes(ax), _chosen(frame, "encoder", encoder)
    heat_map(panel, table, encoder, _chosen(frame, "probe", probe), _chosen(frame, "pooling", pooling))
    return panel


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained")[1]


def _chosen(frame: pd.DataFrame, name: str, given: str | None) -> str:
    """The value given, or the first one of the column, of poolings "mean" where it is there."""
    values = list(dict.fromkeys(frame[name]))
    if not values:
        raise ConfigError("the table has no finished layer to draw")
    if given is not None and given not in values:
        raise ConfigError(f"{name}={given!r} is not in the table (there are: {', '.join(values)})")
    return given if given is not None else "mean" if name == "pooling" and "mean" in values else values[0]
