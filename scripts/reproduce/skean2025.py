"""Skean et al. 2025: MTEB's few-shot classification at every layer of a decoder, before and after its final norm.

Usage: python scripts/reproduce/skean2025.py MODEL [ROOT]   (as probing run +experiment=skean2025 encoder.name=MODEL)
MODEL: hub id or folder (EleutherAI/pythia-160m, a Mamba, …). ROOT: folders of the tasks' data sets; default: the hub.
Each number is the mean accuracy of ten draws of k sentences a label (`probing.probes.few_shot`); their layers have passed the norm.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from probing import ResultTable, Store, evaluate, load_encoder
from probing.data.mteb import MtebSource
from probing.probes.few_shot import scores
from probing.report import published


def main(
    model: str, root: str | None = None, store: str | Path = "probing-out/store", normed: Sequence[bool] = (False, True)
) -> ResultTable:
    """The table, an encoder for each of `normed`: BERT has no final norm and takes (False,)."""
    encoders = [load_encoder("hf", name=model, final_norm=norm) for norm in normed]
    return evaluate(
        MtebSource(root).tasks(None), encoders, store=Store(store), probe="mteb", poolings="mean", seeds=range(10), controls=(),
        floors="majority",
    )  # fmt: skip


def by_draw(table: ResultTable) -> None:
    """Prints the scores of each layer in mteb's words."""
    for (task, encoder, layer), cells in table.role("probe").groupby(["task", "encoder", "layer"], sort=False):
        pairs = [table.predicted(cell) for cell in cells.sort_values("seed").cell]
        own = scores(pairs[0][0], [predicted for _, predicted in pairs])
        print(f"{task} {encoder} layer {layer}: main_score {own['mean_accuracy']:.4f}, sd over draws {own['sd']:.4f}")


if __name__ == "__main__":
    table = main(*sys.argv[1:3])
    by_draw(table)
    print(published.compare(table, "skean2025"))
