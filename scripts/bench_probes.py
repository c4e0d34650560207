"""Speed of our probes against what people run today, to the same optimum, interleaved in one process.

Usage: python scripts/bench_probes.py OUT --tasks DATA:task,… [--columns 0.mean,6.mean] [--store DIR] [--encoder minilm]
           [--repeats 3] [--many-repeats 1] [--mlp 6.mean] [--max-epoch 200]
       python scripts/bench_probes.py OUT --features a.npz …                 (arrays train, dev, test, y_train, y_dev, y_test, k)
       python scripts/bench_probes.py OUT --synthetic 300x12x2,300x12x4      (made features: sentences x dimensions x classes)

Logistic, for every task and column: scikit-learn's LogisticRegression (lbfgs, its defaults, max_iter raised to 5,000; float32
features standardised by StandardScaler) over the grid of C; our `fit_paths` over the whole grid, where dev chooses (the C that it
does not choose are solved roughly), with the patience that a user gets, and with every C solved to the end; preparation, and
predictions of dev and test at every C, are inside the times. The reference of objective and accuracy is scikit-learn again,
float64, tol 1e-7 (1e-6 above 200 classes), started where its own default fit ended: outside the times. scikit-learn is
timed once more at the same optimum: each C with the loosest of tol 1e-4, 1e-5, 1e-6, 1e-7 that ends within 0.1 point or one
sentence of that reference's test accuracy. Above 200 classes `--many-repeats` counts.

MLP: SentEval's loop from its description (one model at a time, minibatches of 64, Adam, autograd) over the grid hidden x dropout x
L2 of `--grid`, against `train_batch` on the same grid and seed. Both go on until their own early stopping ends them.

Times are of the processor, one thread; before and after every row a GEMM is timed. Ratios are of medians.
OUT: probes.json, probes.md; rows that are there already stay as they are, so that an interrupted run can be taken up.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from itertools import chain
from pathlib import Path

import bench_mlp
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from timing import Timed, spent

from probing import Store, load_encoder, load_task
from probing.paths import portable
from probing.probes.logistic import Design, best, fit_paths
from probing.probes.path import LogisticPath
from probing.provenance import versions
from probing.studies.layout import table
from probing.types import Representation

MANY = 200


def gemm_peak() -> float:
    """GFLOP a processor second of a float32 product of 1,024 x 1,024, the best of 20."""
    a, spent = torch.randn(1024, 1024), []
    for _ in range(20):
        start = time.process_time()
        a @ a
        spent.append(time.process_time() - start)
    return 2 * 1024**3 / min(spent) / 1e9


def accuracy(predicted, gold) -> float:
    return float((predicted == gold).mean())


def standardised(blocks):
    """The scaler, and train, dev and test features through it."""
    scaler = StandardScaler().fit(blocks[0])
    return scaler, *(scaler.transform(part) for part in blocks[::2])


def sklearn_grid(blocks, grid):
    _, y, _, dev_y, _, _ = blocks
    scaler, z, dev_z, test_z = standardised(blocks)
    models = [LogisticRegression(C=C, max_iter=5000).fit(z, y) for C in grid]
    return scaler, models, [accuracy(model.predict(dev_z), dev_y) for model in models], [model.predict(test_z) for model in models]


def same_optimum(blocks, grid, optima) -> dict:
    """scikit-learn once more, each C at the loosest tolerance that reaches the optimum's test accuracy: seconds, and tolerances."""
    _, y, _, _, _, test_y = blocks
    start = time.process_time()
    _, z, dev_z, test_z = standardised(blocks)
    spent, used = time.process_time() - start, []
    for C, optimum_accuracy in zip(grid, optima, strict=True):
        for tol in (1e-4, 1e-5, 1e-6, 1e-7):
            start = time.process_time()
            model = LogisticRegression(C=C, tol=tol, max_iter=5000).fit(z, y)
            model.predict(dev_z)
            found, seconds = accuracy(model.predict(test_z), test_y), time.process_time() - start
            if abs(found - optimum_accuracy) <= max(1e-3, 1 / len(test_y)) + 1e-9:
                break
        spent += seconds
        used.append(tol)
    return {"same_optimum_seconds": spent, "same_optimum_tolerances": used}


def ours_grid(blocks, grid, k, patience, permuted=(), choose=True):
    x, y, dev_x, dev_y, test_x, _ = blocks
    design = Design.prepare(x)
    z = design.transform(dev_x)
    paths = fit_paths(design, [y, *permuted], k, grid, (z, [dev_y] * (1 + len(permuted))) if choose else None, patience)
    if not choose:
        paths = [[replace(fit, dev_accuracy=accuracy(fit.predict(z), dev_y)) for fit in path] for path in paths]
    z = design.transform(test_x)
    return paths[0], [[fit.predict(z) for fit in path] for path in paths][0]


def optimum(model, z, y, tol):
    """scikit-learn in float64, from where `model` ended: the refined model and its objective in nats (divided by C n)."""
    exact = LogisticRegression(C=model.C, tol=tol, max_iter=20_000, warm_start=True)
    exact.coef_, exact.intercept_, exact.classes_ = model.coef_.astype(float), model.intercept_.astype(float), model.classes_
    exact.fit(z, y)
    return exact, objective(exact, z, y)


def objective(model, z, y) -> float:
    with np.errstate(divide="ignore"):
        loss = -model.predict_log_proba(z)[np.arange(len(y)), np.searchsorted(model.classes_, y)].mean()
    return float(loss + np.square(model.coef_.astype(float)).sum() / 2 / (model.C * len(y)))


def logistic(name, blocks, k, given) -> dict:
    x, y, dev_x, dev_y, test_x, test_y = blocks
    grid = LogisticPath().grid
    repeats = given.many_repeats if k > MANY else given.repeats
    clock = Timed()
    calls = {
        "sklearn": lambda: sklearn_grid(blocks, grid),
        "ours": lambda: ours_grid(blocks, grid, k, None),
        "ours_exact": lambda: ours_grid(blocks, grid, k, None, choose=False),
        "ours_patience": lambda: ours_grid(blocks, grid, k, LogisticPath().patience),
    }
    if k <= MANY:  # the control task beside the true labels, as `evaluate` asks for by default
        permuted = np.random.default_rng(0).permutation(y)
        calls["sklearn_control"] = lambda: sklearn_grid([x, permuted, *blocks[2:]], grid)
        calls["ours_both"] = lambda: ours_grid(blocks, grid, k, None, [permuted])
    found = {}
    for repeat in range(repeats):
        for which in sorted(calls, reverse=bool(repeat % 2)):
            found[which] = clock(which, calls[which])
    scaler, models, dev, sklearn_predictions = found["sklearn"]
    path, predictions = found["ours_exact"]
    z, test_z = (scaler.transform(part.astype(np.float64)) for part in (x, test_x))
    fits = []
    for at, (model, fit, predicted) in enumerate(zip(models, path, predictions, strict=True)):
        exact, best_objective = optimum(model, z, y, 1e-7 if k <= MANY else 1e-6)
        fits.append({
            "C": fit.C, "passes": fit.iterations, "converged": fit.converged, "sklearn_iterations": int(model.n_iter_.max()),
            "objective": fit.objective, "sklearn_objective": objective(model, z, y), "optimum": best_objective,
            "accuracy": accuracy(predicted, test_y), "sklearn_accuracy": accuracy(sklearn_predictions[at], test_y),
            "optimum_accuracy": accuracy(exact.predict(test_z), test_y),
        })  # fmt: skip
    chosen, at = int(np.argmax(dev)), best(found["ours"][0])
    same = same_optimum(blocks, grid, [row["optimum_accuracy"] for row in fits])
    result = {
        "task": name, "n": len(y), "d": x.shape[1], "classes": k, "n_test": len(test_y), "repeats": repeats, "fits": fits,
        "ratio": clock.median("sklearn") / clock.median("ours"),
        "ratio_exact": clock.median("sklearn") / clock.median("ours_exact"),
        "ratio_patience": clock.median("sklearn") / clock.median("ours_patience"),
        "ratio_same": same["same_optimum_seconds"] / clock.median("ours"),
        "ratio_same_exact": same["same_optimum_seconds"] / clock.median("ours_exact"),
        "visited": len(found["ours_patience"][0]), "converged": all(fit.converged for fit in path),
        "chosen": path[at].C, "sklearn_chosen": grid[chosen],
        "accuracy": accuracy(found["ours"][1][at], test_y), "sklearn_accuracy": fits[chosen]["sklearn_accuracy"],
        "same_C_points": 100 * (accuracy(found["ours"][1][at], test_y) - fits[at]["optimum_accuracy"]),
        "rough_dev_points": max(100 * abs(a.dev_accuracy - b.dev_accuracy) for a, b in zip(found["ours"][0], path, strict=True)),
        "above_optimum": max((row["objective"] - row["optimum"]) / row["optimum"] for row in fits),
        "sklearn_above_optimum": max((row["sklearn_objective"] - row["optimum"]) / row["optimum"] for row in fits),
        "worst_points": max(100 * abs(row["accuracy"] - row["optimum_accuracy"]) for row in fits),
        "sklearn_worst_points": max(100 * abs(row["sklearn_accuracy"] - row["optimum_accuracy"]) for row in fits),
    } | same  # fmt: skip
    if k <= MANY:
        both = clock.median("sklearn") + clock.median("sklearn_control")
        result["ratio_both"] = both / clock.median("ours_both")
    return result | clock.said()


def synthetic(shape: str):
    n, d, k = map(int, shape.split("x"))
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(2 * n, d)) @ rng.normal(size=(d, d))).astype(np.float32)
    y = (x @ rng.normal(size=(d, k)) / d**0.5 + rng.gumbel(size=(2 * n, k))).argmax(1)
    at = np.split(np.arange(2 * n), [n, n + n // 2])
    return shape, [part for rows in at for part in (x[rows], y[rows])], k


def saved(file: Path):
    arrays = np.load(file)
    return file.stem, [arrays[name] for split in ("train", "dev", "test") for name in (split, f"y_{split}")], int(arrays["k"])


def real(spec: str, columns, encoder, store):
    root, names = spec.rsplit(":", 1)
    for name in names.split(","):
        task = load_task(name, root)
        texts = dict.fromkeys(text for split in task.splits.values() for text in split.texts)
        vectors = store.vectors(encoder, texts, list(dict.fromkeys(column.pooling for column in columns)))
        rows = {which: vectors.rows(split.texts) for which, split in task.splits.items()}
        for column in columns:
            parts = [p for which, split in task.splits.items() for p in (rows[which].get(column), split.labels)]
            yield f"{Path(root).name} {name} {column.layer}.{column.pooling}", parts, len(task.classes)


NOTE = """# Probes: processor seconds, one thread, medians (spread)

Ratios are of scikit-learn's grid of six C over ours: dev chooses among six C; the same with the patience of `fast` (visited: values
of C); six C each solved to the end; true and permuted labels of one column, six C, ours in one call. Same optimum: scikit-learn
with, at each C, the loosest tolerance that ends within 0.1 point or one sentence of the optimum's test accuracy, over ours (in
brackets: over ours solved to the end); timed once.
Above the optimum: worst relative excess of the objective over scikit-learn in float64 at tight tolerance, ours solved to the end,
and scikit-learn's defaults. Points: our test accuracy minus that optimum's, at the C that we choose (worst over the C: ours solved
to the end / scikit-learn's defaults). Rough: largest difference in dev accuracy, in points, that solving roughly made at any C.
Item: one test sentence in points. GEMM: float32, GFLOP a processor second, before and after the row.
"""


def markdown(found: dict) -> str:
    lines = [NOTE]
    heads = "task, column | n | K | repeats | sklearn s | ours s | ratio | with patience (visited) | same optimum "
    heads += "| to the end | with control | above the optimum | points (worst) | rough | item | GEMM | load"
    rows = [
        [
            r["task"], r["n"], r["classes"], r["repeats"], spent(r, "sklearn"), spent(r, "ours"), f"**{r['ratio']:.1f}**",
            f"{r['ratio_patience']:.1f} ({r['visited']})", f"{r['ratio_same']:.1f} ({r['ratio_same_exact']:.1f})",
            f"{r['ratio_exact']:.1f}", f"{r['ratio_both']:.1f}" if "ratio_both" in r else "-",
            f"{r['above_optimum']:.0e} / {r['sklearn_above_optimum']:.0e}",
            f"{r['same_C_points']:+.2f} ({r['worst_points']:.2f} / {r['sklearn_worst_points']:.2f})",
            f"{r['rough_dev_points']:.2f}", f"{100 / r['n_test']:.2f}",
            " - ".join(f"{g:.0f}" for g in r["gemm_gflops"]), f"{r['load']:.1f}",
        ]
        for r in found["logistic"]
    ]  # fmt: skip
    lines.append(table(rows, heads.split(" | ")))
    groups = {"2 classes": lambda k: k == 2, f"3-{MANY} classes": lambda k: 2 < k <= MANY, "more classes": lambda k: k > MANY}
    for label, inside in groups.items():
        rows = [r for r in found["logistic"] if inside(r["classes"])]
        if rows:
            six, patience, same, end = (
                statistics.median(r[key] for r in rows) for key in ("ratio", "ratio_patience", "ratio_same", "ratio_exact")
            )
            said = (
                f"{label}, {len(rows)} columns: median {six:.1f} (least {min(r['ratio'] for r in rows):.1f}), {patience:.1f} with "
            )
            lines += ["", said + f"patience, {same:.1f} at the same optimum, {end:.1f} with every C solved to the end."]
    if found["mlp"]:
        lines += ["", *bench_mlp.section(found["mlp"])]
    return "\n".join(lines) + "\n"


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("out", type=Path)
    words.add_argument("--tasks", nargs="*", default=[], metavar="DATA:task,task", help="a folder of task files and names in it")
    words.add_argument("--features", nargs="*", default=[], type=Path, metavar="NPZ", help="files of features and labels")
    words.add_argument("--columns", default="0.mean,3.mean,6.mean", help="layer.pooling, comma-separated; empty: none")
    words.add_argument("--mlp", default="6.mean", help="columns of the MLP grid; empty: none")
    words.add_argument("--encoder", default="minilm")
    words.add_argument("--store", default="probing-out/store")
    words.add_argument("--synthetic", default="", help="NxDxK,…: made features in place of real ones")
    words.add_argument("--repeats", type=int, default=3)
    words.add_argument("--many-repeats", type=int, default=1, help=f"above {MANY} classes")
    words.add_argument("--grid", default="50,100,200/0,0.1,0.2/1e-5,1e-4,1e-3,1e-2", help="hidden/dropout/L2 of the MLPs")
    words.add_argument("--max-epoch", type=int, default=200, help="passes of an MLP; SentEval's is 200")
    given = words.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "probes.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"logistic": [], "mlp": []}
    source = {
        "command": " ".join(["python", *sys.argv]),
        "commit": subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip(),
        "versions": versions(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    encoder, store = (load_encoder(given.encoder), Store(given.store)) if given.tasks else (None, None)
    with threadpool_limits(1):
        for kind, text, measure in (("logistic", given.columns, logistic), ("mlp", given.mlp, bench_mlp.mlp)):
            columns = [Representation(int(c.split(".")[0]), c.split(".")[1]) for c in text.split(",") if c]
            made = (synthetic(shape) for shape in given.synthetic.split(",") if shape and columns)
            read = (saved(file) for file in given.features if columns)
            for name, blocks, k in chain(made, read, *(real(spec, columns, encoder, store) for spec in given.tasks if columns)):
                if name in [row["task"] for row in found[kind]] or (kind == "mlp" and k > MANY):
                    continue
                peaks = [gemm_peak()]
                row = measure(name, blocks, k, given)
                peaks.append(gemm_peak())
                found[kind].append(row | {"gemm_gflops": peaks, "load": os.getloadavg()[0], "source": source})
                print(kind, name, f"{row['ratio']:.1f}x", flush=True)
                file.write_text(json.dumps(portable(found), indent=1) + "\n", encoding="utf-8")
                (given.out / "probes.md").write_text(markdown(found), encoding="utf-8")


if __name__ == "__main__":
    main()
