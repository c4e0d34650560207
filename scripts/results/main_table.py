"""Runs `probing run data=senteval data.root=DATA encoder=minilm`, and copies its tables and figures with a manifest into OUT.

Usage: python scripts/results/main_table.py DATA OUT [KEY=VALUE ...]      (further options go to `probing run`)
"""

import resource
import shutil
import sys
import time
from pathlib import Path

from probing.evaluation.runs import Run
from probing.run import main as run_main

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import manifest, write_json

KEPT = ("table.md", "layers.csv", "table.csv", "table.tex", "rows.csv", "report.html")


def main(data: str, out: Path, *more: str) -> None:
    words = ["data=senteval", f"data.root={data}", "encoder=minilm", "run.name=main-table", *more]
    home = Path(next((w.removeprefix("run.dir=") for w in words if w.startswith("run.dir=")), "probing-out"))
    start = time.time()
    if code := run_main(words):
        sys.exit(code)
    seconds = time.time() - start
    folder = home / "runs" / "main-table"
    run = Run.read(folder)
    records = run.state()["done"]
    out.mkdir(parents=True, exist_ok=True)
    for path in [folder / name for name in KEPT] + sorted(folder.glob("*.svg")):
        shutil.copy(path, out / path.name)
    facts = {
        "command": f"probing run {' '.join(words)}",
        "cells": len(run.keys),
        "done": len(records),
        "wall_seconds": round(seconds),
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "fit_seconds": round(sum(record["details"]["seconds"] for record in records)),
        "made": [min(r["details"]["made"] for r in records), max(r["details"]["made"] for r in records)],
        "data": {name: {k: card[k] for k in ("file_sha256", "sha256", "n", "notes")} for name, card in run.data_cards().items()},
        "encoders": run.encoder_descriptions(),
    }
    write_json(out / "manifest.json", manifest(**facts))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
