"""Attributions by gradients of a classifier's value F in the word vectors of a sentence, from one forward and backward pass or many.

e_i is the vector of token i where it is looked up, before positions and norms; b what an absent word's tokens get there in the game
of the same masking (`probing.interactions.text.masking`), so that F(b) = v(empty); g_i = dF/de_i at the sentence.

    gradient, -l1, -sum   L2 norm of g over the concatenated pieces of a word, sum of |g|, sum of g
    gradient-x-input      sum_d g_id e_id                                              (Shrikumar et al. 2017; b = 0)
    gradient-x-change     sum_d g_id (e_id - b_d)
    ig                    sum_d (e_id - b_d) int_0^1 dF/de_id (b + a (e - b)) da       (Sundararajan et al. 2017)
    gradcam               max(0, sum_d alpha_d A_id), alpha_d the mean of dF/dA_id over tokens, A the states of a layer
                          (Selvaraju et al. 2017, whose maps over places are tokens here)

Scores of pieces are summed to those of their word. Tokens that belong to no word ([CLS], [SEP]), positions and the attention mask
are the sentence's own on the whole path. The integral is a sum over Gauss-Legendre nodes in float64; on each part of the path the
scores must sum to the change of F there, and a part where they do not is halved. The states of the encoder stay in its own precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from probing.attributions.attribution import Attribution
from probing.attributions.coalitions import contrast
from probing.encoders.base import TOKEN_BUDGET, Encoder
from probing.encoders.gradients import at_layer, check_gradients, gradients
from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.errors import ConfigError, EncoderError
from probing.interactions.text.game import pooled_layers
from probing.interactions.text.heads import LinearHead
from probing.interactions.text.masking import MaskedSentence, with_vectors
from probing.types import Values

NODES = 16
"""Gauss-Legendre nodes of a part of the path."""
MOST_NODES = 1024
"""Of a path, and 16 times as many in float64; what is not within the tolerance then keeps its gap."""
TOLERANCE, TOLERANCE_DOUBLE = 1e-3, 1e-10
"""Largest gap of Integrated Gradients as a share of F(e) - F(b); the second for an encoder in float64."""
COST = 3
"""Model rows that a forward and backward pass counts."""


class WordFunction:
    """The value of a sentence as a function of its word vectors.

    Args:
        masking: the baseline b; None: none.
        target: predicted (for the whole sentence), a class, or two as a-b.

    Attributes:
        whole, empty: F(e), and F(b) or NaN.
        rows: model rows spent so far.

    Raises:
        ConfigError: an encoder without gradients, a masking without vectors, a target that is no class.
    """

    def __init__(self, encoder: Encoder, head: LinearHead, text: str, masking: str | None = None, target: str = "predicted"):
        check_gradients(encoder)
        self.encoder: Any = encoder
        self.head, self.masking, self.rows = head, masking, 0
        self.sentence = MaskedSentence(encoder, text, masking or "delete")
        self.item, self.n = self.sentence.item, len(self.sentence.words)
        self.baseline = self.sentence.baseline
        if masking is not None and self.baseline is None:
            raise ConfigError(
                f"masking={masking} puts no vector in the place of an absent word, so no path of word vectors leads to it (those of "
                f"{encoder.name} that do: {', '.join(with_vectors(encoder))}; methods of games take them all)"
            )
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
        """Batches of points b + share (e - b), for shares (m,), float64: logits (batch, classes), float64, the points, whose gradient
        may be taken, and e, (batch, tokens, d)."""
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

    def logits(self, states: Any) -> torch.Tensor:
        """(batch, classes), float64, of states."""
        layer = self.head.layer
        [x] = pooled_layers([states.layers[layer]], states, [layer], self.head.pooling)
        coef, intercept = (torch.as_tensor(part, dtype=torch.float64, device=x.device) for part in (self.head.coef, self.head.intercept))
        return x @ coef.T + intercept

    def value(self, logits: torch.Tensor) -> torch.Tensor:
        """F, (batch,), of logits."""
        return logits @ torch.as_tensor(self.weights, device=logits.device)

    def slopes(self, shares: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """dF/de (m, tokens, d) at the points of the path, float64; and e (tokens, d), in the encoder's precision."""
        parts = []
        for logits, points, e in self.along(shares):
            [slope] = torch.autograd.grad(self.value(logits).sum(), points)
            parts.append(slope.double())
        self.rows += COST * len(shares)
        return torch.cat(parts), e[0]

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
        """(tokens,) summed to words, (n,)."""
        owners = np.array([self.n if owner is None else owner for owner in self.sentence.owners])
        return np.bincount(owners, tokens.detach().double().cpu().numpy(), minlength=self.n + 1)[: self.n]

    def attribution(self, method: str, scores: Values, additive: bool = False) -> Attribution:
        return Attribution(method, scores, self.masking, self.target, self.whole, self.empty, additive, self.rows)


def gradient(f: WordFunction, method: str = "gradient") -> Attribution:
    """gradient, gradient-l1, gradient-sum, gradient-x-input or gradient-x-change."""
    [slope], e = f.slopes(torch.ones(1, dtype=torch.float64))
    match method:
        case "gradient":
            return f.attribution(method, np.sqrt(f.of_words((slope**2).sum(1))))
        case "gradient-l1":
            tokens = slope.abs().sum(1)
        case "gradient-sum":
            tokens = slope.sum(1)
        case "gradient-x-input":
            tokens = (slope * e).sum(1)
        case _:
            tokens = (slope * (e - f.baseline_like(e))).sum(1)
    return f.attribution(method, f.of_words(tokens))


def integrated(f: WordFunction, tolerance: float | None = None, nodes: int | None = None) -> Attribution:
    """Integrated Gradients; `tolerance`: the largest gap, None as `TOLERANCE` has it; `nodes`: so many, on the whole path at once."""
    places, weight = np.polynomial.legendre.leggauss(nodes or NODES)
    places, weight = (places + 1) / 2, weight / 2
    effect, values = f.whole - f.empty, {0.0: f.empty, 1.0: f.whole}
    parts, total, done = [(0.0, 1.0)], np.zeros(f.n), 0
    while parts:
        a, b = np.array(parts).T
        slopes, e = f.slopes(torch.from_numpy((a[:, None] + (b - a)[:, None] * places).ravel()))
        change = (e - f.baseline_like(e)).double()  # (tokens, d)
        at_nodes = (slopes * change).sum(2).unflatten(0, (len(parts), -1))  # (parts, nodes, tokens)
        means = torch.einsum("pkt,k->pt", at_nodes, torch.from_numpy(weight).to(at_nodes))
        scores = np.stack([f.of_words(part) for part in means]) * (b - a)[:, None]  # (parts, words)
        gaps = np.abs(scores.sum(1) - [values[end] - values[start] for start, end in parts])
        double = e.dtype == torch.float64
        limit = abs(effect) * (tolerance or (TOLERANCE_DOUBLE if double else TOLERANCE)) / (done + len(parts))
        halved = gaps > max(limit, 16 * torch.finfo(e.dtype).eps * max(map(abs, values.values())))
        if nodes or f.rows > COST * MOST_NODES * (16 if double else 1):
            halved[:] = False
        total, done = total + scores[~halved].sum(0), done + int((~halved).sum())
        middles = ((a + b) / 2)[halved]
        values |= dict(zip(middles.tolist(), f.values(middles), strict=True))
        parts = [half for x, m, y in zip(a[halved], middles, b[halved], strict=True) for half in ((x, m), (m, y))]
    return f.attribution("ig", total, additive=True)


def gradcam(f: WordFunction, layer: int | None = None) -> Attribution:
    """Grad-CAM on the token states of a layer; None: the head's."""
    layer = f.head.layer if layer is None else layer
    with gradients(), at_layer(f.encoder, layer) as leaves:
        states = f.encoder.forward([f.item])
        slope = leaves.gradient(f.value(f.logits(states))[0], states.layers[layer])[0].double()  # (tokens, d)
    f.rows += COST
    counts = states.mask[0]
    alpha = slope[counts].mean(0)  # (d,)
    maps = (states.layers[layer][0].detach().double() @ alpha).clamp(min=0) * counts
    return f.attribution("gradcam", f.of_words(maps))
