"""What float16 costs and saves on real features, and what the store itself costs at a million sentences.

Usage: python scripts/bench_store.py OUT DATA [--parts precision,scale] [--encoder minilm] [--tasks past_present,tree_depth]
       [--train 2000] [--rest 500] [--sizes 120000,1200000] [--repeats 3] [--before CHECKOUT]

`precision`: the first `--train` train sentences and `--rest` of dev and of test, all layers and poolings, kept once in float32 and
once in float16; the error of plain float16, of bfloat16, and of ours; sizes; and the test accuracy of the probe `fast` on each.
`scale`: a stub encoder (two layers of 8) and synthetic sentences, 1,500 a shard, no model: processor seconds and peak memory of a
request whose vectors are there, in a fresh process; with `--before`, the same by the package of another checkout, in turn.
DATA: a folder of SentEval files. OUT: README.md, store.json, manifest.json; parts and sizes that are not run are kept as they are.
"""

import argparse
import json
import os
import platform
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
from probing.paths import portable
from probing.probes.base import SplitFeatures, SplitLabels
from probing.provenance import versions
from probing.store import vectors as store_module
from probing.types import Representation

KINDS = ("plain float16", "bfloat16", "float16 with offset and scale")
STEPS = ("vectors", "vectors_again", "rows", "get")


# float16.


def relative(exact: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Root mean square error of each feature, in its standard deviations; a constant feature that comes back wrong: infinite."""
    x = exact.astype(np.float64)
    wrong, spread = np.sqrt(((kept - x) ** 2).mean(0)), x.std(0)
    return np.divide(wrong, spread, out=np.where(wrong > 0, np.inf, 0.0), where=(exact != exact[0]).any(0))


def rounded(x: np.ndarray, kind: str) -> np.ndarray:
    if kind == "plain float16":
        return x.astype(np.float16).astype(np.float32)
    return torch.from_numpy(x).bfloat16().float().numpy()


def precision(given: argparse.Namespace, home: Path) -> dict:
    named = {"name": given.encoder} if Path(given.encoder).is_dir() else {}
    encoder, probe = load_encoder("hf" if named else given.encoder, **named), load_probe("fast")
    tasks = [load_task(name, given.data) for name in given.tasks.split(",")]
    sizes = {"train": given.train, "dev": given.rest, "test": given.rest}
    cut = {(t.name, s): (t.splits[s].texts[:n], t.splits[s].labels[:n]) for t in tasks for s, n in sizes.items()}
    texts = list(dict.fromkeys(text for part, _ in cut.values() for text in part))
    stores = {"float32": Store(home / "float32"), KINDS[2]: Store(home / "float16", "float16")}
    vectors = {name: store.vectors(encoder, texts, encoder.poolings) for name, store in stores.items()}
    everything = {name: found.rows(texts) for name, found in vectors.items()}
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


def precision_markdown(found: dict) -> list[str]:
    size = {name: human_bytes(n) for name, n in found["bytes"].items()}
    ratio = found["bytes"][KINDS[2]] / found["bytes"]["float32"]
    lines = [
        f"## float16 on {found['sentences']} sentences, {found['encoder']}",
        "",
        f"On disk: {size['float32']} in float32, {size[KINDS[2]]} in float16 with offset and scale ({ratio:.3f}). "
        f"The worst feature of any shard, as the store measured it: {json.dumps(found['said_by_the_store'])}.",
        "",
        "Error of the worst feature in its standard deviations (features above 1 % · above 10 %); ∞: a constant that came back "
        "as another number.",
        "",
        "| layer, pooling | " + " | ".join(KINDS) + " |",
        "|---" * 4 + "|",
    ]
    errors = {(r["layer"], r["pooling"], r["kind"]): r for r in found["errors"]}
    for layer, pooling in dict.fromkeys((r["layer"], r["pooling"]) for r in found["errors"]):
        cells = (errors[layer, pooling, kind] for kind in KINDS)
        shown = (f"{r['worst']:.2g} ({r['over_1']} · {r['over_10']})".replace("inf", "∞") for r in cells)
        lines.append(f"| {layer} {pooling} | " + " | ".join(shown) + " |")
    lines += [
        "",
        "Test accuracy of `fast` against float32, in points, over all layers and poolings. A rounding can change which C is best "
        "on dev, and that moves the accuracy far more than the rounding itself, so both are shown.",
        "",
        "| task | kept as | columns | mean difference | largest | another C chosen | largest at the same C | not converged |",
        "|---" * 8 + "|",
    ]
    exact = {(a["task"], a["layer"], a["pooling"]): a for a in found["accuracies"] if a["kind"] == "float32"}
    for task in dict.fromkeys(a["task"] for a in found["accuracies"]):
        for kind in ("float32", *KINDS):
            mine = [a for a in found["accuracies"] if (a["task"], a["kind"]) == (task, kind)]
            twins = [exact[task, a["layer"], a["pooling"]] for a in mine]
            apart = [100 * (a["accuracy"] - twin["accuracy"]) for a, twin in zip(mine, twins, strict=True)]
            alike = [d for d, a, twin in zip(apart, mine, twins, strict=True) if a["C"] == twin["C"]]
            lines.append(
                f"| {task} | {kind} | {len(mine)} | {np.mean(apart):+.3f} | {max(apart, key=abs):+.2f} | "
                f"{len(mine) - len(alike)} | {max(alike, key=abs, default=0):+.2f} | {sum(not a['converged'] for a in mine)} |"
            )
    return [*lines, ""]


# Scale.


class Stub:
    """An encoder that costs nothing: two layers of 8."""

    name, origin, layer_names, dims, poolings, description = "stub", "here", ("0", "1"), (8, 8), ("mean",), {"kind": "stub"}

    def tokenize(self, texts):
        return [[len(text), text.count("1")] for text in texts], 0

    def forward(self, items):
        states = torch.tensor(items, dtype=torch.float32)[..., None].expand(-1, -1, 8)
        return States([states, states + 1], torch.ones(len(items), 2, dtype=torch.bool))

    def release(self):
        pass


def child(n: int, root: str, fill: bool) -> None:
    """Makes a store of n sentences, or measures a request for all of them and the rows of a task of 120,000."""
    store_module.SHARD_BYTES = 1500 * 4 * 16
    texts = [f"sentence number {i} of this corpus, which has some more words and is as long as a real one" for i in range(n)]
    if fill:
        Store(root).vectors(Stub(), texts, ["mean"])
        return
    some = [texts[i] for i in np.random.default_rng(0).permutation(n)[:120_000]]
    found, before, store = {}, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, Store(root)

    def timed(name, call):
        start = time.process_time()
        made = call()
        found[name] = time.process_time() - start
        return made

    vectors = timed("vectors", lambda: store.vectors(Stub(), texts, ["mean"]))
    timed("vectors_again", lambda: store.vectors(Stub(), texts, ["mean"]))
    rows = timed("rows", lambda: [vectors.rows(part) for part in (some[:100_000], some[100_000:110_000], some[110_000:])])
    timed("get", lambda: [part.get(Representation(1, "mean")) for part in rows])
    found["memory"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(json.dumps(found))


def scale(given: argparse.Namespace, home: Path) -> dict:
    packages = {"now": str(Path(__file__).resolve().parents[1])} | ({"before": given.before} if given.before else {})
    found: dict = {}
    for n in map(int, given.sizes.split(",")):
        runs: dict[str, list] = {name: [] for name in packages}
        for repeat in range(-1, given.repeats):  # -1: fills
            for name, path in packages.items():
                words = [sys.executable, __file__, "child", str(n), str(home / f"{name}-{n}"), *(["fill"] if repeat < 0 else [])]
                done = subprocess.run(words, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True)
                runs[name] += [json.loads(done.stdout)] if repeat >= 0 else []
        [plan] = (home / f"now-{n}").glob("*/*/*/sentences.json")
        found[str(n)] = {"plan_bytes": plan.stat().st_size, "shards": len(list(plan.parent.glob("*.safetensors")))} | runs
        print(n, found[str(n)], flush=True)
    return found


def scale_markdown(found: dict) -> list[str]:
    lines = [
        "## A request whose vectors are there, without a model",
        "",
        "Processor seconds, median (smallest - largest), each repeat in a fresh process: `Store.vectors` the first time (lists of "
        "sentences read, shards hashed), a second time, the places of 120,000 sentences in three splits, and one column of them. "
        "Memory: peak above what Python and the sentences took.",
        "",
        "| sentences | list of sentences | shards | code | vectors | again | rows | get | memory |",
        "|---" * 9 + "|",
    ]
    for n, one in found.items():
        for name in ("before", "now"):
            if runs := one.get(name):
                times = [[run[step] for run in runs] for step in STEPS]
                shown = (f"{statistics.median(t):.2f} ({min(t):.2f} - {max(t):.2f})" for t in times)
                memory = human_bytes(statistics.median(run["memory"] for run in runs))
                first = f"| {int(n):,} | {human_bytes(one['plan_bytes'])} | {one['shards']} | {name} | "
                lines.append(first + " | ".join(shown) + f" | {memory} |")
    return [*lines, ""]


# On paper.


def on_paper() -> list[str]:
    """100 encoders × 1.2 million sentences × 25 layers × 4 poolings."""
    encoders, sentences = 100, 1_200_000
    lines = [
        "## On paper: 100 encoders × 1.2 million sentences × 25 layers × 4 poolings",
        "",
        "| width | a sentence | an encoder | all, float32 | all, float16 | sentences a shard | shards an encoder | shards |",
        "|---" * 8 + "|",
    ]
    for width in (384, 768, 1024):
        row = 4 * 25 * 4 * width
        rows = store_module.SHARD_BYTES // row
        shards = -(-sentences // rows)
        sizes = [human_bytes(n) for n in (row, row * sentences, row * sentences * encoders, row * sentences * encoders / 2)]
        lines.append(f"| {width} | {' | '.join(sizes)} | {rows} | {shards:,} | {shards * encoders:,} |")
    prose = f"""
A shard holds {human_bytes(store_module.SHARD_BYTES)} of float32. Beside it lie its receipt (about 200 bytes) and its lock (empty):
three files a shard, so {3 * shards * encoders:,} files at width 1024, two thirds of them tiny, in {encoders} folders. Files
and locks are made once a shard: a large model at an assumed 20 sentences a second needs {rows / 20:.0f} s for one, so 1,000 jobs
take about {20 * 1000 / rows:.0f} locks a second between them. A shard that is whole takes no lock. The lock of the plan is taken
once a request and encoder, and held while the list of sentences is read (table above).

Where it breaks first: bytes. Tens of terabytes are no cache any more, and every process hashes the whole shards of the sentences
it was asked for before it reads one column of them: {human_bytes(row * sentences)} an encoder at width 1024 for each job of
probes. What helps, in this order: fewer poolings (`pooling=mean`: a quarter of all of it), `run.store_dtype=float16` (half), all
layers of an encoder probed in one job (hashed once), `probing store prune` when its cells are finished (one encoder at a time on
the disk). Asking for fewer layers does not help: all come out of one pass and are kept. Not done: a hash for each column,
checked when it is read.
"""
    return [*lines, *prose.splitlines(), ""]


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("out", type=Path)
    words.add_argument("data")
    defaults = {"parts": "precision,scale", "encoder": "minilm", "tasks": "past_present,tree_depth", "sizes": "120000,1200000"}
    for name, default in (defaults | {"train": 2000, "rest": 500, "repeats": 3, "before": ""}).items():
        words.add_argument(f"--{name}", type=type(default), default=default)
    given = words.parse_args()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "store.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for part in given.parts.split(","):
        start = time.process_time()
        with tempfile.TemporaryDirectory() as home:
            found[part] = found.get(part, {}) | {"precision": precision, "scale": scale}[part](given, Path(home))
        said = {"command": " ".join(["python", *sys.argv]), "cpu_seconds": round(time.process_time() - start), "commit": commit}
        found.setdefault("made", {})[part] = said
    path.write_text(json.dumps(portable(found), indent=1) + "\n", encoding="utf-8")
    lines = ["# The store: what float16 costs, and what a million sentences cost", ""]
    lines += precision_markdown(found["precision"]) if "precision" in found else []
    lines += scale_markdown(found["scale"]) if "scale" in found else []
    (given.out / "README.md").write_text("\n".join([*lines, *on_paper()]), encoding="utf-8")
    manifest = {"command": " ".join(["python", *sys.argv]), "parts": found["made"], "commit": commit, "versions": versions()}
    manifest["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end"
    (given.out / "manifest.json").write_text(json.dumps(portable(manifest), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "child":
        child(int(sys.argv[2]), sys.argv[3], fill=sys.argv[4:] == ["fill"])
    else:
        main()
