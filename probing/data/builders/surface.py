"""Surface tasks: sentence length and word content. They need tokens only, so any text serves.

A small corpus has neither words of rank 2,001 nor 1,000 of them with ten sentences each (eight in train, one in dev, one in test):
then the offset is the one that gives most words. So many classes cannot each have `min_per_split` sentences in a split: instead
every split must hold 2 × `min_per_split`. Word content does not use a corpus' own splits, since each word must occur in all three.
Definitions: facebookresearch/SentEval, data/probing/README.md; Conneau et al. 2018.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from probing.data.builders.sampling import Built, LeftOut, Options, Row, balanced, by_class, large_classes
from probing.data.readers.parsed import Sentence

BINS = ((5, 8), (9, 12), (13, 16), (17, 20), (21, 25), (26, 28))
WORDS, OFFSET = 1000, 2000  # of the paper
OFFSETS = (2000, 1500, 1000, 700, 500, 400, 300, 200, 150, 100, 70, 50, 30)


def sentence_length(sentences: Sequence[Sentence], rng: np.random.Generator, options: Options) -> Built:
    """Six bins of length; a bin too small for `min_per_split` sentences in every split is dropped and named in the card."""
    labels = [next(str(k) for k, (low, high) in enumerate(BINS) if low <= len(s.tokens) <= high) for s in sentences]
    kept, dropped = large_classes(zip(labels, sentences, strict=True), options)
    candidates = [Row.of(s, k) for s, k in zip(sentences, labels, strict=True) if k in kept]
    rows = by_class(candidates, options, rng)
    return Built(
        rows=tuple(balanced(rows, options, rng)),
        definition="Length in tokens, in bins: " + ", ".join(f"{k}: {a}-{b}" for k, (a, b) in enumerate(BINS)) + ".",
        split=options.split,
        filters={"eligible": len(sentences)},
        details={"bins left out for want of sentences": dropped},
    )


def word_content(sentences: Sequence[Sentence], rng: np.random.Generator, options: Options) -> Built:
    """Which of the target words a sentence holds; a word has at least `options.per_word` sentences of its own."""
    lowered = [tuple(token.lower() for token in s.tokens) for s in sentences]
    counts = Counter(token for tokens in lowered for token in tokens)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    rank = {word: k for k, word in enumerate(ranked)}
    sentence = np.repeat(np.arange(len(lowered)), [len(tokens) for tokens in lowered])  # of each token of the corpus
    word = np.array([rank[token] for tokens in lowered for token in tokens], dtype=np.int64)  # its rank
    best: tuple[int, dict[int, list[int]]] = (0, {})
    for offset in OFFSETS:
        words = [w for w in ranked[offset:] if len(w) >= 4 and any(map(str.isalpha, w)) and counts[w] >= options.per_word]
        targets = np.array([rank[w] for w in words[: options.words]], dtype=np.int64)
        usable = usable_words(targets, sentence, word, options.per_word)
        if len(usable) > len(best[1]):
            best = offset, usable
        if len(usable) == options.words:
            break
    offset, usable = best
    if len(usable) < 2:
        raise LeftOut(
            f"too small: fewer than two words from rank 31 on have {options.per_word} sentences of their own; give a larger corpus"
        )
    seeded = replace(options, official=False, min_per_split=1)
    candidates = [Row.of(sentences[i], ranked[k]) for k, rows in usable.items() for i in rows]
    rows = balanced(by_class(candidates, seeded, rng), seeded, rng)
    split, n = min(Counter(row.split for row in rows).items(), key=lambda item: item[1])
    if n < 2 * options.min_per_split:
        raise LeftOut(
            f"too small: {n} sentences ({len(usable)} words) in the split {split}, at least {2 * options.min_per_split} (2 × "
            "min_per_split) are needed; give a larger corpus or lower min_per_split"
        )
    return Built(
        rows=tuple(rows),
        definition=f"Which of {len(usable)} target words (lower-cased, four characters or more, by frequency rank from "
        f"{offset + 1} on) the sentence holds; exactly one of them, exactly once.",
        split=seeded.split,
        filters={"sentences": len(sentences), "eligible (one target, once)": sum(map(len, usable.values()))},
        details={
            "classes": len(usable),
            "classes in the paper": WORDS,
            "rank offset": offset,
            "rank offset in the paper": OFFSET,
            "sentences per word, at least": options.per_word,
        },
    )


def usable_words(targets: np.ndarray, sentence: np.ndarray, word: np.ndarray, least: int) -> dict[int, list[int]]:
    """Target word -> sentences that hold it once and no other; words with fewer than `least` of them drop out, rarest first.

    Args:
        targets: ranks of words, shape (w,).
        sentence, word: the sentence and the rank of every token of the corpus, shape (tokens,) each.
    """
    is_target = np.zeros(word.max(initial=-1) + 1, dtype=bool)
    is_target[targets] = True
    while True:
        hit = is_target[word]
        alone = np.bincount(sentence[hit], minlength=1)[sentence[hit]] == 1
        held = sentence[hit][alone], word[hit][alone]
        counts = np.bincount(held[1], minlength=len(is_target))[targets]  # (w,)
        poor = [k for k in np.lexsort((targets, counts)) if is_target[targets[k]] and counts[k] < least]
        if not poor:
            sentences_of: dict[int, list[int]] = {k: [] for k in targets[is_target[targets]].tolist()}
            for i, k in zip(*(part.tolist() for part in held), strict=True):
                sentences_of[k].append(i)
            return sentences_of
        is_target[targets[poor[: max(1, len(poor) // 4)]]] = False
