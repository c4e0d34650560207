"""The files of a report: Markdown, CSV, LaTeX, self-contained HTML with figures. Everything is made of rows.

rows.csv, rows.parquet   every cell, tidy, accuracies 0-1
layers.csv               every layer against the best: difference, McNemar's p and Holm's
table.csv                one line per task, encoder and probe: the dev-best layer and its comparisons
pairs.csv                every pair of encoders: difference, p and Holm's
table.md, table.tex      the same to read and to paste, task × encoder; percent
layers.tex               task × layer, to paste
figure-*.svg             layer curves and heat maps
report.html              all of it in one file, with the card of each number, data cards and provenance
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from probing.errors import ConfigError, ProbingError, foreign
from probing.evaluation.comparisons import letters_of
from probing.evaluation.rows import by_metric
from probing.evaluation.runs import Run
from probing.evaluation.table import ResultTable, merge
from probing.log import info
from probing.report import latex, markdown, notes, paper
from probing.report.html import html
from probing.report.published import compare, named
from probing.report.summary import Line, in_order, lines_of

if TYPE_CHECKING:
    from probing.report.figures import Pictures

Show = Callable[[ResultTable, Sequence[Line]], None]


def write(
    runs: Sequence[Run], folder: Path, against: str | None = None, show: Show = lambda table, lines: None
) -> tuple[ResultTable, list[Line]]:
    """Writes the report of one or several runs into `folder`; runs that plan no layer of an encoder give only their rows.

    Args:
        against: names of published tables, with commas between them, that the table is compared with.
        show: gets what is returned, as soon as it is known: before the files that take longer.

    Returns:
        the table of the probe's rows, and the lines of its main table.
    """
    whole = merge(run.table() for run in runs)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; a report needs a folder")
    folder.mkdir(parents=True, exist_ok=True)
    whole.to_csv(folder / "rows.csv")
    whole.to_parquet(folder / "rows.parquet")
    if (folder / "report.html").is_file():  # figures of an earlier report may show what this one has not
        for old in folder.glob("figure-*.svg"):
            old.unlink()
    table = whole.of_measure("probe")
    best = in_order(table, whole.best())
    if best.empty and not whole.measures:
        show(whole, [])
        return table, []
    if len(best) and (mixed := [name for name, n in best.groupby("task").n_train.nunique().items() if n > 1]):
        raise ConfigError(f"these runs train on different numbers of sentences ({', '.join(mixed)}): report them one by one")
    pairs, published = table.compare_encoders(), None
    lines = lines_of(table, best, letters_of(best, pairs)) if len(best) else []
    show(whole, lines)
    from probing.report import figures  # both with matplotlib, which the table on the terminal does not wait for
    from probing.report.code_curves import code_curves

    cards = {name: {**card, "source": Path(card["source"]).name} for run in runs for name, card in run.data_cards().items()}
    encoders = {name: about for run in runs for name, about in run.encoder_descriptions().items()}
    versions = [made_with for run in runs for made_with in run.versions()]
    versions = [made_with for k, made_with in enumerate(versions) if made_with not in versions[:k]]
    foot = [*(notes.footer(table, best) if len(best) else ()), *notes.made_of(cards, encoders, versions)]
    head = notes.FLASH if any(run.config.get("precision") is not None for run in runs) else ""
    content = markdown.content_of(whole, lines, pairs, foot, head)._replace(title=paper.title(runs, whole))
    if len(best):
        lists = best[["not_separated", "better"]].map(lambda columns: " ".join(f"{layer}/{pooling}" for layer, pooling in columns))
        by_metric(best.assign(**lists)).to_csv(folder / "table.csv", index=False)
        table.compare_layers().to_csv(folder / "layers.csv", index=False)
        (folder / "table.tex").write_text(latex.encoders_table(lines, [*filter(None, [head]), *foot]), encoding="utf-8")
        (folder / "layers.tex").write_text(latex.layers_tables(content.layers, foot, content.score), encoding="utf-8")
    if len(pairs):
        pairs.to_csv(folder / "pairs.csv", index=False)
    if against is not None:
        published = compare(table, against)
        (folder / f"against-{'-'.join(named(against))}.md").write_text(published + "\n", encoding="utf-8")
    (folder / "table.md").write_text(markdown.markdown(content), encoding="utf-8")
    records = {key: record for run in runs for key, record in run.finished.items()}

    def codes(table: ResultTable) -> Pictures:
        return code_curves(table, records)

    makers = [(figures.of_measures, whole), (codes, whole), *((make, table) for make in figures.FIGURES if len(best))]
    pictures = _pictures(makers, folder)
    (folder / "report.html").write_text(html(content, pictures, records, cards, published), encoding="utf-8")
    return table, lines


def _pictures(makers: Sequence[tuple[Callable[[ResultTable], Pictures], ResultTable]], folder: Path) -> list[tuple[str, str]]:
    """Write the pictures that each function makes of its table; return their titles and SVG. A function that raises an exception
    has no picture, and is named."""
    from probing.report.figures import labelled

    pictures = []
    for make, table in makers:
        try:
            with foreign(f"figure {make.__name__}"):
                drawn = list(make(table))
        except ProbingError as error:
            info(f"{error}; the tables are complete")
            continue
        for title, name, picture in drawn:
            picture = labelled(picture, title)
            slug = "".join(c if c.isalnum() else "-" for c in name)
            (folder / f"figure-{slug}.svg").write_text(picture, encoding="utf-8")
            pictures.append((title, picture))
    return pictures
