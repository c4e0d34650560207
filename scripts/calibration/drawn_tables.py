"""Counts of wrong statements of result tables under null hypotheses: layers, floors, encoders.

Rows and predictions are drawn, not fitted: item i is right with a probability p_i of its own (a beta distribution), the same for
all columns that are equal under the null, so that their errors are correlated. Everything else is `ResultTable`: best layer by a
dev accuracy that is drawn too, tests, corrections, letters. Each function returns the number of wrong runs.
"""

from collections.abc import Sequence

import numpy as np

from probing.evaluation.comparisons import letters_of
from probing.evaluation.rows import Row
from probing.evaluation.table import ResultTable


class Drawn:
    """Rows of columns whose items are right with given probabilities, and their predictions."""

    def __init__(self, rng: np.random.Generator, n_test: int, n_dev: int = 500):
        self.rng, self.n_test, self.n_dev = rng, n_test, n_dev
        self.rows: list[Row] = []
        self.right: dict[str, np.ndarray] = {}

    def difficulties(self) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities of test and dev items to be right; 0.7 on average."""
        return self.rng.beta(1.4, 0.6, self.n_test), self.rng.beta(1.4, 0.6, self.n_dev)

    def add(self, p: tuple[np.ndarray, np.ndarray], **more) -> None:
        test, dev = (self.rng.random(len(values)) < values for values in p)
        cell = str(len(self.rows))
        row = {"role": "probe", "task": "task", "encoder": "encoder", "layer": 1, "pooling": "mean", "probe": "probe", "seed": None}
        row |= {"control": "", "n_train": 1000, "n_dev": len(dev), "n_test": len(test), "n_classes": 2, "majority": 0.5} | more
        row |= {"paper_name": row["task"], "layer_name": "", "cell": cell, "accuracy": test.mean(), "dev_accuracy": dev.mean()}
        self.rows.append(Row.flat(**row))
        self.right[cell] = test

    def floor(self, p: tuple[np.ndarray, np.ndarray], name: str) -> None:
        self.add(p, role="floor", encoder=name, layer=None, pooling="", probe="")

    def table(self) -> ResultTable:
        gold = np.zeros(self.n_test, int)
        return ResultTable.of(self.rows, lambda cell: (gold, 1 - self.right[cell].astype(int)))


def less(p: tuple[np.ndarray, np.ndarray], by: float) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities times 1 - by."""
    return p[0] * (1 - by), p[1] * (1 - by)


def layers(runs: int, columns: int = 28, others: int = 3, n_test: int = 1000, seed: int = 0) -> int:
    """Runs in which one of `columns` equal columns of a task is separated from the dev-best; the table has `others` more tasks."""
    wrong = 0
    for run in range(runs):
        drawn = Drawn(np.random.default_rng([seed, run]), n_test)
        p = drawn.difficulties()
        for layer in range(columns):
            drawn.add(p, layer=layer)
        for k in range(others):  # their layers differ, by more and more
            for layer in range(3):
                drawn.add(less(p, 0.1 * layer), layer=layer, task=f"other {k}")
        line = drawn.table().best().iloc[0]
        wrong += len(line.not_separated) < line.n_columns
    return wrong


def floors(runs: int, equal: Sequence[str] = ("nb-unigram",), n_test: int = 1000, seed: int = 0) -> int:
    """Runs without a † though the floors in `equal` are as good as the layer; the others are below it."""
    wrong = 0
    for run in range(runs):
        drawn = Drawn(np.random.default_rng([seed, run]), n_test)
        p = drawn.difficulties()
        for layer in (1, 2, 3):
            drawn.add(p, layer=layer)
        for name in ("majority", "nb-unigram", "nb-bigram"):
            drawn.floor(p if name in equal else less(p, 0.2), name)
        drawn.add(p if "static" in equal else less(p, 0.2), role="static", layer=0)
        wrong += bool(drawn.table().best().beats_floors[0])
    return wrong


def twins(runs: int, draws: int, spread: float, n_test: int = 1000, seed: int = 0) -> int:
    """Runs without a † though random weights, in expectation over draws, are as good as the layer.

    Args:
        spread: standard deviation of the accuracy of the draws (0-1).
    """
    wrong = 0
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        drawn = Drawn(rng, n_test)
        p = drawn.difficulties()
        middle = less(p, 0.2)
        drawn.add(middle)
        for number in range(draws):
            moved = less(p, 0.2 + spread * rng.normal() / p[0].mean())
            for layer in (1, 2, 3):
                drawn.add(moved, layer=layer, role="random", encoder=f"twin {number}", twin_of="encoder", seed=number)
        wrong += bool(drawn.table().best().beats_floors[0])
    return wrong


def encoders(runs: int, encoders: int = 4, tasks: int = 5, n_test: int = 1000, seed: int = 0) -> int:
    """Runs in which two of equal encoders share no letter on some task."""
    wrong = 0
    for run in range(runs):
        drawn = Drawn(np.random.default_rng([seed, run]), n_test)
        for task in range(tasks):
            p = drawn.difficulties()
            for name in range(encoders):
                for layer in (0, 1, 2):
                    drawn.add(p, layer=layer, task=str(task), encoder=f"encoder {name}")
        table = drawn.table()
        wrong += set(letters_of(table.best(), table.compare_encoders())) != {"a"}
    return wrong


SETTINGS = {
    "some layer of 28 separated, none better; three other tasks": (layers, {}),
    "some layer of 7 separated, none better; three other tasks": (layers, {"columns": 7}),
    "some layer of 7 separated, 200 test items": (layers, {"columns": 7, "n_test": 200}),
    "no †, one floor equal": (floors, {}),
    "no †, three floors and static equal": (floors, {"equal": ("majority", "nb-unigram", "nb-bigram", "static")}),
    "no †, one random twin equal": (twins, {"draws": 1, "spread": 0.0}),
    "no †, five random twins equal, no spread": (twins, {"draws": 5, "spread": 0.0}),
    "no †, five random twins equal on average, sd 1 point": (twins, {"draws": 5, "spread": 0.01}),
    "no †, five random twins equal on average, sd 5 points": (twins, {"draws": 5, "spread": 0.05}),
    "no †, one random twin equal on average, sd 5 points": (twins, {"draws": 1, "spread": 0.05}),
    "two of four equal encoders apart on one of five tasks": (encoders, {}),
}
