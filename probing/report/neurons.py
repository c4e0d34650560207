"""The report of the study `neurons`: a table for each task with verdicts in words, curves over k, and the best neurons by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from probing.evaluation.paired_tests import holm
from probing.evaluation.plots import PALETTE, layer_axis
from probing.files import replace_file
from probing.report.figures import RC, labelled, legend, svg
from probing.report.markdown import md_table
from probing.report.summary import p_value

NOTE = """Test accuracy in percent of the first k = {k} neurons of the ranking *{ranking}*, a {classifier} classifier retrained on
them; with 95 % interval over {groups}. Random: as many neurons drawn at random (mean ± standard deviation of {draws} draws).
Rotated: as many of the best directions of a random rotation of the layer, ranked and retrained there ({rotations} rotations).
Control: ranked and retrained for random labels{control}; selectivity is accuracy less that (its test: of the accuracy above the
majority's). Minimal: the smallest set whose dev accuracy is within the tolerance of all neurons, its test accuracy, and that of
the classifier retrained on all others: where this is high too, the set is one of many.

Verdicts are one-sided tests against these draws, paired on the test items, p after Holm over the {n} lines of this report:
**axis-aligned**: higher than in a random basis (p < 0.01); *not told from a random basis*: these neurons may be directions like any
other. Dead neurons do not vary; they are last in every ranking."""

BETWEEN = """Means over the live neurons of a layer, on the train items: the largest |correlation| with a neuron of any other
encoder (MaxCorr), the smallest over encoders of the largest in each (MinCorr), and the smallest R^2 from all neurons of an encoder,
on the half of the items that did not fit (LinReg). In brackets the same of random directions of the layer: neurons are shared as
such only above these."""

LEVEL, ALIGNED = 0.05, 0.01
"""Levels of the verdicts; that of axis-aligned is lower, as standardising between rotations costs turned bases about a point of
accuracy where few directions hold most of the variance: at 0.05 it is said of 7.5 % of random bases
(`scripts/calibration/neurons.py`)."""

KEY = ["data", "task", "encoder"]
LINES = (
    ("all neurons", "full", "#000000", "-"),
    ("first neurons", "accuracy", PALETTE[0], "-"),
    ("in rotated bases", "rotated", PALETTE[0], "--"),
    ("random sets", "random", "#777777", "-"),
)
"""Of the figure by layer: label, column, colour and style."""


def verdicts(layers: pd.DataFrame) -> pd.DataFrame:
    """The rows of kind layer with p-values after Holm over all of them (`holm_rotated`, `holm_control`, `holm_random`), and the
    verdict in words."""
    layers = layers.reset_index(drop=True).copy()
    for what in ("rotated", "control", "random"):
        column, tested = f"p_{what}", pd.Series(dtype=float)
        layers[f"holm_{what}"] = np.nan
        if column in layers and len(tested := layers[column].dropna()):
            layers.loc[tested.index, f"holm_{what}"] = holm(tested)
    layers["verdict"] = [verdict(row) for row in layers.to_dict("records")]
    return layers


def verdict(row: Mapping[str, Any]) -> str:
    """
    >>> verdict({"holm_control": 0.5, "holm_random": 0.01, "holm_rotated": 0.001})
    'not above control labels: no neuron is shown to tell the label'
    """
    if row["holm_control"] >= LEVEL:
        return "not above control labels: no neuron is shown to tell the label"
    words = []
    if not np.isnan(row["holm_random"]):
        words.append("better than random sets" if row["holm_random"] < LEVEL else "not told from random sets")
    if not np.isnan(row["holm_rotated"]):
        words.append("axis-aligned" if row["holm_rotated"] < ALIGNED else "not told from a random basis")
    return ", ".join(words) or "not tested"


def write(frame: pd.DataFrame, folder: Path) -> None:
    """Write neurons.csv, layers.csv, overlap.csv, stability.csv, table.md, a figure of curves for each task, figure-layers.svg."""
    parts = {
        str(kind): _whole(own.dropna(axis=1, how="all").drop(columns="kind")) for kind, own in frame.groupby("kind", sort=False)
    }
    layers, curves = verdicts(parts["layer"]), parts["curve"]
    names = {"curve": "neurons", "overlap": "overlap", "stability": "stability"}
    files = {f"{names[kind]}.csv": own for kind, own in parts.items() if kind in names} | {"layers.csv": layers}
    for name, own in files.items():
        replace_file(folder / name, own.to_csv(index=False, float_format="%.6g").encode())
    blocks = ["# Neurons", _note(layers)]
    for key, own in layers.groupby(KEY, sort=False):
        data, task, encoder = map(str, key)
        blocks += [f"## {task}, {encoder}, {data}", _table(own)]
        own_curves = curves[(curves[KEY] == list(key)).all(axis=1)]
        blocks += ["Accuracy by ranking and k, at the layer where all neurons together are best on dev:", _rankings(own_curves)]
        stable = parts.get("stability")
        if stable is not None:
            part = stable[(stable[KEY] == list(key)).all(axis=1)]
            blocks += [
                "Neurons shared by the first k of two bootstrap samples of train, mean over layers, of which by chance:",
                _stability(part),
            ]
        title = f"{task}, {encoder}: accuracy of the first k neurons"
        picture = _curves(own_curves, own)
        replace_file(
            folder / f"figure-curves-{_plain(task)}-{_plain(encoder)}-{_plain(data)}.svg", labelled(picture, title).encode()
        )
    if "between" in parts:
        blocks += ["## Counterparts in other encoders", BETWEEN, _between(parts["between"])]
        replace_file(folder / "between.csv", parts["between"].to_csv(index=False).encode())
    if layers.layer.nunique() > 1:
        title = "Accuracy of the first neurons by layer, beside random bases and random sets"
        replace_file(folder / "figure-layers.svg", labelled(_by_layer(layers), title).encode())
    replace_file(folder / "table.md", ("\n\n".join(blocks) + "\n").encode())


def _whole(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its columns of whole numbers as such: beside rows without them they were read as decimal ones."""
    whole = [name for name in ("k", "live", "minimal", "rotations", "draws", "samples", "shared") if name in frame]
    return frame.astype({name: int for name in whole if frame[name].notna().all() and (frame[name] % 1 == 0).all()})


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)


def _note(layers: pd.DataFrame) -> str:
    first = layers.iloc[0]

    def of(column: str) -> str:
        return ", ".join(dict.fromkeys(str(value) for value in layers[column])) if column in layers else ""

    control = {"word": " by word type", "permuted": " (permuted)"}.get(str(first.get("control_kind", "")), "")
    groups = of("groups").replace("nan", "") or "items"
    return NOTE.format(
        k=of("k"), ranking=of("ranking"), classifier=of("classifier"), groups=groups, draws=of("draws"), rotations=of("rotations"),
        control=control, n=len(layers),
    )  # fmt: skip


def _percent(row: Mapping[str, Any], name: str) -> str:
    value, low, high, sd = (row.get(column, np.nan) for column in (name, f"{name}_low", f"{name}_high", f"{name}_sd"))
    if pd.isna(value):
        return ""
    text = f"{100 * value:.1f}"
    if not pd.isna(low):
        return f"{text} [{100 * low:.1f}, {100 * high:.1f}]"
    return text if pd.isna(sd) else f"{text} ± {100 * sd:.1f}"


def _table(layers: pd.DataFrame) -> str:
    lines = []
    for row in layers.sort_values("layer").to_dict("records"):
        dead = row["dead"].strip("[]")
        lines.append(
            {
                "layer": f"{row['layer']}",
                "live": f"{row['live']}" + (f" (dead: {dead})" if dead else ""),
                "majority": _percent(row, "majority"),
                "all": _percent(row, "full"),
                f"first {row['k']}": _percent(row, "accuracy"),
                "random": _percent(row, "random"),
                "rotated": _percent(row, "rotated"),
                "less rotated": _percent(row, "less_rotated"),
                "p (rotated)": _p(row["holm_rotated"]),
                "control": _percent(row, "control"),
                "selectivity": _percent(row, "selectivity"),
                "p (control)": _p(row["holm_control"]),
                "minimal": f"{row['minimal']}: {_percent(row, 'minimal_accuracy')}, without {_percent(row, 'without_minimal')}",
                "verdict": row["verdict"],
                "neurons": row["first"].strip("[]"),
            }
        )
    return md_table(pd.DataFrame(lines))


def _p(value: float) -> str:
    return "" if pd.isna(value) else p_value(value)


def _rankings(curves: pd.DataFrame) -> str:
    """A line for each ranking, a column for each k: retrained (in the mean over rotations)."""
    full = curves.loc[curves.groupby("layer").k.idxmax()]
    own = curves[curves.layer == full.loc[full.dev_accuracy.idxmax()].layer]
    lines = []
    for name, part in own.groupby("ranking", sort=False):
        line = {"ranking": str(name)}
        for row in part.sort_values("k").to_dict("records"):
            rotated = row.get("rotated", np.nan)
            line[str(row["k"])] = f"{100 * row['accuracy']:.1f}" + ("" if pd.isna(rotated) else f" ({100 * rotated:.1f})")
        lines.append(line)
    return md_table(pd.DataFrame(lines).fillna("")) + f"\n\nLayer {own.layer.iloc[0]}; in brackets: in rotated bases."


def _between(rows: pd.DataFrame) -> str:
    names = {"MaxCorr": "max_corr", "MinCorr": "min_corr", "LinReg": "lin_reg_min"}
    return md_table(
        pd.DataFrame(
            {"task": row["task"], "encoder": row["encoder"], "layer": str(row["layer"]), "others": row["others"]}
            | {
                title: f"{row[name]:.3f} ({row[f'{name}_rotated']:.3f} ± {row[f'{name}_rotated_sd']:.3f})"
                for title, name in names.items()
            }
            | {"most shared neurons": row["first"].strip("[]"), "their MinCorr": row["first_corr"].strip("[]")}
            for row in rows.to_dict("records")
        )
    )


def _stability(rows: pd.DataFrame) -> str:
    lines = []
    for name, part in rows.groupby("ranking", sort=False):
        line = {"ranking": str(name), "Spearman": f"{part.spearman.mean():.2f}"}
        for k, own in part.groupby("k"):
            line[f"k = {k}"] = f"{own.shared.mean():.1f} of {k} ({own.chance.mean():.1f})"
        lines.append(line)
    return md_table(pd.DataFrame(lines).fillna(""))


def _series(curves: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame, str, str]]:
    """Label, column, rows, colour and style of each line of a panel."""
    names = [name for name in dict.fromkeys(curves.ranking) if name != "random"]
    for k, name in enumerate(names):
        yield name, "accuracy", curves[curves.ranking == name], PALETTE[k % len(PALETTE)], "-"
    first = curves[curves.ranking == names[0]] if names else curves
    yield "random sets", "random", first, "#777777", "-"
    yield f"{names[0] if names else 'random'}, rotated bases", "rotated", first, PALETTE[0], "--"
    yield f"{names[0] if names else 'random'}, control labels", "control", first, PALETTE[0], ":"


def _curves(curves: pd.DataFrame, layers: pd.DataFrame) -> str:
    """Accuracy over k as SVG, a panel for each layer; bands: two standard deviations over draws."""
    numbers = sorted(curves.layer.unique())
    widest = min(4, len(numbers))
    with matplotlib.rc_context(RC):
        height = -(-len(numbers) // widest)
        figure = Figure(figsize=(max(3.6, 2.6 * widest), 2.3 * height), layout="constrained")
        panels = figure.subplots(height, widest, squeeze=False, sharey=True)
        for panel in panels.ravel()[len(numbers) :]:
            panel.set_visible(False)
        for panel, layer in zip(panels.ravel(), numbers, strict=False):
            for label, column, rows, colour, style in _series(curves[curves.layer == layer]):
                rows = rows.sort_values("k")
                if column in rows and rows[column].notna().any():
                    y = 100 * rows[column].to_numpy(float)
                    panel.plot(rows.k, y, color=colour, ls=style, lw=1.2, marker="o", ms=2, label=label)
                    if f"{column}_sd" in rows:
                        sd = 200 * rows[f"{column}_sd"].to_numpy(float)
                        panel.fill_between(rows.k, y - sd, y + sd, color=colour, alpha=0.15, lw=0)
            majority = layers[layers.layer == layer].majority.iloc[0]
            panel.axhline(100 * majority, color="#777777", lw=0.8, ls=(0, (1, 1)), label="majority")
            panel.set(xscale="log", xlabel="neurons", title=f"layer {layer}")
        for panel in panels[:, 0]:
            panel.set_ylabel("test accuracy (%)")
        legend(figure, panels.ravel(), 4)
        return svg(figure)


def _by_layer(layers: pd.DataFrame) -> str:
    """The first k neurons by layer as SVG, a panel for each task and encoder."""
    groups = list(layers.groupby(KEY, sort=False))
    widest = min(3, len(groups))
    with matplotlib.rc_context(RC):
        height = -(-len(groups) // widest)
        figure = Figure(figsize=(max(3.6, 2.9 * widest), 2.4 * height), layout="constrained")
        panels = figure.subplots(height, widest, squeeze=False)
        for panel in panels.ravel()[len(groups) :]:
            panel.set_visible(False)
        for panel, (key, own) in zip(panels.ravel(), groups, strict=False):
            own = own.sort_values("layer")
            for label, column, colour, style in LINES:
                if column not in own:
                    continue
                y = 100 * own[column].to_numpy(float)
                panel.plot(own.layer, y, color=colour, ls=style, lw=1.3, marker="o", ms=2.5, label=label)
                if f"{column}_sd" in own:
                    panel.fill_between(
                        own.layer, y - 200 * own[f"{column}_sd"], y + 200 * own[f"{column}_sd"], color=colour, alpha=0.15, lw=0
                    )
                elif f"{column}_low" in own:
                    panel.fill_between(
                        own.layer, 100 * own[f"{column}_low"], 100 * own[f"{column}_high"], color=colour, alpha=0.15, lw=0
                    )
            panel.plot(own.layer, 100 * own.majority, color="#777777", lw=0.8, ls=(0, (1, 1)), label="majority")
            aligned = own[own.holm_rotated < ALIGNED]
            panel.plot(
                aligned.layer, 100 * aligned.accuracy, ls="", marker="D", ms=5, mfc="none", color=PALETTE[1], label="axis-aligned"
            )
            panel.set_title(f"{key[1]}, {key[2]}", fontsize=9)
            panel.set_ylabel("test accuracy (%)")
            layer_axis(panel)
        legend(figure, panels.ravel(), 3)
        return svg(figure)
