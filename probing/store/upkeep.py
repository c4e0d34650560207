"""Upkeep of the store of vectors: what is in it, whether it is intact, and the removal of encoders."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from probing.encoders.base import hash_description
from probing.errors import StoreError
from probing.files import read_sealed
from probing.store.segments import contents_of, read_segment, segment_folders


def entries(root: Path) -> list[dict[str, Any]]:
    """One record per encoder and folder: name, fingerprint, poolings, dtype, sentences, shards done and planned, bytes, and
    what float16 cost at worst (`storage_error`)."""
    records = []
    for folder in sorted(root.glob("*/*/")):
        segments = [one for path in segment_folders(folder) if (one := read_segment(path))]
        encoder = read_encoder(folder.parent) or {"name": "?"}
        poolings, dtype = contents_of(folder)
        done = [(s, k) for s in segments for k in range(s.n_shards) if s.receipt(k).exists()]
        costs = [cost for s, k in done if (cost := s.storage_error(k))]
        records.append(
            {
                "encoder": encoder["name"],
                "fingerprint": folder.parent.name,
                "poolings": "+".join(poolings),
                "dtype": dtype,
                "sentences": sum(len(s.sentences) for s in segments),
                "shards": sum(s.n_shards for s in segments),
                "done": len(done),
                "bytes": sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()),
                "storage_error": {key: max(cost[key] for cost in costs) for key in costs[0]} if costs else None,
            }
        )
    return records


def verify(root: Path) -> tuple[int, list[Path]]:
    """Hashes everything: how many shards are intact, and the files that are damaged (the next run that needs them mends them).

    A shard without its receipt is not finished, and counted as neither.
    """
    intact, damaged = 0, []
    for home in sorted(root.glob("*/")):
        folders = [folder for poolings in sorted(home.glob("*/")) for folder in segment_folders(poolings)]
        if folders and read_encoder(home) is None:
            damaged.append(home / "encoder.json")
        for folder in folders:
            segment = read_segment(folder)
            if segment is None:
                damaged.append(folder / "sentences.json")
                continue
            for shard in range(segment.n_shards):
                if segment.intact(shard):
                    intact += 1
                elif segment.receipt(shard).exists():
                    damaged.append(segment.data(shard))
    return intact, damaged


def prune(root: Path, prefixes: Sequence[str]) -> int:
    """Deletes the encoders whose fingerprint starts with one of `prefixes`; returns the bytes freed.

    Raises:
        StoreError: a prefix that no encoder of the store has.
    """
    freed = 0
    for prefix in prefixes:
        known = sorted(path.parent for path in root.glob("*/encoder.json"))
        homes = [home for home in known if prefix and home.name.startswith(prefix)]
        if len(homes) != 1:
            have = ", ".join(home.name for home in known) or "none"
            raise StoreError(f"{len(homes) or 'no'} encoder {prefix!r} in {root} (there are: {have})")
        freed += sum(f.stat().st_size for f in homes[0].rglob("*") if f.is_file())
        shutil.rmtree(homes[0])
    return freed


def read_encoder(home: Path) -> dict[str, Any] | None:
    """Name and description of the encoder whose folder this is; None if they are missing, damaged, or another encoder's."""
    record = read_sealed(home / "encoder.json")
    return record if record and hash_description(record["description"])[:20] == home.name else None
