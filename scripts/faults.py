"""What the store and the cells go through, counted: kills, processes at once, flipped bits, full disks.

Usage: python scripts/faults.py OUT [--kills 100] [--rounds 5] [--processes 4] [--flips 100] [--full 20] [--seed 0]

The command is always `probing run` with a small untrained LSTM on three tasks of the built-in grammar, in shards of 16 sentences;
each shard and each cell is made to last 20 ms. One run without faults is the reference; afterwards shards, receipts, plans,
encoder.json, rows.csv and table.* must be the same bytes as its own. Every trial is a fork of a process that has loaded
everything, and figures and report.html are left out, so that it takes a second or two.

- kills: SIGKILL at a moment drawn evenly from extraction and probing, for every tenth from the whole run (drawn again if the run
  was over), then the same command.
- processes: all at once on one store; in every second round each asks for other tasks. Every sentence that goes to the encoder is
  logged; the timed sample of the announcement is left out.
- flips: one random bit of one random file of a kind drawn evenly; then `store verify` or `status`, then the same command
  (run.force=true where cells are finished and would not read the store).
- full: a disk of 32 MB in memory, filled at a random moment; then room again. Needs the right to mount; left out without it.

OUT: README.md, faults.json (every trial, written as it ends: the same command goes on from there), manifest.json.
"""

import argparse
import gc
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from probing import cli
from probing.data.builders import grammar_tasks
from probing.encoders import load
from probing.evaluation import evaluate as evaluation
from probing.evaluation.runs import Run
from probing.paths import portable
from probing.provenance import versions
from probing.report import write as report
from probing.store import vectors as store
from probing.store.results import ResultStore
from probing.types import Representation

TASKS = ("past_present", "subj_number", "bigram_shift")
ENCODER = {"hidden": 16, "embedding_dim": 8, "buckets": 500}
LOG = "PROBING_FAULTS_LOG"
KINDS = {
    "shard": "store/*/*/*/*.safetensors",
    "receipt": "store/*/*/*/[0-9]*.json",
    "plan": "store/*/*/*/sentences.json",
    "encoder.json": "store/*/encoder.json",
    "cell": "cells/*.json",
    "predictions": "cells/*.npz",
}


class Trials:
    """Runs of one command in folders below `home`."""

    def __init__(self, home: Path):
        self.home, self.rng = home, random.Random()
        torch.set_num_threads(1)  # a fork has none of its parent's threads, and would wait for them for ever
        threadpool_limits(1)
        self.data = grammar_tasks(home / "grammar", n=300)
        plain = store.extract

        def logged(encoder, items, *rest):
            if path := os.environ.get(LOG):
                with open(path, "a") as log:
                    log.write("".join(f"{json.dumps(list(map(int, item)))}\n" for item in items))
            time.sleep(0.02)
            return plain(encoder, items, *rest)

        write = ResultStore.write

        def slow(self, *given):
            time.sleep(0.02)
            return write(self, *given)

        ResultStore.write = slow
        store.extract, store.SHARD_BYTES = logged, 16 * 4 * (8 + 16)
        report._pictures, report.html = lambda *given: [], lambda *given: ""
        self.whole = home / "whole"
        self.command(home / "warm")  # in this process, so that what is loaded late is loaded once
        gc.collect()
        gc.freeze()
        start = time.perf_counter()
        assert self.wait(self.start(self.whole)) == 0, self.said(self.whole)
        self.seconds = time.perf_counter() - start
        self.reference = self.bytes_of(self.whole)
        plan, *cells = (path.stat().st_mtime for kind in ("plan", "cell") for path in self.whole.glob(KINDS[kind]))
        self.working = max(cells) - plan  # seconds of extraction and probing

    def start(self, folder: Path, *words: str, name: str = "r") -> int:
        """The pid of a fork that runs the command in the folder; what it says goes to a file beside it."""
        if pid := os.fork():
            return pid
        with open(self.log(folder, name), "w") as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
        try:
            code = self.command(folder, *words, name=name)
        except BaseException:
            traceback.print_exc()
            code = 99
        sys.stderr.flush()
        os._exit(code)

    def command(self, folder: Path, *words: str, name: str = "r") -> int:
        options = [f"encoder.{key}={value}" for key, value in ENCODER.items()]
        fixed = ["data=senteval", f"data.root={self.data}", f"task={','.join(TASKS)}", "encoder=lstm", *options]
        fixed += ["pooling=mean", "floors=majority,length", f"run.dir={folder}", f"run.name={name}"]
        sys.argv = ["probing", "run", *fixed, *words]
        try:
            cli.main()
        except SystemExit as end:
            return end.code or 0
        return 0

    def log(self, folder: Path, name: str = "r") -> Path:
        return self.home / f"{folder.name}-{name}.log"

    def said(self, folder: Path, name: str = "r") -> str:
        return self.log(folder, name).read_text()

    @staticmethod
    def wait(pid: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    @staticmethod
    def bytes_of(folder: Path, name: str = "r") -> dict[str, bytes]:
        files = [path for path in (folder / "store").rglob("*") if path.is_file() and path.suffix != ".lock"]
        files += [folder / "runs" / name / "rows.csv", *(folder / "runs" / name).glob("table.*")]
        return {str(path.relative_to(folder)).replace(f"runs/{name}/", ""): path.read_bytes() for path in sorted(files)}

    def phase(self, folder: Path) -> str:
        """How far a run got, from what lies in its folder."""
        if not list(folder.glob(KINDS["plan"])):
            return "before the plan"
        for kind, phase in (("receipt", "extraction"), ("cell", "probing")):
            if len(list(folder.glob(KINDS[kind]))) < len(list(self.whole.glob(KINDS[kind]))):
                return phase
        return "tables"

    def resumed(self, folder: Path, *words: str) -> bool:
        """The same command to its end: exit code 0, the same bytes, a store without damage."""
        ended = self.wait(self.start(folder, *words))
        return ended == 0 and self.bytes_of(folder) == self.reference and store.Store(folder / "store").verify()[1] == []

    def kill(self, anywhere: bool) -> dict:
        while True:
            folder = self.home / "killed"
            shutil.rmtree(folder, ignore_errors=True)
            pid = self.start(folder)
            while not anywhere and not list(folder.glob(KINDS["plan"])):
                time.sleep(0.001)
            moment = self.rng.uniform(0, self.seconds if anywhere else self.working)
            time.sleep(moment)
            os.kill(pid, signal.SIGKILL)
            if self.wait(pid) == -signal.SIGKILL:
                phase, halves = self.phase(folder), len(list(folder.rglob("*.tmp")))
                return {"seconds": moment, "phase": phase, "files_half_written": halves, "good": self.resumed(folder)}

    def at_once(self, processes: int, alike: bool) -> dict:
        folder, log = self.home / "at-once", self.home / "computed.log"
        shutil.rmtree(folder, ignore_errors=True)
        log.write_text("")
        os.environ[LOG], plain, evaluation._announce = str(log), evaluation._announce, lambda *given: None
        pids = []
        for k in range(processes):
            pair = f"task={TASKS[k % 3]},{TASKS[(k + 1) % 3]}"
            pids.append(self.start(folder, *([] if alike else [pair]), name=f"r{k}"))
        codes = [self.wait(pid) for pid in pids]
        del os.environ[LOG]
        evaluation._announce = plain
        texts = self.sentences(self.whole)
        computed = log.read_text().splitlines()
        good = codes == [0] * processes and store.Store(folder / "store").verify()[1] == []
        if alike:
            good = good and all(self.bytes_of(folder, f"r{k}") == self.reference for k in range(processes))
        return {
            "requests": "the same" if alike else "overlapping",
            "sentences": len(texts),
            "computed": len(computed),
            "largest_difference": float(self.difference(folder, texts)),
            "good": good,
        }

    def sentences(self, folder: Path) -> list[str]:
        return [s for path in folder.glob(KINDS["plan"]) for s in store.read_segment(path.parent).sentences]

    def difference(self, folder: Path, texts: list[str]) -> float:
        """Largest difference of any vector to the reference's."""
        encoder = load("lstm", **ENCODER)
        ours, theirs = (store.Store(at / "store").vectors(encoder, texts, ["mean"]).rows(texts) for at in (folder, self.whole))
        return max(
            abs(ours.get(Representation(layer, "mean")) - theirs.get(Representation(layer, "mean"))).max() for layer in range(2)
        )

    def flip(self, folder: Path) -> dict:
        """A flipped bit in a finished run; `folder` is whole again afterwards."""
        kind = self.rng.choice(list(KINDS))
        path = self.rng.choice(sorted(folder.glob(KINDS[kind])))
        content = bytearray(path.read_bytes())
        at, bit = self.rng.randrange(len(content)), self.rng.randrange(8)
        content[at] ^= 1 << bit
        path.write_bytes(content)
        in_store = kind not in ("cell", "predictions")
        found = store.Store(folder / "store").verify()[1] if in_store else Run.read(folder / "runs" / "r").state()["missing"]
        good = self.resumed(folder, *(["run.force=true"] if in_store else []))
        good = good and not Run.read(folder / "runs" / "r").state()["missing"]
        return {"kind": kind, "byte": at, "bit": bit, "of": len(content), "detected": len(found) == 1, "good": good}

    def full(self) -> dict:
        disk = self.home / "disk"
        disk.mkdir(exist_ok=True)
        while True:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", disk], check=True, capture_output=True)
            try:
                folder, moment = disk / "run", self.rng.uniform(0, self.seconds)
                pid = self.start(folder)
                time.sleep(moment)
                fill(disk / "ballast")
                code = self.wait(pid)
                if code == 0:
                    continue  # it had written everything
                phase, said = self.phase(folder), self.said(folder)
                intact, damaged = store.Store(folder / "store").verify()
                (disk / "ballast").unlink()
                message = " ".join(said.splitlines()[-1:]).replace(str(self.home), "DIR")
                of_the_disk = any(words in message for words in ("full", "No space left", "put run.store on a larger disk"))
                clear = code == 2 and "Traceback" not in said and of_the_disk
                return {
                    "seconds": moment, "phase": phase, "exit": code, "said": message, "clear": clear,
                    "intact": intact, "damaged": len(damaged), "good": self.resumed(folder),
                }  # fmt: skip
            finally:
                subprocess.run(["umount", "-l", disk], check=True)


def fill(path: Path) -> None:
    block = 1 << 16
    with open(path, "ab", buffering=0) as file:
        while block:
            try:
                file.write(b"\0" * block)
            except OSError:
                block //= 2


def can_mount(at: Path) -> bool:
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", at], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    subprocess.run(["umount", at], check=True)
    return True


def markdown(found: dict[str, list[dict]], left_out: str) -> str:
    lines = ["# Faults: what was done to runs, and what came of it", "", __doc__.split("\n\n")[2].replace("\n", " "), ""]
    lines += ["| fault | trials | as it must be | where |", "|---|---|---|---|"]
    for name, key, right in (
        ("killed, then resumed: the same bytes", "phase", lambda t: t["good"]),
        ("processes at once: each sentence computed once, none wrong", "requests", right_at_once),
        ("flipped bit: detected", "kind", lambda t: t["detected"]),
        ("flipped bit: mended by the next run, the same bytes", "kind", lambda t: t["good"]),
        ("full disk: a clear message, exit code 2, no damage", "phase", lambda t: t["clear"] and not t["damaged"]),
        ("full disk, then room: the same bytes", "phase", lambda t: t["good"]),
    ):
        trials = found[{"killed": "kills", "processes": "at_once", "flipped": "flips", "full": "full"}[name.split()[0].strip(",")]]
        where = ", ".join(f"{value} {n}" for value, n in Counter(t[key] for t in trials).most_common())
        lines.append(f"| {name} | {len(trials)} | {sum(map(right, trials))} | {where} |")
    halves = sum(bool(t["files_half_written"]) for t in found["kills"])
    lines += ["", f"A kill left a half-written file behind in {halves} trials; the next run writes over it."]
    differences = max((t["largest_difference"] for t in found["at_once"]), default=0)
    lines += [f"Largest difference of a vector to the reference's, processes at once: {differences:.1g}.", left_out, ""]
    messages = Counter(t["said"] for t in found["full"])
    lines += ["What a full disk says:", "", *(f"- {n} × `{said}`" for said, n in messages.most_common()), ""]
    return "\n".join(lines)


def right_at_once(trial: dict) -> bool:
    return trial["good"] and trial["computed"] == trial["sentences"] and trial["largest_difference"] < 1e-5


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("out", type=Path)
    for name, default in (("kills", 100), ("rounds", 5), ("processes", 4), ("flips", 100), ("full", 20), ("seed", 0)):
        words.add_argument(f"--{name}", type=int, default=default)
    given = words.parse_args()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    given.out.mkdir(parents=True, exist_ok=True)
    start, path = time.time(), given.out / "faults.json"
    with tempfile.TemporaryDirectory() as home:
        trials, disks = Trials(Path(home)), can_mount(Path(home))
        print(f"a run takes {trials.seconds:.1f} s", flush=True)
        flipped = Path(home) / "flipped"
        shutil.copytree(trials.whole, flipped)
        plans = {
            "kills": (given.kills, lambda k: trials.kill(anywhere=k % 10 == 9)),
            "at_once": (given.rounds, lambda k: trials.at_once(given.processes, alike=k % 2 == 0)),
            "flips": (given.flips, lambda k: trials.flip(flipped)),
            "full": (given.full if disks else 0, lambda k: trials.full()),
        }
        found: dict[str, list[dict]] = dict.fromkeys(plans, []) | (json.loads(path.read_text()) if path.exists() else {})
        for name, (n, trial) in plans.items():
            for k in range(len(found[name]), n):
                trials.rng.seed(f"{given.seed} {name} {k}")
                found[name] = [*found[name], trial(k)]
                path.write_text(json.dumps(portable(found), indent=1) + "\n", encoding="utf-8")
                print(name, k + 1, found[name][-1], flush=True)
    left_out = "" if disks else "No right to mount here: full disks were left out."
    (given.out / "README.md").write_text(markdown(found, left_out), encoding="utf-8")
    manifest = {
        "command": " ".join(["python", *sys.argv]),
        "seed": given.seed,
        "wall_seconds": round(time.time() - start),
        "seconds_of_one_run": round(trials.seconds, 2),
        "commit": commit,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": versions(),
    }
    (given.out / "manifest.json").write_text(json.dumps(portable(manifest), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
