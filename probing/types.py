"""Array aliases with their shapes, and small frozen results that many modules share. Imports no other module of this package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]
"""One layer and pooling of n sentences: shape (n, d)."""

Labels = NDArray[np.int64]
"""Class indices 0..k-1 into a task's `classes`: shape (n,)."""

Targets = NDArray[Any]
"""Labels of a task of any kind (`probing.data.labels`): class indices (n,), numbers (n,), or 0 and 1 for each label (n, K)."""

Coalitions = NDArray[np.bool_]
"""m coalitions of n players, True where a player is present: shape (m, n)."""

Values = NDArray[np.float64]
"""Values of a game for m coalitions: shape (m,), or (m, k) for k classes or layers at once."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval, in the unit of the number (accuracy and macro F1: 0-1)."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True, order=True)
class Representation:
    """One representation of a sentence: a layer (0 = embedding output) under a pooling."""

    layer: int
    pooling: str
