"""A run on disk: which cells were asked for, with which configuration, and the tables made of them.

    DIR/runs/<name>/run.json    configuration and cell keys (no date: the same request writes the same bytes)
                   /rows.csv …  what `probing.report.write` makes
    DIR/cells/                  all cells of all runs, shared (probing.cells)
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probing.cells import Cells, versions
from probing.errors import DataError
from probing.tables import ResultTable, Row


@dataclass(frozen=True)
class Run:
    """A run that was asked for; its cells may be finished, failed or missing."""

    folder: Path
    config: Mapping[str, Any]
    keys: tuple[str, ...]
    cells: Cells

    @classmethod
    def write(cls, folder: Path, config: Mapping[str, Any], keys: Sequence[str], cells: Cells) -> Run:
        folder.mkdir(parents=True, exist_ok=True)
        where = os.path.relpath(cells.root.resolve(), folder.resolve())
        said = {"config": config, "cells_folder": where, "versions": versions(), "cells": list(keys)}
        (folder / "run.json").write_text(json.dumps(said, indent=1), encoding="utf-8")
        return cls(folder, config, tuple(keys), cells)

    @classmethod
    def read(cls, folder: str | Path) -> Run:
        """
        Raises:
            DataError: the folder holds no run.
        """
        folder = Path(folder).expanduser()
        try:
            said = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            return cls(folder, said["config"], tuple(said["cells"]), Cells(folder / said["cells_folder"]))
        except FileNotFoundError:
            near = sorted(str(path.parent) for path in folder.glob("**/run.json"))[:5]
            hint = f"; there is one in {', '.join(near)}" if near else " (a run is a folder such as probing-out/runs/NAME)"
            raise DataError(f"{folder} holds no run{hint}") from None
        except (ValueError, KeyError, OSError) as error:
            raise DataError(f"{folder / 'run.json'} is damaged ({error}); run the command that made it again") from None

    def state(self) -> dict[str, list[dict[str, Any] | str]]:
        """The cells by state: records of done and failed ones, keys of missing ones."""
        found: dict[str, list[dict[str, Any] | str]] = {"done": [], "failed": [], "missing": []}
        for key in self.keys:
            record = self.cells.read(key)
            if record is None or (record["status"] == "done" and not self.cells.done(key)):
                found["missing"].append(key)
            else:
                found[record["status"]].append(record)
        return found

    def table(self) -> ResultTable:
        state = self.state()
        records = sorted([*state["done"], *state["failed"]], key=lambda record: self.keys.index(record["key"]))
        return ResultTable.of((Row(**record["row"]) for record in records), self.cells.predictions)

    def data_cards(self) -> dict[str, dict[str, Any]]:
        """The data card of each task, from the first finished cell that read it."""
        cards: dict[str, dict[str, Any]] = {}
        for record in self.state()["done"]:
            cards.setdefault(record["row"]["task"], record["details"]["data"])
        return cards

    def encoder_descriptions(self) -> dict[str, dict[str, Any]]:
        """Name -> origin, fingerprint and description of each encoder, from the first finished cell that used it."""
        found: dict[str, dict[str, Any]] = {}
        for record in self.state()["done"]:
            if said := record["details"].get("encoder"):
                fingerprint = record["row"]["encoder_fingerprint"]
                found.setdefault(record["row"]["encoder"], {"origin": said["origin"], "fingerprint": fingerprint})
        return found
