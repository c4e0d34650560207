"""Approximate inverse Hessians of logistic regressions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from probing.probes.solver.passes import DENSE, ROWS, Passes

TOP = 32
"""Sentences in a column's block where columns are many."""


@dataclass(frozen=True)
class Preconditioner:
    """An approximate inverse Hessian of L problems, one block for each logistic column.

    Attributes:
        diagonal: (L, K or 1, d + 1).
        low, inner: V (L, K, r, d + 1) and A (L, K, r, r) of diagonal - V'AV, or None.
        dense: whole blocks, (L, K, d + 1, d + 1), which take the diagonal's place, or None.
    """

    diagonal: torch.Tensor
    low: torch.Tensor | None = None
    inner: torch.Tensor | None = None
    dense: torch.Tensor | None = None

    def __call__(self, slope: torch.Tensor) -> torch.Tensor:
        if self.dense is not None:
            return (self.dense @ slope[..., None])[..., 0]
        scaled = self.diagonal * slope
        if self.low is not None:
            low, inner = self.low.flatten(0, 1), self.inner.flatten(0, 1)
            scaled -= (slope.flatten(0, 1)[:, None] @ low.mT @ inner @ low).view_as(slope)  # of rows: faster than of columns
        return scaled

    def take(self, which) -> Preconditioner:
        return Preconditioner(
            *(None if part is None else part[which] for part in (self.diagonal, self.low, self.inner, self.dense))
        )


def _ridge(spectrum: torch.Tensor, lam: float) -> torch.Tensor:
    """The penalty's second derivative, (d + 1,): none for the intercept."""
    ridge = torch.full_like(spectrum, lam)
    ridge[-1] = 0
    return ridge


def scaling(passes: Passes, lam: float) -> Preconditioner:
    """1 / (h s_j + lambda), h the mean of p (1 - p): exact if that were the same in every sentence and class."""
    total = sum(part.sum((1, 2), dtype=torch.float64) for part in passes.uncertainty())
    mean = (total / passes.n / passes.point.weights.shape[1]).float().clamp_min(1e-8)[:, None, None]
    return Preconditioner(1 / (mean * passes.matrix.spectrum + _ridge(passes.matrix.spectrum, lam)))


def passes_before_blocks(passes: Passes, rough: bool) -> tuple[int, ...]:
    """After how many passes blocks are worth their price: half a pass of 1,000 classes, many passes if they are dense."""
    label_sets, columns, p = passes.point.weights.shape
    if columns <= DENSE:
        few = p // 8 if label_sets * columns <= DENSE else max(12, 48_000 // passes.n)
        return few, 4 * few
    if label_sets > 1 or (passes.point.loss > 0.95 * math.log(columns)).any():  # unsure of everything: `scaling` is the inverse
        return 12, 48
    return (0, 16, 64) if rough else (0, 6, 18)


def blocks(passes: Passes, lam: float) -> Preconditioner:
    """Inverse of each column's own block of the Hessian, sum_i p_ik (1 - p_ik) x_i x_i' / n + lambda.

    With few columns the whole block, over the sentences that matter to it; with many the `TOP` sentences that matter most, by
    Woodbury's identity, over a diagonal that stands for the others.
    """
    label_sets, columns, p = passes.point.weights.shape
    matrix, spectrum, n = passes.matrix, passes.matrix.spectrum, passes.n
    ridge = _ridge(spectrum, lam)
    if label_sets * columns <= DENSE:
        dense = torch.zeros(label_sets * columns, p, p)
        for part, weights in zip(matrix.rows.split(ROWS, 1), passes.uncertainty(), strict=True):
            for block, weight in zip(dense, weights.flatten(0, 1), strict=True):
                near = weight > 0.01 * weight.mean()
                chosen = part[:, near]
                block.addmm_(chosen * weight[near], chosen.T)
        dense = matrix.basis.T @ dense @ matrix.basis / n
        rounding = 1e-6 * dense.diagonal(dim1=1, dim2=2).amax(1, keepdim=True)
        dense = torch.cholesky_inverse(torch.linalg.cholesky(dense + torch.diag_embed(ridge + rounding)))
        return Preconditioner(torch.ones(label_sets, 1, p), dense=dense.view(label_sets, columns, p, p))
    total = torch.zeros(label_sets, columns)
    top, where = torch.zeros(label_sets, columns, 0), torch.zeros(label_sets, columns, 0, dtype=torch.int64)
    for at, weights in enumerate(passes.uncertainty()):
        total += weights.sum(2)
        best, place = weights.topk(min(TOP, weights.shape[2]), 2)
        top, order = torch.cat([top, best], 2).topk(min(TOP, top.shape[2] + best.shape[2]), 2)
        where = torch.cat([where, place + at * ROWS], 2).gather(2, order)
    rest = (torch.maximum(total - top.sum(2), 0.01 * total) / n).clamp_min(1e-8)[..., None]  # (L, K, 1); not 0: rounding
    diagonal = 1 / (rest * spectrum + ridge)
    low = matrix.turn(matrix.rows.index_select(1, where.flatten()).T).reshape(*where.shape, p)
    low *= (top / n).sqrt()[..., None]
    scaled = low * diagonal[:, :, None]  # low, scaled: (L, K, r, p)
    inner = torch.linalg.cholesky(scaled @ low.mT + torch.eye(low.shape[2]))
    return Preconditioner(diagonal, scaled, torch.cholesky_inverse(inner))
