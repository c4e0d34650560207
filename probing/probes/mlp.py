"""SentEval's torch classifier: a linear layer, or one hidden layer, trained by minibatches with its early stopping.

From the description of facebookresearch/SentEval (senteval/tools/classifier.py, commit 5d6dc11), to the letter: Linear(d, K),
or Linear(d, nhid) - Dropout(p) - Sigmoid - Linear(nhid, K), dropout *before* the nonlinearity; mean cross-entropy (the effect
of `size_average = False`, set after construction); Adam at its defaults, L2 as coupled weight decay on all parameters. A step
is `epoch_size` passes, each over a fresh permutation (numpy's legacy generator), then the dev accuracy. A step that does not
improve it is counted, and the count is *never reset*; training stops at the (tenacity + 1)-th, or before a step once more than
`max_epoch` passes are done; the parameters of the best step are kept.

Numpy's and torch's generators start from `seed` at each fit; the global state is put back afterwards. A grid of such runs is
trained side by side on the same minibatches; each model has the numbers that it would have alone, up to the order of sums.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import nn

from probing.types import Features, Labels


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
    """The model of the best step, and the dev accuracy (0-1) after every step."""

    model: nn.Module
    curve: tuple[float, ...]

    @property
    def dev_accuracy(self) -> float:
        return max(self.curve)

    def predict(self, x: Features) -> Labels:
        with torch.inference_mode():
            return self.model(torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))).argmax(1).numpy()


def train_batch(
    recipes: Sequence[Recipe],
    x: Features,
    ys: Sequence[Labels],
    dev_x: Features,
    dev_ys: Sequence[Labels],
    n_classes: int,
    seed: int,
) -> list[Trained]:
    """Train a model for each of M recipes and its labels (ys, dev_ys: class indices, (n,)) on x, dev_x (n, d), those with equal
    hidden layers side by side. `early_stop=False` makes exactly one step of `epoch_size` passes, as the code released with
    Jawahar et al. 2019 does (its return stands inside the loop)."""
    groups: dict[tuple[int, int, int], list[int]] = {}
    for i, recipe in enumerate(recipes):
        groups.setdefault((recipe.nhid, recipe.batch_size, recipe.epoch_size), []).append(i)
    if len(groups) > 1:
        trained: dict[int, Trained] = {}
        for members in groups.values():
            own_ys, own_dev_ys = ([values[i] for i in members] for values in (ys, dev_ys))
            group = train_batch([recipes[i] for i in members], x, own_ys, dev_x, own_dev_ys, n_classes, seed)
            trained |= zip(members, group, strict=True)
        return [trained[i] for i in range(len(recipes))]
    features = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
    dev_features = torch.from_numpy(np.ascontiguousarray(dev_x, dtype=np.float32)).T.contiguous()  # (d, m)
    targets = torch.from_numpy(np.stack([np.asarray(y, dtype=np.int64) for y in ys]))  # (M, n)
    order = np.random.RandomState(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        d, nhid = features.shape[1], recipes[0].nhid
        hidden = [nn.Linear(d, nhid), nn.Dropout(recipes[0].dropout), nn.Sigmoid()] if nhid > 0 else []
        models = [nn.Sequential(*hidden, nn.Linear(nhid if hidden else d, n_classes))]
        state = torch.random.get_rng_state()  # dropout masks are drawn from here
    models += [copy.deepcopy(models[0]) for _ in recipes[1:]]
    masks = {p: torch.Generator().set_state(state) for p in {recipe.dropout for recipe in recipes} if p > 0 and recipes[0].nhid}
    stack = _Stack.of(models[0], [recipe.l2 for recipe in recipes])
    curves: list[list[float]] = [[] for _ in recipes]
    active, passes = list(range(len(recipes))), 0
    while active:
        for _ in range(recipes[0].epoch_size):
            permutation = torch.from_numpy(order.permutation(len(features)))
            for rows in permutation.split(recipes[0].batch_size):
                rates = [recipes[i].dropout for i in active]
                stack.step(features[rows], targets[:, rows], _dropout(recipes[0].nhid, len(rows), rates, masks))
        passes += recipes[0].epoch_size
        kept = []
        for at, i in enumerate(active):
            recipe, curve = recipes[i], curves[i]
            gold = torch.from_numpy(np.asarray(dev_ys[i]))
            accuracy = float((stack.scores(at, dev_features).argmax(0) == gold).sum()) / len(gold)
            if not curve or accuracy > max(curve):
                models[i].load_state_dict(stack.parameters(at, models[i]))
            curve.append(accuracy)
            misses = len(curve) - len(set(accumulate(curve, max)))  # steps without a new best
            if recipe.early_stop and misses <= recipe.tenacity and passes <= recipe.max_epoch:
                kept.append(at)
        if len(kept) < len(active):
            stack, targets, active = stack.take(kept), targets[kept], [active[at] for at in kept]
    return [Trained(model.eval(), tuple(curve)) for model, curve in zip(models, curves, strict=True)]


def _dropout(nhid: int, n: int, rates: Sequence[float], masks: dict[float, torch.Generator]) -> torch.Tensor | None:
    """Return the factors of the hidden units, (M, nhid, n), as `nn.Dropout` would draw them for each model alone."""
    if not masks:
        return None
    drawn = {p: torch.empty(n, nhid).bernoulli_(1 - p, generator=rng).div_(1 - p).T for p, rng in masks.items() if p in rates}
    return torch.stack([drawn.get(p, torch.ones(nhid, n)) for p in rates])


class _Stack:
    """M models of one shape in one vector, with the moments of Adam. `views`: the parameters as views of the vector `flat`:
    weight (M, nhid, d), bias (M, nhid, 1), weight (M, K, nhid), bias (M, K, 1), or the last two alone; `slots`: their
    gradients."""

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
        parts = [p.detach().view(len(p), -1).repeat(len(decay), 1, 1) for p in model.parameters()]
        zeros = [torch.zeros_like(part) for part in parts]
        return cls(parts, torch.tensor(decay), [zeros, zeros], 0)

    def take(self, which: Sequence[int]) -> _Stack:
        parts, *moments = ([part[which] for part in group] for group in (self.views, self.means, self.squares))
        return _Stack(parts, self.decay[which], moments, self.steps)

    def parameters(self, at: int, model: nn.Module) -> dict[str, torch.Tensor]:
        """Return model `at` as a state dict of `model`."""
        return {name: part[at].view_as(p) for (name, p), part in zip(model.named_parameters(), self.views, strict=True)}

    def scores(self, at: int, features: torch.Tensor) -> torch.Tensor:
        """Logits of model `at` for features (d, m), without dropout: (K, m)."""
        for layer in range(0, len(self.views), 2):
            features = torch.addmm(self.views[layer + 1][at], self.views[layer][at], features)
            features = features.sigmoid_() if layer + 2 < len(self.views) else features
        return features

    def step(self, x: torch.Tensor, targets: torch.Tensor, dropout: torch.Tensor | None) -> None:
        """Take a step of Adam on the mean cross-entropy of a minibatch: x (B, d), targets (M, B), dropout (M, nhid, B) or None."""
        weight, bias = self.views[:2]
        outputs = (weight.flatten(0, 1) @ x.T).view(*weight.shape[:2], -1).add_(bias)  # (M, nhid or K, B): one product for all
        if len(self.views) > 2:
            hidden = outputs if dropout is None else outputs * dropout
            hidden = hidden.sigmoid_()
            logits = torch.baddbmm(self.views[3], self.views[2], hidden)  # (M, K, B)
        else:
            logits = outputs
        residual = torch.softmax(logits, 1)
        residual.scatter_add_(1, targets[:, None], torch.full((len(targets), 1, len(x)), -1.0)).div_(len(x))
        if len(self.views) > 2:
            torch.bmm(residual, hidden.mT, out=self.slots[2])
            torch.sum(residual, 2, keepdim=True, out=self.slots[3])
            residual = (self.views[2].mT @ residual).mul_(hidden).mul_(1 - hidden)
            residual = residual if dropout is None else residual.mul_(dropout)
        torch.mm(residual.flatten(0, 1), x, out=self.slots[0].view(-1, x.shape[1]))
        torch.sum(residual, 2, keepdim=True, out=self.slots[1])
        self.steps += 1
        gradient = self.gradient.addcmul_(self.penalty, self.flat)
        self.mean.lerp_(gradient, 0.1)
        self.square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        scale = self.square.sqrt().div_((1 - 0.999**self.steps) ** 0.5).add_(1e-8)
        self.flat.addcdiv_(self.mean, scale, value=-1e-3 / (1 - 0.9**self.steps))
