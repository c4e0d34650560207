"""B, B_max, B_min and T of a segment, with the partitions that reach them and their standard errors.

Interval values come from `intervals`, partitions from `partition`, where the definitions stand. The standard errors of B, B_max,
B_min and T are those of the sums over the intervals that the chosen partitions name (from the covariance of the interval values).

An optimum over noisy values is biased: B_max and T upwards, B_min downwards. `T_split` bounds the bias from the other side: the
partitions are chosen on one half of the sample and measured on the other, both ways, so a wrong choice makes it too small and there
is no bias of selection (with `regression` the halves share their fits, so this holds nearly).
T and T_split are equal where exact, and far apart where the budget is too small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probing.errors import ConfigError
from probing.interactions.game import Game
from probing.interactions.intervals import IntervalValues, interval_values
from probing.interactions.options import Estimator
from probing.interactions.partition import LISTED, TOLERANCE, Partition, best_partition, coefficients, square
from probing.types import Values


@dataclass(frozen=True)
class SegmentInteraction:
    """Interactions within a segment, in the unit of the game's values.

    Attributes:
        phi, stderr: interval values and their standard errors (0 where exact), (m, m); [i, j] belongs to the players start + i ..
            start + j inclusive; 0 below the diagonal.
        B, B_max, B_min, T: and their standard errors `*_stderr`.
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
    """The interaction of a segment in a game of one value.

    Args:
        game: bool (rows, n) -> (rows,).
        segment: (start, stop) in player numbers, stop excluded.
        method, budget, seed: exact, sampled, regression or permutation, or an estimator; see `interval_values`.
        tolerance: sums of two partitions that differ by less, relative to the largest |phi|, tie.
        listed: at most so many tied partitions are listed.

    Raises:
        ConfigError: a segment out of range, a budget too small, an unknown method, or a game with several columns.
        GameError: the game's values cannot be used.

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
