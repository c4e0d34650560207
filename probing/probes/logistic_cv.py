"""`LogisticPathCV`: the solver of `fast` as a scikit-learn classifier, which chooses C by cross-validation."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import check_cv
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from probing.probes.fitted import Linear

GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


class LogisticPathCV(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """L2 logistic regression over a path of C on standardised features; the C with the highest mean accuracy in a cross-validation
    is taken (the first of equals, so the strongest penalty), and fitted to all rows.

    The objective at each C is that of `LogisticRegression(C=C)`. The centring and scaling are those of all rows given to `fit`.

    Parameters:
        Cs: values of C to try; one value is fitted without a cross-validation.
        cv: number of stratified folds, at most the rows of the smallest class, or a splitter of scikit-learn. A class with one row
            leaves nothing to choose with: then the middle one of `Cs` is taken.
        standardize: unit variance; constant features are ignored either way.

    Attributes:
        classes_: the labels, sorted.
        coef_, intercept_: in raw feature space: (1, d) and (1,) for two classes, (K, d) and (K,) for more.
        C_: the chosen C.
        scores_: the mean accuracy (0-1) of each C of the cross-validation, smallest C first; empty without one.
        n_iter_: iterations of the last fit.
    """

    def __init__(self, Cs: Any = GRID, *, cv: Any = 5, standardize: bool = True):
        self.Cs, self.cv, self.standardize = Cs, cv, standardize

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit to features (n, d) and labels (n,); ValueError for values of C that are not above 0, and for a single class."""
        from probing.probes.logistic import Design, fit_path

        grid = sorted(float(C) for C in np.atleast_1d(np.asarray(self.Cs, float)))
        if not grid or not all(0 < C < np.inf for C in grid):
            raise ValueError(f"Cs={self.Cs!r} must hold at least one value, all above 0")
        x, targets = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(targets)
        self.classes_, labels = np.unique(targets, return_inverse=True)
        k = len(self.classes_)
        if k < 2:
            raise ValueError(f"{type(self).__name__} needs at least 2 classes in y, but got 1 class: {self.classes_[0]!r}")
        features = _float32(x)
        design = Design.prepare(features, self.standardize)
        self.C_, self.scores_ = self._chosen(design, features, labels, grid)
        [fit] = fit_path(design, labels, k, [self.C_])
        linear = Linear.undone(design, fit.weights[:-1].T, fit.weights[-1])
        self.coef_, self.intercept_, self.n_iter_ = linear.coef_, linear.intercept_, max(1, fit.iterations)
        return self

    def _chosen(self, design: Any, features: np.ndarray, labels: np.ndarray, grid: list[float]) -> tuple[float, np.ndarray]:
        from probing.probes.logistic import fit_path
        from probing.probes.solver.loss import NO_LABEL

        least = int(np.bincount(labels).min())
        if len(grid) == 1 or (least < 2 and isinstance(self.cv, int)):
            return grid[len(grid) // 2], np.empty(0)
        splitter = check_cv(min(self.cv, least) if isinstance(self.cv, int) else self.cv, labels, classifier=True)
        z, scores = design.transform(features), []
        for train, test in splitter.split(features, labels):
            own, others = np.full((2, len(labels)), NO_LABEL)
            own[train], others[test] = labels[train], labels[test]
            path = fit_path(design, own, len(self.classes_), grid, (z, others))
            scores.append([fit.dev_accuracy or 0.0 for fit in path])
        mean: np.ndarray = np.mean(scores, axis=0)
        return grid[int(mean.argmax())], mean

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Scores: of two classes that of the second, (m,), else one for each class, (m, K)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return Linear(self.coef_, self.intercept_).decision_function(X)

    def predict(self, X: ArrayLike) -> np.ndarray:
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)]

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Probabilities of the classes, (m, K)."""
        from scipy.special import softmax

        scores = self.decision_function(X)
        return softmax(np.stack([np.zeros_like(scores), scores], 1) if scores.ndim == 1 else scores, axis=1)


def _float32(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        features = np.array(x, np.float32)
    if not np.isfinite(features).all():
        raise ValueError("X holds values too large for float32, in which the probe is solved: scale the features")
    return features
