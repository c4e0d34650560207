"""Hewitt & Liang 2019: accuracy, control accuracy and selectivity of a part-of-speech probe by its size, linear and MLP.

Usage: python scripts/reproduce/hewitt_liang2019.py FOLDER [ENCODER [LAYER]]
(as probing run +experiment=hewitt_liang2019 data.root=FOLDER)
FOLDER: CoNLL-U files; theirs is the Penn Treebank. ENCODER: preset, folder or hub id, default: minilm; theirs: ELMo, layer 1.
Every size has the same control labels; a probe that remembers words reaches the ceiling on them, and no more.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from probing import Store, evaluate, load_probe
from probing.config import build, read
from probing.evaluation.table import merge

LINEAR, MLP = (2, 10, 45, 1000), ((45,), (1000,), (1000, 1000))
SHOWN = ("probe", "score", "control_word", "selectivity", "selectivity_low", "selectivity_high", "ceiling_lookup")


def main(
    root: str, encoder: object = "minilm", layer: int = 1, store: str | Path = "probing-out/store", task: str = "xpos",
    linear: tuple[int, ...] = LINEAR, mlp: tuple[tuple[int, ...], ...] = MLP, **options: object,
) -> pd.DataFrame:  # fmt: skip
    """A line for each probe; `options`: of the protocol, such as max_epoch."""
    tasks = build({**read("data", "conllu"), "root": root}, "data").tasks((task,))
    probes = [load_probe("hewitt-liang", rank=rank, items=16, **options) for rank in linear]
    probes += [load_probe("hewitt-liang", hidden=list(hidden), items=16, **options) for hidden in mlp]
    tables = [
        evaluate(tasks, encoder, store=Store(store), probe=probe, layers=layer, controls="word", floors=("majority", "nb-unigram"))
        for probe in probes
    ]
    return merge(tables).best()[[*SHOWN]]


if __name__ == "__main__":
    root, *more = sys.argv[1:]
    print(main(root, *more[:1], *map(int, more[1:2])).round(3).to_string(index=False))
