"""Speed of our indices against shapiq's exact computer, on the same random tables in one process.

Usage: python scripts/benchmarks/bench_interactions.py OUT [--players 10,12,14] [--repeats 3]
Shapley values, Shapley interaction index (shapiq: order 2; ours: all orders, since they cost the same) and Moebius transform.
Both read the game from a table, and both times include the 2^n evaluations. Repeats are interleaved, which comes first
alternates; ours is the mean of 20 calls. Times are of the processor, so that other jobs count less; ratios are of medians.
OUT: interactions.json, interactions.md.
"""

import argparse
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import shapiq

from probing.interactions import TableGame, table
from probing.interactions import game as ix
from probing.provenance import versions

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import manifest, write_json
from output import table as markdown_table

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
    medians = {name: statistics.median(times) for name, times in spent.items()}
    return {"index": index, "n": n, **medians, "ratio": medians["shapiq"] / medians["ours"], "repeats": spent}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--players", default="10,12,14")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    measure("SV", 4, 1)  # loads modules outside the times
    rows = []
    for n in map(int, args.players.split(",")):
        for index in OURS:
            rows.append(measure(index, n, args.repeats))
            print(index, n, f"{rows[-1]['ratio']:.0f}x", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    record = manifest(versions=versions() | {"shapiq": version("shapiq")}, rows=rows)
    write_json(args.out / "interactions.json", record)
    cells = [[r["n"], r["index"], f"{r['ours']:.5f}", f"{r['shapiq']:.4f}", f"{r['ratio']:,.0f}"] for r in rows]
    lines = [f"# Processor seconds, median of {args.repeats}, table of random values", ""]
    lines += markdown_table(["n", "index", "ours", "shapiq", "ratio"], cells)
    (args.out / "interactions.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
