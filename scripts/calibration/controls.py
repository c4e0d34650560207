"""Simulations of selectivity and of the leak check through `evaluate`, on planted tasks and encoders.

Sentences are drawn from a Zipf vocabulary. Labels and vectors of a kind:

    target    a random label of the sentence's target word (one of 60, of which each sentence has one)
    frequent  a random label of the most frequent of the sentence's words that at most 5 % of the sentences hold
    deciding  a word control of this package, of another seed
    linear    random; one number of the vectors depends on it, and nothing on the words
    noise     random; so are the vectors

Vectors of the first three hold the words and nothing else: the mean of one random vector (d,) for each word, or with d = 0 the bag
of words itself. Selectivity should be about 0 for these and for noise, and high for linear.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from probing import evaluate, load_encoder
from probing.data.split import Split
from probing.data.task import Task
from probing.evaluation.statistics import wilson
from probing.probes.controls import LEAK_ALPHA, control_task

SIZES = (2000, 400, 1000)
TYPES, TARGETS = 600, 60


def planted(kind, d, seed, sizes=SIZES, classes=2):
    """A task, and the vectors (n, d) of its sentences, split after split."""
    rng = np.random.default_rng(seed)
    n, zipf = sum(sizes), 1 / np.arange(1, TYPES + 1)
    texts: dict[str, list[int]] = {}
    while len(texts) < n:
        words = list(rng.choice(TYPES, rng.integers(8, 16), p=zipf / zipf.sum()))
        if kind == "target":
            words.append(TYPES + rng.integers(TARGETS))
        texts.setdefault(" ".join(f"w{word}" for word in rng.permutation(words)), words)
    bags = np.zeros((n, TYPES + TARGETS), dtype=np.float32)
    for row, words in enumerate(texts.values()):
        np.add.at(bags[row], words, 1 / len(words))
    label_of = rng.integers(classes, size=TYPES + TARGETS)
    labels = rng.integers(classes, size=n)
    vectors = bags if d == 0 else bags @ rng.normal(size=(bags.shape[1], d)).astype(np.float32)
    if kind == "target":
        labels = label_of[[max(words) for words in texts.values()]]
    elif kind == "frequent":
        rare = (bags > 0).mean(0) <= 0.05
        labels = label_of[[min((word for word in words if rare[word]), default=0) for words in texts.values()]]
    elif kind in ("linear", "noise"):
        vectors = rng.normal(size=(n, d)).astype(np.float32)
        if kind == "linear":
            vectors[:, 0] += 2 * (2 * labels / (classes - 1) - 1)
    ends = np.cumsum((0, *sizes))
    splits = [Split(tuple(list(texts)[a:b]), labels[a:b].astype(np.int64)) for a, b in zip(ends, ends[1:], strict=False)]
    task = Task(f"{kind}{seed}", tuple(map(str, range(classes))), *splits, card={}, source="planted", file_sha256="", git_blob="")
    return (control_task(task, "word", 10_000 + seed) if kind == "deciding" else task), vectors


def measured(tasks_and_vectors, folder, probe="fast", **options):
    """The table of all tasks and one encoder that has the vectors of their sentences."""
    texts = [text for task, _ in tasks_and_vectors for split in task.splits.values() for text in split.texts]
    path = Path(folder) / "vectors.npz"
    np.savez(path, sentences=np.array(texts), planted=np.concatenate([vectors for _, vectors in tasks_and_vectors]))
    encoder = load_encoder("vectors", path=str(path), label="planted")
    return evaluate([task for task, _ in tasks_and_vectors], [encoder], store=Path(folder) / "store", probe=probe, **options)


def selectivity(kind, d=200, runs=20, seed=0, sizes=SIZES, classes=2, probe="fast"):
    """A frame with a line for each run: accuracy, control_word, selectivity, ceiling, ceiling_lookup (0-1)."""
    lines = []
    for run in range(seed, seed + runs):
        with tempfile.TemporaryDirectory() as folder:
            table = measured([planted(kind, d, run, sizes, classes)], folder, probe, floors=["majority"], seeds=[run])
            lines.append(table.best().iloc[0])
    names = ["accuracy", "majority", "control_word", "control_permuted", "selectivity", "ceiling", "ceiling_lookup"]
    return pd.DataFrame(lines)[names].astype(float).assign(kind=kind, d=d, run=range(seed, seed + runs))


def leak_check(runs=200, tasks=3, d=20, seed=0, sizes=(300, 100, 300), alpha=LEAK_ALPHA):
    """The share of tables (0-1) of `tasks` tasks without a leak in which a line is marked, with its interval."""
    alarms = 0
    for run in range(seed, seed + runs):
        kinds = [planted("linear", d, run * tasks + k, sizes, classes=2 + k) for k in range(tasks)]
        with tempfile.TemporaryDirectory() as folder:
            best = measured(kinds, folder, floors=[], controls=["permuted"], seeds=[run]).best()
        alarms += bool((best.leak_p < alpha).any())
    return wilson(alarms, runs)
