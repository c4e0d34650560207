"""phi([C] | N_C) of every interval C of a segment, exactly or by sampled contexts that all intervals share.

For a segment A = [start, stop) of the players N, R = N \\ A with k players, and an interval C of A:

    phi([C]) = mean over s = 0..k of the mean over S in R, |S| = s, of v(S u C) - v(S)

One context S serves all M = m (m + 1) / 2 intervals at the cost of M + 1 model rows. All methods but `exact` are unbiased.

    exact        all 2^k contexts: 2^k (M + 1) rows
    sampled      stratified antithetic pairs of contexts, without replacement (`contexts`)
    regression   the same pairs, adjusted by a quadratic model (`contexts.adjust`)
    permutation  the sampler of Zhang et al. 2021 (AAAI 35, 10877-10886): each interval has random prefixes of its own; a baseline
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import comb

import numpy as np
from numpy.typing import NDArray

from probing.errors import ConfigError, did_you_mean
from probing.interactions.contexts import adjust, allocate, draw, prefixes, strata
from probing.interactions.game import CachedGame, Game
from probing.interactions.options import Estimator
from probing.types import Coalitions, Values

EXACT_ROWS = 2**20
"""Model rows that method=exact spends without being given a budget."""
BUDGET = 4096
"""Model rows of the sampled methods without a budget."""
_CHUNK = 2**17


@dataclass(frozen=True)
class IntervalValues:
    """Interval values of a segment of m players, K columns; intervals in the order of np.triu_indices(m), M of them. `phi`: (M,
    K); `covariance`: of the estimates, (K, M, M), 0 where exact; `halves`: estimates from two halves of the sample, (2, M, K),
    each phi where exact; `n_evaluations`, `n_requested`: model rows spent, and requested."""

    segment: tuple[int, int]
    method: str
    phi: Values
    covariance: Values
    halves: Values
    n_evaluations: int
    n_requested: int


def interval_values(
    game: Game, segment: tuple[int, int], method: Estimator | str = "exact", budget: int | None = None, seed: int = 0
) -> IntervalValues:
    """The values of all intervals of a segment (start, stop), stop excluded, in a game bool (rows, n) -> (rows,) or (rows, K).

    Args:
        method: one of `METHODS`, or an estimator with its budget and seed.
        budget: model rows that may be spent; by default `EXACT_ROWS` for exact, `BUDGET` (or the minimum) for the others.

    Raises:
        ConfigError: the segment is out of range, the method unknown, the budget too small for the method.
        GameError: the game's values cannot be used.
    """
    estimator = Estimator.of(method, budget, seed)
    method, budget = estimator.method, estimator.budget
    if method not in METHODS:
        raise ConfigError(f"no method {method!r}{did_you_mean(str(method), METHODS)}; known: {', '.join(METHODS)}")
    counted = game if isinstance(game, CachedGame) else CachedGame(game, keep=method == "permutation")
    start, stop = check_segment(segment, counted.n_players)
    m, k = stop - start, counted.n_players - (stop - start)
    if budget is not None and (not isinstance(budget, int | np.integer) or isinstance(budget, bool)):
        raise ConfigError(f"budget={budget!r}: give the model rows that may be spent, a whole number")
    least, whole = minimum_rows(m, k, method), exact_rows(m, k)
    if method == "exact" and whole > (limit := EXACT_ROWS if budget is None else budget):
        raise ConfigError(
            f"method=exact takes 2^{k} x {whole >> k} = {whole:,} model rows for {m} of {m + k} players, more than {limit:,}; "
            f"use method=regression or sampled (from {minimum_rows(m, k, 'sampled'):,} rows), or a budget of {whole:,}"
        )
    rows = max(BUDGET, least) if budget is None else int(budget)
    if rows < least:
        raise ConfigError(f"budget={rows}: method={method} needs at least {least:,} model rows for {m} of {m + k} players")
    spent, requested = counted.n_evaluations, counted.n_requested
    phi, covariance, halves = METHODS[method](SegmentRows(counted, (start, stop)), rows, estimator.seed)
    spent, requested = counted.n_evaluations - spent, counted.n_requested - requested
    return IntervalValues((start, stop), method, phi, covariance, halves, spent, requested)


def check_segment(segment: tuple[int, int], n: int) -> tuple[int, int]:
    """The segment as two plain numbers; ConfigError if it is not 0 <= start < stop <= n."""
    try:
        start, stop = (int(i) for i in segment)
        whole = (start, stop) == tuple(segment)
    except (TypeError, ValueError):
        whole = False
    if not whole or not 0 <= start < stop <= n:
        raise ConfigError(
            f"segment={segment!r} is out of range: give (start, stop), 0 <= start < stop <= {n}, the number of players"
        )
    return start, stop


def exact_rows(m: int, k: int) -> int:
    """Model rows of the exact answer: m players in the segment, k outside.

    >>> exact_rows(4, 6)
    704
    """
    return 2**k * (m * (m + 1) // 2 + 1)


def minimum_rows(m: int, k: int, method: str) -> int:
    """The smallest budget of a method: two pairs a stratum that has two, or two samples an interval for `permutation`."""
    if method == "exact":
        return exact_rows(m, k)
    if method == "permutation":
        return 2 * m * (m + 1)
    pairs = sum(min(2, part.pairs) for part in strata(k))
    return min(2 * pairs * (m * (m + 1) // 2 + 1), exact_rows(m, k))


def planned_rows(m: int, k: int, method: Estimator | str, budget: int | None = None) -> int:
    """The most model rows that `interval_values` spends: m players in the segment, k outside."""
    estimator = Estimator.of(method, budget)
    if estimator.method == "exact":
        return exact_rows(m, k)
    rows = max(BUDGET, minimum_rows(m, k, estimator.method)) if estimator.budget is None else estimator.budget
    return min(rows, exact_rows(m, k))


class SegmentRows:
    """The coalitions of contexts and intervals of a segment, and their values in the game. `outside`: numbers of the players
    outside, (k,); `intervals`: players of the segment in each interval, (M, m)."""

    def __init__(self, game: CachedGame, segment: tuple[int, int]):
        self.game, self.n, (self.start, self.stop) = game, game.n_players, segment
        self.outside = np.r_[0 : self.start, self.stop : self.n]
        self.intervals = self.between(*np.triu_indices(self.stop - self.start))

    def between(self, first: NDArray[np.integer], last: NDArray[np.integer]) -> Coalitions:
        """Players of the segment in the intervals first..last (inclusive), both (parts,): (parts, m)."""
        players = np.arange(self.stop - self.start)
        return (first[:, None] <= players) & (players <= last[:, None])

    def values(self, contexts: Coalitions) -> Values:
        """v(S) and v(S u C) of contexts S and all intervals C, (contexts, 1 + M, K)."""
        rows = np.zeros((len(contexts), len(self.intervals) + 1, self.n), bool)
        rows[:, :, self.outside] = contexts[:, None, :]
        rows[:, 1:, self.start : self.stop] = self.intervals
        return self.game(rows.reshape(-1, self.n)).reshape(*rows.shape[:2], -1)

    def differences(self, contexts: Coalitions) -> Values:
        """v(S u C) - v(S) for all intervals, (contexts, M, K)."""
        step = max(1, _CHUNK // (len(self.intervals) + 1))
        values = [self.values(contexts[i : i + step]) for i in range(0, len(contexts), step)]
        return np.concatenate([part[:, 1:] - part[:, :1] for part in values])

    def own_differences(self, contexts: Coalitions, intervals: Coalitions) -> Values:
        """v(S u C) - v(S) where each interval has contexts of its own, (parts, count, k) and (parts, m): (parts, count, K)."""
        rows = np.zeros((2, *contexts.shape[:2], self.n), bool)
        rows[:, :, :, self.outside] = contexts
        rows[1, :, :, self.start : self.stop] = intervals[:, None, :]
        absent, present = self.game(rows.reshape(-1, self.n)).reshape(*rows.shape[:3], -1)
        return present - absent


def _exact(rows: SegmentRows, budget: int, seed: int) -> tuple[Values, Values, Values]:
    k = len(rows.outside)
    size_weight = np.array([1 / ((k + 1) * comb(k, s)) for s in range(k + 1)])
    phi: Values = np.zeros(())
    step = max(1, _CHUNK // (len(rows.intervals) + 1))
    for i in range(0, 2**k, step):
        contexts = (np.arange(i, min(i + step, 2**k))[:, None] >> np.arange(k) & 1).astype(bool)
        phi = phi + np.tensordot(size_weight[contexts.sum(1)], rows.differences(contexts), axes=1)
    return phi, np.zeros((phi.shape[1], len(phi), len(phi))), np.stack([phi, phi])


def _stratified(adjusted: bool, rows: SegmentRows, budget: int, seed: int) -> tuple[Values, Values, Values]:
    k = len(rows.outside)
    rng = np.random.default_rng(seed)
    parts = strata(k)
    counts = allocate(parts, budget // (2 * (len(rows.intervals) + 1)) if k else 1)
    sides = [draw(part, count, k, rng) for part, count in zip(parts, counts, strict=True)]
    both = rows.differences(np.concatenate([np.concatenate([side, ~side]) for side in sides]))
    blocks = np.split(both, 2 * np.cumsum(counts)[:-1])
    values = [(block[:count] + block[count:]) / 2 for block, count in zip(blocks, counts, strict=True)]
    if adjusted:
        means, residuals = adjust(parts, sides, values)
    else:
        means, residuals = [value.mean(0) for value in values], values
    phi = sum((part.weight * mean for part, mean in zip(parts, means, strict=True)), np.zeros(()))
    covariance, halves = np.zeros((phi.shape[1], len(phi), len(phi))), np.zeros((2, *phi.shape))
    for part, count, mean, residual in zip(parts, counts, means, residuals, strict=True):
        if count == part.pairs:
            halves += part.weight * mean
            continue
        spread = residual - residual.mean(0)
        factor = part.weight**2 * (1 - count / part.pairs) / (count * (count - 1))
        covariance = covariance + factor * np.einsum("uak,ubk->kab", spread, spread)
        halves += part.weight * np.stack([residual[0::2].mean(0), residual[1::2].mean(0)])
    return phi, covariance, halves


def _permutation(rows: SegmentRows, budget: int, seed: int) -> tuple[Values, Values, Values]:
    count = budget // (2 * len(rows.intervals))
    contexts = prefixes((len(rows.intervals), count), len(rows.outside), np.random.default_rng(seed))
    values = rows.own_differences(contexts, rows.intervals).swapaxes(0, 1)  # (count, M, K)
    variance = values.var(0, ddof=1) / count  # (M, K); intervals are sampled apart, so nothing off the diagonal
    covariance = np.stack([np.diag(column) for column in variance.T])
    return values.mean(0), covariance, np.stack([values[0::2].mean(0), values[1::2].mean(0)])


METHODS: dict[str, Callable[[SegmentRows, int, int], tuple[Values, Values, Values]]] = {
    "exact": _exact,
    "sampled": partial(_stratified, False),
    "regression": partial(_stratified, True),
    "permutation": _permutation,
}
