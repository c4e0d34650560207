"""Reads SentEval's probing files: one sentence a line, tab-separated `split, label, ..., sentence`.

Definition (facebookresearch/SentEval, data/probing/README.md): the first field is the partition (tr, va, te), the second the
label, the last the sentence in space-delimited tokens; fields in between are ignored. A file may carry a leading task column
(`task, split, label, sentence`), as some copies do. Quote characters are text. Nothing is tokenised or filtered.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from probing.data.readers.files import read_text
from probing.data.readers.line import SPLITS, Line
from probing.errors import DataError


def read(path: Path) -> Iterator[Line]:
    """The rows of a file, checked.

    Raises:
        DataError: a row that is not of the format; the message names file, line number, the row and the right form.
    """
    for number, row in enumerate(read_text(path).removesuffix("\n").split("\n"), start=1):
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
