"""Passes over the data of logistic regressions: losses and gradients of several label sets on one matrix of features.

A step of the solver (probing.probes.solver.lbfgs) takes one pass, two products: one says where the logits go along a direction, the
other gives the gradient where the step ends. Logits are linear in the weights, so that in between any size of the step can be
looked at for an exponential a logit: for 1,000 classes, 13,855 sentences and one thread 40 ms, where each product takes 110.

Sentences run along the last axis of everything: products of 7,000 x 384 with few columns are then 1.5 (1 column), 6 (6 columns) and
17 (2 columns) times as fast as with sentences first, and sums over classes more. Turning the weights at each pass in place of all
sentences once takes 49 ms of preparation for 81 (7,000 sentences); not with many classes, whose blocks would be turned too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import NamedTuple

import torch
from torch.nn.functional import linear, softplus

from probing.encoders.hf import onednn
from probing.provenance import multiplies_bfloat16

LEFT_OUT = -1
ROWS = 4096
DENSE = 64
"""Up to so many logistic columns are few: features need not be turned, and columns have dense blocks of the Hessian."""

LIMIT = 2**31
"""Bytes that bfloat16's passes may take, features left aside."""
PART = 512
"""Sentences in a product of bfloat16: sums over more lose more; over fewer they are slower."""


class Matrix(NamedTuple):
    """Features of n sentences, and the basis in which their covariance is diagonal; weights, slopes and steps are written in it.

    With few columns the features themselves stay as they are: turning the weights at each pass costs less than turning every
    sentence once.

    Attributes:
        rows: features and a one for the intercept, sentences along the last axis, (d + 1, n).
        basis: orthogonal, (d + 1, d + 1); it leaves the intercept alone. None: the features themselves have been turned.
        spectrum: eigenvalues of the covariance and a one for the intercept, (d + 1,).
        blocks: for products with many columns, each block of sentences laid out twice, for logits and for gradients; or none.
    """

    rows: torch.Tensor
    basis: torch.Tensor | None
    spectrum: torch.Tensor
    blocks: tuple[tuple[torch.Tensor, torch.Tensor], ...] = ()

    def for_columns(self, columns: int) -> Matrix:
        """This matrix, as it is best multiplied with weights of so many logistic columns."""
        if columns <= DENSE:
            return self
        turned = self._replace(rows=self.basis.T @ self.rows, basis=None)
        if not onednn.pays():
            return turned
        parts = [part.contiguous() for part in turned.rows.split(ROWS, 1)]
        return turned._replace(blocks=tuple((onednn.lay_out(p.T.contiguous(), columns), onednn.lay_out(p, columns)) for p in parts))

    def turn(self, a: torch.Tensor) -> torch.Tensor:
        """Vectors (..., d + 1) that are written for the features as they are here, in the eigenbasis."""
        return a if self.basis is None else a @ self.basis

    def logits(self, weights: torch.Tensor) -> Iterator[torch.Tensor]:
        """Of weights (L, K, d + 1), for one block of sentences after the other, (L, K, block)."""
        flat = weights.flatten(0, 1)
        flat = flat if self.basis is None else flat @ self.basis.T
        for at, block in enumerate(self.rows.split(ROWS, 1)):
            logits = onednn.product(flat, self.blocks[at][0]) if self.blocks else flat @ block
            yield logits.view(*weights.shape[:2], -1)

    def weigh(self, residuals: Sequence[torch.Tensor]) -> torch.Tensor:
        """Sums of sentences weighted by residuals, (L, K, block) of one block after the other: (L, K, d + 1), in the eigenbasis."""
        found = 0.0
        for at, (residual, block) in enumerate(zip(residuals, self.rows.split(ROWS, 1), strict=True)):
            flat = residual.flatten(0, 1)
            found = found + (onednn.product(flat, self.blocks[at][1]) if self.blocks else flat @ block.T)
        return self.turn(found).view(*residuals[0].shape[:2], -1)


class Point(NamedTuple):
    """L weight matrices and what a pass over the data says of them; the penalty is left out, so that any C can start here.

    Attributes:
        weights: (L, K, d + 1). loss: mean, in nats, float64, (L,). gradient: of the loss, like the weights.
    """

    weights: torch.Tensor
    loss: torch.Tensor
    gradient: torch.Tensor

    def objective(self, lam: float) -> torch.Tensor:
        return self.loss + lam / 2 * self.weights[..., :-1].double().square().sum((1, 2))

    def slope(self, lam: float) -> torch.Tensor:
        """Gradient of the objective."""
        whole = self.gradient.clone()
        whole[..., :-1] += lam * self.weights[..., :-1]
        return whole

    def take(self, which) -> Point:
        return Point(*(part[which] for part in self))


def labelled(targets: torch.Tensor) -> int:
    """Sentences that each label set (L, n) has a label for; as many in all."""
    counts = set((targets != LEFT_OUT).sum(1).tolist())
    if len(counts) != 1:
        raise ValueError(f"label sets side by side leave out different numbers of sentences: {sorted(counts)} labels")
    return counts.pop()


class Passes:
    """Where the weights of L label sets are, and how they go on: `along` a direction, `look` at sizes, `stay` at the last.

    Memory: three numbers for each sentence, label set and logistic column; those of a `take` are its own.

    Attributes:
        n: sentences that each label set has a label for. point: where the weights are.
        BLOCK: sentences in a block; `ROWS` or a part of it. EXACT: to float32's precision. LEAST: smaller objectives, in nats, are
            not for these passes.
    """

    BLOCK, EXACT, LEAST = ROWS, True, 0.0

    def __init__(self, matrix: Matrix, targets: torch.Tensor, weights: torch.Tensor) -> None:
        """Targets (L, n), weights (L, K, d + 1)."""
        self.matrix, self.targets, self.n = matrix, targets, labelled(targets)
        self._targets = targets.split(self.BLOCK, 1)
        self._logits = [part for logits in matrix.logits(weights) for part in logits.split(self.BLOCK, 2)]
        if weights.shape[1] > 1:
            self._logits = [torch.log_softmax(logits, 1) for logits in self._logits]
        self._moves: list[torch.Tensor] = [torch.zeros(()) for _ in self._logits]
        self._residuals = [torch.empty_like(logits) for logits in self._logits]
        loss, _ = self.look(torch.zeros(len(weights)))
        self.point = Point(weights, loss, self._gradient() / self.n)

    def take(self, which) -> Passes:
        """These label sets alone, where they were at the last look."""
        fewer = copy(self)
        fewer.targets, fewer.point = self.targets[which], self.point.take(which)
        fewer._targets = fewer.targets.split(self.BLOCK, 1)
        fewer._logits = [logits[which] for logits in self._logits]
        fewer._residuals = [residual[which] for residual in self._residuals]
        return fewer

    def along(self, direction: torch.Tensor) -> torch.Tensor:
        """Looks this way from now on: the direction (L, K, d + 1) as it can be taken."""
        self._moves = list(self.matrix.logits(direction))
        return direction

    def look(self, sizes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and its derivative at so many times the direction (L,): both (L,), float64."""
        loss, slope = torch.zeros(2, len(sizes), dtype=torch.float64)
        self._sizes, self._totals = sizes[:, None, None], []
        parts = zip(self._logits, self._moves, self._residuals, self._targets, strict=True)
        for logits, move, ahead, labels in parts:  # written over: memory from the system costs more than exponentials
            torch.addcmul(logits, move, self._sizes, out=ahead)
            if ahead.shape[1] == 1:
                losses = softplus(ahead[:, 0]) - labels * ahead[:, 0]
                ahead.sigmoid_()[:, 0] -= labels
            else:  # of log probabilities: no sum of exponentials is far from 1, unless a step is very long
                place = labels[:, None].clamp_min(0)
                losses = -ahead.gather(1, place)[:, 0]
                total = ahead.exp_().sum(1, keepdim=True)
                top: float | torch.Tensor = 0.0
                if not (total.amin() > 1e-30 and total.amax() < 1e30):  # a long one
                    torch.addcmul(logits, move, self._sizes, out=ahead)
                    top = ahead.amax(1, keepdim=True)
                    total = ahead.sub_(top).exp_().sum(1, keepdim=True)
                ahead /= total
                ahead.scatter_add_(1, place, -torch.ones_like(total))
                self._totals.append(total.log_().add_(top))
                losses += total[:, 0]
            if self.n < self.targets.shape[1]:
                kept = labels != LEFT_OUT
                losses *= kept
                ahead *= kept[:, None]
            loss += losses.sum(1, dtype=torch.float64)
            if move.dim():
                slope += torch.linalg.vecdot(ahead.flatten(1), move.flatten(1))
        return loss / self.n, slope / self.n

    def stay(self, weights: torch.Tensor, loss: torch.Tensor) -> None:
        """The weights and their loss are those of the last look."""
        for logits, move in zip(self._logits, self._moves, strict=True):
            logits.addcmul_(move, self._sizes)
        for logits, total in zip(self._logits, self._totals, strict=False):  # none with one column
            logits -= total
        self.point = Point(weights, loss, self._gradient() / self.n)

    def uncertainty(self) -> Iterator[torch.Tensor]:
        """p (1 - p) of each logit, (L, K, `ROWS`), one block of sentences after the other; 0 where the sentence is left out."""
        step = ROWS // self.BLOCK
        for start in range(0, len(self._residuals), step):
            block = torch.cat(self._residuals[start : start + step], 2) if step > 1 else self._residuals[start]
            yield block.abs().addcmul_(block, block, value=-1)  # p - y is p, or p - 1

    def _gradient(self) -> torch.Tensor:
        """Of the summed loss, at the last look."""
        return self.matrix.weigh(self._residuals)


class MixedPasses(Passes):
    """Passes of one label set in bfloat16 (8 bits of precision), for rough solutions of many classes.

    Logits and gradient are kept in float32, and corrected by products of what changed: of a direction that is itself rounded, so
    that logits and weights stay together, and of the change of the residuals. The rounding's error shrinks with the changes, as in
    iterative refinement (Higham 2002, Accuracy and Stability of Numerical Algorithms, chapter 12), and what rounding left out of a
    residual's change is part of the next one. What stays is that features are rounded: enough for the `lbfgs.ROUGH` tolerance of
    most objectives above `LEAST`; others get stuck, and are for `Passes`.

    Worth it where the products are most of the work and the processor multiplies bfloat16 (AVX512-BF16, AMX): 0.19 s a pass for
    0.27 (as above, Zen 4). Memory: four numbers for each sentence and logistic column, the features twice in bfloat16.

    What was tried: to round each change of a residual by itself, its remainder lost: stuck at 0.14 nats. To go on to the optimum
    in this way, with logits and gradient renewed in float32 and the loss made to agree with its gradient: it arrives, but in 22-32
    passes for float32's 18-20. Newton's method with conjugate gradients in bfloat16: by the count of its first three steps it would
    take as long as L-BFGS in float32.
    """

    BLOCK, EXACT, LEAST = PART, False, 0.1

    @staticmethod
    def pay(n: int, columns: int) -> bool:
        """Whether they are worth it: many columns, but not more than fit."""
        return columns > DENSE and 16 * n * columns <= LIMIT and multiplies_bfloat16()

    def __init__(self, matrix: Matrix, targets: torch.Tensor, weights: torch.Tensor) -> None:
        self._sum = None
        super().__init__(matrix, targets, weights)
        self._rows = [part.bfloat16() for part in matrix.rows.split(PART, 1)]
        self._across = [part.T.contiguous() for part in self._rows]
        self._moves = [torch.empty_like(logits) for logits in self._logits]

    def along(self, direction: torch.Tensor) -> torch.Tensor:
        direction = direction.bfloat16()
        for move, across in zip(self._moves, self._across, strict=True):
            move[0].copy_(linear(direction[0], across))
        return direction.float()

    def _gradient(self) -> torch.Tensor:
        if self._sum is None:
            self._last = [residual[0].clone() for residual in self._residuals]
            exact = zip(self._last, self.matrix.rows.split(PART, 1), strict=True)
            self._sum = sum(residual @ rows.T for residual, rows in exact)[None]
            return self._sum
        fresh = torch.empty_like(self._last[0])
        for now, last, rows in zip(self._residuals, self._last, self._rows, strict=True):
            fresh = fresh if fresh.shape == last.shape else torch.empty_like(last)
            change = torch.sub(now[0], last, out=fresh).bfloat16()
            last += change
            self._sum[0] += linear(change, rows)
        return self._sum
