"""Reads the vectors of given words from a text file of word2vec or GloVe.

A line is a word and its d numbers, separated by single blanks. The first line may be the header `n d`; without it, d is the width
of most of the first 1,000 lines. Everything before the last d numbers is the word. Words with blanks are counted and skipped. A
byte order mark at the head of a later line belongs to its word, but is removed where the file has the bare word nowhere. The file
is read from end to end once per new set of words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np

from probing.data.readers.files import MARK, read_lines
from probing.errors import EncoderError
from probing.files import file_sha256

_SAMPLE = 10_000
"""Words from which the moments are computed."""
_FIRST = 1_000
"""Lines from which the width is found where there is no header."""

_TO_TEXT = "KeyedVectors.load_word2vec_format(FILE, binary=True).save_word2vec_format('vectors.vec')"
_BINARY = {
    rb"\xba\x16\x4f\x2f": "fastText's binary model; give the .vec file that belongs to it",
    rb"\x80[\x02-\x05]": "a Python pickle, such as gensim's; save its vectors as text with save_word2vec_format('vectors.vec')",
    rb"\d+ \d+ *\r?\n": f"word2vec's binary format; write it as text, e.g. with gensim: {_TO_TEXT}",
    rb"": "a binary file; vectors are read from text (.txt, .vec), plain, .gz or .xz",
}


class WordVectors:
    """A text file of vectors: those of the words looked up so far, (d,), float32, and notes on words skipped or repaired, by line.

    Reading it raises EncoderError for a file that is not text or is cut short, for a line that is not a word and d numbers, and for
    a number that is not finite.
    """

    def __init__(self, path: Path, limit: int | None):
        self.path, self.limit = path, limit
        self.vectors: dict[str, np.ndarray] = {}
        self._looked_up: set[str] = set()
        self.notes: dict[int, str] = {}

    @cached_property
    def sha256(self) -> str:
        return file_sha256(self.path)

    @property
    def dim(self) -> int:
        return self._width[1]

    @cached_property
    def _width(self) -> tuple[int | None, int]:
        """The number of words by the header (None: there is no header), and the width d of a vector."""
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
        """Adds the words that the file has to `vectors`; the first line of a word counts."""
        new = {word.encode(): word for word in words if word not in self._looked_up}
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
                self.notes[number] = f"line {number}: a byte order mark before {text!r} was taken off"
        self._looked_up.update(new.values())

    def _lines(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Line number, word, and the d numbers as text, but for words with blanks in them."""
        expected, dim = self._width
        words = with_blanks = 0
        first = ""
        for number, line in enumerate(read_lines(self.path, EncoderError), 1):
            if number == 1 and expected is not None:
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
            if expected not in (None, words):
                raise EncoderError(f"{self.path}: its first line says {expected} words, but it has {words}; it may be cut short")
        if with_blanks:
            self.notes[0] = f"{with_blanks} of {words} words of the file hold blanks and are left out ({first})"

    def _word_with_blanks(self, number: int, line: bytes, n: int) -> bytes:
        """The word of a line that has not d but `n` fields after the first; raises EncoderError if the last d are not numbers."""
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
    """The most frequent count of numbers at the end of a line; lines that begin with a number (`1 000 5 5`) count less.

    >>> _usual_width([b". . . 5 5", b"1 000 5 5", b"2 000 5 5", b"3 000 5 5", b"the 1 0"])
    2
    """
    widths = Counter((_numbers_at_the_end(row), not _is_number(row.partition(b" ")[0])) for row in rows)
    votes = {width: (widths[width, True], widths[width, False], width) for width, _ in widths if width}
    return max(votes, key=votes.__getitem__, default=0)


def _numbers_at_the_end(row: bytes) -> int:
    """The count of fields at the end of a line that are numbers; the first field is part of the word."""
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
