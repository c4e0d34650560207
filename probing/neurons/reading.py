"""States of an encoder along a long text: character by character where a token is one, else word by word.

The text is read in parts that each start anew; the first places of a part, whose states have little to remember, are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from probing.encoders.base import Encoder
from probing.errors import DataError

BATCH = 8
"""Parts that are read at once."""


@dataclass(frozen=True)
class Block:
    """The places of some parts, in the order of the text: for each the index of its (last) character, (n,), and the states of every
    layer, (n, d) each."""

    places: np.ndarray
    layers: Sequence[np.ndarray]


def by_character(encoder: Encoder, text: str) -> bool:
    """Whether each character of the text is a token."""
    sample = text[:200]
    items, _ = encoder.tokenize([sample])
    return len(items[0]) == len(sample)


def blocks(encoder: Encoder, text: str, size: int, skip: int) -> Iterator[Block]:
    """The states along a text, in parts of `size` characters (of a sixth as many words), each without its first `skip`.

    Raises:
        DataError: a part is no longer than what is left out.
    """
    if skip >= size:
        raise DataError(f"parts of {size} characters of which the first {skip} are left out have nothing left")
    if by_character(encoder, text):
        starts = list(range(0, len(text), size))
        parts = [text[start : start + size] for start in starts]
        ends = [np.arange(start, start + len(part)) for start, part in zip(starts, parts, strict=True)]
    else:
        words = list(re.finditer(r"\S+", text))
        size, skip = max(2, size // 6), min(skip // 6, max(2, size // 6) - 1)
        groups = [words[k : k + size] for k in range(0, len(words), size)]
        parts = [" ".join(word.group() for word in group) for group in groups]
        ends = [np.array([word.end() - 1 for word in group]) for group in groups]
    for k in range(0, len(parts), BATCH):
        yield _read(encoder, parts[k : k + BATCH], ends[k : k + BATCH], skip, by_character(encoder, text))


def _read(encoder: Encoder, parts: Sequence[str], ends: Sequence[np.ndarray], skip: int, characters: bool) -> Block:
    items, _ = encoder.tokenize(parts)
    rows = []
    for part, item, own in zip(parts, items, ends, strict=True):
        if characters:
            rows.append([(k, int(own[k])) for k in range(skip, len(item))])
        else:
            last = {word: k for k, word in enumerate(encoder.word_ids([part])[0]) if word is not None}
            rows.append([(token, int(own[word])) for word, token in sorted(last.items()) if word >= skip])
    states = encoder.forward(items)
    layers = []
    for layer in states.layers:
        own = layer.float().cpu().numpy()
        layers.append(np.concatenate([own[row, [token for token, _ in places]] for row, places in enumerate(rows)]))
    return Block(np.array([place for places in rows for _, place in places], np.int64), layers)
