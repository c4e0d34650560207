"""Voita & Titov 2020: description length of the tags of words by layer, online code in true bits, with control labels.

Usage: python scripts/reproduce/voita_titov2020.py FOLDER [ENCODER …]
(as probing run +experiment=voita_titov2020 data=conllu data.root=FOLDER task=upos)
FOLDER: CoNLL-U files; theirs is the Penn Treebank. ENCODER: preset, folder or hub id, default: minilm; theirs: ELMo.
Their probe has two hidden layers (`probe="mlp"`); ours is logistic regression unless told: docs/papers/voita_titov2020.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from probing import ResultTable, Store, evaluate
from probing.config import build, read
from probing.evaluation.codes import OnlineCode


def main(
    root: str, encoders: Sequence[str] = (), task: str = "upos", store: str | Path = "probing-out/store", **options: Any
) -> ResultTable:
    """The table; `options`: of the code (`OnlineCode`), such as probe="mlp", shuffles=5, control="permuted"."""
    source = build({**read("data", "conllu"), "root": root}, "data")
    code = OnlineCode(**{"control": "word", **options})
    return evaluate(
        source.tasks((task,)), list(encoders) or ["minilm"], store=Store(store), probe=None, measures=[code], floors=(), controls=()
    )  # fmt: skip


def shown(table: ResultTable) -> str:
    names = [
        "encoder",
        "layer",
        "bits",
        "uniform_bits",
        "compression",
        "compression_low",
        "compression_high",
        "control_compression",
    ]
    return table.frame[[*names, "control_compression", "label_compression"]].round(2).to_string(index=False)


if __name__ == "__main__":
    print(shown(main(sys.argv[1], sys.argv[2:])))
