"""Games: functions of coalitions, a cache that counts and verifies model rows, full tables, and their interaction indices.

A game gives each coalition S of players 0..n-1 a value v(S). It is called on a boolean matrix (m, n), True where a player is
present, and returns (m,), or (m, k) where k classes or layers come out of the same rows. A model row is a distinct coalition on
which the model had to run.

Indices of a full table (2^n,) or (2^n, k), bit i of the index = player i:

    harsanyi              dividends h(S) = sum_{L<=S} (-1)^(|S|-|L|) v(L),  so that v(S) = sum_{L<=S} h(L)   (Harsanyi 1963)
    shapley               mean over sizes of the mean difference a player makes
    shapley_interactions  SII(A) = sum_{L>=A} h(L) / (|L|-|A|+1), all orders (Grabisch and Roubens 1999), an integral along the
                          diagonal of the multilinear extension (Owen 1972), exact by floor(n / 2) + 1 Gauss-Legendre nodes
    pair_orders           I^(m)(i, j) = mean over |S| = m of v(S+i+j) - v(S+i) - v(S+j) + v(S), a pair's interaction among m other
                          players; the mean over m is SII of the pair (multi-order interactions, Deng et al. 2022)
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from probing.errors import ConfigError, GameError
from probing.types import Coalitions, Values

MAX_TABLE = 20
"""Players of the largest full table that `table` makes: 2^20 model rows."""


class Game(Protocol):
    @property
    def n_players(self) -> int: ...

    def __call__(self, coalitions: Coalitions, /) -> Values: ...


class TableGame:
    """The game of a full table v, (2^n,) or (2^n, k); bit i of the index = player i present.

    Raises:
        ConfigError: the table's length is not a power of two, or a value is not a finite number.

    >>> TableGame([0, 1, 1, 3])(np.array([[True, False], [True, True]]))
    array([1., 3.])
    """

    def __init__(self, v: ArrayLike):
        try:
            self.v = np.array(v, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"a table of values must be numbers, one for each coalition: {error}") from None
        self.n_players = players_of(self.v)
        if not np.isfinite(self.v).all():
            raise ConfigError(f"the table holds {int((~np.isfinite(self.v)).sum())} value(s) that are not finite")

    def __call__(self, coalitions: Coalitions, /) -> Values:
        return self.v[keys(coalitions).astype(np.int64)]


class CachedGame:
    """Runs a game on each distinct coalition once, `chunk` rows at a time; verifies and counts the values: `n_evaluations`, model
    rows spent, and `n_requested`, with repetitions. Without `keep` only repetitions within one call are spared.

    Raises:
        GameError (when called): a wrong number of values, not real numbers, or not finite.
    """

    def __init__(self, game: Game, chunk: int = 2**16, keep: bool = True):
        n = getattr(game, "n_players", None)
        if not callable(game) or not isinstance(n, int | np.integer) or n < 1:
            raise ConfigError(f"a game is a callable with n_players of at least 1; given {type(game).__name__}, n_players={n!r}")
        if chunk < 1:
            raise ConfigError(f"chunk={chunk}: at least one row must go to the game at once")
        self.game, self.n_players, self.chunk, self.keep = game, int(n), chunk, keep
        self.n_evaluations = self.n_requested = 0
        self._keys = pd.Index(keys(np.empty((0, self.n_players), bool)))
        self._values: Values | None = None

    def __call__(self, coalitions: Coalitions, /) -> Values:
        coalitions = np.asarray(coalitions)
        if coalitions.ndim != 2 or coalitions.shape[1] != self.n_players or coalitions.dtype != bool:
            raise ConfigError(
                f"coalitions are a boolean matrix with {self.n_players} columns, one a player; "
                f"given shape {coalitions.shape} of {coalitions.dtype}"
            )
        self.n_requested += len(coalitions)
        wanted, first, inverse = np.unique(keys(coalitions), return_index=True, return_inverse=True)
        at = self._keys.get_indexer(wanted)
        new = at < 0
        if not new.any():
            return np.zeros(0) if self._values is None else self._values[at[inverse]]
        fresh = self._run(coalitions[first[new]])
        known = fresh[:0] if self._values is None else self._values
        if fresh.shape[1:] != known.shape[1:]:
            raise GameError(f"the game gave columns {known.shape[1:]} at first, and {fresh.shape[1:]} later")
        at[new] = len(known) + np.arange(len(fresh))
        values = np.concatenate([known, fresh])
        if self.keep:
            self._keys, self._values = self._keys.append(pd.Index(wanted[new])), values
        return values[at[inverse]]

    def _run(self, rows: Coalitions) -> Values:
        parts = [self._verified(rows[i : i + self.chunk]) for i in range(0, len(rows), self.chunk)]
        if len({part.shape[1:] for part in parts}) > 1:
            raise GameError(f"the game changes its number of columns: {sorted({part.shape[1:] for part in parts})}")
        return np.concatenate(parts)

    def _verified(self, rows: Coalitions) -> Values:
        given = self.game(rows)
        try:
            given = np.asarray(given)
        except (TypeError, ValueError, RuntimeError) as error:
            raise GameError(f"the game returned {type(given).__name__}, which is no array of numbers: {error}") from None
        if given.ndim not in (1, 2) or len(given) != len(rows) or 0 in given.shape:
            raise GameError(
                f"the game returned shape {given.shape} for {len(rows)} coalitions; it must be ({len(rows)},) or ({len(rows)}, k)"
            )
        if given.dtype.kind not in "biuf":
            raise GameError(f"the game returned values of type {given.dtype}; they must be real numbers")
        values = given.astype(np.float64)
        finite = np.isfinite(values).reshape(len(rows), -1).all(1)
        if not finite.all():
            bad = int(np.argmin(finite))
            players = ", ".join(map(str, np.flatnonzero(rows[bad]))) or "none"
            raise GameError(
                f"the game returned {str(values[bad]).strip('[]')} for the coalition of the players {players} "
                f"({int((~finite).sum())} of {len(rows)} coalitions are not finite); its values must be finite numbers"
            )
        self.n_evaluations += len(rows)
        return values


def players_of(v: Values) -> int:
    """The number of players n >= 1 of a table (2^n,) or (2^n, k); ConfigError for another shape."""
    size = np.shape(v)[0] if np.ndim(v) in (1, 2) else 0
    if size < 2 or size & (size - 1):
        raise ConfigError(f"a table of shape {np.shape(v)} is not one of 2^n coalitions: give 2^n rows, n at least 1")
    return size.bit_length() - 1


def keys(coalitions: Coalitions) -> NDArray[Any]:
    """A sortable key of each coalition, (m,): its bit mask (bit i = player i) up to 64 players, else the mask's bytes."""
    packed = np.packbits(coalitions, axis=1, bitorder="little")
    width = packed.shape[1]
    if width > 8:
        return np.ascontiguousarray(packed).view(f"S{width}")[:, 0]
    wide = np.zeros((len(packed), 8), np.uint8)
    wide[:, :width] = packed
    return wide.view("<u8")[:, 0]


def all_coalitions(n: int) -> Coalitions:
    """All 2^n coalitions in the order of their bit masks, (2^n, n)."""
    return (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(bool)


def table(game: Game) -> Values:
    """The full table of a game, (2^n,) or (2^n, k), verified; ConfigError for more than `MAX_TABLE` players."""
    verified = CachedGame(game)
    n = verified.n_players
    if n > MAX_TABLE:
        raise ConfigError(
            f"a full table of {n} players takes 2^{n} = {2**n:,} model rows, the limit is 2^{MAX_TABLE}; "
            "segment_interaction(method='sampled') does without a table"
        )
    return verified._run(all_coalitions(n))  # all different, so the cache is not needed


def harsanyi(v: Values) -> Values:
    """Harsanyi dividends (Moebius transform, AND interactions) of all coalitions, in the shape of v.

    >>> harsanyi(np.array([0, 0, 0, 1.0])).tolist()
    [0.0, 0.0, 0.0, 1.0]
    """
    return _butterfly(v, lambda absent, present: (absent, present - absent))


def shapley(v: Values) -> Values:
    """Shapley values of all players, (n,) or (n, k); they sum to v(N) - v(empty)."""
    n = players_of(v)
    sizes = np.zeros(1, np.int64)  # |S| of all coalitions S of n - 1 players
    for _ in range(n - 1):
        sizes = np.concatenate([sizes, sizes + 1])
    weights = 1 / (n * np.array([comb(n - 1, s) for s in range(n)], dtype=float))[sizes]
    v = np.asarray(v, float)
    split = (v.reshape(2 ** (n - 1 - i), 2, 2**i, *v.shape[1:]) for i in range(n))
    return np.stack([np.tensordot(weights, (s[:, 1] - s[:, 0]).reshape(2 ** (n - 1), *v.shape[1:]), axes=1) for s in split])


def shapley_values(game: Game, budget: int, seed: int) -> Values:
    """Shapley values of a game's players, (n, k), from at most `budget` model rows, at least 2 n: exact if 2^n is within it, else
    means over random orders and their reverses: unbiased (Castro et al. 2009), and exact for games of pairs."""
    return shapley(table(game)) if 2**game.n_players <= budget else sampled_shapley(game, budget, seed)[0]


def sampled_shapley(game: Game, budget: int, seed: int) -> tuple[Values, Values]:
    """Means over random orders and their reverses, (n, k), and their standard errors over such pairs, NaN for one pair alone."""
    n = game.n_players
    rng = np.random.default_rng(seed)
    orders = np.stack([rng.permutation(n) for _ in range(budget // (2 * n))])
    places = np.concatenate([orders, orders[:, ::-1]]).argsort(1)  # (orders, n): the place of a player in an order
    prefixes = places[:, None, :] < np.arange(n + 1)[:, None]  # (orders, n + 1, n)
    values = CachedGame(game)(prefixes.reshape(-1, n)).reshape(*prefixes.shape[:2], -1)
    gains = np.diff(values, axis=1)  # (orders, n, k), by place
    drawn = np.take_along_axis(gains, places[:, :, None], axis=1)
    pairs = (drawn[: len(orders)] + drawn[len(orders) :]) / 2
    spread = pairs.std(0, ddof=1) if len(pairs) > 1 else np.full(pairs.shape[1:], np.nan)
    return drawn.mean(0), spread / np.sqrt(len(pairs))


def shapley_interactions(v: Values) -> Values:
    """Shapley interaction index of all coalitions, in the shape of v; singles are Shapley values, the empty one the mean of v."""
    nodes, weights = np.polynomial.legendre.leggauss((players_of(v) + 2) // 2)
    total = np.zeros(np.shape(v))
    for t, weight in zip((nodes + 1) / 2, weights / 2, strict=True):

        def mixed(absent: Values, present: Values, t: float = t) -> tuple[Values, Values]:
            difference = present - absent
            return absent + t * difference, difference

        total += weight * _butterfly(v, mixed)
    return total


def pair_orders(v: Values) -> Values:
    """I^(m) of all pairs of at least two players, (n - 1, pairs) or (n - 1, pairs, k): m = 0 … n - 2, pairs in the order of
    np.triu_indices(n, 1).

    >>> pair_orders(np.array([0, 0, 0, 0, 0, 0, 0, 1.0])).tolist()
    [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """
    n, v = players_of(v), np.asarray(v, float)
    sizes = all_coalitions(n - 2).sum(1)
    means = (sizes == np.arange(n - 1)[:, None]) / np.array([comb(n - 2, m) for m in range(n - 1)])[:, None]  # (n - 1, 2^(n - 2))
    orders = []
    for i, j in zip(*np.triu_indices(n, 1), strict=True):
        s = v.reshape(2 ** (n - 1 - j), 2, 2 ** (j - 1 - i), 2, 2**i, *v.shape[1:])
        change = s[:, 1, :, 1] - s[:, 1, :, 0] - s[:, 0, :, 1] + s[:, 0, :, 0]
        orders.append(means @ change.reshape(2 ** (n - 2), *v.shape[1:]))
    return np.stack(orders, 1)


def _butterfly(v: Values, mixed: Callable[[Values, Values], tuple[Values, Values]]) -> Values:
    """One pass a player: the halves without and with it become two others. The last player's bit leads, and moves to the end."""
    n, v = players_of(v), np.asarray(v, float)
    half = len(v) // 2
    for _ in range(n):
        halves = np.empty((half, 2, *v.shape[1:]))
        halves[:, 0], halves[:, 1] = mixed(v[:half], v[half:])
        v = halves.reshape(v.shape)
    return v
