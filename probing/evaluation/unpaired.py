"""The difference of two scores on different test items, with its interval and test.

Each score has an interval over its own items; that of the difference a - b ends sqrt((a - a_low)^2 + (b_high - b)^2) below it and
sqrt((a_high - a)^2 + (b - b_low)^2) above it. For two accuracies of single items these are Wilson's intervals, and the
method is number 10 of Newcombe (1998); in general Zou & Donner (2008). The p-value is the level at which the interval ends at 0.
The items of the two scores are taken to be independent; those that share sources make the interval too wide.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import t

from probing.evaluation.statistics import degrees, mean_accuracy, n_units, standard_error
from probing.types import Estimate, Labels

_LEAST, _MOST = 1e-12, 1 - 1e-6
"""The levels between which the p-value is searched; one outside is the nearer of them, or 1."""


def unpaired(
    a: ArrayLike,
    b: ArrayLike,
    groups_a: Labels | None = None,
    groups_b: Labels | None = None,
    halves: Sequence[float] = (),
    tested: bool = True,
) -> tuple[Estimate, float]:
    """Return a - b, means over seeds and items, with its 95 % interval; and the two-sided p-value of no difference.

    Args:
        a, b: values by item whose mean is the score, truth values of accuracy or other numbers: (n_seeds, n), or (n,) for one seed;
            the two may have other numbers of items.
        groups_a, groups_b: numbers 0..m-1 of the items' groups, (n,), or None.
        halves: differences of the same two scores, both of a fit on the same random half of the train split, half by half.
        tested: False: no p-value (NaN), which takes most of the time.

    >>> unpaired([True] * 56 + [False] * 14, [True] * 48 + [False] * 32)[0]  # Newcombe (1998), table II, example (a)
    Estimate(value=0.2..., lower=0.0524..., upper=0.3338...)
    """
    x, y = (np.atleast_2d(np.asarray(values, float)) for values in (a, b))
    value = float(x.mean() - y.mean())
    fits = float(np.var(halves, ddof=1)) if len(halves) > 1 else 0.0

    def interval(alpha: float) -> Estimate:
        one, other = _around(x, groups_a, alpha), _around(y, groups_b, alpha)
        more = fits * t.isf(alpha / 2, len(halves) - 1) ** 2 if fits else 0.0
        below, above = (one.value - one.lower, other.upper - other.value), (one.upper - one.value, other.value - other.lower)
        low, high = (float(np.sqrt(np.square(ends).sum() + more)) for ends in (below, above))
        return Estimate(value, value - low, value + high)

    def nearest(alpha: float) -> float:
        """The distance from 0 to the end of the interval on its side; negative where the interval holds 0."""
        ends = interval(alpha)
        return ends.lower if value > 0 else -ends.upper

    if not tested:
        return interval(0.05), np.nan
    if not value or nearest(_MOST) <= 0:
        return interval(0.05), 1.0
    if nearest(_LEAST) > 0:
        return interval(0.05), _LEAST
    return interval(0.05), float(np.exp(brentq(lambda p: nearest(np.exp(p)), np.log(_LEAST), np.log(_MOST))))


def _around(values: np.ndarray, groups: Labels | None, alpha: float) -> Estimate:
    """The mean of values (n_seeds, n) with an interval: `mean_accuracy`, or that of t for values other than 0 and 1."""
    if np.isin(values, (0, 1)).all():
        return mean_accuracy(values, groups, alpha=alpha)
    mean = values.mean(0)
    if n_units(values.shape[1], groups) < 2:
        return Estimate(float(mean.mean()), -np.inf, np.inf)
    half = float(t.isf(alpha / 2, degrees(mean, groups)) * standard_error(mean, groups))
    return Estimate(float(mean.mean()), float(mean.mean()) - half, float(mean.mean()) + half)
