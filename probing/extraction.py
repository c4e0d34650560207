"""All layers and all poolings of many sentences in one pass of a frozen encoder.

Sentences are taken in order of their token length and cut into batches of a token budget, of one length wherever that length is
common enough, so that hardly anything is computed on padding (`batches`). Pooling looks only at tokens of the mask.

Left out: storing (`probing.store`), and any choice of layer. Measured, and not worth their code on a CPU: sentences that differ
but have the same tokens (4 of the 138,804 of xprobe-en), and tokenising ahead of the model in a thread (1 % of the time).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from probing.encoders.base import TOKEN_BUDGET, Encoder, Item, pooled
from probing.errors import StatesError
from probing.types import Column, Features


def peak_memory() -> int:
    """The most memory that this process has held so far, in bytes."""
    try:  # getrusage counts what the parent held when it started this process
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    except (OSError, StopIteration):
        import resource

        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return held if sys.platform == "darwin" else 1024 * held


def give_back() -> None:
    """Returns what is free of the heap to the system, where the C library can (glibc): batches of many sizes leave it in pieces."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def token_budget(encoder: Encoder) -> int:
    """Tokens in a batch of this encoder, padding included: its own number where it has one."""
    return getattr(encoder, "token_budget", TOKEN_BUDGET)


def batches(lengths: Sequence[int], budget: int = TOKEN_BUDGET) -> list[list[int]]:
    """Cuts sentences into batches of at most `budget` tokens (one sentence at least), shortest first.

    A batch ends early, where the length changes, once it holds a quarter of the budget: most batches then hold one length.

    Args:
        lengths: tokens of each sentence.

    Returns:
        Indices into `lengths`; every index exactly once; the order depends on `lengths` alone.

    >>> batches([3, 2, 3, 9], budget=9)
    [[1], [0, 2], [3]]
    """
    found: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        current = found[-1] if found else []
        full = (len(current) + 1) * lengths[i] > budget
        changes = bool(current) and lengths[current[-1]] != lengths[i]
        if not current or full or (changes and len(current) * lengths[current[-1]] >= budget // 4):
            found.append([i])
        else:
            current.append(i)
    return found


def extract(
    encoder: Encoder,
    items: Sequence[Item],
    poolings: Sequence[str],
    advance: Callable[[int], None] = lambda sentences: None,
) -> dict[Column, Features]:
    """Pooled vectors of every layer: `{Column(layer, pooling): (n, dims[layer])}`, float32, rows in the order of `items`.

    Args:
        items: what `encoder.tokenize` made of the sentences.
        poolings: a subset of `encoder.poolings`.
        advance: called after each batch with the number of its sentences.

    Raises:
        StatesError: a sentence without a token to pool, or states that are not finite.
    """
    n = len(items)
    columns = [(Column(layer, p), dim) for p in poolings for layer, dim in enumerate(encoder.dims)]
    ends = n * np.cumsum([dim for _, dim in columns])
    block = np.empty(ends[-1], np.float32)  # one block: the allocator gives it back whole, many small ones leave its heap in pieces
    out = {column: part.reshape(n, dim) for (column, dim), part in zip(columns, np.split(block, ends[:-1]), strict=True)}
    if empty := [i for i, item in enumerate(items) if not len(item)]:
        raise StatesError(f"{encoder.name}: {len(empty)} sentence(s) have no token at all, the first at row {empty[0]}")
    for batch in batches([len(item) for item in items], token_budget(encoder)):
        found = pooled(encoder, [items[i] for i in batch], poolings)
        if bare := (found.counted == 0).nonzero().flatten().tolist():
            raise StatesError(
                f"{encoder.name}: the sentence at row {batch[bare[0]]} has only special tokens, nothing to pool; remove it"
                + (", or set encoder.special_tokens=true" if hasattr(encoder, "special_tokens") else "")
            )
        for pooling, layers in found.vectors.items():
            for layer, vectors in enumerate(layers):
                out[Column(layer, pooling)][batch] = vectors.cpu().numpy()
        advance(len(batch))
    for column, vectors in out.items():
        finite = np.isfinite(vectors).all(1)
        if not finite.all():
            raise StatesError(
                f"{encoder.name}: layer {column.layer} ({column.pooling}) is not finite (NaN or infinite) for "
                f"{int((~finite).sum())} of {n} sentences, the first at row {int(np.flatnonzero(~finite)[0])}"
            )
    return out
