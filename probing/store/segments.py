"""Segments and shards: the files of the representation store, each whole or absent, each with its hash.

A segment is a planned list of sentences, `sentences.json`; its folder is the hash of that file's bytes. Row r lies in shard r //
shard_rows. A shard is one safetensors file, finished when its receipt lies beside it: its sha256, its rows, the error of float16,
versions and processor that made it (`probing.provenance`), and the rows that the encoder failed on. Receipts, and other small JSON
files, are sealed: they begin with the hash of the rest of their bytes. Layout: `probing.store.vectors`.

float16 has an offset and a scale for each feature, so that a mean that is large beside the spread costs no digits:

    x ≈ offset + scale · code,   offset = the feature's mean, scale = its standard deviation (0: decoded exactly), code in float16

Its error is the root mean square (and the largest) of x - decoded over rows, divided by the feature's standard deviation over the
same rows; about 2e-4. The error over all shards stays below that of the worst one, since the mean variance within shards is at most
the variance of all rows.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from probing.encoders.pooling import of_words
from probing.errors import StoreError
from probing.files import atomic, file_sha256, read_header, read_sealed, sealed
from probing.log import info
from probing.provenance import made_with
from probing.store.words import starts_of
from probing.types import Features, Representation

DTYPES = ("float32", "float16")
LIMIT = 0.01
"""The largest root mean square error of float16, in standard deviations of a feature."""


def usual_dtype(words: bool) -> str:
    """How vectors are kept where nothing else is said: those of words in float16, since they are many."""
    return "float16" if words else "float32"


def folder_name(poolings: Sequence[str], dtype: str) -> str:
    """
    >>> folder_name(["cls", "mean"], "float16")
    'cls+mean@float16'
    """
    return "+".join(poolings) + ("" if dtype == "float32" else f"@{dtype}")


def contents_of(folder: Path) -> tuple[list[str], str]:
    """Return poolings and dtype of a folder of segments, from its name."""
    poolings, _, dtype = folder.name.partition("@")
    return poolings.split("+"), dtype or "float32"


@dataclass(frozen=True)
class Segment:
    """One planned set of sentences on disk; row r lies in shard r // shard_rows."""

    folder: Path
    sentences: tuple[str, ...]
    shard_rows: int
    reading: Mapping[str, int]
    """Counts: sentences `truncated` and `alike` (with the tokens of another one); of an encoder that knows its unknown tokens, also
    `tokens` and `unknown` ones."""

    @property
    def n_shards(self) -> int:
        return -(-len(self.sentences) // self.shard_rows)

    @cached_property
    def place(self) -> dict[str, int]:
        """The row of each sentence."""
        return {sentence: row for row, sentence in enumerate(self.sentences)}

    def shards_of(self, texts: Iterable[str]) -> list[int]:
        """Return the shards that hold the texts; texts outside this segment are ignored."""
        return sorted({self.place[text] // self.shard_rows for text in texts if text in self.place})

    @cached_property
    def first_row(self) -> np.ndarray:
        """The row of each sentence in its shard, (n,): where a vector is one of a word, that of its first word."""
        place = np.arange(len(self.sentences))
        if not of_words(contents_of(self.folder.parent)[0]):
            return place % self.shard_rows
        starts = starts_of([len(sentence.split()) for sentence in self.sentences])
        return starts[place] - starts[place - place % self.shard_rows]

    def rows(self, shard: int) -> slice:
        return slice(shard * self.shard_rows, min(len(self.sentences), (shard + 1) * self.shard_rows))

    def data(self, shard: int) -> Path:
        return self.folder / f"{shard:05d}.safetensors"

    def receipt(self, shard: int) -> Path:
        return self.folder / f"{shard:05d}.json"

    def intact(self, shard: int) -> bool:
        """Whether the shard is finished and its bytes are the ones that were written."""
        receipt = read_sealed(self.receipt(shard))
        try:
            return receipt is not None and receipt["data_sha256"] == file_sha256(self.data(shard))
        except OSError:
            return False

    def failed(self, shard: int) -> dict[str, str]:
        """Return the sentences of a finished shard that have no vectors, with the reason why the encoder failed on them."""
        rows = (read_sealed(self.receipt(shard)) or {}).get("failed", {})
        return {self.sentences[shard * self.shard_rows + int(row)]: reason for row, reason in rows.items()}

    def made_with(self, shard: int) -> dict[str, Any] | None:
        """Return the versions and the processor that made a finished shard."""
        return (read_sealed(self.receipt(shard)) or {}).get("made_with")

    def storage_error(self, shard: int) -> dict[str, float] | None:
        """Return the error of float16 in this shard: `rms` and `max` of its worst feature, in its standard deviations; and
        `float32`, the number of columns that were kept in float32. None for a float32 shard and for one that is not finished."""
        return (read_sealed(self.receipt(shard)) or {}).get("storage_error")


def memory_map(path: Path, name: str, header: tuple[dict[str, Any], int] | None = None) -> np.ndarray:
    """Open one tensor of a safetensors file as a read-only memory map: float32 or float16, as it was stored."""
    entries, start = header or read_header(path)
    entry = entries[name]
    kinds = {"F32": np.float32, "F16": np.float16}
    if entry["dtype"] not in kinds:
        raise StoreError(f"{path}: {name} is {entry['dtype']}, the store holds {' and '.join(kinds)}")
    return np.memmap(path, kinds[entry["dtype"]], "r", offset=start + entry["data_offsets"][0], shape=tuple(entry["shape"]))


def read_rows(path: Path, column: Representation, rows: np.ndarray) -> Features:
    """Read rows of one column of a shard, float32, shape (len(rows), dim)."""
    header, name = read_header(path), _name(column)
    stored = memory_map(path, name, header)[rows]
    if stored.dtype == np.float32:
        return stored
    return decode(stored, memory_map(path, f"{name}.offset", header), memory_map(path, f"{name}.scale", header))


def write_shard(
    segment: Segment,
    shard: int,
    vectors: dict[Representation, Features],
    failed: Mapping[int, str] | None = None,
    made: Mapping[str, Any] | None = None,
) -> None:
    """Write a shard and its receipt.

    Args:
        failed: the rows of the shard that have no vectors, with the reason.
        made: versions and processor that made the vectors; None: those of this process.
    """
    from safetensors.numpy import save_file

    tensors: dict[str, np.ndarray] = {_name(column): x for column, x in sorted(vectors.items())}
    receipt: dict[str, Any] = {"rows": len(next(iter(vectors.values()))), "made_with": made_with() if made is None else made}
    if failed:
        receipt["failed"] = {str(row): reason for row, reason in sorted(failed.items())}
    if contents_of(segment.folder.parent)[1] == "float16":
        tensors, error = _as_float16(tensors)
        receipt["storage_error"] = error
        if error["float32"]:
            info(
                f"{segment.data(shard)}: {error['float32']} columns stay in float32: "
                f"float16 would err by more than {LIMIT:.0%} of a deviation"
            )
    try:
        with atomic(segment.data(shard), clear=True) as temporary:
            save_file(tensors, temporary)
    except Exception as error:
        if "No space left" in str(error):  # safetensors wraps the errno in its own exception
            raise OSError(errno.ENOSPC, "No space left on device") from None
        raise
    receipt["data_sha256"] = file_sha256(segment.data(shard))
    with atomic(segment.receipt(shard), clear=True) as temporary:
        temporary.write_bytes(sealed(receipt))


@dataclass(frozen=True)
class Encoded:
    """Codes (n, d) float16, offset and scale (d,) float32; `rms` and `largest`: error of the worst feature, in its deviations."""

    code: np.ndarray
    offset: np.ndarray
    scale: np.ndarray
    rms: float
    largest: float


def encode(x: np.ndarray) -> Encoded:
    """Encode features of shape (n, d), float32, finite; a block of features at a time, so that memory stays small."""
    n, d = x.shape
    code, offset, scale = np.empty((n, d), np.float16), np.empty(d, np.float32), np.empty(d, np.float32)
    rms = largest = 0.0
    step = max(1, 500_000 // n)
    for block in (slice(start, start + step) for start in range(0, d, step)):
        exact = x[:, block].astype(np.float64)
        offset[block] = exact.mean(0)
        centred = exact - offset[block]  # all zero for a constant: its mean is itself
        with np.errstate(over="ignore", invalid="ignore"):  # values that do not fit have an infinite error
            scale[block] = np.sqrt((centred**2).mean(0))
            code[:, block] = np.divide(centred, scale[block], out=np.zeros_like(centred), where=scale[block] > 0)
            difference = np.abs(decode(code[:, block], offset[block], scale[block]) - exact)
            errors = np.stack([np.sqrt((difference**2).mean(0)), difference.max(0)])  # (2, features)
        errors = np.nan_to_num(errors, nan=np.inf)
        spread = np.broadcast_to(exact.std(0), errors.shape)
        relative = np.divide(errors, spread, out=np.where(errors > 0, np.inf, 0.0), where=(spread > 0) & (errors > 0))
        rms, largest = max(rms, relative[0].max()), max(largest, relative[1].max())
    return Encoded(code, offset, scale, float(rms), float(largest))


def decode(code: np.ndarray, offset: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the features (n, d), float32."""
    return code.astype(np.float32) * scale + offset


def _as_float16(tensors: Mapping[str, Features]) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Return the columns in float16 with offset and scale, or in float32 if the error would pass `LIMIT`; and the error."""
    stored: dict[str, np.ndarray] = {}
    errors, kept = [(0.0, 0.0)], 0
    for name, x in tensors.items():
        encoded = encode(x)
        if encoded.rms > LIMIT:
            stored[name], kept = x, kept + 1
        else:
            stored |= {name: encoded.code, f"{name}.offset": encoded.offset, f"{name}.scale": encoded.scale}
            errors.append((encoded.rms, encoded.largest))
    rms, largest = (_rounded_up(max(part)) for part in zip(*errors, strict=True))
    return stored, {"rms": rms, "max": largest, "float32": kept}


def _rounded_up(x: float) -> float:
    """Round x up to three digits.

    >>> _rounded_up(0.00021312)
    0.000214
    """
    if x == 0:
        return 0.0
    unit = 10.0 ** (2 - math.floor(math.log10(x)))
    return float(f"{math.ceil(x * unit) / unit:.3g}")


def _name(column: Representation) -> str:
    return f"{column.layer}.{column.pooling}"


def planned(folder: Path, sentences: Sequence[str], shard_rows: int, reading: Mapping[str, int]) -> tuple[Path, bytes]:
    """Return the folder of a segment in `folder`, and the bytes of its list."""
    plan = {"shard_rows": shard_rows, "reading": dict(reading), "sentences": sentences}
    content = json.dumps(plan, ensure_ascii=False).encode()
    return folder / hashlib.sha256(content).hexdigest()[:20], content


def write_plan(folder: Path, sentences: Sequence[str], shard_rows: int, reading: Mapping[str, int]) -> Segment:
    """Write a new segment in `folder`, whole or absent; the caller holds the folder's plan lock."""
    path, content = planned(folder, sentences, shard_rows, reading)
    try:
        with atomic(path) as temporary:
            temporary.mkdir()
            (temporary / "sentences.json").write_bytes(content)
    except OSError:  # if the lock holds on one machine only, another one may have made the same plan
        if read_segment(path) is None:
            raise
    return Segment(path, tuple(sentences), shard_rows, reading)


def segment_folders(folder: Path) -> list[Path]:
    return sorted(folder.glob("[!.]*/"))


def read_segment(folder: Path) -> Segment | None:
    """Read the segment of a folder; None if its list is missing, or its hash is not the folder's name."""
    try:
        content = (folder / "sentences.json").read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content).hexdigest()[:20] != folder.name:
        return None
    plan = json.loads(content)
    return Segment(folder, tuple(plan["sentences"]), plan["shard_rows"], plan.get("reading", {}))  # earlier versions: none
