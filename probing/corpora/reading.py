"""What the readers of treebanks share: a file's text, and the optional libraries that parse it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from probing.corpora.senteval import read_bytes
from probing.errors import DataError, ProbingError


def read_text(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: byte {error.start} ({error.reason}); convert it, e.g. with iconv") from None


def library(name: str) -> Any:
    """nltk or conllu, which only the readers of brackets and CoNLL-U need."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ProbingError(f"reading this file needs the package {name}: pip install 'probing[treebank]'") from None
