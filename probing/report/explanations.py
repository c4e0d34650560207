"""The report of the study `explanations`: for each encoder and masking a line a method, plausibility and agreement in blocks of
their own, layers, and a figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from probing.evaluation.paired_tests import letters
from probing.evaluation.plots import PALETTE
from probing.files import replace_file
from probing.report.explanation_numbers import LEAST_UNITS, LINE, agreements, comparisons, of_layers, of_scores, summary
from probing.report.figures import RC, labelled, legend, svg
from probing.report.markdown import md_table
from probing.report.orders import of_orders, order_block, order_picture

NOTE = """# Explanations by words, between chance and the best set

The value explained is the logit of the class predicted for the whole sentence; what is lost is measured in its probability, with
the same masking. **compr., suff.**: comprehensiveness and sufficiency over k = 1 … n-1 words, scaled: 0 is the mean over all sets
of k words, 1 the best set of each size; mean [95 % t interval over sentences, clusters of one source together]. Letters: methods of
a masking that share one are not told apart (paired sign-flip tests, Holm over pairs and measures, 5 %). **flip**: median number of
words, of highest score first, whose removal changes the class, and the share of sentences where any does. **beta**: the factor
that brings the scores to the size of the effects (1: they have it); infidelity: mean squared error of their sums (medians).
**tau**: Kendall's tau-b to exact Shapley values, and to leave-one-out; twin: to the same method's scores of the same encoder with
random weights, under the trained head, beside the 95 % band of its null, random pairings with other sentences of equal length;
above, below: permutation test, p < 0.05 (a method above reads the words, and not the model; but the twin is one draw, which agrees
by chance in all sentences where the same few words decide them all: the study of sanity takes several). Sentences without another
one of their length stand outside; no band where so few cannot tell. Other masking: to the same method's, mean over other maskings.
gap: |sum of scores - effect| / effect, median, where a method claims that sum. rows: model rows for a sentence, a forward and
backward pass counts three; games share one table.

† compr. not shown above chance (its interval is not wholly above 0) · ‡ gap above 1 % · ° part of the sentences have equal scores,
which rank nothing and are left out of compr., suff. and flip · (n of N): the method does not apply to the others, which may be
harder ones: it has no letters and is in no comparison or figure. Fewer than six units have no interval and no mark of chance, which
then says neither that a number is above it nor that it is not"""

PLAUSIBLE = """## Gold words

Whether scores put first the words that people marked: it says nothing about what the classifier uses. Average precision (equal
scores share a threshold) of sentences predicted right, beside its mean over all orders of the words (chance), and what one
annotator reaches against the others (human); F1 of as many words as are gold; first: share of sentences whose first word is gold.
errors: average precision of sentences predicted wrong, for the (wrong) predicted class. * above chance: the interval of the
difference is above 0 (fewer than six units: no interval, no mark)."""

SANITY = """## Agreement

Kendall's tau-b of a method's scores with those of the same method on the same sentence, elsewhere; null: 95 % of
random pairings with other sentences of equal length; p: permutation test (those alone in their length stand outside; - where so
few sentences cannot tell). refitted: random weights with a head of their own · labels: a head
fitted on permuted labels. All agreements, those with random twins and of maskings, too: agreements.csv."""

LAYERS = """## Layers

From the same model rows: v_f of a layer, <f(S), f(N)> / ||f(N)||^2. probe: test accuracy of the layer on the same task · T:
strength of interaction of the whole sentence · tau: of the layer's Shapley values with those of the head · entropy of |phi|, 1:
all words alike · gold: share of |phi| on gold words, beside the share of words that are gold."""


def write(frame: pd.DataFrame, folder: Path) -> None:
    """table.md, summary.csv, comparisons.csv, agreements.csv, and a figure for each data and encoder; with layers layers.csv,
    orders.csv, and a figure of orders for each masking, too."""
    rows = of_scores(frame)
    lines, pairs, agreed, layers = summary(rows), comparisons(rows), agreements(rows), of_layers(frame)
    files = {"summary.csv": lines, "comparisons.csv": pairs, "agreements.csv": agreed}
    orders = of_orders(frame)
    files |= {name: lines for name, lines in (("layers.csv", layers), ("orders.csv", orders)) if len(lines)}
    texts = {name: table.to_csv(index=False) for name, table in files.items()}
    for k, (key, part) in enumerate(
        lines[(lines.control == "") & (lines.sentences == lines.of)].groupby(["data", "encoder"], sort=False)
    ):
        title = f"Comprehensiveness and sufficiency between chance (0) and the best set (1): {key[1]} on {key[0]}"
        texts[f"figure-explanations-{k}.svg"] = labelled(picture(part), title)
    for k, (key, part) in enumerate(orders.groupby(LINE, sort=False) if len(orders) else ()):
        title = f"Interactions of pairs by order and layer: {key[1]} on {key[0]}, masking={key[2]}"
        texts[f"figure-orders-{k}.svg"] = labelled(order_picture(part), title)
    texts["table.md"] = "\n\n".join([NOTE, *blocks(frame, lines, pairs, agreed, layers), *order_block(orders)]) + "\n"
    for name, text in texts.items():
        replace_file(folder / name, text.encode())


def blocks(
    frame: pd.DataFrame, lines: pd.DataFrame, pairs: pd.DataFrame, agreed: pd.DataFrame, layers: pd.DataFrame
) -> Iterator[str]:
    own = lines[lines.control == ""]
    for key, part in own.groupby(LINE, sort=False):
        line = part.iloc[0]
        yield f"## {key[1]} on {key[0]}, masking={key[2]}"
        tests = int((pairs[LINE] == list(key)).all(axis=1).sum()) if len(pairs) else 0
        units = int(part.units.max())
        few = f" No letters: {units} units are too few for {tests} tests." if _too_few(units, tests) else ""
        few += f" No intervals and no marks of chance: they take {LEAST_UNITS} units." if units < LEAST_UNITS else ""
        yield f"Accuracy of the head {_percent(line.accuracy)} %; {int(line.of)} sentences, {units} units.{few}"
        told, sane = _letters(pairs, key, part), _sane(agreed, key)
        shown = pd.DataFrame([_faithful(row, told) | sane.get(row["method"], {}) for row in part.to_dict("records")])
        yield md_table(shown.fillna("-"))
        if note := _notes(frame, key):
            yield note
    if "right" in lines and (lines.right > 0).any():
        yield PLAUSIBLE
        table = pd.DataFrame([_plausible(row) for row in lines.to_dict("records") if row["right"] > 0])
        yield md_table(table)
    other = agreed[(agreed.kind == "encoders") | agreed.other.isin(["refitted", "labels"])] if len(agreed) else agreed
    if len(other):
        yield SANITY
        yield md_table(pd.DataFrame([_agreed(row) for row in other.to_dict("records")]))
    if len(layers):
        yield LAYERS
        yield md_table(pd.DataFrame([_layer(row) for row in layers.to_dict("records")]))


def _faithful(row: Mapping[str, Any], told: Mapping[tuple[str, str], str]) -> dict[str, str]:
    compr = row["comprehensiveness_scaled_low"]
    name = _name(row)
    marks = "†" * bool(compr <= 0) + "‡" * bool(row["gap"] > 0.01) + "°" * bool(row["unranked"] > 0)
    if row["unranked"] == 1:
        return {"method": f"{name} °", "compr.": "no ranking", **dict.fromkeys(("suff.", "flip"), "-"), **_sizes(row)}
    shown = {
        name: f"{_shown(row, measure)} {told.get((measure, row['method']), '')}".strip()
        for name, measure in (("compr.", "comprehensiveness_scaled"), ("suff.", "sufficiency_scaled"))
    }
    flip = "never" if not row["flips"] > 0 else f"{row['flip_words']:.0f} ({_percent(row['flips'])} %)"
    return {"method": f"{name} {marks}".strip(), **shown, "flip": flip, **_sizes(row)}


def _name(row: Mapping[str, Any]) -> str:
    """The method, with the number of sentences that it applies to if these are not all."""
    return f"{row['method']} ({row['sentences']} of {row['of']})" if row["sentences"] < row["of"] else str(row["method"])


def _sane(agreed: pd.DataFrame, key: Any) -> dict[str, dict[str, str]]:
    """By method: tau with the random twin, beside its null, and the mean tau with the same method under other maskings."""
    columns: dict[str, dict[str, str]] = {}
    if not len(agreed):
        return columns
    own = agreed[(agreed.data == key[0]) & (agreed.encoder == key[1])]
    for row in own[(own.masking == key[2]) & (own.other == "twin")].to_dict("records"):
        mark = {"above": " above", "below": " below"}.get(_verdict(row), "")
        columns[row["method"]] = {"tau twin (null)": f"{_number(row['tau'])}{mark} ({_null(row)})"}
    others = own[(own.kind == "maskings") & ((own.masking == key[2]) | (own.other == key[2]))]
    for method, value in others.groupby("method", sort=False).tau.mean().items():
        columns.setdefault(str(method), {})["tau other masking"] = _number(value)
    return columns


def _null(row: Mapping[str, Any]) -> str:
    return "-" if np.isnan(row["null_low"]) else f"{row['null_low']:z.2f} to {row['null_high']:z.2f}"


def _verdict(row: Mapping[str, Any]) -> str:
    """Whether two scorings agree more than those of other sentences do; empty where so few sentences cannot tell."""
    if np.isnan(row["p"]):
        return ""
    return "within" if row["p"] >= 0.05 else "above" if row["tau"] > row["null"] else "below"


def _sizes(row: Mapping[str, Any]) -> dict[str, str]:
    numbers = {"infidelity": "infidelity", "beta": "beta", "tau Shapley": "tau_shapley", "tau LOO": "tau_loo"}
    shown = {title: _number(row[name]) for title, name in numbers.items()}
    if row.get("right", 0) > 0:
        above = "*" if row["gold_above_chance_low"] > 0 else ""
        shown["AP (chance)"] = f"{_number(row['gold_average_precision'])}{above} ({_number(row['chance_average_precision'])})"
    return shown | {"gap": "-" if np.isnan(row["gap"]) else f"{100 * row['gap']:.3f} %", "rows": f"{row['rows']:.0f}"}


def _plausible(row: Mapping[str, Any]) -> dict[str, Any]:
    above = "*" if row["gold_above_chance_low"] > 0 else ""
    control = f" ({row['control']})" if row["control"] else ""
    return {
        "encoder": f"{row['encoder']}{control}",
        "masking": row["masking"],
        "method": _name(row),
        "right": int(row["right"]),
        "AP": _shown(row, "gold_average_precision") + above,
        "chance": _number(row["chance_average_precision"]),
        "human": _number(row["human_average_precision"]),
        "F1": _number(row["gold_f1"]),
        "human F1": _number(row["human_f1"]),
        "first": _number(row["gold_pointing"]),
        "AP, errors": _number(row["gold_errors"]),
    }


def _agreed(row: Mapping[str, Any]) -> dict[str, Any]:
    with_ = f"masking={row['other']}" if row["kind"] == "maskings" else row["other"]
    line = {"encoder": row["encoder"], "masking": row["masking"], "method": row["method"], "with": with_}
    return line | {
        "sentences": int(row["pairs"]),
        "tau": _number(row["tau"]),
        "null": _null(row),
        "p": "-" if np.isnan(row["p"]) else f"{row['p']:.3f}",
        "": _verdict(row),
        "same first": _number(row["first"]),
    }


def _layer(row: Mapping[str, Any]) -> dict[str, Any]:
    line = {"encoder": row["encoder"], "masking": row["masking"], "layer": int(row["layer"])}
    if "probe" in row:
        line["probe"] = _shown(row, "probe", 100, 1)
    line |= {"T": _shown(row, "T", digits=3), "tau": _shown(row, "tau_head"), "entropy": _shown(row, "entropy")}
    if "gold_share" in row:
        line["gold"] = f"{_shown(row, 'gold_share')} ({_number(row['gold_chance'])})"
    return line


def _letters(pairs: pd.DataFrame, key: Any, part: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Letters of each measure and method: two that share one are not told apart."""
    told: dict[tuple[str, str], str] = {}
    if not len(pairs):
        return told
    own = pairs[(pairs[LINE] == list(key)).all(axis=1)]
    if _too_few(int(part.units.max()), len(own)):
        return told
    for measure, lines in own.groupby("measure", sort=False):
        if measure not in ("comprehensiveness_scaled", "sufficiency_scaled"):
            continue
        best = part[part.sentences == part.of].set_index("method")[measure].dropna().sort_values(ascending=False).index.tolist()
        place = {name: k for k, name in enumerate(best)}
        separated = np.zeros((len(best), len(best)), bool)
        for line in lines.itertuples():
            if line.a in place and line.b in place and line.p_holm < 0.05:
                separated[place[line.a], place[line.b]] = separated[place[line.b], place[line.a]] = True
        told |= {(measure, name): letter for name, letter in zip(best, letters(separated), strict=True)}
    return told


def _too_few(units: int, tests: int) -> bool:
    """Whether no difference could be told: the smallest p-value of so many units, after Holm over the tests, is above 0.05."""
    return bool(tests * 2.0 ** (1 - units) > 0.05)


def _notes(frame: pd.DataFrame, key: Any) -> str:
    """Methods that do not apply, with the reason."""
    if "note" not in frame:
        return ""
    rows = frame[(frame[LINE] == list(key)).all(axis=1) & frame.note.notna() & (frame.control.fillna("") == "")]
    reasons = [f"{line.method}: {line.note} ({count} sentences)" for line, count in _counted(rows)]
    return "n/a: " + "; ".join(reasons) if reasons else ""


def _counted(rows: pd.DataFrame) -> Iterator[tuple[Any, int]]:
    for _, part in rows.groupby("method", sort=False):
        yield next(part.itertuples()), len(part)


def picture(part: pd.DataFrame) -> str:
    """Scaled comprehensiveness and sufficiency of each method with their intervals, a colour for each masking; 0 is chance, 1
    best."""
    methods = list(dict.fromkeys(part.method))[::-1]
    maskings = list(dict.fromkeys(part.masking))
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(6.4, 0.22 * len(methods) * max(1, 0.6 * len(maskings)) + 0.9), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for panel, name in zip(panels, ("comprehensiveness", "sufficiency"), strict=True):
            for k, (masking, colour) in enumerate(zip(maskings, PALETTE, strict=False)):
                lines = part[part.masking == masking].set_index("method").reindex(methods)
                value = lines[f"{name}_scaled"].to_numpy(float)
                bounds = lines[[f"{name}_scaled_low", f"{name}_scaled_high"]].to_numpy(float).T
                y = np.arange(len(methods)) - 0.25 * (k - (len(maskings) - 1) / 2)
                panel.errorbar(value, y, xerr=np.abs(bounds - value), fmt="o", ms=3, lw=1, color=colour, label=f"masking={masking}")
            for at in (0, 1):
                panel.axvline(at, color="#777777", lw=0.8, ls=":")
            panel.set(yticks=range(len(methods)), yticklabels=methods, xlabel=f"{name}, scaled")
        if len(maskings) > 1:
            legend(figure, panels[:1], 4)
        return svg(figure)


def _shown(row: Mapping[str, Any], name: str, scale: float = 1, digits: int = 2) -> str:
    """A number with its interval where it has one; - where there is none."""
    value, low, high = (scale * row.get(column, np.nan) for column in (name, f"{name}_low", f"{name}_high"))
    if np.isnan(value):
        return "-"
    text = f"{value:z.{digits}f}"
    return text if np.isnan(low) else f"{text} [{low:z.{digits}f}, {high:z.{digits}f}]"


def _number(x: float) -> str:
    return "-" if np.isnan(x) else f"{x:z.2f}"


def _percent(x: float) -> str:
    return "-" if np.isnan(x) else f"{100 * x:.1f}"
