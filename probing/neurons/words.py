"""Words and sentences at both ends of one unit: signed z of every word, and its mean per type where that is frequent enough.

z is in standard deviations over all words of the text. Means of |z| would put words seen once first and mix both signs: the sign
stays, and a word must occur a number of times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probing.types import Values


@dataclass(frozen=True)
class Type:
    """A word type: how often it occurs, and the mean and standard deviation of its z."""

    word: str
    count: int
    z: float
    sd: float


def z_scores(values: Values) -> Values:
    """Values (n,) that vary, less their mean, in standard deviations (ddof 0).

    >>> z_scores(np.array([1.0, 3.0]))
    array([-1.,  1.])
    """
    return (values - values.mean()) / values.std()


def types(words: Sequence[str], z: Values, least: int = 2) -> list[Type]:
    """The types that occur at least `least` times, from the highest mean z to the lowest; ties by word.

    >>> types(["a", "b", "a", "b", "c"], np.array([1.0, -2.0, 2.0, -1.0, 9.0]))
    [Type(word='a', count=2, z=1.5, sd=0.5), Type(word='b', count=2, z=-1.5, sd=0.5)]
    """
    names, number = np.unique(np.array(words, dtype=object), return_inverse=True)
    counts = np.bincount(number)
    means = np.bincount(number, z) / counts
    sds = np.sqrt(np.maximum(np.bincount(number, z**2) / counts - means**2, 0))
    made = [Type(str(names[k]), int(counts[k]), float(means[k]), float(sds[k])) for k in range(len(names)) if counts[k] >= least]
    return sorted(made, key=lambda own: (-own.z, own.word))


def extreme_sentences(lengths: Sequence[int], z: Values, n: int) -> tuple[list[int], list[int]]:
    """The n sentences with the highest single z, and the n with the lowest; z: of the words of all sentences, one after the other.

    >>> extreme_sentences([2, 1, 1], np.array([0.0, 3.0, -2.0, 1.0]), 1)
    ([0], [1])
    """
    starts = np.concatenate([[0], np.cumsum(lengths)])
    spans = [(int(a), int(b)) for a, b in zip(starts[:-1], starts[1:], strict=True)]
    high = [z[a:b].max(initial=-np.inf) for a, b in spans]
    low = [z[a:b].min(initial=np.inf) for a, b in spans]
    return np.argsort(-np.array(high), kind="stable")[:n].tolist(), np.argsort(np.array(low), kind="stable")[:n].tolist()
