"""Any measure beside the probe: a table and a curve over layers for each of its metrics, and paired comparisons."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from probing.evaluation.rows import metrics_of
from probing.evaluation.table import ResultTable
from probing.report.figures import PALETTE, RC, legend, svg

ROLES = {"probe": "", "random": " (random weights)"}


def sections(table: ResultTable) -> list[tuple[str, pd.DataFrame]]:
    """(title, task × layer) of every measure, metric, encoder and pooling: mean over seeds, with the 95 % interval of one seed;
    then the paired comparisons of each measure."""
    shown = []
    for measure in table.measures:
        frame = table.of_measure(measure).frame
        for metric in metrics_of(frame):
            valued = frame[frame[metric].notna()]
            for (encoder, pooling), part in valued.groupby(["encoder", "pooling"], sort=False):
                shown.append((f"{measure}: {metric}, {encoder}, {pooling}", _by_layer(part, metric)))
        lost = frame[frame.status != "done"]
        if len(lost):
            columns = ["task", "encoder", "layer", "pooling", "status", "error"]
            shown.append((f"{measure}: failed or missing", lost[columns].astype(object).fillna("")))
        pairs = table.compare_measure(measure)
        if len(pairs):
            numbers = pairs.select_dtypes("float").columns
            shown.append(
                (
                    f"{measure}: paired comparisons (t test, Holm)",
                    pairs.assign(**{c: pairs[c].map("{:.4g}".format) for c in numbers}),
                )
            )
    return shown


def _by_layer(part: pd.DataFrame, metric: str) -> pd.DataFrame:
    lines = []
    for task, rows in part.groupby("paper_name", sort=False):
        line = {"task": task}
        for layer, cells in rows.sort_values("layer").groupby("layer"):
            value, low, high = cells[[metric, f"{metric}_low", f"{metric}_high"]].mean()
            line[f"layer {layer}"] = f"{value:.4g}" + ("" if pd.isna(low) else f" [{low:.4g}, {high:.4g}]")
        lines.append(line)
    return pd.DataFrame(lines).fillna("")


def pictures(table: ResultTable, folder: Path) -> list[tuple[str, str]]:
    """(title, SVG) of every measure and metric over layers: a panel per task, a line per encoder and pooling."""
    made = []
    for measure in table.measures:
        frame = table.of_measure(measure).frame
        for metric in metrics_of(frame):
            valued = frame[frame[metric].notna() & frame.layer.notna()]
            if valued.empty:
                continue
            made.append((f"{measure}: {metric} by layer", _curves(valued, metric)))
            slug = "".join(c if c.isalnum() else "-" for c in f"{measure}-{metric}")
            (folder / f"figure-{slug}.svg").write_text(made[-1][1], encoding="utf-8")
    return made


def _curves(frame: pd.DataFrame, metric: str) -> str:
    tasks = list(dict.fromkeys(frame.paper_name))
    lines = list(dict.fromkeys(zip(frame.encoder, frame.pooling, strict=True)))
    columns = min(4, len(tasks))
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(2.7 * columns, 2.1 * -(-len(tasks) // columns) + 0.6), layout="constrained")
        panels = figure.subplots(-(-len(tasks) // columns), columns, squeeze=False).ravel()
        for panel, task in zip(panels, tasks, strict=False):
            for k, (encoder, pooling) in enumerate(lines):
                part = frame[(frame.paper_name == task) & (frame.encoder == encoder) & (frame.pooling == pooling)]
                mean = part.groupby("layer")[[metric, f"{metric}_low", f"{metric}_high"]].mean().astype(float)
                layers, colour = mean.index.astype(int), PALETTE[k % len(PALETTE)]
                panel.plot(layers, mean[metric], color=colour, marker="o", ms=3, lw=1.6, label=f"{encoder}, {pooling}")
                panel.fill_between(layers, mean[f"{metric}_low"], mean[f"{metric}_high"], color=colour, alpha=0.2, lw=0)
            panel.set_title(task, fontsize=9)
            panel.set_xlabel("layer")
            panel.xaxis.get_major_locator().set_params(integer=True)
        for panel in panels[len(tasks) :]:
            panel.set_visible(False)
        panels[0].set_ylabel(metric)
        legend(figure, panels, max(1, columns))
        return svg(figure)
