"""Runs of `faults.py`: one small command, forked into folders of its own, and the faults done to it."""

import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from probing import cli
from probing.data.builders import grammar_tasks
from probing.encoders import load
from probing.evaluation import evaluate
from probing.evaluation.runs import Run
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
        torch.set_num_threads(1)  # a fork has no threads of its parent, and would wait for them for ever
        threadpool_limits(1)
        self.data = grammar_tasks(home / "grammar", n=400)
        plain = store.extract

        def logged(encoder, items, *rest):
            if path := os.environ.get(LOG):
                with open(path, "a") as log:
                    log.write("".join(f"{json.dumps(list(map(int, item)))}\n" for item in items))
            time.sleep(0.02)
            return plain(encoder, items, *rest)

        put = ResultStore.put

        def slow(self, *given, **options):
            time.sleep(0.02)
            return put(self, *given, **options)

        ResultStore.put = slow
        store.extract, store.SHARD_BYTES = logged, 16 * 4 * (8 + 16)
        report._pictures, report.html = lambda *given: [], lambda *given: ""
        self.whole = home / "whole"
        self.command(home / "warm")  # loads late modules in this process, once
        gc.collect()
        gc.freeze()
        start = time.perf_counter()
        assert self.wait(self.start(self.whole)) == 0, self.log(self.whole).read_text()
        self.seconds = time.perf_counter() - start
        self.reference = self.bytes_of(self.whole)
        plan, *cells = (path.stat().st_mtime for kind in ("plan", "cell") for path in self.whole.glob(KINDS[kind]))
        self.working = max(cells) - plan  # seconds of extraction and probing

    def start(self, folder: Path, *words: str, name: str = "r") -> int:
        """The pid of a fork that runs the command in the folder; its output goes to a log beside it."""
        if pid := os.fork():
            return pid
        with open(self.log(folder, name), "w") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
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

    @staticmethod
    def wait(pid: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    @staticmethod
    def bytes_of(folder: Path, name: str = "r") -> dict[str, bytes]:
        files = [path for path in (folder / "store").rglob("*") if path.is_file() and path.suffix != ".lock"]
        files += [folder / "runs" / name / "rows.csv", *(folder / "runs" / name).glob("table.*")]
        return {str(path.relative_to(folder)).replace(f"runs/{name}/", ""): path.read_bytes() for path in sorted(files)}

    def phase(self, folder: Path) -> str:
        """The phase that a run reached, from the files in its folder."""
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
        os.environ[LOG], plain, evaluate.announce = str(log), evaluate.announce, lambda *given: None
        pids = []
        for k in range(processes):
            pair = f"task={TASKS[k % 3]},{TASKS[(k + 1) % 3]}"
            pids.append(self.start(folder, *([] if alike else [pair]), name=f"r{k}"))
        codes = [self.wait(pid) for pid in pids]
        del os.environ[LOG]
        evaluate.announce = plain
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
        """The largest difference of a vector from the reference."""
        encoder = load("lstm", **ENCODER)
        columns = [Representation(layer, "mean") for layer in range(2)]
        rows, reference = (store.Store(at / "store").vectors(encoder, texts, ["mean"]).rows(texts) for at in (folder, self.whole))
        return max(abs(rows.get(column) - reference.get(column)).max() for column in columns)

    def flip(self, folder: Path) -> dict:
        """Flips a bit in a finished run; `folder` is whole again afterwards."""
        kind = self.rng.choice(list(KINDS))
        path = self.rng.choice(sorted(folder.glob(KINDS[kind])))
        content = bytearray(path.read_bytes())
        at, bit = self.rng.randrange(len(content)), self.rng.randrange(8)
        content[at] ^= 1 << bit
        path.write_bytes(content)
        in_store = kind not in ("cell", "predictions")
        damaged = store.Store(folder / "store").verify()[1] if in_store else Run.read(folder / "runs" / "r").state()["missing"]
        good = self.resumed(folder, *(["run.force=true"] if in_store else []))
        good = good and not Run.read(folder / "runs" / "r").state()["missing"]
        return {"kind": kind, "byte": at, "bit": bit, "of": len(content), "detected": len(damaged) == 1, "good": good}

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
                phase, output = self.phase(folder), self.log(folder).read_text()
                intact, damaged = store.Store(folder / "store").verify()
                (disk / "ballast").unlink()
                message = " ".join(output.splitlines()[-1:]).replace(str(self.home), "DIR")
                of_the_disk = any(words in message for words in ("full", "No space left", "put run.store on a larger disk"))
                clear = code == 2 and "Traceback" not in output and of_the_disk
                return {
                    "seconds": moment, "phase": phase, "exit": code, "said": message, "clear": clear,
                    "intact": intact, "damaged": len(damaged), "good": self.resumed(folder),
                }  # fmt: skip
            finally:
                subprocess.run(["umount", "-l", disk], check=True)


def fill(path: Path) -> None:
    """Writes zeros until the disk is full."""
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
