"""Do neurons of one model have counterparts in others (Bau et al. 2019; Dalvi et al. 2019)? On the same words, from activations
alone.

    max_corr     the largest |correlation| of a neuron with any neuron of any other model
    min_corr     the smallest, over the other models, of the largest |correlation| in that model
    lin_reg_max, lin_reg_min   the largest and smallest, over the other models, of R^2 of the neuron from all neurons of that model

R^2 is of least squares with an intercept; `held_out` scores it on words that did not fit (may be negative), which matters where a
model has many neurons for few words. Dead neurons have correlations and R^2 of 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from probing.errors import DataError
from probing.neurons.ranking import Scale
from probing.types import Values


class Counterparts(NamedTuple):
    """Of each neuron of one model, (d,) each; `best`: number of the model (of those given, without its own) and the neuron with the
    largest |correlation|, (d, 2), and `sign` of it, (d,)."""

    max_corr: Values
    min_corr: Values
    lin_reg_max: Values
    lin_reg_min: Values
    best: np.ndarray
    sign: Values


def correlations(a: np.ndarray, b: np.ndarray) -> Values:
    """Pearson's correlation of each neuron of a (n, d) with each of b (n, e): (d, e); 0 where one of them is dead."""
    return Scale.of(a)(a).T @ Scale.of(b)(b) / len(a)


def r_squared(target: np.ndarray, source: np.ndarray, held_out: np.ndarray | None = None) -> Values:
    """R^2 of each neuron of target (n, d) from all of source (n, e), 0 for dead ones; `held_out`: rows that score and do not
    fit."""
    test = np.ones(len(target), bool) if held_out is None else np.isin(np.arange(len(target)), held_out)
    fit = test if held_out is None else ~test
    scale, of_source = Scale.of(target[fit]), Scale.of(source[fit])
    z, x = scale(target), of_source(source)
    weights = np.linalg.lstsq(x[fit], z[fit], rcond=None)[0]
    rest = ((z[test] - x[test] @ weights) ** 2).sum(0)
    total = ((z[test] - z[test].mean(0)) ** 2).sum(0)
    return np.where(scale.live & (total > 0), 1 - rest / np.where(total > 0, total, 1.0), 0.0)


def counterparts(models: Sequence[np.ndarray], own: int, held_out: np.ndarray | None = None) -> Counterparts:
    """Of the neurons of `models[own]`; activations of the same words, (n, d_m) each.

    Raises:
        DataError: fewer than two models, or other numbers of words.
    """
    if len(models) < 2:
        raise DataError("counterparts of neurons need activations of two models or more")
    if len({len(x) for x in models}) > 1:
        raise DataError(f"models have activations of {', '.join(str(len(x)) for x in models)} words: give the same words")
    others = [x for k, x in enumerate(models) if k != own]
    tables = [correlations(models[own], x) for x in others]
    tops = np.stack([np.abs(table).max(1) for table in tables])  # (models - 1, d)
    fits = np.stack([r_squared(models[own], x, held_out) for x in others])
    which = tops.argmax(0)
    neuron = np.array([int(np.abs(tables[m][k]).argmax()) for k, m in enumerate(which)])
    sign = np.sign([tables[m][k, j] for k, (m, j) in enumerate(zip(which, neuron, strict=True))])
    return Counterparts(tops.max(0), tops.min(0), fits.max(0), fits.min(0), np.stack([which, neuron], 1), sign)
