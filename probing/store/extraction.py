"""All layers and all poolings of many sentences in one pass of a frozen encoder, and the cost of that, from a timed sample.

Sentences are sorted by token length and cut into batches of a token budget, of one length wherever that length is common enough, so
that hardly anything is computed on padding (`batches`). Pooling reads only tokens of the mask. `probing.store.vectors` stores the
results.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from probing.encoders.base import TOKEN_BUDGET, Encoder, Item, pooled, widths
from probing.encoders.pooling import WordPooler, of_words
from probing.errors import StatesError, foreign, out_of_memory
from probing.log import info
from probing.store.words import Words, vectors_each
from probing.types import Features, Representation

HOPELESS = 16
"""After a failed batch sentences are run alone; if the first so many all fail, the encoder's error is raised."""

SAMPLE = 192
"""Sentences that are timed."""


def give_back() -> None:
    """Return free heap memory to the system, if the C library can (glibc): batches of many sizes fragment the heap."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def token_budget(encoder: Encoder) -> int:
    """Return the tokens in a batch of this encoder, padding included: its own `token_budget` if it has one."""
    return getattr(encoder, "token_budget", TOKEN_BUDGET)


def batches(lengths: Sequence[int], budget: int = TOKEN_BUDGET) -> list[list[int]]:
    """Cut sentences into batches of at most `budget` tokens (one sentence at least), shortest first.

    A batch that holds a quarter of the budget ends where the length changes: most batches then hold one length.

    Args:
        lengths: tokens of each sentence.

    Returns:
        Indices into `lengths`; every index exactly once; the order depends on `lengths` alone.

    >>> batches([3, 2, 3, 9], budget=9)
    [[1], [0, 2], [3]]
    """
    cut: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        current = cut[-1] if cut else []
        full = (len(current) + 1) * lengths[i] > budget
        changes = bool(current) and lengths[current[-1]] != lengths[i]
        if not current or full or (changes and len(current) * lengths[current[-1]] >= budget // 4):
            cut.append([i])
        else:
            current.append(i)
    return cut


def extract(
    encoder: Encoder,
    items: Sequence[Item],
    poolings: Sequence[str],
    advance: Callable[[int], None] = lambda sentences: None,
    failed: dict[int, str] | None = None,
    words: Words | None = None,
) -> dict[Representation, Features]:
    """Return the vectors of every layer and pooling: (n, dims[layer]) each, float32, rows in the order of `items`.

    Args:
        items: the sentences, from `encoder.tokenize`.
        words: of poolings of words, the words of the sentences: n is their number then, sentence after sentence.
        poolings: a subset of `encoder.poolings`.
        advance: called after each batch with the number of its sentences.
        failed: receives the row and the reason of each sentence that fails in a batch and alone; its vectors are 0. None: the
            first failure raises.

    Raises:
        StatesError: a sentence without a token to pool, states that are not finite, or an exception in the encoder (a
            `ForeignError`); with `failed`, only if no sentence passes.
    """
    n = len(items) if words is None else int(words.starts[-1])
    columns = [(Representation(layer, p), dim) for p in poolings for layer, dim in enumerate(widths(encoder, p))]
    ends = n * np.cumsum([dim for _, dim in columns])
    block = np.zeros(ends[-1], np.float32)  # one block is freed whole, many small ones fragment the heap
    out = {column: part.reshape(n, dim) for (column, dim), part in zip(columns, np.split(block, ends[:-1]), strict=True)}
    nonempty = [i for i, item in enumerate(items) if len(item)]
    if len(nonempty) < len(items):
        empty = [i for i, item in enumerate(items) if not len(item)]
        if failed is None:
            raise StatesError(f"{encoder.name}: {len(empty)} sentence(s) have no token at all, the first at row {empty[0]}")
        failed |= {i: f"{encoder.name}: the sentence has no token at all" for i in empty if i not in failed}
    passed = alone = 0
    last: StatesError | None = None
    for batch in batches([len(items[i]) for i in nonempty], token_budget(encoder)):
        rows = [nonempty[i] for i in batch]
        try:
            _run(encoder, items, rows, poolings, out, words)
            passed += len(rows)
        except StatesError as error:
            if failed is None or out_of_memory(error.__cause__ or error):
                raise
            for row in rows:
                try:
                    _run(encoder, items, [row], poolings, out, words)
                    passed, alone = passed + 1, alone + 1
                except StatesError as row_error:
                    failed[row], last = str(row_error), row_error
                    if not passed and len(failed) >= HOPELESS:
                        raise
        advance(len(rows))
    if last is not None and not passed:
        raise last
    if alone:
        info(f"{encoder.name}: {alone} sentences failed in a batch with others, and were run alone")
    _check_finite(encoder, out, failed, words)
    return out


def _run(
    encoder: Encoder,
    items: Sequence[Item],
    rows: Sequence[int],
    poolings: Sequence[str],
    out: dict[Representation, Features],
    words: Words | None,
) -> None:
    """Write the vectors of one batch into their rows of `out`."""
    with foreign(f"{encoder.name}: running it on {len(rows)} sentence(s)"):
        if words is not None:
            states, own = encoder.forward([items[i] for i in rows]), words.rows(rows)
            pooler = WordPooler([words.owners[i] for i in rows], [words.count(i) for i in rows])
            for layer, x in enumerate(states.layers):
                for pooling in poolings:
                    backward = None if states.backward is None else states.backward[layer]
                    out[Representation(layer, pooling)][own] = pooler(x, pooling, backward).numpy()
            return
        batch = pooled(encoder, [items[i] for i in rows], poolings)
        unpoolable = (batch.counted == 0).nonzero().flatten().tolist()
        for pooling, layers in batch.vectors.items():
            for layer, vectors in enumerate(layers if not unpoolable else ()):
                out[Representation(layer, pooling)][rows] = vectors.cpu().numpy()
    if unpoolable:
        raise StatesError(
            f"{encoder.name}: the sentence at row {rows[unpoolable[0]]} has only special tokens, nothing to pool; remove it"
            + (", or set encoder.special_tokens=true" if hasattr(encoder, "special_tokens") else "")
        )


def _check_finite(
    encoder: Encoder, out: dict[Representation, Features], failed: dict[int, str] | None, words: Words | None
) -> None:
    """Record sentences with values that are not finite in `failed`, or raise; set the vectors of failed ones to 0."""
    n = len(next(iter(out.values()))) if words is None else len(words.owners)
    for column, vectors in out.items():
        finite = np.isfinite(vectors).all(1)
        if finite.all():
            continue
        rows = np.flatnonzero(~finite)
        bad: list[int] = (rows if words is None else np.unique(words.sentence_of(rows))).tolist()
        reason = f"{encoder.name}: layer {column.layer} ({column.pooling}) is not finite (NaN or infinite)"
        if failed is None or len(bad) == n:
            raise StatesError(f"{reason} for {len(bad)} of {n} sentences, the first at row {bad[0]}")
        failed |= {i: reason for i in bad if i not in failed}
    for i in failed or ():
        for vectors in out.values():
            vectors[[i] if words is None else words.rows([i])] = 0


def tokenized(encoder: Encoder, texts: Sequence[str], failed: dict[int, str] | None = None) -> tuple[list[Item], int]:
    """Return one item per sentence, and the number of truncated sentences.

    Args:
        failed: receives the row and the reason of each sentence that cannot be tokenised; its item is empty. None: the first
            failure raises.

    Raises:
        StatesError: an exception in the encoder (a `ForeignError`), or another number of items than of sentences; with `failed`,
            only if the first `HOPELESS` sentences all fail.
    """

    def tokenize(subset: Sequence[str]) -> tuple[list[Item], int]:
        with foreign(f"{encoder.name}: tokenizing {len(subset)} sentence(s)"):
            items, truncated = encoder.tokenize(subset)
            if len(items) != len(subset):
                raise StatesError(f"{encoder.name}: tokenize gave {len(items)} items for {len(subset)} sentences")
            return list(items), int(truncated)

    try:
        return tokenize(texts)
    except StatesError:
        if failed is None:
            raise
    items: list[Item] = []
    truncated = 0
    for i, text in enumerate(texts):
        try:
            [item], cut = tokenize([text])
        except StatesError as error:
            failed[i], item, cut = str(error), (), 0
            if len(failed) == i + 1 == min(HOPELESS, len(texts)):
                raise
        items.append(item)
        truncated += cut
    return items, truncated


@dataclass(frozen=True)
class ExtractionCost:
    """The cost of a request: sentences missing, their tokens, bytes on disk; seconds and bytes of memory (from a sample)."""

    sentences: int
    tokens: int
    bytes: int
    seconds: float
    memory: int


def row_bytes(encoder: Encoder, poolings: Sequence[str], texts: Sequence[str]) -> int:
    """Return the mean size of the float32 vectors of one of the sentences."""
    return round(4 * sum(sum(widths(encoder, p)) for p in poolings) * vectors_each(texts, poolings))


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

    def run(rows: Sequence[int]) -> None:
        texts, own = [sample[i] for i in rows], [items[i] for i in rows]
        extract(encoder, own, poolings, words=Words.of(encoder, texts, own) if of_words(poolings) else None)

    run([0])  # loads the model
    loaded, longest = peak_memory(), max(range(len(items)), key=lambda i: len(items[i]))
    full = max(1, min(token_budget(encoder) // max(1, len(items[longest])), len(missing)))
    run([longest] * full)  # warms up; the batches of a sample are smaller than those of a run
    start = time.perf_counter()
    run(range(len(items)))
    seconds = (time.perf_counter() - start) / len(items) * len(missing)
    peak = peak_memory()
    tokens = round(sum(map(len, items)) / len(items) * len(missing))
    row = row_bytes(encoder, poolings, sample)
    shard = row * min(len(missing), shard_rows)
    on_disk = len(missing) * row // (2 if dtype == "float16" else 1)
    shard += shard // 2 if dtype == "float16" else 0  # the codes, beside the vectors
    # the model and a full batch were held by now; the allocator's pieces took up to a shard and two batches more
    return ExtractionCost(len(missing), tokens, on_disk, seconds, peak + 2 * (shard + peak - loaded))
