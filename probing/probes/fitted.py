"""Fitted probes: classifiers of raw features, with the directions of linear ones, for work that goes on from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax

from probing.types import Labels, Values

if TYPE_CHECKING:
    from probing.probes.logistic import Design

TOLERANCE = 1e-4
"""Largest difference of scores that count as equal, as a share of the largest one; float32 differs by less."""


@dataclass(frozen=True)
class Linear:
    """A linear classifier of raw features: `coef_` (1, d) and `intercept_` (1,) for two classes, (K, d) and (K,) for more."""

    coef_: Values
    intercept_: Values

    @classmethod
    def undone(cls, design: Design, weights: ArrayLike, intercept: ArrayLike) -> Self:
        """Weights (1 or K, d) and intercepts of standardised features, for raw ones; those of constant features are 0."""
        coef = np.asarray(weights, np.float64) / design.scale.double().numpy()
        return cls(coef, np.asarray(intercept, np.float64) - coef @ design.mean.double().numpy())

    def decision_function(self, x: ArrayLike) -> Values:
        """Scores: of two classes that of the second, (m,), else one for each class, (m, K)."""
        scores = np.asarray(x, np.float64) @ self.coef_.T + self.intercept_
        return scores[:, 0] if len(self.coef_) == 1 else scores

    def predict_log_proba(self, x: ArrayLike) -> Values:
        """Logarithms of the probabilities of the classes, (m, K)."""
        scores = self.decision_function(x)
        return log_softmax(np.stack([np.zeros_like(scores), scores], 1) if scores.ndim == 1 else scores, axis=1)

    def predict(self, x: ArrayLike) -> Any:
        scores = self.decision_function(x)
        return (scores > 0).astype(np.int64) if scores.ndim == 1 else scores.argmax(1)


class OfNumbers(Linear):
    """A linear function of raw features to a number: `coef_` (1, d), `intercept_` (1,)."""

    def predict(self, x: ArrayLike) -> Values:
        return self.decision_function(x)


class OfSets(Linear):
    """A linear classifier for each label of a set: `coef_` (K, d), `intercept_` (K,); a label is predicted where its score is above
    0."""

    def predict(self, x: ArrayLike) -> Any:
        return (self.decision_function(x) > 0).astype(np.int64)


def class_scores(model: Any, x: Any, n_classes: int) -> Values:
    """Scores that rank items by each class, (m, K), from a fitted classifier: of two classes its `decision_function`, of more the
    logarithms of its probabilities, as logits of a softmax say nothing of one class alone; else what it has. Minus infinity for a
    class that it has not seen.

    Raises:
        ValueError: it has no scores, or scores of pairs of classes.
    """
    asks = ("decision_function", "predict_log_proba", "predict_proba")
    order = asks if n_classes == 2 else (*asks[1:], asks[0])
    ask = next((name for name in order if getattr(model, name, None) is not None), None)
    if ask is None:
        raise ValueError(f"{type(model).__name__} has no decision_function and no predict_proba, which this metric needs")
    with np.errstate(divide="ignore"):
        scores = np.asarray(getattr(model, ask)(x), np.float64)
        scores = np.log(scores) if ask == "predict_proba" else scores
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    if n_classes > 2 and ask == "decision_function" and getattr(last, "decision_function_shape", "") == "ovo":
        raise ValueError(f"{type(last).__name__} gives scores of pairs of classes; this metric needs decision_function_shape='ovr'")
    own = np.stack([-scores, scores], 1) if scores.ndim == 1 else scores
    whole = np.full((len(own), n_classes), -np.inf)
    whole[:, getattr(model, "classes_", np.arange(own.shape[1]))] = own
    return whole


@dataclass(frozen=True)
class Scored:
    """A classifier by its scores, (m, K), of which the highest is its prediction."""

    decision_function: Callable[[Any], Values]

    def predict_log_proba(self, x: ArrayLike) -> Values:
        """Logarithms of the probabilities of the classes, (m, K): the scores are those of a softmax."""
        return log_softmax(self.decision_function(x), axis=1)

    def predict(self, x: ArrayLike) -> Labels:
        return self.decision_function(x).argmax(1)


@dataclass(frozen=True, repr=False)
class FittedProbe:
    """A probe of one cell, fitted again: a classifier of raw features (n, d), as the encoder's vectors are.

    Attributes:
        model: the fitted classifier of class indices.
        names: the task's classes, in the order of their indices; none of a task of numbers.
        d: the number of features.
        title: task, encoder, layer and pooling, in words.
    """

    model: Any
    names: Sequence[str]
    d: int
    title: str = ""

    def __repr__(self) -> str:
        classes = f"{len(self.names)} classes" if self.names else "numbers"
        return f"FittedProbe({self.title}, {classes}, {self.d} features)"

    @property
    def classes_(self) -> np.ndarray:
        """The names of the classes that it can predict, in the order of its scores."""
        return np.array(self.names)[getattr(self.model, "classes_", slice(None))]

    def predict(self, x: ArrayLike) -> np.ndarray:
        """The names of the predicted classes of features (m, d): (m,); of a task of numbers these; of sets of labels 0 or 1 for
        each of `names`, (m, K)."""
        predicted = np.asarray(self.model.predict(np.asarray(x)))
        return np.array(self.names)[predicted.astype(np.int64)] if self.names and predicted.ndim == 1 else predicted

    def decision_function(self, x: ArrayLike) -> Values:
        """Scores: of two classes that of the second, (m,), else one for each class, (m, K); AttributeError if it has none."""
        ask = self.model.predict if self._of_numbers else self.model.decision_function
        return np.asarray(ask(np.asarray(x)), np.float64)

    @property
    def _of_numbers(self) -> bool:
        """Whether it is a regressor, whose predictions are its scores."""
        return not self.names and not hasattr(self.model, "decision_function")

    @property
    def coef_(self) -> Values:
        """The directions in raw feature space: (1, d) for two classes, (K, d) for more; AttributeError if it is not linear."""
        return self._linear.coef_

    @property
    def intercept_(self) -> Values:
        return self._linear.intercept_

    @cached_property
    def _linear(self) -> Linear:
        if isinstance(self.model, Linear):
            return self.model
        kind = type(self.model).__name__
        if not hasattr(self.model, "decision_function") and not self._of_numbers:
            raise AttributeError(f"a {kind} has no coef_: it gives no scores, so it is not linear")
        origin = np.atleast_1d(self.decision_function(np.zeros((1, self.d)))[0])
        scores = self.decision_function(np.eye(self.d))  # of an affine function they say all; scaling inside it is undone so
        linear = Linear((scores.reshape(self.d, -1) - origin).T, origin)
        x = np.random.default_rng(0).normal(size=(8, self.d))
        given, own = self.decision_function(x), linear.decision_function(x)
        if not np.allclose(given, own, rtol=0, atol=TOLERANCE * max(1.0, float(np.abs(given).max()))):
            raise AttributeError(f"a {kind} has no coef_: its scores are not linear in the features")
        return linear
