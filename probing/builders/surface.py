"""Surface tasks: sentence length and word content. They need tokens only, so any text will do.

SentLen (sentence_length): six bins of 5-8, 9-12, 13-16, 17-20, 21-25, 26-28 tokens, labelled 0-5.
WC (word_content): 1,000 lower-cased words of at least four characters, taken by frequency rank from position 2,001 onwards; a
sentence holds exactly one of them, exactly once. A small corpus has neither that rank nor that many sentences a word: then the
offset is lowered to the one that gives most words with `min_per_class` sentences each, and the card says how many there are.
Definitions: facebookresearch/SentEval, data/probing/README.md; Conneau et al. 2018.

Left out: WC does not keep a corpus' own splits, since each of its words must be met in all three.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from probing.builders.sampling import Built, Candidate, LeftOut, Options, Row, balanced, by_class, check_size, shuffled
from probing.corpora.treebank import Sentence

BINS = ((5, 8), (9, 12), (13, 16), (17, 20), (21, 25), (26, 28))
WORDS, OFFSET = 1000, 2000
OFFSETS = (2000, 1500, 1000, 700, 500, 400, 300, 200, 150, 100, 70, 50, 30)


def sentence_length(sentences: Sequence[Sentence], rng: np.random.Generator, options: Options) -> Built:
    """Six bins of length; a bin that holds fewer than `min_per_class` sentences is left out and named in the card."""
    labels = [next(str(k) for k, (low, high) in enumerate(BINS) if low <= len(s.tokens) <= high) for s in sentences]
    counts = Counter(labels)
    kept = {label for label, n in counts.items() if n >= options.min_per_class}
    rows = by_class(
        [Candidate(s.tokens, k, s.split) for s, k in zip(sentences, labels, strict=True) if k in kept], options, rng
    )
    dropped = {label: n for label, n in sorted(counts.items()) if label not in kept}
    return Built(
        rows=tuple(balanced(rows, options, rng)),
        definition="Length in tokens, in bins: " + ", ".join(f"{k}: {a}-{b}" for k, (a, b) in enumerate(BINS)) + ".",
        split=options.split,
        filters={"eligible": len(sentences)},
        details={"bins left out for want of sentences": dropped},
    )


def word_content(sentences: Sequence[Sentence], rng: np.random.Generator, options: Options) -> Built:
    """Which of the target words a sentence holds. `min_per_class` counts for 1,000 words of 120 sentences: a fifth of it here."""
    least = max(10, options.min_per_class // 5)
    lowered = [tuple(token.lower() for token in s.tokens) for s in sentences]
    counts = Counter(token for tokens in lowered for token in tokens)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    best: tuple[int, dict[str, list[int]]] = (0, {})
    for offset in OFFSETS:
        words = [w for w in ranked[offset:] if len(w) >= 4 and any(map(str.isalpha, w)) and counts[w] >= least][:WORDS]
        found = usable(words, lowered, least)
        if len(found) > len(best[1]):
            best = offset, found
        if len(found) == WORDS:
            break
    offset, found = best
    if len(found) < 2:
        raise LeftOut(f"too small: fewer than two words from rank 31 on have {least} sentences of their own; give a larger corpus")
    seeded = replace(options, official=False, min_per_class=least)
    rows: list[Row] = []
    for row in balanced(by_class([Candidate(sentences[i].tokens, w) for w in found for i in found[w]], seeded, rng), seeded, rng):
        rows.append(row)
    check_size(rows, sorted(found), seeded)
    return Built(
        rows=tuple(shuffled(rows, rng)),
        definition=f"Which of {len(found)} target words (lower-cased, four characters or more, by frequency rank from {offset + 1} "
        "on) the sentence holds; exactly one of them, exactly once.",
        split=seeded.split,
        filters={"sentences": len(sentences), "eligible (one target, once)": sum(map(len, found.values()))},
        details={
            "classes": len(found),
            "classes in the paper": WORDS,
            "rank offset": offset,
            "rank offset in the paper": OFFSET,
            "sentences per word, at least": least,
        },
    )


def usable(words: Sequence[str], lowered: Sequence[tuple[str, ...]], least: int) -> dict[str, list[int]]:
    """Word -> the sentences that hold it once and no other target; words with fewer than `least` are dropped, rarest first."""
    targets = set(words)
    held = [[token for token in tokens if token in targets] for tokens in lowered]
    while True:
        found: dict[str, list[int]] = {word: [] for word in words if word in targets}
        for i, tokens in enumerate(held):
            if len(tokens) == 1:
                found[tokens[0]].append(i)
        poor = sorted((word for word, where in found.items() if len(where) < least), key=lambda w: (len(found[w]), w))
        if not poor:
            return found
        targets -= set(poor[: max(1, len(poor) // 4)])
        held = [[token for token in tokens if token in targets] for tokens in held]
