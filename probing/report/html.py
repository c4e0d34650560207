"""The report as one HTML file, with figures, data cards and the card of each number inside. The page is `page.html`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import pandas as pd
from markupsafe import Markup

from probing.report.card import card_of
from probing.report.markdown import Content
from probing.report.summary import MARKS, Line, frame_of, verdicts

PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
"""The templates beside this file."""

HINTS = {
    "layer": "chosen on dev, with its pooling",
    "95 % interval": "the notes say over which items, groups, seeds or fits",
    "not separated from it": "layers that paired tests do not separate from the best; +: better on test",
    "control (word)": "every sentence has the random label of one of its words",
    "ceiling (bag of words)": "a bag of words on the same control task",
    "ceiling (word look-up)": "the control labels of the word types of train",
    "selectivity": "score minus score on the control task",
    "leak check (permuted labels)": "test score on shuffled labels",
    "best floor": "the highest floor; click for the others",
}
"""Explanations of columns, shown while the pointer rests on their titles."""


class Value(NamedTuple):
    """A cell of the page: text, how it sorts, the key of the cell that made it, and further (name, text, key) on a click."""

    text: str
    bold: bool = False
    sort: str | None = None
    key: str = ""
    more: Sequence[tuple[str, str, str]] = ()


def html(
    content: Content,
    pictures: Sequence[tuple[str, str]],
    records: Mapping[str, Any],
    cards: Mapping[str, Any],
    published: str | None,
) -> str:
    """A page without other files, that loads nothing.

    Args:
        pictures: titles and SVG.
        records: of the finished cells by key; a number without one opens no card.
        cards: of the tasks.
        published: the comparison with a paper's numbers, Markdown.
    """
    slugs: set[str] = {"summary", "words", "data", "notes"}
    words: dict[str, list[tuple[str, str]]] = {}
    for task, encoder, text in verdicts(content.lines):
        words.setdefault(task, []).append((encoder, text))
    main = _main(content.lines, records)
    shown = {key for row in main["rows"] for value in row for key in (value.key, *(one[2] for one in value.more)) if key}
    return PAGES.get_template("page.html").render(
        head=content.head,
        about=content.about.rstrip("."),
        main=main if content.lines else None,
        words=words,
        title=content.title,
        sections=[(_slug(one.title, slugs), one.title, one.note, cells_of(one.frame)) for one in content.sections],
        pictures=[(_slug(title, slugs), title, Markup(svg[svg.index("<svg") :])) for title, svg in pictures],
        marks={mark: one.meaning for mark, one in MARKS.items()},
        foot=content.foot,
        published=published,
        cards=json.dumps(cards, indent=1, ensure_ascii=False),
        made=Markup(packed_cards({key: card_of(records[key], dated=False) for key in sorted(shown)})),
    )


def _main(lines: Sequence[Line], records: Mapping[str, Any]) -> dict[str, Any]:
    """The main table: floors folded into one column, each number with the key of its cell; the first row of a task is marked."""
    frame = frame_of(lines)
    floors = list(dict.fromkeys(name for line in lines for name in line.floors))
    columns = [name for name in frame.columns if name not in floors]
    if floors:
        columns.insert(columns.index("missing") if "missing" in columns else len(columns), "best floor")

    def key(cells: Sequence[str]) -> str:
        return next((cell for cell in cells if cell in records), "")

    rows = []
    for line in lines:
        row = []
        for name in columns:
            if name == "best floor":
                beside = [(floor, one.text, key(one.cells)) for floor, one in line.floors.items()]
                best = line.best_floor
                text = f"{best} {line.floors[best].text}" if best else ""
                row.append(Value(text, sort=f"{line.floors[best].value:.6f}" if best else "", more=beside))
            else:
                text = line.values.get(name, "")
                letter = f" {line.letter}" if name == line.column and line.letter else ""
                row.append(Value(text + letter, key=key(line.cells.get(name, ())) if text else ""))
        rows.append(row)
    starts = [k == 0 or line.row.task != lines[k - 1].row.task for k, line in enumerate(lines)]
    return {"head": columns, "rows": rows, "starts": starts, "hints": HINTS}


def cells_of(frame: pd.DataFrame) -> dict[str, Any]:
    """Header and rows for the template; **bold** becomes a flag."""
    rows = [[Value(str(v).strip("*"), str(v).startswith("**")) for v in row] for row in frame.itertuples(index=False)]
    return {"head": [str(column) for column in frame.columns], "rows": rows, "starts": [], "hints": HINTS}


def _slug(title: str, taken: set[str]) -> str:
    """An anchor that no other heading of the page has."""
    name = base = re.sub(r"\W+", "-", title.lower()).strip("-")
    number = 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    taken.add(name)
    return name


def packed_cards(cards: Mapping[str, Sequence[tuple[str, str]]]) -> str:
    """The cards as JSON for a script element; a line that several cards share is held once."""
    lines = list(dict.fromkeys(line for card in cards.values() for line in card))
    number = {line: k for k, line in enumerate(lines)}
    packed = {"lines": lines, "cards": {key: [number[line] for line in card] for key, card in cards.items()}}
    return json.dumps(packed, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
