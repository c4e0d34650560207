"""ELMo from its original two files, options.json and the HDF5 weights, as a frozen encoder; and its network, which can be trained.

Layer 0 is the context-free token vector twice, layer k is [forward, backward] of the k-th LSTMs. A token vector x, from the
characters c of a word (b is a bias, sigma the logistic function, * elementwise):

    y_w = act(max over positions of the convolution of width w + b), all widths together in y
    y  <- g * relu(y W_transform + b) + (1 - g) * y,  g = sigma(y W_carry + b), for each highway layer
    x   = y W_proj + b_proj

An LSTM step with input x and the state (h, m) before it, gates i (input), j (candidate), f (forget), o (output):

    i, j, f, o = [x, h] W_0 + B          m' = clip(sigma(f + 1) * m + sigma(i) * tanh(j), cell_clip)
    h' = clip((sigma(o) * tanh(m')) W_P_0, proj_clip)        its output is h', or h' + x with a skip connection

The maximum is over all positions of the word's fixed width, as in the original. Forward and backward LSTMs share x and nothing
else; each sentence stands between a begin and an end token, whose states are dropped, and the backward LSTMs start at its own end
token. The LSTMs start from zeros for every sentence. (The original code carries their state from one batch to the next.)

Reference: Peters et al. 2018, Deep contextualized word representations. Not supported: the softmax and dropout of training, the
learned mix of the layers, and half precision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from probing.encoders.base import Item, Named, States, check_device, name_in_tables, resolve_device
from probing.encoders.elmo.elmo_format import (
    BEGIN,
    END,
    ELMoOptions,
    character_ids,
    check_file,
    lstm_name,
    read_options,
    read_weights,
    shapes,
    write_elmo,
)
from probing.encoders.pooling import TOKEN_POOLINGS
from probing.errors import EncoderError
from probing.files import file_sha256

VERSION = 1
"""Raise when the same weights and options would give other vectors."""

WORDS_AT_ONCE = 256
"""Distinct words that go through the character CNN together; bounds its memory."""

Memory = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""For each LSTM, by its name, the output (rows, p) and the cells (rows, d) at the end of the last batch."""


@dataclass(repr=False)
class ELMoEncoder(Named):
    """Options of the encoder; nothing is loaded before it is needed.

    Args:
        options: the model's options.json.
        weights: the model's HDF5 file.
        max_length: words kept of a sentence; None: all.
        stateful: carry the LSTMs' state from batch to batch, to reproduce the original's values, which depend on their order.
        random_weights: draw the weights from `init_seed` as the original does before training, instead of reading them.
        device: cpu, cuda, or auto.
        label: name in tables, to which options that change vectors are added; None: the weights' file name.
    """

    options: str
    weights: str
    max_length: int | None = None
    stateful: bool = False
    random_weights: bool = False
    init_seed: int = 0
    device: str = "cpu"
    label: str | None = None

    poolings = TOKEN_POOLINGS

    def __post_init__(self) -> None:
        check_device(self.device)
        if self.max_length is not None and self.max_length < 1:
            raise EncoderError(f"encoder.max_length={self.max_length} leaves no room for a word (at least 1)")
        self._file = Path(self.weights).expanduser()
        self.name = name_in_tables(self, self.label or self._file.stem, ("max_length", "stateful"))

    def random_twin(self, seed: int) -> ELMoEncoder:
        return replace(self, random_weights=True, init_seed=seed)

    @cached_property
    def sizes(self) -> ELMoOptions:
        return read_options(Path(self.options).expanduser())

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("token (char CNN)", *(f"biLSTM {k + 1}" for k in range(self.sizes.n_layers)))

    @property
    def dims(self) -> tuple[int, ...]:
        return (2 * self.sizes.projection_dim,) * (1 + self.sizes.n_layers)

    @property
    def origin(self) -> str:
        return f"random weights, options of {self.options}" if self.random_weights else f"the file {self.weights}"

    @cached_property
    def description(self) -> Mapping[str, Any]:
        description: dict[str, Any] = {
            "kind": "elmo",
            "version": VERSION,
            "options": asdict(self.sizes),
            "max_length": self.max_length,
            "stateful": self.stateful,
        }
        if self.random_weights:
            return description | {"random_weights": {"seed": self.init_seed, "torch": torch.__version__}}
        check_file(self._file)
        return description | {"weights": file_sha256(self._file)}

    @cached_property
    def network(self) -> Any:
        """The `ELMoNetwork`, frozen."""
        if self.random_weights:
            network = ELMoNetwork(self.sizes, seed=self.init_seed)
        else:
            network = ELMoNetwork.load(self.sizes, self._file)
            if file_sha256(self._file) != self.description["weights"]:
                raise EncoderError(f"{self._file} was replaced since it was read first: make the encoder again")
        return network.eval().requires_grad_(False).to(resolve_device(self.device))

    @cached_property
    def _memory(self) -> Memory | None:
        return {} if self.stateful else None

    def release(self) -> None:
        """Frees the weights, which are loaded again when needed, and the carried state."""
        self.__dict__.pop("network", None)
        self.__dict__.pop("_memory", None)

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Item], int]:
        """For each sentence its words, each a tuple of character ids."""
        width = self.sizes.max_characters
        words = [text.split() for text in texts]
        items: list[Item] = [[character_ids(word, width) for word in sentence[: self.max_length]] for sentence in words]
        return items, sum(len(item) < len(sentence) for item, sentence in zip(items, words, strict=True))

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        return [list(range(len(text.split()[: self.max_length]))) for text in texts]

    def forward(self, items: Sequence[Item]) -> States:
        characters, lengths = self.network.batch(items)
        with torch.inference_mode():
            layers = self.network(characters, lengths, self._memory)
        mask = torch.arange(characters.shape[1], device=lengths.device) < lengths[:, None]
        return States([layer[:, 1:-1] for layer in layers], mask, self.network.backward_dims)


class ELMoNetwork(torch.nn.Module):
    """ELMo's network, with weights by name, or drawn from `seed` as the original draws them before training.

    That is: characters uniform in ±1; convolutions uniform in ±0.05 (relu) or normal with variance 1 / inputs (tanh); highways and
    projection normal with variance 1 / inputs; LSTMs uniform in ±sqrt(6 / (inputs + outputs)); biases 0, of the carry gates -2.
    """

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
        forward = self.token_vectors(self._bounded(characters, lengths)).transpose(0, 1)  # (tokens + 2, batch, p)
        ends = lengths + 2
        positions = torch.arange(len(forward), device=lengths.device)[:, None]  # (tokens + 2, 1)
        mirrored = torch.where(positions < ends, ends - 1 - positions, positions)  # (tokens + 2, batch), its own inverse
        rows = torch.arange(len(lengths), device=lengths.device)
        backward = forward[mirrored, rows]
        layers = [torch.cat([forward, forward], 2)]
        for layer in range(self.options.n_layers):
            forward = self._lstm(0, layer, forward, ends, memory)
            backward = self._lstm(1, layer, backward, ends, memory)
            layers.append(torch.cat([forward, backward[mirrored, rows]], 2))
        return [layer.transpose(0, 1) for layer in layers]  # (batch, tokens + 2, 2p)

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
        outputs, cells = [], []
        for gate in gates:
            i, j, f, o = torch.addmm(gate, h, of_state).chunk(4, 1)
            m = _clipped(torch.sigmoid(f) * m + torch.sigmoid(i) * torch.tanh(j), options.cell_clip)
            h = _clipped((torch.sigmoid(o) * torch.tanh(m)) @ projection, options.proj_clip)
            outputs.append(h)
            cells.append(m)
        out = torch.stack(outputs)  # (tokens, batch, p)
        if memory is not None:
            rows = torch.arange(batch, device=ends.device)
            last = out[ends - 1, rows].detach(), torch.stack(cells)[ends - 1, rows].detach()  # (batch, p), (batch, d)
            before = memory.get(name, last)
            memory[name] = torch.cat([last[0], before[0][batch:]]), torch.cat([last[1], before[1][batch:]])
        return out + x if options.use_skip_connections and layer > 0 else out


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
