"""L2-regularised logistic regression, solved for a whole path of C on features that are prepared once.

The objective is scikit-learn's (`LogisticRegression(C=C)`, solver lbfgs): minimise over W, b

    C * sum_i loss(y_i, x_i W + b) + ||W||^2 / 2            (the intercept b is not penalised)

with one logistic column for two classes and a softmax over K columns for K > 2, divided by C n: a mean in nats, lambda = 1 /
(C n). The path goes from strong to weak regularisation, each C starting at the last optimum. With dev labels every C is solved
to a loose tolerance first (`lbfgs.LOOSE_FACTOR`), with many classes in bfloat16 where the processor multiplies it
(`solver.loss.MixedPrecisionLoss`); then the C that is best on dev is solved exactly, until the best one is an exact optimum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.linalg.blas import ssyrk

from probing.errors import DataError
from probing.probes.solver.lbfgs import minimise
from probing.probes.solver.loss import FEW_COLUMNS, NO_LABEL, LogisticLoss, Matrix, MixedPrecisionLoss, count_labelled
from probing.types import Features, Labels

EXTRAPOLATE_AFTER = 3
"""With few columns: if an optimum took more iterations than this, the next C starts in the direction that led to it."""


@dataclass(frozen=True)
class Design:
    """The train features of a layer, centred and optionally standardised, with their covariance.

    `scale`, (d,), is 1 unless standardised, and infinite for a constant feature, which is 0 afterwards. Constant: its standard
    deviation is at most 1e-6 of its own |mean| (rounding), or 1e-6 of the lower median of the standard deviations of the
    features that are not constant by the first rule (a dead output of a layer).
    """

    mean: torch.Tensor
    scale: torch.Tensor
    matrix: Matrix

    @classmethod
    def prepare(cls, x: Features, standardize: bool = True) -> Design:
        """Return the design of train features (n, d); DataError if they are not finite."""
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
        """The number of constant features."""
        return int(self.scale.isinf().sum())

    @property
    def z(self) -> torch.Tensor:
        """The train features, centred and scaled, (n, d)."""
        return self.matrix.features[:-1].T

    def transform(self, x: Features) -> torch.Tensor:
        """Return other features (m, d), centred and scaled as the train features; DataError if they are not finite."""
        _check_finite(x, "")
        features = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).T.contiguous()
        _centre(features, self.mean)
        return features.div_(self.scale.float()[:, None]).T


def _check_finite(x: Features, which: str) -> None:
    if not np.isfinite(x).all():
        raise DataError(f"{int((~np.isfinite(x)).any(1).sum())} of {len(x)} {which}vectors are not finite (NaN or infinite)")


def _centre(features: torch.Tensor, mean: torch.Tensor) -> None:
    """Subtract a float64 mean from (d, n), in place, in two steps: the first is exact where a feature varies little around it."""
    rounded = mean.float()
    features.sub_(rounded[:, None]).sub_((mean - rounded).float()[:, None])


@dataclass(frozen=True)
class Fit:
    """The optimum of one label set at one C, for features that the design has transformed. `weights`: (d + 1, 1) for two classes,
    (d + 1, K) for more, the last row is the intercept; `objective`: scikit-learn's divided by C n, in nats, to about 1e-5 in
    bfloat16; `dev_accuracy`: 0-1; `exact`: False for the loose solution of a C that dev did not choose."""

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
        return self.scores(z).argmax(1).cpu().numpy()


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
    """Return for every label set its optima for the values of C in `grid`, smallest first.

    Args:
        ys: class indices of the design's rows, (n,) each; rows labelled `NO_LABEL` are not used (as many in each).
        n_classes: K; classes that do not occur in a label set are allowed.
        dev: transformed features, and labels for each label set, on which each optimum is scored. With it, only the fit that is
            best on dev (`best`) is sure to be exact. Rows labelled `NO_LABEL` are not scored.
        patience: a label set's path ends after this many values of C without a higher dev accuracy; None: never. Its best value
            is never the last one tried, unless that is the largest of the grid.
        together: the label sets are folds, for which dev chooses one C: by the mean of their accuracies.
    """
    columns = 1 if n_classes == 2 else n_classes
    matrix = design.matrix.for_columns(columns)
    if columns > FEW_COLUMNS and len(ys) > 1 and not together:  # nothing is gained side by side
        design = replace(design, matrix=matrix)
        devs = [None if dev is None else (dev[0], [labels]) for labels in (dev[1] if dev else ys)]
        return [fit_paths(design, [y], n_classes, grid, own_dev, patience)[0] for y, own_dev in zip(ys, devs, strict=True)]
    targets = torch.from_numpy(np.stack([np.asarray(y, dtype=np.int64) for y in ys])).to(matrix.features.device)  # (L, n)
    n = count_labelled(targets)
    paths: list[list[Fit]] = [[] for _ in ys]
    solutions: list[list[torch.Tensor]] = [[] for _ in ys]  # weights of the paths' fits, in the eigenbasis

    def solve(
        loss: LogisticLoss, label_sets: list[int], C: float, first_direction: torch.Tensor | None = None, loose: bool = False
    ) -> tuple[torch.Tensor, list[Fit]]:
        lam = 1 / (C * n)
        optima, iterations, converged = minimise(loss, lam, first_direction, loose)
        objective, weights, fits = optima.objective(lam), optima.weights @ matrix.basis.T, []
        for row, k in enumerate(label_sets):
            fit = Fit(float(C), weights[row].T, float(objective[row]), int(iterations[row]), bool(converged[row]), exact=not loose)
            if dev is not None:
                scored = dev[1][k] != NO_LABEL
                fit = replace(fit, dev_accuracy=float((fit.predict(dev[0]) == dev[1][k])[scored].mean()))
            fits.append(fit)
        return optima.weights, fits

    def chosen(k: int) -> int:
        return best(*paths) if together else best(paths[k])

    weights = _class_frequencies(targets, n, n_classes, len(matrix.features))
    active, first_direction, loss = list(range(len(ys))), None, None  # active: label sets whose path goes on
    loose = dev is not None
    mixed = loose and len(ys) == 1 and MixedPrecisionLoss.pays(targets.shape[1], columns)
    for C in sorted(grid):
        if loss is None or len(ys) > 1:
            loss = None  # frees its memory
            loss = (MixedPrecisionLoss if mixed else LogisticLoss)(matrix, targets[active], weights)
        start = weights
        weights, fits = solve(loss, active, C, first_direction, loose)
        if mixed and not fits[0].converged:  # the objective is too small for bfloat16, or rounding was in the way
            mixed, loss, spent = False, None, fits[0].iterations
            loss = LogisticLoss(matrix, targets, weights)
            weights, [fit] = solve(loss, active, C, None if spent else first_direction, loose=True)
            fits = [replace(fit, iterations=fit.iterations + spent)]
        for k, fit, solution in zip(active, fits, weights, strict=True):
            paths[k].append(fit)
            solutions[k].append(solution)
        limit = patience if loose and patience is not None else math.inf
        rows = [row for row, k in enumerate(active) if len(paths[k]) - 1 - chosen(k) < limit]
        if not rows:
            break
        far = torch.tensor([columns > FEW_COLUMNS or fits[row].iterations > EXTRAPOLATE_AFTER for row in rows])[:, None, None]
        active, first_direction, weights = [active[row] for row in rows], far * (weights - start)[rows], weights[rows]
    while loose:
        inexact = {k: chosen(k) for k, path in enumerate(paths) if not path[chosen(k)].exact}
        # the exact optima may make the last value tried the best one: the path goes on, unless it is the last of the grid
        short = {} if inexact else {k: len(path) for k, path in enumerate(paths) if chosen(k) == len(path) - 1 < len(grid) - 1}
        if not (steps := inexact or short):
            break
        step = min(steps.values())
        group = [k for k, own_step in steps.items() if own_step == step]
        loss = None
        loss = LogisticLoss(matrix, targets[group], torch.stack([solutions[k][: step + 1][-1] for k in group]))
        weights, fits = solve(loss, group, sorted(grid)[step], loose=not inexact)
        for k, fit, solution in zip(group, fits, weights, strict=True):
            if inexact:
                paths[k][step] = replace(fit, iterations=paths[k][step].iterations + fit.iterations)
            else:
                paths[k].append(fit)
                solutions[k].append(solution)
    return paths


def _class_frequencies(targets: torch.Tensor, n: int, n_classes: int, p: int) -> torch.Tensor:
    """Return start weights (L, K, p): intercepts that predict the smoothed class frequencies of each label set, and zeros."""
    weights = torch.zeros(len(targets), 1 if n_classes == 2 else n_classes, p)
    for own_weights, labels in zip(weights, targets, strict=True):
        share = (torch.bincount(labels[labels != NO_LABEL], minlength=n_classes).float() + 0.5) / (n + 0.5 * n_classes)
        own_weights[:, -1] = torch.log(share[1] / share[0]) if n_classes == 2 else torch.log(share)
    return weights


def best(*paths: Sequence[Fit]) -> int:
    """Return the index of the highest dev accuracy, of several paths their mean; of equals the first, so the strongest penalty."""
    return int(np.argmax(np.mean([[fit.dev_accuracy or 0.0 for fit in path] for path in paths], axis=0)))
