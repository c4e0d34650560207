"""Accuracy against the size of a linear probe, as a measure: `measures=pareto`, one row for each layer, kind and bound.

The column `probe` has kind and bound (`rank=2`, `alpha=0.01`, `features=4`), the facet `complexity` the size that was reached:
rank, nuclear norm, number of features. `probing.probes.bounded.front` gives the probes that no smaller one equals.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from probing.data.task import Task
from probing.errors import ConfigError, ProbingError, foreign
from probing.evaluation.class_measure import ClassMeasure
from probing.evaluation.measure import Cell, Result, by_pooling, reason_of, rows_of
from probing.evaluation.request import Measured, Request
from probing.evaluation.statistics import mean_ci
from probing.log import info
from probing.probes.base import SplitFeatures
from probing.store.results import key_of
from probing.types import Estimate, Representation


@dataclass
class Pareto(ClassMeasure):
    """`pareto`: scores accuracy, dev_accuracy, bits (test cross-entropy), complexity."""

    name = "pareto"
    ranks: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 16])
    alphas: list[float] = field(default_factory=lambda: [0.001, 0.01, 0.1])
    features: list[int] = field(default_factory=lambda: [1, 4, 16, 64])
    items: int = 20_000
    seed: int = 0

    def __post_init__(self) -> None:
        self.check_whole(10, "items")
        self.check_whole(0, "seed")
        for name in ("ranks", "features"):
            if any(isinstance(value, bool) or value < 1 for value in getattr(self, name)):
                raise ConfigError(f"pareto.{name}={list(getattr(self, name))} must hold whole numbers of at least 1")
        if any(not 0 <= alpha < float("inf") for alpha in self.alphas):
            raise ConfigError(f"pareto.alphas={list(self.alphas)} must hold no number below 0")
        if not [*self.ranks, *self.alphas, *self.features]:
            raise ConfigError("pareto: ranks, alphas and features are empty, which leaves nothing to do")

    def lacks(self, task: Task) -> str:
        above = [rank for rank in self.ranks if rank > len(task.classes)]
        return f"pareto leaves out the ranks {above}, above its {len(task.classes)} classes" if above else ""

    def planned(self, task: Task, measured: Measured | None, request: Request, seed: int) -> Iterable[Cell]:
        bounds: list[tuple[str, float]] = [("rank", rank) for rank in self.ranks if rank <= len(task.classes)]
        bounds += [("alpha", alpha) for alpha in sorted(self.alphas, reverse=True)]
        if measured is not None and measured.columns and measured.encoder is not None:
            width = min(measured.encoder.dims[column.layer] for column in measured.columns)
            bounds += [("features", k) for k in self.features if k <= width]
            if wide := [k for k in self.features if k > width]:
                info(f"{measured.name}: pareto leaves out {wide} features, its layers have {width}")
        for cell in super().planned(task, measured, request, seed):
            if cell.column is None:
                yield cell
                continue
            for kind, bound in bounds:
                inputs = {**cell.inputs, "bound": [kind, bound]}
                row = replace(cell.row, probe=f"{kind}={bound:g}", cell=key_of(inputs))
                yield replace(cell, inputs=inputs, row=row, own=(kind, bound))

    def group(self, task: Task) -> dict[str, Any]:
        """Without the bounds: a cell has its own."""
        options = {"items": self.items, "seed": self.seed}
        return {"measure": self.name, "version": self.version, "options": options}

    def run(self, cells: Sequence[Cell], vectors: Any) -> Iterator[tuple[Cell, Result | str]]:
        assert vectors is not None
        task = cells[0].task
        rows = rows_of(task, vectors)
        columns: dict[Representation, list[Cell]] = {}
        for cell in by_pooling(cells):
            columns.setdefault(cell.place, []).append(cell)
        for column, own in columns.items():
            fits: _Fits | None = None
            for cell in own:
                try:
                    with foreign(f"measure {self.name}"):
                        fits = fits or _Fits(SplitFeatures(*(split.get(column) for split in rows)), task, self, own)
                        result = fits.of(*cell.own)
                except (ProbingError, MemoryError) as error:
                    yield cell, reason_of(error)
                else:
                    yield cell, result


class _Fits:
    """The probes of one column: features prepared once, starts and orders shared."""

    def __init__(self, features: SplitFeatures, task: Task, options: Pareto, cells: Sequence[Cell]) -> None:
        from probing.probes.bounded import Data, normalised

        self.task, self.options, n = task, options, len(task.train)
        rows = np.sort(np.random.default_rng(options.seed).permutation(n)[: options.items])
        self.raw = features._replace(train=features.train[rows])
        self.y, self.K = task.train.labels[rows], len(task.classes)
        self.x = [normalised(x) for x in self.raw[:3]]
        self.data = Data.of(self.x[0], self.y, self.K)
        self.most = max([int(bound) for cell in cells for kind, bound in [cell.own] if kind == "features"], default=0)
        self.last: Any = None
        self.order: list[int] | None = None

    def of(self, kind: str, bound: float) -> Result:
        from probing.probes import bounded

        task = self.task
        x: Sequence[Any] = self.x
        if kind == "rank":
            probe = bounded.fit_rank(self.data, bounded.Data.of(x[1], task.dev.labels, self.K), int(bound), self.options.seed)
        elif kind == "alpha":  # from strong to weak, each from the last
            probe = self.last = bounded.fit_nuclear(self.data, bound, self.last)
        else:
            x = self.raw[:3]
            if self.order is None:
                standardised = bounded.standardised(self.raw.train)
                self.order = bounded.order_of_features(bounded.Data.of(standardised, self.y, self.K), self.most)
            probe = bounded.fit_few(self.raw.train, self.y, self.K, self.order[: int(bound)])
        gold, groups = task.test.labels, task.test.clusters
        items = {"accuracy": (probe.predict(x[2]) == gold).astype(float), "bits": probe.bits(x[2], gold)}
        scores = {name: mean_ci(values, groups) for name, values in items.items()}
        dev = float((probe.predict(x[1]) == task.dev.labels).mean())
        scores |= {"dev_accuracy": Estimate(dev, np.nan, np.nan), "complexity": Estimate(probe.size, np.nan, np.nan)}
        facets = {
            "kind": kind,
            "bound": float(bound),
            "complexity": probe.size,
            "fit_converged": probe.converged,
            "fitted_on": len(self.y),
        }
        if kind != "features":
            facets["effective_rank"] = probe.rank
        return Result(scores, facets, items=items | ({} if groups is None else {"groups": groups}))
