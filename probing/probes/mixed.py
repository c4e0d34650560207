"""Passes over the data in bfloat16 that cost half and end where float32 ends: only what changed since the last pass is multiplied.

A pass of a logistic regression is two products, logits = W X and gradient = (P - Y) X'. Both are linear, so that the last pass's
logits and gradient, kept in float32, need only be corrected by the products of the changes of W and of P, and it is these that are
rounded to bfloat16 (8 bits of precision). The rounding's error shrinks with the changes, as in iterative refinement (Higham 2002,
chapter 12); what rounding left out of a change is part of the next one; and `exact` is an ordinary pass in float32, from which a
solver goes on, and with which it ends.

Worth it where the products are most of the work (many classes) and the processor multiplies bfloat16 (AVX512-BF16, AMX: twice the
rate of float32 on Zen 4). Memory: logits and residuals in float32, and the features twice in bfloat16.
"""

from __future__ import annotations

from functools import cache

import torch
from torch.nn.functional import linear

from probing.probes.lbfgs import DENSE, Matrix, Point, loss_of

LIMIT = 2**30
"""Bytes that logits and residuals may take."""
ROWS = 2048


@cache
def multiplies_bfloat16() -> bool:
    """Whether this machine's processor does, twice as fast as float32."""
    said = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(said.get("avx512_bf16") or said.get("amx_bf16"))


class MixedPasses:
    """Passes over one label set of many classes; `exact` in float32, a call in bfloat16 from wherever the last one was.

    Attributes:
        weights: (K, d + 1), what the logits stand for. logits, residuals: (K, rows) each block. gradient: (K, d + 1), a sum.
    """

    @staticmethod
    def pay(n: int, columns: int) -> bool:
        return columns > DENSE and 8 * n * columns <= LIMIT and multiplies_bfloat16()

    def __init__(self, matrix: Matrix, targets: torch.Tensor) -> None:
        self._matrix, self._targets = matrix, targets[None].split(ROWS, 1)
        turned = [part.bfloat16() for part in matrix.rows.split(ROWS, 1)]
        self._blocks = [(part.T.contiguous(), part) for part in turned]

    def exact(self, weights: torch.Tensor) -> Point:
        """A pass at weights (1, K, d + 1) in float32."""
        self._weights = weights[0].clone()
        flat = weights[0] @ self._matrix.basis.T
        gradient = torch.zeros_like(flat)
        self._logits, self._residuals, losses = [], [], []
        for part, targets in zip(self._matrix.rows.split(ROWS, 1), self._targets, strict=True):
            self._logits.append(flat @ part)
            *sums, residual = loss_of(self._logits[-1][None].clone(), targets)
            gradient.addmm_(residual[0], part.T)
            self._residuals.append(residual[0])
            losses.append(sums)
        self._gradient = gradient @ self._matrix.basis
        return self._point(weights, losses)

    def __call__(self, weights: torch.Tensor) -> Point:
        """A pass at weights (1, K, d + 1) in bfloat16."""
        change = (weights[0] - self._weights).bfloat16()
        self._weights += change
        losses = []
        for (across, rows), logits, residuals, targets in zip(self._blocks, self._logits, self._residuals, self._targets, strict=True):
            logits += linear(change, across)
            *sums, residual = loss_of(logits[None].clone(), targets)
            moved = residual[0].sub_(residuals).bfloat16()
            residuals += moved
            self._gradient += linear(moved, rows)
            losses.append(sums)
        return self._point(weights, losses)

    def _point(self, weights, losses) -> Point:
        loss, curvature = map(sum, zip(*losses, strict=True))
        n = self._matrix.rows.shape[1]
        return Point(weights, loss / n, self._gradient[None] / n, (curvature / n / weights.shape[1]).float())
