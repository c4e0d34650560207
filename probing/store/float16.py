"""float16 with an offset and a scale for each feature, and the error that it brings.

    x ≈ offset + scale · code,   offset = the feature's mean, scale = its standard deviation, code in float16

A feature whose mean is large beside its spread loses that spread in plain float16 (11 bits, taken by the mean); centred and scaled
it keeps about 2e-4 of a standard deviation. A constant feature has scale 0 and comes back exactly.

The error is the root mean square (and the largest) of x - decoded over rows, divided by the feature's standard deviation over the
same rows. With blocks of rows encoded apart, the error of all rows together stays below the worst block's: the mean variance
within blocks is at most the variance of all rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LIMIT = 0.01
"""Largest error, in standard deviations of a feature, that float16 may bring."""


@dataclass(frozen=True)
class Encoded:
    """Codes (n, d) float16, offset and scale (d,) float32; `rms` and `largest`: error of the worst feature, in its deviations."""

    code: np.ndarray
    offset: np.ndarray
    scale: np.ndarray
    rms: float
    largest: float


def encode(x: np.ndarray) -> Encoded:
    """Encodes features of shape (n, d), float32, finite; a block of features at a time, so that memory stays small."""
    n, d = x.shape
    code, offset, scale = np.empty((n, d), np.float16), np.empty(d, np.float32), np.empty(d, np.float32)
    rms = largest = 0.0
    step = max(1, 500_000 // n)
    for block in (slice(start, start + step) for start in range(0, d, step)):
        exact = x[:, block].astype(np.float64)
        offset[block] = exact.mean(0)
        centred = exact - offset[block]  # all zero for a constant: its mean is itself
        with np.errstate(over="ignore", invalid="ignore"):  # what does not fit shows as an infinite error
            scale[block] = np.sqrt((centred**2).mean(0))
            code[:, block] = np.divide(centred, scale[block], out=np.zeros_like(centred), where=scale[block] > 0)
            wrong = np.abs(decode(code[:, block], offset[block], scale[block]) - exact)
            worst = np.stack([np.sqrt((wrong**2).mean(0)), wrong.max(0)])  # (2, features)
        worst = np.nan_to_num(worst, nan=np.inf)
        spread = np.broadcast_to(exact.std(0), worst.shape)
        relative = np.divide(worst, spread, out=np.where(worst > 0, np.inf, 0.0), where=(spread > 0) & (worst > 0))
        rms, largest = max(rms, relative[0].max()), max(largest, relative[1].max())
    return Encoded(code, offset, scale, float(rms), float(largest))


def decode(code: np.ndarray, offset: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Features (n, d), float32."""
    return code.astype(np.float32) * scale + offset
