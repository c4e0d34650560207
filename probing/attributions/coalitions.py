"""The table of all coalitions of a sentence's words: logits of every class, and v_f of layers, from the same 2^n model rows.

It answers exactly: Shapley, Banzhaf, leave-one-out, add-one-in and LIME scores (`indices`), the faithfulness of any scores with its
chance and best values (`faithfulness`), anchors and smallest sets (`rules`), interactions (`probing.interactions.game`). A longer
sentence has sampled scores with standard errors (`sampling`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax

from probing.attributions.attribution import Attribution
from probing.attributions.indices import GAMES
from probing.encoders.base import Encoder, fingerprint
from probing.errors import ConfigError, did_you_mean
from probing.interactions.game import players_of, table
from probing.interactions.options import Masking
from probing.interactions.text.game import JointGame, TextGame
from probing.interactions.text.heads import LinearHead
from probing.store.results import ResultStore, key_of
from probing.types import Values

VERSION = 1
"""Raise when the same inputs would give other numbers."""

MAX_WORDS = 12
"""Words of the longest sentence of a table: 4,096 model rows."""


@dataclass(frozen=True)
class CoalitionTable:
    """Values of all coalitions of n words, bit i of a row's index = word i present.

    Args:
        logits: (2^n, classes).
        v_f: <f(S), f(N)> / ||f(N)||^2 of `layers`, (2^n, layers); no column where no layer was wanted.
        rows: model rows that it took.
    """

    words: tuple[str, ...]
    masking: str
    classes: tuple[str, ...]
    logits: Values
    layers: tuple[int, ...]
    v_f: Values
    rows: int

    @property
    def n_players(self) -> int:
        return players_of(self.logits)

    @property
    def predicted(self) -> int:
        """The number of the class predicted for the whole sentence."""
        return int(self.logits[-1].argmax())

    @property
    def probabilities(self) -> Values:
        """p of the predicted class, (2^n,)."""
        return np.asarray(softmax(self.logits, axis=1)[:, self.predicted], np.float64)

    def value(self, target: str = "predicted") -> Values:
        """v of a target (`contrast`), (2^n,)."""
        return self.logits @ contrast(self.classes, target, self.predicted)


def contrast(classes: tuple[str, ...], target: str, predicted: int) -> Values:
    """The weights of the classes' logits in the value of a target, (classes,): predicted, a class, or two as `a-b`, the logit of
    the first less that of the second. ConfigError for another target.

    >>> contrast(("no", "yes"), "yes-no", 0).tolist()
    [-1.0, 1.0]
    """
    units = np.eye(len(classes))
    if target == "predicted":
        return units[predicted]
    if target in classes:
        return units[classes.index(target)]
    for k, letter in enumerate(target):
        if letter == "-" and target[:k] in classes and target[k + 1 :] in classes and target[:k] != target[k + 1 :]:
            return units[classes.index(target[:k])] - units[classes.index(target[k + 1 :])]
    if any(target == f"{name}-{name}" for name in classes):
        raise ConfigError(f"target={target!r}: the two classes of a contrast must differ (classes: {', '.join(classes)})")
    allowed = ("predicted", *classes)
    raise ConfigError(
        f"target={target!r} is no class{did_you_mean(target, allowed)} (allowed: {', '.join(allowed)}, or two classes as "
        f"{classes[0]}-{classes[-1]})"
    )


def table_inputs(
    encoder: Encoder, head: LinearHead, text: str, masking: Masking | str, layers: tuple[int, ...] = ()
) -> dict[str, Any]:
    """All that determines a table: its key among results."""
    masking = Masking.of(masking)
    return {
        "kind": "coalitions",
        "version": VERSION,
        "encoder": fingerprint(encoder),
        "head": head.sha256,
        "words": text.split(),
        "masking": masking.kind,
        "replacement": masking.replacement,
        "layers": list(layers),
    }


def coalition_table(
    encoder: Encoder,
    head: LinearHead,
    text: str,
    masking: Masking | str = "mask",
    *,
    layers: tuple[int, ...] = (),
    results: ResultStore | None = None,
    advance: Callable[[int], None] = lambda rows: None,
) -> CoalitionTable:
    """The table of a sentence, kept in `results` by encoder, head, words, masking and layers, and read from there if there.

    Raises:
        ConfigError: a masking that is not possible, or a sentence of more than `MAX_WORDS` words.
    """
    masking, words = Masking.of(masking), tuple(text.split())
    if len(words) > MAX_WORDS:
        raise ConfigError(
            f"{len(words)} words have 2^{len(words)} = {2 ** len(words):,} coalitions, the limit is {MAX_WORDS} words: take a "
            "shorter sentence, or a budget of model rows for sampled scores"
        )
    inputs = table_inputs(encoder, head, text, masking, layers)
    known = None if results is None else results.get(inputs)
    if results is not None and known is not None:
        kept = results.items(key_of(inputs))
        name, rows = str(known[0]["masking"]), int(known[0]["rows"])
        return CoalitionTable(words, name, head.classes, kept["logits"], layers, kept["v_f"], rows)
    game = TextGame(encoder, text, "logit", masking, target="all", head=head)
    game.advance = advance
    games = [game, TextGame(encoder, text, head.pooling, masking, layers=layers)] if layers else [game]
    values = table(JointGame(games))
    logits, v_f = np.split(values, [len(head.classes)], axis=1)
    name = game.sentence.masking
    if results is not None:
        row = {"text": text, "masking": name, "rows": len(values)}
        results.put(inputs, [row], items={"logits": logits, "v_f": v_f})
    return CoalitionTable(words, name, head.classes, logits, layers, v_f, len(values))


def exact(held: CoalitionTable, method: str, target: str = "predicted") -> Attribution:
    """Scores of a game's method (`GAMES`) from a table; ConfigError for another method or target."""
    v = held.value(target)
    scores = GAMES[known_game(method)](v)
    return Attribution(
        method, scores, held.masking, _named(held, target), float(v[-1]), float(v[0]), method == "shapley", held.rows
    )


def known_game(method: str) -> str:
    """The method, if it is one of `GAMES`; else a ConfigError."""
    if method not in GAMES:
        raise ConfigError(f"method={method!r} is no game{did_you_mean(method, GAMES)} (allowed: {', '.join(GAMES)})")
    return method


def _named(held: CoalitionTable, target: str) -> str:
    return held.classes[held.predicted] if target == "predicted" else target
