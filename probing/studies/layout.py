"""Parts of the studies' reports: groups of rows, estimates in columns and as text, Markdown tables, and a grid of panels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from probing.evaluation.plots import PALETTE, RC
from probing.files import replace_file
from probing.report.figures import legend, svg
from probing.report.markdown import md_table
from probing.types import Estimate


def short_names(frame: pd.DataFrame) -> pd.Series:
    """Encoders without task, seed and hash of a checkpoint's folder, where these names differ within each task."""
    short = pd.Series([e.partition(f"-{t}-")[0] for e, t in zip(frame.encoder, frame.task, strict=True)], index=frame.index)
    pairs = pd.DataFrame({"task": frame.task, "encoder": frame.encoder, "short": short}).drop_duplicates()
    return short if not pairs.duplicated(["task", "short"]).any() else frame.encoder


def grouped(frame: pd.DataFrame, by: str) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """The groups of a frame by columns ("task encoder") in order of appearance, each as {column: value} and its rows."""
    for key, part in frame.groupby(by.split(), sort=False):
        yield dict(zip(by.split(), key, strict=True)), part


def summarised(frame: pd.DataFrame, by: str, numbers: Callable[[pd.DataFrame], Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame([key | dict(numbers(part)) for key, part in grouped(frame, by)])


def columns(name: str, x: Estimate) -> dict[str, float]:
    """
    >>> columns("T", Estimate(0.5, 0.4, 0.6))
    {'T': 0.5, 'T_low': 0.4, 'T_high': 0.6}
    """
    return {name: x.value, f"{name}_low": x.lower, f"{name}_high": x.upper}


def estimate(row: Mapping[str, Any], name: str) -> Estimate:
    """The estimate that `columns` wrote into a row; without an interval where the row has none."""
    return Estimate(row[name], row.get(f"{name}_low", np.nan), row.get(f"{name}_high", np.nan))


def shown(x: Estimate, form: str = ".3g", none: str = "-") -> str:
    """The value with its interval; `form`: a format, or % for percent with one digit; `none`: where there is no number.

    >>> shown(Estimate(0.12345, 0.1, 0.2)), shown(Estimate(0.12345, 0.1, 0.2), "%")
    ('0.123 [0.1, 0.2]', '12.3 [10.0, 20.0]')
    """
    if np.isnan(x.value):
        return none
    value, low, high = (format(100 * n, "z.1f") if form == "%" else format(n, form) for n in (x.value, x.lower, x.upper))
    return value if np.isnan(x.lower) else f"{value} [{low}, {high}]"


def percent(value: float) -> str:
    return shown(Estimate(value, np.nan, np.nan), "%", "")


def table(rows: Iterable[Mapping[str, Any] | Sequence[Any]], header: Sequence[str] | None = None) -> str:
    """A Markdown table of dicts, or of lists under a header."""
    return md_table(pd.DataFrame(list(rows), columns=header))


def view(frame: pd.DataFrame, names: str, titles: Mapping[str, str] | None = None, none: str = "") -> str:
    """A Markdown table of a frame's columns: those of `names` as they are, then others, by title -> column, or column:form
    (`shown`), with its interval where the frame has the bounds."""
    cells = [(title, *column.partition(":")[::2]) for title, column in (titles or {}).items()]
    return table(
        {name: row[name] for name in names.split()}
        | {title: shown(estimate(row, name), form, none) if form else row[name] for title, name, form in cells}
        for row in frame.to_dict("records")
    )


def by_encoder(part: pd.DataFrame, name: str, encoders: Sequence[str]) -> dict[str, str]:
    """The estimate of each encoder's row as text, 0 where it is rounding; - where there is no row."""
    rows = {row["encoder"]: columns(name, estimate(row, name)) for row in part.to_dict("records")}
    exact = {encoder: {key: 0.0 if abs(x) < 1e-12 else x for key, x in row.items()} for encoder, row in rows.items()}
    return {encoder: shown(estimate(exact[encoder], name)) if encoder in exact else "-" for encoder in encoders}


def length(long: bool) -> str:
    return "long" if long else "short"


def write(folder: Path, blocks: Iterable[str], files: Mapping[str, pd.DataFrame | str]) -> None:
    """Writes table.md, blocks of Markdown with an empty line between two, and the files by name: frames as CSV, text as it is."""
    for name, content in {**files, "table.md": "\n\n".join(blocks) + "\n"}.items():
        text = content.to_csv(index=False) if isinstance(content, pd.DataFrame) else content
        replace_file(folder / name, text.encode())


def panels(frame: pd.DataFrame, name: str, label: str, top: float | None = None) -> str:
    """An estimate against model rows as SVG, on log axes: a row of panels for each task and length of segments, a column for each
    encoder, a line with its band for each method; dotted: the exact rows, where the frame has them; `label`, `top`: of the
    y-axis."""
    kinds = list(dict.fromkeys(zip(frame.long, frame.task, strict=True)))
    encoders, methods = list(dict.fromkeys(frame.encoder)), [m for m in dict.fromkeys(frame.method) if m != "exact"]
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(2.5 * len(encoders) + 0.4, 2.4 * len(kinds) + 0.6), layout="constrained")
        grid = figure.subplots(len(kinds), len(encoders), squeeze=False, sharey="row")
        for row, (long, task) in zip(grid, kinds, strict=True):
            for panel, encoder in zip(row, encoders, strict=True):
                part = frame[(frame.long == long) & (frame.task == task) & (frame.encoder == encoder)]
                if part.empty:
                    panel.set_visible(False)
                    continue
                for method, colour in zip(methods, PALETTE, strict=False):
                    _curve(panel, part[part.method == method].sort_values("rows"), name, colour, method)
                if "exact_rows" in part:
                    panel.axvline(part.exact_rows.mean(), color="#777777", lw=0.9, ls=":", label="exact")
                panel.set(ylim=(1e-4, top), ylabel=label, xlabel="model rows", title=f"{encoder}, {task}, {length(long)}")
                panel.set(xscale="log", yscale="log")
        legend(figure, grid.ravel(), 6)
        return svg(figure)


def _curve(panel: Any, line: pd.DataFrame, name: str, colour: str, label: str) -> None:
    """A line with its band; a value of 0 has no place on a log axis, and interrupts it."""
    x, mean, low, high = line[["rows", name, f"{name}_low", f"{name}_high"]].where(line[name] > 1e-9).to_numpy(float).T
    panel.plot(x, mean, color=colour, marker="o", ms=2.5, lw=1.2, label=label)
    panel.fill_between(x, np.maximum(low, 1e-6), high, color=colour, alpha=0.15, lw=0)
