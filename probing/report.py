"""A table as a paper needs it: Markdown, CSV, LaTeX, self-contained HTML with figures. Everything is made of rows.

    rows.csv, rows.parquet   every cell, tidy, accuracies 0-1
    layers.csv               every layer against the best: McNemar's p and Holm's
    table.csv                one line per task, encoder and probe: the dev-best layer and all that stands beside it
    table.md, table.tex      the same to read and to paste; percent
    figure-*.svg             layer curves and heat maps
    report.html              all of it in one file, with data cards and provenance

The best layer is chosen on dev. `†` marks a score whose 95 % interval reaches down to its best floor, `§` one whose line lacks
cells that failed or were not measured yet: the best is chosen, and compared, among the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from probing import figures
from probing.encoders.base import POOLINGS
from probing.errors import ConfigError
from probing.probes.controls import FLOORS, LEAK_ALPHA, LOW_CEILING
from probing.runs import Run
from probing.tables import ResultTable, merge


def write(runs: Sequence[Run], folder: Path, against: str | None = None) -> None:
    """Writes the report of one or several runs into `folder`; runs that plan no layer of an encoder give only their rows."""
    table = merge(run.table() for run in runs)
    cards = {name: {**card, "source": Path(card["source"]).name} for run in runs for name, card in run.data_cards().items()}
    encoders = {name: said for run in runs for name, said in run.encoder_descriptions().items()}
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "rows.csv")
    table.to_parquet(folder / "rows.parquet")
    best = table.best()
    if best.empty:
        return
    if mixed := [name for name, n in best.groupby("task").n_train.nunique().items() if n > 1]:
        raise ConfigError(f"these runs train on different numbers of sentences ({', '.join(mixed)}): report them one by one")
    summary = _summary(table, best)
    best.assign(tied=[" ".join(map(str, t)) for t in best.tied]).to_csv(folder / "table.csv", index=False)
    pictures = _pictures(table, folder)
    versions: list[dict[str, str]] = []
    for made_with in (said for run in runs for said in run.versions()):
        if made_with not in versions:
            versions.append(made_with)
    foot = _footer(table, cards, encoders, versions)
    table.compare_layers().to_csv(folder / "layers.csv", index=False)
    published = None
    if against is not None:
        from probing.published import compare

        published = compare(table, against)
        (folder / f"against-{against}.md").write_text(published + "\n", encoding="utf-8")
    (folder / "table.md").write_text(_markdown(table, summary, foot), encoding="utf-8")
    (folder / "table.tex").write_text(_latex(table, best, foot), encoding="utf-8")
    (folder / "report.html").write_text(_html(table, summary, pictures, cards, foot, published), encoding="utf-8")


def _summary(table: ResultTable, best: pd.DataFrame) -> pd.DataFrame:
    """The reader's table: strings, percent, floors beside the score."""
    floors = table.floors()
    lines = []
    several_probes = best.probe.nunique() > 1
    for row in best.itertuples():
        beside = {name: floors.loc[row.task, name] for name in floors.columns if row.task in floors.index}
        beside |= {"static": row.static, "random weights": row.random}
        known = [v for v in beside.values() if not np.isnan(v)]
        beaten = not known or row.accuracy_low > max(known)
        line = {"task": row.paper_name, "encoder": row.encoder} | ({"probe": row.probe} if several_probes else {})
        line["layer"] = f"{row.layer} {row.pooling}" if row.seeds else "none"
        marks = ("" if beaten or not row.seeds else "†") + ("" if row.converged else "‡") + ("§" if row.missing else "")
        line["accuracy"] = _pc(row.accuracy) + marks
        line["95 % interval"] = f"{_pc(row.accuracy_low)}–{_pc(row.accuracy_high)}" if row.seeds else ""
        if best.seeds.max() > 1:
            line["sd over seeds"] = f"{_pc(row.seed_sd)} ({row.seeds})" if row.seeds > 1 else ""
        line["macro F1"] = _pc(row.macro_f1)
        line["tied layers"] = _ranges(row.tied)
        line |= _controls(table, row)
        line |= {name: _pc(value) for name, value in beside.items()}
        lines.append(line | ({"missing": row.missing} if best.missing.any() else {}))
    return pd.DataFrame(lines).fillna("")


def _controls(table: ResultTable, row: Any) -> dict[str, str]:
    """The columns of the control tasks; "n/a" where the encoder has the word control on other tasks, and none is planned here."""
    line = {}
    if "word" in table.controls:
        names = ("control (word)", "ceiling (bag of words)", "selectivity")
        planned = table.frame[(table.frame.control == "word") & (table.frame.encoder == row.encoder)].task
        if (planned == row.task).any():
            low = "◊" if row.ceiling < LOW_CEILING else ""
            line = dict(zip(names, (_pc(row.control_word), _pc(row.ceiling) + low, _pc(row.selectivity)), strict=True))
        else:
            line = dict.fromkeys(names, "n/a" if len(planned) else "")
    if "permuted" in table.controls:
        line["leak check (permuted labels)"] = _pc(row.control_permuted) + ("‖" if row.leak_p < LEAK_ALPHA else "")
    return line


def _pc(value: float) -> str:
    return "" if pd.isna(value) else f"{100 * value:.1f}"


def _ranges(layers: Sequence[int]) -> str:
    """
    >>> _ranges([0, 1, 2, 5])
    '0-2, 5'
    """
    groups: list[list[int]] = []
    for layer in layers:
        if groups and layer == groups[-1][-1] + 1:
            groups[-1].append(layer)
        else:
            groups.append([layer])
    return ", ".join(str(g[0]) if len(g) == 1 else f"{g[0]}-{g[-1]}" for g in groups)


def _views(table: ResultTable) -> list[tuple[str, str, list[str]]]:
    """(encoder, probe, poolings) of every group of layer tables."""
    found = []
    frame = table.frame[(table.frame.role == "probe") & (table.frame.status == "done")]
    for (encoder, probe), here in frame.groupby(["encoder", "probe"], sort=False):
        layers = here.groupby("pooling").layer.nunique()
        found.append((encoder, probe, [p for p in POOLINGS if p in layers]))
    return found


def _layer_table(table: ResultTable, encoder: str, probe: str, pooling: str) -> pd.DataFrame:
    """task × layer in percent, the dev-best layer of each row in **bold**; § where a seed is missing, "failed" where all are."""
    where = {"role": "probe", "encoder": encoder, "probe": probe, "pooling": pooling}
    scores, dev = (table.pivot("task", "layer", value, **where) for value in ("accuracy", "dev_accuracy"))
    planned = table.frame[(table.frame[list(where)] == list(where.values())).all(axis=1)]
    names = planned.drop_duplicates("task").set_index("task").paper_name
    lost = {key: rows.status[rows.status != "done"].tolist() for key, rows in planned.groupby(["task", "layer"])}
    layers = sorted(planned.layer.unique())
    text = pd.DataFrame("", index=names.to_numpy(), columns=[f"layer {layer}" for layer in layers])
    for i, task in enumerate(names.index):
        measured = dev.loc[task].astype(float).sort_index() if task in dev.index else pd.Series(dtype=float)
        top = measured.idxmax() if measured.notna().any() else None
        for j, layer in enumerate(layers):
            value = _pc(scores.loc[task, layer]) if task in scores.index and layer in scores.columns else ""
            states = lost.get((task, layer), [])
            value = (value and value + "§") or states[0] if states else value
            text.iloc[i, j] = f"**{value}**" if layer == top else value
    return text.rename_axis("task").reset_index()


def _pictures(table: ResultTable, folder: Path) -> list[tuple[str, str]]:
    found = []
    for k, (encoder, probe, poolings) in enumerate(_views(table), start=1):
        slug = "".join(c if c.isalnum() else "-" for c in f"{k}-{encoder}-{probe}")
        found.append((f"Layer × task, {encoder}, {probe}", figures.heat_map(table, encoder, probe, poolings)))
        (folder / f"figure-{slug}.svg").write_text(found[-1][1], encoding="utf-8")
    frame = table.frame[(table.frame.role == "probe") & (table.frame.status == "done")]
    for probe in dict.fromkeys(frame.probe):
        for pooling in [p for p in POOLINGS if frame[(frame.probe == probe) & (frame.pooling == p)].layer.nunique() > 1]:
            found.append((f"Layer curves, {pooling}, {probe}", figures.curves(table, probe, pooling)))
            slug = "".join(c if c.isalnum() else "-" for c in f"curves-{pooling}-{probe}")
            (folder / f"figure-{slug}.svg").write_text(found[-1][1], encoding="utf-8")
    return found


_LOST = (("failed", "failed and are missing from the tables"), ("missing", "are not measured yet"))


def _footer(table: ResultTable, cards: Mapping[str, Any], encoders: Mapping[str, Any], versions: Sequence[dict]) -> list[str]:
    """What made the numbers, line by line; no date, so that the same cells give the same bytes."""
    frame = table.frame
    probes = ", ".join(dict.fromkeys(p for p in frame.probe if p))
    seeds = sorted({int(s) for s in frame.seed.dropna()})
    lines = [
        f"Protocol: {probes}. Best layer and pooling chosen on dev; scores are test. Interval: Wilson, 95 %, over test items.",
        "Tied layers: same pooling, exact McNemar test against the best on the same items, p ≥ 0.05 after Holm over all layers, "
        "poolings, tasks and probes of the encoder; all p-values in layers.csv.",
        "† the interval reaches down to the best floor. ‡ the solver did not converge.",
        f"Seeds: {seeds or 'none matters'} (train subsets, control labels, random weights, and probes that draw; a cell that no "
        "seed can change is measured once); with several, scores and bounds are means, tests those of the first.",
        "Random weights: the twin at its own dev-best layer.",
        *_control_notes(table),
    ]
    if not_converged := table.not_converged():
        lines.append(f"{not_converged} of {len(frame)} cells did not converge (column converged of rows.csv).")
    counts = frame.drop_duplicates("cell").status.value_counts()
    if lost := [f"{counts[status]} cells {said}" for status, said in _LOST if status in counts]:
        lines.append(
            f"§ {' and '.join(lost)}: see the column missing, and rows.csv for the reasons. Best layers are chosen and compared "
            "among the others."
        )
    for name, card in cards.items():
        note = f"; {'; '.join(card['notes'])}" if card["notes"] else ""
        sizes = "/".join(str(n) for n in card["n"].values())
        lines.append(
            f"Data {name}: {sizes} sentences (train/dev/test), {card['n_classes']} classes, sha256 {card['sha256'][:16]}{note}."
        )
    for name, said in encoders.items():
        lines.append(f"Encoder {name}: {said['origin']}; fingerprint {said['fingerprint'][:16]}; {_reading(said['reading'])}.")
    lines += ["Computed with " + ", ".join(f"{k} {v}" for k, v in said.items()) + "." for said in versions]
    return lines


def _control_notes(table: ResultTable) -> list[str]:
    """What the columns of the control tasks mean."""
    notes = []
    if "word" in table.controls:
        reached = table._role("ceiling").groupby(["encoder", "task"], sort=False).accuracy.mean()
        known = [f"at least {_pc(reached[name].min())} % by {how}" for name, how in _CEILINGS if name in reached]
        notes.append(
            "Control (word): each sentence has the random label of one of its words, with the label histogram of the task. "
            "Selectivity: accuracy minus accuracy on this control task, same layer, pooling and probe (Hewitt & Liang 2019). "
            f"Ceiling: what words alone reach there{': ' * bool(known)}{', '.join(known)}. n/a: too few words for the classes."
        )
        if low := [task for task, value in reached.get("word bag", {}).items() if value < LOW_CEILING]:
            notes.append(
                f"◊ Warning: a bag of words reaches less than {100 * LOW_CEILING:.0f} % on the word control of {', '.join(low)}: "
                "it is hard to learn there, and selectivity may be too large by what the ceiling lacks of 100 %."
            )
    if "permuted" in table.controls:
        notes.append(
            "Leak check: test accuracy on labels shuffled within each split, where nothing can be learned. ‖ above the share of "
            f"the largest class (one-sided binomial test, p < {LEAK_ALPHA} after Holm over the lines): an error in the set-up."
        )
    return notes


_CEILINGS = (("word look-up", "a look-up of the deciding word"), ("word bag", "logistic regression on the bag of words"))


def _reading(reading: Mapping[str, int]) -> str:
    """How an encoder reads the sentences, in words."""
    parts = [f"{reading.get('truncated', 0)} sentences truncated"]
    if reading.get("alike"):
        parts.append(f"{reading['alike']} with the tokens of another one")
    if reading.get("tokens"):
        parts.append(f"{100 * reading['unknown'] / reading['tokens']:.2g} % of the tokens unknown")
    return ", ".join(parts)


def _markdown(table: ResultTable, summary: pd.DataFrame, foot: Sequence[str]) -> str:
    parts = [
        "# Probing results",
        "",
        "Test accuracy in percent, at the layer and pooling chosen on dev.",
        "",
        md_table(summary),
        "",
    ]
    if summary.encoder.nunique() > 1:
        wide = summary.pivot_table("accuracy", "task", "encoder", aggfunc=" / ".join, sort=False).fillna("").reset_index()
        parts += ["## Task × encoder", "", md_table(wide), ""]
    if len(pairs := _pairs(table)):
        shown = pairs.assign(**{c: [_pc(v) for v in pairs[c]] for c in ("a_accuracy", "b_accuracy", "difference")})
        shown = shown.assign(p=[f"{p:.2g}" for p in pairs.p], p_holm=[f"{p:.2g}" for p in pairs.p_holm])
        parts += [
            "## Encoders compared",
            "",
            "Exact McNemar test on the same items, each at its dev-best layer; Holm over this table.",
            "",
            md_table(shown),
            "",
        ]
    for encoder, probe, poolings in _views(table):
        for pooling in poolings:
            parts += [f"## {encoder}, {pooling}, {probe}", "", md_table(_layer_table(table, encoder, probe, pooling)), ""]
    return "\n".join([*parts, "---", "", *(f"- {line}" for line in foot), ""])


def _pairs(table: ResultTable) -> pd.DataFrame:
    """Encoders compared; which of a pair lacks layers is a column only where one does."""
    pairs = table.compare_encoders()
    return pairs.drop(columns="missing") if len(pairs) and not pairs.missing.any() else pairs


def md_table(frame: pd.DataFrame) -> str:
    """A frame of strings and whole numbers as Markdown."""
    head = "| " + " | ".join(map(str, frame.columns)) + " |"
    rule = "|" + "|".join("---" for _ in frame.columns) + "|"
    return "\n".join(
        [head, rule, *("| " + " | ".join(str(v).replace("|", "\\|") for v in row) + " |" for row in frame.itertuples(index=False))]
    )


def _latex(table: ResultTable, best: pd.DataFrame, foot: Sequence[str]) -> str:
    """booktabs; floors, random twins and encoders as columns, tasks as rows, the highest score of a row in bold."""
    names = dict(zip(best.task, best.paper_name, strict=True))
    wide = table.floors()
    marked: list[tuple[str, str]] = []
    several = best.probe.nunique() > 1
    for (encoder, probe), here in best.groupby(["encoder", "probe"], sort=False):
        title = f"{encoder}, {probe}" if several else encoder
        scores = here.set_index("task")
        marked += [(names[task], title) for task in scores.index[scores.missing != ""]]
        for column, name in (("static", f"{title} static"), ("random", f"{title} random"), ("accuracy", title)):
            if column == "accuracy" or scores[column].notna().any():
                wide = (
                    wide.join(100 * scores[column].rename(name), how="outer")
                    if len(wide.columns)
                    else (100 * scores[[column]]).set_axis([name], axis=1)
                )
    wide[list(FLOORS.keys() & set(wide.columns))] *= 100
    wide = wide.reindex([t for t in table.tasks if t in wide.index]).rename(index=names).rename_axis(None)
    style = (
        wide.style.format(precision=1, na_rep="--", escape="latex")
        .format_index(escape="latex", axis=0)
        .format_index(escape="latex", axis=1)
    )
    for task, column in marked:
        if column in wide.columns:
            style = style.format("{:.1f}§", na_rep="--§", subset=pd.IndexSlice[[task], [column]])
    style = style.highlight_max(axis=1, props="textbf:--rwrap;")
    half = (100 * (best.accuracy_high - best.accuracy_low) / 2).max()
    caption = f"Test accuracy (\\%) of {', '.join(dict.fromkeys(best.probe))} probes at the layer chosen on dev; "
    caption += "no layer is finished." if np.isnan(half) else f"95\\% intervals are at most $\\pm${half:.1f} points."
    if best.missing.any():
        caption += " §: cells of the line failed or are missing; the best layer is that of the others."
    caption = caption.replace("_", "\\_")
    body = style.to_latex(
        hrules=True, position_float="centering", caption=caption, label="tab:probing", column_format="l" + "r" * wide.shape[1]
    )
    return "% needs \\usepackage{booktabs}\n" + "".join(f"% {line}\n" for line in foot) + body


def _html(table, summary, pictures, cards, foot, published) -> str:
    views = [
        (f"{encoder}, {pooling}, {probe}", _cells(_layer_table(table, encoder, probe, pooling)))
        for encoder, probe, poolings in _views(table)
        for pooling in poolings
    ]
    pairs = _pairs(table)
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_PAGE)
    return template.render(
        summary=_cells(summary), pictures=[(title, Markup(_inline(svg))) for title, svg in pictures],
        views=views, pairs=_cells(pairs.round(4)) if len(pairs) else None, foot=foot, published=published,
        cards=json.dumps(cards, indent=1, ensure_ascii=False),
    )  # fmt: skip


def _inline(svg: str) -> str:
    return svg[svg.index("<svg") :]


def _cells(frame: pd.DataFrame) -> dict[str, Any]:
    """Header and rows for the template; **bold** becomes a flag."""
    rows = [[(str(v).strip("*"), str(v).startswith("**")) for v in row] for row in frame.itertuples(index=False)]
    return {"head": [str(c) for c in frame.columns], "rows": rows}


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Probing results</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.86rem; white-space: nowrap; }
th, td { padding: 0.25rem 0.6rem; text-align: right; } th:first-child, td:first-child { text-align: left; }
thead th { border-top: 2px solid #333; border-bottom: 1px solid #333; font-weight: 600; }
tbody tr:last-child td { border-bottom: 2px solid #333; } tbody tr:hover { background: #f3f6fa; }
svg { max-width: 100%; height: auto; } footer { margin-top: 3rem; border-top: 1px solid #ccc; font-size: 0.82rem; color: #444; }
pre { overflow-x: auto; font-size: 0.78rem; background: #f7f7f7; padding: 0.8rem; }
</style></head><body>
{% macro grid(t) %}<div class="wide"><table><thead><tr>{% for h in t.head %}<th>{{ h }}</th>{% endfor %}</tr></thead><tbody>
{% for row in t.rows %}<tr>{% for v, bold in row %}<td>{% if bold %}<b>{{ v }}</b>{% else %}{{ v }}{% endif %}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>{% endmacro %}
<h1>Probing results</h1>
<p>Test accuracy in percent, at the layer and pooling chosen on dev, with what a number must beat: floors that read only the text,
static vectors, the same architecture with random weights, and a control task.</p>
{{ grid(summary) }}
{% if pairs %}<h2>Encoders compared</h2><p>Exact McNemar test on the same items,
each encoder at its dev-best layer; Holm over this table.</p>
{{ grid(pairs) }}{% endif %}
{% for title, svg in pictures %}<h2>{{ title }}</h2>{{ svg }}{% endfor %}
{% for title, t in views %}<h2>{{ title }}</h2>{{ grid(t) }}{% endfor %}
{% if published %}<h2>Against published numbers</h2><pre>{{ published }}</pre>{% endif %}
<h2>Data cards</h2>
<details><summary>Counts, balance, duplicates and hashes of every task</summary><pre>{{ cards }}</pre></details>
<footer><ul>{% for line in foot %}<li>{{ line }}</li>{% endfor %}</ul></footer>
</body></html>
"""
