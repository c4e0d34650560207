"""Logistic regression for codes: one matrix of features for all prefixes, label sets and values of C, chosen by dev cross-entropy.

The objective is that of probing.probes.logistic, scikit-learn's. Accuracy chooses a C whose probabilities may be poor; bits need
probabilities, so C is chosen by the cross-entropy on dev. Classes that the labels lack are left out of the fit, and have
probability 0 (`bits.mixed` makes the code finite). A fit may start at an earlier one: that saves time, the optimum is the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from probing.probes.codes.bits import mixed
from probing.probes.logistic import Design
from probing.probes.solver.lbfgs import minimise
from probing.probes.solver.loss import LogisticLoss, Matrix
from probing.types import Features, Labels, Values


@dataclass(frozen=True)
class Solution:
    """A fit: `seen` classes, (k,); weights in the eigenbasis (1 or k, d + 1), none where only one class was seen; `n`: examples
    that it was fitted on; `tried`: dev bits per example of each C, where dev chose it."""

    C: float
    n: int
    seen: Labels
    weights: torch.Tensor
    iterations: int = 0
    converged: bool = True
    tried: dict[float, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Examples:
    """Features of n examples in one layout for all fits (probing.probes.solver.loss.Matrix), K classes."""

    matrix: Matrix
    n_classes: int

    @classmethod
    def of(cls, design: Design, n_classes: int) -> Examples:
        """The design's own examples. They are laid out once: other examples and prefixes share basis and spectrum."""
        matrix = design.matrix.for_columns(1 if n_classes == 2 else n_classes)
        return cls(matrix._replace(blocks=()), n_classes)

    def __len__(self) -> int:
        return self.matrix.features.shape[1]

    def others(self, design: Design, x: Features) -> Examples:
        """Other examples x (m, d) of the same design."""
        rows = torch.cat([design.transform(x).T, torch.ones(1, len(x))])
        return Examples(self.matrix._replace(features=self.matrix.basis.T @ rows if self.matrix.rotated else rows), self.n_classes)

    def rows(self, rows: np.ndarray) -> Examples:
        return Examples(self.matrix._replace(features=self.matrix.features[:, torch.from_numpy(rows)]), self.n_classes)

    def span(self, start: int, end: int) -> Examples:
        """The examples start .. end, without a copy."""
        return Examples(self.matrix._replace(features=self.matrix.features[:, start:end]), self.n_classes)

    def fit(self, labels: Labels, C: float, start: Solution | None = None, loose: bool = True) -> Solution:
        """The optimum for the labels (n,) of all examples, to the solver's loose or exact tolerance."""
        seen, targets = np.unique(labels, return_inverse=True)
        if len(seen) == 1:
            return Solution(C, len(self), seen, torch.zeros(0, len(self.matrix.features)))
        y = torch.from_numpy(targets.astype(np.int64))[None]
        loss = LogisticLoss(self.matrix, y, self._start(y[0], seen, start)[None])
        optimum, iterations, converged = minimise(loss, 1 / (C * len(self)), loose=loose)
        return Solution(C, len(self), seen, optimum.weights[0], int(iterations[0]), bool(converged[0]))

    def _start(self, y: torch.Tensor, seen: Labels, start: Solution | None) -> torch.Tensor:
        share = torch.bincount(y, minlength=len(seen)).float() / len(y)
        weights = torch.zeros(1 if len(seen) == 2 else len(seen), len(self.matrix.features))
        weights[:, -1] = torch.log(share[1] / share[0]) if len(seen) == 2 else torch.log(share)
        usable = start is not None and len(start.seen) > 1 and (len(seen) > 2) == (len(start.seen) > 2)
        if start is not None and usable and np.isin(start.seen, seen).all():
            weights[slice(None) if len(seen) == 2 else torch.from_numpy(np.searchsorted(seen, start.seen))] = start.weights
        return weights

    def log_probabilities(self, solution: Solution) -> Values:
        """Natural logarithms of the probabilities of all K classes, (n, K); minus infinity of a class that was not seen."""
        out = np.full((len(self), self.n_classes), -np.inf)
        if len(solution.seen) == 1:
            out[:, solution.seen] = 0.0
            return out
        logits = torch.cat(list(self.matrix.logits(solution.weights[None])), 2)[0].double()  # (1 or k, n)
        logits = torch.cat([torch.zeros_like(logits), logits]) if len(logits) == 1 else logits
        out[:, solution.seen] = torch.log_softmax(logits, 0).T.numpy()
        return out

    def bits(self, solution: Solution, labels: Labels) -> Values:
        """Bits of the labels under a fit, mixed with the uniform (`bits.mixed`), (n,)."""
        own = self.log_probabilities(solution)[np.arange(len(self)), labels]
        return mixed(own, solution.n, self.n_classes)

    def choose(
        self, labels: Labels, grid: Sequence[float], dev: tuple[Examples, Labels], start: Solution | None = None, loose: bool = True
    ) -> Solution:
        """The fit at the C of the grid with the fewest bits on dev: a path from strong to weak penalties, which ends where the bits
        rise. With `loose` False the chosen fit is solved again to the exact tolerance."""
        best: Solution | None = None
        tried: dict[float, float] = {}
        for C in sorted(grid):
            start = self.fit(labels, C, start)
            tried[C] = float(dev[0].bits(start, dev[1]).mean())
            if best is not None and tried[C] >= tried[best.C]:
                break
            best = start
        assert best is not None
        if not loose:
            best = self.fit(labels, best.C, best, loose=False)
        return Solution(best.C, best.n, best.seen, best.weights, best.iterations, best.converged, tried)


def sklearn_log_probabilities(x: Features, labels: Labels, others: Features, C: float, n_classes: int) -> Values:
    """The same by scikit-learn in float64, on features as they are: natural logarithms (m, K) of the probabilities of other
    examples (m, d); the reference of this module."""
    from sklearn.linear_model import LogisticRegression

    out = np.full((len(others), n_classes), -math.inf)
    seen = np.unique(labels)
    if len(seen) == 1:
        out[:, seen] = 0.0
        return out
    model = LogisticRegression(C=C, tol=1e-10, max_iter=10_000, solver="newton-cg").fit(np.asarray(x, float), labels)
    out[:, seen] = model.predict_log_proba(np.asarray(others, float))
    return out
