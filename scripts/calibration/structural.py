"""Measures the error and the coverage of the structural probe's statements where the truth is known.

Usage: python scripts/calibration/structural.py OUT [--scratch DIR] [--share 1.0]

Null: vectors of words are drawn without regard to the trees, so that every pair of n words is an edge of a predicted tree with one
probability, 2 / n, fitted or not. Coverage: one fit each, test sets drawn from 10,000 fresh sentences, whose scores are the truth.
Finished settings stay in SCRATCH. OUT: README.md, structural.csv, manifest.json.
"""

from collections import Counter
from typing import Any

import numpy as np
from page import arguments, line, write
from run import COVERED, ERROR, kept

from probing.data.trees import Trees, ancestors
from probing.evaluation.paired_tests import paired
from probing.evaluation.tree_table import Gold, Projected, TreeTable
from probing.probes.structural import KINDS, Schedule, fit, starting_map

WIDTH, RANK, LONGEST, TEST = 16, 6, 14, 200
SCHEDULE = Schedule(batch=10, epochs=10, rate=0.01)


def sentences(rng: np.random.Generator, n: int) -> Trees:
    """Random trees of 3 to `LONGEST` words; a fifth of the words are punctuation."""
    lengths = rng.integers(3, LONGEST + 1, n)
    heads = []
    for size in lengths:
        order, own = rng.permutation(size), np.full(size, -1)
        for k in range(1, size):
            own[order[k]] = order[rng.integers(k)]
        heads.append(own)
    punct = rng.random((2, int(lengths.sum()))) < 0.2
    return Trees(np.concatenate(heads), np.r_[0, np.cumsum(lengths)], *punct)


def vectors(rng: np.random.Generator, trees: Trees, turn: np.ndarray | None, noise: np.ndarray) -> np.ndarray:
    """Vectors of words (N, WIDTH): noise of this size by sentence (S,), and the tree's exact embedding where `turn` is given."""
    x = rng.standard_normal((len(trees.heads), WIDTH)) * noise[trees.sentence, None]
    if turn is not None:
        for _, words in trees.by_length():
            exact = ancestors(trees.heads[words]).reshape(-1, words.shape[1])
            x[words.ravel()] += exact @ turn[: words.shape[1]]
    return x.astype(np.float32)


def scored(trees: Trees, x: np.ndarray, maps: list[np.ndarray], groups: np.ndarray | None, seed: int) -> TreeTable:
    starts = [starting_map(kind, RANK, WIDTH, seed).numpy() for kind in KINDS]
    gold = Gold(trees, "listed", groups)
    return gold.table(Projected(*(x @ B.T for B in maps)), Projected(*(x @ B.T for B in starts)))


def null(runs: int, seed: int) -> dict[str, int]:
    """Counts over runs of two layers of random vectors."""
    counts: Counter[str] = Counter(runs=runs)
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        train, dev, test = (sentences(rng, n) for n in (200, 60, TEST))
        layers = [[vectors(rng, trees, None, np.ones(len(trees))) for trees in (train, dev, test)] for _ in range(2)]
        fits = fit([(one[0], one[1]) for one in layers], (train, dev), [RANK], run, SCHEDULE)
        tables = [
            scored(test, one[2], [own[kind, RANK].B for kind in KINDS], None, run) for one, own in zip(layers, fits, strict=True)
        ]
        scores, gold = tables[0].scores, Gold(test, "listed")
        kept_words = np.bincount(test.sentence, gold.keep)
        chance = (2 * (kept_words[kept_words > 1] - 1) / kept_words[kept_words > 1]).sum() / (gold.upward >= 0).sum()
        gain = scores["uuas_above_untrained"]
        counts["above"] += not gain.lower <= 0 <= gain.upper
        counts["chance"] += bool(scores["uuas"].lower <= chance <= scores["uuas"].upper)
        _, p = paired(tables[0].items["uuas"] - tables[1].items["uuas"], groups=test.sentence)
        counts["layers"] += p < 0.05
        _, p = paired(tables[0].items["dspr"] - tables[1].items["dspr"], groups=test.sentence)
        counts["layers_dspr"] += p < 0.05
    return dict(counts)


def coverage(fits: int, size: int, seed: int) -> dict[str, int]:
    """Counts over 40 test sets of each of some fits; `size`: sentences of a document, which share the size of their noise."""
    counts: Counter[str] = Counter(runs=0)
    for run in range(fits):
        rng = np.random.default_rng([seed, run])
        turn = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
        train, dev, all_ = (sentences(rng, n) for n in (200, 60, 10_000))
        document = np.arange(len(all_)) // size
        spread = np.full(len(all_), 0.6) if size == 1 else rng.choice([0.2, 0.6, 1.2], document.max() + 1)[document]
        own = [(vectors(rng, trees, turn, np.full(len(trees), 0.6))) for trees in (train, dev)]
        x = vectors(rng, all_, turn, spread)
        maps = [fit([(own[0], own[1])], (train, dev), [RANK], run, SCHEDULE)[0][kind, RANK].B for kind in KINDS]
        truth = scored(all_, x, maps, None, run).scores
        for _ in range(40):
            rows = np.flatnonzero(np.isin(document, rng.choice(document.max() + 1, TEST // size, replace=False)))
            trees, words = all_.take(rows)
            for name, groups in (("", document[all_.sentence[words]]), ("_by_sentence", None)):
                result = scored(trees, x[words], maps, groups, run).scores
                for metric in ("uuas", "uuas_above_chain", "dspr", "nspr", "root_accuracy"):
                    value = result[metric]
                    counts[metric + name] += bool(value.lower <= truth[metric].value <= value.upper)
                if size == 1:
                    break
            counts["runs"] += 1
    return dict(counts)


def main() -> None:
    args = arguments()
    runs, fits = max(2, round(300 * args.share)), max(1, round(10 * args.share))
    random, first = kept(args.scratch, "structural null", runs, lambda: null(runs, 0))
    alone, second = kept(args.scratch, "structural coverage by sentence", fits, lambda: coverage(fits, 1, 1))
    together, third = kept(args.scratch, "structural coverage by document", fits, lambda: coverage(fits, 5, 2))
    lines: list[dict[str, Any]] = []

    def add(statement: str, about: str, kind: str, counts: dict[str, int], name: str) -> None:
        lines.append(line(statement, about, kind, counts[name], counts["runs"]))

    add("UUAS differs from that of an untrained map", "random vectors", ERROR, random, "above")
    add("UUAS of two layers differs (paired test)", "random vectors", ERROR, random, "layers")
    add("DSpr of two layers differs (paired test)", "random vectors", ERROR, random, "layers_dspr")
    add("interval of UUAS holds chance", "random vectors", COVERED, random, "chance")
    for metric in ("uuas", "uuas_above_chain", "dspr", "nspr", "root_accuracy"):
        add(f"interval of {metric}", f"trees and noise, {TEST} sentences", COVERED, alone, metric)
        add(f"interval of {metric}", f"{TEST // 5} documents of 5 sentences", COVERED, together, metric)
        add(f"interval of {metric}", "the same, over sentences (wrong)", COVERED, together, f"{metric}_by_sentence")
    write(args.out, "structural", HEAD, lines, first + second + third)


HEAD = f"""# Calibration of the structural probe

Error: share of runs that make the statement though nothing differs (promised: at most 5 %). Coverage: share of test sets whose 95 %
interval holds the score of the same fit on 10,000 sentences. In brackets the 95 % interval of the share itself. Trees are random,
of 3 to {LONGEST} words; a fifth of the words are punctuation; rank {RANK} of {WIDTH} dimensions; rule: listed.

    python scripts/calibration/structural.py results/calibration-structural

Where sentences of a document have noise of one size in common, intervals over sentences are too narrow: the last line of each three
shows by how much, and why groups are documents where the files name them."""


if __name__ == "__main__":
    main()
