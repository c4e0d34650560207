"""Rates of false statements of flash and of cross-validated tasks where no layer is better than another.

Every layer has the same class separation, along a direction of its own, so that no layer is better, and noise in common with the
others (`simulation.features`). Every function returns counts over its runs; the true accuracy is the mean over all runs and
columns, which are exchangeable.

    flash_null(n_layers=7, runs=200, d=24, seed=0)      # flash(...) at three looks of 640, 1,280 and 2,560 sentences
    flash_null(n_layers=7, runs=100, d=8, sentences=240, size=20)   # the same with 12 groups of 20 sentences
    folds_null(n_layers=28, runs=70, d=384, seed=0)     # evaluate(...) on task.cross_validated(10, seed), probe fast
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from simulation import Planted, balanced, directions, features

from probing import Store, evaluate, flash
from probing.data.split import Split
from probing.data.task import Task
from probing.evaluation.statistics import wilson
from probing.probes.base import ProbeProtocol, ProbeResult

WITHIN = 0.8
"""Share of the variance of the noise that is a group's."""


@dataclass
class Ridge:
    """Ridge regression on the labels -1 and 1: a cheap probe, for which dev chooses the layer only."""

    name: str = "ridge-classifier"
    penalty: float = 1.0
    features: list[str] = field(default_factory=list)

    def settings(self, task: str) -> dict:
        return {"estimator": "ridge", "penalty": self.penalty}

    def seed(self, seed: int) -> None:
        return None

    def columns(self, columns):
        return list(columns)

    def _fit(self, train, labels, dev, test) -> ProbeResult:
        ones = [np.c_[x, np.ones(len(x))] for x in (train, dev, test)]
        gram = ones[0].T @ ones[0] + self.penalty * np.eye(ones[0].shape[1])
        weights = np.linalg.solve(gram, ones[0].T @ (2.0 * labels.train - 1))
        predictions = [(x @ weights > 0).astype(int) for x in ones[1:]]
        return ProbeResult(predictions[1], float((predictions[0] == labels.dev).mean()), {"penalty": self.penalty}, (), True)

    def fit(self, load, columns, label_sets, task, n_classes, seed):
        for column in columns:
            blocks = load(column)
            for which, labels in label_sets.items():
                yield column, which, self._fit(blocks.train, labels, blocks.dev, blocks.test)


def planted(n: int, n_layers: int, d: int, seed: int, separation: float = 0.8, size: int = 1) -> tuple[Task, Planted]:
    """A task of n train sentences, and an encoder whose layers separate its classes equally well. Groups of `size` sentences, more
    than 1, share their class and `WITHIN` of their noise, of which layers have nothing in common."""
    rng = np.random.default_rng(seed)
    group_of, groups, texts = np.arange(n) // size, None, [f"s{row}" for row in range(n)]
    labels = balanced(rng, n // size)[group_of]
    along = directions(rng, n_layers, d, separation)
    vectors = features(rng, labels, along, 0.3 if size == 1 else 0.0)
    if size > 1:
        groups = tuple(f"g{k}" for k in group_of)
        signal = (2.0 * labels - 1)[:, None] * along[:, None, :]
        common = rng.standard_normal((n_layers, n // size, d))[:, group_of]
        vectors = (signal + np.sqrt(WITHIN) * common + np.sqrt(1 - WITHIN) * (vectors - signal)).astype(np.float32)
    apart, train = Split(("none",), np.array([0])), Split(tuple(texts), labels, groups)
    return Task("tree_depth", ("a", "b"), train, apart, apart, {}, "planted", "0", "0"), Planted(vectors, texts)


def flash_null(
    n_layers: int, runs: int, d: int, seed: int = 0, sentences: int = 2560, precision: float = 1.0,
    probe: ProbeProtocol | str = "", size: int = 1,
) -> dict[str, float]:  # fmt: skip
    """Counts over `runs` runs of `flash` where no layer is better; sentences are in groups of `size`.

    Returns:
        runs; any_look, answer: runs in which some layer is separated at any look, at the last; tied: runs in which a layer is not
        tied with the task's best; covered: runs in which the interval of the best layer's accuracy holds the common accuracy;
        bias: of the best layer's accuracy, in points; differences, differences_covered: layers, and those whose 95 % interval
        at the last look holds the true difference, 0; looks: the mean number.
    """
    lines = []
    for run in range(runs):
        task, encoder = planted(sentences, n_layers, d, 100_000 * seed + run, size=size)
        with tempfile.TemporaryDirectory() as folder:
            result = flash([task], [encoder], store=Path(folder) / "s", precision=precision, probe=probe or Ridge(), floors=())
        [answer] = result.answers.itertuples()
        last = result.rounds[result.rounds["round"] == result.rounds["round"].max()]
        others = last[last.layer != answer.layer]
        lines.append(
            {
                "any_look": result.rounds.separated.any(), "answer": last.separated.any(), "tied": len(answer.tied) < n_layers,
                "low": answer.accuracy_low, "high": answer.accuracy_high, "accuracy": answer.accuracy, "n": answer.n_test,
                "all": result.table.frame.accuracy.mean(), "differences": len(others), "looks": last["round"].iloc[0],
                "differences_covered": (others.difference.abs() <= others.half_width).sum(),
            }
        )  # fmt: skip
    counts = ["any_look", "answer", "tied", "differences", "differences_covered"]
    return _counted(
        pd.DataFrame(lines), counts, by="n" if size == 1 else "looks"
    )  # whole groups do not fill parts to the same size


def folds_null(
    n_layers: int, runs: int, d: int, seed: int = 0, sentences: int = 300, probe: ProbeProtocol | str = "fast"
) -> dict[str, float]:
    """Counts over `runs` runs of `evaluate` on a cross-validated task where no layer is better; see `flash_null`."""
    lines = []
    for run in range(runs):
        task, encoder = planted(sentences, n_layers, d, 100_000 * seed + run, 0.8 if d < 100 else 1.6)
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder) / "s")
            table = evaluate([task.cross_validated(10, run)], [encoder], store=store, probe=probe, controls=(), floors=())
            [best] = table.best().itertuples()
            layers = table.compare_layers()
        interval = wilson(round(best.accuracy * best.n_test), best.n_test)
        lines.append(
            {
                "tied": not layers.not_separated.all(), "low": interval.lower, "high": interval.upper, "accuracy": best.accuracy,
                "dev_accuracy": best.dev_accuracy, "n": best.n_test, "all": table.frame.accuracy.mean(),
            }
        )  # fmt: skip
    return _counted(pd.DataFrame(lines), ["tied"])


def _counted(frame: pd.DataFrame, counts: Sequence[str], by: str = "n") -> dict[str, float]:
    true = np.average(frame["all"], weights=frame.n)  # looks differ in size, and larger samples train better probes
    by_size = frame.groupby(by)["all"].transform("mean")
    rates: dict[str, float] = {"runs": len(frame)} | {name: int(frame[name].sum()) for name in counts}
    rates["covered"] = int(((frame.low <= by_size) & (by_size <= frame.high)).sum())
    rates |= {"accuracy": float(true), "bias": 100 * float((frame.accuracy - by_size).mean())}
    if "looks" in frame:
        rates["looks"] = float(frame.looks.mean())
    return rates
