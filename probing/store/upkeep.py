"""Upkeep of the store of vectors: lists its encoders, checks every file, removes encoders and unfinished plans."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from probing.encoders.base import hash_description
from probing.errors import StoreError
from probing.files import read_sealed, writer
from probing.store.locks import alone, gone
from probing.store.segments import contents_of, read_segment, segment_folders

PLANNING_SECONDS = 3600
"""A plan that another machine began longer ago than this belongs to a dead process."""


def entries(root: Path) -> list[dict[str, Any]]:
    """Return one record per encoder and folder: name, fingerprint, poolings, dtype, sentences, shards done and planned, bytes, and
    the largest error of float16 (`storage_error`)."""
    records = []
    for folder in sorted(root.glob("[!.]*/*/")):
        segments = [segment for path in segment_folders(folder) if (segment := read_segment(path))]
        encoder = read_encoder(folder.parent) or {"name": "?"}
        poolings, dtype = contents_of(folder)
        done = [(s, k) for s in segments for k in range(s.n_shards) if s.receipt(k).exists()]
        errors = [error for s, k in done if (error := s.storage_error(k))]
        records.append(
            {
                "encoder": encoder["name"],
                "fingerprint": folder.parent.name,
                "poolings": "+".join(poolings),
                "dtype": dtype,
                "sentences": sum(len(s.sentences) for s in segments),
                "shards": sum(s.n_shards for s in segments),
                "done": len(done),
                "bytes": bytes_in(folder),
                "storage_error": {key: max(error[key] for error in errors) for key in errors[0]} if errors else None,
            }
        )
    return records


def verify(root: Path) -> tuple[int, list[Path]]:
    """Hash everything; return the number of intact shards, and the damaged files (the next run that needs them repairs them).

    A shard without its receipt is not finished, and counts as neither.
    """
    intact, damaged = 0, []
    for home in sorted(root.glob("[!.]*/")):
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
    """Delete the encoders whose fingerprint starts with one of `prefixes`; return the bytes freed.

    Raises:
        StoreError: a prefix that no encoder of the store has, or several have; an encoder whose vectors a process uses.
    """
    freed = 0
    for prefix in prefixes:
        known = sorted(path.parent for path in root.glob("[!.]*/encoder.json"))
        homes = [home for home in known if prefix and home.name.startswith(prefix)]
        if len(homes) != 1:
            names = ", ".join(home.name for home in known) or "none"
            raise StoreError(f"{len(homes) or 'no'} encoder {prefix!r} in {root} (there are: {names})")
        size = bytes_in(homes[0])
        with alone(homes[0] / "use.lock") as free:
            if free is False:
                raise StoreError(f"a running process uses the vectors of {homes[0].name} in {root}; end it first")
            discard(homes[0])
        freed += size
    return freed


def bytes_in(folder: Path) -> int:
    return sum(sizes_below(folder))


def sizes_below(folder: Path) -> list[int]:
    """Bytes of the files below a folder; what a running process removes meanwhile is left out."""
    sizes = []
    for above, _, names in os.walk(folder):  # which passes over folders that are gone, as `rglob` of Python 3.11 does not
        for name in names:
            with suppress(FileNotFoundError):
                sizes.append(os.stat(os.path.join(above, name)).st_size)
    return sizes


def discard(folder: Path) -> None:
    """Delete a folder that nobody uses; renamed first, so that a kill leaves no part of it under its name."""
    doomed = folder.with_name(f".{folder.name}.{writer()}.tmp")
    os.replace(folder, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def read_encoder(home: Path) -> dict[str, Any] | None:
    """Return name and description of a folder's encoder; None if they are missing, damaged, or another encoder's."""
    record = read_sealed(home / "encoder.json")
    return record if record and hash_description(record["description"])[:20] == home.name else None


def remove_strays(folder: Path, planned: Collection[Path]) -> None:
    """Remove the plans in a folder that are damaged or that a kill cut short, except the `planned` ones.

    Without locks another job may have put a plan in place since the `planned` ones were read; an undamaged plan stays.
    """
    for plan in folder.glob("*/"):
        unfinished = plan.name.startswith(".")
        if plan not in planned and (not is_being_written(plan) if unfinished else read_segment(plan) is None):
            shutil.rmtree(plan, ignore_errors=True)


def is_being_written(plan: Path) -> bool:
    """Whether the process that began this folder (`.NAME.WRITER.tmp`) may still be at work on it."""
    try:
        return not gone(plan.name.partition(".")[2].partition(".")[2]) and time.time() - plan.stat().st_mtime < PLANNING_SECONDS
    except FileNotFoundError:
        return True


def cost(entry: Mapping[str, Any]) -> str:
    """What float16 cost an entry of `entries`, in words; nothing for float32."""
    if not (error := entry["storage_error"]):
        return ""
    kept = f"; at most {error['float32']} columns of a shard kept in float32" if error["float32"] else ""
    return f"  error of the worst feature in its standard deviations: rms {error['rms']:.2g}, largest {error['max']:.2g}{kept}"
