"""The probes of Hewitt & Liang (2019), and the training of small networks with their schedule.

Linear: two matrices through a bottleneck of `rank`, no nonlinearity between them. MLP: ReLU layers. Dropout on the input, and
after every hidden layer but the first. Adam 1e-3 on the loss summed over items and divided by sentences; after each epoch the dev
loss per sentence goes to a schedule that halves the rate where it does not fall (patience 0); the parameters are kept when it
falls by more than 0.001, and training stops after 5 epochs without that, or at `max_epoch`.

Departures: a batch holds `sentences * items` items drawn at random, not whole sentences, and a sentence counts as `items` items in
the loss: only its scale depends on it. Seeds are ours."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from probing.errors import ConfigError, DataError
from probing.probes.base import ProbeResult, SplitFeatures, SplitLabels
from probing.probes.fitted import Scored
from probing.probes.path import ColumnProbe
from probing.types import Features, Labels, Values

TENACITY, LEAST_GAIN = 5, 0.001


@dataclass(frozen=True)
class Schedule:
    """Adam's rate and coupled weight decay, items and sentences of a batch, most epochs."""

    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    batch_items: int = 20
    batch_sentences: int = 20
    max_epoch: int = 40


def network(d: int, n_classes: int, hidden: Sequence[int], rank: int | None, dropout: float) -> nn.Sequential:
    """Linear through a bottleneck where `hidden` is empty (one matrix where `rank` is None too), else ReLU layers."""
    layers: list[nn.Module] = [nn.Dropout(dropout)]
    if not hidden:
        bottleneck = [] if rank is None else [nn.Linear(d, rank)]
        return nn.Sequential(*layers, *bottleneck, nn.Linear(d if rank is None else rank, n_classes))
    for k, (inputs, outputs) in enumerate(zip([d, *hidden], hidden, strict=False)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(), *([nn.Dropout(dropout)] if k else [])]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], n_classes))


def train(
    model: nn.Sequential, train_set: tuple[Features, Labels], dev: tuple[Features, Labels], schedule: Schedule
) -> tuple[nn.Sequential, list[float]]:
    """The model with the parameters of the best epoch, and the dev loss per sentence after each one. It draws from torch's
    generator. DataError for features that are not finite."""
    (x, y), (dev_x, dev_y) = (
        (_tensor(features), torch.from_numpy(np.asarray(labels, np.int64))) for features, labels in (train_set, dev)
    )
    adam = torch.optim.Adam(model.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
    slower = torch.optim.lr_scheduler.ReduceLROnPlateau(adam, factor=0.5, patience=0)
    best, kept, misses, curve = float("inf"), copy.deepcopy(model.state_dict()), 0, list[float]()
    of_a_sentence = schedule.batch_items / schedule.batch_sentences
    for _ in range(schedule.max_epoch):
        model.train()
        for rows in torch.randperm(len(x)).split(schedule.batch_items):
            adam.zero_grad()
            sentences = len(rows) / of_a_sentence
            (cross_entropy(model(x[rows]), y[rows], reduction="sum") / sentences).backward()
            adam.step()
        model.eval()
        with torch.no_grad():
            total = sum(
                float(cross_entropy(model(a), b, reduction="sum"))
                for a, b in zip(dev_x.split(8192), dev_y.split(8192), strict=True)
            )
        curve.append(total / len(dev_y) * of_a_sentence)
        slower.step(curve[-1])
        if curve[-1] < best - LEAST_GAIN:
            best, kept, misses = curve[-1], copy.deepcopy(model.state_dict()), 0
        elif (misses := misses + 1) >= TENACITY:
            break
    model.load_state_dict(kept)
    return model.eval(), curve


def _tensor(x: Features) -> torch.Tensor:
    if not np.isfinite(x).all():
        raise DataError(f"{int((~np.isfinite(x)).any(1).sum())} of {len(x)} vectors are not finite (NaN or infinite)")
    return torch.from_numpy(np.ascontiguousarray(x, np.float32))


def scores(model: nn.Sequential, x: Features) -> Values:
    """Logits of a trained network, (m, K)."""
    with torch.inference_mode():
        parts = [model(part) for part in torch.from_numpy(np.ascontiguousarray(x, np.float32)).split(8192)]
        return torch.cat(parts).double().numpy()


@dataclass
class HewittLiang(ColumnProbe):
    """`hewitt-liang`: options as in its preset."""

    name: str = "hewitt-liang"
    hidden: list[int] = field(default_factory=list)
    rank: int = 1000
    dropout: float = 0.0
    weight_decay: float = 0.0
    sentences: int = 20
    items: float = 1.0
    max_epoch: int = 40

    def __post_init__(self) -> None:
        for name, value in (
            ("rank", self.rank),
            ("sentences", self.sentences),
            ("max_epoch", self.max_epoch),
            *(("hidden", w) for w in self.hidden),
        ):
            if value < 1:
                raise ConfigError(f"probe.{name}={value} must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"probe.dropout={self.dropout} must be at least 0 and below 1")
        if not self.items > 0 or not self.weight_decay >= 0:
            raise ConfigError(f"probe.items={self.items} must be above 0, and probe.weight_decay={self.weight_decay} not below 0")

    def seed(self, seed: int) -> int | None:
        return seed

    def settings(self, task: str) -> dict[str, Any]:
        shape = {"hidden": list(self.hidden), "rank": None if self.hidden else self.rank, "dropout": self.dropout}
        steps = {"weight_decay": self.weight_decay, "sentences": self.sentences, "items": self.items, "max_epoch": self.max_epoch}
        return {"estimator": "hewitt-liang", **shape, **steps, "version": 1}

    def fit_column(
        self, blocks: SplitFeatures, label_sets: Mapping[str, SplitLabels], task: str, n_classes: int, seed: int
    ) -> Iterator[tuple[str, ProbeResult]]:
        schedule = Schedule(1e-3, self.weight_decay, max(1, round(self.sentences * self.items)), self.sentences, self.max_epoch)
        for name, labels in label_sets.items():
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = network(blocks.train.shape[1], n_classes, self.hidden, self.rank, self.dropout)
                model, curve = train(model, (blocks.train, labels.train), (blocks.dev, labels.dev), schedule)
            dev = float((scores(model, blocks.dev).argmax(1) == labels.dev).mean())
            tried = tuple({"epoch": k + 1, "dev_loss": loss} for k, loss in enumerate(curve))
            chosen = {"epoch": int(np.argmin(curve)) + 1}
            predicted = scores(model, blocks.test).argmax(1)
            yield name, ProbeResult(predicted, dev, chosen, tried, True, model=partial(Scored, partial(scores, model)))
