"""The lines of the main table as text: one for each task, encoder and probe, with marks, letters, floors and a verdict in words.

`table.md`, `table.tex` and `report.html` print these lines, so that a number or a mark has one origin.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import pandas as pd

from probing.encoders.pooling import of_words, place_in_tables
from probing.evaluation.best import floors_of
from probing.evaluation.metrics import in_words, title
from probing.evaluation.rows import probe_metrics
from probing.evaluation.table import ResultTable
from probing.probes.controls import LEAK_ALPHA, LOW_CEILING


class Mark(NamedTuple):
    latex: str
    meaning: str


MARKS = {
    "†": Mark(r"\textdagger{}", "not shown to be above every floor of the line"),
    "=": Mark("=", "a floor has the label itself (length, where it decides the class): no score is compared with it"),
    "‡": Mark(r"\textdaggerdbl{}", "the solver did not converge"),
    "¶": Mark(r"\textparagraph{}", "the chosen C (or L2) is the first or the last of its grid"),
    "§": Mark(r"\textsection{}", "cells of the line failed or are missing; the best layer is that of the others"),
    "‖": Mark(r"$\|$", "on shuffled labels above the share of the largest class: an error in the set-up"),
    "◊": Mark(r"$\diamond$", f"a bag of words reaches less than {100 * LOW_CEILING:.0f} % on the word control"),
}
"""Marks behind numbers, in all forms of the table."""

LEAK, CEILING, LOOK_UP = "leak check (permuted labels)", "ceiling (bag of words)", "ceiling (word look-up)"


class Floor(NamedTuple):
    """A floor of a line: its score (of random weights the mean over draws), its text in percent, and its cells."""

    value: float
    text: str
    cells: Sequence[str]


@dataclass(frozen=True)
class Line:
    """One line of the main table.

    Attributes:
        row: the line of `ResultTable.best`.
        values: column -> text, as table.md prints it.
        floors: name -> floor, in the order of their columns.
        cells: column -> the cells that its number was made of.
        letter: encoders of the task and probe that share one are not separated.
    """

    row: Any
    values: Mapping[str, str]
    floors: Mapping[str, Floor]
    cells: Mapping[str, Sequence[str]]
    letter: str

    @property
    def score(self) -> str:
        """The text of the score, with its marks."""
        return self.values[self.column]

    @property
    def column(self) -> str:
        """The title of the score: accuracy, or score in a table of several main metrics."""
        return "score" if "score" in self.values else "accuracy"

    @property
    def best_floor(self) -> str:
        """The name of the highest floor but one that has the label itself; of equal ones the first; empty without floors."""
        names = [name for name in self.floors if name != self.row.label_floor]
        return max(names, key=lambda name: self.floors[name].value, default="")


def in_order(table: ResultTable, best: pd.DataFrame) -> pd.DataFrame:
    """The lines of `best` grouped by task; tasks, encoders and probes in the order in which the runs planned them."""
    if not len(best):
        return best
    planned = table.frame[table.frame.role == "probe"]
    ranks = {name: {value: k for k, value in enumerate(dict.fromkeys(planned[name]))} for name in ("task", "encoder", "probe")}
    keys = pd.DataFrame({name: best[name].map(rank) for name, rank in ranks.items()}, index=best.index)
    return best.loc[keys.sort_values(list(ranks), kind="stable").index].reset_index(drop=True)


def lines_of(table: ResultTable, best: pd.DataFrame, letters: Sequence[str]) -> list[Line]:
    """The lines of the main table. `letters`: one for each line of `best` (`comparisons.letters_of`)."""
    controls, metrics = _control_cells(table), _beside(best)
    score = "accuracy" if in_words(best.metric) == "accuracy" else "score"
    several, seeds, missing = best.probe.nunique() > 1, best.seeds.max() > 1, best.missing.any()
    lines, names = [], list[str]()
    for row, letter in zip(best.itertuples(), letters, strict=True):
        floors = _floors(table, row)
        names += [name for name in floors if name not in names]
        values = {"task": row.paper_name, "encoder": row.encoder} | ({"probe": row.probe} if several else {})
        values["layer"] = f"{row.layer} {row.pooling}" if row.seeds else "none"
        values |= {"metric": title(row.metric)} if score == "score" else {}
        values[score] = percent(row.score) + marks(row)
        values["95 % interval"] = span(row.score_low, row.score_high, "–") if row.seeds else ""
        if seeds:
            values["sd over seeds"] = f"{percent(row.seed_sd)} ({row.seeds})" if row.seeds > 1 else ""
        values |= {title(name): percent(getattr(row, name)) for name in metrics}
        values["not separated from it"] = _columns(row)
        values |= _controls(table, row)
        cells = dict.fromkeys([score, "95 % interval", *map(title, metrics)], [row.cell] if row.cell else [])
        for column, key in (("control (word)", "word"), ("selectivity", "word"), (LEAK, "permuted")):
            cells[column] = controls.get((key, row.task, row.encoder, row.probe, row.layer, row.pooling), [])
        cells |= {CEILING: controls.get(("word bag", row.task), []), LOOK_UP: controls.get(("word look-up", row.task), [])}
        lines.append(Line(row, values, floors, cells, letter))
    order = [name for name in (*table.floors().columns, "static", "random weights") if name in names]
    return [_with_floors(line, order, missing) for line in lines]


def _beside(best: pd.DataFrame) -> list[str]:
    """The metrics that a line of the table has beside its main one."""
    return [name for name in probe_metrics(best) if (best[name].notna() & (best.metric != name)).any()]


def _with_floors(line: Line, order: Sequence[str], missing: bool) -> Line:
    beside = {name: line.floors[name].text if name in line.floors else "" for name in order}
    values = {**line.values, **beside} | ({"missing": line.row.missing} if missing else {})
    return Line(line.row, values, {name: line.floors[name] for name in order if name in line.floors}, line.cells, line.letter)


def frame_of(lines: Sequence[Line]) -> pd.DataFrame:
    """The main table: strings, percent, floors beside the score."""
    return pd.DataFrame([line.values for line in lines]).fillna("")


def by_encoder(lines: Sequence[Line]) -> pd.DataFrame:
    """Task × encoder: the score with its marks and letter; a column names the probe where there are several."""
    wide: dict[str, dict[str, str]] = {}
    for line in lines:
        text = f"{line.score} {line.letter}".strip()
        wide.setdefault(line.row.task, {"task": line.row.paper_name})[column_of(line, lines)] = text
    columns = list(dict.fromkeys(column_of(line, lines) for line in lines))
    return pd.DataFrame(list(wide.values()), columns=["task", *columns]).fillna("")


def column_of(line: Line, lines: Sequence[Line]) -> str:
    """The title of the line's column in a table task × encoder."""
    several = len({other.row.probe for other in lines}) > 1
    return f"{line.row.encoder}, {line.row.probe}" if several else str(line.row.encoder)


def marks(row: Any) -> str:
    """The marks behind the score of a line of `best`."""
    floor = "†" if pd.notna(row.beats_floors) and not row.beats_floors else ""
    return (
        floor
        + ("=" if row.label_floor else "")
        + ("" if row.converged else "‡")
        + ("¶" if row.edge else "")
        + ("§" if row.missing else "")
    )


def percent(value: float) -> str:
    return "" if pd.isna(value) else f"{100 * value:.1f}"


def span(low: float, high: float, dash: str) -> str:
    """Two percents with a dash between them, or "to" where one is below 0.

    >>> span(0.1, 0.25, "–"), span(-0.1, 0.25, "–")
    ('10.0–25.0', '-10.0 to 25.0')
    """
    return f"{percent(low)}{' to ' if min(low, high) < 0 else dash}{percent(high)}"


def p_value(p: float) -> str:
    """
    >>> p_value(6e-08), p_value(0.0496)
    ('<0.001', '0.0496')
    """
    return "<0.001" if p < 0.001 else f"{p:.3g}"


def verdict(line: Line) -> str:
    """The line in words: score, layers not separated, floors, selectivity."""
    row = line.row
    if not row.seeds:
        return f"nothing is measured ({row.missing})"
    name = f"{title(row.metric)} " if line.column == "score" else ""
    parts = [f"{name}{line.score} at layer {row.layer} {row.pooling}"]
    if row.n_columns > 1:
        alone = len(row.not_separated) == 1 and not row.better
        parts.append("separated from every other layer" if alone else f"not separated: {line.values['not separated from it']}")
    if pd.isna(row.beats_floors):
        parts.append("no floor was measured" if not line.floors else "floors not tested")
    elif row.beats_floors:
        parts.append(f"above every floor (the best: {line.best_floor} {line.floors[line.best_floor].text})")
    else:
        reached = f" {line.floors[row.floor].text}" if row.floor in line.floors else ""
        parts.append(f"not shown to be above the floor {row.floor}{reached}")
    if row.label_floor:
        parts.append(f"the floor {row.label_floor} has the label itself")
    if chosen := line.values.get("selectivity", "").replace("n/a", ""):
        if ceiling := line.values.get(CEILING, ""):
            chosen += f" (ceiling {ceiling})"
        elif least := line.values.get(LOOK_UP, ""):
            over = span(row.selectivity_low, row.selectivity_high, "–")
            lowest = percent(row.score - row.ceiling_lookup)
            chosen += f" [{over}] ({lowest} for a probe that remembers words, which reaches {least} on the control)"
        parts.append(f"selectivity {chosen}")
    if "‖" in line.values.get(LEAK, ""):
        parts.append("‖ the leak check fails: the set-up has an error")
    return "; ".join(parts)


def verdicts(lines: Sequence[Line]) -> list[tuple[str, str, str]]:
    """(task, column of its encoder, verdict) of every line."""
    return [(line.row.paper_name, column_of(line, lines), verdict(line)) for line in lines]


def _floors(table: ResultTable, row: Any) -> dict[str, Floor]:
    floors = {}
    for name, draws in floors_of(table, row.task, row.encoder, row.probe, row.n_train).items():
        if name in ("static", "random weights") and not row.seeds:
            continue  # a line without a layer has nothing that they stand beside
        means = [sum(one.score for one in draw) / len(draw) for draw in draws]
        value = row.random if name == "random weights" else means[0]
        spread = f" ± {percent(row.random_sd)} ({row.random_n})" if name == "random weights" and row.random_n > 1 else ""
        label = "=" if name == row.label_floor else ""
        floors[name] = Floor(value, percent(value) + spread + label, [one.cell for draw in draws for one in draw])
    return floors


def _control_cells(table: ResultTable) -> dict[tuple[Any, ...], list[str]]:
    """The finished cells of control tasks by kind, task, encoder, probe, layer and pooling; of ceilings by name and task."""
    cells = defaultdict(list)
    for row in table.role("control", "ceiling").itertuples():
        place = (row.control, row.task, row.encoder, row.probe, row.layer, row.pooling)
        cells[place if row.role == "control" else (row.encoder, row.task)].append(row.cell)
    return cells


def _controls(table: ResultTable, row: Any) -> dict[str, str]:
    """The columns of the control tasks; "n/a" if the encoder has the word control on other tasks only."""
    line = {}
    if "word" in table.controls:
        names = ("control (word)", CEILING, "selectivity")
        planned = table.frame[(table.frame.control == "word") & (table.frame.encoder == row.encoder)].task
        if (planned == row.task).any():
            low = "◊" if row.ceiling < LOW_CEILING else ""
            if of_words([row.pooling]):
                names, low = (names[0], LOOK_UP, names[2]), ""
            ceiling = row.ceiling_lookup if LOOK_UP in names else row.ceiling
            line = dict(zip(names, (percent(row.control_word), percent(ceiling) + low, percent(row.selectivity)), strict=True))
        else:
            line = dict.fromkeys(names, "n/a" if len(planned) else "")
    if "permuted" in table.controls:
        line[LEAK] = percent(row.control_permuted) + ("‖" if row.leak_p < LEAK_ALPHA else "")
    others = [kind for kind in table.controls if kind not in ("word", "permuted")]
    return line | {f"control ({kind})": percent(getattr(row, f"control_{kind}")) for kind in others}


def ranges(layers: Sequence[int], better: Sequence[int] = ()) -> str:
    """
    >>> ranges([0, 1, 2, 5], better=[3])
    '0-2, 3+, 5'
    """
    runs = [[k for _, k in run] for _, run in groupby(enumerate(layers), lambda pair: pair[1] - pair[0])]
    parts = [(r[0], str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}") for r in runs] + [(layer, f"{layer}+") for layer in better]
    return ", ".join(text for _, text in sorted(parts))


def _columns(row: Any) -> str:
    """Layers that are not separated from the best, by pooling, the best's first; `+` after those that are better on test."""
    listed = [*(row.not_separated or ()), *(row.better or ())]
    poolings = sorted({pooling for _, pooling in listed}, key=lambda pooling: (pooling != row.pooling, place_in_tables(pooling)))
    parts = []
    for pooling in poolings:
        same, better = ([layer for layer, p in columns if p == pooling] for columns in (row.not_separated, row.better))
        parts.append(f"{pooling} {ranges(same, better)}")
    return f"{', '.join(parts)} ({len(row.not_separated)} of {row.n_columns})" if parts else ""
