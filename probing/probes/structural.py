"""The structural probe (Hewitt & Manning 2019): a linear map B (rank × d) whose squared distances and norms are those of a tree.

    distance of words i and j of a sentence    |B (h_i - h_j)|²        depth of word i    |B h_i|²
    loss of a sentence with n words            Σ over all n² cells of |distance - tree distance| / n²,    Σ |depth - tree depth| / n

B starts uniform in (-.05, .05). Adam, batches of 20 sentences, the loss of a batch is the mean over its sentences. After each epoch
the rate falls to a tenth unless the dev loss is below its least value by more than 1e-4 of that; B is kept where the mean dev loss
per sentence falls by more than 1e-4; the fifth epoch without that is the last. Adam keeps its state when the rate falls, as
released.

All layers, ranks and both kinds of probes see the same batches: their maps are columns of one matrix, so that an epoch is two
products for each batch. The gradient is written out: with s_ij the sign of the error, that of a sentence's vectors z = B h is
4 Σ_j s_ij (z_i - z_j) / n². Where the paper's default rank is d, ours is 64 (`Schedule` has the paper's other values).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from probing.data.trees import Trees
from probing.errors import DataError
from probing.probes.tree_batches import Batch, Chunk, batches, chunk_of

KINDS = ("distance", "depth")
_PER_CALL = 4096  # words of a batch of dev sentences


@dataclass(frozen=True)
class Schedule:
    """How a probe is fitted; the defaults are those of the released code.

    Args:
        batch: sentences of a batch.
        epochs: the most epochs.
        rate: Adam's rate at the start.
        factor: of the rate after an epoch without a lower dev loss.
        patience: stop after so many epochs without a lower mean dev loss.
        threshold: how much lower it must be.
        start: the bound of the uniform start.
    """

    batch: int = 20
    epochs: int = 40
    rate: float = 1e-3
    factor: float = 0.1
    patience: int = 5
    threshold: float = 1e-4
    start: float = 0.05


class Fit(NamedTuple):
    """A fitted probe: B (rank, d), float32; its mean dev loss per sentence; the epoch that B is of, and the last one, from 1."""

    B: np.ndarray
    dev_loss: float
    epoch: int
    epochs: int


def _padded(z: torch.Tensor, chunk: Chunk) -> tuple[torch.Tensor, torch.Tensor]:
    """The words' vectors (L, m, r) as sentences (L · S, n, r), zeros in padding, and the errors of distances (L, S, n, n)."""
    (size, n), layers = chunk.shape, len(z)
    padded = z.new_zeros(layers, size * n, z.shape[2])
    padded[:, chunk.place] = z[:, chunk.words[0] : chunk.words[-1] + 1]
    padded = padded.view(layers * size, n, -1)
    norm = padded.square().sum(2)
    squared = torch.baddbmm((norm[:, :, None] + norm[:, None]), padded, padded.transpose(1, 2), alpha=-2)
    return padded, squared.view(layers, size, n, n).sub_(chunk.distances)


def gradients(z: torch.Tensor, batch: Batch, parts: Sequence[tuple[str, slice]]) -> torch.Tensor:
    """The gradient of a batch's mean loss by the projected words z (L, m, R); `parts`: the kind and the columns of each probe."""
    gradient = torch.empty_like(z)
    for kind, columns in parts:
        own = z[..., columns]
        if kind == "depth":
            sign = torch.sign(own.square().sum(2).sub_(batch.depths)).mul_(batch.shares * (2 / batch.size))  # (L, m)
            gradient[..., columns] = own * sign[..., None]
            continue
        for chunk in batch.chunks:
            padded, error = _padded(own, chunk)
            sign = error.sign_().mul_(chunk.weights * (4 / batch.size)).view(len(padded), *chunk.shape[1:], chunk.shape[1])
            made = torch.baddbmm(padded * sign.sum(2, keepdim=True), sign, padded, alpha=-1)
            gradient[:, chunk.words[0] : chunk.words[-1] + 1, columns] = made.view(len(z), -1, own.shape[2])[:, chunk.place]
    return gradient


def losses(z: torch.Tensor, batch: Batch, parts: Sequence[tuple[str, slice]]) -> torch.Tensor:
    """The summed losses of a batch's sentences: (L, F) for F parts, float64."""
    total = torch.zeros(len(z), len(parts), dtype=torch.float64)
    for k, (kind, columns) in enumerate(parts):
        own = z[..., columns]
        if kind == "depth":
            total[:, k] = (own.square().sum(2).sub_(batch.depths).abs_() * batch.shares).sum(1)
            continue
        for chunk in batch.chunks:
            _, error = _padded(own, chunk)
            total[:, k] += (error.abs_() * chunk.weights).sum((1, 2, 3))
    return total


def loss_and_gradient(
    kind: str, B: torch.Tensor, vectors: Sequence[torch.Tensor], gold: Sequence[np.ndarray]
) -> tuple[float, torch.Tensor]:
    """Return the mean loss over sentences and its gradient (rank, d).

    Args:
        B: (rank, d).
        vectors: of the words of each sentence, (n, d), the longest first.
        gold: of each sentence the distances (n, n), or the depths (n,).
    """
    h = torch.cat(list(vectors))
    sizes = np.array([len(one) for one in vectors])
    shares = torch.from_numpy(np.repeat(1 / sizes, sizes)).to(h)
    depths = torch.cat([torch.as_tensor(g) for g in gold]).to(h) if kind == "depth" else h.new_zeros(len(h))
    made = [] if kind == "depth" else [chunk_of(gold, 0)]
    chunks = tuple(chunk._replace(distances=chunk.distances.to(h), weights=chunk.weights.to(h)) for chunk in made)
    batch = Batch(torch.arange(len(h)), depths, shares, chunks, len(sizes))
    parts, z = [(kind, slice(0, len(B)))], (h @ B.T)[None]
    loss = float(losses(z, batch, parts)[0, 0]) / len(sizes)
    return loss, (h.T @ gradients(z, batch, parts)[0]).T


class State:
    """The maps of some layers, (L, d, R), side by side, with Adam's moments and the schedule of each probe."""

    def __init__(self, layers: int, width: int, ranks: Sequence[int], seed: int, schedule: Schedule):
        self.schedule, self.steps, self.epoch = schedule, 0, 0
        self.probes = [(kind, rank) for kind in KINDS for rank in ranks]
        ends = np.cumsum([0, *(rank for _, rank in self.probes)])
        self.parts = [(kind, slice(a, b)) for (kind, _), a, b in zip(self.probes, ends, ends[1:], strict=False)]
        blocks = [starting_map(kind, rank, width, seed, schedule.start).T for kind, rank in self.probes]
        self.maps = torch.cat(blocks, 1).repeat(layers, 1, 1)  # the same start for every layer
        self.first, self.second = torch.zeros_like(self.maps), torch.zeros_like(self.maps)
        shape = (layers, len(self.probes))
        self.rates, self.least = np.full(shape, schedule.rate), np.full(shape, np.inf)
        self.best, self.epoch_of, self.last = np.full(shape, np.inf), np.zeros(shape, int), np.zeros(shape, int)
        self.stopped = np.zeros(shape, bool)
        self.kept: list[list[torch.Tensor]] = [[block.T.clone() for block in blocks] for _ in range(layers)]

    def step(self, gradient: torch.Tensor, layers: Sequence[int]) -> None:
        """One step of Adam for some of the layers, gradient (l, d, R)."""
        self.steps += 1
        columns = np.repeat(np.where(self.stopped, 0, self.rates), [rank for _, rank in self.probes], axis=1)[layers]
        rates = torch.from_numpy(columns / (1 - 0.9**self.steps)).float()[:, None]
        scale = 1 / np.sqrt(1 - 0.999**self.steps)
        for k, layer in enumerate(layers):
            own = gradient[k]
            first, second = self.first[layer], self.second[layer]
            first.lerp_(own, 0.1)
            second.mul_(0.999).addcmul_(own, own, value=0.001)
            self.maps[layer].sub_(first / second.sqrt().mul_(scale).add_(1e-8) * rates[k])

    def after_epoch(self, dev: np.ndarray, sentences: int, layers: Sequence[int]) -> None:
        """Keeps maps, lowers rates and stops; `dev`: summed losses (l, F)."""
        self.epoch += 1
        for k, layer in enumerate(layers):
            for f, (_, columns) in enumerate(self.parts):
                if self.stopped[layer, f]:
                    continue
                loss, at = float(dev[k, f]), (layer, f)
                if loss < self.least[at] * (1 - 1e-4):
                    self.least[at] = loss
                elif self.rates[at] * (1 - self.schedule.factor) > 1e-8:
                    self.rates[at] *= self.schedule.factor
                if loss / sentences < self.best[at] - self.schedule.threshold:
                    self.best[at], self.epoch_of[at] = loss / sentences, self.epoch
                    self.kept[layer][f] = self.maps[layer][:, columns].T.clone()
                self.last[at] = self.epoch
                self.stopped[at] = self.epoch - self.epoch_of[at] >= self.schedule.patience


def starting_map(kind: str, rank: int, width: int, seed: int, bound: float = 0.05) -> torch.Tensor:
    """Return the start of B, (rank, d), uniform between -bound and bound: an untrained probe."""
    rng = np.random.default_rng([seed, KINDS.index(kind), rank])
    return torch.from_numpy(rng.uniform(-bound, bound, (rank, width)).astype(np.float32))


def fit(
    layers: Sequence[tuple[np.ndarray, np.ndarray]],
    trees: tuple[Trees, Trees],
    ranks: Sequence[int],
    seed: int = 0,
    schedule: Schedule = Schedule(),
) -> list[dict[tuple[str, int], Fit]]:
    """Fit the distance and the depth probe of every rank to every layer.

    Args:
        layers: of each layer the vectors of the words of train (N, d) and of dev (M, d); all of one width d.
        trees: of train and dev, whose words these are.
        ranks: rows of B.
        seed: of the starts and of the order of sentences, which layers and ranks share: each fit is the one that it is alone,
            but for the rounding of sums.

    Returns:
        For each layer the fits by kind and rank.

    Raises:
        DataError: no sentence, vectors that are not finite, or not one for each word.
    """
    train, dev = trees
    if not len(train) or not len(dev):
        raise DataError("a structural probe needs sentences of train and dev all of whose words have a vector")
    for pair in layers:
        for name, vectors, own in zip(("train", "dev"), pair, trees, strict=True):
            if len(vectors) != len(own.heads):
                raise DataError(f"{name}: {len(vectors)} vectors for {len(own.heads)} words; give one for each word")
            if not np.isfinite(vectors).all():
                raise DataError(f"{name}: vectors of words that are not finite")
    tensors = [tuple(torch.from_numpy(np.ascontiguousarray(one, np.float32)) for one in pair) for pair in layers]
    state = State(len(layers), layers[0][0].shape[1], ranks, seed, schedule)
    dev_batches = list(batches(np.argsort(-dev.lengths, kind="stable"), dev, _PER_CALL))
    rng = np.random.default_rng([seed, 11])
    for _ in range(schedule.epochs):
        active = [layer for layer in range(len(layers)) if not state.stopped[layer].all()]
        if not active:
            break
        order = rng.permutation(len(train))
        for k in range(0, len(order), schedule.batch):
            batch = Batch.of(order[k : k + schedule.batch].tolist(), train)
            x = _gathered([tensors[layer][0] for layer in active], batch.words)
            gradient = gradients(torch.bmm(x, state.maps[active]), batch, state.parts)
            state.step(torch.bmm(x.transpose(1, 2), gradient), active)
        total = torch.zeros(len(active), len(state.parts), dtype=torch.float64)
        for batch in dev_batches:
            x = _gathered([tensors[layer][1] for layer in active], batch.words)
            total += losses(torch.bmm(x, state.maps[active]), batch, state.parts)
        state.after_epoch(total.numpy(), len(dev), active)
    if not np.isfinite(state.best).all():
        raise DataError("the loss of a structural probe is not finite: the vectors are too large; scale them")
    return [
        {
            probe: Fit(B.numpy(), float(state.best[layer, f]), int(state.epoch_of[layer, f]), int(state.last[layer, f]))
            for f, (probe, B) in enumerate(zip(state.probes, state.kept[layer], strict=True))
        }
        for layer in range(len(layers))
    ]


def _gathered(vectors: Sequence[torch.Tensor], words: torch.Tensor) -> torch.Tensor:
    """The vectors of words in l layers: (l, m, d)."""
    x = vectors[0].new_empty(len(vectors), len(words), vectors[0].shape[1])
    for out, own in zip(x, vectors, strict=True):
        torch.index_select(own, 0, words, out=out)
    return x
