"""The value of a classifier as a function of the word vectors of a sentence, along the path from a masking's baseline to them.

The vectors e (tokens, d) are those that the encoder looks up, before positions and norms. The baseline b is what the tokens of an
absent word get there in the game of the same masking (`probing.interactions.text.masking`), so that F(b) = v(empty). Tokens that
belong to no word ([CLS], [SEP]), positions and the attention mask are the sentence's own on the whole path. F is a logit, or the
difference of two, float64 from states in the encoder's own precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from probing.attributions.attribution import Attribution
from probing.attributions.coalitions import contrast
from probing.encoders.base import TOKEN_BUDGET, Encoder, States
from probing.encoders.gradients import check_gradients, gradients
from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.errors import ConfigError, EncoderError
from probing.interactions.text.game import pooled_layers
from probing.interactions.text.heads import LinearHead
from probing.interactions.text.masking import MaskedSentence, with_vectors
from probing.types import Values

COST = 3
"""Model rows that a forward and backward pass counts."""


class NotApplicable(ConfigError):
    """A method that is not defined for this encoder and masking, or that failed its own test."""


def check_path(encoder: Encoder, masking: str) -> None:
    """NotApplicable for a masking that puts no vector in the place of an absent word."""
    if masking not in (ways := with_vectors(encoder)):
        raise NotApplicable(
            f"masking={masking} puts no vector in the place of an absent word, so no path of word vectors leads to it (those of "
            f"{encoder.name} that do: {', '.join(ways)}; methods of games take them all)"
        )


class WordFunction:
    """The value of a sentence as a function of its word vectors.

    Args:
        masking: the baseline b; None: none.
        target: predicted (for the whole sentence), a class, or two as a-b.

    Attributes:
        whole, empty: F(e), and F(b) or NaN.
        rows: model rows spent so far.

    Raises:
        ConfigError: an encoder without gradients, a target that is no class; NotApplicable: a masking without vectors.
    """

    def __init__(self, encoder: Encoder, head: LinearHead, text: str, masking: str | None = None, target: str = "predicted"):
        check_gradients(encoder)
        self.encoder: Any = encoder
        self.head, self.masking, self.rows = head, masking, 0
        self.sentence = MaskedSentence(encoder, text, masking or "delete")
        if masking is not None:
            check_path(encoder, masking)
        self.item, self.n = self.sentence.item, len(self.sentence.words)
        self.baseline = self.sentence.baseline
        self.owned = torch.tensor([owner is not None for owner in self.sentence.owners])  # (tokens,)
        self.at_once = max(1, TOKEN_BUDGET // len(self.item))
        self.forward = self.encoder.forward
        if isinstance(encoder, HuggingFaceEncoder):
            encoder.try_company([self.item] * self.at_once)
            self.at_once = 1 if encoder.company == "alone" else self.at_once
            self.forward = encoder.together
        ends = torch.tensor([1.0] if masking is None else [1.0, 0.0], dtype=torch.float64)
        logits = torch.cat([logits.detach() for logits, *_ in self.along(ends)]).cpu().numpy()  # (ends, classes)
        self.rows += len(ends)
        predicted = int(logits[0].argmax())
        self.weights = contrast(head.classes, target, predicted)
        self.target = head.classes[predicted] if target == "predicted" else target
        values = logits @ self.weights
        self.whole, self.empty = float(values[0]), float(values[1]) if masking is not None else float("nan")

    def along(self, shares: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Batches of points b + share (e - b), for shares (m,), float64: logits (batch, classes), float64; the points, whose
        gradient may be taken, and e, (batch, tokens, d)."""
        for part in shares.split(self.at_once) if len(shares) else ():
            points: list[tuple[torch.Tensor, torch.Tensor]] = []

            def change(given: torch.Tensor, part: torch.Tensor = part, points: list[Any] = points) -> torch.Tensor:
                if given.shape[:2] != (len(part), len(self.item)):
                    raise EncoderError(f"{self.encoder.name} does not look up one vector a token, so that words have no gradients")
                e = given.detach()
                point = e.clone()
                if self.baseline is not None:
                    b = self.baseline.to(e)
                    moved = b + part[:, None, None].to(e) * (e - b)
                    stays = (~self.owned).to(e.device)[None, :, None] | (part == 1)[:, None, None].to(e.device)
                    point = torch.where(stays, e, moved)
                points.append((point.requires_grad_(), e))
                return point

            with gradients(), self.encoder.lookup_changed_by(change):
                logits = self.logits(self.forward([self.item] * len(part)))
            if len(points) != 1:
                raise EncoderError(f"{self.encoder.name} looks its word vectors up {len(points)} times in one pass, expected once")
            yield logits, *points[0]

    def logits(self, states: States) -> torch.Tensor:
        return logits_of(self.head, states)

    def value(self, logits: torch.Tensor) -> torch.Tensor:
        """F, (batch,), of logits."""
        return logits @ torch.as_tensor(self.weights, device=logits.device)

    def slopes(self, shares: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """dF/de (m, tokens, d) at the points of the path, float64; and e (tokens, d), in the encoder's precision."""
        parts = []
        for logits, points, e in self.along(shares):
            [slope] = torch.autograd.grad(self.value(logits).sum(), points)
            parts.append((slope.double(), e[0]))
        self.rows += COST * len(shares)
        return torch.cat([slope for slope, _ in parts]), parts[0][1]

    def values(self, shares: Values) -> list[float]:
        """F at points of the path."""
        self.rows += len(shares)
        return [float(v) for logits, *_ in self.along(torch.from_numpy(shares)) for v in self.value(logits.detach())]

    def baseline_like(self, e: torch.Tensor) -> torch.Tensor:
        """b in the precision and place of e (tokens, d); ConfigError without a masking."""
        if self.baseline is None:
            raise ConfigError("a method with a baseline needs masking=…, which says what is in the place of an absent word")
        return self.baseline.to(e)

    def of_words(self, tokens: torch.Tensor) -> Values:
        """(tokens,) summed to the words, (n,)."""
        owners = np.array([self.n if owner is None else owner for owner in self.sentence.owners])
        scores = np.bincount(owners, tokens.detach().double().cpu().numpy(), minlength=self.n + 1)
        return scores[: self.n].astype(np.float64)

    def attribution(self, method: str, scores: Values, additive: bool = False) -> Attribution:
        return Attribution(method, scores, self.masking, self.target, self.whole, self.empty, additive, self.rows)


def logits_of(head: LinearHead, states: States) -> torch.Tensor:
    """(batch, classes), float64, with the graph of the states."""
    [x] = pooled_layers([states.layers[head.layer]], states, [head.layer], head.pooling)
    coef, intercept = (torch.as_tensor(part, dtype=torch.float64, device=x.device) for part in (head.coef, head.intercept))
    return x @ coef.T + intercept
