"""Erasure: affine maps of vectors after which a property cannot be read by a linear classifier, or less well.

Each method gives a frozen `Erasure`, x -> centre + matrix (x - centre), which maps stored vectors, and is also the projection of an
intervention (`probing.encoders.interventions`). Classes are one-hot: class numbers as one column of z would erase their linear
trend alone, and leave most of the property.

    leace       matrix = I - W+ U U' W, W = Sigma_xx^(-1/2), U the left singular vectors of W Sigma_xz: the smallest change after
                which x and z have no covariance (Belrose et al. 2023, theorem 4.2); no shrinkage
    inlp        the rows of softmax regressions, each fitted on what the ones before left (Ravfogel et al. 2020)
    means       the span of the class means less their mean
    random      random directions, the control: as many as the rank of what they are compared with

Float64 throughout; without dead units (of one value), which no map touches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from probing.encoders.interventions import Projection
from probing.errors import ConfigError, DataError
from probing.types import Labels, Values

METHODS = ("leace", "inlp", "means", "random")
PENALTY = 0.0005
"""Of INLP's softmax regression: mean cross-entropy + penalty |W|^2, on standardised x."""
TOLERANCE = 0.01
"""INLP stops where dev accuracy is so near to the majority's share."""
_RANK = 1e-4
"""Singular values below this share of the first classifier's largest one are no directions of INLP."""


@dataclass(frozen=True)
class Erasure:
    """x -> centre + matrix (x - centre) for vectors x of d units.

    Attributes:
        method: one of `METHODS`.
        matrix: (d, d).
        centre: (d,), the mean of the fitting data.
        rank: number of directions that are removed, the rank of I - matrix.
        guards: what cannot be read afterwards, in words.
        steps: of INLP, its iterations (`Step`), those that were not taken too.
    """

    method: str
    matrix: Values
    centre: Values
    rank: int
    guards: str
    steps: tuple[Step, ...] = field(default=(), repr=False)

    def __call__(self, x: ArrayLike) -> Values:
        """The erased vectors (n, d)."""
        moved = np.asarray(x, np.float64) - self.centre
        return self.centre + moved @ self.matrix.T

    @property
    def projection(self) -> Projection:
        """The value of an intervention."""
        return Projection(self.matrix, self.centre)

    def change(self, x: ArrayLike) -> float:
        """Mean squared distance of the erased vectors from the vectors, (n, d)."""
        return float(np.square(np.asarray(x, np.float64) - self(x)).sum(1).mean())


@dataclass(frozen=True)
class Step:
    """An iteration of INLP: accuracy (0-1) on dev of its classifier, before its own rows are removed; the rank and the matrix after
    that."""

    accuracy: float
    rank: int
    matrix: Values


def erase(method: str, x: ArrayLike, y: Labels, dev: tuple[ArrayLike, Labels] | None = None, seed: int = 0) -> Erasure:
    """The erasure of classes y, (n,), from vectors x, (n, d), by one of `METHODS`; `dev`: of INLP; `seed`: of random directions, as
    many as LEACE removes."""
    if method == "leace":
        return leace(x, y)
    if method == "inlp":
        return inlp(x, y, dev=dev)
    if method == "means":
        return means(x, y)
    if method == "random":
        return random(x, leace(x, y).rank, seed)
    raise ConfigError(f"method={method!r} is no erasure (allowed: {', '.join(METHODS)})")


def leace(x: ArrayLike, z: ArrayLike) -> Erasure:
    """LEACE in closed form.

    Args:
        x: vectors (n, d).
        z: class numbers (n,), which become one-hot, or labels 0 and 1 in columns (n, K).

    Raises:
        DataError: vectors that are not finite, one class only, or class numbers as a column.
    """
    x, z = _checked(x, z)
    centre = x.mean(0)
    moved, links = x - centre, z - z.mean(0)
    values, vectors = np.linalg.eigh(moved.T @ moved / len(x))
    kept = values > max(values.max(), 0) * len(values) * np.finfo(float).eps
    roots = np.sqrt(values[kept])
    white = vectors[:, kept] / roots @ vectors[:, kept].T  # (d, d), the root of the pseudoinverse
    back = vectors[:, kept] * roots @ vectors[:, kept].T
    u, s, _ = np.linalg.svd(white @ (moved.T @ links / len(x)), full_matrices=False)
    u = u[:, s > s.max(initial=0) * 1e-9]
    return Erasure("leace", np.eye(x.shape[1]) - back @ u @ u.T @ white, centre, u.shape[1], "every linear classifier on its data")


def means(x: ArrayLike, y: Labels) -> Erasure:
    """The orthogonal projection away from the differences of the class means; y: class numbers (n,)."""
    x, z = _checked(x, y)
    centre = x.mean(0)
    of_classes = z.T @ x / z.sum(0)[:, None] - centre  # (K, d)
    basis = _basis(of_classes, 1e-9 * float(np.linalg.norm(of_classes)))
    return Erasure("means", _away(basis), centre, basis.shape[1], "the class means of its data")


def random(x: ArrayLike, rank: int, seed: int = 0) -> Erasure:
    """The orthogonal projection away from `rank` random directions, uniform among those in which x, (n, d), varies at all."""
    x = _finite(x)
    live = np.flatnonzero(x.std(0) > 0)
    if not 0 <= rank <= len(live):
        raise ConfigError(f"{rank} random directions of vectors with {len(live)} units that are not constant")
    basis = np.zeros((x.shape[1], rank))
    drawn = np.random.default_rng([seed, 1]).standard_normal((len(live), rank))
    basis[live] = np.linalg.qr(drawn)[0]
    return Erasure("random", _away(basis), x.mean(0), rank, "nothing: a control")


def inlp(
    x: ArrayLike, y: Labels, iterations: int = 20, dev: tuple[ArrayLike, Labels] | None = None, penalty: float = PENALTY
) -> Erasure:
    """Iterative nullspace projection.

    In each iteration a softmax regression is fitted on standardised x, projected from the original by the span of all rows before;
    its rows are centred (a softmax knows only their differences), so that K classes give at most K - 1 directions. Iterations end
    where the classifier's accuracy on `dev` (None: on x itself) is within `TOLERANCE` of the majority's share: that one is not
    removed, so a property that cannot be read at all leaves x as it is. Released code counts K directions an iteration, and a
    control of so many random ones removes too much.

    Args:
        x, y: vectors (n, d) and class numbers (n,); `dev` likewise.
        iterations: most of them.

    Raises:
        DataError: as `leace`.
    """
    x, z = _checked(x, y)
    y = z.argmax(1)
    centre, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 0, scale, np.inf)
    standard = (x - centre) / scale
    dev_x, dev_y = (standard, y) if dev is None else ((_finite(dev[0]) - centre) / scale, np.asarray(dev[1]))
    majority = np.mean(dev_y == np.bincount(y).argmax())
    basis, steps, largest, chosen = np.zeros((x.shape[1], 0)), [], 0.0, 0
    for k in range(iterations):
        left = _away(basis)
        rows, predict = _softmax(standard @ left, y, penalty)
        accuracy = float(np.mean(predict(dev_x @ left) == dev_y))
        if accuracy > majority + TOLERANCE and chosen == k:
            chosen = k + 1
        largest = largest or float(np.linalg.norm(rows, 2))
        basis = np.hstack([basis, _basis(rows @ left, _RANK * largest)])
        steps.append(Step(accuracy, basis.shape[1], _scaled(_away(basis), scale)))
        if basis.shape[1] in (0, np.isfinite(scale).sum()) or (len(steps) > 1 and steps[-2].rank == basis.shape[1]):
            break
    taken = steps[chosen - 1] if chosen else Step(float(majority), 0, np.eye(x.shape[1]))
    made = Erasure("inlp", taken.matrix, centre, taken.rank, "", tuple(steps))
    accuracy = steps[chosen].accuracy if chosen < len(steps) else left_in(made, x, y, dev, penalty)[0]
    return replace(made, guards=f"softmax regression, to {'train' if dev is None else 'dev'} accuracy {accuracy:.3f}")


def left_in(
    one: Erasure, x: ArrayLike, y: Labels, dev: tuple[ArrayLike, Labels] | None = None, penalty: float = PENALTY
) -> tuple[float, float]:
    """What can be read after an erasure: accuracy (0-1) on `dev` (None: on x itself) of INLP's softmax regression, fitted on the
    erased x, (n, d), with class numbers y, (n,); and the share there of the majority class of y."""
    x, y = _finite(x), np.asarray(y, int)
    centre, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 0, scale, np.inf)
    _, predict = _softmax((one(x) - centre) / scale, y, penalty)
    at, gold = (x, y) if dev is None else (_finite(dev[0]), np.asarray(dev[1]))
    return float(np.mean(predict((one(at) - centre) / scale) == gold)), float(np.mean(gold == np.bincount(y).argmax()))


def _softmax(x: Values, y: Labels, penalty: float) -> tuple[Values, Callable[[Values], Labels]]:
    """The centred rows (K, d) of a softmax regression at its optimum, and what predicts."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1 / (2 * penalty * len(x)), tol=1e-8, max_iter=5000).fit(x, y)
    rows = model.coef_ if len(model.coef_) > 1 else np.vstack([-model.coef_, model.coef_]) / 2
    return rows - rows.mean(0), model.predict


def _basis(rows: Values, least: float) -> Values:
    """An orthonormal basis, (d, r), of the rows' span, without directions of a singular value up to `least`."""
    _, s, directions = np.linalg.svd(rows, full_matrices=False)
    return directions[s > least].T


def _away(basis: Values) -> Values:
    return np.eye(len(basis)) - basis @ basis.T


def _scaled(matrix: Values, scale: Values) -> Values:
    """The map of vectors, from that of standardised ones; units of infinite scale, which are constant, stay."""
    live = np.isfinite(scale)
    out = np.eye(len(scale))
    out[np.ix_(live, live)] = matrix[np.ix_(live, live)] * scale[live][:, None] / scale[live][None]
    return out


def _finite(x: ArrayLike) -> Values:
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or not len(x):
        raise DataError(f"erasure needs vectors (n, d), not an array of shape {x.shape}")
    if not np.isfinite(x).all():
        raise DataError("erasure: the vectors are not finite (NaN or infinite)")
    return x


def _checked(x: ArrayLike, z: Any) -> tuple[Values, Values]:
    """Vectors (n, d), and one-hot labels (n, K)."""
    x, z = _finite(x), np.asarray(z)
    if len(z) != len(x):
        raise DataError(f"erasure: {len(x)} vectors, but {len(z)} labels")
    if z.ndim == 1:
        if not np.issubdtype(z.dtype, np.integer) and not np.issubdtype(z.dtype, np.bool_):
            raise DataError("erasure: labels must be class numbers (n,), or 0 and 1 in columns (n, K)")
        classes, z = np.unique(z, return_inverse=True)
        z = np.eye(len(classes))[z]
    elif z.ndim != 2 or not np.isin(z, (0, 1)).all():
        raise DataError(
            "erasure: columns of labels must hold 0 and 1; class numbers as a column would erase their linear trend alone: give "
            "them as (n,), and they become one-hot"
        )
    if not (z.std(0) > 0).any():
        raise DataError("erasure: all labels are the same, so there is nothing to erase")
    return x, z.astype(np.float64)


def controls(x: ArrayLike, rank: int, draws: int = 20, seed: int = 0) -> Sequence[Erasure]:
    """Random directions of one rank, the control of an erasure."""
    return [random(x, rank, seed * 1000 + k) for k in range(draws)]
