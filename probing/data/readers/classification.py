"""Reads published files of sentence classification, one file for each split: SST-2 in two formats, and CoLA.

    label-sentence   `1 a stirring , funny ...`: label, blank, sentence (sentence-level SST-2, as in Kim 2014)
    glue             a header `sentence<TAB>label`, then rows (GLUE's SST-2: phrases in train)
    cola             `source<TAB>label<TAB>mark<TAB>sentence` (Warstadt et al. 2019, the raw files)

A label is a whole number. Files without labels, such as GLUE's test, cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from probing.data.readers.files import read_text
from probing.data.readers.line import Line
from probing.errors import DataError


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
