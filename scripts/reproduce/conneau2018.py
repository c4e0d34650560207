"""Conneau et al. 2018, Table 2: the last layer of a sentence encoder in its own pooling, under the MLP that they tuned.

Usage: python scripts/reproduce/conneau2018.py ROOT [ENCODER …]   (as probing run +experiment=conneau2018 data.root=ROOT)
ROOT: SentEval's ten files, or any in their format. ENCODER: preset, folder or hub id; default: the untrained BiLSTM-max.
Protocol: nine cells (50, 100, 200 hidden units × dropout 0, 0.1, 0.2) and four L2 chosen on dev, WordContent linear. Their
encoders' weights are not on the web: see docs/papers/conneau2018.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from probing import ResultTable, Store, evaluate, load_probe
from probing.report import published

FLOORS = ("majority", "length", "nb-unigram", "nb-bigram")


def main(root: str, encoders: Sequence[str] = (), store: str | Path = "probing-out/store", **probe: object) -> ResultTable:
    """The table; `probe`: options of the protocol that are not the paper's."""
    return evaluate(
        "all", list(encoders) or ["bilstm"], data=root, store=Store(store), probe=load_probe("senteval-paper", **probe),
        layers=-1, poolings="own", controls=(), floors=FLOORS,
    )  # fmt: skip


if __name__ == "__main__":
    table = main(sys.argv[1], sys.argv[2:])
    print(published.compare(table, "conneau2018,conneau2018-fragment"))
