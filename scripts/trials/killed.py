"""Whether a command of `probing` ends with the same bytes after a kill, and as two processes at once.

Usage: python scripts/trials/killed.py OUT [--kills 10] [--rounds 2] [--seed 0] -- WORDS…

WORDS: the command, such as `atlas encoder=lstm data.n=1200 run.threads=1`. Each trial is a folder of its own, in which the command
writes below its usual `run.dir`. One run without faults is the reference: the files of its runs (tables, rows, pages, pictures; not
manifests, which have times) must have the same bytes after a trial.

- kills: SIGKILL to the process and its children at a moment drawn evenly from the run, then the same command; runs that
  were over before do not count.
- rounds: two processes at once on one store.

OUT: killed.json, killed.md.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import manifest, table, write_json

TIMES = {"manifest.json", "run.json"}
"""Files of a run that have times or the moment in them."""


def start(words: list[str], folder: Path) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    with open(folder / "log", "a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "probing", *words], cwd=folder, stdout=log, stderr=log, start_new_session=True
        )


def ended(process: subprocess.Popen, folder: Path) -> None:
    if process.wait():
        sys.exit(f"exit code {process.returncode}:\n{(folder / 'log').read_text()[-2000:]}")


def digests(folder: Path) -> dict[str, str]:
    """The files of all runs in the folder and their sha256."""
    files = [path for path in sorted(folder.glob("*/runs/*/*")) if path.is_file() and path.name not in TIMES]
    return {f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    for name, default in (("kills", 10), ("rounds", 2), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("words", nargs="+")
    args = parser.parse_args()
    words: list[str] = args.words
    rng, trials = random.Random(args.seed), []
    with tempfile.TemporaryDirectory() as name:
        home, begun = Path(name), time.perf_counter()
        ended(start(words, home / "whole"), home / "whole")
        seconds, whole = time.perf_counter() - begun, digests(home / "whole")
        if not whole:
            sys.exit("the command wrote no run")
        for k in range(args.kills + args.rounds):
            folder, killed = home / str(k), k < args.kills
            processes = [start(words, folder) for _ in range(1 if killed else 2)]
            at = rng.uniform(0, seconds) if killed else None
            if killed:
                time.sleep(at)
                if processes[0].poll() is None:
                    os.killpg(processes[0].pid, signal.SIGKILL)
                processes[0].wait()
                processes.append(start(words, folder))
            for process in processes[killed:]:
                ended(process, folder)
            other = digests(folder)
            wrong = sorted(name for name in whole | other if whole.get(name) != other.get(name))
            over = killed and processes[0].returncode == 0
            trials.append({"fault": "kill" if killed else "two at once", "second": at, "was over": over, "other files": wrong})
            print(trials[-1], flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "killed.json", manifest(words=words, seconds=round(seconds, 1), files=len(whole), trials=trials))
    rows = []
    for fault in ("kill", "two at once"):
        own = [one for one in trials if one["fault"] == fault and not one["was over"]]
        rows.append([fault, len(own), sum(not one["other files"] for one in own)])
    what = f"`probing {' '.join(words)}`: {seconds:.0f} s, {len(whole)} files compared."
    lines = ["# Killed, and twice at once", "", what, "", *table(["fault", "trials", "the same bytes"], rows)]
    (args.out / "killed.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
