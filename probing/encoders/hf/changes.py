"""Interventions on a `transformers` model, by forward hooks at the places where the states of its layers are made.

Before a layer is changed for the first time, its place is tried: with all states of another sentence there, the model must go on as
it does with that sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch

from probing.encoders.base import Item, States
from probing.encoders.gradients import ChangeVectors
from probing.encoders.hf.batching import BatchRunner, close
from probing.encoders.hf.hooks import Site, changed
from probing.encoders.hf.textmodel import TextModel
from probing.encoders.interventions import Change
from probing.errors import EncoderError

_TRIED = "_places_tried"


class Changed:
    """A loaded model under a change, as a context manager."""

    def __init__(self, name: str, text: TextModel, batches: BatchRunner, change: Change):
        self.name, self.text, self.batches, self.change = name, text, batches, change
        self.stack = ExitStack()
        self.states: dict[int, torch.Tensor] = {}
        """The changed layers in the last pass, as the model has them."""

    def __enter__(self) -> Changed:
        sites = {layer: self._site(layer) for layer in self.change.layers}
        for layer, site in sites.items():
            self._try(layer, site)
        self.stack.enter_context(changed(sites, self.text.module, self._begin, self._at))
        self.batches.within = self._run
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.close()
        self.batches.within = None

    def _run(self, rows: Sequence[int], items: Sequence[Item], run: Callable[[Sequence[Item]], Any]) -> Any:
        """One batch of the encoder's `forward` or `pooled`."""
        if 0 in rows:
            self.change.begin()
        self.change.rows = rows
        try:
            result = run(items)
        finally:
            self.change.rows = None
        if not isinstance(result, States):
            return result
        layers = list(result.layers)
        for layer, x in self.states.items():  # the model's own list may be older than the change
            layers[layer] = x.reshape(layers[layer].shape) if x.ndim == 2 else x[:, : layers[layer].shape[1]]
        head = self.text.head
        own = {} if head is None else {"sentence": [head(x, self.text.inputs(items)[1]) for x in layers]}
        return replace(result, layers=layers, vectors=own)

    def _begin(self) -> None:
        self.states.clear()
        if self.change.rows is None:  # a head of its own runs the model
            self.change.begin()

    def _at(self, layer: int, x: torch.Tensor) -> torch.Tensor:
        x = self.change((layer, "hidden"), x, torch.arange(x.shape[1], device=x.device)[None])
        self.states[layer] = x
        return x

    def _site(self, layer: int) -> Site:
        text, why = self.text, ""
        if text.model is not text.module:
            why = "encoder.compile=true runs no hooks; set encoder.compile=false"
        elif text.norm is not None and layer < len(text.layers.names) - 1:
            why = "encoder.final_norm=true reads states that the network does not; set encoder.final_norm=false"
        elif text.layers.sites is None:
            why = "its states are made between modules, where no hook is"
        if why or text.layers.sites is None:
            raise EncoderError(f"{self.name}: layer {layer} cannot be changed: {why}")
        return text.layers.sites[layer]

    def _try(self, layer: int, site: Site) -> None:
        tried: dict[int, bool] = self.text.__dict__.setdefault(_TRIED, {})
        if layer not in tried:
            item, variants, _ = self.text.sentence(16)
            base, source = (self.text.forward([one]).layers for one in (item, variants[0]))
            with changed({layer: site}, self.text.module, lambda: None, lambda _, x: source[layer].reshape(x.shape)):
                after = self.text.forward([item]).layers
            tried[layer] = close(after[layer + 1 :], source[layer + 1 :], len(item), self.text.tolerance) and (
                layer == len(base) - 1 or not close(base[-1:], source[-1:], len(item), self.text.tolerance)
            )
        if not tried[layer]:
            raise EncoderError(
                f"{self.name}: layer {layer} cannot be changed: with all of another sentence's states there, the layers above it "
                "are not that sentence's, so they read more than this layer"
            )


class Changeable:
    """The methods of an encoder of transformers for `probing.encoders.interventions` and `probing.encoders.gradients`."""

    under_change = False
    """Whether a pass is changed now, by either of the two: then torch runs it, whatever the engine."""

    @contextmanager
    def changed_by(self: Any, change: Change) -> Iterator[None]:
        with Changed(self.name, self._text, self._batches, change), self._torch_alone():
            yield

    @contextmanager
    def _torch_alone(self: Any) -> Iterator[None]:
        before, self.under_change = self.under_change, True
        try:
            yield
        finally:
            self.under_change = before

    @property
    def lookup(self: Any) -> torch.nn.Module:
        """The module that looks word vectors up."""
        return self.model.get_input_embeddings()

    @contextmanager
    def lookup_changed_by(self: Any, change: ChangeVectors) -> Iterator[None]:
        """Word vectors that go through `change` (`probing.encoders.gradients`)."""
        with self.lookup.register_forward_hook(lambda module, given, vectors: change(vectors)), self._torch_alone():
            yield
