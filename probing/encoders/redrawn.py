"""An encoder whose upper layers have random weights: the steps of a cascade (Adebayo et al. 2018, NeurIPS).

The weights are those of the encoder's random twin. Which layer a weight belongs to is read off the running network: it is the
lowest layer whose states change when this weight alone is drawn again. Layer 0 is what looks words up; so a step from layer 1 keeps
word vectors, and the last step draws them, too. A redrawn encoder has a description, and so a fingerprint, of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import torch

from probing.encoders.base import Encoder
from probing.errors import EncoderError

TEXT = "The old man who came in late did not see that the small dogs had gone ."
"""The sentence on which weights are tried."""

TOLERANCE = 1e-6
"""A change of states counts from this share of their largest size."""


def cascade(encoder: Encoder, seed: int) -> Iterator[tuple[int, Encoder]]:
    """The encoder with random weights from a layer up, from the last layer down to 0, each with the layer.

    Raises:
        EncoderError: it has no random twin, or its weights cannot be reached.
    """
    twin = encoder.random_twin(seed)
    if twin is None:
        raise EncoderError(f"{encoder.name} has no random-weights twin, so no layer of it can be drawn again")
    drawn = dict(weights_of(twin).named_parameters())
    trained = dict(weights_of(encoder).named_parameters())
    if drawn.keys() != trained.keys() or any(drawn[name].shape != one.shape for name, one in trained.items()):
        raise EncoderError(f"{encoder.name}: its random twin has other weights, so its layers cannot be drawn again one by one")
    lowest = layers_of_weights(encoder, drawn)
    for layer in reversed(range(len(encoder.dims))):
        yield layer, _redrawn(encoder, {name: drawn[name] for name, own in lowest.items() if own >= layer}, seed, layer)
    twin.release()


def layers_of_weights(encoder: Encoder, drawn: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """The layer of each weight by name; weights that no layer reads are not among them."""
    tried = _redrawn(encoder, {}, 0, 0)
    items, _ = tried.tokenize([TEXT])
    weights, whole, lowest = dict(weights_of(tried).named_parameters()), tried.forward(items).layers, dict[str, int]()
    for name, own in weights.items():
        kept = own.detach().clone()
        with torch.no_grad():
            own.copy_(drawn[name])
        for layer, (after, before) in enumerate(zip(tried.forward(items).layers, whole, strict=True)):
            if (after - before).abs().max() > TOLERANCE * before.abs().max():
                lowest[name] = layer
                break
        with torch.no_grad():
            own.copy_(kept)
    return lowest


def weights_of(encoder: Any) -> torch.nn.Module:
    """The module with the weights of an encoder of ours or of transformers."""
    for name in ("network", "model"):
        if hasattr(type(encoder), name):
            return getattr(encoder, name)
    raise EncoderError(
        f"{encoder.name} is read from outside: its layers cannot be drawn again (encoders that can be: checkpoint, elmo, hf)"
    )


def _redrawn(encoder: Any, weights: Mapping[str, torch.Tensor], seed: int, layer: int) -> Any:
    """A copy of the encoder that loads its own weights, and then puts these in."""
    family = _Network if hasattr(type(encoder), "network") else _Model
    other = copy.copy(encoder)
    other.__class__ = type(f"Redrawn{type(encoder).__name__}", (family, type(encoder)), {})
    other.release()
    other.__dict__.pop("network", None)
    other._given, other._put, other._how = encoder, weights, {"seed": seed, "from_layer": layer}
    return other


class _Redrawn:
    """What a copy has of its own; it goes before the encoder's class."""

    _given: Any
    _put: Mapping[str, torch.Tensor]
    _how: dict[str, int]

    @property
    def name(self) -> str:
        return f"{self._given.name} redrawn from layer {self._how['from_layer']} (seed {self._how['seed']})"

    @property
    def description(self) -> Mapping[str, Any]:
        return {**self._given.description, "redrawn": self._how}

    def random_twin(self, seed: int) -> Any:
        return self._given.random_twin(seed)

    def _with_weights(self, module: torch.nn.Module) -> torch.nn.Module:
        parameters = dict(module.named_parameters())
        with torch.no_grad():
            for name, drawn in self._put.items():
                parameters[name].copy_(drawn)
        return module


class _Network(_Redrawn):
    @cached_property
    def network(self) -> Any:
        return self._with_weights(copy.deepcopy(self._given.network))


class _Model(_Redrawn):
    def _module(self) -> Any:
        parent: Any = super()
        return self._with_weights(copy.deepcopy(parent._module()))  # a model that a user gave stays as it is
