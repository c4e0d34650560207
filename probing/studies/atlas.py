"""Study `atlas`: a line for each property, from one store: what a model knows, where, whether it uses it, and how words act on it.

    encoded      accuracy of a probe by layer against every floor, selectivity, description length (`probing.evaluation`)
    where        the best units of the dev-best layer against random bases (`probing.studies.neurons`)
    used         points lost on pairs about the property when its directions are erased, against random directions of the same rank
                 (`probing.studies.causal`); of a classifier the derivative along its direction (`probing.studies.concepts`)
    interacting  T by layer over sentences of the property (`probing.studies.interaction_layers`)
    transfers    score and drop on another corpus (`probing.studies.transfer`)

Each part is the study of that name, whose finished pieces are kept, so that a killed atlas goes on where it stopped. Rows are long:
a line for each column of the atlas, property, layer and metric, with interval, n, p and what it stands against. A column that does
not apply has a row with the reason. What the numbers say in words is decided by `probing.report.atlas_verdicts` alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pandas as pd

from probing.config import listed
from probing.errors import ProbingError
from probing.log import human_seconds, info
from probing.report import atlas as report
from probing.studies import Context, require
from probing.studies.atlas_cost import forecast
from probing.studies.atlas_parts import COLUMNS, Parts
from probing.studies.atlas_rows import NAMES, about


class Size(NamedTuple):
    """How much is measured: train, dev and test items of a property, random twins, random bases, pairs of a property, random
    directions for a property that has pairs, sentences for T and their fewest and most words, and whether codes are."""

    items: tuple[int, int, int] | None
    twins: int
    rotations: int
    pairs: int | None
    draws: int
    sentences: int
    words: tuple[int, int]
    code: bool


SIZES = {
    "quick": Size((1000, 300, 500), 2, 10, 200, 100, 16, (5, 8), False),
    "full": Size(None, 5, 20, None, 200, 100, (8, 12), True),
}


@dataclass
class Atlas:
    """Options:

    Args:
        size: quick (samples of each property) or full (all of the data).
        treebank: the folder of a treebank in CoNLL-U: it adds properties of words, and the pairs that `used` is measured on.
        corpora: name -> another corpus of the same tasks, for `transfers`: grammar, a folder of task files, or a preset of data.
        classifier: a preset of data with options, such as {data: sst2, root: DIR}: the derivative of the encoder's head on it.
        columns: of the atlas, all or a list.
        probe: the protocol.
    """

    size: str = "quick"
    treebank: Any = None
    corpora: Any = None
    classifier: Any = None
    columns: Any = "all"
    probe: str = "fast"

    name: ClassVar[str] = "atlas"
    uses: ClassVar[tuple[str, ...]] = ("data", "encoder")

    def __post_init__(self) -> None:
        require(self.size in SIZES, f"study.size={self.size!r} is unknown (allowed: {', '.join(SIZES)})")
        self.chosen = listed(self.columns, str, "study.columns", every=COLUMNS)
        for name in self.chosen:
            require(name in COLUMNS, f"study.columns: {name!r} is unknown (allowed: {', '.join(COLUMNS)})")

    def measure(self, context: Context) -> pd.DataFrame:
        """A row for each number (`probing.studies.atlas_rows.row`)."""
        parts = Parts(self, SIZES[self.size], context)
        of = {**about(context), "data": context.source.name, "size": self.size}  # an encoder that cannot be loaded ends it at once
        return pd.DataFrame([{**of, **row} for row in self._rows(parts)], columns=NAMES)

    def _rows(self, parts: Parts) -> Iterator[dict[str, Any]]:
        for name in self.chosen:
            info(f"atlas: {name}")
            start, rows = time.perf_counter(), list[dict[str, Any]]()
            try:
                rows.extend(getattr(parts, name)())
            except ProbingError as error:
                info(f"{name}: not measured: {error}")
                given = {row["property"] for row in rows}
                rows += parts.without(name, str(error), [task for task in parts.tasks if task.name not in given], "failed")
            yield from rows
            if (seconds := time.perf_counter() - start) >= 1:
                info(f"atlas: {name} took {human_seconds(seconds)}")

    def forecast(self, context: Context) -> None:
        """Logs for each column what would be measured, and about how long it would take; nothing is kept."""
        forecast(Parts(self, SIZES[self.size], context))
        info("Nothing was measured (dry=true); finished parts are kept, and the same command goes on from there")

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        """atlas.html, table.md, atlas.tex, atlas.json, atlas.parquet, verdicts.csv, figure-strip-*.svg and .pdf."""
        report.write(frame, folder)
