"""Jawahar et al. 2019, Table 2: [CLS] of every layer of bert-base-uncased under their released probe, with untrained twins.

Usage: python scripts/reproduce/jawahar2019.py ROOT [ENCODER …]   (as probing run +experiment=jawahar2019 data.root=ROOT)
ROOT: SentEval's ten files, or any in their format. ENCODER: preset, folder or hub id; default bert (needs a network once).
The twins redraw LayerNorm too; theirs kept its trained scale and shift.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from probing import ResultTable, Store, evaluate
from probing.report import published


def main(root: str, encoders: Sequence[str] = (), store: str | Path = "probing-out/store", twins: int = 5) -> ResultTable:
    """The table; the dev-best layer of each task stands beside the layers that are not separated from it."""
    return evaluate(
        "all", list(encoders) or ["bert"], data=root, store=Store(store), probe="jawahar2019", poolings="cls", twins=twins,
    )  # fmt: skip


if __name__ == "__main__":
    table = main(sys.argv[1], sys.argv[2:])
    print(published.compare(table, "jawahar2019"))
    print(table.best()[["paper_name", "layer", "accuracy", "random", "not_separated"]].to_string())
