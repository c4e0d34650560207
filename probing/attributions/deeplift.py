"""DeepLIFT (rescale rule) of a sentence's words, by captum, with its gap; for what it covers: cnn, and nets of ReLU layers.

Differences to the baseline pass a nonlinear module as dout / din, and all else as gradients do (Shrikumar et al. 2017); the scores
then sum to F(e) - F(b). captum has the rule for modules of activation and of max pooling. What is not linear else (attention,
norms, gates of LSTMs, products of two states) has none, so that the sum is wrong there without a word; it is refused.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from probing.attributions.attribution import Attribution
from probing.attributions.word_function import COST, NotApplicable, WordFunction
from probing.encoders.base import States
from probing.encoders.gradients import gradients
from probing.errors import ConfigError, EncoderError

ALLOWED = 0.01
"""Largest gap that is no refusal."""


class _Value(torch.nn.Module):
    """F of word vectors (batch, tokens, d): (batch,); its parts are the network's, on which captum puts its hooks."""

    def __init__(self, f: WordFunction):
        super().__init__()
        self.f = f
        self.network: Any = f.encoder.network if hasattr(f.encoder, "network") else f.encoder.model
        self.largest = torch.nn.MaxPool1d(max(1, len(f.item)))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        f = self.f
        with gradients(), f.encoder.lookup_changed_by(lambda given: vectors):
            states = f.forward([f.item] * len(vectors))
        if f.head.pooling == "max":
            layer, counts = states.layers[f.head.layer], states.mask[0]
            x = layer[:, counts].transpose(1, 2)  # (batch, d, tokens that count)
            self.largest.kernel_size = x.shape[2]
            pooled = self.largest(x).transpose(1, 2)  # (batch, 1, d)
            layers = [pooled if k == f.head.layer else other for k, other in enumerate(states.layers)]
            states = States(layers, torch.ones(len(vectors), 1, dtype=torch.bool, device=pooled.device), states.backward)
        return f.value(f.logits(states))


def deeplift(f: WordFunction) -> Attribution:
    """DeepLIFT of the words, from the masking's baseline.

    Raises:
        ConfigError: captum is not installed; NotApplicable: the gap is above 1 %, here or at the middle of the path.
    """
    try:
        from captum.attr import DeepLift
    except ImportError:
        raise ConfigError("method=deeplift needs captum: pip install 'probing-bench[explain]' (ig does without)") from None
    e = _looked_up(f)[None]
    b = torch.where(f.owned.to(e.device)[None, :, None], f.baseline_like(e), e)
    points = torch.cat([e, (e + b) / 2]).requires_grad_()  # a sum may be right by chance, at two points it seldom is
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it puts hooks on the network, which it takes off again
        tokens = DeepLift(_Value(f)).attribute(points, b.expand_as(points)).sum(2)  # (2, tokens)
    f.rows += 4 * COST
    [middle] = f.values(np.array([0.5]))
    made, half = (f.attribution("deeplift", f.of_words(part), additive=True) for part in tokens)
    gap = max(made.gap, replace(half, whole=middle).gap)
    if gap > ALLOWED:
        raise NotApplicable(
            f"DeepLIFT's scores miss F(e) - F(b) by {gap:.1%} on {f.encoder.name}, more than {ALLOWED:.0%}: captum has no rule for "
            "some of its parts (attention, norms, gates of LSTMs); take method=ig"
        )
    return made


def _looked_up(f: WordFunction) -> torch.Tensor:
    """The sentence's word vectors (tokens, d)."""
    for _, _, e in f.along(torch.ones(1, dtype=torch.float64)):
        return e[0]
    raise EncoderError(f"{f.encoder.name} looks up no word vectors")
