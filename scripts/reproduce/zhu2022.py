"""Zhu, Shahtalebi & Rudzicz 2022: seven tasks with 1,200 train sentences a class, the first token of every layer, five seeds.

Usage: python scripts/reproduce/zhu2022.py ROOT [ENCODER …]   (as probing run +experiment=zhu2022 data.root=ROOT)
ROOT: SentEval's files, or any in their format. ENCODER: preset, folder or hub id; default FacebookAI/roberta-base, of the hub.
The seed draws the train sentences. They print the better of logistic regression and MLP; we have ours, `fast`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from probing import ResultTable, Store, evaluate
from probing.report import published

TASKS = "bigram_shift coordination_inversion obj_number odd_man_out past_present subj_number tree_depth".split()
FLOORS = ("majority", "length", "nb-unigram", "random-weights")


def main(
    root: str, encoders: Sequence[str] = (), store: str | Path = "probing-out/store", per_class: int = 1200,
    tasks: Sequence[str] = TASKS,
) -> ResultTable:  # fmt: skip
    """The table, scores as means over five draws of the train sentences."""
    return evaluate(
        list(tasks), list(encoders) or ["FacebookAI/roberta-base"], data=root, store=Store(store), poolings="cls",
        per_class=per_class, seeds=range(5), controls=(), floors=FLOORS,
    )  # fmt: skip


if __name__ == "__main__":
    print(published.compare(main(sys.argv[1], sys.argv[2:]), "zhu2022"))
