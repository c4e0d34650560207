"""The words of sentences in the store: which tokens are of which word, and which rows are of which sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from probing.encoders.base import Encoder, Item
from probing.encoders.pooling import of_words
from probing.errors import StatesError, foreign


class Words:
    """The words of sentences: `owners`: for each sentence the word of each token (None: of no word); `starts`: the row of its first
    word, and the number of all words at the end, (n + 1,)."""

    def __init__(self, owners: Sequence[Sequence[int | None]], counts: Sequence[int]):
        self.owners, self.starts = owners, starts_of(counts)

    @classmethod
    def of(cls, encoder: Encoder, texts: Sequence[str], items: Sequence[Item]) -> Words:
        """The words of `text.split()`.

        Raises:
            StatesError: the encoder cannot align its tokens with words.
        """
        with foreign(f"{encoder.name}: its words"):
            owners = encoder.word_ids(texts)
        counts = [len(text.split()) for text in texts]
        for text, item, own, count in zip(texts, items, owners, counts, strict=True):
            if len(item) and (len(own) != len(item) or any(word is not None and not 0 <= word < count for word in own)):
                raise StatesError(f"{encoder.name}: word_ids does not give a word of {text!r} for each of its {len(item)} tokens")
        return cls(owners, counts)

    def count(self, sentence: int) -> int:
        return int(self.starts[sentence + 1] - self.starts[sentence])

    def rows(self, sentences: Sequence[int]) -> np.ndarray:
        """The rows of all words of the sentences, one sentence after the other."""
        return np.concatenate([np.arange(self.starts[i], self.starts[i + 1]) for i in sentences])

    def sentence_of(self, rows: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.starts, rows, side="right") - 1

    @property
    def lost(self) -> int:
        """The number of words without a token."""
        return int(self.starts[-1]) - sum(len({word for word in own if word is not None}) for own in self.owners)


def starts_of(counts: Sequence[int]) -> np.ndarray:
    """The sums of the first 0, 1, … n counts, (n + 1,)."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def vectors_each(texts: Sequence[str], poolings: Sequence[str]) -> float:
    """The mean number of vectors of a sentence: its words, of poolings of words; else one."""
    return sum(len(text.split()) for text in texts) / len(texts) if of_words(poolings) else 1.0
