"""Reads vectors from the store: finds the rows of sentences, and reads one layer and pooling through a memory map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from probing.data.split import Split
from probing.files import read_sealed
from probing.store.locks import Use
from probing.store.segments import Segment, read_rows
from probing.types import Features, Representation


@dataclass(frozen=True)
class Vectors:
    """Vectors of one encoder on disk. `widths`: for each pooling the width of each layer's vectors; `use`: keeps others from
    removing them while this object lives."""

    segments: tuple[Segment, ...]
    widths: Mapping[str, Sequence[int]]
    use: Use | None = field(default=None, repr=False, compare=False)

    @property
    def reading(self) -> dict[str, int]:
        """Counts over the sentences of these segments (see `Segment.reading`)."""
        total: Counter[str] = Counter()
        for segment in self.segments:
            total.update(segment.reading)
        return dict(total)

    def of(self, split: Split) -> Rows:
        """The rows of a split's items."""
        return self.rows(split.texts, split.spans)

    def rows(self, texts: Sequence[str], spans: np.ndarray | None = None) -> Rows:
        """Find the rows of the sentences, or of their words (`Split.spans`), from which any number of columns can be read.

        Raises:
            KeyError: a sentence that was not in the request to `Store.vectors`.
        """
        segment_of, row_of = np.full((2, len(texts)), -1)  # (n,) each
        for g, segment in enumerate(self.segments):
            rows = np.fromiter((segment.place.get(text, -1) for text in texts), np.int64, len(texts))
            segment_of[rows >= 0], row_of[rows >= 0] = g, rows[rows >= 0]
        if (row_of < 0).any():
            raise KeyError(texts[int(np.flatnonzero(row_of < 0)[0])])
        return Rows(self, segment_of, row_of, spans)


@dataclass(frozen=True)
class Rows:
    """The places of n items in the store: segment and row in it of their sentences, each (n,); `spans`: see `Split`."""

    vectors: Vectors
    segment: np.ndarray
    row: np.ndarray
    spans: np.ndarray | None = None

    def get(self, column: Representation) -> Features:
        """Read one layer and pooling: (n, width), float32, in the order of the items. A span of several words is the mean of their
        vectors, a pair of spans the first one's vector and then the second one's, (n, 2 width)."""
        width, parts = self.vectors.widths[column.pooling][column.layer], 1 if self.spans is None else self.spans.shape[1] // 2
        out = np.empty((len(self.row), parts * width), np.float32)
        for path, first, places in self._by_shard:
            for part in range(parts):
                out[places, part * width : (part + 1) * width] = self._read(path, column, first, places, part)
        return out

    def _read(self, path: Path, column: Representation, first: np.ndarray, places: np.ndarray, part: int) -> Features:
        """The vectors of one shard's items: (m, width)."""
        if self.spans is None:
            return read_rows(path, column, first)
        start, stop = self.spans[places, 2 * part : 2 * part + 2].T
        sizes = stop - start  # (m,)
        if (sizes == 1).all():
            return read_rows(path, column, first + start)
        offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        rows = np.repeat(first + start - offsets, sizes) + np.arange(sizes.sum())
        return np.add.reduceat(read_rows(path, column, rows), offsets) / sizes[:, None].astype(np.float32)

    @property
    def made_with(self) -> list[dict[str, Any]]:
        """The distinct versions and processors that made the shards of these sentences."""
        records = [(read_sealed(path.with_suffix(".json")) or {}).get("made_with") for path, _, _ in self._by_shard]
        return [record for k, record in enumerate(records) if record and record not in records[:k]]

    @cached_property
    def _by_shard(self) -> list[tuple[Path, np.ndarray, np.ndarray]]:
        """For each shard: its file, the (first) rows of the sentences in it, and their indices among the items."""
        shards = []
        for g, segment in enumerate(self.vectors.segments):
            places = np.flatnonzero(self.segment == g)
            shard = self.row[places] // segment.shard_rows
            order = np.argsort(shard, kind="stable")
            for part in np.split(places[order], np.flatnonzero(np.diff(shard[order])) + 1):
                if len(part):
                    rows = self.row[part]
                    shards.append((segment.data(int(rows[0]) // segment.shard_rows), segment.first_row[rows], part))
        return shards
