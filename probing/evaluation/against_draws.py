"""A score against draws of a null on the same items: a layer's own basis against rotated ones, labels against control labels.

Under the null the score is one more draw. With R draws of variance s^2 between them, and se the standard error over items (or
groups) of the difference of a single item,

    t = (score - mean of draws) / sqrt(s^2 (1 + 1 / R) + se^2)

against Student's t with R - 1 degrees of freedom. se counts what another set of test items would change; it is in part in s^2
already, so that the test errs on the side of the null (`scripts/calibration/neurons.py`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

from probing.evaluation.statistics import standard_error
from probing.types import Estimate, Labels


class Against(NamedTuple):
    """The difference (score less mean of the draws) with its 95 % interval; `p`: one-sided, of no higher score."""

    difference: Estimate
    p: float


def against_draws(own: ArrayLike, draws: ArrayLike, groups: Labels | None = None) -> Against:
    """Compare values by item, (n,), such as whether each is right, with those of R >= 2 draws, (R, n).

    Args:
        groups: numbers 0..m-1 of the items' groups, (n,); None: each item is its own.

    Raises:
        ValueError: fewer than two draws.

    >>> against_draws([1, 1, 1, 1], [[1, 1, 1, 1], [1, 1, 1, 1]])
    Against(difference=Estimate(value=0.0, lower=0.0, upper=0.0), p=1.0)
    """
    x, z = np.asarray(own, float), np.atleast_2d(np.asarray(draws, float))
    if len(z) < 2:
        raise ValueError(f"{len(z)} draw(s) have no variance between them: at least 2")
    d = x - z.mean(0)
    value, R = float(d.mean()), len(z)
    between = float(z.mean(1).var(ddof=1)) * (1 + 1 / R)
    items = standard_error(d, groups) ** 2
    if not np.isfinite(items):  # a single item or group
        return Against(Estimate(value, -np.inf, np.inf), 1.0)
    if between + items == 0:
        return Against(Estimate(value, value, value), 1.0 if value <= 0 else 0.0)
    error = float(np.sqrt(between + items))
    half = float(t.ppf(0.975, R - 1)) * error
    return Against(Estimate(value, value - half, value + half), float(t.sf(value / error, R - 1)))
