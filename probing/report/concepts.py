"""The report of the study `concepts`: encoded, used and interacting, a line for each task and layer; AND and OR terms."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from probing.evaluation.paired_tests import holm
from probing.files import replace_file
from probing.report.explanation_numbers import mean_of_units
from probing.report.figures import RC, labelled, svg
from probing.report.markdown import md_table

LEVEL = 0.05
FAMILIES = ("size_p", "white_size_p", "share_p")
"""p-values that Holm's method adjusts, each over all tasks and layers of an encoder."""

NOTE = """# Concepts: encoded, used, interacting

*Encoded*: test accuracy of a probe of the task at the layer [95 %] (the highest floor that it is not shown to be above, else
the highest); * above every floor of the task: the most frequent class, length (unless it is the label), words, layer 0, random
weights; paired tests at 5 %, as in the tables of `probing run`, and not adjusted over lines. Layer 0 is a floor itself: it is
never marked. *Share* and *size*: the classifier's logit of the target along the direction of a ridge probe of the task. Share:
of sentences in which the logit grows (0.5: no common sign). Size: mean change along the direction as a share of the gradient's
length (mean of probes on permuted labels); whitened: in units in which the layer varies alike in all directions. * p < 0.05
after Holm over all lines of that column. Constant: the classifier reads the mean of this very layer, so that each sentence has
the same gradient, and a share is 0 or 1. *Erased*: points of accuracy that the classifier loses when the directions of the task
are taken from all token states of the layer (mean of random directions of the same rank); * above every random one, which
happens once in 20 by chance. *Interacting*: median over sentences of T of the probe's score as a share of what all words
change; 0: each word brings its part alone.

Encoded is not used: a probe reads what the classifier may ignore. A size above the null says that the logit changes along the
direction, not that the classifier would be worse without it."""

TERMS = """## AND and OR terms of the classifier's value

Terms with |I| above 5 % of the largest of the sentence; the share of all |I| that they hold; how alike the terms are with those of
the encoder itself on the same sentence (weighted Jaccard index), and with its terms on other sentences of the same length, which is
what chance gives (a mean over pairs, which share sentences: no interval). Sum of all |I|, effect |v(N) - v(empty)| and T of the
sentence, in the unit of the logit; sum / effect: median. Means over sentences [95 %, from six sentences on; of shares within 0
and 1]. "itself, learned": the vectors of absent words are fitted to few terms, within a box around the named masking. They explain
another function than the fixed ones: a smaller sum with a smaller effect is no simpler explanation."""


def write(frame: pd.DataFrame, folder: Path) -> None:
    """table.md, concepts.csv, terms.csv and figures of the rows of one or several runs."""
    lines = adjusted(frame[frame.kind == "concept"].dropna(axis=1, how="all"))
    own = ("alike", "alike_other_sentence")  # which may hold no number
    terms = frame[frame.kind == "terms"].dropna(axis=1, how="all")
    terms = terms.reindex(columns=list(dict.fromkeys([*terms.columns, *own])))
    files, blocks = {"concepts.csv": lines.to_csv(index=False)}, [NOTE]
    for k, ((encoder, data, target), part) in enumerate(lines.groupby(["encoder", "data", "target"], sort=False)):
        title = f"{encoder}: logit of {target} of {data}, head on layer {part.head_layer.iloc[0]:.0f}"
        blocks += [f"## {title}", md_table(pd.DataFrame([_line(row) for row in part.to_dict("records")]))]
        files[f"figure-concepts-{k}.svg"] = labelled(heat_maps(part), f"Encoded, used and interacting, task × layer: {title}")
    if len(terms):
        files["terms.csv"] = terms.to_csv(index=False)
        blocks += [TERMS, md_table(term_table(terms))]
    for name, text in {**files, "table.md": "\n\n".join(blocks) + "\n"}.items():
        replace_file(folder / name, text.encode())


def adjusted(lines: pd.DataFrame) -> pd.DataFrame:
    """The lines with p-values after Holm, `holm_…`, over all lines of an encoder and data."""
    lines = lines.reset_index(drop=True)
    for name in FAMILIES:
        lines[f"holm_{name}"] = np.nan
        for _, part in lines.groupby(["encoder", "data", "target"], sort=False):
            lines.loc[part.index, f"holm_{name}"] = holm(part[name])
    return lines


def _line(row: dict[str, object]) -> dict[str, str]:
    def number(name: str) -> float:
        return float(row.get(name, np.nan))  # type: ignore[arg-type]

    def star(name: str) -> str:
        return "*" if number(f"holm_{name}") < LEVEL else ""

    above = "*" if row.get("above_floors") is True else ""
    encoded = f"{100 * number('score'):.1f}{above} [{100 * number('score_low'):.1f}, {100 * number('score_high'):.1f}]"
    erased = "n/a"
    if not np.isnan(number("loss")):
        above = "*" if number("loss") > number("random_most") else ""
        erased = f"{100 * number('loss'):z.1f}{above} ({100 * number('random_loss'):z.1f})"
    return {
        "task": str(row["task"]),
        "layer": f"{number('layer'):.0f}",
        "encoded": f"{encoded} ({row.get('floor', 'majority')} {100 * number('floor_score'):.1f})",
        "share": f"{number('share'):.2f}{star('share_p')}",
        "size": f"{number('size'):.3f}{star('size_p')} ({number('size_null'):.3f})" + (" constant" if row.get("constant") else ""),
        "size, whitened": f"{number('white_size'):.3f}{star('white_size_p')} ({number('white_size_null'):.3f})",
        "erased": erased,
        "interacting": "-" if np.isnan(number("T_share")) else f"{number('T_share'):.3f}",
    }


def term_table(terms: pd.DataFrame) -> pd.DataFrame:
    """A line for each model."""

    def mean(values: pd.Series, most: float = np.inf) -> str:
        x = mean_of_units(values)
        interval = "" if np.isnan(x.lower) else f" [{max(x.lower, 0.0):.3g}, {min(x.upper, most):.3g}]"
        return "-" if np.isnan(x.value) else f"{x.value:.3g}{interval}"

    lines = []
    for (encoder, data, model), part in terms.groupby(["encoder", "data", "model"], sort=False):
        line = {"encoder": encoder, "data": data, "model": model, "sentences": len(part), "terms": f"{part.terms.mean():.0f}"}
        line |= {"salient AND": mean(part.salient_and), "salient OR": mean(part.salient_or), "explained": mean(part.explained, 1)}
        alike = "-" if model == "itself" else mean(part["alike"], 1)
        others = part.alike_other_sentence.astype(float).mean()
        line |= {"alike": alike, "other sentences": "-" if np.isnan(others) else f"{others:.3g}"}
        if "strength" in part:  # runs of before have none
            line |= {"sum": mean(part.strength), "effect": mean(part.effect), "T": mean(part["T"])}
            line["sum / effect"] = f"{(part.strength / part.effect.clip(lower=1e-9)).median():.3g}"
        lines.append(line)
    return pd.DataFrame(lines)


def heat_maps(part: pd.DataFrame) -> str:
    """Four panels, task × layer: accuracy above the majority as a share of what is left; whitened size less the null's; points lost
    by erasing; T. Stars as in the table."""
    left = (1 - part.majority).clip(lower=1e-9)
    nothing = pd.Series(np.nan, part.index)
    loss, chance, most_lost = (part.get(name, nothing) for name in ("loss", "random_loss", "random_most"))
    panels = {
        "encoded: share above majority": ((part.score - part.majority) / left, part.get("above_floors", nothing).eq(True)),
        "used: whitened size − null": (part.white_size - part.white_size_null, part.holm_white_size_p < LEVEL),
        "used: points lost by erasing − random": (100 * (loss - chance), loss > most_lost),
        "interacting: T share": (part.get("T_share", nothing), nothing.notna()),
    }
    tasks, layers = list(dict.fromkeys(part.task)), sorted(part.layer.astype(int).unique())
    with matplotlib.rc_context(RC | {"axes.spines.left": False, "axes.spines.bottom": False}):
        size = (2 * max(1.9, 0.4 * len(layers)) + 1.5, 2 * (0.24 * len(tasks) + 0.5))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(2, 2, sharex=True, sharey=True)
        for panel, (title, (values, stars)) in zip(axes.ravel(), panels.items(), strict=True):
            frame = part.assign(shown=values, star=stars.astype(float))
            wide = frame.pivot_table(["shown", "star"], "task", "layer", dropna=False)
            grid, star = (wide[name].reindex(index=tasks, columns=layers).to_numpy(float) for name in ("shown", "star"))
            most = max(float(np.nanmax(np.abs(grid))) if np.isfinite(grid).any() else 0.0, 1e-9)
            panel.imshow(grid, cmap="RdBu", vmin=-most, vmax=most, aspect="auto")
            digits = 1 if most >= 10 else 2
            for (i, j), value in np.ndenumerate(grid):
                if not np.isnan(value):
                    colour = "white" if abs(value) > 0.6 * most else "black"
                    text = f"{value:z.{digits}f}" + "*" * bool(star[i, j] == 1)
                    panel.text(j, i, text, ha="center", va="center", fontsize=6, color=colour)
            panel.set_xticks(range(len(layers)), [str(layer) for layer in layers])
            panel.set_yticks(range(len(tasks)), tasks)
            panel.tick_params(length=0)
            panel.set_title(title, fontsize=7)
        for panel in axes[1]:
            panel.set_xlabel("layer")
        return svg(figure)
