"""The result store: one finished measurement per file, so that nothing is computed twice and any number can be traced.

    ROOT/<key>.json   its own sha256, inputs (everything that determines the numbers; the key is their hash), status, rows, details
    ROOT/<key>.npz    arrays by test item, if there are any: for a probe gold and predicted classes, and the numbers of groups

Both are renamed into place, the JSON last. A damaged file counts as absent. A failed measurement is recorded with its message, and
the next run tries it again. Times, dates and versions are in the details, not in the inputs. Files of earlier versions, with one
row and predictions in <key>.npy, are read as well.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from probing.errors import DataError, did_you_mean
from probing.files import read_sealed, replace_file, sealed
from probing.provenance import provenance
from probing.store.locks import claims
from probing.types import Labels

SCHEMA = 1


def key_of(inputs: Mapping[str, Any]) -> str:
    """Return the name of a result: a hash of its inputs (20 hex digits)."""
    return hashlib.sha256(json.dumps({"schema": SCHEMA, **inputs}, sort_keys=True).encode()).hexdigest()[:20]


class ResultStore:
    """The results in folder `root`, made on first write."""

    def __init__(self, root: str | Path):
        self.root = Path(root).expanduser()

    def read(self, key: str) -> dict[str, Any] | None:
        """Return the record of a result; None if it is missing or damaged."""
        record = read_sealed(self.root / f"{key}.json")
        return record if record and record["key"] == key == key_of(record["inputs"]) else None

    def get(self, inputs: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        """Return the rows of a finished result; None if it is not finished."""
        status, record = self.state(key_of(inputs))
        return record["rows"] if status == "done" else None

    def put(
        self,
        inputs: Mapping[str, Any],
        rows: Sequence[Mapping[str, Any]],
        details: Mapping[str, Any] | None = None,
        items: Mapping[str, np.ndarray] | None = None,
    ) -> list[dict[str, Any]]:
        """Record a finished result; return its rows as they will be read: None where a number is NaN, which is undefined."""
        defined = [{name: None if isinstance(x, float) and math.isnan(x) else x for name, x in row.items()} for row in rows]
        record: dict[str, Any] = {"key": key_of(inputs), "status": "done", "inputs": inputs, "rows": defined}
        record["details"] = dict(details or {}) | provenance()
        if items:
            content = _packed(items)
            replace_file(self.root / f"{record['key']}.npz", content)
            record["items_sha256"] = hashlib.sha256(content).hexdigest()
        content = sealed(record)
        replace_file(self.root / f"{record['key']}.json", content)
        return json.loads(content)["rows"]

    def put_failure(self, inputs: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], message: str) -> None:
        """Record a measurement that failed, with the reason."""
        key = key_of(inputs)
        record = {"key": key, "status": "failed", "inputs": inputs, "rows": rows, "details": provenance(), "error": message}
        replace_file(self.root / f"{key}.json", sealed(record))

    def done(self, key: str) -> bool:
        """Whether the result is finished, and its arrays are undamaged."""
        return self.state(key)[0] == "done"

    def pending(self, keys: Iterable[str]) -> list[str]:
        """Return the keys of the results that are not finished."""
        return [key for key in keys if not self.done(key)]

    def state(self, key: str) -> tuple[str, dict[str, Any]]:
        """Return "done", "failed" or "missing", and the record (empty if missing); a result with damaged arrays is missing."""
        record = self.read(key)
        if record is None or (record.get("status") == "done" and self._items_of(record) is None):
            return "missing", {}
        if "row" in record:  # an earlier version
            record["rows"] = [record.pop("row")]
        return record["status"], record

    def items(self, key: str) -> dict[str, np.ndarray]:
        """Return the arrays by test item, by name.

        Raises:
            DataError: the result is not finished, or its arrays are damaged.
        """
        record = self.read(key)
        content = self._items_of(record) if record and record["status"] == "done" else None
        if content is None:
            raise DataError(f"the predictions of cell {key} in {self.root} are missing or damaged; run the same command again")
        return _unpacked(content) if content else {}

    def predictions(self, key: str) -> tuple[Labels, Labels]:
        """Return gold and predicted class indices of a probe's test sentences, each (n_test,). Raises as `items`."""
        items = self.items(key)
        return items["gold"], items["predicted"]

    def groups(self, key: str) -> Labels | None:
        """Return the numbers 0..m-1 of the test items' groups, (n_test,); None if there are no groups. Raises as `items`."""
        return self.items(key).get("groups")

    def _items_of(self, record: Mapping[str, Any]) -> bytes | None:
        """Return the bytes of a result's arrays, empty if it has none; None if they are missing or damaged."""
        ending, sha256 = ("npz", record.get("items_sha256")) if "rows" in record else ("npy", record.get("predictions_sha256"))
        if sha256 is None:
            return b""
        try:
            content = (self.root / f"{record['key']}.{ending}").read_bytes()
        except OSError:
            return None
        return content if hashlib.sha256(content).hexdigest() == sha256 else None

    def claims(self, name: str, layers: Iterable[int]) -> Iterator[list[int]]:
        """Yield the layers in groups while this process holds the locks of their results (`probing.store.locks.claims`)."""
        folder = self.root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        return claims(lambda layer: folder / f"{name}-{layer}.lock", sorted(layers))

    def find(self, prefix: str) -> dict[str, Any]:
        """Return the record of the one result whose key starts with `prefix`.

        Raises:
            DataError: no key starts with it, or several do, or the file is damaged.
        """
        keys = sorted(path.stem for path in self.root.glob("*.json"))
        matches = [key for key in keys if key.startswith(prefix)] if prefix.isalnum() else []
        if len(matches) != 1:
            none = f"no such cell among {len(keys)}{did_you_mean(prefix, keys)}"
            hint = f"{len(matches)} cells start with it" if matches else none
            raise DataError(f"cell {prefix!r} in {self.root}: {hint}; keys stand in the column `cell` of a run's rows.csv")
        record = self.read(matches[0])
        if record is None:
            raise DataError(f"{self.root / matches[0]}.json is damaged; run the command that made it again")
        return record


def _packed(items: Mapping[str, np.ndarray]) -> bytes:
    """Return the bytes of an .npz; integers take the narrowest type that holds them."""
    buffer = BytesIO()
    narrow: dict[str, Any] = {
        name: x.astype(np.min_scalar_type(x.max(initial=0))) if x.dtype.kind in "iu" else x for name, x in items.items()
    }
    np.savez(buffer, **narrow)
    return buffer.getvalue()


def _unpacked(content: bytes) -> dict[str, np.ndarray]:
    loaded = np.load(BytesIO(content), allow_pickle=False)
    if isinstance(loaded, np.ndarray):  # an earlier version
        loaded = dict(zip(("gold", "predicted", "groups"), loaded, strict=False))
    return {name: x.astype(np.int64) if x.dtype.kind in "iu" else x for name, x in loaded.items()}
