"""Arrays in HDF5 files, the format of weights older than safetensors: TensorFlow's ELMo, Keras models.

A weight is named by its path in the file, such as "CNN/W_cnn_0". Needs h5py, the extra `elmo`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from probing.data.readers.files import require_file
from probing.errors import EncoderError, did_you_mean, first_line


def check_file(path: Path) -> None:
    """Raises EncoderError for a file that is missing or cannot be opened."""
    require_file(path, f"encoder.weights={str(path)!r}", "give the HDF5 file of the model's weights")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Every numeric array of the file as float32, by its path in the file.

    Raises:
        EncoderError: h5py is not installed, no such file, or a file that is cut short or not HDF5.
    """
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


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes the arrays as float32, over an existing file; the folder must exist.

    Raises:
        EncoderError: h5py is not installed.
    """
    with library().File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, dtype="float32")


def weight(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int | None, ...], path: Path) -> np.ndarray:
    """The array of that name, if its shape fits.

    Args:
        arrays: the result of `read_arrays(path)`.
        shape: the expected shape; None stands for any size.

    Raises:
        EncoderError: no such weight, or one of another shape.
    """
    if name not in arrays:
        raise EncoderError(f"{path} has no weight {name!r}{did_you_mean(name, arrays)}; it is of another model or version")
    actual = arrays[name].shape
    if len(actual) != len(shape) or any(size not in (None, n) for size, n in zip(shape, actual, strict=True)):
        expected = "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
        raise EncoderError(f"{path}: the weight {name!r} has the shape {actual}, the model's other files ask for {expected}")
    return arrays[name]


def library() -> Any:
    """h5py.

    Raises:
        EncoderError: it is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise EncoderError("weights in an HDF5 file need the extra: pip install 'probing[elmo]'") from None
    return h5py
