"""Several layers in one probe: the scalar mix of Tenney et al. (2019), its statistics, and the expected layer.

    mix = gamma sum_l s_l h_l,  s = softmax(w),  l = 0 (embeddings) .. L

The released mix starts at w = 0, gamma = 1, without layer norm. The shares s_l tell a layer's part only where layers have like
norms: `rescaled` gives s_l mean |h_l| / sum. At the start the centre of gravity is L / 2, so that an untrained mix looks like a
middle layer: `moved` says how far w went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import softmax

from probing.errors import DataError
from probing.types import Features, Labels, Values

MOST_ITEMS = 20_000
"""The weights of a mix are fitted on at most so many train items, drawn by the seed; the probe of the mix is fitted on all."""

BLOCK = 1024
"""Items whose products are summed in float32; the sums of blocks are in float64."""


@dataclass(frozen=True)
class Mix:
    """Weights w of the layers, (L + 1,), NaN or minus infinity for one that is left out; mean norms of the layers, if known."""

    w: Values
    norms: Values | None = None
    converged: bool = True

    @property
    def kept(self) -> np.ndarray:
        return np.isfinite(self.w)

    @property
    def shares(self) -> Values:
        """s = softmax(w), (L + 1,), 0 for a layer that is left out."""
        return softmax(np.where(self.kept, self.w, -np.inf))

    @property
    def centre(self) -> float:
        """The centre of gravity, sum_l l s_l."""
        return float(self.shares @ np.arange(len(self.w)))

    @property
    def centre_from_1(self) -> float:
        """The same over the layers from 1 on, renormalised; NaN if none of them takes part."""
        s = self.shares[1:]
        return float(s @ np.arange(1, len(self.w)) / s.sum()) if s.sum() else np.nan

    @property
    def kl_uniform(self) -> float:
        """KL of the shares to the uniform over the layers that take part, in bits."""
        return kl_to_uniform(self.shares[self.kept])

    @property
    def moved(self) -> float:
        """The largest distance of two weights: 0 at the start."""
        return float(np.ptp(self.w[self.kept]))

    @property
    def rescaled(self) -> Values:
        """Shares times mean norms of the layers, normalised; NaN where the norms are not known."""
        part = self.shares * (np.full(len(self.w), np.nan) if self.norms is None else self.norms)
        return part / part.sum()

    def of(self, layers: Sequence[Features], gamma: float = 1.0) -> Features:
        """The mixed features, (n, d)."""
        total = np.zeros(np.shape(layers[0]), dtype=np.asarray(layers[0]).dtype)
        for share, layer in zip(self.shares.tolist(), layers, strict=True):
            total += gamma * share * np.asarray(layer) if share else 0
        return total


def kl_to_uniform(shares: ArrayLike) -> float:
    """KL divergence of shares (k,) to the uniform over k, in bits; NaN if they are not."""
    s = np.asarray(shares, float)
    positive = s[s > 0]
    return float((positive * np.log2(positive * len(s))).sum()) if len(positive) else np.nan


def fit_mix(layers: Sequence[Features], labels: Labels, n_classes: int, C: float = 1.0, seed: int = 0) -> Mix:
    """The mix whose weights are fitted together with a linear softmax probe on it, from w = 0.

    Least of the mean cross-entropy plus |W|^2 / (2 C n) over w, W and b, by L-BFGS (SciPy) from w = 0: unlike the released
    minibatch training it ends at an optimum, and no rate of w has to be chosen. The features are centred and scaled, each by one
    number for all layers, which the penalty alone can tell from the raw ones. Not convex: the start is part of the definition.
    DataError for features that are not finite."""
    n, d = layers[0].shape
    rows = np.sort(np.random.default_rng(seed).permutation(n)[:MOST_ITEMS])
    h = torch.stack([torch.from_numpy(np.ascontiguousarray(layer[rows], np.float32)) for layer in layers])  # (L + 1, m, d)
    norms = h.norm(dim=2).mean(1).double().numpy()
    if not torch.isfinite(h).all():
        raise DataError("train vectors are not finite (NaN or infinite)")
    h -= h.mean(1, keepdim=True)
    scale = h.square().mean((0, 1)).sqrt()
    h /= torch.where(scale > 1e-6 * scale.median(), scale, torch.inf)
    n_layers, m, _ = h.shape
    targets = torch.from_numpy(np.asarray(labels, np.int64)[rows])
    lam = 1 / (C * m)

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        theta = torch.from_numpy(flat).float()
        w, W, b = theta[:n_layers], theta[n_layers:-n_classes].view(n_classes, d), theta[-n_classes:]
        s = torch.softmax(w, 0)
        mixed = torch.tensordot(s, h, 1)  # (m, d)
        log_p = torch.log_softmax(torch.addmm(b, mixed, W.T), 1)
        loss = -log_p.gather(1, targets[:, None]).double().mean() + lam / 2 * W.double().square().sum()
        residual = log_p.exp()
        residual.scatter_add_(1, targets[:, None], -torch.ones(m, 1))
        residual /= m
        toward = residual @ W  # (m, d), the gradient of the mixed features
        of_s = torch.zeros(n_layers, dtype=torch.float64)
        for part in range(0, m, BLOCK):  # matrix times vector, without a copy of h
            of_s += h[:, part : part + BLOCK].flatten(1) @ toward[part : part + BLOCK].flatten()
        of_w = s * (of_s - s.double() @ of_s)
        gradient = torch.cat([of_w.float(), (residual.T @ mixed + lam * W).flatten(), residual.sum(0)])
        return float(loss), gradient.double().numpy()

    start = np.zeros(n_layers + n_classes * (d + 1))
    best = minimize(value, start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-7, "gtol": 1e-6, "maxcor": 20})
    return Mix(best.x[:n_layers], norms, bool(best.nit < 500))


@dataclass(frozen=True)
class ExpectedLayer:
    """From scores of probes on the layers 0..l, l = 0..L: the gains, (L,), and their mean layer

        E = sum_{l>=1} l gain_l / sum_{l>=1} gain_l

    NaN where the denominator is 0; a negative gain can put it outside 1..L, where it says nothing (`inside`). `layers`: the number
    of each score's layer, (L + 1,), where these are not 0..L."""

    gains: Values
    layers: Values

    @classmethod
    def of(cls, scores: ArrayLike, layers: ArrayLike | None = None) -> ExpectedLayer:
        gains = np.diff(np.asarray(scores, float))
        return cls(gains, np.arange(len(gains) + 1.0) if layers is None else np.asarray(layers, float))

    @property
    def value(self) -> float:
        total = self.gains.sum()
        if abs(total) <= 1e-12 * max(1.0, np.abs(self.gains).max(initial=0)):  # rounding of equal scores
            return np.nan
        return float(self.gains @ self.layers[1:] / total)

    @property
    def inside(self) -> bool:
        return bool(self.layers[1] - 1e-9 <= self.value <= self.layers[-1] + 1e-9)

    @property
    def kl_uniform(self) -> float:
        """KL of the gains, negative ones set to 0 and normalised, to the uniform over 1..L, in bits."""
        gains = np.maximum(self.gains, 0)
        return kl_to_uniform(gains / gains.sum()) if gains.sum() > 0 else np.nan


def running_max(scores: ArrayLike, layers: ArrayLike | None = None) -> ExpectedLayer:
    """The expected layer of the largest score so far: inside 1..L always, and drawn to low layers."""
    return ExpectedLayer.of(np.maximum.accumulate(np.asarray(scores, float)), layers)
