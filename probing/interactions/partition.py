"""The best and the worst contiguous partition of a segment, by dynamic programming over its intervals; its interaction tree.

For a segment A of m neighbouring players and the values phi([C]) of its intervals C, over the contiguous partitions Omega of A
(multivariate Shapley interactions, Zhang et al. 2021, AAAI 35, 10877-10886):

    B     = phi([A]) - sum_i phi({i})
    B_max = max_Omega sum_{C in Omega} phi([C]) - sum_i phi({i}),   B_min with min,   T = B_max - B_min

Of partitions whose sums differ by at most `tolerance` times the largest |phi|, beyond rounding, the one with most parts is
taken, then the one with the earliest cuts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from probing.errors import ConfigError
from probing.types import Values

Partition = tuple[tuple[int, int], ...]
"""Parts in order, each (start, stop) with stop excluded."""

TOLERANCE = 1e-9
LISTED = 1000


@dataclass(frozen=True)
class Best:
    """The optimum over contiguous partitions of positions 0..m-1; `all` begins with `finest` and may be cut at a stated number."""

    value: float
    finest: Partition
    all: tuple[Partition, ...]


def best_partition(phi: Values, sign: int = 1, tolerance: float = TOLERANCE, listed: int = LISTED) -> Best:
    """The partition with the largest (sign=1) or smallest (sign=-1) sum of its parts' values.

    Args:
        phi: interval values, (m, m); phi[i, j] belongs to the positions i..j inclusive, and the lower triangle is not read.
        tolerance: largest difference of tied sums, relative to the largest |phi|; at most `listed` tied partitions are listed.

    Raises:
        ConfigError: phi is no square matrix, sign is neither 1 nor -1, or tolerance is negative.

    >>> best_partition(np.array([[0, 0, 2.0], [0, 0, 0], [0, 0, 0]])).finest
    ((0, 3),)
    >>> len(best_partition(np.zeros((3, 3))).all)
    4
    """
    _check_square(phi)
    if sign not in (1, -1) or not tolerance >= 0 or listed < 1:
        raise ConfigError(f"sign is 1 or -1, tolerance >= 0, listed >= 1; given {sign}, {tolerance}, {listed}")
    m, gain = len(phi), sign * phi
    scale = np.abs(phi[np.triu_indices(m)]).max()
    rounding = 4 * m * np.finfo(float).eps * scale  # of sums of m values
    best = np.full((m + 1, m + 1), -np.inf)  # best[p, i]: p parts from position i on
    best[0, m] = 0.0
    for p in range(1, m + 1):
        for i in range(m - 1, -1, -1):
            best[p, i] = (gain[i, i:] + best[p - 1, i + 1 :]).max()
    top = best[:, 0].max()
    slack = tolerance * scale + rounding  # the largest distance of a tied sum from the optimum
    parts = int(np.flatnonzero(best[:, 0] >= top - slack).max())
    finest = next(_reaching(gain, best[parts - 1 :: -1], top - slack - rounding))
    others = (other for other in _reaching(gain, np.tile(best.max(0), (m, 1)), top - slack - rounding) if other != finest)
    return Best(float(sign * top), finest, (finest, *itertools.islice(others, listed - 1)))


def _check_square(phi: Values) -> None:
    if phi.ndim != 2 or phi.shape[0] != phi.shape[1] or len(phi) == 0:
        raise ConfigError(f"interval values are a square matrix, at least 1 by 1; given shape {phi.shape}")


def _reaching(gain: Values, rest: Values, floor: float) -> Iterator[Partition]:
    """Partitions whose gain reaches `floor`, shortest first parts first; rest[d, j]: the most that can follow part d from j on."""
    m = len(gain)
    stack: list[tuple[Partition, int, float]] = [((), 0, 0.0)]
    while stack:
        parts, i, so_far = stack.pop()
        if i == m:
            yield parts
        elif len(parts) < len(rest):
            for j in range(m, i, -1):
                total = so_far + gain[i, j - 1]
                if total + rest[len(parts), j] >= floor:
                    stack.append(((*parts, (i, j)), j, total))


def links(partition: Partition) -> np.ndarray:
    """Which neighbours a partition keeps together, bool (m - 1,).

    >>> links(((2, 4), (4, 5))).tolist()
    [True, False]
    """
    start, stop = partition[0][0], partition[-1][1]
    kept = np.ones(stop - start - 1, bool)
    kept[[i - start - 1 for i, _ in partition[1:]]] = False
    return kept


def partition_of(kept: np.ndarray, start: int = 0) -> Partition:
    """The partition that keeps these links: the inverse of `links`.

    >>> partition_of(np.array([True, False]), start=2)
    ((2, 4), (4, 5))
    """
    cuts = [start, *(start + 1 + np.flatnonzero(~np.asarray(kept, bool))).tolist(), start + len(kept) + 1]
    return tuple(zip(cuts[:-1], cuts[1:], strict=True))


def coefficients(partition: Partition, m: int) -> np.ndarray:
    """1 for each interval that is a part, in the order of np.triu_indices(m): (m (m + 1) / 2,)."""
    chosen = np.zeros((m, m))
    for i, j in partition:
        chosen[i, j - 1] = 1.0
    return chosen[np.triu_indices(m)]


def square(values: Values, m: int) -> Values:
    """(M,) in the order of np.triu_indices(m) as an upper triangular matrix (m, m)."""
    matrix = np.zeros((m, m))
    matrix[np.triu_indices(m)] = values
    return matrix


@dataclass(frozen=True)
class Node:
    """Players start..stop-1; a leaf has no parts. `between` is the gain of joining the two parts, in the unit of phi."""

    start: int
    stop: int
    between: float = 0.0
    parts: tuple[Node, Node] | tuple[()] = ()

    def spans(self) -> list[tuple[int, int]]:
        """All nodes of more than one player as (start, stop), the root first."""
        inner = [(self.start, self.stop)] if self.parts else []
        return inner + [span for part in self.parts for span in part.spans()]


def interaction_tree(phi: Values, start: int = 0, tolerance: float = TOLERANCE) -> Node:
    """The binary tree over the players of a segment, from interval values phi (m, m); ConfigError if phi is not square. A gain of
    at most `tolerance` times the largest |phi| is rounding, and its density 0.

    The two neighbouring parts l and r with the largest density |between| / (|phi([l])| + |phi([r])| + |between|) are joined
    first, of equal ones the leftmost; their gain is between(l, r) = phi([l u r]) - phi([l]) - phi([r]), and the gains sum to B
    of the segment. Reference: interaction trees, Zhang et al. 2021 (AAAI 35); the form of the density is ours.

    >>> interaction_tree(np.array([[0, 0, 1], [0, 0, 1], [0, 0, 0.0]])).spans()
    [(0, 3), (1, 3)]
    """
    _check_square(phi)
    rounding = tolerance * np.abs(phi[np.triu_indices(len(phi))]).max()

    def value(node: Node) -> float:
        return float(phi[node.start - start, node.stop - 1 - start])

    def join(left: Node, right: Node) -> tuple[float, Node]:
        whole = Node(left.start, right.stop)
        gain = value(whole) - value(left) - value(right)
        density = abs(gain) / (abs(value(left)) + abs(value(right)) + abs(gain)) if abs(gain) > rounding else 0.0
        return density, Node(left.start, right.stop, gain, (left, right))

    forest = [Node(start + i, start + i + 1) for i in range(len(phi))]
    while len(forest) > 1:
        joined = [join(left, right) for left, right in zip(forest[:-1], forest[1:], strict=True)]
        at = int(np.argmax([density for density, _ in joined]))
        forest[at : at + 2] = [joined[at][1]]
    return forest[0]
