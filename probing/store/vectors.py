"""The store of vectors: every sentence's vectors, computed once per encoder, on disk.

    ROOT/<fingerprint>/encoder.json                      name and `Encoder.description` of the encoder, and its inspection
    ROOT/<fingerprint>/<poolings>/<segment>/sentences.json   the sentences of a segment, in row order
                                           /00000.safetensors  rows 0.. : one tensor `layer.pooling` (rows, dim), float32
                                           /00000.json         its receipt, written after it: present = finished
    ROOT/<fingerprint>/<poolings>@float16/…                  the same in float16, with offset and scale (`probing.store.float16`)

A segment holds the sentences that one request lacked, ordered by token length and cut into shards; its name is the hash of that
list. Sentences are shared by all tasks, splits and probes.

float16 halves the size; a column whose error would pass 1 % of a feature's deviation stays in float32, and the receipt of each
shard records the error. float32 requests never read float16 files; float16 requests read float32 files if they are complete. A
sentence that the encoder fails on has no vectors: the receipt names it, and the next process that asks for it tries again.

Guarantees. A process killed at any moment leaves whole files only (temporary name, then renamed), and the resumed run writes the
same bytes: batches depend only on the sentences of their shard. A shard is computed once: the kernel's locks (flock) end with their
process. Vectors of another model are never read: the folder is the hash of everything that determines them. Damaged vectors are
never read: each shard's hash is checked when a process first touches it, and a shard that fails is computed again. No pickle.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from probing.encoders.base import POOLINGS, Encoder, fingerprint
from probing.errors import ConfigError, StatesError, StoreError, did_you_mean
from probing.files import os_errors_as_store_error, read_sealed, replace_file, sealed
from probing.log import bar, human_bytes, info
from probing.store import upkeep
from probing.store.extraction import extract, give_back, peak_memory, token_budget, tokenized
from probing.store.locks import gone, locked
from probing.store.reading import Vectors
from probing.store.segments import (
    DTYPES,
    Segment,
    contents_of,
    folder_name,
    read_segment,
    segment_folders,
    write_plan,
    write_shard,
)

SHARD_BYTES = 64_000_000
"""Target size of a shard: bounds the memory of extraction, and the work that a kill can lose."""

PLANNING_SECONDS = 3600
"""A plan that another machine began longer ago than this is a dead process's."""


@dataclass(frozen=True)
class ExtractionCost:
    """The cost of a request: sentences missing, their tokens, bytes on disk; seconds and bytes of memory (from a sample)."""

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
        segments = []
        for path in segment_folders(folder):
            segment = self._read.get(path) or read_segment(path)
            if segment:
                self._read[path] = segment
                segments.append(segment)
        return segments

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

    def entries(self) -> list[dict[str, Any]]:
        """See `probing.store.upkeep.entries`."""
        return upkeep.entries(self.root)

    def verify(self) -> tuple[int, list[Path]]:
        """See `probing.store.upkeep.verify`."""
        return upkeep.verify(self.root)

    def prune(self, prefixes: Sequence[str]) -> int:
        """See `probing.store.upkeep.prune`."""
        return upkeep.prune(self.root, prefixes)


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
        record = json.loads((home / "encoder.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    if isinstance(record, dict) and "name" in record and not {"sha256", "description"} & set(record):
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
