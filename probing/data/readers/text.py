"""Sentences for a language model: plain text, CoNLL-U (its word forms), or the Brown corpus as NLTK's zip of word/tag files.

Plain text is read line by line; blanks separate tokens. A line longer than `longest` is a paragraph: it is cut after the tokens
. ! ? and, where a piece is still longer, after `longest` tokens. Wikitext's headings (= Title =) are skipped.
"""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from probing.data.readers.files import bare_suffix, decoded, read_text
from probing.data.readers.formats import is_row
from probing.errors import DataError


def sentences(path: Path, longest: int = 64) -> Iterator[str]:
    """The sentences of a file, plain or compressed (.gz, .xz); single blanks join their tokens.

    Raises:
        DataError: a file that is missing or cannot be read, a zip with other files than word/tag, or a row of a task's file.
    """
    read = {".zip": _brown, ".conllu": _conllu, ".conll": _conllu}.get(bare_suffix(path), _plain)
    for tokens in read(path):
        for piece in cut(tokens, longest):
            yield " ".join(piece)


def cut(tokens: list[str], longest: int) -> Iterator[list[str]]:
    """A sentence as it is, or a paragraph cut into pieces of at most `longest` tokens.

    >>> [" ".join(piece) for piece in cut("a b . c d e f g ! h".split(), 4)]
    ['a b .', 'c d e f', 'g !', 'h']
    """
    if len(tokens) <= longest:
        if tokens:
            yield tokens
        return
    piece: list[str] = []
    for token in tokens:
        piece.append(token)
        if token in (".", "!", "?") or len(piece) == longest:
            yield piece
            piece = []
    if piece:
        yield piece


def _plain(path: Path) -> Iterator[list[str]]:
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if is_row(line):
            columns = len(line.split("\t"))
            raise DataError(
                f"{path}, line {number}: {line[:60]!r} is a row of a task's file, with split and label; give its sentences alone, "
                f"e.g. cut -f{columns} FILE > sentences.txt"
            )
        if not (line.strip()[:2] == "= " and line.strip()[-2:] == " ="):
            yield line.split()


def _conllu(path: Path) -> Iterator[list[str]]:
    tokens: list[str] = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            yield tokens
            tokens = []
        elif not line.startswith("#"):
            fields = line.split("\t")
            if len(fields) < 2:
                raise DataError(f"{path}, line {number}: a CoNLL-U row has ten tab-separated fields, this is {line[:80]!r}")
            if fields[0].isdigit():  # not a multiword token (1-2) nor an empty node (1.1)
                tokens.append(fields[1])
    yield tokens


def _brown(path: Path) -> Iterator[list[str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(("/", "README", "CONTENTS", "cats.txt")) or name.rpartition("/")[2].startswith("."):
                    continue
                for number, line in enumerate(decoded(archive.read(name), f"{path}: {name}").split("\n"), start=1):
                    pairs = [pair.rpartition("/") for pair in line.split()]
                    if bare := next((tag for word, _, tag in pairs if not word), None):
                        raise DataError(f"{path}: {name}, line {number}: {bare[:40]!r} is not word/tag, as in NLTK's zip of Brown")
                    yield [word for word, _, _ in pairs]
    except _DAMAGED as error:
        raise DataError(f"{path} cannot be read as a zip of word/tag files: {error}") from None


# RuntimeError: a member with a password; NotImplementedError: packed in a way that zipfile lacks; struct.error: a cut extra field
_DAMAGED = (OSError, zipfile.BadZipFile, ValueError, EOFError, RuntimeError, NotImplementedError, zlib.error, lzma.LZMAError)
