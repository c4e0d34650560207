"""n-grams of a long text with modified Kneser-Ney smoothing, for orders up to 20 and more: of every place at once, by arrays.

    p_n(w | h) = (max(a(h w) - D(a(h w)), 0) + (D_1 N_1(h) + D_2 N_2(h) + D_3 N_3+(h)) p_n-1(w | h')) / sum_w a(h w)
    p_0(w) = 1 / V

a of the highest order is the count in the text, of lower ones the number of different tokens before the n-gram, or its count where
a part of the text begins with it; N_k(h) is how many tokens follow h with a = k; h' is h without its first token; after an h that
was never seen p_n = p_n-1. With n_k the number of n-grams with a = k and Y = n_1 / (n_1 + 2 n_2), D_k = k - (k + 1) Y n_k+1 / n_k
(Chen & Goodman 1998); where these are not between 0 and k, as of the few unigrams of characters, all are 0.75. V: the tokens of
the text, and one for all others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from probing.behaviour.floors import DISCOUNT
from probing.types import Labels, Values


class Smoothed(NamedTuple):
    """log_p: (places,), in nats, NaN at marks; absolute: the orders whose discounts are 0.75."""

    log_p: Values
    absolute: tuple[int, ...]


def smoothed(ids: Labels, begins: np.ndarray, n_train: int, order: int) -> Smoothed:
    """What n-grams of the first `n_train` tokens give to each token behind them, from the tokens before it.

    Args:
        ids: (n,) tokens of the text, at least 0; what stands at a mark is not read.
        begins: bool (n,), the marks where a part begins, the first place among them: no n-gram goes beyond one, none predicts one.
    """
    mark, n = np.asarray(begins, bool), len(ids)
    tokens = np.unique(np.where(mark, -1, ids), return_inverse=True)[1]  # a mark is token 0
    start = np.maximum.accumulate(np.where(mark, np.arange(n), 0))  # the mark of the part of each place
    codes = [np.zeros(n, np.int64)]  # codes[m][s]: the n-gram of length m that begins at s
    for m in range(1, order + 1):
        pairs = codes[-1][: n - m + 1] * (tokens.max() + 1) + tokens[m - 1 :]
        codes.append(np.unique(pairs, return_inverse=True)[1])
    seen = np.zeros(tokens.max() + 1, bool)
    seen[tokens[:n_train][~mark[:n_train]]] = True
    places = np.arange(n_train, n)[~mark[n_train:]]
    p = np.full(len(places), 1 / (seen.sum() + 1))
    absolute = []
    counted = _counted(mark, start, n_train, 1)
    for m in range(1, order + 1):
        longer = _counted(mark, start, n_train, m + 1) if m < order else None
        a = np.bincount(codes[m][counted], minlength=codes[m].max() + 1)
        if longer is not None:
            first = np.unique(codes[m + 1][longer], return_index=True)[1]
            before = np.bincount(codes[m][longer[first] + 1], minlength=len(a))
            opening = codes[m][counted[mark[counted]]]
            before[opening] = a[opening]
            a = before
        discounts, given = _discounts(a)
        absolute += [] if given else [m]
        one = counted[np.unique(codes[m][counted], return_index=True)[1]]  # a place of each n-gram
        size, h, kind = codes[m - 1].max() + 1, codes[m - 1][one], np.minimum(a[codes[m][one]], 3)
        total = np.bincount(h, a[codes[m][one]], size)
        left = np.bincount(h, discounts[kind], size)
        s = places - m + 1
        usable = (s >= 0) & (start[places] <= s)
        usable[usable] &= total[codes[m - 1][s[usable]]] > 0
        s = s[usable]
        h, own = codes[m - 1][s], a[codes[m][s]]
        p[usable] = (np.maximum(own - discounts[np.minimum(own, 3)], 0) + left[h] * p[usable]) / total[h]
        counted = counted if longer is None else longer
    log_p = np.full(n - n_train, np.nan)
    log_p[places - n_train] = np.log(p)
    return Smoothed(log_p, tuple(absolute))


def _counted(mark: np.ndarray, start: np.ndarray, n_train: int, m: int) -> np.ndarray:
    """Where the counted n-grams of length m begin: within the text, no mark behind the first token, and none that is predicted."""
    last = np.arange(m - 1, n_train)
    return (last - m + 1)[(start[last] <= last - m + 1) & ~mark[last]]


def _discounts(a: Labels) -> tuple[Values, bool]:
    """Discounts of a = 0, 1, 2 and 3 or more, (4,), and whether they are the text's own."""
    n1, n2, n3, n4 = (int((a == k).sum()) for k in (1, 2, 3, 4))
    if min(n1, n2, n3):
        y = n1 / (n1 + 2 * n2)
        own = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
        if (own[1:] > 0).all():
            return own, True
    return np.array([0.0, DISCOUNT, DISCOUNT, DISCOUNT]), False
