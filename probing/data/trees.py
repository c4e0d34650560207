"""Dependency trees as numbers: depths of words, distances between words, and the trees of a split whose items are words.

A word's depth is the number of arcs up to the root (root 0). The distance of two words is the number of arcs on the path between
them. Let a_i be the 0/1 vector of word i's ancestors, i included. Then |a_i - a_j|² is the distance (depths less twice the depth of
the lowest common ancestor): every tree on n words embeds in n - 1 dimensions (the root's column is constant), one per arc, so that
a linear probe of squared distances can be exact (Hewitt & Manning 2019).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from probing.data.split import Split
from probing.errors import DataError

FACTS = ("head", "sentence", "listed", "punct")


def ancestors(heads: Sequence[int] | np.ndarray) -> np.ndarray:
    """The ancestors of each word, itself included, as 0 and 1: (n, n) int16, or (m, n, n) of m trees of one size.

    Args:
        heads: the head of each word, 0..n-1, -1 for the root: (n,) or (m, n).

    Raises:
        DataError: the heads are no tree (not one root, a head outside of the sentence, a cycle).
    """
    above = np.atleast_2d(np.asarray(heads, np.int64))  # (m, n)
    m, n = above.shape
    if n and (((above == -1).sum(1) != 1).any() or above.min() < -1 or above.max() >= n):
        raise DataError(
            "the heads do not make one tree: one word has the head -1 (root), every other one the number of a word, from 0"
        )
    made = np.zeros((m, n, n), np.int16)
    tree, word = np.indices((m, n))
    at = np.broadcast_to(np.arange(n), (m, n)).copy()
    for _ in range(n):
        inside = at >= 0
        if not inside.any():
            break
        made[tree[inside], word[inside], at[inside]] = 1
        at[inside] = above[tree[inside], at[inside]]
    if (at >= 0).any():
        raise DataError("the heads do not make one tree: some words are their own ancestors (a cycle)")
    return made if np.ndim(heads) == 2 else made[0]


def tree_depths(heads: Sequence[int] | np.ndarray) -> np.ndarray:
    """The depth of each word, root 0: (n,) or (m, n). DataError as `ancestors`.

    >>> tree_depths([1, -1, 1]).tolist()
    [1, 0, 1]
    """
    return ancestors(heads).sum(-1, dtype=np.int64) - 1


def tree_distances(heads: Sequence[int] | np.ndarray) -> np.ndarray:
    """The arcs on the path between each two words: (n, n) or (m, n, n). DataError as `ancestors`.

    >>> tree_distances([1, -1, 1]).tolist()
    [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
    """
    up = ancestors(heads).astype(np.float32)  # exact: sums of at most n ones; float products are faster than integer ones
    size = up.sum(-1)
    return (size[..., :, None] + size[..., None, :] - 2 * up @ up.swapaxes(-1, -2)).astype(np.int64)


class Pairs(NamedTuple):
    """The pairs of words i < j of one sentence each, in row-major order, sentence after sentence: words of the split, (P,) each."""

    i: np.ndarray
    j: np.ndarray


@dataclass(frozen=True)
class Trees:
    """The trees of S sentences with N words.

    Attributes:
        heads: head of each word within its sentence, -1 for the root: (N,).
        starts: the first word of each sentence, and N: (S + 1,).
        listed, punct: whether XPOS is one of the seven listed tags (`probing.data.conllu.LISTED`), and UPOS is PUNCT: (N,).
    """

    heads: np.ndarray
    starts: np.ndarray
    listed: np.ndarray
    punct: np.ndarray

    @classmethod
    def of(cls, split: Split, name: str = "the split") -> Trees:
        """The trees of a split whose items are all words of its sentences, in order (`FACTS`).

        Raises:
            DataError: a fact is absent, words of a sentence are absent, or the heads of a sentence are no tree.
        """
        if missing := [fact for fact in FACTS if fact not in split.facts]:
            raise DataError(f"{name} has no trees: its words lack {', '.join(missing)}; give CoNLL-U (task=tree)")
        sentence = np.asarray(split.facts["sentence"])
        starts = np.r_[0, np.flatnonzero(np.diff(sentence)) + 1, len(sentence)] if len(sentence) else np.zeros(1, np.int64)
        if split.spans is not None:
            first, last, inside = starts[:-1], starts[1:] - 1, np.ones(len(sentence), bool)
            inside[first] = False
            gaps = split.spans[1:, 0] > split.spans[:-1, 1]
            ends = np.array([len(split.texts[row].split()) for row in last], np.int64)
            if split.spans[first, 0].any() or (split.spans[last, 1] != ends).any() or (gaps & inside[1:]).any():
                raise DataError(
                    f"{name}: words of a sentence are absent, and a tree needs them all: draw sentences (data.sentences=N), "
                    "not words (train_size)"
                )
        trees = cls(*(np.asarray(x) for x in (split.facts["head"], starts, split.facts["listed"], split.facts["punct"])))
        try:
            trees.depths  # noqa: B018 (the check of all heads)
        except DataError as error:
            raise DataError(f"{name}: {error}") from None
        return trees

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """Words of each sentence: (S,)."""
        return np.diff(self.starts)

    @cached_property
    def sentence(self) -> np.ndarray:
        """The sentence of each word, from 0: (N,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @cached_property
    def depths(self) -> np.ndarray:
        """The depth of each word: (N,)."""
        depths = np.empty(len(self.heads), np.int64)
        for _, words in self.by_length():
            depths[words] = tree_depths(self.heads[words])
        return depths

    @cached_property
    def distances(self) -> tuple[np.ndarray, ...]:
        """For each sentence the distances of its words: (n, n) each, int16."""
        made: list[np.ndarray] = [np.zeros((0, 0), np.int16)] * len(self)
        for sentences, words in self.by_length():
            for part in range(0, len(sentences), 512):  # so that a long corpus of short sentences needs little memory
                block = tree_distances(self.heads[words[part : part + 512]]).astype(np.int16)
                for row, one in zip(sentences[part : part + 512], block, strict=True):
                    made[row] = one
        return tuple(made)

    def take(self, sentences: np.ndarray) -> tuple[Trees, np.ndarray]:
        """The trees of these sentences, and their words."""
        words = np.concatenate([np.zeros(0, np.int64), *(np.arange(self.starts[s], self.starts[s + 1]) for s in sentences)])
        starts = np.r_[0, np.cumsum(self.lengths[sentences])]
        return Trees(self.heads[words], starts, self.listed[words], self.punct[words]), words

    def by_length(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The sentences of each length n that occurs, (m,), and their words, (m, n)."""
        for n in np.unique(self.lengths):
            rows = np.flatnonzero(self.lengths == n)
            yield rows, self.starts[rows, None] + np.arange(n)

    @cached_property
    def pairs(self) -> Pairs:
        """All pairs of words of one sentence."""
        upper = {n: np.triu_indices(n, 1) for n in np.unique(self.lengths).tolist()}
        parts = [
            (start + upper[n][0], start + upper[n][1])
            for start, n in zip(self.starts[:-1].tolist(), self.lengths.tolist(), strict=True)
        ]
        i, j = (np.concatenate([np.zeros(0, np.int64), *(part[side] for part in parts)]) for side in (0, 1))
        return Pairs(i, j)

    @cached_property
    def pair_distances(self) -> np.ndarray:
        """The distances of `pairs`: (P,)."""
        upper = {n: np.triu_indices(n, 1) for n in np.unique(self.lengths).tolist()}
        return np.concatenate([np.zeros(0, np.int16), *(one[upper[len(one)]] for one in self.distances)])
