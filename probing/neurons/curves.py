"""Accuracy of the first k neurons of a ranking, in the layer's own basis and in random rotations of it.

    retrained   the classifier fitted on the first k neurons
    keep        the classifier of all neurons, all but the first k at their train mean
    drop        the classifier of all neurons, the first k at their train mean
    rotated     retrained, after: rotate the standardised neurons at random, standardise again, rank again

The classifier of all neurons is nearly the same in every basis, that of the first k is not: where the own basis is no better than
rotated ones, its first neurons are directions like any other. Choices (the minimal set) are made on dev; test only reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from probing.errors import ConfigError, did_you_mean
from probing.neurons.classifiers import CLASSIFIERS, Classifier, Fitted, Linear, Ridge
from probing.neurons.gaussian import Gaussians, select
from probing.neurons.ranking import L2, RANKINGS, Scale, last, linear_weights, rankings
from probing.types import Labels, Values

SIZES = (1, 2, 5, 10, 20, 50, 100, 200)
"""Default numbers of neurons of a curve; all live ones are added."""

MOST_SELECTING = 3000
"""Dev items that choose in the greedy selection, drawn where there are more."""


class Targets(NamedTuple):
    """Class indices of the items of each split, and the number of classes."""

    train: Labels
    dev: Labels
    test: Labels
    n_classes: int


@dataclass(frozen=True)
class Basis:
    """One layer in one basis: standardised activations of each split (n, d), and the scale of the raw ones."""

    train: Values
    dev: Values
    test: Values
    scale: Scale

    @classmethod
    def of(cls, train: np.ndarray, dev: np.ndarray, test: np.ndarray) -> Basis:
        """DataError if train is not finite."""
        scale = Scale.of(train)
        return cls(scale(train), scale(dev), scale(test), scale)

    def rotated(self, seed: int) -> Basis:
        """The live neurons after a random rotation (uniform over the orthogonal group), standardised again."""
        live = self.scale.live
        rng = np.random.default_rng([seed, 21])
        Q, R = np.linalg.qr(rng.standard_normal((int(live.sum()),) * 2))
        Q *= np.sign(np.diag(R))
        return Basis.of(*(z[:, live] @ Q for z in (self.train, self.dev, self.test)))

    @property
    def n_live(self) -> int:
        return int(self.scale.live.sum())

    @cached_property
    def gram(self) -> Values:
        return self.train.T @ self.train / len(self.train)

    def classifier(self, name: str, y: Targets, l2: float = L2) -> Classifier:
        if name == "ridge":
            return Ridge(self.train, y.train, y.n_classes, l2, self.gram)
        return CLASSIFIERS[name](self.train, y.train, y.n_classes, l2)


def orders(
    basis: Basis, y: Targets, names: Sequence[str], l2: float = L2, seed: int = 0, exact: bool = False, steps: int = 20
) -> dict[str, np.ndarray]:
    """The rankings of these names (`RANKINGS`), best first; random: drawn by the seed; gaussian: `steps` neurons by greedy
    selection on dev, then the others as in probeless."""
    for name in names:
        if name not in RANKINGS:
            raise ConfigError(f"unknown ranking {name!r}{did_you_mean(name, RANKINGS)} (allowed: {', '.join(RANKINGS)})")
    weights = None
    if {"linear", "mean_abs"} & set(names):
        weights, _ = linear_weights(basis.train, y.train, y.n_classes, l2, exact)
    inner = tuple(dict.fromkeys((*names, "probeless"))) if "gaussian" in names else tuple(names)
    made = rankings(basis.train, y.train, y.n_classes, basis.scale, inner, weights)
    if "gaussian" in names:
        made["gaussian"] = _greedy(basis, y, made["probeless"], steps, seed)
    if "random" in names:
        made["random"] = drawn(basis, seed)
    return {name: made[name] for name in names}


def _greedy(basis: Basis, y: Targets, rest: np.ndarray, steps: int, seed: int) -> np.ndarray:
    rows = np.arange(len(y.dev))
    if len(rows) > MOST_SELECTING:
        rows = np.sort(np.random.default_rng([seed, 22]).permutation(rows)[:MOST_SELECTING])
    path = select(Gaussians.fit(basis.train, y.train), basis.dev[rows], y.dev[rows], steps, basis.scale.live)
    first = np.array(path[-1].columns if path else (), np.int64)
    return np.concatenate([first, rest[~np.isin(rest, first)]])


def drawn(basis: Basis, seed: int) -> np.ndarray:
    """A random order of the live neurons, dead ones last."""
    return last(np.random.default_rng([seed, 23]).permutation(len(basis.scale.live)), basis.scale.live)


class Point(NamedTuple):
    """The first k neurons: dev accuracy (0-1), and whether each test item is right, (n,)."""

    dev: float
    right: np.ndarray


def retrained(basis: Basis, y: Targets, classifier: Classifier, order: np.ndarray, sizes: Sequence[int]) -> dict[int, Point]:
    """Of the classifier refitted on the first k neurons, for each k."""
    fits = [classifier.on(order[:k]) for k in sizes]
    dev, test = (predictions(fits, z) for z in (basis.dev, basis.test))
    return {k: Point(float((d == y.dev).mean()), t == y.test) for k, d, t in zip(sizes, dev, test, strict=True)}


def predictions(fits: Sequence[Fitted], z: Values) -> list[Labels]:
    """The class indices that each fit gives; linear ones in one product."""
    linear = [fit for fit in fits if isinstance(fit, Linear)]
    if len(linear) < len(fits) or not fits:
        return [fit(z) for fit in fits]
    scores = (z @ np.concatenate([fit.weights for fit in linear], 1)).reshape(len(z), len(fits), -1)  # (n, fits, K)
    return [(scores[:, k] + fit.intercepts).argmax(1) for k, fit in enumerate(linear)]


def masked(
    basis: Basis, y: Targets, classifier: Classifier, order: np.ndarray, sizes: Sequence[int]
) -> dict[int, tuple[float, float]]:
    """(keep, drop) test accuracies (0-1) for each k, of the classifier of all neurons."""
    whole = classifier.on(np.arange(basis.test.shape[1]))
    if isinstance(whole, Linear):
        kept = [Linear.of(order[:k], whole.weights[order[:k]], whole.intercepts, len(order)) for k in sizes]
        dropped = [Linear(whole.weights - fit.weights, whole.intercepts) for fit in kept]
        inside, outside = predictions(kept, basis.test), predictions(dropped, basis.test)
    else:
        masks = [np.isin(np.arange(len(order)), order[:k]) for k in sizes]
        inside, outside = [whole(basis.test * own) for own in masks], [whole(basis.test * ~own) for own in masks]
    return {k: (float((a == y.test).mean()), float((b == y.test).mean())) for k, a, b in zip(sizes, inside, outside, strict=True)}


def sizes_of(basis: Basis, given: Sequence[int] | None = None) -> list[int]:
    """The numbers of neurons of a curve: those given (None: `SIZES`) that are below the live ones, and all of these."""
    return sorted({k for k in given or SIZES if k < basis.n_live} | {basis.n_live})


class Minimal(NamedTuple):
    """The first k neurons whose dev accuracy is within a tolerance of all; `accuracy`: test (0-1); `without`: test accuracy of the
    classifier refitted on all others."""

    k: int
    accuracy: float
    without: float


def minimal_set(basis: Basis, y: Targets, classifier: Classifier, order: np.ndarray, tolerance: float = 0.01) -> Minimal:
    """The smallest set of a ranking that is within `tolerance` (accuracy, 0-1) of the classifier of all live neurons on dev: of
    numbers that grow by about a sixth."""
    live = order[: basis.n_live]
    full = float((classifier.on(live)(basis.dev) == y.dev).mean())
    k = 1
    while k < len(live) and float((classifier.on(live[:k])(basis.dev) == y.dev).mean()) < full - tolerance:
        k = min(len(live), max(k + 1, round(k * 1.15)))
    test = [float((classifier.on(part)(basis.test) == y.test).mean()) for part in (live[:k], live[k:])]
    return Minimal(k, *test)


class Overlap(NamedTuple):
    """Of the first k neurons of two rankings: the shared number, that by chance (k * k / d), and the share of the union
    (Jaccard)."""

    shared: int
    chance: float
    jaccard: float


def overlap(a: np.ndarray, b: np.ndarray, k: int, d: int) -> Overlap:
    """`d`: live neurons.

    >>> overlap(np.array([0, 1, 2, 3]), np.array([1, 0, 3, 2]), 2, 4)
    Overlap(shared=2, chance=1.0, jaccard=1.0)
    """
    shared = len(set(a[:k].tolist()) & set(b[:k].tolist()))
    return Overlap(shared, k * k / d, shared / (2 * k - shared))


def bootstrap(n: int, groups: Labels | None, seed: int) -> np.ndarray:
    """Rows of a bootstrap sample of n items, whole groups (numbers 0..m-1, (n,)) where there are any."""
    rng = np.random.default_rng([seed, 24])
    if groups is None:
        return rng.integers(n, size=n)
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(groups.max() + 2))
    picked = rng.integers(groups.max() + 1, size=groups.max() + 1)
    return np.concatenate([order[starts[g] : starts[g + 1]] for g in picked])
