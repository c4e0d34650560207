"""Tables and figure of `interaction_accuracy`, from its rows: error by model rows, exact against learned_p, rows at equal error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from probing.evaluation import statistics
from probing.files import replace_file
from probing.report.figures import PALETTE
from probing.studies.layout import curve, panels, short_names, shown, table
from probing.types import Estimate

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
LEARNED = """
## Exact against learned_p at its published settings (accuracy)

Exact takes at least 50 times fewer rows in {enough} of {all} segments (times fewer: median {median:,.0f}, smallest {least:,.0f}),
with no error. Rows: medians over segments. Seconds: processor seconds of one thread, rows times the measured seconds of a row.
Error: relative."""
TIMES = """
## Long segments: times fewer rows at equal error

Against the paper's sampler on all intervals (permutation), the same told the best partitions (permutation_told), and the best of
shapiq's approximators on each game (shapiq); root mean square errors; median over games [smallest, largest]. A game is left out
where a budget takes all its rows, and so makes no error."""


def write(frame: pd.DataFrame, folder: Path) -> None:
    """summary.csv, times.csv (long segments), table.md, error_rows.svg."""
    frame = frame.assign(encoder=short_names(frame), step=frame.step.astype(str))
    largest = frame.groupby(["task", "encoder"])["T"].transform("max")
    frame["relative"] = (frame.error / frame["T"]).where(frame["T"] > SMALLEST * largest)
    made = summary(frame)
    replace_file(folder / "summary.csv", made.round(8).to_csv(index=False).encode())
    lines = [NOTE, *table(*_encoders(frame)), *_learned(frame[~frame.long])]
    if frame.long.any():
        times = times_fewer(frame[frame.long], ["task", "encoder", "text", "start", "stop"])
        replace_file(folder / "times.csv", times.round(4).to_csv(index=False).encode())
        lines += [TIMES, *table(*_times(times))]
    for (long, task), part in made.groupby(["long", "task"], sort=False):
        for column in ("relative_mean", "relative_median", "error_mean", "error_median"):
            title = (
                f"{task}, {'long' if long else 'short'} segments: {column.replace('_', ', ').replace('error', 'absolute error')}"
            )
            lines += ["", f"## {title}", *table(*_errors(part, column))]
    replace_file(folder / "table.md", ("\n".join(lines) + "\n").encode())
    replace_file(folder / "error_rows.svg", figure(made).encode())


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean and median over segments of error and relative error, with intervals, by method and step."""
    made, by = [], ["long", "task", "encoder", "method", "step"]
    for key, part in frame.groupby(by, sort=False):
        row = dict(zip(by, key, strict=True)) | {"segments": len(part)}
        row |= {"rows": part["rows"].mean(), "exact_rows": part.exact_rows.mean(), "T": part["T"].mean()}
        for column in ("error", "relative"):
            for name, of in (("mean", statistics.mean_ci), ("median", statistics.median_ci)):
                found = of(part[column])
                row |= {f"{column}_{name}": found.value, f"{column}_{name}_low": found.lower, f"{column}_{name}_high": found.upper}
        made.append(row)
    return pd.DataFrame(made)


def times_fewer(frame: pd.DataFrame, by: Sequence[str], error: str = "rmse") -> pd.DataFrame:
    """Times fewer rows of ours at equal error than each baseline: c^2 / (error^2 rows), its error being c / sqrt(rows).

    c is the geometric mean over the baseline's budgets; the best approximator of a game stands for shapiq. Budgets at which ours is
    exact are left out: the ratio has no bound there.

    Args:
        frame: one row per game, method and budget, with rows and error.
        by: the columns that name a game.
    """
    found = []
    for key, part in frame.groupby(list(by), sort=False):
        inexact = part[(part[error] > 0) & (part["rows"] < part.exact_rows)]
        fits = {name: np.exp(np.log(p[error] * np.sqrt(p["rows"])).mean()) for name, p in inexact.groupby("method")}
        fits["shapiq"] = min((c for name, c in fits.items() if name.startswith("shapiq:")), default=np.nan)
        for _, row in inexact[inexact.method.isin(OURS)].iterrows():
            times = {name: fits.get(name, np.nan) ** 2 / (row[error] ** 2 * row["rows"]) for name in BASELINES}
            said = {name: row[name] for name in ("method", "step", "budget", "rows", "exact_rows") if name in part}
            found.append(dict(zip(by, key, strict=True)) | said | times)
    return pd.DataFrame(found)


def figure(made: pd.DataFrame) -> str:
    """Relative error (mean over sentences, with band) against model rows, both on log axes; dotted: the exact rows, at no error."""
    methods = [m for m in dict.fromkeys(made.method) if m != "exact"]

    def draw(panel, part):
        for method, colour in zip(methods, PALETTE, strict=False):
            line = part[part.method == method].sort_values("rows")
            curve(panel, line["rows"], line.relative_mean, line.relative_mean_low, line.relative_mean_high, colour, method)
        panel.axvline(part.exact_rows.mean(), color="#777777", lw=0.9, ls=":", label="exact")
        panel.set(ylim=(1e-4, 30), xlabel="model rows", ylabel="relative error of T")

    return panels(made, draw)


Table = tuple[Sequence[str], list[Sequence[str]]]


def _encoders(frame: pd.DataFrame) -> Table:
    rows = []
    for (long, task, encoder), part in frame[frame.method == "exact"].groupby(["long", "task", "encoder"], sort=False):
        accuracy = part.accuracy.iloc[0]
        cells = [task, "long" if long else "short", encoder, "-" if pd.isna(accuracy) else f"{accuracy:.3f}", str(len(part))]
        rows.append([*cells, shown(statistics.mean_ci(part["T"])), shown(statistics.median_ci(part["T"]))])
    return ["task", "segments", "encoder", "classifier's test accuracy", "number", "T, mean", "T, median"], rows


def _learned(short: pd.DataFrame) -> list[str]:
    keys = ["task", "encoder", "text"]
    soft, cut = (short[short.method == m].groupby(keys, sort=False).last() for m in ("learned_p", "learned_p, thresholded"))
    if soft.empty:
        return []
    ratio = soft["rows"] / soft.exact_rows
    header = "task, encoder, segments, exact rows, learned_p rows, times fewer, exact s, learned_p s, error soft mean, median"
    rows = []
    for key, part in soft.groupby(["task", "encoder"], sort=False):
        end, times = cut.loc[part.index], ratio[part.index]
        cells = [*key, str(len(part)), f"{part.exact_rows.median():,.0f}", f"{part['rows'].median():,.0f}"]
        cells.append(f"{times.median():,.0f} [{times.min():,.0f}, {times.max():,.0f}]")
        cells += [f"{(spent * part.seconds_per_row).median():,.2f}" for spent in (part.exact_rows, part["rows"])]
        cells += [shown(of(x.relative)) for x in (part, end) for of in (statistics.mean_ci, statistics.median_ci)]
        rows.append([*cells, f"{end.same_partitions.astype(bool).mean():.0%}"])
    said = LEARNED.format(enough=(ratio >= 50).sum(), all=len(ratio), median=ratio.median(), least=ratio.min())
    return [said, *table([*header.split(", "), "error thresholded mean", "median", "both partitions right"], rows)]


def _times(times: pd.DataFrame) -> Table:
    rows = []
    for (method, step), part in times.groupby(["method", "step"], sort=False):
        cells = [f"{part[b].median():,.1f} [{part[b].min():,.1f}, {part[b].max():,.0f}]" for b in BASELINES]
        rows.append([method, f"{step} x minimum", str(len(part)), *cells])
    return ["ours", "budget", "games", *BASELINES], rows


def _errors(made: pd.DataFrame, column: str) -> Table:
    encoders, columns = list(dict.fromkeys(made.encoder)), [column, f"{column}_low", f"{column}_high"]

    def cells(found: pd.DataFrame) -> Iterator[str]:
        by = found.set_index("encoder")
        for encoder in encoders:
            yield shown(Estimate(*by.loc[encoder, columns])) if encoder in by.index else "-"

    listed = made[made.step.isin(SHOWN) & (made.method != "exact")].groupby(["method", "step"], sort=False)
    return ["method", "step", "rows", *encoders], [[*key, f"{part['rows'].mean():,.0f}", *cells(part)] for key, part in listed]
