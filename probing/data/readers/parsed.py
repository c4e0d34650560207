"""A parsed sentence: its tokens in running text, with a constituency tree, with dependencies, or with neither.

Depth and labels are those of Penn-style trees (Marcus et al. 1993); dependencies are the basic ones of Universal Dependencies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

SPLIT_NAMES = {"train": "tr", "dev": "va", "test": "te", "test2": "te"}


@dataclass(frozen=True, slots=True)
class Node:
    """A constituent: a phrase with children, or a tag with its word."""

    label: str
    children: tuple[Node, ...] = ()
    word: str | None = None

    @property
    def category(self) -> str:
        """The label without function tags and indices: NP-SBJ-1 is NP, -LRB- stays."""
        if self.label[:1] == "-" or ("-" not in self.label and "=" not in self.label):
            return self.label
        return re.split(r"[-=]", self.label, maxsplit=1)[0]

    @property
    def functions(self) -> frozenset[str]:
        """The function tags: NP-SBJ-1 has SBJ."""
        return frozenset() if self.label[:1] == "-" else frozenset(re.split(r"[-=]", self.label)[1:])

    @property
    def depth(self) -> int:
        """Nodes on the longest path down, this one and the tag included and the word not: nltk's height less one."""
        depth, level = 0, [self]
        while level:
            depth, level = depth + 1, [child for node in level for child in node.children]
        return depth

    def leaves(self) -> list[Node]:
        """The tag nodes, from left to right."""
        tags, left = [], [self]
        while left:
            node = left.pop()
            if node.children:
                left.extend(reversed(node.children))
            else:
                tags.append(node)
        return tags

    def __str__(self) -> str:
        return f"({self.label} {self.word if self.word is not None else ' '.join(map(str, self.children))})"


@dataclass(frozen=True)
class Dependencies:
    """A dependency tree over words 0..w-1: `heads` holds words, -1 for the root, or nothing where the file has
    tags alone; `token` the index of each word's token; `ranges`
    and `empty` the numbers of the file's multiword tokens (`3-4`) and empty nodes (`5.1`) in the sentence, which are no words."""

    heads: tuple[int, ...]
    relations: tuple[str, ...]
    upos: tuple[str, ...]
    features: tuple[Mapping[str, str], ...]
    forms: tuple[str, ...]
    token: tuple[int, ...]
    xpos: tuple[str, ...] = ()
    lemmas: tuple[str, ...] = ()
    ranges: int = 0
    empty: int = 0

    @property
    def root(self) -> int:
        return self.heads.index(-1)

    def children(self, head: int) -> list[int]:
        return [word for word, above in enumerate(self.heads) if above == head]

    def relation(self, word: int) -> str:
        """The universal relation, without a language's subtype: nsubj:pass is nsubj."""
        return self.relations[word].partition(":")[0]


@dataclass(frozen=True)
class Sentence:
    """Tokens, and as far as the source has them: a tag for each, a tree or dependencies, a split (tr, va, te), a document."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...] = ()
    tree: Node | None = None
    dependencies: Dependencies | None = None
    split: str | None = None
    document: str | None = None

    @property
    def text(self) -> str:
        return " ".join(self.tokens)


@dataclass(frozen=True)
class Corpus:
    """Sentences, with the names of their files and the sha256 of the files' unpacked content."""

    name: str
    sha256: str
    sentences: tuple[Sentence, ...] = field(repr=False)
