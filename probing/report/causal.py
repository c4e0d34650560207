"""The report of the study `causal`: causal.csv, table.md, heat maps layer × role of patching, losses by layer of erasing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from probing.files import replace_file
from probing.log import human_count
from probing.report.figures import RC, labelled, svg
from probing.report.markdown import md_table

PATCH = """# Interchange: states of the source in the run of the base

Effect: share of the difference of log p between the two forms that the patched states carry over, mean over contrasts [95 % t
interval]; 0 none, 1 all, and more or less where other places work against it. Control: the same places from another base that
wants the same form. IIA: share of patched runs that prefer the source's form [Wilson]; flips: of those whose base was right. KL:
of the next word's distribution from the base's, nats. Apart: contrasts whose two runs differ by less than 0.1 nats, not in the
effect. A role is all tokens of its kind at once: before the words that differ, these, those between them and the place from which
the form is read, that place, those after it."""
TAKEN = """# Taken out: accuracy on pairs without a property's directions or units

Left: accuracy in % of a linear classifier of the property after the erasure (the majority's share): of INLP on dev, else on the
vectors it is fitted on. Loss: accuracy before less after, in points [95 % interval over items, none below 20]. Controls: the
same number of random directions or units, mean [2.5 % and 97.5 % of the draws]. Extra: loss above the controls' mean [95 %
interval over items and draws]. p: (1 + controls that lose as much) / (1 + controls). Used: yes, where the extra interval is
above 0 and p at most 0.05; no, where it lies within study.margin on both sides, and *not erased* instead where left is more
than a point above the majority; else, and where accuracy before is not above chance, not shown. Each layer is judged by itself:
for one of L layers draw 20 L controls, and read p times L. KL: of the next word's distribution, nats, and that of the controls.
Lines *of* another property are the second control."""
ROLES = ["before", "differing", "between", "read", "after", "all"]


def write(frame: pd.DataFrame, folder: Path) -> None:
    """Writes the report of the rows of one or several runs."""
    files: dict[str, str] = {"causal.csv": frame.dropna(axis=1, how="all").to_csv(index=False)}
    blocks = []
    patched, taken = frame[frame.method == "patch"], frame[frame.method != "patch"]
    if len(patched):
        blocks += [PATCH, *_patch_tables(patched)]
        for k, ((encoder, data, of), part) in enumerate(patched.groupby(["encoder", "data", "property"], sort=False)):
            title = f"Effect of patching, layer × role: {encoder}, {data}, {of}"
            files[f"figure-patch-{k}.svg"] = labelled(heat_maps(part), title)
    if len(taken):
        blocks += [TAKEN, *_taken_tables(taken)]
        for k, ((encoder, data), part) in enumerate(taken.groupby(["encoder", "data"], sort=False)):
            files[f"figure-taken-{k}.svg"] = labelled(losses(part), f"Loss of accuracy by layer: {encoder}, {data}")
    for name, text in {**files, "table.md": "\n\n".join(blocks) + "\n"}.items():
        replace_file(folder / name, text.encode())


def _shown(row: Mapping[str, Any], name: str, scale: float = 1, digits: int = 2) -> str:
    value = row.get(name, np.nan)
    if pd.isna(value):
        return "-"
    low, high = (row.get(f"{name}_{end}", np.nan) for end in ("low", "high"))
    text = f"{scale * value:z.{digits}f}"
    return text if pd.isna(low) else f"{text} [{scale * low:z.{digits}f}, {scale * high:z.{digits}f}]"


def _patch_tables(frame: pd.DataFrame) -> list[str]:
    blocks = []
    for (encoder, data, of), part in frame.groupby(["encoder", "data", "property"], sort=False):
        first = part.iloc[0]
        counts = f"{human_count(int(part.n.max()), 'contrast')}, {human_count(int(first.left_out), 'item')} left out"
        blocks.append(f"## {encoder}, {data}: {of}\n\n{counts}")
        blocks.append(md_table(pd.DataFrame([{
            "layer": row["layer_name"], "units": row["units"], "role": row["role"], "n": int(row["n"]), "apart": int(row["apart"]),
            "effect": _shown(row, "effect"), "control": _shown(row, "control_effect"), "IIA %": _shown(row, "iia", 100, 1),
            "flips %": _shown(row, "flip", 100, 1), "KL": _shown(row, "kl", digits=3),
        } for row in part.to_dict("records")])))  # fmt: skip
    return blocks


def _taken_tables(frame: pd.DataFrame) -> list[str]:
    blocks = []
    for (encoder, data, method), part in frame.groupby(["encoder", "data", "method"], sort=False):
        blocks.append(f"## {encoder}, {data}: {method}")
        blocks.append(md_table(pd.DataFrame([{
            "of": row["of"] + ("" if row["of"] == row["property"] else f" (second control of {row['property']})"),
            "layer": row["layer_name"], "units": row["units"], "size": int(row["size"]), "left": _left(row), "n": int(row["n"]),
            "before": _shown(row, "before", 100, 1), "loss": _shown(row, "effect", 100, 1),
            "controls": _shown(row, "control_effect", 100, 1), "extra": _shown(row, "extra", 100, 1), "p": f"{row['p']:.3f}",
            "used": row["used"], "KL": _shown(row, "kl", digits=3), "KL of controls": _shown(row, "control_kl", digits=3),
        } for row in part.to_dict("records")])))  # fmt: skip
    return blocks


def _left(row: Mapping[str, Any]) -> str:
    """Accuracy after the erasure, and in brackets the majority's share."""
    return "-" if pd.isna(row.get("left")) else f"{100 * row['left']:.1f} ({100 * row['majority']:.1f})"


def heat_maps(part: pd.DataFrame) -> str:
    """Effect by layer (upwards) and role, a panel for each kind of units; blue towards 1, red below 0, cut at ±1."""
    kinds = [kind for kind in dict.fromkeys(part.units) if (part[part.units == kind].layer >= 0).any()]
    part = part[part.layer >= 0]
    layers, roles = sorted(part.layer.unique()), [role for role in ROLES if role in set(part.role)]
    with matplotlib.rc_context(RC | {"axes.spines.left": False, "axes.spines.bottom": False}):
        size = (len(kinds) * (0.62 * len(roles) + 0.3) + 1.4, 0.34 * len(layers) + 1.3)
        figure = Figure(figsize=size, layout="constrained")
        for panel, kind in zip(figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0], kinds, strict=True):
            values = part[part.units == kind].pivot_table("effect", "layer", "role").reindex(index=layers, columns=roles)
            grid = values.to_numpy(float)
            panel.imshow(grid, cmap="RdBu", vmin=-1, vmax=1, origin="lower", aspect="auto")
            for (i, j), value in np.ndenumerate(grid):
                if not np.isnan(value):
                    colour = "white" if abs(value) > 0.6 else "black"
                    panel.text(j, i, f"{value:z.2f}", ha="center", va="center", fontsize=6.5, color=colour)
            panel.set_xticks(range(len(roles)), roles, rotation=35, ha="right")
            panel.set_yticks(range(len(layers)), [str(layer) for layer in layers])
            panel.set_title(kind)
            panel.tick_params(length=0)
        figure.axes[0].set_ylabel("layer")
        return svg(figure)


def losses(part: pd.DataFrame) -> str:
    """Loss of accuracy in points by layer, a panel for each method and property: its interval, and the band of the controls."""
    groups = list(part.groupby(["method", "of", "units"], sort=False))
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(2.5 * len(groups) + 0.5, 2.4), layout="constrained")
        for panel, ((method, of, units), lines) in zip(
            figure.subplots(1, len(groups), squeeze=False, sharey=True)[0], groups, strict=True
        ):
            lines = lines.sort_values("layer")
            x = lines.layer.to_numpy(int)
            panel.fill_between(
                x, 100 * lines.control_effect_low, 100 * lines.control_effect_high, color="#777777", alpha=0.25, lw=0
            )
            panel.plot(x, 100 * lines.control_effect, color="#777777", lw=1, ls=":", label="random")
            error = 100 * np.abs(lines[["effect_low", "effect_high"]].to_numpy(float).T - lines.effect.to_numpy(float))
            panel.errorbar(x, 100 * lines.effect, yerr=error, color="#0b62a4", marker="o", ms=3, lw=1.2, capsize=2, label=of)
            panel.axhline(0, color="#999999", lw=0.6)
            panel.set(title=f"{method}: {of}\n{units}", xlabel="layer", xticks=x)
        figure.axes[0].set_ylabel("loss of accuracy (points)")
        return svg(figure)
