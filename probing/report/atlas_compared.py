"""Encoders of an atlas compared on the same test items, as runs are (`probing.evaluation.run_comparison`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import groupby
from types import SimpleNamespace

import numpy as np
import pandas as pd

from probing.evaluation.metrics import title
from probing.evaluation.paired_tests import DEPENDENCE
from probing.evaluation.run_comparison import Entry, RunComparison
from probing.report.atlas_verdicts import facets, scores
from probing.report.compared import ranks_table
from probing.report.summary import percent
from probing.types import Labels


@dataclass(frozen=True)
class AtlasEntry(Entry):
    """An encoder; `lines`: hash of a test set -> the row of its dev-best layer. Its cells are named by these hashes."""

    def cells(self, test: str) -> dict[int, str]:
        return {-1: test}

    def by_item(self, cell: str) -> np.ndarray:
        row = self.lines[cell]
        data = bytes.fromhex(row.items)
        if len(data) == 4 * row.n:
            return np.frombuffer(data, "<f4").astype(float)
        return np.unpackbits(np.frombuffer(data, np.uint8))[: int(row.n)].astype(bool)

    def groups(self, cell: str) -> Labels | None:
        given = self.lines[cell].groups
        return np.array(json.loads(given)) if isinstance(given, str) else None

    def dependence(self, test: str) -> float:
        return DEPENDENCE if self.lines[test].folds else 1.0


def comparison(frame: pd.DataFrame) -> RunComparison | None:
    """Every two encoders on each property whose test items both have, at their dev-best layers; None where no two share any. Scores
    without values by item are not among them."""
    best = frame[(frame.column == "encoded") & (frame.role == "best") & frame["items"].notna() & (frame["items"] != "")]
    rows = [(row, facets(row.facets)) for row in best.itertuples()]
    entries, tests = list[AtlasEntry](), dict[str, str]()
    for encoder, own in groupby(rows, key=lambda pair: pair[0].encoder):
        lines = {}
        for row, about in own:
            tests[about["sha256"]] = row.paper_name
            lines[about["sha256"]] = SimpleNamespace(
                metric=row.metric, score=row.value, score_low=row.low, score_high=row.high, layer=int(row.layer), items=row.items,
                groups=row.groups, n=row.n, folds=about.get("folds", False),
            )  # fmt: skip
        entries.append(AtlasEntry(str(encoder), lines))
    shared = {test: name for test, name in tests.items() if sum(test in entry.lines for entry in entries) > 1}
    return RunComparison(tuple(entries), shared) if shared else None


def not_compared(frame: pd.DataFrame, compared: RunComparison | None) -> list[str]:
    """Of several encoders, the properties of the column `encoded` that are not compared between all of them, and why."""
    every = list(dict.fromkeys(frame.encoder))
    lines = list[str]()
    for name, own in scores(frame).groupby("paper_name", sort=False):
        of_items = set() if compared is None else set(compared.tasks.entry[compared.tasks.task == name])
        done = own[own.status == "done"]
        if len(done) and not (done["items"].notna() & (done["items"] != "")).any():
            lines.append(f"{name}: the rows have no values of {title(done.metric.iloc[0])} by item, which the paired tests compare")
        elif not of_items:
            lines.append(f"{name}: no two encoders are measured on the same test items")
        elif lacking := [encoder for encoder in every if encoder not in of_items]:
            lines.append(f"{name}: not measured on these test items: {', '.join(lacking)}")
    return lines if len(every) > 1 else []


def matrix(compared: RunComparison) -> pd.DataFrame:
    """Property × encoder: score and letters, the best encoders over the properties first."""
    order = [entry.name for entry in compared.entries]
    order.sort(key=lambda name: -compared.tasks.score[compared.tasks.entry == name].mean())
    texts = {(row.task, row.entry): f"{percent(row.score)} {row.letters}" for row in compared.tasks.itertuples()}
    return pd.DataFrame(
        [
            {"property": task, **{name: texts.get((task, name), "") for name in order}}
            for task in dict.fromkeys(compared.tests.values())
        ]
    )


def encoders(frame: pd.DataFrame, compared: RunComparison | None) -> pd.DataFrame:
    """A line for each encoder: architecture, weights, data, size, and its rank over the common properties with its interval."""
    first = frame.drop_duplicates("encoder")[["encoder", "architecture", "parameters", "data", "size"]]
    weights = ["" if pd.isna(n) else f"{int(n):,}" for n in first.parameters]
    made = first.assign(parameters=weights).rename(columns={"parameters": "weights"}).fillna("")
    if compared is None or not compared.common:
        return made
    ranks = ranks_table(compared).rename(columns={"entry": "encoder"})
    return made.merge(ranks, how="left", on="encoder").sort_values("rank", kind="stable").fillna("")
