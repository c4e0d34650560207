"""Batches of parsed sentences, padded in parts of like length, for the structural probe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from probing.data.trees import Trees


class Chunk(NamedTuple):
    """Sentences of like length of a batch, padded to (S, n); `place`: of their words in that, flat, `words`: in the batch."""

    words: torch.Tensor
    place: torch.Tensor
    shape: tuple[int, int]
    distances: torch.Tensor  # (S, n, n)
    weights: torch.Tensor  # (S, n, n): 1 / n² of the sentence, 0 in padding


class Batch(NamedTuple):
    """Words of a batch of sentences as numbers in the split, (m,), their depths and 1 / n of their sentences, and its chunks."""

    words: torch.Tensor
    depths: torch.Tensor
    shares: torch.Tensor
    chunks: tuple[Chunk, ...]
    size: int

    @classmethod
    def of(cls, sentences: Sequence[int], trees: Trees) -> Batch:
        """The batch of sentences; the order of sentences within it changes no sum."""
        rows = sorted(sentences, key=lambda row: -trees.lengths[row])
        lengths = trees.lengths[rows]
        words = np.concatenate([np.arange(trees.starts[row], trees.starts[row + 1]) for row in rows])
        starts, chunks, begun = np.cumsum(lengths) - lengths, [], 0
        for k in range(1, len(rows) + 1):
            if k == len(rows) or lengths[k] < 0.6 * lengths[begun]:  # shorter ones make a chunk of their own, which pads less
                chunks.append(chunk_of([trees.distances[row] for row in rows[begun:k]], int(starts[begun])))
                begun = k
        shares = np.repeat(1 / lengths, lengths).astype(np.float32)
        depths = torch.from_numpy(trees.depths[words].astype(np.float32))
        return cls(torch.from_numpy(words), depths, torch.from_numpy(shares), tuple(chunks), len(rows))


def chunk_of(distances: Sequence[np.ndarray], first: int) -> Chunk:
    """The chunk of sentences from their gold distances, the longest first; `first`: of their words in the batch."""
    lengths = np.array([len(one) for one in distances])
    n = int(lengths[0])
    gold, weights = np.zeros((2, len(distances), n, n), np.float32)
    for row, one in enumerate(distances):
        gold[row, : len(one), : len(one)] = one
        weights[row, : len(one), : len(one)] = 1 / max(1, len(one)) ** 2
    place = np.flatnonzero(np.arange(n) < lengths[:, None])
    words = torch.arange(first, first + len(place))
    return Chunk(words, torch.from_numpy(place), (len(distances), n), torch.from_numpy(gold), torch.from_numpy(weights))


def batches(order: np.ndarray, trees: Trees, words: int) -> Iterator[Batch]:
    """Yield batches of sentences in this order with about so many words each."""
    begun, held = 0, 0
    for k, row in enumerate(order.tolist()):
        held += int(trees.lengths[row])
        if held >= words or k + 1 == len(order):
            yield Batch.of(order[begun : k + 1].tolist(), trees)
            begun, held = k + 1, 0
