"""Sweeps of one encoder on a real Slurm cluster of two nodes on this machine, with faults; their tables against one process's.

Usage: python scripts/slurm_trial.py OUT DATA [--train 200]     (as root; apt-get install -y slurm-wlm munge)
DATA is a folder of SentEval's files (.txt.xz), of which the first lines are taken. The cluster: `slurm_cluster.py`. Shards hold 16
sentences and last a second longer than their work; who computed which is noted (`shard_log.py`).

- main: `probing run +sweep=slurm`, eight jobs, MiniLM × four overlapping lists of tasks × two lists of layers, four at once. While
  they share the extraction: the Python of a job gets SIGKILL (then `scontrol requeue`); a job gets USR2, submitit's signal; a node
  dies with its jobs (slurmd and all below it, SIGKILL); an urgent job preempts one. The last job gets SIGKILL for good.
- again: the main command is interrupted when no job is left, and the same command is run again.
- limit passed: two jobs that need more than their time limit of one minute, which none may pass (max_num_timeout=0).
- limit: the same command with the preset's max_num_timeout.

The main sweep in one process gives the other tables; every rows.csv must have the same bytes. OUT: jobs.csv and jobs.md (one
line per start of a job), manifest.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import lzma
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import shard_log
from slurm_cluster import NEEDED, NODES, Cluster, jobs, name, processes, said, until

from probing.cells import versions
from probing.runs import Run
from probing.shards import read_rows, read_segment
from probing.store import Store
from probing.types import Column

TASKS = ("tree_depth", "past_present", "bigram_shift", "subj_number", "obj_number")
PAIRS = [f"[{one},{other}]" for one, other in zip(TASKS, TASKS[1:], strict=False)]
LAYERS = "layer=[0,2,4,6],[1,3,5]"
COMMON = ["encoder=minilm", "pooling=mean", "floors=majority,length,nb-unigram,static", "data=senteval"]
SLURM = ["+sweep=slurm", "hydra.launcher.partition=debug", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=2"]
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")


class Sweep:
    """One command on the cluster, watched until its jobs have ended; every start of a job is noted, and what was done to it."""

    def __init__(self, title: str, cluster: Cluster, home: Path, words: Sequence[str], seconds: float, faults: bool = False):
        self.title, self.cluster, self.home = title, cluster, home
        self.log = home.parent / f"{title.replace(' ', '-')}.shards"
        hook = f"+hydra.callbacks.shards={{_target_:shard_log.ShardLog,folder:{self.log},seconds:{seconds}}}"
        self.words = [*SLURM, *words, f"run.dir={home}", hook]
        self.faults = self.strike() if faults else iter(())
        self.events: list[str] = []
        self.struck: dict[str, str] = {}
        self.starts: dict[tuple, dict[str, Any]] = {}
        self.before = {name(job) for job in jobs()}
        self.exit_code, self.last_line, self.seconds = -1, "", 0

    def note(self, text: str) -> None:
        self.events.append(f"{time.time() - self.start:.0f} s: {text}")
        print(f"{self.title}, {self.events[-1]}", flush=True)

    def run(self, limit: float) -> Sweep:
        self.start, deadline = time.time(), time.time() + limit
        said_by = self.home.parent / f"{self.title.replace(' ', '-')}.log"
        with said_by.open("w") as out:
            head = subprocess.Popen([sys.executable, "-m", "probing", "run", *self.words], stdout=out, stderr=out)
        while head.poll() is None:
            if time.time() > deadline:
                raise TimeoutError(f"{self.title} is not done after {limit} s: {said_by.read_text()[-500:]}")
            left = self.watch()
            next(self.faults, None)
            if self.starts and not left:
                with suppress(subprocess.TimeoutExpired):
                    head.wait(20)
                if head.poll() is None:  # no accounting: submitit cannot learn that the killed job has no result
                    head.send_signal(signal.SIGINT)
                    self.note("no job is left; the waiting command is interrupted")
                    head.wait(60)
            time.sleep(0.5)
        with suppress(TimeoutError):  # the last job ends a moment after its result
            until(lambda: not self.watch(), 60)
        self.seconds = round(time.time() - self.start)
        self.exit_code, self.last_line = head.returncode, said_by.read_text().splitlines()[-1]
        self.note(f"the command ended with exit code {head.returncode}: {self.last_line}")
        return self

    def mine(self) -> list[dict[str, str]]:
        return [job for job in jobs() if name(job) not in self.before]

    def watch(self) -> list[dict[str, str]]:
        """Notes what runs where; returns the jobs that are not at their end."""
        mine = self.mine()
        for job in mine:
            if job.get("StartTime", "Unknown") != "Unknown" and job.get("NodeList", "(null)") in NODES:
                if job["JobState"] in (*ENDED, "RUNNING", "COMPLETING"):
                    self.starts[name(job), job["Restarts"]] = {
                        "sweep": self.title, "job": name(job), "restarts": job["Restarts"], "node": job["NodeList"],
                        "start": job["StartTime"], "end": job["EndTime"], "state": job["JobState"], "exit": job["ExitCode"],
                    }  # fmt: skip
        return [job for job in mine if job["JobState"] not in ENDED]

    # Faults.

    def shards_done(self) -> int:
        return len(list(self.home.glob("store/*/*/*/[0-9]*.json")))

    def extracting(self, node: str, done: int) -> list[dict[str, str]]:
        """Jobs on the node that have a shard at work and were not struck before, once so many shards are done."""
        found = []
        for job in self.mine() if self.shards_done() >= done else []:
            if job["JobState"] == "RUNNING" and job["NodeList"] == node and name(job) not in self.struck:
                log = self.log / f"{name(job)}-{job['Restarts']}.jsonl"
                if log.exists() and '"begun"' in log.read_text().splitlines()[-1]:
                    found.append(job)
        return found

    def kill(self, job: dict[str, str], what: str) -> None:
        for pid in processes(sys.executable, f"SLURM_JOB_ID={job['JobId']}"):
            os.kill(pid, signal.SIGKILL)
        self.fault(job, what)

    def fault(self, job: dict[str, str], what: str) -> None:
        self.struck[name(job)] = what
        self.note(f"{what}: {name(job)} on {job['NodeList']} ({self.shards_done()} shards done)")

    def strike(self) -> Iterator[None]:
        """One fault after another; each waits, by yielding, for its moment."""
        while not (found := self.extracting("n1", 15)):
            yield
        self.kill(found[0], "SIGKILL")
        killed = name(found[0])
        while not any(name(job) == killed and job["JobState"] == "FAILED" for job in self.mine()):
            yield
        said("scontrol", "requeue", killed)
        self.note(f"{killed} has failed; scontrol requeue")
        while not (found := self.extracting("n1", 30)):
            yield
        with suppress(subprocess.TimeoutExpired):  # a job that is on its way out cannot be altered, and scancel would try again
            subprocess.run(["scancel", "--signal", "USR2", found[0]["JobId"]], capture_output=True, timeout=1.5)
        self.fault(found[0], "USR2")
        while not (found := self.extracting("n2", 45)):
            yield
        for job in self.mine():
            if job["JobState"] == "RUNNING" and job["NodeList"] == "n2":
                self.fault(job, "node killed")
        self.cluster.kill_node("n2")
        while not (found := self.extracting("n1", 60)):
            yield
        said("sbatch", "-p", "urgent", "-w", "n1", "-c", "1", "--mem", "1G", "-o", "/dev/null", "--wrap", "sleep 1")
        self.note(f"an urgent job is submitted to n1 ({self.shards_done()} shards done)")
        down = preempted = False
        while not (down and preempted):
            if not down and "down" in said("sinfo", "-h", "-p", "debug", "-n", "n2", "-o", "%T"):
                down = True
                self.note("Slurm calls n2 down; its slurmd is started again")
                self.cluster.start_node("n2")
            queued = [job for job in self.mine() if int(job["Restarts"]) and name(job) not in self.struck]
            if not preempted and queued:
                preempted = True
                self.struck[name(queued[0])] = "preempted by Slurm"
                self.note(f"{name(queued[0])} is preempted and queued again ({self.shards_done()} shards done)")
            yield
        while not (found := [job for job in self.mine() if job["ArrayTaskId"] == "7" and job["JobState"] == "RUNNING"]) or (
            "to compute" not in self.log_of(name(found[0]))
        ):
            yield
        self.kill(found[0], "SIGKILL for good")

    # What the jobs said.

    def log_of(self, job: str) -> str:
        log = next(self.home.glob(f"hydra/**/{job}_0_log.err"), None)
        return log.read_text(errors="replace") if log else ""

    def fault_of(self, start: dict[str, Any]) -> str:
        """What ended this start of a job before its time: faults come in its first one, time limits in any."""
        if start["restarts"] == "0" and start["job"] in self.struck:
            return self.struck[start["job"]]
        return "time limit" if self.log_of(start["job"]).count("this job is timed-out") > int(start["restarts"]) else ""

    def cells(self) -> dict[str, int]:
        """Cells that the jobs of this sweep asked for, found done, and had to compute, at the last start of each."""
        total = dict.fromkeys(("asked for", "done before", "to compute"), 0)
        for job in {start["job"]: start for start in self.starts.values()}:
            if counted := re.findall(r"(\d+) cells: (\d+) done, (\d+) to compute", self.log_of(job)):
                total = {key: old + int(new) for (key, old), new in zip(total.items(), counted[-1], strict=True)}
        return total

    def report(self) -> dict[str, Any]:
        return {
            "words": " ".join(word for word in self.words if "shard_log" not in word),
            "events": self.events,
            "exit_code": self.exit_code,
            "last_line": self.last_line,
            "cells": self.cells(),
            "shards": shard_log.counts(shard_log.read(self.log)),
            "seconds": self.seconds,
        }


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
    found = {path.parent.name: path.read_bytes() for path in home.glob("runs/*/rows.csv")}
    return found | {f"all {i}": path.read_bytes() for i, path in enumerate(sorted(home.glob("tables/*/rows.csv")))}


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """Names of the tables that are missing on a side or differ."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def vectors(home: Path) -> dict[str, np.ndarray]:
    """All layers of each sentence of a store of one encoder, side by side."""
    found: dict[str, np.ndarray] = {}
    for plan in home.glob("store/*/*/*/sentences.json"):
        segment = read_segment(plan.parent)
        for shard in range(segment.n_shards):
            texts = segment.sentences[segment.rows(shard)]
            rows = [read_rows(segment.data(shard), Column(layer, "mean"), np.arange(len(texts))) for layer in range(7)]
            found |= dict(zip(texts, np.concatenate(rows, axis=1), strict=True))
    return found


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("out", type=Path)
    words.add_argument("data", type=Path)
    words.add_argument("--train", type=int, default=200)
    words.add_argument("--limit", type=float, default=900, help="seconds for each sweep")
    given = words.parse_args()
    if absent := [name for name in NEEDED if not shutil.which(name)]:
        sys.exit(f"skipped: Slurm is not installed here ({', '.join(absent)} missing): apt-get install -y slurm-wlm munge")
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    start = time.time()
    with tempfile.TemporaryDirectory(prefix="slurm-trial-") as place, ExitStack() as stack:
        folder = Path(place)
        common = [*COMMON, f"data.root={cut(given.data, folder / 'data', given.train)}", LAYERS, f"task={','.join(PAIRS)}"]
        one, two = [*common[:-1], f"task={PAIRS[0]}"], ["hydra.launcher.timeout_min=30"]
        short = ["hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=5"]
        alone, shared, limited = (folder / name for name in ("alone", "shared", "limited"))
        hook = f"+hydra.callbacks.shards={{_target_:shard_log.ShardLog,folder:{folder / 'alone.shards'}}}"
        subprocess.run([sys.executable, "-m", "probing", "run", "-m", *common, f"run.dir={alone}", hook], check=True)
        print(f"one process: {time.time() - start:.0f} s", flush=True)
        cluster = Cluster(folder, stack)
        sweeps = [
            Sweep("main", cluster, shared, [*common, *two], 1, faults=True).run(given.limit),
            Sweep("again", cluster, shared, [*common, *two], 1).run(given.limit),
            Sweep("limit passed", cluster, limited, [*one, *short, "hydra.launcher.max_num_timeout=0"], 3).run(given.limit),
            Sweep("limit", cluster, limited, [*one, *short], 3).run(given.limit),
        ]
        unequal = differences(tables(alone), tables(shared))
        ours = tables(alone)
        pair = {name: rows for name, rows in tables(limited).items() if not name.startswith("all")}
        unequal += [f"limit: {name}" for name, rows in pair.items() if ours.get(name) != rows]
        one_store, other = vectors(alone), vectors(shared)
        shards = {home.name: Store(home / "store").verify() for home in (alone, shared, limited)}
        states = [Run.read(path.parent).state() for path in shared.glob("runs/*/run.json")]
        found = {
            "sweeps": {sweep.title: sweep.report() for sweep in sweeps},
            "one_process": shard_log.counts(shard_log.read(folder / "alone.shards")),
            "tables": len(ours) + len(pair),
            "tables_different": unequal,
            "rows": ours.get("all 0", b"").count(b"\n") - 1,
            "cells": {name: sum(len(state[name]) for state in states) for name in ("done", "failed", "missing")},
            "shards_intact_and_damaged": {name: (intact, len(damaged)) for name, (intact, damaged) in shards.items()},
            "largest_difference_of_a_vector": float(max(np.abs(one_store[text] - other[text]).max() for text in one_store)),
            "wall_seconds": round(time.time() - start),
        }
        write(given.out, found, sweeps)
        if unequal:
            shutil.copytree(folder, given.out / "unequal", ignore=shutil.ignore_patterns("store", "spool*", "state", "munge*"))
    sys.exit(f"different: {', '.join(unequal)}" if unequal else 0)


def write(out: Path, found: dict[str, Any], sweeps: Sequence[Sweep]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for sweep in sweeps:
        counted = found["sweeps"][sweep.title]["shards"]
        last = {start["job"]: start["restarts"] for start in sweep.starts.values()}
        for start in sorted(sweep.starts.values(), key=lambda line: (line["start"], line["job"])):
            mark = f"{start['job']}-{start['restarts']}"
            again = start["restarts"] != last[start["job"]]  # Slurm tells the end of the last start only
            lines.append(
                start
                | ({"end": "", "state": "QUEUED AGAIN", "exit": ""} if again else {})
                | {"shards": counted["shards_by_start_of_a_job"].get(mark, 0), "lost": counted["lost"].get(mark, 0)}
                | {"fault": sweep.fault_of(start)}
            )
    with (out / "jobs.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(lines)
    manifest = {"command": " ".join(["python", *sys.argv]), **found}
    manifest |= {
        "commit": said("git", "rev-parse", "HEAD").strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "slurm": said("sinfo", "--version").strip(),
        "versions": versions(),
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    head = list(lines[0])
    rows = ["| " + " | ".join(str(line[name]) for name in head) + " |" for line in lines]
    text = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *rows]
    (out / "jobs.md").write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
