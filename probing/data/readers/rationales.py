"""Sentences whose deciding words people marked: each reader gives rows of one file, of words, label and marks of every annotator.

    geco      JSON lines of GECO (Wilming et al. 2024): sentence (list of words), ground_truth, gender, sentence_idx of the twins
    fair      JSON lines of FairRationales (Thorn Jakobsen et al. 2023), regrouped: words, original_label, annotations
    esnli     CSV of e-SNLI (Camburu et al. 2018) with columns Sentence1_Highlighted_1 …: numbers of the marked words
    eraser    JSON lines of ERASER (DeYoung et al. 2020) beside a folder docs, or docs.jsonl: evidences as spans of document tokens
    trees     labelled brackets of the Stanford Sentiment Treebank (Socher et al. 2013): 0-4 for every phrase

A word is what `str.split` gives of the text: a token that holds blanks becomes several words with its mark, an empty one none.
Every row that is not of its format raises a `DataError` with file and line.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probing.data.readers.files import find_file, read_text, text_lines
from probing.errors import DataError

Marks = NDArray[np.bool_]
"""Which words each annotator marked: shape (annotators, words)."""

ESNLI_LABELS = ("entailment", "neutral", "contradiction")
NEUTRAL = 2
"""Of the five labels of a phrase, 0 to 4: neither negative nor positive."""


@dataclass(frozen=True)
class Marked:
    """One sentence with the words that decide its label.

    Attributes:
        marks: (annotators, words).
        group: names the source that it shares with others, such as its twin; they belong into one split.
        place: file and line, for messages.
        votes: the label that each annotator chose; empty where they did not choose.
        phrases: (start, stop, label) of phrases with a label of their own, half open; 0 (very negative) to 4.
        origin: the split of another corpus that the sentence is from, such as train of SST-2; empty where it is from none.
    """

    words: tuple[str, ...]
    label: str
    marks: Marks
    group: str
    place: str
    votes: tuple[str, ...] = ()
    phrases: tuple[tuple[int, int, int], ...] = ()
    origin: str = ""

    @property
    def text(self) -> str:
        return " ".join(self.words)


def read_geco(path: Path) -> Iterator[Marked]:
    for place, row in _json_rows(path):
        words, marks = _marked(row["sentence"], [row["ground_truth"]], place)
        yield Marked(words, str(row["gender"]), marks, str(row["sentence_idx"]), place)


def read_fair(path: Path) -> Iterator[Marked]:
    for place, row in _json_rows(path):
        given = row["annotations"]
        words, marks = _marked(row["words"], [one["rationale"] for one in given], place)
        votes = tuple(str(one["label"]) for one in given)
        yield Marked(words, str(row["original_label"]), marks, str(row["id"]), place, votes, origin=row.get("sst2_split") or "")


def read_esnli(path: Path, between: str) -> Iterator[Marked]:
    """The words of premise, `between` and hypothesis; the group is the photograph, whose captions share a premise."""
    rows = csv.DictReader(text_lines(path))
    n_annotators = sum(bool(re.fullmatch(r"Sentence1_Highlighted_\d", name)) for name in rows.fieldnames or ())
    if not n_annotators:
        raise DataError(f"{path}, line 1: e-SNLI's file has a column Sentence1_Highlighted_1, this one {rows.fieldnames}")
    for row in rows:
        place = f"{path}, line {rows.line_num}"
        if None in row or None in row.values():
            raise DataError(f"{place}: another number of columns than the header; a quotation mark may be missing")
        if row["gold_label"] not in ESNLI_LABELS:
            raise DataError(f"{place}: the label {row['gold_label']!r} (allowed: {', '.join(ESNLI_LABELS)})")
        first, second = row["Sentence1"].split(), row["Sentence2"].split()
        gap = len(between.split())
        marks = np.zeros((n_annotators, len(first) + gap + len(second)), bool)
        for k in range(n_annotators):
            for sentence, words, start in ((1, first, 0), (2, second, len(first) + gap)):
                column = f"Sentence{sentence}_Highlighted_{k + 1}"
                marks[k, [start + number for number in _numbers(row[column], len(words), f"{place}, {column}")]] = True
        whole = (*first, *between.split(), *second)
        yield Marked(whole, row["gold_label"], marks, row["pairID"].partition("#")[0], place)


def read_eraser(path: Path) -> Iterator[Marked]:
    """The documents that an item names, one after the other (the item's own id where it names none), and its evidences."""
    documents = _Documents(path.parent)
    for place, row in _json_rows(path):
        spans = [one for group in row["evidences"] for one in group]
        names = row.get("docids") or list(dict.fromkeys(one["docid"] for one in spans)) or [row["annotation_id"]]
        tokens, offset = list[str](), dict[str, int]()
        for name in names:
            offset[name] = len(tokens)
            tokens += documents.tokens(name, place)
        marks = np.zeros(len(tokens), int)
        for one in spans:
            name, start, stop = one["docid"], one["start_token"], one["end_token"]
            size = len(documents.tokens(name, place))
            if name not in offset or not 0 <= start < stop <= size:
                raise DataError(f"{place}: an evidence of tokens {start} to {stop} of document {name}, which has {size}")
            marks[offset[name] + start : offset[name] + stop] = 1
        words, marked = _marked(tokens, [marks.tolist()], place)
        yield Marked(words, str(row["classification"]), marked, str(names[0]), place)


def read_trees(path: Path) -> Iterator[Marked]:
    """Sentences with the label of the root, "0" to "4"; a word is marked if its own label is on the same side of neutral."""
    for number, line in enumerate(text_lines(path), start=1):
        if line.strip():
            place = f"{path}, line {number}"
            words, phrases = _tree(line, place)
            whole, own = phrases[-1][2], np.zeros(len(words), int)
            for start, stop, label in reversed(phrases):  # inner ones last
                own[start:stop] = label
            sides = np.sign(own - NEUTRAL)
            marks = (sides == np.sign(whole - NEUTRAL)) & (sides != 0)
            yield Marked(words, str(whole), marks[None], str(number), place, phrases=tuple(phrases))


def _tree(line: str, place: str) -> tuple[tuple[str, ...], list[tuple[int, int, int]]]:
    """The words of a labelled bracket, and its phrases, inner ones first; a leaf may hold several words."""
    words, phrases, open_ = list[str](), list[tuple[int, int, int]](), list[tuple[int, int]]()
    for label, leaf, closing, stray in re.findall(r"\(([^\s()]+)\s+(?:([^()]*)\))?|(\))|(\S)", line):
        if label and label not in "01234":
            raise DataError(f"{place}: the phrase label {label!r} (allowed: 0, 1, 2, 3, 4)")
        if label:
            open_.append((len(words), int(label)))
            words += leaf.split()
        if leaf or (closing and open_):
            start, own = open_.pop()
            phrases.append((start, len(words), own))
        elif closing or stray:
            phrases.clear()
            break
    whole = phrases and not open_ and phrases[-1][:2] == (0, len(words))
    if not whole or any(start == stop for start, stop, _ in phrases):
        raise DataError(f"{place}: no labelled tree such as (3 (2 It) (4 works)): {line[:60]!r}")
    return tuple(words), phrases


class _Documents:
    """The tokens of ERASER's documents, in the folder docs or in docs.jsonl."""

    def __init__(self, root: Path):
        self._root, self._tokens = root, dict[str, list[str]]()
        file = find_file(root, "docs.jsonl")
        if file is not None:
            self._tokens = {row["docid"]: row["document"].split() for _, row in _json_rows(file)}
        elif not (root / "docs").is_dir():
            raise DataError(f"{root} holds neither a folder docs nor docs.jsonl, in which ERASER has its documents")

    def tokens(self, name: str, place: str) -> list[str]:
        if name not in self._tokens:
            path = find_file(self._root / "docs", name)
            if path is None:
                raise DataError(f"{place}: no document {name!r} in {self._root}")
            self._tokens[name] = read_text(path).split()
        return self._tokens[name]


class _Row(dict[str, Any]):
    """A JSON object that names the key which is missing."""

    place = ""

    def __missing__(self, key: str) -> Any:
        raise DataError(f"{self.place}: no key {key!r} (there are {', '.join(self)})")


def _json_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(text_lines(path), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line, object_pairs_hook=_Row)
        except (ValueError, RecursionError) as problem:
            raise DataError(f"{place}: not JSON ({problem})") from None
        if not isinstance(row, _Row):
            raise DataError(f"{place}: a row is a JSON object, not {line[:60]!r}")
        row.place = place
        yield place, row


def _marked(tokens: Any, marks: Sequence[Any], place: str) -> tuple[tuple[str, ...], Marks]:
    """Words, and marks (annotators, words), of tokens and one list of 0 and 1 for each annotator."""
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise DataError(f"{place}: the words must be a list of texts")
    for one in marks:
        if not isinstance(one, list) or len(one) != len(tokens) or any(mark not in (0, 1) for mark in one):
            raise DataError(f"{place}: {len(tokens)} words need as many marks, each 0 or 1: {str(one)[:60]}")
    pieces = [token.split() for token in tokens]
    words = tuple(word for piece in pieces for word in piece)
    if not words or not len(marks):
        raise DataError(f"{place}: no word" if not words else f"{place}: no annotation")
    return words, np.repeat(np.array(marks, bool), [len(piece) for piece in pieces], axis=1)


def _numbers(field: str, n: int, place: str) -> Iterable[int]:
    """Numbers below n of a field such as "3,1" or {}, which stands for none."""
    parts = [] if field.strip() in ("{}", "") else [part.strip() for part in field.split(",")]
    if any(not part.isdigit() or int(part) >= n for part in parts):
        raise DataError(f"{place}: {field!r} must be numbers of words below {n}, such as 0,2, or {{}} for none")
    return map(int, parts)
