"""The main table: runs `probing run data=senteval data.root=DATA encoder=minilm`, and puts table and manifest into OUT.

Usage: python scripts/main_table.py DATA OUT [KEY=VALUE ...]      (further words go to `probing run`)
The manifest holds the command, wall time, peak memory, commit, machine and versions; a run that only reads finished cells says so.
"""

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from probing.evaluation.runs import Run
from probing.paths import portable
from probing.provenance import versions

KEPT = ("table.md", "layers.csv", "table.csv", "table.tex", "rows.csv", "report.html")


def main(data: str, out: Path, *more: str) -> None:
    words = ["data=senteval", f"data.root={data}", "encoder=minilm", "run.name=main-table", *more]
    home = Path(next((w.removeprefix("run.dir=") for w in words if w.startswith("run.dir=")), "probing-out"))
    start = time.time()
    code = subprocess.run([sys.executable, "-m", "probing", "run", *words]).returncode
    if code:
        sys.exit(code)
    publish(home / "runs" / "main-table", out, f"probing run {' '.join(words)}", time.time() - start)


def publish(folder: Path, out: Path, command: str, seconds: float, peak_kib: int | None = None) -> None:
    """Copies a run's tables and figures, and writes the manifest of how they were made."""
    run = Run.read(folder)
    records = run.state()["done"]
    out.mkdir(parents=True, exist_ok=True)
    for path in [folder / name for name in KEPT] + sorted(folder.glob("*.svg")):
        shutil.copy(path, out / path.name)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    manifest = {
        "command": command,
        "cells": len(run.keys),
        "done": len(records),
        "wall_seconds": round(seconds),
        "peak_memory_gib": round((peak_kib or resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 2**20, 2),
        "fit_seconds": round(sum(record["details"]["seconds"] for record in records)),
        "commit": commit,
        "made": [min(r["details"]["made"] for r in records), max(r["details"]["made"] for r in records)],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": versions(),
        "data": {name: {k: card[k] for k in ("file_sha256", "sha256", "n", "notes")} for name, card in run.data_cards().items()},
        "encoders": run.encoder_descriptions(),
    }
    (out / "manifest.json").write_text(json.dumps(portable(manifest), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
