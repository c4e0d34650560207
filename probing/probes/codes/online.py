"""The online code of labels (Voita & Titov 2020, section 2.2; Rissanen's prequential code).

    L = n_1 log2 K + sum over later blocks of -log2 p(label | probe fitted on all earlier blocks)

Blocks end at shares of the sentences, in one random order of them; K and the order are known to both sides, and so are the
features: they are standardised over the whole train split. Each block has a fit of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from probing.probes.codes.bits import VOITA, Code, block_ends, item_ends, kept_ends
from probing.probes.codes.solver import Examples, Solution
from probing.types import Labels, Values

CHOOSE_ON = 16_384
"""C is chosen with a probe on at most so many of the first examples of the order (and always on at least one block)."""


def shuffled(n: int, clusters: Labels | None, seed: int, shares: Sequence[float] = VOITA) -> tuple[np.ndarray, Labels]:
    """An order of n items in which sentences are drawn by the seed and keep their items together, (n,), and the ends of its blocks
    in items, none empty. `clusters`: numbers 0..m-1 of the items' sentences, None where each is its own."""
    rng = np.random.default_rng(seed)
    if clusters is None:
        return rng.permutation(n), kept_ends(block_ends(n, shares))
    sizes = np.bincount(clusters)
    drawn = rng.permutation(len(sizes))
    place = np.empty(len(sizes), dtype=np.int64)
    place[drawn] = np.arange(len(sizes))
    return np.argsort(place[clusters], kind="stable"), kept_ends(item_ends(sizes[drawn], block_ends(len(sizes), shares)))


def online_code(n_classes: int, ends: Labels, block_bits: Callable[[int, int], Values], extra: float = 0.0) -> Code:
    """The code with these block ends; `block_bits(a, b)`: bits of the examples a .. b, of a probe fitted on those before a."""
    later = [float(block_bits(int(a), int(b)).sum()) for a, b in zip(ends, ends[1:], strict=False)]
    return Code(n_classes, ends, np.array([ends[0] * math.log2(n_classes), *later]), extra)


def logistic_code(
    examples: Examples, labels: Labels, ends: Labels, grid: Sequence[float], dev: tuple[Examples, Labels] | None = None
) -> tuple[Code, float]:
    """The code whose probes are logistic regressions at one C, and that C. Examples and labels stand in the order of the code.

    Of several values of C, dev chooses by cross-entropy (`Examples.choose`), with a probe on the first blocks, up to `CHOOSE_ON`
    examples; the choice is sent in log2 of their number of bits, so that the code is valid whoever has dev.
    """
    grid = sorted(grid)
    C = grid[0]
    if len(grid) > 1 and dev is not None:
        first = int(ends[max(0, int(np.searchsorted(ends, CHOOSE_ON, side="right")) - 1)])
        C = examples.span(0, first).choose(labels[:first], grid, dev).C
    last: Solution | None = None

    def block_bits(a: int, b: int) -> Values:
        nonlocal last
        last = examples.span(0, a).fit(labels[:a], C, last, loose=False)
        return examples.span(a, b).bits(last, labels[a:b])

    return online_code(examples.n_classes, ends, block_bits, math.log2(len(grid))), C
