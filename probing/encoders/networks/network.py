"""The suite's own networks: token vectors, and one or two stacks that read them, each in one of these directions:

    forward    left to right: the state of a token depends on the tokens up to it
    backward   right to left: the same stack on the reversed sentence
    both       two independent stacks, their states side by side (a biLM, Peters et al. 2018; with one LSTM layer Conneau et al.'s
               BiLSTM)
    all        the state of a token depends on all tokens

Layer 0 is the word embedding alone, without positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from probing.encoders.base import Item, States
from probing.encoders.networks.vocabulary import CLOSE, OPEN, PAD

if TYPE_CHECKING:
    from probing.encoders.gradients import ChangeVectors
    from probing.encoders.interventions import Change, Place
    from probing.encoders.networks.architecture import Architecture


class Turn:
    """Interventions as a stack sees them, in its direction; `first`: the number of its first unit; `total`: units of both."""

    def __init__(self, change: Change, backward: bool, first: int, total: int):
        self.change, self.backward, self.first, self.total = change, backward, first, total

    def where(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Positions (batch, tokens) of the tokens in the order in which the stack reads them."""
        position = torch.arange(x.shape[1], device=x.device)[None]  # (1, tokens)
        return mirror(position, lengths) if self.backward else position.expand(x.shape[:2])

    def apply(self, place: Place, x: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        return self.change.apply(place, x, where, self.first, self.total)

    def read(self, place: Place, x: torch.Tensor, where: torch.Tensor) -> None:
        self.change.read(place, x, where, self.first)


class Stack(nn.Module):
    """Layers of one direction: `forward(x, lengths)` gives a list of states (batch, tokens, width). `turn`: interventions, within
    their context alone."""

    turn: Turn | None = None

    def changed(self, layer: int, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The states of layer 1, 2, … as the layers above get them."""
        if self.turn is None:
            return x
        place, where = (layer, "hidden"), self.turn.where(x, lengths)
        x = self.turn.apply(place, x, where)
        self.turn.read(place, x, where)
        return x


class Readable(nn.Module):
    """A network whose states `run` gives; `forward` adds `margin` positions at each end of an item."""

    margin = 0
    backward_dims: Sequence[torch.Tensor] | None

    def batch(self, items: Sequence[Item]) -> tuple[torch.Tensor, torch.Tensor]:
        """The arguments of `forward`: tokens (batch, tokens, ...) and lengths (batch,)."""
        raise NotImplementedError

    def counted(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The mask (batch, tokens) of the tokens that count: by default all but padding."""
        return torch.arange(tokens.shape[1], device=lengths.device)[None] < lengths[:, None]

    @contextmanager
    def changed_by(self, change: Change) -> Iterator[None]:
        """Interventions on the network (`probing.encoders.interventions`)."""
        raise NotImplementedError

    @property
    def lookup(self) -> Any:
        """The module that looks word vectors up."""
        return self.embedding

    @contextmanager
    def lookup_changed_by(self, change: ChangeVectors) -> Iterator[None]:
        """Word vectors that go through `change` (`probing.encoders.gradients`)."""
        with self.lookup.register_forward_hook(lambda module, given, vectors: change(vectors)):
            yield


class Network(Readable):
    """Token vectors and the stacks that read them; weights are drawn from `seed`, token vectors with standard deviation 0.1."""

    change: Change | None = None

    def __init__(self, architecture: Architecture, size: int, seed: int):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(size, architecture.embedding_dim, padding_idx=PAD)
            nn.init.normal_(self.embedding.weight, std=0.1)
            with torch.no_grad():
                self.embedding.weight[PAD] = 0
            both = architecture.reads == "both"
            self.forwards = architecture.stack() if architecture.reads != "backward" else None
            self.backwards = architecture.stack() if architecture.reads in ("backward", "both") else None
        self.dropout = nn.Dropout(architecture.dropout)
        n, width = len(architecture.state_names), architecture.state_width
        self.width = width
        none = torch.zeros(architecture.embedding_dim, dtype=torch.bool)
        back = torch.ones(width, dtype=torch.bool) if not both else torch.arange(2 * width) >= width
        self.backward_dims = None if self.backwards is None else [none, *[back] * n]

    def batch(self, items: Sequence[Item]) -> tuple[torch.Tensor, torch.Tensor]:
        return padded(items, self.embedding.weight.device)

    def counted(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The mask (batch, tokens): False for padding and for the marks at a sentence's ends."""
        return (tokens != PAD) & (tokens != OPEN) & (tokens != CLOSE)

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
        """States of every layer, (batch, tokens, dims[l]), from ids (batch, tokens), padded on the right, and lengths (batch,)."""
        vectors, directions = self.embedding(ids), []
        if self.change is not None:
            self.change.begin()
            vectors = self.change((0, "hidden"), vectors, torch.arange(ids.shape[1], device=ids.device)[None])
        x = self.dropout(vectors)
        if self.forwards is not None:
            directions.append(self.forwards(x, lengths))
        if self.backwards is not None:
            directions.append([reversed_within(h, lengths) for h in self.backwards(reversed_within(x, lengths), lengths)])
        return [vectors, *(torch.cat(states, -1) if len(states) > 1 else states[0] for states in zip(*directions, strict=True))]

    @contextmanager
    def changed_by(self, change: Change) -> Iterator[None]:
        stacks = [stack for stack in (self.forwards, self.backwards) if stack is not None]
        self.change = change
        for k, stack in enumerate(stacks):
            stack.turn = Turn(change, stack is self.backwards, k * self.width, len(stacks) * self.width)
        try:
            yield
        finally:
            self.change = None
            for stack in stacks:
                stack.turn = None


def mirror(position: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Positions (batch, tokens) of the tokens read from right to left; padding stays in place."""
    return torch.where(position < lengths[:, None], lengths[:, None] - 1 - position, position)


def reversed_within(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Reverses each row of (batch, tokens, d) within its own length; padding stays in place."""
    position = mirror(torch.arange(x.shape[1], device=x.device)[None], lengths)
    return x.gather(1, position[..., None].expand_as(x))


def run(network: Readable, items: Sequence[Item]) -> States:
    """States of a batch of items, without those of the marks at a sentence's ends."""
    inputs, lengths = network.batch(items)
    layers = [layer[:, network.margin : layer.shape[1] - network.margin] for layer in network(inputs, lengths)]
    return States(layers, network.counted(inputs, lengths), network.backward_dims)


def padded(items: Sequence[Item], device: str | torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (batch, tokens), padded on the right, and lengths (batch,)."""
    ids = pad_sequence([torch.tensor(item, dtype=torch.long) for item in items], batch_first=True, padding_value=PAD)
    return ids.to(device), torch.tensor([len(item) for item in items], device=device)
