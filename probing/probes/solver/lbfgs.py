"""Preconditioned L-BFGS (Liu & Nocedal 1989) for the logistic regressions of several label sets on one matrix of features.

For each label set minimise, over weights W (K, d + 1) of features whose last one is the constant 1 (the intercept),

    (1 / n) sum_i loss(y_i, W x_i) + lambda ||W without intercepts||^2 / 2

with the logistic loss where K = 1, and softmax cross-entropy else. Label sets may lack labels (`NO_LABEL`), as many in each.
Steps end where the objective is flat (`WOLFE_C2`), not merely lower, which saves products with the data under weak penalties.
A first direction may be given: from one C to the next an optimum moves in about the same direction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from probing.probes.solver.loss import Iterate, LogisticLoss
from probing.probes.solver.preconditioner import block_iterations, block_preconditioner, diagonal_preconditioner

TOLERANCE = 5e-7
"""Stop where half of <gradient, step>, about the gap to the optimum, is below this x ln K nats and 1e-5 of a small objective."""
LOOSE_FACTOR = 100
"""A loose solution stops at so many times the tolerance, or at a thousandth of the objective where that is less."""
MAX_ITERATIONS = 500
MEMORY = 10
MAX_LINE_SEARCH = 10
WOLFE_C1 = 1e-4
WOLFE_C2 = 0.2
"""The curvature condition of the line search: the derivative at its end is at most so much of the one at its start, in size."""


class CurvaturePair(NamedTuple):
    """One update of L-BFGS, for L label sets (Nocedal & Wright 2006, section 7.2): changes of weights and gradient, (L, K, d +
    1), the preconditioner times y, and the inner products s y, (L, 1, 1), infinite where they are not positive."""

    s: torch.Tensor
    y: torch.Tensor
    preconditioned_y: torch.Tensor
    sy: torch.Tensor

    def take(self, which: torch.Tensor) -> CurvaturePair:
        return CurvaturePair(*(part[which] for part in self))


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Inner products of L pairs, (L, 1, 1)."""
    return (a * b).sum((1, 2), keepdim=True)


class LineSearch:
    """The line search of one label set, by cubic interpolation (Nocedal & Wright 2006, section 3.5). `size`: the step size to be
    evaluated next, or, if `done`, the accepted one."""

    def __init__(self, value: float, derivative: float) -> None:
        self.size, self.done = 1.0, False
        self._start = self._low = (0.0, value, derivative)
        self._high: tuple[float, float, float] | None = None
        self._lowest = (value, 0.0)

    def update(self, value: float, derivative: float) -> None:
        """Take the objective and its derivative at `size`: accept it, or choose the next size."""
        _, start_value, start_derivative = self._start
        current = (self.size, value, derivative)
        bound = start_value + WOLFE_C1 * self.size * start_derivative + 1e-7 * abs(start_value)  # the last: rounding of float32
        lower = value <= bound
        self.done = self.done or (lower and abs(derivative) <= -WOLFE_C2 * start_derivative)
        if self.done:
            return
        self._lowest = min(self._lowest, (value, self.size)) if lower else self._lowest
        if lower and derivative < 0:
            self._low = current
        else:
            self._high = current
        (a, value_a, derivative_a) = self._low
        if self._high is None:
            curvature = (derivative_a - start_derivative) / a
            self.size = a * min(4.0, max(1.5, -start_derivative / curvature / a if curvature > 0 else 4.0))
            return
        b, value_b, derivative_b = self._high
        self.size = a + 0.1 * (b - a)
        if math.isfinite(value_b) and math.isfinite(derivative_b):
            c = derivative_a + derivative_b - 3 * (value_a - value_b) / (a - b)
            root = math.sqrt(max(0.0, c * c - derivative_a * derivative_b))
            cubic = b - (b - a) * (derivative_b + root - c) / ((derivative_b - derivative_a + 2 * root) or 1.0)
            self.size = min(max(cubic, a + 0.1 * (b - a)), b - 0.1 * (b - a))

    def give_up(self) -> None:
        """Accept the size with the lowest objective, 0 where none was lower than the start."""
        self.size, self.done = self.size if self.done else self._lowest[1], True


def minimise(
    loss: LogisticLoss,
    lam: float,
    first_direction: torch.Tensor | None = None,
    loose: bool = False,
) -> tuple[Iterate, torch.Tensor, torch.Tensor]:
    """Run preconditioned L-BFGS on L label sets side by side; return the optima, their iterations, whether they converged.

    Args:
        loss: at the start; if it is not of full precision, label sets end, not converged, once the objective is too small for
            it, or falls by less than a hundredth of the predicted decrease.
        first_direction: of the first step, where it descends; shaped like the weights.
        loose: stop at the `LOOSE_FACTOR` tolerance.
    """
    label_sets = len(loss.targets)
    tolerance = TOLERANCE * math.log(max(2, loss.iterate.weights.shape[1]))
    optima = Iterate(*(part.clone() for part in loss.iterate))
    iterations = torch.zeros(label_sets, dtype=torch.int64)
    converged, stuck = torch.zeros(2, label_sets, dtype=torch.bool)
    active, gamma = torch.arange(label_sets), torch.ones(label_sets, 1, 1)
    with_blocks = block_iterations(loss, loose)
    precondition = (block_preconditioner if 0 in with_blocks else diagonal_preconditioner)(loss, lam)
    gradient, value = loss.iterate.objective_gradient(lam), loss.iterate.objective(lam)
    preconditioned = precondition(gradient)
    pairs: list[CurvaturePair] = []
    for iteration in range(MAX_ITERATIONS + 1):
        if iteration and iteration in with_blocks:
            precondition = block_preconditioner(loss, lam)
            preconditioned = precondition(gradient)
            pairs = [pair._replace(preconditioned_y=precondition(pair.y)) for pair in pairs]
            gamma = torch.ones_like(gamma)
        direction = -_two_loop_recursion(gradient, preconditioned, pairs, gamma)
        descent = _dot(gradient, direction)
        direction = torch.where(descent < 0, direction, -preconditioned)  # rounding has spoilt the memory
        descent = torch.where(descent < 0, descent, -_dot(gradient, preconditioned))
        gap = -descent.flatten() / 2
        largest_gap = (value * 1e-5).clamp(tolerance / 50, tolerance)  # nearly separable: 1 % too high an objective cost 0.8 points
        if loose:
            largest_gap = torch.maximum(largest_gap, (value * 1e-3).clamp(max=LOOSE_FACTOR * tolerance))
        ends = (gap <= largest_gap) | stuck | (value < loss.MIN_OBJECTIVE) | (iteration == MAX_ITERATIONS)
        if ends.any():
            for whole, part in zip(optima, loss.iterate, strict=True):
                whole[active[ends]] = part[ends]
            iterations[active[ends]] = iteration
            converged[active[ends]] = gap[ends] <= torch.where(stuck & loss.FULL_PRECISION, 30 * largest_gap, largest_gap)[ends]
            if ends.all():
                break
            on = ~ends
            active, loss, precondition, pairs = active[on], loss.take(on), precondition.take(on), [p.take(on) for p in pairs]
            value, gamma, gradient, direction = value[on], gamma[on], gradient[on], direction[on]
            preconditioned = preconditioned[on]
            first_direction = None if first_direction is None else first_direction[on]
        if iteration == 0 and first_direction is not None:
            direction = torch.where(_dot(gradient, first_direction) < 0, first_direction, direction)
        last, last_value, last_gradient, last_preconditioned = loss.iterate, value, gradient, preconditioned
        stuck = _take_step(loss, value, gradient, direction, lam) == 0  # nothing lower can be found at this precision
        gradient, value = loss.iterate.objective_gradient(lam), loss.iterate.objective(lam)
        if not loss.FULL_PRECISION:
            stuck |= last_value - value < -0.005 * _dot(last_gradient, direction).flatten()  # a hundredth of the predicted decrease
        preconditioned = precondition(gradient)
        s, y, preconditioned_y = loss.iterate.weights - last.weights, gradient - last_gradient, preconditioned - last_preconditioned
        sy = _dot(s, y)
        positive = sy > 0
        pairs = [*pairs[-(MEMORY - 1) :], CurvaturePair(s, y, preconditioned_y, torch.where(positive, sy, torch.inf))]
        gamma = torch.where(positive, sy / _dot(y, preconditioned_y).clamp_min(1e-30), gamma)
    return optima, iterations, converged


def _take_step(
    loss: LogisticLoss, value: torch.Tensor, gradient: torch.Tensor, direction: torch.Tensor, lam: float
) -> torch.Tensor:
    """Search along the direction and move there; return the step sizes (L,), 0 where nothing lower was found."""
    start, direction = loss.iterate, loss.set_direction(direction)
    w, d = start.weights[..., :-1].double(), direction[..., :-1].double()
    penalty, linear, quadratic = value - start.loss, lam * (w * d).sum((1, 2)), lam * d.square().sum((1, 2))
    searches = [LineSearch(*pair) for pair in zip(value.tolist(), _dot(gradient, direction).flatten().tolist(), strict=True)]
    for evaluation in range(MAX_LINE_SEARCH + 1):
        if evaluation == MAX_LINE_SEARCH:
            for search in searches:
                search.give_up()
        sizes = torch.tensor([search.size for search in searches])
        losses, derivatives = loss.evaluate(sizes)
        values = losses + penalty + sizes * linear + sizes.double().square() / 2 * quadratic
        derivatives = derivatives + linear + sizes * quadratic
        for search, *result in zip(searches, values.tolist(), derivatives.tolist(), strict=True):
            search.update(*result)
        if all(search.done for search in searches):
            break
    loss.accept(start.weights + sizes[:, None, None] * direction, losses)
    return sizes


def _two_loop_recursion(
    gradient: torch.Tensor, preconditioned: torch.Tensor, pairs: Sequence[CurvaturePair], gamma: torch.Tensor
) -> torch.Tensor:
    """L-BFGS's inverse Hessian times the gradient, from gamma times the preconditioner (Nocedal & Wright 2006, algorithm 7.4)."""
    q, r = gradient.clone(), preconditioned.clone()
    alphas = []
    for pair in reversed(pairs):
        alpha = _dot(pair.s, q) / pair.sy
        q -= alpha * pair.y
        r -= alpha * pair.preconditioned_y
        alphas.append(alpha)
    r *= gamma
    for pair, alpha in zip(pairs, reversed(alphas), strict=True):
        r += pair.s * (alpha - _dot(pair.y, r) / pair.sy)
    return r
