"""The poolings: one vector for a sentence from the states of its tokens. To add one, write a function and name it in `POOLINGS`."""

from __future__ import annotations

from collections.abc import Callable
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
        """One vector per sentence, (batch, dim), float32, from the states of one layer (batch, tokens, dim)."""
        pooled = POOLINGS[pooling](self, layer.float(), backward)
        if pooled.shape != (expected := (layer.shape[0], layer.shape[2])):
            raise EncoderError(f"pooling {pooling} gives the shape {tuple(pooled.shape)}, not {tuple(expected)} (batch, dim)")
        return pooled

    @cached_property
    def weight(self) -> torch.Tensor:
        return self.mask / self.mask.sum(1, keepdim=True)  # (batch, tokens)

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

    return layer.mean(1) if batch.full else torch.einsum("bt,btd->bd", batch.weight, layer)


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


def place_in_tables(pooling: str) -> int:
    """The number by which tables order a pooling; one that this version does not know, of a run of another version, comes last."""
    return [*POOLINGS, pooling].index(pooling)


TOKEN_POOLINGS = tuple(name for name in POOLINGS if name not in ("cls", "sentence"))
"""Those of every encoder that has token states."""
