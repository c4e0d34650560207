"""float16 with an offset and a scale for each feature, and its error.

    x ≈ offset + scale · code,   offset = the feature's mean, scale = its standard deviation, code in float16

A feature whose mean is large beside its spread loses that spread in plain float16 (11 bits); centred and scaled its error is about
2e-4 of a standard deviation. A constant feature has scale 0 and is decoded exactly.

The error is the root mean square (and the largest) of x - decoded over rows, divided by the feature's standard deviation over the
same rows. If blocks of rows are encoded separately, the error over all rows stays below the worst block's: the mean variance within
blocks is at most the variance of all rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LIMIT = 0.01
"""The largest root mean square error of float16, in standard deviations of a feature."""


@dataclass(frozen=True)
class Encoded:
    """Codes (n, d) float16, offset and scale (d,) float32; `rms` and `largest`: error of the worst feature, in its deviations."""

    code: np.ndarray
    offset: np.ndarray
    scale: np.ndarray
    rms: float
    largest: float


def encode(x: np.ndarray) -> Encoded:
    """Encode features of shape (n, d), float32, finite; a block of features at a time, so that memory stays small."""
    n, d = x.shape
    code, offset, scale = np.empty((n, d), np.float16), np.empty(d, np.float32), np.empty(d, np.float32)
    rms = largest = 0.0
    step = max(1, 500_000 // n)
    for block in (slice(start, start + step) for start in range(0, d, step)):
        exact = x[:, block].astype(np.float64)
        offset[block] = exact.mean(0)
        centred = exact - offset[block]  # all zero for a constant: its mean is itself
        with np.errstate(over="ignore", invalid="ignore"):  # values that do not fit have an infinite error
            scale[block] = np.sqrt((centred**2).mean(0))
            code[:, block] = np.divide(centred, scale[block], out=np.zeros_like(centred), where=scale[block] > 0)
            difference = np.abs(decode(code[:, block], offset[block], scale[block]) - exact)
            errors = np.stack([np.sqrt((difference**2).mean(0)), difference.max(0)])  # (2, features)
        errors = np.nan_to_num(errors, nan=np.inf)
        spread = np.broadcast_to(exact.std(0), errors.shape)
        relative = np.divide(errors, spread, out=np.where(errors > 0, np.inf, 0.0), where=(spread > 0) & (errors > 0))
        rms, largest = max(rms, relative[0].max()), max(largest, relative[1].max())
    return Encoded(code, offset, scale, float(rms), float(largest))


def decode(code: np.ndarray, offset: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the features (n, d), float32."""
    return code.astype(np.float32) * scale + offset
