"""The formats of task files. A reader is one function, from the path of a file to its rows.

To add a format, write a module with such a function and name it in `FORMATS`; a card names the format in its field `format`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from probing.data.readers import classification, senteval
from probing.data.readers.line import Line

Reader = Callable[[Path], Iterable[Line]]
"""Reads the rows of a file, in their order. Raises a DataError that names file and line where a row is not of the format."""

FORMATS: dict[str, Reader] = {
    "senteval": senteval.read,
    "label-sentence": classification.read_label_sentence,
    "glue": classification.read_glue,
    "cola": classification.read_cola,
}
