"""Vectors in the store, read: where sentences lie, and the rows of one layer and pooling through a memory map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from probing.files import read_sealed
from probing.store.segments import Segment, read_rows
from probing.types import Features, Representation


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
            at = np.fromiter((one.place.get(text, -1) for text in texts), np.int64, len(texts))
            segment[at >= 0], row[at >= 0] = g, at[at >= 0]
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
        for path, rows, places in self._by_shard:
            out[places] = read_rows(path, column, rows)
        return out

    @property
    def made_with(self) -> list[dict[str, Any]]:
        """The versions and processors that the shards of these sentences were made with, each once."""
        sets = [(read_sealed(path.with_suffix(".json")) or {}).get("made_with") for path, _, _ in self._by_shard]
        return [made for k, made in enumerate(sets) if made and made not in sets[:k]]

    @cached_property
    def _by_shard(self) -> list[tuple[Path, np.ndarray, np.ndarray]]:
        """For each shard: its file, which of its rows are asked for, and where they go."""
        shards = []
        for g, segment in enumerate(self.vectors.segments):
            places = np.flatnonzero(self.segment == g)
            shard = self.row[places] // segment.shard_rows
            order = np.argsort(shard, kind="stable")
            for part in np.split(places[order], np.flatnonzero(np.diff(shard[order])) + 1):
                if len(part):
                    rows = self.row[part]
                    shards.append((segment.data(int(rows[0]) // segment.shard_rows), rows % segment.shard_rows, part))
        return shards
