"""Figures of an atlas: properties by layer of one encoder; scores of several by name, with letters, and by number of weights.

Colour follows the architecture, so that seeds of one stand out as such. In SVG, what shows a number is a group with
an id (`probing.report.atlas_page.link`), by which the page makes it open its card; the files on disk are without.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter, NullFormatter

from probing.evaluation.metrics import title
from probing.evaluation.plots import PALETTE
from probing.log import excerpt
from probing.report.atlas_page import key_of, link
from probing.report.atlas_verdicts import LEVEL
from probing.report.figures import RC, grid, legend

GREY = "#777777"
COLOURS = "colour: score less best floor, as a share of what is left to 100: red -1, white 0, blue 1"
LONGEST = 26
"""Characters of a name in a figure."""
RING: Any = {"mec": (0, 0, 0, 0), "mew": 3}
"""An edge that is not seen, so that a small point can be hit."""


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
                colour = PALETTE[k % len(PALETTE)]
                panels[-1].plot(at, line.value, color=colour, ls=style, lw=1, marker="o", ms=2, label=name)
                for x, row in zip(at, line.itertuples(), strict=True):
                    panels[-1].plot([x], [row.value], color=colour, marker="o", ms=2, gid=link(key_of(row)), **RING)
            panels[-1].set_ylabel("T")
            legend(figure, panels[-1:], 5)
        panels[-1].set_xticks(range(len(layers)), [str(layer) for layer in layers])
        panels[-1].set_xlabel("layer")
    return figure


def _scores(panel: Axes, encoded: pd.DataFrame, names: list[str], layers: list[int]) -> None:
    """The heat map of `strip`."""
    colour = matplotlib.colormaps["RdBu"]
    for row in encoded[encoded.value.notna()].itertuples():
        i, j = names.index(row.paper_name), layers.index(row.layer)
        gain = (row.value - row.against_value) / max(1 - row.against_value, 1e-9)
        fill = "white" if np.isnan(gain) else colour(np.clip((1 + gain) / 2, 0, 1))
        panel.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fc=fill, ec="white", lw=0.4, gid=link(key_of(row))))
        mark = "*" if row.p_holm <= LEVEL and row.value > row.against_value else ""
        ink = "white" if abs(gain) > 0.6 else "black"
        panel.text(j, i, f"{100 * row.value:.0f}{mark}", ha="center", va="center", fontsize=7, color=ink)
    panel.set(xlim=(-0.5, len(layers) - 0.5), ylim=(len(names) - 0.5, -0.5))
    panel.set_yticks(range(len(names)), [_titled(encoded, name) for name in names])
    panel.tick_params(length=0)
    panel.set_title(f"score (%); * above every floor\n{COLOURS}", fontsize=7, loc="left")


def by_encoder(best: pd.DataFrame, letters: Mapping[tuple[str, str], str]) -> Figure:
    """A panel for each property: the score of each encoder at its dev-best layer with its 95 % interval, its letters, and its best
    floor.

    Args:
        best: rows of the column `encoded` with the role best, and `key`, the name of the number in the page.
        letters: (paper_name, encoder) -> letters; none where an encoder was not compared.
    """
    encoders, colours = list(dict.fromkeys(best.encoder)), _colours(best)
    names = list(dict.fromkeys(best.paper_name))
    with matplotlib.rc_context(RC):
        figure, panels = grid(len(names), 4, (2.0, 0.2 * len(encoders) + 0.6))
        for panel, name in zip(panels.ravel(), names, strict=False):
            for row in best[best.paper_name == name].itertuples():
                y = encoders.index(row.encoder)
                _point(panel, y, row, colours, across=True)
                panel.annotate(
                    letters.get((name, row.encoder), ""), (100 * row.high, y), xytext=(4, 0), textcoords="offset points",
                    va="center", fontsize=6,
                )  # fmt: skip
            panel.set_yticks(range(len(encoders)), [])
            panel.set_ylim(len(encoders) - 0.4, -0.6)
            panel.margins(x=0.2)
            panel.set_title(_titled(best, name), fontsize=9)
        for panel in panels[:, 0]:
            panel.set_yticks(range(len(encoders)), short(encoders))
        for panel in panels[-1]:
            panel.set_xlabel("test score (%)")
        legend(figure, panels.ravel(), 4)
    return figure


def short(names: Sequence[str]) -> list[str]:
    """The names without options in brackets, and not longer than `LONGEST`, where that tells them apart; else with their number.

    >>> short(["lstm[layers=2] (untrained 0)", "minilm"]), short(["lstm[layers=2]", "lstm"])
    (['lstm (untrained 0)', 'minilm'], ['1 lstm', '2 lstm'])
    """
    made = [excerpt(re.sub(r"\[[^\]]*\]", "", name), LONGEST) for name in names]
    return made if len(set(made)) == len(made) else [f"{k} {name}" for k, name in enumerate(made, 1)]


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
            _weights_axis(panel, best.parameters.min(), best.parameters.max())
            panel.set_title(_titled(best, name), fontsize=9)
        for panel in panels[-1]:
            panel.set_xlabel("weights")
        for panel in panels[:, 0]:
            panel.set_ylabel("test score (%)")
        legend(figure, panels.ravel(), 4)
    return figure


def _titled(rows: pd.DataFrame, name: str) -> str:
    """The property, with the name of its score where that is not accuracy."""
    metric = rows.metric[rows.paper_name == name].iloc[0]
    return name if metric == "accuracy" else f"{name} ({title(metric)})"


def _weights_axis(panel: Axes, least: float, most: float) -> None:
    """A logarithmic axis that names its ends alone: labels of every decade and part overprint on a small panel."""
    panel.set_xscale("log")
    panel.set_xlim(least / 1.6, most * 1.6)
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xticks([least, most], [EngFormatter(places=1, sep="")(n) for n in (least, most)])
    if most < 2 * least:
        first, last = panel.get_xticklabels()
        first.set_horizontalalignment("right")
        last.set_horizontalalignment("left")


def _colours(best: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Architecture -> colour, and its name in the legend."""
    names = list(dict.fromkeys(best.architecture.fillna("")))
    return {name: (PALETTE[k % len(PALETTE)], shown) for k, (name, shown) in enumerate(zip(names, short(names), strict=True))}


def _point(panel: Axes, at: float, row: Any, colours: Mapping[str, tuple[str, str]], across: bool = False) -> None:
    """A score with its interval, and the best floor; `across`: scores run from left to right."""
    value, low, high, floor = (100 * getattr(row, name) for name in ("value", "low", "high", "against_value"))
    colour, label = colours[row.architecture if isinstance(row.architecture, str) else ""]
    ends = [[value - low], [high - value]]
    xerr, yerr = (ends, None) if across else (None, ends)
    x, y = (value, at) if across else (at, value)
    panel.errorbar([x], [y], xerr=xerr, yerr=yerr, color=colour, marker="o", ms=3, lw=1.2, capsize=2, ls="", label=label)
    panel.plot([x], [y], color=colour, marker="o", ms=3, gid=link(row.key), **RING)
    x, y = (floor, at) if across else (at, floor)
    panel.plot([x], [y], color=GREY, marker="|" if across else "_", ms=6, ls="", label="its best floor")
