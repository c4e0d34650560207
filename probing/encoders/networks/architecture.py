"""What all architectures of the suite share: their options, and the untrained encoder that each is by itself.

Used by its preset's name, an architecture is an untrained encoder: weights drawn from `init_seed`, words hashed. `probing train`
makes checkpoints of it (`probing.encoders.networks.checkpoint`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from probing import config as presets
from probing.encoders.base import check_device
from probing.encoders.networks.encoder import NetworkEncoder
from probing.encoders.networks.network import Network, Readable
from probing.encoders.networks.vocabulary import HashedWords, TrainedVocabulary, Vocabulary
from probing.encoders.pooling import TOKEN_POOLINGS
from probing.errors import EncoderError


@dataclass
class Architecture(NetworkEncoder):
    """Options that every network has; an architecture is also an encoder by itself, an untrained one.

    Args:
        embedding_dim: width of the token vectors.
        layers: layers of the stack.
        reads: forward, backward, both or all (`probing.encoders.networks.network`).
        dropout: on token vectors and between layers, in training.
        pooling: of the classifier in training: mean, max or last.
        init_seed: seed of the untrained weights; `probing train` has its own seed.
        buckets: ids for hashed words, in the untrained network.
        lowercase: whether the untrained network reads words in lower case; for a trained one the vocabulary decides.
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
        for option, allowed in (("reads", self.READS), ("pooling", TOKEN_POOLINGS)):
            if getattr(self, option) not in allowed:
                raise EncoderError(f"encoder.{option}={getattr(self, option)!r} is unknown (allowed: {', '.join(allowed)})")
        self._check_positive("embedding_dim", "layers", "buckets", "max_length")
        if not 0 <= self.dropout < 1:
            raise EncoderError(f"encoder.dropout={self.dropout} must be at least 0 and below 1")

    def _check_positive(self, *options: str) -> None:
        for option in options:
            if (value := getattr(self, option)) is not None and value < 1:
                raise EncoderError(f"encoder.{option}={value} must be at least 1")

    # Members of subclasses.

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

    def network_of(self, size: int, seed: int) -> Readable:
        """The network for a vocabulary of `size` ids, weights drawn from `seed`."""
        return Network(self, size, seed)

    def reader(self, counted: TrainedVocabulary) -> Vocabulary:
        """The vocabulary of the trained network; `counted` is the one counted on the training text."""
        return counted

    def export(self, network: Readable, folder: Path) -> None:
        """Writes the trained weights in another format beside the checkpoint, if the architecture has one."""

    # The untrained encoder.

    @property
    def architecture(self) -> Architecture:
        return self

    @property
    def vocabulary(self) -> Vocabulary:
        return HashedWords(self.buckets, self.lowercase)

    @cached_property
    def name(self) -> str:
        name, changed = self.label or self.KIND, ""
        if name in presets.names("encoder"):  # options that differ from the preset distinguish the encoders of a sweep
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
        excluded = ("dropout", "pooling", "init_seed", "buckets", "lowercase", "max_length", "device", "label")
        return {"kind": self.KIND} | {key: value for key, value in asdict(self).items() if key not in excluded}

    def random_twin(self, seed: int) -> None:
        """None: the encoder itself has random weights."""

    def _weights(self) -> None:
        return None

    def _described(self) -> Mapping[str, Any]:
        return {"drawn from seed": self.init_seed, "torch": torch.__version__}
