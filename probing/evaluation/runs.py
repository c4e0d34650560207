"""A run on disk: its configuration, the planned rows, and the tables made of them.

DIR/runs/<name>/run.json    configuration and planned rows (no date: the same request writes the same bytes)
               /rows.csv …  what `probing.report.write.write` makes
DIR/cells/                  all cells of all runs, shared (probing.store.results)
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from probing.errors import DataError
from probing.evaluation.evaluate import table_of
from probing.evaluation.rows import MEASURED, PLAIN, STATES, Row
from probing.evaluation.table import ResultTable
from probing.files import replace_file
from probing.store.results import ResultStore


@dataclass(frozen=True)
class Run:
    """A planned run; its cells may be finished, failed or missing."""

    folder: Path
    config: Mapping[str, Any]
    rows: tuple[Row, ...]
    cells: ResultStore

    @property
    def keys(self) -> tuple[str, ...]:
        """The cells, each once, though several rows may show it."""
        return tuple(dict.fromkeys(row.cell for row in self.rows))

    @classmethod
    def write(cls, folder: Path, config: Mapping[str, Any], rows: Sequence[Row], cells: ResultStore) -> Run:
        where = os.path.relpath(cells.root.resolve(), folder.resolve())
        planned = [{name: getattr(row, name) for name in PLAIN if name not in MEASURED} for row in rows]
        content = {"config": config, "cells_folder": where, "rows": planned}
        replace_file(folder / "run.json", json.dumps(content, indent=1, ensure_ascii=False).encode())
        return cls(folder, config, tuple(rows), cells)

    @classmethod
    def read(cls, folder: str | Path) -> Run:
        """Reads a run; DataError if the folder holds none, or a damaged one."""
        folder = Path(folder).expanduser()
        try:
            content = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            rows = tuple(Row(**{"layer_name": "", **row}) for row in content["rows"])
            return cls(folder, content["config"], rows, ResultStore(folder / content["cells_folder"]))
        except NotADirectoryError:
            raise DataError(f"{folder} is a file; a run is a folder such as probing-out/runs/NAME") from None
        except FileNotFoundError:
            near = sorted(str(path.parent) for path in folder.glob("**/run.json"))[:5]
            hint = f"; there is one in {', '.join(near)}" if near else " (a run is a folder such as probing-out/runs/NAME)"
            raise DataError(f"{folder} holds no run{hint}") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
            raise DataError(f"{folder / 'run.json'} is damaged ({error}); run the command that made it again") from None

    def state(self) -> dict[str, list[Any]]:
        """The cells by state: records of done and failed ones, keys of missing ones."""
        return self._state

    @cached_property
    def _state(self) -> dict[str, list[Any]]:
        states: dict[str, list[Any]] = {name: [] for name in STATES}
        for key in self.keys:
            status, record = self.cells.state(key)
            states[status].append(record or key)
        return states

    @cached_property
    def finished(self) -> dict[str, dict[str, Any]]:
        """The records of the finished cells by key."""
        return {record["key"]: record for record in self.state()["done"]}

    def table(self) -> ResultTable:
        return table_of(self.rows, self.cells)

    def data_cards(self) -> dict[str, dict[str, Any]]:
        """The data card of each task, from the first finished cell that read it."""
        cards: dict[str, dict[str, Any]] = {}
        for row in self.rows:
            if record := self.finished.get(row.cell):
                cards.setdefault(row.task, record["details"]["data"])
        return cards

    def encoder_descriptions(self) -> dict[str, dict[str, Any]]:
        """Name -> origin, fingerprint and description of each encoder, from the first finished cell that used it."""
        encoders: dict[str, dict[str, Any]] = {}
        for row in self.rows:
            record = self.finished.get(row.cell)
            if record and (about := record["details"].get("encoder")):
                fingerprint = record["rows"][0]["encoder_fingerprint"]
                entry = {"origin": about["origin"], "fingerprint": fingerprint, "reading": about["reading"]}
                encoders.setdefault(row.encoder, entry)
        return encoders

    def versions(self) -> list[dict[str, str]]:
        """The versions that computed the cells, each set once."""
        sets = [record["details"]["versions"] for record in self.state()["done"]]
        return [versions for k, versions in enumerate(sets) if versions not in sets[:k]]


def rows_that_show(key: str, home: Path) -> list[dict[str, Any]]:
    """Run, role, encoder and `twin_of` of every row of the runs in `home` that shows the cell `key`."""
    rows: list[dict[str, Any]] = []
    for path in sorted(home.glob("runs/*/run.json")):
        try:
            run = Run.read(path.parent)
        except DataError:  # damaged; the commands that need it say so
            continue
        for row in run.rows:
            if row.cell == key:
                shown = {name: getattr(row, name) for name in ("role", "task", "encoder", "twin_of")}
                rows.append({"run": path.parent.name} | shown)
    return rows
