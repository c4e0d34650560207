"""Sentence classification: cross-entropy of a linear map of the pooled top layer.

Sentences may have weights, of mean 1 over train:

    class      n / (K n_c) for the n_c sentences of class c: all classes count the same
    length     in proportion to 1 / words: a word counts the same in a long and in a short sentence
    influence  in proportion to 1 / (1 + exp(-d / s)), between 0 and 2: d_i is about the change of the mean loss on dev when
               sentence i is left out (above 0: it helps), s the standard deviation of d. The estimate is that of an L2 logistic
               probe on the pooled top layer of the network before training (weights of seed 0), in closed form (Koh and Liang
               2017). It says which sentences help a linear reader of these vectors, not what the trained network would lose
               without them. Dev labels then choose the weights, as well as the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit
from torch import nn
from torch.nn import functional as F

from probing.attributions.examples import LARGEST, LogisticProbe
from probing.data.loading import load
from probing.data.split import Split
from probing.data.task import Task
from probing.encoders.base import Item, States, pool
from probing.encoders.networks.architecture import ATTENTION, Architecture
from probing.encoders.networks.network import Readable, run
from probing.errors import ConfigError
from probing.training.attention import Attention
from probing.training.objective import Objective, Prepared
from probing.types import Labels, Values

WEIGHTS = ("none", "class", "length", "influence")


@dataclass
class Classification(Objective):
    """Options of `Objective`, and of sentences.

    Args:
        task: the name of a card, or its path.
        select: the dev score that decides: accuracy or matthews.
        weights: of train sentences in the loss: none, class, length or influence.
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
        self.objective, self.select, self.task, self.architecture = objective, objective.select, task, architecture
        self.vocabulary = objective.count(task.train.texts, ends=False)
        reader = architecture.reader(self.vocabulary)
        longest = objective.max_length
        self.items = {name: [item[:longest] for item in reader.ids(split.texts)] for name, split in task.splits.items()}
        self.labels = {name: torch.from_numpy(split.labels) for name, split in task.splits.items()}
        self.classes = task.classes
        self.data = {"task": task.name, "sha256": task.sha256, "n": {k: len(s) for k, s in task.splits.items()}}
        self.data |= {"classes": list(task.classes), "majority": task.data_card["majority"]}

    @cached_property
    def weights(self) -> torch.Tensor:
        """Of the train sentences, (n,), of mean 1."""
        if self.objective.weights != "influence":
            return torch.from_numpy(weights_of(self.task.train, self.objective.weights)).float()
        network = self.architecture.network_of(self.vocabulary.size, 0).eval()
        pooling = "mean" if self.architecture.pooling in ATTENTION else self.architecture.pooling
        x = {split: _pooled(network, pooling, self.items[split]) for split in ("train", "dev")}
        y = {split: self.labels[split].numpy() for split in x}
        return torch.from_numpy(influence_weights(x["train"], y["train"], x["dev"], y["dev"], len(self.classes))).float()

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


def influence_weights(x: Values, y: Labels, x_dev: Values, y_dev: Labels, n_classes: int) -> Values:
    """The weight of each train item by its influence on the mean loss on dev, (n,), of mean 1; 1 where no item has any.

    Args:
        x, x_dev: vectors (n, d) and (m, d); they are standardised by those of train, and an intercept without a penalty is added.

    Raises:
        ConfigError: more weights of the probe than `LARGEST`: a wide layer, or many classes.
    """
    columns = 1 if n_classes == 2 else n_classes
    if columns * (x.shape[1] + 1) > LARGEST:
        raise ConfigError(
            f"objective.weights=influence fits a probe of {columns} x {x.shape[1] + 1} weights here, of at most {LARGEST:,}: "
            "take a smaller layer, or objective.weights=class|length"
        )
    spread = x.std(0)
    spread = np.where(spread > 1e-6 * spread.max(), spread, np.inf)  # a dim that is the same everywhere is no feature
    train, dev = (np.c_[(part - x.mean(0)) / spread, np.ones(len(part))] for part in (x, x_dev))
    probe = LogisticProbe.fit(train, y, n_classes, np.r_[np.ones(x.shape[1]), 0.0])
    helps = probe.influence_on_loss(dev, y_dev)
    weights = expit(helps / (helps.std() or 1.0))
    return weights / weights.mean()


def _pooled(network: Readable, pooling: str, items: Sequence[Item], batch: int = 64) -> Values:
    """Pooled top layers of items, (n, width), float64."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(items), batch):
            states = run(network, items[start : start + batch])
            backward = None if states.backward is None else states.backward[-1:]
            parts += pool(States(states.layers[-1:], states.mask, backward), pooling)
    return torch.cat(parts).double().numpy()


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
