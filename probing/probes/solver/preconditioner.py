"""Approximate inverse Hessians of logistic regressions.

In the eigenbasis of the features' covariance (eigenvalues s_j) the diagonal 1 / (h s_j + lambda), h the mean of p (1 - p), is
close to the inverse Hessian while all sentences are about equally uncertain. Problems that need many iterations, as under weak
penalties, get blocks of their true Hessian, class by class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from probing.probes.solver.loss import BLOCK_ROWS, FEW_COLUMNS, LogisticLoss

TOP_ROWS = 32
"""Sentences in a column's block where columns are many, at most."""
TOP_CLASS_SIZES = 2
"""As many of them as so many classes of the mean size have: the largest weights are those of the column's own sentences."""


@dataclass(frozen=True)
class Preconditioner:
    """An approximate inverse Hessian of L problems, one block for each logistic column: a diagonal (L, K or 1, d + 1); or
    diagonal - V'AV, V (L, K, r, d + 1) the factor and A (L, K, r, r) inner; or dense blocks (L, K, d + 1, d + 1)."""

    diagonal: torch.Tensor
    factor: torch.Tensor | None = None
    inner: torch.Tensor | None = None
    dense: torch.Tensor | None = None

    def __call__(self, gradient: torch.Tensor) -> torch.Tensor:
        if self.dense is not None:
            return (self.dense @ gradient[..., None])[..., 0]
        product = self.diagonal * gradient
        if self.factor is not None and self.inner is not None:
            factor, inner = self.factor.flatten(0, 1), self.inner.flatten(0, 1)
            product -= (gradient.flatten(0, 1)[:, None] @ factor.mT @ inner @ factor).view_as(gradient)  # rows: faster than columns
        return product

    def take(self, which: torch.Tensor) -> Preconditioner:
        parts = (self.factor, self.inner, self.dense)
        return Preconditioner(self.diagonal[which], *(None if part is None else part[which] for part in parts))


def _ridge(spectrum: torch.Tensor, lam: float) -> torch.Tensor:
    """The penalty's second derivative, (d + 1,): none for the intercept."""
    ridge = torch.full_like(spectrum, lam)
    ridge[-1] = 0
    return ridge


def diagonal_preconditioner(loss: LogisticLoss, lam: float) -> Preconditioner:
    """Return 1 / (h s_j + lambda), h the mean of p (1 - p): exact if p (1 - p) were the same in every sentence and class."""
    parts = (part.sum((1, 2), dtype=torch.float64) for part in loss.hessian_weights())
    total = sum(parts, torch.zeros((), dtype=torch.float64))
    mean = (total / loss.n / loss.iterate.weights.shape[1]).float().clamp_min(1e-8)[:, None, None]
    return Preconditioner(1 / (mean * loss.matrix.spectrum + _ridge(loss.matrix.spectrum, lam)))


def block_iterations(loss: LogisticLoss, loose: bool) -> tuple[int, ...]:
    """Return the iterations before which `block_preconditioner` pays: it costs half an iteration of 1,000 classes, or many."""
    label_sets, columns, p = loss.iterate.weights.shape
    if columns <= FEW_COLUMNS:
        few = p // 8 if label_sets * columns <= FEW_COLUMNS else max(12, 48_000 // loss.n)
        return few, 4 * few
    if label_sets > 1 or (loss.iterate.loss > 0.95 * math.log(columns)).any():  # all uncertain: the diagonal is nearly exact
        return 12, 48
    return (0, 16, 64) if loose else (0, 6, 18)


def block_preconditioner(loss: LogisticLoss, lam: float) -> Preconditioner:
    """Return the inverse of each column's own block of the Hessian, sum_i p_ik (1 - p_ik) x_i x_i' / n + lambda: with few columns
    over the sentences with more than a hundredth of the mean weight; with many over the sentences of the largest weights
    (`TOP_ROWS`, `TOP_CLASS_SIZES`), by Woodbury's identity, and a diagonal that stands for the others."""
    label_sets, columns, p = loss.iterate.weights.shape
    matrix, spectrum, n = loss.matrix, loss.matrix.spectrum, loss.n
    ridge = _ridge(spectrum, lam)
    if label_sets * columns <= FEW_COLUMNS:
        dense = torch.zeros(label_sets * columns, p, p)
        for part, weights in zip(matrix.features.split(BLOCK_ROWS, 1), loss.hessian_weights(), strict=True):
            for block, weight in zip(dense, weights.flatten(0, 1), strict=True):
                large = weight > 0.01 * weight.mean()
                chosen = part[:, large]
                block.addmm_(chosen * weight[large], chosen.T)
        dense = matrix.basis.T @ dense @ matrix.basis / n
        rounding = 1e-6 * dense.diagonal(dim1=1, dim2=2).amax(1, keepdim=True)
        dense = torch.cholesky_inverse(torch.linalg.cholesky(dense + torch.diag_embed(ridge + rounding)))
        return Preconditioner(torch.ones(label_sets, 1, p), dense=dense.view(label_sets, columns, p, p))
    size = min(TOP_ROWS, math.ceil(TOP_CLASS_SIZES * n / columns))
    total = torch.zeros(label_sets, columns)
    top, top_rows = torch.zeros(label_sets, columns, 0), torch.zeros(label_sets, columns, 0, dtype=torch.int64)
    for at, weights in enumerate(loss.hessian_weights()):
        total += weights.sum(2)
        largest, rows = weights.topk(min(size, weights.shape[2]), 2)
        top, order = torch.cat([top, largest], 2).topk(min(size, top.shape[2] + largest.shape[2]), 2)
        top_rows = torch.cat([top_rows, rows + at * BLOCK_ROWS], 2).gather(2, order)
    rest = (torch.maximum(total - top.sum(2), 0.01 * total) / n).clamp_min(1e-8)[..., None]  # (L, K, 1); not 0: rounding
    diagonal = 1 / (rest * spectrum + ridge)
    root = matrix.to_eigenbasis(matrix.features.index_select(1, top_rows.flatten()).T).reshape(*top_rows.shape, p)
    root *= (top / n).sqrt()[..., None]
    factor = root * diagonal[:, :, None]  # root, factor: (L, K, r, p)
    inner = torch.linalg.cholesky(factor @ root.mT + torch.eye(root.shape[2]))
    return Preconditioner(diagonal, factor, torch.cholesky_inverse(inner))
