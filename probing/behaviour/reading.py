"""Texts as a language model reads them: tokens with marks, places that are scored, and the inputs that score them, each once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probing.behaviour.base import LanguageModel
from probing.encoders.base import Item
from probing.encoders.hf.tokens import numbers
from probing.errors import ConfigError
from probing.log import excerpt

if TYPE_CHECKING:
    from probing.behaviour.scores import Convention

Text = tuple[str, int | None]
"""A sentence, and the place of the word that is scored; None: all words."""


@dataclass
class Row:
    """One input of the model: what is predicted at which places, and where the results go (text, token)."""

    item: Item
    places: list[int]
    targets: list[int]
    to: list[tuple[int, int]]


@dataclass(frozen=True)
class Tokens:
    """A text as the model reads it: the item with marks, what is predicted at each place, its places to score, and the words by
    the tokenizer and by blanks (None for marks)."""

    item: Item
    targets: list[int]
    places: list[int]
    lost: int
    pretokens: list[int | None]
    words: list[int | None]


@dataclass(frozen=True)
class Reading:
    """Texts as a model reads them: each distinct one (None: too long), whether it was cut, the inputs that score them, and which of
    them is each text."""

    read: list[Tokens | None]
    cut: np.ndarray
    rows: list[Row]
    order: list[int]


def reading(model: LanguageModel, texts: Sequence[Text], convention: Convention) -> Reading:
    """The texts under a convention."""
    distinct = {text: k for k, text in enumerate(dict.fromkeys(texts))}
    read, cut = tokens_of(model, list(distinct), convention)
    return Reading(read, cut, rows_of(model, read, convention), [distinct[text] for text in texts])


def tokens_of(model: LanguageModel, texts: Sequence[Text], convention: Convention) -> tuple[list[Tokens | None], np.ndarray]:
    """Each text as it is read, None where it is longer than the model can read; and (n,) whether that is so."""
    own, plain = convention.of(model), [text for text, _ in texts]
    items, n_cut = model.tokenize(plain)
    cut = np.array([bool(n_cut) and bool(model.tokenize([text])[1]) for text in plain], bool)
    targets, words = model.targets(plain), model.word_ids(plain)
    by_tokenizer = model.kind == "masked" and own.masking in ("within_word_l2r", "whole_word")
    pretokens = model.pretokens(plain) if by_tokenizer else words
    read: list[Tokens | None] = []
    for k, ((text, target), item) in enumerate(zip(texts, items, strict=True)):
        one = None if cut[k] else _framed(model, own, item, (targets[k], pretokens[k], words[k]))
        if one is not None and model.limit is not None and len(one.item) > model.limit:
            cut[k], one = True, None
        if one is not None and target is not None:
            places = [t for t in one.places if one.words[t] == target]
            lost = sum(word == target for word in one.words) - len(places)
            if not places and not lost:
                raise ConfigError(f"{excerpt(text)!r} has no word {target}, which is to be scored (the first is 0)")
            one = Tokens(one.item, one.targets, places, lost, one.pretokens, one.words)
        read.append(one)
    return read, cut


def _framed(
    model: LanguageModel, own: Convention, item: Item, rows: tuple[list[int], list[int | None], list[int | None]]
) -> Tokens:
    """The item with the marks of the convention, and the rows beside it moved along."""
    item, targets, pretokens, words = list(item), list(rows[0]), list(rows[1]), list(rows[2])
    if model.kind == "causal" and not model.starts:
        begins = bool(item) and numbers(item)[0] in model.special
        if own.start == "none" and begins:
            item, targets, pretokens, words = item[1:], targets[1:], pretokens[1:], words[1:]
        elif own.start == "mark" and not begins:
            item, targets = [_like(model.begin, item), *item], [model.begin or 0, *targets]
            pretokens, words = [None, *pretokens], [None, *words]
    if own.end == "score" and not (targets and targets[-1] == model.end and words[-1] is None):
        item, targets = [*item, _like(model.end, item)], [*targets, model.end or 0]
        pretokens, words = [*pretokens, None], [*words, None]
    scored = [t for t, word in enumerate(words) if word is not None and targets[t] not in model.special]
    if own.end == "score":
        scored.append(len(item) - 1)
    usable = [t for t in scored if model.predicts(t, len(item))]
    return Tokens(item, targets, usable, len(scored) - len(usable), pretokens, words)


def _like(token: int | None, item: Item) -> Any:
    """The token in the form of the item's tokens, which may be tuples of an id and other inputs."""
    return (token, *item[0][1:]) if len(item) and isinstance(item[0], tuple) else token


def rows_of(model: LanguageModel, read: Sequence[Tokens | None], convention: Convention) -> list[Row]:
    """The inputs that score the texts, each once. A forward model reads a text up to its last place, where texts that differ there
    alone share an input."""
    rows: dict[tuple[Any, ...], Row] = {}
    shared = dict(shared_beginnings(model, read))
    for text, one in enumerate(read):
        if one is None:
            continue
        first = shared[text][1] if text in shared else 0
        for k, t in enumerate(one.places):
            if t < first:
                continue
            item, key = one.item, tuple(one.item)
            if model.kind == "masked":
                item = model.with_token(item, hidden(one, t, convention.masking), model.mask or 0)
                key = tuple(item)
            elif model.direction == "forward":
                last = one.places[-1]
                item, key = item[: last + 1], tuple(item[:last])
            row = rows.setdefault(key, Row(item, [], [], []))
            row.places.append(t)
            row.targets.append(one.targets[t])
            row.to.append((text, k))
    return list(rows.values())


def hidden(one: Tokens, t: int, masking: str) -> list[int]:
    """The places that are masked when the token at t is scored."""
    inner = [k for k, word in enumerate(one.words) if word is not None]
    if masking == "original":
        return [t]
    if masking == "global_l2r":
        return [k for k in inner if k >= t]
    owner = one.words if masking == "within_word_l2r_whitespace" else one.pretokens
    same = [k for k in inner if owner[k] == owner[t]]
    return same if masking == "whole_word" else [k for k in same if k >= t]


def shared_beginnings(model: LanguageModel, read: Sequence[Tokens | None]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Under a forward model, texts in the order of their tokens: (text, (the one before it, how many first tokens they share))."""
    if model.kind != "causal" or model.direction != "forward":
        return
    keys = [
        [*zip(one.item, one.targets, strict=True)] if one else [] for one in read
    ]  # of letters, words may differ and be unknown
    order = sorted((k for k, one in enumerate(read) if one), key=lambda k: keys[k])
    for before, text in zip(order[:-1], order[1:], strict=True):
        a, b = read[before], read[text]
        assert a is not None and b is not None
        pairs = zip(keys[before], keys[text], strict=False)
        n = next((t for t, (x, y) in enumerate(pairs) if x != y), min(len(a.item), len(b.item)))
        if all(t in a.places for t in b.places if t < n):  # a target of another place may not have been scored
            yield text, (before, n)
