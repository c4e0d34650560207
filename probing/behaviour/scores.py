"""Scores of sentences under a language model, token by token, with the conventions named.

    causal                sum_t log p(x_t | marks, x_<t)       the mark of the beginning is a condition and never scored
    masked, original      sum_t log p(x_t | all but x_t)       pseudo-log-likelihood (Salazar et al. 2020)
    within_word_l2r       the later pieces of the same word are masked too (Kauf & Ivanova 2023); the default
    within_word_l2r_whitespace   the same, words being those between blanks
    whole_word            all pieces of the word are masked
    global_l2r            the piece and everything after it is masked, but not the mark of the end

Special tokens are never masked and never scored; `end=score` adds the mark of the end of a causal model. With a target, the
place of a word in `text.split()`, only the pieces of that word are scored. Natural logarithms.

What is computed once: sentences with the same tokens, masked inputs that coincide, and under a forward model the tokens that a
sentence shares at its beginning with another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from probing.behaviour.base import LanguageModel
from probing.behaviour.reading import Reading, Row, Text, Tokens, reading, shared_beginnings
from probing.errors import ConfigError

VERSION = 1
"""Raise when the same model and conventions would give other scores."""

MASKINGS = ("original", "within_word_l2r", "within_word_l2r_whitespace", "whole_word", "global_l2r")
TOKENS = 4096
"""Most tokens in a batch, padding included."""


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


def score(
    model: LanguageModel, texts: Sequence[Text], convention: Convention, advance: Callable[[int], Any] = lambda n: None
) -> Scores:
    """Token scores of texts under a convention; `advance` is called with the number of model rows that are done."""
    return scores_of(model, reading(model, texts, convention), advance)


def scores_of(model: LanguageModel, texts: Reading, advance: Callable[[int], Any] = lambda n: None) -> Scores:
    """As `score`, of texts that are read already."""
    read, order = texts.read, texts.order
    log_p = [np.full(len(one.places) if one else 0, np.nan) for one in read]
    for rows in _batches(model, texts.rows):
        results = model.picked([row.item for row in rows], [row.places for row in rows], [row.targets for row in rows])
        for row, values in zip(rows, results, strict=True):
            for (text, token), value in zip(row.to, values.tolist(), strict=True):
                log_p[text][token] = value
        advance(len(rows))
    _copy(model, read, log_p)
    ids = [np.array([one.targets[t] for t in one.places] if one else [], int) for one in read]
    lost = np.array([one.lost if one else 0 for one in read], int)
    return Scores(
        [log_p[k].astype(np.float32) if model.single else log_p[k] for k in order], [ids[k] for k in order],
        texts.cut[order], lost[order],
    )  # fmt: skip


def _copy(model: LanguageModel, read: Sequence[Tokens | None], log_p: Sequence[np.ndarray]) -> None:
    """Fills in the scores of shared first tokens."""
    for text, (before, n) in shared_beginnings(model, read):
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
