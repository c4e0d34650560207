"""Study `interaction_accuracy`: error of T against the exact T, by model rows spent, on real sentences.

    sampled, regression       ours (`probing.interactions.intervals`), at multiples of the smallest budget, and at the exact one
    permutation               the paper's sampler on all intervals, and the best partitions of what it gives
    permutation_told          the same, told the best and worst partitions (`probing.studies.baselines`)
    learned_p                 the paper's method at its published settings (accuracy): T_soft after some epochs; on short segments
    learned_p, thresholded    the same, from the partitions with p >= 0.5 at the end
    shapiq:NAME               approximators of shapiq; on long segments

The error of an estimate is |T_est - T|, averaged over repeats; relative error divides by T. Rows are different ones, as a cache
counts them; for the paper's sampler all that it asked for, since its code caches nothing. Reference: Zhang et al. 2021 and the
accuracy experiment of the released code (dev sentences of 8-12 tokens). Left out: their curves, which could not be read here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probing.errors import ConfigError
from probing.interactions.intervals import minimum_rows
from probing.interactions.learned import learned_p
from probing.interactions.segment import SegmentInteraction, segment_interaction
from probing.interactions.text.game import TOLERANCE
from probing.studies.baselines import APPROXIMATORS, approximated, told
from probing.studies.segment_tables import OnSegments, SegmentTable

EPOCHS = (1, 2, 5, 10, 20, 50, 100)
"""Of learned_p's 100, those after which its T is read."""


def exact_of(table: SegmentTable) -> SegmentInteraction:
    """The exact answer, from the table."""
    return segment_interaction(table, table.segment, "exact", budget=table.rows, tolerance=TOLERANCE)


def budgets(table: SegmentTable, steps: tuple[int, ...]) -> dict[str, int]:
    """Model rows by step: multiples of the smallest budget, none above the exact rows; and these, as the last step."""
    least = minimum_rows(table.m, table.k, "sampled")
    return {str(step): min(step * least, table.rows) for step in sorted(steps)} | {"exact": table.rows}


@dataclass
class InteractionAccuracy(OnSegments):
    """Options of `OnSegments`, and:

    Args:
        learned: whether learned_p is tried on short segments; it asks for 250,000 rows of the table each.
        shapiq: approximators of shapiq that are tried on long segments.
    """

    learned: bool = True
    shapiq: tuple[str, ...] = ("PermutationSamplingSV", "KernelSHAP")

    name = "interaction_accuracy"

    def __post_init__(self) -> None:
        super().__post_init__()
        if unknown := sorted(set(self.shapiq) - set(APPROXIMATORS)):
            raise ConfigError(f"study.shapiq: {', '.join(unknown)} is unknown (allowed: {', '.join(APPROXIMATORS)})")

    def estimates(self, table: SegmentTable, long: bool) -> list[dict[str, Any]]:
        exact = exact_of(table)
        rows = [_row("exact", "exact", [exact.T], table.rows, exact.T)]
        for step, budget in budgets(table, self.steps).items():
            for method in ("sampled", "regression", "permutation"):
                asked = max(budget, minimum_rows(table.m, table.k, method))
                found = [
                    segment_interaction(table, table.segment, method, asked, seed, TOLERANCE, listed=1)
                    for seed in range(self.repeats)
                ]
                spent = [r.n_requested if method == "permutation" else r.n_evaluations for r in found]
                rows.append(_row(method, step, [r.T for r in found], np.mean(spent), exact.T))
            partitions = exact.max_partition, exact.min_partition
            rows.append(self._repeated("permutation_told", step, told, exact.T, table, *partitions, budget))
            for name in self.shapiq if long and step != "exact" else ():
                rows.append(self._repeated(f"shapiq:{name}", step, approximated, exact.T, table, name, budget))
        if self.learned and not long:
            rows += _learned(table, exact)
        return [{"seconds_per_row": table.seconds / table.rows, "exact_rows": table.rows, **row} for row in rows]

    def _repeated(self, method: str, step: str, estimate: Any, T: float, table: SegmentTable, *given: Any) -> dict[str, Any]:
        found, spent = zip(*(estimate(table, table.segment, *given, seed) for seed in range(self.repeats)), strict=True)
        return _row(method, step, found, np.mean(spent), T)

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        from probing.studies.accuracy_report import write

        write(frame, folder)


def _row(method: str, step: str, found: Any, rows: float, T: float) -> dict[str, Any]:
    """Errors of the estimates of T; `rmse` and `bias` in the unit of T."""
    off = np.asarray(found, float) - T
    return {
        "method": method,
        "step": step,
        "rows": float(rows),
        "T": T,
        "error": float(np.abs(off).mean()),
        "rmse": float(np.sqrt(np.mean(off**2))),
        "bias": float(off.mean()),
        "repeats": len(off),
    }


def _learned(table: SegmentTable, exact: SegmentInteraction) -> list[dict[str, Any]]:
    r = learned_p(table, table.segment, "accuracy")
    epochs = len(r.T_history)
    rows = [
        _row("learned_p", f"epoch {epoch}", [r.T_history[epoch - 1]], r.n_requested * epoch / epochs, exact.T)
        for epoch in EPOCHS
        if epoch <= epochs
    ]
    same = r.max_partition in exact.max_partitions and r.min_partition in exact.min_partitions
    end = _row("learned_p, thresholded", f"epoch {epochs}", [r.T_thresholded], r.n_requested, exact.T)
    return [*rows, end | {"same_partitions": same}]
