"""The store of vectors on disk: each sentence's vectors are computed once per encoder.

    ROOT/<fingerprint>/encoder.json                      name and `Encoder.description` of the encoder, and its inspection
    ROOT/<fingerprint>/<poolings>/<segment>/sentences.json   the sentences of a segment, in row order
                                           /00000.safetensors  rows 0.. : one tensor `layer.pooling` (rows, dim), float32
                                           /00000.json         its receipt, written after it: present = finished
    ROOT/<fingerprint>/<poolings>@float16/…                  the same in float16 (`probing.store.segments`)

A segment holds the sentences that were missing at one request, ordered by token length and cut into shards; its name is the hash of
that list. All tasks, splits and probes share the sentences.

float16 halves the size; a column whose error would pass 1 % of a feature's deviation stays in float32. float32 requests never read
float16 files; float16 requests read float32 files if they are complete. A sentence that the encoder fails on has no vectors: the
receipt names it, and the next process that needs it tries again.

A process killed at any moment leaves whole files only, and the resumed run writes the same bytes: batches depend only on the
sentences of their shard. Vectors of another model are never read: the folder is the hash of everything that determines them.
Damaged vectors are never read: each shard's hash is checked when a process first touches it, and a damaged one is computed again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from probing.data.task import Task
from probing.encoders.base import Encoder, fingerprint, widths
from probing.encoders.pooling import POOLINGS, WORD_POOLINGS, in_order, of_words
from probing.errors import ConfigError, StatesError, StoreError, did_you_mean
from probing.files import os_errors_as_store_error, read_sealed, replace_file, sealed
from probing.log import bar, human_bytes, info
from probing.store import upkeep
from probing.store.extraction import ExtractionCost, extract, extraction_cost, give_back, row_bytes, tokenized
from probing.store.locks import Use, locked
from probing.store.reading import Vectors
from probing.store.segments import (
    DTYPES,
    Segment,
    contents_of,
    folder_name,
    read_segment,
    segment_folders,
    usual_dtype,
    write_plan,
    write_shard,
)
from probing.store.words import Words

SHARD_BYTES = 64_000_000
"""Target size of a shard: bounds the memory of extraction, and the work that a kill can lose."""


class Store:
    """The store in folder `root`, made on first use.

    Args:
        dtype: how new vectors are kept: float32 or float16; None: those of sentences in float32, those of words in float16.

    Raises:
        ConfigError: unknown dtype.
    """

    def __init__(self, root: str | Path, dtype: str | None = None):
        if dtype not in (None, *DTYPES):
            raise ConfigError(f"run.store_dtype={dtype!r} is unknown{did_you_mean(dtype, DTYPES)} (allowed: {', '.join(DTYPES)})")
        self.root, self.dtype = Path(root).expanduser(), dtype
        self._checked: set[Path] = set()
        self._read: dict[Path, Segment] = {}

    def __repr__(self) -> str:
        n = len(list(self.root.glob("[!.]*/encoder.json")))
        return f"Store({self.root}, {n} encoder{'s' * (n != 1)}{', ' + self.dtype if self.dtype == 'float16' else ''})"

    def vectors(self, encoder: Encoder, texts: Iterable[str], poolings: Sequence[str]) -> Vectors:
        """Return the vectors of the sentences; compute those that are missing.

        Args:
            texts: sentences, in any order, repeated or not.
            poolings: a folder that holds these and others is used as it is.

        Raises:
            StatesError: the encoder fails on one of the sentences, or returns states that are not finite; the vectors of the other
                sentences are kept.
            EncoderError: the encoder cannot be loaded.
            StoreError: disk full or folder not writable; finished shards are kept.
        """
        texts = list(dict.fromkeys(texts))
        folder = self._folder(encoder, in_order(poolings), texts)
        with os_errors_as_store_error(folder):
            use = Use(folder.parent / "use.lock")
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder.parent / "plan.lock"):
                _refuse_older(folder.parent)
                record = {"name": encoder.name, "description": dict(encoder.description)}
                if hasattr(encoder, "remembered"):
                    record["inspection"] = encoder.remembered()
                replace_file(folder.parent / "encoder.json", sealed(record))
                segments = self._segments(folder)
                upkeep.remove_strays(folder, {segment.folder for segment in segments})
                missing = texts
                for segment in segments:
                    missing = [text for text in missing if text not in segment.place]
                if missing:
                    segments.append(self._plan(encoder, folder, missing))
            self._fill(encoder, segments, texts)
        _refuse_failed(encoder, segments, texts)
        return Vectors(tuple(segments), {p: widths(encoder, p) for p in poolings}, use)

    def to_dataset(
        self, encoder: Encoder, sentences: Task | Iterable[str], layers: Iterable[int] | None = None, pooling: str = "mean"
    ) -> Any:
        """A `datasets.Dataset` of the sentences: sentence, of a task split and label, and a column of vectors for each layer.

        Columns and errors: `probing.store.columns.pieces`; ConfigError without the package datasets.
        """
        from probing.store.columns import to_dataset

        return to_dataset(self, encoder, sentences, layers, pooling)

    def estimate(self, encoder: Encoder, texts: Iterable[str], poolings: Sequence[str]) -> ExtractionCost:
        """Estimate the cost of `vectors` by running a few batches; nothing is stored."""
        texts = list(dict.fromkeys(texts))
        folder = self._folder(encoder, in_order(poolings), texts)
        poolings, dtype = contents_of(folder)
        missing = self._unfinished(folder, texts)
        if not missing:
            return ExtractionCost(0, 0, 0, 0.0, 0)
        return extraction_cost(encoder, missing, poolings, dtype, shard_rows(row_bytes(encoder, poolings, missing)))

    def recall(self, encoder: Encoder) -> None:
        """Give the encoder the properties that an earlier process found by running it, so that planning need not load it."""
        record = read_sealed(self.root / fingerprint(encoder)[:20] / "encoder.json")
        if record and "inspection" in record and hasattr(encoder, "recall"):
            encoder.recall(record["inspection"])

    def dtype_of(self, poolings: Sequence[str]) -> str:
        """How new vectors of these poolings are kept."""
        return self.dtype or usual_dtype(of_words(poolings))

    # Planning.

    def _folder(self, encoder: Encoder, poolings: Sequence[str], texts: Sequence[str]) -> Path:
        """Return the folder for these poolings: one that holds them all if there is one, else a new one of just these."""
        home = self.root / fingerprint(encoder)[:20]
        known = set(WORD_POOLINGS if of_words(poolings) else POOLINGS)
        folders = [f for f in sorted(home.glob("*/")) if set(poolings) <= set(contents_of(f)[0]) <= known]
        holding = {dtype: [f for f in folders if contents_of(f)[1] == dtype] for dtype in DTYPES}
        dtype = self.dtype_of(poolings)
        if dtype == "float16":
            complete = (f for f in holding["float32"] if not self._unfinished(f, texts))
            return next(chain(complete, holding["float16"]), home / folder_name(poolings, dtype))
        return next(iter(holding["float32"]), home / folder_name(poolings, dtype))

    def _segments(self, folder: Path) -> list[Segment]:
        """Return the segments of a folder whose lists are undamaged; each list is read once in the life of this object."""
        segments = []
        for path in segment_folders(folder):
            segment = self._read.get(path) or read_segment(path)
            if segment:
                self._read[path] = segment
                segments.append(segment)
        return segments

    def _unfinished(self, folder: Path, texts: Sequence[str]) -> list[str]:
        """Return the texts without a finished shard in this folder."""
        unfinished = list(texts)
        for segment in self._segments(folder):
            done = {k for k in range(segment.n_shards) if segment.receipt(k).exists()}
            unfinished = [text for text in unfinished if segment.place.get(text, -1) // segment.shard_rows not in done]
        return unfinished

    def _plan(self, encoder: Encoder, folder: Path, missing: list[str]) -> Segment:
        """Write a new segment of the missing sentences, after a check of the free space."""
        poolings, dtype = contents_of(folder)
        lengths, reading, different = [], Counter(truncated=0), set()
        for start in range(0, len(missing), 4096):  # keeps lengths only: the tokens of a million sentences need gigabytes
            texts = missing[start : start + 4096]
            items, cut = tokenized(encoder, texts, {})
            lengths += [len(item) for item in items]
            different |= {hash(tuple(item)) for item in items}
            reading["truncated"] += cut
            if of_words(poolings):
                words = Words.of(encoder, texts, items)
                reading.update(lost=words.lost, words=int(words.starts[-1]))
            if hasattr(encoder, "unknown_tokens"):
                reading.update(encoder.unknown_tokens(items))
        reading["alike"] = len(missing) - len(different)
        order = sorted(range(len(missing)), key=lambda i: (lengths[i], missing[i]))
        sentences = tuple(missing[i] for i in order)
        row = row_bytes(encoder, poolings, sentences)
        need, free = row * len(sentences), shutil.disk_usage(folder).free
        if dtype == "float16":
            need //= 2
        if need > free:
            raise StoreError(
                f"{len(sentences)} sentences × {len(encoder.dims)} layers × {len(poolings)} poolings need {human_bytes(need)}, but "
                f"{self.root} has {human_bytes(free)} free; ask for fewer poolings, or put run.store on a larger disk"
            )
        for name, clause in (("truncated", "are truncated"), ("alike", "have the tokens of another one")):
            if reading[name]:
                info(f"{encoder.name}: {reading[name]} of {len(sentences)} sentences {clause}")
        if reading["unknown"]:
            info(f"{encoder.name}: {reading['unknown']} of {reading['tokens']} tokens are unknown")
        if reading["lost"]:
            info(f"{encoder.name}: {reading['lost']} of {reading['words']} words have no token of their own: their vector is 0")
        return write_plan(folder, sentences, shard_rows(row), reading)

    # Filling.

    def _fill(self, encoder: Encoder, segments: Sequence[Segment], texts: Sequence[str]) -> None:
        """Compute the shards of these texts that are missing or damaged."""
        todo = []
        for segment in segments:
            for shard in segment.shards_of(texts):
                if segment.data(shard) in self._checked and segment.receipt(shard).exists():  # it may have been evicted
                    continue
                if segment.intact(shard) and not segment.failed(shard):  # sentences that failed in another run are tried again
                    self._checked.add(segment.data(shard))
                else:
                    todo.append((segment, shard))
        total = sum(len(segment.sentences[segment.rows(shard)]) for segment, shard in todo)
        if not todo:
            return
        # Jobs of one Slurm array start at shards that lie far apart, so that they seldom meet, with locks or without.
        first = int(int(os.environ.get("SLURM_ARRAY_TASK_ID", 0)) * 0.618034 % 1 * len(todo))
        todo = todo[first:] + todo[:first]
        with bar(f"extracting {encoder.name}", total) as advance:
            held_elsewhere = [pair for pair in todo if not self._compute(encoder, *pair, advance, wait=False)]
            if held_elsewhere:
                info(f"{encoder.name}: waiting for another process that computes {len(held_elsewhere)} shards")
            for pair in held_elsewhere:
                self._compute(encoder, *pair, advance, wait=True)

    def _compute(self, encoder: Encoder, segment: Segment, shard: int, advance: Any, wait: bool) -> bool:
        """Compute a shard under its lock; return False if another process holds the lock and `wait` is false."""
        lock = segment.data(shard).with_suffix(".lock")
        with locked(lock, wait) as held:
            if held:
                if not segment.intact(shard) or segment.failed(shard):
                    poolings, _ = contents_of(segment.folder.parent)
                    failed: dict[int, str] = {}
                    texts = segment.sentences[segment.rows(shard)]
                    items, _ = tokenized(encoder, texts, failed)
                    words = Words.of(encoder, texts, items) if of_words(poolings) else None
                    write_shard(segment, shard, extract(encoder, items, poolings, advance, failed, words), failed)
                    give_back()
                self._checked.add(segment.data(shard))
                lock.unlink(missing_ok=True)  # who waits for it makes it again; a third of all files would be locks
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
    """Raise a `StatesError` if some of the texts have no vectors, because the encoder failed on them."""
    reasons: dict[str, str] = {}
    for segment in segments:
        for shard in segment.shards_of(texts):
            reasons |= segment.failed(shard)
    if failed := [text for text in texts if text in reasons]:
        how_many = f"{len(failed)} of {len(texts)} sentences"
        raise StatesError(f"{encoder.name} has no vectors for {how_many}; the first, {failed[0]!r}: {reasons[failed[0]]}")


def shard_rows(row: int) -> int:
    """Return the rows of a shard, of so many bytes each."""
    return max(16, SHARD_BYTES // row)


def _refuse_older(home: Path) -> None:
    """Raise a `StoreError` if the files of this encoder are of an earlier version, which this one cannot read."""
    try:
        record = json.loads((home / "encoder.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    if isinstance(record, dict) and "name" in record and not {"sha256", "description"} & set(record):
        raise StoreError(
            f"{home} was written by an earlier version of probing, whose vectors this one does not read: "
            "delete it, or choose another folder with run.store=… or run.dir=…"
        )
