"""L2-regularised logistic regression, solved for a whole path of C on features that are prepared once.

The objective is scikit-learn's (`LogisticRegression(C=C)`, solver lbfgs): minimise over W, b

    C * sum_i loss(y_i, x_i W + b) + ||W||^2 / 2            (the intercept b is not penalised)

with one logistic column for two classes and a softmax over K columns for K > 2. Here it is divided by C n, so that the loss is a
mean in nats and the penalty weighs lambda = 1 / (C n).

The solver (probing.probes.solver.lbfgs) works in the eigenbasis of the features' covariance; rotation and centring leave the
optimum unchanged. The path goes from strong to weak regularisation, each C starting at the last optimum, and may stop when the dev
accuracy has stopped rising. The covariance and its basis serve every C and every label set, and all label sets (true and control)
go through the data together.

Where dev chooses, every C of the path is solved roughly first (`lbfgs.ROUGH`); then what is best on dev is solved to the end, until
the best on dev is an optimum. With many classes the rough solutions are made in bfloat16 where the processor multiplies it
(`passes.MixedPasses`), one label set after the other. What roughness does to dev accuracies is measured in
results/benchmarks/probes.md.

Left out: sample weights, other penalties; layers go one after the other, since they have no matrix in common.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.linalg.blas import ssyrk
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from probing.errors import DataError
from probing.probes.solver.lbfgs import minimise
from probing.probes.solver.passes import DENSE, LEFT_OUT, Matrix, MixedPasses, Passes, labelled
from probing.types import Features, Labels, Probabilities

FAR = 3
"""With few columns: after more passes than this an optimum was far from the last one, and the next lies about that way too."""


@dataclass(frozen=True)
class Design:
    """Train features centred, optionally standardised, with their covariance: what every C and label set of a layer share.

    Attributes:
        mean, scale: of the train features, (d,); scale is 1 unless standardised, and infinite marks a constant feature, left out.
            Constant: its standard deviation is at most 1e-6 of its own |mean| (rounding), or 1e-6 of the layer's scale, the lower
            median of the standard deviations of the features that are not constant by the first rule (a dead output of a layer,
            which standardising would blow up to the size of the others).
        matrix: the features as the solver wants them.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    matrix: Matrix

    @classmethod
    def prepare(cls, x: Features, standardize: bool = True) -> Design:
        """From train features (n, d), and from nothing else.

        Raises:
            DataError: the features are not finite.
        """
        _check_finite(x, "train ")
        n, d = x.shape
        rows = torch.ones(d + 1, n)
        features = rows[:-1].copy_(torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).T)  # (d, n)
        mean = features.mean(1, dtype=torch.float64)
        _centre(features, mean)
        spread = torch.linalg.vector_norm(features, dim=1, dtype=torch.float64) / math.sqrt(n)  # two passes: no cancellation
        constant = spread <= (1e-6 * mean.abs()).clamp_min(1e-37)  # rounding noise around a constant is not a feature
        if not constant.all():
            constant |= spread <= 1e-6 * spread[~constant].median()
        scale = torch.where(constant, torch.inf, spread if standardize else torch.ones_like(spread))
        features /= scale.float()[:, None]
        covariance = torch.from_numpy(ssyrk(1 / n, features.numpy().T, trans=1).T)  # the lower half, all that eigh reads
        spectrum, vectors = torch.linalg.eigh(covariance)
        basis = torch.block_diag(vectors, torch.ones(1, 1))
        return cls(mean, scale, Matrix(rows, basis, torch.cat([spectrum.clamp_min(0), torch.ones(1)])))

    @property
    def left_out(self) -> int:
        """How many features are constant, and so left out."""
        return int(self.scale.isinf().sum())

    @property
    def z(self) -> torch.Tensor:
        """The train features, centred and scaled, (n, d)."""
        return self.matrix.rows[:-1].T

    def transform(self, x: Features) -> torch.Tensor:
        """Other features of the same layer, centred and scaled as the train features: (m, d).

        Raises:
            DataError: the features are not finite.
        """
        _check_finite(x, "")
        features = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).T.contiguous()
        _centre(features, self.mean)
        return features.div_(self.scale.float()[:, None]).T


def _check_finite(x: Features, which: str) -> None:
    if not np.isfinite(x).all():
        raise DataError(f"{int((~np.isfinite(x)).any(1).sum())} of {len(x)} {which}vectors are not finite (NaN or infinite)")


def _centre(features: torch.Tensor, mean: torch.Tensor) -> None:
    """Takes a float64 mean from (d, n), in place, in two steps: the first is exact where a feature varies little around it."""
    rough = mean.float()
    features.sub_(rough[:, None]).sub_((mean - rough).float()[:, None])


@dataclass(frozen=True)
class Fit:
    """One optimum, for features that the design has transformed.

    Attributes:
        weights: (d + 1, 1) for two classes, (d + 1, K) for more; the last row is the intercept.
        objective: the minimised value of scikit-learn's objective divided by C n, in nats; to about 1e-5 in bfloat16.
        iterations: passes over the data, after the one at the start.
        converged: whether the solver's tolerance was met.
        dev_accuracy: 0-1, or None without a dev set.
        exact: solved to the end; False for the rough solution of a C that dev did not choose.
    """

    C: float
    weights: torch.Tensor
    objective: float
    iterations: int
    converged: bool
    dev_accuracy: float | None = None
    exact: bool = True

    def scores(self, z: torch.Tensor) -> torch.Tensor:
        """Logits of transformed features (m, d): (m, K); for two classes (m, 2) with zeros in the first column."""
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
    """`fit_paths` for one label set; `dev` holds the transformed features and the labels."""
    return fit_paths(design, [y], n_classes, grid, None if dev is None else (dev[0], [dev[1]]), patience)[0]


def fit_paths(
    design: Design,
    ys: Sequence[Labels],
    n_classes: int,
    grid: Sequence[float],
    dev: tuple[torch.Tensor, Sequence[Labels]] | None = None,
    patience: int | None = None,
    together: bool = False,
) -> list[list[Fit]]:
    """For every label set, optima for the values of C in `grid`, smallest first; one matrix product serves all label sets.

    Args:
        ys: class indices of the design's rows, (n,) each; where `LEFT_OUT`, the row is left out (by as many rows in each).
        n_classes: K; classes that do not occur in a label set are allowed.
        dev: transformed features, and labels for each label set, on which each optimum is scored. With it, only the fit that is
            best on dev (`best`) is sure to be exact. Rows labelled `LEFT_OUT` are not scored.
        patience: a label set's path ends after this many values of C without a higher dev accuracy; None: never.
        together: the label sets are folds, for which dev chooses one C: by the mean of their accuracies.
    """
    columns = 1 if n_classes == 2 else n_classes
    matrix = design.matrix.for_columns(columns)
    if columns > DENSE and not together:  # nothing is gained side by side
        devs = [None if dev is None else (dev[0], [labels]) for labels in (dev[1] if dev else ys)]
        return [_paths(design, matrix, [y], n_classes, grid, own, patience, False)[0] for y, own in zip(ys, devs, strict=True)]
    return _paths(design, matrix, ys, n_classes, grid, dev, patience, together)


def _paths(design: Design, matrix: Matrix, ys, n_classes: int, grid, dev, patience, together: bool) -> list[list[Fit]]:
    """`fit_paths`, label sets side by side."""
    targets = torch.from_numpy(np.stack([np.asarray(y, dtype=np.int64) for y in ys]))  # (L, n)
    n, columns = labelled(targets), 1 if n_classes == 2 else n_classes
    weights = torch.zeros(len(ys), columns, len(matrix.rows))
    for own, labels in zip(weights, targets, strict=True):
        share = (torch.bincount(labels[labels != LEFT_OUT], minlength=n_classes).float() + 0.5) / (n + 0.5 * n_classes)
        own[:, -1] = torch.log(share[1] / share[0]) if columns == 1 else torch.log(share)

    def solve(passes: Passes, label_sets: list[int], C: float, along=None, rough=False):
        lam = 1 / (C * n)
        point, counts, converged = minimise(passes, lam, along, rough)
        objective, weights, fits = point.objective(lam), point.weights @ design.matrix.basis.T, []
        for at, which in enumerate(label_sets):
            fit = Fit(float(C), weights[at].T, float(objective[at]), int(counts[at]), bool(converged[at]), exact=not rough)
            if dev is not None:
                scored = dev[1][which] != LEFT_OUT
                fit = replace(fit, dev_accuracy=float((fit.predict(dev[0]) == dev[1][which])[scored].mean()))
            fits.append(fit)
        return point.weights, fits

    alive, along, chooses = list(range(len(ys))), None, dev is not None
    mixed = chooses and len(ys) == 1 and MixedPasses.pay(targets.shape[1], columns)
    passes = None
    paths: list[list[Fit]] = [[] for _ in ys]
    solved: list[list[torch.Tensor]] = [[] for _ in ys]

    def chosen(which: int) -> int:
        return best(*paths) if together else best(paths[which])

    for C in sorted(grid):
        if passes is None or len(ys) > 1:
            passes = None  # so that what it held is free
            passes = (MixedPasses if mixed else Passes)(matrix, targets[alive], weights)
        before = weights
        weights, fits = solve(passes, alive, C, along, chooses)
        if mixed and not fits[0].converged:  # the objective is small now, or rounding was in the way
            mixed, passes, spent = False, None, fits[0].iterations
            passes = Passes(matrix, targets, weights)
            weights, [fit] = solve(passes, alive, C, None if spent else along, rough=True)
            fits = [replace(fit, iterations=fit.iterations + spent)]
        for which, fit, own in zip(alive, fits, weights, strict=True):
            paths[which].append(fit)
            solved[which].append(own)
        unlimited = not chooses or patience is None
        on = [at for at, which in enumerate(alive) if unlimited or len(paths[which]) - 1 - chosen(which) < patience]
        if not on:
            break
        far = torch.tensor([columns > DENSE or fits[at].iterations > FAR for at in on])[:, None, None]
        alive, along, weights = [alive[at] for at in on], far * (weights - before)[on], weights[on]
    while chooses:
        rough = {which: chosen(which) for which, path in enumerate(paths) if not path[chosen(which)].exact}
        if not rough:
            break
        step = min(rough.values())
        group = [which for which, at in rough.items() if at == step]
        passes = None
        passes = Passes(matrix, targets[group], torch.stack([solved[which][step] for which in group]))
        _, fits = solve(passes, group, paths[group[0]][step].C)
        for which, fit in zip(group, fits, strict=True):
            paths[which][step] = replace(fit, iterations=paths[which][step].iterations + fit.iterations)
    return paths


def best(*paths: Sequence[Fit]) -> int:
    """Where the highest dev accuracy is, of several paths their mean; the first, so the strongest penalty, of equals."""
    return int(np.argmax(np.mean([[fit.dev_accuracy or 0.0 for fit in path] for path in paths], axis=0)))


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
        return torch.softmax(self._fit.scores(self._design.transform(X)).double(), 1).numpy()

    def predict(self, X: Features):
        """Shape (m,), values of `classes_`."""
        check_is_fitted(self)
        return self.classes_[self.predict_proba(X).argmax(1)]
