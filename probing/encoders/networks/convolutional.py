"""Convolutional encoders: a gated stack, and the multi-width network with max-over-time pooling.

    gated     h <- (h + A(h) * sigmoid(B(h))) sqrt(1/2), one block; A and B are convolutions of one width (Dauphin et al. 2017;
              Gehring et al. 2017; Conneau et al. 2018 probe such an encoder)
    cnn       relu of convolutions of several widths over the token vectors, side by side (Kim 2014); under max pooling this is
              the sentence vector that his classifier reads

With `reads=forward` or `backward` the windows are shifted so that a state depends on no later token. Positions beyond the sentence
are zeros. There are no position embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from probing.encoders.networks.architecture import Architecture
from probing.encoders.networks.network import Stack
from probing.errors import EncoderError


@dataclass(repr=False)
class GatedCNN(Architecture):
    """Options of `Architecture`, the `channels` of a block's output, and the `width` of a window in tokens, odd for `reads=all`."""

    channels: int = 512
    width: int = 3

    KIND: ClassVar[str] = "gated-cnn"
    READS: ClassVar[tuple[str, ...]] = ("all", "forward", "backward", "both")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_positive("channels", "width")
        if self.reads == "all" and self.width % 2 == 0:
            raise EncoderError(f"encoder.width={self.width} must be odd where encoder.reads=all, so that a window has a middle")

    @property
    def state_names(self) -> tuple[str, ...]:
        return tuple(f"block {k}" for k in range(1, self.layers + 1))

    @property
    def state_width(self) -> int:
        return self.channels

    def stack(self) -> Stack:
        return GatedStack(self.embedding_dim, self.channels, self.layers, self.width, self.reads != "all", self.dropout)


class GatedStack(Stack):
    """A linear map to `channels`, then the blocks; gives a list of (batch, tokens, channels)."""

    def __init__(self, width_in: int, channels: int, layers: int, width: int, causal: bool, dropout: float):
        super().__init__()
        self.enter = nn.Linear(width_in, channels)
        self.blocks = nn.ModuleList(nn.Conv1d(channels, 2 * channels, width) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.pad = (width - 1, 0) if causal else (width // 2, width // 2)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
        real = inside(x, lengths)
        h, states = self.enter(x), []
        for layer, block in enumerate(self.blocks, start=1):
            window = F.pad((self.dropout(h) * real).transpose(1, 2), self.pad)  # (batch, channels, tokens + width - 1)
            h = self.changed(layer, (h + F.glu(block(window), 1).transpose(1, 2)) * 0.5**0.5, lengths)
            states.append(h)
        return states


@dataclass(repr=False)
class CNN(Architecture):
    """Options of `Architecture` (one layer), the `widths` of windows in tokens, and the number of `filters` of each width."""

    reads: str = "all"
    widths: list[int] = field(default_factory=lambda: [3, 4, 5])
    filters: int = 100

    KIND: ClassVar[str] = "cnn"
    READS: ClassVar[tuple[str, ...]] = ("all",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_positive("filters")
        if self.layers != 1:
            raise EncoderError(f"encoder.layers={self.layers}: this network has one layer of convolutions (gated-cnn stacks them)")
        if not self.widths or min(self.widths) < 1:
            raise EncoderError(f"encoder.widths={self.widths} must hold window widths of at least 1")

    @property
    def state_names(self) -> tuple[str, ...]:
        return ("convolutions",)

    @property
    def state_width(self) -> int:
        return self.filters * len(self.widths)

    def stack(self) -> Stack:
        return MultiWidth(self.embedding_dim, self.widths, self.filters)


class MultiWidth(Stack):
    """Convolutions of several widths over the same tokens: one state of (batch, tokens, filters * len(widths))."""

    def __init__(self, width_in: int, widths: list[int], filters: int):
        super().__init__()
        self.widths = widths
        self.convolutions = nn.ModuleList(nn.Conv1d(width_in, filters, width) for width in widths)
        self.relu = nn.ReLU()  # a module, so that DeepLIFT sees it

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
        tokens = (x * inside(x, lengths)).transpose(1, 2)  # (batch, width_in, tokens)
        maps = []
        for width, convolution in zip(self.widths, self.convolutions, strict=True):
            before = (width - 1) // 2
            maps.append(convolution(F.pad(tokens, (before, width - 1 - before))))
        return [self.changed(1, self.relu(torch.cat(maps, 1)).transpose(1, 2), lengths)]


def inside(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """(batch, tokens, 1), one where there is a token and zero on padding."""
    return (torch.arange(x.shape[1], device=x.device)[None] < lengths[:, None])[..., None].to(x.dtype)
