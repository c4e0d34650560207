"""Methods that call links between neighbours bound, and scores of their calls against known links.

A link of a segment is bound upwards if the best partition keeps it, downwards if the worst does. Methods:

    exact, sampled, regression    the partitions of `segment_interaction` (of ties the finest)
    exact_tolerant  exact, where sums within 0.1 of the largest |phi| count as ties: for values with noise
    learned_p       the thresholded partitions of `learned_p` at the published toy settings
    pairwise_sii    the Shapley interaction index of each pair of neighbours, by its sign
    pair_dividend   the Harsanyi dividend of each pair of neighbours, by its sign
    greedy          from exact interval values: joins the two neighbouring parts that gain most, as long as one gains
    random          each link by the toss of a coin
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from probing.data.expressions.formula import LinkTruth
from probing.errors import ConfigError, did_you_mean
from probing.interactions.baselines import learned_p
from probing.interactions.game import CachedGame, Game, shapley_interactions, table
from probing.interactions.intervals import check_segment
from probing.interactions.partition import TOLERANCE, links
from probing.interactions.segment import segment_interaction
from probing.types import Estimate, Values


@dataclass(frozen=True)
class FoundLinks:
    """Links of a segment called bound in the best and in the worst partition, bool (m - 1,), the model rows spent, and the method's
    own T, NaN where it has none (of `learned_p` T_soft)."""

    max: np.ndarray
    min: np.ndarray
    rows: int
    T: float = math.nan


def find_links(game: Game, segment: tuple[int, int], method: str, budget: int | None = None, seed: int = 0) -> FoundLinks:
    """The links that a method, a key of `METHODS`, calls bound in a segment of at least two players, in a game of one column;
    ConfigError for an unknown method, a segment out of range, or a game too large for the method."""
    if method not in METHODS:
        raise ConfigError(f"no method {method!r}{did_you_mean(str(method), METHODS)}; known: {', '.join(METHODS)}")
    counted = CachedGame(game)
    return METHODS[method](counted, check_segment(segment, counted.n_players), budget, seed)


def _by_partition(
    method: str, tolerance: float, game: CachedGame, segment: tuple[int, int], budget: int | None, seed: int
) -> FoundLinks:
    r = segment_interaction(game, segment, method, budget, seed, tolerance, listed=1)
    return FoundLinks(links(r.max_partition), links(r.min_partition), r.n_evaluations, r.T)


def _learned(game: CachedGame, segment: tuple[int, int], budget: int | None, seed: int) -> FoundLinks:
    r = learned_p(game, segment, "toy", seed)
    return FoundLinks(links(r.max_partition), links(r.min_partition), r.n_requested, r.T_soft)


def _by_sign(values: Values, scale: float, rows: int) -> FoundLinks:
    return FoundLinks(values > TOLERANCE * scale, values < -TOLERANCE * scale, rows)


def _pairwise_sii(game: CachedGame, segment: tuple[int, int], budget: int | None, seed: int) -> FoundLinks:
    v = table(game)
    interactions = shapley_interactions(v)
    return _by_sign(np.array([interactions[0b11 << i] for i in range(segment[0], segment[1] - 1)]), np.abs(v).max(), len(v))


def _pair_dividend(game: CachedGame, segment: tuple[int, int], budget: int | None, seed: int) -> FoundLinks:
    m = segment[1] - segment[0]
    rows = np.zeros((2 * m, game.n_players), bool)  # the empty coalition, singles, pairs
    rows[1 : m + 1, segment[0] : segment[1]] = np.eye(m)
    rows[m + 1 :, segment[0] : segment[1]] = np.eye(m)[:-1] + np.eye(m)[1:]
    v = game(rows)
    return _by_sign(v[m + 1 :] - v[1:m] - v[2 : m + 1] + v[0], np.abs(v).max(), game.n_evaluations)


def _greedy(game: CachedGame, segment: tuple[int, int], budget: int | None, seed: int) -> FoundLinks:
    r = segment_interaction(game, segment, "exact", budget, listed=1)
    kept, T = [], 0.0
    for sign in (1, -1):
        phi, cuts = sign * r.phi, list(range(segment[1] - segment[0] + 1))
        while len(cuts) > 2:
            gains = [phi[a, c - 1] - phi[a, b - 1] - phi[b, c - 1] for a, b, c in zip(cuts, cuts[1:], cuts[2:], strict=False)]
            if max(gains) <= TOLERANCE * np.abs(phi).max():
                break
            del cuts[int(np.argmax(gains)) + 1]
        kept.append(~np.isin(np.arange(1, segment[1] - segment[0]), cuts))
        T += sum(phi[a, b - 1] for a, b in zip(cuts, cuts[1:], strict=False))
    return FoundLinks(kept[0], kept[1], r.n_evaluations, float(T))


def _random(game: CachedGame, segment: tuple[int, int], budget: int | None, seed: int) -> FoundLinks:
    tosses = np.random.default_rng(seed).random((2, segment[1] - segment[0] - 1)) < 0.5
    return FoundLinks(tosses[0], tosses[1], 0)


METHODS: dict[str, Callable[[CachedGame, tuple[int, int], int | None, int], FoundLinks]] = {
    "exact": partial(_by_partition, "exact", TOLERANCE),
    "exact_tolerant": partial(_by_partition, "exact", 0.1),
    "sampled": partial(_by_partition, "sampled", TOLERANCE),
    "regression": partial(_by_partition, "regression", TOLERANCE),
    "learned_p": _learned,
    "pairwise_sii": _pairwise_sii,
    "pair_dividend": _pair_dividend,
    "greedy": _greedy,
    "random": _random,
}


def count(called: FoundLinks, truth: LinkTruth, sides: tuple[str, ...] = ("max", "min"), free: bool = True) -> Values:
    """Links of one expression as (bound and called so, called only, bound only, neither): (4,); `free`: with links that differ
    between tied partitions."""
    total = np.zeros(4)
    for side in sides:
        a, b = getattr(called, side), getattr(truth, side)
        counted = np.ones(len(b), bool) if free else ~getattr(truth, f"{side}_free")
        total += [(counted & x & y).sum() for x, y in ((a, b), (a, ~b), (~a, b), (~a, ~b))]
    return total


def pooled(counts: Values, draws: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Scores (0-1) over all links of counts (expressions, 4), with 95 % bootstrap intervals over expressions; NaN where a score
    counts no link.

    >>> pooled(np.array([[2, 0, 1, 1.0]]))["accuracy"].value
    0.75
    """
    n = len(counts)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    hit, false, missed, right = np.concatenate([counts.sum(0, keepdims=True), weights @ counts]).T
    parts = {
        "accuracy": (hit + right, hit + false + missed + right),
        "accuracy_on_1_links": (hit, hit + missed),
        "accuracy_on_0_links": (right, right + false),
        "precision": (hit, hit + false),
        "recall": (hit, hit + missed),
        "f1": (2 * hit, 2 * hit + false + missed),
    }
    estimates = {}
    for name, (top, bottom) in parts.items():
        scores = np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)
        drawn = scores[1:][~np.isnan(scores[1:])]
        lower, upper = np.quantile(drawn, [0.025, 0.975]) if len(drawn) and bottom[0] else (np.nan, np.nan)
        estimates[name] = Estimate(float(scores[0]), float(lower), float(upper))
    return estimates
