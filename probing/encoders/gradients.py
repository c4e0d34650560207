"""Gradients through an encoder: one switch, one place where word vectors are changed, and layers as leaves of the graph.

    with gradients(), encoder.lookup_changed_by(change):
        states = encoder.forward(items)        # the usual pass in eval mode, with the graph above a leaf that `change` gives

Outside of the switch every encoder runs in torch's inference mode. Within it the same `forward` runs with gradients. Parameters
stay frozen, so that a graph begins where a tensor requires a gradient: at the word vectors that `change` returns, or at a layer
(`at_layer`).

An encoder with gradients has the method `lookup_changed_by(change)`: within its context the word vectors (batch, tokens, d) of
every pass go through `change` right after they are looked up, before positions, token types and norms (ELMo: the output of the
character CNN, without the marks around the sentence). The suite's networks, ELMo and models of transformers have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch

from probing.encoders.interventions import Change, Intervention, Place
from probing.errors import ConfigError

if TYPE_CHECKING:
    from probing.encoders.base import Encoder

ChangeVectors = Callable[[torch.Tensor], torch.Tensor]
"""Word vectors (batch, tokens, d) to those that are read instead, of the same shape."""

_ON: ContextVar[bool] = ContextVar("gradients", default=False)


@contextmanager
def gradients() -> Iterator[None]:
    """Within it, passes of encoders keep the graph."""
    token = _ON.set(True)
    try:
        yield
    finally:
        _ON.reset(token)


def keeps_graph() -> bool:
    """Whether the switch is on."""
    return _ON.get()


def mode() -> AbstractContextManager[Any]:
    """What a pass of an encoder runs in: inference mode, or gradients within the switch."""
    return _with_graph() if _ON.get() else torch.inference_mode()


@contextmanager
def _with_graph() -> Iterator[None]:
    with torch.inference_mode(False), torch.enable_grad():
        yield


def check_gradients(encoder: Encoder) -> None:
    """ConfigError for an encoder that no gradient passes through."""
    if getattr(encoder, "compile", False):
        raise ConfigError(f"{encoder.name}: compiled code hands out no gradients of word vectors; set encoder.compile=false")
    if getattr(encoder, "lookup_changed_by", None) is None:
        raise ConfigError(
            f"{encoder.name} is read from outside, so no gradient passes through it: take a method that needs none (shapley, loo, "
            "lime), or an encoder with gradients (lstm, cnn, gated-cnn, transformer, elmo, elmo-style, checkpoint, hf)"
        )


@contextmanager
def at_layer(encoder: Encoder, layer: int) -> Iterator[Leaves]:
    """Makes the states of a layer the leaves of the graph, in passes within the context and `gradients`.

    A leaf is the state as what is above reads it: in a recurrent layer the next token reads the state itself, which stays.

    Raises:
        ConfigError: no gradient passes through the encoder.
        EncoderError: the layer's place cannot be changed (`probing.encoders.interventions`).
    """
    check_gradients(encoder)
    leaves, changeable = Leaves(encoder, layer), encoder
    with changeable.changed_by(leaves):  # type: ignore[attr-defined]
        yield leaves


class Leaves(Change):
    """The states of one layer as leaves, whole or in parts (directions, tokens), as the network calls for them."""

    def __init__(self, encoder: Encoder, layer: int):
        super().__init__(encoder, [Intervention(layer)])
        self.at = self.place(layer)
        self.parts: list[tuple[torch.Tensor, Sequence[int] | None, torch.Tensor, int]] = []

    def begin(self) -> None:
        super().begin()
        self.parts.clear()

    def apply(self, place: Place, x: torch.Tensor, where: torch.Tensor, first: int = 0, total: int | None = None) -> torch.Tensor:
        if place != self.at:
            return x
        leaf = x.detach().requires_grad_()
        self.parts.append((leaf, self.rows, where.expand(x.shape[:2]), first))
        return leaf

    def gradient(self, value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """The gradient of a number in the layer's states, in the shape of `like` (batch, tokens, width) of the same pass."""
        slopes = torch.autograd.grad(value, [leaf for leaf, *_ in self.parts], allow_unused=True)
        whole = torch.zeros_like(like)
        for slope, (_, rows, where, first) in zip(slopes, self.parts, strict=True):
            if slope is not None:
                row, column = ((where >= 0) & (where < like.shape[1])).nonzero(as_tuple=True)
                at = row if rows is None else torch.tensor(rows, device=row.device)[row]
                whole[at, where[row, column], first : first + slope.shape[2]] += slope[row, column]
        return whole
