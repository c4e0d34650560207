"""The poolings: one vector for a sentence, or for each word, from the states of tokens. To add one for sentences, write a function
and name it in `POOLINGS`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from probing.errors import EncoderError, StatesError

if TYPE_CHECKING:
    import torch


class Pooler:
    """Pools the layers of one batch by its mask (batch, tokens), True where a token counts."""

    def __init__(self, mask: torch.Tensor):
        self.mask = mask
        self.full = bool(mask.all())  # then no token needs a weight

    def __call__(self, layer: torch.Tensor, pooling: str, backward: torch.Tensor | None = None) -> torch.Tensor:
        """One vector per sentence, (batch, dim), from the states of one layer (batch, tokens, dim): float64 where they are, else
        float32."""
        import torch

        pooled = POOLINGS[pooling](self, layer if layer.dtype == torch.float64 else layer.float(), backward)
        if pooled.shape != (expected := (layer.shape[0], layer.shape[2])):
            raise EncoderError(f"pooling {pooling} gives the shape {tuple(pooled.shape)}, not {tuple(expected)} (batch, dim)")
        return pooled

    @cached_property
    def weight(self) -> torch.Tensor:
        return self.mask.double() / self.mask.sum(1, keepdim=True)  # (batch, tokens)

    @cached_property
    def ends(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Indices of the rows, of the first and of the last token of the mask in each: (batch,) each."""
        import torch

        first = self.mask.int().argmax(1)
        last = self.mask.shape[1] - 1 - self.mask.flip(1).int().argmax(1)
        return torch.arange(len(last), device=last.device), first, last


def _first(batch: Pooler, layer: torch.Tensor, backward: torch.Tensor | None) -> torch.Tensor:
    return layer[:, 0]


def _mean(batch: Pooler, layer: torch.Tensor, backward: torch.Tensor | None) -> torch.Tensor:
    import torch

    return layer.mean(1) if batch.full else torch.einsum("bt,btd->bd", batch.weight.to(layer.dtype), layer)


def _max(batch: Pooler, layer: torch.Tensor, backward: torch.Tensor | None) -> torch.Tensor:
    return (layer if batch.full else layer.masked_fill(~batch.mask[..., None], -float("inf"))).amax(1)


def _last(batch: Pooler, layer: torch.Tensor, backward: torch.Tensor | None) -> torch.Tensor:
    import torch

    rows, first, last = batch.ends
    if backward is None:
        return layer[rows, last]
    return torch.where(backward.to(layer.device), layer[rows, first], layer[rows, last])  # (batch, dim)


def _only(batch: Pooler, layer: torch.Tensor, backward: torch.Tensor | None) -> torch.Tensor:
    if layer.shape[1] != 1:
        raise StatesError(
            f"pooling=sentence reads one vector a sentence, and these are the states of {layer.shape[1]} tokens (the encoder makes "
            "no such vector itself, or masking=attention changed which tokens count)"
        )
    return layer[:, 0]


POOLINGS: dict[str, Callable[[Pooler, torch.Tensor, torch.Tensor | None], torch.Tensor]] = {
    "cls": _first,
    "mean": _mean,
    "max": _max,
    "last": _last,
    "sentence": _only,
}
"""Name -> function of the batch, a layer (batch, tokens, dim) and its `States.backward` to (batch, dim) of the same dim.
Tables keep this order.

cls: the first token, where the tokenizer puts a classification token there · mean, max: over the tokens of the mask · last: the
last token of the mask, but the first for dims that read from right to left · sentence: the one vector of an encoder without token
states, or what the modules of a sentence-transformers model make of the layer. Padding is never in the mask; options of the encoder
decide whether special tokens and those of a prompt are."""


WORD_POOLINGS = ("word-mean", "word-first", "word-last")
"""One vector for each word: of its pieces the mean, the first, or the last (of dims that read from right to left the first)."""


def place_in_tables(pooling: str) -> int:
    """The number by which tables order a pooling; one that this version does not know, of a run of another version, comes last."""
    return [*POOLINGS, *WORD_POOLINGS, pooling].index(pooling)


def in_order(poolings: Iterable[str]) -> list[str]:
    """The poolings in the order of tables, each once."""
    return sorted(set(poolings), key=place_in_tables)


def of_words(poolings: Iterable[str]) -> bool:
    """Whether poolings give a vector for each word, and not for each sentence."""
    return set(poolings) <= set(WORD_POOLINGS)


class WordPooler:
    """Pools the pieces of each word of a batch.

    Args:
        owners: for each sentence the word of each token, None for tokens of no word.
        counts: words of each sentence; the words of the batch follow each other, sentence after sentence.
    """

    def __init__(self, owners: Sequence[Sequence[int | None]], counts: Sequence[int]):
        import torch

        offsets = [0]
        for count in counts:
            offsets.append(offsets[-1] + count)
        self.n = offsets[-1]
        pieces = [
            (row, token, offsets[row] + word)
            for row, words in enumerate(owners)
            for token, word in enumerate(words)
            if word is not None
        ]
        self.row, self.token, self.word = torch.tensor(pieces, dtype=torch.long).reshape(-1, 3).T  # (pieces,) each
        self.pieces = torch.bincount(self.word, minlength=self.n)  # (words,)
        place = torch.arange(len(self.word))
        empty = torch.zeros(self.n, dtype=torch.long)  # of a word without a piece: any piece, whose state is then set to 0
        self.first = empty.scatter_reduce(0, self.word, place, "amin", include_self=False)
        self.last = empty.scatter_reduce(0, self.word, place, "amax", include_self=False)

    def __call__(self, layer: torch.Tensor, pooling: str, backward: torch.Tensor | None = None) -> torch.Tensor:
        """The words of a layer (batch, tokens, dim): (words, dim), float32; 0 for a word without a piece."""
        import torch

        states = layer.float().cpu()[self.row, self.token]  # (pieces, dim)
        if not len(states):
            return torch.zeros(self.n, layer.shape[2])
        if pooling == "word-mean":
            total = torch.zeros(self.n, states.shape[1]).index_add_(0, self.word, states)
            return total / self.pieces.clamp(min=1)[:, None]
        words = states[self.first if pooling == "word-first" else self.last]
        if pooling == "word-last" and backward is not None:
            words = torch.where(backward.cpu(), states[self.first], words)
        return words * (self.pieces > 0)[:, None]


TOKEN_POOLINGS = tuple(name for name in POOLINGS if name not in ("cls", "sentence"))
"""Those of every encoder that has token states."""
