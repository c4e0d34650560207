"""Static word vectors from a word2vec or GloVe text file: a word has one vector, whatever its sentence.

Words are those of `text.split()`. The fingerprint is the file's sha256 and the options. The random twin draws each word's vector
from a hash of the seed and the word, normal with the mean and standard deviation of each dimension over the first 10,000 words of
the file. Not supported: word2vec's binary format, and fastText's subwords.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from probing.data.readers.files import require_file
from probing.encoders.base import Item, Named, States, name_in_tables
from probing.encoders.pooling import TOKEN_POOLINGS
from probing.encoders.word_vectors import WordVectors
from probing.errors import EncoderError, did_you_mean
from probing.log import info

VERSION = 2
"""Raise when the same file and options would give other vectors."""

UNKNOWN = ("skip", "zero", "mean", "random")


@dataclass(repr=False)
class StaticEncoder(Named):
    """Options of the encoder.

    Args:
        path: a text file of vectors: .txt or .vec, plain, .gz or .xz.
        lowercase: look up a word that the file lacks in lower case too.
        unknown: the vector of a word that the file lacks. skip: none, the poolings ignore the word, as in SentEval's bag of words
            (a sentence of unknown words alone is zero); zero: zeros; mean: the mean vector; random: drawn from a hash of the word.
        limit: use the first words of the file only; None: all.
        init_seed: draw all vectors from this seed (see `random_twin`).
        label: name in tables; None: the file's name.
    """

    path: str
    lowercase: bool = True
    unknown: str = "skip"
    limit: int | None = None
    init_seed: int | None = None
    label: str | None = None

    layer_names = ("vectors",)
    poolings = TOKEN_POOLINGS

    def __post_init__(self) -> None:
        if self.unknown not in UNKNOWN:
            raise EncoderError(
                f"encoder.unknown={self.unknown!r} is unknown{did_you_mean(self.unknown, UNKNOWN)} (allowed: {', '.join(UNKNOWN)})"
            )
        if self.limit is not None and self.limit < 1:
            raise EncoderError(f"encoder.limit={self.limit} must be at least 1")
        file = Path(self.path).expanduser()
        require_file(file, f"encoder.path={self.path}")
        self._table = WordVectors(file, self.limit)
        self._reported = False
        self.name = name_in_tables(self, self.label or file.name, ("lowercase", "unknown", "limit"))

    @property
    def origin(self) -> str:
        return f"{'vectors drawn at random for the words' if self.init_seed is not None else 'the vectors'} of {self._table.path}"

    @cached_property
    def description(self) -> Mapping[str, Any]:
        description: dict[str, Any] = {
            "kind": "static",
            "version": VERSION,
            "sha256": self._table.sha256,
            "lowercase": self.lowercase,
            "unknown": self.unknown,
            "limit": self.limit,
        }
        if self.init_seed is not None or self.unknown == "random":
            description["drawn"] = {"seed": self.init_seed, "numpy": np.__version__}
        return description

    @property
    def dims(self) -> tuple[int, ...]:
        return (self._table.dim,)

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Item], int]:
        """An item is the list of words, in lower case where the file has the word only so."""
        words = [text.split() for text in texts]
        distinct = {word for sentence in words for word in sentence}
        self._table.look_up(distinct | {word.lower() for word in distinct if self.lowercase})
        known = self._table.vectors
        lowered = {word for word in distinct if self.lowercase and word not in known and word.lower() in known}
        spelled = {word: word.lower() if word in lowered else word for word in distinct}
        if not self._reported and self.init_seed is None:
            self._reported = True
            unknown = [word for sentence in words for word in sentence if spelled[word] not in known]
            types = list(dict.fromkeys(unknown))
            info(
                f"{self.name}: {len(unknown)} of {sum(map(len, words))} words of {len(texts)} sentences have no vector "
                f"(unknown={self.unknown})" + (f": {', '.join(types[:5])}{' …' if types[5:] else ''}" if types else "")
            )
            for note in self._table.notes.values():
                info(f"{self.name}: {note}")
        return [[spelled[word] for word in sentence] for sentence in words], 0

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        return [list(range(len(text.split()))) for text in texts]

    def forward(self, items: Sequence[Item]) -> States:
        words = sorted({word for item in items for word in item})
        self._table.look_up(words)
        known = [word in self._table.vectors for word in words]
        matrix = np.stack([self._vector(word) for word in words])  # (words, d)
        column = {word: k for k, word in enumerate(words)}
        ids = pad_sequence([torch.tensor([column[word] for word in item], dtype=torch.long) for item in items], True)
        mask = torch.arange(ids.shape[1]) < torch.tensor([len(item) for item in items])[:, None]  # (batch, tokens)
        if self.unknown == "skip":
            counted = mask & torch.tensor(known)[ids]
            mask = torch.where(counted.any(1, keepdim=True), counted, mask)  # a sentence of unknown words keeps their zeros
        return States([torch.from_numpy(matrix)[ids]], mask)  # (batch, tokens, d)

    def _vector(self, word: str) -> np.ndarray:
        if word in self._table.vectors:
            return self._table.vectors[word] if self.init_seed is None else self._drawn(word)
        if self.unknown == "random":
            return self._drawn(word)
        return self._table.moments[0] if self.unknown == "mean" else np.zeros(self._table.dim, np.float32)

    def _drawn(self, word: str) -> np.ndarray:
        seed = hashlib.sha256(f"{self.init_seed} {word}".encode()).digest()
        mean, deviation = self._table.moments
        return np.random.default_rng(int.from_bytes(seed[:8])).normal(mean, deviation).astype(np.float32)

    def release(self) -> None:
        """Frees nothing: the vectors looked up so far are few, and finding them again takes a pass over the file."""

    def random_twin(self, seed: int) -> StaticEncoder:
        """The same words known and unknown, with vectors drawn from `seed`."""
        twin = replace(self, init_seed=seed)
        twin._table = self._table
        return twin
