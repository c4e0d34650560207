"""Methods to compare with: `learned_p`, the paper's sampler with known best partitions (`told`), and shapiq's approximators.

`learned_p`: each link i of a segment is kept with probability p_i = sigmoid(theta_i), theta = 0 at first. An epoch draws
`partitions` samples g of links; every part C of a sample gets the mean of v(S u C) - v(S) over `prefixes` random prefixes S of
the outside players, and F(g) is the sum over parts. The surrogate and its gradient are

    mean over items i of p_i E[F | g_i = 1] + (1 - p_i) E[F | g_i = 0],     d/dp_i = (E[F | g_i = 1] - E[F | g_i = 0]) / m

(m items: the first position is a link fixed to 0), with momentum, upwards for the best partition and downwards for the worst.
Scores of exactly 0 count here, in the released code of Zhang et al. 2021 (AAAI 35, 10877-10886) they do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probing.errors import ConfigError, did_you_mean
from probing.interactions.contexts import prefixes
from probing.interactions.game import CachedGame, Game
from probing.interactions.intervals import SegmentRows, check_segment
from probing.interactions.partition import Partition, best_partition, partition_of
from probing.types import Coalitions, Values

APPROXIMATORS = ("PermutationSamplingSV", "KernelSHAP", "StratifiedSamplingSV", "SVARM", "UnbiasedKernelSHAP")


@dataclass(frozen=True)
class Settings:
    """Samples of links and prefixes an epoch, epochs, step, momentum, decay every 10 epochs, and `stop`: a run ends when every p is
    below this or above 1 - this; 0: never."""

    partitions: int
    prefixes: int
    epochs: int
    lr: float
    momentum: float = 0.9
    decay: float = 1.0
    stop: float = 0.0

    def __post_init__(self) -> None:
        if min(self.partitions, self.prefixes, self.epochs) < 1 or not self.lr > 0 or not 0 <= self.momentum < 1:
            raise ConfigError(f"{self}: counts are at least 1, lr above 0, momentum from 0 to below 1")


PUBLISHED = {
    "toy": Settings(10, 50, 200, 1.0, momentum=0.4, stop=0.1),
    "demo": Settings(10, 50, 100, 1.0),
    "accuracy": Settings(10, 25, 100, 1.0, decay=0.95),
    "instability-elmo": Settings(50, 50, 50, 2.0, decay=0.95),
    "instability-cnn": Settings(50, 50, 100, 2.0, decay=0.95),
    "layers": Settings(5, 25, 100, 10.0, stop=0.05),
}
"""The settings of the released experiments, by experiment."""


@dataclass(frozen=True)
class Learned:
    """Learned partitions of a segment and their T, in the unit of the game's values. `T_soft`: difference of the surrogates at
    the last epochs, `T_history` the same after each epoch; `T_thresholded`: of the sums over the partitions of the links with
    p >= 0.5, each part with the mean of all its samples; `p_max`, `p_min`: probability of each link, (m - 1,); `n_requested`,
    `n_evaluations`: model rows as published (nothing cached), and distinct ones among them.
    """

    segment: tuple[int, int]
    T_soft: float
    T_history: Values
    T_thresholded: float
    p_max: Values
    p_min: Values
    max_partition: Partition
    min_partition: Partition
    n_requested: int
    n_evaluations: int


def learned_p(
    game: Game, segment: tuple[int, int], settings: Settings | str = "accuracy", seed: int = 0, phi: Values | None = None
) -> Learned:
    """Learns the best and the worst partition of a segment of at least two players, in a game of one column; `settings`: by name
    (`PUBLISHED`) or your own; with exact interval values phi (m, m) no model row is spent, and only the optimisation is
    tested.

    Raises:
        ConfigError: unknown settings, a segment out of range or of one player, phi of another shape.
        GameError: the game's values cannot be used.
    """
    if isinstance(settings, str):
        if settings not in PUBLISHED:
            raise ConfigError(f"no settings {settings!r}{did_you_mean(settings, PUBLISHED)}; known: {', '.join(PUBLISHED)}")
        settings = PUBLISHED[settings]
    counted = game if isinstance(game, CachedGame) else CachedGame(game)
    start, stop = check_segment(segment, counted.n_players)
    m = stop - start
    if m < 2:
        raise ConfigError(f"segment={segment}: a segment of one player has no links to learn")
    if phi is not None and np.shape(phi) != (m, m):
        raise ConfigError(f"phi of shape {np.shape(phi)} is not that of {m} players: ({m}, {m})")
    spent, requested = counted.n_evaluations, counted.n_requested
    rng = np.random.default_rng(seed)
    seen = _Seen(counted, (start, stop), settings.prefixes, phi, rng)
    runs = [_climb(seen, sign, settings, rng) for sign in (1, -1)]
    histories = np.stack([np.pad(h, (0, settings.epochs - len(h)), mode="edge") for _, h in runs])
    partitions = [partition_of(p >= 0.5, start) for p, _ in runs]
    sums = [sum(seen.mean(i - start, j - 1 - start) for i, j in partition) for partition in partitions]
    return Learned(
        segment=(start, stop),
        T_soft=float(histories[0, -1] - histories[1, -1]),
        T_history=histories[0] - histories[1],
        T_thresholded=sums[0] - sums[1],
        p_max=runs[0][0],
        p_min=runs[1][0],
        max_partition=partitions[0],
        min_partition=partitions[1],
        n_requested=counted.n_requested - requested,
        n_evaluations=counted.n_evaluations - spent,
    )


def frozen_T(
    game: Game,
    segment: tuple[int, int],
    p_max: Values,
    p_min: Values,
    partitions: int,
    prefixes: int,
    seed: int | Sequence[int] = 0,
) -> tuple[float, int]:
    """T of fixed link probabilities p (m - 1,), E F(g | p_max) - E F(g | p_min), from so many samples of links, and of prefixes for
    each of their parts; and its model rows (nothing cached)."""
    counted = game if isinstance(game, CachedGame) else CachedGame(game, keep=False)
    requested, rng = counted.n_requested, np.random.default_rng(seed)
    seen = _Seen(counted, check_segment(segment, counted.n_players), prefixes, None, rng)
    high, low = (_scores(seen, p, partitions, rng)[1].mean() for p in (p_max, p_min))
    return float(high - low), counted.n_requested - requested


class _Seen:
    """Values of parts: sampled again at each call, with running means of all samples."""

    def __init__(self, game: CachedGame, segment: tuple[int, int], prefixes: int, phi: Values | None, rng: np.random.Generator):
        self.rows, self.m = SegmentRows(game, segment), segment[1] - segment[0]
        self.prefixes, self.phi, self.rng = prefixes, phi, rng
        self.total, self.count = np.zeros((2, self.m, self.m))

    def sample(self, first: NDArray[np.integer], last: NDArray[np.integer]) -> Values:
        """One fresh estimate for each part first..last (inclusive), both (parts,): (parts,)."""
        if self.phi is not None:
            return self.phi[first, last]
        contexts = prefixes((len(first), self.prefixes), len(self.rows.outside), self.rng)
        differences = self.rows.own_differences(contexts, self.rows.between(first, last))
        if differences.shape[2] > 1:
            raise ConfigError(f"learned_p takes a game of one column; this one has {differences.shape[2]}")
        values = differences[..., 0].mean(1)
        np.add.at(self.total, (first, last), values)
        np.add.at(self.count, (first, last), 1)
        return values

    def mean(self, first: int, last: int) -> float:
        """Mean of all estimates of a part, at least one."""
        if self.phi is not None:
            return float(self.phi[first, last])
        if not self.count[first, last]:
            self.sample(np.array([first]), np.array([last]))
        return float(self.total[first, last] / self.count[first, last])


def _climb(seen: _Seen, sign: int, settings: Settings, rng: np.random.Generator) -> tuple[Values, Values]:
    """Link probabilities at the end, and the surrogate at each epoch."""
    m = seen.m
    theta, speed, history = np.zeros(m - 1), np.zeros(m - 1), []
    p = np.full(m - 1, 0.5)
    for epoch in range(settings.epochs):
        kept, score = _scores(seen, p, settings.partitions, rng)
        on, off = kept.sum(0), (~kept).sum(0)
        mean_on, mean_off = score @ kept / np.maximum(on, 1), score @ ~kept / np.maximum(off, 1)
        history.append((score.mean() + (p * mean_on + (1 - p) * mean_off).sum()) / m)
        gradient = np.where((on > 0) & (off > 0), mean_on - mean_off, 0.0) / m
        speed = settings.momentum * speed + sign * gradient * p * (1 - p)
        theta = theta + settings.lr * settings.decay ** (epoch // 10) * speed
        p = 1 / (1 + np.exp(-np.clip(theta, -500, 500)))
        if settings.stop and np.all((p < settings.stop) | (p > 1 - settings.stop)):
            break
    return p, np.array(history)


def _scores(seen: _Seen, p: Values, count: int, rng: np.random.Generator) -> tuple[NDArray[np.bool_], Values]:
    """Links of `count` samples g ~ Bernoulli(p), (count, m - 1), and F(g), (count,)."""
    kept = rng.random((count, len(p))) < p
    begins, ends = np.pad(~kept, ((0, 0), (1, 0)), constant_values=True), np.pad(~kept, ((0, 0), (0, 1)), constant_values=True)
    owner, first = np.nonzero(begins)
    sums = np.bincount(owner, seen.sample(first, np.nonzero(ends)[1]), count)
    return kept, sums.astype(np.float64, copy=False)


def told(game: Game, segment: tuple[int, int], best: Partition, worst: Partition, budget: int, seed: int) -> tuple[float, int]:
    """T from the parts in which two given partitions differ, each with prefixes of its own, as in Zhang et al. 2021 (at least two
    samples a part), and the model rows requested; without the partitions that sampler is method=permutation."""
    signs = {part: 1 for part in set(best) - set(worst)} | {part: -1 for part in set(worst) - set(best)}
    if not signs:
        return 0.0, 0
    rows = SegmentRows(CachedGame(game, keep=False), segment)
    contexts = prefixes((len(signs), max(2, budget // (2 * len(signs)))), len(rows.outside), np.random.default_rng(seed))
    starts, stops = np.array(list(signs)).T - segment[0]
    values = rows.own_differences(contexts, rows.between(starts, stops - 1))[..., 0].mean(1)  # (parts,)
    return float(np.array(list(signs.values())) @ values), rows.game.n_requested


def approximated(game: Game, segment: tuple[int, int], name: str, budget: int, seed: int) -> tuple[float, int]:
    """T from an approximator of shapiq, and the distinct model rows it spent; ConfigError if shapiq is not installed. Each
    interval has an equal share of the budget, and is a player in a game of its own, beside the words outside."""
    try:
        import shapiq
    except ImportError:
        raise ConfigError("a comparison with shapiq needs it: pip install 'probing-bench[explain]', or leave it out") from None
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
