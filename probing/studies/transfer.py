"""Study `transfer`: probes that are trained on one corpus and tested on others, layer by layer (`probing.evaluation.transfer`).

The source of `data` is the first corpus, `corpora` names the others. Vectors are extracted once for all corpora; finished cells are
kept, so that from stored vectors a transfer costs fits alone. `rows.csv` has lines of three kinds (column `row`): layer, floor and
direction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from probing import config
from probing.config import listed
from probing.errors import ConfigError
from probing.evaluation.directions import MOST_CLASSES
from probing.evaluation.request import all_floors
from probing.evaluation.transfer import transfer
from probing.evaluation.transferred import PAIR, Transfer
from probing.log import info
from probing.report.transfer import write
from probing.studies import Context, require
from probing.studies.sources import CORPUS, named_source

ALLOWED = f"study.corpora is a mapping from a name to {CORPUS}"


@dataclass
class TransferStudy:
    """Options that are lists are one value or many, as on the command line: `all` or `none` where these are allowed.

    Args:
        corpora: name -> "grammar", a folder of task files, or a mapping with `data`, a preset's name, and its options.
        probe: a preset's name, or its options.
        layer, pooling: of all corpora.
        floors: each fitted on the source, and scored on the target.
        twins: random-weights twins, where that floor is named.
        sizes: at most so many train, dev and test sentences of each task; null: all.
        directions: probes of permuted labels for the null of directions; 0: no directions.
    """

    corpora: Any = None
    probe: Any = "fast"
    layer: Any = "all"
    pooling: Any = "all"
    floors: Any = "all"
    twins: int = 1
    sizes: Any = None
    directions: int = 40

    name = "transfer"
    uses = ("data", "encoder")

    def __post_init__(self) -> None:
        require(bool(self.corpora), f"study.corpora names no corpus beside that of data=…; {ALLOWED}")
        require(isinstance(self.corpora, Mapping), f"study.corpora={self.corpora!r}: {ALLOWED}")
        require(self.directions == 0 or self.directions >= 7, f"study.directions={self.directions} must be 0 (none) or at least 7")
        whole = isinstance(self.sizes, list) and all(isinstance(n, int) and n > 0 for n in self.sizes)
        require(
            self.sizes is None or (whole and len(self.sizes) == 3),
            f"study.sizes={self.sizes} must be three numbers above 0, or null",
        )

    def measure(self, context: Context) -> pd.DataFrame:
        first = context.source
        require(
            first.name not in self.corpora,
            f"study.corpora names {first.name}, which is the name of data too: choose another (data.name=…)",
        )
        sources = {first.name: first} | {
            name: named_source(f"study.corpora.{name}", given, context.home) for name, given in self.corpora.items()
        }
        probe = self.probe if isinstance(self.probe, str) else config.build(self.probe, "probe")
        table = transfer(
            sources,
            context.encoder,
            tasks=context.names,
            sizes=self.sizes,
            store=context.store,
            cells=context.results,
            probe=probe,
            layers=listed(self.layer, int, "layer"),
            poolings=listed(self.pooling, str, "pooling"),
            seeds=context.seeds,
            floors=listed(self.floors, str, "floors", every=all_floors(), none=True),
            twins=self.twins,
            force=context.force,
        )
        return pd.concat([_layers(table), _floors(table), *self._directions(table)], ignore_index=True)

    def _directions(self, table: Transfer) -> list[pd.DataFrame]:
        if not self.directions:
            return []
        try:
            angles = table.directions(draws=self.directions)
        except ConfigError as error:  # of a probe without weights, or tasks of numbers: the matrix is complete without
            info(f"{error}; the tables are complete without directions")
            return []
        return [angles.rename(columns={"task": "property"}).assign(row="direction")]

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        """table.md, matrix.csv, layers.csv, directions.csv, figure-transfer.svg."""
        write(frame, folder, MOST_CLASSES)


def _layers(table: Transfer) -> pd.DataFrame:
    """A line for each layer; at the dev-best one with the tests of `Transfer.lines`."""
    layers, lines = table.by_layer(), table.lines()
    keys = [*PAIR, "encoder", "probe", "pooling", "layer"]
    tests = ["drop_p", "drop_p_holm", "gap", "gap_low", "gap_high", "gap_p", "gap_p_holm", "beats_floors", "floor", "missing"]
    chosen = lines[lines.cell != ""][[*keys, *tests]]
    return layers.merge(chosen, how="left", on=keys).assign(row="layer")


def _floors(table: Transfer) -> pd.DataFrame:
    """The floors that read the text, and random twins, by layer."""
    rows = table.frame[table.frame.role.isin(["floor", "random", "static"])]
    columns = [*PAIR, "role", "encoder", "twin_of", "pooling", "layer", "n_test", "metric", "score", "score_low", "score_high"]
    return rows[[*columns, "status", "error"]].rename(columns={"role": "floor_kind"}).assign(row="floor")
