"""Constituents of a sentence held against a partition of its words, and modifiers against an interaction tree.

Constituents are the distinct spans of 2 to n - 1 tokens of a tree, punctuation counted as it stands.

    bracket    parts that are constituents, by length
    whole      constituents that are parts, by label
    unbroken   constituents that no boundary of the partition cuts, by label
    cut        word boundaries that the partition cuts: at a conjunction (CC), at punctuation, elsewhere
    modifier   modifier and head (its right neighbour), under one node, that the tree joins before either joins anything else

Chance, in the same sentence: `shuffled`, the parts in random order, or a tree that joins neighbours in random order (exact:
1/3, or 1/2 at the ends of the sentence); `random`, intervals of the same lengths anywhere, or any other neighbours of the same
tree.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from probing.data.readers.parsed import Node, Sentence
from probing.interactions.partition import Partition, interaction_tree

Span = tuple[int, int]
LABELS = {**dict.fromkeys(("S", "SBAR", "SQ", "SINV", "SBARQ"), "clause")}
LABELS |= {"NP": "noun phrase", "VP": "verb phrase", "PP": "prepositional phrase"}
PUNCTUATION = (".", ",", ":", "''", "``", '"', "(", ")", "-LRB-", "-RRB-", "HYPH", "NFP")
"""Penn tags of punctuation marks."""
MODIFIERS = {"JJ": ("adjective", ("NN",)), "RB": ("adverb", ("JJ", "RB", "VB"))}
"""Beginnings of tags: of the modifier, its name, and of its head."""
SHUFFLES = 200


def constituents(tree: Node) -> dict[Span, set[str]]:
    """Labels of every span of 2 to n - 1 tokens that is a constituent; clauses, noun, verb, prepositional phrases, or other.

    >>> a, b, c = Node("DT", word="a"), Node("NN", word="b"), Node("VB", word="c")
    >>> constituents(Node("S", (Node("NP-SBJ", (a, b)), Node("VP", (c,)))))
    {(0, 2): {'noun phrase'}}
    """
    labels_of: dict[Span, set[str]] = {}

    def walk(node: Node, start: int) -> int:
        stop = start + 1 if node.word is not None else start
        for child in node.children:
            stop = walk(child, stop)
        if stop - start > 1:
            labels_of.setdefault((start, stop), set()).add(LABELS.get(node.category, "other"))
        return stop

    whole = (0, walk(tree, 0))
    return {span: labels for span, labels in sorted(labels_of.items()) if span != whole}


def compared(sentence: Sentence, partition: Partition, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """One line for each measure and group of a partition: number (of parts, constituents or boundaries), gold (constituents of
    the length), observed (how many of them hold), shuffled and random (expected by chance)."""
    assert sentence.tree is not None
    n, gold, kinds = len(sentence.tokens), constituents(sentence.tree), boundary_kinds(sentence)
    lengths = np.array([stop - start for start, stop in partition])
    observed = _holding(gold, kinds, lengths[None])
    shuffled = _holding(gold, kinds, rng.permuted(np.tile(lengths, (SHUFFLES, 1)), axis=1))
    sizes, spans = Counter(lengths[(lengths > 1) & (lengths < n)].tolist()), Counter(stop - start for start, stop in gold)
    labels = Counter(label for names in gold.values() for label in names)
    groups = [("bracket", length, sizes[length]) for length in sorted({*sizes, *spans})]
    groups += [(measure, label, labels[label]) for measure in ("whole", "unbroken") for label in labels]
    groups += [("cut", kind, number) for kind, number in Counter(kinds).items()]
    for measure, group, number in groups:
        line = {"measure": measure, "group": str(group), "number": number}
        line |= {"observed": observed[measure, group], "shuffled": shuffled[measure, group]}
        if measure == "bracket":
            line |= {"gold": spans[group], "random": number * spans[group] / (n - group + 1)}
        yield line


def _holding(gold: dict[Span, set[str]], kinds: list[str], lengths: np.ndarray) -> Mapping[tuple[str, Any], float]:
    """How many hold, by (measure, group), mean over partitions with parts of these lengths, (partitions, parts)."""
    n = int(lengths[0].sum())
    cut = np.zeros((len(lengths), n + 1), bool)  # cut[:, i]: a part begins at word i, or ends before it
    cut[:, 0] = True
    np.put_along_axis(cut, lengths.cumsum(1), True, axis=1)
    counts: defaultdict[tuple[str, Any], float] = defaultdict(int)
    for (start, stop), labels in gold.items():
        together = ~cut[:, start + 1 : stop].any(1)
        whole = float((together & cut[:, start] & cut[:, stop]).mean())
        counts["bracket", stop - start] += whole
        for label in labels:
            counts["whole", label] += whole
            counts["unbroken", label] += float(together.mean())
    for boundary, kind in enumerate(kinds, start=1):
        counts["cut", kind] += float(cut[:, boundary].mean())
    return counts


def boundary_kinds(sentence: Sentence) -> list[str]:
    """Of the boundary between word i and i + 1: conjunction or punctuation, if one of the two is, else other."""
    return [
        "conjunction" if "CC" in pair else "punctuation" if any(tag in PUNCTUATION for tag in pair) else "other"
        for pair in pairwise(sentence.tags)
    ]


def modifiers(sentence: Sentence, phi: list[float]) -> Iterator[dict[str, Any]]:
    """Neighbours modifier and head that are joined first in the interaction tree, and what chance gives; one line a group."""
    n = len(sentence.tokens)
    square = np.zeros((n, n))
    square[np.triu_indices(n)] = phi
    joined = {start for start, stop in interaction_tree(square).spans() if stop - start == 2}
    by_name: dict[str, list[int]] = {}
    assert sentence.tree is not None
    for i, left, right in _siblings(sentence.tree):
        for modifier, (name, heads) in MODIFIERS.items():
            if left.startswith(modifier) and right.startswith(heads):
                by_name.setdefault(name, []).append(i)
    for group, places in by_name.items():
        yield {
            "measure": "modifier",
            "group": group,
            "number": len(places),
            "observed": sum(i in joined for i in places),
            "shuffled": sum(0.5 if i in (0, n - 2) else 1 / 3 for i in places),
            "random": len(places) * len(joined) / (n - 1),
        }


def _siblings(tree: Node) -> Iterator[tuple[int, str, str]]:
    """Position and tags of neighbouring words that are children of one node, a phrase of one word counting as the word."""
    places = {id(leaf): i for i, leaf in enumerate(tree.leaves())}
    stack = [tree]
    while stack:
        node = stack.pop()
        stack += node.children
        words = [child.leaves() for child in node.children]
        for left, right in pairwise(words):
            if len(left) == len(right) == 1:
                yield places[id(left[0])], left[0].category, right[0].category
