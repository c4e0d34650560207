"""A checkpoint folder of `probing train` as a frozen encoder.

The folder holds `config.json` (the architecture's class and options), `model.safetensors` (the network's weights alone),
`tokenizer.json` (the vocabulary) and `manifest.json` (data hash, seed, scores, versions). The fingerprint covers the first three.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file

from probing.config import build
from probing.data.readers.files import decoded
from probing.encoders.base import check_device, name_in_tables
from probing.encoders.networks.architecture import Architecture, NetworkEncoder
from probing.encoders.networks.network import Readable
from probing.encoders.networks.vocabulary import TrainedVocabulary, Vocabulary
from probing.errors import ConfigError, EncoderError

CONFIG, WEIGHTS, VOCABULARY, MANIFEST = "config.json", "model.safetensors", "tokenizer.json", "manifest.json"


@dataclass(repr=False)
class CheckpointEncoder(NetworkEncoder):
    """A trained network, all its layers.

    Args:
        states: states of an LSTM that become layers, such as [hidden, cell]; None: those of the training.
        random_weights: draw the weights from `init_seed` instead of loading them.
        max_length: tokens kept of a sentence; None: all.
        label: name in tables; None: the folder's name.
    """

    path: str
    states: list[str] | None = None
    random_weights: bool = False
    init_seed: int = 0
    max_length: int | None = None
    device: str = "cpu"
    label: str | None = None

    def __post_init__(self) -> None:
        check_device(self.device)
        if self.max_length is not None and self.max_length < 3:
            raise EncoderError(f"encoder.max_length={self.max_length} leaves no room for a word (at least 3)")
        self.folder = Path(self.path).expanduser()
        self._hashes: dict[str, str] = {}

    @property
    def name(self) -> str:
        return name_in_tables(self, self.label or self.folder.name, ("states", "max_length"))

    @property
    def origin(self) -> str:
        return f"{'random weights, architecture and vocabulary of' if self.random_weights else 'the folder'} {self.folder}"

    @cached_property
    def architecture(self) -> Architecture:
        file = self.folder / CONFIG
        try:
            config = json.loads(self._text(CONFIG))
        except (ValueError, RecursionError) as error:
            raise EncoderError(f"{file} is not JSON: {error}") from None
        if not isinstance(config, dict):
            raise EncoderError(f"{file} must hold a JSON object")
        try:
            built = build(config, f"encoder of {file}")
        except (ConfigError, EncoderError) as error:
            raise EncoderError(f"{file} is not a checkpoint of this version: {error}") from None
        if not isinstance(built, Architecture):
            raise EncoderError(f"{file}: {config['_target_']} is not an architecture that probing train makes")
        if self.states is None:
            return built
        if "states" not in {field.name for field in fields(built)}:
            raise EncoderError(f"encoder.states={self.states}: only an LSTM has inner states, {self.folder} is a {built.KIND}")
        chosen: dict[str, Any] = {"states": self.states}  # an option of LSTM
        return replace(built, **chosen)

    @property
    def layer_names(self) -> tuple[str, ...]:
        return self.architecture.layer_names

    @property
    def dims(self) -> tuple[int, ...]:
        return self.architecture.dims

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return self.architecture.reader(TrainedVocabulary(self._text(VOCABULARY)))

    def _described(self) -> Mapping[str, Any]:
        if self.random_weights:
            return super()._described()
        return {"sha256": hashlib.sha256(self._bytes(WEIGHTS)).hexdigest()}

    def _weights(self) -> Mapping[str, Any] | None:
        if self.random_weights:
            return None
        try:
            return load(self._bytes(WEIGHTS))
        except SafetensorError as error:
            raise EncoderError(f"{self.folder / WEIGHTS} cannot be read: {error}; it is cut short or not safetensors") from None

    def random_twin(self, seed: int) -> CheckpointEncoder:
        return replace(self, random_weights=True, init_seed=seed)

    def _text(self, name: str) -> str:
        return decoded(self._bytes(name), self.folder / name, EncoderError)

    def _bytes(self, name: str) -> bytes:
        if not self.folder.is_dir():
            raise EncoderError(f"encoder.path={self.path!r}: no such folder")
        try:
            content = (self.folder / name).read_bytes()
        except FileNotFoundError:
            have = ", ".join(sorted(path.name for path in self.folder.iterdir())) or "nothing"
            raise EncoderError(
                f"encoder.path={self.path!r} holds no {name} (it holds {have}); a checkpoint of probing train has "
                f"{CONFIG}, {WEIGHTS} and {VOCABULARY}"
            ) from None
        digest = hashlib.sha256(content).hexdigest()
        if self._hashes.setdefault(name, digest) != digest:
            raise EncoderError(f"{self.folder / name} was replaced since it was read first: make the encoder again")
        return content


def save(folder: Path, architecture: Architecture, network: Readable, vocabulary: TrainedVocabulary) -> None:
    """Writes a checkpoint without its manifest, and the architecture's own format if it has one."""
    save_tensors(folder / WEIGHTS, network.state_dict())
    (folder / VOCABULARY).write_text(vocabulary.saved, encoding="utf-8")
    architecture.export(network, folder)
    (folder / CONFIG).write_text(json.dumps(preset_of(architecture), indent=1))


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Writes tensors of any device to a safetensors file."""
    save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, path, metadata)


def preset_of(made: Any) -> dict[str, Any]:
    """The preset from which `probing.config.build` makes the architecture or objective again."""
    target = f"{type(made).__module__}.{type(made).__qualname__}"
    return {"_target_": target} | {field.name: getattr(made, field.name) for field in fields(made) if field.init}
