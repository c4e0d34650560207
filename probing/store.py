"""The representation store: every sentence's vectors, computed once per encoder, on disk, memory-mapped.

    ROOT/<fingerprint>/encoder.json                      what made the vectors (Encoder.description)
    ROOT/<fingerprint>/<poolings>/<segment>/sentences.json   the sentences of a segment, in row order
                                           /00000.safetensors  rows 0.. : one tensor `layer.pooling` (rows, dim), float32
                                           /00000.json         its sha256, written after it: present = finished

A segment is the set of sentences that one request found missing, ordered by token length and cut into shards; its name is the
hash of that list, so that it is planned once whoever asks. Sentences are shared by all tasks, splits and probes.

What must hold, and how. *Killed at any moment, the same bytes in the end*: a shard is written to a temporary file and renamed,
and its batches depend on nothing but its own sentences. *Computed once*: a lock on each shard; locks are the kernel's (flock), so
they die with the process that held them. *Never another model's vectors*: the folder is the hash of everything that determines
them. *Never damaged vectors*: each shard's hash is checked when a process first touches it; a shard that fails is computed again.
No pickle.

Left out: float16 storage and eviction by age.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from probing.encoders.base import POOLINGS, Encoder, fingerprint
from probing.errors import StoreError
from probing.extraction import extract
from probing.locks import locked, writer
from probing.progress import bar, human_bytes, say
from probing.shards import (
    Segment,
    guarded,
    hash_plan,
    memory_map,
    read_json,
    read_segment,
    read_segments,
    write_json,
    write_shard,
)  # fmt: skip
from probing.types import Column, Features

SHARD_BYTES = 64_000_000
"""Target size of a shard: bounds the memory of extraction, and the work that a kill can lose."""

PLANNING_SECONDS = 3600
"""A plan that was begun longer ago than this is a dead process's."""


@dataclass(frozen=True)
class Estimate:
    """What a request would cost: sentences missing, their tokens, bytes on disk, and seconds (from a timed sample)."""

    sentences: int
    tokens: int
    bytes: int
    seconds: float


class Store:
    """The store in folder `root`, made on first use.

    Raises:
        StoreError: the folder cannot be written.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root).expanduser()
        self._checked: set[Path] = set()

    def vectors(self, encoder: Encoder, texts: Iterable[str], poolings: Sequence[str]) -> Vectors:
        """The vectors of the sentences, computed now where they are not there yet.

        Args:
            texts: sentences, in any order, repeated or not.
            poolings: which poolings are wanted; a folder that holds more of them is used as it is.

        Raises:
            EncoderError: the encoder fails or returns states that are not finite.
            StoreError: disk full or folder not writable; what was finished before stays.
        """
        texts = list(dict.fromkeys(texts))
        wanted = [p for p in POOLINGS if p in set(poolings)]
        folder = self._folder(encoder, wanted)
        with guarded(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder.parent / "plan.lock"):
                write_json(folder.parent / "encoder.json", dict(encoder.description) | {"name": encoder.name})
                segments = list(read_segments(folder))
                planned = {segment.folder for segment in segments}
                for stray in folder.glob("*/"):  # a damaged plan, or one that a kill cut short: nothing in it can be trusted
                    if stray not in planned and not (stray.name.startswith(".") and _younger(stray, PLANNING_SECONDS)):
                        shutil.rmtree(stray, ignore_errors=True)
                known = {s for segment in segments for s in segment.sentences}
                missing = [text for text in texts if text not in known]
                if missing:
                    segments.append(self._plan(encoder, folder, missing, wanted))
            self._fill(encoder, segments, set(texts))
        return Vectors(tuple(segments), encoder.dims)

    def estimate(self, encoder: Encoder, texts: Iterable[str], poolings: Sequence[str]) -> Estimate:
        """What `vectors` would compute, without computing it, but for a timed sample of a few batches."""
        folder = self._folder(encoder, [p for p in POOLINGS if p in set(poolings)])
        done = {
            sentence
            for segment in read_segments(folder)
            for shard in range(segment.n_shards)
            if segment.receipt(shard).exists()
            for sentence in segment.sentences[segment.rows(shard)]
        }
        missing = list(dict.fromkeys(text for text in texts if text not in done))
        if not missing:
            return Estimate(0, 0, 0, 0.0)
        sample = [missing[i] for i in np.random.default_rng(0).permutation(len(missing))[:192]]
        items, _ = encoder.tokenize(sample)
        extract(encoder, items[:16], poolings)  # loads the model and warms up
        start = time.perf_counter()
        extract(encoder, items, poolings)
        seconds = (time.perf_counter() - start) / len(items) * len(missing)
        tokens = round(sum(map(len, items)) / len(items) * len(missing))
        return Estimate(len(missing), tokens, len(missing) * _row_bytes(encoder, len(poolings)), seconds)

    # Planning.

    def _folder(self, encoder: Encoder, poolings: Sequence[str]) -> Path:
        """The folder for these poolings: one that holds them all if there is one, else one of just these."""
        home = self.root / fingerprint(encoder)[:20]
        holding = [f for f in sorted(home.glob("*/")) if set(poolings) <= set(f.name.split("+"))]
        return holding[0] if holding else home / "+".join(poolings)

    def _plan(self, encoder: Encoder, folder: Path, missing: list[str], poolings: Sequence[str]) -> Segment:
        items, truncated = encoder.tokenize(missing)
        order = sorted(range(len(missing)), key=lambda i: (len(items[i]), missing[i]))
        sentences = tuple(missing[i] for i in order)
        row = _row_bytes(encoder, len(poolings))
        rows = max(16, SHARD_BYTES // row)
        need, free = row * len(sentences), shutil.disk_usage(folder).free
        if need > free:
            raise StoreError(
                f"{len(sentences)} sentences × {len(encoder.dims)} layers × {len(poolings)} poolings need {human_bytes(need)}, but "
                f"{self.root} has {human_bytes(free)} free; ask for fewer poolings, or put run.store on a larger disk"
            )
        if truncated:
            say(f"{encoder.name}: {truncated} of {len(sentences)} sentences are truncated")
        name = hash_plan(rows, sentences)
        final, temporary = folder / name[:20], folder / f".{name[:20]}.{writer()}"
        temporary.mkdir(exist_ok=True)
        plan = {"sha256": name, "shard_rows": rows, "truncated": truncated, "sentences": sentences}
        write_json(temporary / "sentences.json", plan)
        try:
            temporary.rename(final)
        except OSError:  # where the lock holds on one machine only, another one may have made the same plan
            shutil.rmtree(temporary)
            if read_segment(final) is None:
                raise
        return Segment(final, sentences, rows, truncated)

    # Filling.

    def _fill(self, encoder: Encoder, segments: Sequence[Segment], wanted: set[str]) -> None:
        todo = []
        for segment in segments:
            for shard in range(segment.n_shards):
                if segment.data(shard) in self._checked or wanted.isdisjoint(segment.sentences[segment.rows(shard)]):
                    continue
                if segment.intact(shard):
                    self._checked.add(segment.data(shard))
                else:
                    todo.append((segment, shard))
        total = sum(len(segment.sentences[segment.rows(shard)]) for segment, shard in todo)
        if not todo:
            return
        # Jobs of one Slurm array start at places spread over the shards, so that they seldom meet, with locks or without.
        first = int(int(os.environ.get("SLURM_ARRAY_TASK_ID", 0)) * 0.618034 % 1 * len(todo))
        todo = todo[first:] + todo[:first]
        with bar(f"extracting {encoder.name}", total) as advance:
            held_elsewhere = [pair for pair in todo if not self._compute(encoder, *pair, advance, wait=False)]
            if held_elsewhere:
                say(f"{encoder.name}: waiting for another process that computes {len(held_elsewhere)} shards")
            for pair in held_elsewhere:
                self._compute(encoder, *pair, advance, wait=True)

    def _compute(self, encoder: Encoder, segment: Segment, shard: int, advance: Any, wait: bool) -> bool:
        """Computes a shard under its lock; False if another process holds it and `wait` is false."""
        with locked(segment.data(shard).with_suffix(".lock"), wait) as held:
            if held:
                if not segment.intact(shard):
                    poolings = segment.folder.parent.name.split("+")
                    items, _ = encoder.tokenize(segment.sentences[segment.rows(shard)])
                    write_shard(segment, shard, extract(encoder, items, poolings, advance))
                self._checked.add(segment.data(shard))
            return held

    # Upkeep.

    def entries(self) -> list[dict[str, Any]]:
        """One record per encoder and poolings: name, fingerprint, poolings, sentences, shards done and planned, bytes."""
        found = []
        for folder in sorted(self.root.glob("*/*/")):
            segments = list(read_segments(folder))
            said = read_json(folder.parent / "encoder.json") or {}
            found.append(
                {
                    "encoder": said.get("name", "?"),
                    "fingerprint": folder.parent.name,
                    "poolings": folder.name,
                    "sentences": sum(len(s.sentences) for s in segments),
                    "shards": sum(s.n_shards for s in segments),
                    "done": sum(s.receipt(k).exists() for s in segments for k in range(s.n_shards)),
                    "bytes": sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()),
                }
            )
        return found

    def verify(self) -> tuple[int, list[Path]]:
        """Hashes every finished shard: how many are intact, and the damaged ones (the next run that needs them recomputes)."""
        intact, damaged = 0, []
        for path in sorted(self.root.glob("*/*/[!.]*/sentences.json")):
            segment = read_segment(path.parent)
            if segment is None:
                damaged.append(path)
                continue
            for shard in range(segment.n_shards):
                if segment.receipt(shard).exists() or segment.data(shard).exists():
                    if segment.intact(shard):
                        intact += 1
                    else:
                        damaged.append(segment.data(shard))
        return intact, damaged

    def prune(self, prefixes: Sequence[str]) -> int:
        """Deletes the encoders whose fingerprint starts with one of `prefixes`; returns the bytes freed.

        Raises:
            StoreError: a prefix that no encoder of the store has.
        """
        freed = 0
        for prefix in prefixes:
            known = sorted(path.parent for path in self.root.glob("*/encoder.json"))
            homes = [home for home in known if prefix and home.name.startswith(prefix)]
            if len(homes) != 1:
                have = ", ".join(home.name for home in known) or "none"
                raise StoreError(f"{len(homes) or 'no'} encoder {prefix!r} in {self.root} (there are: {have})")
            freed += sum(f.stat().st_size for f in homes[0].rglob("*") if f.is_file())
            shutil.rmtree(homes[0])
        return freed


@dataclass(frozen=True)
class Vectors:
    """Vectors of one encoder on disk; `get` reads rows of one layer and pooling through a memory map."""

    segments: tuple[Segment, ...]
    dims: tuple[int, ...]

    @property
    def truncated(self) -> int:
        """Sentences of these segments that were cut to the encoder's limit."""
        return sum(segment.truncated for segment in self.segments)

    def rows(self, texts: Sequence[str]) -> Rows:
        """Where the sentences lie; look them up once, then read any number of columns.

        Raises:
            KeyError: a sentence that was not asked for in `Store.vectors`.
        """
        place = {s: (g, r) for g, segment in enumerate(self.segments) for r, s in enumerate(segment.sentences)}
        where = np.array([place[text] for text in texts], dtype=np.int64).reshape(-1, 2)  # (n, 2): segment, row
        return Rows(self, where)


@dataclass(frozen=True)
class Rows:
    """The places of n sentences in the store."""

    vectors: Vectors
    where: np.ndarray

    def get(self, column: Column) -> Features:
        """Shape (n, dims[layer]), float32, rows in the order of the sentences asked for."""
        out = np.empty((len(self.where), self.vectors.dims[column.layer]), np.float32)
        for g, segment in enumerate(self.vectors.segments):
            shard, row = np.divmod(self.where[:, 1], segment.shard_rows)
            for k in np.unique(shard[self.where[:, 0] == g]):
                here = (self.where[:, 0] == g) & (shard == k)
                out[here] = memory_map(segment.data(int(k)), f"{column.layer}.{column.pooling}")[row[here]]
        return out


def _younger(path: Path, seconds: float) -> bool:
    try:
        return time.time() - path.stat().st_mtime < seconds
    except FileNotFoundError:
        return True


def _row_bytes(encoder: Encoder, n_poolings: int) -> int:
    return 4 * sum(encoder.dims) * n_poolings
