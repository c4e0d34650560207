"""Syntactic tasks: tree depth, top constituents (both from Penn-style trees) and bigram shift (from tokens alone).

Tokens are those of the corpus, not Moses' as in the original. Punctuation is a token without letter or digit. Definitions:
facebookresearch/SentEval, data/probing/README.md; Conneau et al. 2018.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from probing.data.builders.sampling import (
    Built,
    LeftOut,
    Options,
    Row,
    balanced,
    by_class,
    check_size,
    decorrelated,
    large_classes,
    shuffled,
    with_trees,
)
from probing.data.readers.parsed import Node, Sentence

DEPTHS = range(5, 13)
FREQUENT = 19
QUOTES = {'"', "``", "''", "“", "”", "„", "«", "»"}


def tree_depth(sentences: Sequence[Sentence], rng: np.random.Generator, options: Options) -> Built:
    """Depth of the constituency tree, independent of length."""
    parsed = [(s, tree.depth) for s, tree in with_trees(sentences, "ud_tree_depth")]
    about = "Nodes on the longest path of the constituency tree, ROOT and the tag node counted, the word not"
    return depth_task(parsed, DEPTHS, about, rng, options)


def depth_task(
    parsed: Sequence[tuple[Sentence, int]], allowed: range, about: str, rng: np.random.Generator, options: Options
) -> Built:
    """Draw sentences so that depth and length are independent; for constituents and dependencies."""
    sentences, depths = zip(*parsed, strict=True)
    lengths = [len(s.tokens) for s in sentences]
    least = 4 * options.min_per_split  # see `held_out`
    if options.official:
        least = round(options.min_per_split * len(sentences) / max(1, min(Counter(s.split for s in sentences).values())))
    while True:
        wanted, target = decorrelated(depths, lengths, allowed, least)
        chosen: list[int] = []
        for depth, pair in np.argwhere(wanted > 0):
            cell = np.flatnonzero((np.array(depths) == depth) & ((np.array(lengths) - 5) // 2 == pair))
            chosen += [cell[i] for i in rng.permutation(len(cell))[: wanted[depth, pair]]]
        rows = by_class([Row.of(sentences[i], str(depths[i])) for i in chosen], options, rng)
        try:
            check_size(rows, [str(d) for d in target["values"]], options)
            break
        except LeftOut:  # the corpus' own dev or test is small: fewer values, each with more sentences
            least = round(1.25 * least) + 1
    correlation = np.corrcoef([depths[i] for i in chosen], [lengths[i] for i in chosen])[0, 1]
    before = np.corrcoef(depths, lengths)[0, 1]
    return Built(
        rows=tuple(shuffled(rows, rng)),
        definition=f"{about}; drawn to a Gaussian over depth and length with diagonal covariance, not to equal classes.",
        split=options.split,
        filters={"eligible": len(sentences), "of the allowed depths": sum(d in allowed for d in depths)},
        details={
            "target": target,
            "correlation of depth and length": round(float(correlation), 4),
            "the same before drawing": round(float(before), 4),
        },
    )


def top_constituents(sentences: Sequence[Sentence], rng: np.random.Generator, options: Options) -> Built:
    """The sequence of constituents below the phrase under ROOT."""
    sequences = [(s, top_sequence(tree)) for s, tree in with_trees(sentences, "ud_top_relations")]
    kept = [(s, "_".join(labels)) for s, labels in sequences if proper_sequence(labels)]
    definition = (
        "Labels of the children of the phrase under ROOT, function tags stripped: the most frequent and OTHER; "
        "sequences with punctuation or quotes inside, or that do not end in '.', are left out."
    )
    return frequent_task(kept, len(sequences), definition, rng, options)


def top_sequence(tree: Node) -> list[str]:
    """The categories below the phrase under ROOT; of ROOT itself where it has several children."""
    top = tree.children[0] if len(tree.children) == 1 else tree
    return [child.category for child in top.children]


def proper_sequence(labels: Sequence[str]) -> bool:
    """Whether a sequence ends in `.`, and has only labels of phrases and words, at least one, before it."""
    return (
        len(labels) > 1 and labels[-1] == "." and all(label[:1].isalpha() and label not in ("HYPH", "NFP") for label in labels[:-1])
    )


def frequent_task(
    labelled: Sequence[tuple[Sentence, str]], n_trees: int, definition: str, rng: np.random.Generator, options: Options
) -> Built:
    """The 19 most frequent labels and OTHER; fewer in a small corpus: each must have `min_per_split` in every split.

    `n_trees` is the number of trees in the corpus.
    """
    counts = Counter(label for _, label in labelled)
    ranked = sorted(counts, key=lambda k: (-counts[k], k))
    for n in range(min(FREQUENT, len(ranked)), 0, -1):
        frequent = set(ranked[:n])
        classes = [(k if k in frequent else "OTHER", s) for s, k in labelled]
        if large_classes(classes, options)[1]:
            continue
        rows = balanced(by_class([Row.of(s, k) for k, s in classes], options, rng), options, rng)
        return Built(
            rows=tuple(rows),
            definition=definition,
            split=options.split,
            filters={"trees": n_trees, "eligible": len(labelled)},
            details={
                "classes": len({row.label for row in rows}),
                "classes in the paper": FREQUENT + 1,
                "most frequent": {k: counts[k] for k in ranked[: FREQUENT + 6]},
            },
        )
    raise LeftOut(
        f"too small: no structure and the rest have {options.min_per_split} sentences in every split; give a larger corpus or "
        "lower min_per_split"
    )


def bigram_shift(sentences: Sequence[Sentence], rng: np.random.Generator, options: Options) -> Built:
    """Two adjacent tokens swapped (I) or not (O)."""
    able = [(s, where) for s in sentences if (where := shift_positions(s.tokens))]
    rows = balanced(by_class(halves(able, rng, options), options, rng), options, rng)
    return Built(
        rows=tuple(rows),
        definition="Two adjacent tokens swapped (I) or not (O): not at the start of the sentence, no punctuation, two different "
        "words; no sentence with double quotes.",
        split=options.split,
        filters={"sentences": len(sentences), "eligible": len(able)},
    )


def halves(able: Sequence[tuple[Sentence, list[int]]], rng: np.random.Generator, options: Options) -> list[Row]:
    """Half of the sentences of each split swapped at one position; swaps that make a known sentence are dropped."""
    taken = {s.tokens for s, _ in able}
    candidates = []
    order = rng.permutation(len(able))
    turn: Counter[str | None] = Counter()
    for i in order:
        sentence, where = able[i]
        split = sentence.split if options.official else None
        turn[split] += 1
        tokens = sentence.tokens
        if turn[split] % 2:
            tokens = shifted(tokens, where[int(rng.integers(len(where)))])
            if tokens in taken:
                continue
            taken.add(tokens)
        candidates.append(Row.of(sentence, "I" if turn[split] % 2 else "O", tokens))
    return candidates


def shift_positions(tokens: Sequence[str]) -> list[int]:
    """Positions i such that tokens i and i+1 may be swapped; none where the sentence holds double quotes."""
    if any(token in QUOTES or '"' in token for token in tokens):
        return []
    words = [any(map(str.isalnum, token)) for token in tokens]
    return [i for i in range(1, len(tokens) - 1) if words[i] and words[i + 1] and tokens[i].lower() != tokens[i + 1].lower()]


def shifted(tokens: Sequence[str], i: int) -> tuple[str, ...]:
    """Tokens i and i+1 swapped; twice is the identity."""
    return (*tokens[:i], tokens[i + 1], tokens[i], *tokens[i + 2 :])
