"""An ELMo-style architecture to train: characters, a convolution over them, and a biLSTM language model with projections.

The network is ELMo's, smaller. A language model predicts words of a counted vocabulary. A checkpoint also holds the original's two
files, options.json and weights.hdf5, which `encoder=elmo` reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch

from probing.encoders.base import Item
from probing.encoders.elmo.elmo_format import ELMoOptions, character_ids, library
from probing.encoders.elmo.elmo_network import ELMoNetwork, place_of
from probing.encoders.gradients import ChangeVectors
from probing.encoders.interventions import Change, Place
from probing.encoders.networks.architecture import Architecture
from probing.encoders.networks.network import Readable
from probing.encoders.networks.vocabulary import TrainedVocabulary, Vocabulary
from probing.errors import EncoderError


@dataclass(frozen=True)
class Characters(Vocabulary):
    """The `Vocabulary` of characters: a token is a word, as a tuple of `width` character ids, ends and padding included."""

    width: int
    size: int = 0

    @property
    def description(self) -> Mapping[str, Any]:
        return {"kind": "characters", "width": self.width}

    def ids(self, texts: Sequence[str]) -> list[list[tuple[int, ...]]]:
        return [[character_ids(word, self.width) for word in text.split()] for text in texts]


@dataclass(repr=False)
class ELMoStyle(Architecture):
    """Options of `Architecture`, with `embedding_dim` the projection's width, `dropout` and `buckets` without effect; and:

    Args:
        hidden: cells of an LSTM layer in one direction, before the projection.
        character_dim: width of a character's vector.
        filters: number of filters of width 1, of width 2, and so on.
        highways: highway layers over the convolutions.
        characters: ids of a word, its ends included; longer words are cut.
        clip: bound of cells and projections.
    """

    embedding_dim: int = 128
    layers: int = 2
    reads: str = "both"
    pooling: str = "max"
    hidden: int = 512
    character_dim: int = 16
    filters: list[int] = field(default_factory=lambda: [32, 32, 64, 128])
    highways: int = 1
    characters: int = 50
    clip: float = 3.0

    KIND: ClassVar[str] = "elmo-style"
    READS: ClassVar[tuple[str, ...]] = ("both",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.hidden, self.character_dim, *self.filters, self.clip) <= 0 or not self.filters:
            raise EncoderError("encoder.hidden, character_dim, clip and all filters must be above 0")
        if self.characters < max(3, len(self.filters)):
            raise EncoderError(f"encoder.characters={self.characters} is narrower than the widest of {len(self.filters)} filters")

    @property
    def state_names(self) -> tuple[str, ...]:
        return tuple(f"biLSTM {k}" for k in range(1, self.layers + 1))

    @property
    def state_width(self) -> int:
        return self.embedding_dim

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("token (char CNN)", *self.state_names)

    @property
    def dims(self) -> tuple[int, ...]:
        return (2 * self.embedding_dim,) * (1 + self.layers)

    def place_of(self, layer: int, state: str | None) -> Place:
        return place_of(self.layer_names, layer, state)

    @property
    def options(self) -> ELMoOptions:
        """This network's options in the original's terms."""
        return ELMoOptions(
            embedding_dim=self.character_dim,
            filters=tuple((width, n) for width, n in enumerate(self.filters, start=1)),
            n_highway=self.highways,
            projection_dim=self.embedding_dim,
            dim=self.hidden,
            n_layers=self.layers,
            max_characters=self.characters,
            cell_clip=self.clip,
            proj_clip=self.clip,
        )

    @property
    def vocabulary(self) -> Vocabulary:
        return Characters(self.characters)

    def reader(self, counted: TrainedVocabulary) -> Vocabulary:
        library()  # h5py writes the files at the end of the training; fail now if it is missing
        return self.vocabulary

    def network_of(self, size: int, seed: int) -> ELMoStyleNetwork:
        return ELMoStyleNetwork(self.options, seed)

    def export(self, network: Readable, folder: Path) -> None:
        assert isinstance(network, ELMoStyleNetwork)
        network.inner.save(folder)


class ELMoStyleNetwork(Readable):
    """ELMo's network as one of the suite's own."""

    margin = 1

    def __init__(self, options: ELMoOptions, seed: int):
        super().__init__()
        self.inner = ELMoNetwork(options, seed=seed)
        self.backward_dims = self.inner.backward_dims

    def batch(self, items: Sequence[Item]) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inner.batch(items)

    @contextmanager
    def changed_by(self, change: Change) -> Iterator[None]:
        with self.inner.changed_by(change):
            yield

    @contextmanager
    def lookup_changed_by(self, change: ChangeVectors) -> Iterator[None]:
        with self.inner.lookup_changed_by(change):
            yield

    def forward(self, characters: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
        """States (batch, tokens + 2, 2 * projection), boundary tokens included."""
        return self.inner(characters, lengths)
