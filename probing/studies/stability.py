"""Study `interaction_stability`: how far T moves when it is estimated again, by the number of samples, on real sentences.

    instability = mean over pairs u != v of repeats of |T_u - T_v|, divided by |mean of T over all repeats and numbers of
        samples|

    learned_p            the paper's: fixed link probabilities (learned with exact interval values), T sampled again
    sampled, regression  ours, at multiples of the smallest budget

Repeats are independent; in the released code they share terms. Encoders are compared in pairs, on the same segments.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probing.errors import did_you_mean
from probing.evaluation.statistics import mean_ci
from probing.interactions.baselines import PUBLISHED, frozen_T, learned_p
from probing.interactions.segment import SegmentTable
from probing.studies import require
from probing.studies.accuracy import OURS, budgets
from probing.studies.layout import by_encoder, columns, grouped, length, panels, short_names, shown, summarised, table, view, write
from probing.studies.segments import OnSegments, exact_of, sampled

PAPER = "learned_p"
SEGMENT = ["text", "start", "stop"]
NOTE = """# Instability of T by the number of samples, on real sentences

Instability: mean |T_u - T_v| over pairs of independent repeats, as a share of |mean T| over all repeats and numbers of samples. For
Gaussian noise it is 1.13 times the relative standard deviation. learned_p: the paper's estimate, samples = links x prefixes, with
link probabilities kept; sampled, regression: ours, samples = model rows. Slope: of log instability on log samples, in each segment;
-0.5 is that of independent samples. Intervals: 95 % over sentences (Student's t)."""


def instability(T: np.ndarray, level: float) -> float | None:
    """Mean |T_u - T_v| over the pairs of repeats, as a share of |level|; None where the level is 0.

    >>> instability(np.array([1.0, 2.0, 4.0]), 2.0)
    1.0
    """
    u, v = np.triu_indices(len(T), 1)
    return float(np.abs(T[u] - T[v]).mean() / abs(level)) if level else None


@dataclass
class InteractionStability(OnSegments):
    settings: str = "instability-cnn"
    partitions: tuple[int, ...] = (10, 20, 30, 40, 50)
    claimed: str = "cnn"

    name = "interaction_stability"

    def __post_init__(self) -> None:
        super().__post_init__()
        hint = f"{did_you_mean(self.settings, PUBLISHED)} (allowed: {', '.join(PUBLISHED)})"
        require(self.settings in PUBLISHED, f"study.settings={self.settings!r} is unknown{hint}")
        several = len(self.partitions) >= 2 and min(self.partitions) >= 1
        require(several, f"study.partitions={list(self.partitions)} must be at least two numbers of at least 1")

    def estimates(self, table: SegmentTable, long: bool) -> list[dict[str, Any]]:
        exact, settings = exact_of(table), PUBLISHED[self.settings]
        learned = learned_p(table, table.segment, settings, phi=exact.phi)

        def paper(count: int, seed: int) -> tuple[float, int]:
            return frozen_T(table, table.segment, learned.p_max, learned.p_min, count, settings.prefixes, [count, seed])

        tried = {PAPER: [(str(count), count * settings.prefixes, partial(paper, count)) for count in self.partitions]}
        inexact = {step: rows for step, rows in budgets(table, self.steps).items() if rows < table.rows}  # exact does not move
        for method in OURS:
            tried[method] = [(step, rows, partial(sampled, table, method, rows)) for step, rows in inexact.items()]
        rows = []
        for method, sizes in tried.items():
            repeats = [(step, samples, *self.repeated(estimate)) for step, samples, estimate in sizes]
            level = float(np.mean([T.mean() for *_, T, _ in repeats])) if repeats else 0.0
            for step, samples, T, spent in repeats:
                row = {"method": method, "step": step, "samples": samples, "rows": float(spent.mean()), "T": exact.T}
                row |= {"mean_T": float(T.mean()), "instability": instability(T, level), "repeats": self.repeats}
                rows.append(row)
        return rows

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        """summary.csv, slopes.csv, pairs.csv, table.md, instability.svg."""
        frame = frame.assign(encoder=short_names(frame))
        made, each = summary(frame), slopes(frame)
        compared = pairs(each, self.claimed)
        blocks = [NOTE, "## Answers", answers(each, compared, self.claimed), "## Slopes", _slopes(each)]
        if len(compared):
            blocks += [f"## {self.claimed} against the others, on the same segments", _pairs(compared)]
        for key, part in grouped(made[made.method == PAPER], "long task"):
            encoders = part.encoder.unique()
            rows = [{"samples": f"{n:,}"} | by_encoder(same, "mean", encoders) for n, same in part.groupby("samples")]
            blocks += [f"## {key['task']}, {length(key['long'])} segments: instability of {PAPER}", table(rows)]
        named = made.rename(columns={"mean_low": "low", "mean_high": "high"})
        frames = {f"{name}.csv": x.round(8) for name, x in (("summary", named), ("slopes", each), ("pairs", compared))}
        write(folder, blocks, frames | {"instability.svg": panels(made, "mean", "instability of T")})


def slope(samples: np.ndarray, values: np.ndarray) -> float:
    """Slope of log values on log samples, over the values above 0; NaN below two different numbers of samples.

    >>> round(slope(np.array([1, 4, 16]), np.array([1, 0.5, 0.25])), 12)
    -0.5
    """
    x, y = np.asarray(samples, float), np.asarray(values, float)
    x, y = np.log(x[y > 0]), np.log(y[y > 0])
    if len(set(x)) < 2:
        return float("nan")
    return float((x - x.mean()) @ y / np.square(x - x.mean()).sum())


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean instability over segments with its interval, by the rank of the number of samples (ours differ between segments)."""

    def numbers(part: pd.DataFrame) -> dict[str, float]:
        row = {"segments": len(part), "samples": round(part.samples.mean()), "rows": part["rows"].mean()}
        return row | columns("mean", mean_ci(part.instability))

    return summarised(frame.assign(step=frame.step.astype(str)), "long task encoder method step", numbers)


def slopes(frame: pd.DataFrame) -> pd.DataFrame:
    """For each segment the slope, and instability at the fewest and the most samples."""

    def numbers(part: pd.DataFrame) -> dict[str, float]:
        part = part.sort_values("samples")
        first, last = part.instability.iloc[[0, -1]]
        return {"slope": slope(part.samples, part.instability), "first": first, "last": last}

    return summarised(frame, "long task encoder method text start stop", numbers)


def pairs(each: pd.DataFrame, claimed: str) -> pd.DataFrame:
    """The claimed encoder minus each other one, on their common segments: slope, drop from fewest to most samples, and last."""
    rows = []
    each = each.assign(drop=each["first"] - each["last"])
    for key, part in grouped(each[each.method == PAPER], "long task"):
        by = {encoder: p.set_index(SEGMENT) for encoder, p in part.groupby("encoder", sort=False)}
        for first in (e for e in by if e.startswith(claimed)):
            for other in (e for e in by if not e.startswith(claimed)):
                both = by[first].index.intersection(by[other].index)
                if len(both) < 2:
                    continue  # no interval
                row = key | {"claimed": first, "other": other, "segments": len(both)}
                for name in ("slope", "drop", "last"):
                    row |= columns(name, mean_ci(by[first].loc[both, name] - by[other].loc[both, name]))
                rows.append(row)
    return pd.DataFrame(rows)


def answers(each: pd.DataFrame, compared: pd.DataFrame, claimed: str) -> str:
    """The two claims, in words with numbers."""
    paper = each[each.method == PAPER].groupby(["task", "encoder", "long"], sort=False)
    means = {key: mean_ci(p.slope) for key, p in paper if p.slope.count() > 1}
    if not means:
        return "One segment an encoder has no interval, and answers nothing."
    sure, most = sum(x.upper < 0 for x in means.values()), max(means, key=lambda key: means[key].value)
    lines = [
        f"Instability falls with samples: the slope of {PAPER} is below 0, with all of its interval, for {sure} of {len(means)} "
        f"encoders (by task and length of segments); nearest to 0: {most[1]} on {most[0]}, {shown(means[most])}."
    ]
    for key, part in grouped(compared, "long task") if len(compared) else ():
        lower = _verdict(part.slope_high < 0, part.slope_low > 0, "falls with a steeper slope", "less steep")
        drop = _verdict(part.drop_low > 0, part.drop_high < 0, "falls by more between the fewest and the most samples", "by less")
        lines.append(f"Falls fastest for {claimed} ({key['task']}, {length(key['long'])} segments): it {lower}; it {drop}.")
    return "\n\n".join(lines)


def _verdict(yes: pd.Series, no: pd.Series, holds: str, fails: str) -> str:
    n, open_ = len(yes), int((~yes & ~no).sum())
    return (
        f"{holds} than {yes.sum()} of {n} others, {fails} than {no.sum()}, and for {open_} the interval of the difference holds 0"
    )


def _slopes(each: pd.DataFrame) -> str:
    def numbers(part: pd.DataFrame) -> dict[str, float]:
        known = part.slope.dropna()
        row = {"n": len(known), "below": (known < 0).mean()}
        return row | columns("slope", mean_ci(known)) | columns("last", mean_ci(part["last"]))

    rows = summarised(each.assign(segments=each.long.map(length)), "long task segments encoder method", numbers)
    titles = {"slope, mean": "slope:.3g", "slope below 0": "below:.0%", "instability at most samples": "last:.3g"}
    return view(rows, "task segments encoder method n", titles, "-")


def _pairs(compared: pd.DataFrame) -> str:
    rows = compared.assign(
        n=compared.segments, segments=compared.long.map(length), difference=compared.claimed + " - " + compared.other
    )
    titles = {"slope": "slope:.3g", "drop from fewest to most samples": "drop:.3g", "instability at most samples": "last:.3g"}
    return view(rows, "task segments difference n", titles, "-")
