"""L2-regularised logistic regression, solved for a whole path of C on features that are prepared once.

The objective is scikit-learn's (`LogisticRegression(C=C)`, solver lbfgs): minimise over W, b

    C * sum_i loss(y_i, x_i W + b) + ||W||^2 / 2            (the intercept b is not penalised)

with one logistic column for two classes and a softmax over K columns for K > 2. Here it is divided by C n, so that the loss is a
mean in nats and the penalty weighs lambda = 1 / (C n).

The solver is L-BFGS (Liu & Nocedal 1989) in the eigenbasis of the features' covariance, where a diagonal rescaling by
1 / sqrt(h s_j + lambda) (s_j: eigenvalue, h: mean curvature of the loss) makes the problem nearly round. Rotation and centring
leave the optimum unchanged. The path goes from strong to weak regularisation, each C starting at the last optimum, and may stop
when the dev accuracy has stopped rising. The covariance, its basis and the rotated features serve every C and every label set.

Left out: sample weights, other penalties, and batching over several layers at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from probing.errors import DataError
from probing.types import Features, Labels, Probabilities

TOLERANCE = 1e-6
"""Stop when half the squared preconditioned gradient, about the mean loss's distance to its optimum, is below this x ln K nats."""
MAX_ITERATIONS = 500
MEMORY = 10
ROWS = 4096
SLOW = 12
"""Iterations after which, and after four times as many, the preconditioner is made again, class by class."""
DENSE = 64
"""Up to so many logistic columns have a dense block each; more have `TOP` rows each."""
TOP = 32


@dataclass(frozen=True)
class Design:
    """Train features centred, optionally standardised, and rotated: what every C and label set of a layer share.

    Attributes:
        mean, scale: of the train features, (d,); scale is 1 unless standardised, and infinite marks a constant feature, left out.
        basis: eigenvectors of the covariance, (d, d).
        spectrum: its eigenvalues and a one for the intercept, (d + 1,).
        rows: the rotated train features and a one, sentences along the last axis, (d + 1, n).
    """

    mean: torch.Tensor
    scale: torch.Tensor
    basis: torch.Tensor
    spectrum: torch.Tensor
    rows: torch.Tensor

    @classmethod
    def prepare(cls, x: Features, standardize: bool = True) -> Design:
        """From train features (n, d), and from nothing else.

        Raises:
            DataError: the features are not finite.
        """
        _check_finite(x, "train ")
        features = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).T.contiguous()  # (d, n)
        mean = features.mean(1, dtype=torch.float64)
        features = _centred(features, mean)
        spread = torch.linalg.vector_norm(features, dim=1, dtype=torch.float64) / math.sqrt(len(x))  # two passes: no cancellation
        constant = spread <= (1e-6 * mean.abs()).clamp_min(1e-37)  # rounding noise around a constant is not a feature
        scale = torch.where(constant, torch.inf, spread if standardize else torch.ones_like(spread))
        features /= scale.float()[:, None]
        spectrum, basis = torch.linalg.eigh((features @ features.T / len(x)).double())
        basis = basis.float()
        rows = torch.ones(len(mean) + 1, len(x))
        torch.mm(basis.T, features, out=rows[:-1])
        return cls(mean, scale, basis, torch.cat([spectrum.clamp_min(0), torch.ones(1)]).float(), rows)

    @property
    def z(self) -> torch.Tensor:
        """The rotated train features, (n, d)."""
        return self.rows[:-1].T

    def rotate(self, x: Features) -> torch.Tensor:
        """Other features of the same layer in the design's basis: (m, d).

        Raises:
            DataError: the features are not finite.
        """
        _check_finite(x, "")
        features = _centred(torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).T.contiguous(), self.mean)
        features /= self.scale.float()[:, None]
        return (self.basis.T @ features).T


def _check_finite(x: Features, which: str) -> None:
    if not np.isfinite(x).all():
        raise DataError(f"{int((~np.isfinite(x)).any(1).sum())} of {len(x)} {which}vectors are not finite (NaN or infinite)")


def _centred(features: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """(d, n) minus a float64 mean, in place, in two steps: the first is exact where a feature varies little around a large mean."""
    rough = mean.float()
    return features.sub_(rough[:, None]).sub_((mean - rough).float()[:, None])


@dataclass(frozen=True)
class Fit:
    """One optimum, in the design's basis.

    Attributes:
        weights: (d + 1, 1) for two classes, (d + 1, K) for more; the last row is the intercept.
        objective: the minimised value of scikit-learn's objective divided by C n, in nats.
        converged: whether the tolerance was met within `MAX_ITERATIONS`.
        dev_accuracy: 0-1, or None without a dev set.
    """

    C: float
    weights: torch.Tensor
    objective: float
    iterations: int
    converged: bool
    dev_accuracy: float | None = None

    def scores(self, z: torch.Tensor) -> torch.Tensor:
        """Logits of rotated features (m, d): (m, K); for two classes (m, 2) with zeros in the first column."""
        logits = torch.addmm(self.weights[-1:].T, self.weights[:-1].T, z.T).T
        return torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits

    def predict(self, z: torch.Tensor) -> Labels:
        return self.scores(z).argmax(1).numpy()


def fit_path(
    design: Design,
    y: Labels,
    n_classes: int,
    grid: Sequence[float],
    dev: tuple[torch.Tensor, Labels] | None = None,
    patience: int | None = None,
) -> list[Fit]:
    """`fit_paths` for one label set; `dev` holds the rotated features and the labels."""
    return fit_paths(design, [y], n_classes, grid, None if dev is None else (dev[0], [dev[1]]), patience)[0]


def fit_paths(
    design: Design,
    ys: Sequence[Labels],
    n_classes: int,
    grid: Sequence[float],
    dev: tuple[torch.Tensor, Sequence[Labels]] | None = None,
    patience: int | None = None,
) -> list[list[Fit]]:
    """For every label set, optima for the values of C in `grid`, smallest first; one matrix product serves all label sets.

    Args:
        ys: class indices of the design's rows, (n,) each.
        n_classes: K; classes that do not occur in a label set are allowed.
        dev: rotated features, and labels for each label set, on which each optimum is scored.
        patience: a label set's path ends after this many values of C without a higher dev accuracy; None: never.
    """
    targets = torch.from_numpy(np.stack([np.asarray(y, dtype=np.int64) for y in ys]))  # (L, n)
    n, columns = targets.shape[1], 1 if n_classes == 2 else n_classes
    weights = torch.zeros(len(ys), columns, len(design.rows))
    for own, labels in zip(weights, targets, strict=True):
        share = (torch.bincount(labels, minlength=n_classes).float() + 0.5) / (n + 0.5 * n_classes)
        own[:, -1] = torch.log(share[1] / share[0]) if columns == 1 else torch.log(share)
    paths: list[list[Fit]] = [[] for _ in ys]
    alive, point = torch.arange(len(ys)), _evaluate(design, targets, weights)
    for C in sorted(grid):
        point, iterations, converged = _minimise(design, targets[alive], point, 1 / (C * n), TOLERANCE * math.log(n_classes))
        objective = point.objective(1 / (C * n))
        go_on = []
        for at, label_set in enumerate(alive.tolist()):
            path = paths[label_set]
            fit = Fit(float(C), point.weights[at].T, float(objective[at]), int(iterations[at]), bool(converged[at]))
            if dev is not None:
                fit = replace(fit, dev_accuracy=float((fit.predict(dev[0]) == dev[1][label_set]).mean()))
            path.append(fit)
            best = max(range(len(path)), key=lambda i: path[i].dev_accuracy or 0.0)  # the first of equals
            if patience is None or len(path) - 1 - best < patience:
                go_on.append(at)
        if not go_on:
            break
        alive, point = alive[go_on], point.take(go_on)
    return paths


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


def _probabilities(rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(L, K, rows)."""
    logits = (weights.flatten(0, 1) @ rows).view(*weights.shape[:2], -1)
    return torch.sigmoid(logits) if weights.shape[1] == 1 else torch.softmax(logits, 1)


def _evaluate(design: Design, targets: torch.Tensor, weights: torch.Tensor) -> Point:
    """One pass over the data, in blocks of sentences that stay in the processor's cache; sums are float64.

    Sentences run along the last axis of everything: skinny products and sums over classes are then up to ten times as fast.
    """
    n, (label_sets, columns, _) = targets.shape[1], weights.shape
    loss, curvature = torch.zeros(label_sets, dtype=torch.float64), torch.zeros(label_sets, dtype=torch.float64)
    flat = weights.flatten(0, 1)
    gradient = torch.zeros_like(flat)
    for rows, labels in zip(design.rows.split(ROWS, 1), targets.split(ROWS, 1), strict=True):
        logits = flat @ rows  # (L K, rows)
        if columns == 1:
            loss += (torch.nn.functional.softplus(logits) - labels * logits).sum(1, dtype=torch.float64)
            residual = torch.sigmoid(logits)
            curvature += (residual - residual.square()).sum(1, dtype=torch.float64)
            residual -= labels
        else:
            residual = logits.view(label_sets, columns, -1)
            labels = labels[:, None]
            chosen = residual.gather(1, labels)
            top = residual.amax(1, keepdim=True)
            total = residual.sub_(top).exp_().sum(1, keepdim=True)
            loss += (total.log() + top - chosen).sum((1, 2), dtype=torch.float64)
            residual /= total
            curvature += labels.shape[2] - torch.linalg.vector_norm(residual, dim=(1, 2)).double().square()
            residual.scatter_add_(1, labels, -torch.ones_like(chosen))
        gradient.addmm_(residual.view(len(flat), -1), rows.T)
    return Point(weights, loss / n, gradient.view_as(weights) / n, (curvature / n / columns).float())


@dataclass(frozen=True)
class Preconditioner:
    """An approximate inverse Hessian of L problems, one block for each logistic column.

    Attributes:
        diagonal: (L, K or 1, d + 1).
        low: V of diagonal - V'V, (L, K, r, d + 1), or None.
        dense: whole blocks, (L, K, d + 1, d + 1), which take the diagonal's place, or None.
    """

    diagonal: torch.Tensor
    low: torch.Tensor | None = None
    dense: torch.Tensor | None = None

    def __call__(self, slope: torch.Tensor) -> torch.Tensor:
        if self.dense is not None:
            return (self.dense @ slope[..., None])[..., 0]
        scaled = self.diagonal * slope
        if self.low is not None:
            scaled -= (self.low.mT @ (self.low @ slope[..., None]))[..., 0]
        return scaled

    def take(self, which) -> Preconditioner:
        return Preconditioner(*(None if part is None else part[which] for part in (self.diagonal, self.low, self.dense)))


def _ridge(design: Design, lam: float) -> torch.Tensor:
    """The penalty's second derivative, (d + 1,): none for the intercept."""
    ridge = torch.full_like(design.spectrum, lam)
    ridge[-1] = 0
    return ridge


def _scaling(design: Design, point: Point, lam: float) -> Preconditioner:
    """1 / (h s_j + lambda): exact if p (1 - p) were the same in every sentence and class."""
    curvature = point.curvature.clamp_min(1e-8)[:, None, None]
    return Preconditioner(1 / (curvature * design.spectrum + _ridge(design, lam)))


def _blocks(design: Design, weights: torch.Tensor, lam: float) -> Preconditioner:
    """Inverse of each column's own block of the Hessian, sum_i p_ik (1 - p_ik) x_i x_i' / n + lambda.

    With few columns the whole block, over the sentences that matter to it; with many the `TOP` sentences that matter most, by
    Woodbury's identity, over a diagonal that stands for the others.
    """
    n, (label_sets, columns, p) = design.rows.shape[1], weights.shape
    if label_sets * columns <= DENSE:
        dense = torch.zeros(label_sets * columns, p, p)
        for rows in design.rows.split(ROWS, 1):
            probabilities = _probabilities(rows, weights).flatten(0, 1)
            for block, weight in zip(dense, probabilities * (1 - probabilities), strict=True):
                near = weight > 0.01 * weight.mean()
                chosen = rows[:, near]
                block.addmm_(chosen * weight[near], chosen.T)
        dense = dense / n + torch.diag(_ridge(design, lam) + 1e-6 * design.spectrum)
        dense = torch.cholesky_inverse(torch.linalg.cholesky(dense))
        return Preconditioner(torch.ones(label_sets, 1, p), dense=dense.view(label_sets, columns, p, p))
    total = torch.zeros(label_sets, columns)
    top, where = torch.zeros(label_sets, columns, 0), torch.zeros(label_sets, columns, 0, dtype=torch.int64)
    for start, rows in zip(range(0, n, ROWS), design.rows.split(ROWS, 1), strict=True):
        weight = _probabilities(rows, weights)
        weight = weight * (1 - weight)
        total += weight.sum(2)
        best, place = weight.topk(min(TOP, weight.shape[2]), 2)
        top, where = torch.cat([top, best], 2), torch.cat([where, place + start], 2)
    top, order = top.topk(min(TOP, n), 2)
    where = where.gather(2, order)
    rest = ((total - top.sum(2)) / n).clamp_min(1e-8)[..., None]  # (L, K, 1)
    diagonal = 1 / (rest * design.spectrum + _ridge(design, lam))
    low = design.rows.T[where.flatten()].view(*where.shape, p) * (top / n).sqrt()[..., None]  # (L, K, r, p)
    scaled = low * diagonal[:, :, None]
    inner = scaled @ low.mT + torch.eye(low.shape[2])  # (L, K, r, r)
    return Preconditioner(diagonal, low=torch.linalg.solve_triangular(torch.linalg.cholesky(inner), scaled, upper=False))


class Step(NamedTuple):
    """A move of L-BFGS: of the weights, of the slope, of the preconditioned slope, and <move, change>, infinite if not to be used."""

    move: torch.Tensor
    change: torch.Tensor
    downhill: torch.Tensor
    product: torch.Tensor

    def take(self, which) -> Step:
        return Step(*(part[which] for part in self))


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Inner products of L pairs, (L, 1, 1)."""
    return (a * b).sum((1, 2), keepdim=True)


def _minimise(
    design: Design, targets: torch.Tensor, start: Point, lam: float, tolerance: float
) -> tuple[Point, torch.Tensor, torch.Tensor]:
    """Preconditioned L-BFGS with Armijo backtracking, on L label sets side by side: the optima, passes over the data, converged.

    Each label set keeps its own step size; those that have arrived leave the batch.
    """
    ended = Point(*(part.clone() for part in start))
    passes = torch.zeros(len(targets), dtype=torch.int64)
    converged = torch.zeros(len(targets), dtype=torch.bool)
    alive, here = torch.arange(len(targets)), start
    precondition = _scaling(design, here, lam)
    slope, value = here.slope(lam), here.objective(lam)
    downhill = precondition(slope)
    size, gamma = torch.ones(len(targets), 1, 1), torch.ones(len(targets), 1, 1)
    steps: list[Step] = []
    slow = 4 * SLOW if targets.shape[0] * here.weights.shape[1] <= DENSE else SLOW
    for count in range(MAX_ITERATIONS + 1):
        gap = _dot(slope, downhill).flatten() / 2
        stuck = size.flatten() < 1e-6  # no decrease can be found at this precision
        end = (gap <= tolerance) | stuck | (count == MAX_ITERATIONS)
        if end.any():
            for whole, part in zip(ended, here, strict=True):
                whole[alive[end]] = part[end]
            passes[alive[end]] = count
            converged[alive[end]] = gap[end] <= torch.where(stuck[end], 30 * tolerance, tolerance)
            if end.all():
                break
            on = ~end
            alive, here, targets, precondition = alive[on], here.take(on), targets[on], precondition.take(on)
            slope, value, downhill, size, gamma = slope[on], value[on], downhill[on], size[on], gamma[on]
            steps = [step.take(on) for step in steps]
        if count in (slow, 4 * slow):
            precondition = _blocks(design, here.weights, lam)
            downhill = precondition(slope)
            steps = [step._replace(downhill=precondition(step.change)) for step in steps]
            gamma = torch.ones_like(gamma)
        direction = -_two_loops(slope, downhill, steps, gamma)
        descent = _dot(slope, direction)
        direction = torch.where(descent < 0, direction, -downhill)  # rounding has spoilt the memory
        descent = torch.where(descent < 0, descent, -_dot(slope, downhill))
        there = _evaluate(design, targets, here.weights + size * direction)
        new_value, new_slope = there.objective(lam), there.slope(lam)
        lower = new_value <= value + (1e-4 * size * descent).flatten() + 1e-7 * value.abs()  # the last: rounding of float32
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


class LogisticProbe(ClassifierMixin, BaseEstimator):
    """One fit at one C as a scikit-learn classifier; agrees with `LogisticRegression(C=C)` on the same features.

    >>> import numpy as np
    >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> LogisticProbe(C=1.0).fit(x, ["a", "a", "b", "b"]).predict([[0.2], [2.9]]).tolist()
    ['a', 'b']
    """

    def __init__(self, C: float = 1.0, standardize: bool = False):
        self.C = C
        self.standardize = standardize

    def fit(self, X: Features, y: Sequence) -> LogisticProbe:
        """X: (n, d); y: (n,) labels of any type with at least two values."""
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, index = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"LogisticProbe needs samples of at least 2 classes, but the data has one class: {self.classes_[0]!r}")
        self._design = Design.prepare(X, self.standardize)
        self._fit = fit_path(self._design, index, len(self.classes_), [self.C])[0]
        self.n_iter_, self.converged_ = self._fit.iterations, self._fit.converged
        return self

    def predict_proba(self, X: Features) -> Probabilities:
        """Shape (m, K), columns in the order of `classes_`."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        return torch.softmax(self._fit.scores(self._design.rotate(X)).double(), 1).numpy()

    def predict(self, X: Features):
        """Shape (m,), values of `classes_`."""
        check_is_fitted(self)
        return self.classes_[self.predict_proba(X).argmax(1)]
