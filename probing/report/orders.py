"""Interactions of pairs by order and layer in the report of the study `explanations`: lines, a table, and a figure.

A sentence of n words has orders m = 0 … n - 2, the number of other words that are present; sentences of different lengths meet at
the same share m / (n - 2) of the other words, by linear interpolation between orders. `strength`: mean over pairs of |I^(m)|;
`profile`: the same divided by its mean over the orders of the sentence, so that 1 is a flat curve (Deng et al. 2022, ICLR, divide
the means over sentences). Values are v_f, whose whole is 1.
"""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from probing.evaluation.plots import band
from probing.report.explanation_numbers import LINE, mean_of_units
from probing.report.figures import RC, legend, svg
from probing.report.markdown import md_table

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the words other than the pair: where curves of sentences are read."""
LEAST = 1e-6
"""The strength of a sentence, mean over orders, below which it is rounding of float32 states, and has no profile."""

NOTE = """## Interactions of pairs, by order and layer

I(i, j) in contexts of a share of the other words, 0 (none is present) to 1 (all are): change of v_f of a layer that two words make
together, beyond each alone. Strength: mean over pairs of |I|, over sentences of at least 4 words [95 %], in thousandths of v_f of
the whole sentence; the mean of I over the contexts is the pair's Shapley interaction index. Curves of one layer at all shares, each
divided by its mean, are in orders.csv and the figure (profile). A layer whose strength is rounding has no profile."""


def of_orders(frame: pd.DataFrame) -> pd.DataFrame:
    """A line for each data, encoder, masking, layer and share: means over sentences with at least three orders, `_low` and
    `_high`; no line without such rows."""
    if "order" not in frame or not len(frame := frame[(frame.kind == "order") & (frame.n >= 4)]):
        return pd.DataFrame()
    curves = []
    for key, part in frame.groupby([*LINE, "layer", "sentence"], sort=False):
        part = part.sort_values("order")
        strength = np.interp(SHARES, part.order / part.order.max(), part.strength)
        mean = part.strength.mean()
        profile = strength / mean if mean > LEAST else np.full(len(SHARES), np.nan)
        head = dict(zip([*LINE, "layer"], key, strict=False)) | {"cluster": part.cluster.iloc[0]}
        curves += [head | {"share": s, "strength": a, "profile": b} for s, a, b in zip(SHARES, strength, profile, strict=True)]
    lines = []
    for key, part in pd.DataFrame(curves).groupby([*LINE, "layer", "share"], sort=False):
        line: dict[str, Any] = dict(zip([*LINE, "layer", "share"], key, strict=True)) | {"sentences": len(part)}
        for name in ("strength", "profile"):
            x = mean_of_units(part[name], part.cluster)
            line |= {name: x.value, f"{name}_low": x.lower, f"{name}_high": x.upper}
        lines.append(line)
    return pd.DataFrame(lines)


def order_block(lines: pd.DataFrame) -> list[str]:
    """The table of strengths: a line for each layer, a column for each share."""
    shown = []
    for key, part in lines.groupby([*LINE, "layer"], sort=False) if len(lines) else ():
        line = {"encoder": key[1], "masking": key[2], "layer": f"{key[3]:.0f}", "sentences": str(part.sentences.iloc[0])}
        for row in part.itertuples():
            interval = "" if np.isnan(row.strength_low) else f" [{1000 * row.strength_low:z.2f}, {1000 * row.strength_high:z.2f}]"
            line[f"share {row.share:g}"] = f"{1000 * row.strength:z.2f}{interval}"
        shown.append(line)
    return [NOTE, md_table(pd.DataFrame(shown))] if shown else []


def order_picture(lines: pd.DataFrame) -> str:
    """Strength and profile over the share of other words, a line with its band for each layer, the first light, the last dark."""
    layers = sorted(lines.layer.unique())
    colours = matplotlib.colormaps["viridis_r"](np.linspace(0.1, 1, len(layers)))
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(7.2, 2.8), layout="constrained")
        panels = figure.subplots(1, 2)
        for panel, name in zip(panels, ("strength", "profile"), strict=True):
            for layer, colour in zip(layers, map(matplotlib.colors.to_hex, colours), strict=True):
                own = lines[lines.layer == layer].set_index("share")
                band(panel, own[[name, f"{name}_low", f"{name}_high"]], colour, f"layer {layer:.0f}")
            panel.set(xlabel="share of the other words present", ylabel=name, xticks=SHARES)
        legend(figure, panels, 4)
        return svg(figure)
