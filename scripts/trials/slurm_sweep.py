"""One sweep of the Slurm trial: the command, its jobs, the faults done to them, and the outcome."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import shard_log
from slurm_cluster import NODES, Cluster, jobs, name, output_of, processes, until

SLURM = ["+sweep=slurm", "hydra.launcher.partition=debug", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=2"]
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
FAULTS = ("SIGKILL", "USR2", "node killed", "preempted by Slurm", "SIGKILL for good")


class Sweep:
    """One command on the cluster, watched until its jobs have ended; notes every start of a job, and the faults done to it."""

    def __init__(self, title: str, cluster: Cluster, home: Path, words: Sequence[str], seconds: float, faults: bool = False):
        self.title, self.cluster, self.home = title, cluster, home
        self.log = home.parent / f"{title.replace(' ', '-')}.shards"
        self.words = [*SLURM, *words, f"run.dir={home}", shard_log.hook(self.log, seconds)]
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
        output = self.home.parent / f"{self.title.replace(' ', '-')}.log"
        with output.open("w") as out:
            head = subprocess.Popen([sys.executable, "-m", "probing", "run", *self.words], stdout=out, stderr=out)
        while head.poll() is None:
            if time.time() > deadline:
                head.kill()
                raise TimeoutError(f"{self.title} is not done after {limit} s: {output.read_text()[-500:]}")
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
        self.exit_code, self.last_line = head.returncode, output.read_text().splitlines()[-1]
        self.note(f"the command ended with exit code {head.returncode}: {self.last_line}")
        return self

    def own_jobs(self) -> list[dict[str, str]]:
        return [job for job in jobs() if name(job) not in self.before]

    def watch(self) -> list[dict[str, str]]:
        """Notes the starts of jobs and their nodes; returns the jobs that have not ended."""
        own_jobs = self.own_jobs()
        for job in own_jobs:
            if job.get("StartTime", "Unknown") != "Unknown" and job.get("NodeList", "(null)") in NODES:
                if job["JobState"] in (*ENDED, "RUNNING", "COMPLETING"):
                    self.starts[name(job), job["Restarts"]] = {
                        "sweep": self.title, "job": name(job), "restarts": job["Restarts"], "node": job["NodeList"],
                        "start": job["StartTime"], "end": job["EndTime"], "state": job["JobState"], "exit": job["ExitCode"],
                    }  # fmt: skip
        return [job for job in own_jobs if job["JobState"] not in ENDED]

    # Faults.

    def shards_done(self) -> int:
        return len(list(self.home.glob("store/*/*/*/[0-9]*.json")))

    def extracting(self, node: str, done: int) -> list[dict[str, str]]:
        """Jobs on the node that work on a shard and were not struck before, once so many shards are done."""
        working = []
        for job in self.own_jobs() if self.shards_done() >= done else []:
            if job["JobState"] == "RUNNING" and job["NodeList"] == node and name(job) not in self.struck:
                log = self.log / f"{name(job)}-{job['Restarts']}.jsonl"
                if log.exists() and '"begun"' in log.read_text().splitlines()[-1]:
                    working.append(job)
        return working

    def kill(self, job: dict[str, str], fault: str) -> None:
        for pid in processes(sys.executable, f"SLURM_JOB_ID={job['JobId']}"):
            os.kill(pid, signal.SIGKILL)
        self.fault(job, fault)

    def fault(self, job: dict[str, str], fault: str) -> None:
        self.struck[name(job)] = fault
        self.note(f"{fault}: {name(job)} on {job['NodeList']} ({self.shards_done()} shards done)")

    def strike(self) -> Iterator[None]:
        """Does one fault after another; yields while it waits for the moment of the next."""
        while not (targets := self.extracting("n1", 15)):
            yield
        self.kill(targets[0], FAULTS[0])
        killed = name(targets[0])
        while not any(name(job) == killed and job["JobState"] == "FAILED" for job in self.own_jobs()):
            yield
        output_of("scontrol", "requeue", killed)
        self.note(f"{killed} has failed; scontrol requeue")
        while not (targets := self.extracting("n1", 30)):
            yield
        with suppress(subprocess.TimeoutExpired):  # a job that is ending cannot be altered, and scancel would try again
            subprocess.run(["scancel", "--signal", "USR2", targets[0]["JobId"]], capture_output=True, timeout=1.5)
        self.fault(targets[0], FAULTS[1])
        while not (targets := self.extracting("n2", 45)):
            yield
        for job in self.own_jobs():
            if job["JobState"] == "RUNNING" and job["NodeList"] == "n2":
                self.fault(job, FAULTS[2])
        self.cluster.kill_node("n2")
        while not (targets := self.extracting("n1", 60)):
            yield
        output_of("sbatch", "-p", "urgent", "-w", "n1", "-c", "1", "--mem", "1G", "-o", "/dev/null", "--wrap", "sleep 1")
        self.note(f"an urgent job is submitted to n1 ({self.shards_done()} shards done)")
        down = preempted = False
        while not (down and preempted):
            if not down and "down" in output_of("sinfo", "-h", "-p", "debug", "-n", "n2", "-o", "%T"):
                down = True
                self.note("Slurm calls n2 down; its slurmd is started again")
                self.cluster.start_node("n2")
            queued = [job for job in self.own_jobs() if int(job["Restarts"]) and name(job) not in self.struck]
            if not preempted and queued:
                preempted = True
                self.struck[name(queued[0])] = FAULTS[3]
                self.note(f"{name(queued[0])} is preempted and queued again ({self.shards_done()} shards done)")
            yield
        while not (targets := [job for job in self.own_jobs() if job["ArrayTaskId"] == "7" and job["JobState"] == "RUNNING"]) or (
            "to compute" not in self.log_of(name(targets[0]))
        ):
            yield
        self.kill(targets[0], FAULTS[4])

    # Logs of the jobs.

    def log_of(self, job: str) -> str:
        log = next(self.home.glob(f"hydra/**/{job}_0_log.err"), None)
        return log.read_text(errors="replace") if log else ""

    def fault_of(self, start: dict[str, Any]) -> str:
        """The fault that ended this start of a job: faults come in the first start, time limits in any."""
        if start["restarts"] == "0" and start["job"] in self.struck:
            return self.struck[start["job"]]
        return "time limit" if self.log_of(start["job"]).count("this job is timed-out") > int(start["restarts"]) else ""

    def cells(self) -> dict[str, int]:
        """Counts of cells by the last start of each job: asked for, done before, to compute."""
        total = dict.fromkeys(("asked for", "done before", "to compute"), 0)
        for job in {start["job"]: start for start in self.starts.values()}:
            if counted := re.findall(r"(\d+) cells: (\d+) done, (\d+) to compute", self.log_of(job)):
                total = {key: old + int(new) for (key, old), new in zip(total.items(), counted[-1], strict=True)}
        return total

    def report(self) -> dict[str, Any]:
        return {
            "words": " ".join(word for word in self.words if "shard_log" not in word),
            "events": self.events,
            "struck": self.struck,
            "exit_code": self.exit_code,
            "last_line": self.last_line,
            "cells": self.cells(),
            "shards": shard_log.counts(shard_log.read(self.log)),
            "seconds": self.seconds,
        }
