"""Prototype features (Zhang et al. 2021, AAAI 35): the coalitions that a classifier forms in whole sentences, against the
constituents of a treebank; the measures are ours.

A sentence of n words is one segment, so phi([C]) = v(C) - v(empty) for every interval C, v the logit of the predicted class,
and the best (and the worst) partition is exact. Its parts of 2 to n - 1 words are coalitions. A partition cannot hold nested
constituents, so recall is bounded; only differences from chance are informative. Measures and controls:
`probing.interactions.text.constituents`; of brackets precision, recall and F1. Intervals are percentile bootstraps over
sentences.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from probing.data.readers.parsed import Sentence
from probing.data.readers.treebank import read_source
from probing.evaluation.statistics import ratio
from probing.interactions.options import Masking
from probing.interactions.text.constituents import compared, modifiers
from probing.interactions.text.heads import classifier
from probing.interactions.text.many import Case, layer_interactions
from probing.interactions.text.masking import published
from probing.studies import Context, check_words, require
from probing.studies.layout import columns, grouped, percent, table, view, write

NOTE = """# Prototype features: coalitions against constituents

Percent; differences in points [95 % bootstrap interval over sentences]. Definitions: probing.interactions.text.constituents.
Precision and recall by length stand in table.csv."""


@dataclass
class Prototypes:
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
        encoder, lines = context.encoder, []
        masking, cases = Masking(self.masking or published(encoder)), [Case(s.text, (0, len(s.tokens))) for s in sentences]
        for task in context.tasks:
            head = classifier(encoder, task, self.head, context.home, context.store)
            rows = layer_interactions(encoder, cases, context.results.root, self.value, masking, head=head)
            rng = np.random.default_rng(context.seed)
            for sentence, row in zip(sentences, rows.to_dict("records"), strict=True):
                shared = {name: row[name] for name in ("encoder", "text", "n_words", "value", "masking", "predicted")}
                shared["data"] = task.name
                for side in ("max", "min"):
                    partition = row[f"{side}_partition"]
                    found_on = shared | {"side": side, "partition": partition, "optima": row[f"{side}_optima"]}
                    lines += [found_on | line for line in compared(sentence, ast.literal_eval(partition), rng)]
                lines += [shared | {"side": "tree"} | line for line in modifiers(sentence, json.loads(row["phi"]))]
        return pd.DataFrame(lines)

    def _draw(self, seed: int) -> list[Sentence]:
        """Sentences with a tree, each text once, in the order of the draw."""
        check_words(self.words, 3)
        least, most = self.words
        parsed = [s for s in read_source(self.trees).sentences if s.tree]
        require(bool(parsed), f"study.trees={self.trees!r} has no constituency trees: give Penn brackets or GUM's table")
        fit = {s.text: s for s in parsed if least <= len(s.tokens) <= most and len(s.text.split()) == len(s.tokens)}
        message = f"study.trees={self.trees!r}: {len(fit)} sentences of {least} to {most} words, {self.sentences} asked for"
        require(bool(fit) and self.sentences >= 1, message)
        sentences = list(fit.values())
        return [sentences[i] for i in np.random.default_rng(seed).permutation(len(fit))[: self.sentences]]

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        rates, blocks = scores(frame), [NOTE, "## What was found", table(_partitions(frame))]
        for key, part in grouped(rates, "data measure"):
            titles = {"of": "number", "value": "value:%", "shuffled": "shuffled:%", "difference": "above:%"}
            if part.above_random.notna().any():
                titles |= {"random": "random:%", "difference from random": "above_random:%"}
            listed = part[(part.number > 0) & ((part.measure != "bracket") | (part.group == "all") | (part.score == "f1"))]
            blocks += [f"## {key['measure']}, {key['data']}", view(listed, "encoder side group score", titles)]
        write(folder, blocks, {"table.csv": rates})


def scores(frame: pd.DataFrame) -> pd.DataFrame:
    """Rates and their differences from the controls, with bootstrap intervals over sentences: one line per data, encoder, side,
    measure, group and score (rate; of bracket precision, recall and f1, by length and for all): value, shuffled, random, and
    `above` (value less shuffled) and `above_random` with bounds."""
    lines = []
    for key, of_encoder in grouped(frame, "data encoder"):
        texts = of_encoder.text.unique()
        for inner, part in grouped(of_encoder, "side measure"):
            groups = [(group, part[part.group == group]) for group in sorted(part.group.unique(), key=lambda g: (len(g), g))]
            if inner["measure"] == "bracket":
                groups.insert(0, ("all", part))
            for group, rows in groups:
                sums = rows.groupby("text")[["number", "gold", "observed", "shuffled", "random"]].sum().reindex(texts, fill_value=0)
                kinds = {"rate": (1, sums.number)}
                if inner["measure"] == "bracket":
                    kinds = {"precision": (1, sums.number), "recall": (1, sums.gold), "f1": (2, sums.number + sums.gold)}
                for kind, (factor, whole) in kinds.items():
                    value = ratio(factor * sums.observed, whole)
                    line = key | inner | {"group": group, "score": kind, "number": int(whole.sum())}
                    line |= {"sentences": int((whole > 0).sum()), "value": value.value, "low": value.lower, "high": value.upper}
                    for control, name in (("shuffled", "above"), ("random", "above_random")):
                        if rows[control].notna().any():
                            above = ratio(factor * (sums.observed - sums[control]), whole)
                            line |= {control: value.value - above.value} | columns(name, above)
                    lines.append(line)
    return pd.DataFrame(lines)


def _partitions(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """A line per data, encoder and side: sizes of the parts, and ties."""
    single = frame[frame.side.isin(("max", "min"))].drop_duplicates(["data", "encoder", "side", "text"])
    for key, rows in grouped(single, "data encoder side"):
        sizes = [stop - start for p in rows.partition for start, stop in ast.literal_eval(p)]
        yield {
            "data": key["data"],
            "encoder": key["encoder"],
            "partition": key["side"],
            "sentences": len(rows),
            "parts a sentence": f"{len(sizes) / len(rows):.2f}",
            "coalitions a sentence": f"{sum(size > 1 for size in sizes) / len(rows):.2f}",
            "whole sentence one part": percent((rows.partition == [str(((0, n),)) for n in rows.n_words]).mean()),
            "unique optimum": percent((rows.optima == 1).mean()),
        }
