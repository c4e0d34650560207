"""What every language model has, whatever its encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from probing.encoders.base import Encoder, Item, fingerprint
from probing.encoders.hf.tokens import numbers, with_token
from probing.errors import EncoderError

BETWEEN = "\x1e"
"""Parts a source from its target, in the texts of models that read a source."""

VERSION = 1
"""Raise when the same weights would give other log-probabilities."""


class LanguageModel:
    """A language model on an encoder.

    Attributes:
        kind: causal or masked.
        direction: forward, backward, or all (masked).
        begin, end, mask, unknown: ids of these marks; None where the model has none.
        special: ids that are never scored, but `end` on demand.
        starts: whether the first position has a log-probability although no mark stands before it.
        limit: most tokens of an item; None: no bound.
        company: which items may share a batch: padded (any), one length, alone.
        by_letters: whether a word is over only at the next blank: then "run" is no whole word before "runs".
        from_letters: whether it reads words by their letters, of which several may be one word to its softmax.
        reads_source: whether a text is a target behind its source and `BETWEEN` (`probing.behaviour.translation`).
        start: the token with which its decoder starts, if it has one.
        single: whether its numbers are of single precision.
    """

    kind: str = "causal"
    direction: str = "forward"
    begin: int | None = None
    end: int | None = None
    mask: int | None = None
    unknown: int | None = None
    special: frozenset[int] = frozenset()
    starts: bool = False
    limit: int | None = None
    company: str = "padded"
    by_letters: bool = False
    from_letters: bool = False
    reads_source: bool = False
    start: str = ""
    single: bool = True

    def __init__(self, encoder: Any):
        self.encoder: Any = encoder

    @property
    def name(self) -> str:
        return str(self.encoder.name)

    @property
    def description(self) -> dict[str, Any]:
        """Everything that determines the log-probabilities, as plain JSON."""
        return {"encoder": fingerprint(self.encoder), "head": self.head_sha256, "direction": self.direction, "version": VERSION}

    @property
    def head_sha256(self) -> str | None:
        """Hash of the head's weights where the encoder's fingerprint does not cover them."""
        return None

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Item], int]:
        """The encoder's items of the texts, and the number of those that were cut."""
        return self.encoder.tokenize(texts)

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        """For each token the index of its word in `text.split()`; None for marks."""
        return self.encoder.word_ids(texts)

    def pretokens(self, texts: Sequence[str]) -> list[list[int | None]]:
        """For each token the word of the tokenizer; by default that of `text.split()`."""
        return self.word_ids(texts)

    def targets(self, texts: Sequence[str]) -> list[list[int]]:
        """For each token the id that is predicted at its position."""
        return [list(numbers(item)) for item in self.tokenize(texts)[0]]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The predicted ids as they are printed."""
        raise NotImplementedError

    def with_token(self, item: Item, places: Sequence[int], token: int) -> Item:
        """The item with another token at the places."""
        for place in places:
            item = with_token(item, place, token)
        return item

    def log_probabilities(self, items: Sequence[Item]) -> list[torch.Tensor]:
        """One forward pass: of each item (tokens, vocabulary), row t: log p of what stands at t; NaN where nothing predicts it."""
        raise NotImplementedError

    def predicts(self, place: int, length: int) -> bool:
        """Whether something predicts what stands at a place of an item of this length."""
        return self.kind == "masked" or self.starts or (place > 0 if self.direction == "forward" else place < length - 1)

    def picked(
        self, items: Sequence[Item], places: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
    ) -> list[torch.Tensor]:
        """For each item (its places,), log p of a target at each place, from one forward pass; NaN where nothing predicts it."""
        rows = zip(self.log_probabilities(items), places, targets, strict=True)
        return [row[list(some), list(ids)] for row, some, ids in rows]

    def chosen(self, items: Sequence[Item], targets: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """For each item (tokens,), log p of the targets at all places; NaN where nothing predicts them."""
        places = [[t for t in range(len(item)) if self.predicts(t, len(item))] for item in items]
        wanted = [[ids[t] for t in some] for ids, some in zip(targets, places, strict=True)]
        rows = [torch.full((len(item),), torch.nan) for item in items]
        for row, some, values in zip(rows, places, self.picked(items, places, wanted), strict=True):
            row[some] = values.float().cpu()
        return rows

    def release(self) -> None:
        self.encoder.release()


def no_translation(encoder: Encoder) -> EncoderError:
    return EncoderError(
        f"{encoder.name} has no sequence-to-sequence head: items with a source need encoder=hf with an encoder-decoder model (T5, "
        "Marian, BART); data.target_only=true scores their target side alone"
    )


def no_head(encoder: Encoder) -> EncoderError:
    return EncoderError(
        f"{encoder.name} has no language-model head: behaviour needs encoder=checkpoint of probing train objective=lm, encoder=hf "
        "with a causal or masked head, or encoder=textgenrnn"
    )
