"""Simulations of the floor mark and of comparisons of encoders through `evaluate`, where none is better than another."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from simulation import Planted, balanced, binary_task, directions, features, parts

from probing import evaluate

LAYERS = 7


def floor_mark(
    kind: str, runs: int, d: int = 40, sizes: Sequence[int] = (500, 300, 500), separation: float = 0.6, seed: int = 0
) -> dict[str, int]:
    """Counts of lines marked as above a floor that is as good as their layers.

    Args:
        kind: "majority": layers of noise · "static": every layer separates the classes as layer 0 does · "random-weights": as the
            layers of five twins do · "length": layers hold whether a sentence is long, and the label follows that in 70 %.
    """
    false = 0
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        labels = balanced(rng, sum(sizes))
        long = np.where(rng.random(len(labels)) < 0.7, labels, 1 - labels)
        texts = [f"s{k}" + (" w" * (9 if long[k] else 4)) * (kind == "length") for k in range(len(labels))]

        def drawn(number: int = -1, rng=rng, labels=labels, long=long) -> np.ndarray:
            apart = separation if kind in ("static", "random-weights") else 0.0
            x = features(rng, labels, directions(rng, LAYERS, d, apart))
            if kind == "length":
                x[:, :, 0] = 6.0 * long - 3
            return x

        task = binary_task(texts, labels, parts(sizes))
        encoder = Planted(drawn(), texts, twin=drawn if kind == "random-weights" else None, context_free=True)
        with tempfile.TemporaryDirectory() as folder:
            table = evaluate([task], [encoder], store=Path(folder) / "store", controls=(), floors=(kind,), twins=5)
            false += bool(table.best().beats_floors[0])
    return {"runs": runs, "false": false}


def encoders(
    n_encoders: int, n_tasks: int, runs: int, d: int = 40, sizes: Sequence[int] = (500, 300, 500), seed: int = 0
) -> dict[str, int]:
    """Counts of tables that separate two encoders whose layers separate the classes equally well."""
    false = 0
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        n, tasks, vectors, texts = sum(sizes), [], [[] for _ in range(n_encoders)], []
        for number in range(n_tasks):
            labels = balanced(rng, n)
            for own in vectors:
                own.append(features(rng, labels, directions(rng, LAYERS, d, 0.6)))
            names = [f"t{number}s{k}" for k in range(n)]
            texts += names
            tasks.append(binary_task(names, labels, parts(sizes), f"planted {number}"))
        models = [Planted(np.concatenate(own, axis=1), texts, f"planted {k}") for k, own in enumerate(vectors)]
        with tempfile.TemporaryDirectory() as folder:
            table = evaluate(tasks, models, store=Path(folder) / "store", controls=(), floors=())
            false += bool((table.compare_encoders().p_holm < 0.05).any())
    return {"runs": runs, "false": false}
