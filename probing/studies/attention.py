"""Study `attention`: trains classifiers with attention, and asks whether their weights explain them.

Networks (`NETWORKS`), each trained with the pooling that learns weights, with uniform and with frozen ones:

    average   a projection of each token vector; no state depends on another token
    cnn       windows of 1, 3, 5 and 7 tokens
    bilstm    a bidirectional LSTM

On test sentences, for the probability of the predicted class (Jain and Wallace 2019, NAACL):

    gradient        |dp/de_t . e_t| of the token vector e_t, attention held fixed
    leave-one-out   the change of the probability without the token, attention computed anew
    tau             Kendall's tau-b of attention with both, and of the two with each other, which is the yardstick
    permuted, adversarial   `probing.attributions.attention`; these need two classes
    seeds           Jensen-Shannon divergence (nats) of the weights of two trainings (Wiegreffe and Pinter 2019, EMNLP)

Not built: their weights imposed on another network, and adversaries that are trained.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch

from probing.attributions.attention import WITHIN, adversarial, jsd, permuted
from probing.attributions.ranks import tau
from probing.config import listed
from probing.data.sources import GrammarCorpus, SentEvalFolder
from probing.encoders.base import Item
from probing.encoders.networks.architecture import ATTENTION, Architecture
from probing.encoders.networks.convolutional import CNN
from probing.encoders.networks.network import run
from probing.encoders.networks.recurrent import LSTM
from probing.errors import ConfigError
from probing.log import bar
from probing.report.attention import write
from probing.studies import Context, check_words, require
from probing.training.classification import Classification, Classifier
from probing.training.train import load_model, train

VERSION = 1
"""Raise when the same options would give other rows."""

NETWORKS = ("average", "cnn", "bilstm")


@dataclass
class AttentionStudy:
    """Options:

    Args:
        networks: of `NETWORKS`, or all.
        attention: attention (additive), attention-dot, or both.
        ladder: train each network with uniform (mean) and frozen weights, too.
        sentences: test sentences, drawn; each takes a pass without each of its tokens.
        words: fewest and most tokens of them.
        shuffles: of weights.
        width, hidden: of token vectors, and of states (of a bilstm in each direction).
        epochs: passes over train, at most.
        vocabulary: token ids, at most.
    """

    networks: Any = "all"
    attention: Any = "attention"
    ladder: bool = True
    sentences: int = 300
    words: list[int] = field(default_factory=lambda: [2, 50])
    shuffles: int = 100
    width: int = 300
    hidden: int = 128
    epochs: int = 8
    vocabulary: int = 20_000

    name: ClassVar[str] = "attention"
    uses: ClassVar[tuple[str, ...]] = ("data",)

    def __post_init__(self) -> None:
        check_words(self.words, 2, "[2, 50]")
        self.chosen = listed(self.networks, str, "study.networks", every=NETWORKS)
        require(set(self.chosen) <= set(NETWORKS), f"study.networks={self.networks} (allowed: {', '.join(NETWORKS)})")
        self.kinds = listed(self.attention, str, "study.attention", every=ATTENTION[:2])
        require(set(self.kinds) <= set(ATTENTION[:2]), f"study.attention={self.attention} (allowed: {', '.join(ATTENTION[:2])})")
        for option, least in (("sentences", 2), ("shuffles", 10), ("width", 1), ("hidden", 1), ("epochs", 1)):
            require(getattr(self, option) >= least, f"study.{option}={getattr(self, option)} must be at least {least}")

    def measure(self, context: Context) -> pd.DataFrame:
        if not isinstance(context.source, SentEvalFolder | GrammarCorpus):
            raise ConfigError("+experiment=attention trains on task files: data=sst2 data.root=DIR, or data=senteval with a task")
        root = context.source.root
        rows: list[dict[str, Any]] = []
        for task in context.tasks:
            task.need_classes("a classifier with attention")
            require(len(task.classes) == 2, f"{task.name} has {len(task.classes)} classes: adversaries are exact for two alone")
            objective = Classification(task=task.name, epochs=self.epochs, vocabulary=self.vocabulary)
            for network in self.chosen:
                weights: dict[tuple[str, int], list[dict[str, Any]]] = {}
                for pooling in (*self.kinds, *(("mean", "attention-frozen") if self.ladder else ())):
                    for seed in context.seeds:
                        folder = train(self.architecture(network, pooling), objective, root, context.home / "checkpoints", seed)
                        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
                        about = {"data": task.name, "network": network, "pooling": pooling, "seed": seed}
                        n = manifest["data"]["n"]["test"]
                        rows.append(about | {"kind": "accuracy", "accuracy": manifest["test"]["accuracy"], "n": n})
                        if pooling in self.kinds:
                            part = {
                                "study": self.name,
                                "version": VERSION,
                                "checkpoint": manifest["key"],
                                "words": list(self.words),
                            }
                            part |= {"sentences": self.sentences, "shuffles": self.shuffles, "within": WITHIN}
                            made = context.finished(part, lambda folder=folder: self._sentences(folder, root))  # type: ignore[misc]
                            weights[pooling, seed] = made
                            rows += [about | {"kind": "sentence"} | row for row in made]
                rows += self._seeds(weights, {"data": task.name, "network": network, "kind": "seeds"})
        return pd.DataFrame(rows)

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        """table.md, attention.csv."""
        write(frame, folder)

    def architecture(self, network: str, pooling: str) -> Architecture:
        common: dict[str, Any] = {"embedding_dim": self.width, "pooling": pooling, "label": f"{network}-{pooling}"}
        if network == "bilstm":
            return LSTM(hidden=self.hidden, reads="both", **common)
        widths = [1] if network == "average" else [1, 3, 5, 7]
        return CNN(widths=widths, filters=max(1, self.hidden // len(widths)), **common)

    def _sentences(self, folder: Path, root: str) -> list[dict[str, Any]]:
        """A row for each sentence; the same sentences for all networks of a task."""
        model, prepared = load_model(folder, root)
        assert isinstance(model, Classifier)
        items = prepared.items["test"]
        fits = [k for k, item in enumerate(items) if self.words[0] <= len(item) <= self.words[1]]
        require(len(fits) > 1, f"study.words={self.words}: {len(fits)} test sentences have that length")
        drawn, rows = np.random.default_rng(0).permutation(fits)[: self.sentences], []
        with bar(folder.name, len(drawn)) as advance:
            for number in drawn:
                rows.append({"sentence": int(number)} | sentence_row(model, items[number], self.shuffles, int(number)))
                advance(1)
        return rows

    @staticmethod
    def _seeds(weights: Mapping[tuple[str, int], list[dict[str, Any]]], about: dict[str, Any]) -> list[dict[str, Any]]:
        """Of each two trainings with one kind of attention the mean divergence of their weights, and that of each from uniform."""
        rows = []
        for (kind, a), (other, b) in combinations(weights, 2):
            if kind == other:
                both = zip(weights[kind, a], weights[kind, b], strict=True)
                pairs = [[np.array(json.loads(row["weights"])) for row in pair] for pair in both]
                far = [float(jsd(p, q[None])[0]) for p, q in pairs]
                uniform = [float(jsd(p, np.full((1, len(p)), 1 / len(p)))[0]) for p, _ in pairs]
                row = {"pooling": kind, "seed": a, "other_seed": b, "jsd": float(np.mean(far)), "uniform": float(np.mean(uniform))}
                rows.append(about | row | {"n": len(pairs)})
        return rows


def sentence_row(model: Classifier, item: Item, shuffles: int, seed: int) -> dict[str, Any]:
    """Attention, gradient and leave-one-out of one sentence's tokens, their taus, and what other weights would do."""
    n = len(item)
    with torch.no_grad():
        states = run(model.network, [item])
        assert model.attend is not None
        weights = model.attend(states.layers[-1], states.mask)[0].double().numpy()  # (tokens,)
        head: Any = model.head
        linear = head[1]
        direction = linear.weight[1] - linear.weight[0]  # log-odds of the second class
        scores = (states.layers[-1][0] @ direction).double().numpy()
        intercept = float(linear.bias[1] - linear.bias[0])
        tokens = list(item)
        without = [tokens[:k] + tokens[k + 1 :] for k in range(n)]
        whole, *rest = model([item, *without]).softmax(1)[:, 1].double().numpy()
    left_out = np.abs(np.array(rest) - whole)
    gradient = gradients(model, item, weights)
    far, _ = adversarial(weights, scores, intercept)
    pairs = combinations((weights, gradient, left_out), 2)
    row: dict[str, Any] = {name: tau(a, b) for name, (a, b) in zip(TAUS, pairs, strict=True)}
    rng = np.random.default_rng(seed)
    return row | {
        "n_words": n,
        "probability": float(whole),
        "largest_weight": float(weights.max()),
        "permuted": permuted(weights, scores, intercept, shuffles, rng),
        "adversarial": far,
        "weights": json.dumps([round(float(one), 9) for one in weights]),
    }


TAUS = ("attention_gradient", "attention_loo", "gradient_loo")


def gradients(model: Classifier, item: Item, weights: np.ndarray) -> np.ndarray:
    """|dp/de_t . e_t| of each token, (tokens,), p the second class's probability; the weights of attention are held fixed."""
    kept: list[torch.Tensor] = []

    def leaf(module: Any, given: Any, vectors: torch.Tensor) -> torch.Tensor:
        kept.append(vectors.detach().requires_grad_(True))
        return kept[-1]

    embedding: Any = model.network.embedding
    with embedding.register_forward_hook(leaf), torch.enable_grad():
        states = run(model.network, [item]).layers[-1][0]  # (tokens, width)
        pooled = torch.from_numpy(weights).to(states) @ states
        p = model.head(pooled[None]).softmax(1)[0, 1]
        [slope] = torch.autograd.grad(p, kept[-1])
    return (slope * kept[-1]).sum(-1)[0].abs().detach().double().numpy()
