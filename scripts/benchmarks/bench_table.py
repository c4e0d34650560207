"""The whole table, with nothing stored: `evaluate` against a plain script of sixty lines, task by task in one process.

Usage: python scripts/benchmarks/bench_table.py DATA OUT [--tasks a,b] [--encoder minilm] [--option KEY=VALUE]… [--fraction 1.0]
       [--repeats 3] [--scratch DIR] [--script TABLE.json]

Both work on one thread: every layer and pooling of the encoder, six values of C, the best on dev, its test accuracy. The script
(`sixty_lines.py`): transformers in batches of 32 in the file's order, padded, `output_hidden_states`, poolings in torch;
StandardScaler and LogisticRegression(C, max_iter=1000) for each. Ours: `evaluate` with probe=fast, no floors, no controls, an empty
store that the tasks of a repeat share. Then ours again with another probe (raw features), where any call of the model raises; then
the first request unchanged. Which of the two comes first alternates. Times are of the processor, child processes included, wall
time beside; the limit is the extraction of the distinct sentences at the GEMM rate measured before and after each repeat, without
probes. Every finished stage is in SCRATCH: a killed benchmark goes on there, and an interrupted stage starts afresh. `--fraction`
takes a stratified share of every split, another one for each repeat. Groups of tasks may be measured by processes side by side,
each with its own --scratch; `--join SCRATCH…` then writes one table of them. `--script`: the script's seconds and accuracies of an
earlier table.json, which must be of as many sentences, so that ours alone is measured. `--option`: of our encoder, such as
engine=openvino; the script's model stays as it is. OUT: table.json, table.md.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import torch
from bench_table_report import markdown, summary
from sixty_lines import fit, loop, tokenizer_and_model
from threadpoolctl import threadpool_limits
from timing import Clock, gemm_peak
from transformers import PreTrainedModel

from probing import Store, evaluate, load_encoder, load_probe
from probing.data.sources import SentEvalFolder
from probing.files import replace_file
from probing.types import Representation

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import COMMIT, manifest, write_json

GEMM_SHAPES = ((2048, 384, 1536), (1024, 1024, 1024))


class TimedStore(Store):
    """A store with the processor seconds of its extraction and of the estimate before it."""

    spent = 0.0

    def vectors(self, *given, **options):
        clock = Clock()
        result = super().vectors(*given, **options)
        self.spent += clock.read()["cpu"]
        return result

    def estimate(self, *given, **options):
        clock = Clock()
        result = super().estimate(*given, **options)
        self.spent += clock.read()["cpu"]
        return result


def flops_a_token(encoder) -> float:
    """Twice the weights of the dense products in the blocks, without attention scores, norms and the pooler."""
    modules = encoder.model.named_modules()
    return 2.0 * sum(m.weight.numel() for name, m in modules if isinstance(m, torch.nn.Linear) and "pooler" not in name)


class ModelCalled(KeyboardInterrupt):
    """Ends the benchmark; an Exception would be recorded as a failed cell."""


def refuse(module, given):
    if isinstance(module, PreTrainedModel):
        raise ModelCalled("the model was called, although every vector is in the store")


class Record:
    """Finished stages by name, in SCRATCH. An interrupted stage starts again with the work folder as it was before."""

    def __init__(self, scratch: Path, request: dict):
        self.path, self.work = scratch / "stages.json", scratch / "work"
        self.content = json.loads(self.path.read_text()) if self.path.is_file() else {"given": request, "stages": {}}
        self.stages = self.content["stages"]
        if self.content["given"] != request:
            sys.exit(f"{self.path} is of another benchmark, {self.content['given']}: choose another --scratch, or delete that one")

    def get(self, name: str):
        return self.stages.get(name)

    def join(self, stages: dict) -> None:
        """Adds the stages of another process; seconds of a stage that both have are summed, rates are averaged."""
        for name, other in stages.items():
            own = self.stages.setdefault(name, other)
            if own is not other:
                own |= {key: own[key] + other[key] for key in ("cpu", "wall") if key in own}
                own |= {key: (own[key] + other[key]) / 2 for key in ("gflops",) if key in own}

    def save(self, name: str, stage: dict) -> None:
        self.stages[name] = stage
        replace_file(self.path, json.dumps(self.content, indent=1).encode())
        if stage.get("cpu", 0) > 1:
            print(f"{time.strftime('%T')} {name}: {stage['cpu']:.1f} s", flush=True)

    def stage(self, name: str, work) -> None:
        """Runs `work`, which may write into the work folder and returns figures, unless the stage is finished."""
        before = self.path.with_name(f"before-{hashlib.sha256(name.encode()).hexdigest()[:8]}")
        if self.get(name) is None:
            if before.is_dir():
                shutil.rmtree(self.work, ignore_errors=True)
                before.rename(self.work)
            self.work.mkdir(parents=True, exist_ok=True)
            copying = self.path.with_name("copying")
            shutil.rmtree(copying, ignore_errors=True)
            shutil.copytree(self.work, copying, copy_function=os.link)  # links are enough: files are replaced, never changed
            copying.rename(before)
            clock = Clock()
            figures = work()
            self.save(name, figures | clock.read())
        shutil.rmtree(before, ignore_errors=True)


def script(record: Record, name: str, task, encoder) -> None:
    """The loop and the fits of one task, each fit a stage of its own; the loop runs again where fits are missing."""
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
        figures = fit(task, features, column)
        record.save(f"{name} script fit {column}", figures | clock.read())


def take_script(record: Record, repeat: int, task: str, path: Path | None) -> None:
    """The stages of the script from an earlier table, of the same repeat if it has that, else of its first."""
    if path is None:
        return
    stages = json.loads(path.read_text())["stages"]
    other = repeat if f"{repeat} {task} size" in stages else 0
    sizes = [
        {name: size.get(name) for name in ("train", "dev", "test", "classes")}
        for size in (stages.get(f"{other} {task} size", {}), record.get(f"{repeat} {task} size"))
    ]
    if sizes[0] != sizes[1]:
        sys.exit(f"{path}: its {task} has other sentences: {sizes[0]}, not {sizes[1]}")
    for name, stage in stages.items():
        if name.startswith(f"{other} {task} script "):
            record.stages.setdefault(name.replace(str(other), str(repeat), 1), stage)


def ours(task, encoder, home: Path, probe="fast") -> dict:
    store = TimedStore(home / "store")
    frame = evaluate([task], [encoder], store=store, cells=home / "cells", probe=probe, floors=[], controls=[]).frame
    if (frame.status != "done").any():
        sys.exit(f"{task.name}: cells failed, see above")
    cells = {
        str((int(row.layer), row.pooling)): [row.accuracy, bool(row.converged), json.loads(row.chosen)["C"], row.dev_accuracy]
        for row in frame.itertuples()
    }
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


def one_repeat(record: Record, repeat: int, args) -> None:
    home = record.work / str(repeat)
    encoder, tasks = build(args.encoder, *args.option), load(args, repeat)
    raw = load_probe("fast", standardize=False)
    record.stage(f"{repeat} peak before", lambda: {"gflops": gemm_peak(*GEMM_SHAPES)})
    known: set[str] = set()
    for task in tasks:
        name = f"{repeat} {task.name}"
        new = {text for split in task.splits.values() for text in split.texts} - known
        known |= new
        if record.get(f"{name} size") is None:
            tokens = sum(map(len, encoder.tokenize(sorted(new))[0]))
            sizes = {split: len(part) for split, part in task.splits.items()}
            record.save(f"{name} size", sizes | {"classes": len(task.classes), "new": len(new), "tokens": tokens})
        take_script(record, repeat, task.name, args.script)
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
    again = lambda: [ours(task, build(args.encoder, *args.option), home) for task in load(args, repeat)]  # noqa: E731
    record.stage(f"{repeat} unchanged", lambda: without_model(again) and {})
    record.stage(f"{repeat} peak after", lambda: {"gflops": gemm_peak(*GEMM_SHAPES)})
    shutil.rmtree(home)


def build(name: str, *options: str):
    given = dict(option.split("=", 1) for option in options)
    return load_encoder("hf", name=name, **given) if Path(name).is_dir() else load_encoder(name, **given)


def load(args, repeat: int) -> list:
    tasks = SentEvalFolder(args.data).tasks(args.tasks.split(",") if args.tasks else None)
    if args.fraction == 1:
        return tasks
    parts = []
    for task in tasks:
        train, dev, test = (max(1, round(args.fraction * len(split))) for split in task.splits.values())
        parts.append(task.subset(max(train, len(task.classes)), repeat, dev, test))
    return parts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--tasks", default="")
    parser.add_argument("--encoder", default="minilm", help="a preset, or the folder of a model")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="of the encoder")
    parser.add_argument("--fraction", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scratch", type=Path, default=Path("probing-out/bench-table"))
    parser.add_argument("--script", type=Path, help="an earlier table.json with the script's stages")
    parser.add_argument(
        "--join", nargs="*", default=[], type=Path, help="finished scratch folders of the same command but for --tasks"
    )
    args = parser.parse_args()
    if not 0 < args.fraction <= 1 or args.repeats < 1:
        parser.error("--fraction must be above 0 and at most 1, --repeats at least 1")
    torch.set_num_threads(1)
    named = ("data", "tasks", "encoder", "option", "fraction", "repeats")
    request = {name: getattr(args, name) for name in named} | {"commit": COMMIT}
    request |= {} if args.script is None else {"script": str(args.script)}
    args.scratch.mkdir(parents=True, exist_ok=True)
    record = Record(args.scratch, request)
    for folder in args.join:
        other = json.loads((folder / "stages.json").read_text())
        if other["given"] | {"tasks": ""} != request | {"tasks": ""}:
            sys.exit(f"{folder} is of another benchmark, {other['given']}")
        record.join(other["stages"])
    with threadpool_limits(1):
        for repeat in range(args.repeats):
            if record.get(f"{repeat} peak after") is None:
                one_repeat(record, repeat, args)
    flops = flops_a_token(build(args.encoder))
    lines = summary(record, [task.name for task in load(args, 0)], args.repeats, flops)
    args.out.mkdir(parents=True, exist_ok=True)
    page = markdown(lines, record, args, flops)  # it reads --script, which may be the table that is written now
    write_json(args.out / "table.json", manifest(flops_a_token=flops, lines=lines, stages=record.stages))
    (args.out / "table.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
