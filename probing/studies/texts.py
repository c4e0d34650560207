"""The text whose words are counted for n-gram floors: that of a checkpoint's training where it is there, else any text."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from probing.behaviour.base import LanguageModel
from probing.behaviour.floors import DISCOUNT, NGram
from probing.behaviour.items import Item
from probing.behaviour.scores import Scores
from probing.config import build
from probing.data.readers.files import read_text
from probing.encoders.base import Encoder
from probing.encoders.networks.architecture import Architecture
from probing.encoders.networks.checkpoint import MANIFEST, CheckpointEncoder
from probing.encoders.networks.recurrent import LSTM
from probing.encoders.networks.vocabulary import TrainedVocabulary
from probing.errors import DataError, EncoderError, ProbingError
from probing.training.language_model import LanguageModel as Objective
from probing.training.language_model import Text


@dataclass(frozen=True)
class Counted:
    """A text as sentences of ids of a vocabulary, `<s>` and `</s>` around them, its split `train`; `about`: what it is, in words;
    `same`: whether the encoder was trained on it."""

    vocabulary: TrainedVocabulary
    train: list[list[int]]
    dev: list[list[int]]
    about: str
    same: bool

    def ngram(self, order: int) -> NGram:
        """The n-gram model of the text, made once."""
        made = self.__dict__.setdefault("_made", {})
        if order not in made:
            made[order] = NGram(self.vocabulary, self.train, order)
        return made[order]

    def rarest(self, item: Item) -> int:
        """Count of the rarest word in which the texts of an item differ; 0 if they differ in order alone, or it is unknown."""
        words = [Counter(text.split()) for text in item.texts]
        different = {word for other in words[1:] for word in (*(words[0] - other), *(other - words[0]))}
        if not different:
            return min((self._count(word) for word in words[0]), default=0)
        return min(self._count(word) for word in different)

    def _count(self, word: str) -> int:
        known = self.__dict__.setdefault("_counts", {})
        if word not in known:
            ids = self.vocabulary.ids([word])[0][1:-1]
            known[word] = self.ngram(1).frequency(ids)
        return known[word]

    def unigrams(self, model: LanguageModel, scores: Scores) -> list[np.ndarray]:
        """log p of each scored token by its frequency among the model's tokens of the text, with one added to each."""
        lines = [" ".join(self.vocabulary.pieces(ids[1:-1])) for ids in self.train] if not self.same else None
        rows = self.train if lines is None else model.targets(lines)
        counts = Counter(number for ids in rows for number in ids)
        total = sum(counts.values()) + len(counts) + 1
        return [np.array([math.log((counts[number] + 1) / total) for number in ids.tolist()]) for ids in scores.ids]


def counted_text(text: str, encoder: Encoder) -> Counted:
    """The text of `study.text` for an encoder.

    Raises:
        DataError: no such file or folder, or nothing in it can be read.
    """
    path = Path(text).expanduser()
    if not path.exists():
        raise DataError(f"study.text={text!r}: no such file or folder")
    own = _of_training(path, encoder)
    if own is not None:
        prepared, manifest = own
        trigram = NGram(prepared.vocabulary, prepared.words["train"], 3)
        perplexity = manifest["dev"].get("perplexity forward", manifest["dev"].get("perplexity"))
        about = (
            f"n-grams (absolute discounting {DISCOUNT}) of the training text and vocabulary of {encoder.name}: dev perplexity "
            f"{trigram.perplexity(prepared.words['dev']):.1f} of the trigram, {perplexity:.1f} of the encoder"
        )
        counted = Counted(prepared.vocabulary, prepared.words["train"], prepared.words["dev"], about, True)
        counted.__dict__["_made"] = {3: trigram}
        return counted
    words = _of_words(path, encoder)
    prepared = words or Objective(vocabulary=20_000).prepare(path, LSTM())
    n = sum(len(ids) - 2 for ids in prepared.words["train"])
    what = f"the words of the training text of {encoder.name}" if words else f"{path.name}"
    about = f"n-grams (absolute discounting {DISCOUNT}) of {what}, {n} words"
    about += ", which reads subwords" if words else f", another text than that of {encoder.name}"
    return Counted(prepared.vocabulary, prepared.words["train"], prepared.words["dev"], about, False)


def _of_training(path: Path, encoder: Encoder) -> tuple[Text, dict[str, Any]] | None:
    """The prepared text and the manifest of a checkpoint, if `path` holds the text that it was trained on, word by word."""
    objective, manifest = _objective(encoder)
    if objective is None or objective.tokens != "words":
        return None
    prepared = _prepared(objective, path, encoder.architecture, manifest)  # type: ignore[attr-defined]
    return None if prepared is None else (prepared, manifest)


def _of_words(path: Path, encoder: Encoder) -> Text | None:
    """The words of the text that a checkpoint was trained on by subwords, if `path` holds it."""
    objective, manifest = _objective(encoder)
    if objective is None or objective.tokens == "words":
        return None
    return _prepared(replace(objective, tokens="words", vocabulary=20_000), path, LSTM(), manifest)


def _objective(encoder: Encoder) -> tuple[Objective | None, dict[str, Any]]:
    """The objective of a checkpoint, None if it is no language model, and its manifest."""
    if not isinstance(encoder, CheckpointEncoder):
        return None, {}
    try:
        manifest = json.loads(read_text(encoder.folder / MANIFEST, EncoderError))
        objective = build(manifest["objective"], "objective")
    except (ProbingError, ValueError, KeyError, RecursionError):
        return None, {}
    return (objective, manifest) if isinstance(objective, Objective) else (None, {})


def _prepared(objective: Objective, path: Path, architecture: Architecture, manifest: dict[str, Any]) -> Text | None:
    """The text below `path` as the objective reads it, if it is that of the manifest."""
    try:
        prepared = objective.prepare(path, architecture)
        return prepared if prepared.data["sha256"] == manifest["data"]["sha256"] else None
    except (ProbingError, KeyError, TypeError):
        return None
