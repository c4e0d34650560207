"""Measures how often the study `causal` says that a model uses a property, where the truth is known.

Usage: python scripts/calibration/causal.py OUT [--share 1.0]

Planted: states of items, a model that prefers the right form by the sign of one linear function of them, with noise, and labels of
a property. `probing.probes.erasure` takes directions out, `probing.behaviour.losses.used` judges. Error: the property is no more
the model's than random directions or labels are, and "yes" is said; or the model reads it alone, and "no" is said.
Then the same of credits that are drawn item by item.
OUT: README.md, causal.csv, manifest.json.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from page import arguments, line, write
from run import ERROR

from probing.behaviour.losses import used
from probing.probes.erasure import Erasure, controls, erase, random

N, D, FIT, DRAWS = 200, 32, 400, 20


@dataclass(frozen=True)
class Model:
    """What a simulated layer holds and its model reads: states (n, D), the direction read, and the noise of each item (n,)."""

    x: np.ndarray
    reads: np.ndarray
    noise: np.ndarray

    @classmethod
    def drawn(cls, rng: np.random.Generator, spread: float) -> "Model":
        """Units whose standard deviations run from 1 to `spread`, in a random basis."""
        basis = np.linalg.qr(rng.standard_normal((D, D)))[0]
        x = rng.standard_normal((N + FIT, D)) * np.geomspace(1, spread, D) @ basis
        reads = rng.standard_normal(D) / x.std(0)
        return cls(x, reads, rng.standard_normal(N) * 0.3 * np.std(x @ reads))

    def right(self, erased: Erasure | None = None) -> np.ndarray:
        """Whether the right form is preferred, which the whole states decide without noise, for the N tested items."""
        x = self.x[:N]
        after = x if erased is None else erased(x)
        return ((after @ self.reads + self.noise > 0) == (x @ self.reads > 0)).astype(float)


def another_direction(model: Model, rank: int, rng: np.random.Generator) -> tuple[Erasure, list[Erasure]]:
    drawn = [random(model.x[N:], rank, int(rng.integers(2**31))) for _ in range(DRAWS + 1)]
    return drawn[0], drawn[1:]


def unrelated_labels(model: Model, rank: int, rng: np.random.Generator) -> tuple[Erasure, list[Erasure]]:
    erased = erase("leace", model.x[N:], rng.integers(0, rank + 1, FIT))
    return erased, list(controls(model.x[N:], erased.rank, DRAWS, int(rng.integers(2**20))))


def unrelated_labels_matched(model: Model, rank: int, rng: np.random.Generator) -> tuple[Erasure, list[Erasure]]:
    drawn = [erase("leace", model.x[N:], rng.integers(0, rank + 1, FIT)) for _ in range(DRAWS + 1)]
    return drawn[0], drawn[1:]


def what_it_reads(model: Model, rank: int, rng: np.random.Generator) -> tuple[Erasure, list[Erasure]]:
    erased = erase("leace", model.x[N:], (model.x[N:] @ model.reads > 0).astype(int))
    return erased, list(controls(model.x[N:], erased.rank, DRAWS, int(rng.integers(2**20))))


SETTINGS: list[tuple[str, Callable[..., tuple[Erasure, list[Erasure]]], int, float, str]] = [
    ("one more random direction, units alike", another_direction, 1, 1.0, "yes"),
    ("five more random directions, units alike", another_direction, 5, 1.0, "yes"),
    ("one more random direction, standard deviations from 1 to 30", another_direction, 1, 30.0, "yes"),
    ("LEACE of two unrelated classes, units alike", unrelated_labels, 1, 1.0, "yes"),
    ("LEACE of two unrelated classes, standard deviations from 1 to 30", unrelated_labels, 1, 30.0, "yes"),
    ("LEACE of two unrelated classes, standard deviations from 1 to 30; controls by other such labels",
     unrelated_labels_matched, 1, 30.0, "yes"),
    ("LEACE of what the model reads, units alike", what_it_reads, 1, 1.0, "no"),
    ("LEACE of what the model reads, standard deviations from 1 to 30", what_it_reads, 1, 30.0, "no"),
]  # fmt: skip
"""About, what is taken out with its controls, rank, spread, and the verdict that is an error."""


@dataclass(frozen=True)
class Drawn:
    """Credits drawn item by item: `before` and `loss` are the accuracy before and what is lost of it (0-1), `gain` is what is lost
    and gained again on other items; under controls `control` is lost, and the same gained again."""

    n: int
    loss: float
    before: float = 0.9
    gain: float = 0.0
    control: float = 0.005

    def verdict(self, rng: np.random.Generator) -> str:
        before = (rng.random(self.n) < self.before).astype(float)

        def after(loss: float, *draws: int) -> np.ndarray:
            share = np.where(before == 1, (loss + self.gain) / self.before, self.gain / (1 - self.before))
            return np.where(rng.random((*draws, self.n)) < share, 1 - before, before)

        return used(before, after(self.loss), after(self.control, DRAWS), 0.02)["used"]


COUNTED: list[tuple[str, str, Drawn]] = [
    *(("no", f"loss of {loss * 100:.0f} points by the property and 0.5 by controls, {n} items", Drawn(n, loss))
      for loss in (0.05, 0.1) for n in (10, 20, 50, 100, 200)),
    *(("no", f"loss of 2.5 points and 0.5 by controls, so that the extra loss is the margin, {n} items", Drawn(n, 0.025))
      for n in (200, 500, 1000)),
    *(("yes", f"loss of 3 points by the property and by controls, {n} items", Drawn(n, 0.03, gain=0.02, control=0.03))
      for n in (10, 20, 50, 100, 200)),
    *(("yes", f"accuracy at chance, all of it lost, {n} items", Drawn(n, 0.5, before=0.5)) for n in (10, 20, 50, 200)),
]  # fmt: skip
"""The verdict that is an error, about, and what is drawn."""


def main() -> None:
    args = arguments()
    runs, lines, start = max(1, round(1000 * args.share)), [], time.process_time()
    for about, work, rank, spread, wrong in SETTINGS:
        said_wrong = said_yes = 0
        for seed in range(runs):
            rng = np.random.default_rng([seed, rank])
            model = Model.drawn(rng, spread)
            erased, others = work(model, rank, rng)
            verdict = used(model.right(), model.right(erased), np.stack([model.right(one) for one in others]), 0.02)["used"]
            said_wrong += verdict == wrong
            said_yes += verdict == "yes"
        lines.append(line(f"'{wrong}' is said", about, ERROR, said_wrong, runs))
        print(f"{about}: yes {said_yes}, {wrong} in error {said_wrong} of {runs}, {time.process_time() - start:.0f} s", flush=True)
    for wrong, about, drawn in COUNTED:
        said_wrong = sum(drawn.verdict(np.random.default_rng([seed, drawn.n, 1])) == wrong for seed in range(runs))
        lines.append(line(f"'{wrong}' is said", about, ERROR, said_wrong, runs))
        print(f"{about}: {wrong} in error {said_wrong} of {runs}, {time.process_time() - start:.0f} s", flush=True)
    write(args.out, "causal", HEAD, lines, time.process_time() - start)


HEAD = """# Calibration of the claim "used"

A model that prefers the right form by the sign of one linear function of the states, with noise; 200 items, 32 units, 20 controls.
Error: the share of runs in which a property that is no more the model's than random directions are is said to be used, or one that
it reads alone is said not to be (promised: at most 5 %). In brackets the 95 % interval of the share. Lines of points lost draw the
items' credits themselves, at an accuracy of 90 % before.

    python scripts/calibration/causal.py results/calibration-causal"""

if __name__ == "__main__":
    main()
