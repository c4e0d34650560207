"""A sweep of eight jobs on a real Slurm cluster of two nodes on this machine, with faults; its table against one process's.

Usage: python scripts/slurm_trial.py OUT DATA [--train 600]     (as root; apt-get install -y slurm-wlm munge)
DATA is a folder of SentEval's files (.txt.xz), of which the first lines are taken. In a temporary folder: munged, slurmctld, two
slurmd (no accounting, no cgroups). The sweep `probing run +sweep=slurm` (four encoders × two lists of tasks) is started; while it
runs, the Python of one job gets SIGKILL, another job gets the signals that come before a preemption, and one node dies (its slurmd
and all below it, SIGKILL). Slurm and submitit queue these jobs again, `scontrol requeue` the first; if the command does not end
well, it is run again. The same sweep in one process gives the other table;
every rows.csv must have the same bytes. OUT: jobs.csv and jobs.md (one line per start of a job), manifest.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import lzma
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from probing.cells import versions
from probing.runs import Run
from probing.store import Store

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
NODES = ("n1", "n2")
TASKS = ("tree_depth", "past_present", "bigram_shift", "subj_number")
SWEEP = [
    "encoder=minilm,lstm,cnn,transformer", f"task=[{','.join(TASKS[:2])}],[{','.join(TASKS[2:])}]",
    "pooling=mean", "floors=majority,length,nb-unigram,static",
]  # fmt: skip
SLURM = [
    "+sweep=slurm", "hydra.launcher.partition=debug", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=2",
    "hydra.launcher.timeout_min=30",
]  # fmt: skip


def slurm_conf(folder: Path, ports: list[int], host: str) -> str:
    """The configuration of a controller and two nodes on one host; `ports`: of the controller and of each node."""
    nodes = "\n".join(
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=4000 State=UNKNOWN"
        for node, port in zip(NODES, ports[1:], strict=True)
    )
    return f"""ClusterName=trial
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
MinJobAge=7200
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
SlurmdSpoolDir={folder}/spool.%n
{nodes}
PartitionName=debug Nodes={",".join(NODES)} Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """The daemons of the trial; every process is a child of this one and is ended with it."""

    def __init__(self, folder: Path, stack: ExitStack):
        self.folder, self.stack, self.nodes = folder, stack, {}
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        with ExitStack() as opened:
            sockets = [opened.enter_context(socket.socket()) for _ in range(1 + len(NODES))]
            for one in sockets:
                one.bind(("127.0.0.1", 0))
            ports = [one.getsockname()[1] for one in sockets]
        (folder / "slurm.conf").write_text(slurm_conf(folder, ports, socket.gethostname().split(".")[0]))
        (folder / "munge.key").write_bytes(secrets.token_bytes(1024))
        (folder / "munge.key").chmod(0o600)
        places = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        self._start("munged", "--force", "--foreground", f"--socket={folder}/munge.socket", *places)
        until(lambda: (folder / "munge.socket").exists(), 20)
        (folder / "state").mkdir()
        self._start("slurmctld", "-D", "-c", "-f", str(folder / "slurm.conf"))
        for node in NODES:
            self.start_node(node)
        self.stack.callback(self._empty)
        until(lambda: said("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * len(NODES), 60)

    def _start(self, *command: str) -> subprocess.Popen:
        with (self.folder / f"{command[0]}.out").open("a") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
        self.stack.callback(end, process)
        return process

    def _empty(self) -> None:
        """Ends what a trial that was cut short left running, before its daemons end."""
        said("scancel", "--user", "root")
        with suppress(TimeoutError):
            until(lambda: not any(job["JobState"] in ("RUNNING", "COMPLETING") for job in jobs()), 40)

    def start_node(self, node: str) -> None:
        self.nodes[node] = self._start("slurmd", "-D", "-f", str(self.folder / "slurm.conf"), "-N", node)

    def kill_node(self, node: str) -> None:
        """As if the machine lost power: slurmd first, then the steps and the jobs that it had started."""
        self.nodes[node].kill()
        mine = [job["JobId"] for job in jobs() if job["JobState"] == "RUNNING" and job["NodeList"] == node]
        for job in mine:
            for pid in processes(f"slurmstepd: [{job}.", "") + processes("", f"SLURM_JOB_ID={job}"):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def until(condition: Callable[[], object], seconds: float) -> None:
    limit = time.time() + seconds
    while not condition():
        if time.time() > limit:
            raise TimeoutError(f"waited {seconds} s in vain")
        time.sleep(0.5)


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


def jobs() -> list[dict[str, str]]:
    """All jobs of the cluster, as `scontrol` shows them; a job array's waiting part is one record."""
    lines = said("scontrol", "-o", "show", "jobs").splitlines()
    return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines if line.startswith("JobId=")]


def name(job: dict[str, str]) -> str:
    return f"{job['ArrayJobId']}_{job['ArrayTaskId']}"


def processes(command: str, variable: str) -> list[int]:
    """Processes whose command line starts with `command` and whose environment has `variable`."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (place / "cmdline").read_bytes().replace(b"\0", b" ")
            environment = (place / "environ").read_bytes().split(b"\0")
            if line.startswith(command.encode()) and (not variable or variable.encode() in environment):
                found.append(int(place.name))
    return found


class Faults:
    """What is done to the sweep, each once, and when; every start of a job is noted."""

    def __init__(self, cluster: Cluster, home: Path):
        self.cluster, self.home, self.start = cluster, home, time.time()
        self.events: list[str] = []
        self.struck: set[str] = set()
        self.starts: dict[tuple, dict] = {}

    def note(self, text: str) -> None:
        self.events.append(f"{time.time() - self.start:.0f} s: {text}")
        print(self.events[-1], flush=True)

    def watch(self, sweep: int) -> list[dict[str, str]]:
        """Notes what runs where; returns the jobs that are not at their end."""
        everything = jobs()
        for job in everything:
            if job.get("StartTime", "Unknown") != "Unknown" and job.get("NodeList", "(null)") in NODES:
                line = {"sweep": sweep, "job": name(job), "node": job["NodeList"], "start": job["StartTime"], "end": job["EndTime"],
                        "state": job["JobState"], "restarts": job["Restarts"], "exit": job["ExitCode"]}  # fmt: skip
                before = self.starts.get((name(job), job["StartTime"]), line)
                self.starts[name(job), job["StartTime"]] = line | {"sweep": before["sweep"]}
        ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        return [job for job in everything if job["JobState"] not in ended]

    def running(self, node: str) -> dict[str, str] | None:
        """A job on the node whose Python is at work, and that was not struck before."""
        for job in jobs():
            if job["JobState"] == "RUNNING" and job["NodeList"] == node and name(job) not in self.struck:
                log = next(self.home.glob(f"hydra/**/{name(job)}_0_log.err"), None)
                if log and "about" in log.read_text(errors="replace"):  # it has announced its extraction
                    self.struck.add(name(job))
                    return job
        return None

    def strike(self) -> None:
        """One fault more, when its turn has come."""
        n_done = len(list(self.home.glob("cells/*.json")))
        if len(self.events) == 0 and (job := self.running("n1")):
            [pid, *_] = [p for p in processes(sys.executable, f"SLURM_JOB_ID={job['JobId']}") if p > 1]
            os.kill(pid, signal.SIGKILL)
            self.note(f"SIGKILL to the Python of {name(job)} on n1 ({n_done} cells finished)")
        elif len(self.events) == 1 and (job := next((j for j in jobs() if j["JobState"] == "FAILED"), None)):
            said("scontrol", "requeue", name(job))
            self.note(f"{name(job)} has failed; scontrol requeue")
        elif len(self.events) == 2 and (job := self.running("n1")):
            said("scancel", "--signal", "TERM", job["JobId"])
            said("scancel", "--signal", "USR2", job["JobId"])
            self.note(f"preemption signals (TERM, USR2) to {name(job)} on n1 ({n_done} cells finished)")
        elif len(self.events) == 3 and (job := self.running("n2")):
            self.cluster.kill_node("n2")
            self.note(f"node n2 killed with {name(job)} ({n_done} cells finished)")
        elif len(self.events) == 4 and "down" in said("sinfo", "-h", "-n", "n2", "-o", "%T"):
            self.note("Slurm calls n2 down; its slurmd is started again")
            self.cluster.start_node("n2")


def sweep_with_faults(cluster: Cluster, words: list[str], home: Path, log: Path, limit: float) -> Faults:
    faults = Faults(cluster, home)
    for sweep in (1, 2):
        with log.open("a") as out:
            head = subprocess.Popen([sys.executable, "-m", "probing", "run", *words], stdout=out, stderr=out)
        deadline, seen = time.time() + limit, 0
        while head.poll() is None:
            if time.time() > deadline:
                raise TimeoutError(f"the sweep is not done after {limit} s")
            left = faults.watch(sweep)
            seen = max(seen, sum(line["sweep"] == sweep for line in faults.starts.values()))
            if sweep == 1:
                faults.strike()
            if seen and not left and len(faults.events) > 1:
                with suppress(subprocess.TimeoutExpired):
                    head.wait(15)
                if head.poll() is None:  # no accounting: submitit cannot learn that the killed job has no result
                    head.send_signal(signal.SIGINT)
                    faults.note("no job is left; the waiting command is interrupted")
                    head.wait(60)
            time.sleep(1)
        with suppress(TimeoutError):  # the last job ends a moment after its result
            until(lambda sweep=sweep: not faults.watch(sweep), 20)
        faults.note(f"command {sweep} ended with exit code {head.returncode}")
        if head.returncode == 0:
            break
    return faults


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


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("out", type=Path)
    words.add_argument("data", type=Path)
    words.add_argument("--train", type=int, default=600)
    words.add_argument("--limit", type=float, default=1500, help="seconds for each sweep")
    given = words.parse_args()
    if absent := [name for name in NEEDED if not shutil.which(name)]:
        sys.exit(f"skipped: Slurm is not installed here ({', '.join(absent)} missing): apt-get install -y slurm-wlm munge")
    os.environ["OMP_NUM_THREADS"] = "1"
    start = time.time()
    with tempfile.TemporaryDirectory(prefix="slurm-trial-") as place, ExitStack() as stack:
        folder = Path(place)
        alone, shared = folder / "alone", folder / "shared"
        common = [*SWEEP, "data=senteval", f"data.root={cut(given.data, folder / 'data', given.train)}"]
        command = ["-m", *common, f"run.dir={alone}"]
        subprocess.run([sys.executable, "-m", "probing", "run", *command], check=True)
        seconds = [time.time() - start]
        print(f"one process: {seconds[0]:.0f} s", flush=True)
        cluster = Cluster(folder, stack)
        faults = sweep_with_faults(cluster, [*SLURM, *common, f"run.dir={shared}"], shared, folder / "sweep.log", given.limit)
        seconds.append(time.time() - start - seconds[0])
        ours, theirs = tables(alone), tables(shared)
        unequal = differences(ours, theirs)
        states = [Run.read(path.parent).state() for path in shared.glob("runs/*/run.json")]
        intact, damaged = Store(shared / "store").verify()
        write(given.out, common, seconds, faults, ours, unequal, states, (intact, len(damaged)))
        if unequal:
            shutil.copytree(folder, given.out / "unequal", ignore=shutil.ignore_patterns("store", "spool*", "state", "munge*"))
    sys.exit(f"different: {', '.join(unequal)}" if unequal else 0)


def write(out: Path, common, seconds, faults: Faults, ours, unequal, states, shards) -> None:
    out.mkdir(parents=True, exist_ok=True)
    lines = sorted(faults.starts.values(), key=lambda line: (line["start"], line["job"]))
    for i, line in enumerate(lines):  # Slurm tells the end of the last start only
        if any(later["job"] == line["job"] for later in lines[i + 1 :]):
            line |= {"end": "", "state": "QUEUED AGAIN", "exit": ""}
    with (out / "jobs.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(lines)
    manifest = {
        "command": " ".join(["python", *sys.argv]),
        "sweep": " ".join(["probing run", *SLURM, *common]),
        "events": faults.events,
        "tables": len(ours),
        "tables_different": unequal,
        "rows": ours.get("all 0", b"").count(b"\n") - 1,
        "cells": {name: sum(len(state[name]) for state in states) for name in ("done", "failed", "missing")},
        "shards_intact_and_damaged": shards,
        "wall_seconds": {"one process": round(seconds[0]), "Slurm with faults": round(seconds[1])},
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
