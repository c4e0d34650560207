"""Study `interaction_accuracy`: error |T_est - T| against the exact T, by model rows spent, on real sentences, mean over repeats.

    sampled, regression       `probing.interactions.intervals`, at multiples of the smallest budget, and at the exact one
    permutation               the paper's sampler on all intervals, and the best partitions of its estimates
    permutation_told          the same, given the best and worst partitions (`probing.interactions.baselines`)
    learned_p                 the paper's method at its published settings (accuracy): T_soft after some epochs; on short
        segments
    learned_p, thresholded    the same, from the partitions with p >= 0.5 at the end
    shapiq:NAME               approximators of shapiq; on long segments

Reference: Zhang et al. 2021 and the accuracy experiment of the released code (dev sentences of 8-12 tokens).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from probing.evaluation.statistics import mean_ci, median_ci
from probing.interactions.baselines import APPROXIMATORS, approximated, learned_p, told
from probing.interactions.intervals import minimum_rows
from probing.interactions.segment import SegmentInteraction, SegmentTable
from probing.studies import require
from probing.studies.layout import by_encoder, columns, grouped, length, panels, short_names, shown, summarised, table, view, write
from probing.studies.segments import OnSegments, exact_of, sampled

EPOCHS = (1, 2, 5, 10, 20, 50, 100)
"""Epochs of learned_p's 100 after which its T is read."""
OURS = ("sampled", "regression")
BASELINES = ("permutation", "permutation_told", "shapiq")
SHOWN = ("1", "4", "16", "exact", "epoch 1", "epoch 10", "epoch 100")
"""Steps in the Markdown tables; summary.csv has all."""
SMALLEST = 1e-5
"""T below this share of the largest T of an encoder is float32 rounding, and no unit for an error."""
NOTE = """# Error of T by model rows, on real sentences

Error: |T_est - T| in the unit of the class value (a logit, by default), averaged over repeats of a segment; relative: divided by T.
T is exact: all contexts of the words outside. Intervals are 95 % over sentences: Student's t for means, bootstrap for medians.
Rows are different model rows; for the paper's sampler and learned_p all that they ask for, since their code caches nothing.
Steps: multiples of the smallest budget of method=sampled, at most the exact rows; for learned_p, epochs. summary.csv has all."""
LEARNED = """## Exact against learned_p at its published settings (accuracy)

Exact takes at least 50 times fewer rows in {enough} of {all} segments (times fewer: median {median:,.0f}, smallest {least:,.0f}),
with no error. Rows: medians over segments. Seconds: processor seconds of one thread, rows times the measured seconds of a row.
Error: relative."""
TIMES = """## Long segments: times fewer rows at equal error

Against the paper's sampler on all intervals (permutation), the same told the best partitions (permutation_told), and the best of
shapiq's approximators on each game (shapiq); root mean square errors; median over games [smallest, largest]. A game is left out
where a budget takes all its rows, and so makes no error."""


def budgets(table: SegmentTable, steps: tuple[int, ...]) -> dict[str, int]:
    """Model rows by step: multiples of the smallest budget, none above the exact rows; and these, as the last step."""
    least = minimum_rows(table.m, table.k, "sampled")
    return {str(step): min(step * least, table.rows) for step in sorted(steps)} | {"exact": table.rows}


@dataclass
class InteractionAccuracy(OnSegments):
    learned: bool = True
    shapiq: tuple[str, ...] = ("PermutationSamplingSV", "KernelSHAP")

    name = "interaction_accuracy"

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = sorted(set(self.shapiq) - set(APPROXIMATORS))
        require(not unknown, f"study.shapiq: {', '.join(unknown)} is unknown (allowed: {', '.join(APPROXIMATORS)})")

    def estimates(self, table: SegmentTable, long: bool) -> list[dict[str, Any]]:
        exact = exact_of(table)
        rows = [_row("exact", "exact", [exact.T], [table.rows], exact.T)]
        for step, budget in budgets(table, self.steps).items():
            tried = {
                method: partial(sampled, table, method, max(budget, minimum_rows(table.m, table.k, method)))
                for method in (*OURS, "permutation")
            }
            tried["permutation_told"] = partial(told, table, table.segment, exact.max_partition, exact.min_partition, budget)
            if long and step != "exact":
                tried |= {f"shapiq:{name}": partial(approximated, table, table.segment, name, budget) for name in self.shapiq}
            rows += [_row(method, step, *self.repeated(estimate), exact.T) for method, estimate in tried.items()]
        if self.learned and not long:
            rows += _learned_rows(table, exact)
        return [{"seconds_per_row": table.seconds / table.rows, "exact_rows": table.rows, **row} for row in rows]

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        """summary.csv, times.csv (long segments), table.md, error_rows.svg."""
        frame = frame.assign(encoder=short_names(frame), step=frame.step.astype(str))
        largest = frame.groupby(["task", "encoder"])["T"].transform("max")
        frame["relative"] = (frame.error / frame["T"]).where(frame["T"] > SMALLEST * largest)
        made, blocks = summary(frame), [NOTE, _encoders(frame), *_learned(frame[~frame.long])]
        files: dict[str, pd.DataFrame | str] = {
            "summary.csv": made.round(8),
            "error_rows.svg": panels(made, "relative_mean", "relative error of T", 30),
        }
        if frame.long.any():
            times = times_fewer(frame[frame.long], ["task", "encoder", "text", "start", "stop"])
            files["times.csv"] = times.round(4)
            blocks += [TIMES, table(_times(times))]
        for key, part in grouped(made, "long task"):
            for name in ("relative_mean", "relative_median", "error_mean", "error_median"):
                title = name.replace("_", ", ").replace("error", "absolute error")
                blocks += [f"## {key['task']}, {length(key['long'])} segments: {title}", table(_errors(part, name))]
        write(folder, blocks, files)


def _row(method: str, step: str, estimates: ArrayLike, rows: ArrayLike, T: float) -> dict[str, Any]:
    """Errors of the estimates of T; `rmse` and `bias` in the unit of T."""
    off = np.asarray(estimates, float) - T
    row = {"method": method, "step": step, "rows": float(np.mean(np.asarray(rows))), "T": T, "error": float(np.abs(off).mean())}
    return row | {"rmse": float(np.sqrt(np.mean(off**2))), "bias": float(off.mean()), "repeats": len(off)}


def _learned_rows(table: SegmentTable, exact: SegmentInteraction) -> list[dict[str, Any]]:
    r = learned_p(table, table.segment, "accuracy")
    epochs = len(r.T_history)
    rows = [
        _row("learned_p", f"epoch {epoch}", [r.T_history[epoch - 1]], [r.n_requested * epoch / epochs], exact.T)
        for epoch in EPOCHS
        if epoch <= epochs
    ]
    same = r.max_partition in exact.max_partitions and r.min_partition in exact.min_partitions
    end = _row("learned_p, thresholded", f"epoch {epochs}", [r.T_thresholded], [r.n_requested], exact.T)
    return [*rows, end | {"same_partitions": same}]


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean and median over segments of error and relative error, with intervals, by method and step."""

    def numbers(part: pd.DataFrame) -> dict[str, float]:
        row = {"segments": len(part), "rows": part["rows"].mean(), "exact_rows": part.exact_rows.mean(), "T": part["T"].mean()}
        for name in ("error", "relative"):
            row |= columns(f"{name}_mean", mean_ci(part[name])) | columns(f"{name}_median", median_ci(part[name]))
        return row

    return summarised(frame, "long task encoder method step", numbers)


def times_fewer(frame: pd.DataFrame, by: Sequence[str], error: str = "rmse") -> pd.DataFrame:
    """Times fewer rows of ours at equal error than each baseline, by game (the columns `by`): c^2 / (error^2 rows), its error
    being c / sqrt(rows), c the geometric mean over the baseline's budgets. The best approximator of a game stands for shapiq.
    Budgets at which ours is exact are omitted."""
    rows = []
    for game, part in grouped(frame, " ".join(by)):
        inexact = part[(part[error] > 0) & (part["rows"] < part.exact_rows)]
        fits = {name: np.exp(np.log(p[error] * np.sqrt(p["rows"])).mean()) for name, p in inexact.groupby("method")}
        fits["shapiq"] = min((c for name, c in fits.items() if name.startswith("shapiq:")), default=np.nan)
        for _, row in inexact[inexact.method.isin(OURS)].iterrows():
            times = {name: fits.get(name, np.nan) ** 2 / (row[error] ** 2 * row["rows"]) for name in BASELINES}
            kept = {name: row[name] for name in ("method", "step", "budget", "rows", "exact_rows") if name in part}
            rows.append(game | kept | times)
    return pd.DataFrame(rows)


def _encoders(frame: pd.DataFrame) -> str:
    def numbers(part: pd.DataFrame) -> dict[str, float]:
        row = {"accuracy": part.accuracy.astype(float).iloc[0], "number": len(part)}
        return row | columns("mean", mean_ci(part["T"])) | columns("median", median_ci(part["T"]))

    titles = {"classifier's test accuracy": "accuracy:.3f", "number": "number", "T, mean": "mean:.3g", "T, median": "median:.3g"}
    exact = frame[frame.method == "exact"]
    rows = summarised(exact.assign(segments=exact.long.map(length)), "long task segments encoder", numbers)
    return view(rows, "task segments encoder", titles, "-")


def _learned(short: pd.DataFrame) -> list[str]:
    """Text and table of exact answers against learned_p."""
    keys = ["task", "encoder", "text"]
    soft, cut = (short[short.method == m].groupby(keys, sort=False).last() for m in ("learned_p", "learned_p, thresholded"))
    if soft.empty:
        return []
    ratio = soft["rows"] / soft.exact_rows
    header = "task, encoder, segments, exact rows, learned_p rows, times fewer, exact s, learned_p s, error soft mean, median"
    rows = []
    for key, part in grouped(soft, "task encoder"):
        end, times = cut.loc[part.index], ratio[part.index]
        cells = [*key.values(), len(part), f"{part.exact_rows.median():,.0f}", f"{part['rows'].median():,.0f}"]
        cells.append(f"{times.median():,.0f} [{times.min():,.0f}, {times.max():,.0f}]")
        cells += [f"{(spent * part.seconds_per_row).median():,.2f}" for spent in (part.exact_rows, part["rows"])]
        cells += [shown(of(x.relative)) for x in (part, end) for of in (mean_ci, median_ci)]
        rows.append([*cells, f"{end.same_partitions.astype(bool).mean():.0%}"])
    text = LEARNED.format(enough=(ratio >= 50).sum(), all=len(ratio), median=ratio.median(), least=ratio.min())
    return [text, table(rows, [*header.split(", "), "error thresholded mean", "median", "both partitions right"])]


def _times(times: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for key, part in grouped(times, "method step"):
        cells = {b: f"{part[b].median():,.1f} [{part[b].min():,.1f}, {part[b].max():,.0f}]" for b in BASELINES}
        yield {"ours": key["method"], "budget": f"{key['step']} x minimum", "games": len(part), **cells}


def _errors(made: pd.DataFrame, name: str) -> Iterator[dict[str, str]]:
    listed = made[made.step.isin(SHOWN) & (made.method != "exact")]
    for key, part in grouped(listed, "method step"):
        yield key | {"rows": f"{part['rows'].mean():,.0f}"} | by_encoder(part, name, made.encoder.unique())
