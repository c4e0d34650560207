"""Jawahar et al. 2019, Table 3: the number of a hidden verb from the vector in its place, by layer and number of attractors.

Usage: python scripts/reproduce/jawahar2019_agreement.py FOLDER [ENCODER]
(as probing run +experiment=jawahar2019_agreement data.root=FOLDER)
FOLDER: subj_agr_filtered.text and .gold of facebookresearch/colorlessgreenRNNs. ENCODER: default minilm; theirs BERT.
"""

from __future__ import annotations

import sys
from pathlib import Path

from probing import ResultTable, Store, evaluate
from probing.config import build, read
from probing.report.markdown import md_table, tables_by_fact


def main(root: str, encoder: object = "minilm", store: str | Path = "probing-out/store") -> ResultTable:
    """The table of all layers, floors and random weights; each score is also given by attractors (`tables_by_fact`)."""
    tasks = build({**read("data", "agreement"), "root": root}, "data").tasks(None)
    floors = ("majority", "static", "random-weights")
    return evaluate(tasks, encoder, store=Store(store), probe="jawahar2019", controls="permuted", floors=floors)


if __name__ == "__main__":
    for title, frame in tables_by_fact(main(*sys.argv[1:3])):
        print(f"\n{title}\n\n{md_table(frame)}")
