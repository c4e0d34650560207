"""The report of the study `properties`: for each property one table by layer, and what they say in words by stated rules."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from probing.evaluation.paired_tests import holm
from probing.evaluation.plots import PALETTE, RC, layer_axis
from probing.files import replace_file
from probing.report import neurons
from probing.report.figures import labelled, legend, svg
from probing.report.markdown import md_table

ALPHA = 0.05
NOTE = """# Encoded, where, used

**Encoded**: test accuracy of the probe [95 %]; above: less the best floor, paired on the items; yes where p after Holm over the
layers of the property is at most 0.05. Selectivity: less the accuracy on control labels by word type, one draw. **Where**:
accuracy of the best {units} units, and less that of the best {units} directions of a random basis (verdicts as in
+experiment=neurons, over all lines of this report); smallest: units within a point of all on dev, in brackets what all others
reach without them. **Used**: points lost on pairs about the property when its
directions are erased from all tokens of the layer (of an LSTM from its cell, too), or its units ablated, less the mean of
{draws} random draws of the same rank or number [95 % over items and draws]. *Yes*: the largest loss of all layers is above the
largest of at least 95 % of the draws, and its interval above 0. *No*: at every layer the interval lies within the margin around
0. Else *not shown*, also where the accuracy before is not above chance. *Not erased*: as no, but at some layer a linear
classifier still reads the property. A property may be used in ways that these pairs do not test. **KL** of the next word's
distribution from that before, in nats: random directions are matched in rank, not in damage; where erasing changes all
predictions far more than they do, a loss may be that damage."""

COLUMNS = {"score": "encoded", "above": "above the best floor", "selectivity": "selectivity", "where_accuracy": "best units",
           "where_less_rotated": "less rotated", "erase_extra": "erased", "ablate_extra": "ablated"}  # fmt: skip


def write(frame: pd.DataFrame, folder: Path) -> None:
    """Writes table.md, properties.csv, verdicts.csv and a figure of every encoder."""
    in_words = verdicts(frame)
    blocks = [NOTE.format(**_options(frame)), md_table(in_words)]
    for (encoder, name), part in frame.groupby(["encoder", "property"], sort=False):
        blocks += [f"## {encoder}: {name}", md_table(pd.DataFrame([_line(row) for row in part.to_dict("records")]))]
    for reason in dict.fromkeys(frame.not_applicable.dropna()):
        if reason:
            blocks.append(f"Used: not applicable: {reason}")
    files = {
        "table.md": "\n\n".join(blocks) + "\n",
        "properties.csv": frame.to_csv(index=False),
        "verdicts.csv": in_words.to_csv(index=False),
    }
    for k, (encoder, part) in enumerate(frame.groupby("encoder", sort=False)):
        files[f"figure-properties-{k}.svg"] = labelled(picture(part), f"Encoded, where, used, by layer: {encoder}")
    for file, text in files.items():
        replace_file(folder / file, text.encode())


def verdicts(frame: pd.DataFrame) -> pd.DataFrame:
    """A line for each encoder and property: encoded, where, used, and the layers on which this rests."""
    lines = []
    own = frame[[name for name in frame if name.startswith("where_")]].rename(columns=lambda name: name.removeprefix("where_"))
    frame = frame.assign(where=neurons.verdicts(own).verdict.to_numpy())
    for (data, encoder, name), part in frame.groupby(["data", "encoder", "property"], sort=False):
        part = part.reset_index(drop=True)
        above = part.layer[(holm(part.above_p) <= ALPHA) & (part.above > 0)].astype(int).tolist()
        aligned = part.layer[part["where"].str.contains("axis-aligned")].astype(int).tolist()
        line = {"data": data, "encoder": encoder, "property": name}
        line |= {"encoded": f"layers {_listed(above)}" if above else "not above its floors"}
        line |= {"where": f"axis-aligned in layers {_listed(aligned)}" if aligned else part["where"].mode()[0]}
        for method in ("erase", "ablate"):
            line[f"used ({method})"] = _used(part, method)
        line["encoded, and used"] = line["used (erase)"].split(":")[0] if above else "not shown"
        lines.append(line)
    return pd.DataFrame(lines)


def _used(part: pd.DataFrame, method: str) -> str:
    if f"{method}_extra" not in part or part[f"{method}_extra"].isna().all():
        return "not applicable"
    own = part[part[f"{method}_extra"].notna()].reset_index(drop=True)
    controls = np.array([json.loads(draws) for draws in own[f"{method}_draws"]])
    losses = own[f"{method}_effect"].to_numpy(float)
    k = int(losses.argmax())
    p = largest_over_layers(losses, controls)
    low, high, value = (100 * own[f"{method}_extra{end}"].to_numpy(float) for end in ("_low", "_high", ""))
    interval = "" if np.isnan(low[k]) else f" [{low[k]:z.1f}, {high[k]:z.1f}]"
    at = f"layer {int(own.layer[k])}, {value[k]:z.1f}{interval} points, p = {p:.3f}"
    if p <= ALPHA and low[k] > 0 and own[f"{method}_above_chance"].all():
        return f"yes: {at}"
    if (own[f"{method}_used"] == "no").all():
        return f"no: {at}"
    if own[f"{method}_used"].isin(["no", "not erased"]).all():
        return f"not erased: {at}"
    return f"not shown: {at}"


def largest_over_layers(losses: np.ndarray, controls: np.ndarray) -> float:
    """p of the largest of the losses, (L,), against the largest of each draw of controls, (L, draws): (1 + draws that lose as much)
    / (1 + draws)."""
    return float((1 + np.sum(controls.max(0) >= losses.max() - 1e-12)) / (1 + controls.shape[1]))


def _listed(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers))


def _options(frame: pd.DataFrame) -> dict[str, Any]:
    """The numbers of units and draws that the note names."""
    numbers = {"units": frame.where_first, "draws": frame.erase_draws if "erase_draws" in frame else pd.Series(dtype=str)}
    return {name: len(json.loads(known.iloc[0])) if len(known := own.dropna()) else "the" for name, own in numbers.items()}


def _line(row: Mapping[str, Any]) -> dict[str, Any]:
    minimal = row.get("where_minimal", np.nan)
    line: dict[str, Any] = {"layer": int(row["layer"])}
    line |= {title: _shown(row, column) for column, title in COLUMNS.items()}
    line["smallest"] = "-" if pd.isna(minimal) else f"{int(minimal)} ({100 * row['where_without_minimal']:.1f})"
    line["KL erased (random)"] = _divergence(row)
    line["before"] = _shown(row, "erase_before")
    return line


def _divergence(row: Mapping[str, Any]) -> str:
    own, random = row.get("erase_kl"), row.get("erase_control_kl")
    return "-" if pd.isna(own) else f"{own:.3f} ({random:.3f})"


def _shown(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name, np.nan)
    if pd.isna(value):
        return "-"
    low, high = (row.get(f"{name}_{end}", np.nan) for end in ("low", "high"))
    return f"{100 * value:z.1f}" + ("" if pd.isna(low) else f" [{100 * low:z.1f}, {100 * high:z.1f}]")


def picture(part: pd.DataFrame) -> str:
    """A column of panels for each property: accuracy and floor, best units and rotated ones, points lost above random draws."""
    names = list(dict.fromkeys(part.property))
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(2.6 * len(names) + 0.4, 6.2), layout="constrained")
        grid = figure.subplots(3, len(names), squeeze=False, sharex="col", sharey="row")
        for name, panels in zip(names, grid.T, strict=True):
            own = part[part.property == name].sort_values("layer")
            _line_of(panels[0], own, "score", PALETTE[0], "probe")
            panels[0].plot(own.layer, 100 * own.floor, color="#777777", ls=":", lw=1, label="best floor")
            if "control" in own:
                panels[0].plot(own.layer, 100 * own.control, color=PALETTE[0], ls="--", lw=1, label="control labels")
            _line_of(panels[1], own, "where_accuracy", PALETTE[2], "best units")
            panels[1].plot(own.layer, 100 * own.where_rotated, color=PALETTE[2], ls="--", lw=1, label="rotated")
            for method, colour in (("erase", PALETTE[1]), ("ablate", PALETTE[3])):
                if f"{method}_extra" in own:
                    _line_of(panels[2], own, f"{method}_extra", colour, f"{method}, above random")
            panels[2].axhline(0, color="#999999", lw=0.6)
            panels[0].set_title(name, fontsize=9)
            layer_axis(panels[2])
        for panel, title in zip(grid[:, 0], ("encoded (%)", "where (%)", "points lost on pairs"), strict=True):
            panel.set_ylabel(title)
        legend(figure, grid.ravel(), 4)
        return svg(figure)


def _line_of(panel: Any, own: pd.DataFrame, name: str, colour: str, label: str) -> None:
    x, y = own.layer.to_numpy(int), 100 * own[name].to_numpy(float)
    panel.plot(x, y, color=colour, marker="o", ms=2.5, lw=1.2, label=label)
    if f"{name}_low" in own:
        low, high = (100 * own[f"{name}_{end}"].to_numpy(float) for end in ("low", "high"))
        panel.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
