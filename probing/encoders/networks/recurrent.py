"""LSTM encoders: unidirectional, or two directions side by side (Hochreiter & Schmidhuber 1997; Conneau et al. 2017, 2018).

    i, f, o = sigmoid(W x_t + U h_{t-1} + b) of the input, forget and output gate      g = tanh(...), the candidate
    c_t = f c_{t-1} + i g                                                             h_t = o tanh(c_t)

The option `states` names the ones that become layers: hidden (h), cell (c), input (i), forget (f), output (o), candidate (g).
Conneau et al.'s BiLSTM-last and BiLSTM-max are one layer with `reads=both` under the poolings last and max.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch
from torch import nn

from probing.encoders.interventions import Place
from probing.encoders.networks.architecture import Architecture
from probing.encoders.networks.network import Stack, Turn
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

    def place_of(self, layer: int, state: str | None) -> Place:
        """The LSTM of a layer, 1, 2, …, and which of its states an intervention changes (0: the embeddings)."""
        number, kind = divmod(layer - 1, len(self.states))
        own = "hidden" if layer == 0 else self.states[kind]
        if (state or own) not in ("hidden", "cell") or (layer == 0 and state == "cell"):
            raise EncoderError(
                f"an intervention at layer {layer}, {self.layer_names[layer]}{' on its cell' * (state == 'cell')}: only hidden "
                "states and cells of an LSTM can be changed; name a layer of an LSTM, and state=hidden or cell"
            )
        return number + 1, state or own

    def stack(self) -> Stack:
        return LSTMStack(self.embedding_dim, self.hidden, self.layers, self.dropout, tuple(self.states))


class LSTMStack(Stack):
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
            turn = self.turn if self.turn and self.turn.change.has((k + 1, "hidden"), (k + 1, "cell")) else None
            named = {"hidden": x} if self.states == ("hidden",) and turn is None else inner_states(layer, below, x)
            if turn is not None:
                where = turn.where(x, lengths)
                named = changed_states(layer, below, named, partial(_apply, turn, k + 1), where)
                x = named["hidden"]
                turn.read((k + 1, "hidden"), x, where)
                turn.read((k + 1, "cell"), named["cell"], where)
            states += [named[name] for name in self.states]
        return states


def _apply(turn: Turn, number: int, name: str, states: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    return turn.apply((number, name), states, where)


def inner_states(layer: nn.LSTM, x: torch.Tensor, hidden: torch.Tensor) -> dict[str, torch.Tensor]:
    """All of `STATES` of one layer from its input (batch, tokens, d) and its hidden states (batch, tokens, hidden)."""
    before = torch.cat([torch.zeros_like(hidden[:, :1]), hidden[:, :-1]], 1)  # h_{t-1}
    i, f, g, o = gates(layer, x, before)
    cells = [i[:, 0] * g[:, 0]]
    for t in range(1, x.shape[1]):
        cells.append(f[:, t] * cells[-1] + i[:, t] * g[:, t])
    return {"hidden": hidden, "cell": torch.stack(cells, 1), "input": i, "forget": f, "output": o, "candidate": g}


def gates(layer: nn.LSTM, x: torch.Tensor, before: torch.Tensor) -> list[torch.Tensor]:
    """Input, forget, candidate and output from the input (…, d) and the hidden states of the tokens before (…, hidden)."""
    [[of_x, of_state, bias_x, bias_state]] = layer.all_weights
    i, f, g, o = (x @ of_x.T + bias_x + before @ of_state.T + bias_state).chunk(4, -1)  # torch's order
    return [i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()]


def changed_states(
    layer: nn.LSTM,
    x: torch.Tensor,
    plain: dict[str, torch.Tensor],
    apply: Callable[[str, torch.Tensor, torch.Tensor], torch.Tensor],
    where: torch.Tensor,
) -> dict[str, torch.Tensor]:
    """The states of a layer whose hidden states and cells are changed token by token, so that later tokens read the changed ones.

    Both are changed after the step of their token, so that a changed cell is what the next token reads. Until its first changed
    token a sentence keeps its `plain` states, bit by bit, and where nothing changes no step is run.
    `apply(name, states, where)` changes states (batch, n, hidden) of tokens at the positions `where` (batch, n).
    """
    moved = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)  # (batch, tokens)
    given = {name: apply(name, plain[name], where) for name in ("hidden", "cell")}
    for name, states in given.items():
        moved |= (states != plain[name]).any(-1)
    if not moved.any():
        return plain | given  # equal, and gradients are those of what was given
    since = moved.int().cumsum(1) > 0
    names = ("input", "forget", "candidate", "output")
    steps: list[dict[str, torch.Tensor]] = []
    h = c = torch.zeros_like(plain["hidden"][:, 0])
    for t in range(x.shape[1]):
        now, at = {name: states[:, t] for name, states in plain.items()}, where[:, t : t + 1]
        stepped = since[:, t - 1, None] if t else torch.zeros_like(since[:, :1])  # (batch, 1): a token before was changed
        if bool(stepped.any()):
            now |= {name: torch.where(stepped, s, now[name]) for name, s in zip(names, gates(layer, x[:, t], h), strict=True)}
        c = torch.where(stepped, now["forget"] * c + now["input"] * now["candidate"], now["cell"])
        h = torch.where(stepped, now["output"] * c.tanh(), now["hidden"])
        h, c = (apply(name, state[:, None], at)[:, 0] for name, state in (("hidden", h), ("cell", c)))
        steps.append(now | {"hidden": h, "cell": c})
    return {name: torch.stack([step[name] for step in steps], 1) for name in plain}
