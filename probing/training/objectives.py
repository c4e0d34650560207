"""What a network is trained for: to classify sentences, or to predict words (`probing.training.train` has the loop).

Classification: cross-entropy of a linear map of the pooled top layer. Language modelling: the negative log-likelihood of every
next word (networks that read forward), previous word (backward), both by two stacks with one softmax (both, as in Peters et
al. 2018), or of 15 % of the words, hidden (networks that read all: 80 % a mask, 10 % a random word, 10 % left, Devlin et al.
2019). The softmax is adaptive (Grave et al. 2017): frequent words at full width, rare ones through narrow projections.

Left out: learned combinations of layers; pretrained word vectors at the bottom.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from probing.data import task
from probing.data.readers import text
from probing.encoders.base import Item, States, pool
from probing.encoders.networks.architecture import Architecture
from probing.encoders.networks.network import Network, padded, run
from probing.encoders.networks.vocabulary import MASK, SPECIAL, UNKNOWN, TrainedVocabulary, train_vocabulary
from probing.errors import ConfigError, DataError

HIDDEN_SHARE = 0.15


@dataclass
class Objective:
    """Options that every objective has.

    Args:
        tokens: words, or subwords (byte-level byte-pair encoding counted on the train split).
        vocabulary: token ids at most.
        min_count: words that occur less often in train are unknown.
        lowercase: whether text is lowercased.
        max_length: tokens kept of a sentence; of a language model's text, words in a piece.
        epochs: passes over train at most.
        batch_tokens: tokens in a batch, padding included.
        lr: Adam's step after `warmup` steps of linear rise.
        warmup: steps.
        weight_decay: of AdamW.
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

    NAME: ClassVar[str] = ""

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

    def count(self, texts: Sequence[str], ends: bool) -> TrainedVocabulary:
        return train_vocabulary(texts, self.tokens, self.vocabulary, self.min_count, self.lowercase, ends)

    def prepare(self, root: Path, architecture: Architecture) -> Prepared:
        """The data, read and checked, as the architecture's items."""
        raise NotImplementedError


class Prepared(Protocol):
    """An objective with its data. `select` is the dev score that decides, the higher the better."""

    vocabulary: TrainedVocabulary
    items: dict[str, list[Item]]
    data: dict[str, Any]
    select: str

    def model(self, network: Network, architecture: Architecture) -> nn.Module:
        """The network with its head: one module, so that one optimiser and one file hold all."""
        ...

    def loss(self, model: nn.Module, rows: Sequence[int], split: str, seed: int) -> tuple[torch.Tensor, int]:
        """Summed loss (nats) over the rows and the number of predictions in it."""
        ...

    def scores(self, model: nn.Module, split: str, batches: Sequence[Sequence[int]]) -> dict[str, float]:
        """Scores of a split, in eval mode."""
        ...


@dataclass
class Classification(Objective):
    """Options of `Objective`, and:

    Args:
        task: name of a card, or its path.
        select: the dev score that decides: accuracy or matthews.
    """

    task: str = "sst2"
    select: str = "accuracy"

    NAME: ClassVar[str] = "classification"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.select not in ("accuracy", "matthews"):
            raise ConfigError(f"objective.select={self.select!r} is unknown (allowed: accuracy, matthews)")

    @property
    def name(self) -> str:
        return Path(self.task).stem

    def prepare(self, root: Path, architecture: Architecture) -> LabelledSentences:
        return LabelledSentences(self, task.load(self.task, root), architecture)


class LabelledSentences:
    """A task's three splits, for a classifier."""

    def __init__(self, objective: Classification, loaded: task.Task, architecture: Architecture):
        self.objective, self.select = objective, objective.select
        self.vocabulary = objective.count(loaded.train.texts, ends=False)
        reader = architecture.reader(self.vocabulary)
        items = {name: reader.ids(split.texts) for name, split in loaded.splits.items()}
        self.items = {name: [item[: objective.max_length] for item in found] for name, found in items.items()}
        self.labels = {name: torch.from_numpy(split.labels) for name, split in loaded.splits.items()}
        self.classes = loaded.classes
        self.data = {"task": loaded.name, "sha256": loaded.sha256, "n": {k: len(s) for k, s in loaded.splits.items()}}
        self.data |= {"classes": list(loaded.classes), "majority": loaded.data_card["majority"]}

    def model(self, network: Network, architecture: Architecture) -> Classifier:
        return Classifier(network, architecture, len(self.classes), self.objective.dropout)

    def loss(self, model: nn.Module, rows: Sequence[int], split: str, seed: int) -> tuple[torch.Tensor, int]:
        logits = model([self.items[split][i] for i in rows])
        return F.cross_entropy(logits, self.labels[split][list(rows)].to(logits.device), reduction="sum"), len(rows)

    def scores(self, model: nn.Module, split: str, batches: Sequence[Sequence[int]]) -> dict[str, float]:
        """accuracy (0-1), Matthews correlation (-1 to 1), loss (nats a sentence)."""
        from sklearn.metrics import accuracy_score, matthews_corrcoef

        logits = torch.empty(len(self.items[split]), len(self.classes))
        for rows in batches:
            logits[list(rows)] = model([self.items[split][i] for i in rows]).cpu()
        gold, found = self.labels[split].numpy(), logits.argmax(1).numpy()
        return {
            "accuracy": float(accuracy_score(gold, found)),
            "matthews": float(matthews_corrcoef(gold, found)),
            "loss": float(F.cross_entropy(logits, self.labels[split])),
        }


class Classifier(nn.Module):
    """A linear map of the pooled top layer: items to logits (batch, classes)."""

    def __init__(self, network: Network, architecture: Architecture, classes: int, dropout: float):
        super().__init__()
        self.network, self.pooling = network, architecture.pooling
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(architecture.dims[-1], classes))

    def forward(self, items: Sequence[Item]) -> torch.Tensor:
        states = run(self.network, items)
        backward = None if states.backward is None else states.backward[-1:]
        [pooled] = pool(States(states.layers[-1:], states.mask, backward), self.pooling)  # (batch, width)
        return self.head(pooled)


@dataclass
class LanguageModel(Objective):
    """Options of `Objective`, and:

    Args:
        files: text files below data.root; None: data.root itself, or all text files in its folder `lm`, or else in it (.txt,
            .conllu, and Brown's .zip, also .gz and .xz; see `probing.data.readers.text`).
        dev_share: one in so many sentences is dev, and one is test, by the hash of the sentence.
    """

    files: list[str] | None = None
    dev_share: int = 40

    NAME: ClassVar[str] = "lm"

    @property
    def name(self) -> str:
        return self.NAME

    def prepare(self, root: Path, architecture: Architecture) -> Text:
        if self.dev_share < 3:
            raise ConfigError(f"objective.dev_share={self.dev_share} must be at least 3")
        paths = [root / name for name in self.files or ()] or [root]
        if root.is_dir() and not self.files:
            folder = root / "lm" if (root / "lm").is_dir() else root
            paths = [path for path in sorted(folder.rglob("*")) if re.search(r"\.(txt|conllu)(\.gz|\.xz)?$|\.zip$", path.name)]
            if not paths:
                raise ConfigError(f"{folder} holds no text file (.txt, .conllu, .zip): name files with objective.files=[a,b]")
        return Text(self, paths, architecture)


class Text:
    """Sentences of text files, each once, cut by hash into train, dev and test."""

    def __init__(self, objective: LanguageModel, paths: Sequence[Path], architecture: Architecture):
        self.objective, self.select = objective, "negative log-likelihood"
        texts: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
        digest = hashlib.sha256()
        found = (s for path in paths for s in text.sentences(path, objective.max_length))
        seen = dict.fromkeys(s.lower() if objective.lowercase else s for s in found)  # what reads alike is one sentence
        for sentence in seen:
            digest.update(sentence.encode() + b"\n")
            place = int.from_bytes(hashlib.blake2b(sentence.encode(), digest_size=8).digest(), "little") % objective.dev_share
            texts[{0: "dev", 1: "test"}.get(place, "train")].append(sentence)
        for split, found in texts.items():
            if not found:
                raise DataError(f"{', '.join(map(str, paths))}: {len(seen)} sentences leave none for {split}")
        self.vocabulary = objective.count(texts["train"], ends=True)
        reader = architecture.reader(self.vocabulary)
        self.words = {split: self.vocabulary.ids(found) for split, found in texts.items()}
        self.items = {split: reader.ids(found) for split, found in texts.items()} if reader is not self.vocabulary else self.words
        if self.vocabulary.size == len(SPECIAL):
            raise DataError(f"{', '.join(map(str, paths))}: no word occurs {objective.min_count} times; lower objective.min_count")
        by_letters = reader is not self.vocabulary
        if by_letters and any(len(a) + 2 != len(b) for s in texts for a, b in zip(self.items[s], self.words[s], strict=True)):
            raise ConfigError("objective.tokens=subwords does not fit an encoder that reads words by their letters: use words")
        unknown = sum(item.count(UNKNOWN) for item in self.words["dev"])
        predicted = sum(len(item) - 1 for item in self.words["dev"])
        self.data = {
            "files": [path.name for path in paths],
            "sha256": digest.hexdigest(),
            "n": {split: len(found) for split, found in texts.items()},
            "tokens": {split: sum(len(item) - 1 for item in found) for split, found in self.words.items()},
            "unknown_in_dev": unknown / predicted,
        }

    def model(self, network: Network, architecture: Architecture) -> Predictor:
        words = self.objective.tokens == "words"
        return Predictor(network, architecture, self.vocabulary.size, self.objective.dropout, by_frequency=words)

    def loss(self, model: nn.Module, rows: Sequence[int], split: str, seed: int) -> tuple[torch.Tensor, int]:
        losses = model([self.items[split][i] for i in rows], [self.words[split][i] for i in rows], seed)
        return sum(total for total, _ in losses.values()), sum(n for _, n in losses.values())

    def scores(self, model: nn.Module, split: str, batches: Sequence[Sequence[int]]) -> dict[str, float]:
        """Perplexity of each direction, and of both together; the sum of the logarithms decides."""
        totals: dict[str, list[float]] = {}
        for number, rows in enumerate(batches):
            losses = model([self.items[split][i] for i in rows], [self.words[split][i] for i in rows], number)
            for name, (total, n) in losses.items():
                found = totals.setdefault(name, [0.0, 0])
                found[0] += float(total)
                found[1] += n
        if not (predicted := sum(n for _, n in totals.values())):
            raise DataError(f"the {split} split has too few words for one of them to be hidden: give more text")
        mean = sum(total for total, _ in totals.values()) / predicted
        each = {f"perplexity {name}": _exp(total / n) for name, (total, n) in totals.items()}
        return {"perplexity": _exp(mean), **(each if len(each) > 1 else {}), self.select: -mean}


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf


class Predictor(nn.Module):
    """Words from the states of the top layer, by direction: `{direction: (summed negative log-likelihood in nats, words)}`."""

    def __init__(self, network: Network, architecture: Architecture, size: int, dropout: float, by_frequency: bool):
        super().__init__()
        self.network, self.reads, self.size = network, architecture.reads, size
        self.dropout = nn.Dropout(dropout)
        width = architecture.state_width
        cutoffs = [cut for cut in (2_000, 10_000) if cut < size - 1] if by_frequency else []
        cutoffs = cutoffs or [size - 2]  # all but one id at full width: a softmax like any other
        self.head = nn.AdaptiveLogSoftmaxWithLoss(width, size, cutoffs)

    def forward(self, items: Sequence[Item], words: Sequence[Item], seed: int) -> dict[str, tuple[torch.Tensor, int]]:
        inputs, _ = batch = self.network.batch(items)
        ids, lengths = padded(words, inputs.device)
        position = torch.arange(ids.shape[1], device=ids.device)[None]  # (1, tokens)
        if self.reads == "all":
            inner = (position > 0) & (position < lengths[:, None] - 1)  # neither end
            hidden = inner & self._drawn(ids.shape, HIDDEN_SHARE, seed).to(ids.device)
            return {"masked": self._nll(self.network(self._masked(ids, hidden, seed), lengths)[-1][hidden], ids[hidden])}
        top, found = self.network(*batch)[-1], {}  # (batch, tokens, width): the marks of the ends have states too
        real = position[:, 1:] < lengths[:, None]
        if self.reads in ("forward", "both"):
            found["forward"] = self._nll(top[:, :-1, : self.head.in_features][real], ids[:, 1:][real])
        if self.reads in ("backward", "both"):
            found["backward"] = self._nll(top[:, 1:, -self.head.in_features :][real], ids[:, :-1][real])
        return found

    def _nll(self, states: torch.Tensor, words: torch.Tensor) -> tuple[torch.Tensor, int]:
        if not len(words):
            return states.sum() * 0, 0
        return -self.head(self.dropout(states), words).output.sum(), len(words)

    def _drawn(self, shape: tuple[int, ...], share: float, seed: int) -> torch.Tensor:
        return torch.from_numpy(np.random.default_rng([seed, 0]).random(shape) < share)

    def _masked(self, ids: torch.Tensor, hidden: torch.Tensor, seed: int) -> torch.Tensor:
        rng = np.random.default_rng([seed, 1])
        kind = torch.from_numpy(rng.random(tuple(ids.shape))).to(ids.device)
        words = torch.from_numpy(rng.integers(len(SPECIAL), self.size, tuple(ids.shape))).to(ids.device)
        shown = torch.where(kind < 0.8, torch.full_like(ids, MASK), torch.where(kind < 0.9, words, ids))
        return torch.where(hidden, shown, ids)
