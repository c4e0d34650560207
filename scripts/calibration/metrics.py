"""Measures the error and the coverage of the statements on metrics other than accuracy, under a null, through `evaluate`.

Usage: python scripts/calibration/metrics.py OUT [--scratch DIR] [--share 1.0]

No layer of seven is better. Counted: layers separated from the dev-best one; intervals of the metrics of that layer, and of its
difference from another one, that hold the value of the same fits on 20,000 fresh sentences; layers as good as layer 0 that are
called above the floor `static`. Finished settings stay in SCRATCH. OUT: README.md, metrics.csv, manifest.json.
"""

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from page import arguments, line, write
from run import COVERED, ERROR, kept
from simulation import Planted, parts

from probing import evaluate
from probing.data.card import card_of
from probing.data.split import Split
from probing.data.task import Task
from probing.evaluation.formulas import Outcome
from probing.evaluation.metrics import NAMES, chosen
from probing.probes.fitted import class_scores

LAYERS, FRESH = 7, 20_000
ASKED = {"auroc": ("average_precision", "mcc"), "ordered": ("quadratic_kappa", "spearman")}


def labels_of(kind: str, latent: np.ndarray) -> np.ndarray:
    """Labels of n sentences from their latent values, (n, 4) standard normal."""
    if kind == "r2":
        return latent[:, 0]
    if kind == "sample_f1":
        return (latent > 0.5).astype(np.int64)
    cuts = [0.85] if kind == "auroc" else [-0.7, 0.0, 0.7]  # a fifth of the sentences is positive; four ordered classes
    return np.digitize(latent[:, 0], cuts)


def made(kind: str, texts: Sequence[str], labels: np.ndarray, sizes: Sequence[int], groups: Sequence[str] | None) -> Task:
    """A task of this kind of labels; `groups`: of the test sentences."""
    splits = [Split(tuple(texts[part]), labels[part]) for part in parts(sizes)]
    splits[2] = replace(splits[2], groups=None if groups is None else tuple(groups))
    card = {
        "auroc": card_of(kind, "classification", "auroc", False),
        "ordered": card_of(kind, "classification", None, True),
        "r2": card_of(kind, "regression", None, False),
        "sample_f1": card_of(kind, "multilabel", None, False),
    }[kind]
    classes = () if kind == "r2" else tuple("abcd"[: 2 if kind == "auroc" else 4])
    return Task(kind, classes, *splits, card=card, source="simulation", file_sha256="0", git_blob="0")


def null(
    kind: str,
    runs: int,
    sizes: Sequence[int] = (2000, 300, 504),
    d: int = 40,
    size: int = 1,
    static: bool = False,
    separation: float = 0.6,
    seed: int = 0,
) -> dict[str, Any]:
    """Counts over runs; `size`: test sentences of a group, which share most of their latent values and noise; `static`: layer 0 is
    a floor, and the other six are compared with it."""
    counts: Counter[str] = Counter(runs=runs)
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        n, texts = sum(sizes), [f"s{row}" for row in range(sum(sizes))]
        source = np.concatenate([np.arange(n - sizes[2]), n - sizes[2] + np.arange(sizes[2]) // size])
        latent = shared(rng, source, 4, size)
        # orthogonal, so that no layer is better by the angles between its directions
        along = separation * np.linalg.qr(rng.standard_normal((LAYERS, d, 4)))[0].transpose(0, 2, 1)
        common = np.sqrt(0.3) * shared(rng, source, d, size)
        noise = common + np.sqrt(0.7) * np.stack([shared(rng, source, d, size) for _ in range(LAYERS)])
        encoder = Planted((noise + latent @ along).astype(np.float32), texts, context_free=static)
        groups = None if size == 1 else [f"g{k}" for k in source[-sizes[2] :]]
        task = made(kind, texts, labels_of(kind, latent), sizes, groups)
        with tempfile.TemporaryDirectory() as folder:
            options: dict[str, Any] = {"poolings": "mean", "controls": (), "metrics": ASKED.get(kind, ())}
            options |= {"floors": "static", "layers": range(1, LAYERS)} if static else {"floors": ()}
            result = evaluate(task, encoder, store=Path(folder) / "store", **options)
            layers, best = result.compare_layers(), result.best().iloc[0]
            counts["separated"] += bool((~layers.not_separated).any())
            if static:
                counts["above"] += bool(best.beats_floors)
                continue
            other = layers[~layers.best].iloc[0]
            models = {layer: result.probe(layer=layer, pooling="mean").model for layer in (int(best.layer), int(other.layer))}
        true: dict[str, list[float]] = {}
        for layer, model in models.items():
            latent = rng.standard_normal((FRESH, 4))
            x = (rng.standard_normal((FRESH, d)) + latent @ along[layer]).astype(np.float32)
            k, gold, predicted = len(task.classes), labels_of(kind, latent), np.asarray(model.predict(x))
            scores = class_scores(model, x, k) if task.kind == "classification" else None
            fresh = Outcome(gold, predicted, k, None, scores)
            values = {name: metric.value(fresh) for name, metric in chosen(task, ASKED.get(kind, ())).items()}
            if kind == "ordered":
                values["accuracy"] = float(np.mean(gold == predicted))
            for name, value in values.items():
                true.setdefault(name, []).append(value)
        for name, (value, _) in true.items():
            counts[name] += bool(best[f"{name}_low"] <= value <= best[f"{name}_high"])
        difference = true[best.metric][1] - true[best.metric][0]
        counts["difference"] += bool(other.difference_low <= difference <= other.difference_high)
    return dict(counts)


def shared(rng: np.random.Generator, source: np.ndarray, d: int, size: int) -> np.ndarray:
    """Standard normal values (n, d); where groups have several sentences, those of one source share four fifths of the variance."""
    own, common = rng.standard_normal((2, len(source), d))
    share = 0.8 if size > 1 else 0.0
    return np.sqrt(share) * common[source] + np.sqrt(1 - share) * own


SETTINGS: list[tuple[str, int, dict[str, Any]]] = [
    *((f"{kind}, 2,000/300/504, d = 40", 150, {"kind": kind}) for kind in ("auroc", "ordered", "r2", "sample_f1")),
    *((f"{kind}, test items in 63 groups of 8", 150, {"kind": kind, "size": 8}) for kind in ("auroc", "r2", "sample_f1")),
    *((f"{kind}, layers as good as layer 0", 150, {"kind": kind, "static": True}) for kind in ("auroc", "r2", "sample_f1")),
]


def main() -> None:
    args = arguments()
    lines, spent = [], 0.0
    for seed, (about, runs, options) in enumerate(SETTINGS):
        runs, options = max(1, round(args.share * runs)), {**options, "seed": seed}
        counts, seconds = kept(args.scratch, f"metrics {about}", runs, lambda r=runs, o=options: null(runs=r, **o))
        spent += seconds
        statements = [("separated layers", ERROR, counts["separated"])]
        if options.get("static"):
            statements = [("above the floor static", ERROR, counts["above"])]
        named = [name for name in ("difference", "accuracy", *NAMES) if name in counts]
        statements += [(f"interval of {name}", COVERED, counts[name]) for name in named]
        for statement, kind, count in statements:
            lines.append(line(statement, about, kind, count, runs))
        print(f"{seconds:.0f} s: {about}: {counts}", flush=True)
    write(args.out, "metrics", HEAD, lines, spent)


HEAD = """# Calibration of other metrics

As `results/calibration`, for tasks whose metric is AUROC (a fifth of the sentences is positive), R² or the mean F1 of sets of four
labels, and for the metrics beside the score. Error: share of runs that make the statement though nothing differs (promised: at most
5 %). Coverage: share of runs in which a 95 % interval holds the value of the same fit on 20,000 fresh sentences. In brackets the
95 % interval of the share itself.

    python scripts/calibration/metrics.py results/calibration-metrics

Intervals and tests are over test items, for these fits: two fits of sets of labels differ more than two of classes, since C
decides how many labels are predicted, so that their layers are separated more often, while the intervals of the differences
hold. The percentile intervals of the metrics beside the score are too narrow where test items are in groups."""


if __name__ == "__main__":
    main()
