"""The result store: one finished measurement a file, so that nothing is computed twice and any number can be traced.

    ROOT/<key>.json   its own sha256, inputs (everything that determines the numbers; the key is their hash), status, row, details
    ROOT/<key>.npy    gold and predicted class of every test sentence, in file order: shape (2, n_test), of the narrowest type;
                      with a third row, the number of its group, where test sentences have groups

Both are written to a temporary file and renamed, the JSON last: it is there, whole, or absent. A failed cell is recorded with its
message and tried again by the next run. Times, dates and versions stand in the details, outside what determines the numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from probing.errors import DataError, did_you_mean
from probing.files import read_sealed, replace_file, sealed
from probing.provenance import provenance
from probing.store.locks import turns
from probing.types import Labels

SCHEMA = 1


def key_of(inputs: Mapping[str, Any]) -> str:
    """The name of a cell: a hash of its inputs (20 hex digits)."""
    return hashlib.sha256(json.dumps({"schema": SCHEMA, **inputs}, sort_keys=True).encode()).hexdigest()[:20]


class ResultStore:
    """The cells in folder `root`, made on first write."""

    def __init__(self, root: str | Path):
        self.root = Path(root).expanduser()

    def read(self, key: str) -> dict[str, Any] | None:
        """The record of a cell, or None where there is none that can be read."""
        record = read_sealed(self.root / f"{key}.json")
        return record if record and record["key"] == key == key_of(record["inputs"]) else None

    def done(self, key: str) -> bool:
        """Whether the cell is finished, and its predictions are the ones that were written."""
        return self.state(key)[0] == "done"

    def state(self, key: str) -> tuple[str, dict[str, Any]]:
        """ "done", "failed" or "missing", and the record (empty for a missing cell); damaged predictions make it missing."""
        record = self.read(key)
        if record is None or (record["status"] == "done" and not self._predictions_intact(record)):
            return "missing", {}
        return record["status"], record

    def predictions(self, key: str) -> tuple[Labels, Labels]:
        """Gold and predicted class indices of the test sentences, each (n_test,).

        Raises:
            DataError: the cell is not finished, or its predictions are damaged.
        """
        gold, predicted, *_ = self._kept(key)
        return gold, predicted

    def groups(self, key: str) -> Labels | None:
        """Numbers 0..m-1 of the test sentences' groups, (n_test,); None where each has its own. Raises as `predictions`."""
        return next(iter(self._kept(key)[2:]), None)

    def _kept(self, key: str) -> Labels:
        if not self.done(key):
            raise DataError(f"the predictions of cell {key} in {self.root} are missing or damaged; run the same command again")
        return np.load(self.root / f"{key}.npy", allow_pickle=False).astype(np.int64)

    def _predictions_intact(self, record: Mapping[str, Any]) -> bool:
        try:
            content = (self.root / f"{record['key']}.npy").read_bytes()
        except OSError:
            return False
        return hashlib.sha256(content).hexdigest() == record.get("predictions_sha256")

    def write(
        self,
        inputs: Mapping[str, Any],
        row: Mapping[str, Any],
        details: Mapping[str, Any],
        gold: Labels,
        predicted: Labels,
        groups: Labels | None = None,
    ) -> str:
        """Records a finished cell; returns its key."""
        key = key_of(inputs)
        buffer = BytesIO()
        kept = np.stack([gold, predicted] if groups is None else [gold, predicted, groups])
        np.save(buffer, kept.astype(np.min_scalar_type(kept.max())), allow_pickle=False)
        replace_file(self.root / f"{key}.npy", buffer.getvalue())
        self._write_record(
            {
                "key": key, "status": "done", "inputs": inputs, "row": row, "details": details | provenance(),
                "predictions_sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
            }
        )  # fmt: skip
        return key

    def write_failure(self, inputs: Mapping[str, Any], row: Mapping[str, Any], message: str) -> str:
        """Records a cell that could not be computed, with the reason."""
        key = key_of(inputs)
        self._write_record(
            {"key": key, "status": "failed", "inputs": inputs, "row": row, "details": provenance(), "error": message}
        )
        return key

    def _write_record(self, record: Mapping[str, Any]) -> None:
        replace_file(self.root / f"{record['key']}.json", sealed(record))

    def turns(self, name: str, layers: Iterable[int]) -> Iterator[list[int]]:
        """The layers in groups, while this process alone computes their cells of `name` (`probing.store.locks.turns`)."""
        folder = self.root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        return turns(lambda layer: folder / f"{name}-{layer}.lock", sorted(layers))

    def find(self, prefix: str) -> dict[str, Any]:
        """The one cell whose key starts with `prefix`.

        Raises:
            DataError: none, or several.
        """
        found = sorted(path.stem for path in self.root.glob(f"{prefix}*.json")) if prefix.isalnum() else []
        if len(found) != 1:
            keys = [path.stem for path in self.root.glob("*.json")]
            hint = f"{len(found)} cells start with it" if found else f"no such cell among {len(keys)}{did_you_mean(prefix, keys)}"
            raise DataError(f"cell {prefix!r} in {self.root}: {hint}; keys stand in the column `cell` of a run's rows.csv")
        record = self.read(found[0])
        if record is None:
            raise DataError(f"{self.root / found[0]}.json is damaged; run the command that made it again")
        return record
