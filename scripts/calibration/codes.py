"""Measures error and coverage of what codes, V-information and mixes of layers say, where the truth is known, through `evaluate`.

Usage: python scripts/calibration/codes.py OUT [--share 1.0]

Counted: codes of random labels that compress; V-information of random labels, and of a layer beyond the one that it repeats, whose
interval lies above 0; intervals that hold the V-information of the same fit on 20,000 fresh sentences, and that of the planted
model; weights of a planted mix of layers. OUT: README.md, codes.csv, manifest.json.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from probing import evaluate, load_encoder
from probing.data.split import Split
from probing.data.task import Task
from probing.evaluation.codes import OnlineCode, VInformation
from probing.evaluation.several_layers import SeveralLayers
from probing.evaluation.statistics import wilson
from probing.probes.base import SplitFeatures

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import manifest, table, write_json

SIZES, DIM, FRESH = (1200, 300, 500), 20, 20_000
LABELS = 20
"""Label sets on each draw of the vectors."""

SKEWED = np.array([0.6, 0.2, 0.1, 0.1])


def task_of(name, labels, sizes, K):
    ends = np.cumsum((0, *sizes))
    splits = [Split(tuple(f"s{i}" for i in range(a, b)), labels[a:b]) for a, b in zip(ends, ends[1:], strict=False)]
    return Task(name, tuple(map(str, range(K))), *splits, card={}, source="planted", file_sha256="", git_blob="")


def measured(layers, tasks, measures):
    """The frame of tasks on the same vectors, one array (n, d) for each layer."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npz"
        arrays = {f"layer{k}": layer for k, layer in enumerate(layers)}
        np.savez(path, sentences=np.array([f"s{i}" for i in range(len(layers[0]))]), **arrays)
        encoder = load_encoder("vectors", path=str(path), label="planted")
        return evaluate(tasks, [encoder], store=Path(folder) / "store", probe=None, measures=measures, floors=(), controls=()).frame


def softmax_labels(x, weights, rng):
    logits = x @ weights
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    return labels, logits[np.arange(len(x)), labels] - np.log(np.exp(logits).sum(1))


def random_labels(run):
    """Lines of random labels: do codes compress, is V-information above 0?"""
    rng = np.random.default_rng(run)
    n = sum(SIZES)
    x = rng.normal(size=(n, DIM)).astype(np.float32)
    again = np.concatenate([x, rng.normal(size=(n, 5)).astype(np.float32)], 1)[:, 5:]  # layer 1: most of layer 0, and noise
    tasks, skewed = [], {}
    for k in range(LABELS):
        skewed[f"t{k}"] = k % 2 == 1
        labels = rng.choice(4, n, p=SKEWED) if k % 2 else rng.integers(4, size=n)
        tasks.append(task_of(f"t{k}", labels, SIZES, 4))
    frame = measured([x, again], tasks, [OnlineCode(control="none"), VInformation(beyond=0)])
    for row in frame[frame.layer == 0].itertuples():
        kind = "random, skewed" if skewed[row.task] else "random, balanced"
        if row.measure == "mdl":
            yield {
                "statement": "code below that of the class shares",
                "planted": kind,
                "error": row.compression > row.label_compression,
            }
            if not skewed[row.task]:
                yield {"statement": "compression above 1", "planted": kind, "error": row.compression > 1}
                yield {"statement": "interval of compression above 1", "planted": kind, "error": row.compression_low > 1}
        else:
            yield {"statement": "V-information above 0", "planted": kind, "error": row.v_information_low > 0}


def planted_labels(run):
    """Lines of a planted softmax model: intervals of V-information, of a repeated layer beyond the first, and of the gain."""
    rng = np.random.default_rng(1000 + run)
    n = sum(SIZES)
    x = rng.normal(size=(n + FRESH, DIM)).astype(np.float32)
    noise = np.concatenate([x[:n, :10], rng.normal(size=(n, 10)).astype(np.float32)], 1)  # layer 1: a part of layer 0, and noise
    tasks, truth, fresh = [], {}, {}
    for k in range(LABELS):
        labels, logs = softmax_labels(x, rng.normal(size=(DIM, 3)) * 0.5, rng)
        tasks.append(task_of(f"t{k}", labels[:n], SIZES, 3))
        shares = (np.bincount(labels[: SIZES[0]], minlength=3) + 1) / (SIZES[0] + 3)
        truth[f"t{k}"] = float(((logs - np.log(shares[labels])) / np.log(2))[n:].mean())
        ends = np.cumsum((0, *SIZES))
        parts = [x[a:b] for a, b in zip(ends, ends[1:], strict=False)]
        whole = task_of("fresh", np.concatenate([labels[: ends[2]], labels[n:]]), (*SIZES[:2], FRESH), 3)
        bits, _, _ = VInformation()._bits(SplitFeatures(parts[0], parts[1], x[n:]), whole)
        fresh[f"t{k}"] = float((-np.log2(shares[labels[n:]]) - bits).mean())
    frame = measured([x[:n], noise], tasks, [VInformation(beyond=0)])
    for row in frame.itertuples():
        if row.layer == 0:
            for name, values in (("this fit", fresh), ("the planted model", truth)):
                held = row.v_information_low <= values[row.task] <= row.v_information_high
                yield {"statement": f"interval of V-information: {name}", "planted": "softmax", "coverage": held}
        else:
            yield {"statement": "bits beyond the layer that is repeated", "planted": "softmax", "error": row.beyond_low > 0}


def mixes(run):
    """Lines of planted mixes: how far the shares of the layers are from the planted ones; and random labels."""
    rng = np.random.default_rng(2000 + run)
    n = sum(SIZES)
    layers = [rng.normal(size=(n, 8)).astype(np.float32) for _ in range(4)]
    shares = rng.dirichlet(np.full(4, 0.7))
    weights = rng.normal(size=(8, 3)) * 6
    labels, _ = softmax_labels(sum(s * layer for s, layer in zip(shares, layers, strict=True)), weights, rng)
    tasks = [task_of("planted", labels, SIZES, 3), task_of("random", rng.integers(3, size=n), SIZES, 3)]
    frame = measured(layers, tasks, [SeveralLayers(methods=["single", "mix", "expected"])]).set_index(["task", "probe"])
    centre = frame.loc[("planted", "mix")].centre - shares @ np.arange(4)
    yield {"statement": "centre of gravity minus the planted one (layers)", "planted": "mix of 4 layers", "value": centre}
    gain = frame.loc[("planted", "mix")].accuracy - frame.loc[("planted", "single")].accuracy
    yield {"statement": "accuracy of the mix minus that of the dev-best layer", "planted": "mix of 4 layers", "value": gain}
    printed = bool(np.isfinite(frame.loc[("random", "expected")].expected_layer))
    yield {"statement": "an expected layer is printed", "planted": "random, balanced", "error": printed}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=1.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    lines = []
    for make, runs in ((random_labels, 20), (planted_labels, 12), (mixes, 60)):
        for run in range(max(1, round(runs * options.share))):
            lines += make(run)
    frame = pd.DataFrame(lines)
    shown = []
    for (statement, kind), part in frame.groupby(["statement", "planted"], sort=False):
        line = {"statement": statement, "planted": kind, "runs": len(part)}
        for name in ("error", "coverage"):
            if part[name].notna().any():
                share = wilson(part[name].sum(), len(part))
                line |= {name: share.value, "low": share.lower, "high": share.upper}
        if part.value.notna().any():
            line |= {"mean": part.value.mean(), "sd": part.value.std()}
        shown.append(line)
    summary = pd.DataFrame(shown)
    options.out.mkdir(parents=True, exist_ok=True)
    summary.to_csv(options.out / "codes.csv", index=False)
    seconds = time.process_time() - start
    write_json(options.out / "manifest.json", manifest(processor_seconds=round(seconds)))

    def cell(line, name):
        if pd.isna(line.get(name, np.nan)):
            return ""
        return f"{100 * line[name]:.1f} % [{100 * line['low']:.1f}, {100 * line['high']:.1f}]"

    rows = []
    for line in summary.to_dict("records"):
        value = "" if pd.isna(line.get("mean", np.nan)) else f"{line['mean']:.3f} (sd {line['sd']:.3f})"
        rows.append([line["statement"], line["planted"], line["runs"], cell(line, "error"), cell(line, "coverage"), value])
    head = ["statement", "planted", "runs", "error", "coverage", "value"]
    (options.out / "README.md").write_text(f"{ABOUT}\n" + "\n".join(table(head, rows)) + "\n", encoding="utf-8")


ABOUT = f"""# Calibration of codes, V-information and mixes of layers

Error: share of runs that make the statement though it is false; a claim that rests on a 95 % interval is promised to be wrong in at
most 2.5 % on its side. Coverage: share of runs in which a 95 % interval holds the named value. In brackets the 95 % interval of the
share itself. Sentences: {"/".join(f"{size:,}" for size in SIZES)}, {DIM} features; {LABELS} label sets on each draw of the vectors.

    python scripts/calibration/codes.py results/calibration-codes

A code of random labels is longer than the uniform code, since fits to nothing cost bits; of skewed labels it is longer than that of
their shares. The interval of V-information is over test sentences, for this fit: a fit of finite data knows less than the planted
model, so that the interval holds the model's value less often.
"""


if __name__ == "__main__":
    main()
