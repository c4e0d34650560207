"""The protocol of encoders: sentences in, states of every token in every layer out, and a fingerprint of what determines them."""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from probing.encoders.pooling import Pooler
from probing.errors import EncoderError, ProbingError

if TYPE_CHECKING:
    import torch

CONTEXTUAL = "depends on other words"
"""Part of the name of a layer 0 that is no embedding output, and so cannot be the floor `static`."""

TOKEN_BUDGET = 2048
"""Most tokens in a batch, padding included. An encoder may have a `token_budget` of its own."""

Item = Sequence[Any]
"""The tokens of one sentence: token ids, or whatever the encoder's `forward` reads."""


@dataclass(frozen=True)
class States:
    """States of one batch.

    Attributes:
        layers: `layers[l]` has shape (batch, tokens, dims[l]).
        mask: (batch, tokens), True where a token counts.
        backward: for each layer a bool vector (dims[l],), True for the dims that read from right to left; None where none do.
        vectors: of poolings that the encoder makes itself: for each layer one (batch, width), see `widths`.
    """

    layers: Sequence[torch.Tensor]
    mask: torch.Tensor
    backward: Sequence[torch.Tensor] | None = None
    vectors: Mapping[str, Sequence[torch.Tensor]] = field(default_factory=dict)


def pool(states: States, pooling: str) -> list[torch.Tensor]:
    """One vector per sentence from the states of every layer: a list of (batch, dims[l]), float32."""
    if pooling in states.vectors:
        return list(states.vectors[pooling])
    pooler = Pooler(states.mask)
    backward: Sequence[torch.Tensor | None] = states.backward or [None] * len(states.layers)
    return [pooler(layer, pooling, back) for layer, back in zip(states.layers, backward, strict=True)]


@dataclass(frozen=True)
class Pooled:
    """Vectors of one batch, for each pooling one (batch, dims[l]) per layer, float32; and the tokens in the mask, (batch,)."""

    vectors: Mapping[str, Sequence[torch.Tensor]]
    counted: torch.Tensor


def pooled(encoder: Encoder, items: Sequence[Item], poolings: Sequence[str]) -> Pooled:
    """All layers and poolings of a batch, by the encoder's own method, which need not hold all states at once, or by `forward`."""
    own = getattr(encoder, "pooled", None)
    return pooled_states(encoder.forward(items), poolings) if own is None else own(items, poolings)


def pooled_states(states: States, poolings: Sequence[str]) -> Pooled:
    """All layers and poolings of states."""
    return Pooled({p: pool(states, p) for p in poolings}, states.mask.sum(1))


@runtime_checkable
class Encoder(Protocol):
    """A frozen encoder.

    It may also have: `pooled(items, poolings)` (see the function), `token_budget`, `samples` (sentences for `probing check`),
    `context_free` (whether layer 0 depends on no other word), `unknown_tokens(items)`, `sentence_width` (see `widths`),
    `changed_by(change)` with `place_of` (`probing.encoders.interventions`), `lookup_changed_by(change)`
    (`probing.encoders.gradients`), and `remembered()` with
    `recall(record)` (plain JSON kept beside its vectors, so that later runs need not load it to plan).

    Attributes:
        name: its name in tables.
        layer_names: one name per layer; layer 0 is the embedding output.
        dims: width of each layer.
        poolings: the poolings that make sense for it, of `probing.encoders.pooling.POOLINGS`.
        description: everything that determines its vectors, as plain JSON; the fingerprint is its hash.
        origin: where the weights come from, in words.
    """

    if TYPE_CHECKING:  # read-only, so that an encoder may have properties

        @property
        def name(self) -> str: ...
        @property
        def layer_names(self) -> tuple[str, ...]: ...
        @property
        def dims(self) -> tuple[int, ...]: ...
        @property
        def poolings(self) -> tuple[str, ...]: ...
        @property
        def description(self) -> Mapping[str, Any]: ...
        @property
        def origin(self) -> str: ...
    else:  # no properties, which a subclass could not set
        name: str
        layer_names: tuple[str, ...]
        dims: tuple[int, ...]
        poolings: tuple[str, ...]
        description: Mapping[str, Any]
        origin: str

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Item], int]:
        """Items of the sentences, and the number of truncated ones."""
        ...

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        """For each token of each item, the index of its word in `text.split()`; None for tokens that belong to no word."""
        ...

    def forward(self, items: Sequence[Item]) -> States:
        """States of a batch, in eval mode; without gradient, except within `probing.encoders.gradients.gradients`."""
        ...

    def release(self) -> None:
        """Frees the memory of everything that can be loaded again."""
        ...

    def random_twin(self, seed: int) -> Encoder | None:
        """The same encoder with weights drawn from `seed`; None where there are none to draw."""
        ...


class Named:
    """A short repr for encoders: class and name in tables."""

    def __repr__(self) -> str:
        try:
            return f"{type(self).__name__}({getattr(self, 'name', '')})"
        except ProbingError:  # a name that is read from a folder which is not there
            return f"{type(self).__name__}()"


def widths(encoder: Encoder, pooling: str) -> tuple[int, ...]:
    """Width of each layer's vectors: `dims`, unless the encoder makes the pooling `sentence` itself, of one width in all layers."""
    own = getattr(encoder, "sentence_width", None) if pooling == "sentence" else None
    return tuple(encoder.dims) if own is None else (own,) * len(encoder.dims)


def fingerprint(encoder: Encoder) -> str:
    """sha256 of the encoder's description."""
    return hash_description(encoder.description)


def hash_description(description: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def name_in_tables(encoder: Any, label: str, options: Sequence[str], shown: Mapping[str, str] | None = None) -> str:
    """The label, those of `options` that differ from their defaults, those `shown`, and the seed of random weights or vectors."""
    changed = [f"{name}={getattr(encoder, name)}" for name in options if getattr(encoder, name) != getattr(type(encoder), name)]
    changed += [f"{name}={value}" for name, value in (shown or {}).items()]
    is_drawn = getattr(encoder, "random_weights", encoder.init_seed is not None)
    drawn = f" (random {encoder.init_seed})" if is_drawn else ""
    return label + (f"[{','.join(changed)}]" if changed else "") + drawn


def check_device(device: str) -> None:
    """Raises EncoderError for a name that is none of cpu, cuda, auto, mps; does not look for a GPU."""
    if device not in ("cpu", "cuda", "auto", "mps"):
        raise EncoderError(f"encoder.device={device!r} is unknown (allowed: cpu, cuda, auto, mps)")


def resolve_device(device: str) -> str:
    """cpu, cuda or mps; raises EncoderError for cuda and mps where torch sees no such GPU. auto: cuda, else cpu."""
    import torch

    if device == "mps":
        if not torch.backends.mps.is_available():
            raise EncoderError("encoder.device=mps, but torch sees no Apple GPU; use cpu or auto")
        return "mps"
    if device == "cuda" and not torch.cuda.is_available():
        raise EncoderError("encoder.device=cuda, but torch sees no GPU; use cpu or auto")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def words_of_spans(text: str, spans: Sequence[tuple[int, int]]) -> list[int | None]:
    """The word of `text.split()` that each token lies in, from the tokens' character spans (start, stop).

    A token of blanks alone belongs to the word after it; an empty span (a special token) to none; one in several words is an error.

    >>> words_of_spans("the cats ran", [(0, 0), (0, 3), (3, 7), (7, 8), (9, 12), (0, 0)])
    [None, 0, 1, 1, 2, None]
    """
    ends = [match.end() for match in re.finditer(r"\S+", text)]  # bisect gives the word of a character, of a blank the next one
    owners: list[int | None] = []
    for start, stop in spans:
        words = {bisect(ends, k) for k in range(start, stop) if not text[k].isspace()}
        words = words or {bisect(ends, start) if start < stop else len(ends)}
        if len(words) > 1:
            raise EncoderError(f"tokens cannot be aligned with words: the token {text[start:stop]!r} lies in {len(words)} words")
        [owner] = words
        owners.append(owner if owner < len(ends) else None)
    return owners
