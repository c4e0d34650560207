"""Finished parts of long work: one JSON file a part, named by the hash of what determines its numbers; a killed run goes on.

    ROOT/<key>.json   inputs, rows (plain JSON), the hash of the rows, and when and with what they were made

A file is whole or absent; one that is damaged counts as absent, and its part is computed again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from probing.cells import key_of, provenance, replace_file


class Kept:
    """The finished parts in folder `root`, made on first write."""

    def __init__(self, root: str | Path):
        self.root = Path(root).expanduser()

    def read(self, inputs: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        """The rows of a finished part; None where there is no file of it that can be trusted."""
        key = key_of(inputs)
        try:
            record = json.loads((self.root / f"{key}.json").read_text(encoding="utf-8"))
            whole = record["key"] == key == key_of(record["inputs"]) and record["rows_sha256"] == _hash(record["rows"])
            return record["rows"] if whole else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, inputs: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Records a finished part; returns its rows as they will be read."""
        key = key_of(inputs)
        record = {"key": key, "inputs": inputs, "rows_sha256": _hash(rows), "rows": rows, "details": provenance()}
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
        replace_file(self.root / f"{key}.json", text.encode())
        return json.loads(text)["rows"]


def _hash(rows: Sequence[Mapping[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
