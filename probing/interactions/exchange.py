"""Interactions for the package shapiq: exact indices of a game of ours as its `InteractionValues`.

Its own games need no adapter: a `shapiq.Game` has `n_players` and is called on a boolean matrix, as any game of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from probing.errors import ConfigError, did_you_mean
from probing.interactions.game import Game, harsanyi, players_of, shapley_interactions, table
from probing.types import Values

INDICES: dict[str, Callable[[Values], Values]] = {
    "SV": shapley_interactions,
    "SII": shapley_interactions,
    "Moebius": harsanyi,
}
"""Indices by the names of shapiq, each from a full table; singles of SII are Shapley values."""


def shapiq_values(game: Game, index: str = "SII", order: int = 2) -> list[Any]:
    """A `shapiq.InteractionValues` for each value column of the game, exact, of the 2^n coalitions of its players.

    Args:
        index: one of `INDICES`.
        order: players of the largest interaction; of SV always 1.

    Raises:
        ConfigError: shapiq is not installed, an unknown index or order, or too many players for a full table.
        GameError: the game's values cannot be used.
    """
    try:
        from shapiq import InteractionValues
    except ModuleNotFoundError:
        raise ConfigError("interactions for shapiq need it: pip install 'probing-bench[explain]'") from None
    if index not in INDICES:
        raise ConfigError(f"no index {index!r}{did_you_mean(index, INDICES)} (allowed: {', '.join(INDICES)})")
    v = table(game)
    n, v = players_of(v), v.reshape(len(v), -1)
    order = 1 if index == "SV" else order
    if not 1 <= order <= n:
        raise ConfigError(f"order={order} must be from 1 to the number of players, {n}")
    values = INDICES[index](v)
    if index == "SV":
        values[0] = v[0]
    sets = [players for size in range(order + 1) for players in combinations(range(n), size)]
    rows = values[[sum(1 << i for i in players) for players in sets]]  # (interactions, columns)
    return [
        InteractionValues(
            dict(zip(sets, map(float, column), strict=True)), index=index, max_order=order, n_players=n, min_order=0,
            estimated=False, baseline_value=float(empty),
        )
        for column, empty in zip(rows.T, v[0], strict=True)
    ]  # fmt: skip


def write_values(game: Game, names: Sequence[str], folder: Path, about: dict[str, Any], index: str = "SII") -> list[Path]:
    """A JSON file for each column, its name in `names`, that `shapiq.InteractionValues.load` reads; `about`: kept in each.

    Raises:
        ConfigError, GameError: see `shapiq_values`.
    """
    made = shapiq_values(game, index)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{''.join(c if c.isalnum() else '-' for c in name)}.json" for name in names]
    for path, name, values in zip(paths, names, made, strict=True):
        values.to_json_file(path, desc=f"{index} of the words of a sentence", column=name, **about)
    return paths
