"""One form for all tests of preference: a right text and one or several wrong ones; correct if the right one has the higher score.

    right > max(wrong)     chance 1 / (k + 1) with k wrong texts

Where a test is about one word in its context, `target` is that word's place in `text.split()`, and only the word is scored. Facts
by which results are shown apart (attractors, distance, original or nonce) are facets.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from probing.errors import ConfigError, DataError

Facet = str | int | float | bool


@dataclass(frozen=True)
class Item:
    """One test; `number`: its place among the items of its source, from 0, which identifies it.

    Attributes:
        right, wrong: the texts.
        source: what the texts are translations of; None: nothing.
        target: place of the word that is scored, in all texts alike; None: all words.
        left_out: why it is not scored; None: it is.
    """

    number: int
    paradigm: str
    group: str
    right: str
    wrong: tuple[str, ...]
    target: int | None = None
    facets: Mapping[str, Facet] = field(default_factory=dict)
    left_out: str | None = None
    source: str | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.right, *self.wrong)

    @property
    def identical(self) -> bool:
        """Whether the right text is also a wrong one."""
        return self.right in self.wrong

    def cut(self) -> Item:
        """The item with texts that end at the target: what stands behind it is not read."""
        if self.target is None:
            return self
        right, *wrong = (" ".join(text.split()[: self.target + 1]) for text in self.texts)
        return replace(self, right=right, wrong=tuple(wrong))

    def closed(self) -> Item:
        """The item with a blank behind each text, with which its last word is over."""
        return replace(self, right=f"{self.right} ", wrong=tuple(f"{text} " for text in self.wrong))

    def split(self) -> Item:
        """The item with punctuation and clitics apart, as words in treebanks are."""
        if self.target is not None:
            return self
        return replace(self, right=split_words(self.right), wrong=tuple(map(split_words, self.wrong)))


_CLITIC = re.compile(r"(?i)(?<=\w)(n't|'s|'re|'ve|'ll|'d|'m)(?=\s|[^\w\s]|$)")
_MARK = re.compile(r"(?i)([^\w\s'<>-]|(?<!\w)'(?!(?:s|re|ve|ll|d|m)\b)|'(?!\w))")


def split_words(text: str) -> str:
    """Punctuation and clitics apart by blanks: the words of English treebanks, in rules; hyphens stay.

    >>> split_words("Who didn't Derek's well-known dog see, Ann?")
    "Who did n't Derek 's well-known dog see , Ann ?"
    """
    apart = _CLITIC.sub(r" \1", text)
    return " ".join(_MARK.sub(r" \1 ", apart).split())


class Pairs:
    """A source of items, made by a preset of `data`; a subclass has the fields `root`, `name` and `n`, and `read`.

    `tokenised`: whether punctuation already stands apart. `notes`: what was left out or mended, in words, once the items are read.
    """

    root: str
    name: str
    n: int | None
    tokenised = False
    train_size = None

    def read(self, root: Path) -> Iterable[Item]:
        """The items of a folder or file."""
        raise NotImplementedError

    @cached_property
    def notes(self) -> list[str]:
        return []

    @cached_property
    def items(self) -> list[Item]:
        """All items, of each paradigm the first `n` where that is set.

        Raises:
            DataError: nothing to read, or a line that is no item (file and line are named).
        """
        if self.n is not None and self.n < 1:
            raise ConfigError(f"data.n={self.n} must be at least 1, or null for all")
        root, of, kept = Path(self.root).expanduser(), dict[str, int](), []
        if not root.exists():
            raise DataError(f"data.root={self.root!r}: no such file or folder")
        for item in self.read(root):
            of[item.paradigm] = of.get(item.paradigm, 0) + 1
            if self.n is None or of[item.paradigm] <= self.n:
                kept.append(item)
        if not kept:
            raise DataError(f"{root} holds no items for data={self.name}")
        return [replace(item, number=number) for number, item in enumerate(kept)]

    @property
    def sha256(self) -> str:
        """Hash of the items."""
        content = [
            [item.paradigm, item.group, item.texts, item.target, *([] if item.source is None else [item.source])]
            for item in self.items
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def tasks(self, names: Sequence[str] | None) -> list[object]:
        raise ConfigError(f"data={self.name} holds pairs of sentences, which are no tasks of probes: add +experiment=minimal_pairs")


def by_paradigm(items: Sequence[Item]) -> Iterator[tuple[str, list[Item]]]:
    """Paradigms in the order in which they first occur, with their items."""
    parts: dict[str, list[Item]] = {}
    for item in items:
        parts.setdefault(item.paradigm, []).append(item)
    yield from parts.items()
