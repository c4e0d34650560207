"""Finished parts of long work: one JSON file a part, named by the hash of what determines its numbers; a killed run goes on.

    ROOT/<key>.json   its own sha256, inputs, rows (plain JSON), and when and with what they were made

A file is whole or absent; one that is damaged counts as absent, and its part is computed again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from probing.files import read_sealed, replace_file, sealed
from probing.provenance import provenance
from probing.store.results import key_of


class Kept:
    """The finished parts in folder `root`, made on first write."""

    def __init__(self, root: str | Path):
        self.root = Path(root).expanduser()

    def read(self, inputs: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        """The rows of a finished part; None where there is no file of it that can be trusted."""
        key = key_of(inputs)
        record = read_sealed(self.root / f"{key}.json")
        return record["rows"] if record and record["key"] == key == key_of(record["inputs"]) else None

    def write(self, inputs: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Records a finished part; returns its rows as they will be read."""
        key = key_of(inputs)
        content = sealed({"key": key, "inputs": inputs, "rows": rows, "details": provenance()})
        replace_file(self.root / f"{key}.json", content)
        return json.loads(content)["rows"]
