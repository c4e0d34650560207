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
from probing.report.atlas_compared import comparison, encoders, matrix, not_compared
from probing.report.atlas_figures import by_encoder, by_parameters, strip
from probing.report.atlas_page import Section, by_layer, footer, key_of, lines_grid, openable, opening, page, raw, shown
from probing.report.atlas_sentences import pieces
from probing.report.atlas_verdicts import (
    LEVEL,
    RULES,
    adjusted,
    ends_of_T,
    facets,
    followed,
    in_layers,
    layers_above,
    on_pairs,
    score,
    scores,
    sentence,
    verdicts,
)
from probing.report.figures import labelled, svg
from probing.report.html import Value
from probing.report.latex import floating
from probing.report.markdown import md_table

SCHEMA = 1
_WHY = ["column", "status", "reason"]
OF_SEVERAL = ("compare.md", "pairs.csv", "tasks.csv", "over_tasks.csv", "ranks.csv")
NOTE = """# Atlas

A line for each property. Encoded: test score in percent at the layer chosen on dev [95 %], accuracy where no other name
stands before it; * where this layer is above every floor, else the layers that are; n: test items; selectivity: less the
score on control labels [95 %] (ceiling of that control). Where: the best ten units, less as many of the best directions of
random bases. Used: points lost on pairs about the property when its directions are erased, less those of random directions of
the same rank; or, of a classifier, the layers whose direction its logit follows. Interacting: T in the first layer that mixes
words and in the last, no percentage. Transfers: score on another corpus [95 %]. Each column of an encoder is a family of tests
at 0.01, so that all five err in at most 5 %; * what passes it. A verdict is never stronger than its test: "not shown" is not
"no"; n/a: the column does not apply, the reasons stand below."""
QUICK = (
    "size=quick measures samples of each property (n: test items): do not publish a difference that only a quick atlas shows; "
    "size=full measures all of the data."
)


def write(frame: pd.DataFrame, folder: Path) -> None:
    """Writes the files of one or several encoders."""
    if (folder / "atlas.html").is_file():  # files of an earlier atlas may show what this one has not
        for old in (*folder.glob("figure-*"), *(folder / name for name in OF_SEVERAL)):
            old.unlink(missing_ok=True)
    frame = adjusted(distinguished(frame))
    lines = verdicts(frame)
    compared = comparison(frame)
    about, comparisons, alone = encoders(frame, compared), _comparisons(compared), not_compared(frame, compared)
    several, shown_lines, sections = frame.encoder.nunique() > 1, list[dict[str, str]](), list[Section]()
    for k, (encoder, part) in enumerate(frame.groupby("encoder", sort=False)):
        rows, words = list[dict[str, Value]](), list[list[Value]]()
        for line in lines[lines.encoder == encoder].to_dict("records"):
            own = part[part.property == line["property"]]
            rows.append({"property": Value(line["paper_name"]), **cells(own, line)})
            words.append(pieces(line, own, rows[-1]))
        named = {"encoder": str(encoder)} if several else {}
        shown_lines += [named | {name: value.text for name, value in row.items()} for row in rows]
        numbers = by_layer(part)
        curves = any(caption.startswith(("encoded", "interacting")) for caption, _ in numbers)
        picture = _drawn(strip(part), f"{encoder}: properties by layer", folder, f"strip-{k}") if curves else ""
        sections.append(Section(str(encoder), words, lines_grid(rows), picture, numbers, reasons(part)))
    table = pd.DataFrame(shown_lines).fillna("")
    quick, foot = QUICK * bool((frame["size"] == "quick").any()), footer(frame)
    blocks = [NOTE, *([quick] if quick else []), md_table(table), "## Encoders", md_table(about)]
    for title, note, compared_table in comparisons:
        blocks += [f"## {title}", *([note] if note else []), md_table(compared_table)]
    for one in sections:
        texts = ["".join(piece.text for piece in words) for words in one.sentences]
        blocks.append(f"## In words: {one.encoder}\n\n{_listed(texts)}")
    absent = [f"{one.encoder}, {reason}" for one in sections for reason in one.absent]
    blocks += [f"## Not applicable or not measured\n\n{_listed(absent)}"] * (len(absent) > 0)
    blocks += [f"## Not compared\n\n{_listed(alone)}"] * (len(alone) > 0) + [f"## Notes\n\n{_listed(foot)}"]
    replace_file(folder / "table.md", ("\n\n".join(blocks) + "\n").encode())
    replace_file(folder / "verdicts.csv", lines.to_csv(index=False).encode())
    replace_file(folder / "atlas.tex", floating(table, "Atlas", "tab:atlas").encode())
    replace_file(folder / "atlas.json", json.dumps(twin(frame, lines), indent=1, ensure_ascii=False).encode())
    parquet = io.BytesIO()
    frame.to_parquet(parquet, index=False)
    replace_file(folder / "atlas.parquet", parquet.getvalue())
    keys = _score_keys(frame)
    figures = [] if compared is None else _figures(frame, compared, keys, folder)
    if compared is not None:
        tables.write(compared, folder)
    note = NOTE.partition("\n\n")[2].replace("\n", " ")
    grids = [(title, text, opening(table, keys)) for title, text, table in comparisons]
    made = page(frame, [note, quick], sections, about, grids, figures, alone)
    replace_file(folder / "atlas.html", made.encode())


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


def _score_keys(frame: pd.DataFrame) -> dict[tuple[str, str], str]:
    """(paper_name, encoder) -> the key of the score at the dev-best layer."""
    done, keys = frame[frame.status == "done"], dict[tuple[str, str], str]()
    parts = {key: list(part.itertuples()) for key, part in done.groupby(["paper_name", "encoder"], sort=False)}
    for row in scores(done).itertuples():
        keys[row.paper_name, row.encoder] = _with_test(row, parts[row.paper_name, row.encoder])
    return keys


def _with_test(number: Any, rows: Sequence[Any]) -> str:
    """The key of the score of the dev-best layer: of its layer, whose card has the test, where that is among the rows."""
    own = [row for row in rows if (row.role, row.metric, row.layer) == ("layer", number.metric, number.layer)]
    return key_of(next(iter(own), number))


def _figures(
    frame: pd.DataFrame, compared: RunComparison, keys: Mapping[tuple[str, str], str], folder: Path
) -> list[tuple[str, str]]:
    """Title and SVG of the figures of several encoders."""
    best = scores(frame[frame.status == "done"])
    best = best.assign(key=[keys[row.paper_name, row.encoder] for row in best.itertuples()])
    letters = {(row.task, row.entry): row.letters for row in compared.tasks.itertuples()}
    titles = ("Scores by encoder; those that share a letter are not separated", "Scores by number of weights")
    made = [(titles[0], _drawn(by_encoder(best, letters), titles[0], folder, "encoders"))]
    if (scaling := by_parameters(best)) is not None:
        made.append((titles[1], _drawn(scaling, titles[1], folder, "weights")))
    return made


def _drawn(figure: Figure, title: str, folder: Path, name: str) -> str:
    """The figure written as SVG and PDF; returns the SVG of the page, in which numbers open their cards."""
    drawn, pdf = svg(figure), io.BytesIO()
    figure.savefig(pdf, format="pdf", metadata={"CreationDate": None})
    replace_file(folder / f"figure-{name}.svg", labelled(drawn, title).encode())
    replace_file(folder / f"figure-{name}.pdf", pdf.getvalue())
    return labelled(openable(drawn), title).replace('role="img"', 'role="group"', 1)  # buttons in an image would not be read


def _comparisons(compared: RunComparison | None) -> list[tuple[str, str, pd.DataFrame]]:
    """Title, note and table of each comparison of several encoders."""
    if compared is None:
        return []
    made = [("Encoders compared", tables.about(compared), matrix(compared))]
    made.append(("Second table: pairs", "", tables.pairs_table(compared)))
    if len(compared.common):
        n = len(compared.common)
        title = f"Over the {n} {'properties' if n > 1 else 'property'} in which all encoders are compared"
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
            key = _with_test(number, rows)
            above = layers_above(own)
            star = " *" if int(number.layer) in above else f" (* in {in_layers(above)})" if above else ""
            made[name] = Value(score(number) + star, sort=f"{100 * number.value:.1f}", key=key)
            made |= {"n": Value(str(int(number.n))), "layer": Value(str(int(number.layer)))}
            made["best floor"] = Value(f"{number.against} {100 * number.against_value:.1f}", key=key_of(number))
            if row := best.get(("encoded", "selectivity")):
                made["selectivity"] = Value(f"{shown(row)} ({100 * row.against_value:.1f})", key=key_of(row))
            if row := best.get(("encoded", "compression")):
                made["compression"] = Value(shown(row), key=key_of(row))
        elif name == "interacting":
            if any(row.metric == "T" for row in rows):
                first, last = ends_of_T(own)
                text = f"{raw(first.value)} → {raw(last.value)}"
                made[name] = Value(text + mark(name), key=key_of(number if number is not None else last))
        elif name == "transfers":
            moved = [row for row in rows if row.column == name and row.metric != "drop"]
            if moved:
                texts = [(facets(row.facets)["target"], score(row), key_of(row)) for row in moved]
                text = "; ".join(f"{target} {number}" for target, number, _ in texts)
                made[name] = Value(text + mark(name), key=texts[0][2], more=texts * (len(texts) > 1))
        elif name == "used":
            if any(row.column == name for row in rows):
                made[name] = _used(own[own.column == name], number)
        elif number is not None:  # where: of the test items, too
            units = best[name, "best units"]  # whose test comes first
            made[name] = Value(shown(number) + mark(name), key=key_of(number if units.p_holm <= LEVEL else units))
            made.setdefault("n", Value(str(int(number.n))))
    return made


def _used(part: pd.DataFrame, most: Any) -> Value:
    """Points lost, and the layers whose direction the classifier's logit follows, each with the mark of its own test."""
    own = list[tuple[str, str, str]]()
    if (pairs := on_pairs(part)) is not None:
        own.append(("on pairs", shown(most) + {"yes": " *", "no": " (no)"}.get(pairs[0], ""), key_of(most)))
    if (follow := followed(part)) is not None:
        slopes = part[part.metric == "derivative"].sort_values("value", ascending=False, kind="stable")
        largest = next(slopes[slopes.layer.isin(follow or slopes.layer)].itertuples())
        layers = f"logit: {in_layers(follow)} *" if follow else "logit: no layer shown"
        own.append(("by the classifier", layers, key_of(largest)))
    return Value("; ".join(text for _, text, _ in own), key=own[0][2], more=own * (len(own) > 1))


def _number(column: str, best: Mapping[tuple[str, str], Any]) -> Any:
    """The row of the number that stands for a column; None without one."""
    left_out = ("selectivity", "compression", "best units", "drop")
    return next((row for (name, metric), row in best.items() if name == column and metric not in left_out), None)


def reasons(part: pd.DataFrame) -> list[str]:
    """Why a column of an encoder has no number, each reason once with its properties; where pairs or a classifier alone give
    *used* a number, the reason is of the other."""
    of_other = {"derivative": "used on pairs", "points lost": "used by the classifier"}
    done, lost = part[(part.column == "used") & (part.status == "done")], part[part.status != "done"]
    measured = {("used", row.property): of_other[row.metric] for row in done.itertuples()}
    columns = [measured.get((row.column, row.property), row.column) for row in lost.itertuples()]
    made = []
    for (column, status, reason), own in lost.assign(column=columns).groupby(_WHY, sort=False):
        of = "" if own.property.nunique() == part.property.nunique() else f" ({', '.join(own.paper_name)})"
        made.append(f"{column}{of}: {'not measured' if status == 'failed' else status}: {reason}")
    return made


def twin(frame: pd.DataFrame, lines: pd.DataFrame) -> dict[str, Any]:
    """All of the atlas as plain JSON."""
    rows = json.loads(frame.drop(columns=["items", "groups", "card"]).to_json(orient="records"))
    for row in rows:
        row["facets"] = json.loads(row["facets"])
    own = json.loads(lines.to_json(orient="records"))
    return {"schema": SCHEMA, "lines": [{**line, "sentence": sentence(line)} for line in own], "rows": rows}
