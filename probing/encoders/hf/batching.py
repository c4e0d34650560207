"""Which sentences a model can run together, and batches split so that every sentence has the states that it has alone.

Padding, or other sentences, may change the states of a sentence: convolutions and Fourier transforms read padding, and experts with
a capacity pass tokens by when they are full. Vectors are stored, so they may depend on nothing but their sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch.nn.functional import pad

from probing.encoders.base import Item, Pooled, States
from probing.errors import StatesError
from probing.log import info

T = TypeVar("T", States, Pooled)

BATCHINGS = ("padded", "one length", "alone")
"""padded: any sentences may share a batch · one length: only sentences of one length · alone: each is run by itself."""

GROWTH = 1.5
"""Padding is checked again on a batch that is so many times wider, or more padded, than those checked before."""

LARGE = 16
"""Sentences in a batch large enough to check whether a batch without padding changes its last sentence (experts fill up)."""


class BatchRunner:
    """Runs batches so that no sentence depends on another.

    The shortest sentence of a padded batch that is much wider or more padded than those before is also run alone, and so is the
    last one of the first large batch. If one has other states alone, this batch and all later ones are split. `width` and `padding`
    are the most tokens of a batch, and the most padding of a sentence, on which `batching` was checked.
    """

    def __init__(self, name: str, batching: str, tolerance: float, width: int = 0, padding: int = 0):
        self.name, self.batching, self.tolerance, self.width, self.padding = name, batching, tolerance, width, padding
        self.checked_large = False
        self.within: Callable[[Sequence[int], Sequence[Item], Callable[[Sequence[Item]], Any]], Any] | None = None
        """Runs rows of the items that share a batch, and knows which rows they are; then nothing is checked."""

    def run(self, items: Sequence[Item], run: Callable[[Sequence[Item]], T]) -> T:
        """The result of `run`, on the items together or on parts of them."""
        groups = self._groups([len(item) for item in items])
        if self.within is not None:
            return _in_order(groups, [self.within(rows, [items[i] for i in rows], run) for rows in groups])
        if len(groups) == 1:
            result = run(items)
            if self._check(items, _layers(result), lambda item: _layers(run([item]))):
                return result
            groups = self._groups([len(item) for item in items])
        return _in_order(groups, [self.run([items[i] for i in rows], run) for rows in groups])

    def _groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """Rows of the sentences that share a batch."""
        if self.batching == "padded" or len(lengths) == 1:
            return [[*range(len(lengths))]]
        if self.batching == "alone":
            return [[i] for i in range(len(lengths))]
        return [[i for i, n in enumerate(lengths) if n == length] for length in sorted(set(lengths))]

    def _check(
        self, items: Sequence[Item], layers: Sequence[torch.Tensor], alone: Callable[[Item], Sequence[torch.Tensor]]
    ) -> bool:
        """Whether sentences of the batch have the states that they have alone; if not, `batching` becomes narrower."""
        lengths = [len(item) for item in items]
        width, padding = max(lengths), max(lengths) - min(lengths)
        padded, large = padding > 0, len(items) >= LARGE and not self.checked_large
        self.checked_large |= large and not padded
        rows = [len(items) - 1] * large
        if padded and (width > GROWTH * self.width or padding > GROWTH * self.padding):
            rows.append(lengths.index(min(lengths)))
            self.width, self.padding = max(width, self.width), max(padding, self.padding)
        if all(close([x[row : row + 1] for x in layers], alone(items[row]), lengths[row], self.tolerance) for row in rows):
            return True
        self.batching = "one length" if padded else "alone"
        how = "with sentences of its length" if padded else "by itself"
        info(f"{self.name}: the states of a sentence depend on the others of its batch; from now on it is run {how}")
        return False


def find_batching(
    name: str, run: Callable[[Sequence[Item]], Sequence[torch.Tensor]], items: Sequence[Item], tolerance: float
) -> str:
    """The widest of `BATCHINGS` in which every item has the states that it has alone.

    `run` sends items through the model together, padded, and returns the states of all layers; at least two items have one length,
    and two do not. Raises StatesError if the states of a sentence differ from one run to the next.
    """
    alone, again = ([run([item]) for item in items] for _ in range(2))
    if not all(close(a, b, len(item), tolerance) for a, b, item in zip(alone, again, items, strict=True)):
        raise StatesError(f"{name}: the model gives other states for the same sentence the second time; it cannot be measured")

    def keep(group: Sequence[int]) -> bool:
        together = run([items[i] for i in group])
        rows = ([layer[row : row + 1] for layer in together] for row in range(len(group)))
        return all(close(row, alone[i], len(items[i]), tolerance) for row, i in zip(rows, group, strict=True))

    if keep(range(len(items))):
        return "padded"
    groups = [[i for i, item in enumerate(items) if len(item) == length] for length in {len(item) for item in items}]
    return "one length" if all(map(keep, groups)) else "alone"


def close(some: Sequence[torch.Tensor], others: Sequence[torch.Tensor], length: int, tolerance: float) -> bool:
    """Whether the states of one sentence, (1, tokens, dim) each, agree on its first `length` tokens."""
    for a, b in zip(some, others, strict=True):
        a, b = (x[0, :length].float().nan_to_num() for x in (a, b))  # states that are not finite are refused by the extraction
        if not bool(((a - b).abs() <= tolerance * b.abs().max()).all()):
            return False
    return True


def _layers(result: States | Pooled) -> Sequence[torch.Tensor]:
    """The layers (batch, tokens, dim) of a result; a vector counts as one token."""
    if isinstance(result, States):
        return result.layers
    return [vectors[:, None] for layers in result.vectors.values() for vectors in layers]


def _in_order(groups: Sequence[Sequence[int]], parts: Sequence[Any]) -> Any:
    """The results of groups of rows, joined in the order of the rows."""
    return parts[0] if len(parts) == 1 else _joined(parts, torch.tensor([i for rows in groups for i in rows]).argsort())


def _joined(parts: Sequence[Any], order: torch.Tensor) -> Any:
    """One result of several, its rows in the order given."""

    def rows(values: Sequence[torch.Tensor]) -> torch.Tensor:
        """(batch, tokens, …), padded with zeros to the width of the widest part; or (batch, dim)."""
        width = max(v.shape[1] for v in values)
        return torch.cat([pad(v, (0, 0) * (v.ndim - 2) + (0, width - v.shape[1])) for v in values])[order]

    def layers(of_parts: Iterable[Sequence[torch.Tensor]]) -> list[torch.Tensor]:
        return [rows(layer) for layer in zip(*of_parts, strict=True)]

    if isinstance(parts[0], States):
        own = {name: layers(part.vectors[name] for part in parts) for name in parts[0].vectors}
        return States(layers(part.layers for part in parts), rows([part.mask for part in parts]), vectors=own)
    vectors = {pooling: layers(part.vectors[pooling] for part in parts) for pooling in parts[0].vectors}
    return Pooled(vectors, torch.cat([part.counted for part in parts])[order])
