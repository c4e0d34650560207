"""Adi et al. 2017: length, word content and word order of any sentences, with the paper's controls.

Usage: python scripts/reproduce/adi2017.py TEXT [ENCODER …]   (as probing run +experiment=adi2017 data.path=TEXT)
TEXT: one sentence a line; the paper has 200,000 of Wikipedia, which were not released. ENCODER: default minilm.
Rows with their words become [sentence; word vectors]; see docs/papers/adi2017.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from probing import ResultTable, Store, evaluate, load_probe
from probing.data.adi2017 import AdiText
from probing.encoders.given import as_encoders
from probing.encoders.words import WithWords


def main(
    text: str,
    encoders: Sequence[str] = (),
    sizes: list[int] | None = None,
    store: str | Path = "probing-out/store",
    **probe: object,
) -> ResultTable:
    """The table; `sizes`: sentences of train, dev and test; `probe`: options of the protocol that are not the paper's."""
    read = [WithWords(encoder) for encoder in as_encoders(list(encoders) or ["minilm"])]
    return evaluate(
        AdiText(text, sizes).tasks(None), read, store=Store(store), probe=load_probe("adi2017", **probe), poolings="own",
        controls=(), floors=("majority", "length", "random-weights"),
    )  # fmt: skip


if __name__ == "__main__":
    best = main(sys.argv[1], sys.argv[2:]).best()
    print(
        (100 * best.set_index(["encoder", "paper_name"])[["accuracy", "accuracy_low", "accuracy_high", "random"]])
        .round(1)
        .to_string()
    )
