"""Sentence classification: cross-entropy of a linear map of the pooled top layer.

Sentences may have weights, of mean 1 over train:

    class    n / (K n_c) for the n_c sentences of class c: all classes count the same
    length   in proportion to 1 / words: a word counts the same in a long and in a short sentence
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from probing.data.loading import load
from probing.data.split import Split
from probing.data.task import Task
from probing.encoders.base import Item, States, pool
from probing.encoders.networks.architecture import ATTENTION, Architecture
from probing.encoders.networks.network import Readable, run
from probing.errors import ConfigError
from probing.training.attention import Attention
from probing.training.objective import Objective, Prepared
from probing.types import Values

WEIGHTS = ("none", "class", "length")


@dataclass
class Classification(Objective):
    """Options of `Objective`, and of sentences.

    Args:
        task: the name of a card, or its path.
        select: the dev score that decides: accuracy or matthews.
        weights: of train sentences in the loss: none, class or length.
    """

    task: str = "sst2"
    select: str = "accuracy"
    weights: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.select not in ("accuracy", "matthews"):
            raise ConfigError(f"objective.select={self.select!r} is unknown (allowed: accuracy, matthews)")
        if self.weights not in WEIGHTS:
            raise ConfigError(f"objective.weights={self.weights!r} is unknown (allowed: {', '.join(WEIGHTS)})")

    @property
    def name(self) -> str:
        return Path(self.task).stem

    def prepare(self, root: Path, architecture: Architecture) -> LabelledSentences:
        return LabelledSentences(self, load(self.task, root), architecture)


class LabelledSentences(Prepared):
    """The three splits of a task, prepared for a classifier."""

    def __init__(self, objective: Classification, task: Task, architecture: Architecture):
        self.objective, self.select = objective, objective.select
        self.vocabulary = objective.count(task.train.texts, ends=False)
        reader = architecture.reader(self.vocabulary)
        longest = objective.max_length
        self.items = {name: [item[:longest] for item in reader.ids(split.texts)] for name, split in task.splits.items()}
        self.labels = {name: torch.from_numpy(split.labels) for name, split in task.splits.items()}
        self.classes = task.classes
        self.weights = torch.from_numpy(weights_of(task.train, objective.weights)).float()
        self.data = {"task": task.name, "sha256": task.sha256, "n": {k: len(s) for k, s in task.splits.items()}}
        self.data |= {"classes": list(task.classes), "majority": task.data_card["majority"]}

    def model(self, network: Readable, architecture: Architecture) -> Classifier:
        return Classifier(network, architecture, len(self.classes), self.objective.dropout)

    def loss(self, model: nn.Module, rows: Sequence[int], split: str, seed: int) -> tuple[torch.Tensor, int]:
        logits = model([self.items[split][i] for i in rows])
        labels = self.labels[split][list(rows)].to(logits.device)
        if split != "train" or self.objective.weights == "none":
            return F.cross_entropy(logits, labels, reduction="sum"), len(rows)
        weights = self.weights[list(rows)].to(logits.device)
        return (weights * F.cross_entropy(logits, labels, reduction="none")).sum(), len(rows)

    def scores(self, model: nn.Module, split: str, batches: Sequence[Sequence[int]]) -> dict[str, float]:
        """accuracy (0-1), Matthews correlation (-1 to 1), loss (nats a sentence)."""
        from sklearn.metrics import accuracy_score, matthews_corrcoef

        logits = torch.empty(len(self.items[split]), len(self.classes))
        for rows in batches:
            logits[list(rows)] = model([self.items[split][i] for i in rows]).cpu()
        gold, predicted = self.labels[split].numpy(), logits.argmax(1).numpy()
        return {
            "accuracy": float(accuracy_score(gold, predicted)),
            "matthews": float(matthews_corrcoef(gold, predicted)),
            "loss": float(F.cross_entropy(logits, self.labels[split])),
        }


def weights_of(train: Split, kind: str) -> Values:
    """The weight of each train sentence, (n,), of mean 1."""
    if kind == "none":
        return np.ones(len(train))
    weights = 1 / (train.lengths if kind == "length" else np.bincount(train.labels)[train.labels])
    return weights / weights.mean()


class Classifier(nn.Module):
    """A linear map of the pooled top layer: items to logits (batch, classes). `attend` gives the weights of tokens, where the
    pooling is one of attention."""

    def __init__(self, network: Readable, architecture: Architecture, classes: int, dropout: float):
        super().__init__()
        self.network, self.pooling = network, architecture.pooling
        self.attend = Attention(self.pooling, architecture.dims[-1]) if self.pooling in ATTENTION else None
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(architecture.dims[-1], classes))

    def forward(self, items: Sequence[Item]) -> torch.Tensor:
        states = run(self.network, items)
        if self.attend is not None:
            weights = self.attend(states.layers[-1], states.mask)
            return self.head(torch.einsum("bt,btd->bd", weights, states.layers[-1]))
        backward = None if states.backward is None else states.backward[-1:]
        [pooled] = pool(States(states.layers[-1:], states.mask, backward), self.pooling)  # (batch, width)
        return self.head(pooled)
