"""Three tiny classifiers in float64 whose weights are given: linear, mlp (relu), attention (tanh), each over the mean of its words.

Words are `w2` … `w13`, one token each after a mark `<s>` that belongs to no word, so that a text without a word has states: those
of the mean of nothing, which is zero. Layer 1 is the sentence's hidden vector, the same at each token, `<s>` included, so that
any pooling gives it; the head reads it:

    linear      W' mean(E) + b
    mlp         W2' relu(W1' mean(E) + b1) + b2
    attention   W2' tanh(W1' mean(x + softmax(x Wq (x Wk)' / sqrt d) x Wv) + b1) + b2,   x = E + P
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from probing.encoders.base import Item
from probing.encoders.networks.network import Readable, padded
from probing.encoders.networks.transformer import Transformer
from probing.encoders.networks.vocabulary import MASK, OPEN, PAD, SPECIAL, Vocabulary
from probing.interactions.text.heads import LinearHead

PAD_ROW, MASK_ROW = 0, 1
"""Rows of E that stand for padding and for the mask."""

Weights = Mapping[str, Any]


def text_of(ids: Sequence[int]) -> str:
    """The text of word numbers, rows of E."""
    return " ".join(f"w{number}" for number in ids)


@dataclass(frozen=True)
class Numbered(Vocabulary):
    """`w5` is row 5 of E, which has `words` rows; `<s>` stands before each sentence."""

    words: int

    @property
    def size(self) -> int:
        return len(SPECIAL) + self.words

    @property
    def description(self) -> Mapping[str, Any]:
        return {"kind": "numbered words", "words": self.words}

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [[OPEN, *(len(SPECIAL) + int(word[1:]) for word in text.split())] for text in texts]

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        return [[None, *range(len(text.split()))] for text in texts]


class Block(nn.Module):
    """Word vectors (batch, tokens, d) to the sentence's hidden vector at each token; padding and `<s>` are masked."""

    def __init__(self, net: str, weights: Mapping[str, torch.Tensor]):
        super().__init__()
        self.net = net
        self.activation = {"linear": nn.Identity, "mlp": nn.ReLU, "attention": nn.Tanh}[net]()
        for name, value in weights.items():
            if name in ("P", "Wq", "Wk", "Wv", "W1", "b1"):
                self.register_buffer(name, value)

    def forward(self, x: torch.Tensor, src_key_padding_mask: torch.Tensor) -> torch.Tensor:
        reads = ~src_key_padding_mask  # (batch, tokens)
        if self.net == "attention":
            x = x + nn.functional.pad(self.P, (0, 0, 1, 0))[: x.shape[1]]  # positions count from the first word
            scores = (x @ self.Wq) @ (x @ self.Wk).transpose(1, 2) / x.shape[2] ** 0.5  # (batch, tokens, tokens)
            weights = scores.masked_fill(~reads[:, None], -1e300).softmax(2) * reads[:, None]  # no word: no attention
            x = x + weights @ (x @ self.Wv)
        weight = reads.to(x) / reads.sum(1, keepdim=True).clamp(min=1)
        mean = torch.einsum("bt,btd->bd", weight, x)
        hidden = mean if self.net == "linear" else self.activation(mean @ self.W1 + self.b1)
        return hidden[:, None].expand(-1, x.shape[1], -1)


class Stack(nn.Module):
    def __init__(self, block: Block):
        super().__init__()
        self.blocks = nn.ModuleList([block])


class Net(Readable):
    backward_dims = None

    def __init__(self, net: str, weights: Weights):
        super().__init__()
        given = {name: torch.tensor(value, dtype=torch.float64) for name, value in weights.items()}
        table = torch.zeros(len(SPECIAL) + len(given["E"]), given["E"].shape[1], dtype=torch.float64)
        table[len(SPECIAL) :] = given["E"]
        table[PAD], table[MASK] = given["E"][PAD_ROW], given["E"][MASK_ROW]
        self.embedding = nn.Embedding.from_pretrained(table)
        self.forwards = Stack(Block(net, given))

    def batch(self, items: Sequence[Item]) -> tuple[torch.Tensor, torch.Tensor]:
        return padded(items, "cpu")

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
        vectors = self.embedding(ids)
        [block] = self.forwards.blocks
        return [vectors, block(vectors, src_key_padding_mask=~self.counted(ids, lengths) | (ids == OPEN))]


@dataclass(repr=False)
class OracleNet(Transformer):
    """An encoder of one of the nets; `other`: the weights of its random twin."""

    net: str = "linear"
    weights: Weights = field(default_factory=dict)
    other: Weights | None = None
    embedding_dim: int = 6
    layers: int = 1
    heads: int = 1

    KIND = "oracle"

    @cached_property
    def name(self) -> str:
        return self.net

    @property
    def state_names(self) -> tuple[str, ...]:
        return ("hidden",)

    @property
    def state_width(self) -> int:
        return len(self.weights["b1"]) if "b1" in self.weights else self.embedding_dim

    @property
    def vocabulary(self) -> Vocabulary:
        return Numbered(len(self.weights["E"]))

    @property
    def shape(self) -> dict[str, Any]:
        given = {name: np.asarray(value).tolist() for name, value in self.weights.items()}
        return {"kind": self.KIND, "net": self.net, "weights": hashlib.sha256(json.dumps(given).encode()).hexdigest()}

    @cached_property
    def network(self) -> Readable:
        with torch.inference_mode(False):  # a first forward makes it, and gradients cannot go through tensors of that mode
            return Net(self.net, self.weights).eval().requires_grad_(False)

    def random_twin(self, seed: int) -> OracleNet | None:
        return None if self.other is None else replace(self, weights=self.other, other=None)


def head_of_net(encoder: OracleNet) -> LinearHead:
    """The linear map of the hidden vector to the logits of the classes "0", "1", …"""
    suffix = "" if encoder.net == "linear" else "2"
    coef, intercept = (np.asarray(encoder.weights[name + suffix], float) for name in ("W", "b"))
    return LinearHead(coef.T, intercept, tuple(map(str, range(len(intercept)))), 1, "mean")


def nets(oracle: Mapping[str, Any]) -> dict[str, OracleNet]:
    """The encoders of an oracle file, by name."""
    other = oracle["weights_other_seed"]
    return {net: OracleNet(net=net, weights=weights, other=other.get(net)) for net, weights in oracle["weights"].items()}
