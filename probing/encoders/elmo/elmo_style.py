"""An ELMo-style network to train: characters, a convolution over them, and a two-directional LSTM language model with projection.

The network is ELMo's own (`probing.encoders.elmo.elmo_network`), smaller. Words are read by their letters, so none is unknown; a
language model predicts words of a counted vocabulary. A checkpoint also holds the original's two files, options.json and
weights.hdf5, which `encoder=elmo` reads alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from probing.encoders.base import Item
from probing.encoders.elmo.elmo_format import ELMoOptions, character_ids
from probing.encoders.elmo.elmo_network import ELMoNetwork
from probing.encoders.elmo.hdf5 import library
from probing.encoders.networks.architecture import Architecture
from probing.encoders.networks.vocabulary import TrainedVocabulary, Vocabulary
from probing.errors import EncoderError


@dataclass(frozen=True)
class Characters:
    """Words as tuples of `width` character ids, ends and padding included."""

    width: int
    size: int = 0

    @property
    def description(self) -> Mapping[str, Any]:
        return {"kind": "characters", "width": self.width}

    def ids(self, texts: Sequence[str]) -> list[list[tuple[int, ...]]]:
        return [[character_ids(word, self.width) for word in text.split()] for text in texts]

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        return [list(range(len(text.split()))) for text in texts]


@dataclass
class ELMoStyle(Architecture):
    """Options of `Architecture`, where `embedding_dim` is the projection's width, `dropout` has no effect, and no word is hashed;
    and:

    Args:
        hidden: cells of an LSTM layer in one direction, before the projection.
        character_dim: width of a character's vector.
        filters: of the convolution of width 1, of width 2, and so on.
        highways: highway layers over them.
        characters: ids a word has, its ends included; longer words are cut.
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

    @property
    def options(self) -> ELMoOptions:
        """The original's options of this network."""
        return ELMoOptions(
            embedding_dim=self.character_dim,
            filters=tuple((width, n) for width, n in enumerate(self.filters, start=1)),
            n_highway=self.highways,
            projection_dim=self.embedding_dim,
            dim=self.hidden,
            n_layers=self.layers,
            max_characters=self.characters,
            activation="relu",
            cell_clip=self.clip,
            proj_clip=self.clip,
            use_skip_connections=True,
        )

    @property
    def vocabulary(self) -> Vocabulary:
        return Characters(self.characters)

    def reader(self, counted: TrainedVocabulary) -> Vocabulary:
        library()  # its files are written at the end of the training: better to know now
        return self.vocabulary

    def network_of(self, size: int, seed: int) -> ELMoStyleNetwork:
        return ELMoStyleNetwork(self.options, seed)

    def export(self, network: ELMoStyleNetwork, folder: Path) -> None:
        network.inner.save(folder)


class ELMoStyleNetwork(nn.Module):
    """ELMo's network under the names that `probing.encoders.networks.network.Network` has."""

    margin = 1

    def __init__(self, options: ELMoOptions, seed: int):
        super().__init__()
        self.inner = ELMoNetwork(options, seed=seed)
        back = torch.arange(2 * options.projection_dim) >= options.projection_dim
        self.backward_dims = [torch.zeros_like(back), *[back] * options.n_layers]

    def batch(self, items: Sequence[Item]) -> tuple[torch.Tensor, torch.Tensor]:
        """Characters (batch, tokens, width) and lengths (batch,), both without the marks of the ends."""
        lengths = [len(item) for item in items]
        width = self.inner.options.max_characters
        characters = torch.zeros(len(items), max(lengths), width, dtype=torch.long)
        inside = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
        characters[inside] = torch.tensor([word for item in items for word in item])
        device = next(self.parameters()).device
        return characters.to(device), torch.tensor(lengths, device=device)

    def counted(self, characters: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The mask (batch, tokens) of real words."""
        return torch.arange(characters.shape[1], device=lengths.device)[None] < lengths[:, None]

    def forward(self, characters: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
        """States (batch, tokens + 2, 2 * projection), the marks of the ends included."""
        return self.inner(characters, lengths)
