"""Segment tables: all values of a game that an estimator can request for a segment, computed once.

For a segment of m of n players, with k = n - m outside and M = m (m + 1) / 2 intervals, every method of `probing.interactions`
requests only v(S) and v(S u C), S a set of outside players and C an interval: 2^k (M + 1) model rows, those of the exact answer. On
their table a method can be repeated at will, and its cost is counted as if the game were run.
"""

from __future__ import annotations

import time

import numpy as np

from probing.errors import ConfigError
from probing.interactions.game import CachedGame, Game, all_coalitions
from probing.interactions.intervals import SegmentRows, check_segment, exact_rows
from probing.types import Coalitions, Values


class SegmentTable:
    """A game that knows v(S) and v(S u C) for every set S outside a segment and every interval C in it.

    Args:
        values: (2^k, 1 + M): row = bit mask of the outside players in their order; column 0 = v(S), then the intervals in the order
            of np.triu_indices(m).
        n_players, segment: of the game; segment is (start, stop), stop excluded.
        seconds: processor seconds that the rows took.

    Raises:
        ConfigError: a table of another shape; or, when called, a coalition with two pieces of the segment.
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
    """The table of a segment, from the model rows of the exact answer.

    Raises:
        GameError: values that cannot be used.
    """
    n, (start, stop) = game.n_players, check_segment(segment, game.n_players)
    begun = time.process_time()
    values = SegmentRows(CachedGame(game, keep=False), (start, stop)).values(all_coalitions(n - (stop - start)))
    return SegmentTable(values[..., 0], n, (start, stop), time.process_time() - begun)
