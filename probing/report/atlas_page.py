"""The page of an atlas: tables whose numbers open what made them, figures, sentences; one file that loads nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import pandas as pd
from markupsafe import Markup, escape

from probing.evaluation.metrics import title
from probing.report.atlas_verdicts import SURE, facets, percent
from probing.report.card import Card
from probing.report.html import HINTS, PAGES, Value, cells_of, packed_cards
from probing.report.summary import p_value

RAW = ("compression", "derivative", "T", "T last less first")
"""Metrics that are no percentages."""
LINK = "card-"
"""How the id of a group of an SVG begins that shows a number."""


class Section(NamedTuple):
    """The part of one encoder: its sentences in pieces, its main table, its strip (SVG; empty without numbers), the tables of the
    numbers in it with their captions, and why columns do not apply."""

    encoder: str
    sentences: Sequence[Sequence[Value]]
    lines: Mapping[str, Any]
    strip: str
    numbers: Sequence[tuple[str, Mapping[str, Any]]]
    absent: Sequence[str]


def shown(row: Any) -> str:
    """A number with its interval as the tables print it."""
    if row.metric not in RAW:
        return percent(row)
    return raw(row.value) + ("" if pd.isna(row.low) else f" [{raw(row.low)}, {raw(row.high)}]")


def raw(value: float) -> str:
    """A number that is no percentage; rounding of float32 states is 0."""
    return "0" if abs(value) < SURE else f"{value:.3g}"


def key_of(row: Any) -> str:
    """The name of a number in the page."""
    layer = "" if pd.isna(row.layer) else f", layer {int(row.layer)}"
    target = facets(row.facets).get("target")
    on = f" on {target}" if target else ""
    return f"{row.encoder}, {row.paper_name}: {title(row.metric)}{on}{layer}" + ", chosen" * (row.role == "best")


def card_of(row: Any) -> Card:
    """What a number stands against, its test, and what made it."""
    percents = row.metric not in RAW
    unit = " %" * percents
    lines = [("number", f"{key_of(row)}: {shown(row)}{unit}"), ("interval", "" if pd.isna(row.low) else "95 %")]
    value = "" if pd.isna(row.against_value) else f" {100 * row.against_value:.1f} %" if percents else f" {raw(row.against_value)}"
    lines.append(("against", f"{row.against}{value}" if isinstance(row.against, str) else ""))
    tested = facets(row.facets).get("p_control", row.p) if pd.isna(row.p) else row.p  # of best units, against control labels
    p = "" if pd.isna(tested) else f"p {p_value(tested)}"
    lines.append(("test", p + ("" if pd.isna(row.p_holm) or not p else f", adjusted over its family {p_value(row.p_holm)}")))
    floors = facets(row.facets).get("floors", {})
    lines.append(("floors", ", ".join(f"{name} {100 * value:.1f} %" for name, value in floors.items())))
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
        unit = "" if metric in RAW else ", points" if metric == "points lost" else ", %"
        caption = f"{column}: {title(str(metric))} by layer{' [95 %]' * bool(own.low.notna().any())}{unit}"
        made.append((caption, {"head": ["property", *(f"layer {k}" for k in layers)], "rows": rows, "starts": [], "hints": {}}))
    return made


def lines_grid(lines: Sequence[Mapping[str, Value]]) -> dict[str, Any]:
    """The main table of an encoder."""
    head = list(dict.fromkeys(name for line in lines for name in line))
    return {"head": head, "rows": [[line.get(name, Value("")) for name in head] for line in lines], "starts": [], "hints": HINTS}


def footer(frame: pd.DataFrame) -> list[str]:
    """Encoders, data and versions that made the numbers, from the rows; no date, so that the same rows give the same bytes."""
    lines = list[str]()
    for row in frame.drop_duplicates("encoder").itertuples():
        lines.append(f"Encoder {row.encoder}: fingerprint {row.fingerprint}; data {row.data}; size {row.size}.")
    cards = frame[frame.card.notna() & (frame.card != "")]
    for name, start, own in (
        ("task", "Property", cards.drop_duplicates(["data", "size", "property"])),
        ("versions", "Computed with", cards.drop_duplicates("card")),
    ):
        texts = dict.fromkeys(text for card in own.card for key, text in json.loads(card) if key == name)
        lines += [f"{start} {text.replace(' sentences (train', ' items (train')}." for text in texts]  # as cards of studies say
    lines.append("Made by `probing atlas`; manifest.json in the folder of each run has its configuration, date and versions.")
    return lines


def page(
    frame: pd.DataFrame,
    notes: Sequence[str],
    sections: Sequence[Section],
    about: pd.DataFrame,
    compared: Sequence[tuple[str, str, Mapping[str, Any]]],
    figures: Sequence[tuple[str, str]],
    alone: Sequence[str],
) -> str:
    """The page.

    Args:
        frame: the rows with `p_holm`.
        notes: how to read the table, and what its size allows; empty ones are left out.
        about: the table of the encoders.
        compared: title, note and table (`opening`) of each comparison, scores by property and encoder first.
        figures: title and SVG of each figure of several encoders.
        alone: properties that are not compared between all encoders, and why.
    """
    done = frame[frame.status == "done"]
    cards = {key_of(row): card_of(row) for row in done.itertuples()}
    whose = sections[0].encoder if len(sections) == 1 else f"{len(sections)} encoders"
    return PAGES.get_template("atlas.html").render(
        title=f"Atlas of {whose}", note=notes[0], size=notes[1], alone=alone, foot=footer(frame),
        sections=[one._replace(strip=_inner(one.strip)) for one in sections], about=cells_of(about),
        compared=compared, figures=[(title, _inner(picture)) for title, picture in figures], made=Markup(packed_cards(cards)),
    )  # fmt: skip


def opening(table: pd.DataFrame, keys: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """A table whose cell in the line of a property and the column of an encoder opens the card of the score; `keys`: (paper_name,
    encoder) -> its key."""
    made = cells_of(table)
    head, rows = made["head"], made["rows"]
    opened = [[one._replace(key=keys.get((row[0].text, name), "")) for name, one in zip(head, row, strict=True)] for row in rows]
    return {**made, "rows": opened}


def link(key: str) -> str:
    """The id of the group of an SVG that shows the number of this name; of letters that no attribute escapes."""
    return LINK + quote(key)


def openable(picture: str) -> str:
    """The SVG in which each group of a number (`link`) is a button that opens its card."""

    def button(match: re.Match[str]) -> str:
        key = escape(unquote(match[1]))
        return f'<g role="button" tabindex="0" data-cell="{key}"><title>{key}: click for what made it</title>'

    return re.sub(rf'<g id="{LINK}([^"]*)">', button, picture)


def _inner(picture: str) -> Markup:
    """An SVG file as an element of a page."""
    return Markup(picture[picture.index("<svg") :] if picture else "")
