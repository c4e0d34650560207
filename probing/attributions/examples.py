"""Explanations of a logistic probe's answer by its training items, in closed form.

A probe minimises sum_i loss(y_i, x_i theta) + sum_j penalty_j |theta_j|^2 / 2, which is C times scikit-learn's objective with
penalty 1 / C, and 0 for an intercept; theta is (p, 1) for two classes, else (p, K). For the value v = x_t theta . target

    influence    x_t' H^-1 grad_i: about the change of v when training item i is left out (Koh and Liang 2017, ICML)
    representer  -r_i . target (x_i / penalty) . x_t, with r_i = p_i - y_i: the share of v that item i holds; with the part of
                 features without a penalty the shares sum to v (Yeh et al. 2018, NeurIPS)
    left out     the true change: the probe solved again without the item
    on the loss  (mean over items t of x_t r_t)' H^-1 grad_i: about the change of their mean loss when training item i is left out;
                 above 0, the item helps

Influence is a first-order answer: it falls short for items of high leverage. Values are log-odds, in nats.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.special import expit, log_softmax, softmax

from probing.errors import ConfigError, DataError
from probing.types import Labels, Values

LARGEST = 6000
"""Numbers in theta, at most: its Hessian is a matrix of that size squared."""


@dataclass(frozen=True)
class LogisticProbe:
    """A logistic probe at its optimum, in float64.

    Args:
        x: training features (n, p), as the probe reads them: centred, scaled, with a last column of ones for an intercept.
        y: class indices (n,).
        n_classes: K.
        penalty: of each feature, (p,): 1 / C, and 0 for an intercept without a penalty.
        theta: the optimum; (p, 1) for two classes, whose value is the second's log-odds, (p, K) for more.
    """

    x: Values
    y: Labels
    n_classes: int
    penalty: Values
    theta: Values

    @classmethod
    def fit(cls, x: Values, y: Labels, n_classes: int, penalty: Values, start: Values | None = None) -> LogisticProbe:
        """The optimum, by Newton's method.

        Raises:
            ConfigError: more numbers in theta than `LARGEST`.
            DataError: it has no single optimum, as with equal features that have no penalty.
        """
        columns = 1 if n_classes == 2 else n_classes
        if x.shape[1] * columns > LARGEST:
            raise ConfigError(
                f"{columns} x {x.shape[1]} weights of this probe are too many for a Hessian in closed form (at most {LARGEST:,}): "
                "take a task with fewer classes, or a smaller layer"
            )
        theta = np.zeros((x.shape[1], columns)) if start is None else start
        probe = cls(np.asarray(x, float), y, n_classes, np.asarray(penalty, float), theta)
        for _ in range(100):
            slope = probe._slope
            try:
                step = probe._solve(slope)
            except LinAlgError:
                break
            if np.abs(step).max() <= 1e-8 * (1 + np.abs(probe.theta).max()):  # the error of the next point is the square of it
                return replace(probe, theta=probe.theta - step)
            gain, slack = 0.1 * float((step * slope).sum()), 1e-13 * probe._objective  # rounding of the sum of losses
            shorter = (replace(probe, theta=probe.theta - size * step) for size in 0.5 ** np.arange(40))
            lower = (one for k, one in enumerate(shorter) if one._objective <= probe._objective - 0.5**k * gain + slack)
            if (after := next(lower, None)) is None:
                break
            probe = after
        raise DataError(f"a logistic probe of {len(y)} items has no single optimum: give every feature a penalty (a smaller C)")

    def values(self, x: Values) -> Values:
        """Scores of items (m, p): (m, 1) log-odds of the second of two classes, or logits (m, K)."""
        return x @ self.theta

    def target(self, item: Values) -> tuple[int, int, Values]:
        """The class that the probe gives an item (p,), the next best, and the vector whose product with the scores is the
        log-odds of the first against the second, (columns,)."""
        scores = self.values(item[None])[0]
        if self.n_classes == 2:
            best = int(scores[0] > 0)
            return best, 1 - best, np.array([2.0 * best - 1])
        second, best = (int(k) for k in np.argsort(scores, kind="stable")[-2:])
        return best, second, np.eye(self.n_classes)[best] - np.eye(self.n_classes)[second]

    def influence(self, item: Values, target: Values) -> Values:
        """About the change of the value of an item (p,) when each training item is left out, (n,)."""
        return ((self.x @ self._solve(np.outer(item, target))) * self._residuals).sum(1)

    def influence_on_loss(self, x: Values, y: Labels) -> Values:
        """About the change of the mean loss (nats) of items (m, p) with classes (m,) when each training item is left out, (n,)."""
        slope = x.T @ self._residuals_of(x, y) / len(y)
        return ((self.x @ self._solve(slope)) * self._residuals).sum(1)

    def representers(self, item: Values, target: Values) -> tuple[Values, float]:
        """The share of each training item in the value of an item (p,), (n,), and the part of features without a penalty."""
        held = self.penalty > 0
        kernel = (self.x[:, held] / self.penalty[held]) @ item[held]
        return -kernel * (self._residuals @ target), float(item[~held] @ self.theta[~held] @ target)

    def change_without(self, k: int, item: Values, target: Values) -> float:
        """The true change of the value of an item (p,) when training item k is left out and the probe is solved again."""
        rest = np.arange(len(self.y)) != k
        again = LogisticProbe.fit(self.x[rest], self.y[rest], self.n_classes, self.penalty, self.theta)
        return float(item @ (again.theta - self.theta) @ target)

    @cached_property
    def _residuals(self) -> Values:
        """p_i - y_i, (n, columns)."""
        return self._residuals_of(self.x, self.y)

    def _residuals_of(self, x: Values, y: Labels) -> Values:
        scores = self.values(x)
        if self.n_classes == 2:
            return expit(scores) - y[:, None]
        return softmax(scores, axis=1) - np.eye(self.n_classes)[y]

    @cached_property
    def _objective(self) -> float:
        scores = self.values(self.x)
        if self.n_classes == 2:
            scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
        losses = -log_softmax(scores, axis=1)[np.arange(len(self.y)), self.y]
        return float(losses.sum() + (self.penalty @ self.theta**2).sum() / 2)

    @property
    def _slope(self) -> Values:
        return self.x.T @ self._residuals + self.penalty[:, None] * self.theta

    @cached_property
    def _factor(self) -> Any:
        """The Cholesky factor of the Hessian, (p columns)^2."""
        x, penalty = self.x, np.diag(self.penalty)
        p, columns = self.theta.shape
        if self.n_classes == 2:
            chance = expit(self.values(x))
            return cho_factor((x * (chance * (1 - chance))).T @ x + penalty)
        chance = softmax(self.values(x), axis=1)
        hessian = np.empty((p, columns, p, columns))
        for a in range(columns):
            for b in range(a + 1):
                weights = chance[:, a] * ((a == b) - chance[:, b])
                hessian[:, a, :, b] = hessian[:, b, :, a] = (x * weights[:, None]).T @ x + (a == b) * penalty
        for j in np.flatnonzero(self.penalty == 0):  # the same intercept for all classes changes nothing, so any value will do
            hessian[j, :, j, :] += len(x)
        return cho_factor(hessian.reshape(p * columns, p * columns))

    def _solve(self, right: Values) -> Values:
        """H^-1 of (p, columns)."""
        return cho_solve(self._factor, right.ravel()).reshape(right.shape)
