"""The sentences of an atlas in pieces, so that each clause, and each number in it that has a card of its own, can open its card."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from probing.report.atlas_page import key_of
from probing.report.atlas_verdicts import RULES, ends_of_T, facets, percent, sentence
from probing.report.html import Value

APART = re.compile(r"; (?=transfers to |not shown to transfer to |the classifier's logit )")
"""What stands between the clauses of a column that has several numbers."""


def pieces(line: Mapping[str, Any], own: pd.DataFrame, numbers: Mapping[str, Value]) -> list[Value]:
    """The sentence of a property; a piece without a number has no key.

    Args:
        line: its verdicts (`atlas_verdicts.verdicts`).
        own: its rows.
        numbers: its line of the main table: column -> number with the key of its card, and in `more` those of several clauses.
    """
    made, rest = list[Value](), sentence(line)
    for name, value in numbers.items():
        if name not in RULES or not value.key:
            continue
        before, words, rest = rest.partition(line[f"{name}_words"])
        made.append(Value(before))
        rows = [row for row in own[(own.column == name) & (own.status == "done")].itertuples()]
        keys = [key for _, _, key in value.more] or [value.key]
        for k, (clause, key) in enumerate(zip(APART.split(words, len(keys) - 1), keys, strict=True)):
            made += [Value("; ")] * (k > 0) + _clause(clause, key, _inside(name, rows, k, own))
    return [one for one in (*made, Value(rest)) if one.text]


def _inside(name: str, rows: Sequence[Any], k: int, own: pd.DataFrame) -> list[tuple[str, str]]:
    """Numbers in clause k of a column that are of other rows than the verdict: as printed, and the keys of their cards."""
    if name == "interacting":
        first, last = ends_of_T(own)
        end = f"{last.value:.3g} [{last.low:.3g}, {last.high:.3g}] in layer {int(last.layer)}"
        return [(f"T {first.value:.3g} in layer {int(first.layer)}", key_of(first)), (end, key_of(last))]
    shown = [row for row in rows if row.metric == {"where": "best units", "transfers": "drop"}.get(name)]
    if name == "transfers":
        target = [facets(row.facets)["target"] for row in rows if row.metric != "drop"][k]
        shown = [row for row in shown if facets(row.facets)["target"] == target]
    return [(percent(row), key_of(row)) for row in shown]


def _clause(words: str, key: str, inside: Sequence[tuple[str, str]]) -> list[Value]:
    """A clause as one piece; where it has numbers with other cards, these and what stands between them."""
    made, at = list[Value](), 0
    for text, own in inside:
        start = words.find(text, at)
        if start >= 0 and own != key:
            made += [*_bare(words[at:start], key), Value(text, key=own)]
            at = start + len(text)
    return [*made, *_bare(words[at:], key)] if made else [Value(words, key=key)]


def _bare(words: str, key: str) -> list[Value]:
    """Words without the marks around them, which open nothing."""
    start, core, end = re.fullmatch(r"([\s,;()]*)(.*?)([\s,;()]*)", words, re.S).groups()  # type: ignore[union-attr]
    return [Value(start), Value(core, key=key), Value(end)]
