"""Losses and gradients of logistic regressions of several label sets on one matrix of features.

A step of the solver (probing.probes.solver.lbfgs) takes two products with the features: one gives the logits along a
direction, the other the gradient where the step ends. Sentences run along the last axis of everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import NamedTuple

import torch
from torch.nn.functional import linear, softplus

from probing.probes.solver import onednn
from probing.provenance import multiplies_bfloat16

NO_LABEL = -1
"""Marks a sentence that a label set does not use."""
BLOCK_ROWS = 4096
FEW_COLUMNS = 64
"""Up to so many logistic columns the features are not rotated, and columns have dense blocks of the Hessian."""

MIXED_PRECISION_BYTES = 2**31
"""Memory that `MixedPrecisionLoss` may take, without the features."""
MIXED_PRECISION_ROWS = 512
"""Sentences in a bfloat16 product: sums over more lose precision, over fewer they are slower."""


class Matrix(NamedTuple):
    """Features of n sentences, and the eigenbasis of their covariance, in which weights, gradients and steps are written.

    Attributes:
        features: with a last row of ones for the intercept, sentences along the last axis, (d + 1, n).
        basis, spectrum: orthogonal, (d + 1, d + 1), it leaves the intercept alone; and eigenvalues, one of the intercept, (d +
            1,).
        rotated: whether the features are in the eigenbasis; with few columns the weights are rotated at each product instead.
        blocks: for products with many columns, each block of sentences laid out twice, for logits and for gradients; or none.
    """

    features: torch.Tensor
    basis: torch.Tensor
    spectrum: torch.Tensor
    rotated: bool = False
    blocks: tuple[tuple[torch.Tensor, torch.Tensor], ...] = ()

    def for_columns(self, columns: int) -> Matrix:
        """Return this matrix, laid out for products with weights of so many logistic columns."""
        if columns <= FEW_COLUMNS or self.rotated:
            return self
        rotated = self._replace(features=self.basis.T @ self.features, rotated=True)
        if not onednn.pays():
            return rotated
        parts = [part.contiguous() for part in rotated.features.split(BLOCK_ROWS, 1)]
        return rotated._replace(
            blocks=tuple((onednn.lay_out(p.T.contiguous(), columns), onednn.lay_out(p, columns)) for p in parts)
        )

    def to_eigenbasis(self, a: torch.Tensor) -> torch.Tensor:
        """Vectors (..., d + 1) in the coordinates of `features`, rotated to the eigenbasis."""
        return a if self.rotated else a @ self.basis

    def logits(self, weights: torch.Tensor) -> Iterator[torch.Tensor]:
        """Logits for weights (L, K, d + 1), one block of sentences after the other, (L, K, block)."""
        flat = weights.flatten(0, 1)
        flat = flat if self.rotated else flat @ self.basis.T
        for at, block in enumerate(self.features.split(BLOCK_ROWS, 1)):
            logits = onednn.product(flat, self.blocks[at][0]) if self.blocks else flat @ block
            yield logits.view(*weights.shape[:2], -1)

    def weighted_sums(self, residuals: Sequence[torch.Tensor]) -> torch.Tensor:
        """Sums of sentences weighted by residuals, (L, K, block) of one block after the other: (L, K, d + 1), in the eigenbasis."""
        total = torch.zeros(())
        for at, (residual, block) in enumerate(zip(residuals, self.features.split(BLOCK_ROWS, 1), strict=True)):
            flat = residual.flatten(0, 1)
            total = total + (onednn.product(flat, self.blocks[at][1]) if self.blocks else flat @ block.T)
        return self.to_eigenbasis(total).view(*residuals[0].shape[:2], -1)


class Iterate(NamedTuple):
    """L weight matrices (L, K, d + 1) with mean losses in nats, float64, (L,), and gradients; neither contains the penalty."""

    weights: torch.Tensor
    loss: torch.Tensor
    gradient: torch.Tensor

    def objective(self, lam: float) -> torch.Tensor:
        return self.loss + lam / 2 * self.weights[..., :-1].double().square().sum((1, 2))

    def objective_gradient(self, lam: float) -> torch.Tensor:
        gradient = self.gradient.clone()
        gradient[..., :-1] += lam * self.weights[..., :-1]
        return gradient

    def take(self, which: torch.Tensor) -> Iterate:
        return Iterate(*(part[which] for part in self))


def count_labelled(targets: torch.Tensor) -> int:
    """Return how many sentences each label set (L, n) has a label for; ValueError if the label sets differ in it."""
    counts = set((targets != NO_LABEL).sum(1).tolist())
    if len(counts) != 1:
        raise ValueError(f"label sets side by side leave out different numbers of sentences: {sorted(counts)} labels")
    return counts.pop()


class LogisticLoss:
    """The losses of L label sets at their weights and along a direction: `set_direction`, `evaluate` step sizes, `accept` one.
    `n`: sentences that each label set has a label for; `BLOCK`: sentences in a block, `BLOCK_ROWS` or a part of it;
    `FULL_PRECISION`: whether all products are float32; `MIN_OBJECTIVE`: smaller objectives, in nats, need another class."""

    BLOCK, FULL_PRECISION, MIN_OBJECTIVE = BLOCK_ROWS, True, 0.0

    def __init__(self, matrix: Matrix, targets: torch.Tensor, weights: torch.Tensor) -> None:
        """Targets (L, n), weights (L, K, d + 1)."""
        self.matrix, self.targets, self.n = matrix, targets, count_labelled(targets)
        self._targets = targets.split(self.BLOCK, 1)
        self._logits = [part for logits in matrix.logits(weights) for part in logits.split(self.BLOCK, 2)]
        if weights.shape[1] > 1:
            self._logits = [torch.log_softmax(logits, 1) for logits in self._logits]
        self._direction_logits: list[torch.Tensor] = [torch.zeros(()) for _ in self._logits]
        self._residuals = [torch.empty_like(logits) for logits in self._logits]
        loss, _ = self.evaluate(torch.zeros(len(weights)))
        self.iterate = Iterate(weights, loss, self._summed_gradient() / self.n)

    def take(self, which: torch.Tensor) -> LogisticLoss:
        """Return the losses of these label sets alone, at the step sizes of the last evaluation."""
        subset = copy(self)
        subset.targets, subset.iterate = self.targets[which], self.iterate.take(which)
        subset._targets = subset.targets.split(self.BLOCK, 1)
        subset._logits = [logits[which] for logits in self._logits]
        subset._residuals = [residual[which] for residual in self._residuals]
        return subset

    def set_direction(self, direction: torch.Tensor) -> torch.Tensor:
        """Set the direction (L, K, d + 1) of the next evaluations; return it as rounded by this class."""
        self._direction_logits = list(self.matrix.logits(direction))
        return direction

    def evaluate(self, sizes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return loss and derivative at step sizes (L,) along the direction: both (L,), float64."""
        loss, derivative = torch.zeros(2, len(sizes), dtype=torch.float64)
        self._sizes, self._log_totals = sizes[:, None, None], []
        blocks = zip(self._logits, self._direction_logits, self._residuals, self._targets, strict=True)
        for logits, direction_logits, out, labels in blocks:  # `out` is written over: fresh memory costs more than exponentials
            torch.addcmul(logits, direction_logits, self._sizes, out=out)
            if out.shape[1] == 1:
                losses = softplus(out[:, 0]) - labels * out[:, 0]
                out.sigmoid_()[:, 0] -= labels
            else:  # of log probabilities: no sum of exponentials is far from 1, unless a step is very long
                index = labels[:, None].clamp_min(0)
                losses = -out.gather(1, index)[:, 0]
                total = out.exp_().sum(1, keepdim=True)
                top: float | torch.Tensor = 0.0
                if not (total.amin() > 1e-30 and total.amax() < 1e30):  # a long step
                    torch.addcmul(logits, direction_logits, self._sizes, out=out)
                    top = out.amax(1, keepdim=True)
                    total = out.sub_(top).exp_().sum(1, keepdim=True)
                out /= total
                out.scatter_add_(1, index, -torch.ones_like(total))
                self._log_totals.append(total.log_().add_(top))
                losses += total[:, 0]
            if self.n < self.targets.shape[1]:
                kept = labels != NO_LABEL
                losses *= kept
                out *= kept[:, None]
            loss += losses.sum(1, dtype=torch.float64)
            if direction_logits.dim():
                derivative += torch.linalg.vecdot(out.flatten(1), direction_logits.flatten(1))
        return loss / self.n, derivative / self.n

    def accept(self, weights: torch.Tensor, loss: torch.Tensor) -> None:
        """Move to the point of the last evaluation, whose weights and loss are given."""
        for logits, direction_logits in zip(self._logits, self._direction_logits, strict=True):
            logits.addcmul_(direction_logits, self._sizes)
        for logits, log_total in zip(self._logits, self._log_totals, strict=False):  # none with one column
            logits -= log_total
        self.iterate = Iterate(weights, loss, self._summed_gradient() / self.n)

    def hessian_weights(self) -> Iterator[torch.Tensor]:
        """p (1 - p) of each logit, block by block, (L, K, `BLOCK_ROWS`); 0 for sentences without a label."""
        step = BLOCK_ROWS // self.BLOCK
        for start in range(0, len(self._residuals), step):
            block = torch.cat(self._residuals[start : start + step], 2) if step > 1 else self._residuals[start]
            yield block.abs().addcmul_(block, block, value=-1)  # p - y is p, or p - 1

    def _summed_gradient(self) -> torch.Tensor:
        return self.matrix.weighted_sums(self._residuals)


class MixedPrecisionLoss(LogisticLoss):
    """The loss of one label set with bfloat16 products (8 bits of precision), for loose solutions of many classes. Logits and
    gradient are kept in float32, and corrected by products of changes: of a direction that is itself rounded, and of the
    change of the residuals, as in iterative refinement (Higham 2002, Accuracy and Stability of Numerical Algorithms, chapter
    12). The remainder of a rounded change enters the next change; without it the solver gets stuck.
    """

    BLOCK, FULL_PRECISION, MIN_OBJECTIVE = MIXED_PRECISION_ROWS, False, 0.1

    @staticmethod
    def pays(n: int, columns: int) -> bool:
        """Whether bfloat16 is faster: many columns that fit into memory, and a processor that multiplies it (AVX512-BF16, AMX)."""
        return columns > FEW_COLUMNS and 16 * n * columns <= MIXED_PRECISION_BYTES and multiplies_bfloat16()

    def __init__(self, matrix: Matrix, targets: torch.Tensor, weights: torch.Tensor) -> None:
        self._gradient_sum: torch.Tensor | None = None
        super().__init__(matrix, targets, weights)
        self._features = [part.bfloat16() for part in matrix.features.split(MIXED_PRECISION_ROWS, 1)]
        self._transposed = [part.T.contiguous() for part in self._features]
        self._direction_logits = [torch.empty_like(logits) for logits in self._logits]

    def set_direction(self, direction: torch.Tensor) -> torch.Tensor:
        direction = direction.bfloat16()
        for logits, transposed in zip(self._direction_logits, self._transposed, strict=True):
            logits[0].copy_(linear(direction[0], transposed))
        return direction.float()

    def _summed_gradient(self) -> torch.Tensor:
        if self._gradient_sum is None:
            self._summed_residuals = [residual[0].clone() for residual in self._residuals]
            parts = zip(self._summed_residuals, self.matrix.features.split(MIXED_PRECISION_ROWS, 1), strict=True)
            self._gradient_sum = sum((residual @ features.T for residual, features in parts), torch.zeros(()))[None]
            return self._gradient_sum
        buffer = torch.empty_like(self._summed_residuals[0])
        for residual, summed, features in zip(self._residuals, self._summed_residuals, self._features, strict=True):
            buffer = buffer if buffer.shape == summed.shape else torch.empty_like(summed)
            change = torch.sub(residual[0], summed, out=buffer).bfloat16()
            summed += change
            self._gradient_sum[0] += linear(change, features)
        return self._gradient_sum
