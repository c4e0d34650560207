"""Counts how runs, stores and cells survive faults: kills, processes at once, flipped bits, full disks.

Usage: python scripts/trials/faults.py OUT [--kills 100] [--rounds 5] [--processes 4] [--flips 100] [--full 20] [--seed 0]

The command is always `probing run` with a small untrained LSTM on three tasks of the built-in grammar, in shards of 16 sentences;
each shard and each cell lasts 20 ms longer than its work. One run without faults is the reference; after a trial shards, receipts,
plans, encoder.json, rows.csv and table.* must have the same bytes. Every trial is a fork of a process that has loaded everything,
and writes no figures and no report.html, so that it takes a second or two.

- kills: SIGKILL at a moment drawn evenly from extraction and probing, for every tenth from the whole run (drawn again if the run
  was over), then the same command.
- processes: all at once on one store; in every second round each has other tasks. Every sentence that goes to the encoder is
  logged, except the timed sample of the announcement.
- flips: one random bit of one random file, its kind drawn evenly; then `store verify` or `status`, then the same command
  (run.force=true where cells are finished and would not read the store).
- full: a disk of 32 MB in memory, filled at a random moment; then room again. Only with the right to mount.

OUT: README.md, faults.json (every trial, written at its end; the same command goes on from there), manifest.json.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from faulty_runs import Trials, can_mount

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import manifest, table, write_json


def markdown(trials: dict[str, list[dict]], remark: str) -> str:
    rows = []
    for name, kind, key, right in (
        ("killed, then resumed: the same bytes", "kills", "phase", lambda t: t["good"]),
        ("processes at once: each sentence computed once, none wrong", "at_once", "requests", right_at_once),
        ("flipped bit: detected", "flips", "kind", lambda t: t["detected"]),
        ("flipped bit: mended by the next run, the same bytes", "flips", "kind", lambda t: t["good"]),
        ("full disk: a clear message, exit code 2, no damage", "full", "phase", lambda t: t["clear"] and not t["damaged"]),
        ("full disk, then room: the same bytes", "full", "phase", lambda t: t["good"]),
    ):
        where = ", ".join(f"{value} {n}" for value, n in Counter(t[key] for t in trials[kind]).most_common())
        rows.append([name, len(trials[kind]), sum(map(right, trials[kind])), where])
    halves = sum(bool(t["files_half_written"]) for t in trials["kills"])
    difference = max((t["largest_difference"] for t in trials["at_once"]), default=0)
    lines = [
        "# Faults in runs, and the outcomes",
        "",
        __doc__.split("\n\n")[2].replace("\n", " "),
        "",
        *table(["fault", "trials", "as it must be", "where"], rows),
        "",
        f"A kill left a half-written file behind in {halves} trials; the next run writes over it.",
        f"Largest difference of a vector from the reference, processes at once: {difference:.1g}.",
        remark,
        "",
        "Messages of a full disk:",
        "",
        *(f"- {n} × `{message}`" for message, n in Counter(t["said"] for t in trials["full"]).most_common()),
    ]
    return "\n".join(lines) + "\n"


def right_at_once(trial: dict) -> bool:
    return trial["good"] and trial["computed"] == trial["sentences"] and trial["largest_difference"] < 1e-5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    for name, default in (("kills", 100), ("rounds", 5), ("processes", 4), ("flips", 100), ("full", 20), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    start, path = time.time(), args.out / "faults.json"
    with tempfile.TemporaryDirectory() as home:
        trials, disks = Trials(Path(home)), can_mount(Path(home))
        print(f"a run takes {trials.seconds:.1f} s", flush=True)
        flipped = Path(home) / "flipped"
        shutil.copytree(trials.whole, flipped)
        plans = {
            "kills": (args.kills, lambda k: trials.kill(anywhere=k % 10 == 9)),
            "at_once": (args.rounds, lambda k: trials.at_once(args.processes, alike=k % 2 == 0)),
            "flips": (args.flips, lambda k: trials.flip(flipped)),
            "full": (args.full if disks else 0, lambda k: trials.full()),
        }
        results: dict[str, list[dict]] = dict.fromkeys(plans, []) | (json.loads(path.read_text()) if path.exists() else {})
        for name, (n, trial) in plans.items():
            for k in range(len(results[name]), n):
                trials.rng.seed(f"{args.seed} {name} {k}")
                results[name] = [*results[name], trial(k)]
                write_json(path, results)
                print(name, k + 1, results[name][-1], flush=True)
    remark = "" if disks else "No right to mount here: full disks were left out."
    (args.out / "README.md").write_text(markdown(results, remark), encoding="utf-8")
    times = {"wall_seconds": round(time.time() - start), "seconds_of_one_run": round(trials.seconds, 2)}
    write_json(args.out / "manifest.json", manifest(seed=args.seed, **times))


if __name__ == "__main__":
    main()
