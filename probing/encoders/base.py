"""What an encoder is to the rest of the house: text in, token states of every layer out, and a fingerprint of what made them.

An encoder turns sentences into items (its own token sequences), and a batch of items into `States`. Batching, pooling and
storing are not its business (`probing.store.extraction`, `probing.store.vectors`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from probing.errors import EncoderError

if TYPE_CHECKING:
    import torch

POOLINGS = ("cls", "mean", "max", "last", "sentence")
"""cls: first token, where the tokenizer puts a classification token there · mean, max: over the tokens of the mask · last: the
state after the whole sentence was read, that is, of the last token of the mask, and for features that read from right to left of
the first · sentence: the vector that an encoder without token states gives. Padding is never in the mask; special tokens are in
or out as the encoder was told."""

CONTEXTUAL = "depends on other words"
"""Part of the name of a layer 0 that is no embedding output; it is not the floor `static`."""

TOKEN_BUDGET = 2048
"""Tokens in a batch, padding included; 1,024 to 4,096 measured alike on CPU. An encoder may have a `token_budget` of its own."""

Item = Sequence[Any]
"""One sentence as the encoder sees it, one entry per token: a token id, or whatever the encoder's `forward` reads."""


@dataclass(frozen=True)
class States:
    """States of one batch.

    Attributes:
        layers: `layers[l]` has shape (batch, tokens, dims[l]).
        mask: (batch, tokens), True where a token counts.
        backward: for each layer, which of its dims read from right to left, as a bool vector (dims[l],);
            None where no layer has any.
    """

    layers: Sequence[torch.Tensor]
    mask: torch.Tensor
    backward: Sequence[torch.Tensor] | None = None


class Pooler:
    """The poolings of one batch; what they need of the mask (batch, tokens) is computed once for all layers."""

    def __init__(self, mask: torch.Tensor):
        self.mask = mask
        self._full = bool(mask.all())  # nothing to leave out: plain reductions, without a weight or a copy

    def __call__(self, layer: torch.Tensor, pooling: str, backward: torch.Tensor | None = None) -> torch.Tensor:
        """One vector per sentence, (batch, dim), float32, from the states of one layer (batch, tokens, dim)."""
        import torch

        layer = layer.float()
        if pooling in ("cls", "sentence"):
            return layer[:, 0]
        if pooling == "mean":
            return layer.mean(1) if self._full else torch.einsum("bt,btd->bd", self._weight, layer)
        if pooling == "max":
            return (layer if self._full else layer.masked_fill(~self.mask[..., None], -torch.inf)).amax(1)
        if pooling == "last":
            rows, first, last = self._ends
            if backward is None:
                return layer[rows, last]
            return torch.where(backward.to(layer.device), layer[rows, first], layer[rows, last])  # (batch, dim)
        raise ValueError(f"unknown pooling {pooling!r}")

    @cached_property
    def _weight(self) -> torch.Tensor:
        return self.mask / self.mask.sum(1, keepdim=True)  # (batch, tokens)

    @cached_property
    def _ends(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rows, and the first and the last token of the mask in each, all (batch,)."""
        import torch

        first = self.mask.int().argmax(1)
        last = self.mask.shape[1] - 1 - self.mask.flip(1).int().argmax(1)
        return torch.arange(len(last), device=last.device), first, last


def pool(states: States, pooling: str) -> list[torch.Tensor]:
    """One vector per sentence from the states of every layer: a list of (batch, dims[l]), float32."""
    pooler = Pooler(states.mask)
    backward = states.backward or [None] * len(states.layers)
    return [pooler(layer, pooling, back) for layer, back in zip(states.layers, backward, strict=True)]


@dataclass(frozen=True)
class Pooled:
    """Pooled vectors of one batch.

    Attributes:
        vectors: for each pooling, one (batch, dims[l]) per layer, float32.
        counted: (batch,) tokens of each sentence that its mean, max and last saw.
    """

    vectors: Mapping[str, Sequence[torch.Tensor]]
    counted: torch.Tensor


def pooled(encoder: Encoder, items: Sequence[Item], poolings: Sequence[str]) -> Pooled:
    """All layers and poolings of a batch: by the encoder's own method `pooled(items, poolings)` if it has one, which then need not
    hold the states of all layers at once, else from its `forward`. Both must give the same vectors."""
    own = getattr(encoder, "pooled", None)
    return pooled_states(encoder.forward(items), poolings) if own is None else own(items, poolings)


def pooled_states(states: States, poolings: Sequence[str]) -> Pooled:
    """All layers and poolings of states."""
    return Pooled({p: pool(states, p) for p in poolings}, states.mask.sum(1))


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

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        """For each token of each item, the index of its word in `text.split()`; None for tokens that belong to no word."""
        ...

    def forward(self, items: Sequence[Item]) -> States:
        """States of a batch, without gradient, in eval mode."""
        ...

    def release(self) -> None:
        """Frees what can be loaded again; called when the encoder is done for now."""
        ...

    def random_twin(self, seed: int) -> Encoder | None:
        """The same architecture and text handling with weights drawn from `seed`; None where there are none to draw."""
        ...


def fingerprint(encoder: Encoder) -> str:
    """sha256 of the encoder's description: changes when the vectors would, and not otherwise."""
    return hash_description(encoder.description)


def hash_description(description: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def name_in_tables(encoder: Any, label: str, options: Sequence[str]) -> str:
    """The label, those of `options` that differ from their defaults, and the seed of random weights."""
    changed = [f"{name}={getattr(encoder, name)}" for name in options if getattr(encoder, name) != getattr(type(encoder), name)]
    drawn = f" (random {encoder.init_seed})" if encoder.random_weights else ""
    return label + (f"[{','.join(changed)}]" if changed else "") + drawn


def check_device(device: str) -> None:
    """Raises EncoderError for a name that is none of cpu, cuda, auto; whether there is a GPU is asked when it is needed."""
    if device not in ("cpu", "cuda", "auto"):
        raise EncoderError(f"encoder.device={device!r} is unknown (allowed: cpu, cuda, auto)")


def resolve_device(device: str) -> str:
    """cpu or cuda.

    Raises:
        EncoderError: cuda where torch sees no GPU.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise EncoderError("encoder.device=cuda, but torch sees no GPU; use cpu or auto")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def words_of_spans(text: str, spans: Sequence[tuple[int, int]]) -> list[int | None]:
    """The word of `text.split()` that each token lies in, from the tokens' character spans (start, stop).

    A token of blanks alone belongs to the word after it; an empty span (a special token) to none.

    Raises:
        EncoderError: a token lies in several words.

    >>> words_of_spans("the cats ran", [(0, 0), (0, 3), (3, 7), (7, 8), (9, 12), (0, 0)])
    [None, 0, 1, 1, 2, None]
    """
    word_at, word, inside = [], -1, False  # per character: its word, or the next one
    for character in text:
        if character.isspace():
            inside = False
        elif not inside:
            word, inside = word + 1, True
        word_at.append(word if inside else word + 1)
    owners: list[int | None] = []
    for start, stop in spans:
        words = {word_at[k] for k in range(start, stop) if not text[k].isspace()} or {word_at[start] if start < stop else word + 1}
        if len(words) > 1:
            raise EncoderError(f"tokens cannot be aligned with words: the token {text[start:stop]!r} lies in {len(words)} words")
        [owner] = words
        owners.append(owner if owner <= word else None)
    return owners
