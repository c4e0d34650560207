"""B, B_max, B_min and T of a segment, with the partitions that reach them and their standard errors; tables of a segment's values.

The standard errors are those of the sums over the intervals that the chosen partitions name. An optimum over noisy values is
biased: B_max and T upwards, B_min downwards. `T_split`, whose partitions are chosen on one half of the sample and measured on
the other, both ways, is biased downwards (with `regression` the halves share their fits).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from probing.errors import ConfigError
from probing.interactions.game import CachedGame, Game, all_coalitions
from probing.interactions.intervals import IntervalValues, SegmentRows, check_segment, exact_rows, interval_values
from probing.interactions.options import Estimator
from probing.interactions.partition import LISTED, TOLERANCE, Partition, best_partition, coefficients, square
from probing.types import Coalitions, Values


@dataclass(frozen=True)
class SegmentInteraction:
    """Interactions within a segment, in the unit of the game's values, with standard errors `*_stderr` (0 where exact).

    Attributes:
        phi: interval values, (m, m); [i, j] belongs to the players start + i .. start + j inclusive; 0 below the diagonal.
        T_split: T with partitions chosen on one half of the sample and measured on the other.
        max_partition, min_partition: parts (start, stop) in player numbers; of tied partitions the finest.
        max_partitions, min_partitions: all tied partitions, at most `listed`, the finest first.
        n_evaluations, n_requested: model rows spent, and requested; of all columns together.
    """

    segment: tuple[int, int]
    method: str
    phi: Values
    stderr: Values
    B: float
    B_max: float
    B_min: float
    T: float
    B_stderr: float
    B_max_stderr: float
    B_min_stderr: float
    T_stderr: float
    T_split: float
    max_partition: Partition
    min_partition: Partition
    max_partitions: tuple[Partition, ...]
    min_partitions: tuple[Partition, ...]
    n_evaluations: int
    n_requested: int


def segment_interaction(
    game: Game,
    segment: tuple[int, int],
    method: Estimator | str = "exact",
    budget: int | None = None,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    listed: int = LISTED,
) -> SegmentInteraction:
    """The interaction of a segment in a game of one value; method, budget, seed: see `interval_values`.

    Args:
        tolerance: sums of two partitions that differ by less, relative to the largest |phi|, tie.
        listed: at most so many tied partitions are listed.

    Raises:
        ConfigError: a segment out of range, a budget too small, an unknown method, or a game with several columns.
        GameError: the game's values cannot be used.

    Examples:
        >>> from probing.interactions import TableGame
        >>> both = segment_interaction(TableGame([0, 0, 0, 1]), (0, 2))
        >>> both.T, both.max_partition, both.min_partition
        (1.0, ((0, 2),), ((0, 1), (1, 2)))
    """
    results = segment_interactions(game, segment, method, budget, seed, tolerance, listed)
    if len(results) > 1:
        raise ConfigError(f"the game has {len(results)} columns: segment_interactions gives one result for each")
    return results[0]


def segment_interactions(
    game: Game,
    segment: tuple[int, int],
    method: Estimator | str = "exact",
    budget: int | None = None,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    listed: int = LISTED,
) -> list[SegmentInteraction]:
    """One result for each value column of the game (class, layer), from the same model rows; see `segment_interaction`."""
    values = interval_values(game, segment, method, budget, seed)
    return [_result(values, column, tolerance, listed) for column in range(values.phi.shape[1])]


def _result(values: IntervalValues, column: int, tolerance: float, listed: int) -> SegmentInteraction:
    start, stop = values.segment
    m = stop - start
    covariance = values.covariance[column]
    phi = square(values.phi[:, column], m)
    high, low = best_partition(phi, 1, tolerance, listed), best_partition(phi, -1, tolerance, listed)
    singles = float(np.trace(phi))
    whole, alone = coefficients(((0, m),), m), coefficients(tuple((i, i + 1) for i in range(m)), m)
    top, bottom = coefficients(high.finest, m), coefficients(low.finest, m)
    if covariance.any():
        split = _split([square(half, m) for half in values.halves[:, :, column]], tolerance)
    else:
        split = high.value - low.value

    def stderr(weights: Values) -> float:
        return float(np.sqrt(max(0.0, weights @ covariance @ weights)))

    def named(partition: Partition) -> Partition:
        return tuple((start + i, start + j) for i, j in partition)

    return SegmentInteraction(
        segment=values.segment,
        method=values.method,
        phi=phi,
        stderr=square(np.sqrt(np.diag(covariance)), m),
        B=float(phi[0, -1]) - singles,
        B_max=high.value - singles,
        B_min=low.value - singles,
        T=high.value - low.value,
        B_stderr=stderr(whole - alone),
        B_max_stderr=stderr(top - alone),
        B_min_stderr=stderr(bottom - alone),
        T_stderr=stderr(top - bottom),
        T_split=split,
        max_partition=named(high.finest),
        min_partition=named(low.finest),
        max_partitions=tuple(map(named, high.all)),
        min_partitions=tuple(map(named, low.all)),
        n_evaluations=values.n_evaluations,
        n_requested=values.n_requested,
    )


def _split(halves: list[Values], tolerance: float) -> float:
    m = len(halves[0])
    sums = []
    for chosen, measured in (halves, halves[::-1]):
        top, bottom = (coefficients(best_partition(chosen, sign, tolerance, 1).finest, m) for sign in (1, -1))
        sums.append((top - bottom) @ measured[np.triu_indices(m)])
    return float(np.mean(sums))


class SegmentTable:
    """A game that knows v(S) and v(S u C) for every set S outside a segment and every interval C in it: all values that a method
    of `probing.interactions` requests; ConfigError when called on a coalition with two pieces of the segment.

    Args:
        values: (2^k, 1 + M): row = bit mask of the outside players in their order; column 0 = v(S), then the intervals in the
            order of np.triu_indices(m).
        seconds: processor seconds that the rows took.
    """

    def __init__(self, values: Values, n_players: int, segment: tuple[int, int], seconds: float = 0.0):
        start, stop = check_segment(segment, n_players)
        self.values, self.n_players, self.segment, self.seconds = np.asarray(values, float), n_players, (start, stop), seconds
        self.m, self.k = stop - start, n_players - (stop - start)
        if self.values.size != self.rows or len(self.values) != 2**self.k:
            raise ConfigError(f"a table of shape {self.values.shape} is not that of {self.m} of {n_players} players")
        self._outside = np.r_[0:start, stop:n_players]
        self._interval = np.zeros((self.m, self.m), int)
        self._interval[np.triu_indices(self.m)] = np.arange(1, self.values.shape[1])

    @property
    def rows(self) -> int:
        """Model rows of the table, and of the exact answer."""
        return exact_rows(self.m, self.k)

    def __call__(self, coalitions: Coalitions, /) -> Values:
        inside = coalitions[:, slice(*self.segment)]
        count, first, last = inside.sum(1), inside.argmax(1), self.m - 1 - inside[:, ::-1].argmax(1)
        if ((count > 0) & (last - first + 1 != count)).any():
            raise ConfigError("the table of a segment holds its intervals only, and a coalition has two pieces of the segment")
        column = np.where(count > 0, self._interval[first, np.maximum(first, last)], 0)
        return self.values[coalitions[:, self._outside] @ (1 << np.arange(self.k)), column]


def run_table(game: Game, segment: tuple[int, int]) -> SegmentTable:
    """The table of a segment, from the model rows of the exact answer; GameError for values that cannot be used."""
    n, (start, stop) = game.n_players, check_segment(segment, game.n_players)
    begun = time.process_time()
    values = SegmentRows(CachedGame(game, keep=False), (start, stop)).values(all_coalitions(n - (stop - start)))
    return SegmentTable(values[..., 0], n, (start, stop), time.process_time() - begun)
