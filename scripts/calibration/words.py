"""Measures the error and the coverage of the statements on tasks of words, under a null, through `evaluate`.

Usage: python scripts/calibration/words.py OUT [--scratch DIR] [--share 1.0]

Tags are drawn by word type, and documents shift them; layers hold the type of a word and noise of their own, so that no layer is
better. Counted: layers called above the floor of word types, layers separated from the dev-best one, and intervals of accuracy and
selectivity that hold the value of the same fits on 3,000 fresh documents. Finished settings stay in SCRATCH. OUT: README.md,
words.csv, manifest.json.
"""

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from page import arguments, line, write
from run import COVERED, ERROR, kept

from probing import evaluate
from probing.data.task import Task
from probing.data.words import Columns, task_of_columns
from probing.encoders.base import States
from probing.probes.controls import labels_of_types

TYPES, TAGS, WORDS, SENTENCES = 60, 4, 6, 4
"""Word types, tags, words of a sentence, sentences of a document."""

SIZES = {"train": 60, "dev": 20, "test": 40}
"""Documents."""


@dataclass
class PlantedWords:
    """Layers of vectors of words: one-hot by type, with noise that is drawn for each layer, sentence and word; `exact`: none."""

    seed: int
    exact: bool = False
    n_layers: int = 4
    name: str = "planted words"
    origin: str = "a simulation"
    poolings: tuple[str, ...] = ("mean", "max", "last")

    @property
    def dims(self) -> tuple[int, ...]:
        return (TYPES,) * self.n_layers

    @property
    def layer_names(self) -> tuple[str, ...]:
        return tuple(f"layer {k}" for k in range(self.n_layers))

    @property
    def description(self) -> dict[str, Any]:
        return {"kind": "planted words", "seed": self.seed, "exact": self.exact, "layers": self.n_layers}

    def tokenize(self, texts: Any) -> tuple[list[list[tuple[int, int]]], int]:
        return [[(int(text.split()[0][1:]), int(word[1:])) for word in text.split()] for text in texts], 0

    def word_ids(self, texts: Any) -> list[list[int]]:
        return [list(range(len(text.split()))) for text in texts]

    def vectors(self, item: Any) -> np.ndarray:
        """(n_layers, words, d) of a sentence, whose first word is its number."""
        one_hot = np.eye(TYPES, dtype=np.float32)[[word % TYPES for _, word in item]]
        if self.exact:
            return np.repeat(one_hot[None], self.n_layers, axis=0)
        noise = np.random.default_rng([self.seed, item[0][0]]).standard_normal((self.n_layers, *one_hot.shape), np.float32)
        return one_hot + 0.4 * noise

    def forward(self, items: Any) -> States:
        longest = max(map(len, items))
        layers = torch.zeros(self.n_layers, len(items), longest, TYPES)
        mask = torch.zeros(len(items), longest, dtype=torch.bool)
        for row, item in enumerate(items):
            layers[:, row, : len(item)], mask[row, : len(item)] = torch.from_numpy(self.vectors(item)), True
        return States(list(layers), mask)

    def release(self) -> None:
        pass

    def random_twin(self, seed: int) -> None:
        return None


def drawn(rng: np.random.Generator, usual: np.ndarray, documents: int, first: int, columns: Columns) -> None:
    """Adds documents; a word has the usual tag of its type with a probability of the document's own, else a random one."""
    for document in range(documents):
        right = rng.choice([0.5, 0.7, 0.9])
        for _ in range(SENTENCES):
            words = rng.zipf(1.3, WORDS) % TYPES
            tags = np.where(rng.random(WORDS) < right, usual[words], rng.integers(TAGS, size=WORDS))
            number = first + len(columns.texts) // WORDS
            forms = [f"n{number}", *(f"w{word}" for word in words)]  # the number makes sentences distinct; it is no item
            items = [((k + 1, k + 2), f"t{tag}") for k, tag in enumerate(tags)]
            columns.add(forms, f"document {document}", items)


def task_of(rng: np.random.Generator) -> tuple[Task, np.ndarray]:
    """A task, and the usual tag of each type."""
    usual, columns, first = rng.integers(TAGS, size=TYPES), {}, 0
    for split, documents in SIZES.items():
        columns[split] = Columns()
        drawn(rng, usual, documents, first, columns[split])
        first += documents * SENTENCES
    return task_of_columns(columns, {"name": "tags"}, [], "simulation"), usual


def null(runs: int, exact: bool, seed: int) -> dict[str, int]:
    """Counts over runs."""
    counts: Counter[str] = Counter(runs=runs)
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        task, usual = task_of(rng)
        encoder = PlantedWords(seed * 100_000 + run, exact)
        with tempfile.TemporaryDirectory() as folder:
            table_ = evaluate(task, encoder, store=Path(folder) / "s", controls=["word"], floors=["nb-unigram"], seeds=run)
            [best] = table_.best().itertuples()
            counts["above"] += bool(best.beats_floors)
            counts["separated"] += len(best.not_separated) < best.n_columns
            fresh = Columns()
            drawn(rng, usual, 3000, 10**6, fresh)
            items = encoder.tokenize(list(dict.fromkeys(fresh.texts)))[0]
            x = np.concatenate([encoder.vectors(item)[best.layer][1:] for item in items])
            types = [word for _, *words in items for _, word in words]
            labels = {word: k for word, k in zip(task.train.units, labels_of_types(task, run)[0].tolist(), strict=True)}
            at = {"layer": int(best.layer), "pooling": "word-mean"}
            right = table_.probe(**at, role="probe").predict(x) == np.array(fresh.labels)
            control = table_.probe(**at, role="control", control="word").predict(x)
            known = np.array([f"w{word}" in labels for word in types])
            of_type = np.array([f"t{labels.get(f'w{word}', -1)}" for word in types])
            selectivity = right[known].mean() - (control == of_type)[known].mean()
            counts["accuracy"] += bool(best.score_low <= right.mean() <= best.score_high)
            counts["selectivity"] += bool(best.selectivity_low <= selectivity <= best.selectivity_high)
    return dict(counts)


def main() -> None:
    args = arguments()
    runs, seconds, lines = max(2, round(100 * args.share)), 0.0, []
    for seed, (about, exact) in enumerate((("types alone", True), ("types and noise", False))):
        counts, spent = kept(args.scratch, f"words {about}", runs, lambda exact=exact, seed=seed: null(runs, exact, seed))
        seconds += spent
        for statement, kind, name in (
            ("above the floor word type", ERROR, "above"),
            ("a layer separated from the best", ERROR, "separated"),
            ("interval of accuracy", COVERED, "accuracy"),
            ("interval of selectivity", COVERED, "selectivity"),
        ):
            lines.append(line(statement, about, kind, counts[name], counts["runs"]))
    write(args.out, "words", HEAD, lines, seconds)


HEAD = f"""# Calibration of tasks of words

Error: share of runs that make the statement though nothing differs (promised: at most 5 %). Coverage: share of runs whose 95 %
interval holds the value of the same fits on 3,000 fresh documents. In brackets the 95 % interval of the share itself.
{SIZES["test"]} test documents of {SENTENCES} sentences; documents differ in how often a word has the usual tag of its type.

    python scripts/calibration/words.py results/calibration-words"""


if __name__ == "__main__":
    main()
