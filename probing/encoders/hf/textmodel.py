"""A loaded `transformers` model: its inputs from a batch of items, the states of its layers, and the tests that inspect it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch

from probing.encoders.base import CONTEXTUAL, Item, Pooled, States, pooled_states
from probing.encoders.gradients import mode
from probing.encoders.hf.batching import close, find_batching
from probing.encoders.hf.files import ModelFiles
from probing.encoders.hf.hooks import kept, watched
from probing.encoders.hf.layers import Layers, find_layers
from probing.encoders.hf.tokens import Sentence, Tokens, numbers, with_token
from probing.encoders.pooling import Pooler
from probing.errors import EncoderError, StatesError, foreign


class TextModel:
    """The text part of a model in eval mode, with its tokenizer and the options of the encoder, on cpu, cuda or mps.

    `tolerance` is the largest difference of equal states between two batches, as a share of the layer's largest entry.
    `skipped`: how many tokens at the beginning and at the end of a sentence the poolings leave out; `head`: makes the pooling
    `sentence` of the states of a layer (batch, tokens, dim) and the attention mask.
    """

    skipped: tuple[int, int] = (0, 0)
    norm: Callable[[torch.Tensor], torch.Tensor] | None = None
    """The final norm, where it is applied to the states of every layer (`final_norm`)."""
    head: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None

    def __init__(self, options: ModelFiles, module: torch.nn.Module, tokens: Tokens, device: str, tolerance: float):
        self.name, self.autocast, self.special_tokens = options.name, options.autocast, options.special_tokens
        self.module, self.tokens, self.device, self.tolerance = module, tokens, device, tolerance
        self.model = torch.compile(module, dynamic=True) if options.compile else module
        self._hooks_work = not options.compile  # compiled code runs no hooks
        self._all_normed = options.final_norm
        self._restored = _Restored(module)

    @cached_property
    def input_names(self) -> frozenset[str]:
        """Names of the model's inputs."""
        return frozenset(inspect.signature(self.module.forward).parameters)

    @cached_property
    def rows(self) -> float:
        """Number of rows of the embedding matrix."""
        model: Any = self.module
        try:
            return model.get_input_embeddings().weight.shape[0]
        except (AttributeError, NotImplementedError):  # CANINE hashes characters and has no such matrix
            return float("inf")

    # Inspection.

    def sentence(self, length: int | None) -> Sentence:
        """The test sentence, of at most `length` tokens."""
        return self.tokens.sentence(length, self.rows, self._padding)

    def find_layers(self, length: int | None) -> None:
        """Sets `layers`, from a test sentence of at most `length` tokens."""
        item, variants, places = self.sentence(length)
        inputs, mask = self.inputs([item, variants[0]])

        def run() -> Any:
            return self._hidden_states(self._run(inputs, mask, self.module, output_hidden_states=True))

        self.layers: Layers = find_layers(self.name, self.module, run, len(item), places[0])
        self.layers = self._checked_with_padding(item, places[0])
        if self._all_normed:
            self.norm = final_norm(self.name, self.layers)
            names = [f"{name} + final norm" for name in self.layers.names[:-1]]
            self.layers = replace(self.layers, names=(*names, self.layers.names[-1]))

    def _checked_with_padding(self, item: Item, place: int) -> Layers:
        """The layers, renamed where a padding id among the words changes layer 0 of other words (RoBERTa skips its position)."""
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
        """The padding id of the model's config."""
        return getattr(getattr(self.module, "config", None), "pad_token_id", None)

    def batching(self, length: int | None) -> str:
        """Which sentences can share a batch (`find_batching`), from test sentences of at most `length` tokens."""
        return find_batching(self.name, lambda items: self._states(*self.inputs(items)), self.samples(length), self.tolerance)

    def samples(self, length: int | None) -> list[Item]:
        """Test sentences of at most `length` tokens: of different lengths, and several of one length."""
        return self.tokens.samples(self.sentence(length), length)

    def obeys_mask(self, length: int | None) -> bool:
        """Whether another token at a place that the attention mask hides changes no state of the other places."""
        whole, variants, places = self.sentence(length)
        for hidden, variant in zip(places, variants, strict=True):
            states = []
            for ids in (whole, variant):
                inputs, mask = self.inputs([ids])
                mask[0, hidden] = 0
                states.append([layer[:, [k for k in range(len(ids)) if k != hidden]] for layer in self._states(inputs, mask)])
            if not close(states[0], states[1], len(whole), self.tolerance):
                return False
        return True

    # Extraction.

    def forward(self, items: Sequence[Item]) -> States:
        inputs, mask = self.inputs(items)
        layers = self._states(inputs, mask)
        own = {} if self.head is None else {"sentence": [self.head(layer, mask) for layer in layers]}
        return States(layers, self.counted(inputs["input_ids"], mask), vectors=own)

    def logits(self, whole: Any, items: Sequence[Item], places: torch.Tensor | None = None, **decoder: Any) -> torch.Tensor:
        """What a model with a head on top of this one predicts, (batch, tokens, vocabulary); at `places` (batch, k) alone."""
        inputs, mask = self.inputs(items)
        with nullcontext() if places is None or not self._hooks_work else kept(self.module, places.to(self.device)):
            logits: torch.Tensor = self._run(inputs, mask, whole, **decoder).logits
        if places is None or self._hooks_work:
            return logits
        return logits.gather(1, places.to(logits.device)[..., None].expand(-1, -1, logits.shape[-1]))

    def pooled(self, items: Sequence[Item], poolings: Sequence[str]) -> Pooled:
        """Vectors of all layers, pooled as soon as their states exist; on the CPU."""
        if not self._hooks_work or self.layers.sites is None:
            return pooled_states(self.forward(items), poolings)
        inputs, mask = self.inputs(items)
        counted = self.counted(inputs["input_ids"], mask)
        pooler, vectors, head = Pooler(counted), dict[int, list[torch.Tensor]](), self.head

        def see(layer: int, state: torch.Tensor) -> None:
            if state.shape[:2] == mask.shape or (state.ndim == 2 and len(state) == mask.numel()):
                if self.norm is not None and layer < len(self.layers.names) - 1:
                    state = self.norm(state)
                state = state.reshape(*mask.shape, -1).float()  # (batch, tokens, dim)
                with torch.autocast(self.device, enabled=False):
                    vectors[layer] = [head(state, mask) if head and p == "sentence" else pooler(state, p) for p in poolings]

        with watched(self.layers.sites, see):
            self._run(inputs, mask, self.model)
        if len(vectors) != len(self.layers.sites):  # it took another path through its modules, or pads inside
            self.layers = replace(self.layers, sites=None)
            return pooled_states(self.forward(items), poolings)
        layers = [vectors[layer] for layer in range(len(vectors))]
        return Pooled({p: _on_cpu([layer[k] for layer in layers]) for k, p in enumerate(poolings)}, counted.sum(1).cpu())

    def _states(self, inputs: Mapping[str, torch.Tensor], mask: torch.Tensor) -> list[torch.Tensor]:
        """The states of every layer (batch, tokens, dim)."""
        first: dict[int, torch.Tensor] = {}
        site = self.layers.first
        with watched([site], first.__setitem__) if site else nullcontext():
            states = self._hidden_states(self._run(inputs, mask, self.module if site else self.model, output_hidden_states=True))
        layers = [state[:, : mask.shape[1]] for state in (*first.values(), *states)]  # some models pad inside
        if len(layers) != len(self.layers.names):
            raise StatesError(f"{self.name} returned {len(layers)} layers, {len(self.layers.names)} were expected")
        if self.norm is None:
            return layers
        with mode():
            return [*map(self.norm, layers[:-1]), layers[-1]]

    def _hidden_states(self, output: Any) -> Sequence[torch.Tensor]:
        states = getattr(output, "hidden_states", None)
        if not isinstance(states, tuple | list) or not states:
            raise StatesError(f"{self.name}: a {type(self.module).__name__} hands out no states of its layers; it cannot be read")
        return states

    def _run(self, inputs: Mapping[str, torch.Tensor], mask: torch.Tensor, model: Any, **more: Any) -> Any:
        how = {"dtype": getattr(torch, self.autocast or "bfloat16"), "enabled": self.autocast is not None}
        more |= {"use_cache": False} if "use_cache" in self.input_names else {}
        n, width = mask.shape
        with foreign(f"{self.name}: running the model on {n} sentence(s) of up to {width} tokens"):
            try:
                with mode(), torch.autocast(self.device, **how), self._restored:
                    return model(**inputs, attention_mask=mask, **more)
            except Exception as error:  # torch raises many kinds, its own and those of the machine's compiler
                if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                    why = str(error).strip().splitlines()[0]
                    raise EncoderError(f"encoder.compile=true, but torch cannot compile the model here ({why})") from None
                raise

    def inputs(self, items: Sequence[Item]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """The model's inputs by name, and the mask, each (batch, tokens); raises StatesError for an id without an embedding."""
        width = max(map(len, items))
        tokenizer, names = self.tokens.tokenizer, ("input_ids", *self.tokens.others)
        pad = tokenizer.pad_token_id or 0
        fill = {"input_ids": pad if pad < self.rows else 0, "token_type_ids": tokenizer.pad_token_type_id}
        columns = {name: [numbers(item, k) for item in items] for k, name in enumerate(names)}
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
        return {name: self._moved(values) for name, values in inputs.items()}, self._moved(mask)

    def _moved(self, values: torch.Tensor) -> torch.Tensor:
        return values.pin_memory().to(self.device, non_blocking=True) if self.device == "cuda" else values.to(self.device)

    def counted(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The mask of the states, (batch, tokens)."""
        counted = mask.bool()
        if any(self.skipped):
            places, (before, after) = torch.arange(mask.shape[1], device=mask.device), self.skipped
            counted &= (places >= before) & (places < mask.sum(1, keepdim=True) - after)
        if not self.special_tokens:
            counted &= ~torch.isin(ids, torch.tensor(sorted(self.tokens.special), device=ids.device))
        return counted


def final_norm(name: str, layers: Layers) -> Callable[[torch.Tensor], torch.Tensor]:
    """The norm that makes the last layer, without its hooks; EncoderError where there is none."""
    last = layers.sites[-1] if layers.sites else None
    if last is None or last.enters or not layers.names[-1].endswith("final norm"):
        raise EncoderError(
            f"{name}: encoder.final_norm=true, but its last layer ({layers.names[-1]}) is no output of a final norm, which models "
            "such as BERT do not have; set encoder.final_norm=false"
        )
    return last.module.forward


class EmbeddingMatrix(TextModel):
    """The input embedding matrix alone, as a model with one layer."""

    input_names = frozenset()
    layers = Layers(("embedding matrix",), (), None, None, True, None)

    @property
    def rows(self) -> float:
        matrix: Any = self.module
        return matrix.weight.shape[0]

    def _states(self, inputs: Mapping[str, torch.Tensor], mask: torch.Tensor) -> list[torch.Tensor]:
        return [self.module(inputs["input_ids"])]


class _Restored:
    """Restores submodules, buffers and plain attributes after each run; BigBird switches to full attention at a short batch.

    A run that changes weights in place (RWKV divides them, once) is taken for a preparation, and its changes are kept.
    """

    def __init__(self, module: torch.nn.Module):
        self.module = module
        self._remember()

    def _remember(self) -> None:
        self.before = [(part, _facts(part)) for part in self.module.modules()]
        self.versions = self._versions()

    def _versions(self) -> list[int]:
        """torch's count of in-place changes of each weight."""
        return [weight._version for weight in self.module.parameters()]

    def __enter__(self) -> None:
        pass

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
    """A module's children, buffers and plain attributes."""
    plain = {name: value for name, value in vars(part).items() if isinstance(value, _PLAIN)}
    return plain | dict(part.named_children()) | dict(part.named_buffers(recurse=False))


def _on_cpu(vectors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The vectors (batch, dim) on the CPU, in one copy."""
    if vectors[0].device.type == "cpu":
        return list(vectors)
    copied = torch.cat([v.flatten() for v in vectors]).cpu()
    return [part.reshape(v.shape) for part, v in zip(copied.split([v.numel() for v in vectors]), vectors, strict=True)]
