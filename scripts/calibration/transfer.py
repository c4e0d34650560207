"""Measures the coverage of drops between corpora, and the error of what is said of drops, gaps and directions, under a null.

Usage: python scripts/calibration/transfer.py OUT [--scratch DIR] [--share 1.0]

Transfer: two corpora of the same distribution, two layers that are equally good. Counted in each run, for the transfer from the
first to the second at the layer chosen on dev: whether the interval of the drop holds 0, whether the drop or the gap is called
different from 0 (p < 0.05). Directions: two tasks without a relation, on the same sentences or on two corpora; counted: p < 0.05 of
the cosine of weights, and of the correlation of scores. Finished settings stay in SCRATCH. OUT: README.md, transfer.csv,
manifest.json.
"""

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from page import arguments, line, write
from run import COVERED, ERROR, kept
from simulation import Planted, binary_task, parts

from probing import directions, evaluate, transfer
from probing.data.task import Task

Counts = dict[str, int]


def drop(runs: int, sizes: Sequence[Sequence[int]], d: int = 20, size: int = 1, separation: float = 0.6, seed: int = 0) -> Counts:
    """Counts over runs; `sizes`: train, dev and test of the two corpora; `size`: test sentences of a group, which share most of
    what is not their class."""
    counts: Counter[str] = Counter(runs=runs)
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        # orthogonal, so that no layer is better by the angle between its direction and that of the other
        along = separation * np.linalg.qr(rng.standard_normal((d, 2)))[0].T  # (layers, d)
        corpora, blocks, texts = {}, [], []
        for corpus, own in zip("AB", sizes, strict=True):
            n, test = sum(own), own[2]
            labels = rng.integers(0, 2, n)
            source = np.concatenate([np.arange(n - test), n - test + np.arange(test) // size])
            share = 0.8 if size > 1 else 0.0
            noise = np.sqrt(share) * rng.standard_normal((2, n, d))[:, source] + np.sqrt(1 - share) * rng.standard_normal((2, n, d))
            blocks.append(noise + (2.0 * labels - 1)[:, None] * along[:, None])
            names = [f"{corpus}{row}" for row in range(n)]
            groups = None if size == 1 else [f"{corpus}{k}" for k in source[-test:]]
            corpora[corpus] = binary_task(names, labels, parts(own), groups=groups)
            texts += names
        encoder = Planted(np.concatenate(blocks, 1).astype(np.float32), texts)
        with tempfile.TemporaryDirectory() as folder:
            lines = transfer(corpora, encoder, store=Path(folder) / "store", floors=()).lines().set_index(["source", "target"])
        line = lines.loc[("A", "B")]
        counts["covered"] += bool(line.drop_low <= 0 <= line.drop_high)
        counts["drop"] += bool(line.drop_p < 0.05)
        counts["gap"] += bool(line.gap_p < 0.05)
    return dict(counts)


def unrelated(
    runs: int, spread: float = 1.0, by_variance: bool = True, corpora: bool = False, n: int = 300, d: int = 30, seed: int = 0
) -> Counts:
    """Counts over runs; `spread`: the largest standard deviation of a feature as a multiple of the smallest; `by_variance`: the
    directions of the classes are drawn with the features' covariance, else with the identity; `corpora`: of two corpora."""
    counts: Counter[str] = Counter(runs=runs)
    sd = np.geomspace(1, spread, d) / np.sqrt(spread)
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        along = rng.standard_normal((2, d)) * (sd if by_variance else 1.0)
        along *= 0.6 / np.sqrt(((along / sd) ** 2).sum(1, keepdims=True))  # as far apart, in standard deviations, in all settings
        sizes, x, labels = (n, n // 2, 40), [], []
        for _ in range(1 + corpora):
            own = rng.integers(0, 2, (2, sum(sizes)))
            x.append(rng.standard_normal((sum(sizes), d)) * sd + (2.0 * own - 1).T @ along)
            labels.append(own)
        texts = [f"s{row}" for row in range(sum(map(len, x)))]
        encoder = Planted(np.concatenate(x)[None].astype(np.float32), texts)
        first: Task = binary_task(texts, labels[0][0], parts(sizes), "one")
        with tempfile.TemporaryDirectory() as folder:
            options: dict[str, Any] = {"store": Path(folder) / "store", "floors": ()}
            if corpora:
                other = binary_task(texts[len(x[0]) :], labels[1][1], parts(sizes), "one")
                [line] = transfer({"A": first, "B": other}, encoder, **options).directions().itertuples()
            else:
                both = [first, binary_task(texts, labels[0][1], parts(sizes), "other")]
                [line] = directions(evaluate(both, encoder, controls=(), **options)).itertuples()
        counts["cosine"] += bool(line.p < 0.05)
        counts["correlation"] += bool(line.correlation_p < 0.05)
    return dict(counts)


SAME, UNRELATED = "two corpora of one distribution", "two tasks without a relation"
FULL = (300, 150, 200)
SETTINGS: list[tuple[str, Any, int, dict[str, Any]]] = [
    (f"{SAME}, 300/150/200, d = 20", drop, 200, {"sizes": (FULL, FULL)}),
    (f"{SAME}, target with 50 test sentences", drop, 200, {"sizes": (FULL, (300, 150, 50))}),
    (f"{SAME}, test sentences in 25 groups of 8", drop, 200, {"sizes": (FULL, FULL), "size": 8}),
    (f"{UNRELATED}, same sentences, d = 30", unrelated, 200, {}),
    (f"{UNRELATED}, two corpora", unrelated, 200, {"corpora": True}),
    (f"{UNRELATED}, deviations of features 1 to 10", unrelated, 200, {"spread": 10.0}),
    (f"{UNRELATED}, deviations 1 to 10, directions regardless of them", unrelated, 200, {"spread": 10.0, "by_variance": False}),
]
STATEMENTS = {
    "covered": ("interval of the drop holds 0", COVERED),
    "drop": ("drop other than 0", ERROR),
    "gap": ("gap other than 0", ERROR),
    "cosine": ("cosine of weights other than chance", ERROR),
    "correlation": ("correlation of scores other than chance", ERROR),
}


def main() -> None:
    args = arguments()
    lines, spent = [], 0.0
    for seed, (about, work, planned, options) in enumerate(SETTINGS):
        runs, options = max(2, round(args.share * planned)), {**options, "seed": seed}
        counts, seconds = kept(args.scratch, f"transfer {about}", runs, lambda w=work, r=runs, o=options: w(r, **o))
        spent += seconds
        for name, (statement, kind) in STATEMENTS.items():
            if name in counts:
                lines.append(line(statement, about, kind, counts[name], runs))
        print(f"{seconds:.0f} s: {about}: {counts}", flush=True)
    write(args.out, "transfer", HEAD, lines, spent)


HEAD = """# Calibration of transfers and directions

Error: share of runs that make the statement though nothing differs (promised: at most 5 %). Coverage: share of runs in which the
95 % interval holds the truth. In brackets the 95 % interval of the share itself.

    python scripts/calibration/transfer.py results/calibration-transfer

Drop: the same fit on test sentences of two corpora of one distribution. Gap: a fit on each corpus, tested on the sentences of the
second; the two fits are not the same, so that their difference is not exactly 0. Directions: two classes each, 40 probes of
permuted labels. The correlation of scores is larger than the cosine where the classes are far apart, since they are part of the
covariance, so that it is called other than chance somewhat too often; reports mark the cosine alone. In the last setting the
classes lie along directions that have nothing to do with how much the features vary: weights (inverse covariance times difference
of the means) then stand mostly on the features that vary least, more than those of permuted labels do, so that two tasks look
related. The null is that of nothing being encoded, and no protection there."""


if __name__ == "__main__":
    main()
