"""Pictures of minimal pairs: accuracy by group and by facet, with floors."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from probing.behaviour.counting import FLOORS
from probing.evaluation.plots import PALETTE
from probing.report.figures import RC, legend, svg


def figures(lines: pd.DataFrame, facets: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Name and SVG text: groups (or paradigms) with floors, and each facet with more than one value."""
    for data, part in lines.groupby("data", sort=False):
        level = "group" if part[part.level == "group"].name.nunique() > 1 else "paradigm"
        some = part[part.level == level]
        if some.name.nunique() > 1:
            yield f"{level}s-{data}", _dots(some, "name")
    for (data, facet), rows in facets.groupby(["data", "facet"], sort=False) if len(facets) else ():
        if rows.value.nunique() > 1:
            yield f"{facet.replace(' ', '-')}-{data}", _curves(rows, facet)


def _labels(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Encoders and protocols: where there are forward or masked ones, these alone, as the tables have all."""
    pairs = list(dict.fromkeys(zip(frame.encoder, frame.protocol, strict=True)))
    return [pair for pair in pairs if pair[1].startswith(("forward", "masked"))] or pairs


def _label(encoder: str, protocol: str) -> str:
    return f"{encoder}, {protocol.partition(',')[0]}"


def _dots(frame: pd.DataFrame, column: str) -> str:
    """Accuracy of each encoder and protocol by name, with intervals; grey marks: floors, the mean over encoders."""
    names = list(dict.fromkeys(frame[column]))[::-1]
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(6.2, 0.34 * len(names) + 1.4), layout="constrained")
        panel = figure.subplots()
        kinds = _labels(frame)
        for k, (encoder, protocol) in enumerate(kinds):
            own = frame[(frame.encoder == encoder) & (frame.protocol == protocol)].set_index(column).reindex(names)
            y = np.arange(len(names)) + 0.5 * (0.5 - (k + 0.5) / len(kinds))
            error = 100 * np.abs(np.array([own.accuracy - own.low, own.high - own.accuracy]))
            panel.errorbar(
                100 * own.accuracy,
                y,
                xerr=error,
                fmt="o",
                ms=3,
                lw=0.9,
                color=PALETTE[k % len(PALETTE)],
                label=_label(encoder, protocol),
            )
        for mark, floor in zip("x|v^", FLOORS, strict=True):
            values = frame.groupby(column)[floor].mean().reindex(names)
            if values.notna().any():
                panel.plot(100 * values, np.arange(len(names)), mark, color="#777777", ms=5, label=floor)
        panel.axvline(100 * frame.chance.mean(), color="#bbbbbb", lw=0.8)
        panel.set(
            yticks=np.arange(len(names)),
            yticklabels=[str(name).replace("_", " ") for name in names],
            xlabel="accuracy (%)",
            xlim=(0, 100),
        )
        legend(figure, [panel], 2)
        return svg(figure)


def _curves(frame: pd.DataFrame, facet: str) -> str:
    """Accuracy by the values of a facet: lines with bands of encoders and protocols; dashed: floors, the mean over encoders."""
    values = list(dict.fromkeys(frame.value))
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(4.8, 3.4), layout="constrained")
        panel = figure.subplots()
        x = np.arange(len(values))
        for k, (encoder, protocol) in enumerate(_labels(frame)):
            own = frame[(frame.encoder == encoder) & (frame.protocol == protocol)].set_index("value").reindex(values)
            colour = PALETTE[k % len(PALETTE)]
            panel.plot(x, 100 * own.accuracy, marker="o", ms=3, lw=1.2, color=colour, label=_label(encoder, protocol))
            panel.fill_between(x, 100 * own.low, 100 * own.high, color=colour, alpha=0.15, lw=0)
        for style, floor in zip(("--", "-.", ":", (0, (1, 3))), FLOORS, strict=True):
            means = frame.groupby("value")[floor].mean().reindex(values)
            if means.notna().any():
                panel.plot(x, 100 * means, ls=style, lw=1, color="#777777", label=floor)
        panel.axhline(100 * frame.chance.mean(), color="#bbbbbb", lw=0.8)
        panel.set(
            xticks=x,
            xticklabels=[str(value).removesuffix(".0").replace("_", " ") for value in values],
            xlabel=facet,
            ylabel="accuracy (%)",
            ylim=(0, 100),
        )
        legend(figure, [panel], 2)
        return svg(figure)
