"""A table as a paper needs it: Markdown, CSV, LaTeX, self-contained HTML with figures. Everything is made of rows.

    rows.csv, rows.parquet   every cell, tidy, accuracies 0-1
    layers.csv               every layer against the best: difference, McNemar's p and Holm's
    table.csv                one line per task, encoder and probe: the dev-best layer and all that stands beside it
    table.md, table.tex      the same to read and to paste; percent
    figure-*.svg             layer curves and heat maps
    report.html              all of it in one file, with data cards and provenance

The best layer is chosen on dev. `†` marks a score that a paired test does not show to be above every floor of its line, `‡` a
solver that did not converge, `¶` a C (or L2) at the end of its grid, `§` a line that lacks cells that failed or were not measured
yet: the best is chosen, and compared, among the others.
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

from probing.encoders.base import POOLINGS
from probing.errors import ConfigError
from probing.evaluation.comparisons import letters_of
from probing.evaluation.runs import Run
from probing.evaluation.table import ResultTable, merge
from probing.probes.controls import FLOORS, LEAK_ALPHA, LOW_CEILING
from probing.report import figures


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
    lists = best[["not_separated", "better"]].map(lambda columns: " ".join(f"{layer}/{pooling}" for layer, pooling in columns))
    best.assign(**lists).to_csv(folder / "table.csv", index=False)
    pictures = _pictures(table, folder)
    versions: list[dict[str, str]] = []
    for made_with in (said for run in runs for said in run.versions()):
        if made_with not in versions:
            versions.append(made_with)
    foot = _footer(table, best, cards, encoders, versions)
    pairs = table.compare_encoders()
    table.compare_layers().to_csv(folder / "layers.csv", index=False)
    published = None
    if against is not None:
        from probing.report.published import compare

        published = compare(table, against)
        (folder / f"against-{against}.md").write_text(published + "\n", encoding="utf-8")
    (folder / "table.md").write_text(_markdown(table, summary, letters_of(best, pairs), _pairs(pairs), foot), encoding="utf-8")
    (folder / "table.tex").write_text(_latex(table, best, foot), encoding="utf-8")
    (folder / "report.html").write_text(_html(table, summary, pictures, _pairs(pairs), cards, foot, published), encoding="utf-8")


def _summary(table: ResultTable, best: pd.DataFrame) -> pd.DataFrame:
    """The reader's table: strings, percent, floors beside the score."""
    floors = table.floors()
    lines = []
    several_probes = best.probe.nunique() > 1
    for row in best.itertuples():
        beside = {name: floors.loc[row.task, name] for name in floors.columns if row.task in floors.index}
        beside |= {"static": row.static, "random weights": row.random}
        line = {"task": row.paper_name, "encoder": row.encoder} | ({"probe": row.probe} if several_probes else {})
        line["layer"] = f"{row.layer} {row.pooling}" if row.seeds else "none"
        marks = "†" if pd.notna(row.beats_floors) and not row.beats_floors else ""
        marks += ("" if row.converged else "‡") + ("¶" if row.edge else "") + ("§" if row.missing else "")
        line["accuracy"] = _pc(row.accuracy) + marks
        line["95 % interval"] = f"{_pc(row.accuracy_low)}–{_pc(row.accuracy_high)}" if row.seeds else ""
        if best.seeds.max() > 1:
            line["sd over seeds"] = f"{_pc(row.seed_sd)} ({row.seeds})" if row.seeds > 1 else ""
        line["macro F1"] = _pc(row.macro_f1)
        line["not separated from it"] = _columns(row)
        line |= _controls(table, row)
        line |= {name: _pc(value) for name, value in beside.items()}
        if row.random_n > 1:
            line["random weights"] += f" ± {_pc(row.random_sd)} ({row.random_n})"
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


def _ranges(layers: Sequence[int], better: Sequence[int] = ()) -> str:
    """
    >>> _ranges([0, 1, 2, 5], better=[3])
    '0-2, 3+, 5'
    """
    groups: list[list[int]] = []
    for layer in layers:
        if groups and layer == groups[-1][-1] + 1:
            groups[-1].append(layer)
        else:
            groups.append([layer])
    parts = [(g[0], str(g[0]) if len(g) == 1 else f"{g[0]}-{g[-1]}") for g in groups] + [(layer, f"{layer}+") for layer in better]
    return ", ".join(text for _, text in sorted(parts))


def _columns(row: Any) -> str:
    """Layers that are not separated from the best, by pooling, the best's first; `+` after those that are better on test."""
    listed = [*row.not_separated, *row.better]
    poolings = sorted({pooling for _, pooling in listed}, key=lambda pooling: (pooling != row.pooling, POOLINGS.index(pooling)))
    parts = []
    for pooling in poolings:
        same, better = ([layer for layer, p in columns if p == pooling] for columns in (row.not_separated, row.better))
        parts.append(f"{pooling} {_ranges(same, better)}")
    return f"{', '.join(parts)} ({len(row.not_separated)} of {row.n_columns})" if parts else ""


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


def _footer(
    table: ResultTable, best: pd.DataFrame, cards: Mapping[str, Any], encoders: Mapping[str, Any], versions: Sequence[dict]
) -> list[str]:
    """What made the numbers, line by line; no date, so that the same cells give the same bytes."""
    frame = table.frame
    probes = ", ".join(dict.fromkeys(p for p in frame.probe if p))
    seeds = sorted({int(s) for s in frame.seed[frame.role != "resample"].dropna()})
    test = _test(best)
    lines = [
        f"Protocol: {probes}. Best layer and pooling chosen on dev; scores are test. Intervals: 95 %, for accuracy Wilson's.",
        *_over(best),
        f"Not separated from it: the layers and poolings for which the test against the best, on the same items ({test}), gives "
        "p ≥ 0.05 after Holm over the layers and poolings of the line; other tasks, encoders and probes play no part. The best is "
        "among them; + marks layers that are separated from it and better on test, which are not counted. All in layers.csv.",
        "† not shown to be above every floor of the line (those that read the text, static, each draw of random weights): it is "
        "not above one of them, or the test on the same items gives p ≥ 0.05 (all must be passed, each at 0.05). "
        "‡ the solver did not converge. ¶ the chosen C (or L2) stands at the end of its grid.",
        f"Seeds: {seeds or 'none matters'} (train subsets, control labels, random weights, and probes that draw; a cell that no "
        "seed can change is measured once); with several, scores are means over them.",
        "Random weights: each draw at its own dev-best layer and pooling; mean ± standard deviation over draws (their number).",
        *_control_notes(table),
    ]
    if best.groupby(["task", "probe"]).encoder.nunique().max() > 1:
        lines.append(
            f"Encoders compared: {test} on the same items, each at its dev-best layer, Holm over all pairs, tasks and probes "
            " of the table; encoders of a task that share a letter are not separated at 0.05."
        )
    lines += _power(best)
    fits = frame[(frame.status == "done") & (frame.role != "floor")].drop_duplicates("cell")
    if ends := [f"{n} at the {end}" for end, n in fits.edge.value_counts().items() if end]:
        lines.append(
            f"¶ {' and '.join(ends)} of the grid, of {len(fits)} fitted cells (column edge of rows.csv). At the upper end of a "
            "grid of C the score is a lower bound: a wider grid can only raise the dev accuracy."
        )
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


def _over(best: pd.DataFrame) -> list[str]:
    """What intervals and tests go over, and what is not in them."""
    names = best.interval_over[best.seeds > 0].unique()
    if not len(names):
        return []
    within, everything = "".join(names), all("train halves" in over for over in names)
    lines = [
        f"Intervals and tests are over {_interval_over(best)}: what other test sentences of the same kind "
        + (
            "and other train splits of this size would show."
            if everything
            else "would show of these fits. What another train split would change is not in them."
        )
    ]
    if "groups" in within:
        lines.append("Groups: test items of one source; they are drawn, and their differences change sign, together.")
    if "seeds" in within:
        lines.append("Seeds: the interval is one of the mean over seeds, and holds the variance between them.")
    if "train halves" in within:
        lines.append(
            "Train halves: the layers were fitted again on random halves of the train split, and the variance between these fits "
            "stands for that between train splits of the full size (rows resample of rows.csv). Floors have none: † is not over it."
        )
    return lines


def _interval_over(best: pd.DataFrame) -> str:
    tasks = best[best.seeds > 0].groupby("interval_over", sort=False).paper_name.unique()
    if len(tasks) == 1:
        return tasks.index[0]
    return "; ".join(f"{over} ({', '.join(names)})" for over, names in tasks.items())


def _test(best: pd.DataFrame) -> str:
    """The paired tests of the table, by name."""
    kinds = {"t test" if "seeds" in over or "halves" in over else "exact sign-flip test of groups" if "groups" in over else
             "exact McNemar test" for over in best.interval_over[best.seeds > 0]}  # fmt: skip
    return " or ".join(sorted(kinds)) or "exact McNemar test"


def _power(best: pd.DataFrame) -> list[str]:
    """A line per task: the smallest difference between layers that its test split could have shown."""
    lines = []
    several = best.encoder.nunique() > 1 or best.probe.nunique() > 1
    for _, rows in best[best.can_show.notna()].groupby("task", sort=False):
        parts = []
        for row in rows.itertuples():
            who = " ".join([row.encoder] + [row.probe] * (best.probe.nunique() > 1)) + ": " if several else ""
            parts.append(who + (f"{_pc(row.can_show)} points" if np.isfinite(row.can_show) else "none, however large"))
        lines.append(
            f"Power, {rows.paper_name.iloc[0]} ({rows.n_test.iloc[0]} test items): the smallest difference between a layer and the "
            f"best that is separated with a probability of 80 % at the first step of Holm: {', '.join(parts)}."
        )
    return lines


def _control_notes(table: ResultTable) -> list[str]:
    """What the columns of the control tasks mean."""
    notes = []
    if "word" in table.controls:
        reached = table.role("ceiling").groupby(["encoder", "task"], sort=False).accuracy.mean()
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


def _markdown(table: ResultTable, summary: pd.DataFrame, letters: Sequence[str], pairs: pd.DataFrame, foot: Sequence[str]) -> str:
    parts = [
        "# Probing results",
        "",
        "Test accuracy in percent, at the layer and pooling chosen on dev.",
        "",
        md_table(summary),
        "",
    ]
    if summary.encoder.nunique() > 1:
        lettered = summary.assign(accuracy=[f"{a} {b}".strip() for a, b in zip(summary.accuracy, letters, strict=True)])
        wide = lettered.pivot_table("accuracy", "task", "encoder", aggfunc=" / ".join, sort=False).fillna("").reset_index()
        said = "Encoders of a task that share a letter are not separated (0.05; tests of the next table)."
        parts += ["## Task × encoder", "", said, "", md_table(wide), ""]
    if len(pairs):
        shown = pairs.assign(**{c: [_pc(v) for v in pairs[c]] for c in ("a_accuracy", "b_accuracy", "difference")})
        shown = shown.assign(p=[f"{p:.2g}" for p in pairs.p], p_holm=[f"{p:.2g}" for p in pairs.p_holm])
        parts += [
            "## Encoders compared",
            "",
            "Paired test on the same items (see the notes at the end), each at its dev-best layer; Holm over this table.",
            "",
            md_table(shown),
            "",
        ]
    for encoder, probe, poolings in _views(table):
        for pooling in poolings:
            parts += [f"## {encoder}, {pooling}, {probe}", "", md_table(_layer_table(table, encoder, probe, pooling)), ""]
    return "\n".join([*parts, "---", "", *(f"- {line}" for line in foot), ""])


def _pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """Encoders compared, as shown; which of a pair lacks layers is a column only where one does."""
    return pairs.drop(columns=["n_train"] + ["missing"] * (not pairs.missing.any())) if len(pairs) else pairs


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
    caption += (
        "no layer is finished."
        if np.isnan(half)
        else f"95\\% intervals ({_interval_over(best)}) are at most $\\pm${half:.1f} points."
    )
    if best.missing.any():
        caption += " §: cells of the line failed or are missing; the best layer is that of the others."
    caption = caption.replace("_", "\\_")
    body = style.to_latex(
        hrules=True, position_float="centering", caption=caption, label="tab:probing", column_format="l" + "r" * wide.shape[1]
    )
    return "% needs \\usepackage{booktabs}\n" + "".join(f"% {line}\n" for line in foot) + body


def _html(table, summary, pictures, pairs, cards, foot, published) -> str:
    views = [
        (f"{encoder}, {pooling}, {probe}", _cells(_layer_table(table, encoder, probe, pooling)))
        for encoder, probe, poolings in _views(table)
        for pooling in poolings
    ]
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
{% if pairs %}<h2>Encoders compared</h2><p>Paired test on the same items (see the notes at the
end), each encoder at its dev-best layer; Holm over this table.</p>
{{ grid(pairs) }}{% endif %}
{% for title, svg in pictures %}<h2>{{ title }}</h2>{{ svg }}{% endfor %}
{% for title, t in views %}<h2>{{ title }}</h2>{{ grid(t) }}{% endfor %}
{% if published %}<h2>Against published numbers</h2><pre>{{ published }}</pre>{% endif %}
<h2>Data cards</h2>
<details><summary>Counts, balance, duplicates and hashes of every task</summary><pre>{{ cards }}</pre></details>
<footer><ul>{% for line in foot %}<li>{{ line }}</li>{% endfor %}</ul></footer>
</body></html>
"""
