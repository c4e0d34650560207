"""Saturation of gates (Karpathy et al. 2016): for each unit the share of places where its gate is nearly closed or nearly open."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from probing.types import Values

LEFT, RIGHT = 0.1, 0.9
"""A gate below the first is saturated on the left, above the second on the right."""

GATES = ("input", "forget", "output")


@dataclass
class Saturation:
    """Counts over places, block by block: `add` values (n, units) between 0 and 1."""

    places: int = 0
    _left: np.ndarray = field(default_factory=lambda: np.zeros(0))
    _right: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def add(self, values: np.ndarray) -> None:
        if not self.places:
            self._left, self._right = np.zeros((2, values.shape[1]))
        self.places += len(values)
        self._left += (values < LEFT).sum(0)
        self._right += (values > RIGHT).sum(0)

    @property
    def left(self) -> Values:
        return self._left / max(1, self.places)

    @property
    def right(self) -> Values:
        return self._right / max(1, self.places)


def gate_of(layer_name: str) -> str:
    """The gate that a layer is, "" for other states: the last word of its name.

    >>> gate_of("lstm 1 forget"), gate_of("LSTM 2")
    ('forget', '')
    """
    return last if (last := layer_name.rpartition(" ")[2]) in GATES else ""
