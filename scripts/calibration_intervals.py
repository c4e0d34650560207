"""Do intervals and "not separated" hold: simulations through `evaluate`, `best` and `compare_layers` in which the truth is known.

`fixed_splits`: train, dev and test, no layer knows more than another. `clusters`: test items that share a source. `seeds`: a probe
that draws, several seeds.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from calibration_planted import Planted, balanced, binary_task, directions, features, parts

from probing import evaluate
from probing.probes.base import ProbeResult

LAYERS = 7
QUIET = {"poolings": ["mean"], "controls": (), "floors": ()}


def _numbered(n: int) -> list[str]:
    return [f"s{row}" for row in range(n)]


def fixed_splits(
    sizes: Sequence[int] = (500, 300, 10_000),
    d: int = 40,
    runs: int = 80,
    resample: str | None = None,
    seed: int = 0,
    separation: float = 0.6,
    resamples: int = 20,
    probe: Any = "fast",
) -> dict[str, float]:
    """No layer of seven knows more: how often some layer is separated from the dev-best one; coverage of the best one's interval.

    The truth of the interval is the expected accuracy of a probe fitted on a train split of this size, found as the mean over all
    runs and layers of the accuracy of the fits on their test splits.

    Args:
        sizes: of train, dev and test.
        separation: distance of the class means from their middle, in noise standard deviations.
    """
    counts: Counter[str] = Counter(runs=runs)
    intervals, means = [], []
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        labels, texts = balanced(rng, sum(sizes)), _numbered(sum(sizes))
        encoder = Planted(features(rng, labels, directions(rng, LAYERS, d, separation)), texts)
        task = binary_task(texts, labels, parts(sizes))
        with tempfile.TemporaryDirectory() as folder:
            options = QUIET | {"resample": resample, "resamples": resamples}
            table = evaluate([task], [encoder], store=Path(folder) / "store", probe=probe, **options)
            layers, best = table.compare_layers(), table.best().iloc[0]
        counts["separated"] += bool((~layers.not_separated).any())
        counts["separated uncorrected"] += bool((layers.p < 0.05).any())
        intervals.append((best.accuracy_low, best.accuracy_high))
        means.append(table.frame[table.frame.role == "probe"].accuracy.mean())
    truth = float(np.mean(means))
    covered = sum(low <= truth <= high for low, high in intervals)
    width = float(np.mean([high - low for low, high in intervals]))
    return dict(counts) | {"covered": covered, "truth": truth, "width": width}


def clusters(
    groups: int = 60, size: int = 8, within: float = 0.8, runs: int = 100, d: int = 20, seed: int = 0, separation: float = 0.6
) -> dict[str, float]:
    """Test items of one group share their class and `within` of their noise; every layer has noise of its own.

    Counted, with the groups given ("in groups") and without ("alone"): some layer of seven is separated from the dev-best one;
    its interval holds the accuracy of the same fit on 20,000 fresh items that share nothing.
    """
    counts: Counter[str] = Counter(runs=runs)
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        n = groups * size
        group_of = np.repeat(np.arange(groups), size)
        train, dev, test, fresh = parts((2_000, 500, n, 20_000))
        labels, texts = balanced(rng, fresh.stop), _numbered(fresh.stop)
        labels[test] = balanced(rng, groups)[group_of]
        along = directions(rng, LAYERS, d, separation)
        vectors = features(rng, labels, along, 0.0)
        signal = (2.0 * labels[test] - 1)[:, None] * along[:, None, :]
        common = rng.standard_normal((LAYERS, groups, d))[:, group_of]
        vectors[:, test] = signal + np.sqrt(within) * common + np.sqrt(1 - within) * (vectors[:, test] - signal)
        tasks = [
            binary_task(texts, labels, (train, dev, test), "in groups", [str(g) for g in group_of]),
            binary_task(texts, labels, (train, dev, test), "alone"),
            binary_task(texts, labels, (train, dev, fresh), "fresh"),
        ]
        with tempfile.TemporaryDirectory() as folder:
            table = evaluate(tasks, [Planted(vectors, texts)], store=Path(folder) / "store", **QUIET)
            layers, best = table.compare_layers(), table.best().set_index("task")
        for name in ("in groups", "alone"):
            counts[f"{name}: separated"] += bool((~layers[layers.task == name].not_separated).any())
            line = best.loc[name]
            counts[f"{name}: covered"] += bool(line.accuracy_low <= best.accuracy["fresh"] <= line.accuracy_high)
    return dict(counts)


@dataclass
class DrawnMeans:
    """The nearest of the class means of `shots` train sentences, drawn by the seed: a probe that varies with its seed."""

    shots: int = 60
    name: str = "drawn-means"

    def settings(self, task: str) -> dict[str, Any]:
        return {"shots": self.shots}

    def seed(self, seed: int) -> int:
        return seed

    def columns(self, columns: Sequence[Any]) -> list[Any]:
        return list(columns)

    def fit(self, load, columns, label_sets, task, n_classes, seed):
        for column in columns:
            blocks = load(column)
            drawn = np.random.default_rng([seed, column.layer]).permutation(len(blocks.train))[: self.shots]
            for which, labels in label_sets.items():
                x, y = blocks.train[drawn], labels.train[drawn]
                low, high = x[y == 0].mean(0), x[y == 1].mean(0)
                w, b = high - low, (high @ high - low @ low) / 2
                dev, test = ((part @ w > b).astype(np.int64) for part in (blocks.dev, blocks.test))
                yield column, which, ProbeResult(test, float((dev == labels.dev).mean()), {}, (), True)


def seeds(
    n_seeds: int = 3, n_test: int = 300, runs: int = 200, d: int = 20, seed: int = 0, separation: float = 0.6, shots: int = 60
) -> dict[str, float]:
    """A probe that draws, `n_seeds` seeds, seven layers of which none knows more.

    Counted: some layer is separated from the dev-best one; its interval holds the expected accuracy, the mean over all runs, layers
    and seeds.
    """
    counts: Counter[str] = Counter(runs=runs)
    intervals, means = [], []
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        sizes = (3_000, 300, n_test)
        labels, texts = balanced(rng, sum(sizes)), _numbered(sum(sizes))
        encoder = Planted(features(rng, labels, directions(rng, LAYERS, d, separation)), texts)
        task = binary_task(texts, labels, parts(sizes))
        with tempfile.TemporaryDirectory() as folder:
            options = QUIET | {"probe": DrawnMeans(shots), "seeds": [run * n_seeds + k for k in range(n_seeds)]}
            table = evaluate([task], [encoder], store=Path(folder) / "store", **options)
            layers, best = table.compare_layers(), table.best().iloc[0]
        counts["separated"] += bool((~layers.not_separated).any())
        intervals.append((best.accuracy_low, best.accuracy_high))
        means.append(table.frame.accuracy.mean())
    truth = float(np.mean(means))
    covered = sum(low <= truth <= high for low, high in intervals)
    width = float(np.mean([high - low for low, high in intervals]))
    return dict(counts) | {"covered": covered, "truth": truth, "width": width}
