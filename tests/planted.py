"""An encoder whose one state of a sentence is a planted function of the words that are left of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from probing.encoders.base import States


@dataclass
class PlantedEncoder:
    """Layer 0 is `value` of the set of words, as a vector of one number; masking=delete takes words away."""

    value: Callable[[set[str]], float]
    name: str = "planted"
    sentences: int = 0
    vocabulary: list[str] = field(default_factory=list)
    origin: str = "the tests"
    poolings: tuple[str, ...] = ("cls",)
    dims: tuple[int, ...] = (1,)
    layer_names: tuple[str, ...] = ("planted",)

    @property
    def description(self):
        return {"kind": self.name}

    def tokenize(self, texts):
        for text in texts:
            self.vocabulary += [word for word in text.split() if word not in self.vocabulary]
        return [[self.vocabulary.index(word) for word in text.split()] for text in texts], 0

    def forward(self, items):
        self.sentences += len(items)
        longest = max(map(len, items))
        mask = torch.tensor([[i < len(item) for i in range(longest)] for item in items])
        values = torch.tensor([[self.value({self.vocabulary[token] for token in item})] for item in items])  # (batch, 1)
        return States([values[:, None, :].repeat(1, longest, 1)], mask)

    def release(self):
        pass
