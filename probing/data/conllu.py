"""Tasks of the words of a treebank in CoNLL-U: parts of speech, features, relations, distance to the head, depth.

A sentence is read by encoders as the forms of its syntactic words, joined by blanks: the lines whose ID is a whole number, so that
a multiword token (`2-3`) is read as its words, and empty nodes (`5.1`) are not read. Relations are universal ones, without the
subtype after ":". Source: universaldependencies.org/format.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from probing.data.readers.files import bare_suffix
from probing.data.readers.parsed import SPLIT_NAMES, Corpus, Dependencies
from probing.data.readers.treebank import read_source
from probing.data.task import Task
from probing.data.words import Columns, Item, task_of_columns
from probing.errors import ConfigError, DataError, did_you_mean
from probing.log import info

FARTHEST = 5
"""Distances to the head beyond this many words are one class on each side."""

LISTED = ("''", ",", ".", ":", "``", "-LRB-", "-RRB-")
"""Penn tags of the punctuation that the released structural probe leaves out of its scores (Hewitt & Manning 2019)."""

FILE_SPLITS = {name: SPLIT_NAMES[name] for name in ("train", "dev", "test")}


def _of_each(label: Callable[[Dependencies, int], Any]) -> Callable[[Dependencies], Iterator[Item]]:
    """Items that are single words; a label of None leaves the word out."""

    def items(tree: Dependencies) -> Iterator[Item]:
        for word in range(len(tree.forms)):
            if (own := label(tree, word)) is not None:
                yield (word, word + 1), own

    return items


def depth(tree: Dependencies, word: int) -> int:
    """Arcs from the root to a word."""
    steps = 0
    while (word := tree.heads[word]) >= 0:
        steps += 1
    return steps


def _distance(tree: Dependencies, word: int) -> str | None:
    """Words from a word to its head, negative to the left; beyond `FARTHEST` the last class; None for the root."""
    if tree.heads[word] < 0:
        return None
    return str(int(np.clip(tree.heads[word] - word, -FARTHEST, FARTHEST)))


def _edges(tree: Dependencies) -> Iterator[Item]:
    """Every word with its head; the root with itself, as in edge probing (Tenney et al. 2019)."""
    for word, head in enumerate(tree.heads):
        head = word if head < 0 else head
        yield (word, word + 1, head, head + 1), tree.relation(word)


def _phrases(tree: Dependencies) -> Iterator[Item]:
    """The words below and with a word, where these are two or more without a gap, by the relation of that word."""
    below: list[set[int]] = [{word} for word in range(len(tree.heads))]
    for word in sorted(range(len(tree.heads)), key=lambda word: -depth(tree, word)):
        if tree.heads[word] >= 0:
            below[tree.heads[word]] |= below[word]
    for word, own in enumerate(below):
        if len(own) > 1 and max(own) - min(own) == len(own) - 1:
            yield (min(own), max(own) + 1), tree.relation(word)


@dataclass(frozen=True)
class Kind:
    """A kind of task: its items with labels, and the card of its labels."""

    about: str
    items: Callable[[Dependencies], Iterator[Item]]
    card: Mapping[str, Any] = field(default_factory=dict)
    of_trees: bool = True


ORDER = [str(number) for number in range(-FARTHEST, FARTHEST + 1) if number]
KINDS = {
    "upos": Kind("Universal part of speech of a word", _of_each(lambda tree, word: tree.upos[word]), of_trees=False),
    "xpos": Kind(
        "Part of speech of a word in the treebank's own tags", _of_each(lambda tree, word: tree.xpos[word]), of_trees=False
    ),
    "relation": Kind("Universal relation of a word to its head, from the word alone", _of_each(Dependencies.relation)),
    "edge": Kind("Universal relation of a word and its head, from both", _edges),
    "phrase": Kind("Universal relation of a phrase's top word, from the phrase's words", _phrases),
    "head_distance": Kind("Words to the head, negative to the left", _of_each(_distance), {"ordered": True, "classes": ORDER}),
    "tree": Kind(
        "Depth of a word in the dependency tree", _of_each(lambda tree, word: float(depth(tree, word))), {"kind": "regression"}
    ),
}
"""Name of a task -> its kind; the name of any feature of the treebank (Number, Tense, …) is a task of the words that have it."""


def _feature(name: str) -> Kind:
    items = _of_each(lambda tree, word: tree.features[word].get(name))
    return Kind(f"The feature {name} of a word that has it", items, of_trees=False)


def corpora_of(root: Path) -> list[Corpus]:
    """The CoNLL-U files of a folder by name, without those with -test2 in it, such as GENTLE beside GUM, which the log
    names; or one file.

    Raises:
        DataError: there is none, or one cannot be read.
    """
    files = [file for file in sorted(root.rglob("*")) if bare_suffix(file) in (".conllu", ".conll")] if root.is_dir() else [root]
    if root.is_dir() and (left := [file for file in files if "-test2." in file.name]):
        info(f"{', '.join(file.name for file in left)}: left out; to test on it, put it into a folder of its own")
        files = [file for file in files if file not in left]
    if not files:
        raise DataError(f"{root} holds no .conllu file (plain, .gz or .xz)")
    return [read_source(file) for file in files]


@dataclass
class Treebank:
    """Tasks of the words of a treebank in CoNLL-U.

    Args:
        root: a folder of files with -train, -dev and -test in their names; those with -test2 are left out.
        splits: our splits to theirs, e.g. {train: dev, test: test}; null: their own. Without dev a tenth of train is dev.
        documents: only of documents whose name fits this pattern, e.g. GUM_news_*; null: all.
        groups: document (where the files name them, as intervals go over groups) or sentence.
        sentences: so many sentences of train, drawn with the seed 0; null: all.
        train_size: train on a stratified subset of about so many words, drawn with the run's seed; null: on all.
        name: name of the source in the names of runs; null: the folder's.
    """

    root: str
    splits: dict[str, str] | None = None
    documents: str | None = None
    groups: str = "document"
    sentences: int | None = None
    train_size: int | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        self.name = self.name or Path(self.root).expanduser().name
        if self.groups not in ("document", "sentence"):
            raise ConfigError(f"data.groups={self.groups!r} is unknown (allowed: document, sentence)")
        if self.sentences is not None and self.sentences < 1:
            raise ConfigError(f"data.sentences={self.sentences} leaves no sentence (at least 1)")

    def tasks(self, names: Sequence[str] | None) -> list[Task]:
        """The tasks by name; None: upos, relation, edge and head_distance, of which the first alone needs no trees.

        Raises:
            DataError: no such folder or split, a file that is no CoNLL-U, a task that these files do not have.
        """
        names = (names,) if isinstance(names, str) else names
        splits, digest = self._read
        features = {name for own in splits.values() for sentence in own for word in sentence.tree.features for name in word}
        allowed = [*KINDS, *sorted(features)]
        for name in names or ():
            if name not in allowed:
                raise DataError(
                    f"{self.root} has no task of words {name!r}{did_you_mean(name, allowed)} (allowed: {', '.join(allowed)})"
                )
        without = sum(not parsed.tree.heads for own in splits.values() for parsed in own)
        if names is None:
            names = ("upos", "relation", "edge", "head_distance")[: 1 if without else None]
        if without and (lost := [name for name in names if name in KINDS and KINDS[name].of_trees]):
            tags = ", ".join(name for name in allowed if name not in KINDS or not KINDS[name].of_trees)
            raise DataError(f"{self.root}: {without} sentences have no HEAD, which {', '.join(lost)} needs (without: {tags})")
        return [self._task(name, splits, digest) for name in names]

    @cached_property
    def corpora(self) -> list[Corpus]:
        """The files of the folder, each read once."""
        root = Path(self.root).expanduser()
        if not root.is_dir():
            raise DataError(f"no folder {root} (data.root must name the folder that holds the .conllu files)")
        return corpora_of(root)

    @cached_property
    def _read(self) -> tuple[dict[str, list[Parsed]], str]:
        """Sentences by split, and the hash of the files."""
        root, corpora = self.root, self.corpora
        have: dict[str, list[Parsed]] = {name: [] for name in FILE_SPLITS}
        for sentence in (sentence for corpus in corpora for sentence in corpus.sentences):
            name = next((name for name, code in FILE_SPLITS.items() if code == sentence.split), None)
            if name and self._fits(sentence.document) and sentence.dependencies is not None:
                have[name].append(Parsed(sentence.dependencies, sentence.document))
        chosen = self.splits or {name: name for name in have if have[name] or name != "dev"}
        if not {"train", "test"} <= set(chosen) <= set(have) or not set(chosen.values()) <= set(have):
            raise ConfigError(
                f"data.splits={self.splits}: say which files are train and test, and dev if there are any: train, dev or test"
            )
        for name in chosen.values():
            if not have[name]:
                of = f" of documents {self.documents}" if self.documents else ""
                there = ", ".join(f"{name} ({len(own)})" for name, own in have.items() if own) or "no split at all"
                raise DataError(
                    f"{root} has no sentence of {name}{of}, but {there}: name the files ….{name}.conllu or …-{name}.conllu, or say "
                    "which is which with data.splits, such as data.splits='{train: dev, test: test}'"
                )
        splits = {split: have[name] for split, name in chosen.items()}
        if self.sentences is not None and self.sentences < len(splits["train"]):
            rows = np.sort(np.random.default_rng(0).permutation(len(splits["train"]))[: self.sentences])
            splits["train"] = [splits["train"][row] for row in rows]
        return splits, hashlib.sha256("".join(corpus.sha256 for corpus in corpora).encode()).hexdigest()

    def _fits(self, document: str | None) -> bool:
        return self.documents is None or fnmatch.fnmatchcase(document or "", self.documents)

    def _task(self, name: str, splits: Mapping[str, Sequence[Parsed]], digest: str) -> Task:
        kind = KINDS.get(name) or _feature(name)
        columns = {split: columns_of(own, kind, self.groups == "document", name == "tree") for split, own in splits.items()}
        card = {"name": name, "about": kind.about, **kind.card}
        documents = self.groups == "document" and all(parsed.document for own in splits.values() for parsed in own)
        notes = ["items are syntactic words of the treebank; encoders read their forms, joined by blanks"]
        return task_of_columns(
            columns, card, notes, self.root, groups_from="documents" if documents else "sentences", file_sha256=digest
        )


class Parsed(NamedTuple):
    """The tree of a sentence, and the document that it is from."""

    tree: Dependencies
    document: str | None


def columns_of(sentences: Sequence[Parsed], kind: Kind, by_document: bool, with_trees: bool) -> Columns:
    """The items of one split; with facts of trees: number of the sentence, head (a word of the sentence, -1 for the root), whether
    the word's tag is `LISTED`, and whether it is PUNCT."""
    columns = Columns(facts={name: [] for name in ("sentence", "head", "listed", "punct")} if with_trees else {})
    for number, (tree, document) in enumerate(sentences):
        columns.add(tree.forms, document if by_document and document else f"sentence {number}", kind.items(tree))
        if with_trees:
            columns.facts["sentence"] += [number] * len(tree.heads)
            columns.facts["head"] += tree.heads
            columns.facts["listed"] += [tag in LISTED for tag in tree.xpos]
            columns.facts["punct"] += [tag == "PUNCT" for tag in tree.upos]
    return columns
