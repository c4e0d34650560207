"""Games of networks that read formulas: the variables are the players, and an absent variable is written 0, as in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from probing.data.expressions import Expression, chain
from probing.data.task import Task
from probing.encoders.base import Encoder
from probing.errors import DataError
from probing.interactions.game import Game
from probing.interactions.options import Masking
from probing.interactions.partition import links
from probing.interactions.scoring import FoundLinks, count
from probing.interactions.segment import segment_interactions
from probing.interactions.text.game import TextGame
from probing.interactions.text.heads import LinearHead
from probing.types import Coalitions, Values

ABSENT = "0"


def formulas(task: Task, texts: Sequence[str]) -> list[Expression]:
    """The expressions of a split, from its sentences without an absent variable; each once.

    Raises:
        DataError: there is none, or a sentence that is no expression of the family.
    """
    whole = dict.fromkeys(text for text in texts if ABSENT not in text.split())
    if not whole:
        raise DataError(f"{task.source}: a split has no formula with all its variables present")
    return [chain(task.name, text) for text in whole]


class NetworkGame:
    """A network that reads a formula as a game of the formula's variables.

    Attributes:
        columns: (game, layer) of the value columns: output, then each pooling's layers.
        right, rows: coalitions for which the network's class was the formula's value, of how many that were run.
    """

    def __init__(self, encoder: Encoder, expression: Expression, head: LinearHead, poolings: Sequence[str]):
        def game(value: str, **options: Any) -> TextGame:
            return TextGame(encoder, expression.text, value, Masking("replace", ABSENT), **options)

        self.expression, self.n_players = expression, expression.n_players
        self._classes, self._layers = game("probability", target="all", head=head), [game(pooling) for pooling in poolings]
        self._numbers = np.array([int(name) for name in head.classes])
        self.columns: list[tuple[str, int | None]] = [("output", None)]
        self.columns += [(pooling, k) for pooling in poolings for k in range(len(encoder.layer_names))]
        self.right = self.rows = 0

    def __call__(self, coalitions: Coalitions, /) -> Values:
        words = np.ones((len(coalitions), 2 * self.n_players - 1), bool)
        words[:, ::2] = coalitions
        shares = self._classes(words)  # (rows, classes)
        self.rows += len(words)
        self.right += int((self._numbers[shares.argmax(1)] == self.expression(coalitions)).sum())
        layers = [game(words).reshape(len(words), -1) for game in self._layers]
        return np.concatenate([(shares @ self._numbers)[:, None], *layers], 1)


def link_counts(game: Game, e: Expression, tolerance: float) -> list[Values]:
    """Counts (2, 4) for each column of a game of e's variables: links of the best partition, of all and without ties."""
    truth, counts = e.truth((0, e.n_players)), []
    for r in segment_interactions(game, (0, e.n_players), tolerance=tolerance, listed=1):
        called = FoundLinks(links(r.max_partition), links(r.min_partition), r.n_evaluations)
        counts.append(np.array([count(called, truth, e.sides, free) for free in (True, False)]))
    return counts
