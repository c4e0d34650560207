"""Attention over the states of tokens, which pools them for a classifier in training.

    attention          weights softmax_t v . tanh(W h_t + b), W of half the width (Bahdanau et al. 2015, without a query)
    attention-dot      weights softmax_t q . h_t / sqrt(width), q learned
    attention-frozen   the first with W, b and v as they were drawn: what the rest of the network learns without them

The uniform weights of Wiegreffe and Pinter 2019 (EMNLP) are pooling=mean.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from probing.encoders.networks.architecture import ATTENTION


class Attention(nn.Module):
    """Weights of tokens; `kind` is one of `ATTENTION`."""

    def __init__(self, kind: str, width: int):
        super().__init__()
        assert kind in ATTENTION
        half = max(1, width // 2)
        if kind == "attention-dot":
            self.score: nn.Module = nn.Linear(width, 1, bias=False)
            self.scale = 1 / math.sqrt(width)
        else:
            self.score = nn.Sequential(nn.Linear(width, half), nn.Tanh(), nn.Linear(half, 1, bias=False))
            self.scale = 1.0
        if kind == "attention-frozen":
            self.score.requires_grad_(False)

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Weights (batch, tokens) of states (batch, tokens, width), 0 where the mask is False; they sum to 1."""
        scores = self.score(states)[..., 0] * self.scale
        return scores.masked_fill(~mask, -torch.inf).softmax(1)
