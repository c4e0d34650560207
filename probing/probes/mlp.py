"""SentEval's torch classifier: a linear layer, or one hidden layer, trained by minibatches with its early stopping.

From the description of facebookresearch/SentEval (senteval/tools/classifier.py, commit 5d6dc11), to the letter:

- model: Linear(d, K), or Linear(d, nhid) - Dropout(p) - Sigmoid - Linear(nhid, K): dropout *before* the nonlinearity;
- mean cross-entropy (what `size_average = False`, set after construction, comes to on every current torch); Adam at its
  defaults, L2 as coupled weight decay on all parameters;
- a step is `epoch_size` passes, each over a fresh permutation (numpy's legacy generator), then the dev accuracy;
- a step that does not improve it is counted, and the count is *never reset*; training stops at the (tenacity + 1)-th, or before
  a step once more than `max_epoch` passes are done; the parameters of the best step are kept.

Numpy's and torch's generators start from `seed` at each fit; the global state is put back afterwards.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from probing.types import Features, Labels, Probabilities


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of one training run; the defaults are SentEval's for comparable results."""

    nhid: int = 0
    dropout: float = 0.0
    l2: float = 1e-5
    batch_size: int = 64
    tenacity: int = 5
    epoch_size: int = 4
    max_epoch: int = 200
    early_stop: bool = True


@dataclass(frozen=True)
class Trained:
    """The kept model and the dev accuracy (0-1) after every step."""

    model: nn.Module
    curve: tuple[float, ...]

    @property
    def dev_accuracy(self) -> float:
        return max(self.curve)

    def scores(self, x: Features) -> torch.Tensor:
        """Logits (m, K)."""
        with torch.inference_mode():
            return self.model(torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)))

    def predict(self, x: Features) -> Labels:
        return self.scores(x).argmax(1).numpy()


def train(recipe: Recipe, x: Features, y: Labels, dev_x: Features, dev_y: Labels, n_classes: int, seed: int) -> Trained:
    """One run of the loop.

    Args:
        x, y: (n, d) float32 and (n,) class indices; dev_x, dev_y likewise.
        recipe: `early_stop=False` makes exactly one step of `epoch_size` passes, as the code released with Jawahar et al.
            2019 does (its return stands inside the loop).
    """
    features, targets = torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(np.asarray(y))
    dev_features, dev_targets = torch.from_numpy(np.ascontiguousarray(dev_x)), torch.from_numpy(np.asarray(dev_y))
    order = np.random.RandomState(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _network(recipe, features.shape[1], n_classes)
        optimizer = torch.optim.Adam(model.parameters(), weight_decay=recipe.l2)
        passes, misses, curve, kept = 0, 0, [], None
        while passes <= recipe.max_epoch:
            model.train()
            for _ in range(recipe.epoch_size):
                permutation = torch.from_numpy(order.permutation(len(features)))
                for rows in permutation.split(recipe.batch_size):
                    optimizer.zero_grad()
                    nn.functional.cross_entropy(model(features[rows]), targets[rows]).backward()
                    optimizer.step()
            passes += recipe.epoch_size
            model.eval()
            with torch.inference_mode():
                accuracy = float((model(dev_features).argmax(1) == dev_targets).sum()) / len(dev_targets)
            if not curve or accuracy > max(curve):
                kept = copy.deepcopy(model.state_dict())
            else:
                misses += 1
            curve.append(accuracy)
            if not recipe.early_stop or misses > recipe.tenacity:
                break
    model.load_state_dict(kept)
    return Trained(model, tuple(curve))


def _network(recipe: Recipe, d: int, n_classes: int) -> nn.Module:
    if recipe.nhid < 1:
        return nn.Sequential(nn.Linear(d, n_classes))
    return nn.Sequential(
        nn.Linear(d, recipe.nhid), nn.Dropout(recipe.dropout), nn.Sigmoid(), nn.Linear(recipe.nhid, n_classes)
    )


class MLPProbe(ClassifierMixin, BaseEstimator):
    """The same loop as a scikit-learn classifier; a stratified tenth of the data serves as its dev set."""

    def __init__(self, nhid: int = 50, dropout: float = 0.0, l2: float = 1e-5, seed: int = 1111):
        self.nhid = nhid
        self.dropout = dropout
        self.l2 = l2
        self.seed = seed

    def fit(self, X: Features, y: Sequence) -> MLPProbe:
        """X: (n, d); y: (n,) labels of any type with at least two values."""
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, index = np.unique(y, return_inverse=True)
        k = len(self.classes_)
        if k < 2:
            raise ValueError(f"MLPProbe needs samples of at least 2 classes, but the data has one class: {self.classes_[0]!r}")
        smallest = np.bincount(index).min()
        held = train_test_split(
            X, index, test_size=max(k, len(X) // 10), random_state=self.seed, stratify=index if smallest > 1 else None
        )
        recipe = Recipe(self.nhid, self.dropout, self.l2)
        self._trained = train(recipe, held[0], held[2], held[1], held[3], k, self.seed)
        self.dev_curve_ = self._trained.curve
        return self

    def predict_proba(self, X: Features) -> Probabilities:
        """Shape (m, K), columns in the order of `classes_`."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        return torch.softmax(self._trained.scores(X).double(), 1).numpy()

    def predict(self, X: Features):
        """Shape (m,), values of `classes_`."""
        return self.classes_[self.predict_proba(X).argmax(1)]
