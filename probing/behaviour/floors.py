"""Floors of preference: n-gram models with absolute discounting, over the words of a trained vocabulary.

    p_n(w | h) = max(c(h w) - D, 0) / c(h) + D N(h) / c(h) p_n-1(w | h')     D = 0.75
    p_0(w) = 1 / V

c counts in the training text, N(h) is the number of different words after h, h' is h without its first word; after an h that was
never seen p_n = p_n-1 (Ney, Essen & Kneser 1994; the lower orders have counts, not numbers of contexts). V: the vocabulary's words,
<unk>, which is every other word, and the mark of the end.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch

from probing.behaviour.base import LanguageModel
from probing.encoders.base import Item
from probing.encoders.networks.vocabulary import CLOSE, MASK, OPEN, PAD, SPECIAL, UNKNOWN, TrainedVocabulary

DISCOUNT = 0.75
VERSION = 1
NAMES = {1: "unigram", 2: "bigram", 3: "trigram"}


class NGram(LanguageModel):
    """A language model of counts, of the given order, on sentences of ids with <s> and </s> around them."""

    kind, direction = "causal", "forward"
    begin, end, unknown, special = OPEN, CLOSE, UNKNOWN, frozenset((PAD, OPEN, CLOSE, MASK))
    single = False

    def __init__(self, vocabulary: TrainedVocabulary, sentences: Sequence[Sequence[int]], order: int):
        self.vocabulary, self.order = vocabulary, order
        self.size = vocabulary.size - len(SPECIAL) + 2  # with <unk> and </s>
        self.counts: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order + 1)]
        digest = hashlib.sha256()
        for ids in sentences:
            digest.update(",".join(map(str, ids)).encode() + b"\n")
            for n in range(1, order + 1):
                start = [OPEN] * (n - 2) if n > 2 else []
                padded = [*start, *ids]
                self.counts[n].update(zip(*(padded[k:] for k in range(n)), strict=False))
        self.counts[1].pop((OPEN,), None)  # a condition, and never predicted
        self.text_sha256 = digest.hexdigest()
        self.followed: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order + 1)]
        self.total: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order + 1)]
        for n in range(1, order + 1):
            for gram, count in self.counts[n].items():
                self.followed[n][gram[:-1]] += 1
                self.total[n][gram[:-1]] += count

    @property
    def name(self) -> str:
        return NAMES.get(self.order, f"{self.order}-gram")

    @property
    def description(self) -> dict[str, Any]:
        what = {"order": self.order, "discount": DISCOUNT, "text": self.text_sha256, "version": VERSION}
        return {"n-gram": what, "vocabulary": dict(self.vocabulary.description)}

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Item], int]:
        return list(self.vocabulary.ids(texts)), 0

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        return self.vocabulary.word_ids(texts)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return self.vocabulary.pieces(ids)

    @cached_property
    def _known(self) -> dict[tuple[int, ...], float]:
        return {}

    def probability(self, gram: tuple[int, ...]) -> float:
        """p of the last id after the others."""
        known = self._known.get(gram)
        if known is None:
            n, before = len(gram), gram[:-1]
            lower = self.probability(gram[1:]) if n > 1 else 1 / self.size
            total = self.total[n][before]
            known = lower
            if total:
                kept = max(self.counts[n][gram] - DISCOUNT, 0.0) + DISCOUNT * self.followed[n][before] * lower
                known = kept / total
            self._known[gram] = known
        return known

    def picked(
        self, items: Sequence[Item], places: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
    ) -> list[torch.Tensor]:
        rows = []
        for item, some, wanted in zip(items, places, targets, strict=True):
            padded = [OPEN] * max(0, self.order - 2) + list(item)
            shift = len(padded) - len(item)
            grams = [(*padded[max(0, t + shift - self.order + 1) : t + shift], ids) for t, ids in zip(some, wanted, strict=True)]
            values = [math.log(self.probability(gram)) for gram in grams]
            rows.append(torch.tensor(values, dtype=torch.float64))
        return rows

    def log_probabilities(self, items: Sequence[Item]) -> list[torch.Tensor]:
        """As `LanguageModel`; ids that no text holds (marks but that of the end) have probability 0."""
        possible = [UNKNOWN, CLOSE, *range(len(SPECIAL), self.vocabulary.size)]
        rows = []
        for item in items:
            row = torch.full((len(item), self.vocabulary.size), torch.nan, dtype=torch.float64)
            for t in range(1, len(item)):
                row[t] = -torch.inf
                row[t, possible] = self.picked([item] * 1, [[t] * len(possible)], [possible])[0]
            rows.append(row)
        return rows

    def frequency(self, ids: Sequence[int]) -> int:
        """Count of the rarest of the ids in the text."""
        return min((self.counts[1][(number,)] for number in ids if number != UNKNOWN), default=0)

    def perplexity(self, sentences: Sequence[Sequence[int]]) -> float:
        """exp of the mean negative log-likelihood of the words and ends of sentences of ids."""
        places = [list(range(1, len(ids))) for ids in sentences]
        wanted = [list(ids)[1:] for ids in sentences]
        values = torch.cat(self.picked(sentences, places, wanted))
        return math.exp(-float(values.mean()))

    def release(self) -> None:
        """Nothing: counts are kept."""
