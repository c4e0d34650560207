"""The tables for a paper, booktabs: task × encoder, and task × layer. Each file is a document that compiles alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from probing.evaluation.metrics import in_words
from probing.report.notes import interval_over
from probing.report.summary import CEILING, LEAK, MARKS, Line, column_of

_DOCUMENT = r"""%% To paste it elsewhere, take the lines between \begin{document} and \end{document}, and \usepackage{booktabs}.
%s\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{textcomp,booktabs}
\usepackage[margin=15mm,landscape]{geometry}
\begin{document}
%s\end{document}
"""

_SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_SPECIAL |= {"–": "--", "×": r"$\times$", "±": r"$\pm$", "≥": r"$\ge$", "<": r"\textless{}", ">": r"\textgreater{}", "—": "---"}
_ESCAPES = str.maketrans(_SPECIAL | {mark: one.latex for mark, one in MARKS.items()})


def escaped(text: str) -> str:
    r"""
    >>> escaped("my_encoder 85.0†")
    'my\\_encoder 85.0\\textdagger{}'
    """
    return text.translate(_ESCAPES)


def encoders_table(lines: Sequence[Line], foot: Sequence[str]) -> str:
    """Task × encoder: the best floor, then the score of each encoder with its marks and letter, random weights and selectivity
    where they were measured. In bold is the highest score of a row among the encoders of one probe."""
    scores: dict[tuple[str, str], list[float]] = {}
    for line in lines:
        scores.setdefault((line.row.task, line.row.probe), []).append(line.row.score)
    top = {place: np.nanmax(values) for place, values in scores.items() if len(values) > 1 and not np.isnan(values).all()}
    rows: dict[str, dict[tuple[str, str], str]] = {}
    floors: dict[str, dict[str, float]] = {}
    for line in lines:
        row, title = rows.setdefault(line.row.task, {("", "task"): escaped(line.row.paper_name)}), escaped(column_of(line, lines))
        text_floors = {name: one for name, one in line.floors.items() if name not in ("static", "random weights")}
        floors.setdefault(line.row.task, {}).update({f"{name} {one.text}": one.value for name, one in text_floors.items()})
        text = escaped(line.score + "‖" * ("‖" in line.values.get(LEAK, "")))
        number = escaped(line.score.rstrip("".join(MARKS)))
        if line.row.score == top.get((line.row.task, line.row.probe)):
            text = text.replace(number, rf"\textbf{{{number}}}", 1)
        letter = rf"\textsuperscript{{{line.letter}}}" if line.letter else ""
        row[title, line.column] = (text if number else f"--{text}") + letter
        for name, column in (("static", "static"), ("random weights", "random")):
            if name in line.floors:
                row[title, column] = escaped(line.floors[name].text)
        if chosen := line.values.get("selectivity", "").replace("n/a", ""):
            row[title, "selectivity"] = escaped(chosen + "◊" * ("◊" in line.values.get(CEILING, "")))
    for task, row in rows.items():
        row["", "best floor"] = escaped(max(floors[task], key=lambda text: floors[task][text], default=""))
    titles = list(dict.fromkeys(title for row in rows.values() for title, _ in row if title))
    order = [("", "task"), ("", "best floor")]
    order += [(title, name) for title in titles for name in ("accuracy", "score", "static", "random", "selectivity")]
    columns = [place for place in order if any(row.get(place) for row in rows.values())]
    frame = pd.DataFrame(
        [[row.get(place, "") for place in columns] for row in rows.values()], columns=pd.MultiIndex.from_tuples(columns)
    )
    return _DOCUMENT % (_comments(foot), floating(frame, _caption(lines), "tab:probing"))


def layers_tables(tables: Iterable[tuple[str, pd.DataFrame]], foot: Sequence[str], score: str = "accuracy") -> str:
    """Task × layer, a table for each encoder, pooling and probe; the dev-best layer of a row in bold."""
    made = []
    for k, (title, frame) in enumerate(tables, start=1):
        text = frame.map(lambda cell: rf"\textbf{{{escaped(cell.strip('*'))}}}" if cell.startswith("**") else escaped(cell))
        text.columns = ["task", *(column.removeprefix("layer ") for column in frame.columns[1:])]
        caption = f"Test {escaped(score)} (\\%) by layer: {escaped(title)}. Bold: the layer chosen on dev."
        caption += _legend("".join(frame.to_numpy(str).ravel()))
        made.append(floating(text, caption, f"tab:layers-{k}"))
    return _DOCUMENT % (_comments(foot), "\\clearpage\n".join(made))  # LaTeX holds back few floats


def floating(frame: pd.DataFrame, caption: str, label: str) -> str:
    """A table of escaped text, its first column left, the others right."""
    style = frame.style.hide(axis="index").format(lambda text: text)
    return style.to_latex(
        hrules=True, multicol_align="c", position="htbp", position_float="centering", caption=caption, label=label,
        column_format="l" + "r" * (frame.shape[1] - 1),
    )  # fmt: skip


def _caption(lines: Sequence[Line]) -> str:
    probes = ", ".join(dict.fromkeys(line.row.probe for line in lines))
    best = pd.DataFrame([line.row for line in lines])
    measured = best[best.seeds > 0]
    caption = f"Test {in_words(best.metric)} (%) of {probes} probes at the layer chosen on dev; "
    if measured.empty:
        caption += "no layer is finished."
    else:
        reach = 100 * np.maximum(measured.score_high - measured.score, measured.score - measured.score_low).max()
        bound = f"{np.ceil(10 * reach) / 10:.1f} points from its score"
        caption += f"no end of a 95 % interval ({interval_over(best)}) is farther than {bound}."
    caption += " Best floor: the highest of those that read only the text."
    if len({line.row.encoder for line in lines}) > 1:
        caption += " Bold: the highest of a row" + (" under one probe" if best.probe.nunique() > 1 else "") + "."
    if any(line.letter for line in lines):
        caption += " Encoders of a row that share a letter are not separated."
    shown = "".join(line.score + line.values.get(LEAK, "") + line.values.get(CEILING, "") for line in lines)
    return escaped(caption) + _legend(shown)


def _legend(shown: str) -> str:
    """What the marks mean that occur in a text."""
    return "".join(f" {one.latex} {escaped(one.meaning)}." for mark, one in MARKS.items() if mark in shown)


def _comments(foot: Sequence[str]) -> str:
    return "".join(f"% {line}\n" for line in foot)
