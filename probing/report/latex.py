"""The table for a paper: booktabs, tasks as rows, floors and encoders as columns."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from probing.evaluation.table import ResultTable
from probing.probes.controls import FLOORS
from probing.report.markdown import views
from probing.report.notes import interval_over


def latex(table: ResultTable, best: pd.DataFrame, foot: Sequence[str]) -> str:
    """booktabs; floors, random twins and encoders as columns, tasks as rows, the highest score of a row in bold."""
    names = dict(zip(best.task, best.paper_name, strict=True))
    wide = table.floors()
    marked: list[tuple[str, str]] = []
    several = best.probe.nunique() > 1
    for (encoder, probe), part in best.groupby(["encoder", "probe"], sort=False):
        title = f"{encoder}, {probe}" if several else encoder
        scores = part.set_index("task")
        marked += [(names[task], title) for task in scores.index[scores.missing != ""]]
        for column, name in (("static", f"{title} static"), ("random", f"{title} random"), ("accuracy", title)):
            if column == "accuracy" or scores[column].notna().any():
                shown = (100 * scores[[column]]).set_axis([name], axis=1)
                wide = wide.join(shown, how="outer") if len(wide.columns) else shown
    wide[list(FLOORS.keys() & set(wide.columns))] *= 100
    wide = wide.reindex([t for t in table.tasks if t in wide.index]).rename(index=names).rename_axis(None)
    style = wide.style.format(precision=1, na_rep="--", escape="latex")
    for axis in (0, 1):
        style = style.format_index(escape="latex", axis=axis)
    for task, column in marked:
        if column in wide.columns:
            style = style.format("{:.1f}§", na_rep="--§", subset=pd.IndexSlice[[task], [column]])
    style = style.highlight_max(axis=1, props="textbf:--rwrap;")
    half = (100 * (best.accuracy_high - best.accuracy_low) / 2).max()
    caption = f"Test accuracy (\\%) of {', '.join(dict.fromkeys(best.probe))} probes at the layer chosen on dev; "
    intervals = f"95\\% intervals ({interval_over(best)}) are at most $\\pm${half:.1f} points."
    caption += "no layer is finished." if np.isnan(half) else intervals
    if best.missing.any():
        caption += " §: cells of the line failed or are missing; the best layer is that of the others."
    caption = caption.replace("_", "\\_")
    body = style.to_latex(
        hrules=True, position_float="centering", caption=caption, label="tab:probing", column_format="l" + "r" * wide.shape[1]
    )
    return "% needs \\usepackage{booktabs}\n" + "".join(f"% {line}\n" for line in foot) + body


def layers_latex(table: ResultTable) -> list[str]:
    """booktabs, for each encoder, probe, pooling and size of the train split: tasks as rows, layers as columns, test accuracy in
    percent (mean over seeds), the dev-best layer of a row in bold."""
    probes, tables = table.role("probe"), list[str]()
    names = dict(zip(probes.task, probes.paper_name, strict=True))
    for encoder, probe, poolings in views(table):
        for pooling in poolings:
            where = {"role": "probe", "encoder": encoder, "probe": probe, "pooling": pooling}
            for n_train in sorted(table.where(**where).n_train.unique()):
                wide, dev = (table.pivot("task", "layer", of, **where, n_train=n_train) for of in ("accuracy", "dev_accuracy"))
                best = dev.reindex_like(wide).sort_index(axis=1).idxmax(axis=1)
                shown = (100 * wide.sort_index(axis=1)).rename_axis(index=None, columns=None)
                text = shown.map(lambda x: "--" if np.isnan(x) else f"{x:.1f}").astype(object)
                for task, layer in best.items():
                    text.loc[task, layer] = f"\\textbf{{{text.loc[task, layer]}}}"
                style = text.rename(index=names, columns=str).style.format_index(escape="latex", axis=0)
                what = re.sub(r"([_&%#$])", r"\\\1", f"{encoder}, {pooling}, {probe} probes, {n_train} train sentences")
                caption = f"Test accuracy (\\%) by layer, in bold the layer chosen on dev: {what}."
                label, columns = f"tab:layers-{len(tables) + 1}", "l" + "r" * len(text.columns)
                tables.append(
                    style.to_latex(hrules=True, position_float="centering", caption=caption, label=label, column_format=columns)
                )
    return tables
