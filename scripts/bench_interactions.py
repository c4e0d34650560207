"""Speed of our indices against shapiq's exact computer, on the same random tables in one process.

Usage: python scripts/bench_interactions.py OUT [--players 10,12,14] [--repeats 3]
Shapley values, Shapley interaction index (shapiq: order 2; ours: all orders, since they cost the same) and Moebius transform.
Both read the game from a table, and both times hold the 2^n evaluations. Repeats are interleaved, ours first and theirs first in
turn; ours takes the mean of 20 calls. Times are of the processor, so that other jobs count less; ratios are of medians.
OUT: interactions.json, interactions.md.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import shapiq

from probing.interactions import TableGame, table
from probing.interactions import indices as ix
from probing.paths import portable
from probing.provenance import versions

OURS = {"SV": ix.shapley, "SII": ix.shapley_interactions, "Moebius": ix.harsanyi}


def seconds(call, times: int) -> float:
    start = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - start) / times


def measure(index: str, n: int, repeats: int) -> dict:
    spent = {"ours": [], "shapiq": []}
    for repeat in range(repeats):
        game = TableGame(np.random.default_rng(repeat).normal(size=2**n))
        order = {"SV": 1, "SII": 2, "Moebius": n}[index]
        calls = {
            "ours": lambda game=game: OURS[index](table(game)),
            "shapiq": lambda game=game, order=order: shapiq.ExactComputer(game, n_players=n)(index, order=order),
        }
        for name in sorted(calls, reverse=bool(repeat % 2)):
            spent[name].append(seconds(calls[name], 20 if name == "ours" else 1))
    ours, theirs = (statistics.median(times) for times in spent.values())
    return {"index": index, "n": n, "ours": ours, "shapiq": theirs, "ratio": theirs / ours, "repeats": spent}


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("out", type=Path)
    words.add_argument("--players", default="10,12,14")
    words.add_argument("--repeats", type=int, default=3)
    given = words.parse_args()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    measure("SV", 4, 1)  # what is loaded at the first call is loaded here
    rows = []
    for n in map(int, given.players.split(",")):
        for index in OURS:
            rows.append(measure(index, n, given.repeats))
            print(index, n, f"{rows[-1]['ratio']:.0f}x", flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    found = {
        "command": " ".join(["python", *sys.argv]),
        "commit": commit,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end",
        "versions": versions() | {"shapiq": version("shapiq")},
        "rows": rows,
    }
    (given.out / "interactions.json").write_text(json.dumps(portable(found), indent=1) + "\n", encoding="utf-8")
    lines = [
        f"# Processor seconds, median of {given.repeats}, table of random values",
        "",
        "| n | index | ours | shapiq | ratio |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {r['n']} | {r['index']} | {r['ours']:.5f} | {r['shapiq']:.4f} | {r['ratio']:,.0f} |" for r in rows]
    (given.out / "interactions.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
