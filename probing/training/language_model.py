"""Language modelling on plain text.

The loss is the negative log-likelihood of every next word (networks that read forward), previous word (backward), both by two
stacks with one softmax (both, as in Peters et al. 2018), or of 15 % of the words, hidden (networks that read all: 80 % a mask, 10 %
a random word, 10 % unchanged, Devlin et al. 2019). The softmax is adaptive (Grave et al. 2017): frequent words at full width, rare
ones through narrow projections.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from probing.data.readers.text import sentences
from probing.encoders.base import Item
from probing.encoders.networks.architecture import Architecture
from probing.encoders.networks.network import Readable, padded
from probing.encoders.networks.vocabulary import MASK, SPECIAL, UNKNOWN
from probing.errors import ConfigError, DataError
from probing.training.objective import Objective, Prepared

HIDDEN_SHARE = 0.15


@dataclass
class LanguageModel(Objective):
    """Options of `Objective`, and:

    Args:
        files: text files below data.root; None: data.root itself, or all text files in its folder `lm`, or else in it (.txt,
            .conllu, and Brown's .zip, also .gz and .xz).
        dev_share: of so many sentences one is dev, and one is test, by the hash of the sentence.
    """

    files: list[str] | None = None
    dev_share: int = 40

    @property
    def name(self) -> str:
        return "lm"

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


class Text(Prepared):
    """The distinct sentences of text files, split by hash into train, dev and test."""

    def __init__(self, objective: LanguageModel, paths: Sequence[Path], architecture: Architecture):
        self.objective, self.select = objective, "negative log-likelihood"
        texts: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
        digest = hashlib.sha256()
        read = (s for path in paths for s in sentences(path, objective.max_length))
        distinct = dict.fromkeys(s.lower() if objective.lowercase else s for s in read)
        for sentence in distinct:
            digest.update(sentence.encode() + b"\n")
            place = int.from_bytes(hashlib.blake2b(sentence.encode(), digest_size=8).digest(), "little") % objective.dev_share
            texts[{0: "dev", 1: "test"}.get(place, "train")].append(sentence)
        for split, part in texts.items():
            if not part:
                raise DataError(f"{', '.join(map(str, paths))}: {len(distinct)} sentences leave none for {split}")
        self.vocabulary = objective.count(texts["train"], ends=True)
        reader = architecture.reader(self.vocabulary)
        by_letters = reader is not self.vocabulary
        self.words = {split: self.vocabulary.ids(part) for split, part in texts.items()}
        self.items = {split: reader.ids(part) for split, part in texts.items()} if by_letters else self.words
        if self.vocabulary.size == len(SPECIAL):
            raise DataError(f"{', '.join(map(str, paths))}: no word occurs {objective.min_count} times; lower objective.min_count")
        if by_letters and any(len(a) + 2 != len(b) for s in texts for a, b in zip(self.items[s], self.words[s], strict=True)):
            raise ConfigError("objective.tokens=subwords does not fit an encoder that reads words by their letters: use words")
        unknown = sum(item.count(UNKNOWN) for item in self.words["dev"])
        predicted = sum(len(item) - 1 for item in self.words["dev"])
        self.data = {
            "files": [path.name for path in paths],
            "sha256": digest.hexdigest(),
            "n": {split: len(part) for split, part in texts.items()},
            "tokens": {split: sum(len(item) - 1 for item in items) for split, items in self.words.items()},
            "unknown_in_dev": unknown / predicted,
        }

    def model(self, network: Readable, architecture: Architecture) -> Predictor:
        words = self.objective.tokens == "words"
        return Predictor(network, architecture, self.vocabulary.size, self.objective.dropout, by_frequency=words)

    def loss(self, model: nn.Module, rows: Sequence[int], split: str, seed: int) -> tuple[torch.Tensor, int]:
        losses = model([self.items[split][i] for i in rows], [self.words[split][i] for i in rows], seed)
        return sum(total for total, _ in losses.values()), sum(n for _, n in losses.values())

    def scores(self, model: nn.Module, split: str, batches: Sequence[Sequence[int]]) -> dict[str, float]:
        """Perplexity, also by direction where there are two; the mean negative log-likelihood decides."""
        totals: dict[str, list[float]] = {}
        for number, rows in enumerate(batches):
            losses = model([self.items[split][i] for i in rows], [self.words[split][i] for i in rows], number)
            for name, (total, n) in losses.items():
                sums = totals.setdefault(name, [0.0, 0])
                sums[0] += float(total)
                sums[1] += n
        if not (predicted := sum(n for _, n in totals.values())):
            raise DataError(f"the {split} split has too few words for one of them to be hidden: give more text")
        mean = sum(total for total, _ in totals.values()) / predicted
        each = {f"perplexity {name}": _exp(total / n) for name, (total, n) in totals.items()}
        return {"perplexity": _exp(mean), **(each if len(each) > 1 else {}), self.select: -mean}


class Predictor(nn.Module):
    """Predicts words from the top layer; returns `{direction: (summed negative log-likelihood in nats, number of words)}`."""

    def __init__(self, network: Readable, architecture: Architecture, size: int, dropout: float, by_frequency: bool):
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
            inner = (position > 0) & (position < lengths[:, None] - 1)  # the marks of the ends are never hidden
            drawn = np.random.default_rng([seed, 0]).random(ids.shape) < HIDDEN_SHARE
            hidden = inner & torch.from_numpy(drawn).to(ids.device)
            return {"masked": self._nll(self.network(self._masked(ids, hidden, seed), lengths)[-1][hidden], ids[hidden])}
        top, losses = self.network(*batch)[-1], {}  # (batch, tokens, width), with states of the marks of the ends
        real = position[:, 1:] < lengths[:, None]
        if self.reads in ("forward", "both"):
            losses["forward"] = self._nll(top[:, :-1, : self.head.in_features][real], ids[:, 1:][real])
        if self.reads in ("backward", "both"):
            losses["backward"] = self._nll(top[:, 1:, -self.head.in_features :][real], ids[:, :-1][real])
        return losses

    def _nll(self, states: torch.Tensor, words: torch.Tensor) -> tuple[torch.Tensor, int]:
        if not len(words):
            return states.sum() * 0, 0
        return -self.head(self.dropout(states), words).output.sum(), len(words)

    def _masked(self, ids: torch.Tensor, hidden: torch.Tensor, seed: int) -> torch.Tensor:
        """The ids with 80 % of the hidden ones replaced by the mask and 10 % by random words."""
        rng = np.random.default_rng([seed, 1])
        kind = torch.from_numpy(rng.random(tuple(ids.shape))).to(ids.device)
        words = torch.from_numpy(rng.integers(len(SPECIAL), self.size, tuple(ids.shape))).to(ids.device)
        shown = torch.where(kind < 0.8, torch.full_like(ids, MASK), torch.where(kind < 0.9, words, ids))
        return torch.where(hidden, shown, ids)


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf
