"""ELMo's network, whose equations `probing.encoders.elmo.elmo` gives: a character CNN, and LSTMs in two directions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from probing.encoders.base import Item
from probing.encoders.elmo.elmo_format import BEGIN, END, ELMoOptions, character_ids, lstm_name, read_weights, shapes, write_elmo
from probing.encoders.gradients import ChangeVectors
from probing.encoders.interventions import Change
from probing.encoders.networks.network import Turn, mirror
from probing.errors import EncoderError

WORDS_AT_ONCE = 256
"""Distinct words that go through the character CNN together; bounds its memory."""

Memory = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""For each LSTM, by its name, the output (rows, p) and the cells (rows, d) at the end of the last batch."""


class ELMoNetwork(torch.nn.Module):
    """ELMo's network, with weights by name, or drawn from `seed` as the original draws them before training.

    That is: characters uniform in ±1; convolutions uniform in ±0.05 (relu) or normal with variance 1 / inputs (tanh); highways and
    projection normal with variance 1 / inputs; LSTMs uniform in ±sqrt(6 / (inputs + outputs)); biases 0, of the carry gates -2.
    """

    change: Change | None = None
    change_vectors: ChangeVectors | None = None

    def __init__(self, options: ELMoOptions, arrays: Mapping[str, np.ndarray] | None = None, seed: int = 0) -> None:
        super().__init__()
        self.options = options
        generator = torch.Generator().manual_seed(seed)
        self.weights = torch.nn.ParameterDict(
            {
                name: _drawn(name, shape, options, generator) if arrays is None else torch.tensor(arrays[name])
                for name, shape in shapes(options).items()
            }
        )
        back = torch.arange(2 * options.projection_dim) >= options.projection_dim
        self.backward_dims = [torch.zeros_like(back), *[back] * options.n_layers]

    @classmethod
    def load(cls, options: ELMoOptions, weights: Path) -> ELMoNetwork:
        """The network with the weights of a file, read by `read_weights`."""
        return cls(options, read_weights(weights, options))

    def save(self, folder: Path) -> tuple[Path, Path]:
        """Writes options.json and weights.hdf5 in the original format; returns their paths."""
        return write_elmo(folder, self.options, {name: w.detach().cpu().numpy() for name, w in self.weights.items()})

    def batch(self, items: Sequence[Item]) -> tuple[torch.Tensor, torch.Tensor]:
        """Characters (batch, tokens, max_characters) and lengths (batch,) of items of words, without boundary tokens."""
        device = self.weights["char_embed"].device
        lengths = torch.tensor([len(item) for item in items], device=device)
        words = [torch.tensor(list(item), dtype=torch.long).reshape(-1, self.options.max_characters) for item in items]
        return torch.nn.utils.rnn.pad_sequence(words, batch_first=True).to(device), lengths

    def forward(self, characters: torch.Tensor, lengths: torch.Tensor, memory: Memory | None = None) -> list[torch.Tensor]:
        """States of every layer, 1 + n_layers tensors (batch, tokens + 2, 2 * projection_dim), from the result of `batch`.

        Position 0 is the begin token, position k word k, position lengths + 1 the end token; later positions are padding. The LSTMs
        start from a `memory` instead of zeros, row by row, and store their last states in it.
        """
        vectors = self.token_vectors(self._bounded(characters, lengths))
        if self.change_vectors is not None:
            vectors = torch.cat([vectors[:, :1], self.change_vectors(vectors[:, 1:-1]), vectors[:, -1:]], 1)
        both = self._changed_tokens(vectors, lengths)  # (batch, tokens + 2, 2p)
        forward, backward = both.transpose(0, 1).chunk(2, 2)  # (tokens + 2, batch, p)
        ends = lengths + 2
        positions = torch.arange(len(forward), device=lengths.device)[:, None]  # (tokens + 2, 1)
        mirrored = torch.where(positions < ends, ends - 1 - positions, positions)  # (tokens + 2, batch), its own inverse
        rows = torch.arange(len(lengths), device=lengths.device)
        backward = backward[mirrored, rows]
        layers = [both.transpose(0, 1)]
        for layer in range(self.options.n_layers):
            forward = self._lstm(0, layer, forward, ends, memory)
            backward = self._lstm(1, layer, backward, ends, memory)
            layers.append(torch.cat([forward, backward[mirrored, rows]], 2))
        return [layer.transpose(0, 1) for layer in layers]  # (batch, tokens + 2, 2p)

    @contextmanager
    def changed_by(self, change: Change) -> Iterator[None]:
        """Interventions on the states of words; those of the begin and end tokens stay as they are."""
        self.change = change
        try:
            yield
        finally:
            self.change = None

    @contextmanager
    def lookup_changed_by(self, change: ChangeVectors) -> Iterator[None]:
        """Token vectors that go through `change`, those of the begin token, and of the last position, excepted."""
        self.change_vectors = change
        try:
            yield
        finally:
            self.change_vectors = None

    def _changed_tokens(self, vectors: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Layer 0 (batch, tokens + 2, 2p), the token vectors (batch, tokens + 2, p) twice."""
        both = torch.cat([vectors, vectors], 2)
        if self.change is None:
            return both
        self.change.begin()
        return self.change((0, "hidden"), both, _words(both, lengths))

    def token_vectors(self, characters: torch.Tensor) -> torch.Tensor:
        """Context-free vectors (..., projection_dim) of words given as characters (..., max_characters)."""
        distinct, which = torch.unique(characters.flatten(0, -2), dim=0, return_inverse=True)
        vectors = torch.cat([self._character_cnn(words) for words in distinct.split(WORDS_AT_ONCE)])
        return vectors[which].unflatten(0, characters.shape[:-1])

    def _bounded(self, characters: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(batch, tokens + 2, max_characters), each sentence between its begin and its end token."""
        batch, tokens, width = characters.shape
        begin, end = (characters.new_tensor(character_ids(mark, width)) for mark in (BEGIN, END))
        bounded = characters.new_zeros(batch, tokens + 2, width)
        bounded[:, 0] = begin
        bounded[:, 1:-1] = characters
        bounded[torch.arange(batch), lengths + 1] = end
        return bounded

    def _character_cnn(self, words: torch.Tensor) -> torch.Tensor:
        """(n, projection_dim) from (n, max_characters)."""
        w, options = self.weights, self.options
        table = F.pad(w["char_embed"], (0, 0, 1, 0))  # row 0, of padding tokens, is zero
        x = F.embedding(words, table).flatten(1)  # (n, max_characters * embedding_dim)
        step, maxima = options.embedding_dim, []
        for k, (width, _) in enumerate(options.filters):
            windows = x.unfold(1, width * step, step)  # (n, positions, width * embedding_dim)
            maxima.append((windows @ w[f"CNN/W_cnn_{k}"].flatten(0, 2) + w[f"CNN/b_cnn_{k}"]).amax(1))  # (n, filters)
        y = getattr(torch, options.activation)(torch.cat(maxima, 1))  # (n, all filters)
        for k in range(options.n_highway):
            gate, candidate = (y @ w[f"CNN_high_{k}/W_{part}"] + w[f"CNN_high_{k}/b_{part}"] for part in ("carry", "transform"))
            y = torch.lerp(y, torch.relu(candidate), torch.sigmoid(gate))
        return y @ w["CNN_proj/W_proj"] + w["CNN_proj/b_proj"]

    def _lstm(self, direction: int, layer: int, x: torch.Tensor, ends: torch.Tensor, memory: Memory | None) -> torch.Tensor:
        """Outputs (tokens, batch, p) for inputs (tokens, batch, p), read in the order of the first axis."""
        name, options = lstm_name(direction, layer), self.options
        weight, bias, projection = (self.weights[f"{name}/{part}"] for part in ("W_0", "B", "W_P_0"))
        of_input, of_state = weight.split(options.projection_dim)
        forget = torch.arange(4 * options.dim, device=bias.device) // options.dim == 2
        gates = x @ of_input + (bias + forget)  # (tokens, batch, 4d)
        batch = x.shape[1]
        h, m = x.new_zeros(batch, options.projection_dim), x.new_zeros(batch, options.dim)
        if memory and name in memory:
            h, m = (torch.cat([old[:batch], new[len(old) :]]) for old, new in zip(memory[name], (h, m), strict=True))
        skips = options.use_skip_connections and layer > 0
        turns = self._turns(direction, layer)
        where = _words(x.transpose(0, 1), ends - 2)  # (batch, tokens)
        where = torch.where(where >= 0, mirror(where, ends - 2), -1) if direction else where
        outputs, cells, states = [], [], []
        for t, gate in enumerate(gates):
            i, j, f, o = torch.addmm(gate, h, of_state).chunk(4, 1)
            m = _clipped(torch.sigmoid(f) * m + torch.sigmoid(i) * torch.tanh(j), options.cell_clip)
            h = _clipped((torch.sigmoid(o) * torch.tanh(m)) @ projection, options.proj_clip)
            if turns:  # the state that is read holds the skip connection, the one that the next step reads does not
                state = h + x[t] if skips else h
                changed = turns["hidden"].apply((layer + 1, "hidden"), state[:, None], where[:, t : t + 1])[:, 0]
                h = torch.where(changed == state, h, changed - x[t] if skips else changed)
                states.append(changed)
                m = turns["cell"].apply((layer + 1, "cell"), m[:, None], where[:, t : t + 1])[:, 0]
            outputs.append(h)
            cells.append(m)
        out = torch.stack(outputs)  # (tokens, batch, p)
        if memory is not None:
            rows = torch.arange(batch, device=ends.device)
            last = out[ends - 1, rows].detach(), torch.stack(cells)[ends - 1, rows].detach()  # (batch, p), (batch, d)
            before = memory.get(name, last)
            memory[name] = torch.cat([last[0], before[0][batch:]]), torch.cat([last[1], before[1][batch:]])
        if turns:
            turns["hidden"].read((layer + 1, "hidden"), torch.stack(states, 1), where)
            turns["cell"].read((layer + 1, "cell"), torch.stack(cells, 1), where)
            return torch.stack(states)
        return out + x if skips else out

    def _turns(self, direction: int, layer: int) -> dict[str, Turn]:
        """The interventions of one LSTM on its outputs and its cells; {} for none."""
        if self.change is None or not self.change.has((layer + 1, "hidden"), (layer + 1, "cell")):
            return {}
        widths = {"hidden": self.options.projection_dim, "cell": self.options.dim}
        return {name: Turn(self.change, bool(direction), direction * n, 2 * n) for name, n in widths.items()}


def _words(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """The position (batch, tokens + 2) of each state's word in its item; -1 for begin, end and padding."""
    position = torch.arange(x.shape[1], device=x.device)[None] - 1
    return torch.where(position < lengths[:, None], position, -1)


def place_of(names: Sequence[str], layer: int, state: str | None) -> tuple[int, str]:
    """The place of an intervention (`probing.encoders.interventions`): the layer, and hidden or cell."""
    if layer == 0 and state == "cell":
        raise EncoderError(f"an intervention at layer 0, {names[0]}, on its cell: it is no LSTM; name a layer from 1")
    return layer, state or "hidden"


def _clipped(x: torch.Tensor, bound: float | None) -> torch.Tensor:
    return x if bound is None else x.clamp(-bound, bound)


def _drawn(name: str, shape: tuple[int, ...], options: ELMoOptions, generator: torch.Generator) -> torch.Tensor:
    def uniform(bound: float) -> torch.Tensor:
        return (2 * torch.rand(shape, generator=generator) - 1) * bound

    kind = name.rpartition("/")[2]
    if len(shape) == 1:
        return torch.full(shape, -2.0 if kind == "b_carry" else 0.0)
    if kind == "char_embed":
        return uniform(1)
    if kind.startswith("W_cnn") and options.activation == "relu":
        return uniform(0.05)
    if name.startswith("CNN"):
        return torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[:-1]))
    return uniform(math.sqrt(6 / sum(shape)))
