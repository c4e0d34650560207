"""Vectors of the store as columns of Arrow: a data set in memory, or a parquet file that is written piece by piece."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probing.data.hub import library
from probing.data.task import Task
from probing.encoders.base import Encoder, fingerprint
from probing.encoders.pooling import POOLINGS
from probing.errors import ConfigError, did_you_mean, foreign
from probing.files import atomic, os_errors_as_store_error
from probing.types import Representation

if TYPE_CHECKING:
    import pyarrow

    from probing.store.vectors import Store

PIECE = 32_000_000
"""Bytes of vectors that are held at once while a file is written."""


@dataclass(frozen=True)
class Sentences:
    """Sentences in an order, repeated or not; of a task with the split and the class of each."""

    texts: tuple[str, ...]
    splits: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None

    @classmethod
    def of(cls, given: Task | Iterable[str]) -> Sentences:
        """The sentences of a task, train before dev before test, or those given; ConfigError for folds, or none at all."""
        if not isinstance(given, Task):
            if isinstance(given, str):
                raise ConfigError(f"give a list of sentences or a task, not one text ({given[:40]!r})")
            if not (texts := tuple(given)):
                raise ConfigError("there is no sentence to embed")
            return cls(texts)
        if given.folds:
            raise ConfigError(f"{given.name} is cross-validated, its splits overlap: give the task that its folds were made of")
        parts = given.splits.items()
        labels = tuple(given.classes[k] for _, split in parts for k in split.labels)
        return cls(
            tuple(text for _, split in parts for text in split.texts),
            tuple(name for name, split in parts for _ in split.texts),
            labels,
        )


def to_dataset(
    store: Store, encoder: Encoder, given: Task | Iterable[str], layers: Iterable[int] | None = None, pooling: str = "mean"
) -> Any:
    """A `datasets.Dataset` in memory: see `pieces`; raises ConfigError and what `Store.vectors` raises."""
    datasets = library()
    import pyarrow

    schema, made = pieces(store, encoder, Sentences.of(given), layers, pooling)
    return datasets.Dataset(pyarrow.Table.from_batches(made, schema))


def to_parquet(
    store: Store,
    encoder: Encoder,
    sentences: Sentences,
    path: Path,
    layers: Iterable[int] | None = None,
    pooling: str = "mean",
) -> None:
    """A parquet file of `pieces`, whole or absent; more vectors than memory are no matter."""
    from pyarrow.parquet import ParquetWriter

    schema, made = pieces(store, encoder, sentences, layers, pooling)
    with os_errors_as_store_error(path.parent), atomic(path) as temporary, ParquetWriter(temporary, schema) as writer:
        for piece in made:
            writer.write_batch(piece)


def pieces(
    store: Store, encoder: Encoder, sentences: Sentences, layers: Iterable[int] | None, pooling: str
) -> tuple[pyarrow.Schema, Iterator[pyarrow.RecordBatch]]:
    """Schema and rows: `sentence`, of a task `split` and `label`, and `layer_K`, dims[K] float32, for each layer K (None: all).

    Vectors that are not in the store are computed first. The schema's metadata names encoder, fingerprint, pooling and layers, as
    JSON under the key `probing`.

    Raises:
        ConfigError: a layer or pooling that the encoder has not.
        ProbingError: see `Store.vectors`.
    """
    import pyarrow

    with foreign(f"{encoder.name}: its layers"):
        store.recall(encoder)
        dims, names, poolings = tuple(encoder.dims), tuple(encoder.layer_names), tuple(encoder.poolings)
    chosen = tuple(range(len(dims))) if layers is None else tuple(dict.fromkeys(layers))
    for layer in chosen:
        if not isinstance(layer, int) or not 0 <= layer < len(dims):
            raise ConfigError(f"layer={layer}: {encoder.name} has the layers 0 (embeddings) to {len(dims) - 1}")
    if pooling not in poolings:
        allowed = [name for name in POOLINGS if name in poolings]
        raise ConfigError(f"pooling={pooling}{did_you_mean(pooling, allowed)}: {encoder.name} allows {', '.join(allowed)}")
    about: dict[str, Any] = {"encoder": encoder.name, "fingerprint": fingerprint(encoder), "pooling": pooling}
    about["layers"] = {f"layer_{k}": names[k] if k < len(names) else "" for k in chosen}
    fields = [(name, pyarrow.string()) for name in ("sentence", "split", "label")[: 3 if sentences.splits else 1]]
    fields += [(f"layer_{k}", pyarrow.list_(pyarrow.float32(), dims[k])) for k in chosen]
    schema = pyarrow.schema(fields, metadata={"probing": json.dumps(about, ensure_ascii=False)})
    vectors = store.vectors(encoder, sentences.texts, [pooling])
    step = max(1, PIECE // (4 * sum(dims[k] for k in chosen)))

    def made() -> Iterator[pyarrow.RecordBatch]:
        for start in range(0, len(sentences.texts), step):
            part = slice(start, start + step)
            rows = vectors.rows(sentences.texts[part])
            text = [column[part] for column in (sentences.texts, sentences.splits, sentences.labels) if column is not None]
            read = (rows.get(Representation(k, pooling)) for k in chosen)
            yield pyarrow.record_batch([*map(pyarrow.array, text), *map(_lists, read)], schema=schema)

    return schema, made()


def _lists(x: np.ndarray) -> Any:
    """Vectors (n, d) as a column of n lists of d numbers."""
    import pyarrow

    return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(x.ravel()), x.shape[1])


def layers_of(text: str) -> Sequence[int] | None:
    """The layers that a command names: `all` is None.

    Raises:
        ConfigError: neither `all` nor whole numbers.

    >>> layers_of("0,6,12")
    [0, 6, 12]
    """
    if text == "all":
        return None
    if not all(part.strip().isdigit() for part in text.split(",")):
        raise ConfigError(f"--layers {text}: give all, or whole numbers such as 0,6,12")
    return [int(part) for part in text.split(",")]
