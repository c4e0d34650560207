"""Pictures of online codes: bits per label, block by block, of the true labels and of control labels (Voita & Titov 2020).

The learning curve behind a description length: the area under it is the code, and its last block is the cross-entropy of labels
that the probe did not see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pandas as pd

from probing.evaluation.plots import PALETTE, RC
from probing.evaluation.table import ResultTable
from probing.report.figures import grid, legend, svg

if TYPE_CHECKING:
    from probing.report.figures import Pictures

STYLES = {"code": ("-", "o", ""), "control_code": ("--", None, ", control labels")}


def code_curves(table: ResultTable, records: Mapping[str, Any]) -> Pictures:
    """A panel for each task: bits per label by the labels that were coded before and in the block, of each encoder's layer of the
    shortest code; mean and range over the orders of the sentences.

    Args:
        records: of finished cells by key; codes are in the details of the measure `mdl`.
    """
    frame = table.of_measure("mdl").frame if "mdl" in table.measures else pd.DataFrame()
    frame = frame[frame.cell.map(lambda cell: "codes" in records.get(cell, {}).get("details", {}))] if len(frame) else frame
    if frame.empty:
        return
    best = frame.loc[frame.groupby(["task", "encoder", "pooling", "probe"], sort=False).bits.idxmin()]
    tasks = list(dict.fromkeys(best.paper_name))
    lines = list(dict.fromkeys(zip(best.encoder, best.pooling, strict=True)))
    with matplotlib.rc_context(RC):
        figure, panels = grid(len(tasks), 3, (3.4, 2.6))
        for panel, task in zip(panels.ravel(), tasks, strict=False):
            for row in best[best.paper_name == task].itertuples():
                colour = PALETTE[lines.index((row.encoder, row.pooling)) % len(PALETTE)]
                for kind, ends, bits in by_kind(records[row.cell]["details"]["codes"]):
                    style, marker, more = STYLES[kind]
                    label = f"{row.encoder}, {row.pooling}, layer {row.layer:.0f}{more}"
                    panel.plot(ends, bits.mean(0), color=colour, ls=style, marker=marker, ms=2.5, lw=1.2, label=label)
                    panel.fill_between(ends, bits.min(0), bits.max(0), color=colour, alpha=0.15, lw=0)
            panel.set(xscale="log", title=task, xlabel="labels coded", ylim=(0, None))
        panels[0, 0].set_ylabel("bits per label of the block")
        legend(figure, panels.ravel(), 2)
        yield "Online codes, block by block, at the layer of the shortest code", "code-curves", svg(figure)


def by_kind(codes: list[Mapping[str, Any]]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Of the true and the control labels: ends of the blocks, mean over the orders, (n_blocks,), and bits per label, (n_orders,
    n_blocks)."""
    for kind in STYLES:
        own = [code for code in codes if code["labels"] == kind]
        if own:
            ends = np.array([code["ends"] for code in own], float)
            sizes = np.diff(ends, prepend=0.0, axis=1)
            yield kind, ends.mean(0), np.array([code["bits"] for code in own]) / sizes
