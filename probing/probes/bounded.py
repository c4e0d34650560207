"""Linear probes of bounded size: a bound on the rank, a penalty on the nuclear norm (Pimentel et al. 2020, Pareto probing), and few
features.

    rank      logits = W2 (W1 x + b): two matrices, the bias in the first
    nuclear   mean cross-entropy in bits + alpha |[W, b]|_*: the bias stands in the norm
    sparse    the k features that an L1 path takes up first, refitted by L2 logistic regression at C = 1

Inputs of the first two are divided by their L2 norm + 1e-5, without which nuclear norms cannot be compared. The released code
trains by minibatches with early stop. Here rank is fitted by L-BFGS from a drawn start and stops early on dev (not convex); the
norms by accelerated proximal steps (Beck & Teboulle 2009; convex), which give exact zeros."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from probing.errors import DataError
from probing.probes.fitted import Linear
from probing.probes.logistic import Design, fit_path
from probing.types import Features, Labels, Values

RANK_ABOVE = 1e-3
"""Singular values above this count for the rank."""

LOOK, TENACITY, STEPS = 5, 6, 1000
"""Iterations between two looks at dev; looks without gain before the fit of a rank ends; most iterations of a fit."""

LN2 = float(np.log(2))


def normalised(x: ArrayLike) -> Values:
    """Rows (n, d) divided by their L2 norm + 1e-5; DataError if they are not finite."""
    x = np.asarray(x)
    if not np.isfinite(x).all():
        raise DataError(f"{int((~np.isfinite(x)).any(1).sum())} of {len(x)} vectors are not finite (NaN or infinite)")
    return x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-5)


def standardised(x: Features) -> Features:
    """Columns of x (n, d) with mean 0 and standard deviation 1; constant ones are 0."""
    return Design.prepare(x).z.numpy()


@dataclass(frozen=True)
class Bounded:
    """A linear probe of prepared features (n, d): W (K, d), b (K,); and its complexity: `size`, of its kind."""

    W: Values
    b: Values
    size: float = np.nan
    converged: bool = True

    def scores(self, x: ArrayLike) -> Values:
        return np.asarray(x) @ self.W.T + self.b

    def predict(self, x: ArrayLike) -> Labels:
        return self.scores(x).argmax(1)

    def bits(self, x: ArrayLike, labels: Labels) -> Values:
        """Cross-entropy of each label in bits, (n,)."""
        logits = self.scores(x)
        top = logits.max(1, keepdims=True)
        total = np.log(np.exp(logits - top).sum(1)) + top[:, 0]
        return (total - logits[np.arange(len(labels)), labels]) / LN2

    @property
    def singular_values(self) -> Values:
        """Of [W, b], falling."""
        return np.linalg.svd(np.column_stack([self.W, self.b]), compute_uv=False)

    @property
    def nuclear_norm(self) -> float:
        return float(self.singular_values.sum())

    @property
    def rank(self) -> int:
        return int((self.singular_values > RANK_ABOVE).sum())


class Data(NamedTuple):
    """Features (n, d), one of them constant 1 where a bias belongs, and labels, as tensors."""

    x: torch.Tensor
    y: torch.Tensor
    n_classes: int

    @classmethod
    def of(cls, x: ArrayLike, labels: Labels, n_classes: int, ones: bool = True) -> Data:
        features = torch.from_numpy(np.ascontiguousarray(x, np.float32))
        features = torch.cat([features, torch.ones(len(features), 1)], 1) if ones else features
        return cls(features, torch.from_numpy(np.asarray(labels, np.int64)), n_classes)

    def loss(self, W: torch.Tensor) -> tuple[float, torch.Tensor]:
        """Mean cross-entropy in bits of logits x W', and its gradient (K, d)."""
        log_p = torch.log_softmax(self.x @ W.T, 1)
        value = -log_p.gather(1, self.y[:, None]).double().mean() / LN2
        residual = log_p.exp_()
        residual.scatter_add_(1, self.y[:, None], -torch.ones(len(self.y), 1))
        return float(value), (residual.T @ self.x) / (len(self.y) * LN2)


def fit_rank(data: Data, dev: Data, rank: int, seed: int) -> Bounded:
    """A probe of at most this rank: two matrices, by L-BFGS from a drawn start; of its iterates, looked at every `LOOK`, the one
    with the lowest dev loss, and it stops after `TENACITY` looks without a lower one."""
    K, d = data.n_classes, data.x.shape[1]
    rng = np.random.default_rng(seed)
    start = np.concatenate([rng.normal(0, d**-0.5, rank * d), rng.normal(0, rank**-0.5, K * rank)])

    def parts(flat: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        theta = torch.from_numpy(flat).float()
        return theta[: rank * d].view(rank, d), theta[rank * d :].view(K, rank)

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        first, second = parts(flat)
        loss, gradient = data.loss(second @ first)
        return loss, torch.cat([(second.T @ gradient).flatten(), (gradient @ first.T).flatten()]).double().numpy()

    best, looks = (np.inf, start, 0), 0

    def look(flat: np.ndarray) -> None:
        nonlocal best, looks
        looks += 1
        if looks % LOOK:
            return
        first, second = parts(flat)
        loss, _ = dev.loss(second @ first)
        if loss < best[0]:
            best = (loss, flat.copy(), looks)
        elif looks - best[2] >= TENACITY * LOOK:
            raise StopIteration

    minimize(value, start, jac=True, method="L-BFGS-B", callback=look, options={"maxiter": STEPS, "ftol": 1e-9, "maxcor": 20})
    first, second = parts(best[1])
    W = (second.double() @ first.double()).numpy()
    return Bounded(W[:, :-1], W[:, -1], float(rank), looks < STEPS)


Shrink = Callable[[torch.Tensor, float], tuple[torch.Tensor, float]]
"""Weights and a step size to the weights after the proximal step of a norm, and that norm of them."""


def proximal(data: Data, start: torch.Tensor, alpha: float, shrink: Shrink, tolerance: float = 1e-6) -> tuple[torch.Tensor, bool]:
    """The least of mean bits + alpha norm(weights), and whether the steps ended: where the objective falls by less than the
    tolerance (bits) in ten of them."""
    W, ahead, rate, momentum, values = start, start.clone(), 1.0, 1.0, list[float]()
    for _ in range(STEPS):
        loss, gradient = data.loss(ahead)
        while True:
            new, norm = shrink(ahead - rate * gradient, rate * alpha)
            step = new - ahead
            new_loss, _ = data.loss(new)
            if new_loss <= loss + float((gradient * step).sum()) + float(step.square().sum()) / (2 * rate) + 1e-7:
                break
            rate /= 2
        values.append(new_loss + alpha * norm)
        if len(values) > 1 and values[-1] > values[-2]:  # the momentum starts again (O'Donoghue & Candes 2015)
            momentum, ahead = 1.0, new.clone()
        else:
            later = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead, momentum = new + (momentum - 1) / later * (new - W), later
        W, rate = new, rate * 1.1
        if len(values) > 10 and values[-11] - min(values[-10:]) < tolerance:
            return W, True
    return W, False


def _shrink_singular_values(W: torch.Tensor, by: float) -> tuple[torch.Tensor, float]:
    u, s, v = torch.linalg.svd(W, full_matrices=False)
    s = (s - by).clamp_min(0)
    return (u * s) @ v, float(s.sum())


def _shrink_entries(W: torch.Tensor, by: float) -> tuple[torch.Tensor, float]:
    """Of all columns but the last, the bias."""
    weights = W[:, :-1].sign() * (W[:, :-1].abs() - by).clamp_min(0)
    return torch.cat([weights, W[:, -1:]], 1), float(weights.abs().sum())


def fit_nuclear(data: Data, alpha: float, start: Bounded | None = None) -> Bounded:
    """The least of mean bits + alpha |[W, b]|_*; its size is that norm."""
    given = np.zeros((data.n_classes, data.x.shape[1])) if start is None else np.column_stack([start.W, start.b])
    W, converged = proximal(data, torch.from_numpy(given).float(), alpha, _shrink_singular_values)
    out = W.double().numpy()
    return Bounded(out[:, :-1], out[:, -1], float(np.linalg.svd(out, compute_uv=False).sum()), converged)


def order_of_features(data: Data, most: int) -> list[int]:
    """The features, but the last, in the order in which a path of falling L1 penalties takes them up, until there are `most`; of
    those that enter together the largest weight first. The features should be standardised."""
    W = torch.zeros(data.n_classes, data.x.shape[1])
    W[:, -1] = torch.log((torch.bincount(data.y, minlength=data.n_classes) + 0.5) / len(data.y))
    largest = float(data.loss(W)[1][:, :-1].abs().max())  # from here on all weights are 0
    order: list[int] = []
    for alpha in np.geomspace(largest, largest / 1000, 40)[1:]:
        W, _ = proximal(data, W, float(alpha), _shrink_entries, 1e-4)
        size = W[:, :-1].abs().amax(0)
        order += [j for j in size.argsort(descending=True, stable=True).tolist() if size[j] > 0 and j not in order]
        if len(order) >= most:
            break
    return order[:most]


def fit_few(x: Features, labels: Labels, n_classes: int, kept: ArrayLike) -> Bounded:
    """L2 logistic regression (C = 1) on the features of these numbers, standardised, of x (n, d)."""
    kept = np.sort(np.asarray(kept, np.int64))
    W, b = np.zeros((n_classes, x.shape[1])), np.zeros(n_classes)
    design = Design.prepare(x[:, kept])
    [fit] = fit_path(design, labels, n_classes, [1.0])
    linear = Linear.undone(design, fit.weights[:-1].T, fit.weights[-1])
    rows = slice(-len(linear.coef_), None)  # of two classes the second
    W[rows, kept], b[rows] = linear.coef_, linear.intercept_
    return Bounded(W, b, float(len(kept)), fit.converged)


def front(sizes: ArrayLike, scores: ArrayLike) -> np.ndarray:
    """Whether each probe is on the front, (n,): no other is as small and scores higher, or is smaller and scores as high."""
    a, b = np.asarray(sizes, float), np.asarray(scores, float)
    beaten = (a[None] <= a[:, None]) & (b[None] >= b[:, None]) & ((a[None] < a[:, None]) | (b[None] > b[:, None]))
    on_front: np.ndarray = np.logical_not(beaten.any(axis=1))
    return on_front
