"""Reads sentence classification as it was published: SST-2 (two formats) and CoLA. A card says which files and which format.

    label-sentence   `1 a stirring , funny ...`: label, blank, sentence (sentence-level SST-2, as in Kim 2014)
    glue             a header `sentence<TAB>label`, then rows (GLUE's SST-2: phrases in train)
    cola             `source<TAB>label<TAB>mark<TAB>sentence` (Warstadt et al. 2019, the raw files)

A card without dev files takes as dev one in twenty sentences of train, by the hash of the sentence.

Left out: files without labels, such as GLUE's test.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from probing.data.readers.files import read_text
from probing.data.readers.senteval import Line, find_file
from probing.errors import DataError

FORMATS = ("label-sentence", "glue", "cola")
DEV_SHARE = 20


def find_files(root: Path, card: Mapping) -> dict[str, Path] | None:
    """The card's files by split, from the first of its folders (`folders`, below `root`) that holds them all; else None."""
    for folder in card.get("folders", ["."]):
        found = {split: find_file(root / folder, name) for split, name in card["files"].items()}
        if all(found.values()):
            return found
    return None


def read(files: Mapping[str, Path], form: str) -> Iterator[Line]:
    """The rows of the files (split: path), in their order.

    Raises:
        DataError: a row that is not of the format; file and line are named.
    """
    for split, path in files.items():
        lines = read_text(path).removesuffix("\n").split("\n")
        header = form == "glue"
        if header and lines[0] != "sentence\tlabel":
            raise DataError(f"{path}, line 1: {lines[0][:60]!r}, but GLUE's file begins with 'sentence<TAB>label'")
        for number, line in enumerate(lines[header:], start=1 + header):
            label, sentence = _fields(line, form, f"{path}, line {number}")
            here = split
            if split == "train" and "dev" not in files:
                digest = hashlib.blake2b(sentence.encode(), digest_size=8).digest()
                here = "train" if int.from_bytes(digest, "little") % DEV_SHARE else "dev"
            yield Line(number, None, here, label, sentence, path)


def _fields(line: str, form: str, where: str) -> tuple[str, str]:
    if form == "label-sentence":
        label, _, sentence = line.partition(" ")
        shape = "label, blank, sentence"
    elif form == "glue":
        sentence, _, label = line.rpartition("\t")
        shape = "sentence<TAB>label"
    else:
        fields = line.split("\t")
        label, sentence = (fields[1], fields[3]) if len(fields) == 4 else ("", "")
        shape = "source<TAB>label<TAB>mark<TAB>sentence"
    sentence = sentence.strip()
    if not label.isdigit() or not sentence:
        raise DataError(f"{where}: a row is '{shape}' with a whole number as label, but this is {line[:80]!r}")
    return label, sentence
