"""Sentence vectors computed elsewhere, from one .npz or .safetensors file; looked up by sentence, exactly as tasks have it.

Two forms. *By layer*: one array (n, d) of floats per layer, and the n sentences: in an npz the array `sentences` (dtype str), in
safetensors the JSON list under the key `sentences` of the file's metadata. *By sentence*: every key is a sentence and its value
an array (d,), or (layers, d).

The order of layers is that of the npz file. safetensors keeps no order: a JSON list under the metadata key `layers` gives it, else
layers are sorted by name, numbers in names by value. Layer 0 should be the embedding output; this is not checked.

Pickled arrays are refused. The fingerprint is the file's sha256. Not supported: states of tokens, and one file per layer.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from probing.data.readers.files import require_file
from probing.encoders.base import Item, Named, States
from probing.errors import EncoderError, StatesError, first_line
from probing.files import file_sha256

VERSION = 1
"""Raise when the same file would give other vectors."""

_FLOATS = {"float16", "float32", "float64", "F16", "F32", "F64", "BF16"}
"""Types of numpy and of safetensors."""


@dataclass(repr=False)
class VectorsEncoder(Named):
    """Options of the encoder: the file's path, .npz or .safetensors, and a name in tables other than the file's."""

    path: str
    label: str | None = None

    poolings = ("sentence",)

    def __post_init__(self) -> None:
        self.file = Path(self.path).expanduser()
        if self.file.suffix not in _READERS:
            raise EncoderError(f"encoder.path={self.path}: {self.file.suffix or 'no suffix'} (allowed: {', '.join(_READERS)})")
        require_file(self.file, f"encoder.path={self.path}")
        self.name = self.label or self.file.name

    @property
    def origin(self) -> str:
        return f"the file {self.file}"

    @cached_property
    def description(self) -> Mapping[str, Any]:
        return {"kind": "vectors", "version": VERSION, "sha256": file_sha256(self.file)}

    @cached_property
    def layer_names(self) -> tuple[str, ...]:
        return self._table.layer_names

    @cached_property
    def dims(self) -> tuple[int, ...]:
        return self._table.dims

    @property
    def samples(self) -> list[str]:
        """Sentences of the file, for `probing check`."""
        return list(self._table.rows)[:4]

    @cached_property
    def _table(self) -> Table:
        try:
            return _READERS[self.file.suffix](self.file)
        except _DAMAGED as error:
            raise EncoderError(f"{self.file}: damaged or cut short: {first_line(error) or type(error).__name__}") from None

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Item], int]:
        """An item is the row of the sentence; raises EncoderError if the file lacks one."""
        rows = self._table.rows
        missing = [text for text in texts if text not in rows]
        if missing:
            raise EncoderError(
                f"{self.file}: no vector for {len(missing)} of {len(texts)} sentences, the first: {missing[0]!r}\n"
                "(a sentence must stand there exactly as in the task's file)"
            )
        return [(rows[text],) for text in texts], 0

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        return [[None] for _ in texts]

    def forward(self, items: Sequence[Item]) -> States:
        """The vectors, as layers (batch, 1, d); raises StatesError for one that is not finite."""
        rows = [item[0] for item in items]
        try:
            layers = self._table.read(rows)
        except _DAMAGED as error:
            raise EncoderError(f"{self.file}: damaged or cut short: {first_line(error) or type(error).__name__}") from None
        for name, layer in zip(self.layer_names, layers, strict=True):
            bad = np.flatnonzero(~np.isfinite(layer).all(1))
            if len(bad):
                sentence = next(text for text, row in self._table.rows.items() if row == rows[bad[0]])
                raise StatesError(f"{self.file}: {name!r} is not finite (NaN or infinite) for {sentence!r}")
        return States([torch.from_numpy(layer)[:, None] for layer in layers], torch.ones(len(items), 1, dtype=torch.bool))

    def release(self) -> None:
        self.__dict__.pop("_table", None)

    def random_twin(self, seed: int) -> None:
        return None


@dataclass(frozen=True)
class Table:
    """An open file: the row of each sentence, and `read(rows)`, which gives (len(rows), d), float32, for each layer."""

    rows: Mapping[str, int]
    layer_names: tuple[str, ...]
    dims: tuple[int, ...]
    read: Callable[[Sequence[int]], list[np.ndarray]]


@dataclass(frozen=True)
class Entry:
    """One array of a file: `take(rows)` reads these rows as float32, `take(None)` the whole array."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    take: Callable[[Sequence[int] | None], np.ndarray]

    @property
    def is_float(self) -> bool:
        return self.dtype in _FLOATS

    def __str__(self) -> str:
        return f"{self.name!r} is {self.dtype} {self.shape}"


def _by_layer(path: Path, sentences: Sequence[str], entries: Sequence[Entry]) -> Table:
    n = len(sentences)
    if not entries or not n:
        raise EncoderError(f"{path}: {n} sentences and {len(entries)} layers; expected some, and an array (n, d) per layer")
    for entry in entries:
        if len(entry.shape) != 2 or entry.shape[0] != n or not entry.is_float:
            raise EncoderError(f"{path}: {entry}, expected floats (n, d) for n = {n} sentences")

    def read(rows: Sequence[int]) -> list[np.ndarray]:
        return [entry.take(rows) for entry in entries]

    rows = _first_rows(path, sentences, read)
    return Table(rows, tuple(entry.name for entry in entries), tuple(entry.shape[1] for entry in entries), read)


def _by_sentence(path: Path, entries: Sequence[Entry]) -> Table:
    if not entries:
        raise EncoderError(f"{path}: it is empty")
    shape = entries[0].shape
    names = tuple(f"layer {k}" for k in range(shape[0])) if len(shape) == 2 else ("vectors",)

    def read(rows: Sequence[int]) -> list[np.ndarray]:
        for entry in (entries[row] for row in rows):
            if entry.shape != shape or len(shape) not in (1, 2) or not entry.is_float:
                raise EncoderError(f"{path}: {entry}, expected floats (d,) or (layers, d), the same for all; the first is {shape}")
        stacked = np.stack([entries[row].take(None).reshape(len(names), shape[-1]) for row in rows])  # (batch, layers, d)
        return list(stacked.swapaxes(0, 1))

    read([0])  # refuses a file of another form at once
    return Table(_first_rows(path, [entry.name for entry in entries], read), names, shape[-1:] * len(names), read)


def _first_rows(path: Path, sentences: Sequence[str], read: Callable[[Sequence[int]], list[np.ndarray]]) -> dict[str, int]:
    """The first row of each sentence; a repeated sentence must have the same vectors."""
    first: dict[str, int] = {}
    for i, sentence in enumerate(sentences):
        j = first.setdefault(sentence, i)
        if j != i and any((one != other).any() for one, other in read([i, j])):
            raise EncoderError(f"{path}: {sentence!r} is there twice, with different vectors")
    return first


def _read_npz(path: Path) -> Table:
    archive = zipfile.ZipFile(path)
    entries = [_npz_entry(archive, info) for info in archive.infolist()]
    listed = next((entry for entry in entries if entry.name == "sentences"), None)
    if listed is None or listed.is_float:
        return _by_sentence(path, entries)
    if not listed.dtype.startswith("str"):
        raise EncoderError(f"{path}: `sentences` is {listed.dtype}, expected text: save it as np.array(sentences, dtype=str)")
    with archive.open("sentences.npy") as file:
        sentences = np.lib.format.read_array(file, allow_pickle=False)
    return _by_layer(path, sentences.ravel().tolist(), [entry for entry in entries if entry is not listed])


def _npz_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)

    def whole() -> np.ndarray:
        with archive.open(info) as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    kept = cache(whole)  # the rows of a layer are read batch by batch

    def take(rows: Sequence[int] | None) -> np.ndarray:
        array = whole() if rows is None else kept()[list(rows)]
        with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, and is refused where it is used
            return array.astype(np.float32)

    return Entry(info.filename.removesuffix(".npy"), shape, dtype.name, take)


def _read_safetensors(path: Path) -> Table:
    file = safe_open(path, framework="pt")  # as tensors of torch, since numpy has no bfloat16; they are memory maps
    metadata = file.metadata() or {}
    entries = {name: _safetensors_entry(file, name) for name in file.keys()}
    if "sentences" not in metadata:
        return _by_sentence(path, list(entries.values()))

    def by_number(name: str) -> list[Any]:
        return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]

    order = _names(path, metadata, "layers") if "layers" in metadata else sorted(entries, key=by_number)
    if sorted(order) != sorted(entries):
        raise EncoderError(f"{path}: the metadata `layers` names {order}, the file has {sorted(entries)}")
    return _by_layer(path, _names(path, metadata, "sentences"), [entries[name] for name in order])


def _safetensors_entry(file: Any, name: str) -> Entry:
    header = file.get_slice(name)

    def take(rows: Sequence[int] | None) -> np.ndarray:
        tensor = file.get_tensor(name)
        return (tensor if rows is None else tensor[list(rows)]).float().numpy()

    return Entry(name, tuple(header.get_shape()), header.get_dtype(), take)


def _names(path: Path, metadata: Mapping[str, str], key: str) -> list[str]:
    try:
        names = json.loads(metadata[key])
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise EncoderError(f"{path}: the metadata `{key}` is not a JSON list of strings")
    return names


_READERS = {".npz": _read_npz, ".safetensors": _read_safetensors}
_DAMAGED = (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error, SafetensorError)
