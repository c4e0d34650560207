"""HDF5 files of weights, and the file format of the original ELMo (bilm-tf, AllenNLP): character ids, options, weights.

Reading HDF5 needs h5py, the extra `elmo`. A model is two files. options.json holds the sizes (`ELMoOptions`), the HDF5 file the
weights (`shapes`): with e the width of a character, F the number of filters, p the projection and d the cells of an LSTM,

    char_embed (261, e) · CNN/W_cnn_k (1, width, e, filters) · CNN_high_k/W_carry, W_transform (F, F) · CNN_proj/W_proj (F, p)
    RNN_{0 forward, 1 backward}/RNN/MultiRNNCell/Cell_k/LSTMCell/W_0 (2p, 4d), W_P_0 (d, p)

and a bias each, called b_… or B. Not supported: word-level models, models without projections, and the softmax.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from probing.data.readers.files import read_json, require_file
from probing.errors import EncoderError, did_you_mean, first_line

N_CHARACTERS = 261
"""Rows of char_embed: 256 bytes, begin and end of a sentence, begin and end of a word, and the padding of a word."""

BEGIN, END = "<S>", "</S>"


@lru_cache(maxsize=2**17)
def character_ids(word: str, width: int) -> tuple[int, ...]:
    """`width` ids of a word, `BEGIN` or `END`: its UTF-8 bytes, at most `width` - 2, between two marks, padded; 0: padding tokens.

    >>> character_ids("é!", 8)
    (259, 196, 170, 34, 260, 261, 261, 261)
    """
    content = {BEGIN: [256], END: [257]}.get(word) or list(word.encode("utf-8", "ignore")[: width - 2])
    return tuple(i + 1 for i in [258, *content, 259] + [260] * (width - 2 - len(content)))


@dataclass(frozen=True)
class ELMoOptions:
    """Sizes of an ELMo model, as options.json has them (`_KEYS`).

    Args:
        filters: (width in characters, number) of each convolution.
        dim, projection_dim: cells of each LSTM, and width of a token vector and of its output in one direction.
        activation: relu or tanh, after the maximum over a word's characters.
        cell_clip, proj_clip: bounds of the absolute values of cells and outputs; None: no bound.
        use_skip_connections: whether an LSTM from the second on adds its input to its output.
    """

    embedding_dim: int
    filters: tuple[tuple[int, int], ...]
    dim: int
    projection_dim: int
    n_layers: int = 2
    n_highway: int = 2
    activation: str = "relu"
    max_characters: int = 50
    cell_clip: float | None = 3
    proj_clip: float | None = 3
    use_skip_connections: bool = True


def shapes(options: ELMoOptions) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight.

    >>> shapes(ELMoOptions(4, ((1, 8), (3, 16)), dim=32, projection_dim=10, n_layers=1, n_highway=0))["CNN/W_cnn_1"]
    (1, 3, 4, 16)
    """
    e, p, d = options.embedding_dim, options.projection_dim, options.dim
    n_filters = sum(number for _, number in options.filters)
    named: dict[str, tuple[int, ...]] = {"char_embed": (N_CHARACTERS, e)}
    for k, (width, number) in enumerate(options.filters):
        named |= {f"CNN/W_cnn_{k}": (1, width, e, number), f"CNN/b_cnn_{k}": (number,)}
    for k in range(options.n_highway):
        for gate in ("carry", "transform"):
            named |= {f"CNN_high_{k}/W_{gate}": (n_filters, n_filters), f"CNN_high_{k}/b_{gate}": (n_filters,)}
    named |= {"CNN_proj/W_proj": (n_filters, p), "CNN_proj/b_proj": (p,)}
    for direction in (0, 1):
        for layer in range(options.n_layers):
            cell = lstm_name(direction, layer)
            named |= {f"{cell}/W_0": (2 * p, 4 * d), f"{cell}/B": (4 * d,), f"{cell}/W_P_0": (d, p)}
    return named


def lstm_name(direction: int, layer: int) -> str:
    """The path of an LSTM's weights in the file; direction 0 reads forward, 1 backward."""
    return f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"


def read_options(path: Path) -> ELMoOptions:
    """Reads options.json; raises EncoderError where it is missing, not JSON, lacks a key, or holds a value that is not allowed."""
    where = f"encoder.options={str(path)!r}"
    given = read_json(path, where, "give the options.json that belongs to the weights")
    values = {key: _value(given, key) for key in _KEYS}
    if missing := [key for key, value in values.items() if value is _MISSING]:
        raise EncoderError(f"{where} lacks {', '.join(missing)}; give the options.json that belongs to the weights")
    for key, (_, fits, allowed) in _KEYS.items():
        if not fits(values[key]):
            raise EncoderError(f"{where}: {key}={json.dumps(values[key])} cannot be used (allowed: {allowed})")
    given = {field: values[key] for key, (field, *_) in _KEYS.items() if field}
    options = ELMoOptions(**given | {"filters": tuple(map(tuple, given["filters"]))})
    widest = max(width for width, _ in options.filters)
    if widest > options.max_characters:
        raise EncoderError(
            f"{where}: char_cnn.filters has a filter of {widest} characters, wider than a word "
            f"(char_cnn.max_characters_per_token={options.max_characters})"
        )
    return options


def read_weights(path: Path, options: ELMoOptions) -> dict[str, np.ndarray]:
    """The weights by name, float32; raises EncoderError for those of `read_arrays` and `weight`."""
    arrays = read_arrays(path)
    return {name: weight(arrays, name, shape, path) for name, shape in shapes(options).items()}


def write_elmo(folder: Path, options: ELMoOptions, arrays: Mapping[str, np.ndarray]) -> tuple[Path, Path]:
    """Writes options.json and weights.hdf5, with an array for every name of `shapes(options)`, and returns their paths."""
    content: dict[str, Any] = {"char_cnn": {"n_characters": N_CHARACTERS + 1}, "lstm": {}}
    for key, (field, *_) in _KEYS.items():
        if field:
            *parents, last = key.split(".")
            node = content
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = getattr(options, field)
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / "options.json", folder / "weights.hdf5"
    written[0].write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    with library().File(written[1], "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, dtype="float32")
    return written


def check_file(path: Path) -> None:
    """Raises EncoderError for a file that is missing or cannot be opened."""
    require_file(path, f"encoder.weights={str(path)!r}", "give the HDF5 file of the model's weights")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Every numeric array as float32, by its path in the file; raises EncoderError if it cannot be read, or without h5py."""
    h5py = library()
    check_file(path)
    arrays: dict[str, np.ndarray] = {}

    def keep(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and node.dtype.kind in "fiu":
            with np.errstate(over="ignore", invalid="ignore"):
                arrays[name] = np.asarray(node, np.float32)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(keep)
    except Exception as error:  # h5py raises OSError, RuntimeError, ValueError and more
        why = first_line(error) or type(error).__name__
        raise EncoderError(f"encoder.weights={str(path)!r} is cut short or no HDF5 file ({why}); fetch it again") from None
    return arrays


def weight(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int | None, ...], path: Path) -> np.ndarray:
    """The array of that name; raises EncoderError if there is none, or it is of another shape, in which None is any size."""
    if name not in arrays:
        raise EncoderError(f"{path} has no weight {name!r}{did_you_mean(name, arrays)}; it is of another model or version")
    actual = arrays[name].shape
    if len(actual) != len(shape) or any(size not in (None, n) for size, n in zip(shape, actual, strict=True)):
        expected = "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
        raise EncoderError(f"{path}: the weight {name!r} has the shape {actual}, the model's other files ask for {expected}")
    return arrays[name]


def library() -> Any:
    """h5py; raises EncoderError where it is not installed."""
    try:
        import h5py
    except ImportError:
        raise EncoderError("weights in an HDF5 file need the extra: pip install 'probing-bench[elmo]'") from None
    return h5py


_MISSING = object()


def _value(given: Any, key: str) -> Any:
    for part in key.split("."):
        given = given.get(part, _MISSING) if isinstance(given, dict) else _MISSING
    return given


def _is_whole(value: Any, smallest: int = 1) -> bool:
    return type(value) is int and value >= smallest


def _is_filters(value: Any) -> bool:
    pairs = value if isinstance(value, list) else []
    return bool(pairs) and all(isinstance(pair, list) and len(pair) == 2 and all(map(_is_whole, pair)) for pair in pairs)


_WHOLE = (_is_whole, "a whole number from 1")
_CLIP = (lambda value: value is None or (type(value) in (int, float) and value > 0), "a number above 0, or null for none")

_KEYS: dict[str, tuple[str | None, Callable[[Any], bool], str]] = {
    "char_cnn.activation": ("activation", lambda value: value in ("relu", "tanh"), "relu, tanh"),
    "char_cnn.embedding.dim": ("embedding_dim", *_WHOLE),
    "char_cnn.filters": ("filters", _is_filters, "a list of [width, number]"),
    "char_cnn.max_characters_per_token": ("max_characters", lambda value: _is_whole(value, 3), "a whole number from 3"),
    "char_cnn.n_characters": (None, lambda value: value in (261, 262), "262, or 261 in the options of training"),
    "char_cnn.n_highway": ("n_highway", lambda value: _is_whole(value, 0), "a whole number from 0"),
    "lstm.cell_clip": ("cell_clip", *_CLIP),
    "lstm.dim": ("dim", *_WHOLE),
    "lstm.n_layers": ("n_layers", *_WHOLE),
    "lstm.proj_clip": ("proj_clip", *_CLIP),
    "lstm.projection_dim": ("projection_dim", *_WHOLE),
    "lstm.use_skip_connections": ("use_skip_connections", lambda value: type(value) is bool, "true, false"),
}
"""For each key of options.json: the field of `ELMoOptions` that it sets, a test of its value, and the allowed values in words."""
