"""The MLP part of `bench_probes.py`: SentEval's loop, reimplemented from its description, against `train_batch`."""

import sys
from pathlib import Path

import numpy as np
import torch
from timing import Timed, spent
from torch import nn

from probing.probes.mlp import Recipe, train_batch

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import table


def senteval(recipe, x, y, dev_x, dev_y, k, seed) -> tuple[list[float], nn.Module]:
    """SentEval's loop for one model; tenacity is counted without reset, the parameters of the best step are kept."""
    np.random.seed(seed)
    torch.manual_seed(seed)
    layers = [nn.Linear(x.shape[1], recipe.nhid), nn.Dropout(recipe.dropout), nn.Sigmoid(), nn.Linear(recipe.nhid, k)]
    model = nn.Sequential(*layers)
    adam, loss_of = torch.optim.Adam(model.parameters(), weight_decay=recipe.l2), nn.CrossEntropyLoss()
    x, y, dev_x, dev_y = map(torch.from_numpy, (x, y, dev_x, dev_y))
    curve, kept, misses, passes = [], None, 0, 0
    while passes <= recipe.max_epoch and misses <= recipe.tenacity:
        model.train()
        for _ in range(recipe.epoch_size):
            order = torch.from_numpy(np.random.permutation(len(x)))
            for start in range(0, len(x), recipe.batch_size):
                rows = order[start : start + recipe.batch_size]
                loss = loss_of(model(x[rows]), y[rows])
                adam.zero_grad()
                loss.backward()
                adam.step()
        passes += recipe.epoch_size
        model.eval()
        with torch.no_grad():
            curve.append(float((model(dev_x).argmax(1) == dev_y).float().mean()))
        if curve[-1] > max(curve[:-1], default=-1.0):
            kept = {name: value.clone() for name, value in model.state_dict().items()}
        else:
            misses += 1
    model.load_state_dict(kept)
    return curve, model


def mlp(name, blocks, k, args) -> dict:
    x, y, dev_x, dev_y, test_x, test_y = blocks
    nhid, dropout, l2 = ([float(v) for v in axis.split(",")] for axis in args.grid.split("/"))
    recipes = [Recipe(int(h), p, w, max_epoch=args.max_epoch) for h in nhid for p in dropout for w in l2]
    copies = len(recipes)
    calls = {
        "senteval": lambda: [senteval(recipe, x, y, dev_x, dev_y, k, 1111) for recipe in recipes],
        "ours": lambda: train_batch(recipes, x, [y] * copies, dev_x, [dev_y] * copies, k, 1111),
    }
    timed = Timed()
    for repeat in range(args.repeats):
        results = timed.repeat(calls, repeat)
    curves, ours = [curve for curve, _ in results["senteval"]], [run.curve for run in results["ours"]]
    best, our_best = (max(range(copies), key=lambda i: round(100 * max(c[i]), 2)) for c in (curves, ours))
    with torch.no_grad():
        test = float((results["senteval"][best][1](torch.from_numpy(test_x)).argmax(1).numpy() == test_y).mean())
    return {
        "task": name, "n": len(y), "classes": k, "models": copies, "repeats": args.repeats,
        "ratio": timed.median("senteval") / timed.median("ours"),
        "passes": sum(map(len, ours)) * recipes[0].epoch_size, "senteval_passes": sum(map(len, curves)) * recipes[0].epoch_size,
        "dev_accuracy": max(ours[our_best]), "senteval_dev_accuracy": max(curves[best]),
        "test_accuracy": float((results["ours"][our_best].predict(test_x) == test_y).mean()), "senteval_test_accuracy": test,
        "curves_equal": sum(len(a) == len(b) and np.allclose(a, b, atol=1e-6) for a, b in zip(ours, curves, strict=True)),
        "worst_dev_points": max(100 * abs(max(a) - max(b)) for a, b in zip(ours, curves, strict=True)),
    } | timed.record()  # fmt: skip


def section(measured: list[dict]) -> list[str]:
    """The Markdown lines of the MLP rows."""
    heads = "task, column | n | K | models | repeats | SentEval s | ours s | ratio | passes, ours / SentEval "
    heads += "| best dev, ours / SentEval | test of it | worst dev difference of a model, points | GEMM | load"
    rows = [
        [
            r["task"], r["n"], r["classes"], r["models"], r["repeats"], spent(r, "senteval"), spent(r, "ours"),
            f"{r['ratio']:.1f}", f"{r['passes']} / {r['senteval_passes']}",
            f"{100 * r['dev_accuracy']:.2f} / {100 * r['senteval_dev_accuracy']:.2f}",
            f"{100 * r['test_accuracy']:.2f} / {100 * r['senteval_test_accuracy']:.2f}", f"{r['worst_dev_points']:.2f}",
            " - ".join(f"{g:.0f}" for g in r["gemm_gflops"]), f"{r['load']:.1f}",
        ]
        for r in measured
    ]  # fmt: skip
    return ["## MLP grid against SentEval's own loop", "", *table(heads.split(" | "), rows)]
