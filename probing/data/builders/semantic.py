"""Semantic tasks whose targets are word forms: tense, subject and object number, odd man out.

Odd man out: words are replaced by exchange. Of two sentences, one with x and one with y, each of which may hold the other's word,
both are changed (C) or neither (O), at random: the C sentences of a split hold the same words as without the changes, and no count
of words separates C from O. Each form is exchanged with one other form only, both in the same split; the pairs of forms are chosen,
largest first, by the number of pairs of sentences that they give. The two bigrams with the neighbours must be attested with
frequencies "comparable" to the original's: within a factor of two.

Frequencies are of the forms as they are (odd man out) or lower-cased, per tag, in the given corpus; their limits are scaled for a
small one (`probing.data.builders.sampling`). A corpus' own splits are not used: few sentences fit both those and the split by form.
Definitions: facebookresearch/SentEval, data/probing/README.md; Conneau et al. 2018.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import cache, partial
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np

from probing.data.builders import clause
from probing.data.builders.sampling import (
    SHARES,
    Built,
    LeftOut,
    Options,
    Row,
    balanced,
    by_form,
    check_size,
    scaled,
    shuffled,
    with_trees,
)
from probing.data.readers.parsed import Node, Sentence

TENSES = {"VBD": "PAST", "VBP": "PRES", "VBZ": "PRES"}
NUMBERS = {"NN": "NN", "NNS": "NNS"}
REPLACED = {"NN", "NNS", "VB", "VBD", "VBG", "VBN", "VBP", "VBZ"}


def tag_task(
    sentences: Sequence[Sentence],
    rng: np.random.Generator,
    options: Options,
    *,
    target: Callable[[Node], Node | None],
    labels: dict[str, str],
    instead: str,
    about: str,
) -> Built:
    """The label of one word of the tree, by its tag; `instead` names the task for dependencies."""
    labelled = []
    for sentence, tree in with_trees(sentences, instead):
        word = target(tree)
        if word is not None and word.label in labels:
            labelled.append((sentence, labels[word.label], (word.word or "").lower()))
    frequency = Counter((t.lower(), labels[k]) for s in sentences for t, k in zip(s.tokens, s.tags, strict=True) if k in labels)
    return form_task(labelled, frequency, about, rng, options)


past_present = partial(
    tag_task,
    target=clause.finite_verb,
    labels=TENSES,
    instead="ud_past_present",
    about="Main verb past (VBD) or present (VBP, VBZ)",
)
subj_number = partial(
    tag_task,
    target=clause.subject_head,
    labels=NUMBERS,
    instead="ud_subj_number",
    about="Subject of the main clause singular (NN) or plural (NNS)",
)
obj_number = partial(
    tag_task,
    target=clause.object_head,
    labels=NUMBERS,
    instead="ud_obj_number",
    about="Direct object of the main clause singular (NN) or plural (NNS)",
)


def form_task(
    labelled: Sequence[tuple[Sentence, str, str]],
    frequency: Counter[tuple[str, str]],
    about: str,
    rng: np.random.Generator,
    options: Options,
) -> Built:
    """Sentences whose target form has a frequency within the limits, split by form, balanced; for constituents and UD."""
    low, high = scaled(100, 5000, len(labelled))
    kept = [Row(None, k, s.tokens, form) for s, k, form in labelled if low <= frequency[form, k] <= high]
    rows = balanced(by_form(kept, options, rng), options, rng)
    return Built(
        rows=tuple(rows),
        definition=f"{about}; forms with a corpus frequency of {low}-{high}, each met as target in one split only.",
        split=f"by target form, a form is in one split only; about {options.shares}",
        filters={"sentences with a target": len(labelled), "eligible (frequency)": len(kept)},
        details={
            "frequency limits": [low, high],
            "frequency limits in the paper": [100, 5000],
            "target forms": len({row.group for row in kept}),
        },
        groups="target form",
    )


def odd_man_out(sentences: Sequence[Sentence], rng: np.random.Generator, options: Options) -> Built:
    """One noun or verb replaced (C) or not (O), by Penn tags."""
    if not any(s.tree for s in sentences):
        raise LeftOut("no Penn tags in this corpus; a dependency treebank has ud_odd_man_out instead")
    tags = [tuple(tag if tag in REPLACED else "" for tag in s.tags) for s in sentences]
    return replacement_task(sentences, tags, "One noun or verb replaced (C) by another form of the same Penn tag", rng, options)


def replacement_task(
    sentences: Sequence[Sentence],
    tags: Sequence[tuple[str, ...]],
    about: str,
    rng: np.random.Generator,
    options: Options,
) -> Built:
    """Exchange words between sentences in half of the pairs; a word with an empty tag is never replaced."""
    low, high = scaled(40, 400, len(sentences))
    candidates = replacements(sentences, tags, low, high)
    pairs = exchanges([s.tokens for s in sentences], tags, candidates, rng)
    splits = by_form([Row(None, "", (), pair.forms) for pair in pairs], options, rng)
    rows: list[Row] = []
    for split in SHARES:
        inside = [pair for row, pair in zip(splits, pairs, strict=True) if row.split == split]
        order = [inside[i] for i in rng.permutation(len(inside))]
        half = len(order) // 2
        for label, members in (("C", order[:half]), ("O", order[half : 2 * half])):
            for pair in members:
                rows += [Row(split, label, tokens, pair.forms) for tokens in (pair.changed if label == "C" else pair.original)]
    if not rows:
        raise LeftOut("too small: no two sentences can exchange a noun or verb; give a larger corpus")
    check_size(rows, ["C", "O"], options)
    return Built(
        rows=tuple(shuffled(rows, rng)),
        definition=f"{about}, or not (O); both bigrams attested and within a factor of two of the original's frequency, forms with "
        f"a corpus frequency of {low}-{high}; two sentences exchange their words, so that a form is put in as often as taken out; "
        "a form replaces in one split only, no sentence comes in both versions.",
        split=f"by replacement form, a form replaces in one split only; about {options.shares}",
        filters={
            "sentences": len(sentences),
            "eligible (a replacement exists)": len(candidates),
            "eligible (another sentence to exchange with)": 2 * len(pairs),
        },
        details={
            "frequency limits": [low, high],
            "frequency limits in the paper": [40, 400],
            "pairs of forms": len({row.group for row in rows}),
        },
        groups="pair of forms that are exchanged",
    )


class Exchange(NamedTuple):
    """The two forms, two sentences, and both with one form in place of the other."""

    forms: str
    original: tuple[tuple[str, ...], tuple[str, ...]]
    changed: tuple[tuple[str, ...], tuple[str, ...]]


def exchanges(
    texts: Sequence[tuple[str, ...]],
    tags: Sequence[tuple[str, ...]],
    candidates: dict[int, dict[int, list[str]]],
    rng: np.random.Generator,
) -> list[Exchange]:
    """Pairs of forms, each form in one pair, and pairs of sentences that can exchange them, each sentence in one pair.

    `candidates` is the result of `replacements`.
    """
    places: dict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)  # (old, new, tag) -> (sentence, position)
    for number, options in candidates.items():
        for position, forms in options.items():
            for new in forms:
                places[texts[number][position], new, tags[number][position]].append((number, position))
    mutual = [key for key in places if key[0] < key[1] and (key[1], key[0], key[2]) in places]
    queue = [(-min(len(places[x, y, tag]), len(places[y, x, tag])), x, y, tag) for x, y, tag in mutual]
    taken_forms: set[str] = set()
    taken: set[int] = set()
    known = set(texts)
    pairs: list[Exchange] = []
    heapify(queue)
    while queue:
        most, x, y, tag = heappop(queue)
        if {x, y} & taken_forms:
            continue
        left = min(sum(i not in taken for i, _ in places[side]) for side in ((x, y, tag), (y, x, tag)))
        if left < -most:
            if left:
                heappush(queue, (-left, x, y, tag))
            continue
        taken_forms |= {x, y}
        ahead, back = ([side[i] for i in rng.permutation(len(side))] for side in (places[x, y, tag], places[y, x, tag]))
        for i, p in ahead:
            for j, q in back:
                changed = replaced(texts[i], p, y), replaced(texts[j], q, x)
                if i != j and not {i, j} & taken and changed[0] != changed[1] and not known & set(changed):
                    taken |= {i, j}
                    known |= set(changed)
                    pairs.append(Exchange(f"{x} {y}", (texts[i], texts[j]), changed))
                    back.remove((j, q))
                    break
    return pairs


def replacements(
    sentences: Sequence[Sentence], tags: Sequence[tuple[str, ...]], low: int, high: int
) -> dict[int, dict[int, list[str]]]:
    """Sentence -> position (never the first) -> the forms that may replace the word, sorted."""
    frequency = Counter((t, k) for s, ks in zip(sentences, tags, strict=True) for t, k in zip(s.tokens, ks, strict=True) if k)
    bigrams: Counter[tuple[str, str]] = Counter()
    after: dict[tuple[str, str], set[str]] = defaultdict(set)
    before: dict[tuple[str, str], set[str]] = defaultdict(set)
    places = []
    for number, (s, ks) in enumerate(zip(sentences, tags, strict=True)):
        padded = (*s.tokens, "</s>")
        bigrams.update(zip(padded, padded[1:], strict=False))
        for i in range(1, len(s.tokens)):
            if ks[i] and low <= frequency[s.tokens[i], ks[i]] <= high:
                after[padded[i - 1], ks[i]].add(padded[i])
                before[padded[i + 1], ks[i]].add(padded[i])
                places.append((number, i, padded[i - 1 : i + 2], ks[i]))

    @cache
    def likely(left: str, old: str, right: str, tag: str) -> list[str]:
        a, b = bigrams[left, old], bigrams[old, right]
        return sorted(
            new
            for new in after[left, tag] & before[right, tag]
            if a <= 2 * bigrams[left, new] <= 4 * a and b <= 2 * bigrams[new, right] <= 4 * b and new.lower() != old.lower()
        )

    forms: dict[int, dict[int, list[str]]] = defaultdict(dict)
    for number, i, around, tag in places:
        if new := likely(*around, tag):
            forms[number][i] = new
    return dict(forms)


def replaced(tokens: Sequence[str], position: int, form: str) -> tuple[str, ...]:
    return (*tokens[:position], form, *tokens[position + 1 :])
