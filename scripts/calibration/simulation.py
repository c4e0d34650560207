"""Planted tasks and encoders for simulations: classes along known directions, noise shared by layers, vectors by sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from probing.data.split import Split
from probing.data.task import Task
from probing.encoders.base import States


@dataclass
class Planted:
    """An encoder that looks vectors up.

    Attributes:
        vectors: (n_layers, n, d), of the sentences `texts`.
        twin: the vectors of random weights by seed; None: the encoder has none.
        context_free: whether layer 0 holds words out of context, so that it can be the floor `static`.
    """

    vectors: np.ndarray
    texts: Sequence[str]
    name: str = "planted"
    twin: Callable[[int], np.ndarray] | None = None
    context_free: bool = False
    origin: str = "a simulation"
    poolings: tuple[str, ...] = ("mean",)

    @property
    def dims(self) -> tuple[int, ...]:
        return (self.vectors.shape[2],) * len(self.vectors)

    @property
    def layer_names(self) -> tuple[str, ...]:
        return tuple(f"layer {k}" for k in range(len(self.vectors)))

    @property
    def description(self) -> dict[str, Any]:
        return {"kind": "planted", "sum": float(self.vectors.sum(dtype=np.float64)), "shape": list(self.vectors.shape)}

    @cached_property
    def rows(self) -> dict[str, int]:
        return {text: row for row, text in enumerate(self.texts)}

    def tokenize(self, texts: Sequence[str]) -> tuple[list[list[int]], int]:
        return [[self.rows[text]] for text in texts], 0

    def word_ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [[0] for _ in texts]

    def forward(self, items: Sequence[Sequence[int]]) -> States:
        rows = [row for (row,) in items]
        layers = [torch.from_numpy(layer[rows])[:, None] for layer in self.vectors]
        return States(layers, torch.ones(len(rows), 1, dtype=torch.bool))

    def release(self) -> None:
        pass

    def random_twin(self, seed: int) -> Planted | None:
        return self.twin and replace(self, vectors=self.twin(seed), name=f"{self.name} (random {seed})", twin=None)


def parts(sizes: Sequence[int]) -> list[slice]:
    """Consecutive slices of these sizes."""
    ends = np.cumsum(sizes).tolist()
    return [slice(first, last) for first, last in zip([0, *ends[:-1]], ends, strict=True)]


def binary_task(
    texts: Sequence[str],
    labels: np.ndarray,
    slices: Sequence[slice],
    name: str = "planted",
    groups: Sequence[str] | None = None,
) -> Task:
    """A task of two classes whose train, dev and test sentences are three slices; `groups` are those of the test sentences."""
    train, dev, test = (Split(tuple(texts[part]), labels[part]) for part in slices)
    test = replace(test, groups=None if groups is None else tuple(groups))
    return Task(name, ("a", "b"), train, dev, test, {"name": name}, "simulation", "0", "0")


def balanced(rng: np.random.Generator, n: int) -> np.ndarray:
    """n labels 0 and 1, half of each, in random order."""
    return rng.permutation(np.arange(n) % 2)


def directions(rng: np.random.Generator, n_layers: int, d: int, separation: float) -> np.ndarray:
    """(n_layers, d): a random direction for each layer, of length `separation`."""
    drawn = rng.standard_normal((n_layers, d))
    return drawn * separation / np.linalg.norm(drawn, axis=1, keepdims=True)


def features(rng: np.random.Generator, labels: np.ndarray, along: np.ndarray, shared: float = 0.3) -> np.ndarray:
    """(n_layers, n, d): the class, + or -, along each layer's direction, plus noise of variance 1, of which layers share a part."""
    n_layers, d = along.shape
    common = rng.standard_normal((len(labels), d))
    own = rng.standard_normal((n_layers, len(labels), d))
    noise = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
    return (noise + (2.0 * labels - 1)[:, None] * along[:, None, :]).astype(np.float32)
