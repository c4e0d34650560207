"""The cost of extracting vectors, estimated from a timed sample of sentences."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from probing.encoders.base import Encoder
from probing.store.extraction import extract, token_budget, tokenized

SAMPLE = 192
"""Sentences that are timed."""


@dataclass(frozen=True)
class ExtractionCost:
    """The cost of a request: sentences missing, their tokens, bytes on disk; seconds and bytes of memory (from a sample)."""

    sentences: int
    tokens: int
    bytes: int
    seconds: float
    memory: int


def row_bytes(encoder: Encoder, n_poolings: int) -> int:
    """Return the size of the float32 vectors of one sentence."""
    return 4 * sum(encoder.dims) * n_poolings


def peak_memory() -> int:
    """Return the most memory that this process has held so far, in bytes."""
    try:  # getrusage counts what the parent held when it started this process
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    except (OSError, StopIteration):
        import resource

        maximum = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return maximum if sys.platform == "darwin" else 1024 * maximum


def extraction_cost(
    encoder: Encoder, missing: Sequence[str], poolings: Sequence[str], dtype: str, shard_rows: int
) -> ExtractionCost:
    """Estimate the cost of the missing sentences, by running the encoder on a few batches."""
    sample = [missing[i] for i in np.random.default_rng(0).permutation(len(missing))[:SAMPLE]]
    items, _ = tokenized(encoder, sample)
    extract(encoder, items[:1], poolings)  # loads the model
    loaded, longest = peak_memory(), max(items, key=len)
    full = max(1, min(token_budget(encoder) // max(1, len(longest)), len(missing)))
    extract(encoder, [longest] * full, poolings)  # warms up; the batches of a sample are smaller than those of a run
    start = time.perf_counter()
    extract(encoder, items, poolings)
    seconds = (time.perf_counter() - start) / len(items) * len(missing)
    peak = peak_memory()
    tokens = round(sum(map(len, items)) / len(items) * len(missing))
    row = row_bytes(encoder, len(poolings))
    shard = row * min(len(missing), shard_rows)
    on_disk = len(missing) * row // (2 if dtype == "float16" else 1)
    shard += shard // 2 if dtype == "float16" else 0  # the codes, beside the vectors
    # the model and a full batch were held by now; the allocator's pieces took up to a shard and two batches more
    return ExtractionCost(len(missing), tokens, on_disk, seconds, peak + 2 * (shard + peak - loaded))
