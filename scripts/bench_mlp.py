"""The MLP part of `bench_probes.py`: SentEval's loop from its description against `train_batch`, on one grid and seed."""

import numpy as np
import torch
from timing import Timed, spent
from torch import nn

from probing.probes.mlp import Recipe, train_batch
from probing.studies.layout import table


def senteval(recipe, x, y, dev_x, dev_y, k, seed) -> tuple[list[float], nn.Module]:
    """SentEval's loop for one model, as its description says: tenacity counted without reset, the best step's parameters kept."""
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


def mlp(name, blocks, k, given) -> dict:
    x, y, dev_x, dev_y, test_x, test_y = blocks
    nhid, dropout, l2 = ([float(v) for v in axis.split(",")] for axis in given.grid.split("/"))
    recipes = [Recipe(int(h), p, w, max_epoch=given.max_epoch) for h in nhid for p in dropout for w in l2]
    copies = len(recipes)
    calls = {
        "senteval": lambda: [senteval(recipe, x, y, dev_x, dev_y, k, 1111) for recipe in recipes],
        "ours": lambda: train_batch(recipes, x, [y] * copies, dev_x, [dev_y] * copies, k, 1111),
    }
    clock, found = Timed(), {}
    for repeat in range(given.repeats):
        for which in sorted(calls, reverse=bool(repeat % 2)):
            found[which] = clock(which, calls[which])
    theirs, ours = [curve for curve, _ in found["senteval"]], [run.curve for run in found["ours"]]
    best = [max(range(copies), key=lambda i: round(100 * max(c[i]), 2)) for c in (theirs, ours)]
    with torch.no_grad():
        test = float((found["senteval"][best[0]][1](torch.from_numpy(test_x)).argmax(1).numpy() == test_y).mean())
    return {
        "task": name, "n": len(y), "classes": k, "models": copies, "repeats": given.repeats,
        "ratio": clock.median("senteval") / clock.median("ours"),
        "passes": sum(map(len, ours)) * recipes[0].epoch_size, "senteval_passes": sum(map(len, theirs)) * recipes[0].epoch_size,
        "dev_accuracy": max(ours[best[1]]), "senteval_dev_accuracy": max(theirs[best[0]]),
        "test_accuracy": float((found["ours"][best[1]].predict(test_x) == test_y).mean()), "senteval_test_accuracy": test,
        "curves_equal": sum(len(a) == len(b) and np.allclose(a, b, atol=1e-6) for a, b in zip(ours, theirs, strict=True)),
        "worst_dev_points": max(100 * abs(max(a) - max(b)) for a, b in zip(ours, theirs, strict=True)),
    } | clock.said()  # fmt: skip


def section(measured: list[dict]) -> list[str]:
    """Markdown."""
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
    return ["## MLP grid against SentEval's own loop", "", table(rows, heads.split(" | "))]
