"""The binary interaction tree over the players of a segment, from its interval values.

Two neighbouring parts l and r of a segment gain, when they become one,

    between(l, r) = phi([l u r]) - phi([l]) - phi([r])

each phi with the rest of the segment absent. In any tree the gains sum to B of the whole segment; a tree says where they arise.
It grows bottom up: the pair with the largest density |between| / (|phi([l])| + |phi([r])| + |between|) is joined first.

Reference: interaction trees, Zhang et al. 2021 (AAAI 35), for gains and order; the form of the density is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probing.errors import ConfigError
from probing.types import Values


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


def interaction_tree(phi: Values, start: int = 0) -> Node:
    """The tree of a segment.

    Args:
        phi: interval values, (m, m), as in `SegmentInteraction.phi`.
        start: number of the first player. Of equal densities the leftmost goes first.

    Raises:
        ConfigError: phi is not a square matrix.

    >>> interaction_tree(np.array([[0, 0, 1], [0, 0, 1], [0, 0, 0.0]])).spans()
    [(0, 3), (1, 3)]
    """
    if phi.ndim != 2 or phi.shape[0] != phi.shape[1] or len(phi) == 0:
        raise ConfigError(f"interval values are a square matrix, at least 1 by 1; given shape {phi.shape}")

    def value(node: Node) -> float:
        return float(phi[node.start - start, node.stop - 1 - start])

    def join(left: Node, right: Node) -> tuple[float, Node]:
        whole = Node(left.start, right.stop)
        gain = value(whole) - value(left) - value(right)
        density = abs(gain) / (abs(value(left)) + abs(value(right)) + abs(gain)) if gain else 0.0
        return density, Node(left.start, right.stop, gain, (left, right))

    forest = [Node(start + i, start + i + 1) for i in range(len(phi))]
    while len(forest) > 1:
        joined = [join(left, right) for left, right in zip(forest[:-1], forest[1:], strict=True)]
        at = int(np.argmax([density for density, _ in joined]))
        forest[at : at + 2] = [joined[at][1]]
    return forest[0]
