"""Study `sanity`: do explanations of a classifier change when its weights or labels do, and do they name planted words?

Controls are those of `probing.attributions.sanity`. Scores are those of
`probing.attributions.methods`, for the class that the trained model predicts; games read one table of coalitions, so sentences are
short; a finished sentence is kept. Word frequency stands among the methods: it
reads no model, so a control that it passes shows nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from probing.attributions.coalitions import coalition_table
from probing.attributions.indices import GAMES
from probing.attributions.methods import METHODS, Settings, counted, explain
from probing.attributions.sanity import (
    Agreement,
    first,
    permuted,
    planted,
    rare_words,
    refitted,
    transplanted,
)
from probing.config import listed
from probing.data.task import Task
from probing.encoders.base import Encoder, fingerprint
from probing.encoders.redrawn import cascade
from probing.errors import did_you_mean
from probing.evaluation.paired_tests import holm, paired
from probing.evaluation.statistics import wilson
from probing.interactions.options import Masking
from probing.interactions.text.heads import LinearHead, classifier, fit_head
from probing.interactions.text.masking import published
from probing.log import bar
from probing.report.explanation_numbers import LEAST_UNITS, mean_of_units
from probing.store.extraction import extract
from probing.studies import Context, check_words, require
from probing.studies.layout import columns, summarised, view, write
from probing.types import Labels, Representation, Values

VERSION = 1
"""Raise when the same options would give other rows."""

CONTROLS = ("transplanted", "refitted", "cascade", "permuted", "planted")
Scores = Mapping[str, list[Values]]
"""Method -> the scores of each sentence, (words,)."""

HEAD = """# Sanity of explanations

Kendall's tau-b of the scores of words under the trained classifier and under the control, mean over sentences [95 % interval;
sentences of one source count once]. Null: the same two models on different sentences (and sources) of the same length. Over null:
tau less null, paired by sentence; p: t test over sentences, and over draws where there are six, the larger of the two; Holm over
the lines; fewer than six units have neither intervals nor p. Intervals are over sentences, for the draws of weights and labels that
were made: where the same few words decide all sentences, a draw agrees with the trained classifier in all of them or in none, by
chance. By draw: tau of the lowest and of the highest draw. A method that reads the model agrees with a control no more than the
null; *refitted* is no control, as its classifier may use the same words. Word frequency reads no model. Tau of sizes: without
signs."""
PLANTED = """## Planted words

Labels are drawn, and one rare word in each sentence decides them. Share of test sentences (%) in which it has the highest score
under the head of these labels, and under the clean head, whose task knows nothing of the word; accuracy of the head on planted test
sentences."""
TITLES = {"tau": "tau:.3f", "by draw": "by draw", "null": "null:.3f", "over null": "over:.3f", "p": "p_holm:.2g"}
TITLES |= {"tau of sizes": "absolute:.3f", "null of sizes": "null_absolute:.3f", "no ranking": "unranked", "n": "n"}


@dataclass
class Sanity:
    """Options:

    Args:
        controls: of `CONTROLS`, or all.
        methods: of `METHODS` (`probing.attributions.methods`); gradients need an encoder that has them.
        sentences: of test, drawn among those of `words` words; 2^words model rows each, and as many for each control.
        seeds: of random twins and permuted labels, at least 1.
        head, masking: as in the study `wrong_predictions`.
        planted: sentences of train, dev and test each of the planted task.
    """

    controls: Any = "all"
    methods: Any = field(default_factory=lambda: ["shapley", "loo", "frequency"])
    sentences: int = 50
    words: list[int] = field(default_factory=lambda: [5, 8])
    seeds: int = 3
    head: str | None = "fit"
    masking: str | None = None
    planted: int = 400

    name: ClassVar[str] = "sanity"
    uses: ClassVar[tuple[str, ...]] = ("data", "encoder")

    def __post_init__(self) -> None:
        check_words(self.words, 2, "[5, 8]")
        require(
            self.words[1] <= 12, f"study.words={self.words}: sentences of more than 12 words take 2^words model rows; give [5, 12]"
        )
        self.chosen = listed(self.controls, str, "study.controls", every=CONTROLS)
        require(set(self.chosen) <= set(CONTROLS), f"study.controls={self.controls} (allowed: {', '.join(CONTROLS)})")
        self.names = listed(self.methods, str, "study.methods", every=METHODS)
        for name in self.names:
            require(name in METHODS, f"study.methods: {name!r}{did_you_mean(name, METHODS)} (allowed: {', '.join(METHODS)})")
        require(self.sentences >= 2 and self.seeds >= 1, "study.sentences must be at least 2, study.seeds at least 1")

    def measure(self, context: Context) -> pd.DataFrame:
        rows: list[dict[str, Any]] = []
        encoder, masking = context.encoder, Masking(self.masking or published(context.encoder))
        for task in context.tasks:
            task.need_classes("an explanation of a class")
            head = classifier(encoder, task, self.head, context.home, store=context.store)
            kept = [k for k, n in enumerate(task.test.lengths) if self.words[0] <= n <= self.words[1]]
            require(len(kept) >= 2, f"study.words={self.words}: {task.name} has {len(kept)} test sentences of that length")
            drawn = np.random.default_rng(context.seed).permutation(kept)[: self.sentences]
            test = task.test.rows(drawn)
            targets = [head.classes[k] for k in self._predicted(encoder, head, test.texts)]
            explained = _Explained(context, masking, task, tuple(self.names))
            trained = explained(encoder, head, test.texts, targets)
            about = {"data": task.name, "encoder": encoder.name, "masking": masking.kind}
            clusters = np.arange(len(test)) if test.clusters is None else test.clusters
            for control, own, other, under, seed in self._controls(context, task, head):
                scores = explained(other, under, test.texts, targets)
                for method in self.names:
                    agreement = Agreement.of(trained[method], scores[method], clusters)
                    for k, text in enumerate(test.texts):
                        row: dict[str, Any] = {
                            "kind": "tau",
                            "method": method,
                            "control": control,
                            "layer": own,
                            "seed": seed,
                            "text": text,
                        }
                        row |= {name: float(values[k]) for name, values in vars(agreement).items()}
                        rows.append(about | row | {"n_words": len(text.split()), "cluster": int(clusters[k])})
                other.release()
            if "planted" in self.chosen:
                rows += [about | row for row in self._planted(context, task, head, explained)]
        return pd.DataFrame(rows)

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        """table.md, sanity.csv."""
        agreement = frame[frame.kind == "tau"].fillna({"layer": -1})
        blocks, files = [HEAD], dict[str, pd.DataFrame | str]()
        if len(agreement):
            summary = summarised(agreement, "data encoder masking control layer method", _agreement)
            summary.loc[summary.p.notna(), "p_holm"] = holm(summary.p.dropna().tolist())
            summary["from layer"] = ["" if layer < 0 else f"{layer:.0f}" for layer in summary.layer]
            blocks.append(view(summary, "data encoder masking control", {name: name for name in ("from layer", "method")} | TITLES))
            files["sanity.csv"] = summary
        if len(made := frame[frame.kind == "planted"]):
            summary = summarised(made, "data encoder masking words head method", _named)
            shares = {"first (%)": "first:%", "accuracy (%)": "accuracy:%"}
            blocks += [PLANTED, view(summary, "data encoder words head method", shares)]
        write(folder, blocks, files)

    def _controls(
        self, context: Context, task: Task, head: LinearHead
    ) -> Iterator[tuple[str, int | None, Encoder, LinearHead, int]]:
        """Name, layer, encoder, head and seed of each control."""
        encoder = context.encoder
        for seed in range(self.seeds):
            if "transplanted" in self.chosen:
                yield "transplanted", None, transplanted(encoder, seed), head, seed
            if "refitted" in self.chosen:
                twin = transplanted(encoder, seed)
                yield "refitted", None, twin, refitted(twin, task, head), seed
            if "permuted" in self.chosen:
                yield "permuted", None, encoder, permuted(encoder, task, head, seed), seed
        if "cascade" in self.chosen:
            for layer, redrawn in cascade(encoder, 0):
                if layer <= head.layer:
                    yield "cascade", layer, redrawn, head, 0

    def _planted(self, context: Context, task: Task, head: LinearHead, explained: _Explained) -> Iterator[dict[str, Any]]:
        encoder, words = context.encoder, rare_words(task, len(task.classes))
        made = planted(task, words, context.seed, self.planted)
        own = fit_head(encoder, made, head.layer, head.pooling)
        texts = [text for text in made.test.texts if self.words[0] <= len(text.split()) <= self.words[1]][: self.sentences]
        require(len(texts) > 1, f"study.words={self.words}: no planted test sentence of {task.name} has that length")
        for name, under in (("planted", own), ("clean", head)):
            predicted = self._predicted(encoder, under, made.test.texts)
            accuracy = float((predicted == made.test.labels).mean())
            of_text = dict(zip(made.test.texts, predicted, strict=True))
            scores = explained(encoder, under, texts, [under.classes[of_text[text]] for text in texts])
            for method in self.names:
                for text, given in zip(texts, scores[method], strict=True):
                    row = {"kind": "planted", "method": method, "head": name, "text": text, "first": first(given, text, words)}
                    yield row | {"words": " ".join(words), "accuracy": accuracy, "n_words": len(text.split())}

    def _predicted(self, encoder: Encoder, head: LinearHead, texts: Sequence[str]) -> Labels:
        x = extract(encoder, encoder.tokenize(texts)[0], [head.pooling])[Representation(head.layer, head.pooling)]
        return head.logits(x.astype(np.float64)).argmax(1)


@dataclass(frozen=True)
class _Explained:
    """Scores of the methods, kept by encoder, head, masking, sentence and class; games read one table."""

    context: Context
    masking: Masking
    task: Task
    methods: tuple[str, ...]

    def __call__(self, encoder: Encoder, head: LinearHead, texts: Sequence[str], targets: Sequence[str]) -> Scores:
        plain = Settings(counts=counted(self.task.train.texts))
        part = {"kind": "scores of words", "version": VERSION, "encoder": fingerprint(encoder), "head": head.sha256}
        part |= {"task": self.task.sha256, "methods": list(self.methods)}
        part |= {"masking": self.masking.kind, "replacement": self.masking.replacement}
        scores: dict[str, list[Values]] = {method: [] for method in self.methods}
        with bar(f"explaining {encoder.name}", len(texts)) as advance:
            for text, target in zip(texts, targets, strict=True):

                def played(text: str = text, target: str = target) -> list[dict[str, Any]]:
                    known = coalition_table(encoder, head, text, self.masking) if set(self.methods) & set(GAMES) else None
                    given = {
                        method: explain(encoder, head, text, method, self.masking, target, known, settings=plain)
                        for method in self.methods
                    }
                    return [{method: one.scores.tolist() for method, one in given.items()}]

                [row] = self.context.finished(part | {"text": text, "target": target}, played)
                for method in self.methods:
                    scores[method].append(np.array(row[method]))
                advance(1)
        return scores


def _named(part: pd.DataFrame) -> dict[str, float]:
    return columns("first", wilson(float(part["first"].sum()), len(part))) | {"accuracy": float(part.accuracy.iloc[0])}


def _agreement(part: pd.DataFrame) -> dict[str, Any]:
    """Means over sentences (a mean over seeds each), with intervals over their sources."""
    own = part.groupby("text", sort=False)[["tau", "absolute", "null", "null_absolute", "cluster"]].mean()
    clusters = own.cluster.to_numpy(int)
    row: dict[str, Any] = {}
    for name in ("tau", "null", "absolute", "null_absolute"):
        row |= columns(name, mean_of_units(own[name], own.cluster))
    draws = part.assign(over=part.tau - part.null).groupby("seed")[["tau", "over"]].mean()
    difference = own.tau - own.null
    over = mean_of_units(difference, own.cluster)
    p = np.nan if np.isnan(over.lower) else paired(difference, groups=clusters)[1]
    if len(draws) >= LEAST_UNITS:
        p = max(p, paired(draws.over.to_numpy())[1])
    row |= {"draws": len(draws), "by draw": "" if len(draws) == 1 else f"{draws.tau.min():.2f} to {draws.tau.max():.2f}"}
    return row | columns("over", over) | {"p": p, "unranked": int(own.tau.isna().sum()), "n": len(own)}
