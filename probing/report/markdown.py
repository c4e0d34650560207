"""The tables of a report and its Markdown: one line per task and encoder, task × layer, task × encoder, pairs of encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from probing.encoders.pooling import place_in_tables
from probing.evaluation.metrics import in_words
from probing.evaluation.rows import metrics_of
from probing.evaluation.statistics import mean_accuracy
from probing.evaluation.table import ResultTable
from probing.report.summary import Line, by_encoder, column_of, frame_of, p_value, percent, span, verdicts


def views(table: ResultTable) -> list[tuple[str, str, list[str]]]:
    """(encoder, probe, poolings) of every group of layer tables."""
    views = []
    frame = table.frame[(table.frame.role == "probe") & (table.frame.status == "done")]
    for (encoder, probe), part in frame.groupby(["encoder", "probe"], sort=False):
        layers = part.groupby("pooling").layer.nunique()
        views.append((encoder, probe, sorted(layers.index, key=place_in_tables)))
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
    scores, dev = (table.pivot("task", "layer", value, **where) for value in ("score", "dev_score"))
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


class Section(NamedTuple):
    """A table of strings below the main one, with a sentence on what it is."""

    title: str
    note: str
    frame: pd.DataFrame


class Content(NamedTuple):
    """The parts of a report that Markdown and HTML both have.

    Attributes:
        lines: the main table; empty without a probe.
        sections: all other tables.
        foot: the notes at the end.
        head: what a reader must know before the first table, if anything.
        score: what the scores are (`metrics.in_words`).
        title: of the whole report (`probing.report.paper`).
        layers: those of `layer_tables`, which are among the sections too.
    """

    lines: Sequence[Line]
    sections: Sequence[Section]
    foot: Sequence[str]
    head: str = ""
    score: str = "accuracy"
    title: str = "Probing results"
    layers: Sequence[tuple[str, pd.DataFrame]] = ()

    @property
    def about(self) -> str:
        return f"Test {self.score} in percent, at the layer and pooling chosen on dev."


def content_of(whole: ResultTable, lines: Sequence[Line], pairs: pd.DataFrame, foot: Sequence[str], head: str = "") -> Content:
    """The report on all measures of a table."""
    sections = []
    if len({column_of(line, lines) for line in lines}) > 1:
        several = " Letters compare encoders under one probe." if len({line.row.probe for line in lines}) > 1 else ""
        note = f"Encoders of a task that share a letter are not separated (0.05; tests of the next table).{several}"
        sections.append(Section("Task × encoder", note, by_encoder(lines)))
    if len(pairs):
        note = "Paired test on the same items (see the notes at the end), each at its dev-best layer; Holm over this table."
        sections.append(Section("Encoders compared", f"{note} Scores and differences in percent points.", pairs_table(pairs)))
    score = in_words(whole.frame.metric)
    percents = f"Test {score} in percent; bold: the dev-best layer."
    layers = layer_tables(whole.of_measure("probe"))
    sections += [Section(title, percents, frame) for title, frame in layers]
    by = "Test accuracy in percent, with its 95 % interval, of the items of each value; compare with the floors on the same items."
    sections += [Section(title, by, frame) for title, frame in tables_by_fact(whole)]
    sections += [Section(title, "", frame) for title, frame in measure_tables(whole)]
    return Content(lines, sections, foot, head, score, layers=layers)


def pairs_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """The comparisons of encoders as text, in percent; exact numbers are in pairs.csv."""
    shown = pairs.drop(columns=["n_train", *(name for name in ("seeds", "missing") if not pairs[name].any())])
    shown = shown.assign(
        **{
            c: [percent(v) for v in pairs[c]]
            for c in shown.columns
            if c.startswith(("a_", "b_")) and c[1:] != "_at" or c == "difference"
        }
    )
    return shown.assign(**{c: [p_value(p) for p in pairs[c]] for c in ("p", "p_holm")})


def markdown(content: Content) -> str:
    parts = [f"# {content.title}", "", *([content.head, ""] if content.head else [])]
    if content.lines:
        parts += [content.about, "", md_table(frame_of(content.lines)), "", "## In words", ""]
        parts += [*(f"- {task}, {encoder}: {text}." for task, encoder, text in verdicts(content.lines)), ""]
    for section in content.sections:
        parts += [f"## {section.title}", "", *([section.note, ""] if section.note else []), md_table(section.frame), ""]
    return "\n".join([*parts, "---", "", *(f"- {line}" for line in content.foot), ""])


def measure_tables(table: ResultTable) -> list[tuple[str, pd.DataFrame]]:
    """(title, task × layer) of every measure, metric, encoder, pooling and setting (`probe`): mean over seeds, with the 95 %
    interval of one seed; then the paired comparisons of each measure."""
    shown = []
    for measure in table.measures:
        frame = table.of_measure(measure).frame
        for metric in metrics_of(frame):
            valued = frame[frame[metric].notna()]
            for (encoder, pooling, probe), part in valued.groupby(["encoder", "pooling", "probe"], sort=False):
                title = ", ".join(filter(None, (encoder, pooling, probe)))
                shown.append((f"{measure}: {metric}, {title}", _by_layer(part, metric)))
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


def tables_by_fact(table: ResultTable) -> list[tuple[str, pd.DataFrame]]:
    """(title, floors and layers × values) of every task whose scores are also given by a fact of its items (`by` of the frame): the
    accuracy of the items of each value, for each encoder, pooling and probe at its first seed."""
    shown: list[tuple[str, pd.DataFrame]] = []
    frame = table.frame
    if "by" not in frame:
        return shown
    frame = frame[(frame.status == "done") & frame.by.fillna("").astype(bool)]
    layers, floors = frame[frame.role.isin(["probe", "random"])], frame[frame.role == "floor"]
    for (name, by, encoder, pooling, _), part in layers.groupby(["task", "by", "encoder", "pooling", "probe"], sort=False):
        lines = [{"": row.encoder} | _by_value(table, row.cell, by) for row in floors[floors.task == name].itertuples()]
        for layer, cells in part.sort_values(["layer", "seed"]).groupby("layer"):
            lines.append({"": f"layer {layer}"} | _by_value(table, cells.cell.iloc[0], by))
        shown.append((f"{name} by {by}: {encoder}, {pooling}", pd.DataFrame(lines)))
    return shown


def _by_value(table: ResultTable, cell: str, by: str) -> dict[str, str]:
    """The accuracy of a cell's test items of each value of the fact, in percent, with its interval."""
    items, line = table.items(cell), {}
    right, clusters = items["predicted"] == items["gold"], items.get("groups")
    for value in np.unique(items["by"]):
        own = items["by"] == value
        score = mean_accuracy(right[own], None if clusters is None else clusters[own])
        line[f"{by} {value} ({own.sum()})"] = f"{percent(score.value)} [{span(score.lower, score.upper, '–')}]"
    return line


def _by_layer(part: pd.DataFrame, metric: str) -> pd.DataFrame:
    lines = []
    for task, rows in part.groupby("paper_name", sort=False):
        line = {"task": task}
        for layer, cells in rows.sort_values("layer").groupby("layer", dropna=False):
            value, low, high = cells[[metric, f"{metric}_low", f"{metric}_high"]].mean()
            line["all layers" if pd.isna(layer) else f"layer {layer}"] = f"{value:.4g}" + (
                "" if pd.isna(low) else f" [{low:.4g}, {high:.4g}]"
            )
        lines.append(line)
    return pd.DataFrame(lines).fillna("")


def md_table(frame: pd.DataFrame) -> str:
    """A frame of strings and whole numbers as Markdown."""
    head = "| " + " | ".join(map(str, frame.columns)) + " |"
    rule = "|" + "|".join("---" for _ in frame.columns) + "|"
    return "\n".join(
        [head, rule, *("| " + " | ".join(str(v).replace("|", "\\|") for v in row) + " |" for row in frame.itertuples(index=False))]
    )
