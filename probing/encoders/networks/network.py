"""What the suite's own networks share as encoders: token vectors, stacks that read them, frozen weights, a fingerprint.

A network is an embedding and one or two stacks (`recurrent`, `convolutional`, `transformer`). How it reads:

    forward    left to right: a token's state knows what precedes it
    backward   right to left: the same stack on the reversed sentence
    both       two stacks that never see each other, their states side by side (a biLM, Peters et al. 2018; with one LSTM layer
               Conneau et al.'s BiLSTM)
    all        every token sees every other

Layer 0 is the word embedding alone, without positions. Used by its preset's name, a network is untrained: weights drawn from
`init_seed`, words hashed. `probing train` makes checkpoints of it (`probing.encoders.networks.checkpoint`).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from probing import config as presets
from probing.encoders.base import Item, States, check_device, resolve_device
from probing.encoders.networks.vocabulary import CLOSE, OPEN, PAD, HashedWords, TrainedVocabulary, Vocabulary
from probing.errors import EncoderError

VERSION = 1
"""Raise when the same weights and options would give other vectors."""


class NetworkEncoder:
    """An architecture, a vocabulary and weights as an `Encoder`; subclasses say where the three come from."""

    architecture: Architecture
    vocabulary: Vocabulary
    layer_names: tuple[str, ...]
    dims: tuple[int, ...]
    init_seed: int
    max_length: int | None
    device: str
    name: str
    origin: str

    def _weights(self) -> Mapping[str, torch.Tensor] | None:
        """The state dict to load, or None for weights drawn from `init_seed`."""
        raise NotImplementedError

    def _described(self) -> Mapping[str, Any]:
        """What identifies the weights, as plain JSON."""
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

    @property
    def poolings(self) -> tuple[str, ...]:
        return ("mean", "max", "last")

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Item], int]:
        items = self.vocabulary.ids(texts)
        long = 0
        for i, item in enumerate(items):
            if self.max_length is not None and len(item) > self.max_length:
                closing = item[-1:] if item[-1] == CLOSE else []
                items[i] = item[: self.max_length - len(closing)] + closing
                long += 1
        return items, long

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        found = self.vocabulary.word_ids(texts)
        for i, item in enumerate(found):
            if self.max_length is not None and len(item) > self.max_length:
                closing = item[-1:] if item[-1] is None else []
                found[i] = item[: self.max_length - len(closing)] + closing
        return found

    @cached_property
    def network(self) -> nn.Module:
        """The network with its weights, in eval mode and without gradient."""
        network = self.architecture.network_of(self.vocabulary.size, self.init_seed)
        if (weights := self._weights()) is not None:
            load_weights(network, weights, self.name)
        return network.eval().requires_grad_(False).to(resolve_device(self.device))

    def release(self) -> None:
        """Frees the weights; they are loaded or drawn again when they are needed."""
        self.__dict__.pop("network", None)

    def forward(self, items: Sequence[Item]) -> States:
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # CPU and GPU share a key
            return run(self.network, items)


def run(network: Network, items: Sequence[Item]) -> States:
    """States of a batch of items; the marks of a sentence's ends are computed on and then left out."""
    inputs, lengths = network.batch(items)
    layers = [layer[:, network.margin : layer.shape[1] - network.margin] for layer in network(inputs, lengths)]
    return States(layers, network.counted(inputs, lengths), network.backward_dims)


def padded(items: Sequence[Item], device: str | torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (batch, tokens), padded on the right, and lengths (batch,)."""
    lengths = torch.tensor([len(item) for item in items])
    ids = torch.full((len(items), int(lengths.max())), PAD)
    ids[torch.arange(ids.shape[1])[None] < lengths[:, None]] = torch.tensor(list(itertools.chain.from_iterable(items)))
    return ids.to(device), lengths.to(device)


def load_weights(network: nn.Module, weights: Mapping[str, torch.Tensor], name: str) -> None:
    """Puts the weights in, every one of them and no other.

    Raises:
        EncoderError: names that are missing, unknown or of another shape; they are named.
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


@dataclass
class Architecture(NetworkEncoder):
    """Options that every network has; by itself an untrained encoder.

    Args:
        embedding_dim: width of the token vectors.
        layers: layers of the stack.
        reads: forward, backward, both or all (module docstring).
        dropout: on token vectors and between layers, in training.
        pooling: what a classifier reads in training: mean, max or last.
        init_seed: of the untrained weights; `probing train` takes its own seed.
        buckets: hashed words of the untrained network.
        lowercase: of the untrained network; a trained one reads as its vocabulary says.
        max_length: tokens kept of a sentence; None: all.
        device: cpu, cuda, or auto.
        label: name in tables.
    """

    embedding_dim: int = 300
    layers: int = 1
    reads: str = "forward"
    dropout: float = 0.3
    pooling: str = "max"
    init_seed: int = 0
    buckets: int = 50_000
    lowercase: bool = True
    max_length: int | None = None
    device: str = "cpu"
    label: str | None = None

    KIND: ClassVar[str] = ""
    READS: ClassVar[tuple[str, ...]] = ("forward", "backward", "both")

    def __post_init__(self) -> None:
        check_device(self.device)
        for option, allowed in (("reads", self.READS), ("pooling", ("mean", "max", "last"))):
            if getattr(self, option) not in allowed:
                raise EncoderError(f"encoder.{option}={getattr(self, option)!r} is unknown (allowed: {', '.join(allowed)})")
        for option in ("embedding_dim", "layers", "buckets", "max_length"):
            if (value := getattr(self, option)) is not None and value < 1:
                raise EncoderError(f"encoder.{option}={value} must be at least 1")
        if not 0 <= self.dropout < 1:
            raise EncoderError(f"encoder.dropout={self.dropout} must be at least 0 and below 1")

    # What a subclass says.

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the stack's states, bottom to top."""
        raise NotImplementedError

    @property
    def state_width(self) -> int:
        """Width of one state of one stack."""
        raise NotImplementedError

    def stack(self) -> nn.Module:
        """`stack(x, lengths)`: (batch, tokens, embedding_dim) to a list of (batch, tokens, state_width), one per state name."""
        raise NotImplementedError

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("embeddings", *self.state_names)

    @property
    def dims(self) -> tuple[int, ...]:
        return (self.embedding_dim, *(self.state_width * (2 if self.reads == "both" else 1),) * len(self.state_names))

    def network_of(self, size: int, seed: int) -> Network:
        """The network for a vocabulary of `size` ids, weights drawn from `seed`."""
        return Network(self, size, seed)

    def reader(self, counted: TrainedVocabulary) -> Vocabulary:
        """What turns text into the network's items, where a vocabulary was counted on the training text."""
        return counted

    def export(self, network: Network, folder: Path) -> None:
        """Writes the trained weights in another format beside the checkpoint, where there is one."""

    # As an untrained encoder.

    @property
    def architecture(self) -> Architecture:
        return self

    @property
    def vocabulary(self) -> Vocabulary:
        return HashedWords(self.buckets, self.lowercase)

    @cached_property
    def name(self) -> str:
        name, changed = self.label or self.KIND, ""
        if name in presets.names("encoder"):  # what differs from the preset tells the encoders of a sweep apart
            plain = presets.read("encoder", name)
            options = [f"{k}={v}" for k, v in self.shape.items() if k in plain and v != plain[k]]
            options += [f"{k}={getattr(self, k)}" for k in ("buckets", "lowercase", "max_length") if getattr(self, k) != plain[k]]
            changed = f"[{','.join(options)}]" if options else ""
        return f"{name}{changed} (untrained {self.init_seed})"

    @property
    def origin(self) -> str:
        return f"untrained, drawn from seed {self.init_seed}"

    @property
    def shape(self) -> dict[str, Any]:
        """The options that decide the vectors, given the weights."""
        aside = ("dropout", "pooling", "init_seed", "buckets", "lowercase", "max_length", "device", "label")
        return {"kind": self.KIND} | {key: value for key, value in asdict(self).items() if key not in aside}

    def random_twin(self, seed: int) -> None:
        """None: it is untrained as it is."""

    def _weights(self) -> None:
        return None

    def _described(self) -> Mapping[str, Any]:
        return {"drawn from seed": self.init_seed, "torch": torch.__version__}


class Network(nn.Module):
    """Token vectors and the stacks that read them.

    Weights are drawn from `seed`; torch's global generator stays as it was. Token vectors are normal with standard deviation 0.1.
    """

    margin = 0
    """Positions that `forward` adds at either end of an item."""

    def __init__(self, architecture: Architecture, size: int, seed: int):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(size, architecture.embedding_dim, padding_idx=PAD)
            nn.init.normal_(self.embedding.weight, std=0.1)
            with torch.no_grad():
                self.embedding.weight[PAD] = 0
            both = architecture.reads == "both"
            self.forwards = architecture.stack() if architecture.reads != "backward" else None
            self.backwards = architecture.stack() if architecture.reads in ("backward", "both") else None
        self.dropout = nn.Dropout(architecture.dropout)
        n, width = len(architecture.state_names), architecture.state_width
        none = torch.zeros(architecture.embedding_dim, dtype=torch.bool)
        back = torch.ones(width, dtype=torch.bool) if not both else torch.arange(2 * width) >= width
        self.backward_dims = None if self.backwards is None else [none, *[back] * n]

    def batch(self, items: Sequence[Item]) -> tuple[torch.Tensor, torch.Tensor]:
        """What `forward` takes: ids (batch, tokens) and lengths (batch,)."""
        return padded(items, self.embedding.weight.device)

    def counted(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The mask (batch, tokens) of the states that count: neither padding nor a mark of the sentence's ends."""
        return (ids != PAD) & (ids != OPEN) & (ids != CLOSE)

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
        """Ids (batch, tokens), padded on the right, to the states of every layer: (batch, tokens, dims[l])."""
        vectors = self.embedding(ids)
        x = self.dropout(vectors)
        read = []
        if self.forwards is not None:
            read.append(self.forwards(x, lengths))
        if self.backwards is not None:
            read.append([reversed_within(h, lengths) for h in self.backwards(reversed_within(x, lengths), lengths)])
        return [vectors, *(torch.cat(states, -1) if len(states) > 1 else states[0] for states in zip(*read, strict=True))]


def reversed_within(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Each row of (batch, tokens, d) reversed within its own length; padding stays where it is."""
    position = torch.arange(x.shape[1], device=x.device)[None]  # (1, tokens)
    mirror = torch.where(position < lengths[:, None], lengths[:, None] - 1 - position, position)  # (batch, tokens)
    return x.gather(1, mirror[..., None].expand_as(x))
