"""The error and the saving of float16 on real features, and the cost of the store at a million sentences.

Usage: python scripts/benchmarks/bench_store.py OUT DATA [--parts precision,scale] [--encoder minilm]
       [--tasks past_present,tree_depth] [--train 2000] [--rest 500] [--sizes 120000,1200000] [--repeats 3] [--before CHECKOUT]

`precision`: the first `--train` train sentences and `--rest` of dev and of test, all layers and poolings, in a store of float32 and
in one of float16; the errors of plain float16, bfloat16 and ours; sizes; the test accuracy of the probe `fast` on each.
`scale`: a stub encoder (two layers of 8) and synthetic sentences, 1,500 a shard, no model: processor seconds and peak memory of a
request whose vectors are stored, in a fresh process; with `--before`, the same by the package of another checkout, in turn.
DATA: a folder of SentEval files. OUT: README.md, store.json, manifest.json; parts and sizes that are not run stay.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from probing import Store, load_encoder, load_probe, load_task
from probing.encoders.base import States
from probing.log import human_bytes
from probing.probes.base import SplitFeatures, SplitLabels
from probing.store import vectors as store_module
from probing.types import Representation

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import COMMAND, COMMIT, manifest, table, write_json

KINDS = ("plain float16", "bfloat16", "float16 with offset and scale")
STEPS = ("vectors", "vectors_again", "rows", "get")


# float16.


def relative(exact: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Root mean square error of each feature in its standard deviations; infinite for a constant feature that changed."""
    x = exact.astype(np.float64)
    wrong, spread = np.sqrt(((kept - x) ** 2).mean(0)), x.std(0)
    return np.divide(wrong, spread, out=np.where(wrong > 0, np.inf, 0.0), where=(exact != exact[0]).any(0))


def rounded(x: np.ndarray, kind: str) -> np.ndarray:
    if kind == "plain float16":
        return x.astype(np.float16).astype(np.float32)
    return torch.from_numpy(x).bfloat16().float().numpy()


def precision(args: argparse.Namespace, home: Path) -> dict:
    named = {"name": args.encoder} if Path(args.encoder).is_dir() else {}
    encoder, probe = load_encoder("hf" if named else args.encoder, **named), load_probe("fast")
    tasks = [load_task(name, args.data) for name in args.tasks.split(",")]
    sizes = {"train": args.train, "dev": args.rest, "test": args.rest}
    cut = {(t.name, s): (t.splits[s].texts[:n], t.splits[s].labels[:n]) for t in tasks for s, n in sizes.items()}
    texts = list(dict.fromkeys(text for part, _ in cut.values() for text in part))
    stores = {"float32": Store(home / "float32"), KINDS[2]: Store(home / "float16", "float16")}
    vectors = {name: store.vectors(encoder, texts, encoder.poolings) for name, store in stores.items()}
    everything = {name: part.rows(texts) for name, part in vectors.items()}
    rows: list[dict] = []
    columns = [Representation(layer, pooling) for pooling in encoder.poolings for layer in range(len(encoder.dims))]
    for column in columns:
        exact = everything["float32"].get(column)
        for kind in KINDS:
            error = relative(exact, everything[kind].get(column) if kind in stores else rounded(exact, kind))
            over = {f"over_{percent}": int((error > percent / 100).sum()) for percent in (1, 10)}
            rows.append({"layer": column.layer, "pooling": column.pooling, "kind": kind, "worst": float(error.max())} | over)
    accuracies = []
    for task in tasks:
        labels = SplitLabels(cut[task.name, "train"][1], cut[task.name, "dev"][1])
        for kind in ("float32", *KINDS):
            at = {s: vectors[kind if kind in stores else "float32"].rows(cut[task.name, s][0]) for s in sizes}

            def load(column: Representation, kind=kind, at=at) -> SplitFeatures:
                blocks = (at[s].get(column) for s in sizes)
                return SplitFeatures(*(block if kind in stores else rounded(block, kind) for block in blocks))

            for column, _, result in probe.fit(load, columns, {"true": labels}, task.name, len(task.classes), 0):
                right = float((result.predictions == cut[task.name, "test"][1]).mean())
                key = {"task": task.name, "layer": column.layer, "pooling": column.pooling, "kind": kind}
                accuracies.append(key | {"accuracy": right, "converged": bool(result.converged), "C": result.chosen["C"]})
    return {
        "encoder": encoder.name,
        "sentences": len(texts),
        "bytes": {name: sum(f.stat().st_size for f in store.root.rglob("*.safetensors")) for name, store in stores.items()},
        "said_by_the_store": stores[KINDS[2]].entries()[0]["storage_error"],
        "errors": rows,
        "accuracies": accuracies,
    }


def precision_markdown(results: dict) -> list[str]:
    size = {name: human_bytes(n) for name, n in results["bytes"].items()}
    ratio = results["bytes"][KINDS[2]] / results["bytes"]["float32"]
    lines = [
        f"## float16 on {results['sentences']} sentences, {results['encoder']}",
        "",
        f"On disk: {size['float32']} in float32, {size[KINDS[2]]} in float16 with offset and scale ({ratio:.3f}). "
        f"The worst feature of any shard, as the store measured it: {json.dumps(results['said_by_the_store'])}.",
        "",
        "Error of the worst feature in its standard deviations (features above 1 % · above 10 %); ∞: a constant that came back "
        "as another number.",
        "",
    ]
    cells: dict[str, list[str]] = {}
    for r in results["errors"]:
        error = f"{r['worst']:.2g} ({r['over_1']} · {r['over_10']})".replace("inf", "∞")
        cells.setdefault(f"{r['layer']} {r['pooling']}", []).append(error)
    lines += table(["layer, pooling", *KINDS], [[column, *errors] for column, errors in cells.items()])
    lines += [
        "",
        "Test accuracy of `fast` against float32, in points, over all layers and poolings. A rounding can change which C is best "
        "on dev, and that moves the accuracy far more than the rounding itself, so both are shown.",
        "",
    ]
    rows = []
    exact = {(a["task"], a["layer"], a["pooling"]): a for a in results["accuracies"] if a["kind"] == "float32"}
    for task in dict.fromkeys(a["task"] for a in results["accuracies"]):
        for kind in ("float32", *KINDS):
            columns = [a for a in results["accuracies"] if (a["task"], a["kind"]) == (task, kind)]
            twins = [exact[task, a["layer"], a["pooling"]] for a in columns]
            apart = [100 * (a["accuracy"] - twin["accuracy"]) for a, twin in zip(columns, twins, strict=True)]
            alike = [d for d, a, twin in zip(apart, columns, twins, strict=True) if a["C"] == twin["C"]]
            rows.append([
                task, kind, len(columns), f"{np.mean(apart):+.3f}", f"{max(apart, key=abs):+.2f}", len(columns) - len(alike),
                f"{max(alike, key=abs, default=0):+.2f}", sum(not a["converged"] for a in columns),
            ])  # fmt: skip
    header = "task | kept as | columns | mean difference | largest | another C chosen | largest at the same C | not converged"
    return [*lines, *table(header.split(" | "), rows), ""]


# Scale.


class Stub:
    """An encoder without a model: two layers of 8."""

    name, origin, layer_names, dims, poolings, description = "stub", "here", ("0", "1"), (8, 8), ("mean",), {"kind": "stub"}

    def tokenize(self, texts):
        return [[len(text), text.count("1")] for text in texts], 0

    def forward(self, items):
        states = torch.tensor(items, dtype=torch.float32)[..., None].expand(-1, -1, 8)
        return States([states, states + 1], torch.ones(len(items), 2, dtype=torch.bool))

    def release(self):
        pass


def child(n: int, root: str, fill: bool) -> None:
    """Fills a store with n sentences, or measures a request for all of them and for the rows of a task of 120,000."""
    store_module.SHARD_BYTES = 1500 * 4 * 16
    texts = [f"sentence number {i} of this corpus, which has some more words and is as long as a real one" for i in range(n)]
    if fill:
        Store(root).vectors(Stub(), texts, ["mean"])
        return
    some = [texts[i] for i in np.random.default_rng(0).permutation(n)[:120_000]]
    figures, before, store = {}, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, Store(root)

    def timed(name, call):
        start = time.process_time()
        result = call()
        figures[name] = time.process_time() - start
        return result

    vectors = timed("vectors", lambda: store.vectors(Stub(), texts, ["mean"]))
    timed("vectors_again", lambda: store.vectors(Stub(), texts, ["mean"]))
    rows = timed("rows", lambda: [vectors.rows(part) for part in (some[:100_000], some[100_000:110_000], some[110_000:])])
    timed("get", lambda: [part.get(Representation(1, "mean")) for part in rows])
    figures["memory"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(json.dumps(figures))


def scale(args: argparse.Namespace, home: Path) -> dict:
    packages = {"now": str(Path(__file__).resolve().parents[2])} | ({"before": args.before} if args.before else {})
    results: dict = {}
    for n in map(int, args.sizes.split(",")):
        runs: dict[str, list] = {name: [] for name in packages}
        for repeat in range(-1, args.repeats):  # -1: fills
            for name, path in packages.items():
                words = [sys.executable, __file__, "child", str(n), str(home / f"{name}-{n}"), *(["fill"] if repeat < 0 else [])]
                done = subprocess.run(words, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True)
                runs[name] += [json.loads(done.stdout)] if repeat >= 0 else []
        [plan] = (home / f"now-{n}").glob("*/*/*/sentences.json")
        results[str(n)] = {"plan_bytes": plan.stat().st_size, "shards": len(list(plan.parent.glob("*.safetensors")))} | runs
        print(n, results[str(n)], flush=True)
    return results


def scale_markdown(results: dict) -> list[str]:
    lines = [
        "## A request whose vectors are there, without a model",
        "",
        "Processor seconds, median (smallest - largest), each repeat in a fresh process: `Store.vectors` the first time (lists of "
        "sentences read, shards hashed), a second time, the places of 120,000 sentences in three splits, and one column of them. "
        "Memory: peak above that of Python and the sentences.",
        "",
    ]
    rows = []
    for n, one in results.items():
        for name in ("before", "now"):
            if runs := one.get(name):
                times = [[run[step] for run in runs] for step in STEPS]
                shown = (f"{statistics.median(t):.2f} ({min(t):.2f} - {max(t):.2f})" for t in times)
                memory = human_bytes(statistics.median(run["memory"] for run in runs))
                rows.append([f"{int(n):,}", human_bytes(one["plan_bytes"]), one["shards"], name, *shown, memory])
    header = "sentences | list of sentences | shards | code | vectors | again | rows | get | memory"
    return [*lines, *table(header.split(" | "), rows), ""]


# On paper.


def on_paper() -> list[str]:
    """100 encoders × 1.2 million sentences × 25 layers × 4 poolings."""
    encoders, sentences = 100, 1_200_000
    lines = []
    for width in (384, 768, 1024):
        row = 4 * 25 * 4 * width
        rows = store_module.SHARD_BYTES // row
        shards = -(-sentences // rows)
        sizes = [human_bytes(n) for n in (row, row * sentences, row * sentences * encoders, row * sentences * encoders / 2)]
        lines.append([width, *sizes, rows, f"{shards:,}", f"{shards * encoders:,}"])
    header = "width | a sentence | an encoder | all, float32 | all, float16 | sentences a shard | shards an encoder | shards"
    prose = f"""
A shard holds {human_bytes(store_module.SHARD_BYTES)} of float32. Beside it lies its receipt (about 200 bytes), and its
lock (empty) while it is made: two files a shard, so {2 * shards * encoders:,} files at width 1024, in {encoders} folders. Files
and locks are made once a shard: a large model at an assumed 20 sentences a second needs {rows / 20:.0f} s for one, so 1,000 jobs
take about {20 * 1000 / rows:.0f} locks a second between them. A shard that is whole takes no lock. The lock of the plan is taken
once a request and encoder, and held while the list of sentences is read (table above).

Where it breaks first: bytes. Tens of terabytes are no cache any more, and every process hashes the whole shards of the sentences
it was asked for before it reads one column of them: {human_bytes(row * sentences)} an encoder at width 1024 for each job of
probes. What helps, in this order: fewer poolings (`pooling=mean`: a quarter of all of it), `run.store_dtype=float16` (half), all
layers of an encoder probed in one job (hashed once), `probing store prune` or `evict` when its cells are finished (one encoder at
a time on the disk). Asking for fewer layers does not help: all come out of one pass and are kept. Not done: a hash for each column,
checked when it is read.
"""
    title = "## On paper: 100 encoders × 1.2 million sentences × 25 layers × 4 poolings"
    return [title, "", *table(header.split(" | "), lines), *prose.splitlines(), ""]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("data")
    defaults = {"parts": "precision,scale", "encoder": "minilm", "tasks": "past_present,tree_depth", "sizes": "120000,1200000"}
    for name, default in (defaults | {"train": 2000, "rest": 500, "repeats": 3, "before": ""}).items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "store.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for part in args.parts.split(","):
        start = time.process_time()
        with tempfile.TemporaryDirectory() as home:
            results[part] = results.get(part, {}) | {"precision": precision, "scale": scale}[part](args, Path(home))
        source = {"command": COMMAND, "cpu_seconds": round(time.process_time() - start), "commit": COMMIT}
        results.setdefault("made", {})[part] = source
    write_json(path, results)
    lines = ["# The store: the cost of float16, and of a million sentences", ""]
    lines += precision_markdown(results["precision"]) if "precision" in results else []
    lines += scale_markdown(results["scale"]) if "scale" in results else []
    (args.out / "README.md").write_text("\n".join([*lines, *on_paper()]), encoding="utf-8")
    write_json(args.out / "manifest.json", manifest(parts=results["made"]))


if __name__ == "__main__":
    if sys.argv[1] == "child":
        child(int(sys.argv[2]), sys.argv[3], fill=sys.argv[4:] == ["fill"])
    else:
        main()
