"""What an encoder is to the rest of the house: text in, token states of every layer out, and a fingerprint of what made them.

An encoder turns sentences into items (its own token sequences), and a batch of items into `States`. Batching, pooling and
storing are not its business (`probing.extraction`, `probing.store`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

POOLINGS = ("cls", "mean", "max", "last")
"""cls: first token, where the tokenizer puts a classification token there · mean, max: over the tokens of the mask · last: the
last token of the mask. Padding is never in the mask; special tokens are in or out as the encoder was told."""

Item = Sequence[int]
"""One sentence as the encoder sees it: its token ids."""


@dataclass(frozen=True)
class States:
    """States of one batch: `layers[l]` has shape (batch, tokens, dims[l]); `mask` (batch, tokens) is True where a token counts."""

    layers: Sequence[torch.Tensor]
    mask: torch.Tensor


@runtime_checkable
class Encoder(Protocol):
    """A frozen encoder.

    Attributes:
        name: how tables call it.
        layer_names: one name per layer; index 0 is the embedding output.
        dims: width of each layer.
        poolings: the poolings that make sense for it, a subset of `POOLINGS`.
        description: everything that determines its vectors, as plain JSON; the fingerprint is its hash.
        origin: where the weights were found, in words.
    """

    name: str
    layer_names: tuple[str, ...]
    dims: tuple[int, ...]
    poolings: tuple[str, ...]
    description: Mapping[str, Any]
    origin: str

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Item], int]:
        """Items of the sentences, and how many of them were truncated."""
        ...

    def forward(self, items: Sequence[Item]) -> States:
        """States of a batch, without gradient, in eval mode."""
        ...

    def release(self) -> None:
        """Frees what can be loaded again; called when the encoder is done for now."""
        ...

    def random_twin(self, seed: int) -> Encoder:
        """The same architecture and text handling with weights drawn from `seed`."""
        ...


def fingerprint(encoder: Encoder) -> str:
    """sha256 of the encoder's description: changes when the vectors would, and not otherwise."""
    return hashlib.sha256(json.dumps(encoder.description, sort_keys=True).encode()).hexdigest()
