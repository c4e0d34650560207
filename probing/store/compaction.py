"""Fewer files and fewer bytes in a store: `compact` joins an encoder's segments, `evict` deletes the encoders used longest ago.

Both work on one encoder after the other, while no process uses its vectors (`probing.store.locks.Use`); those in use are named and
left. What replaces files is in place, whole, before the files go, and a folder that goes is renamed first: after a kill at any
moment the store holds the same vectors, some of them twice, and the next `compact` removes what is left over.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from probing.encoders.pooling import of_words
from probing.errors import ConfigError, StoreError
from probing.files import atomic, os_errors_as_store_error, read_header, remove
from probing.store.locks import alone
from probing.store.segments import Segment, contents_of, planned, read_rows, read_segment, segment_folders, write_shard
from probing.store.upkeep import bytes_in, discard, is_being_written, read_encoder, remove_strays, sizes_below
from probing.store.vectors import shard_rows
from probing.types import Features, Representation

DAY = 86_400


class Compacted(NamedTuple):
    """Files and bytes of a store before and after, and the encoders that were left since a process uses them."""

    files: tuple[int, int]
    bytes: tuple[int, int]
    in_use: tuple[str, ...]


class Candidate(NamedTuple):
    """An encoder that goes: its folder, name, days since its vectors were last asked for, bytes, and whether a process uses them
    (then it stays)."""

    home: Path
    name: str
    days: float
    bytes: int
    in_use: bool


def compact(root: Path) -> Compacted:
    """Join complete segments and remove what killed runs left, folder by folder.

    Joined are segments of float32 vectors of sentences that the same versions and processor made: bytes are copied. float16 shards
    have scales of their own and stay; so do plans that are finished in part, which the next run finishes.

    Raises:
        StoreError: the disk is full or not writable, or the file system has no locks.
    """
    before, in_use = _measure(root), []
    with os_errors_as_store_error(root):
        for left in root.glob(".*.tmp"):
            if not is_being_written(left):
                remove(left)
        for home in sorted(root.glob("[!.]*/")):
            with alone(lock := home / "use.lock") as free:
                if not _may(free, root):
                    in_use.append(home.name)
                    continue
                for path in [*home.rglob(".*.tmp"), *home.rglob("*.lock")]:
                    if path != lock:
                        remove(path)
                for folder in sorted(home.glob("[!.]*/")):
                    _compact_folder(folder)
                lock.unlink()
    after = _measure(root)
    return Compacted((before[0], after[0]), (before[1], after[1]), tuple(in_use))


def evict(root: Path, days: float | None = None, size: int | None = None, dry: bool = True) -> list[Candidate]:
    """Delete encoders, those whose vectors were asked for longest ago first; `dry`: return them and delete nothing.

    Args:
        days: all that were not asked for since so many days.
        size: so many that at most so many bytes are left.

    Raises:
        ConfigError: neither is given, or one is negative.
        StoreError: see `compact`.
    """
    if (days is None and size is None) or min(days or 0, size or 0) < 0:
        raise ConfigError("evict what? Give days since the last use (--days 30), bytes to keep (--size 50GB), or both, from 0 on")
    records = []
    for path in root.glob("[!.]*/encoder.json"):  # written anew at each request
        records.append((path.stat().st_mtime, path.parent, bytes_in(path.parent)))
    total, now, candidates = sum(record[2] for record in records), time.time(), []
    with os_errors_as_store_error(root):
        for used, home, own in sorted(records):
            age = max(0.0, now - used) / DAY
            if not ((days is not None and age >= days) or (size is not None and total > size)):
                continue
            name = (read_encoder(home) or {"name": "?"})["name"]
            with alone(home / "use.lock") as free:
                going = _may(free, root)
                if going and not dry:
                    discard(home)
            candidates.append(Candidate(home, name, age, own, not going))
            total -= own if going else 0
    return candidates


def _may(free: bool | None, root: Path) -> bool:
    if free is None:
        raise StoreError(
            f"the file system of {root} has no locks, so nobody knows which vectors a running process uses; "
            "end all runs, then delete encoders by name: probing store prune FINGERPRINT"
        )
    return free


def _measure(root: Path) -> tuple[int, int]:
    """Files and bytes of a store."""
    sizes = sizes_below(root)
    return len(sizes), sum(sizes)


def _compact_folder(folder: Path) -> None:
    """Compact the segments of one encoder and one choice of poolings, which nobody uses."""
    remove_strays(folder, ())
    complete: list[Segment] = []
    for segment in (segment for path in segment_folders(folder) if (segment := read_segment(path))):
        done = [segment.receipt(shard).exists() for shard in range(segment.n_shards)]
        for shard in (shard for shard, finished in enumerate(done) if not finished):
            remove(segment.data(shard))
        if not any(done):
            discard(segment.folder)
        elif all(done):
            complete.append(segment)
    poolings, dtype = contents_of(folder)
    if dtype != "float32" or of_words(poolings):
        return
    makers: dict[str, list[Segment]] = {}
    complete.sort(key=lambda segment: -len(segment.sentences))
    for at, segment in enumerate(complete):
        if any(segment.place.keys() <= larger.place.keys() for larger in complete[:at]):  # joined before a kill
            discard(segment.folder)
            continue
        made = {json.dumps(segment.made_with(shard), sort_keys=True) for shard in range(segment.n_shards)}
        whole = all(segment.intact(shard) and not segment.failed(shard) for shard in range(segment.n_shards))
        if len(made) == 1 and whole:
            makers.setdefault(made.pop(), []).append(segment)
    for made_with, group in makers.items():
        if len(group) > 1:
            _join(folder, sorted(group, key=lambda segment: segment.folder), json.loads(made_with))


def _join(folder: Path, group: Sequence[Segment], made: dict[str, Any] | None) -> None:
    """Write the rows of several segments as one, then delete them."""
    places = [(segment, row) for segment in group for row in range(len(segment.sentences))]
    sentences = tuple(segment.sentences[row] for segment, row in places)
    header, _ = read_header(group[0].data(0))
    columns = [
        Representation(int(layer), pooling) for layer, _, pooling in (name.partition(".") for name in header if name[0] != "_")
    ]
    row_bytes = 4 * sum(header[f"{column.layer}.{column.pooling}"]["shape"][1] for column in columns)
    reading: Counter[str] = Counter()
    for segment in group:
        reading.update(segment.reading)
    path, content = planned(folder, sentences, shard_rows(row_bytes), reading)
    with atomic(path) as temporary:
        temporary.mkdir()
        (temporary / "sentences.json").write_bytes(content)
        joined = Segment(temporary, sentences, shard_rows(row_bytes), reading)
        for shard in range(joined.n_shards):
            write_shard(joined, shard, _rows(places[joined.rows(shard)], columns), made=made or {})
    for segment in group:
        discard(segment.folder)


def _rows(places: Sequence[tuple[Segment, int]], columns: Sequence[Representation]) -> dict[Representation, Features]:
    """The vectors of consecutive rows of segments."""
    shards: dict[Path, list[int]] = {}
    for segment, row in places:
        shards.setdefault(segment.data(row // segment.shard_rows), []).append(row % segment.shard_rows)
    return {
        column: np.concatenate([read_rows(path, column, np.array(rows)) for path, rows in shards.items()]) for column in columns
    }
