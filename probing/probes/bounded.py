"""Linear probes of bounded size: a bound on the rank, a penalty on the nuclear norm (Pimentel et al. 2020, Pareto probing), and few
features.

    rank      logits = W2 (W1 x + b): two matrices, the bias in the first
    nuclear   mean cross-entropy in bits + alpha |[W, b]|_*: the bias stands in the norm
    sparse    L1 logistic regression; its size is the number of features that any class reads, chosen as at most k

Inputs of the first two are divided by their L2 norm + 1e-5, without which nuclear norms cannot be compared. The released code trains
by minibatches; here both problems are solved to an optimum of the whole train split: the first by L-BFGS from a drawn start (not
convex), the second by accelerated proximal steps (Beck & Teboulle 2009; convex), whose singular values become exact zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from probing.types import Features, Labels, Values

RANK_ABOVE = 1e-3
"""Singular values above this count for the rank."""

LN2 = float(np.log(2))


def normalised(x: ArrayLike) -> Values:
    """Rows (n, d) divided by their L2 norm + 1e-5."""
    x = np.asarray(x)
    return x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-5)


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


def fit_rank(data: Data, rank: int, seed: int, start: Bounded | None = None) -> Bounded:
    """A probe of at most this rank: two matrices, by L-BFGS from a drawn start, or from the best approximation of this rank of another
    probe. The bias stands in the first matrix, so that logits of x = 0 are in its range."""
    K, d = data.n_classes, data.x.shape[1]
    rng = np.random.default_rng(seed)
    if start is None:
        first, second = rng.normal(0, d**-0.5, (rank, d)), rng.normal(0, rank**-0.5, (K, rank))
    else:
        u, s, v = np.linalg.svd(np.column_stack([start.W, start.b]), full_matrices=False)
        first, second = np.sqrt(s[:rank, None]) * v[:rank], u[:, :rank] * np.sqrt(s[:rank])
        rank = len(first)

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        a, b = torch.from_numpy(flat[: rank * d]).float().view(rank, d), torch.from_numpy(flat[rank * d :]).float().view(K, rank)
        loss, gradient = data.loss(b @ a)
        return loss, torch.cat([(b.T @ gradient).flatten(), (gradient @ a.T).flatten()]).double().numpy()

    best = minimize(
        value, np.concatenate([first.ravel(), second.ravel()]), jac=True, method="L-BFGS-B", options={"maxiter": 400, "ftol": 1e-7, "maxcor": 20}
    )  # fmt: skip
    W = best.x[rank * d :].reshape(K, rank) @ best.x[: rank * d].reshape(rank, d)
    return Bounded(W[:, :-1], W[:, -1], float(rank), bool(best.nit < 400))


def fit_nuclear(data: Data, alpha: float, start: Bounded | None = None, tolerance: float = 1e-6, steps: int = 1000) -> Bounded:
    """The least of mean bits + alpha |[W, b]|_*; stops where the objective falls by less than the tolerance (bits) in 10 steps."""
    K, d = data.n_classes, data.x.shape[1]
    W = torch.zeros(K, d) if start is None else torch.from_numpy(np.column_stack([start.W, start.b])).float()
    rate, momentum, ahead, values = 1.0, 1.0, W.clone(), list[float]()
    for _ in range(steps):
        loss, gradient = data.loss(ahead)
        while True:
            u, s, v = torch.linalg.svd(ahead - rate * gradient, full_matrices=False)
            s = (s - rate * alpha).clamp_min(0)
            new = (u * s) @ v
            step = new - ahead
            new_loss, _ = data.loss(new)
            if new_loss <= loss + float((gradient * step).sum()) + float(step.square().sum()) / (2 * rate) + 1e-7:
                break
            rate /= 2
        values.append(new_loss + alpha * float(s.sum()))
        if len(values) > 1 and values[-1] > values[-2]:  # restart of the momentum (O'Donoghue & Candes 2015)
            momentum, ahead = 1.0, new.clone()
        else:
            later = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead = new + (momentum - 1) / later * (new - W)
            momentum = later
        W, rate = new, rate * 1.1
        if len(values) > 10 and values[-11] - min(values[-10:]) < tolerance:
            break
    out = W.double().numpy()
    own = Bounded(out[:, :-1], out[:, -1], converged=len(values) < steps)
    return Bounded(own.W, own.b, own.nuclear_norm, own.converged)


def fit_sparse(x: Values, labels: Labels, n_classes: int, k: int) -> Bounded:
    """A probe of at most k features of x (n, d), standardised: those that the L1 path keeps longest, refitted with an L2 penalty of
    C = 1. The path is scikit-learn's `LogisticRegression(l1_ratio=1, solver="saga")` in C, on at most 4,000 items; of several
    features that enter at one C those with the largest weight."""
    from sklearn.linear_model import LogisticRegression

    d = x.shape[1]
    kept = np.arange(d)
    if k < d:
        part = np.random.default_rng(0).permutation(len(x))[:4000]
        order: list[int] = []
        model = LogisticRegression(C=1.0, l1_ratio=1.0, solver="saga", tol=1e-2, max_iter=200, warm_start=True)
        for C in np.geomspace(1e-4, 1.0, 25):
            model.set_params(C=C).fit(x[part], labels[part])
            size = np.abs(model.coef_).max(0)
            new = [j for j in np.argsort(-size, kind="stable").tolist() if size[j] > 0 and j not in order]
            order += new
            if len(order) >= k:
                break
        kept = np.sort(order[:k])
    W, b = np.zeros((n_classes, d)), np.full(n_classes, -30.0)
    if len(kept) == 0:
        shares = (np.bincount(labels, minlength=n_classes) + 1) / (len(labels) + n_classes)
        return Bounded(W, np.log(shares), 0.0)
    final = LogisticRegression(C=1.0, max_iter=1000).fit(x[:, kept], labels)
    if len(final.classes_) == 2:
        W[final.classes_[1], kept], b[final.classes_] = final.coef_[0], [0.0, final.intercept_[0]]
    else:
        W[np.ix_(final.classes_, kept)], b[final.classes_] = final.coef_, final.intercept_
    return Bounded(W, b, float(len(kept)))
