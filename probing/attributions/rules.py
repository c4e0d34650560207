"""Rules of a sentence's prediction from the table of all coalitions: anchors, smallest sets, and probabilities of intervals.

    anchor     the smallest set A of words with precision of at least 0.95, precision the share of the sets S that hold A and keep
               the predicted class: other words are absent by chance 0.5, so the masking is part of the answer. Coverage: 0.5^|A|,
               the share of all sets that hold A. (Ribeiro et al. 2018, who sample what is exact here.)
    keeping    the smallest sets that have the predicted class by themselves (pertinent positives), the empty one included
    flipping   the smallest sets without which the class is another (contrastive, counterfactual by removal)

All smallest sets are given: one alone is rare. Sets are tuples of word numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from probing.attributions.indices import sizes_of
from probing.interactions.game import all_coalitions, players_of
from probing.types import Values

PRECISION = 0.95


@dataclass(frozen=True)
class Anchors:
    """The smallest anchors, the most precise first; `precision`: of each; `coverage`: one for all; `by_set`: precision of
    every set, (2^n,)."""

    words: tuple[tuple[int, ...], ...]
    precision: tuple[float, ...]
    coverage: float
    by_set: Values


def anchors(logits: Values, least: float = PRECISION) -> Anchors:
    """The anchors of the class predicted for the whole sentence, from the logits of all coalitions, (2^n, classes). There is one
    always: with all words the class is kept."""
    keeps = _keeps(logits)
    n = players_of(logits)
    total = keeps.astype(float)
    for i in range(n):  # sums over supersets, word by word
        halves = total.reshape(2 ** (n - 1 - i), 2, 2**i)
        halves[:, 0] += halves[:, 1]
    size = sizes_of(n)
    precision = total / 2.0 ** (n - size)
    smallest = size == size[precision >= least].min()
    chosen = np.flatnonzero(smallest & (precision >= least))
    chosen = chosen[np.argsort(-precision[chosen], kind="stable")]
    return Anchors(_sets(chosen, n), tuple(precision[chosen].tolist()), 0.5 ** int(size[chosen[0]]), precision)


def keeping_sets(logits: Values) -> tuple[tuple[int, ...], ...]:
    """All smallest sets of words that alone have the class predicted for the whole sentence."""
    n = players_of(logits)
    return _smallest(_keeps(logits), n)


def flipping_sets(logits: Values) -> tuple[tuple[int, ...], ...]:
    """All smallest sets of words without which the predicted class is another; none if no removal changes it."""
    n = players_of(logits)
    return _smallest(~_keeps(logits)[::-1], n)  # the complement of set s is 2^n - 1 - s


def interval_probabilities(logits: Values) -> Values:
    """Probabilities of all classes with the words i … j-1 alone, (n, n + 1, classes), NaN where j <= i."""
    n, p = players_of(logits), softmax(logits, axis=1)
    heat = np.full((n, n + 1, logits.shape[1]), np.nan)
    for i in range(n):
        for j in range(i + 1, n + 1):
            heat[i, j] = p[2**j - 2**i]
    return heat


def _keeps(logits: Values) -> np.ndarray:
    """Whether each coalition has the class of the whole sentence, (2^n,)."""
    predicted = logits.argmax(1)
    return predicted == predicted[-1]


def _smallest(wanted: np.ndarray, n: int) -> tuple[tuple[int, ...], ...]:
    size = sizes_of(n)
    return _sets(np.flatnonzero(wanted & (size == size[wanted].min())), n) if wanted.any() else ()


def _sets(masks: np.ndarray, n: int) -> tuple[tuple[int, ...], ...]:
    every = all_coalitions(n)
    return tuple(tuple(np.flatnonzero(every[mask]).tolist()) for mask in masks)
