"""A sentence's value as a sum of AND and OR interactions of its words, and how alike those of two models are.

    v = v_and + v_or, half each
    AND   I(S) = sum_{L<=S} (-1)^(|S|-|L|) v_and(L)          (Harsanyi dividends)
    OR    I(S) = -sum_{L<=S} (-1)^(|S|-|L|) v_or(N\\L)        S not empty
    v(S) = v(empty) + sum_{L<=S} AND(L) + sum_{L meets S} OR(L)

A term is salient where |I| > 5 % of the largest. Terms of several words count once for each kind; that of a single word is the sum
of both, which are the same there. Reference: Li & Zhang 2023. Their split, learned so that the terms are few, is not fitted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probing.interactions.game import harsanyi, players_of
from probing.types import Values

SALIENT = 0.05
"""Share of the largest |I| from which a term is salient."""


@dataclass(frozen=True)
class Terms:
    """AND and OR interactions of all sets (2^n,), bit i of the index = word i; that of the empty set, and OR of one word, are 0."""

    conjunctions: Values
    disjunctions: Values

    @property
    def strengths(self) -> Values:
        """|I| of all terms, AND then OR, (2^(n+1),)."""
        return np.abs(np.concatenate([self.conjunctions, self.disjunctions]))

    @property
    def salient(self) -> np.ndarray:
        strengths = self.strengths
        return strengths > SALIENT * strengths.max(initial=0.0)

    @property
    def explained(self) -> float:
        """The share of all |I| in the salient terms; NaN where nothing is to be explained."""
        strengths = self.strengths
        return float(strengths[self.salient].sum() / strengths.sum()) if strengths.sum() else float("nan")


def and_or(v: Values) -> Terms:
    """The terms of a table (2^n,)."""
    n = players_of(v)
    both = harsanyi(np.stack([v, v[::-1]], 1) / 2)  # the complement of a set has the index 2^n - 1 less its own
    conjunctions, disjunctions = both[:, 0].copy(), -both[:, 1]
    single = 2 ** np.arange(n)
    conjunctions[single] += disjunctions[single]
    conjunctions[0] = disjunctions[0] = 0
    disjunctions[single] = 0
    return Terms(conjunctions, disjunctions)


def alike(a: Terms, b: Terms) -> float:
    """Weighted Jaccard index of two models' terms on a sentence: sum min / sum max of |I|, each as a share of its model's sum.

    >>> x = and_or(np.array([0, 0, 0, 1.0]))
    >>> round(alike(x, x), 12)
    1.0
    """
    x, y = (t.strengths / max(float(t.strengths.sum()), 1e-300) for t in (a, b))
    return float(np.minimum(x, y).sum() / max(float(np.maximum(x, y).sum()), 1e-300))
