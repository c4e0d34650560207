"""A row of a task file, as every reader of a format (`probing.data.readers.formats`) yields it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
