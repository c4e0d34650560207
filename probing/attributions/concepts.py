"""Tasks as concepts of a classifier (TCAV, Kim et al. 2018): how its logit changes along the direction by which a probe of a layer
tells the classes of a task.

    w      weights of a ridge regression of the labels on mean-pooled vectors of labelled sentences, penalty best on dev. Of two
           classes one direction; of more the first left singular vector of the centred weights, later classes on its upper side
    G      gradient of the logit in the layer's states, summed over tokens (n, d): all tokens move alike, and so their mean
    share  of sentences with G.w > 0                                             (the TCAV score)
    size   mean |G.w| / (|w| mean |G|): 1 where the logit changes along w alone, about sqrt(2 / (pi d)) along a random direction

whitened: the same of G R and w R, where R R' is the covariance of the vectors, so that a direction is as long as the vectors vary
along it. The null is the same of probes on permuted labels: of the share's distance from 1/2, and of the size, p = (1 + null values
that are as large) / (1 + draws).

Where the classifier reads the mean of this very layer G is the same for every sentence (`constant`): its share is 0 or 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from probing.attributions.word_function import logits_of
from probing.encoders.base import TOKEN_BUDGET, Encoder
from probing.encoders.gradients import at_layer, gradients
from probing.errors import DataError
from probing.interactions.text.heads import LinearHead
from probing.probes.directions import root_of
from probing.store.extraction import batches
from probing.types import Labels, Values

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Of ridge, in units of the mean variance of a dimension."""
AT_ONCE = 64
"""Label sets of more than two classes whose directions are computed together."""


@dataclass(frozen=True)
class Concept:
    """Directions (1 + draws, d) of length 1, the first of the true labels, the others of permuted ones; `accuracy`: of the ridge
    probe on dev (0-1); `root` (d, r): R above."""

    directions: Values
    accuracy: float
    root: Values


def concept(x: Values, y: Labels, dev: tuple[Values, Labels], draws: int, seed: int = 0) -> Concept:
    """The concept of labels y (n,), numbers of classes, of vectors x (n, d); DataError for fewer than two classes."""
    x, (x_dev, y_dev) = np.asarray(x, float), dev
    classes = int(max(y.max(), y_dev.max())) + 1
    if len(np.unique(y)) < 2:
        raise DataError("a concept needs sentences of at least two classes")
    mean = x.mean(0)
    centre = x - mean
    values, vectors = np.linalg.eigh(centre.T @ centre / len(x))
    targets = np.eye(classes)[y]  # (n, classes)
    at_dev, wide = (np.asarray(x_dev, float) - mean) @ vectors, vectors.T @ centre.T / len(x)  # (m, d), (d, n)
    best = (-1.0, 0.0)
    for penalty in PENALTIES:
        added = penalty * values.mean()
        scores = at_dev @ ((wide @ targets) / (values + added)[:, None]) + targets.mean(0)
        best = max(best, (float((scores.argmax(1) == y_dev).mean()), added))
    accuracy, added = best
    solve = vectors @ (wide / (values + added)[:, None])  # (d, n): ridge weights of labels
    rng = np.random.default_rng(seed)
    labels = np.stack([y, *(rng.permutation(y) for _ in range(draws))])
    return Concept(_directions(solve, labels, classes), accuracy, root_of(centre.T @ centre / len(x)))


def _directions(solve: Values, labels: Labels, classes: int) -> Values:
    """(sets, d) of label sets (sets, n)."""
    if classes == 2:
        w = (solve @ labels.T).T  # `solve` sums to 0 over sentences
        return w / np.linalg.norm(w, axis=1, keepdims=True)
    present = np.unique(labels[0])  # of all sets, which are permutations
    parts = []
    for some in np.array_split(labels, -(-len(labels) // AT_ONCE)):
        w = ((some[:, None] == present[:, None]) @ solve.T).mT  # (sets, d, classes)
        w -= w.mean(2, keepdims=True)
        _, sides = np.linalg.eigh(w.mT @ w)
        first = w @ sides[..., -1:]  # (sets, d, 1)
        later = (present - present.mean()) @ (w.mT @ first)  # (sets, 1)
        parts.append((first * np.where(later >= 0, 1, -1)[..., None] / np.linalg.norm(first, axis=1, keepdims=True))[..., 0])
    return np.concatenate(parts)


def slopes_at(encoder: Encoder, head: LinearHead, texts: Sequence[str], layer: int, target: int) -> Values:
    """G (n, d) of the logit of class number `target`, float64; ConfigError or EncoderError as `probing.encoders.gradients` has
    them."""
    items = encoder.tokenize(texts)[0]
    made = np.zeros((len(items), encoder.dims[layer]))
    for rows in batches([len(item) for item in items], TOKEN_BUDGET):
        with gradients(), at_layer(encoder, layer) as leaves:
            states = encoder.forward([items[i] for i in rows])
            slope = leaves.gradient(logits_of(head, states)[:, target].sum(), states.layers[layer])  # (batch, tokens, d)
        made[rows] = torch.einsum("btd,bt->bd", slope.double(), states.mask.double()).cpu().numpy()
    return made


@dataclass(frozen=True)
class Along:
    """What a logit does along a concept: share and size with p-values, and the means of the null."""

    share: float
    share_p: float
    size: float
    size_p: float
    size_null: float
    constant: bool


def along(slopes: Values, given: Concept, whitened: bool = False) -> Along:
    """The logit with slopes G (n, d) along a concept."""
    g, w = (slopes @ given.root, given.directions @ given.root) if whitened else (slopes, given.directions)
    w = w / np.linalg.norm(w, axis=1, keepdims=True)
    products = g @ w.T  # (sentences, 1 + draws)
    shares = (products > 0).mean(0)
    sizes = np.abs(products).mean(0) / max(float(np.linalg.norm(g, axis=1).mean()), 1e-300)
    far = np.abs(shares - 0.5)

    def p(values: Values) -> float:
        return float((values >= values[0] - 1e-12).mean())  # the first is one of them

    constant = float(np.ptp(slopes, axis=0).max()) <= 1e-5 * float(np.abs(slopes).max())
    return Along(
        float(shares[0]), p(far), float(sizes[0]), p(sizes), float(sizes[1:].mean()) if len(sizes) > 1 else np.nan, constant
    )
