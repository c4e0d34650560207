"""Preconditioned L-BFGS (Liu & Nocedal 1989) for the logistic regressions of several label sets on one matrix of features.

For each label set minimise, over weights W (K, d + 1) of features whose last one is the constant 1 (the intercept),

    (1 / n) sum_i loss(y_i, W x_i) + lambda ||W without intercepts||^2 / 2

with the logistic loss where K = 1, and softmax cross-entropy else. A label set may leave sentences out (label `LEFT_OUT`), as many
as the others: the folds of a cross-validation go side by side. Features come in the eigenbasis of their covariance (eigenvalues
s_j), so that 1 / (h s_j + lambda), h the mean of p (1 - p), is close to the inverse Hessian while all sentences are about equally
uncertain. Under weak penalties few sentences are, and which ones they are differs between classes: a problem that is slow to
arrive gets blocks of its true Hessian, class by class (`_blocks`).

What was tried and measured (MiniLM on xprobe-en, one thread; cost is counted in passes over the data):

- Sentences along the last axis: products of 7,000 x 384 with few columns are 1.5 (1 column), 6 (6 columns) and 17 (2 columns)
  times as fast as with sentences first, and sums over classes more. Most of the gain on few classes.
- Blocks of the Hessian: SentLen on layer 0 at C = 10, 163 passes for 318; WordContent on layer 6 at C = 0.1, 22 for 37. One
  curvature for each class, without its directions, gained nothing, nor did a longer memory (30, 80 steps for 10).
- Rescaling the preconditioner to the last step: WordContent at C = 0.01, 15 passes for 49.
- Turning the weights at each pass in place of all sentences once: 49 ms of preparation for 81 (7,000 sentences). Not with many
  classes, whose blocks would be turned too.
- Newton's method by conjugate gradients, on the uncertain sentences alone: as many products as L-BFGS makes passes, and only
  linear convergence where it leaves sentences out (SentLen, layer 0, C = 10: not there after 2,000). Dropped.
- Going on from the last C's optimum in the direction in which it lay from the one before: all six C of WordContent on layer 6, 54
  passes for 100 (4 for 35 at C = 10); of SentLen on layer 3, 194 for 373. Scaling the weights up is as good at C = 1 alone.
- Newton's method on a model of the Hessian with its blocks between classes, over the sentences that matter most: as many passes
  (WordContent), since those sentences hold half of the curvature. Dropped.
- Many classes (WordContent, layers 0 and 3): rough solutions by passes in bfloat16 (probing.probes.mixed). Blocks made before the
  first pass of a polish, 18 passes for 22 and 20 for 23; early in other rough solves they are soon out of date. Woodbury's inner
  matrix kept apart and vectors multiplied as rows, blocks in 0.37 s for 0.5, a product with them in 17 ms for 33.
- What gained no time there: 64 or 128 rows each, another first scale of the blocks, in place of the covariance that of sentences
  weighted by their uncertainty, a rough solution three times as exact. Polishing is slow to begin since a rough solution is still
  some nats, over all sentences, from the optimum: a whole step of Newton's raises the objective. At C = 10 both took 13 to 31
  passes together, by small changes of the start, and a rough solution can be 1.5 % above the optimum, a point of dev accuracy off.
- Side by side, the permuted labels of a task cost under a tenth of the true ones.

Left out: sample weights, other penalties. Layers do not share a matrix, so they are fitted one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from probing import onednn

LEFT_OUT = -1
TOLERANCE = 5e-7
"""Stop when half of slope x step, about the distance to the optimum, is below this x ln K nats, and 1e-5 of a small objective."""
ROUGH = 100
"""A rough solution stops at so many times the tolerance, or at a thousandth of the objective where that is less."""
MAX_ITERATIONS = 500
MEMORY = 10
ROWS = 4096
DENSE = 64
"""Up to so many logistic columns have a dense block each; more have `TOP` rows each."""
TOP = 32


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

    def probabilities(self, weights: torch.Tensor) -> Iterator[torch.Tensor]:
        """As `logits`; for one column those of the second class."""
        for logits in self.logits(weights):
            yield torch.sigmoid(logits) if weights.shape[1] == 1 else torch.softmax(logits, 1)


class Point(NamedTuple):
    """L weight matrices and what a pass over the data says of them; the penalty is left out, so that any C can start here.

    Attributes:
        weights: (L, K, d + 1). loss: mean, in nats, float64, (L,). gradient: of the loss, like the weights.
        curvature: mean over sentences and logits of p (1 - p), (L,).
    """

    weights: torch.Tensor
    loss: torch.Tensor
    gradient: torch.Tensor
    curvature: torch.Tensor

    def objective(self, lam: float) -> torch.Tensor:
        return self.loss + lam / 2 * self.weights[..., :-1].double().square().sum((1, 2))

    def slope(self, lam: float) -> torch.Tensor:
        """Gradient of the objective."""
        whole = self.gradient.clone()
        whole[..., :-1] += lam * self.weights[..., :-1]
        return whole

    def take(self, which) -> Point:
        return Point(*(part[which] for part in self))

    def where(self, mask: torch.Tensor, other: Point) -> Point:
        """This point where the mask holds, the other elsewhere."""
        return Point(*(torch.where(mask.view(-1, *[1] * (a.dim() - 1)), a, b) for a, b in zip(self, other, strict=True)))


def labelled(targets: torch.Tensor) -> int:
    """Sentences that each label set (L, n) has a label for; as many in all."""
    counts = set((targets != LEFT_OUT).sum(1).tolist())
    if len(counts) != 1:
        raise ValueError(f"label sets side by side leave out different numbers of sentences: {sorted(counts)} labels")
    return counts.pop()


def evaluate(matrix: Matrix, targets: torch.Tensor, weights: torch.Tensor) -> Point:
    """One pass over the data, in blocks of sentences that stay in the processor's cache; sums are float64.

    Sentences run along the last axis of everything: skinny products and sums over classes are then up to ten times as fast.
    """
    label_sets, columns, _ = weights.shape
    n = labelled(targets)
    loss, curvature = torch.zeros(label_sets, dtype=torch.float64), torch.zeros(label_sets, dtype=torch.float64)
    gradient = torch.zeros_like(weights).flatten(0, 1)
    parts = zip(matrix.logits(weights), matrix.rows.split(ROWS, 1), targets.split(ROWS, 1), strict=True)
    for at, (logits, block, labels) in enumerate(parts):
        if columns == 1:
            logits = logits[:, 0]
            losses = torch.nn.functional.softplus(logits) - labels * logits
            residual = torch.sigmoid(logits)
            curvature += (residual - residual.square()).sum(1, dtype=torch.float64)
            residual -= labels
            residual = residual[:, None]
        else:
            place = labels[:, None].clamp_min(0)
            chosen = logits.gather(1, place)
            top = logits.amax(1, keepdim=True)
            total = logits.sub_(top).exp_().sum(1, keepdim=True)
            losses = (total.log() + top - chosen)[:, 0]
            residual = logits.div_(total)
            curvature += labels.shape[1] - torch.linalg.vector_norm(residual, dim=(1, 2)).double().square()
            residual.scatter_add_(1, place, -torch.ones_like(chosen))
        if n < targets.shape[1]:
            kept = labels != LEFT_OUT
            losses, residual = losses * kept, residual * kept[:, None]
        loss += losses.sum(1, dtype=torch.float64)
        residual = residual.view(len(gradient), -1)
        if matrix.blocks:
            gradient += onednn.product(residual, matrix.blocks[at][1])
        else:
            gradient.addmm_(residual, block.T)
    gradient = matrix.turn(gradient) / n
    return Point(weights, loss / n, gradient.view_as(weights), (curvature / targets.shape[1] / columns).float())


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


def _scaling(spectrum: torch.Tensor, point: Point, lam: float) -> Preconditioner:
    """1 / (h s_j + lambda): exact if p (1 - p) were the same in every sentence and class."""
    curvature = point.curvature.clamp_min(1e-8)[:, None, None]
    return Preconditioner(1 / (curvature * spectrum + _ridge(spectrum, lam)))


def _passes_before_blocks(label_sets: int, columns: int, p: int, n: int, rough: bool, first: bool) -> tuple[int, ...]:
    """Passes that cost about as much as dense blocks do; the others are cheap where sentences are many, but soon out of date far
    from an optimum."""
    if label_sets == 1 and columns > DENSE:
        return (0, 12, 48) if first else (16, 64) if rough else (12, 48)
    few = p // 8 if label_sets * columns <= DENSE else max(12, 48_000 // n)
    return few, 4 * few


def _blocks(matrix: Matrix, weights: torch.Tensor, lam: float) -> Preconditioner:
    """Inverse of each column's own block of the Hessian, sum_i p_ik (1 - p_ik) x_i x_i' / n + lambda.

    With few columns the whole block, over the sentences that matter to it; with many the `TOP` sentences that matter most, by
    Woodbury's identity, over a diagonal that stands for the others.
    """
    label_sets, columns, p = weights.shape
    rows, spectrum = matrix.rows, matrix.spectrum
    n, ridge = rows.shape[1], _ridge(spectrum, lam)
    if label_sets * columns <= DENSE:
        dense = torch.zeros(label_sets * columns, p, p)
        for part, probabilities in zip(rows.split(ROWS, 1), matrix.probabilities(weights), strict=True):
            probabilities = probabilities.flatten(0, 1)
            for block, weight in zip(dense, probabilities * (1 - probabilities), strict=True):
                near = weight > 0.01 * weight.mean()
                chosen = part[:, near]
                block.addmm_(chosen * weight[near], chosen.T)
        dense = matrix.basis.T @ dense @ matrix.basis / n
        rounding = 1e-6 * dense.diagonal(dim1=1, dim2=2).amax(1, keepdim=True)
        dense = torch.cholesky_inverse(torch.linalg.cholesky(dense + torch.diag_embed(ridge + rounding)))
        return Preconditioner(torch.ones(label_sets, 1, p), dense=dense.view(label_sets, columns, p, p))
    total = torch.zeros(label_sets, columns)
    top, where = torch.zeros(label_sets, columns, 0), torch.zeros(label_sets, columns, 0, dtype=torch.int64)
    for start, probabilities in zip(range(0, n, ROWS), matrix.probabilities(weights), strict=True):
        weight = probabilities * (1 - probabilities)
        total += weight.sum(2)
        best, place = weight.topk(min(TOP, weight.shape[2]), 2)
        top, order = torch.cat([top, best], 2).topk(min(TOP, top.shape[2] + best.shape[2]), 2)
        where = torch.cat([where, place + start], 2).gather(2, order)
    rest = (torch.maximum(total - top.sum(2), 0.01 * total) / n).clamp_min(1e-8)[..., None]  # (L, K, 1); not 0: rounding
    diagonal = 1 / (rest * spectrum + ridge)
    low = matrix.turn(rows.index_select(1, where.flatten()).T).reshape(*where.shape, p) * (top / n).sqrt()[..., None]
    scaled = low * diagonal[:, :, None]  # low, scaled: (L, K, r, p)
    inner = torch.linalg.cholesky(scaled @ low.mT + torch.eye(low.shape[2]))
    return Preconditioner(diagonal, scaled, torch.cholesky_inverse(inner))


class Step(NamedTuple):
    """What a pass changed: weights, slope, preconditioned slope; <move, change>, or infinity where L-BFGS shall not use it."""

    move: torch.Tensor
    change: torch.Tensor
    downhill: torch.Tensor
    product: torch.Tensor

    def take(self, which) -> Step:
        return Step(*(part[which] for part in self))


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Inner products of L pairs, (L, 1, 1)."""
    return (a * b).sum((1, 2), keepdim=True)


def minimise(
    matrix: Matrix,
    targets: torch.Tensor,
    start: Point,
    lam: float,
    first: torch.Tensor | None = None,
    rough: bool = False,
    blocks_first: bool = False,
    passes_over: Callable[[torch.Tensor], Point] | None = None,
) -> tuple[Point, torch.Tensor, torch.Tensor]:
    """Preconditioned L-BFGS with Armijo backtracking, on L label sets side by side: the optima, passes over the data, converged.

    Each label set keeps its own step size; those that have arrived leave the batch.

    Args:
        first: shaped like the weights; the first step goes this way, where it is downhill.
        rough: stop at the `ROUGH` tolerance.
        blocks_first: with many columns, make blocks before the first pass: the start is near, or the objective small.
        passes_over: makes the passes, of a single label set, in place of `evaluate`, and less exactly.
    """
    tolerance = TOLERANCE * math.log(max(2, start.weights.shape[1]))
    ended = Point(*(part.clone() for part in start))
    passes = torch.zeros(len(targets), dtype=torch.int64)
    converged = torch.zeros(len(targets), dtype=torch.bool)
    alive, here = torch.arange(len(targets)), start
    precondition = _scaling(matrix.spectrum, here, lam)
    slope, value = here.slope(lam), here.objective(lam)
    downhill = precondition(slope)
    size, gamma = torch.ones(len(targets), 1, 1), torch.ones(len(targets), 1, 1)
    steps: list[Step] = []
    slow = _passes_before_blocks(*start.weights.shape, targets.shape[1], rough, blocks_first)
    for count in range(MAX_ITERATIONS + 1):
        if count in slow:
            precondition = _blocks(matrix, here.weights, lam)
            downhill = precondition(slope)
            steps = [step._replace(downhill=precondition(step.change)) for step in steps]
            gamma = torch.ones_like(gamma)
        direction = first if count == 0 and first is not None else -_two_loops(slope, downhill, steps, gamma)
        descent = _dot(slope, direction)
        direction = torch.where(descent < 0, direction, -downhill)  # rounding has spoilt the memory
        descent = torch.where(descent < 0, descent, -_dot(slope, downhill))
        gap = -descent.flatten() / 2
        stuck = size.flatten() < 1e-6  # no decrease can be found at this precision
        near = (value * 1e-5).clamp(tolerance / 50, tolerance)  # nearly separable: 1 % too high an objective cost 0.8 points
        near = torch.maximum(near, (value * 1e-3).clamp(max=ROUGH * tolerance)) if rough else near
        end = (gap <= near) | stuck | (count == MAX_ITERATIONS)
        if end.any():
            for whole, part in zip(ended, here, strict=True):
                whole[alive[end]] = part[end]
            passes[alive[end]] = count
            converged[alive[end]] = gap[end] <= torch.where(stuck, 30 * near, near)[end]
            if end.all():
                break
            on = ~end
            alive, here, targets, precondition = alive[on], here.take(on), targets[on], precondition.take(on)
            slope, value, downhill, size, gamma = slope[on], value[on], downhill[on], size[on], gamma[on]
            steps, direction, descent = [step.take(on) for step in steps], direction[on], descent[on]
        ahead = here.weights + size * direction
        there = passes_over(ahead) if passes_over else evaluate(matrix, targets, ahead)
        new_value, new_slope = there.objective(lam), there.slope(lam)
        lower = new_value <= value + (1e-4 * size * descent).flatten() + 1e-7 * value.abs()  # the last: rounding of float32
        if passes_over:  # its values are too coarse: the slope must not have risen by more than it fell (Hager & Zhang 2005)
            lower |= (_dot(new_slope, direction) <= -0.8 * descent).flatten() & (new_value <= 1.001 * value)
        new_downhill = precondition(new_slope)
        accept = lower[:, None, None]
        move, change = size * direction, torch.where(accept, new_slope - slope, 0)
        product = _dot(move, change)
        use = accept & (product > 0)
        step = Step(move, change, torch.where(accept, new_downhill - downhill, 0), torch.where(use, product, torch.inf))
        gamma = torch.where(use, product / _dot(change, step.downhill).clamp_min(1e-30), gamma)
        steps = [*steps[-(MEMORY - 1) :], step]
        here, value = there.where(lower, here), torch.where(lower, new_value, value)
        slope, downhill = torch.where(accept, new_slope, slope), torch.where(accept, new_downhill, downhill)
        size = torch.where(accept, 1.0, size / 2)
    return ended, passes, converged


def _two_loops(slope: torch.Tensor, downhill: torch.Tensor, steps: Sequence[Step], gamma: torch.Tensor) -> torch.Tensor:
    """L-BFGS's inverse Hessian times the slope; gamma times the preconditioner is its start (Nocedal & Wright, 7.4).

    The preconditioner is linear, so that its product with the first loop's vector is a sum of products that are known.
    """
    q, scaled = slope.clone(), downhill.clone()
    alphas = []
    for step in reversed(steps):
        alpha = _dot(step.move, q) / step.product
        q -= alpha * step.change
        scaled -= alpha * step.downhill
        alphas.append(alpha)
    scaled *= gamma
    for step, alpha in zip(steps, reversed(alphas), strict=True):
        scaled += step.move * (alpha - _dot(step.change, scaled) / step.product)
    return scaled
