"""Flips of a prediction when intervals of a sentence are masked: its top coalition, and controls of the same length.

    flips          whether the predicted class changes without the coalition
    flips_others   the share of the other intervals of the same length whose masking changes it
    flips_one      whether masking one of the others, drawn by the seed, changes it
    flips_alone    whether it changes without the interval of that length whose single words have the largest sum of phi([word])
    flips_words    the same with the words' Shapley values, all words of the sentence being players

`drop*` are the same for the fall of the predicted class' logit; `same_*`: whether the interval is the coalition.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from probing.interactions.game import Game
from probing.interactions.partition import Partition
from probing.types import Values


def top(partition: Partition, phi: Values) -> tuple[int, int] | None:
    """The part of 2 to n - 1 words with the largest phi, (n, n) by first and last word; None where there is none.

    >>> top(((0, 2), (2, 3)), np.array([[0, 5.0, 9], [0, 0, 1], [0, 0, 0]]))
    (0, 2)
    """
    parts = [part for part in partition if 1 < part[1] - part[0] < len(phi)]
    return max(parts, key=lambda part: phi[part[0], part[1] - 1], default=None)


def masked(game: Game, coalition: tuple[int, int]) -> list[dict[str, Any]]:
    """Logits of the whole sentence (start -1), and without each interval of the coalition's length: start, logits."""
    n, length = game.n_players, coalition[1] - coalition[0]
    starts = np.arange(n - length + 1)
    present = np.ones((len(starts) + 1, n), bool)
    for row, start in enumerate(starts, start=1):
        present[row, start : start + length] = False
    return [{"start": k - 1, "logits": row} for k, row in enumerate(game(present).tolist())]


def compared(rows: list[dict[str, Any]], coalition: tuple[int, int], alone: Values, words: Values, seed: int) -> dict[str, Any]:
    """Flips and drops of the coalition, of the other intervals of its length, and of the intervals by single words.

    Args:
        rows: of `masked`.
        alone: phi of the words in the value of the predicted class, (n,).
        words: Shapley values of the words, (n, classes).
    """
    whole, *without = (np.array(row["logits"]) for row in rows)
    now = int(whole.argmax())
    flips = np.array([row.argmax() != now for row in without])
    drops = np.array([whole[now] - row[now] for row in without])
    start = coalition[0]
    others = np.arange(len(without)) != start
    one = np.random.default_rng([seed, start, len(without)]).choice(np.flatnonzero(others))
    line = {"start": start, "stop": coalition[1], "flips": int(flips[start]), "drop": float(drops[start])}
    line |= {"flips_one": int(flips[one]), "flips_others": float(flips[others].mean()), "drop_others": float(drops[others].mean())}
    for name, values in (("alone", alone), ("words", words[:, now])):
        at = int(np.convolve(values, np.ones(coalition[1] - start), "valid").argmax())
        line |= {f"start_{name}": at, f"same_{name}": at == start}
        line |= {f"flips_{name}": int(flips[at]), f"drop_{name}": float(drops[at])}
    return line
