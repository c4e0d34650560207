"""Preconditioned L-BFGS (Liu & Nocedal 1989) for the logistic regressions of several label sets on one matrix of features.

For each label set minimise, over weights W (K, d + 1) of features whose last one is the constant 1 (the intercept),

    (1 / n) sum_i loss(y_i, W x_i) + lambda ||W without intercepts||^2 / 2

with the logistic loss where K = 1, and softmax cross-entropy else. A label set may leave sentences out (label `LEFT_OUT`), as many
as the others: the folds of a cross-validation go side by side. Features come in the eigenbasis of their covariance (eigenvalues
s_j), so that 1 / (h s_j + lambda), h the mean of p (1 - p), is close to the inverse Hessian while all sentences are about equally
uncertain. Under weak penalties few sentences are, and which ones they are differs between classes: a problem that is slow to
arrive gets blocks of its true Hessian, class by class (probing.probes.solver.preconditioner).

What was tried and measured (MiniLM on xprobe-en, one thread; cost is counted in passes over the data):

- A true line search for halving (WordContent, all C; layer and pooling): 4 mean 98 passes -> 56, 1 mean 77 -> 48, 3 mean 63 -> 51.
  Under weak penalties sentences that are sure of their class do not hold a step back, and every other one went too far. A flatter
  end (0.2 for 0.5 of the first slope): 1 last 72 -> 59, SentLen on layer 3 99 -> 90; 0.1 gained no more.
- Going on from the last C's optimum in the direction in which it lay from the one before: all six C of WordContent on layer 6, 54
  passes for 100 (4 for 35 at C = 10); of SentLen on layer 3, 194 for 373. Scaling the weights up is as good at C = 1 alone. On
  BigramShift, where an optimum is one to three passes away, 15 for 12: not there.
- Blocks of the Hessian: SentLen on layer 0 at C = 10, 163 passes for 318; with many classes from the start of each solve, 4 mean
  56 -> 43, 1 last 91 -> 71. Twice as many rows each, 1 last 72 -> 54, and each pass dearer by as much. One curvature for each
  class, without its directions, gained nothing; nor did another first scale, or a covariance of sentences weighted by their
  uncertainty.
- A longer memory (20 steps for 10): 1 last 72 -> 63 with an end at 0.5, nothing with 0.2.
- Rescaling the preconditioner to the last step: WordContent at C = 0.01, 15 passes for 49.
- Newton's method by conjugate gradients, on the uncertain sentences alone: as many products as L-BFGS makes passes, and only
  linear convergence where it leaves sentences out (SentLen, layer 0, C = 10: not there after 2,000). Dropped.
- Newton's method on a model of the Hessian with its blocks between classes, over the sentences that matter most: as many passes
  (WordContent), since those sentences hold half of the curvature. Dropped.
- Side by side, the permuted labels of a task cost under a tenth of the true ones.

Left out: sample weights, other penalties. Layers do not share a matrix, so they are fitted one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from probing.probes.solver.passes import Passes, Point
from probing.probes.solver.preconditioner import blocks, passes_before_blocks, scaling

TOLERANCE = 5e-7
"""Stop when half of slope x step, about the distance to the optimum, is below this x ln K nats, and 1e-5 of a small objective."""
ROUGH = 100
"""A rough solution stops at so many times the tolerance, or at a thousandth of the objective where that is less."""
MAX_ITERATIONS = 500
MEMORY = 10
LOOKS = 10
FLAT = 0.2
"""A step may end where the slope along it has at most so much of what it had at its start."""


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


class Search:
    """The line search of one label set: the size of its step (Nocedal & Wright 2006, section 3.5).

    Attributes:
        size: to be looked at next, or the one taken. done: whether it is.
    """

    def __init__(self, value: float, slope: float) -> None:
        self.size, self.done = 1.0, False
        self._start = self._low = (0.0, value, slope)
        self._high: tuple[float, float, float] | None = None
        self._lowest = (value, 0.0)

    def learn(self, value: float, slope: float) -> None:
        """What the objective and its derivative are at `size`."""
        (_, before, downhill), here = self._start, (self.size, value, slope)
        lower = value <= before + 1e-4 * self.size * downhill + 1e-7 * abs(before)  # the last: rounding of float32
        self.done = self.done or (lower and abs(slope) <= -FLAT * downhill)
        if self.done:
            return
        self._lowest = min(self._lowest, (value, self.size)) if lower else self._lowest
        if lower and slope < 0:
            self._low = here
        else:
            self._high = here
        (a, value_a, slope_a) = self._low
        if self._high is None:
            rise = (slope_a - downhill) / a
            self.size = a * min(4.0, max(1.5, -downhill / rise / a if rise > 0 else 4.0))
            return
        b, value_b, slope_b = self._high
        self.size = a + 0.1 * (b - a)
        if math.isfinite(value_b) and math.isfinite(slope_b):
            c = slope_a + slope_b - 3 * (value_a - value_b) / (a - b)
            root = math.sqrt(max(0.0, c * c - slope_a * slope_b))
            cubic = b - (b - a) * (slope_b + root - c) / ((slope_b - slope_a + 2 * root) or 1.0)
            self.size = min(max(cubic, a + 0.1 * (b - a)), b - 0.1 * (b - a))

    def give_up(self) -> None:
        """Takes the size that was lowest, 0 where none was lower than the start."""
        self.size, self.done = self.size if self.done else self._lowest[1], True


def minimise(
    passes: Passes,
    lam: float,
    first: torch.Tensor | None = None,
    rough: bool = False,
) -> tuple[Point, torch.Tensor, torch.Tensor]:
    """Preconditioned L-BFGS on L label sets side by side: the optima, passes over the data, converged.

    Each label set keeps its own step size; those that have arrived leave the batch.

    Args:
        passes: at the start; with a single label set, at the optimum afterwards. Where they are not exact, label sets end,
            not converged, once the objective is too small for them, or falls by a hundredth of what the slope promises.
        first: shaped like the weights; the first step goes this way, where it is downhill.
        rough: stop at the `ROUGH` tolerance.
    """
    here, label_sets = passes.point, len(passes.targets)
    tolerance = TOLERANCE * math.log(max(2, here.weights.shape[1]))
    ended = Point(*(part.clone() for part in here))
    counts = torch.zeros(label_sets, dtype=torch.int64)
    converged, stuck = torch.zeros(2, label_sets, dtype=torch.bool)
    alive, gamma = torch.arange(label_sets), torch.ones(label_sets, 1, 1)
    slow = passes_before_blocks(passes, rough)
    precondition = (blocks if 0 in slow else scaling)(passes, lam)
    slope, value = here.slope(lam), here.objective(lam)
    downhill = precondition(slope)
    steps: list[Step] = []
    for count in range(MAX_ITERATIONS + 1):
        if count and count in slow:
            precondition = blocks(passes, lam)
            downhill = precondition(slope)
            steps = [step._replace(downhill=precondition(step.change)) for step in steps]
            gamma = torch.ones_like(gamma)
        direction = -_two_loops(slope, downhill, steps, gamma)
        descent = _dot(slope, direction)
        direction = torch.where(descent < 0, direction, -downhill)  # rounding has spoilt the memory
        descent = torch.where(descent < 0, descent, -_dot(slope, downhill))
        gap = -descent.flatten() / 2
        near = (value * 1e-5).clamp(tolerance / 50, tolerance)  # nearly separable: 1 % too high an objective cost 0.8 points
        near = torch.maximum(near, (value * 1e-3).clamp(max=ROUGH * tolerance)) if rough else near
        end = (gap <= near) | stuck | (value < passes.LEAST) | (count == MAX_ITERATIONS)
        if end.any():
            for whole, part in zip(ended, passes.point, strict=True):
                whole[alive[end]] = part[end]
            counts[alive[end]] = count
            converged[alive[end]] = gap[end] <= torch.where(stuck & passes.EXACT, 30 * near, near)[end]
            if end.all():
                break
            on = ~end
            alive, passes, precondition, steps = alive[on], passes.take(on), precondition.take(on), [s.take(on) for s in steps]
            slope, value, downhill, gamma, direction = slope[on], value[on], downhill[on], gamma[on], direction[on]
            first = None if first is None else first[on]
        if count == 0 and first is not None:
            direction = torch.where(_dot(slope, first) < 0, first, direction)
        here, last_value, last_slope, last_downhill = passes.point, value, slope, downhill
        stuck = _step(passes, value, slope, direction, lam) == 0  # nothing lower can be found at this precision
        slope, value = passes.point.slope(lam), passes.point.objective(lam)
        if not passes.EXACT:
            stuck |= last_value - value < -0.005 * _dot(last_slope, direction).flatten()  # a hundredth of what it promised
        downhill = precondition(slope)
        move, change, gain = passes.point.weights - here.weights, slope - last_slope, downhill - last_downhill
        product = _dot(move, change)
        use = product > 0
        steps = [*steps[-(MEMORY - 1) :], Step(move, change, gain, torch.where(use, product, torch.inf))]
        gamma = torch.where(use, product / _dot(change, gain).clamp_min(1e-30), gamma)
    return ended, counts, converged


def _step(passes: Passes, value: torch.Tensor, slope: torch.Tensor, direction: torch.Tensor, lam: float) -> torch.Tensor:
    """Goes on in the direction; its sizes (L,), 0 where nothing lower was found."""
    here, direction = passes.point, passes.along(direction)
    w, d = here.weights[..., :-1].double(), direction[..., :-1].double()
    penalty, across, square = value - here.loss, lam * (w * d).sum((1, 2)), lam * d.square().sum((1, 2))
    searches = [Search(*start) for start in zip(value.tolist(), _dot(slope, direction).flatten().tolist(), strict=True)]
    for look in range(LOOKS + 1):
        if look == LOOKS:
            for search in searches:
                search.give_up()
        sizes = torch.tensor([search.size for search in searches])
        loss, rise = passes.look(sizes)
        values = loss + penalty + sizes * across + sizes.double().square() / 2 * square
        for search, *found in zip(searches, values.tolist(), (rise + across + sizes * square).tolist(), strict=True):
            search.learn(*found)
        if all(search.done for search in searches):
            break
    passes.stay(here.weights + sizes[:, None, None] * direction, loss)
    return sizes


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
