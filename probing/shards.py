"""Segments and shards: the files of the representation store, each whole or absent, each with its hash.

A segment is a planned list of sentences (`sentences.json`, named by its hash); row r lies in shard r // shard_rows. A shard is one
safetensors file, finished when its receipt (its sha256 and row count) lies beside it. Layout: `probing.store`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from probing.errors import StoreError
from probing.locks import writer
from probing.types import Column, Features


@dataclass(frozen=True)
class Segment:
    """One planned set of sentences on disk; row r lies in shard r // shard_rows."""

    folder: Path
    sentences: tuple[str, ...]
    shard_rows: int
    truncated: int

    @property
    def n_shards(self) -> int:
        return -(-len(self.sentences) // self.shard_rows)

    def rows(self, shard: int) -> slice:
        return slice(shard * self.shard_rows, min(len(self.sentences), (shard + 1) * self.shard_rows))

    def data(self, shard: int) -> Path:
        return self.folder / f"{shard:05d}.safetensors"

    def receipt(self, shard: int) -> Path:
        return self.folder / f"{shard:05d}.json"

    def intact(self, shard: int) -> bool:
        """Whether the shard is finished and its bytes are the ones that were written."""
        try:
            said = json.loads(self.receipt(shard).read_text())
            return said["sha256"] == file_sha256(self.data(shard))
        except (OSError, ValueError, KeyError, TypeError):
            return False


def memory_map(path: Path, name: str) -> np.ndarray:
    """One float32 tensor of a safetensors file as a read-only memory map.

    The format: 8 bytes little-endian header length, a JSON header with `dtype`, `shape`, `data_offsets`, then the data.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
    if entry["dtype"] != "F32":
        raise StoreError(f"{path}: {name} is {entry['dtype']}, the store holds F32")
    return np.memmap(path, np.float32, "r", offset=8 + length + entry["data_offsets"][0], shape=tuple(entry["shape"]))


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Turns the machine's refusals (disk full, no permission, read-only) into a `StoreError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            why = f"the disk of {folder} is full; free some space, then run the same command again: finished work is kept"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            why = f"{folder} cannot be written ({error.strerror}); choose another folder with run.dir=… or run.store=…"
        elif error.errno in (errno.ENOTDIR, errno.EEXIST):
            why = f"{folder} cannot be made: a file stands in its way"
        else:
            raise
        raise StoreError(why) from None


def write_shard(segment: Segment, shard: int, vectors: dict[Column, Features]) -> None:
    from safetensors.numpy import save_file

    hashed = []

    def write(path: Path) -> None:
        save_file({f"{c.layer}.{c.pooling}": x for c, x in sorted(vectors.items())}, path)
        hashed.append(file_sha256(path))

    try:
        _publish(segment.data(shard), write)
    except Exception as error:
        if "No space left" in str(error):  # safetensors wraps the errno in its own exception
            raise OSError(errno.ENOSPC, "No space left on device") from None
        raise
    if hashed:
        write_json(segment.receipt(shard), {"sha256": hashed[0], "rows": len(next(iter(vectors.values())))})


def _publish(final: Path, write: Callable[[Path], None]) -> None:
    """Has `write` make a file that is either whole or absent, and clears what killed writers of the same file left.

    If a writer that shares no lock with us was faster and cleared ours, its file stands: it is the same one.
    """
    temporary = final.with_name(f"{final.name}.{writer()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, final)
    except FileNotFoundError:
        if not final.exists():
            raise
    finally:
        temporary.unlink(missing_ok=True)
    for left in final.parent.glob(f"{final.name}.*.tmp"):
        left.unlink(missing_ok=True)


def read_segments(folder: Path) -> Iterator[Segment]:
    for path in sorted(folder.glob("[!.]*/sentences.json")):
        if segment := read_segment(path.parent):
            yield segment


def read_segment(folder: Path) -> Segment | None:
    said = read_json(folder / "sentences.json")
    try:
        sentences, rows = tuple(said["sentences"]), int(said["shard_rows"])
        good = hash_plan(rows, sentences) == said["sha256"] and folder.name == said["sha256"][:20]
        return Segment(folder, sentences, rows, int(said["truncated"])) if good else None
    except (TypeError, KeyError, ValueError):
        return None


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_json(path: Path, content: Any) -> None:
    """Writes a file that is either whole or absent; leaves an equal one alone."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True).encode()
    if not (path.exists() and path.read_bytes() == text):
        _publish(path, lambda temporary: temporary.write_bytes(text))


def hash_plan(shard_rows: int, sentences: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps([shard_rows, *sentences]).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
