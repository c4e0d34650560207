"""Arithmetic of codes of labels, in true bits: log2 everywhere, so that a bit of one block is a bit of another.

Released programs add the first block in bits to the others in nats (`Code.legacy_mixed`), which makes codes look shorter by up to
ln 2 (`published_in_bits` undoes it). References: Voita & Titov 2020; the rounding of ends and the units are those of their code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax, softmax

from probing.errors import DataError
from probing.types import Labels, Values

VOITA = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)
"""Shares of the sentences at which the blocks of Voita & Titov end."""

HOLMES = tuple(2.0**-k for k in range(10, 0, -1))
"""Shares of the examples on which the Holmes benchmark trains, to code as many more."""

PRINTED_KILOBIT = 1024


@dataclass(frozen=True)
class Code:
    """An online code of n labels of K classes. `ends`: examples coded after each block, (B,), rising; `blocks`: bits of each
    block, (B,), the first of the uniform code; infinite where a label had the probability 0. `extra`: bits beside the blocks."""

    n_classes: int
    ends: Labels
    blocks: Values
    extra: float = 0.0

    @property
    def uniform(self) -> float:
        """Bits of the uniform code, n log2 K."""
        return float(self.ends[-1]) * math.log2(self.n_classes)

    @property
    def bits(self) -> float:
        return float(self.blocks.sum()) + self.extra

    @property
    def compression(self) -> float:
        """Uniform bits / bits: at most 1, up to noise, where there is nothing to learn; 0 for an infinite code, NaN for none."""
        return self.uniform / self.bits if self.bits else math.nan

    @property
    def shares(self) -> Values:
        """Share of each block in the code, (B,); NaN if it is infinite."""
        return self.blocks / self.bits if 0 < self.bits < math.inf else np.full(len(self.blocks), np.nan)

    @property
    def legacy_mixed(self) -> float:
        """What released programs print: the first block in bits, the others in nats."""
        return float(self.blocks[0] + self.blocks[1:].sum() * math.log(2))

    @property
    def legacy_compression(self) -> float:
        return self.uniform / self.legacy_mixed if self.legacy_mixed else math.nan


def code_of(probabilities: ArrayLike, ends: Sequence[int], n_classes: int) -> Code:
    """The code of labels that had these probabilities, (n - first end,), one for each example after the first block."""
    kept = kept_ends(ends)
    with np.errstate(divide="ignore"):
        bits = -np.log2(np.asarray(probabilities, float))
    if len(bits) != kept[-1] - kept[0]:
        raise DataError(f"{len(bits)} probabilities for {kept[-1] - kept[0]} examples after the first block")
    later = [bits[a - kept[0] : b - kept[0]].sum() for a, b in zip(kept, kept[1:], strict=False)]
    return Code(n_classes, kept, np.array([kept[0] * math.log2(n_classes), *later]))


def kept_ends(ends: Sequence[int] | Labels) -> Labels:
    """Ends without empty blocks: each once, none of 0. DataError if nothing is left, or they fall."""
    ends = np.asarray(ends, dtype=np.int64)
    if not len(ends) or ends[-1] < 1 or (np.diff(ends) < 0).any():
        raise DataError(f"block ends {ends.tolist()} must rise to at least 1")
    return np.unique(ends[ends > 0])


def block_ends(n: int, shares: Sequence[float] = VOITA) -> Labels:
    """int(share * n) for each share, (B,), as released: with few sentences the first ones are 0 or equal (`kept_ends`)."""
    return np.array([int(share * n) for share in shares], dtype=np.int64)


def item_ends(sizes: ArrayLike, group_ends: ArrayLike) -> Labels:
    """Ends in items from ends in sentences: `sizes`, the items of each sentence in the order of the code."""
    total = np.concatenate([[0], np.cumsum(np.asarray(sizes, dtype=np.int64))])
    return total[np.asarray(group_ends, dtype=np.int64)]


def holmes_steps(n: int) -> tuple[int, int]:
    """Of the code of the Holmes benchmark over n examples: size of its first training set, and the number of examples that no
    step codes and that set does not hold."""
    firsts = [int(n * share) for share in HOLMES]
    firsts = [first for first in firsts if first > 0]
    covered = np.zeros(n, dtype=bool)
    covered[: firsts[0] if firsts else 0] = True
    for first in firsts:
        covered[first : 2 * first] = True
    return (firsts[0] if firsts else 0), int((~covered).sum())


def mixed(log_probabilities: ArrayLike, n_fitted: int, n_classes: int) -> Values:
    """Bits of labels, from natural logarithms of their probabilities under a probe that was fitted on `n_fitted` examples, mixed
    with the uniform: p' = (1 - e) p + e / K, e = 1 / (n_fitted + 1). A class not yet seen has p = 0, and a finite code."""
    e = 1 / (n_fitted + 1)
    p = np.exp(np.asarray(log_probabilities, float))
    return -np.log2((1 - e) * p + e / n_classes)


def published_in_bits(targets: int, first_block: int, n_classes: int, printed: float) -> dict[str, Any]:
    """A published online code in true bits, from its printed kilobits (of 1,024 mixed units, rounded to two decimals): the first
    block is in bits, the rest in nats. For a variational code give `first_block` 0."""
    uniform, first = targets * math.log2(n_classes), first_block * math.log2(n_classes)

    def bits(kilobits: float) -> float:
        return first + (kilobits * PRINTED_KILOBIT - first) / math.log(2)

    true = bits(printed)
    return {
        "uniform_bits": uniform, "true_bits": true, "true_kbits": true / PRINTED_KILOBIT, "true_compression": uniform / true,
        "printed_compression_recomputed": uniform / (printed * PRINTED_KILOBIT),
        "true_kbits_interval": [bits(printed + sign * 0.005) / PRINTED_KILOBIT for sign in (-1, 1)],
    }  # fmt: skip


def softmax_twice_floor(n_classes: int) -> float:
    """The least cross-entropy, in nats, where probabilities go into a loss that normalises again: ln(1 + (K - 1) / e)."""
    return math.log1p((n_classes - 1) / math.e)


def softmax_losses(logits: ArrayLike, labels: Labels) -> tuple[Values, Values]:
    """Cross-entropy of labels in nats, (n,), of a softmax over logits (n, K); and of the softmax taken twice, as the released
    Holmes probe does."""
    rows, logits = np.arange(len(labels)), np.asarray(logits, float)
    once, twice = log_softmax(logits, 1), log_softmax(softmax(logits, 1), 1)
    return -once[rows, labels], -twice[rows, labels]
