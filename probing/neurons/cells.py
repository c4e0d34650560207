"""A search of cells that follow a signal of the text, with a value on text that did not choose, and a null.

The cell with the largest |correlation| with a signal on the first half is chosen; its correlation on the second half, with the
sign of the first, is reported. Null: the same search with the signal shifted around in both halves by at least `LEAST` places, so
that its autocorrelation stays: the best of hundreds of cells always correlates with something. p = (1 + shifts with a value at
least as large) / (1 + shifts).

Reference: Karpathy et al. 2016 (arXiv 1506.02078), who found such cells by eye.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from probing.errors import DataError
from probing.log import human_count
from probing.neurons.ranking import Scale
from probing.types import Values

LEAST = 1000
"""Places of the smallest shift, or a quarter of half a text where that is less."""

BLOCK = 32
"""Cells that are transformed at once, to bound memory."""


class Match(NamedTuple):
    """The cell chosen for a signal: correlations on the first half and (with the sign of the first) the second; 95 % of the null's
    values lie below `null`; `shifts`: how many there were."""

    signal: str
    cell: int
    first: float
    value: float
    null: float
    p: float
    shifts: int


def search(cells: np.ndarray, signals: Mapping[str, Values], shifts: int = 999, seed: int = 0) -> list[Match]:
    """The best cell for each signal that varies in both halves of the text.

    Args:
        cells: (n, c), in the order of the text; dead ones are never chosen.
        signals: (n,) each.

    Raises:
        DataError: fewer than 16 places, or no cell that varies.
    """
    m = len(cells) // 2
    if m < 8:
        raise DataError(f"{human_count(len(cells), 'place')} of text: too few for a search of cells (16 at least)")
    while m > 1000 and next_fast_len(m, real=True) != m:
        m -= 1
    halves = [np.asarray(cells[:m], float), np.asarray(cells[m : 2 * m], float)]
    scales = [Scale.of(half) for half in halves]
    live = scales[0].live & scales[1].live
    if not live.any():
        raise DataError(f"none of the {cells.shape[1]} cells varies over both halves of the text")
    least = min(LEAST, m // 4)
    allowed = np.arange(least, m - least + 1)
    rng = np.random.default_rng([seed, 25])
    drawn = np.sort(rng.choice(allowed, size=min(shifts, len(allowed)), replace=False))
    places = np.concatenate([[0], drawn])
    kept = {}
    for name, values in signals.items():
        parts = [values[:m], values[m : 2 * m]]
        if all(part.std() > 0 for part in parts):
            kept[name] = [rfft((part - part.mean()) / part.std()).conj() for part in parts]
    if not kept:
        return []
    correlations = {name: np.zeros((2, len(places), cells.shape[1]), np.float32) for name in kept}
    for start in range(0, cells.shape[1], BLOCK):
        block = slice(start, start + BLOCK)
        for half, (x, scale) in enumerate(zip(halves, scales, strict=True)):
            z = (x[:, block] - scale.mean[block]) / np.where(live[block], scale.sd[block], np.inf)
            transformed = rfft(z, axis=0)
            for name, parts in kept.items():
                correlations[name][half][:, block] = irfft(transformed * parts[half][:, None], m, axis=0)[places] / m
    return [_match(name, *both) for name, both in correlations.items()]


def _match(name: str, first: np.ndarray, second: np.ndarray) -> Match:
    """From the correlations at each shift, (1 + shifts, c), the first of them at no shift."""
    best = np.abs(first).argmax(1)  # (1 + shifts,)
    rows = np.arange(len(best))
    values = np.sign(first[rows, best]) * second[rows, best]
    own, null = float(values[0]), values[1:]
    p = (1 + int((null >= own).sum())) / (1 + len(null))
    bound = float(np.quantile(null, 0.95)) if len(null) else np.nan
    return Match(name, int(best[0]), float(first[0, best[0]]), own, bound, p, len(null))
