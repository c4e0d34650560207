"""Reads CoNLL-U (universaldependencies.org/format) with the conllu library.

A multiword token (`3-4`) is one token of the text whose words keep their arcs; empty nodes (`5.1`) are skipped. File
names with -train, -dev, -test carry the split, comments `# newdoc id = …` the document. Every line of a word must have
ten columns, and every sentence one tree. Enhanced dependencies, lemmas and other comments are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from probing.data.readers.files import library, read_text
from probing.data.readers.parsed import SPLIT_NAMES, Dependencies, Sentence
from probing.errors import DataError


def read_conllu(path: Path) -> Iterator[Sentence]:
    """Sentences of a CoNLL-U file.

    Raises:
        DataError: a line that has not ten columns, or a tree without one root; file and line are named.
    """
    lines = read_text(path).split("\n")
    begun, block = 0, []
    document = None
    for number, line in enumerate([*lines, ""], start=1):
        if line.strip() and not line.startswith("#"):
            columns = line.count("\t") + 1
            if columns != 10:
                raise DataError(
                    f"{path}, line {number}: {columns} columns, a word of CoNLL-U has ten, tab-separated: {line[:60]!r}"
                )
            begun = begun or number
            block.append(line)
        elif line.startswith("# newdoc"):
            document = line.partition("=")[2].strip() or None
        elif not line.strip() and block:
            sentence = conllu_sentence("\n".join(block), f"{path}, line {begun}", file_split(path))
            yield replace(sentence, document=document)
            begun, block = 0, []


def file_split(path: Path) -> str | None:
    """tr, va or te of UD file names (de_gsd-ud-dev.conllu.xz), else None."""
    match = re.search(r"[-_.](train|dev|test2|test)\.conllu", path.name)
    return SPLIT_NAMES[match[1]] if match else None


def conllu_sentence(block: str, where: str, split: str | None) -> Sentence:
    """The sentence of the lines of one block."""
    conllu = library("conllu")
    try:
        (rows,) = conllu.parse(block + "\n\n")
    except conllu.exceptions.ParseException as error:
        raise DataError(f"{where}: not CoNLL-U: {' '.join(str(error).split())[:160]}") from None
    spans = [(row["id"][0], row["id"][2], row["form"]) for row in rows if isinstance(row["id"], tuple) and row["id"][1] == "-"]
    words = [row for row in rows if isinstance(row["id"], int)]
    numbers = {row["id"]: k for k, row in enumerate(words)}
    heads = [-1 if row["head"] == 0 else numbers.get(row["head"]) for row in words]
    in_sentence = [head for head in heads if head is not None]
    if len(in_sentence) < len(heads) or heads.count(-1) != 1 or not reaches_root(in_sentence):
        raise DataError(f"{where}: the heads do not make one tree (one word with head 0, all others below it); mend HEAD")
    tokens, tags, token = [], [], []
    for row in words:
        span = next((s for s in spans if s[0] <= row["id"] <= s[1]), None)
        if span is None or row["id"] == span[0]:
            tokens.append(row["form"] if span is None else span[2])
            tags.append(row["xpos"] or row["upos"] or "_")
        else:
            tags[-1] += "+" + (row["xpos"] or row["upos"] or "_")
        token.append(len(tokens) - 1)
    dependencies = Dependencies(
        heads=tuple(in_sentence),
        relations=tuple(row["deprel"] or "_" for row in words),
        upos=tuple(row["upos"] or "_" for row in words),
        features=tuple(row["feats"] or {} for row in words),
        forms=tuple(row["form"] for row in words),
        token=tuple(token),
    )
    return Sentence(tuple(tokens), tuple(tags), dependencies=dependencies, split=split)


def reaches_root(heads: list[int]) -> bool:
    """Whether the heads of every word lead to -1: there is no cycle."""
    for word in range(len(heads)):
        steps = 0
        while word >= 0 and steps <= len(heads):
            word, steps = heads[word], steps + 1
        if word >= 0:
            return False
    return True
