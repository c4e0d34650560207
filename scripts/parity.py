"""Parity of our logistic probes with scikit-learn, on the same vectors, at the same C.

Usage: python scripts/parity.py DATA OUT [--tasks a,b,c] [--encoder minilm] [--store DIR] [--pooling mean]
For every task × layer × C: objective of `fast`'s solver and of LogisticRegression (tol 1e-6, float64), their relative
difference, and test accuracy of both.
For `senteval-logreg`: its predictions against liblinear called here, one-vs-rest.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from probing import Store, load_encoder, load_probe, load_task
from probing.paths import portable
from probing.probes.base import SplitFeatures, SplitLabels
from probing.probes.logistic import Design, fit_path
from probing.provenance import versions
from probing.types import Representation


def fast(task, blocks, layer, grid):
    design = Design.prepare(blocks.train)
    z = [design.z.double().numpy(), design.transform(blocks.test).double().numpy()]
    n, y, gold = len(task.train), task.train.labels, task.test.labels
    start = time.process_time()
    ours = fit_path(design, y, len(task.classes), grid)
    seconds = (time.process_time() - start) / len(ours)
    for fit in ours:
        start = time.process_time()
        model = LogisticRegression(C=fit.C, tol=1e-6, max_iter=5000).fit(z[0], y)
        spent = time.process_time() - start
        loss = -model.predict_log_proba(z[0])[np.arange(n), y].mean()
        objective = loss + np.square(model.coef_).sum() / 2 / (fit.C * n)
        mine = float((fit.predict(design.transform(blocks.test)) == gold).mean())
        theirs = float((model.predict(z[1]) == gold).mean())
        yield {
            "probe": "fast", "task": task.name, "layer": layer, "C": fit.C, "objective": fit.objective,
            "sklearn_objective": objective,
            "relative": (fit.objective - objective) / objective, "accuracy": mine, "sklearn_accuracy": theirs,
            "points": 100 * (mine - theirs),
            "cpu_seconds": seconds, "sklearn_cpu_seconds": spent,
        }  # fmt: skip


def senteval_logreg(task, blocks, layer):
    labels = {"true": SplitLabels(task.train.labels, task.dev.labels)}
    probe = load_probe("senteval-logreg", grid=[1.0])
    [(_, _, result)] = probe.fit(lambda column: blocks, [Representation(layer, "mean")], labels, task.name, len(task.classes), 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = OneVsRestClassifier(LogisticRegression(solver="liblinear")).fit(blocks.train, task.train.labels)
    mine, theirs = (float((p == task.test.labels).mean()) for p in (result.predictions, model.predict(blocks.test)))
    yield {
        "probe": "senteval-logreg", "task": task.name, "layer": layer, "C": 1.0, "accuracy": mine, "sklearn_accuracy": theirs,
        "points": 100 * (mine - theirs),
    }  # fmt: skip


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("data")
    words.add_argument("out", type=Path)
    words.add_argument("--tasks", default="past_present,tree_depth,bigram_shift")
    words.add_argument("--encoder", default="minilm")
    words.add_argument("--store", default="probing-out/store")
    words.add_argument("--pooling", default="mean")
    words.add_argument("--grid", default="0.0001,0.001,0.01,0.1,1,10")
    given = words.parse_args()
    preset = given.encoder
    encoder = load_encoder("hf", name=preset) if Path(preset).is_dir() else load_encoder(preset)
    tasks = [load_task(name, given.data) for name in given.tasks.split(",")]
    vectors = Store(given.store).vectors(encoder, {x for t in tasks for s in t.splits.values() for x in s.texts}, encoder.poolings)
    lines = []
    for task in tasks:
        rows = {name: vectors.rows(split.texts) for name, split in task.splits.items()}
        for layer in range(len(encoder.dims)):
            blocks = SplitFeatures(*(rows[s].get(Representation(layer, given.pooling)) for s in ("train", "dev", "test")))
            lines += [*fast(task, blocks, layer, [float(c) for c in given.grid.split(",")]), *senteval_logreg(task, blocks, layer)]
            print(task.name, layer, flush=True)
    frame = pd.DataFrame(lines)
    ours = frame[frame.probe == "fast"]
    summary = {
        "command": " ".join(["python", *sys.argv]),
        "fits": len(frame),
        "worst_relative_objective": float(ours.relative.abs().max()),
        "worst_points_fast": float(ours.points.abs().max()),
        "worst_points_senteval_logreg": float(frame[frame.probe != "fast"].points.abs().max()),
        "versions": versions(),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    frame.round(8).to_csv(given.out / "parity.csv", index=False)
    (given.out / "manifest.json").write_text(json.dumps(portable(summary), indent=1) + "\n")
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
