"""The formats of task files: a reader is a function from the path of a file to its rows; a card names it in its field `format`.

    senteval         one sentence a line, tab-separated `split, label, ..., sentence` (facebookresearch/SentEval,
                     data/probing/README.md): the split is tr, va or te, the sentence in space-delimited tokens is last, fields in
                     between are ignored; a leading column with the name of the task, as in some copies, is read
    label-sentence   `1 a stirring , funny ...`: label, blank, sentence (sentence-level SST-2, as in Kim 2014)
    glue             a header `sentence<TAB>label`, then rows (GLUE's SST-2: phrases in train)
    cola             `source<TAB>label<TAB>mark<TAB>sentence` (Warstadt et al. 2019, the raw files)

The labels of the last three are whole numbers, and each split has a file. Files without labels, such as GLUE's test, cannot be
read. Quote characters are text. Nothing is tokenised or filtered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from probing.data.readers.files import read_text
from probing.errors import DataError

SPLITS = {"tr": "train", "va": "dev", "te": "test"}
"""SentEval's codes of the three splits, and the names of the splits."""


@dataclass(frozen=True)
class Line:
    """One row of a task file.

    Attributes:
        path, number: its place; `number` counts from 1.
        split: train, dev or test; None in a format without a column for it, where the card names a file for each split.
        task: name of the task; None in a file without a column for it, which holds one task.
    """

    path: Path
    number: int
    label: str
    sentence: str
    split: str | None = None
    task: str | None = None


def read_senteval(path: Path) -> Iterator[Line]:
    for number, row in _rows(path):
        fields = row.split("\t")
        task = None
        if len(fields) > 3 and fields[0] not in SPLITS and fields[1] in SPLITS:
            task, *fields = fields
        where = f"{path}, line {number}"
        if len(fields) < 3:
            raise DataError(
                f"{where}: {len(fields)} tab-separated field(s), but a row is 'split<TAB>label<TAB>sentence': {row[:80]!r}"
            )
        if fields[0] not in SPLITS:
            raise DataError(f"{where}: the first field is {fields[0][:40]!r}, but a split is one of tr, va, te")
        if not fields[1].strip():
            raise DataError(f"{where}: the label (second field) is empty")
        if not fields[-1].strip():
            raise DataError(f"{where}: the sentence (last field) is empty; remove the row or mend it")
        yield Line(path, number, fields[1], fields[-1], SPLITS[fields[0]], task)


def is_row(line: str) -> bool:
    """Whether a line of text is a row of this format: three fields or more, the first or the second a split.

    >>> [is_row(line) for line in ("tr\\tI\\tIt ran .", "task\\tte\\tI\\tIt ran .", "It\\tran .", "tr I It ran .")]
    [True, True, False, False]
    """
    fields = line.split("\t")
    return len(fields) > 2 and not SPLITS.keys().isdisjoint(fields[:2])


def read_label_sentence(path: Path) -> Iterator[Line]:
    for number, row in _rows(path):
        label, _, sentence = row.partition(" ")
        yield _line(path, number, row, label, sentence, "label, blank, sentence")


def read_glue(path: Path) -> Iterator[Line]:
    for number, row in _rows(path):
        if number > 1:
            sentence, _, label = row.rpartition("\t")
            yield _line(path, number, row, label, sentence, "sentence<TAB>label")
        elif row != "sentence\tlabel":
            raise DataError(f"{path}, line 1: {row[:60]!r}, but GLUE's file begins with 'sentence<TAB>label'")


def read_cola(path: Path) -> Iterator[Line]:
    for number, row in _rows(path):
        fields = row.split("\t")
        label, sentence = (fields[1], fields[3]) if len(fields) == 4 else ("", "")
        yield _line(path, number, row, label, sentence, "source<TAB>label<TAB>mark<TAB>sentence")


def _rows(path: Path) -> Iterator[tuple[int, str]]:
    return enumerate(read_text(path).removesuffix("\n").split("\n"), start=1)


def _line(path: Path, number: int, row: str, label: str, sentence: str, shape: str) -> Line:
    sentence = sentence.strip()
    if not label.isdigit() or not sentence:
        raise DataError(f"{path}, line {number}: a row is '{shape}' with a whole number as label, but this is {row[:80]!r}")
    return Line(path, number, label, sentence)


Reader = Callable[[Path], Iterable[Line]]
"""Reads the rows of a file, in their order. Raises a DataError that names file and line where a row is not of the format."""

FORMATS: dict[str, Reader] = {
    "senteval": read_senteval,
    "label-sentence": read_label_sentence,
    "glue": read_glue,
    "cola": read_cola,
}
