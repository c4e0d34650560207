"""Scores of sentences under a language model, token by token, with the conventions named.

    causal                sum_t log p(x_t | marks, x_<t)       the mark of the beginning is a condition and never scored
    masked, original      sum_t log p(x_t | all but x_t)       pseudo-log-likelihood (Salazar et al. 2020)
    within_word_l2r       the later pieces of the same word are masked too (Kauf & Ivanova 2023); the default
    within_word_l2r_whitespace   the same, words being those between blanks
    whole_word            all pieces of the word are masked
    global_l2r            the piece and everything after it is masked, but not the mark of the end

Special tokens are never masked and never scored; `end=score` adds the mark of the end of a causal model. With a target, the
place of a word in `text.split()`, only the pieces of that word are scored. Natural logarithms.

What is computed once: sentences with the same tokens, masked inputs that coincide, and the tokens that a sentence shares at its
beginning with another one under a forward model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from probing.behaviour.base import LanguageModel
from probing.encoders.base import Item
from probing.encoders.hf.tokens import numbers
from probing.errors import ConfigError
from probing.log import excerpt

VERSION = 1
"""Raise when the same model and conventions would give other scores."""

MASKINGS = ("original", "within_word_l2r", "within_word_l2r_whitespace", "whole_word", "global_l2r")
TOKENS = 4096
"""Most tokens in a batch, padding included."""

Text = tuple[str, int | None]
"""A sentence, and the place of the word that is scored; None: all words."""


@dataclass(frozen=True)
class Convention:
    """start: mark (what begins a text for the model stands before it) or none · end: leave or score · masking: of `MASKINGS`."""

    start: str = "mark"
    end: str = "leave"
    masking: str = "within_word_l2r"

    def __post_init__(self) -> None:
        for option, allowed in (("start", ("mark", "none")), ("end", ("leave", "score")), ("masking", MASKINGS)):
            if (given := getattr(self, option)) not in allowed:
                raise ConfigError(f"{option}={given!r} is unknown (allowed: {', '.join(allowed)})")

    def of(self, model: LanguageModel) -> Convention:
        """The convention as it applies to a model: what it cannot do is refused, and what says nothing of its kind is the default.

        Raises:
            ConfigError: the model has no mark of the end, or always reads one at the beginning, or is masked and has both.
        """
        if model.kind == "masked":
            if self.start == "none" or self.end == "score":
                raise ConfigError(
                    f"start={self.start}, end={self.end}: {model.name} is a masked model, whose marks always stand there"
                )
            return self
        if self.end == "score" and model.end is None:
            raise ConfigError(f"end=score: {model.name} has no mark of the end; use end=leave")
        if self.start == "none" and model.starts:
            raise ConfigError(f"start=none: {model.name} always reads a mark before a text; use start=mark")
        start = "mark" if model.starts or (self.start == "mark" and model.begin is not None) else "none"
        return Convention(start, self.end)

    def unused(self, model: LanguageModel) -> str:
        """Says that the masking, if another than the default was given, has no effect on a causal model; else nothing."""
        if model.kind == "masked" or self.masking == Convention.masking:
            return ""
        return f"masking={self.masking} has no effect: {model.name} is a causal model, which hides nothing"

    def named(self, model: LanguageModel) -> str:
        """The convention in words, for tables: a masked model's masking, a causal one's marks and direction."""
        own = self.of(model)
        if model.kind == "masked":
            return f"masked, {own.masking}"
        if model.reads_source:
            return f"{model.direction} given the source, decoder starts with {model.start}, end={own.end}"
        return f"{model.direction}, start={own.start}, end={own.end}"


@dataclass(frozen=True)
class Scores:
    """Token scores of texts.

    Attributes:
        log_p, ids: for each text (scored tokens,): log p in nats, and the vocabulary's ids.
        cut: (n,), whether the model cannot read the whole text, which is then not scored.
        lost: (n,), tokens that nothing predicts: the first one where no mark stands before it.
    """

    log_p: list[np.ndarray]
    ids: list[np.ndarray]
    cut: np.ndarray
    lost: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """As flat arrays, for the result store."""
        lengths = np.array([len(x) for x in self.log_p])
        flat = {
            "log_p": np.concatenate([*self.log_p, np.zeros(0, np.float32)]),
            "ids": np.concatenate([*self.ids, np.zeros(0, int)]),
        }
        return {**flat, "lengths": lengths, "cut": self.cut.astype(int), "lost": self.lost}

    @classmethod
    def of_arrays(cls, arrays: dict[str, np.ndarray]) -> Scores:
        ends = np.cumsum(arrays["lengths"])[:-1]
        parts = {name: np.split(arrays[name], ends) if len(arrays["lengths"]) else [] for name in ("log_p", "ids")}
        return cls(parts["log_p"], parts["ids"], arrays["cut"].astype(bool), arrays["lost"])


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


def score(
    model: LanguageModel, texts: Sequence[Text], convention: Convention, advance: Callable[[int], Any] = lambda n: None
) -> Scores:
    """Token scores of texts under a convention; `advance` is called with the number of model rows that are done."""
    distinct = list(dict.fromkeys(texts))
    read, cut = tokens_of(model, distinct, convention)
    log_p = [np.full(len(one.places) if one else 0, np.nan) for one in read]
    for rows in _batches(model, rows_of(model, read, convention)):
        results = model.picked([row.item for row in rows], [row.places for row in rows], [row.targets for row in rows])
        for row, values in zip(rows, results, strict=True):
            for (text, token), value in zip(row.to, values.tolist(), strict=True):
                log_p[text][token] = value
        advance(len(rows))
    _copy(model, read, log_p)
    place = {text: k for k, text in enumerate(distinct)}
    order = [place[text] for text in texts]
    ids = [np.array([one.targets[t] for t in one.places] if one else [], int) for one in read]
    lost = np.array([one.lost if one else 0 for one in read], int)
    return Scores(
        [log_p[k].astype(np.float32) if model.single else log_p[k] for k in order], [ids[k] for k in order], cut[order], lost[order]
    )


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
    """The inputs that score the texts, each once."""
    rows: dict[tuple[Any, ...], Row] = {}
    shared = dict(_shared(model, read))
    for text, one in enumerate(read):
        if one is None:
            continue
        first = shared[text][1] if text in shared else 0
        for k, t in enumerate(one.places):
            if t < first:
                continue
            item = one.item
            if model.kind == "masked":
                item = model.with_token(item, hidden(one, t, convention.masking), model.mask or 0)
            row = rows.setdefault(tuple(item), Row(item, [], [], []))
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


def _shared(model: LanguageModel, read: Sequence[Tokens | None]) -> Iterator[tuple[int, tuple[int, int]]]:
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


def _copy(model: LanguageModel, read: Sequence[Tokens | None], log_p: Sequence[np.ndarray]) -> None:
    """Fills in the scores of shared first tokens."""
    for text, (before, n) in _shared(model, read):
        a, b = read[before], read[text]
        assert a is not None and b is not None
        known = dict(zip(a.places, log_p[before], strict=True))
        for k, t in enumerate(b.places):
            if t < n:
                log_p[text][k] = known[t]


def _batches(model: LanguageModel, rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows in batches of similar lengths; of one length, or alone, where the model needs that."""
    company = model.company
    batch: list[Row] = []
    for row in sorted(rows, key=lambda row: len(row.item)):
        length = len(row.item)
        apart = company == "alone" or (company == "one length" and batch and len(batch[0].item) != length)
        if batch and (apart or (len(batch) + 1) * length > TOKENS):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def convention_key(model: LanguageModel, convention: Convention) -> dict[str, Any]:
    """What determines token scores beside the texts, as plain JSON."""
    version = VERSION + model.from_letters  # whose shared beginnings once were those of targets
    return {"model": model.description, "convention": asdict(convention.of(model)), "version": version}
