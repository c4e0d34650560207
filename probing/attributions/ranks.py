"""Ranks of words by their scores: one rule of ties for deletion orders, Kendall's tau and plausibility.

Scores are equal if they differ by less than 1e-12 of the largest one; in an order equal ones keep the order of the words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from probing.types import Values


def rounded(scores: Values) -> Values:
    """Scores in which those that count as equal are equal, in units of the largest one."""
    scores = np.asarray(scores, float)
    largest = np.abs(scores).max(initial=0.0)
    return np.round(scores / largest, 12) if largest else scores


def order(scores: Values) -> np.ndarray:
    """The words from the highest score to the lowest, (n,); of equal ones the first word first."""
    return np.argsort(-rounded(scores), kind="stable")


def tau(a: Values, b: Values) -> float:
    """Kendall's tau-b of two scorings of the same words; NaN where one of them ranks nothing."""
    return float(taus(np.asarray(a)[None], np.asarray(b)[None])[0, 0])


def taus(a: Values, b: Values) -> Values:
    """Kendall's tau-b of each scoring of a, (m, words), with each of b, (k, words): (m, k), the cosine of the signs of all
    differences of two words."""
    first, second = np.triu_indices(a.shape[1], 1)
    signs = [np.array([np.sign(row[first] - row[second]) for row in map(rounded, x)]) for x in (a, b)]  # (m, pairs), (k, pairs)
    untied = np.sqrt(np.outer(*(np.square(x).sum(1) for x in signs)))
    return np.divide(signs[0] @ signs[1].T, untied, out=np.full(untied.shape, np.nan), where=untied > 0)


def by_length(a: Sequence[Values], b: Sequence[Values], clusters: np.ndarray) -> Iterator[tuple[np.ndarray, Values, np.ndarray]]:
    """Two scorings of the same sentences, for each number of words: which sentences both rank, (m,); tau of each scoring of a with
    each of b, (m, m), the diagonal of a sentence with itself; and which of these pairs are of sentences of two sources (clusters,
    (n,)), from which the null of an agreement is made, (m, m).
    """
    lengths = np.array([len(scores) for scores in a])
    for n in np.unique(lengths):
        rows = np.flatnonzero(lengths == n)
        x, y = (np.stack([scores[row] for row in rows.tolist()]) for scores in (a, b))
        level = taus(x, y)
        ranked = [k for k in range(len(rows)) if not np.isnan(level[k, k])]
        rows, level = rows[ranked], level[np.ix_(ranked, ranked)]
        yield rows, level, clusters[rows][:, None] != clusters[rows]
