"""Static vectors: one vector a word whatever its sentence, from a word2vec or GloVe text file.

A line is a word and its d numbers, separated by single blanks; the first line may be `n d` instead. Words are `text.split()`. The
file is read from end to end for the words that the sentences have, once per new set of sentences, and only their vectors are
kept: two million words cost neither memory nor minutes. In every line the numbers are counted; where they are used, they are read.

The fingerprint is the file's sha256 and the options. The random twin draws each word's vector from a hash of the seed and the
word, normal with the mean and deviation of each dimension, over the first 10,000 words of the file.

Left out: word2vec's binary format, and fastText's subwords.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from probing.encoders.base import Item, States
from probing.errors import EncoderError, did_you_mean
from probing.progress import say
from probing.shards import file_sha256

VERSION = 1
"""Raise when the same file and options would give other vectors."""

UNKNOWN = ("skip", "zero", "mean", "random")
_OPEN = {"": open, ".gz": gzip.open, ".xz": lzma.open}
_SAMPLE = 10_000


@dataclass
class StaticEncoder:
    """Options of the encoder.

    Args:
        path: a text file of vectors: .txt or .vec, plain, .gz or .xz.
        lowercase: a word that the file lacks is looked up in lower case too; what the file has is never changed.
        unknown: a word that the file lacks is left out of mean, max and last (skip: as SentEval's bag of words does, so that
            vectors do not shrink with the number of rare words; a sentence of such words alone is zero), or counts as zeros, as
            the mean vector, or as one drawn from a hash of the word.
        limit: the file's first words only; None: all.
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
    poolings = ("mean", "max", "last")

    def __post_init__(self) -> None:
        if self.unknown not in UNKNOWN:
            raise EncoderError(
                f"encoder.unknown={self.unknown!r} is unknown{did_you_mean(self.unknown, UNKNOWN)} (allowed: {', '.join(UNKNOWN)})"
            )
        if self.limit is not None and self.limit < 1:
            raise EncoderError(f"encoder.limit={self.limit} must be at least 1")
        file = Path(self.path).expanduser()
        if not file.is_file():
            raise EncoderError(f"encoder.path={self.path}: no such file")
        self._table = Table(file, self.limit)
        self._reported = False
        changed = [
            f"{key}={getattr(self, key)}"
            for key in ("lowercase", "unknown", "limit")
            if getattr(self, key) != getattr(StaticEncoder, key)
        ]
        self.name = (self.label or file.name) + (f"[{','.join(changed)}]" if changed else "")
        if self.init_seed is not None:
            self.name += f" (random {self.init_seed})"

    @property
    def origin(self) -> str:
        return f"{'vectors drawn at random for the words' if self.init_seed is not None else 'the vectors'} of {self._table.path}"

    @cached_property
    def description(self) -> Mapping[str, Any]:
        said: dict[str, Any] = {
            "kind": "static",
            "version": VERSION,
            "sha256": self._table.sha256,
            "lowercase": self.lowercase,
            "unknown": self.unknown,
            "limit": self.limit,
        }
        if self.init_seed is not None or self.unknown == "random":
            said["drawn"] = {"seed": self.init_seed, "numpy": np.__version__}
        return said

    @property
    def dims(self) -> tuple[int, ...]:
        return (self._table.dim,)

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Item], int]:
        """An item is the words of the sentence, as the file spells them where it has them."""
        words = [text.split() for text in texts]
        spelled = self._spelled({word for sentence in words for word in sentence})
        if not self._reported and self.init_seed is None:
            self._reported = True
            unknown = [word for sentence in words for word in sentence if spelled[word] not in self._table.vectors]
            types = list(dict.fromkeys(unknown))
            say(
                f"{self.name}: {len(unknown)} of {sum(map(len, words))} words of {len(texts)} sentences have no vector "
                f"(unknown={self.unknown})" + (f": {', '.join(types[:5])}{' …' if types[5:] else ''}" if types else "")
            )
        return [[spelled[word] for word in sentence] for sentence in words], 0

    def _spelled(self, words: set[str]) -> dict[str, str]:
        self._table.look_up(words | {word.lower() for word in words if self.lowercase})
        known = self._table.vectors
        return {word: word.lower() if self.lowercase and word not in known and word.lower() in known else word for word in words}

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        return [list(range(len(text.split()))) for text in texts]

    def forward(self, items: Sequence[Item]) -> States:
        import torch

        words = sorted({word for item in items for word in item})
        self._table.look_up(words)
        known = [word in self._table.vectors for word in words]
        matrix = np.stack([self._vector(word) for word in words])  # (words, d)
        column = {word: k for k, word in enumerate(words)}
        ids = np.zeros((len(items), max(map(len, items))), np.int64)  # (batch, tokens)
        mask = np.zeros(ids.shape, bool)
        for i, item in enumerate(items):
            ids[i, : len(item)] = [column[word] for word in item]
            mask[i, : len(item)] = True
        states = matrix[ids]  # (batch, tokens, d)
        if self.unknown == "skip":
            counted = mask & np.array(known)[ids]
            mask = np.where(counted.any(1, keepdims=True), counted, mask)  # of unknown words alone: their zeros
        return States([torch.from_numpy(states)], torch.from_numpy(mask))

    def _vector(self, word: str) -> np.ndarray:
        found = self._table.vectors.get(word)
        if found is None:
            mean = self._table.moments[0] if self.unknown == "mean" else np.zeros(self._table.dim, np.float32)
            return self._drawn(word) if self.unknown == "random" else mean
        return found if self.init_seed is None else self._drawn(word)

    def _drawn(self, word: str) -> np.ndarray:
        seed = hashlib.sha256(f"{self.init_seed} {word}".encode()).digest()
        mean, deviation = self._table.moments
        return np.random.default_rng(int.from_bytes(seed[:8])).normal(mean, deviation).astype(np.float32)

    def release(self) -> None:
        """Keeps the vectors looked up so far: they are few, and the file is long."""

    def random_twin(self, seed: int) -> StaticEncoder:
        """The same words known and unknown, with vectors drawn from `seed`."""
        twin = replace(self, init_seed=seed)
        twin._table = self._table
        return twin


class Table:
    """A text file of vectors, of which only the words asked for are kept, in `vectors`: word -> (d,), float32.

    Raises:
        EncoderError: a line that is not a word and d numbers, a number that is not finite, a file cut short.
    """

    def __init__(self, path: Path, limit: int | None):
        self.path, self.limit = path, limit
        self.vectors: dict[str, np.ndarray] = {}
        self._asked: set[str] = set()

    @cached_property
    def sha256(self) -> str:
        return file_sha256(self.path)

    @cached_property
    def dim(self) -> int:
        return next(self._lines())[2].count(b" ") + 1

    @cached_property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each dimension over the first words: two arrays (d,)."""
        matrix = np.stack([self._numbers(*line) for _, line in zip(range(_SAMPLE), self._lines(), strict=False)])
        return matrix.mean(0, dtype=np.float64).astype(np.float32), matrix.std(0, dtype=np.float64).astype(np.float32)

    def look_up(self, words: Iterable[str]) -> None:
        """Puts the vectors of the words into `vectors`, where the file has them; the first line of a word counts."""
        new = {word.encode(): word for word in words if word not in self._asked}
        if not new:
            return
        for number, word, rest in self._lines():
            if word in new and (text := new[word]) not in self.vectors:
                self.vectors[text] = self._numbers(number, word, rest)
        self._asked.update(new.values())

    def _lines(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Line number, word, and the d numbers as text; words with blanks in them are left out."""
        suffix = self.path.suffix if self.path.suffix in _OPEN else ""
        dim, promised, found = 0, None, 0
        try:
            with _OPEN[suffix](self.path, "rb") as file:
                for number, line in enumerate(file, 1):
                    word, _, rest = line.rstrip(b" \r\n").partition(b" ")
                    n = rest.count(b" ") + 1 if rest else 0
                    if number == 1 and n == 1 and word.isdigit() and rest.isdigit():
                        promised = int(word)
                        dim = int(rest)
                        continue
                    dim = dim or n
                    found += 1
                    if n != dim or not n:
                        if n > dim and _has_blanks(rest, n - dim):  # some of GloVe's 840B are so
                            continue
                        raise self._bad(number, f"{n} numbers after the word, expected {dim or 'some'}")
                    yield number, word, rest
                    if found == self.limit:
                        return
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            raise EncoderError(f"{self.path}: cannot be read, it may be cut short: {error}") from None
        if not found:
            raise EncoderError(f"{self.path}: no line with a word and its numbers")
        if promised is not None and found != promised:
            raise EncoderError(f"{self.path}: its first line says {promised} words, but it has {found}; it may be cut short")

    def _numbers(self, number: int, word: bytes, rest: bytes) -> np.ndarray:
        try:
            vector = np.array(rest.split(b" "), dtype=np.float32)
        except ValueError:
            raise self._bad(number, "not all fields after the word are numbers") from None
        if not np.isfinite(vector).all():
            raise self._bad(number, "a number is NaN or infinite")
        return vector

    def _bad(self, number: int, why: str) -> EncoderError:
        return EncoderError(f"{self.path}, line {number}: {why} (a line is a word and its numbers, separated by single blanks)")


def _has_blanks(rest: bytes, extra: int) -> bool:
    """Whether the first fields after the first one are no numbers, so that they belong to the word."""
    for field in rest.split(b" ")[:extra]:
        try:
            float(field)
            return False
        except ValueError:
            continue
    return True
