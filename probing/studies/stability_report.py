"""Tables and figure of `interaction_stability`, from its rows: instability by samples, its slopes, encoders compared in pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from probing.evaluation import statistics
from probing.files import replace_file
from probing.report.figures import PALETTE
from probing.studies.layout import curve, panels, short_names, shown, table
from probing.types import Estimate

PAPER = "learned_p"
SEGMENT = ["text", "start", "stop"]
NOTE = """# Instability of T by the number of samples, on real sentences

Instability: mean |T_u - T_v| over pairs of independent repeats, as a share of |mean T| over all repeats and numbers of samples. For
Gaussian noise it is 1.13 times the relative standard deviation. learned_p: the paper's estimate, samples = links x prefixes, with
link probabilities kept; sampled, regression: ours, samples = model rows. Slope: of log instability on log samples, in each segment;
-0.5 is that of independent samples. Intervals: 95 % over sentences (Student's t)."""


def write(frame: pd.DataFrame, folder: Path, claimed: str) -> None:
    """summary.csv, slopes.csv, pairs.csv, table.md, instability.svg."""
    frame = frame.assign(encoder=short_names(frame))
    made, each = summary(frame), slopes(frame)
    compared = pairs(each, claimed)
    for name, rows in (("summary", made), ("slopes", each), ("pairs", compared)):
        replace_file(folder / f"{name}.csv", rows.round(8).to_csv(index=False).encode())
    lines = [NOTE, "", "## Answers", "", answers(each, compared, claimed)]
    lines += ["", "## Slopes", *table(*_slopes(each))]
    if len(compared):
        lines += ["", f"## {claimed} against the others, on the same segments", *table(*_pairs(compared))]
    for (long, task), part in made[made.method == PAPER].groupby(["long", "task"], sort=False):
        encoders = list(dict.fromkeys(part.encoder))
        rows = [[f"{s:,}", *_cells(of_samples, encoders)] for s, of_samples in part.groupby("samples")]
        lines += [
            "",
            f"## {task}, {'long' if long else 'short'} segments: instability of {PAPER}",
            *table(["samples", *encoders], rows),
        ]
    replace_file(folder / "table.md", ("\n".join(lines) + "\n").encode())
    replace_file(folder / "instability.svg", figure(made).encode())


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
    made, by = [], ["long", "task", "encoder", "method", "step"]
    for key, part in frame.assign(step=frame.step.astype(str)).groupby(by, sort=False):
        found = statistics.mean_ci(part.instability)
        row = dict(zip(by, key, strict=True)) | {"segments": len(part), "samples": round(part.samples.mean())}
        made.append(row | {"rows": part["rows"].mean(), "mean": found.value, "low": found.lower, "high": found.upper})
    return pd.DataFrame(made)


def slopes(frame: pd.DataFrame) -> pd.DataFrame:
    """For each segment the slope, and instability at the fewest and the most samples."""
    made, by = [], ["long", "task", "encoder", "method", *SEGMENT]
    for key, part in frame.groupby(by, sort=False):
        part = part.sort_values("samples")
        first, last = part.instability.iloc[[0, -1]]
        made.append(
            dict(zip(by, key, strict=True)) | {"slope": slope(part.samples, part.instability), "first": first, "last": last}
        )
    return pd.DataFrame(made)


def pairs(each: pd.DataFrame, claimed: str) -> pd.DataFrame:
    """The claimed encoder minus each other one, on the segments that both have: slope, drop from fewest to most samples, and last.

    A negative difference of slopes, or a positive one of drops, says that the claimed encoder's instability falls faster.
    """
    made = []
    for (long, task), part in each[each.method == PAPER].groupby(["long", "task"], sort=False):
        by = {
            encoder: p.set_index(SEGMENT).assign(drop=p.set_index(SEGMENT).eval("first - last"))
            for encoder, p in part.groupby("encoder", sort=False)
        }
        for mine in (e for e in by if e.startswith(claimed)):
            for other in (e for e in by if not e.startswith(claimed)):
                both = by[mine].index.intersection(by[other].index)
                if len(both) < 2:
                    continue  # no interval
                row = {"long": long, "task": task, "claimed": mine, "other": other, "segments": len(both)}
                for column in ("slope", "drop", "last"):
                    found = statistics.mean_ci(by[mine].loc[both, column] - by[other].loc[both, column])
                    row |= {column: found.value, f"{column}_low": found.lower, f"{column}_high": found.upper}
                made.append(row)
    return pd.DataFrame(made)


def answers(each: pd.DataFrame, compared: pd.DataFrame, claimed: str) -> str:
    """The two claims, in words with numbers."""
    paper = each[each.method == PAPER].groupby(["task", "encoder", "long"], sort=False)
    found = {key: statistics.mean_ci(p.slope) for key, p in paper if p.slope.count() > 1}
    if not found:
        return "One segment an encoder has no interval, and answers nothing."
    sure, most = sum(x.upper < 0 for x in found.values()), max(found, key=lambda key: found[key].value)
    said = [
        f"Instability falls with samples: the slope of {PAPER} is below 0, with all of its interval, for {sure} of {len(found)} "
        f"encoders (by task and length of segments); nearest to 0: {most[1]} on {most[0]}, {shown(found[most])}."
    ]
    for (long, task), part in compared.groupby(["long", "task"], sort=False) if len(compared) else ():
        lower = _verdict(part.slope_high < 0, part.slope_low > 0, "falls with a steeper slope", "less steep")
        drop = _verdict(part.drop_low > 0, part.drop_high < 0, "falls by more between the fewest and the most samples", "by less")
        said.append(f"Falls fastest for {claimed} ({task}, {'long' if long else 'short'} segments): it {lower}; it {drop}.")
    return "\n\n".join(said)


def _verdict(yes: pd.Series, no: pd.Series, holds: str, fails: str) -> str:
    n, open_ = len(yes), int((~yes & ~no).sum())
    return (
        f"{holds} than {yes.sum()} of {n} others, {fails} than {no.sum()}, and for {open_} the interval of the difference holds 0"
    )


def _slopes(each: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    rows = []
    for (long, task, encoder, method), part in each.groupby(["long", "task", "encoder", "method"], sort=False):
        known = part.slope.dropna()
        cells = [task, "long" if long else "short", encoder, method, str(len(known)), shown(statistics.mean_ci(known))]
        rows.append([*cells, f"{(known < 0).mean():.0%}" if len(known) else "-", shown(statistics.mean_ci(part["last"]))])
    return ["task", "segments", "encoder", "method", "n", "slope, mean", "slope below 0", "instability at most samples"], rows


def _pairs(compared: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    rows = []
    for _, row in compared.iterrows():
        cells = [row.task, "long" if row.long else "short", f"{row.claimed} - {row.other}", str(row.segments)]
        rows.append([*cells, *(shown(Estimate(*row[[c, f"{c}_low", f"{c}_high"]])) for c in ("slope", "drop", "last"))])
    return ["task", "segments", "difference", "n", "slope", "drop from fewest to most samples", "instability at most samples"], rows


def _cells(part: pd.DataFrame, encoders: list[str]) -> list[str]:
    by = part.set_index("encoder")
    return [shown(Estimate(*by.loc[e, ["mean", "low", "high"]])) if e in by.index else "-" for e in encoders]


def figure(made: pd.DataFrame) -> str:
    """Instability (mean over segments, with band) against model rows, both on log axes."""
    methods = list(dict.fromkeys(made.method))

    def draw(panel, part):
        for method, colour in zip(methods, PALETTE, strict=False):
            line = part[part.method == method].sort_values("rows")
            curve(panel, line["rows"], line["mean"], line["low"], line["high"], colour, method)
        panel.set(xlabel="model rows", ylabel="instability of T")
        panel.set_ylim(bottom=1e-4)

    return panels(made, draw)
