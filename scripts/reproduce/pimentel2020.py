"""Pimentel et al. 2020: bits about the tags of words by layer, and the gain over a representation that knows the word type alone.

Usage: python scripts/reproduce/pimentel2020.py FOLDER [ENCODER …]
(as probing run +experiment=pimentel2020 data=conllu data.root=FOLDER task=upos)
FOLDER: CoNLL-U files, as theirs (UD 2.5). ENCODER: preset, folder or hub id, default: minilm; theirs: multilingual BERT.
Their probes are MLPs, 50 by random search; ours is logistic regression, C by dev cross-entropy: docs/papers/pimentel2020.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from probing import ResultTable, Store, evaluate
from probing.config import build, read
from probing.evaluation.codes import VInformation

CONTROLS = ("one-hot", "random", "static")


def main(
    root: str, encoders: Sequence[str] = (), task: str = "upos", store: str | Path = "probing-out/store"
) -> dict[str, ResultTable]:
    """A table for each control representation."""
    source = build({**read("data", "conllu"), "root": root}, "data")
    tasks, names = source.tasks((task,)), list(encoders) or ["minilm"]
    return {
        control: evaluate(
            tasks, names, store=Store(store), probe=None, measures=[VInformation(control=control)], floors=(), controls=()
        )
        for control in CONTROLS
    }  # fmt: skip


def shown(tables: dict[str, ResultTable]) -> str:
    names = ["encoder", "layer", "gain_over", "bits", "v_information", "gain", "gain_low", "gain_high"]
    return "\n".join(table.frame[names].round(3).to_string(index=False) for table in tables.values())


if __name__ == "__main__":
    print(shown(main(sys.argv[1], sys.argv[2:])))
