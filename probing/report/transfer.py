"""The report of a transfer: a matrix source × target for each task, drops with tests, directions, every layer; and a heat map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from probing.encoders.pooling import place_in_tables
from probing.evaluation.metrics import in_words
from probing.files import replace_file
from probing.report.figures import RC, labelled, svg
from probing.report.markdown import md_table
from probing.report.summary import p_value

NOTE = """Rows: the corpus that a probe is trained on, and whose dev split chose layer and pooling. Columns: the corpus whose test
split it is tested on; the diagonal is the plain table of that corpus. Test {score} in percent, with 95 % interval over test items,
or over groups of them. ▼ below the score on the source's own test split, ▲ above it (Holm over this report, 0.05). † not shown to
be above every floor of the same transfer: those that are fitted on the source, and layer 0 where it is measured."""

DROPS = """Drop: score on the source's own test split less that on the target, the same fit, on different items: what is lost, and
what is harder. Gap: score of the target's own probe less that of the source's, on the same test items. In points, with 95 %
interval; p after Holm over all lines. Shared: test sentences of the target that are in the source's train split (the same words,
in any order and letter case)."""

ANGLES = """Cosine of the weights (of raw features) of two corpora's probes of one task and layer; of more than two classes that of
all weights, class by class, without their mean. In brackets 95 % of the cosines of probes of permuted labels, same solver and C.
\\*: p < 0.05 after Holm over these cells. Scores: correlation of the two probes' scores, with the covariance of both train
splits, each centred by itself."""


def write(frame: pd.DataFrame, folder: Path, most_classes: int) -> None:
    """Write table.md, matrix.csv, layers.csv, floors.csv, directions.csv and figure-transfer.svg of the rows of a transfer."""
    layers, floors, angles = (frame[frame.row == kind] for kind in ("layer", "floor", "direction"))
    best = layers[(layers.best == True) & layers.score.notna()]  # noqa: E712  read from a file, with other rows
    blocks = ["# Transfer", NOTE.format(score=in_words(best.metric) if len(best) else "score")]
    several = layers.encoder.nunique() > 1
    for key, part in _groups(best):
        blocks += [
            f"## {key['property']}" + (f", {key['encoder']}" if several else "") + f", {key['probe']}",
            _matrix(part, floors),
        ]
    others = best[best.source != best.target]
    if len(others):
        blocks += ["## Drop and gap", DROPS, _drops(others, floors)]
    if len(angles):
        blocks += ["## Directions", ANGLES, _directions(angles)]
    if len(left := sorted(set(layers.property) - set(angles.property))) if len(angles) else False:
        blocks.append(
            f"No direction is measured of {', '.join(left)}: numbers, sets of labels, or more than {most_classes} classes."
        )
    blocks += ["## By layer", "Test score in percent; **bold**: the layer chosen on dev of the source.", *_by_layer(layers)]
    lost = pd.concat([part[part.status != "done"] for part in (layers, floors)])
    if len(lost):
        columns = [
            name for name in ("property", "source", "target", "encoder", "layer", "pooling", "status", "error") if name in lost
        ]
        blocks += ["## Failed or missing", md_table(lost[columns].astype(object).fillna(""))]
    files = {"matrix.csv": best, "layers.csv": layers, "floors.csv": floors, "directions.csv": angles}
    for name, part in files.items():
        if len(part):
            replace_file(folder / name, part.drop(columns="row").dropna(axis=1, how="all").to_csv(index=False).encode())
    if len(best):
        title = "Transfer: source (rows) × target (columns), test score at the layer chosen on dev of the source"
        replace_file(folder / "figure-transfer.svg", labelled(heat_maps(best), title).encode())
    replace_file(folder / "table.md", ("\n\n".join(blocks) + "\n").encode())


def heat_maps(best: pd.DataFrame) -> str:
    """Source × target as SVG, a panel for each task and encoder; colour: score above the majority, as a share of what is left to
    100 %; the diagonal has a frame."""
    groups = list(_groups(best))
    sources, targets = ([*dict.fromkeys(best[name])] for name in ("source", "target"))
    corpora = list(dict.fromkeys([*sources, *targets]))
    widest = min(4, len(groups))
    rows, side = -(-len(groups) // widest), 0.5 * len(corpora)
    margin = 0.075 * max(map(len, corpora))
    with matplotlib.rc_context(RC | {"axes.spines.left": False, "axes.spines.bottom": False}):
        size = (widest * (side + 0.35) + margin + 0.3, rows * (side + 0.45) + margin + 0.3)
        figure = Figure(figsize=(max(size[0], 3.2), size[1]), layout="constrained")
        panels = figure.subplots(rows, widest, squeeze=False, sharex=True, sharey=True)
        for panel in panels.ravel()[len(groups) :]:
            panel.set_visible(False)
        for panel, (key, part) in zip(panels.ravel(), groups, strict=False):
            _panel(panel, part, corpora)
            panel.set_title(key["property"] + (f"\n{key['encoder']}" if best.encoder.nunique() > 1 else ""), fontsize=8)
        for panel in panels[:, 0]:
            panel.set_ylabel("trained on")
        figure.supxlabel("tested on", fontsize=8)
        return svg(figure)


def _panel(panel: Any, part: pd.DataFrame, corpora: list[str]) -> None:
    score, floor = (
        part.pivot_table(name, "source", "target").reindex(index=corpora, columns=corpora) for name in ("score", "majority")
    )
    gain = ((score - floor) / (1 - floor)).to_numpy(float)
    panel.imshow(gain, cmap="Blues", vmin=0, vmax=1)
    for (i, j), value in np.ndenumerate(score.to_numpy(float)):
        if not np.isnan(value):
            weight = "bold" if i == j else "normal"
            panel.text(
                j,
                i,
                f"{100 * value:.0f}",
                ha="center",
                va="center",
                fontsize=7,
                weight=weight,
                color="white" if gain[i, j] > 0.55 else "black",
            )
    panel.set_xticks(range(len(corpora)), corpora, rotation=90)
    panel.set_yticks(range(len(corpora)), corpora)
    panel.tick_params(length=0, labelbottom=True)


def _groups(frame: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    keys = ["property", "encoder", "probe"]
    for key, part in frame.groupby(keys, sort=False) if len(frame) else ():
        yield dict(zip(keys, key, strict=True)), part


def _matrix(part: pd.DataFrame, floors: pd.DataFrame) -> str:
    """Source × target with intervals and marks, and below it the highest floor of each target by source."""
    cells = {(line["source"], line["target"]): line for line in part.to_dict("records")}
    targets = list(dict.fromkeys(part.target))
    rows = []
    for source in dict.fromkeys(part.source):
        own = next(line for key, line in cells.items() if key[0] == source)
        row = {"trained on": source, "layer": f"{own['layer']:g} {own['pooling']}"}
        rows.append(row | {target: _cell(cells.get((source, target))) for target in targets})
        row = {"trained on": f"best floor, {source}", "layer": ""}
        rows.append(row | {target: _floor(floors, part.property.iloc[0], source, target) for target in targets})
    return md_table(pd.DataFrame(rows))


def _cell(line: Mapping[str, Any] | None) -> str:
    if line is None:
        return ""
    text = _interval(line, "score")
    if line["source"] == line["target"]:
        text = f"**{text.partition(' ')[0]}** {text.partition(' ')[2]}"
    elif line.get("drop_p_holm", np.nan) < 0.05:
        text += " ▼" if line["drop"] > 0 else " ▲"
    return text + (" †" if str(line.get("beats_floors")) in ("False", "0.0") else "")


def _floor(floors: pd.DataFrame, name: str, source: str, target: str) -> str:
    if floors.empty:
        return ""
    rows = floors[
        (floors.property == name) & (floors.source == source) & (floors.target == target) & (floors.floor_kind == "floor")
    ]
    if rows.empty or rows.score.isna().all():
        return ""
    top = rows.loc[rows.score.idxmax()]
    return f"{100 * top.score:.1f} {top.encoder}"


def _drops(others: pd.DataFrame, floors: pd.DataFrame) -> str:
    rows = []
    several = others.encoder.nunique() > 1
    for line in others.to_dict("records"):
        row = {"task": line["property"]} | ({"encoder": line["encoder"]} if several else {})
        row |= {"from": line["source"], "to": line["target"], "layer": f"{line['layer']:g}", "score": _interval(line, "score")}
        for kind in ("drop", "gap"):
            row |= {kind: _interval(line, kind), f"p ({kind})": _p(line.get(f"{kind}_p_holm"))}
        row |= {"best floor": _floor(floors, line["property"], line["source"], line["target"]), "shared": f"{line['shared']:g}"}
        row |= {"unseen classes": f"{100 * line['unseen']:.2g} %"} if others.unseen.any() else {}
        rows.append(row)
    return md_table(pd.DataFrame(rows))


def _directions(angles: pd.DataFrame) -> str:
    """A line for each pair of corpora, task, encoder and pooling, a column for each layer."""
    shown = angles.assign(low=angles.aligned_null_low, high=angles.aligned_null_high, value=angles.aligned)
    rows = []
    several = angles.encoder.nunique() > 1
    for _, part in shown.groupby(["property", "encoder", "pooling", "a_corpus", "b_corpus"], sort=False):
        first = part.iloc[0]
        head = {"task": first.property} | ({"encoder": first.encoder} if several else {}) | {"pooling": first.pooling}
        head |= {"corpora": f"{first.a_corpus}, {first.b_corpus}"}
        cosines, scores = {}, {}
        for line in part.sort_values("layer").itertuples():
            star = "\\*" if line.p_holm < 0.05 else ""
            cosines[f"layer {line.layer:g}"] = f"{line.value:.2f}{star} [{line.low:.2f}, {line.high:.2f}]"
            scores[f"layer {line.layer:g}"] = f"{line.correlation:.2f}"
        rows += [head | {"of": "weights"} | cosines, head | {"of": "scores"} | scores]
    return md_table(pd.DataFrame(rows).fillna(""))


def _by_layer(layers: pd.DataFrame) -> Iterator[str]:
    several = layers.encoder.nunique() > 1
    layers = layers[layers.layer.notna()]
    for pooling in sorted(set(layers.pooling), key=place_in_tables):
        rows = []
        for _, part in layers[layers.pooling == pooling].groupby(["property", "encoder", "probe", "source", "target"], sort=False):
            first = part.iloc[0]
            row = {"task": first.property} | ({"encoder": first.encoder} if several else {})
            row |= {"from": first.source, "to": first.target}
            for line in part.sort_values("layer").itertuples():
                value = line.status if pd.isna(line.score) else f"{100 * line.score:.1f}"
                row[f"layer {line.layer:g}"] = f"**{value}**" if line.best else value
            rows.append(row)
        yield f"### Pooling {pooling}\n\n" + md_table(pd.DataFrame(rows).fillna(""))


def _interval(line: Mapping[str, Any], name: str) -> str:
    """A score or difference in percent with its interval; empty where there is none."""
    if pd.isna(line.get(name)):
        return ""
    value, low, high = (format(100 * line[f"{name}{end}"], "z.1f") for end in ("", "_low", "_high"))
    return f"{value} [{low}, {high}]"


def _p(value: Any) -> str:
    return "" if pd.isna(value) else p_value(value)
