"""The tables of a report as Markdown: one line per task and encoder, task × layer, task × encoder, pairs of encoders."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import pandas as pd

from probing.encoders.pooling import POOLINGS
from probing.evaluation.rows import metrics_of
from probing.evaluation.statistics import METRICS
from probing.evaluation.table import ResultTable
from probing.probes.controls import LEAK_ALPHA, LOW_CEILING


def summary_table(table: ResultTable, best: pd.DataFrame) -> pd.DataFrame:
    """The reader's table: strings, percent, floors beside the score."""
    floors = table.floors()
    lines = []
    several_probes = best.probe.nunique() > 1
    for row in best.itertuples():
        beside = {name: floors.loc[row.task, name] for name in floors.columns if row.task in floors.index}
        beside |= {"static": row.static, "random weights": row.random}
        line = {"task": row.paper_name, "encoder": row.encoder} | ({"probe": row.probe} if several_probes else {})
        line["layer"] = f"{row.layer} {row.pooling}" if row.seeds else "none"
        marks = "†" if pd.notna(row.beats_floors) and not row.beats_floors else ""
        marks += ("" if row.converged else "‡") + ("¶" if row.edge else "") + ("§" if row.missing else "")
        line["accuracy"] = percent(row.accuracy) + marks
        line["95 % interval"] = f"{percent(row.accuracy_low)}–{percent(row.accuracy_high)}" if row.seeds else ""
        if best.seeds.max() > 1:
            line["sd over seeds"] = f"{percent(row.seed_sd)} ({row.seeds})" if row.seeds > 1 else ""
        line |= {name.replace("_f1", " F1"): percent(getattr(row, name)) for name in METRICS if name != "accuracy"}
        line["not separated from it"] = _columns(row)
        line |= _controls(table, row)
        line |= {name: percent(value) for name, value in beside.items()}
        if row.random_n > 1:
            line["random weights"] += f" ± {percent(row.random_sd)} ({row.random_n})"
        lines.append(line | ({"missing": row.missing} if best.missing.any() else {}))
    return pd.DataFrame(lines).fillna("")


def _controls(table: ResultTable, row: Any) -> dict[str, str]:
    """The columns of the control tasks; "n/a" if the encoder has the word control on other tasks only."""
    line = {}
    if "word" in table.controls:
        names = ("control (word)", "ceiling (bag of words)", "selectivity")
        planned = table.frame[(table.frame.control == "word") & (table.frame.encoder == row.encoder)].task
        if (planned == row.task).any():
            low = "◊" if row.ceiling < LOW_CEILING else ""
            line = dict(zip(names, (percent(row.control_word), percent(row.ceiling) + low, percent(row.selectivity)), strict=True))
        else:
            line = dict.fromkeys(names, "n/a" if len(planned) else "")
    if "permuted" in table.controls:
        line["leak check (permuted labels)"] = percent(row.control_permuted) + ("‖" if row.leak_p < LEAK_ALPHA else "")
    others = [kind for kind in table.controls if kind not in ("word", "permuted")]
    return line | {f"control ({kind})": percent(getattr(row, f"control_{kind}")) for kind in others}


def percent(value: float) -> str:
    return "" if pd.isna(value) else f"{100 * value:.1f}"


def _ranges(layers: Sequence[int], better: Sequence[int] = ()) -> str:
    """
    >>> _ranges([0, 1, 2, 5], better=[3])
    '0-2, 3+, 5'
    """
    runs = [[k for _, k in run] for _, run in groupby(enumerate(layers), lambda pair: pair[1] - pair[0])]
    parts = [(r[0], str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}") for r in runs] + [(layer, f"{layer}+") for layer in better]
    return ", ".join(text for _, text in sorted(parts))


def _columns(row: Any) -> str:
    """Layers that are not separated from the best, by pooling, the best's first; `+` after those that are better on test."""
    listed = [*row.not_separated, *row.better]
    order = [*POOLINGS]
    poolings = sorted({pooling for _, pooling in listed}, key=lambda pooling: (pooling != row.pooling, order.index(pooling)))
    parts = []
    for pooling in poolings:
        same, better = ([layer for layer, p in columns if p == pooling] for columns in (row.not_separated, row.better))
        parts.append(f"{pooling} {_ranges(same, better)}")
    return f"{', '.join(parts)} ({len(row.not_separated)} of {row.n_columns})" if parts else ""


def views(table: ResultTable) -> list[tuple[str, str, list[str]]]:
    """(encoder, probe, poolings) of every group of layer tables."""
    views = []
    frame = table.frame[(table.frame.role == "probe") & (table.frame.status == "done")]
    for (encoder, probe), part in frame.groupby(["encoder", "probe"], sort=False):
        layers = part.groupby("pooling").layer.nunique()
        views.append((encoder, probe, [p for p in POOLINGS if p in layers]))
    return views


def layer_tables(table: ResultTable) -> list[tuple[str, pd.DataFrame]]:
    """(title, task × layer) of every encoder, pooling and probe."""
    return [
        (f"{encoder}, {pooling}, {probe}", layer_table(table, encoder, probe, pooling))
        for encoder, probe, poolings in views(table)
        for pooling in poolings
    ]


def layer_table(table: ResultTable, encoder: str, probe: str, pooling: str) -> pd.DataFrame:
    """task × layer in percent, the dev-best layer of each row in **bold**; § where a seed is missing, "failed" where all are."""
    where = {"role": "probe", "encoder": encoder, "probe": probe, "pooling": pooling}
    scores, dev = (table.pivot("task", "layer", value, **where) for value in ("accuracy", "dev_accuracy"))
    planned = table.frame[(table.frame[list(where)] == list(where.values())).all(axis=1)]
    names = planned.drop_duplicates("task").set_index("task").paper_name
    lost = {key: rows.status[rows.status != "done"].tolist() for key, rows in planned.groupby(["task", "layer"])}
    layers = sorted(planned.layer.unique())
    text = pd.DataFrame("", index=names.to_numpy(), columns=[f"layer {layer}" for layer in layers])
    for i, task in enumerate(names.index):
        measured = dev.loc[task].astype(float).sort_index() if task in dev.index else pd.Series(dtype=float)
        top = measured.idxmax() if measured.notna().any() else None
        for j, layer in enumerate(layers):
            value = percent(scores.loc[task, layer]) if task in scores.index and layer in scores.columns else ""
            states = lost.get((task, layer), [])
            value = (value and value + "§") or states[0] if states else value
            text.iloc[i, j] = f"**{value}**" if layer == top else value
    return text.rename_axis("task").reset_index()


class Content(NamedTuple):
    """The parts of a report that Markdown and HTML both have.

    Attributes:
        summary: a line for each task and encoder (`summary_table`); empty without a probe.
        letters: of each line of `summary`: encoders that share one are not separated.
        pairs: the comparisons of encoders that are printed.
        foot: the notes at the end.
        sections: titles and tables: the layers of every encoder, then other measures than the probe.
        head: what a reader must know before the first table, if anything.
    """

    summary: pd.DataFrame
    letters: Sequence[str]
    pairs: pd.DataFrame
    foot: Sequence[str]
    sections: Sequence[tuple[str, pd.DataFrame]]
    head: str = ""


def markdown(content: Content) -> str:
    summary, pairs = content.summary, content.pairs
    parts = ["# Probing results", "", *([content.head, ""] if content.head else [])]
    if len(summary):
        parts += ["Test accuracy in percent, at the layer and pooling chosen on dev.", "", md_table(summary), ""]
    if len(summary) and summary.encoder.nunique() > 1:
        lettered = summary.assign(accuracy=[f"{a} {b}".strip() for a, b in zip(summary.accuracy, content.letters, strict=True)])
        wide = lettered.pivot_table("accuracy", "task", "encoder", aggfunc=" / ".join, sort=False).fillna("").reset_index()
        note = "Encoders of a task that share a letter are not separated (0.05; tests of the next table)."
        parts += ["## Task × encoder", "", note, "", md_table(wide), ""]
    if len(pairs):
        shown = pairs.assign(**{c: [percent(v) for v in pairs[c]] for c in ("a_accuracy", "b_accuracy", "difference")})
        shown = shown.assign(p=[f"{p:.2g}" for p in pairs.p], p_holm=[f"{p:.2g}" for p in pairs.p_holm])
        parts += [
            "## Encoders compared",
            "",
            "Paired test on the same items (see the notes at the end), each at its dev-best layer; Holm over this table.",
            "",
            md_table(shown),
            "",
        ]
    for title, section in content.sections:
        parts += [f"## {title}", "", md_table(section), ""]
    return "\n".join([*parts, "---", "", *(f"- {line}" for line in content.foot), ""])


def measure_tables(table: ResultTable) -> list[tuple[str, pd.DataFrame]]:
    """(title, task × layer) of every measure, metric, encoder and pooling: mean over seeds, with the 95 % interval of one seed;
    then the paired comparisons of each measure."""
    shown = []
    for measure in table.measures:
        frame = table.of_measure(measure).frame
        for metric in metrics_of(frame):
            valued = frame[frame[metric].notna()]
            for (encoder, pooling), part in valued.groupby(["encoder", "pooling"], sort=False):
                shown.append((f"{measure}: {metric}, {encoder}, {pooling}", _by_layer(part, metric)))
        lost = frame[frame.status != "done"]
        if len(lost):
            columns = ["task", "encoder", "layer", "pooling", "status", "error"]
            shown.append((f"{measure}: failed or missing", lost[columns].astype(object).fillna("")))
        pairs = table.compare_measure(measure)
        if len(pairs):
            numbers = pairs.select_dtypes("float").columns
            text = pairs.assign(**{c: pairs[c].map("{:.4g}".format) for c in numbers})
            shown.append((f"{measure}: paired comparisons (t test, Holm)", text))
    return shown


def _by_layer(part: pd.DataFrame, metric: str) -> pd.DataFrame:
    lines = []
    for task, rows in part.groupby("paper_name", sort=False):
        line = {"task": task}
        for layer, cells in rows.sort_values("layer").groupby("layer"):
            value, low, high = cells[[metric, f"{metric}_low", f"{metric}_high"]].mean()
            line[f"layer {layer}"] = f"{value:.4g}" + ("" if pd.isna(low) else f" [{low:.4g}, {high:.4g}]")
        lines.append(line)
    return pd.DataFrame(lines).fillna("")


def md_table(frame: pd.DataFrame) -> str:
    """A frame of strings and whole numbers as Markdown."""
    head = "| " + " | ".join(map(str, frame.columns)) + " |"
    rule = "|" + "|".join("---" for _ in frame.columns) + "|"
    return "\n".join(
        [head, rule, *("| " + " | ".join(str(v).replace("|", "\\|") for v in row) + " |" for row in frame.itertuples(index=False))]
    )
