"""The representation store: every sentence's vectors, computed once per encoder, on disk, memory-mapped.

    ROOT/<fingerprint>/encoder.json                      name and Encoder.description of what made the vectors, and what
                                                         running it told (layers, company)
    ROOT/<fingerprint>/<poolings>/<segment>/sentences.json   the sentences of a segment, in row order
                                           /00000.safetensors  rows 0.. : one tensor `layer.pooling` (rows, dim), float32
                                           /00000.json         its receipt, written after it: present = finished
    ROOT/<fingerprint>/<poolings>@float16/…                  the same in float16, with offset and scale (`probing.store.float16`)

A segment is the set of sentences that one request found missing, ordered by token length and cut into shards; its name is the
hash of that list, so that it is planned once whoever asks. Sentences are shared by all tasks, splits and probes.

float16 halves the size; a column whose error would pass 1 % of a feature's deviation stays in float32, and the receipt of each
shard says what float16 cost. A sentence that the encoder fails on has no vectors: the receipt names it, the next process that asks
for its shard tries it again, and whoever asks for others only is served. Who asks for float32 never reads float16; who asks for
float16 reads float32 where all of it is there.

What must hold, and how. *Killed at any moment, the same bytes in the end*: a shard is written to a temporary file and renamed,
and its batches depend on nothing but its own sentences. *Computed once*: a lock on each shard; locks are the kernel's (flock), so
they die with the process that held them. *Never another model's vectors*: the folder is the hash of everything that determines
them. *Never damaged vectors*: each shard's hash is checked when a process first touches it; a shard that fails is computed again;
a list of sentences is named by its own hash, and encoder.json bears its hash. No pickle.

Left out: eviction by age.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from probing.encoders.base import POOLINGS, Encoder, fingerprint, hash_description
from probing.errors import ConfigError, StatesError, StoreError, did_you_mean
from probing.files import os_errors_as_store_error, read_sealed, replace_file, sealed
from probing.log import bar, human_bytes, info
from probing.store.extraction import extract, give_back, peak_memory, token_budget, tokenized
from probing.store.locks import gone, locked
from probing.store.segments import (
    DTYPES,
    Segment,
    contents_of,
    folder_name,
    read_rows,
    read_segment,
    segment_folders,
    write_plan,
    write_shard,
)
from probing.types import Features, Representation

SHARD_BYTES = 64_000_000
"""Target size of a shard: bounds the memory of extraction, and the work that a kill can lose."""

PLANNING_SECONDS = 3600
"""A plan that another machine began longer ago than this is a dead process's."""


@dataclass(frozen=True)
class ExtractionCost:
    """What a request would cost: sentences missing, their tokens, bytes on disk; seconds and bytes of memory (from a sample)."""

    sentences: int
    tokens: int
    bytes: int
    seconds: float
    memory: int


class Store:
    """The store in folder `root`, made on first use.

    Args:
        dtype: how new vectors are kept: float32 or float16.

    Raises:
        ConfigError: unknown dtype.
    """

    def __init__(self, root: str | Path, dtype: str = "float32"):
        if dtype not in DTYPES:
            raise ConfigError(f"run.store_dtype={dtype!r} is unknown{did_you_mean(dtype, DTYPES)} (allowed: {', '.join(DTYPES)})")
        self.root, self.dtype = Path(root).expanduser(), dtype
        self._checked: set[Path] = set()
        self._read: dict[Path, Segment] = {}

    def vectors(self, encoder: Encoder, texts: Iterable[str], poolings: Sequence[str]) -> Vectors:
        """The vectors of the sentences, computed now where they are not there yet.

        Args:
            texts: sentences, in any order, repeated or not.
            poolings: which poolings are wanted; a folder that holds more of them is used as it is.

        Raises:
            StatesError: the encoder fails on one of the sentences, or returns states that are not finite. Vectors of the others are
                kept: ask for them alone.
            EncoderError: the encoder cannot be loaded.
            StoreError: disk full or folder not writable; what was finished before stays.
        """
        texts = list(dict.fromkeys(texts))
        wanted = [p for p in POOLINGS if p in set(poolings)]
        folder = self._folder(encoder, wanted, texts)
        with os_errors_as_store_error(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder.parent / "plan.lock"):
                _refuse_older(folder.parent)
                record = {"name": encoder.name, "description": dict(encoder.description)}
                if hasattr(encoder, "remembered"):
                    record["inspection"] = encoder.remembered()
                replace_file(folder.parent / "encoder.json", sealed(record))
                segments = self._segments(folder)
                planned = {segment.folder for segment in segments}
                for stray in folder.glob("*/"):
                    if stray not in planned and _is_stray(stray):
                        shutil.rmtree(stray, ignore_errors=True)
                missing = texts
                for segment in segments:
                    missing = [text for text in missing if text not in segment.place]
                if missing:
                    segments.append(self._plan(encoder, folder, missing))
            self._fill(encoder, segments, texts)
        _refuse_failed(encoder, segments, texts)
        return Vectors(tuple(segments), encoder.dims)

    def estimate(self, encoder: Encoder, texts: Iterable[str], poolings: Sequence[str]) -> ExtractionCost:
        """What `vectors` would compute, without computing it, but for a timed sample of a few batches."""
        texts = list(dict.fromkeys(texts))
        folder = self._folder(encoder, [p for p in POOLINGS if p in set(poolings)], texts)
        poolings, dtype = contents_of(folder)
        missing = self._unfinished(folder, texts)
        if not missing:
            return ExtractionCost(0, 0, 0, 0.0, 0)
        sample = [missing[i] for i in np.random.default_rng(0).permutation(len(missing))[:192]]
        items, _ = tokenized(encoder, sample)
        extract(encoder, items[:1], poolings)  # loads the model
        loaded, longest = peak_memory(), max(items, key=len)
        full = max(1, min(token_budget(encoder) // max(1, len(longest)), len(missing)))
        extract(encoder, [longest] * full, poolings)  # warms up; the batches of a sample are smaller than those of a run
        start = time.perf_counter()
        extract(encoder, items, poolings)
        seconds = (time.perf_counter() - start) / len(items) * len(missing)
        held = peak_memory()
        tokens = round(sum(map(len, items)) / len(items) * len(missing))
        row = _row_bytes(encoder, len(poolings))
        shard = row * min(len(missing), _shard_rows(row))
        on_disk = len(missing) * row // (2 if dtype == "float16" else 1)
        shard += shard // 2 if dtype == "float16" else 0  # its codes, beside the vectors
        # the model and a full batch were held by now; the allocator's pieces took up to a shard and two batches more
        return ExtractionCost(len(missing), tokens, on_disk, seconds, held + 2 * (shard + held - loaded))

    def recall(self, encoder: Encoder) -> None:
        """Gives an encoder what running it told an earlier process, so that it need not be loaded to plan."""
        record = read_sealed(self.root / fingerprint(encoder)[:20] / "encoder.json")
        if record and "inspection" in record and hasattr(encoder, "recall"):
            encoder.recall(record["inspection"])

    # Planning.

    def _folder(self, encoder: Encoder, poolings: Sequence[str], texts: Sequence[str]) -> Path:
        """The folder for these poolings: one that holds them all if there is one, else one of just these."""
        home = self.root / fingerprint(encoder)[:20]
        holding = [f for f in sorted(home.glob("*/")) if set(poolings) <= set(contents_of(f)[0])]
        exact = [f for f in holding if contents_of(f)[1] == "float32"]
        if self.dtype == "float32":
            return exact[0] if exact else home / folder_name(poolings, "float32")
        for folder in exact:
            if not self._unfinished(folder, texts):
                return folder
        half = [f for f in holding if contents_of(f)[1] == "float16"]
        return half[0] if half else home / folder_name(poolings, "float16")

    def _segments(self, folder: Path) -> list[Segment]:
        """The segments of a folder whose lists are whole, each read once in the life of this object."""
        found = []
        for path in segment_folders(folder):
            segment = self._read.get(path) or read_segment(path)
            if segment:
                self._read[path] = segment
                found.append(segment)
        return found

    def _unfinished(self, folder: Path, texts: Sequence[str]) -> list[str]:
        """The texts without a finished shard in this folder."""
        left = list(texts)
        for segment in self._segments(folder):
            done = {k for k in range(segment.n_shards) if segment.receipt(k).exists()}
            left = [text for text in left if segment.place.get(text, -1) // segment.shard_rows not in done]
        return left

    def _plan(self, encoder: Encoder, folder: Path, missing: list[str]) -> Segment:
        poolings, dtype = contents_of(folder)
        lengths, reading, different = [], Counter(truncated=0), set()
        for start in range(0, len(missing), 4096):  # lengths only: the tokens of a million sentences need gigabytes
            items, cut = tokenized(encoder, missing[start : start + 4096], {})
            lengths += [len(item) for item in items]
            different |= {hash(tuple(item)) for item in items}
            reading["truncated"] += cut
            if hasattr(encoder, "unknown_tokens"):
                reading.update(encoder.unknown_tokens(items))
        reading["alike"] = len(missing) - len(different)
        order = sorted(range(len(missing)), key=lambda i: (lengths[i], missing[i]))
        sentences = tuple(missing[i] for i in order)
        row = _row_bytes(encoder, len(poolings))
        rows = _shard_rows(row)
        need, free = row * len(sentences), shutil.disk_usage(folder).free
        if dtype == "float16":
            need //= 2
        if need > free:
            raise StoreError(
                f"{len(sentences)} sentences × {len(encoder.dims)} layers × {len(poolings)} poolings need {human_bytes(need)}, but "
                f"{self.root} has {human_bytes(free)} free; ask for fewer poolings, or put run.store on a larger disk"
            )
        for name, what in (("truncated", "are truncated"), ("alike", "have the tokens of another one")):
            if reading[name]:
                info(f"{encoder.name}: {reading[name]} of {len(sentences)} sentences {what}")
        if reading["unknown"]:
            info(f"{encoder.name}: {reading['unknown']} of {reading['tokens']} tokens are unknown")
        return write_plan(folder, sentences, rows, reading)

    # Filling.

    def _fill(self, encoder: Encoder, segments: Sequence[Segment], texts: Sequence[str]) -> None:
        todo = []
        for segment in segments:
            for shard in segment.shards_of(texts):
                if segment.data(shard) in self._checked:
                    continue
                if segment.intact(shard) and not segment.failed(shard):  # sentences that failed in another run are tried again
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
                info(f"{encoder.name}: waiting for another process that computes {len(held_elsewhere)} shards")
            for pair in held_elsewhere:
                self._compute(encoder, *pair, advance, wait=True)

    def _compute(self, encoder: Encoder, segment: Segment, shard: int, advance: Any, wait: bool) -> bool:
        """Computes a shard under its lock; False if another process holds it and `wait` is false."""
        with locked(segment.data(shard).with_suffix(".lock"), wait) as held:
            if held:
                if not segment.intact(shard) or segment.failed(shard):
                    poolings, _ = contents_of(segment.folder.parent)
                    failed: dict[int, str] = {}
                    items, _ = tokenized(encoder, segment.sentences[segment.rows(shard)], failed)
                    write_shard(segment, shard, extract(encoder, items, poolings, advance, failed), failed)
                    give_back()
                self._checked.add(segment.data(shard))
            return held

    # Upkeep.

    def entries(self) -> list[dict[str, Any]]:
        """One record per encoder and folder: name, fingerprint, poolings, dtype, sentences, shards done and planned, bytes, and
        what float16 cost at worst (`storage_error`)."""
        found = []
        for folder in sorted(self.root.glob("*/*/")):
            segments = self._segments(folder)
            said = read_encoder(folder.parent) or {"name": "?"}
            poolings, dtype = contents_of(folder)
            done = [(s, k) for s in segments for k in range(s.n_shards) if s.receipt(k).exists()]
            costs = [cost for s, k in done if (cost := s.storage_error(k))]
            found.append(
                {
                    "encoder": said["name"],
                    "fingerprint": folder.parent.name,
                    "poolings": "+".join(poolings),
                    "dtype": dtype,
                    "sentences": sum(len(s.sentences) for s in segments),
                    "shards": sum(s.n_shards for s in segments),
                    "done": len(done),
                    "bytes": sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()),
                    "storage_error": {key: max(cost[key] for cost in costs) for key in costs[0]} if costs else None,
                }
            )
        return found

    def verify(self) -> tuple[int, list[Path]]:
        """Hashes everything: how many shards are intact, and the files that are damaged (the next run that needs them mends them).

        A shard without its receipt is not finished, and counted as neither.
        """
        intact, damaged = 0, []
        for home in sorted(self.root.glob("*/")):
            folders = [folder for poolings in sorted(home.glob("*/")) for folder in segment_folders(poolings)]
            if folders and read_encoder(home) is None:
                damaged.append(home / "encoder.json")
            for folder in folders:
                segment = read_segment(folder)
                if segment is None:
                    damaged.append(folder / "sentences.json")
                    continue
                for shard in range(segment.n_shards):
                    if segment.intact(shard):
                        intact += 1
                    elif segment.receipt(shard).exists():
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
    def reading(self) -> dict[str, int]:
        """How the encoder reads the sentences of these segments (see `Segment.reading`)."""
        total: Counter[str] = Counter()
        for segment in self.segments:
            total.update(segment.reading)
        return dict(total)

    def rows(self, texts: Sequence[str]) -> Rows:
        """Where the sentences lie; look them up once, then read any number of columns.

        Raises:
            KeyError: a sentence that was not asked for in `Store.vectors`.
        """
        segment, row = np.full((2, len(texts)), -1)  # (n,) each
        for g, one in enumerate(self.segments):
            found = np.fromiter((one.place.get(text, -1) for text in texts), np.int64, len(texts))
            segment[found >= 0], row[found >= 0] = g, found[found >= 0]
        if (row < 0).any():
            raise KeyError(texts[int(np.flatnonzero(row < 0)[0])])
        return Rows(self, segment, row)


@dataclass(frozen=True)
class Rows:
    """The places of n sentences in the store: segment and row in it, each (n,)."""

    vectors: Vectors
    segment: np.ndarray
    row: np.ndarray

    def get(self, column: Representation) -> Features:
        """Shape (n, dims[layer]), float32, rows in the order of the sentences asked for."""
        out = np.empty((len(self.row), self.vectors.dims[column.layer]), np.float32)
        for path, rows, here in self._by_shard:
            out[here] = read_rows(path, column, rows)
        return out

    @property
    def made_with(self) -> list[dict[str, Any]]:
        """The versions and processors that the shards of these sentences were made with, each once."""
        sets = [(read_sealed(path.with_suffix(".json")) or {}).get("made_with") for path, _, _ in self._by_shard]
        return [made for k, made in enumerate(sets) if made and made not in sets[:k]]

    @cached_property
    def _by_shard(self) -> list[tuple[Path, np.ndarray, np.ndarray]]:
        """For each shard: its file, which of its rows are asked for, and where they go."""
        found = []
        for g, segment in enumerate(self.vectors.segments):
            places = np.flatnonzero(self.segment == g)
            shard = self.row[places] // segment.shard_rows
            order = np.argsort(shard, kind="stable")
            for here in np.split(places[order], np.flatnonzero(np.diff(shard[order])) + 1):
                if len(here):
                    found.append(
                        (segment.data(int(self.row[here[0]]) // segment.shard_rows), self.row[here] % segment.shard_rows, here)
                    )
        return found


def read_encoder(home: Path) -> dict[str, Any] | None:
    """Name and description of the encoder whose folder this is; None if they are missing, damaged, or another encoder's."""
    said = read_sealed(home / "encoder.json")
    return said if said and hash_description(said["description"])[:20] == home.name else None


def _refuse_failed(encoder: Encoder, segments: Sequence[Segment], texts: Sequence[str]) -> None:
    """
    Raises:
        StatesError: some of the texts have no vectors, because the encoder failed on them.
    """
    reasons: dict[str, str] = {}
    for segment in segments:
        for shard in segment.shards_of(texts):
            reasons |= segment.failed(shard)
    if lost := [text for text in texts if text in reasons]:
        how_many = f"{len(lost)} of {len(texts)} sentences"
        raise StatesError(f"{encoder.name} has no vectors for {how_many}; the first, {lost[0]!r}: {reasons[lost[0]]}")


def _shard_rows(row: int) -> int:
    return max(16, SHARD_BYTES // row)


def _refuse_older(home: Path) -> None:
    """
    Raises:
        StoreError: the files of this encoder are those of a version that this one cannot read; they are left alone.
    """
    try:
        said = json.loads((home / "encoder.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    if isinstance(said, dict) and "name" in said and not {"sha256", "description"} & set(said):
        raise StoreError(
            f"{home} was written by an earlier version of probing, whose vectors this one does not read: "
            "delete it, or choose another folder with run.store=… or run.dir=…"
        )


def _is_stray(plan: Path) -> bool:
    """Whether a folder is a damaged plan, or one that a kill cut short, as it is now: nothing in it can be trusted.

    Without locks another job may have put it in place since the plans were read; then it is whole.
    """
    return not _at_work(plan) if plan.name.startswith(".") else read_segment(plan) is None


def _at_work(plan: Path) -> bool:
    """Whether the process that began this plan (a folder `.NAME.WRITER`) may still be at it."""
    try:
        return not gone(plan.name.partition(".")[2].partition(".")[2]) and time.time() - plan.stat().st_mtime < PLANNING_SECONDS
    except FileNotFoundError:
        return True


def _row_bytes(encoder: Encoder, n_poolings: int) -> int:
    return 4 * sum(encoder.dims) * n_poolings
