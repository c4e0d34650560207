"""The report of an atlas: a line for each property, verdicts in words, the layer strip, and its machine-readable twin.

atlas.html     the page, which loads nothing
table.md       the same lines
atlas.tex      the table for a paper
atlas.json     lines, verdicts and rows; atlas.parquet: the rows (docs/atlas.md has the schema)
figure-strip-N.svg, .pdf   an encoder: properties by layer, T beneath on the same axis
figure-encoders, figure-weights   of several encoders: scores with letters, scores over the number of weights
compare.md, pairs.csv, tasks.csv, over_tasks.csv, ranks.csv   of several: their comparison with exact numbers
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from probing.evaluation.run_comparison import RunComparison
from probing.files import replace_file
from probing.report import compared as tables
from probing.report.atlas_compared import comparison, encoders, matrix
from probing.report.atlas_figures import by_encoder, by_parameters, strip
from probing.report.atlas_page import Section, by_layer, key_of, lines_grid, page, raw, shown
from probing.report.atlas_verdicts import RULES, adjusted, facets, sentence, verdicts
from probing.report.figures import labelled, svg
from probing.report.html import Value
from probing.report.latex import floating
from probing.report.markdown import md_table

SCHEMA = 1
OF_SEVERAL = ("compare.md", "pairs.csv", "tasks.csv", "over_tasks.csv", "ranks.csv")
NOTE = """# Atlas

A line for each property. Encoded: test score at the layer chosen on dev [95 %]; * where a layer is above every floor, the
layers stand in the sentences; selectivity: less the score on control labels [95 %] (ceiling of that control). Where: the
best ten units, less as many of the best directions of random bases. Used: points lost on pairs about the property when its
directions are erased, less those of random directions of the same rank; or, of a classifier, the layers whose direction its
logit follows. Interacting: T in the first and in the last layer. Transfers: score on another corpus [95 %]. Each column of
an encoder is a family of tests (Holm, 0.05), * what passes it. A verdict is never stronger than its test: "not shown" is not
"no"; n/a: the column does not apply, the reasons stand below."""


def write(frame: pd.DataFrame, folder: Path) -> None:
    """Writes the files of one or several encoders."""
    if (folder / "atlas.html").is_file():  # files of an earlier atlas may show what this one has not
        for old in (*folder.glob("figure-*"), *(folder / name for name in OF_SEVERAL)):
            old.unlink(missing_ok=True)
    frame = adjusted(distinguished(frame))
    lines = verdicts(frame)
    compared = comparison(frame)
    about, comparisons = encoders(frame, compared), _comparisons(compared)
    several, shown_lines, sections = frame.encoder.nunique() > 1, list[dict[str, str]](), list[Section]()
    for k, (encoder, part) in enumerate(frame.groupby("encoder", sort=False)):
        own = lines[lines.encoder == encoder].to_dict("records")
        rows = [{"property": Value(line["paper_name"]), **cells(part[part.property == line["property"]], line)} for line in own]
        named = {"encoder": str(encoder)} if several else {}
        shown_lines += [named | {name: value.text for name, value in row.items()} for row in rows]
        numbers = by_layer(part)
        curves = any(caption.startswith(("encoded", "interacting")) for caption, _ in numbers)
        picture = _drawn(strip(part), f"{encoder}: properties by layer", folder, f"strip-{k}") if curves else ""
        sections.append(Section(str(encoder), [sentence(line) for line in own], lines_grid(rows), picture, numbers, reasons(part)))
    table = pd.DataFrame(shown_lines).fillna("")
    blocks = [NOTE, md_table(table), "## Encoders", md_table(about)]
    for title, note, compared_table in comparisons:
        blocks += [f"## {title}", *([note] if note else []), md_table(compared_table)]
    blocks += [f"## In words: {one.encoder}\n\n" + _listed(one.sentences) for one in sections]
    absent = [f"{one.encoder}, {reason}" for one in sections for reason in one.absent]
    blocks += [f"## Not applicable\n\n{_listed(absent)}"] * (len(absent) > 0)
    replace_file(folder / "table.md", ("\n\n".join(blocks) + "\n").encode())
    replace_file(folder / "verdicts.csv", lines.to_csv(index=False).encode())
    replace_file(folder / "atlas.tex", floating(table, "Atlas", "tab:atlas").encode())
    replace_file(folder / "atlas.json", json.dumps(twin(frame, lines), indent=1, ensure_ascii=False).encode())
    parquet = io.BytesIO()
    frame.to_parquet(parquet, index=False)
    replace_file(folder / "atlas.parquet", parquet.getvalue())
    figures = [] if compared is None else _figures(frame, compared, folder)
    if compared is not None:
        tables.write(compared, folder)
    note = NOTE.partition("\n\n")[2].replace("\n", " ")
    replace_file(folder / "atlas.html", page(frame, note, sections, about, comparisons, figures).encode())


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def distinguished(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows, each once; a name that several encoders have gets the beginning of their fingerprints; so with data and size."""
    frame = frame.drop_duplicates(ignore_index=True)
    for column, most in (("fingerprint", 8), ("data", None), ("size", None)):
        several = frame.groupby("encoder", sort=False)[column].transform("nunique") > 1
        longer = frame.encoder + " (" + frame[column].astype(str).str[:most] + ")"
        frame = frame.assign(encoder=frame.encoder.where(~several, longer))
    return frame


def _figures(frame: pd.DataFrame, compared: RunComparison, folder: Path) -> list[tuple[str, str]]:
    """Title and SVG of the figures of several encoders."""
    best = frame[(frame.column == "encoded") & (frame.role == "best") & ~frame.metric.isin(["selectivity", "compression"])]
    best = best[best.status == "done"]
    letters = {(row.task, row.entry): row.letters for row in compared.tasks.itertuples()}
    titles = ("Scores by encoder; those that share a letter are not separated", "Scores by number of weights")
    made = [(titles[0], _drawn(by_encoder(best, letters), titles[0], folder, "encoders"))]
    if (scaling := by_parameters(best)) is not None:
        made.append((titles[1], _drawn(scaling, titles[1], folder, "weights")))
    return made


def _drawn(figure: Figure, title: str, folder: Path, name: str) -> str:
    """The figure as SVG, written beside a PDF."""
    text, pdf = labelled(svg(figure), title), io.BytesIO()
    figure.savefig(pdf, format="pdf", metadata={"CreationDate": None})
    replace_file(folder / f"figure-{name}.svg", text.encode())
    replace_file(folder / f"figure-{name}.pdf", pdf.getvalue())
    return text


def _comparisons(compared: RunComparison | None) -> list[tuple[str, str, pd.DataFrame]]:
    """Title, note and table of each comparison of several encoders."""
    if compared is None:
        return []
    made = [("Encoders compared", tables.about(compared), matrix(compared)), ("Pairs", "", tables.pairs_table(compared))]
    if len(compared.common):
        n = len(compared.common)
        title = f"Over the {n} {'properties' if n > 1 else 'property'} that all encoders have"
        made.append((title, tables.about_ranks(compared), tables.over_tasks_table(compared)))
    return made


def cells(own: pd.DataFrame, line: Mapping[str, Any]) -> dict[str, Value]:
    """The numbers of a property, each with the key of its card, and a mark behind those that a test shows: *."""
    rows = [row for row in own.itertuples() if row.status == "done"]
    best = {(row.column, row.metric): row for row in rows if row.role == "best"}
    made = dict[str, Value]()

    def mark(column: str) -> str:
        return {"yes": " *", "no": " (no)"}.get(line.get(column, ""), "")

    for name in RULES:
        if line.get(name) in ("not applicable", "failed"):
            made[name] = Value("n/a" if line[name] == "not applicable" else "failed", more=[("", line[f"{name}_words"], "")])
            continue
        number = _number(name, best)
        if name == "encoded" and number is not None:
            at = [row for row in rows if (row.role, row.metric, row.layer) == ("layer", number.metric, number.layer)]
            key = key_of(next(iter(at), number))  # with its test
            made |= {name: Value(shown(number) + mark(name), key=key), "layer": Value(str(int(number.layer)))}
            made["best floor"] = Value(f"{number.against} {100 * number.against_value:.1f}", key=key)
            if row := best.get(("encoded", "selectivity")):
                made["selectivity"] = Value(f"{shown(row)} ({100 * row.against_value:.1f})", key=key_of(row))
            if row := best.get(("encoded", "compression")):
                made["compression"] = Value(shown(row), key=key_of(row))
        elif name == "interacting":
            T = sorted((row for row in rows if row.metric == "T"), key=lambda row: row.layer)
            if T:
                text = f"{raw(T[0].value)} → {raw(T[-1].value)}"
                made[name] = Value(text + mark(name), key=key_of(number if number is not None else T[-1]))
        elif name == "transfers":
            moved = [row for row in rows if row.column == name and row.metric != "drop"]
            if moved:
                text = "; ".join(f"{facets(row.facets)['target']} {shown(row)}" for row in moved)
                made[name] = Value(text + mark(name), key=key_of(moved[0]))
        elif number is not None:
            made[name] = Value(shown(number) + mark(name), key=key_of(number))
    return made


def _number(column: str, best: Mapping[tuple[str, str], Any]) -> Any:
    """The row of the number that stands for a column; None without one."""
    left_out = ("selectivity", "compression", "best units", "drop")
    return next((row for (name, metric), row in best.items() if name == column and metric not in left_out), None)


def reasons(part: pd.DataFrame) -> list[str]:
    """Why a column of an encoder has no number, each reason once with its properties."""
    lost = part[part.status != "done"]
    made = []
    for (column, status, reason), own in lost.groupby(["column", "status", "reason"], sort=False):
        of = "" if len(own) == part.property.nunique() else f" ({', '.join(own.paper_name)})"
        made.append(f"{column}{of}: {status}: {reason}")
    return made


def twin(frame: pd.DataFrame, lines: pd.DataFrame) -> dict[str, Any]:
    """All of the atlas as plain JSON."""
    rows = json.loads(frame.drop(columns=["items", "groups", "card"]).to_json(orient="records"))
    for row in rows:
        row["facets"] = json.loads(row["facets"])
    own = json.loads(lines.to_json(orient="records"))
    return {"schema": SCHEMA, "lines": [{**line, "sentence": sentence(line)} for line in own], "rows": rows}
