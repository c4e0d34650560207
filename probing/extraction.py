"""All layers and all poolings of many sentences in one pass of a frozen encoder.

Sentences are taken in order of their token length and cut into batches of a token budget, of one length wherever that length is
common enough, so that hardly anything is computed on padding (`batches`). Pooling looks only at tokens of the mask.

Left out: storing (`probing.store`), and any choice of layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from probing.encoders.base import Encoder, Item, pool
from probing.errors import StatesError
from probing.types import Column, Features

TOKEN_BUDGET = 2048
"""Tokens in a batch, padding included. 1,024 to 4,096 measured alike on CPU."""


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
    out = {Column(layer, p): np.empty((n, dim), np.float32) for p in poolings for layer, dim in enumerate(encoder.dims)}
    if empty := [i for i, item in enumerate(items) if not len(item)]:
        raise StatesError(f"{encoder.name}: {len(empty)} sentence(s) have no token at all, the first at row {empty[0]}")
    for batch in batches([len(item) for item in items]):
        states = encoder.forward([items[i] for i in batch])
        bare = (~states.mask.any(1)).nonzero().flatten().tolist()
        if bare:
            raise StatesError(
                f"{encoder.name}: the sentence at row {batch[bare[0]]} has only special tokens, nothing to pool; remove it"
                + (", or set encoder.special_tokens=true" if hasattr(encoder, "special_tokens") else "")
            )
        for pooling in poolings:
            for layer, vectors in enumerate(pool(states, pooling)):
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
