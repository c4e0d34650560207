"""Static vectors: one vector a word whatever its sentence, from a word2vec or GloVe text file.

A line is a word and its d numbers, separated by single blanks; the first line may be `n d` instead, and where it is not, d is the
width that most of the first 1,000 lines have. What stands before the last d numbers is the word, blanks included: words with
blanks are counted and left out, since the words looked up are `text.split()`. The file is read from end to end for the words that
the sentences have, once per new set of sentences, and only their vectors are kept: two million words cost neither memory nor
minutes. In every line the numbers are counted; where they are used, they are read. A byte order mark at the head of a later line
belongs to its word, as files counted on web pages have such words; it is taken off where the file has the bare word nowhere.

The fingerprint is the file's sha256 and the options. The random twin draws each word's vector from a hash of the seed and the
word, normal with the mean and deviation of each dimension, over the first 10,000 words of the file.

Left out: word2vec's binary format, and fastText's subwords.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from probing.data.readers.files import MARK, read_lines, require_file
from probing.encoders.base import Item, States
from probing.errors import EncoderError, did_you_mean
from probing.files import file_sha256
from probing.log import info

VERSION = 2
"""Raise when the same file and options would give other vectors."""

UNKNOWN = ("skip", "zero", "mean", "random")
_SAMPLE = 10_000
_FIRST = 1_000
"""Lines that tell the width where the file does not say it."""

_TO_TEXT = "KeyedVectors.load_word2vec_format(FILE, binary=True).save_word2vec_format('vectors.vec')"
_BINARY = {
    rb"\xba\x16\x4f\x2f": "fastText's binary model; give the .vec file that belongs to it",
    rb"\x80[\x02-\x05]": "a Python pickle, such as gensim's; save its vectors as text with save_word2vec_format('vectors.vec')",
    rb"\d+ \d+ *\r?\n": f"word2vec's binary format; write it as text, e.g. with gensim: {_TO_TEXT}",
    rb"": "a binary file; vectors are read from text (.txt, .vec), plain, .gz or .xz",
}


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
        require_file(file, f"encoder.path={self.path}")
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
            info(
                f"{self.name}: {len(unknown)} of {sum(map(len, words))} words of {len(texts)} sentences have no vector "
                f"(unknown={self.unknown})" + (f": {', '.join(types[:5])}{' …' if types[5:] else ''}" if types else "")
            )
            for note in self._table.notes:
                info(f"{self.name}: {note}")
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

    Attributes:
        notes: in words, what was left out or mended in the file, so far as it was read.

    Raises:
        EncoderError: a file that is not text, or cut short; a line that is not a word and d numbers, a number that is not finite.
    """

    def __init__(self, path: Path, limit: int | None):
        self.path, self.limit = path, limit
        self.vectors: dict[str, np.ndarray] = {}
        self._asked: set[str] = set()
        self._with_blanks = ""
        self._marked: list[str] = []

    @property
    def notes(self) -> list[str]:
        return [note for note in (self._with_blanks, *self._marked) if note]

    @cached_property
    def sha256(self) -> str:
        return file_sha256(self.path)

    @property
    def dim(self) -> int:
        return self._width[1]

    @cached_property
    def _width(self) -> tuple[int | None, int]:
        """How many words the first line promises (None: it is a word's), and the numbers of a vector."""
        lines = list(islice(read_lines(self.path, EncoderError), _FIRST + 1))
        header = re.fullmatch(rb"(\d{1,18}) ([1-9]\d{0,8}) *\r?\n?", lines[0]) if lines else None
        rows = [line.rstrip(b" \r\n") for line in lines[header is not None : _FIRST + (header is not None)]]
        if not rows:
            raise EncoderError(f"{self.path}: no line with a word and its numbers")
        if _numbers_at_the_end(rows[0]) < (int(header[2]) if header else 1) and _is_binary(rows[0]):
            raise EncoderError(f"{self.path} is {next(kind for magic, kind in _BINARY.items() if re.match(magic, lines[0]))}")
        dim = int(header[2]) if header else _usual_width(rows)
        if not any(row.count(b" ") == dim > 0 and b"\t" not in row and _numbers_at_the_end(row) == dim for row in rows):
            n = _numbers_at_the_end(rows[0]) if rows[0].count(b" ") == dim or not dim else rows[0].count(b" ")
            raise self._bad(1 + (header is not None), f"{n} numbers after the word, expected {dim or 'some'}", rows[0])
        return (int(header[1]) if header else None), dim

    @cached_property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each dimension over the first words: two arrays (d,)."""
        matrix = np.stack([self._numbers(*line) for line in islice(self._lines(), _SAMPLE)])
        return matrix.mean(0, dtype=np.float64).astype(np.float32), matrix.std(0, dtype=np.float64).astype(np.float32)

    def look_up(self, words: Iterable[str]) -> None:
        """Puts the vectors of the words into `vectors`, where the file has them; the first line of a word counts."""
        new = {word.encode(): word for word in words if word not in self._asked}
        if not new:
            return
        marked: dict[bytes, tuple[int, bytes, bytes]] = {}
        for number, word, rest in self._lines():
            if word in new and (text := new[word]) not in self.vectors:
                self.vectors[text] = self._numbers(number, word, rest)
            elif word.startswith(MARK) and (bare := word.removeprefix(MARK)) in new:
                marked.setdefault(bare, (number, bare, rest))
        for number, bare, rest in marked.values():
            if (text := new[bare]) not in self.vectors:
                self.vectors[text] = self._numbers(number, bare, rest)
                self._marked.append(f"line {number}: a byte order mark before {text!r} was taken off")
        self._asked.update(new.values())

    def _lines(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Line number, word, and the d numbers as text; words with blanks in them are left out."""
        promised, dim = self._width
        words = with_blanks = 0
        first = ""
        for number, line in enumerate(read_lines(self.path, EncoderError), 1):
            if number == 1 and promised is not None:
                continue
            line = line.rstrip(b" \r\n")
            word, _, rest = line.partition(b" ")
            n = rest.count(b" ") + 1 if rest else 0
            words += 1
            if n == dim:
                yield number, word, rest
            else:
                word = self._word_with_blanks(number, line, n)
                with_blanks += 1
                first = first or f"the first in line {number}, {word.decode(errors='replace')[:40]!r}"
            if words == self.limit:
                break
        else:
            if promised not in (None, words):
                raise EncoderError(f"{self.path}: its first line says {promised} words, but it has {words}; it may be cut short")
        if with_blanks:
            self._with_blanks = f"{with_blanks} of {words} words of the file hold blanks and are left out ({first})"

    def _word_with_blanks(self, number: int, line: bytes, n: int) -> bytes:
        """The word of a line with `n` fields after the first, which are not d.

        Raises:
            EncoderError: fewer than d, or the last d are not numbers, or two lines or columns in one.
        """
        dim = self.dim
        if n < dim:
            raise self._bad(number, f"{n} numbers after the word, expected {dim}", line)
        word, *numbers = line.rsplit(b" ", dim)
        if not all(map(_is_number, numbers)):
            raise self._bad(number, f"{n} fields after the first, of which the last {dim} are not all numbers", line)
        if b"\t" in word or b"\r" in word:
            raise self._bad(number, f"a tab or a carriage return before the last {dim} numbers", line)
        return word

    def _numbers(self, number: int, word: bytes, rest: bytes) -> np.ndarray:
        try:
            with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, and is refused below
                vector = np.array(rest.split(b" "), dtype=np.float32)
        except ValueError:
            raise self._bad(number, "not all fields after the word are numbers", word + b" " + rest) from None
        if not np.isfinite(vector).all():
            raise self._bad(number, "a number is NaN or infinite", word + b" " + rest)
        return vector

    def _bad(self, number: int, why: str, line: bytes) -> EncoderError:
        begins = line[:60].decode(errors="replace")
        return EncoderError(
            f"{self.path}, line {number}: {why}: {begins!r}{'…' * (len(line) > 60)} (a line is a word and its numbers, separated "
            "by single blanks, as many as the first line says or most lines have; mend this line or take it out)"
        )


def _usual_width(rows: Iterable[bytes]) -> int:
    """The width that most lines have, by the numbers that each ends with.

    A line that begins with a number may be one of `1 000 5 5`, so the other lines are asked first.

    >>> _usual_width([b". . . 5 5", b"1 000 5 5", b"2 000 5 5", b"3 000 5 5", b"the 1 0"])
    2
    """
    widths = Counter((_numbers_at_the_end(row), not _is_number(row.partition(b" ")[0])) for row in rows)
    votes = {width: (widths[width, True], widths[width, False], width) for width, _ in widths if width}
    return max(votes, key=votes.__getitem__, default=0)


def _numbers_at_the_end(row: bytes) -> int:
    """How many fields at the end of a line are numbers; the first field is the word's."""
    fields = row.split()[1:] if b"\t" in row else row.split(b" ")[1:]
    return next((k for k, field in enumerate(reversed(fields)) if not _is_number(field)), len(fields))


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _is_binary(row: bytes) -> bool:
    """Whether a line holds control characters, or bytes that are no UTF-8."""
    try:
        row.decode()
    except UnicodeDecodeError:
        return True
    return re.search(rb"[\0-\x08\x0e-\x1f]", row) is not None
