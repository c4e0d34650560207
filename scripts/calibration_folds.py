"""How often flash and cross-validated tasks say something false where no layer knows more than another, through public functions.

Every layer has the same class separation, along a direction of its own, so that no layer is better, and noise in common with the
others (`calibration_planted.features`). Every function returns counts over its runs; the true accuracy is the mean over all runs
and columns, which are exchangeable.

    flash_null(n_layers=7, runs=200, d=24, seed=0)      # flash(...) at three looks of 640, 1,280 and 2,560 sentences
    folds_null(n_layers=28, runs=70, d=384, seed=0)     # evaluate(...) on task.cross_validated(10, seed), probe fast

Usage: python scripts/calibration_folds.py flash|folds N_LAYERS RUNS D SEED
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from calibration_planted import Planted, balanced, directions, features

from probing import Store, evaluate, flash
from probing.data.task import Split, Task
from probing.evaluation.statistics import wilson
from probing.probes.base import ProbeProtocol, ProbeResult


@dataclass
class Ridge:
    """Ridge regression on the labels -1 and 1, a probe cheap enough for many runs; nothing is chosen on dev but the layer."""

    name: str = "ridge"
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
        said = [(x @ weights > 0).astype(int) for x in ones[1:]]
        return ProbeResult(said[1], float((said[0] == labels.dev).mean()), {"penalty": self.penalty}, (), True)

    def fit(self, load, columns, label_sets, task, n_classes, seed):
        for column in columns:
            blocks = load(column)
            for which, labels in label_sets.items():
                yield column, which, self._fit(blocks.train, labels, blocks.dev, blocks.test)


def planted(n: int, n_layers: int, d: int, seed: int, separation: float = 0.8) -> tuple[Task, Planted]:
    """A task of n train sentences, and an encoder in which no layer knows more of it than another."""
    rng = np.random.default_rng(seed)
    labels, texts = balanced(rng, n), [f"s{row}" for row in range(n)]
    encoder = Planted(features(rng, labels, directions(rng, n_layers, d, separation)), texts)
    apart = Split(("none",), np.array([0]))
    return Task("tree_depth", ("a", "b"), Split(tuple(texts), labels), apart, apart, {}, "planted", "0", "0"), encoder


def flash_null(
    n_layers: int, runs: int, d: int, seed: int = 0, sentences: int = 2560, precision: float = 1.0, probe: ProbeProtocol | str = ""
) -> dict[str, float]:
    """`flash` where no layer is better, `runs` times.

    Returns:
        runs; any_look, answer: runs in which some layer is separated at any look, at the last; tied: runs in which a layer is not
        tied with the task's best; covered: runs in which the interval of the best layer's accuracy holds the common accuracy;
        bias: of the best layer's accuracy, in points; differences, differences_covered: layers, and those whose 95 % interval
        at the last look holds the true difference, 0; looks: the mean number.
    """
    lines = []
    for run in range(runs):
        task, encoder = planted(sentences, n_layers, d, 100_000 * seed + run)
        with tempfile.TemporaryDirectory() as folder:
            found = flash([task], [encoder], store=Path(folder) / "s", precision=precision, probe=probe or Ridge(), floors=())
        [answer] = found.answers.itertuples()
        last = found.rounds[found.rounds["round"] == found.rounds["round"].max()]
        others = last[last.layer != answer.layer]
        lines.append(
            {
                "any_look": found.rounds.separated.any(), "answer": last.separated.any(), "tied": len(answer.tied) < n_layers,
                "low": answer.accuracy_low, "high": answer.accuracy_high, "accuracy": answer.accuracy, "n": answer.n_test,
                "all": found.table.frame.accuracy.mean(), "differences": len(others), "looks": last["round"].iloc[0],
                "differences_covered": (others.difference.abs() <= others.half_width).sum(),
            }
        )  # fmt: skip
    return _counted(pd.DataFrame(lines), ["any_look", "answer", "tied", "differences", "differences_covered"])


def folds_null(
    n_layers: int, runs: int, d: int, seed: int = 0, sentences: int = 300, probe: ProbeProtocol | str = "fast"
) -> dict[str, float]:
    """`evaluate` on a cross-validated task where no layer is better, `runs` times; see `flash_null`."""
    lines = []
    for run in range(runs):
        task, encoder = planted(sentences, n_layers, d, 100_000 * seed + run, 0.8 if d < 100 else 1.6)
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder) / "s")
            found = evaluate([task.cross_validated(10, run)], [encoder], store=store, probe=probe, controls=(), floors=())
            [best] = found.best().itertuples()
            layers = found.compare_layers()
        interval = wilson(round(best.accuracy * best.n_test), best.n_test)
        lines.append(
            {
                "tied": not layers.not_separated.all(), "low": interval.lower, "high": interval.upper, "accuracy": best.accuracy,
                "dev_accuracy": best.dev_accuracy, "n": best.n_test, "all": found.frame.accuracy.mean(),
            }
        )  # fmt: skip
    return _counted(pd.DataFrame(lines), ["tied"])


def _counted(frame: pd.DataFrame, counts: Sequence[str]) -> dict[str, float]:
    true = np.average(frame["all"], weights=frame.n)  # looks differ in size, and larger samples train better probes
    by_size = frame.groupby("n")["all"].transform("mean")
    said: dict[str, float] = {"runs": len(frame)} | {name: int(frame[name].sum()) for name in counts}
    said["covered"] = int(((frame.low <= by_size) & (by_size <= frame.high)).sum())
    said |= {"accuracy": float(true), "bias": 100 * float((frame.accuracy - by_size).mean())}
    if "looks" in frame:
        said["looks"] = float(frame.looks.mean())
    return said


if __name__ == "__main__":
    torch.set_num_threads(1)
    which, *numbers = sys.argv[1:]
    print(json.dumps({"flash": flash_null, "folds": folds_null}[which](*map(int, numbers))))
