"""textgenrnn, a pretrained character LSTM language model, from its Keras weights, as a frozen encoder.

A token is a character c. It is read in a window that ends with it: the `window` - 1 characters before it, preceded at the beginning
of a sentence by the start mark `<s>` and id 0. With sigma the logistic function,

    x_t = E[c_t]                                   i, f, g, o = W x_t + U h_{t-1} + b
    m_t = sigma(f) m_{t-1} + sigma(i) tanh(g)      h_t = sigma(o) tanh(m_t)

for each LSTM on the one below; "attention" is sum_t a_t v_t over the window, where v_t is [embedding, LSTM 1, LSTM 2] and
a = softmax(v w). The model predicts the next character from this vector, and its author uses it as the vector of a text.

The model was trained on windows, one for each character, and predicts badly from whole sentences. An unknown character has id 0.
The layout of the weights: a bias of length 8 * units means Keras' CuDNNLSTM, whose input blocks are stored (units, inputs) row by
row, recurrent blocks transposed, and biases in two halves to be added; 4 * units means Keras' LSTM. In either, sigma is the
logistic function and not the "hard sigmoid" that is Keras 2's default for LSTM.

Reference: Max Woolf, textgenrnn, github.com/minimaxir/textgenrnn (MIT). Not supported: word-level and bidirectional models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from probing.data.readers.files import read_json
from probing.encoders.base import Item, Named, States, check_device, name_in_tables, resolve_device, words_of_spans
from probing.encoders.elmo.elmo_format import read_arrays, weight
from probing.encoders.gradients import keeps_graph, mode
from probing.encoders.networks.recurrent import STATES
from probing.encoders.pooling import TOKEN_POOLINGS
from probing.errors import EncoderError
from probing.files import file_sha256

VERSION = 1
"""Raise when the same weights and options would give other vectors."""

START = "<s>"
WINDOWS_AT_ONCE = 1024


@dataclass(repr=False)
class TextgenrnnEncoder(Named):
    """Options of the encoder; nothing is loaded before it is needed.

    Args:
        weights: textgenrnn_weights.hdf5.
        vocab: textgenrnn_vocab.json, the id of every character.
        window: characters of a window; 40 as in training.
        max_length: characters kept of a sentence; None: all.
        random_weights: draw the weights from `init_seed` as Keras does before training, in the sizes of the file: embeddings and
            attention uniform in ±0.05, input weights uniform in ±sqrt(6 / (inputs + 4 units)), recurrent ones orthogonal,
            biases 0, of the forget gates 1.
        device: cpu, cuda, or auto.
        states: of each LSTM, those that become layers: of `recurrent.STATES`, hidden (h) among them; all at the window's end.
        label: name in tables, to which options that change vectors are added; None: textgenrnn.
    """

    weights: str
    vocab: str
    window: int = 40
    max_length: int | None = None
    random_weights: bool = False
    init_seed: int = 0
    device: str = "cpu"
    label: str | None = None
    states: list[str] = field(default_factory=lambda: ["hidden"])

    poolings = TOKEN_POOLINGS

    def __post_init__(self) -> None:
        check_device(self.device)
        for option in ("window", "max_length"):
            if getattr(self, option) is not None and getattr(self, option) < 1:
                raise EncoderError(f"encoder.{option}={getattr(self, option)} leaves no room for a character (at least 1)")
        if "hidden" not in self.states or not set(self.states) <= set(STATES) or len(set(self.states)) < len(self.states):
            raise EncoderError(f"encoder.states={self.states} must name hidden and any others of {', '.join(STATES)}, each once")
        self._weights, self._vocab = (Path(given).expanduser() for given in (self.weights, self.vocab))
        shown = {"states": "+".join(self.states)} if len(self.states) > 1 else {}
        self.name = name_in_tables(self, self.label or "textgenrnn", ("window", "max_length"), shown)

    def random_twin(self, seed: int) -> TextgenrnnEncoder:
        return replace(self, random_weights=True, init_seed=seed)

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of every character that the model knows."""
        where = f"encoder.vocab={self.vocab!r}"
        ids = read_json(self._vocab, where, "give the model's vocabulary, textgenrnn_vocab.json")
        numbers = list(ids.values()) if isinstance(ids, dict) else []
        if any(type(n) is not int for n in numbers) or set(numbers) != set(range(1, len(numbers) + 1)) or not numbers:
            raise EncoderError(f"{where} must map characters to the ids 1, 2, 3, …, each once")
        if START not in ids or any(len(character) != 1 for character in ids if character != START):
            raise EncoderError(f"{where} must hold single characters and {START!r}; word-level models are not supported")
        return ids

    @property
    def dims(self) -> tuple[int, ...]:
        first, *units = self._arrays["embedding"].shape[1], *(self._arrays[f"recurrent {k}"].shape[1] for k in self._lstms)
        return (first, *(u for u in units for _ in self.states), first + sum(units))

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("embeddings", *(self._named(k, state) for k in self._lstms for state in self.states), "attention")

    @staticmethod
    def _named(k: int, state: str) -> str:
        return f"LSTM {k}" if state == "hidden" else f"LSTM {k} {state}"

    @property
    def origin(self) -> str:
        return f"random weights, sizes of {self.weights}" if self.random_weights else f"the file {self.weights}"

    @cached_property
    def description(self) -> Mapping[str, Any]:
        description: dict[str, Any] = {
            "kind": "textgenrnn",
            "version": VERSION,
            "dims": self.dims,
            "vocab": file_sha256(self._vocab),
            "window": self.window,
            "max_length": self.max_length,
        }
        if len(self.states) > 1:
            description["states"] = list(self.states)
        if self.random_weights:
            return description | {"random_weights": {"seed": self.init_seed, "torch": torch.__version__}}
        return description | {"weights": file_sha256(self._weights)}

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        """embedding (ids, e); for LSTM k with u units: input k (4u, inputs), recurrent k (4u, u), bias k (4u,); attention."""
        path = self._weights
        stored = read_arrays(path)
        arrays = {"embedding": weight(stored, "embedding/embedding/embeddings:0", (len(self.ids) + 1, None), path)}
        inputs = joined = arrays["embedding"].shape[1]
        k = 1
        while k == 1 or f"rnn_{k}/rnn_{k}/kernel:0" in stored:
            arrays |= _lstm_weights(stored, k, inputs, path)
            inputs = arrays[f"recurrent {k}"].shape[1]
            joined, k = joined + inputs, k + 1
        arrays["attention"] = weight(stored, "attention/attention/attention_W:0", (joined, 1), path)
        if "output/output/kernel:0" in stored:  # the softmax over characters, which no state depends on
            arrays["output"] = weight(stored, "output/output/kernel:0", (joined, len(self.ids) + 1), path)
            arrays["output bias"] = weight(stored, "output/output/bias:0", (len(self.ids) + 1,), path)
        return arrays

    @property
    def _lstms(self) -> range:
        return range(1, 1 + sum(name.startswith("bias") for name in self._arrays))

    @property
    def softmax(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights (width, ids) and bias (ids,) with which the model predicts the next character; EncoderError without them."""
        if "output" not in self._arrays:
            raise EncoderError(f"{self.weights} holds no output layer, so no character can be predicted")
        names, device = ("output", "output bias"), self._network[0].device
        if not self.random_weights:
            weights, bias = (torch.tensor(self._arrays[name]).to(device) for name in names)
            return weights, bias
        generator = torch.Generator().manual_seed(self.init_seed)
        return _drawn("input", self._arrays["output"].shape, generator).to(device), torch.zeros(len(self.ids) + 1, device=device)

    @property
    def at_start(self) -> torch.Tensor:
        """The last layer's state of the window that holds the start mark alone: (1, width)."""
        window = torch.tensor([[0] * (self.window - 1) + [self.ids[START]]], device=self._network[0].device)
        with torch.inference_mode():
            return self._read(window)[-1]

    @cached_property
    def _network(self) -> tuple[torch.Tensor, list[torch.nn.LSTM], torch.Tensor]:
        device = resolve_device(self.device)
        if self.random_weights:
            generator = torch.Generator().manual_seed(self.init_seed)
            weights = {name: _drawn(name, array.shape, generator) for name, array in self._arrays.items()}
        else:
            weights = {name: torch.tensor(array) for name, array in self._arrays.items()}
            if file_sha256(self._weights) != self.description["weights"]:
                raise EncoderError(f"{self.weights} was replaced since it was read first: make the encoder again")
        lstms = []
        for k in self._lstms:
            of_input, of_state, bias = (weights[f"{part} {k}"] for part in ("input", "recurrent", "bias"))
            lstm = torch.nn.LSTM(of_input.shape[1], of_state.shape[1], device="meta")  # draws nothing
            values = {"weight_ih_l0": of_input, "weight_hh_l0": of_state, "bias_ih_l0": bias, "bias_hh_l0": torch.zeros_like(bias)}
            lstm.load_state_dict(values, assign=True)
            lstms.append(lstm.requires_grad_(False).to(device))
        return weights["embedding"].to(device), lstms, weights["attention"].to(device)

    def release(self) -> None:
        self.__dict__.pop("_network", None)
        self.__dict__.pop("_arrays", None)

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Item], int]:
        """The ids of each sentence's characters, blanks included."""
        items: list[Item] = [[self.ids.get(character, 0) for character in text[: self.max_length]] for text in texts]
        return items, sum(len(item) < len(text) for item, text in zip(items, texts, strict=True))

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        """The word that a character lies in; a blank belongs to the word after it."""
        return [words_of_spans(text, [(k, k + 1) for k in range(len(text[: self.max_length]))]) for text in texts]

    def forward(self, items: Sequence[Item]) -> States:
        before = [0] * (self.window - 1) + [self.ids[START]]
        padded = [torch.tensor([*before, *item]) for item in items]
        windows = torch.cat([ids.unfold(0, self.window, 1)[1:] for ids in padded])  # (characters, window)
        with mode(), torch.backends.cudnn.flags(enabled=not keeps_graph(), allow_tf32=False):
            parts = [self._read(part) for part in windows.to(self._network[0].device).split(WINDOWS_AT_ONCE)]
        layers = [torch.cat(part) for part in zip(*parts, strict=True)]  # (characters, dims[l]) each
        lengths = torch.tensor([len(item) for item in items])
        mask = (torch.arange(int(lengths.max())) < lengths[:, None]).to(layers[0].device)  # (batch, tokens)
        return States([torch.nn.utils.rnn.pad_sequence(layer.split(lengths.tolist()), True) for layer in layers], mask)

    def _read(self, windows: torch.Tensor) -> list[torch.Tensor]:
        """The state of every layer after each window (n, window): (n, dims[l]) each."""
        embedding, lstms, attention = self._network
        states, ends = [embedding[windows.T]], []  # (window, n, e)
        for lstm in lstms:
            below = states[-1]
            hidden, (_, cell) = lstm(below)  # (window, n, u); (1, n, u)
            states.append(hidden)
            named = {"hidden": hidden[-1]} if len(self.states) == 1 else _at_end(lstm, below, hidden, cell[0])
            ends += [named[state] for state in self.states]
        joined = torch.cat(states, 2)  # (window, n, e + all u)
        shares = torch.softmax(joined @ attention, 0)  # (window, n, 1)
        return [states[0][-1], *ends, (shares * joined).sum(0)]


def _at_end(lstm: torch.nn.LSTM, x: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor) -> dict[str, torch.Tensor]:
    """All of `STATES` at the last place of the windows, (n, u) each, from input and hidden states (window, n, …)."""
    before = hidden[-2] if len(hidden) > 1 else torch.zeros_like(hidden[-1])
    [[of_x, of_state, bias_x, bias_state]] = lstm.all_weights
    i, f, g, o = (x[-1] @ of_x.T + bias_x + before @ of_state.T + bias_state).chunk(4, -1)
    gates = {"input": i.sigmoid(), "forget": f.sigmoid(), "output": o.sigmoid(), "candidate": g.tanh()}
    return {"hidden": hidden[-1], "cell": cell, **gates}


def _lstm_weights(arrays: Mapping[str, np.ndarray], k: int, inputs: int, path: Path) -> dict[str, np.ndarray]:
    """Weights of one Keras LSTM or CuDNNLSTM as `torch.nn.LSTM` reads them; the gates' order is the same."""
    name = f"rnn_{k}/rnn_{k}"
    units = weight(arrays, f"{name}/recurrent_kernel:0", (None, None), path).shape[0]
    recurrent = weight(arrays, f"{name}/recurrent_kernel:0", (units, 4 * units), path)
    kernel = weight(arrays, f"{name}/kernel:0", (inputs, 4 * units), path)
    bias = weight(arrays, f"{name}/bias:0", (None,), path)
    if len(bias) == 8 * units:
        of_input = np.concatenate([gate.reshape(units, inputs) for gate in np.split(kernel, 4, axis=1)])  # (4 units, inputs)
        of_state = np.concatenate(np.split(recurrent, 4, axis=1))  # (4 units, units)
        bias = bias.reshape(2, 4 * units).sum(0)
    else:
        of_input, of_state, bias = kernel.T, recurrent.T, weight(arrays, f"{name}/bias:0", (4 * units,), path)
    return {f"input {k}": of_input, f"recurrent {k}": of_state, f"bias {k}": bias}


def _drawn(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    if name.startswith("bias"):
        return (torch.arange(shape[0]) * 4 // shape[0] == 1).float()  # the forget gates are the second quarter
    if name.startswith("recurrent"):
        return torch.nn.init.orthogonal_(torch.empty(shape), generator=generator)
    bound = math.sqrt(6 / sum(shape)) if name.startswith("input") else 0.05
    return (2 * torch.rand(shape, generator=generator) - 1) * bound
