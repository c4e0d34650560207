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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from probing.errors import DataError
from probing.types import Features, Labels, Probabilities

TOLERANCE = 3e-6
"""Stop when half the squared preconditioned gradient, about the objective's distance to its optimum, is below this share of it."""
MAX_ITERATIONS = 500
MEMORY = 10
ROWS = 2048


@dataclass(frozen=True)
class Design:
    """Train features centred, optionally standardised, and rotated: what every C and label set of a layer share.

    Attributes:
        mean, scale: of the train features, (d,); scale is 1 unless standardised, and 0 marks a constant feature, left out.
        basis: eigenvectors of the covariance, (d, d).
        spectrum: its eigenvalues, (d,).
        z: the rotated train features, (n, d).
    """

    mean: np.ndarray
    scale: np.ndarray
    basis: torch.Tensor
    spectrum: torch.Tensor
    z: torch.Tensor

    @classmethod
    def prepare(cls, x: Features, standardize: bool = True) -> Design:
        """From train features (n, d), and from nothing else.

        Raises:
            DataError: the features are not finite.
        """
        if not np.isfinite(x).all():
            raise DataError(f"{int((~np.isfinite(x)).any(1).sum())} of {len(x)} train vectors are not finite (NaN or infinite)")
        mean = x.mean(0, dtype=np.float64)
        spread = np.sqrt(np.square(x - mean.astype(x.dtype), dtype=np.float64).mean(0))  # two passes: no cancellation
        constant = spread <= 1e-6 * np.abs(mean)  # rounding noise around a constant is not a feature
        scale = np.where(constant, np.inf, spread) if standardize else np.where(constant, np.inf, 1.0)
        z = torch.from_numpy(((x - mean) / scale).astype(np.float32))
        spectrum, basis = torch.linalg.eigh((z.T @ z / len(x)).double())
        basis = basis.float()
        return cls(mean, scale, basis, spectrum.clamp_min(0).float(), z @ basis)

    def rotate(self, x: Features) -> torch.Tensor:
        """Other features of the same layer in the design's basis: (m, d).

        Raises:
            DataError: the features are not finite.
        """
        if not np.isfinite(x).all():
            raise DataError(f"{int((~np.isfinite(x)).any(1).sum())} of {len(x)} vectors are not finite (NaN or infinite)")
        return torch.from_numpy(((x - self.mean) / self.scale).astype(np.float32)) @ self.basis


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
        logits = torch.addmm(self.weights[-1], z, self.weights[:-1])
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
    """Optima for the values of C in `grid`, smallest first.

    Args:
        y: class indices of the design's rows, (n,).
        n_classes: K; classes that do not occur in y are allowed.
        dev: rotated features and labels on which each optimum is scored.
        patience: stop after this many values of C without a higher dev accuracy; None: never.
    """
    targets = torch.from_numpy(np.asarray(y, dtype=np.int64))
    columns = 1 if n_classes == 2 else n_classes
    share = (torch.bincount(targets, minlength=n_classes).float() + 0.5) / (len(y) + 0.5 * n_classes)
    weights = torch.zeros(design.z.shape[1] + 1, columns)
    weights[-1] = torch.log(share[1] / share[0]) if columns == 1 else torch.log(share)
    path: list[Fit] = []
    best, since = -1.0, 0
    for C in sorted(grid):
        weights, objective, iterations, converged = _minimise(design, targets, weights, 1 / (C * len(y)))
        fit = Fit(float(C), weights, objective, iterations, converged)
        if dev is not None:
            accuracy = float((fit.predict(dev[0]) == dev[1]).mean())
            fit = Fit(fit.C, weights, objective, iterations, converged, accuracy)
            best, since = (accuracy, 0) if accuracy > best else (best, since + 1)
        path.append(fit)
        if patience is not None and since >= patience:
            break
    return path


def _loss(z: torch.Tensor, y: torch.Tensor, weights: torch.Tensor, lam: float) -> tuple[float, torch.Tensor]:
    """The objective (summed in float64) and its gradient (d + 1, columns), in row blocks that stay in the processor's cache."""
    gradient = torch.zeros_like(weights)
    loss = 0.0
    for rows, labels in zip(z.split(ROWS), y.split(ROWS), strict=True):
        logits = torch.addmm(weights[-1], rows, weights[:-1])  # (rows, columns)
        if logits.shape[1] == 1:
            logit = logits[:, 0]
            loss += (torch.nn.functional.softplus(logit) - labels * logit).double().sum().item()
            residual = (torch.sigmoid(logit) - labels)[:, None]
        else:
            top = logits.amax(1, keepdim=True)
            chosen = logits.gather(1, labels[:, None])
            residual = logits.sub_(top).exp_()
            total = residual.sum(1, keepdim=True)
            loss += (total.log() + top - chosen).double().sum().item()
            residual.div_(total).scatter_add_(1, labels[:, None], -torch.ones_like(chosen))
        gradient[:-1].addmm_(rows.T, residual)
        gradient[-1] += residual.sum(0)
    gradient /= len(z)
    gradient[:-1] += lam * weights[:-1]
    return loss / len(z) + lam / 2 * weights[:-1].double().square().sum().item(), gradient


def _curvature(z: torch.Tensor, weights: torch.Tensor) -> float:
    """Mean over rows and logits of p (1 - p), the curvature of the loss."""
    total = 0.0
    for rows in z.split(ROWS):
        logits = torch.addmm(weights[-1], rows, weights[:-1])
        p = torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, 1)
        total += (p * (1 - p)).sum().item()
    return total / len(z) / weights.shape[1]


def _minimise(design: Design, y: torch.Tensor, start: torch.Tensor, lam: float) -> tuple[torch.Tensor, float, int, bool]:
    """Preconditioned L-BFGS with Armijo backtracking: weights, objective, iterations, converged."""
    weights = start.clone()
    value, gradient = _loss(design.z, y, weights, lam)
    curvature = max(_curvature(design.z, weights), 1e-8)
    inverse = torch.cat([1 / (curvature * design.spectrum + lam), torch.tensor([1 / curvature])])[:, None]
    steps: list[tuple[torch.Tensor, torch.Tensor, float]] = []
    for iteration in range(MAX_ITERATIONS):
        if (gradient * gradient * inverse).sum().item() / 2 <= TOLERANCE * abs(value):
            return weights, value, iteration, True
        direction = -_two_loops(gradient, steps, inverse)
        slope = (gradient * direction).sum().item()
        if slope >= 0:  # rounding has spoilt the memory: start it again
            steps.clear()
            direction = -gradient * inverse
            slope = (gradient * direction).sum().item()
        size = 1.0
        for _ in range(30):
            trial = weights + size * direction
            new_value, new_gradient = _loss(design.z, y, trial, lam)
            if new_value <= value + 1e-4 * size * slope:
                break
            size /= 2
        else:  # no decrease can be found at this precision
            return weights, value, iteration, slope > -1e-4 * abs(value)
        step, change = trial - weights, new_gradient - gradient
        product = (step * change).sum().item()
        if product > 0:
            steps = [*steps[-(MEMORY - 1) :], (step, change, product)]
        weights, value, gradient = trial, new_value, new_gradient
    return weights, value, MAX_ITERATIONS, False


def _two_loops(gradient: torch.Tensor, steps: Sequence[tuple[torch.Tensor, torch.Tensor, float]], inverse: torch.Tensor):
    """L-BFGS's inverse Hessian times the gradient; `inverse`, rescaled to the last step, is its start (Nocedal & Wright, 7.4)."""
    q = gradient.clone()
    alphas = []
    for step, change, product in reversed(steps):
        alpha = (step * q).sum().item() / product
        q.sub_(change, alpha=alpha)
        alphas.append(alpha)
    q *= inverse
    if steps:
        _, change, product = steps[-1]
        q *= product / (change * change * inverse).sum().item()
    for (step, change, product), alpha in zip(steps, reversed(alphas), strict=True):
        q.add_(step, alpha=alpha - (change * q).sum().item() / product)
    return q


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
        return self.classes_[self.predict_proba(X).argmax(1)]
