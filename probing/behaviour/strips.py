"""Where a pair is decided: the tokens of two texts side by side, with the difference of their log-probabilities.

Tokens are aligned as difflib aligns sequences: a token that both have is one part, tokens that were exchanged, added or left out
next to each other are one part together. A part's difference is the sum of log p of the first text's tokens less that of the
second's, so that the differences of a pair add up to the difference of its scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

import numpy as np


class Part(NamedTuple):
    """Pieces of both texts that stand for each other, none where a text has nothing there, and the sums of their log p in nats."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    first_log_p: float
    second_log_p: float

    @property
    def difference(self) -> float:
        return self.first_log_p - self.second_log_p


def strip(first: Sequence[str], first_log_p: np.ndarray, second: Sequence[str], second_log_p: np.ndarray) -> list[Part]:
    """The parts of two texts from their pieces and the log p of these, (tokens,) each.

    >>> made = strip(["a", "b"], np.array([-1.0, -2.0]), ["a", "c", "d"], np.array([-1.0, -3.0, -1.0]))
    >>> [(part.first, part.second, part.difference) for part in made]
    [(('a',), ('a',), 0.0), (('b',), ('c', 'd'), 2.0)]
    """
    parts = []
    for tag, a, b, c, d in SequenceMatcher(None, list(first), list(second), autojunk=False).get_opcodes():
        steps = [(k, k + 1, c + k - a, c + k - a + 1) for k in range(a, b)] if tag == "equal" else [(a, b, c, d)]
        for i, j, k, m in steps:
            sums = first_log_p[i:j].sum(dtype=float), second_log_p[k:m].sum(dtype=float)
            parts.append(Part(tuple(first[i:j]), tuple(second[k:m]), float(sums[0]), float(sums[1])))
    return parts
