"""Other estimators of T, at a budget of model rows: the paper's sampler told the best partitions, and shapiq's approximators.

`told` samples only the parts in which the best and the worst partition differ, each part with prefixes of its own, as Zhang et al.
2021 do. Nobody knows these partitions before T is known: it is the most favourable reading of that sampler. Told nothing, it is
method=permutation of `probing.interactions.intervals`.

`approximated` gives every interval a game of its own, whose players are the words outside and the interval as one player, and
takes its Shapley value there from an approximator of shapiq (extra `explain`). Left out: sharing v(S) between intervals, which its
interface has no place for.
"""

from __future__ import annotations

import numpy as np

from probing.errors import ConfigError
from probing.interactions.contexts import prefixes
from probing.interactions.game import CachedGame, Game
from probing.interactions.partition import Partition, best_partition
from probing.types import Coalitions, Values

APPROXIMATORS = ("PermutationSamplingSV", "KernelSHAP", "StratifiedSamplingSV", "SVARM", "UnbiasedKernelSHAP")


def told(game: Game, segment: tuple[int, int], best: Partition, worst: Partition, budget: int, seed: int) -> tuple[float, int]:
    """T from the parts of two given partitions, and the model rows asked for (at least two samples a part).

    Args:
        best, worst: parts (start, stop) in player numbers.
    """
    signs = {part: 1 for part in set(best) - set(worst)} | {part: -1 for part in set(worst) - set(best)}
    if not signs:
        return 0.0, 0
    outside = np.r_[0 : segment[0], segment[1] : game.n_players]
    each = max(2, budget // (2 * len(signs)))
    rows = np.zeros((2, len(signs), each, game.n_players), bool)
    rows[:, :, :, outside] = prefixes((len(signs), each), len(outside), np.random.default_rng(seed))
    for at, (start, stop) in enumerate(signs):
        rows[1, at, :, start:stop] = True
    values = np.asarray(game(rows.reshape(-1, game.n_players))).reshape(rows.shape[:3])  # (2, parts, each)
    return float(np.array(list(signs.values())) @ (values[1] - values[0]).mean(1)), rows[..., 0].size


def approximated(game: Game, segment: tuple[int, int], name: str, budget: int, seed: int) -> tuple[float, int]:
    """T from an approximator of shapiq, an equal share of the budget for each interval, and the different model rows it spent.

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
        counted = CachedGame(_Block(game, outside, (start + i, start + j + 1)))
        approximator = getattr(shapiq, name)(n=counted.n_players, random_state=seed)
        found = approximator.approximate(2 * budget // (m * (m + 1)), lambda rows, g=counted: g(np.atleast_2d(rows).astype(bool)))
        phi[i, j] = found[(len(outside),)]
        spent += counted.n_evaluations
    return best_partition(phi, 1).value - best_partition(phi, -1).value, spent


class _Block:
    """The game of the outside players and one interval, the last player; the rest of the segment is absent."""

    def __init__(self, game: Game, outside: Values, block: tuple[int, int]):
        self.game, self.outside, self.block, self.n_players = game, outside, block, len(outside) + 1

    def __call__(self, coalitions: Coalitions, /) -> Values:
        whole = np.zeros((len(coalitions), self.game.n_players), bool)
        whole[:, self.outside] = coalitions[:, :-1]
        whole[:, slice(*self.block)] = coalitions[:, -1:]
        return self.game(whole)
