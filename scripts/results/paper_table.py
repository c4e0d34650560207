"""Runs `probing run +experiment=…` with MiniLM and others, and puts one report of all its runs with a manifest into OUT.

Usage: python scripts/results/paper_table.py OUT EXPERIMENT [KEY=VALUE ...] [/ KEY=VALUE ...]
(KEY=VALUE: for `probing run`; after a "/" those of another run of the same report; a sweep of the experiment is several runs, too;
against=NAME: the published table that the report is set beside)
Vectors are kept in probing-out/store, cells and runs in probing-out/papers/NAME, NAME the name of OUT: a killed command goes on.
"""

import lzma
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from probing.evaluation.runs import Run

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import manifest, write_json

KEPT = ("table.md", "table.csv", "layers.csv")
BESIDES = ("dev-", "-loss", "-chain", "-untrained", "-bits", "control", "label-")
"""Figures with these in their names are not kept."""


def main(out: Path, experiment: str, *words: str) -> None:
    home, start = Path("probing-out/papers") / out.name, time.time()
    shutil.rmtree(home / "runs", ignore_errors=True)  # of other options; what they measured is in the cells
    against = [part for word in words if word.startswith("against=") for part in ("--against", word.removeprefix("against="))]
    commands, own = [], list[str]()
    for word in (*(word for word in words if not word.startswith("against=")), "/"):
        if word != "/":
            own.append(word)
            continue
        flags, own = [one for one in own if one == "-m"], [one for one in own if one != "-m"]
        where = [f"run.dir={home}", "run.store=probing-out/store", "run.threads=1"]
        commands.append(["run", *flags, f"+experiment={experiment}", *own, *where])
        own = []
    for command in commands:
        if code := subprocess.run([sys.executable, "-m", "probing", *command]).returncode:
            sys.exit(code)
    folders = sorted((home / "runs").iterdir())
    report = home / "report"
    shutil.rmtree(report, ignore_errors=True)
    made = ["report", *map(str, folders), "--out", str(report), *against]
    subprocess.run([sys.executable, "-m", "probing", *made], check=True, stdout=subprocess.DEVNULL)
    out.mkdir(parents=True, exist_ok=True)
    figures = [path for path in sorted(report.glob("*.svg")) if not any(part in path.name for part in BESIDES)]
    for path in [report / name for name in KEPT if (report / name).exists()] + figures + sorted(report.glob("against-*.md")):
        shutil.copy(path, out / path.name)
    (out / "rows.csv.xz").write_bytes(lzma.compress((report / "rows.csv").read_bytes()))
    runs = [Run.read(folder) for folder in folders]
    records = [record for run in runs for record in run.state()["done"]]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    facts = {
        "commands": [f"probing {' '.join(command)}" for command in commands],
        "cells": sum(len(run.keys) for run in runs),
        "done": len(records),
        "wall_seconds": round(time.time() - start),
        "processor_seconds": round(used.ru_utime + used.ru_stime),
        "peak_memory_gib": round(used.ru_maxrss / 2**20, 2),
        "data": {f"{name} {card['sha256'][:8]}": {k: card[k] for k in ("sha256", "n", "notes")}
                 for run in runs for name, card in run.data_cards().items()},
        "encoders": {name: about for run in runs for name, about in run.encoder_descriptions().items()},
    }  # fmt: skip
    write_json(out / "manifest.json", manifest(**facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
