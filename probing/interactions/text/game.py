"""The game of a sentence: words are players, and an encoder gives the value of the words that are present.

For a classifier, v(S) is a class's logit z_c, its log-odds log p_c / (1 - p_c), or its probability p_c. For the layers of an
encoder (f the pooled vector of a layer, or the states of all tokens side by side; 0 where no token is left)

    v_f(S) = <f(S), f(N)> / ||f(N)||^2,   so that v_f(N) = 1

States are float32, so interactions below about 1e-6 of v are rounding. Reference: Zhang et al. 2021 (AAAI 35, 10877-10886);
their code takes the largest coordinate of f for v_f, ours does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import logsumexp

from probing.encoders.base import TOKEN_BUDGET, Encoder, States, pool
from probing.errors import ConfigError, GameError, did_you_mean
from probing.interactions.game import CachedGame
from probing.interactions.options import EXACT, Estimator, Masking
from probing.interactions.partition import Partition
from probing.interactions.segment import SegmentInteraction, segment_interactions
from probing.interactions.text.heads import LinearHead, head_of, no_head
from probing.interactions.text.masking import MaskedSentence
from probing.types import Coalitions, Values

CLASS_VALUES = ("logit", "log-odds", "probability")
TOLERANCE = 1e-5
"""Partitions tie if their sums differ by less than this share of the largest |phi|, which is the precision of float32 values."""


class TextGame:
    """A sentence, whose words are the players, an encoder and a value as a game.

    Args:
        value: of a class: logit, log-odds, probability; of layers: a pooling of the encoder, or all (tokens); None: logit or
            mean.
        masking, replacement: a `Masking`, or the name of one; see `probing.interactions.text.masking`.
        layers: numbers of the layers to value; None: all. A class's value reads the head's layer.
        target: the class: predicted (of the whole sentence), all (a column each), or its name.
        head: None: the one that the encoder's checkpoint was trained with.
        token_budget: tokens in a batch; changes values by rounding only.

    Attributes:
        advance: called with the number of rows after each batch.
        columns, values: name of each value column, and its value: logit, …, or a pooling.
        predicted: the class of the whole sentence, or None without a head.

    Raises:
        ConfigError: a value, layer, class or masking that the encoder does not have, or a sentence too long.
        GameError: a layer whose f(N) is zero.
    """

    def __init__(
        self,
        encoder: Encoder,
        text: str,
        value: str | None = None,
        masking: Masking | str = "pad",
        replacement: str | None = None,
        *,
        layers: tuple[int, ...] | None = None,
        target: str = "predicted",
        head: LinearHead | None = None,
        token_budget: int = TOKEN_BUDGET,
    ):
        self.encoder, self.token_budget = encoder, token_budget
        self.advance: Callable[[int], None] = lambda rows: None
        head = head or (head_of(encoder) if value in (None, *CLASS_VALUES) else None)
        self.value = value or ("logit" if head else "mean")
        known = (*CLASS_VALUES, *encoder.poolings, "all")
        if self.value not in known:
            raise ConfigError(f"value={self.value!r} is unknown{did_you_mean(self.value, known)} (allowed: {', '.join(known)})")
        if self.value in CLASS_VALUES and head is None:
            raise ConfigError(
                f"value={self.value} needs a classifier, and {no_head(encoder)}: take a checkpoint of probing train "
                "objective=sst2, fit a head (probing.interactions.text.heads.fit_head), or a value of layers (mean, cls, all)"
            )
        self.head = head if self.value in CLASS_VALUES else None
        masking = Masking.of(masking, replacement)
        self.sentence = MaskedSentence(encoder, text, masking.kind, masking.replacement)
        if self.value == "all" and not self.sentence.keeps_tokens:
            raise ConfigError(f"value=all compares token by token, and masking={masking.kind} moves tokens; use value=mean")
        self.n_players = len(self.sentence.words)
        self.predicted: str | None = None
        whole = next((states for _, states in self.sentence.run(np.ones((1, self.n_players), bool))), None)
        if whole is None:
            raise ConfigError(f"{encoder.name} reads no token in {text!r}")
        if self.head is None:
            self._prepare_layers(whole, layers)
        else:
            self._prepare_classes(self.head, whole, target)
        self.values = (self.value,) * len(self.columns)

    def __call__(self, coalitions: Coalitions, /) -> Values:
        """Values of coalitions (m, words): (m,) of one column, or (m, columns)."""
        return _run([self], coalitions)

    def _prepare_layers(self, whole: States, layers: tuple[int, ...] | None) -> None:
        names = self.encoder.layer_names
        self.layers = tuple(range(len(names))) if layers is None else tuple(layers)
        if not self.layers or not set(self.layers) <= set(range(len(names))):
            raise ConfigError(f"layer={list(self.layers)}: {self.encoder.name} has the layers 0 to {len(names) - 1}")
        self.columns = tuple(f"{k} {names[k]}" for k in self.layers)
        self._nothing = np.zeros(len(self.layers))
        self._whole = [f[0] for f in self._features(whole)]
        self._norms = torch.stack([(f * f).sum() for f in self._whole])
        if not (self._norms > 0).all():
            column = self.columns[int((self._norms <= 0).int().argmax())]
            raise GameError(f"layer {column} of {self.encoder.name} is zero for the whole sentence, so v_f has no unit")

    def _features(self, states: States) -> list[torch.Tensor]:
        """f of each layer, float64: (batch, dims[l]), or (batch, tokens * dims[l]) for all tokens."""
        picked = [states.layers[k] for k in self.layers]
        if self.value == "all":
            return [layer.double().masked_fill(~states.mask[..., None], 0.0).flatten(1) for layer in picked]
        return pooled_layers(picked, states, self.layers, self.value)

    def _read(self, states: States) -> Values:
        if self.head is None:
            products = [f @ whole for f, whole in zip(self._features(states), self._whole, strict=True)]
            return (torch.stack(products, 1) / self._norms).cpu().numpy()
        [x] = pooled_layers([states.layers[self.head.layer]], states, [self.head.layer], self.head.pooling)
        return self._of_logits(self.head.logits(x.cpu().numpy()))

    def _prepare_classes(self, head: LinearHead, whole: States, target: str) -> None:
        self._wanted = list(range(len(head.classes)))
        self.columns = head.classes
        [x] = pooled_layers([whole.layers[head.layer]], whole, [head.layer], head.pooling)
        self.predicted = head.classes[int(head.logits(x.cpu().numpy())[0].argmax())]
        if target != "all":
            name = self.predicted if target == "predicted" else str(target)
            if name not in head.classes:
                raise ConfigError(f"target={target!r} is no class (allowed: predicted, all, {', '.join(head.classes)})")
            self._wanted, self.columns = [head.classes.index(name)], (name,)
        self._nothing = self._of_logits(head.logits(np.zeros((1, head.coef.shape[1]))))[0]

    def _of_logits(self, logits: Values) -> Values:
        if self.value == "logit":
            return logits[:, self._wanted]
        if self.value == "probability":
            return np.exp(logits - logsumexp(logits, 1, keepdims=True))[:, self._wanted]
        rest = [logsumexp(np.delete(logits, k, 1), 1) for k in self._wanted]
        return logits[:, self._wanted] - np.stack(rest, 1)


class JointGame:
    """Games of one sentence, encoder and masking, all from the same forward passes: their columns side by side."""

    def __init__(self, games: Sequence[TextGame]):
        self.games, first = tuple(games), games[0]
        self.n_players, self.sentence, self.predicted = first.n_players, first.sentence, first.predicted
        self.columns = tuple(column for game in games for column in game.columns)
        self.values = tuple(value for game in games for value in game.values)

    def __call__(self, coalitions: Coalitions, /) -> Values:
        return _run(self.games, coalitions)


def _run(games: Sequence[TextGame], coalitions: Coalitions) -> Values:
    """Values of coalitions (m, words) in the games of one sentence: (m,) of one column, or (m, columns)."""
    first = games[0]
    values = np.tile(np.concatenate([game._nothing for game in games]), (len(coalitions), 1))  # (m, columns)
    for rows, states in first.sentence.run(coalitions, first.token_budget):
        values[rows] = np.concatenate([game._read(states) for game in games], axis=1)
        first.advance(len(rows))
    return values[:, 0] if values.shape[1] == 1 else values


def pooled_layers(layers: list[torch.Tensor], states: States, numbers: Sequence[int], pooling: str) -> list[torch.Tensor]:
    """Pooled vectors (batch, dims[l]) of some layers, float64; zero for a sentence without a state that counts."""
    backward = None if states.backward is None else [states.backward[k] for k in numbers]
    own = {name: [vectors[k] for k in numbers] for name, vectors in states.vectors.items()}
    vectors = [x.double() for x in pool(States(layers, states.mask, backward, own), pooling)]
    if pooling in ("cls", "sentence"):
        return vectors
    return [x.masked_fill(~states.mask.any(1, keepdim=True), 0.0) for x in vectors]


@dataclass(frozen=True)
class TextInteraction:
    """The interaction of one column of a game (class or layer), in the unit of v; `whole`, `empty`: v(N) and v(empty)."""

    column: str
    value: str
    whole: float
    empty: float
    interaction: SegmentInteraction

    @property
    def T_relative(self) -> float:
        """T / |v(N) - v(empty)|; NaN where that difference is below 1e-5 of the values."""
        change = abs(self.whole - self.empty)
        return self.interaction.T / change if change > 1e-5 * max(abs(self.whole), abs(self.empty)) else float("nan")


def text_interactions(
    game: TextGame | JointGame,
    segment: tuple[int, int] | None = None,
    estimator: Estimator = EXACT,
) -> tuple[list[TextInteraction], int]:
    """One result per column of the game, from the same model rows, and the number of those rows, v(N) and v(empty) included;
    without a segment for the whole sentence."""
    counted = CachedGame(game)
    results = segment_interactions(counted, segment or (0, game.n_players), estimator, tolerance=TOLERANCE)
    whole, empty = counted(np.array([[True], [False]]).repeat(game.n_players, 1)).reshape(2, -1)
    columns = zip(game.columns, game.values, map(float, whole), map(float, empty), results, strict=True)
    return [TextInteraction(*column) for column in columns], counted.n_evaluations


def seconds_per_row(game: TextGame | JointGame, rows: int = 16) -> float:
    """Seconds that a model row takes, timed on a few random coalitions."""
    some = np.random.default_rng(0).random((rows, game.n_players)) < 0.5
    game(some[:1])  # the first call loads and warms up
    start = time.perf_counter()
    game(some)
    return (time.perf_counter() - start) / rows


def drawn(words: tuple[str, ...], partition: Partition) -> str:
    """The sentence with the parts of more than one word in brackets.

    >>> drawn(("The", "movie", "is", "not", "good"), ((2, 3), (3, 5)))
    'The movie is [not good]'
    """
    shown = list(words)
    for start, stop in partition:
        if stop - start > 1:
            shown[start] = f"[{shown[start]}"
            shown[stop - 1] = f"{shown[stop - 1]}]"
    return " ".join(shown)
