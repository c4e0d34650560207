"""Ranks of words by their scores: one rule of ties for deletion orders, Kendall's tau and plausibility.

Scores are equal if they differ by less than 1e-12 of the largest one; in an order equal ones keep the order of the words.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import kendalltau

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
    return float(kendalltau(rounded(a), rounded(b)).statistic)
