"""Do the floor mark and comparisons of encoders hold: simulations through `evaluate` in which nothing is better than another."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from calibration_intervals import Planted, _directions, _features, _parts

from probing import evaluate
from probing.task import Split, Task


@dataclass
class Named(Planted):
    """Planted vectors of named sentences, and of random-weights twins that `drawn` makes from a seed."""

    texts: Sequence[str] = ()
    drawn: Callable[[int], np.ndarray] | None = None
    context_free: bool = True

    def tokenize(self, texts: Sequence[str]) -> tuple[list[list[int]], int]:
        number = {text: row for row, text in enumerate(self.texts)}
        return [[number[text]] for text in texts], 0

    def random_twin(self, seed: int) -> Named | None:
        return self.drawn and Named(self.drawn(seed), name=f"{self.name} (random {seed})", texts=self.texts)


def floor_mark(
    kind: str, runs: int, d: int = 40, sizes: Sequence[int] = (500, 300, 500), separation: float = 0.6, seed: int = 0
) -> dict[str, int]:
    """How often a line claims to be above a floor that knows as much as its layers do.

    Args:
        kind: "majority": layers of noise · "static": every layer separates the classes as layer 0 does · "random-weights": as the
            layers of five twins do · "length": layers hold whether a sentence is long, and the label follows that in 70 %.
    """
    false = 0
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        labels = rng.permutation(np.arange(sum(sizes)) % 2)
        long = np.where(rng.random(len(labels)) < 0.7, labels, 1 - labels)
        texts = [f"s{k}" + (" w" * (9 if long[k] else 4)) * (kind == "length") for k in range(len(labels))]

        def drawn(number: int = -1, rng=rng, labels=labels, long=long) -> np.ndarray:
            apart = separation if kind in ("static", "random-weights") else 0.0
            x = _features(rng, labels, _directions(rng, d, apart), 0.3)
            if kind == "length":
                x[:, :, 0] = 6.0 * long - 3
            return x

        task = _named("planted", texts, labels, sizes)
        encoder = Named(drawn(), texts=texts, drawn=drawn if kind == "random-weights" else None)
        with tempfile.TemporaryDirectory() as folder:
            table = evaluate([task], [encoder], store=Path(folder) / "store", controls=(), floors=(kind,), twins=5)
            false += bool(table.best().beats_floors[0])
    return {"runs": runs, "false": false}


def encoders(
    n_encoders: int, n_tasks: int, runs: int, d: int = 40, sizes: Sequence[int] = (500, 300, 500), seed: int = 0
) -> dict[str, int]:
    """How often a table separates two encoders whose layers separate the classes equally well."""
    false = 0
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        n, tasks, vectors, texts = sum(sizes), [], [[] for _ in range(n_encoders)], []
        for number in range(n_tasks):
            labels = rng.permutation(np.arange(n) % 2)
            for own in vectors:
                own.append(_features(rng, labels, _directions(rng, d, 0.6), 0.3))
            names = [f"t{number}s{k}" for k in range(n)]
            texts += names
            tasks.append(_named(f"planted {number}", names, labels, sizes))
        models = [Named(np.concatenate(own, axis=1), name=f"planted {k}", texts=texts) for k, own in enumerate(vectors)]
        with tempfile.TemporaryDirectory() as folder:
            table = evaluate(tasks, models, store=Path(folder) / "store", controls=(), floors=())
            false += bool((table.compare_encoders().p_holm < 0.05).any())
    return {"runs": runs, "false": false}


def _named(name: str, texts: Sequence[str], labels: np.ndarray, sizes: Sequence[int]) -> Task:
    train, dev, test = (Split(tuple(texts[part]), labels[part]) for part in _parts(sizes))
    return Task(name, ("a", "b"), train, dev, test, {"name": name}, "simulation", "0", "0")
