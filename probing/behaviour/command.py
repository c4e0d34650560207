"""`probing score`: what a language model gives to each token of a sentence, as text: piece, log p, rank (1: the most probable), and
the sum; of a file one line a sentence; of two sentences the tokens side by side. The conventions stand in the head."""

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
from probing.behaviour.reading import rows_of, tokens_of
from probing.behaviour.scores import Convention, score
from probing.behaviour.strips import Part, strip
from probing.data.readers.files import text_lines
from probing.encoders.base import Encoder
from probing.errors import ConfigError, DataError
from probing.log import bar, excerpt, human_count, info


@dataclass
class Score:
    text: str | None = None
    against: str | None = None
    file: str | None = None
    html: str | None = None
    start: str = "mark"
    end: str = "leave"
    masking: str = "within_word_l2r"
    words: str | None = None
    tokens: bool | None = None

    def __post_init__(self) -> None:
        self.pairs: list[tuple[str, list[Part]]] = []  # the pair under each model and its convention, which `run` makes

    def run(self, encoder: Encoder) -> str:
        """The text that the command prints.

        Raises:
            ConfigError: text and file, or neither, or a convention that the model cannot keep.
            EncoderError: the encoder has no language-model head.
        """
        if (self.text is None) == (self.file is None):
            raise ConfigError('give one of text="…" and file=FILE (a sentence a line)')
        if self.against is None and self.html is not None or self.against is not None and self.text is None:
            raise ConfigError('against="…" is the other sentence of text="…", and html=FILE is for such a pair')
        if self.words not in (None, "as_is", "split"):
            raise ConfigError(f"words={self.words!r} is unknown (allowed: null, as_is, split)")
        convention = Convention(self.start, self.end, self.masking)
        models = language_models(encoder)
        given = [self.text] if self.text is not None else _lines(Path(self.file or "").expanduser())
        given += [] if self.against is None else [self.against]
        split = self.words == "split" or (self.words is None and isinstance(models[0], NetworkModel))
        texts = [split_words(text) if split else text for text in given]
        lines = []
        if note := convention.unused(models[0]):
            info(note)
        for model in models:
            about = "punctuation and clitics apart" if split else "text as it is"
            lines += [f"{model.name}: {convention.named(model)}, {about}; natural logarithms", ""]
            if self.against is not None:
                self.pairs.append((lines[-2], strip_of(model, texts, convention)))
                lines += _pair(self.pairs[-1][1])
            elif self.text is not None if self.tokens is None else self.tokens:
                lines += [line for text in texts for line in _tokens(model, text, convention)]
            else:
                lines += _sums(model, texts, convention)
        return "\n".join(lines).rstrip()


def _lines(path: Path) -> list[str]:
    texts = [line.strip() for line in text_lines(path) if line.strip()]
    if not texts:
        raise DataError(f"{path} holds no sentence")
    return texts


def strip_of(model: LanguageModel, texts: Sequence[str], convention: Convention) -> list[Part]:
    """Two texts side by side; DataError if the model cannot read all of one."""
    scores = score(model, [(text, None) for text in texts], convention)
    if scores.cut.any():
        text = texts[int(scores.cut.argmax())]
        raise DataError(f"{excerpt(text)!r} is longer than {model.name} can read ({model.limit} tokens)")
    (a, b), (p, q) = (model.pieces(ids.tolist()) for ids in scores.ids), scores.log_p
    return strip(a, p, b, q)


def _pair(parts: Sequence[Part]) -> Iterator[str]:
    """A line for each part: pieces and log p of both texts, and the difference; a part of several pieces has their sums."""
    rows: list[tuple[str, ...]] = [("text", "log p", "against", "log p", "difference")]
    for part in parts:
        row = []
        for pieces, log_p in ((part.first, part.first_log_p), (part.second, part.second_log_p)):
            row += [" ".join(pieces), f"{log_p:.4f}"] if pieces else ["-", ""]
        rows.append((*row, f"{part.difference:+.4f}"))
    sums = sum(part.first_log_p for part in parts), sum(part.second_log_p for part in parts)
    rows.append(("sum", f"{sums[0]:.4f}", "sum", f"{sums[1]:.4f}", f"{sums[0] - sums[1]:+.4f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for line in rows:
        cells = [text.ljust(w) if k in (0, 2) else text.rjust(w) for k, (text, w) in enumerate(zip(line, widths, strict=True))]
        yield "  ".join(cells).rstrip()
    yield ""


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
