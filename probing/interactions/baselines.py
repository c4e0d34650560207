"""Other estimators of T, at a budget of model rows: the paper's sampler with known best partitions, and shapiq's approximators."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from probing.errors import ConfigError
from probing.interactions.contexts import prefixes
from probing.interactions.game import CachedGame, Game
from probing.interactions.intervals import SegmentRows
from probing.interactions.partition import Partition, best_partition
from probing.types import Coalitions, Values

APPROXIMATORS = ("PermutationSamplingSV", "KernelSHAP", "StratifiedSamplingSV", "SVARM", "UnbiasedKernelSHAP")


def told(game: Game, segment: tuple[int, int], best: Partition, worst: Partition, budget: int, seed: int) -> tuple[float, int]:
    """T from the parts in which two given partitions differ, and the model rows requested (at least two samples a part).

    Each part has prefixes of its own, as in Zhang et al. 2021. The partitions are not known before T is, so this is the most
    favourable reading of that sampler; without them it is method=permutation of `probing.interactions.intervals`.

    Args:
        best, worst: parts (start, stop) in player numbers.
    """
    signs = {part: 1 for part in set(best) - set(worst)} | {part: -1 for part in set(worst) - set(best)}
    if not signs:
        return 0.0, 0
    rows = SegmentRows(CachedGame(game, keep=False), segment)
    contexts = prefixes((len(signs), max(2, budget // (2 * len(signs)))), len(rows.outside), np.random.default_rng(seed))
    starts, stops = np.array(list(signs)).T - segment[0]
    values = rows.own_differences(contexts, rows.between(starts, stops - 1))[..., 0].mean(1)  # (parts,)
    return float(np.array(list(signs.values())) @ values), rows.game.n_requested


def approximated(game: Game, segment: tuple[int, int], name: str, budget: int, seed: int) -> tuple[float, int]:
    """T from an approximator of shapiq, an equal share of the budget for each interval, and the distinct model rows it spent.

    Each interval is a player in a game of its own, beside the words outside, and gets its Shapley value there: shapiq's interface
    has no place for values v(S) that intervals could share.

    Raises:
        ConfigError: shapiq is not installed.
    """
    try:
        import shapiq
    except ImportError:
        raise ConfigError("a comparison with shapiq needs it: pip install 'probing[explain]', or leave it out") from None
    start, stop = segment
    m, outside = stop - start, np.r_[0:start, stop : game.n_players]
    phi, spent = np.zeros((m, m)), 0
    for i, j in zip(*np.triu_indices(m), strict=True):
        counted = CachedGame(_Block(game, outside, (start + int(i), start + int(j) + 1)))
        approximator = getattr(shapiq, name)(n=counted.n_players, random_state=seed)
        values = approximator.approximate(2 * budget // (m * (m + 1)), lambda rows, g=counted: g(np.atleast_2d(rows).astype(bool)))
        phi[i, j] = values[(len(outside),)]
        spent += counted.n_evaluations
    return best_partition(phi, 1).value - best_partition(phi, -1).value, spent


class _Block:
    """The game of the outside players and one interval, the last player; the rest of the segment is absent."""

    def __init__(self, game: Game, outside: NDArray[np.integer], block: tuple[int, int]):
        self.game, self.outside, self.block, self.n_players = game, outside, block, len(outside) + 1

    def __call__(self, coalitions: Coalitions, /) -> Values:
        whole = np.zeros((len(coalitions), self.game.n_players), bool)
        whole[:, self.outside] = coalitions[:, :-1]
        whole[:, slice(*self.block)] = coalitions[:, -1:]
        return self.game(whole)
