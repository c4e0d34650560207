"""Games: functions of coalitions, their full tables, and a cache that counts and verifies model rows.

A game gives each coalition S of players 0..n-1 a value v(S). It is called on a boolean matrix (m, n), True where a player is
present, and returns (m,), or (m, k) where k classes or layers come out of the same rows. A model row is a distinct coalition on
which the model had to run.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from probing.errors import ConfigError, GameError
from probing.types import Coalitions, Values

MAX_TABLE = 20
"""Players of the largest full table that `table` makes: 2^20 model rows."""


class Game(Protocol):
    """A callable on coalitions."""

    @property
    def n_players(self) -> int: ...

    def __call__(self, coalitions: Coalitions, /) -> Values: ...


class TableGame:
    """The game of a full table.

    Args:
        v: values of all 2^n coalitions, (2^n,) or (2^n, k); bit i of the index = player i present.

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
    """Runs a game on each distinct coalition once, in chunks; verifies and counts the values.

    Args:
        chunk: rows handed to the game at once.
        keep: whether values are kept between calls; if not, only repetitions within one call are spared.

    Attributes:
        n_evaluations: model rows spent.
        n_requested: rows requested, repetitions included.

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
    """The number of players of a table (2^n,) or (2^n, k).

    Raises:
        ConfigError: the table has not 2^n rows, n at least 1.
    """
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
    """The full table of a game, (2^n,) or (2^n, k), verified.

    Raises:
        ConfigError: the game has more than `MAX_TABLE` players.
        GameError: the game's values cannot be used.
    """
    verified = CachedGame(game)
    n = verified.n_players
    if n > MAX_TABLE:
        raise ConfigError(
            f"a full table of {n} players takes 2^{n} = {2**n:,} model rows, the limit is 2^{MAX_TABLE}; "
            "segment_interaction(method='sampled') does without a table"
        )
    return verified._run(all_coalitions(n))  # all different, so the cache is not needed
