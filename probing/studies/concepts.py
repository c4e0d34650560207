"""Study `concepts`: what of the linguistic tasks a layer encodes, a classifier uses, and the layer's words make together.

    encoded      accuracy of a probe of the task at the layer, above every floor of the task (`probing.evaluation`)
    used         the classifier's logit along the probe's direction: share of sentences and size, against probes on permuted labels
                 (`probing.attributions.concepts`); its accuracy lost where the direction is erased from all token states of the
                 layer (LEACE), against random directions of the same rank
    interacting  T of the probe's score as a game of the words: how much of it no word brings alone (`probing.interactions`)

The classifier is the head of the encoder on the task of `data`; the concepts are the tasks of `study.labels`. A task of more than
two classes has one direction for the derivative, and as many as LEACE needs for the erasure. Beside it: AND and OR terms of the
classifier's own value, their number, and how alike they are with those of other models, of the random twin and of another sentence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from probing.attributions.learned_absence import MOST_WORDS as LEARNED_WORDS
from probing.log import info
from probing.report import concepts as report
from probing.studies import Context, check_words, require
from probing.studies.concept_parts import Parts

MOST_WORDS = 10


@dataclass
class ConceptsStudy:
    """Options:

    Args:
        labels: where the concepts' labelled tasks are: grammar, a folder of task files, or a preset of data with options.
        concepts: names of tasks, or null for all of `labels`.
        layers: all, or numbers, negative ones from the last; `layer` where it is not given.
        head: null: the encoder's own for the data; fit: that one, or else a fitted one; or a folder.
        target: the class whose logit is followed; null: the last one.
        sizes: train, dev and test sentences of each concept.
        sentences: test sentences of the data for the derivative.
        test: labelled test sentences of the data for the loss by erasing.
        permutations: probes on permuted labels; with 30 lines at least 599, so that one can pass Holm's test.
        directions: random directions for the erasure, 19 at least.
        games, words: sentences of so many words (fewest, most) for the interactions; `masking` of their words, null: the default.
        learned: whether AND and OR terms are shown under vectors of absent words that are learned for few terms, too, beside all
            fixed maskings that have a vector; with words of at most 8.
        others: encoders, presets or folders, whose AND and OR terms are compared, each with a head fitted on the data.
    """

    labels: Any = "grammar"
    concepts: list[str] | None = None
    layers: Any = "all"
    head: str | None = "fit"
    target: str | None = None
    sizes: list[int] = field(default_factory=lambda: [1000, 300, 300])
    sentences: int = 100
    test: int = 300
    permutations: int = 999
    directions: int = 19
    games: int = 20
    words: list[int] = field(default_factory=lambda: [4, 8])
    masking: str | None = None
    learned: bool = False
    others: list[str] = field(default_factory=list)

    name: ClassVar[str] = "concepts"
    uses: ClassVar[tuple[str, ...]] = ("encoder", "data")

    def __post_init__(self) -> None:
        check_words(self.words, 2, "[4, 8]")
        require(self.words[1] <= MOST_WORDS, f"study.words={self.words}: at most {MOST_WORDS} words, of which all sets are read")
        most = (
            f"study.learned=true, study.words={self.words}: vectors of absent words are learned for at most {LEARNED_WORDS} words"
        )
        require(not self.learned or self.words[1] <= LEARNED_WORDS, most)
        require(len(self.sizes) == 3 and min(self.sizes) >= 20, f"study.sizes={self.sizes} must be three numbers from 20")
        for option, least in (("sentences", 2), ("test", 20), ("permutations", 30), ("directions", 19), ("games", 0)):
            require(getattr(self, option) >= least, f"study.{option}={getattr(self, option)} must be at least {least}")

    def measure(self, context: Context) -> pd.DataFrame:
        """A row for each concept and layer (kind=concept), and for each model and sentence of the games (kind=terms)."""
        parts, rows = Parts(self, context), list[dict[str, Any]]()
        encoded = parts.encoded()
        together = parts.interacting()
        for layer in parts.layers:
            for task in parts.concepts:
                key = (task.name, layer)
                rows.append(encoded[key] | parts.derivative(task, layer) | parts.erased(task, layer) | together.get(key, {}))
            info(f"layer {layer}: {len(parts.concepts)} concepts are done")
        return pd.DataFrame([{"kind": "concept", **row} for row in rows] + parts.terms()).assign(**parts.of)

    def derivatives(self, context: Context) -> pd.DataFrame:
        """A row for each concept and layer with the derivative of the logit alone."""
        parts = Parts(self, context)
        concepts = [(task, layer) for layer in parts.layers for task in parts.concepts]
        return pd.DataFrame([{"task": task.name, "layer": layer, **parts.derivative(task, layer)} for task, layer in concepts])

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        """table.md, concepts.csv, terms.csv, figure-concepts-*.svg."""
        report.write(frame, folder)
