"""`probing score`: what a language model gives to each token of a sentence, as text: piece, log p, rank (1: the most probable), and
the sum; of a file one line a sentence. The conventions stand in the head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path

import torch

from probing.behaviour.base import LanguageModel
from probing.behaviour.items import split_words
from probing.behaviour.models import language_models
from probing.behaviour.networks import NetworkModel
from probing.behaviour.scores import Convention, rows_of, score, tokens_of
from probing.data.readers.files import text_lines
from probing.encoders.base import Encoder
from probing.errors import ConfigError, DataError
from probing.log import bar, excerpt, human_count, info


@dataclass
class Score:
    text: str | None = None
    file: str | None = None
    start: str = "mark"
    end: str = "leave"
    masking: str = "within_word_l2r"
    words: str | None = None
    tokens: bool | None = None

    def run(self, encoder: Encoder) -> str:
        """The text that the command prints.

        Raises:
            ConfigError: text and file, or neither, or a convention that the model cannot keep.
            EncoderError: the encoder has no language-model head.
        """
        if (self.text is None) == (self.file is None):
            raise ConfigError('give one of text="…" and file=FILE (a sentence a line)')
        if self.words not in (None, "as_is", "split"):
            raise ConfigError(f"words={self.words!r} is unknown (allowed: null, as_is, split)")
        convention = Convention(self.start, self.end, self.masking)
        models = language_models(encoder)
        given = [self.text] if self.text is not None else _lines(Path(self.file or "").expanduser())
        split = self.words == "split" or (self.words is None and isinstance(models[0], NetworkModel))
        texts = [split_words(text) if split else text for text in given]
        lines = []
        if note := convention.unused(models[0]):
            info(note)
        for model in models:
            about = "punctuation and clitics apart" if split else "text as it is"
            lines += [f"{model.name}: {convention.named(model)}, {about}; natural logarithms", ""]
            if self.text is not None if self.tokens is None else self.tokens:
                lines += [line for text in texts for line in _tokens(model, text, convention)]
            else:
                lines += _sums(model, texts, convention)
        return "\n".join(lines).rstrip()


def _lines(path: Path) -> list[str]:
    texts = [line.strip() for line in text_lines(path) if line.strip()]
    if not texts:
        raise DataError(f"{path} holds no sentence")
    return texts


@dataclass(frozen=True)
class Scored:
    """One token: its piece, log p in nats, its rank in the vocabulary (1: the most probable), and whether it is unknown."""

    piece: str
    log_p: float
    rank: int
    unknown: bool


def ranked(model: LanguageModel, text: str, convention: Convention) -> list[Scored]:
    """The scored tokens of a text; DataError if the model cannot read all of it."""
    read, cut = tokens_of(model, [(text, None)], convention)
    [one] = read
    if one is None:
        raise DataError(f"{excerpt(text)!r} is longer than {model.name} can read ({model.limit} tokens)")
    tokens: dict[int, Scored] = {}
    for row in rows_of(model, read, convention):
        [log_p] = model.log_probabilities([row.item])
        for place, target, (_, k) in zip(row.places, row.targets, row.to, strict=True):
            value = log_p[place, target]
            rank = 1 + int(torch.sum(log_p[place] > value))
            tokens[k] = Scored(model.pieces([target])[0], float(value), rank, target == model.unknown)
    return [tokens[k] for k in sorted(tokens)]


def _tokens(model: LanguageModel, text: str, convention: Convention) -> Iterator[str]:
    tokens = ranked(model, text, convention)
    if not tokens:
        raise DataError(f"{excerpt(text)!r} has no token that {model.name} predicts")
    wide = max(5, *(len(token.piece) for token in tokens))
    yield f"{'piece':{wide}}  {'log p':>9}  {'rank':>6}"
    for token in tokens:
        yield f"{token.piece:{wide}}  {token.log_p:9.4f}  {token.rank:6d}{'  unknown' * token.unknown}"
    total, n = sum(token.log_p for token in tokens), len(tokens)
    yield f"{'sum':{wide}}  {total:9.4f}  {human_count(n, 'token')}, {total / n:.4f} a token, perplexity {exp(-total / n):.4g}"
    yield ""


def _sums(model: LanguageModel, texts: Sequence[str], convention: Convention) -> Iterator[str]:
    with bar(f"{model.name}, {model.direction}", len(texts)) as advance:
        scores = score(model, [(text, None) for text in texts], convention)
        advance(len(texts))
    if scores.cut.all():
        limit = "" if model.limit is None else f" ({human_count(model.limit, 'token')})"
        raise DataError(f"no sentence can be scored: each is longer than {model.name} can read{limit}")
    yield f"{'sum':>10}  {'tokens':>6}  {'unknown':>7}  sentence"
    for text, log_p, ids, cut in zip(texts, scores.log_p, scores.ids, scores.cut, strict=True):
        unknown = int((ids == model.unknown).sum()) if model.unknown is not None else 0
        total = "too long" if cut else f"{log_p.sum(dtype=float):.4f}"
        yield f"{total:>10}  {len(log_p):6d}  {unknown:7d}  {excerpt(text) if cut else text}"
    yield ""
