"""Classifiers of the first k neurons, fitted on standardised train activations: what a curve over k retrains.

ridge      least squares on one-hot labels: |Z W + b - Y|^2 / n + l2 |W|^2, from blocks of one Gram matrix: milliseconds a fit
logistic   the softmax regression of the ranking, refitted (`probing.neurons.ranking.linear_weights`)
gaussian   a Gaussian of each class (`probing.neurons.gaussian`)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from probing.neurons.gaussian import Gaussians
from probing.neurons.ranking import L2, linear_weights
from probing.types import Labels, Values

Fitted = Callable[[Values], Labels]
"""From standardised activations (n, d), all columns, to class indices (n,)."""


@dataclass(frozen=True)
class Linear:
    """Weights (d, K), 0 for columns that are not read, and intercepts (K,)."""

    weights: Values
    intercepts: Values

    @classmethod
    def of(cls, columns: np.ndarray, weights: Values, intercepts: Values, width: int) -> Linear:
        """From the weights of some columns, (k, K)."""
        full = np.zeros((width, len(intercepts)))
        full[columns] = weights
        return cls(full, intercepts)

    def __call__(self, z: Values) -> Labels:
        return (z @ self.weights + self.intercepts).argmax(1)


class Classifier(Protocol):
    def __init__(self, z: Values, y: Labels, n_classes: int, l2: float = L2): ...

    def on(self, columns: Sequence[int] | np.ndarray) -> Fitted:
        """The classifier refitted on these columns alone."""
        ...


class Ridge:
    def __init__(self, z: Values, y: Labels, n_classes: int, l2: float = L2, gram: Values | None = None):
        self.gram = z.T @ z / len(z) if gram is None else gram  # (d, d)
        self.share: Values = np.bincount(y, minlength=n_classes) / len(y)
        one_hot = np.zeros((len(y), n_classes))
        one_hot[np.arange(len(y)), y] = 1.0
        self.cross = z.T @ (one_hot - self.share) / len(z)  # (d, K); z has mean 0 on train
        self.l2 = l2

    def on(self, columns: Sequence[int] | np.ndarray) -> Fitted:
        S = np.asarray(columns, np.int64)
        block = self.gram[np.ix_(S, S)] + self.l2 * np.eye(len(S))
        intercepts: Values = np.where(self.share > 0, self.share, -np.inf).astype(np.float64)
        return Linear.of(S, np.asarray(np.linalg.solve(block, self.cross[S]), np.float64), intercepts, len(self.gram))


class Logistic:
    exact = False

    def __init__(self, z: Values, y: Labels, n_classes: int, l2: float = L2):
        self.z, self.y, self.n_classes, self.l2 = z, y, n_classes, l2

    def on(self, columns: Sequence[int] | np.ndarray) -> Fitted:
        S = np.asarray(columns, np.int64)
        W, b = linear_weights(self.z[:, S], self.y, self.n_classes, self.l2, self.exact)
        return Linear.of(S, W.T, b, self.z.shape[1])


class ExactLogistic(Logistic):
    """In float64 by scikit-learn."""

    exact = True


class Gaussian:
    def __init__(self, z: Values, y: Labels, n_classes: int, l2: float = L2):
        self.gaussians = Gaussians.fit(z, y)

    def on(self, columns: Sequence[int] | np.ndarray) -> Fitted:
        def predict(z: Values) -> Labels:
            if not len(columns):
                return np.full(len(z), self.gaussians.classes[self.gaussians.shares.argmax()])
            return self.gaussians.classes[self.gaussians.log_posterior(z, list(columns)).argmax(1)]

        return predict


CLASSIFIERS: dict[str, type[Classifier]] = {
    "ridge": Ridge,
    "logistic": Logistic,
    "logistic_exact": ExactLogistic,
    "gaussian": Gaussian,
}
