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

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from probing.encoders.base import Item, Named, States, check_device, name_in_tables, resolve_device
from probing.encoders.elmo.elmo_format import ELMoOptions, character_ids, check_file, read_options
from probing.encoders.elmo.elmo_network import ELMoNetwork, Memory, place_of
from probing.encoders.gradients import ChangeVectors, mode
from probing.encoders.interventions import Change, Place
from probing.encoders.pooling import TOKEN_POOLINGS
from probing.errors import EncoderError
from probing.files import file_sha256

VERSION = 1
"""Raise when the same weights and options would give other vectors."""


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
        with torch.inference_mode(False):  # a forward may ask first, and no gradient goes through weights made in that mode
            if self.random_weights:
                network = ELMoNetwork(self.sizes, seed=self.init_seed)
            else:
                network = ELMoNetwork.load(self.sizes, self._file)
                if file_sha256(self._file) != self.description["weights"]:
                    raise EncoderError(f"{self._file} was replaced since it was read first: make the encoder again")
            return network.eval().requires_grad_(False).to(resolve_device(self.device))

    def place_of(self, layer: int, state: str | None) -> Place:
        return place_of(self.layer_names, layer, state)

    @contextmanager
    def changed_by(self, change: Change) -> Iterator[None]:
        """Interventions on the network (`probing.encoders.interventions.intervened`)."""
        with self.network.changed_by(change):
            yield

    @contextmanager
    def lookup_changed_by(self, change: ChangeVectors) -> Iterator[None]:
        """Token vectors that go through `change` (`probing.encoders.gradients`)."""
        with self.network.lookup_changed_by(change):
            yield

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
        with mode():
            layers = self.network(characters, lengths, self._memory)
        mask = torch.arange(characters.shape[1], device=lengths.device) < lengths[:, None]
        return States([layer[:, 1:-1] for layer in layers], mask, self.network.backward_dims)
