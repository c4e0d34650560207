"""The report of the study `erasure`: for each method and layer a matrix erased × read of losses, and heat maps."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from probing.files import replace_file
from probing.report.figures import RC, labelled, svg
from probing.report.markdown import md_table

NOTE = """# Erase one property, read the others

Loss of test accuracy in points: a probe of the task above, trained before and after erasing the property on the left from the same
vectors [95 % interval, paired over test items]. Rank: directions taken out. * the interval lies above what any of the random
directions of the same rank cost; (before): accuracy of the task's probe and its majority share. Erased directions are fitted on
train: a loss on test may leave some accuracy above the majority by shift."""


def write(frame: pd.DataFrame, folder: Path) -> None:
    """table.md, erasure.csv and figures of the rows of one or several runs."""
    files, blocks = {"erasure.csv": frame.to_csv(index=False)}, [NOTE]
    for k, ((encoder, method), part) in enumerate(frame.groupby(["encoder", "method"], sort=False)):
        for (layer, name), rows in part.groupby(["layer", "layer_name"], sort=True):
            blocks += [f"## {encoder}, {method}, layer {layer} ({name})", md_table(_matrix(rows))]
        title = f"Loss of accuracy in points, erased (rows) × read (columns), by layer: {encoder}, {method}"
        files[f"figure-erasure-{k}.svg"] = labelled(heat_maps(part), title)
    for name, text in {**files, "table.md": "\n\n".join(blocks) + "\n"}.items():
        replace_file(folder / name, text.encode())


def _matrix(rows: pd.DataFrame) -> pd.DataFrame:
    lines = []
    for erased, part in rows.groupby("erased", sort=False):
        line = {"erased": f"{erased} ({int(part['rank'].iloc[0])})"}
        for row in part.itertuples():
            above = "*" if row.loss_low > row.control_loss_high else ""
            line[row.read] = f"{100 * row.loss:z.1f}{above} [{100 * row.loss_low:z.1f}, {100 * row.loss_high:z.1f}]"
        lines.append(line)
    first = rows.drop_duplicates("read")
    before = {row.read: f"{100 * row.before:.1f} ({100 * row.majority:.1f})" for row in first.itertuples()}
    random = rows.groupby("read", sort=False).control_loss.mean()
    lines.append({"erased": "random, mean", **{name: f"{100 * value:z.1f}" for name, value in random.items()}})
    return pd.DataFrame([*lines, {"erased": "(before)", **before}])


def heat_maps(part: pd.DataFrame) -> str:
    """Loss as a share of what a probe had above the majority, a panel for each layer; 1 is all of it, and
    at least ten points."""
    layers, tasks = sorted(part.layer.unique()), list(dict.fromkeys(part.erased))
    widest = min(4, len(layers))
    rows, side, margin = -(-len(layers) // widest), 0.36 * len(tasks), 0.085 * max(map(len, tasks))
    with matplotlib.rc_context(RC | {"axes.spines.left": False, "axes.spines.bottom": False}):
        figure = Figure(figsize=(widest * (side + 0.3) + margin, rows * (side + 0.4) + margin), layout="constrained")
        panels = figure.subplots(rows, widest, squeeze=False, sharex=True, sharey=True)
        for panel in panels.ravel()[len(layers) :]:
            panel.set_visible(False)
        for panel, layer in zip(panels.ravel(), layers, strict=False):
            lines = part[part.layer == layer]
            left = np.maximum(lines.before - lines.majority, 0.1)
            share = (lines.loss / left).clip(-1, 1)
            grid = (
                lines.assign(share=share).pivot_table("share", "erased", "read").reindex(index=tasks, columns=tasks).to_numpy(float)
            )
            panel.imshow(grid, cmap="RdBu", vmin=-1, vmax=1)
            points = lines.pivot_table("loss", "erased", "read").reindex(index=tasks, columns=tasks).to_numpy(float)
            for (i, j), value in np.ndenumerate(points):
                colour = "white" if abs(grid[i, j]) > 0.6 else "black"
                panel.text(j, i, f"{100 * value:z.0f}", ha="center", va="center", fontsize=6, color=colour)
            panel.set_xticks(range(len(tasks)), tasks, rotation=90)
            panel.set_yticks(range(len(tasks)), tasks)
            panel.tick_params(length=0)
            panel.set_title(f"layer {layer}")
        return svg(figure)
