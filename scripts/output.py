"""Manifests, JSON files and Markdown tables that scripts write."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from probing.paths import portable
from probing.provenance import processor, versions

COMMAND = " ".join(["python", *sys.argv])  # read at the start: some scripts change sys.argv, and HEAD can move while they run
COMMIT = subprocess.run(["git", "-C", Path(__file__).parent, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()


def manifest(**more: Any) -> dict[str, Any]:
    """The record of how a result was made: command, commit, machine, versions, and what the script adds."""
    machine = f"{processor()['name']}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end"
    return {"command": COMMAND, "commit": COMMIT, "machine": machine, "versions": versions()} | more


def write_json(path: Path, record: Any) -> None:
    """Writes a record without paths of this machine."""
    path.write_text(json.dumps(portable(record), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Lines of a Markdown table."""
    head, *body = (f"| {' | '.join(map(str, row))} |" for row in (header, *rows))
    return [head, "|---" * len(header) + "|", *body]
