"""A loaded `transformers` model, run on batches of items: what it is given, the states of its layers, and its inspection."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch

from probing.encoders.base import CONTEXTUAL, Item, Pooled, Pooler, States, pooled_states
from probing.encoders.hf.company import close, company_of
from probing.encoders.hf.hooks import watched
from probing.encoders.hf.inspection import Layers, find_layers
from probing.encoders.hf.tokens import Sentence, Tokens, with_token
from probing.errors import EncoderError, StatesError, foreign


class TextModel:
    """A model in eval mode, with what is needed to run it.

    Args:
        name: of the encoder, for messages.
        module: the part of the model that reads text.
        tokens: its tokenizer.
        device: cpu or cuda.
        autocast: dtype of products, or None.
        compiled: whether `module` goes through torch.compile.
        special_tokens: whether poolings see special tokens.
        tolerance: of a layer's largest entry, by which states may differ between two batches.
    """

    def __init__(
        self,
        name: str,
        module: torch.nn.Module,
        tokens: Tokens,
        *,
        device: str,
        autocast: str | None,
        compiled: bool,
        special_tokens: bool,
        tolerance: float,
    ):
        self.name, self.module, self.tokens = name, module, tokens
        self.device, self.autocast, self.special_tokens, self.tolerance = device, autocast, special_tokens, tolerance
        self.model = torch.compile(module, dynamic=True) if compiled else module
        self._hooks_work = not compiled  # compiled code runs no hooks
        self._loaded = _AsLoaded(module)

    @cached_property
    def takes(self) -> frozenset[str]:
        """Names of the model's inputs."""
        return frozenset(inspect.signature(self.module.forward).parameters)

    @cached_property
    def rows(self) -> float:
        """Of the embedding matrix."""
        try:
            return self.module.get_input_embeddings().weight.shape[0]
        except (AttributeError, NotImplementedError):  # CANINE hashes characters: it has no such matrix
            return float("inf")

    # What is found by running it.

    def sentence(self, length: int | None) -> Sentence:
        """The test sentence, of at most `length` tokens."""
        return self.tokens.sentence(length, self.rows, self._padding)

    def find_layers(self, length: int | None) -> None:
        """Finds `layers`, on a test sentence of at most `length` tokens."""
        item, variants, places = self.sentence(length)
        inputs, mask = self.inputs([item, variants[0]])

        def run() -> Any:
            return self._handed_out(self._run(inputs, mask, self.module, output_hidden_states=True))

        self.layers: Layers = find_layers(self.name, self.module, run, len(item), places[0])
        self.layers = self._padding_as_word(item, places[0])

    def _padding_as_word(self, item: Item, place: int) -> Layers:
        """The layers; RoBERTa skips the position of a word with its padding id, which then moves the layer 0 of other words."""
        padding, layers = self._padding, self.layers
        if padding in (None, self.tokens.tokenizer.pad_token_id) or not 0 <= padding < self.rows or not layers.context_free:
            return layers
        plain, padded = (self._states(*self.inputs([one]))[0] for one in (item, with_token(item, place, padding)))
        others = [k for k in range(len(item)) if k != place]
        if close([plain[:, others]], [padded[:, others]], len(others), self.tolerance):
            return layers
        return replace(layers, names=(f"input of block 1, which {CONTEXTUAL}", *layers.names[1:]), context_free=False)

    @property
    def _padding(self) -> int | None:
        """The id that the model takes for padding, by its config."""
        return getattr(getattr(self.module, "config", None), "pad_token_id", None)

    def company(self, length: int | None) -> str:
        """In which company sentences keep their states; tried on sentences of at most `length` tokens."""
        return company_of(self.name, lambda items: self._states(*self.inputs(items)), self.samples(length), self.tolerance)

    def samples(self, length: int | None) -> list[Item]:
        """Test sentences of at most `length` tokens, of different lengths, and several of one."""
        return self.tokens.samples(self.sentence(length), length)

    def obeys_mask(self, length: int | None) -> bool:
        """Whether what stands at a place that the attention mask leaves out moves no state of the other places."""
        whole, variants, places = self.sentence(length)
        for gone, variant in zip(places, variants, strict=True):
            states = []
            for ids in (whole, variant):
                inputs, mask = self.inputs([ids])
                mask[0, gone] = 0
                states.append([layer[:, [k for k in range(len(ids)) if k != gone]] for layer in self._states(inputs, mask)])
            if not close(*states, len(whole), self.tolerance):
                return False
        return True

    # Running it.

    def forward(self, items: Sequence[Item]) -> States:
        inputs, mask = self.inputs(items)
        return States(self._states(inputs, mask), self._counted(inputs["input_ids"], mask))

    def pooled(self, items: Sequence[Item], poolings: Sequence[str]) -> Pooled:
        """Vectors of all layers, pooled as their states appear; on the CPU."""
        if not self._hooks_work or self.layers.sites is None:
            return pooled_states(self.forward(items), poolings)
        inputs, mask = self.inputs(items)
        counted = self._counted(inputs["input_ids"], mask)
        pooler, vectors = Pooler(counted), {}

        def see(layer: int, state: torch.Tensor) -> None:
            if state.shape[:2] == mask.shape or (state.ndim == 2 and len(state) == mask.numel()):
                state = state.reshape(*mask.shape, -1).float()  # (batch, tokens, dim)
                with torch.autocast(self.device, enabled=False):
                    vectors[layer] = [pooler(state, p) for p in poolings]  # of each pooling (batch, dim)

        with watched(self.layers.sites, see):
            self._run(inputs, mask, self.model)
        if len(vectors) != len(self.layers.sites):  # another way through its modules, or padded inside
            self.layers = replace(self.layers, sites=None)
            return pooled_states(self.forward(items), poolings)
        layers = [vectors[layer] for layer in range(len(vectors))]
        return Pooled({p: _on_cpu([layer[k] for layer in layers]) for k, p in enumerate(poolings)}, counted.sum(1).cpu())

    def _states(self, inputs: Mapping[str, torch.Tensor], mask: torch.Tensor) -> list[torch.Tensor]:
        """The states of every layer (batch, tokens, dim)."""
        first: dict[int, torch.Tensor] = {}
        site = self.layers.first
        with watched([site], first.__setitem__) if site else nullcontext():
            states = self._handed_out(self._run(inputs, mask, self.module if site else self.model, output_hidden_states=True))
        layers = [state[:, : mask.shape[1]] for state in (*first.values(), *states)]  # some models pad inside
        if len(layers) != len(self.layers.names):
            raise StatesError(f"{self.name} returned {len(layers)} layers, {len(self.layers.names)} were expected")
        return layers

    def _handed_out(self, output: Any) -> Sequence[torch.Tensor]:
        states = getattr(output, "hidden_states", None)
        if not isinstance(states, tuple | list) or not states:
            raise StatesError(f"{self.name}: a {type(self.module).__name__} hands out no states of its layers; it cannot be read")
        return states

    def _run(self, inputs: Mapping[str, torch.Tensor], mask: torch.Tensor, model: Any, **more: Any) -> Any:
        how = {"dtype": getattr(torch, self.autocast or "bfloat16"), "enabled": self.autocast is not None}
        more |= {"use_cache": False} if "use_cache" in self.takes else {}
        n, width = mask.shape
        with foreign(f"{self.name}: running the model on {n} sentence(s) of up to {width} tokens"):
            try:
                with torch.inference_mode(), torch.autocast(self.device, **how), self._loaded:
                    return model(**inputs, attention_mask=mask, **more)
            except Exception as error:  # torch raises many kinds, from its own compiler and from the machine's
                if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                    why = str(error).strip().splitlines()[0]
                    raise EncoderError(f"encoder.compile=true, but torch cannot compile the model here ({why})") from None
                raise

    def inputs(self, items: Sequence[Item]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """What the model gets, and the attention mask, each (batch, tokens).

        Raises:
            StatesError: a token id without a row in the embedding matrix.
        """
        width = max(map(len, items))
        tokenizer, names = self.tokens.tokenizer, ("input_ids", *self.tokens.others)
        pad = tokenizer.pad_token_id or 0
        fill = {"input_ids": pad if pad < self.rows else 0, "token_type_ids": tokenizer.pad_token_type_id}
        columns = {name: [_column(item, k) for item in items] for k, name in enumerate(names)}
        inputs = {
            name: torch.tensor([[*row, *[fill.get(name, row[-1] if row else 0)] * (width - len(row))] for row in rows])
            for name, rows in columns.items()
        }
        if (largest := int(inputs["input_ids"].max())) >= self.rows:
            raise StatesError(
                f"{self.name}: the token {tokenizer.convert_ids_to_tokens(largest)!r} has the id {largest}, but the embedding "
                f"matrix has {self.rows} rows; tokenizer and weights are not of one model, or the matrix was not resized"
            )
        mask = torch.tensor([[1] * len(item) + [0] * (width - len(item)) for item in items])
        if self.device == "cpu":
            return inputs, mask
        moved = {name: values.pin_memory().to(self.device, non_blocking=True) for name, values in inputs.items()}
        return moved, mask.pin_memory().to(self.device, non_blocking=True)

    def _counted(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The mask of what poolings see: (batch, tokens)."""
        counted = mask.bool()
        if not self.special_tokens:
            tokenizer = self.tokens.tokenizer
            special = torch.tensor(sorted(set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}), device=ids.device)
            counted &= ~torch.isin(ids, special)
        return counted


class EmbeddingMatrix(TextModel):
    """The input embedding matrix alone, as a model of one layer."""

    takes = frozenset()
    layers = Layers(("embedding matrix",), (), None, None, True, None)

    @property
    def rows(self) -> float:
        return self.module.weight.shape[0]

    def _states(self, inputs: Mapping[str, torch.Tensor], mask: torch.Tensor) -> list[torch.Tensor]:
        return [self.module(inputs["input_ids"])]


class _AsLoaded:
    """Puts a module back as it was after each run: BigBird, for one, turns to full attention for good at its first short batch.

    Parts, buffers, and attributes that are numbers, texts or truth values are put back. A run that changed weights in place (RWKV
    divides them, once) was a preparation: what it left is kept.
    """

    def __init__(self, module: torch.nn.Module):
        self.module = module
        self._remember()

    def _remember(self) -> None:
        self.before = [(part, _facts(part)) for part in self.module.modules()]
        self.versions = self._versions()

    def _versions(self) -> list[int]:
        """How often each weight was changed in place."""
        return [weight._version for weight in self.module.parameters()]

    def __enter__(self) -> None:
        """Nothing has changed yet."""

    def __exit__(self, *error: Any) -> None:
        if self._versions() != self.versions:
            self._remember()
            return
        for part, before in self.before:
            now = _facts(part)
            for name, value in before.items():
                if now.get(name) is not value and (not isinstance(value, _PLAIN) or now.get(name) != value):
                    setattr(part, name, value)


_PLAIN = (str, int, float, bool, type(None))


def _facts(part: torch.nn.Module) -> dict[str, Any]:
    """A module's own parts, buffers and plain attributes."""
    plain = {name: value for name, value in vars(part).items() if isinstance(value, _PLAIN)}
    return plain | dict(part.named_children()) | dict(part.named_buffers(recurse=False))


def _column(item: Item, k: int) -> Sequence[int]:
    """Input number k of each token of an item, the ids first; other inputs of an item of plain ids are zero."""
    if len(item) and isinstance(item[0], tuple):
        return [token[k] for token in item]
    return item if k == 0 else [0] * len(item)


def _on_cpu(vectors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The vectors (batch, dim) on the CPU, copied at once."""
    if vectors[0].device.type == "cpu":
        return list(vectors)
    copied = torch.cat([v.flatten() for v in vectors]).cpu()
    return [part.reshape(v.shape) for part, v in zip(copied.split([v.numel() for v in vectors]), vectors, strict=True)]
