"""Sweeps of one encoder on a Slurm cluster of two nodes on this machine, with faults; their tables against those of one process.

Usage: python scripts/trials/slurm_trial.py OUT DATA [--train 200]     (as root; apt-get install -y slurm-wlm munge)
DATA is a folder of SentEval's files (.txt.xz), of which the first lines are taken. The cluster: `slurm_cluster.py`. Shards hold 16
sentences and last a second longer than their work; `shard_log.py` logs the job that computed each.

- main: `probing run +sweep=slurm`, eight jobs, MiniLM × four overlapping lists of tasks × two lists of layers, four at once. While
  they share the extraction: the Python of a job gets SIGKILL (then `scontrol requeue`); a job gets USR2, submitit's signal; a node
  dies with its jobs (slurmd and all below it, SIGKILL); an urgent job preempts one. The last job gets SIGKILL for good.
- again: the main command is interrupted when no job is left, and run again.
- limit passed: two jobs that need more than their time limit of one minute, and may not be queued again (max_num_timeout=0).
- limit: the same command with the preset's max_num_timeout.

Every rows.csv must have the bytes of the same sweep in one process, and no shard may be written twice. OUT: jobs.csv and jobs.md
(one line per start of a job), manifest.json. Ends with an error that names what is amiss (`wrong`).
"""

from __future__ import annotations

import argparse
import csv
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import shard_log
from slurm_cluster import NEEDED, Cluster, output_of
from slurm_sweep import FAULTS, Sweep

from probing.evaluation.runs import Run
from probing.store.segments import read_rows, read_segment
from probing.store.vectors import Store
from probing.types import Representation

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import COMMIT, manifest, table, write_json

TASKS = ("tree_depth", "past_present", "bigram_shift", "subj_number", "obj_number")
PAIRS = [f"[{one},{other}]" for one, other in zip(TASKS, TASKS[1:], strict=False)]
LAYERS = "layer=[0,2,4,6],[1,3,5]"
COMMON = ["encoder=minilm", "pooling=mean", "floors=majority,length,nb-unigram,static", "data=senteval"]


def cut(data: Path, folder: Path, train: int) -> Path:
    """The first `train` train sentences of each task's file, and half as many of dev and test."""
    folder.mkdir()
    for task in TASKS:
        left = {"tr": train, "va": train // 2, "te": train // 2}
        kept = []
        with lzma.open(data / f"{task}.txt.xz", "rt", encoding="utf-8", newline="\n") as lines:
            for line in lines:
                part = line[:2]
                left[part] -= 1
                if left[part] >= 0:
                    kept.append(line)
        (folder / f"{task}.txt").write_text("".join(kept), encoding="utf-8")
    return folder


def tables(home: Path) -> dict[str, bytes]:
    """The rows of every run, and of the table of all runs, by name."""
    rows = {path.parent.name: path.read_bytes() for path in home.glob("runs/*/rows.csv")}
    return rows | {f"all {i}": path.read_bytes() for i, path in enumerate(sorted(home.glob("tables/*/rows.csv")))}


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """Names of the tables that differ or are missing on one side."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def vectors(home: Path) -> dict[str, np.ndarray]:
    """All layers of each sentence of a store of one encoder, side by side."""
    layers: dict[str, np.ndarray] = {}
    for plan in home.glob("store/*/*/*/sentences.json"):
        segment = read_segment(plan.parent)
        for shard in range(segment.n_shards):
            texts = segment.sentences[segment.rows(shard)]
            rows = [read_rows(segment.data(shard), Representation(layer, "mean"), np.arange(len(texts))) for layer in range(7)]
            layers |= dict(zip(texts, np.concatenate(rows, axis=1), strict=True))
    return layers


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--train", type=int, default=200)
    parser.add_argument("--limit", type=float, default=900, help="seconds for each sweep")
    args = parser.parse_args()
    if absent := [name for name in NEEDED if not shutil.which(name)]:
        sys.exit(f"skipped: Slurm is not installed here ({', '.join(absent)} missing): apt-get install -y slurm-wlm munge")
    os.environ["OMP_NUM_THREADS"] = "1"
    scripts = str(Path(__file__).resolve().parent)  # the jobs import shard_log
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [scripts, os.environ.get("PYTHONPATH")]))
    start = time.time()
    with tempfile.TemporaryDirectory(prefix="slurm-trial-") as place, ExitStack() as stack:
        folder = Path(place)
        common = [*COMMON, f"data.root={cut(args.data, folder / 'data', args.train)}", LAYERS, f"task={','.join(PAIRS)}"]
        one, two = [*common[:-1], f"task={PAIRS[0]}"], ["hydra.launcher.timeout_min=30"]
        short = ["hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=5"]
        alone, shared, limited = (folder / name for name in ("alone", "shared", "limited"))
        command = [sys.executable, "-m", "probing", "run", "-m", *common, f"run.dir={alone}"]
        subprocess.run([*command, shard_log.hook(folder / "alone.shards", 0)], check=True)
        print(f"one process: {time.time() - start:.0f} s", flush=True)
        cluster = Cluster(folder, stack)
        sweeps = [
            Sweep("main", cluster, shared, [*common, *two], 1, faults=True).run(args.limit),
            Sweep("again", cluster, shared, [*common, *two], 1).run(args.limit),
            Sweep("limit passed", cluster, limited, [*one, *short, "hydra.launcher.max_num_timeout=0"], 3).run(args.limit),
            Sweep("limit", cluster, limited, [*one, *short], 3).run(args.limit),
        ]
        ours = tables(alone)
        unequal = differences(ours, tables(shared))
        pair = {name: rows for name, rows in tables(limited).items() if not name.startswith("all")}
        unequal += [f"limit: {name}" for name, rows in pair.items() if ours.get(name) != rows]
        one_store, other = vectors(alone), vectors(shared)
        shards = {home.name: Store(home / "store").verify() for home in (alone, shared, limited)}
        states = [Run.read(path.parent).state() for path in shared.glob("runs/*/run.json")]
        results = {
            "sweeps": {sweep.title: sweep.report() for sweep in sweeps},
            "one_process": shard_log.counts(shard_log.read(folder / "alone.shards")),
            "tables": len(ours) + len(pair),
            "tables_different": unequal,
            "rows": ours.get("all 0", b"").count(b"\n") - 1,
            "cells": {name: sum(len(state[name]) for state in states) for name in ("done", "failed", "missing")},
            "shards_intact_and_damaged": {name: (intact, len(damaged)) for name, (intact, damaged) in shards.items()},
            "largest_difference_of_a_vector": float(max(np.abs(one_store[text] - other[text]).max() for text in one_store)),
            "wall_seconds": round(time.time() - start),
            "commit": COMMIT,
        }
        write(args.out, results, sweeps)
        if amiss := wrong(results):
            shutil.copytree(folder, args.out / "amiss", ignore=shutil.ignore_patterns("store", "spool*", "state", "munge*"))
    sys.exit("; ".join(amiss) or 0)


def wrong(results: dict[str, Any]) -> list[str]:
    """Messages on all that is not as it must be."""
    sweeps, stores = results["sweeps"], results["shards_intact_and_damaged"]
    amiss = [f"{table} differs" for table in results["tables_different"]]
    amiss += [f"no job was hit by: {fault}" for fault in FAULTS if fault not in sweeps["main"]["struck"].values()]
    for title, code in {"main": 130, "again": 0, "limit passed": 1, "limit": 0}.items():
        if sweeps[title]["exit_code"] != code:
            amiss.append(f"{title}: exit code {sweeps[title]['exit_code']}, not {code}")
        amiss += [f"{title}: {key}" for key in ("sentences_written_twice", "shards_written_twice") if sweeps[title]["shards"][key]]
    for home, titles in {"shared": ("main", "again"), "limited": ("limit passed", "limit")}.items():
        written = sum(sweeps[title]["shards"]["shards"] for title in titles)
        if (written, 0) != tuple(stores[home]):
            amiss.append(f"{home}: {written} shards written, {stores[home]} intact and damaged")
    if sweeps["again"]["shards"]["shards"] or not sweeps["again"]["cells"]["to compute"]:
        amiss.append("again: vectors were computed, or no cell was missing")
    if results["cells"]["failed"] or results["cells"]["missing"]:
        amiss.append("cells are failed or missing")
    return amiss


def write(out: Path, results: dict[str, Any], sweeps: Sequence[Sweep]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for sweep in sweeps:
        counted = results["sweeps"][sweep.title]["shards"]
        last = {start["job"]: start["restarts"] for start in sweep.starts.values()}
        for start in sorted(sweep.starts.values(), key=lambda line: (line["start"], line["job"])):
            mark = f"{start['job']}-{start['restarts']}"
            again = start["restarts"] != last[start["job"]]  # Slurm knows the end of the last start only
            lines.append(
                start
                | ({"end": "", "state": "QUEUED AGAIN", "exit": ""} if again else {})
                | {"shards": counted["shards_by_start_of_a_job"].get(mark, 0), "lost": counted["lost"].get(mark, 0)}
                | {"fault": sweep.fault_of(start)}
            )
    with (out / "jobs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    write_json(out / "manifest.json", manifest(slurm=output_of("sinfo", "--version").strip(), **results))
    text = table(list(lines[0]), [list(line.values()) for line in lines])
    (out / "jobs.md").write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
