"""Negative and positive controls of explanations: what must change when the model or the labels do, and words that must be named.

    transplanted   the encoder's random twin under the trained head: an explanation that stays the same does not read the model
    cascade        weights drawn again from the last layer down (`probing.encoders.redrawn`), under the trained head
    refitted       the random twin under a head fitted on it: no control, as it may use the same words; shown beside
    permuted       a head fitted on permuted labels: an explanation of nothing, whose plausibility must fall to chance
    planted        words that alone decide the labels of train: they must be named first

Adebayo et al. 2018 (NeurIPS) draw weights again; that a refitted head is no control was measured on sentences whose words decide
the label. An explanation is a function of encoder, head and text to a score for each word (`Explain`), so any method fits in.
Agreement is Kendall's tau-b; its null level is that of the same two models on different sentences of the same length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probing.attributions.ranks import by_length
from probing.data.split import Split
from probing.data.task import Task
from probing.encoders.base import Encoder
from probing.errors import ConfigError, DataError, EncoderError
from probing.interactions.text.heads import LinearHead, fit_head
from probing.probes.controls import control_task
from probing.types import Labels, Values

Explain = Callable[[Encoder, LinearHead, str], Values]
"""Scores of the words of a text, (words,), for the class that the head predicts; or for whatever it explains, always the same."""


@dataclass(frozen=True)
class Agreement:
    """Kendall's tau-b of two models' explanations by sentence, (n,): of signed scores and of their sizes; NaN where all words of a
    sentence have one score. `null`, `null_absolute`: of different sentences of the same length and another source; NaN without
    any."""

    tau: Values
    absolute: Values
    null: Values
    null_absolute: Values

    @classmethod
    def of(cls, first: Sequence[Values], second: Sequence[Values], clusters: Labels | None = None) -> Agreement:
        """The agreement of scores, sentence by sentence; a sentence's null is the mean over all others of its length.

        Args:
            clusters: the source of each sentence, (n,), so that twins are not taken for different sentences; None: all differ.

        Raises:
            ConfigError: scores of other sentences.
        """
        if [len(a) for a in first] != [len(b) for b in second]:
            raise ConfigError("two explanations are compared on the same sentences: their numbers of words differ")
        sources = np.arange(len(first)) if clusters is None else np.asarray(clusters)
        sizes = [[np.abs(scores) for scores in own] for own in (first, second)]
        columns = np.full((4, len(first)), np.nan)
        for k, (a, b) in enumerate(((first, second), sizes)):
            for rows, level, other in by_length(a, b, sources):
                columns[k, rows] = level.diagonal()
                known = other.sum(1)
                null = np.divide((level * other).sum(1), known, out=np.full(len(rows), np.nan), where=known > 0)
                columns[2 + k, rows] = null
        return cls(*columns)


def transplanted(encoder: Encoder, seed: int) -> Encoder:
    """The random twin, which goes with the trained head as it is; EncoderError where there is none."""
    twin = encoder.random_twin(seed)
    if twin is None:
        raise EncoderError(f"{encoder.name} has no random-weights twin: its explanations cannot be compared with those of one")
    return twin


def refitted(twin: Encoder, task: Task, head: LinearHead) -> LinearHead:
    """A head of the same layer and pooling fitted on the twin."""
    return fit_head(twin, task, head.layer, head.pooling)


def permuted(encoder: Encoder, task: Task, head: LinearHead, seed: int) -> LinearHead:
    """A head of the same layer and pooling fitted on permuted labels; its scores in `made` are on permuted labels, too."""
    return fit_head(encoder, control_task(task, "permuted", seed), head.layer, head.pooling)


def rare_words(task: Task, n: int, least: int = 5) -> tuple[str, ...]:
    """The n rarest words of letters that at least `least` train sentences have, so that a vocabulary of training knows them.

    Raises:
        DataError: there are fewer.
    """
    counts = Counter(word for text in task.train.texts for word in set(text.split()))
    usable = sorted((count, word) for word, count in counts.items() if count >= least and word.isalpha())
    if len(usable) < n:
        raise DataError(f"{task.name} has {len(usable)} words that {least} train sentences or more have; {n} are to be planted")
    return tuple(word for _, word in usable[:n])


def planted(task: Task, words: Sequence[str], seed: int, sentences: int | None = None) -> Task:
    """The task with one word for each class put at a random place of each of its sentences; the labels are drawn, so that the word
    alone decides them. Sentences that have one of the words are left out.

    Args:
        words: a word for each class.
        sentences: so many of train, dev and test each, drawn; None: all.

    Raises:
        ConfigError: another number of words than of classes.
        DataError: fewer than two sentences are left for a class in a split.
    """
    task.need_classes("planted words")
    if len(set(words)) != len(task.classes):
        raise ConfigError(f"{len(set(words))} different words cannot stand for the {len(task.classes)} classes of {task.name}")
    rng, splits = np.random.default_rng([seed, 9]), dict[str, Any]()
    for name, split in task.splits.items():
        kept = [text for text in dict.fromkeys(split.texts) if not set(words) & set(text.split())]
        kept = [kept[k] for k in rng.permutation(len(kept))[:sentences]]
        if len(kept) < 2 * len(words):
            raise DataError(f"{task.name}: {len(kept)} {name} sentences are without {', '.join(words)}, too few to plant them in")
        labels = rng.permutation(np.arange(len(kept)) % len(words))
        texts = []
        for text, label in zip(kept, labels, strict=True):
            own = text.split()
            own.insert(int(rng.integers(len(own) + 1)), words[label])
            texts.append(" ".join(own))
        splits[name] = Split(tuple(texts), labels)
    note = f"labels are drawn, and decided by a word in each sentence: {', '.join(words)}"
    return replace(task, **splits, name=f"{task.name}_planted", card={**task.card, "notes": [note]}, groups_from="")


def first(scores: Values, text: str, words: Sequence[str]) -> float:
    """Whether a planted word of the text has the highest score: 1 or 0; of ties the share of one word among them."""
    is_planted = np.isin(text.split(), words)
    top = scores >= scores.max() - 1e-9 * max(1e-300, float(np.abs(scores).max()))
    return float((top & is_planted).sum() / top.sum())
