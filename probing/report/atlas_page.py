"""The page of an atlas: tables whose numbers open what made them, figures, sentences; one file that loads nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from probing.report.atlas_verdicts import facets, percent
from probing.report.card import Card
from probing.report.html import HINTS, PAGES, Value, cells_of, packed_cards
from probing.report.summary import p_value

RAW = ("compression", "derivative", "T", "T last less first")
"""Metrics that are no percentages."""


class Picture(NamedTuple):
    """A figure and the tables of the numbers in it, each with a caption."""

    title: str
    svg: str
    numbers: Sequence[tuple[str, Mapping[str, Any]]] = ()


def shown(row: Any) -> str:
    """A number with its interval as the tables print it."""
    if row.metric not in RAW:
        return percent(row)
    return f"{row.value:.3g}" + ("" if pd.isna(row.low) else f" [{row.low:.3g}, {row.high:.3g}]")


def key_of(row: Any) -> str:
    """The name of a number in the page."""
    layer = "" if pd.isna(row.layer) else f", layer {int(row.layer)}"
    target = facets(row.facets).get("target")
    on = f" on {target}" if target else ""
    return f"{row.encoder}, {row.paper_name}: {row.metric}{on}{layer}" + ", chosen" * (row.role == "best")


def card_of(row: Any) -> Card:
    """What a number stands against, its test, and what made it."""
    percents = row.metric not in RAW
    unit = " %" * percents
    lines = [("number", f"{key_of(row)}: {shown(row)}{unit}"), ("interval", "" if pd.isna(row.low) else "95 %")]
    value = "" if pd.isna(row.against_value) else f" {100 * row.against_value:.1f} %" if percents else f" {row.against_value:.3g}"
    lines.append(("against", f"{row.against}{value}" if isinstance(row.against, str) else ""))
    p = "" if pd.isna(row.p) else f"p {p_value(row.p)}"
    lines.append(("test", p + ("" if pd.isna(row.p_holm) or not p else f", after Holm over its family {p_value(row.p_holm)}")))
    lines.append(("n", "" if pd.isna(row.n) else f"{int(row.n)}"))
    made = [tuple(line) for line in json.loads(row.card)] if isinstance(row.card, str) and row.card else []
    lines += [("scores" if name == "number" else name, text) for name, text in made]
    return [(name, text) for name, text in lines if text]


def by_layer(part: pd.DataFrame) -> list[tuple[str, dict[str, Any]]]:
    """Of one encoder, for each metric that has a curve: property × layer."""
    made = []
    curves = part[(part.role == "layer") & (part.status == "done")]
    for (column, metric), own in curves.groupby(["column", "metric"], sort=False):
        layers = sorted(own.layer.astype(int).unique())
        rows = []
        for name, line in own.groupby("paper_name", sort=False):
            at = {int(row.layer): row for row in line.itertuples()}
            numbers = [Value(shown(at[k]), key=key_of(at[k])) if k in at else Value("") for k in layers]
            rows.append([Value(str(name)), *numbers])
        unit = "" if metric in RAW else ", %"
        caption = f"{column}: {metric} by layer [95 %]{unit}"
        made.append((caption, {"head": ["property", *(f"layer {k}" for k in layers)], "rows": rows, "starts": [], "hints": {}}))
    return made


def lines_grid(lines: Sequence[Mapping[str, Value]]) -> dict[str, Any]:
    """The main table; the first line of an encoder is marked."""
    head = list(dict.fromkeys(name for line in lines for name in line))
    first = head[0]
    starts = [k == 0 or line[first].text != lines[k - 1][first].text for k, line in enumerate(lines)]
    rows = [[line.get(name, Value("")) for name in head] for line in lines]
    return {"head": head, "rows": rows, "starts": starts if first == "encoder" else [], "hints": HINTS}


def page(
    frame: pd.DataFrame,
    note: str,
    lines: Sequence[Mapping[str, Value]],
    words: Sequence[tuple[str, Sequence[str]]],
    pictures: Sequence[Picture],
    about: pd.DataFrame,
    compared: Sequence[tuple[str, str, pd.DataFrame]],
    figures: Sequence[Picture],
    absent: Iterable[str],
) -> str:
    """The page.

    Args:
        frame: the rows with `p_holm`.
        lines: the main table, a mapping for each line.
        words: the sentences of each encoder.
        pictures: the strip of each encoder; `figures`: of several encoders.
        about: the table of the encoders; `compared`: title, note and table of each comparison.
        absent: reasons of columns that do not apply.
    """
    done = frame[frame.status == "done"]
    cards = {key_of(row): card_of(row) for row in done.itertuples()}
    return PAGES.get_template("atlas.html").render(
        title="Atlas of " + ", ".join(encoder for encoder, _ in words), note=note, lines=lines_grid(lines), words=words,
        pictures=[(one.title, Markup(one.svg[one.svg.index("<svg") :]), one.numbers) for one in pictures],
        about=cells_of(about), compared=[(title, text, cells_of(table)) for title, text, table in compared],
        figures=[(one.title, Markup(one.svg[one.svg.index("<svg") :])) for one in figures], absent=list(absent),
        made=Markup(packed_cards(cards)),
    )  # fmt: skip
