"""The whole table from nothing: `evaluate` against the sixty-line script that anyone would write, task by task in one process.

Usage: python scripts/bench_table.py DATA OUT [--tasks a,b] [--encoder minilm] [--fraction 1.0] [--repeats 3] [--scratch DIR]

Both do the same work on one thread: every layer and pooling of the encoder, six values of C, the best on dev, its test accuracy.
The script: transformers in batches of 32 in the file's order, padded, `output_hidden_states`, poolings in torch; StandardScaler
and LogisticRegression(C, max_iter=1000) for each. Ours: `evaluate` with probe=fast, no floors, no controls, an empty store that
the tasks of a repeat share. Then ours again with another probe (raw features), where any call of the model raises; then the first
request unchanged. Who comes first changes from repeat to repeat. Times are of the processor, child processes included, wall time
beside; the limit is the extraction of the distinct sentences at the GEMM rate measured before and after each repeat, with probes
for nothing. Every finished stage is in SCRATCH: a killed benchmark goes on there, and a stage that was cut short starts afresh.
`--fraction` takes a stratified share of every split, another one for each repeat. Groups of tasks may be measured by processes side
by side, each with its own --scratch; `--join SCRATCH…` then only writes the table of all of them. OUT: table.json, table.md.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from sixty_lines import GRID, fit, loop, tokenizer_and_model
from threadpoolctl import threadpool_limits
from timing import Clock
from transformers import PreTrainedModel

from probing import Store, evaluate, load_encoder, load_probe
from probing.data.sources import SentEvalFolder
from probing.files import replace_file
from probing.paths import portable
from probing.provenance import versions
from probing.types import Representation


class TimedStore(Store):
    """A store that knows what its vectors cost: the extraction, and the estimate before it."""

    spent = 0.0

    def vectors(self, *given, **options):
        clock = Clock()
        found = super().vectors(*given, **options)
        self.spent += clock.read()["cpu"]
        return found

    def estimate(self, *given, **options):
        clock = Clock()
        found = super().estimate(*given, **options)
        self.spent += clock.read()["cpu"]
        return found


def gemm_peak() -> float:
    """GFLOP/s of the best of two float32 products, by the processor's clock, on one thread."""
    best = 0.0
    for m, k, n in ((2048, 384, 1536), (1024, 1024, 1024)):
        a, b = torch.randn(m, k), torch.randn(k, n)
        a @ b
        for _ in range(5):
            clock = Clock()
            for _ in range(3):
                a @ b
            best = max(best, 3 * 2e-9 * m * k * n / clock.read()["cpu"])
    return best


def flops_a_token(encoder) -> float:
    """Of the dense products in the blocks, two for each weight; attention scores, norms and the pooler are not counted."""
    modules = encoder.model.named_modules()
    return 2.0 * sum(m.weight.numel() for name, m in modules if isinstance(m, torch.nn.Linear) and "pooler" not in name)


class ModelCalled(KeyboardInterrupt):
    """Ends the benchmark; any other exception would be recorded as a failed cell."""


def refuse(module, given):
    if isinstance(module, PreTrainedModel):
        raise ModelCalled("the model was called, although every vector is in the store")


class Record:
    """Finished stages by name, in SCRATCH. A stage that was cut short finds the work folder as it was before it."""

    def __init__(self, scratch: Path, given: dict):
        self.path, self.work = scratch / "stages.json", scratch / "work"
        self.said = json.loads(self.path.read_text()) if self.path.is_file() else {"given": given, "stages": {}}
        if self.said["given"] != given:
            sys.exit(f"{self.path} is of another benchmark, {self.said['given']}: choose another --scratch, or delete that one")

    def get(self, name: str):
        return self.said["stages"].get(name)

    def join(self, stages: dict) -> None:
        """Adds what another process found; seconds of a stage that both have are summed, rates are averaged."""
        for name, found in stages.items():
            own = self.said["stages"].setdefault(name, found)
            if own is not found:
                own |= {key: own[key] + found[key] for key in ("cpu", "wall") if key in own}
                own |= {key: (own[key] + found[key]) / 2 for key in ("gflops",) if key in own}

    def save(self, name: str, found) -> None:
        self.said["stages"][name] = found
        replace_file(self.path, json.dumps(self.said, indent=1).encode())
        if found.get("cpu", 0) > 1:
            print(f"{time.strftime('%T')} {name}: {found['cpu']:.1f} s", flush=True)

    def stage(self, name: str, work) -> None:
        """Runs `work`, which may write into the work folder and returns what it found, unless it was finished before."""
        before = self.path.with_name(f"before-{hashlib.sha256(name.encode()).hexdigest()[:8]}")
        if self.get(name) is None:
            if before.is_dir():
                shutil.rmtree(self.work, ignore_errors=True)
                before.rename(self.work)
            self.work.mkdir(parents=True, exist_ok=True)
            copying = self.path.with_name("copying")
            shutil.rmtree(copying, ignore_errors=True)
            shutil.copytree(self.work, copying, copy_function=os.link)  # its files are replaced, never changed: links will do
            copying.rename(before)
            clock = Clock()
            found = work()
            self.save(name, found | clock.read())
        shutil.rmtree(before, ignore_errors=True)


def script(record: Record, name: str, task, encoder) -> None:
    """The loop and the fits of one task, each fit a stage of its own; the loop is run again where fits are left."""
    columns = [(layer, pooling) for pooling in encoder.poolings for layer in range(len(encoder.dims))]
    left = [column for column in columns if record.get(f"{name} script fit {column}") is None]
    if not left and record.get(f"{name} script loop") is not None:
        return
    clock = Clock()
    model = tokenizer_and_model(encoder.folder)
    features = {split: loop(*model, part.texts) for split, part in task.splits.items()}
    if record.get(f"{name} script loop") is None:
        record.save(f"{name} script loop", clock.read())
    for column in left:
        clock = Clock()
        found = fit(task, features, column)
        record.save(f"{name} script fit {column}", found | clock.read())


def ours(task, encoder, home: Path, probe="fast") -> dict:
    store = TimedStore(home / "store")
    frame = evaluate([task], [encoder], store=store, cells=home / "cells", probe=probe, floors=[], controls=[]).frame
    if (frame.status != "done").any():
        sys.exit(f"{task.name}: cells failed, see above")
    cells = {str((int(row.layer), row.pooling)): [row.accuracy, bool(row.converged)] for row in frame.itertuples()}
    return {"extraction": store.spent, "cells": cells}


def difference(task, encoder, home: Path) -> dict:
    """The largest difference between the vectors of both, over 256 test sentences."""
    texts = task.test.texts[:256]
    rows = Store(home / "store").vectors(encoder, texts, encoder.poolings).rows(texts)
    loops = loop(*tokenizer_and_model(encoder.folder), texts)
    return {"largest": max(float(np.abs(rows.get(Representation(*c)) - x).max()) for c, x in loops.items())}


def without_model(work):
    handle = torch.nn.modules.module.register_module_forward_pre_hook(refuse)
    try:
        return work()
    finally:
        handle.remove()


def one_repeat(record: Record, repeat: int, given) -> None:
    home = record.work / str(repeat)
    encoder, tasks = build(given.encoder), load(given, repeat)
    raw = load_probe("fast", standardize=False)
    record.stage(f"{repeat} peak before", lambda: {"gflops": gemm_peak()})
    known: set[str] = set()
    for task in tasks:
        name = f"{repeat} {task.name}"
        new = {text for split in task.splits.values() for text in split.texts} - known
        known |= new
        if record.get(f"{name} size") is None:
            tokens = sum(map(len, encoder.tokenize(sorted(new))[0]))
            sizes = {split: len(part) for split, part in task.splits.items()}
            record.save(f"{name} size", sizes | {"classes": len(task.classes), "new": len(new), "tokens": tokens})
        sides = (
            lambda task=task, name=name: script(record, name, task, encoder),
            lambda task=task, name=name: record.stage(f"{name} ours", lambda: ours(task, encoder, home)),
        )
        for side in sides if repeat % 2 == 0 else sides[::-1]:
            side()
        if record.get(f"{name} vectors") is None:
            record.save(f"{name} vectors", difference(task, encoder, home))
    for task in tasks:
        work = lambda task=task: without_model(lambda: ours(task, encoder, home, raw))  # noqa: E731
        record.stage(f"{repeat} {task.name} another probe", work)
    again = lambda: [ours(task, build(given.encoder), home) for task in load(given, repeat)]  # noqa: E731
    record.stage(f"{repeat} unchanged", lambda: without_model(again) and {})
    record.stage(f"{repeat} peak after", lambda: {"gflops": gemm_peak()})
    shutil.rmtree(home)


def build(name: str):
    return load_encoder("hf", name=name) if Path(name).is_dir() else load_encoder(name)


def load(given, repeat: int) -> list:
    tasks = SentEvalFolder(given.data).tasks(given.tasks.split(",") if given.tasks else None)
    if given.fraction == 1:
        return tasks
    parts = []
    for task in tasks:
        train, dev, test = (max(1, round(given.fraction * len(split))) for split in task.splits.values())
        parts.append(task.subset(max(train, len(task.classes)), repeat, dev, test))
    return parts


# What is written.


def table(record: Record, given, flops: float) -> list[dict]:
    """One line a task, then their sums: every number the median over repeats, with the list of all."""
    lines = []
    names = [task.name for task in load(given, 0)]
    groups = [[name] for name in names] + [names] * (len(names) > 1)
    if "word_content" in names and len(names) > 1:
        groups.append([name for name in names if name != "word_content"])
    for group in groups:
        every: dict[str, list[float]] = {}
        for repeat in range(given.repeats):
            peak = statistics.mean(record.get(f"{repeat} peak {when}")["gflops"] for when in ("before", "after"))
            found = dict.fromkeys(
                ("loop", "fits", "script", "script wall", "extraction", "ours", "ours wall", "second", "limit"), 0.0
            )
            worst, equal, cells = 0.0, 0, 0
            for name in (f"{repeat} {task}" for task in group):
                stages = {key: said for key, said in record.said["stages"].items() if key.startswith(f"{name} script fit ")}
                mine, size = record.get(f"{name} ours"), record.get(f"{name} size")
                parts = [record.get(f"{name} script loop"), *stages.values()]
                found["loop"] += parts[0]["cpu"]
                found["fits"] += sum(part["cpu"] for part in parts[1:])
                found["script"] += sum(part["cpu"] for part in parts)
                found["script wall"] += sum(part["wall"] for part in parts)
                found["extraction"] += mine["extraction"]
                found["ours"] += mine["cpu"]
                found["ours wall"] += mine["wall"]
                found["second"] += record.get(f"{name} another probe")["cpu"]
                found["limit"] += size["tokens"] * flops / 1e9 / peak
                for key, said in stages.items():
                    gap = abs(said["accuracy"] - mine["cells"][key.removeprefix(f"{name} script fit ")][0])
                    worst, cells = max(worst, gap), cells + 1
                    equal += gap <= max(0.001, 1 / size["test"]) + 1e-9
            found["ratio"] = found["script"] / found["ours"]
            found["limit ratio"] = found["script"] / found["limit"]
            found["share of cells that agree"] = equal / cells
            found["largest difference"] = worst
            found["vectors"] = max(record.get(f"{repeat} {task} vectors")["largest"] for task in group)
            for key, value in found.items():
                every.setdefault(key, []).append(value)
        what = group[0] if len(group) == 1 else "all" if group == names else "without word_content"
        lines.append({"what": what} | {k: statistics.median(v) for k, v in every.items()} | {"repeats": every})
    return lines


def markdown(lines: list[dict], record: Record, given, flops: float) -> str:
    peaks = [record.get(f"{repeat} peak {when}")["gflops"] for repeat in range(given.repeats) for when in ("before", "after")]
    unchanged = [record.get(f"{repeat} unchanged") for repeat in range(given.repeats)]
    head = "task | script: loop | fits | **all** | ours: extraction | fits | **all** | **ratio** | spread | limit | its ratio"
    head += " | another probe | cells that agree | largest difference"
    wall = next(line for line in lines if line["what"] == ("all" if len(lines) > 1 else lines[0]["what"]))
    text = [
        "# The whole table, from nothing",
        "",
        f"Every layer and pooling × {len(GRID)} values of C, {given.encoder}; {100 * given.fraction:g} % of the sentences; "
        f"processor seconds on one thread, median of {given.repeats}. Limit: the distinct sentences at the GEMM rate, probes for "
        "nothing.",
        "Cells agree where test accuracies differ by 0.1 point or one sentence at most; the script tries every C, ours stops its "
        "path when dev falls. Another probe: the same grid on raw features, from the store; a call of the model would have raised.",
        "",
        f"| {head} |",
        "|---" * 14 + "|",
    ]
    for line in lines:
        ratios = line["repeats"]["ratio"]
        text.append(
            f"| {line['what']} | {line['loop']:.1f} | {line['fits']:.1f} | {line['script']:.1f} | {line['extraction']:.1f} | "
            f"{line['ours'] - line['extraction']:.1f} | {line['ours']:.1f} | **{line['ratio']:.2f}** | {min(ratios):.2f}-"
            f"{max(ratios):.2f} | {line['limit']:.1f} | {line['limit ratio']:.2f} | {line['second']:.1f} | "
            f"{100 * line['share of cells that agree']:.0f} % | {100 * line['largest difference']:.2f} |"
        )
    spent = ", ".join(f"{said['cpu']:.1f} s (wall {said['wall']:.1f} s)" for said in unchanged)
    text += [
        "",
        f"- Wall, {wall['what']}: script {wall['script wall']:.0f} s, ours {wall['ours wall']:.0f} s.",
        f"- The first request unchanged, data read and encoder hashed again: {spent}.",
        f"- GEMM {min(peaks):.1f}-{max(peaks):.1f} GFLOP/s; {flops / 1e6:.1f} MFLOP a token.",
        f"- Largest difference of a vector, 256 test sentences a task: {max(line['vectors'] for line in lines):.1e}.",
    ]
    return "\n".join(text) + "\n"


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("data")
    words.add_argument("out", type=Path)
    words.add_argument("--tasks", default="")
    words.add_argument("--encoder", default="minilm", help="a preset, or the folder of a model")
    words.add_argument("--fraction", type=float, default=1.0)
    words.add_argument("--repeats", type=int, default=3)
    words.add_argument("--scratch", type=Path, default=Path("probing-out/bench-table"))
    words.add_argument(
        "--join", nargs="*", default=[], type=Path, help="finished scratch folders of the same command but for --tasks"
    )
    given = words.parse_args()
    if not 0 < given.fraction <= 1 or given.repeats < 1:
        words.error("--fraction must be above 0 and at most 1, --repeats at least 1")
    torch.set_num_threads(1)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    asked = {name: getattr(given, name) for name in ("data", "tasks", "encoder", "fraction", "repeats")} | {"commit": commit}
    given.scratch.mkdir(parents=True, exist_ok=True)
    record = Record(given.scratch, asked)
    for folder in given.join:
        other = json.loads((folder / "stages.json").read_text())
        if other["given"] | {"tasks": ""} != asked | {"tasks": ""}:
            sys.exit(f"{folder} is of another benchmark, {other['given']}")
        record.join(other["stages"])
    with threadpool_limits(1):
        for repeat in range(given.repeats):
            if record.get(f"{repeat} peak after") is None:
                one_repeat(record, repeat, given)
    flops = flops_a_token(build(given.encoder))
    lines = table(record, given, flops)
    given.out.mkdir(parents=True, exist_ok=True)
    found = {
        "command": " ".join(["python", *sys.argv]),
        "commit": commit,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end",
        "versions": versions(),
        "flops_a_token": flops,
        "lines": lines,
        "stages": record.said["stages"],
    }
    (given.out / "table.json").write_text(json.dumps(portable(found), indent=1) + "\n", encoding="utf-8")
    (given.out / "table.md").write_text(markdown(lines, record, given, flops), encoding="utf-8")


if __name__ == "__main__":
    main()
