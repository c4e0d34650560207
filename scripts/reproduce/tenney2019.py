"""Tenney et al. 2019: scalar mix, centre of gravity and expected layer of properties of words, pairs and spans.

Usage: python scripts/reproduce/tenney2019.py FOLDER [ENCODER …]
(as probing run +experiment=tenney2019 data.root=FOLDER)
FOLDER: CoNLL-U files; theirs are OntoNotes and a web treebank. ENCODER: preset, folder or hub id, default: minilm; theirs: BERT.
Theirs are sigmoid probes of attentive spans and F1, ours linear probes of means and accuracy: docs/papers/tenney2019.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from probing import ResultTable, Store, evaluate
from probing.config import build, read
from probing.evaluation.several_layers import SeveralLayers

TASKS = ("upos", "edge", "phrase")


def main(
    root: str, encoders: Sequence[object] = (), tasks: Sequence[str] = TASKS, store: str | Path = "probing-out/store"
) -> ResultTable:
    """The table of all layers, and of the mixes."""
    source = build({**read("data", "conllu"), "root": root}, "data")
    mixes = SeveralLayers(methods=["single", "mix", "expected"])
    floors = ("majority", "nb-unigram", "nb-bigram")
    return evaluate(
        source.tasks(tasks), list(encoders) or ["minilm"], store=Store(store), measures=[mixes], controls=(), floors=floors
    )  # fmt: skip


if __name__ == "__main__":
    table = main(sys.argv[1], sys.argv[2:])
    print((100 * table.where(role="probe").pivot_table("score", ["task", "encoder"], "layer", sort=False)).round(1).to_string())
    mixed = table.of_measure("layers").frame
    print(mixed[[name for name in mixed if mixed[name].notna().any()]].to_string(index=False))
