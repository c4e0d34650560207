"""Figures of an atlas: properties by layer of one encoder; scores of several by name, with letters, and by number of weights.

Colour follows the architecture, so that seeds of one stand out as such.
"""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probing.evaluation.plots import PALETTE
from probing.report.atlas_verdicts import LEVEL
from probing.report.figures import RC, grid, legend

GREY = "#777777"


def strip(part: pd.DataFrame) -> Figure:
    """Properties × layers of an encoder, the score above its best floor as a share of what is left; beneath T of every property on
    the same axis."""
    encoded = part[(part.column == "encoded") & (part.role == "layer")]
    encoded = encoded.assign(layer=encoded.layer.astype(int))
    T = part[(part.column == "interacting") & (part.metric == "T")]
    names = [name for name in dict.fromkeys(part.paper_name) if name in set(encoded.paper_name)]
    layers = sorted({*encoded.layer, *T.layer.astype(int)})
    heights = [0.26 * len(names) + 0.3] * (len(names) > 0) + [1.5] * (len(T) > 0)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(max(0.5 * len(layers) + 1.4, 5.2), sum(heights) + 0.5), layout="constrained")
        panels = np.ravel(figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights))
        if names:
            _scores(panels[0], encoded, names, layers)
        if len(T):
            for k, (name, line) in enumerate(T.groupby("paper_name", sort=False)):
                at, style = [layers.index(int(layer)) for layer in line.layer], ("-", "--", ":")[k // len(PALETTE) % 3]
                panels[-1].plot(at, line.value, color=PALETTE[k % len(PALETTE)], ls=style, lw=1, marker="o", ms=2, label=name)
            panels[-1].set_ylabel("T")
            legend(figure, panels[-1:], 5)
        panels[-1].set_xticks(range(len(layers)), [str(layer) for layer in layers])
        panels[-1].set_xlabel("layer")
    return figure


def _scores(panel: Axes, encoded: pd.DataFrame, names: list[str], layers: list[int]) -> None:
    """The heat map of `strip`."""
    score, floor, p = (
        encoded.pivot_table(column, "paper_name", "layer", sort=False, dropna=False)
        .reindex(index=names, columns=layers)
        .to_numpy(float)
        for column in ("value", "against_value", "p_holm")
    )
    gain = (score - floor) / np.clip(1 - floor, 1e-9, None)
    panel.imshow(gain, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(score):
        if not np.isnan(value):
            mark = "*" if p[i, j] <= LEVEL and value > floor[i, j] else ""
            colour = "white" if abs(gain[i, j]) > 0.6 else "black"
            panel.text(j, i, f"{100 * value:.0f}{mark}", ha="center", va="center", fontsize=6, color=colour)
    panel.set_yticks(range(len(names)), names)
    panel.tick_params(length=0)
    panel.set_title("score (%), blue: above the best floor, red: below; * above every floor", fontsize=7, loc="left")


def by_encoder(best: pd.DataFrame, letters: Mapping[tuple[str, str], str]) -> Figure:
    """A panel for each property: the score of each encoder at its dev-best layer with its 95 % interval, its letters above, and its
    best floor.

    Args:
        best: rows of the column `encoded` with the role best.
        letters: (paper_name, encoder) -> letters; none where an encoder was not compared.
    """
    encoders, colours = list(dict.fromkeys(best.encoder)), _colours(best)
    with matplotlib.rc_context(RC):
        names = list(dict.fromkeys(best.paper_name))
        figure, panels = grid(len(names), 4, (max(1.9, 0.3 * len(encoders) + 0.7), 2.1))
        for panel, name in zip(panels.ravel(), names, strict=False):
            for row in best[best.paper_name == name].itertuples():
                x = encoders.index(row.encoder)
                _point(panel, x, row, colours)
                panel.annotate(
                    letters.get((name, row.encoder), ""), (x, 100 * row.high), xytext=(0, 2), textcoords="offset points",
                    ha="center", fontsize=6,
                )  # fmt: skip
            panel.set_xticks(range(len(encoders)), encoders, rotation=45, ha="right", rotation_mode="anchor", fontsize=6)
            panel.set_xlim(-0.6, len(encoders) - 0.4)
            panel.margins(y=0.15)
            panel.set_title(name, fontsize=9)
        _finish(figure, panels)
    return figure


def by_parameters(best: pd.DataFrame) -> Figure | None:
    """A panel for each property: the score over the number of weights, a logarithmic axis; None without two numbers."""
    best = best[best.parameters.notna()]
    if best.parameters.nunique() < 2:
        return None
    colours = _colours(best)
    with matplotlib.rc_context(RC):
        names = list(dict.fromkeys(best.paper_name))
        figure, panels = grid(len(names), 4, (2.1, 2.0))
        for panel, name in zip(panels.ravel(), names, strict=False):
            for row in best[best.paper_name == name].itertuples():
                _point(panel, row.parameters, row, colours)
            panel.set_xscale("log")
            panel.set_xlim(best.parameters.min() / 1.6, best.parameters.max() * 1.6)
            panel.set_title(name, fontsize=9)
            panel.set_xlabel("weights")
        _finish(figure, panels)
    return figure


def _colours(best: pd.DataFrame) -> dict[str, str]:
    return {name: PALETTE[k % len(PALETTE)] for k, name in enumerate(dict.fromkeys(best.architecture))}


def _point(panel: Axes, x: float, row: object, colours: Mapping[str, str]) -> None:
    value, low, high, floor = (100 * getattr(row, name) for name in ("value", "low", "high", "against_value"))
    architecture = row.architecture  # type: ignore[attr-defined]
    panel.errorbar(
        [x], [value], [[value - low], [high - value]], color=colours[architecture], marker="o", ms=3, lw=1.2, capsize=2,
        label=architecture,
    )  # fmt: skip
    panel.plot([x], [floor], color=GREY, marker="_", ms=7, ls="", label="its best floor")


def _finish(figure: Figure, panels: np.ndarray) -> None:
    for panel in panels[:, 0]:
        panel.set_ylabel("test score (%)")
    legend(figure, panels.ravel(), 4)
