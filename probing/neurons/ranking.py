"""Rankings of the neurons of a layer by what they tell of a label, all on inputs standardised by train.

    linear           place of a neuron in the weights of a softmax regression (Dalvi et al. 2019), without steps:
    `cumulative_places` mean_abs         mean over classes of |weight| of the same regression (Antverg & Belinkov 2022)
    probeless        sum over pairs of classes of |difference of class means| (Antverg & Belinkov 2022)
    mean_difference  largest |mean of a class less mean of the others| (Gurnee et al. 2023)
    variance         standard deviation of the raw values: reads no label, and is the only ranking that a change of scale moves
    random           drawn

Greedy selection under Gaussians is in `probing.neurons.gaussian`. A dead neuron, whose values do not vary, is last in every
ranking. Sources: fdalvi/NeuroX (whose order is a set's within steps of 1 %), technion-cs-nlp/Individual-Neurons-Pitfalls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from probing.errors import DataError
from probing.types import Labels, Values

DEAD = 1e-6
"""A neuron is dead if its standard deviation is at most this share of its |mean|, or of the median deviation of the others."""

L2 = 0.01
"""Default penalty of the regression: mean cross-entropy in nats + L2 / 2 * sum of squared weights."""

RANKINGS = ("linear", "mean_abs", "probeless", "mean_difference", "variance", "gaussian", "random")


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation (ddof 0) of each neuron on train, (d,) each; `live`: which of them vary, (d,)."""

    mean: np.ndarray
    sd: np.ndarray
    live: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> Scale:
        """Of train activations (n, d); DataError if some are not finite."""
        x = np.asarray(x, float)
        if not np.isfinite(x).all():
            raise DataError(f"{int((~np.isfinite(x)).any(1).sum())} of {len(x)} vectors are not finite (NaN or infinite)")
        mean = x.mean(0)
        sd = np.sqrt(((x - mean) ** 2).mean(0))  # two passes: no cancellation
        live = sd > np.maximum(DEAD * np.abs(mean), np.finfo(np.float32).tiny)
        if live.any():
            live &= sd > DEAD * np.median(sd[live])
        return cls(mean, sd, live)

    def __call__(self, x: np.ndarray) -> Values:
        """Standardised activations (n, d); those of dead neurons are 0."""
        z = np.asarray(x, float) - self.mean
        z /= np.where(self.live, self.sd, 1.0)
        z[:, ~self.live] = 0.0
        return z

    @property
    def dead(self) -> list[int]:
        return np.flatnonzero(~self.live).tolist()


def linear_weights(z: Values, y: Labels, n_classes: int, l2: float = L2, exact: bool = False) -> tuple[Values, Values]:
    """Weights (K, d) and intercepts (K,) of the softmax regression that minimises mean cross-entropy + l2 / 2 * |W|^2.

    `exact`: by scikit-learn in float64, to about 1e-6; else by the solver of the probes in float32, to about 1e-3 of a weight. A
    class that does not occur has weights of 0 and an intercept of minus infinity.
    """
    classes = np.unique(y)
    weights, intercepts = np.zeros((n_classes, z.shape[1])), np.full(n_classes, -np.inf)
    if len(classes) == 1 or z.shape[1] == 0:
        intercepts[classes] = np.log(np.bincount(y)[classes] / len(y))
        return weights, intercepts
    own = np.searchsorted(classes, y)
    C = (2 if len(classes) == 2 else 1) / (l2 * len(z))  # two columns of opposite weights have half the squares of their difference
    W, b = (_exact if exact else _fast)(z, own, len(classes), C)
    if len(classes) == 2:
        W, b = np.concatenate([-W / 2, W / 2]), np.concatenate([-b / 2, b / 2])
    weights[classes], intercepts[classes] = W, b - b.mean()
    return weights, intercepts


def _exact(z: Values, y: Labels, n_classes: int, C: float) -> tuple[Values, Values]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=C, solver="newton-cg", tol=1e-9, max_iter=500).fit(z, y)
    return model.coef_, model.intercept_


def _fast(z: Values, y: Labels, n_classes: int, C: float) -> tuple[Values, Values]:
    from probing.probes.logistic import Design, fit_path

    design = Design.prepare(z.astype(np.float32))
    weights = fit_path(design, y, n_classes, [C])[0].weights.double().numpy()  # (d + 1, 1 or K)
    scale = np.where(np.isinf(design.scale.numpy()), np.inf, design.scale.numpy())
    W = (weights[:-1] / scale[:, None]).T
    return W, weights[-1] - W @ design.mean.numpy()


def cumulative_places(weights: Values) -> Values:
    """The place of each neuron, (d,): the smallest, over classes, of the share of |weight| of the neurons before it in the class's
    order by |weight|. The union over classes of the top sets at p grows in this order, whatever the steps of p."""
    size = np.abs(weights)
    size = size[size.sum(1) > 0]
    if not len(size):
        return np.zeros(weights.shape[1])
    order = np.argsort(-size, axis=1, kind="stable")
    ranked = np.take_along_axis(size, order, 1)
    before = (np.cumsum(ranked, 1) - ranked) / ranked.sum(1, keepdims=True)
    places = np.empty_like(before)
    np.put_along_axis(places, order, before, 1)
    return np.clip(places.min(0), 0.0, 1.0)


def cumulative_order(weights: Values) -> np.ndarray:
    """Neurons by `cumulative_places`; of equal ones the one with the larger share of its class's |weight|, then the lower index."""
    size = np.abs(weights)
    share = (size / np.maximum(size.sum(1, keepdims=True), np.finfo(float).tiny)).max(0)
    return np.lexsort((np.arange(len(share)), -share, np.round(cumulative_places(weights), 12)))


def top_set(weights: Values, share: float) -> list[int]:
    """The fewest neurons of one class, from its |weights| (d,), whose sum reaches this share of all, largest first."""
    size = np.abs(weights)
    order = np.argsort(-size, kind="stable")
    reached = np.cumsum(size[order])
    return order[: int(np.searchsorted(reached, share * reached[-1] * (1 - 1e-12))) + 1].tolist()


def class_means(z: Values, y: Labels, n_classes: int) -> Values:
    """The mean of each class that occurs, (at most K, d)."""
    counts = np.bincount(y, minlength=n_classes)
    sums = np.zeros((n_classes, z.shape[1]))
    for k in np.flatnonzero(counts):
        sums[k] = z[y == k].sum(0)
    return sums[counts > 0] / counts[counts > 0, None]


def probeless(z: Values, y: Labels, n_classes: int, of_class: int | None = None) -> Values:
    """Scores (d,): the sum over pairs of classes of |difference of means|; `of_class`: over its pairs with the others."""
    means = class_means(z, y, n_classes)
    if of_class is not None:
        return np.abs(means - means[int((np.unique(y) == of_class).argmax())]).sum(0)
    ordered, K = np.sort(means, 0), len(means)
    return ((2 * np.arange(K) - K + 1)[:, None] * ordered).sum(0)  # the sum of |a - b| over pairs, from sorted values


def mean_difference(z: Values, y: Labels, n_classes: int) -> Values:
    """Scores (d,): the largest, over classes, of |mean of the class less mean of all others|."""
    best, total = np.zeros(z.shape[1]), z.sum(0)
    for k in np.unique(y):
        own = y == k
        if not own.all():
            inside = z[own].sum(0)
            best = np.maximum(best, np.abs(inside / own.sum() - (total - inside) / (~own).sum()))
    return best


def average_precision(z: Values, positive: np.ndarray) -> Values:
    """For each neuron the average precision of its value as a score of a class, and of its negative, the larger: (d,). `positive`:
    which items are of the class, (n,). (What NeuroX names IoU is the first alone, of values that it changes in place.)"""
    from sklearn.metrics import average_precision_score

    return np.array([max(average_precision_score(positive, sign * column) for sign in (1, -1)) for column in z.T])


def intersection_over_union(z: Values, positive: np.ndarray, above: float = 1.0) -> Values:
    """For each neuron |value above the bound and class| / |either|, (d,)."""
    active = z > above
    union = (active | positive[:, None]).sum(0)
    return (active & positive[:, None]).sum(0) / np.maximum(union, 1)


def by_score(scores: Values, live: np.ndarray) -> np.ndarray:
    """Neurons from the highest score down, ties by index; dead ones last."""
    order = np.argsort(-np.round(scores, 12), kind="stable")
    return last(order, live)


def last(order: np.ndarray, live: np.ndarray) -> np.ndarray:
    """An order with its dead neurons moved to the end, by index."""
    return np.concatenate([order[live[order]], np.flatnonzero(~live)]).astype(np.int64)


def rankings(
    z: Values, y: Labels, n_classes: int, scale: Scale, names: tuple[str, ...], weights: Values | None = None
) -> dict[str, np.ndarray]:
    """Orders of the neurons, best first, (d,) each, by name; all but gaussian and random. `z`: standardised by `scale`; `weights`:
    of the softmax regression, for those that read them."""
    scores: dict[str, Any] = {
        "probeless": lambda: probeless(z, y, n_classes),
        "mean_difference": lambda: mean_difference(z, y, n_classes),
        "variance": lambda: scale.sd / np.max(scale.sd, initial=np.finfo(float).tiny),
        "mean_abs": lambda: np.abs(weights).mean(0) if weights is not None else np.zeros(z.shape[1]),
    }
    orders = {name: by_score(scores[name](), scale.live) for name in names if name in scores}
    if "linear" in names and weights is not None:
        orders["linear"] = last(cumulative_order(weights), scale.live)
    return {name: orders[name] for name in names if name in orders}
