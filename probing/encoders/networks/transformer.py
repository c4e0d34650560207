"""A Transformer encoder (Vaswani et al. 2017), trained from scratch or untrained: pre-norm blocks over sinusoidal positions.

    x <- x + attention(norm(x));  x <- x + feed-forward(norm(x));  the last block's output passes a final norm

With `reads=all` attention goes in both directions; with forward and backward a state depends on no later token. Token vectors are
scaled by sqrt(d) before the positions are added, inside the stack, so that layer 0 holds no position.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from probing.encoders.networks.architecture import Architecture
from probing.encoders.networks.network import Stack
from probing.errors import EncoderError


@dataclass(repr=False)
class Transformer(Architecture):
    """Options of `Architecture`, attention `heads` (they divide `embedding_dim`), and hidden units of the `feedforward` part."""

    embedding_dim: int = 256
    layers: int = 2
    reads: str = "all"
    pooling: str = "mean"
    heads: int = 4
    feedforward: int = 1024

    KIND: ClassVar[str] = "transformer"
    READS: ClassVar[tuple[str, ...]] = ("all", "forward", "backward", "both")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads < 1 or self.embedding_dim % (2 * self.heads):
            raise EncoderError(f"encoder.embedding_dim={self.embedding_dim} must be an even multiple of encoder.heads={self.heads}")
        self._check_positive("feedforward")

    @property
    def state_names(self) -> tuple[str, ...]:
        return (*(f"block {k}" for k in range(1, self.layers)), f"block {self.layers} + final norm")

    @property
    def state_width(self) -> int:
        return self.embedding_dim

    def stack(self) -> Stack:
        return TransformerStack(self.embedding_dim, self.layers, self.heads, self.feedforward, self.reads != "all", self.dropout)


class TransformerStack(Stack):
    """Transformer blocks; gives a list of (batch, tokens, width)."""

    def __init__(self, width: int, layers: int, heads: int, feedforward: int, causal: bool, dropout: float):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, feedforward, dropout, batch_first=True, norm_first=True) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.causal = causal

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
        n, width = x.shape[1:]
        h = x * math.sqrt(width) + positions(n, width, x.device)
        padding = torch.arange(n, device=x.device)[None] >= lengths[:, None]  # (batch, tokens), True on padding
        ahead = torch.ones(n, n, dtype=torch.bool, device=x.device).triu(1) if self.causal else None
        states = []
        for layer, block in enumerate(self.blocks, start=1):
            h = block(h, src_mask=ahead, src_key_padding_mask=padding)
            h = self.changed(layer, h if layer < len(self.blocks) else self.norm(h), lengths)
            states.append(h)
        return states


def positions(n: int, width: int, device: torch.device) -> torch.Tensor:
    """Sinusoidal positions (n, width): sines in the first half, cosines in the second, wavelengths from 2 pi to 20,000 pi."""
    rate = torch.exp(torch.arange(width // 2, device=device) * (-math.log(10_000) / (width // 2)))
    angle = torch.arange(n, device=device)[:, None] * rate  # (n, width / 2)
    return torch.cat([angle.sin(), angle.cos()], 1)
