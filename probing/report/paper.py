"""The title of a table that follows a paper: whether its protocol, data and encoder are the paper's.

An experiment names its paper under the key `paper` (`probing.config.PAPER`): cite, and what the paper used: probe, encoders and
poolings. Data are the paper's files where every data card says `official`, or names a data set of MTEB on the hub.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from probing.data.mteb import TASKS
from probing.evaluation.runs import Run
from probing.evaluation.table import ResultTable

PLAIN = "Probing results"


def title(runs: Sequence[Run], table: ResultTable) -> str:
    """The title of a report: `PLAIN`, or where all runs follow one paper its name and what of the table is the paper's."""
    papers = [run.config.get("paper") for run in runs]
    if not papers or not papers[0] or any(other != papers[0] for other in papers):
        return PLAIN
    cards = {name: card for run in runs for name, card in run.data_cards().items()}
    return title_of(papers[0], table, cards)


def title_of(paper: Mapping[str, Any], table: ResultTable, cards: Mapping[str, Mapping[str, Any]]) -> str:
    """The title of one table by the data cards of its tasks."""
    rows = table.frame[table.frame.role == "probe"]
    probes = list(dict.fromkeys(rows.probe.where(rows.measure == "probe", rows.measure)))
    poolings = list(dict.fromkeys(rows.pooling))
    changed = [name.partition("[")[2].rstrip("]") for name in probes]
    if {name.partition("[")[0] for name in probes} == {paper.get("probe")}:
        options = " or for ".join(one for one in dict.fromkeys(changed) if one)
        parts = [f"its protocol but for {options}" if options else "its protocol"]
    else:
        parts = [f"protocol: {', '.join(probes)}, not the paper's"]
    if (wanted := paper.get("poolings")) and not set(poolings) <= set(wanted):
        parts.append(f"pooling: {', '.join(poolings)}, not the paper's")
    own = [name for name, card in cards.items() if _is_theirs(card)]
    some = f"the paper's files for {len(own)} of {len(cards)} tasks" if own else "not the paper's files"
    parts.append("data: the paper's files" if cards and len(own) == len(cards) else f"data: {some}")
    theirs = {name.lower() for name in paper.get("encoders") or ()}
    others = [name for name in table.encoders if name.lower() not in theirs]
    parts.append(f"encoder: {', '.join(others)}, not the paper's" if others else f"encoder: {', '.join(table.encoders)}")
    return f"{paper['cite']}: {'; '.join(parts)}"


def _is_theirs(card: Mapping[str, Any]) -> bool:
    return bool(card["official"]) or (card["task"] in TASKS and card["source"] == TASKS[card["task"]].path)
