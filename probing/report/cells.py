"""The report of the study `cells`: the best cell of each signal and layer, saturation of gates, and coloured text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from probing.evaluation.paired_tests import holm
from probing.evaluation.plots import PALETTE
from probing.files import replace_file
from probing.log import human_count
from probing.neurons.coloured import page, spans
from probing.neurons.gates import LEFT, RIGHT, gate_of
from probing.report.figures import RC, labelled, legend, svg
from probing.report.markdown import md_table
from probing.report.summary import p_value

NOTE = """For each layer and signal the cell with the largest |correlation| on the first half of the text, and its correlation on
the second half, with the sign of the first. Null: 95 % of the values of the same search with the signal shifted around in the text
lie below this. p after Holm over the {n} lines of an encoder. **Bold**: p < 0.05. Columns *shuffled*: the search with the signals
of the shuffled text, which must find nothing (p after Holm over its own lines)."""

KEY = ["encoder", "file", "layer", "layer_name"]


def tested(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of a kind, cell or shuffled, with p after Holm over those of an encoder and file (`p_holm`)."""
    rows = frame[frame.kind == kind].copy()
    for _, own in rows.groupby(["encoder", "file"], sort=False):
        rows.loc[own.index, "p_holm"] = holm(own.p)
    return rows


def write(frame: pd.DataFrame, folder: Path) -> None:
    """Write cells.csv, gates.csv, table.md, figure-gates.svg and cells.html."""
    cells = tested(frame, "cell") if (frame.kind == "cell").any() else frame[frame.kind == "cell"]
    blocks = ["# Cells"]
    if len(cells):
        shuffled = tested(frame, "shuffled")
        blocks.append(NOTE.format(n=cells.groupby(["encoder", "file"]).size().max()))
        for (encoder, file), own in cells.groupby(["encoder", "file"], sort=False):
            first, least = own.iloc[0], len(own) / (1 + own.shifts.max())
            if least >= 0.05:
                few = f"With {own.shifts.max():.0f} shifts and {human_count(len(own), 'line')} no p after Holm is below {least:.2g}"
                blocks.append(f"{few}: raise study.shifts.")
            blocks += [f"## {encoder}, {file}: {int(first.places):,} {first.unit}s", _table(own, shuffled)]
        columns = [*KEY, "signal", "cell", "first", "value", "null", "p", "p_holm", "shifts", "places", "unit"]
        both = pd.concat([cells[columns].assign(signals="text"), shuffled[columns].assign(signals="shuffled")])
        replace_file(folder / "cells.csv", both.astype({"cell": int, "shifts": int}).to_csv(index=False).encode())
        if "text" in cells and cells.text.notna().any():
            replace_file(folder / "cells.html", _coloured(cells).encode())
    dead = frame[(frame.kind == "layer") & (frame.get("dead", pd.Series("[]", frame.index)).fillna("[]") != "[]")]
    if len(dead):
        blocks.append(
            "\n".join(
                f"{row.encoder}, layer {row.layer} ({row.layer_name}): dead cells {row.dead[1:-1]}" for row in dead.itertuples()
            )
        )
    gates = frame[frame.kind == "gate"]
    if len(gates):
        columns = [*KEY, "cell", "left", "right", "places"]
        replace_file(folder / "gates.csv", gates[columns].astype({"cell": int}).to_csv(index=False).encode())
        title = "Saturation of gates: each dot is a unit"
        replace_file(folder / "figure-gates.svg", labelled(_gates(gates), title).encode())
        blocks += [
            f"## Gates\n\nShare of places where a gate is below {LEFT} (left) or above {RIGHT} (right), units of a layer.",
            _saturation(gates),
        ]
    replace_file(folder / "table.md", ("\n\n".join(blocks) + "\n").encode())


def _table(cells: pd.DataFrame, shuffled: pd.DataFrame) -> str:
    beside = shuffled.set_index([*KEY, "signal"])
    lines = []
    for row in cells.to_dict("records"):
        value = f"{row['value']:.3f}"
        line = {"layer": f"{row['layer']} {row['layer_name']}", "signal": row["signal"], "cell": int(row["cell"])}
        line |= {"first half": f"{row['first']:.3f}", "second half": f"**{value}**" if row["p_holm"] < 0.05 else value}
        line |= {"null 95 %": f"{row['null']:.3f}", "p": p_value(row["p_holm"])}
        key = (*(row[name] for name in KEY), row["signal"])
        if key in beside.index:
            other = beside.loc[key]
            line |= {"shuffled": f"{other['value']:.3f}", "shuffled p": p_value(other["p_holm"])}
        lines.append(line)
    return md_table(pd.DataFrame(lines).fillna(""))


def _saturation(gates: pd.DataFrame) -> str:
    lines = []
    for (encoder, _, layer, name), own in gates.groupby(KEY, sort=False):
        line = {"encoder": encoder, "layer": f"{layer} {name}", "units": len(own)}
        line |= {side: f"{own[side].mean():.3f}" for side in ("left", "right")}
        line |= {f"{side} more than 0.9 of the time": int((own[side] > 0.9).sum()) for side in ("left", "right")}
        lines.append(line)
    return md_table(pd.DataFrame(lines))


def _gates(gates: pd.DataFrame) -> str:
    """Right over left saturation as SVG, a panel for each gate, a colour for each LSTM."""
    names = list(dict.fromkeys(gate_of(name) for name in gates.layer_name))
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(2.6 * len(names), 2.7), layout="constrained")
        panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
        for panel, gate in zip(panels, names, strict=True):
            own = gates[[gate_of(name) == gate for name in gates.layer_name]]
            lstms: Any = own.groupby([own.encoder, own.layer_name.str.removesuffix(f" {gate}")], sort=False)
            for k, ((encoder, lstm), part) in enumerate(lstms):
                label = f"{encoder.partition('[')[0]}, {lstm}"
                panel.plot(
                    part.left, part.right, ls="", marker="o", ms=3.5, alpha=0.6, mew=0, color=PALETTE[k % len(PALETTE)], label=label
                )
            panel.plot([0, 1], [1, 0], color="#777777", lw=0.7, ls=":")
            panel.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="left saturated", title=f"{gate} gate")
        panels[0].set_ylabel("right saturated")
        legend(figure, panels, 3)
        return svg(figure)


def _coloured(cells: pd.DataFrame) -> str:
    """The text in the colours of the cell with the highest value of each signal."""
    sections = []
    for (encoder, signal), own in cells.groupby(["encoder", "signal"], sort=False):
        row = own.loc[own.value.idxmax()]
        pieces, values = json.loads(row.text)
        verdict = f"p {p_value(row.p_holm)}" if row.p_holm < 0.05 else "not told from the null"
        of = f"{encoder.partition('[')[0]}, {row.layer_name}, cell {int(row.cell)}"
        head = f"{signal}: {of}, correlation {row.value:.2f} ({verdict})"
        sections.append((head, spans(pieces, values, 2.5)))
    return page("Cells and signals: standard deviations from a cell's mean", sections)
