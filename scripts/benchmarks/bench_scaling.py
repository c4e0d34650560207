"""How cost and memory grow with sentences, blocks, encoders and classes; and the memory that poolings by hooks save.

Usage: python scripts/benchmarks/bench_scaling.py OUT DATA [--parts sentences,blocks,encoders,classes,hooks] [--model minilm]
DATA: a folder of SentEval files. MODEL: an encoder preset or a folder of a BERT-like model. One thread, processor seconds.
`sentences`, `blocks`: through the store, all layers × four poolings, each size in a fresh process, drawn with seed 0; for blocks
the model's config with random weights. `encoders`: so many untrained twins in one `evaluate` of `fast` probes of the mean of all
layers, 400 train, 200 dev and 200 test sentences of the first task. `classes`: the probe `fast` on one matrix, the labels of
--task merged into K classes (k mod K) so that n and d stay as they are; --features FILE.npz (arrays train, dev, test, y_train,
y_dev, y_test) spares the extraction. `hooks`: one batch of --budget tokens, pooled by hooks and from `output_hidden_states`.
Memory: `peak` is the kernel's high water of all resident pages (VmHWM); `anonymous` that of the pages that are no file's
(RssAnon), sampled every 5 ms: mapped libraries, weights and shards can be dropped by the kernel at any time and are not in it.
OUT: scaling.json, scaling.md; parts that are not run stay as they are.
"""

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from bench_extraction import keep, sentences
from extraction_variants import POOLINGS, encoder_of

from probing import evaluate
from probing.data.sources import SentEvalFolder
from probing.encoders.base import pooled
from probing.probes import load as load_probe
from probing.probes.base import SplitFeatures, SplitLabels
from probing.store.extraction import peak_memory
from probing.store.vectors import Store
from probing.types import Representation

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import table


class Measured:
    """Processor seconds and memory of a block: `figures` has cpu_seconds, anonymous_before, anonymous_bytes and peak_bytes."""

    def __enter__(self):
        self._ended, self.figures = threading.Event(), {"anonymous_before": anonymous()}
        self._most, self._sampler = 0, threading.Thread(target=self._sample)
        self._sampler.start()
        self._start = time.process_time()
        return self

    def __exit__(self, *error):
        spent = time.process_time() - self._start
        self._ended.set()
        self._sampler.join()
        self.figures |= {"cpu_seconds": spent, "anonymous_bytes": self._most, "peak_bytes": peak_memory()}

    def _sample(self):
        ended = False
        while not ended:
            ended = self._ended.wait(0.005)
            self._most = max(self._most, anonymous())  # once more at the end: the block may have grown since the last look


def anonymous() -> int:
    """Resident bytes of this process that belong to no file."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return 1024 * int(line.split()[1])


def fresh(call, *arguments):
    """The call in a process of its own, on one thread."""
    with multiprocessing.get_context("spawn").Pool(1, torch.set_num_threads, (1,)) as pool:
        result = pool.apply(call, arguments)
    print(call.__name__, result, flush=True)
    return result


def through_store(model: str, texts: list[str]) -> dict:
    encoder = encoder_of(model)
    with tempfile.TemporaryDirectory() as folder:
        cost = Store(folder).estimate(encoder, texts, POOLINGS)
        with Measured() as measured:
            Store(folder).vectors(encoder, texts, POOLINGS)
    return {"foretold_bytes": cost.memory} | measured.figures


def by_sentences(args) -> dict:
    texts = sentences(args.data)
    return {"rows": [{"sentences": n} | fresh(through_store, args.model, texts[:n]) for n in map(int, args.sizes.split(","))]}


def by_blocks(args) -> dict:
    texts = sentences(args.data)[: int(args.sizes.split(",")[0])]
    with tempfile.TemporaryDirectory() as home:
        models = {depth: of_depth(args.model, depth, Path(home)) for depth in map(int, args.depths.split(","))}
        rows = [{"blocks": depth} | fresh(through_store, str(model), texts) for depth, model in models.items()]
    return {"sentences": len(texts), "rows": rows}


def of_depth(model: str, depth: int, home: Path) -> Path:
    """The model's config with another number of layers and random weights; its tokenizer."""
    from transformers import AutoModel

    encoder, folder = encoder_of(model), home / f"depth-{depth}"
    config = type(encoder.config).from_dict(encoder.config.to_dict() | {"num_hidden_layers": depth})
    AutoModel.from_config(config).save_pretrained(folder)
    encoder.tokenizer.save_pretrained(folder)
    return folder


def many_encoders(model: str, data: str, count: int) -> dict:
    task = SentEvalFolder(data).tasks(None)[0].subset(400, 0, 200, 200)
    twins = [encoder_of(model).random_twin(seed) for seed in range(count)]
    with tempfile.TemporaryDirectory() as folder, Measured() as measured:
        rows = evaluate([task], twins, store=Path(folder) / "store", poolings=["mean"], controls=(), floors=())
    return {"cells": len(rows.frame), "failed": int((rows.frame.status == "failed").sum())} | measured.figures


def by_encoders(args) -> dict:
    counts = map(int, args.encoders.split(","))
    return {"rows": [{"encoders": count} | fresh(many_encoders, args.model, args.data, count) for count in counts]}


def features(args) -> dict[str, np.ndarray]:
    """Train, dev and test of the task's mean of the middle layer, and their labels as y_train, y_dev, y_test."""
    if args.features:
        return dict(np.load(args.features))
    task, encoder = SentEvalFolder(args.data).tasks([args.task])[0], encoder_of(args.model)
    texts = [text for split in task.splits.values() for text in split.texts]
    with tempfile.TemporaryDirectory() as folder:
        vectors = Store(folder).vectors(encoder, texts, ["mean"])
        column = Representation(len(encoder.dims) // 2, "mean")
        blocks = {name: vectors.rows(split.texts).get(column) for name, split in task.splits.items()}
    return blocks | {f"y_{name}": split.labels for name, split in task.splits.items()}


def by_classes(args) -> dict:
    torch.set_num_threads(1)
    x, probe, rows = features(args), load_probe("fast"), []
    blocks, most = SplitFeatures(*(x[name] for name in ("train", "dev", "test"))), 1 + int(x["y_train"].max())
    for k in (k for k in map(int, args.classes.split(",")) if k <= most):
        labels, spent = SplitLabels(x["y_train"] % k, x["y_dev"] % k), []
        for _ in range(args.repeats if k <= 200 else 1):
            start = time.process_time()
            [(_, _, result)] = probe.fit(lambda column: blocks, [Representation(0, "mean")], {"true": labels}, "merged", k, 0)
            spent.append(time.process_time() - start)
        row = {"classes": k, "cpu_seconds": statistics.median(spent), "repeats": spent, "C": result.chosen["C"]}
        row |= {"visited": len(result.tried), "converged": all(fit["converged"] for fit in result.tried)}
        rows.append(row | {"accuracy": float((result.predictions == x["y_test"] % k).mean())})
        print("classes", rows[-1], flush=True)
    return {"n": len(blocks.train), "dims": blocks.train.shape[1], "rows": rows}


def one_batch(model: str, texts: list[str], budget: int, hooked: bool) -> dict:
    encoder = encoder_of(model)
    items = sorted(encoder.tokenize(texts)[0], key=len)
    width = len(items[len(items) // 2])  # the median
    batch = [item[:width] for item in items[len(items) // 2 :]]
    batch = (batch * (budget // width // len(batch) + 1))[: budget // width]
    if not hooked:
        encoder.pooled = None
    pooled(encoder, batch[:2], POOLINGS)  # loads the weights
    with Measured() as measured:
        pooled(encoder, batch, POOLINGS)
    return {"tokens": width * len(batch), "hooks": hooked} | measured.figures


def by_hooks(args) -> dict:
    texts = sentences(args.data)[:2000]
    return {"rows": [fresh(one_batch, args.model, texts, args.budget, hooked) for hooked in (False, True)]}


def mb(row: dict, *names: str) -> list[str]:
    return [f"{row[name] / 1e6:.0f}" for name in names]


def markdown(results: dict) -> str:
    lines = ["# How cost and memory grow", "", "One thread, processor seconds; MB of 10⁶ bytes; peak: all resident pages,"]
    lines += ["anonymous: those of no file. The store, encoders and hooks: each row a fresh process."]
    memory = ("foretold, MB", "peak, MB", "anonymous, MB")
    names = ("foretold_bytes", "peak_bytes", "anonymous_bytes")
    for part, unit in (("sentences", "sentences"), ("blocks", "blocks")):
        if part in results:
            rows = results[part]["rows"]
            counts = [row.get("sentences", results[part].get("sentences")) for row in rows]
            lines += ["", f"## {unit.capitalize()}, through the store", ""]
            lines += table(
                [unit, "CPU-s", "CPU-ms a sentence", *memory],
                [
                    [r[unit], f"{r['cpu_seconds']:.1f}", f"{1000 * r['cpu_seconds'] / n:.2f}", *mb(r, *names)]
                    for r, n in zip(rows, counts, strict=True)
                ],
            )
    if part := results.get("encoders"):
        lines += ["", "## Encoders of one `evaluate`", ""]
        heads = ["encoders", "cells", "CPU-s", "CPU-s an encoder", *memory[1:]]
        rows = [
            [r["encoders"], r["cells"], f"{r['cpu_seconds']:.1f}", f"{r['cpu_seconds'] / r['encoders']:.1f}", *mb(r, *names[1:])]
            for r in part["rows"]
        ]
        lines += table(heads, rows)
    if part := results.get("classes"):
        lines += ["", f"## Classes, probe `fast`, n = {part['n']}, d = {part['dims']}", ""]
        heads = ["classes", "CPU-s", "min-max", "CPU-ms a class", "C visited", "converged", "test accuracy"]
        rows = [
            [
                r["classes"], f"{r['cpu_seconds']:.2f}", f"{min(r['repeats']):.2f}-{max(r['repeats']):.2f}",
                f"{1000 * r['cpu_seconds'] / r['classes']:.1f}", r["visited"], r["converged"], f"{r['accuracy']:.3f}",
            ]
            for r in part["rows"]
        ]  # fmt: skip
        lines += table(heads, rows)
    if part := results.get("hooks"):
        lines += ["", f"## One batch of {part['rows'][0]['tokens']} tokens: anonymous memory above that before it", ""]
        names = {False: "from output_hidden_states", True: "by hooks"}
        rows = [
            [names[r["hooks"]], f"{(r['anonymous_bytes'] - r['anonymous_before']) / 1e6:.0f}", f"{r['cpu_seconds']:.1f}"]
            for r in part["rows"]
        ]
        lines += table(["poolings", "MB", "CPU-s"], rows)
    return "\n".join(lines) + "\n"


PARTS = {"sentences": by_sentences, "blocks": by_blocks, "encoders": by_encoders, "classes": by_classes, "hooks": by_hooks}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("data")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--sizes", default="1000,2000,4000,8000")
    parser.add_argument("--depths", default="3,6,12")
    parser.add_argument("--encoders", default="1,2,4")
    parser.add_argument("--classes", default="2,5,10,50,200,1000")
    parser.add_argument("--task", default="word_content", help="whose classes are merged")
    parser.add_argument("--features", type=Path, help="an NPZ of features and labels in place of the task")
    parser.add_argument("--repeats", type=int, default=3, help="of probes of at most 200 classes")
    parser.add_argument("--budget", type=int, default=32_768, help="tokens of the one batch")
    args = parser.parse_args()
    keep(args.out, "scaling", {part: partial(PARTS[part], args) for part in args.parts.split(",")}, markdown)


if __name__ == "__main__":
    main()
