"""Prototype features: the coalitions that a classifier forms in whole sentences, against the constituents of a treebank.

A sentence of n words is one segment, so phi([C]) = v(C) - v(empty) for every interval C, v the logit of the predicted class; the
best (and the worst) partition of the n (n + 1) / 2 intervals is exact. Its parts of 2 to n - 1 words are coalitions; the whole
sentence is left out, since it is a constituent wherever it stands. A partition cannot hold nested constituents, so recall is
bounded; only differences from chance say something.

    bracket    precision, recall and F1 of coalitions as constituents, by length and in all
    whole, unbroken, cut, modifier, and the controls: `probing.studies.constituents`

Equal sums tie within 1e-5 of the largest |phi| (float32 states), and the finest of tied partitions is taken; how often is in the
table. Intervals are percentile bootstraps over sentences.

Reference: Zhang et al. 2021 (AAAI 35) show prototype features as examples; the measures are ours.
"""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from probing.data.readers.parsed import Sentence
from probing.data.readers.treebank import read_source
from probing.errors import ConfigError
from probing.evaluation.statistics import ratio
from probing.interactions.text.many import Case, layer_interactions
from probing.interactions.text.masking import published
from probing.report.markdown import md_table
from probing.studies import Context
from probing.studies.classifiers import classifier
from probing.studies.constituents import compared, modifiers


@dataclass
class Prototypes:
    """Coalitions of the predicted class' logit against constituents.

    Args:
        trees: a treebank: brackets, or GUM's table.
        sentences: how many are drawn, by the run's seed.
        words: fewest and most tokens of a sentence.
        head: see `probing.studies.classifiers.classifier`.
        value: logit, log-odds or probability of the predicted class.
        masking: null: the published one, pad, or zero where the encoder has no such token.
    """

    trees: str
    sentences: int = 300
    words: list[int] = field(default_factory=lambda: [8, 12])
    head: str | None = "fit"
    value: str = "logit"
    masking: str | None = None

    name: ClassVar[str] = "prototypes"
    uses: ClassVar[tuple[str, ...]] = ("encoder", "data")

    def measure(self, context: Context) -> pd.DataFrame:
        sentences = self._draw(context.seed)
        encoder, found = context.encoder, []
        for task in context.tasks:
            head = classifier(encoder, task, self.head, context.home)
            rows = layer_interactions(
                encoder, [Case(s.text, (0, len(s.tokens))) for s in sentences], context.results.root, self.value,
                self.masking or published(encoder), head=head,
            )  # fmt: skip
            rng = np.random.default_rng(context.seed)
            for sentence, row in zip(sentences, rows.to_dict("records"), strict=True):
                same = {name: row[name] for name in ("encoder", "text", "n_words", "value", "masking", "predicted")}
                same["data"] = task.name
                for side in ("max", "min"):
                    partition = row[f"{side}_partition"]
                    here = same | {"side": side, "partition": partition, "optima": row[f"{side}_optima"]}
                    found += [here | line for line in compared(sentence, ast.literal_eval(partition), rng)]
                found += [same | {"side": "tree"} | line for line in modifiers(sentence, json.loads(row["phi"]))]
        return pd.DataFrame(found)

    def _draw(self, seed: int) -> list[Sentence]:
        """Sentences with a tree, each text once, in the order of the draw."""
        least, most = self.words if len(self.words) == 2 else (0, 0)
        if not 3 <= least <= most:
            raise ConfigError(f"study.words={self.words}: give the fewest (3 at least) and the most words, such as [8, 12]")
        corpus = read_source(self.trees)
        if not any(s.tree for s in corpus.sentences):
            raise ConfigError(f"study.trees={self.trees!r} has no constituency trees: give Penn brackets or GUM's table")
        fit = {
            s.text: s
            for s in corpus.sentences
            if s.tree and least <= len(s.tokens) <= most and len(s.text.split()) == len(s.tokens)
        }
        if not fit or self.sentences < 1:
            raise ConfigError(
                f"study.trees={self.trees!r}: {len(fit)} sentences of {least} to {most} words, {self.sentences} asked for"
            )
        order = np.random.default_rng(seed).permutation(len(fit))[: self.sentences]
        texts = list(fit)
        return [fit[texts[i]] for i in order]

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        table = scores(frame)
        table.to_csv(folder / "table.csv", index=False)
        (folder / "table.md").write_text(_markdown(frame, table), encoding="utf-8")


def scores(frame: pd.DataFrame) -> pd.DataFrame:
    """Rates and their differences from the controls, with bootstrap intervals over sentences.

    One line per data, encoder, side, measure, group and score: value, shuffled, random, and `above` (value less shuffled) and
    `above_random` with bounds. Scores: rate; for bracket precision, recall and f1, by length and for all lengths.
    """
    lines = []
    for (data, encoder), here in frame.groupby(["data", "encoder"], sort=False):
        texts = here.text.unique()
        for (side, measure), part in here.groupby(["side", "measure"], sort=False):
            for group in [*(["all"] if measure == "bracket" else []), *sorted(part.group.unique(), key=lambda g: (len(g), g))]:
                mine = part if group == "all" else part[part.group == group]
                sums = mine.groupby("text")[["number", "gold", "observed", "shuffled", "random"]].sum().reindex(texts, fill_value=0)
                kinds = {"rate": (1, sums.number)}
                if measure == "bracket":
                    kinds = {"precision": (1, sums.number), "recall": (1, sums.gold), "f1": (2, sums.number + sums.gold)}
                for kind, (factor, whole) in kinds.items():
                    line = {"data": data, "encoder": encoder, "side": side, "measure": measure, "group": group, "score": kind}
                    line |= {"number": int(whole.sum()), "sentences": int((whole > 0).sum())}
                    value = ratio(factor * sums.observed, whole)
                    line |= {"value": value.value, "low": value.lower, "high": value.upper}
                    for control, name in (("shuffled", "above"), ("random", "above_random")):
                        if mine[control].notna().any():
                            above = ratio(factor * (sums.observed - sums[control]), whole)
                            line |= {control: value.value - above.value, name: above.value}
                            line |= {f"{name}_low": above.lower, f"{name}_high": above.upper}
                    lines.append(line)
    return pd.DataFrame(lines)


def _markdown(frame: pd.DataFrame, table: pd.DataFrame) -> str:
    parts = ["# Prototype features: coalitions against constituents", ""]
    parts.append(
        "Percent; differences in points [95 % bootstrap interval over sentences]. Definitions: probing.studies.constituents."
    )
    parts.append("Precision and recall by length stand in table.csv.")
    single = frame[frame.side.isin(("max", "min"))].drop_duplicates(["data", "encoder", "side", "text"])
    lines = []
    for (data, encoder, side), here in single.groupby(["data", "encoder", "side"], sort=False):
        sizes = [stop - start for p in here.partition for start, stop in ast.literal_eval(p)]
        lines.append(
            {
                "data": data, "encoder": encoder, "partition": side, "sentences": len(here),
                "parts a sentence": f"{len(sizes) / len(here):.2f}",
                "coalitions a sentence": f"{sum(size > 1 for size in sizes) / len(here):.2f}",
                "whole sentence one part": _pc((here.partition == [str(((0, n),)) for n in here.n_words]).mean()),
                "unique optimum": _pc((here.optima == 1).mean()),
            }
        )  # fmt: skip
    parts += ["", "## What was found", "", md_table(pd.DataFrame(lines))]
    for (data, measure), part in table.groupby(["data", "measure"], sort=False):
        shown = [
            {
                "encoder": row.encoder, "side": row.side, "group": row.group, "score": row.score, "of": row.number,
                "value": _pc(row.value), "shuffled": _pc(row.shuffled),
                "difference": f"{_pc(row.above)} [{_pc(row.above_low)}, {_pc(row.above_high)}]",
            }
            | ({"random": _pc(row.random), "difference from random": _interval(row)} if part.above_random.notna().any() else {})
            for row in part[part.number > 0].itertuples()
            if measure != "bracket" or row.group == "all" or row.score == "f1"
        ]  # fmt: skip
        parts += ["", f"## {measure}, {data}", "", md_table(pd.DataFrame(shown))]
    return "\n".join(parts) + "\n"


def _interval(row: Any) -> str:
    return f"{_pc(row.above_random)} [{_pc(row.above_random_low)}, {_pc(row.above_random_high)}]"


def _pc(value: float) -> str:
    return "" if pd.isna(value) else f"{round(100 * value, 1) + 0.0:.1f}"
