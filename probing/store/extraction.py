"""All layers and all poolings of many sentences in one pass of a frozen encoder.

Sentences are taken in order of their token length and cut into batches of a token budget, of one length wherever that length is
common enough, so that hardly anything is computed on padding (`batches`). Pooling looks only at tokens of the mask.

Left out: storing (`probing.store.vectors`), and any choice of layer. Measured, and not worth their code on a CPU: sentences that
differ but have the same tokens (4 of the 138,804 of xprobe-en), and tokenising ahead of the model in a thread (1 % of the time).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from probing.encoders.base import TOKEN_BUDGET, Encoder, Item, pooled
from probing.errors import StatesError, foreign, out_of_memory
from probing.log import info
from probing.types import Features, Representation

HOPELESS = 16
"""So many sentences are run alone after a failed batch; where not one of them passes, the encoder is given up."""


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
    failed: dict[int, str] | None = None,
) -> dict[Representation, Features]:
    """Pooled vectors of every layer: `{Representation(layer, pooling): (n, dims[layer])}`, float32, rows in the order of `items`.

    Args:
        items: what `encoder.tokenize` made of the sentences.
        poolings: a subset of `encoder.poolings`.
        advance: called after each batch with the number of its sentences.
        failed: takes the row and the reason of each sentence that has no vectors, not even alone; its vectors are 0. None: the
            first one raises.

    Raises:
        StatesError: a sentence without a token to pool, states that are not finite, or an exception in the encoder (a
            `ForeignError`); with `failed`, only where no sentence passes.
    """
    n = len(items)
    columns = [(Representation(layer, p), dim) for p in poolings for layer, dim in enumerate(encoder.dims)]
    ends = n * np.cumsum([dim for _, dim in columns])
    block = np.zeros(ends[-1], np.float32)  # one block: the allocator gives it back whole, many small ones leave its heap in pieces
    out = {column: part.reshape(n, dim) for (column, dim), part in zip(columns, np.split(block, ends[:-1]), strict=True)}
    rest = [i for i, item in enumerate(items) if len(item)]
    if len(rest) < n:
        empty = [i for i, item in enumerate(items) if not len(item)]
        if failed is None:
            raise StatesError(f"{encoder.name}: {len(empty)} sentence(s) have no token at all, the first at row {empty[0]}")
        failed |= {i: f"{encoder.name}: the sentence has no token at all" for i in empty if i not in failed}
    passed = alone = 0
    last: StatesError | None = None
    for batch in batches([len(items[i]) for i in rest], token_budget(encoder)):
        rows = [rest[i] for i in batch]
        try:
            _run(encoder, items, rows, poolings, out)
            passed += len(rows)
        except StatesError as error:
            if failed is None or out_of_memory(error.__cause__ or error):
                raise
            for row in rows:
                try:
                    _run(encoder, items, [row], poolings, out)
                    passed, alone = passed + 1, alone + 1
                except StatesError as one:
                    failed[row], last = str(one), one
                    if not passed and len(failed) >= HOPELESS:
                        raise
        advance(len(rows))
    if last is not None and not passed:
        raise last
    if alone:
        info(f"{encoder.name}: {alone} sentences failed in a batch with others, and were run alone")
    _check_finite(encoder, out, failed)
    return out


def _run(
    encoder: Encoder, items: Sequence[Item], rows: Sequence[int], poolings: Sequence[str], out: dict[Representation, Features]
) -> None:
    """Puts the vectors of one batch into their rows of `out`."""
    with foreign(f"{encoder.name}: running it on {len(rows)} sentence(s)"):
        batch = pooled(encoder, [items[i] for i in rows], poolings)
        bare = (batch.counted == 0).nonzero().flatten().tolist()
        for pooling, layers in batch.vectors.items():
            for layer, vectors in enumerate(layers if not bare else ()):
                out[Representation(layer, pooling)][rows] = vectors.cpu().numpy()
    if bare:
        raise StatesError(
            f"{encoder.name}: the sentence at row {rows[bare[0]]} has only special tokens, nothing to pool; remove it"
            + (", or set encoder.special_tokens=true" if hasattr(encoder, "special_tokens") else "")
        )


def _check_finite(encoder: Encoder, out: dict[Representation, Features], failed: dict[int, str] | None) -> None:
    for column, vectors in out.items():
        finite = np.isfinite(vectors).all(1)
        if finite.all():
            continue
        bad = np.flatnonzero(~finite).tolist()
        place = f"{encoder.name}: layer {column.layer} ({column.pooling}) is not finite (NaN or infinite)"
        if failed is None or len(bad) == len(vectors):
            raise StatesError(f"{place} for {len(bad)} of {len(vectors)} sentences, the first at row {bad[0]}")
        failed |= {i: place for i in bad if i not in failed}
    for i in failed or ():
        for vectors in out.values():
            vectors[i] = 0


def tokenized(encoder: Encoder, texts: Sequence[str], failed: dict[int, str] | None = None) -> tuple[list[Item], int]:
    """`encoder.tokenize`, with one item per sentence.

    Args:
        failed: takes the row and the reason of each sentence that cannot be tokenised; its item is empty. None: the first raises.

    Raises:
        StatesError: an exception in the encoder (a `ForeignError`), or another number of items than of sentences; with `failed`,
            only where the first `HOPELESS` sentences fail.
    """

    def plain(some: Sequence[str]) -> tuple[list[Item], int]:
        with foreign(f"{encoder.name}: tokenizing {len(some)} sentence(s)"):
            items, truncated = encoder.tokenize(some)
            if len(items) != len(some):
                raise StatesError(f"{encoder.name}: tokenize gave {len(items)} items for {len(some)} sentences")
            return list(items), int(truncated)

    try:
        return plain(texts)
    except StatesError:
        if failed is None:
            raise
    items: list[Item] = []
    truncated = 0
    for i, text in enumerate(texts):
        try:
            [item], cut = plain([text])
        except StatesError as error:
            failed[i], item, cut = str(error), (), 0
            if len(failed) == i + 1 == min(HOPELESS, len(texts)):
                raise
        items.append(item)
        truncated += cut
    return items, truncated
