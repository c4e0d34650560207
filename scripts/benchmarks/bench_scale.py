"""What a store costs where there are many encoders, as checkpoints of a training run: bytes, files, locks, memory, look-ups.

Usage: python scripts/benchmarks/bench_scale.py OUT [--encoders 10,25,50] [--n 1500] [--tasks past_present,subj_number]
Tiny LSTMs (one layer of 64 over 32, untrained, each with its own seed) on tasks of the built-in grammar, one thread. All of a size
share one store; a size goes on from the one before it, in a fresh process. `evaluate`, mean of all layers, probe `fast`, no floors
and controls; first with the first task, then with all, so that an encoder's sentences come in two requests. Locks: calls of flock
in that process. Then, in another process: `request`: `Store.vectors` of one encoder whose vectors are stored; `again`: the last
`evaluate` with nothing to do; `list`, `evict` (dry), `compact`: the upkeep of a copy of the store. Processor seconds; peak: the
kernel's high water of resident pages. OUT: scale.json, scale.md, with the arithmetic of a thousand.
"""

import argparse
import fcntl
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from bench_extraction import keep
from bench_scaling import Measured, fresh

from probing import evaluate, load_encoder
from probing.data.sources import GrammarCorpus
from probing.store.compaction import compact, evict
from probing.store.vectors import Store

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import table


def tasks_of(home: Path, args) -> list:
    return GrammarCorpus(str(home / "grammar"), args.n).tasks(args.tasks.split(","))


def encoders(first: int, end: int) -> list:
    sizes = {"hidden": 64, "embedding_dim": 32, "buckets": 2000, "dropout": 0.0}
    return [load_encoder("lstm", init_seed=seed, label=f"checkpoint {seed}", **sizes) for seed in range(first, end)]


def measure(home: Path, tasks: list, group: list):
    return evaluate(tasks, group, store=home / "store", cells=home / "cells", poolings=["mean"], floors=(), controls=())


def fill(home: Path, first: int, end: int, args) -> dict:
    """Encoders first … end - 1 into the store."""
    calls, own = {"shared": 0, "exclusive": 0}, fcntl.flock

    def counted(descriptor, how):
        if how != fcntl.LOCK_UN:
            calls["shared" if how & fcntl.LOCK_SH else "exclusive"] += 1
        return own(descriptor, how)

    tasks = tasks_of(home, args)
    fcntl.flock = counted
    with Measured() as measured:
        for part in (tasks[:1], tasks):
            table_ = measure(home, part, encoders(first, end))
    fcntl.flock = own
    return {"cells": len(table_.frame), "failed": int((table_.frame.status != "done").sum()), "locks": calls} | measured.figures


def timed(call) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def look_up(home: Path, end: int, args) -> dict:
    tasks = tasks_of(home, args)
    texts = list(dict.fromkeys(text for task in tasks for split in task.splits.values() for text in split.texts))
    [encoder] = encoders(end - 1, end)
    return {
        "sentences": len(texts),
        "request": timed(lambda: Store(home / "store").vectors(encoder, texts, ["mean"])),
        "again": timed(lambda: measure(home, tasks, encoders(0, end))),
    } | upkeep(home / "copy")


def upkeep(root: Path) -> dict:
    figures = {"list": timed(lambda: Store(root).entries()), "evict": timed(lambda: evict(root, size=0))}
    figures["compact"] = timed(lambda: figures.update(compacted=compact(root)._asdict()))
    return figures | {"verified": Store(root).verify()[0]}


def held(folder: Path) -> dict:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return {"files": len(sizes), "bytes": sum(sizes)}


def by_encoders(args) -> dict:
    rows: list[dict] = []
    with tempfile.TemporaryDirectory() as folder:
        home, first = Path(folder), 0
        for end in map(int, args.encoders.split(",")):
            row = {"encoders": end, "new": end - first} | fresh(fill, home, first, end, args)
            shutil.copytree(home / "store", home / "copy")
            row |= {"store": held(home / "store"), "results": held(home / "cells")} | fresh(look_up, home, end, args)
            shutil.rmtree(home / "copy")
            rows.append(row)
            first = end
    return {"n": args.n, "tasks": args.tasks, "rows": rows}


def markdown(results: dict) -> str:
    part = results["encoders"]
    rows = part["rows"]
    lines = ["# A store of many encoders", "", f"Tiny untrained LSTMs × {part['tasks'].replace(',', ', ')} of the grammar "]
    lines[-1] += f"({rows[0]['sentences']:,} sentences), mean of all layers, one thread; locks, peak and time of filling: of the "
    lines[-1] += "encoders that a size adds, in one process. Processor seconds."
    head = "encoders | store, files | store, MB | results, files | exclusive locks an encoder | shared | peak, MB"
    head += " | filling an encoder | request of one | all again | list | evict, dry | compact | files after it"
    body = [
        [
            r["encoders"], r["store"]["files"], f"{r['store']['bytes'] / 1e6:.1f}", r["results"]["files"],
            f"{r['locks']['exclusive'] / r['new']:.1f}", f"{r['locks']['shared'] / r['new']:.1f}", f"{r['peak_bytes'] / 1e6:.0f}",
            f"{r['cpu_seconds'] / r['new']:.2f}", f"{r['request']:.3f}", f"{r['again']:.2f}", f"{r['list']:.2f}",
            f"{r['evict']:.2f}", f"{r['compact']:.2f}", r["compacted"]["files"][1],
        ]
        for r in rows
    ]  # fmt: skip
    lines += ["", *table(head.split(" | "), body)]
    return "\n".join([*lines, "", *thousand(rows)]) + "\n"


def thousand(rows: list[dict]) -> list[str]:
    """The line through the smallest and the largest size, at a thousand encoders."""
    low, high = rows[0], rows[-1]

    def at(value) -> float:
        slope = (value(high) - value(low)) / max(1, high["encoders"] - low["encoders"])
        return value(high) + slope * (1000 - high["encoders"])

    bytes_, after = at(lambda r: r["store"]["bytes"]), at(lambda r: r["compacted"]["files"][1])
    each = bytes_ / 1000 / high["sentences"]
    return [
        "## A thousand, by arithmetic",
        "",
        f"Through {low['encoders']} and {high['encoders']} encoders: {at(lambda r: r['store']['files']):,.0f} files of "
        f"{bytes_ / 1e9:.2f} GB in the store, {after:,.0f} after `probing store compact` ({at(lambda r: r['compact']):.0f} s), "
        f"{at(lambda r: r['results']['files']):,.0f} of results; a request of one encoder {at(lambda r: r['request']):.2f} s, the "
        f"list {at(lambda r: r['list']):.0f} s, a run with nothing to do {at(lambda r: r['again']):.0f} s.",
        "",
        f"A sentence takes {each:,.0f} bytes here (layers of 32 and 64, and its share of the lists). A thousand checkpoints of a "
        f"BERT-base shape (13 layers × 768 × 4 bytes, one pooling) on {high['sentences']:,} sentences hold "
        f"{1000 * high['sentences'] * 13 * 768 * 4 / 1e9:.0f} GB, half of it in float16: bytes, not files, are what runs out, and "
        "`probing store evict --size` bounds them.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--encoders", default="10,25,50")
    parser.add_argument("--n", type=int, default=1500, help="sentences of the grammar")
    parser.add_argument("--tasks", default="past_present,subj_number")
    args = parser.parse_args()
    keep(args.out, "scale", {"encoders": partial(by_encoders, args)}, markdown)


if __name__ == "__main__":
    main()
