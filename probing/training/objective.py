"""The interface between training (`probing.training.train`) and the objectives: classification and language modelling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from probing.encoders.base import Item
from probing.encoders.networks.architecture import Architecture
from probing.encoders.networks.network import Readable
from probing.encoders.networks.vocabulary import TrainedVocabulary, train_vocabulary
from probing.errors import ConfigError


@dataclass
class Objective:
    """Options that every objective has.

    Args:
        tokens: words, or subwords (byte-level byte-pair encoding counted on the train split).
        vocabulary: token ids at most.
        min_count: words that occur less often in train are unknown.
        max_length: tokens kept of a sentence; of a language model's text, words in a piece.
        epochs: passes over train at most.
        batch_tokens: tokens in a batch, padding included.
        lr: Adam's step after `warmup` steps of linear rise.
        clip: largest norm of the gradient.
        decay: plateau (the step is halved after an epoch without a better dev score) or linear (it falls to zero over `epochs`).
        patience: epochs without a better dev score before the end.
        dropout: before the head.
    """

    tokens: str = "words"
    vocabulary: int = 20_000
    min_count: int = 2
    lowercase: bool = True
    max_length: int = 128
    epochs: int = 20
    batch_tokens: int = 1024
    lr: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.01
    clip: float = 1.0
    decay: str = "plateau"
    patience: int = 3
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if self.tokens not in ("words", "subwords"):
            raise ConfigError(f"objective.tokens={self.tokens!r} is unknown (allowed: words, subwords)")
        if self.decay not in ("plateau", "linear"):
            raise ConfigError(f"objective.decay={self.decay!r} is unknown (allowed: plateau, linear)")
        for option in ("vocabulary", "min_count", "max_length", "epochs", "batch_tokens", "patience", "lr", "clip"):
            if getattr(self, option) <= 0:
                raise ConfigError(f"objective.{option}={getattr(self, option)} must be above 0")
        if not 0 <= self.dropout < 1 or self.warmup < 0 or self.weight_decay < 0:
            raise ConfigError("objective.dropout must be at least 0 and below 1; warmup and weight_decay at least 0")

    @property
    def name(self) -> str:
        """The objective's part in the names of checkpoint folders."""
        raise NotImplementedError

    def count(self, texts: Sequence[str], ends: bool) -> TrainedVocabulary:
        """The vocabulary of the train split; `ends`: sentences get marks at both ends."""
        return train_vocabulary(texts, self.tokens, self.vocabulary, self.min_count, self.lowercase, ends)

    def prepare(self, root: Path, architecture: Architecture) -> Prepared:
        """Read and check the data, and convert them to the architecture's items."""
        raise NotImplementedError


class Prepared(Protocol):
    """An objective with its data. `select` names the dev score that decides, the higher the better."""

    vocabulary: TrainedVocabulary
    items: Mapping[str, Sequence[Item]]
    data: dict[str, Any]
    select: str

    def model(self, network: Readable, architecture: Architecture) -> nn.Module:
        """The network with its head, as one module for one optimiser and one file."""
        ...

    def loss(self, model: nn.Module, rows: Sequence[int], split: str, seed: int) -> tuple[torch.Tensor, int]:
        """Summed loss (nats) over the rows and the number of predictions in it."""
        ...

    def scores(self, model: nn.Module, split: str, batches: Sequence[Sequence[int]]) -> dict[str, float]:
        """Scores of a split, in eval mode."""
        ...
