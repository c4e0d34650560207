"""Counting preferences: pure functions of scores.

    credit of an item    1 if score(right) > max score(wrong) + tolerance, 0 if below it by more than that, else 1 / (1 + t) with t
                         wrong texts that tie with the right one: of a pair 1/2

A tie is neither right nor wrong: with this credit a model that gives all sentences one score has an accuracy of exactly
1 / (k + 1), which is chance, and right and wrong of pairs exchanged give 1 less the accuracy. Published BLiMP scores count a tie
as wrong (`strict`); tools that take the first maximum count it as right (`first_wins`), and their constant model is always right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from probing.types import Values

TOLERANCE = 1e-6
"""Nats by which two scores may differ and tie: sums of the same float32 numbers in another order differ by less."""


def credits_of(right: Values, wrong: Values, tolerance: float = TOLERANCE) -> Values:
    """Credit of each item, (n,): 1, 0, or of a tie 1 / (number of texts that share the first place); NaN where a score is NaN.
    right: (n,), wrong: (n,) or (n, k)."""
    others = np.asarray(wrong, float).reshape(len(right), -1)  # (n, k)
    differences = np.asarray(right, float)[:, None] - others
    with np.errstate(invalid="ignore"):
        tied = (np.abs(differences) <= tolerance).sum(1)
        value = np.where((differences < -tolerance).any(1), 0.0, 1 / (1 + tied))
    return np.where(np.isnan(differences).any(1), np.nan, value)


def strict(credit: Values) -> Values:
    """Ties as wrong."""
    return np.where(np.isnan(credit), np.nan, (credit == 1).astype(float))


def first_wins(credit: Values) -> Values:
    """Ties as right: what the first of equal options, the right one, gives."""
    return np.where(np.isnan(credit), np.nan, (credit > 0).astype(float))


def macro(credit: Values, paradigms: Sequence[str]) -> float:
    """Mean over paradigms of their mean credit; items without credit (NaN) are left out."""
    return float(np.mean([value for value in by(credit, paradigms).values() if not np.isnan(value)]))


def micro(credit: Values) -> float:
    """Mean credit over items."""
    return float(np.nanmean(credit))


def by(credit: Values, names: Sequence[str]) -> Mapping[str, float]:
    """Mean credit of each name, in order of appearance; NaN where no item has credit."""
    of, means = np.asarray(names), {}
    for name in dict.fromkeys(names):
        own = credit[(of == name) & ~np.isnan(credit)]
        means[name] = float(own.mean()) if len(own) else np.nan
    return means


def normalised(log_p: Sequence[np.ndarray], texts: Sequence[str], how: str, unigram: Sequence[np.ndarray] | None = None) -> Values:
    """Scores of texts, (n,), from their token scores.

    sum · token, character, byte, word: the sum by their number · slor: (sum - sum of unigram log p) / tokens (Pauls & Klein 2012;
    Lau et al. 2017), with `unigram` the same tokens' scores.
    """
    sums = np.array([x.sum(dtype=float) if len(x) else np.nan for x in log_p])
    if how == "sum":
        return sums
    if how == "slor":
        assert unigram is not None
        return (sums - np.array([x.sum(dtype=float) for x in unigram])) / [max(1, len(x)) for x in log_p]
    sizes = {
        "token": [len(x) for x in log_p],
        "character": [len(text) for text in texts],
        "byte": [len(text.encode()) for text in texts],
        "word": [len(text.split()) for text in texts],
    }
    return sums / np.maximum(1, sizes[how])


FLOORS = ("unigram", "trigram", "shorter", "random")
"""Floors beside a model; random: the same architecture with random weights."""

NORMALISED = ("sum", "token", "character", "byte", "word", "slor")


def shorter(right: Sequence[str], wrong: Sequence[Sequence[str]]) -> Values:
    """Credit of the rule that the text of fewer bytes wins, (n,)."""
    sizes = [np.array([len(text.encode()) for text in (one, *some)], float) for one, some in zip(right, wrong, strict=True)]
    return np.array([credits_of(-x[:1], -x[None, 1:])[0] for x in sizes])


def frequency_bin(count: int) -> str:
    """
    >>> [frequency_bin(n) for n in (0, 7, 50, 500, 5000)]
    ['0', '1-9', '10-99', '100-999', '1000+']
    """
    return next((name for end, name in ((1, "0"), (10, "1-9"), (100, "10-99"), (1000, "100-999")) if count < end), "1000+")
