"""One split of a task: its items with labels. An item is a sentence, or a word, a span or a pair of them in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from probing.data import draws
from probing.data.labels import strata
from probing.types import Labels


@dataclass(frozen=True)
class Split:
    """Items and their labels (`probing.data.labels`), in file order.

    Attributes:
        texts: the sentence of each item.
        groups: names the source of each, None where all have their own; of words their sentence, or document.
        spans: None where an item is its sentence; else the words of `text.split()` that it is, half open: (n, 2), or (n, 4) for a
            pair of spans.
        facts: other annotations of each item, (n,) each, which only some measures read (such as the head of a word).
    """

    texts: tuple[str, ...]
    labels: Any
    groups: tuple[str, ...] | None = None
    spans: np.ndarray | None = None
    facts: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        return f"Split({len(self)} {'sentences' if self.spans is None else 'items'})"

    def take(self, rows: Sequence[int] | np.ndarray) -> Split:
        """The rows of these numbers, in file order."""
        return self.rows(sorted(rows))

    def rows(self, rows: Sequence[int] | np.ndarray) -> Split:
        """The rows of these numbers, in their order."""
        groups = None if self.groups is None else groups_or_none(self.groups[i] for i in rows)
        spans = None if self.spans is None else self.spans[rows]
        facts = {name: values[rows] for name, values in self.facts.items()}
        return Split(tuple(self.texts[i] for i in rows), self.labels[rows], groups, spans, facts)

    @cached_property
    def _tokens(self) -> dict[str, list[str]]:
        """The space-delimited tokens of each distinct sentence."""
        return {text: text.split() for text in set(self.texts)}

    @cached_property
    def lengths(self) -> Labels:
        """Sentence lengths in space-delimited tokens: shape (n,)."""
        length = {text: len(text.split()) for text in set(self.texts)}
        return np.array([length[text] for text in self.texts], dtype=np.int64)

    @cached_property
    def strata(self) -> Labels:
        """The classes that stratified draws keep the shares of (`probing.data.labels.strata`): shape (n,)."""
        return strata(self.labels)

    @cached_property
    def clusters(self) -> Labels | None:
        """Numbers 0..m-1 of the items' groups, (n,); None where each has its own."""
        return None if self.groups is None else np.unique(np.array(self.groups, dtype=object), return_inverse=True)[1]

    @cached_property
    def units(self) -> tuple[str, ...]:
        """The words of each item's first span, with letter case; the sentence where an item is one."""
        if self.spans is None:
            return self.texts
        return tuple(" ".join(self._tokens[text][a:b]) for text, (a, b) in zip(self.texts, self.spans[:, :2].tolist(), strict=True))

    @cached_property
    def beside(self) -> tuple[str, ...]:
        """Of a pair of spans the words of the second one; else the word before the span, "" for the first word of a sentence."""
        assert self.spans is not None
        before = np.stack([self.spans[:, 0] - 1, self.spans[:, 0]], 1) if self.spans.shape[1] == 2 else self.spans[:, 2:]
        return tuple(" ".join(self._tokens[text][max(0, a) : b]) for text, (a, b) in zip(self.texts, before.tolist(), strict=True))

    @cached_property
    def places(self) -> tuple[str, ...]:
        """The items as text: sentences as they are, words with their place in the sentence."""
        if self.spans is None:
            return self.texts
        return tuple(f"{text} {span}" for text, span in zip(self.texts, self.spans.tolist(), strict=True))

    @cached_property
    def forms(self) -> tuple[str, ...]:
        """The items as they are compared: sentences by `word_form`; words by sentence and place, without letter case."""
        return tuple(map(word_form if self.spans is None else str.lower, self.places))

    @property
    def n_groups(self) -> int:
        return len(self) if self.clusters is None else int(self.clusters.max()) + 1

    def half(self, number: int) -> np.ndarray:
        """The rows of a random half, the same share of every class; each number gives another half. Groups stay whole."""
        return draws.half(self.strata, self.clusters, np.random.default_rng([number, 5]))

    def content(self) -> list[Any]:
        """What a probe can see, as plain JSON."""
        own = [] if self.spans is None else [self.spans.tolist()]
        own += [{name: values.tolist() for name, values in self.facts.items()}] if self.facts else []
        return [self.labels.tolist(), self.texts, *own]


def word_form(text: str) -> str:
    """A sentence without letter case and order of words: two of one form count as one sentence.

    >>> word_form("The cat saw the dog")
    'cat dog saw the the'
    """
    return " ".join(sorted(text.lower().split()))


def groups_or_none(groups: Iterable[str]) -> tuple[str, ...] | None:
    """The groups of items, or None where no two are the same."""
    groups = tuple(groups)
    return groups if len(set(groups)) < len(groups) else None
