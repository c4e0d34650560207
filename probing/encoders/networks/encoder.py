"""The encoder that the suite's own networks share: frozen weights, items of bounded length, states, a fingerprint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from probing.encoders.base import Item, States, resolve_device
from probing.encoders.networks.network import Readable, run
from probing.encoders.networks.vocabulary import CLOSE, Vocabulary
from probing.encoders.pooling import TOKEN_POOLINGS
from probing.errors import EncoderError

if TYPE_CHECKING:
    from probing.encoders.networks.architecture import Architecture

VERSION = 1
"""Raise when the same weights and options would give other vectors."""


class NetworkEncoder:
    """An `Encoder` made of an architecture, a vocabulary and weights.

    Subclasses have the attributes of `Encoder`, and those that have no value here.
    """

    init_seed: int
    max_length: int | None
    device: str
    poolings = TOKEN_POOLINGS

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def architecture(self) -> Architecture:
        raise NotImplementedError

    @property
    def vocabulary(self) -> Vocabulary:
        raise NotImplementedError

    def _weights(self) -> Mapping[str, torch.Tensor] | None:
        """The state dict to load, or None for weights drawn from `init_seed`."""
        raise NotImplementedError

    def _described(self) -> Mapping[str, Any]:
        """The part of `description` that identifies the weights, as plain JSON."""
        raise NotImplementedError

    @property
    def description(self) -> Mapping[str, Any]:
        return {
            "kind": "network",
            "version": VERSION,
            "architecture": self.architecture.shape,
            "vocabulary": dict(self.vocabulary.description),
            "weights": dict(self._described()),
            "max_length": self.max_length,
        }

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Item], int]:
        items = self.vocabulary.ids(texts)
        cut: list[Item] = [self._cut(item, CLOSE) for item in items]
        return cut, sum(len(short) < len(item) for short, item in zip(cut, items, strict=True))

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        return [self._cut(owners, None) for owners in self.vocabulary.word_ids(texts)]

    def _cut(self, item: list[Any], mark: Any) -> list[Any]:
        """The first `max_length` entries of an item, of which the last is `mark` if the item ends with it."""
        if self.max_length is None or len(item) <= self.max_length:
            return item
        closing = item[-1:] if item[-1] == mark else []
        return item[: self.max_length - len(closing)] + closing

    @cached_property
    def network(self) -> Readable:
        """The network with its weights, in eval mode and without gradient."""
        network = self.architecture.network_of(self.vocabulary.size, self.init_seed)
        if (weights := self._weights()) is not None:
            load_weights(network, weights, self.name)
        return network.eval().requires_grad_(False).to(resolve_device(self.device))

    def release(self) -> None:
        """Frees the weights; they are loaded or drawn again when needed."""
        self.__dict__.pop("network", None)

    def forward(self, items: Sequence[Item]) -> States:
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # CPU and GPU share a key
            return run(self.network, items)


def load_weights(network: nn.Module, weights: Mapping[str, torch.Tensor], name: str) -> None:
    """Loads the weights into the network.

    Raises:
        EncoderError: a weight is missing, unknown, of another shape, or not finite.
    """
    expected = network.state_dict()
    for what, keys in (("missing", expected.keys() - weights.keys()), ("unknown", weights.keys() - expected.keys())):
        if keys:
            raise EncoderError(f"{name}: {what} weights ({len(keys)}): {', '.join(sorted(keys)[:4])}{'…' * (len(keys) > 4)}")
    for key, tensor in expected.items():
        if tensor.shape != weights[key].shape:
            raise EncoderError(
                f"{name}: weight {key} has the shape {tuple(weights[key].shape)}, the architecture wants {tuple(tensor.shape)}"
            )
        if not weights[key].isfinite().all():
            raise EncoderError(f"{name}: weight {key} is not finite (NaN or infinite)")
    network.load_state_dict(weights)
