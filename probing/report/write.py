"""The files of a report: Markdown, CSV, LaTeX, self-contained HTML with figures. Everything is made of rows.

rows.csv, rows.parquet   every cell, tidy, accuracies 0-1
layers.csv               every layer against the best: difference, McNemar's p and Holm's
table.csv                one line per task, encoder and probe: the dev-best layer and all that stands beside it
table.md, table.tex      the same to read and to paste; percent
figure-*.svg             layer curves and heat maps
report.html              all of it in one file, with data cards and provenance
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from probing.errors import ConfigError
from probing.evaluation.comparisons import letters_of
from probing.evaluation.runs import Run
from probing.evaluation.table import ResultTable, merge
from probing.report import figures, markdown, notes
from probing.report.html import html
from probing.report.latex import latex
from probing.report.published import compare


def write(runs: Sequence[Run], folder: Path, against: str | None = None) -> None:
    """Writes the report of one or several runs into `folder`; runs that plan no layer of an encoder give only their rows."""
    whole = merge(run.table() for run in runs)
    folder.mkdir(parents=True, exist_ok=True)
    whole.to_csv(folder / "rows.csv")
    whole.to_parquet(folder / "rows.parquet")
    if (folder / "report.html").is_file():  # figures of an earlier report may show what this one has not
        for old in folder.glob("figure-*.svg"):
            old.unlink()
    table, best, other = whole.of_measure("probe"), whole.best(), markdown.measure_tables(whole)
    if best.empty and not other:
        return
    if len(best) and (mixed := [name for name, n in best.groupby("task").n_train.nunique().items() if n > 1]):
        raise ConfigError(f"these runs train on different numbers of sentences ({', '.join(mixed)}): report them one by one")
    cards = {name: {**card, "source": Path(card["source"]).name} for run in runs for name, card in run.data_cards().items()}
    encoders = {name: about for run in runs for name, about in run.encoder_descriptions().items()}
    versions = [made_with for run in runs for made_with in run.versions()]
    versions = [made_with for k, made_with in enumerate(versions) if made_with not in versions[:k]]
    foot = [*(notes.footer(table, best) if len(best) else ()), *notes.made_of(cards, encoders, versions)]
    head = notes.FLASH if any(run.config.get("precision") is not None for run in runs) else ""
    pictures = _pictures([(figures.of_measures, whole), *((make, table) for make in figures.FIGURES if len(best))], folder)
    pairs, published = table.compare_encoders(), None
    shown = pairs
    if len(pairs):
        shown = pairs.drop(columns=["n_train", *(name for name in ("seeds", "missing") if not pairs[name].any())])
    summary = markdown.summary_table(table, best) if len(best) else best
    if len(best):
        lists = best[["not_separated", "better"]].map(lambda columns: " ".join(f"{layer}/{pooling}" for layer, pooling in columns))
        best.assign(**lists).to_csv(folder / "table.csv", index=False)
        table.compare_layers().to_csv(folder / "layers.csv", index=False)
        (folder / "table.tex").write_text(latex(table, best, [*filter(None, [head]), *foot]), encoding="utf-8")
    if against is not None:
        published = compare(table, against)
        (folder / f"against-{against}.md").write_text(published + "\n", encoding="utf-8")
    content = markdown.Content(summary, letters_of(best, pairs), shown, foot, markdown.layer_tables(table) + other, head)
    (folder / "table.md").write_text(markdown.markdown(content), encoding="utf-8")
    (folder / "report.html").write_text(html(content, pictures, cards, published), encoding="utf-8")


def _pictures(
    makers: Sequence[tuple[Callable[[ResultTable], figures.Pictures], ResultTable]], folder: Path
) -> list[tuple[str, str]]:
    """Write the pictures that each function makes of its table; return their titles and SVG."""
    pictures = []
    for title, name, picture in (one for make, table in makers for one in make(table)):
        slug = "".join(c if c.isalnum() else "-" for c in name)
        (folder / f"figure-{slug}.svg").write_text(picture, encoding="utf-8")
        pictures.append((title, picture))
    return pictures
