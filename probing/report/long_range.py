"""The report of the study `errors`: a model and n-grams on the same tokens of a text, in all and by facets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from probing.evaluation.plots import PALETTE
from probing.files import replace_file
from probing.report.figures import RC, labelled, legend, svg
from probing.report.markdown import md_table

NOTE = """# Errors of a model and of n-grams

An error is a token with a probability below {threshold:g}. model only, n-gram only, both: shares of all tokens of the line that are
errors of these (%). p: mean probability; difference: of the model less that of the n-gram [95 % interval over openings of closing
marks, else over blocks of the text]. The n-grams count the text before what is judged, the model has the training that it came
with: where that is another text, the difference is one of texts, too."""

TITLES = {
    "all": ("## n-grams by order", "order"),
    "closing mark": ("## Closing quotes and brackets, by {unit}s since the opening", "distance"),
    "last occurrence": ("## Words: their {unit}s, by words since the word occurred last", "words ago"),
    "occurrences": ("## Words: their {unit}s, by how often the counted text has the word", "times"),
}


def write(frame: pd.DataFrame, folder: Path) -> None:
    """errors.csv, table.md and figures of the rows of one or several runs."""
    files = {"errors.csv": frame.to_csv(index=False), "table.md": "\n\n".join(_blocks(frame)) + "\n"}
    files |= {f"figure-errors-{k}.svg": text for k, text in enumerate(_figures(frame))}
    for name, text in files.items():
        replace_file(folder / name, text.encode())


def _blocks(frame: pd.DataFrame) -> Iterator[str]:
    yield NOTE.format(threshold=frame.threshold.iloc[0])
    for (encoder, file), part in frame.groupby(["encoder", "file"], sort=False):
        first, unit = part.iloc[0], part.unit.iloc[0]
        whole = part[part.facet == "all"]
        yield f"# {encoder}, {file}"
        yield (
            f"{int(first.n_train):,} {unit}s counted, {int(whole.n.iloc[0]):,} judged, {int(first.not_judged):,} not, as the model "
            f"does not know them. {int(part.order.max())}-gram: {part.smoothing[part.order.idxmax()]}."
        )
        for facet, (title, column) in TITLES.items():
            if len(rows := part[part.facet == facet]):
                yield title.format(unit=unit)
                yield md_table(pd.DataFrame([_line(row, column) for row in rows.to_dict("records")]))


def _line(row: dict[str, float], column: str) -> dict[str, object]:
    """A line of the tables."""
    cells: dict[str, object] = {column: int(row["order"]) if column == "order" else row["value"], "n": f"{int(row['n']):,}"}
    cells |= {f"p {name}": f"{row[f'p_{key}']:.3f}" for name, key in (("model", "model"), ("n-gram", "ngram"))}
    interval = "" if np.isnan(row["low"]) else f" [{row['low']:+.3f}, {row['high']:+.3f}]"
    cells["difference"] = f"{row['difference']:+.3f}{interval}"
    cells |= {f"bits {name}": f"{row[f'bits_{key}']:.2f}" for name, key in (("model", "model"), ("n-gram", "ngram"))}
    names = {"errors model": "errors_model", "errors n-gram": "errors_ngram", "model only": "model_only"}
    names |= {"n-gram only": "ngram_only", "both": "both"}
    return cells | {name: f"{100 * row[key]:.1f}" for name, key in names.items()}


def _figures(frame: pd.DataFrame) -> Iterator[str]:
    """A picture for each encoder and file: mean p by facet, of the model and the n-gram, with the interval of their difference."""
    for (encoder, file), part in frame.groupby(["encoder", "file"], sort=False):
        facets = [name for name in TITLES if name != "all" and (part.facet == name).any()]
        if not facets:
            continue
        with matplotlib.rc_context(RC):
            figure = Figure(figsize=(3.0 * len(facets), 2.8), layout="constrained")
            panels = figure.subplots(1, len(facets), squeeze=False, sharey=True)[0]
            for panel, facet in zip(panels, facets, strict=True):
                own = part[part.facet == facet]
                x = np.arange(len(own))
                error = np.array([own.difference - own.low, own.high - own.difference])
                panel.errorbar(x, own.p_model, yerr=error, fmt="o-", ms=3.5, lw=1.2, color=PALETTE[0], label="model")
                panel.plot(x, own.p_ngram, "s--", ms=3.5, lw=1.2, color=PALETTE[1], label=f"{int(own.order.iloc[0])}-gram")
                panel.set(xticks=x, xticklabels=list(own.value), xlabel=f"{facet}: {TITLES[facet][1]}", ylim=(0, 1))
                panel.tick_params(axis="x", labelrotation=45)
            panels[0].set_ylabel("mean probability")
            legend(figure, panels, 2)
            yield labelled(
                svg(figure),
                f"Mean probability of a model and an n-gram by facet; bars: the interval of their difference. {encoder}, {file}",
            )
