"""LSTM encoders: unidirectional, or two directions side by side (Hochreiter & Schmidhuber 1997; Conneau et al. 2017, 2018).

    i, f, o = sigmoid(W x_t + U h_{t-1} + b) of the input, forget and output gate      g = tanh(...), the candidate
    c_t = f c_{t-1} + i g                                                             h_t = o tanh(c_t)

The option `states` names the ones that become layers: hidden (h), cell (c), input (i), forget (f), output (o), candidate (g).
Conneau et al.'s BiLSTM-last and BiLSTM-max are one layer with `reads=both` under the poolings last and max.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

from probing.encoders.networks.architecture import Architecture
from probing.errors import EncoderError

STATES = ("hidden", "cell", "input", "forget", "output", "candidate")


@dataclass(repr=False)
class LSTM(Architecture):
    """Options of `Architecture`, the `hidden` units of a layer in one direction, and the `states` that become layers (`STATES`)."""

    hidden: int = 512
    states: list[str] = field(default_factory=lambda: ["hidden"])

    KIND: ClassVar[str] = "lstm"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_positive("hidden")
        if not self.states or not set(self.states) <= set(STATES) or len(set(self.states)) < len(self.states):
            raise EncoderError(f"encoder.states={self.states} must name some of {', '.join(STATES)}, each once")

    @property
    def state_names(self) -> tuple[str, ...]:
        return tuple(f"lstm {k} {name}" for k in range(1, self.layers + 1) for name in self.states)

    @property
    def state_width(self) -> int:
        return self.hidden

    def stack(self) -> nn.Module:
        return LSTMStack(self.embedding_dim, self.hidden, self.layers, self.dropout, tuple(self.states))


class LSTMStack(nn.Module):
    """LSTM layers of one direction; gives a list of (batch, tokens, hidden), for each layer its `states` in their order."""

    def __init__(self, width: int, hidden: int, layers: int, dropout: float, states: tuple[str, ...]):
        super().__init__()
        widths = [width, *[hidden] * (layers - 1)]
        self.layers = nn.ModuleList(nn.LSTM(w, hidden, batch_first=True) for w in widths)
        self.dropout = nn.Dropout(dropout)
        self.states = states

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
        states = []
        for k, layer in enumerate(self.layers):
            assert isinstance(layer, nn.LSTM)
            below = self.dropout(x) if k else x
            x, _ = layer(below)
            named = {"hidden": x} if self.states == ("hidden",) else inner_states(layer, below, x)
            states += [named[name] for name in self.states]
        return states


def inner_states(layer: nn.LSTM, x: torch.Tensor, hidden: torch.Tensor) -> dict[str, torch.Tensor]:
    """All of `STATES` of one layer from its input (batch, tokens, d) and its hidden states (batch, tokens, hidden)."""
    before = torch.cat([torch.zeros_like(hidden[:, :1]), hidden[:, :-1]], 1)  # h_{t-1}
    [[of_x, of_state, bias_x, bias_state]] = layer.all_weights
    packed = x @ of_x.T + bias_x + before @ of_state.T + bias_state
    i, f, g, o = packed.chunk(4, -1)  # torch's order
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    cells = [i[:, 0] * g[:, 0]]
    for t in range(1, x.shape[1]):
        cells.append(f[:, t] * cells[-1] + i[:, t] * g[:, t])
    return {"hidden": hidden, "cell": torch.stack(cells, 1), "input": i, "forget": f, "output": o, "candidate": g}
