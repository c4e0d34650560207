"""What a language model predicts and an n-gram does not: errors, closing marks by distance, and words by their last occurrence.

A token is an error where its probability is below a threshold, one half in Karpathy et al. (2016). Facts of a token that may
explain it: how far the mark that it closes was opened, how many words ago its word occurred last (a memory of the text would know
it), how often its word is in the text that the n-gram counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from probing.behaviour.base import LanguageModel
from probing.behaviour.items import split_words
from probing.behaviour.reading import tokens_of
from probing.behaviour.scores import Convention, score
from probing.log import bar, human_count, info
from probing.types import Labels, Values

PAIRS = {")": "(", "]": "[", "}": "{", "”": "“", '"': '"', "''": "``"}
"""Closing marks and what opens them."""

WORD = re.compile(r"\w+(?:['’]\w+)*")


class Stream(NamedTuple):
    """Tokens of a text in their order, n of them: their text and ids, whether a part begins with each (the text, or a line), its
    word, -1 of none, all words, and the log p of those behind the first `n_train`, (n - n_train,), NaN where none is known."""

    tokens: list[str]
    ids: Labels
    begins: np.ndarray
    owner: Labels
    words: list[str]
    n_train: int
    log_p: Values


def by_character(model: LanguageModel, text: str, n_train: int, size: int, before: int) -> Stream:
    """A text as characters; behind the first `n_train` the model reads `size` at a time, and `before` in front of them."""
    owner, words = np.full(len(text), -1), []
    for k, match in enumerate(WORD.finditer(text)):
        owner[match.start() : match.end()] = k
        words.append(match.group())
    starts, log_p = range(n_train, len(text), size), []
    with bar(f"{model.name} reads", len(starts)) as advance:
        for start in starts:
            first = max(0, start - before)
            scores = score(model, [(text[first : start + size], None)], Convention())
            own = np.where(scores.ids[0] == model.unknown, np.nan, scores.log_p[0])
            log_p.append(own[start - first :])
            advance(1)
    ids = np.array([ord(character) for character in text])
    return Stream(list(text), ids, np.arange(len(text)) == 0, owner, words, n_train, np.concatenate(log_p))


def by_line(model: LanguageModel, text: str, n_train: int, split: bool) -> Stream:
    """A text as the tokens that the model scores, line by line; lines that begin within its first `n_train` characters come before
    the others. `split`: punctuation and clitics apart. Lines that are longer than the model can read are left out, and said."""
    lines, at = [list[str](), list[str]()], 0
    for line in text.split("\n"):
        if own := (split_words(line) if split else " ".join(line.split())):
            lines[at >= n_train].append(own)
        at += len(line) + 1
    texts = [(line, None) for line in (*lines[0], *lines[1])]
    read, cut = tokens_of(model, texts, Convention())
    with bar(f"{model.name} reads", len(lines[1])) as advance:
        scores = score(model, texts[len(lines[0]) :], Convention(), advance)
    if cut.any():
        info(f"{human_count(int(cut.sum()), 'line')} left out: longer than {model.name} can read")
    tokens, ids, begins, owner, words = list[str](), list[int](), list[bool](), list[int](), list[str]()
    n = 0
    for k, (one, (line, _)) in enumerate(zip(read, texts, strict=True)):
        of_line = line.split()
        places = [] if one is None else [(one.words[place], one.targets[place]) for place in one.places]
        for j, (word, number) in enumerate(places):
            tokens.append("" if word is None else of_line[word])
            ids.append(number)
            begins.append(j == 0)
            owner.append(len(words) + word if word is not None and WORD.search(of_line[word]) else -1)
        words += of_line
        n = len(tokens) if k < len(lines[0]) else n
    known = [np.where(i == model.unknown, np.nan, x) for i, x in zip(scores.ids, scores.log_p, strict=True)]
    log_p = np.concatenate([*known, np.zeros(0)])
    return Stream(tokens, np.array(ids), np.array(begins, bool), np.array(owner), words, n, log_p)


def closings(tokens: Sequence[str], resets: np.ndarray) -> tuple[Labels, Labels]:
    """Places of closing marks and of their openings, (k,) each; straight quotes open and close in turn. An open mark is forgotten
    at `resets`, bool (n,), where a paragraph or line begins; what stands before the first of them is left out.

    >>> closings(list('(a) "b"'), np.arange(7) == 0)
    (array([2, 6]), array([0, 4]))
    """
    open_: dict[str, list[int]] = {}
    made: list[tuple[int, int]] = []
    started = False
    for k, token in enumerate(tokens):
        if resets[k]:
            open_, started = {}, True
        own = token.strip()
        places = open_.get(PAIRS.get(own, ""), [])
        if places:
            made.append((k, places.pop()))
        elif started and own in PAIRS.values():
            open_.setdefault(own, []).append(k)
    close, opening = np.array(made, np.int64).reshape(-1, 2).T
    return close, opening


def last_occurrence(words: Sequence[str]) -> Values:
    """For each word the number of words since the same one, (n,); infinite for the first. Capitals do not count.

    >>> last_occurrence(["A", "b", "a"]).tolist()
    [inf, inf, 2.0]
    """
    at: dict[str, int] = {}
    ago = np.full(len(words), np.inf)
    for k, word in enumerate(words):
        if (before := at.get(word.lower())) is not None:
            ago[k] = k - before
        at[word.lower()] = k
    return ago


def counts_before(words: Sequence[str], n: int) -> Labels:
    """For each word how often it is among the first n, (all words,)."""
    counts = Counter(word.lower() for word in words[:n])
    return np.array([counts[word.lower()] for word in words], np.int64)


def binned(values: Sequence[float] | np.ndarray, ends: Sequence[int]) -> list[str]:
    """The bin of each value; the last one is open, and infinity is never.

    >>> binned([1, 10, 11, 500, np.inf], (10, 100))
    ['1-10', '1-10', '11-100', '101+', 'never']
    """
    starts = (1, *(end + 1 for end in ends))
    names = [*(f"{a}-{b}" if a < b else str(a) for a, b in zip(starts, ends, strict=False)), f"{starts[-1]}+"]
    return ["never" if np.isinf(x) else "0" if x < 1 else names[int(np.searchsorted(ends, x))] for x in values]
