"""Peters et al. 2018 (Dissecting contextual word embeddings): language models of one text, by layer, and mixes of their layers.

Usage: python scripts/reproduce/peters2018.py FOLDER CHECKPOINT [CHECKPOINT …]
(as probing run -m +experiment=peters2018 data.root=FOLDER encoder.path=CHECKPOINT,CHECKPOINT)
FOLDER: CoNLL-U files. CHECKPOINT: language models of `probing train objective=lm`, trained to about the same perplexity.
The ten sentence tasks of the same networks: probing run -m encoder=checkpoint encoder.path=… data=senteval data.root=….
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from probing import ResultTable, Store, evaluate, load_encoder
from probing.config import build, read
from probing.evaluation.several_layers import SeveralLayers

TASKS = ("xpos", "phrase")


def main(
    root: str, checkpoints: Sequence[str], tasks: Sequence[str] = TASKS, store: str | Path = "probing-out/store"
) -> ResultTable:
    """The table of all layers of all networks, with the mix of each one's layers."""
    source = build({**read("data", "conllu"), "root": root}, "data")
    networks = [load_encoder("checkpoint", path=path) for path in checkpoints]
    mixes = SeveralLayers(methods=["single", "mix"])
    return evaluate(
        source.tasks(tasks), networks, store=Store(store), measures=[mixes], controls=(),
        floors=("majority", "nb-unigram", "static"),
    )  # fmt: skip


def perplexities(checkpoints: Sequence[str]) -> pd.DataFrame:
    """Perplexity on dev and test, and parameters without embeddings, as the trainings recorded them."""
    records = {Path(path).name: json.loads(Path(path, "manifest.json").read_text(encoding="utf-8")) for path in checkpoints}
    lines = {name: {split: record[split]["perplexity"] for split in ("dev", "test")} for name, record in records.items()}
    return pd.DataFrame(lines).T


if __name__ == "__main__":
    root, *networks = sys.argv[1:]
    print(perplexities(networks).round(1).to_string())
    table = main(root, networks)
    print((100 * table.where(role="probe").pivot_table("score", ["task", "encoder"], "layer", sort=False)).round(1).to_string())
    mixed = table.of_measure("layers").frame
    print(mixed[[name for name in mixed if mixed[name].notna().any()]].to_string(index=False))
