"""Greedy forward selection of neurons under a Gaussian of each class (Torroba Hennigen et al. 2020).

    p(v | h_S) is proportional to p(v) N(h_S; mu_v, Sigma_v), with the class shares of train; the next neuron is the one with the
    largest mean log posterior on dev (ties: the lower index), and MI = H(V) + that, in bits, with H of the labels of dev.

Covariances, S the scatter of a class with n items: mle S / (n - 1); map (diag(S) / n + S) / (n + 1); map_released (diag(S) / n +
S) / (n + 2 d + 4) with d of the whole layer, which makes rare classes narrow (rycolab/intrinsic-probing; kept to compare). A step
adds one column to the Cholesky factor of every class, so that all candidates of a step cost one pass over dev.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from probing.errors import ConfigError
from probing.types import Labels, Values

COVARIANCES = ("map", "mle", "map_released")

LEAST = 2
"""Train items that a class needs; rarer ones are never predicted."""


@dataclass(frozen=True)
class Gaussians:
    """Log shares (K,), means (K, d) and covariances (K, d, d) of the classes that are common enough; `classes`: which these are."""

    classes: np.ndarray
    shares: Values
    means: Values
    covariances: Values

    @classmethod
    def fit(cls, z: Values, y: Labels, covariance: str = "map", width: int | None = None) -> Gaussians:
        """`width`: d of map_released; None: of z."""
        if covariance not in COVARIANCES:
            raise ConfigError(f"covariance={covariance!r} is unknown (allowed: {', '.join(COVARIANCES)})")
        counts, d = np.bincount(y), z.shape[1] if width is None else width
        classes = np.flatnonzero(counts >= LEAST)
        means = np.stack([z[y == k].mean(0) for k in classes])
        sigma = np.empty((len(classes), z.shape[1], z.shape[1]))
        for own, k, mean in zip(sigma, classes, means, strict=True):
            centred, n = z[y == k] - mean, counts[k]
            scatter = centred.T @ centred
            if covariance == "mle":
                own[:] = scatter / (n - 1)
            else:
                own[:] = (np.diag(np.diag(scatter) / n) + scatter) / (n + (1 if covariance == "map" else 2 * d + 4))
        return cls(classes, np.log(counts[classes] / counts.sum()), means, sigma)

    def log_posterior(self, z: Values, columns: Sequence[int]) -> Values:
        """log p(v | h_S) in nats, (n, K), from these columns."""
        S = np.asarray(columns)
        joint = np.empty((len(z), len(self.classes)))
        for k in range(len(self.classes)):
            factor = np.linalg.cholesky(self.covariances[k][np.ix_(S, S)])
            u = np.linalg.solve(factor, (z[:, S] - self.means[k, S]).T)
            joint[:, k] = self.shares[k] - 0.5 * (u**2).sum(0) - np.log(np.diag(factor)).sum() - len(S) / 2 * np.log(2 * np.pi)
        return joint - logsumexp(joint, 1, keepdims=True)


@dataclass(frozen=True)
class Step:
    """After a step: the neurons so far; mean log posterior on dev as MI in bits and as a share of H; dev accuracy (0-1)."""

    columns: tuple[int, ...]
    information: float
    normalised: float
    accuracy: float


def select(gaussians: Gaussians, z: Values, y: Labels, steps: int, live: np.ndarray | None = None) -> list[Step]:
    """The first neurons by greedy selection on dev activations z (n, d) and labels; at most as many as are live.

    Dev items of a class that train lacks, or has too rarely, take no part.
    """
    kept = np.isin(y, gaussians.classes)
    z, gold = z[kept], np.searchsorted(gaussians.classes, y[kept])
    n, d, K = len(z), z.shape[1], len(gaussians.classes)
    open_ = np.ones(d, bool) if live is None else live.copy()
    share = np.bincount(gold, minlength=K) / n
    entropy = float(-(share[share > 0] * np.log2(share[share > 0])).sum())
    mean, variance = (
        np.repeat(gaussians.means[:, None], n, 1),
        np.stack([np.diag(c) for c in gaussians.covariances]),
    )  # (K, n, d), (K, d)
    columns = np.zeros((K, d, min(steps, d)))  # of the Cholesky factors
    base = np.repeat(gaussians.shares[None], n, 0)  # log p(v) + log N of the columns so far: (n, K)
    chosen: list[int] = []
    result = []
    for step in range(min(steps, int(open_.sum()))):
        best, at = _best(base, z, mean, variance, gold, open_)
        deviation = np.sqrt(variance[:, best])  # (K,)
        u = (z[:, best] - mean[:, :, best]) / deviation[:, None]  # (K, n)
        base = base + (-0.5 * u**2 - np.log(deviation)[:, None] - 0.5 * np.log(2 * np.pi)).T
        done = np.einsum("ks,kds->kd", columns[:, best, :step], columns[:, :, :step])
        column = (gaussians.covariances[:, best] - done) / deviation[:, None]  # (K, d)
        columns[:, :, step] = column
        mean += u[:, :, None] * column[:, None, :]
        variance = np.maximum(variance - column**2, 1e-12)
        open_[best] = False
        chosen.append(int(best))
        information = entropy + at / np.log(2)
        result.append(
            Step(tuple(chosen), information, information / entropy if entropy else 0.0, float((base.argmax(1) == gold).mean()))
        )
    return result


def _best(base: Values, z: Values, mean: Values, variance: Values, gold: Labels, open_: np.ndarray) -> tuple[int, float]:
    """The candidate with the largest mean log posterior of the gold class, and that, in nats; in blocks, to bound memory."""
    candidates = np.flatnonzero(open_)
    block, scores = max(1, 4_000_000 // (len(z) * base.shape[1])), []
    for start in range(0, len(candidates), block):
        own = candidates[start : start + block]
        v = variance[:, own][:, None]  # (K, 1, b)
        joint = base.T[:, :, None] - 0.5 * (z[None, :, own] - mean[:, :, own]) ** 2 / v - 0.5 * np.log(v)
        top = joint.max(0)
        log_sum = top + np.log(np.exp(joint - top).sum(0))  # (n, b)
        scores.append((np.take_along_axis(joint, gold[None, :, None], 0)[0] - log_sum).mean(0))
    all_scores = np.round(np.concatenate(scores), 12)
    place = int(all_scores.argmax())
    return int(candidates[place]), float(all_scores[place])
