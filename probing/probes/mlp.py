"""SentEval's torch classifier: a linear layer, or one hidden layer, trained by minibatches with its early stopping.

From the description of facebookresearch/SentEval (senteval/tools/classifier.py, commit 5d6dc11), to the letter:

- model: Linear(d, K), or Linear(d, nhid) - Dropout(p) - Sigmoid - Linear(nhid, K): dropout *before* the nonlinearity;
- mean cross-entropy (what `size_average = False`, set after construction, comes to on every current torch); Adam at its
  defaults, L2 as coupled weight decay on all parameters;
- a step is `epoch_size` passes, each over a fresh permutation (numpy's legacy generator), then the dev accuracy;
- a step that does not improve it is counted, and the count is *never reset*; training stops at the (tenacity + 1)-th, or before
  a step once more than `max_epoch` passes are done; the parameters of the best step are kept.

Numpy's and torch's generators start from `seed` at each fit; the global state is put back afterwards.

A grid of such runs on one matrix of features (hidden units, dropout, L2, label sets) goes in step: with one seed all runs see the
same minibatches, so that the first layer of all models is one product, its gradient another, and Adam one set of operations on
one vector. Each model has the numbers that it would have alone, up to the order of sums: its start, its masks of dropout, its end;
what has ended leaves the batch. The gradient is written out, since autograd's bookkeeping costs more than these small products.
Runs of other seeds or layers have other minibatches; they share nothing, and go one after the other.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

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
    """`train_batch` for one model."""
    return train_batch([recipe], x, [y], dev_x, [dev_y], n_classes, seed)[0]


def train_batch(
    recipes: Sequence[Recipe],
    x: Features,
    ys: Sequence[Labels],
    dev_x: Features,
    dev_ys: Sequence[Labels],
    n_classes: int,
    seed: int,
) -> list[Trained]:
    """One run of the loop for each recipe and its labels, those with equal hidden layers side by side.

    Args:
        recipes: M of them. `early_stop=False` makes exactly one step of `epoch_size` passes, as the code released with Jawahar
            et al. 2019 does (its return stands inside the loop).
        x, dev_x: (n, d) float32, of all models. ys, dev_ys: for each model class indices, (n,).
    """
    groups: dict[tuple, list[int]] = {}
    for at, recipe in enumerate(recipes):
        groups.setdefault((recipe.nhid, recipe.batch_size, recipe.epoch_size), []).append(at)
    done: dict[int, Trained] = {}
    for members in groups.values():
        mine = [[values[at] for at in members] for values in (recipes, ys, dev_ys)]
        done |= zip(members, _train_group(mine[0], x, mine[1], dev_x, mine[2], n_classes, seed), strict=True)
    return [done[at] for at in range(len(recipes))]


def _train_group(recipes: Sequence[Recipe], x, ys, dev_x, dev_ys, n_classes: int, seed: int) -> list[Trained]:
    features = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
    dev_features = torch.from_numpy(np.ascontiguousarray(dev_x, dtype=np.float32)).T.contiguous()  # (d, m)
    targets = torch.from_numpy(np.stack([np.asarray(y, dtype=np.int64) for y in ys]))  # (M, n)
    order = np.random.RandomState(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        models = [_network(recipes[0], features.shape[1], n_classes)]
        state = torch.random.get_rng_state()  # where the masks of dropout begin
    models += [copy.deepcopy(models[0]) for _ in recipes[1:]]
    masks = {p: torch.Generator().set_state(state) for p in {recipe.dropout for recipe in recipes} if p > 0 and recipes[0].nhid}
    stack = _Stack.of(models[0], [recipe.l2 for recipe in recipes])
    curves: list[list[float]] = [[] for _ in recipes]
    alive, passes = list(range(len(recipes))), 0
    while alive:
        for _ in range(recipes[0].epoch_size):
            permutation = torch.from_numpy(order.permutation(len(features)))
            for rows in permutation.split(recipes[0].batch_size):
                stack.step(
                    features[rows], targets[:, rows], _noise(recipes[0].nhid, len(rows), [recipes[i].dropout for i in alive], masks)
                )
        passes += recipes[0].epoch_size
        still = []
        for at, i in enumerate(alive):
            recipe, curve = recipes[i], curves[i]
            gold = torch.from_numpy(np.asarray(dev_ys[i]))
            accuracy = float((stack.scores(at, dev_features).argmax(0) == gold).sum()) / len(gold)
            if not curve or accuracy > max(curve):
                models[i].load_state_dict(stack.parameters(at, models[i]))
            curve.append(accuracy)
            misses = len(curve) - len(set(accumulate(curve, max)))  # steps without a new best
            if recipe.early_stop and misses <= recipe.tenacity and passes <= recipe.max_epoch:
                still.append(at)
        if len(still) < len(alive):  # what has finished costs nothing more
            stack, targets, alive = stack.take(still), targets[still], [alive[at] for at in still]
    return [Trained(model.eval(), tuple(curve)) for model, curve in zip(models, curves, strict=True)]


def _noise(nhid: int, n: int, rates: Sequence[float], masks: dict[float, torch.Generator]) -> torch.Tensor | None:
    """What dropout multiplies hidden units with, (M, nhid, n): what `nn.Dropout` would draw for each model alone."""
    if not masks:
        return None
    drawn = {p: torch.empty(n, nhid).bernoulli_(1 - p, generator=own).div_(1 - p).T for p, own in masks.items() if p in rates}
    return torch.stack([drawn.get(p, torch.ones(nhid, n)) for p in rates])


class _Stack:
    """M models of one shape in one vector, with the vectors of Adam; the gradient is written out.

    `views` are the parameters: weight (M, nhid, d), bias (M, nhid, 1), weight (M, K, nhid), bias (M, K, 1), or the last two alone.
    """

    def __init__(self, parts: Sequence[torch.Tensor], decay: torch.Tensor, moments: Sequence[Sequence[torch.Tensor]], steps: int):
        self.decay, self.steps = decay, steps
        self.flat, self.views = self._packed(parts)
        self.gradient, self.slots = self._packed([torch.zeros_like(part) for part in parts])
        (self.mean, self.means), (self.square, self.squares) = (self._packed(part) for part in moments)
        self.penalty = torch.cat([(decay[:, None, None] * torch.ones_like(part)).flatten() for part in parts])

    @staticmethod
    def _packed(parts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        flat = torch.cat([part.flatten() for part in parts])
        pieces = flat.split([part.numel() for part in parts])
        return flat, [piece.view(part.shape) for piece, part in zip(pieces, parts, strict=True)]

    @classmethod
    def of(cls, model: nn.Module, decay: Sequence[float]) -> _Stack:
        """`len(decay)` copies of a model."""
        parts = [p.detach().view(len(p), -1).repeat(len(decay), 1, 1) for p in model.parameters()]
        zeros = [torch.zeros_like(part) for part in parts]
        return cls(parts, torch.tensor(decay), [zeros, zeros], 0)

    def take(self, which: Sequence[int]) -> _Stack:
        parts, *moments = ([part[which] for part in group] for group in (self.views, self.means, self.squares))
        return _Stack(parts, self.decay[which], moments, self.steps)

    def parameters(self, at: int, model: nn.Module) -> dict[str, torch.Tensor]:
        """Model `at` as the state dict of `model`."""
        return {name: part[at].view_as(p) for (name, p), part in zip(model.named_parameters(), self.views, strict=True)}

    def scores(self, at: int, features: torch.Tensor) -> torch.Tensor:
        """Logits of model `at` for features (d, m), without dropout: (K, m)."""
        for layer in range(0, len(self.views), 2):
            features = torch.addmm(self.views[layer + 1][at], self.views[layer][at], features)
            features = features.sigmoid_() if layer + 2 < len(self.views) else features
        return features

    def step(self, x: torch.Tensor, targets: torch.Tensor, noise: torch.Tensor | None) -> None:
        """One step of Adam on the mean cross-entropy of a minibatch: x (B, d), targets (M, B), noise (M, nhid, B) or None."""
        first, offset = self.views[:2]
        outer = (first.flatten(0, 1) @ x.T).view(*first.shape[:2], -1).add_(offset)  # (M, nhid or K, B): one product for all
        if len(self.views) > 2:
            hidden = outer if noise is None else outer * noise
            hidden = hidden.sigmoid_()
            logits = torch.baddbmm(self.views[3], self.views[2], hidden)  # (M, K, B)
        else:
            logits = outer
        residual = torch.softmax(logits, 1)
        residual.scatter_add_(1, targets[:, None], torch.full((len(targets), 1, len(x)), -1.0)).div_(len(x))
        if len(self.views) > 2:
            torch.bmm(residual, hidden.mT, out=self.slots[2])
            torch.sum(residual, 2, keepdim=True, out=self.slots[3])
            residual = (self.views[2].mT @ residual).mul_(hidden).mul_(1 - hidden)
            residual = residual if noise is None else residual.mul_(noise)
        torch.mm(residual.flatten(0, 1), x, out=self.slots[0].view(-1, x.shape[1]))
        torch.sum(residual, 2, keepdim=True, out=self.slots[1])
        self.steps += 1
        gradient = self.gradient.addcmul_(self.penalty, self.flat)
        self.mean.lerp_(gradient, 0.1)
        self.square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        scale = self.square.sqrt().div_((1 - 0.999**self.steps) ** 0.5).add_(1e-8)
        self.flat.addcdiv_(self.mean, scale, value=-1e-3 / (1 - 0.9**self.steps))


def _network(recipe: Recipe, d: int, n_classes: int) -> nn.Module:
    if recipe.nhid < 1:
        return nn.Sequential(nn.Linear(d, n_classes))
    return nn.Sequential(nn.Linear(d, recipe.nhid), nn.Dropout(recipe.dropout), nn.Sigmoid(), nn.Linear(recipe.nhid, n_classes))


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
        check_is_fitted(self)
        return self.classes_[self.predict_proba(X).argmax(1)]
