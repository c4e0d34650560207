"""Holmes (Waldis et al. 2024) on SentEval's ten tasks: their linear probe, macro F1, the last layer, five seeds.

Usage: python scripts/reproduce/holmes2024.py ROOT [ENCODER …]   (as probing run +experiment=holmes2024 data.root=ROOT)
ROOT: SentEval's ten files, or any in their format. ENCODER: preset, folder or hub id; default bert (needs a network once).
The probe normalises twice, as their released code does; softmax_twice=False is the plain cross-entropy.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from probing import ResultTable, Store, evaluate, load_probe
from probing.report import published

FLOORS = ("majority", "length", "nb-unigram", "random-weights")


def main(root: str, encoders: Sequence[str] = (), store: str | Path = "probing-out/store", **probe: object) -> ResultTable:
    """The table; `probe`: options of the protocol that are not theirs."""
    return evaluate(
        "all", list(encoders) or ["bert"], data=root, store=Store(store), probe=load_probe("holmes2024", **probe), layers=-1,
        poolings="mean", seeds=range(5), controls=(), floors=FLOORS,
    )  # fmt: skip


if __name__ == "__main__":
    print(published.compare(main(sys.argv[1], sys.argv[2:]), "holmes2024"))
