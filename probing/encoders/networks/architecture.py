"""The encoders of the suite's own networks, and the options that all architectures share.

Used by its preset's name, an architecture is an untrained encoder: weights drawn from `init_seed`, words hashed. `probing train`
makes checkpoints of it (`probing.encoders.networks.checkpoint`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from probing import config as presets
from probing.encoders.base import Item, Named, States, check_device, resolve_device
from probing.encoders.gradients import ChangeVectors, keeps_graph, mode
from probing.encoders.interventions import Change, Place
from probing.encoders.networks.network import Network, Readable, Stack, run
from probing.encoders.networks.vocabulary import CLOSE, HashedWords, TrainedVocabulary, Vocabulary
from probing.encoders.pooling import TOKEN_POOLINGS
from probing.errors import EncoderError

VERSION = 1
"""Raise when the same weights and options would give other vectors."""

ATTENTION = ("attention", "attention-dot", "attention-frozen")
"""Poolings that a classifier learns in training; an encoder of its own has none of them."""


class NetworkEncoder(Named):
    """An `Encoder` made of an architecture, a vocabulary and weights."""

    init_seed: int
    max_length: int | None
    device: str
    poolings = TOKEN_POOLINGS

    if TYPE_CHECKING:  # members of subclasses

        @property
        def name(self) -> str: ...
        @property
        def architecture(self) -> Architecture: ...
        @property
        def vocabulary(self) -> Vocabulary: ...

    def _weights(self) -> Mapping[str, torch.Tensor] | None:
        """The state dict to load, or None for weights drawn from `init_seed`."""
        return None

    def _described(self) -> Mapping[str, Any]:
        """The part of `description` that identifies the weights, as plain JSON."""
        return {"drawn from seed": self.init_seed, "torch": torch.__version__}

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
        with torch.inference_mode(False):  # a forward may ask first, and no gradient goes through weights made in that mode
            network = self.architecture.network_of(self.vocabulary.size, self.init_seed)
            if (weights := self._weights()) is not None:
                self._check(weights, network.state_dict())
                network.load_state_dict(weights)
            return network.eval().requires_grad_(False).to(resolve_device(self.device))

    def _check(self, weights: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
        """Raises EncoderError for a weight that is missing, unknown, of another shape, or not finite."""
        for what, keys in (("missing", expected.keys() - weights.keys()), ("unknown", weights.keys() - expected.keys())):
            if keys:
                some = f"{', '.join(sorted(keys)[:4])}{'…' * (len(keys) > 4)}"
                raise EncoderError(f"{self.name}: {what} weights ({len(keys)}): {some}")
        for key, tensor in expected.items():
            given, wanted = tuple(weights[key].shape), tuple(tensor.shape)
            if given != wanted:
                raise EncoderError(f"{self.name}: weight {key} has the shape {given}, the architecture wants {wanted}")
            if not weights[key].isfinite().all():
                raise EncoderError(f"{self.name}: weight {key} is not finite (NaN or infinite)")

    def place_of(self, layer: int, state: str | None) -> Place:
        """Where an intervention on a layer is in the network."""
        return self.architecture.place_of(layer, state)

    @contextmanager
    def changed_by(self, change: Change) -> Iterator[None]:
        """Interventions on the network (`probing.encoders.interventions.intervened`)."""
        with self.network.changed_by(change):
            yield

    @property
    def lookup(self) -> torch.nn.Module:
        """The module that looks word vectors up."""
        return self.network.lookup

    @contextmanager
    def lookup_changed_by(self, change: ChangeVectors) -> Iterator[None]:
        """Word vectors that go through `change` (`probing.encoders.gradients`)."""
        with self.network.lookup_changed_by(change):
            yield

    def release(self) -> None:
        self.__dict__.pop("network", None)

    def forward(self, items: Sequence[Item]) -> States:
        cudnn = not keeps_graph()  # its recurrent layers have no gradient in eval mode
        with mode(), torch.backends.cudnn.flags(enabled=cudnn, allow_tf32=False):  # CPU and GPU share a key
            return run(self.network, items)


@dataclass(repr=False)
class Architecture(NetworkEncoder):
    """Options that every network has; an architecture is also an encoder by itself, an untrained one.

    Args:
        embedding_dim: width of the token vectors.
        reads: forward, backward, both or all (`probing.encoders.networks.network`).
        dropout: on token vectors and between layers, in training.
        pooling: of the classifier in training: mean, max or last, or one of `ATTENTION` (`probing.training.attention`).
        init_seed: seed of the untrained weights; `probing train` has its own seed.
        buckets: ids for hashed words, in the untrained network.
        lowercase: whether the untrained network reads words in lower case; for a trained one the vocabulary decides.
        max_length: tokens kept of a sentence; None: all.
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
        for option, allowed in (("reads", self.READS), ("pooling", (*TOKEN_POOLINGS, *ATTENTION))):
            if getattr(self, option) not in allowed:
                raise EncoderError(f"encoder.{option}={getattr(self, option)!r} is unknown (allowed: {', '.join(allowed)})")
        self._check_positive("embedding_dim", "layers", "buckets", "max_length")
        if not 0 <= self.dropout < 1:
            raise EncoderError(f"encoder.dropout={self.dropout} must be at least 0 and below 1")

    def _check_positive(self, *options: str) -> None:
        for option in options:
            if (value := getattr(self, option)) is not None and value < 1:
                raise EncoderError(f"encoder.{option}={value} must be at least 1")

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the stack's states, bottom to top."""
        raise NotImplementedError

    @property
    def state_width(self) -> int:
        """Width of one state of one stack."""
        raise NotImplementedError

    def stack(self) -> Stack:
        """`stack(x, lengths)`: (batch, tokens, embedding_dim) to a list of (batch, tokens, state_width), one per state name."""
        raise NotImplementedError

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("embeddings", *self.state_names)

    @property
    def dims(self) -> tuple[int, ...]:
        return (self.embedding_dim, *(self.state_width * (2 if self.reads == "both" else 1),) * len(self.state_names))

    def place_of(self, layer: int, state: str | None) -> Place:
        if state == "cell":
            raise EncoderError(f"{self.name} has no cells; an intervention on state=cell is for LSTMs")
        return layer, "hidden"

    def network_of(self, size: int, seed: int) -> Readable:
        """The network for a vocabulary of `size` ids, weights drawn from `seed`."""
        return Network(self, size, seed)

    def reader(self, counted: TrainedVocabulary) -> Vocabulary:
        """The vocabulary of the trained network; `counted` is the one counted on the training text."""
        return counted

    def export(self, network: Readable, folder: Path) -> None:
        """Writes the trained weights in another format beside the checkpoint, if the architecture has one."""

    @property
    def architecture(self) -> Architecture:
        return self

    @property
    def vocabulary(self) -> Vocabulary:
        return HashedWords(self.buckets, self.lowercase)

    @property
    def title(self) -> str:
        """Its kind or label, and the options that differ from the preset; weights and seeds are not in it."""
        name, changed = self.label or self.KIND, ""
        if name in presets.names("encoder"):  # options that differ from the preset distinguish the encoders of a sweep
            plain = presets.read("encoder", name)
            options = [f"{k}={v}" for k, v in self.shape.items() if k in plain and v != plain[k]]
            options += [f"{k}={getattr(self, k)}" for k in ("buckets", "lowercase", "max_length") if getattr(self, k) != plain[k]]
            changed = f"[{','.join(options)}]" if options else ""
        return f"{name}{changed}"

    @cached_property
    def name(self) -> str:
        return f"{self.title} (untrained {self.init_seed})"

    @property
    def origin(self) -> str:
        return f"untrained, drawn from seed {self.init_seed}"

    @property
    def shape(self) -> dict[str, Any]:
        """The options that decide the vectors, given the weights."""
        excluded = ("dropout", "pooling", "init_seed", "buckets", "lowercase", "max_length", "device", "label")
        return {"kind": self.KIND} | {key: value for key, value in asdict(self).items() if key not in excluded}

    def random_twin(self, seed: int) -> None:
        """None: the encoder itself has random weights."""
