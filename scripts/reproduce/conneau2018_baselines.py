"""Conneau et al. 2018, Table 2, the rows without training: floors of the text, a bag of vectors, untrained networks.

Usage: python scripts/reproduce/conneau2018_baselines.py ROOT [VECTORS]
(as probing run +experiment=conneau2018_baselines data.root=ROOT)
ROOT: SentEval's ten files, or any in their format. VECTORS: word vectors (theirs: fastText), default: MiniLM's input embeddings.
Majority, length and Naive Bayes read the text alone; BoV and the networks have the paper's MLP on their own sentence vectors.
"""

from __future__ import annotations

import sys
from pathlib import Path

from probing import ResultTable, Store, evaluate, load_encoder, load_probe
from probing.report import published

FLOORS = ("majority", "length", "nb-unigram", "nb-bigram")
NETWORKS = ("bilstm-last", "bilstm", "gated-cnn")


def main(
    root: str, vectors: str = "", store: str | Path = "probing-out/store", small: int | None = None, **probe: object
) -> ResultTable:
    """The table; `small`: width of the networks, and `probe`: options of the protocol, that are not the paper's."""
    bag = load_encoder("static", path=vectors) if vectors else load_encoder("bov")
    narrow = {"bilstm-last": "hidden", "bilstm": "hidden", "gated-cnn": "channels"}
    networks = [load_encoder(name, **({narrow[name]: small, "embedding_dim": small} if small else {})) for name in NETWORKS]
    return evaluate(
        "all", [bag, *networks], data=root, store=Store(store), probe=load_probe("senteval-paper", **probe), layers=-1,
        poolings="own", controls=(), floors=FLOORS,
    )  # fmt: skip


if __name__ == "__main__":
    table = main(*sys.argv[1:3])
    print((100 * table.floors()).round(1).to_string())
    print(published.compare(table, "conneau2018"))
