"""The measure `structural`: probes of tree distance and depth (Hewitt & Manning 2019) on every layer, rank and punctuation rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from probing.data.task import Task
from probing.data.trees import FACTS, Trees
from probing.encoders.pooling import place_in_tables
from probing.errors import ConfigError, ProbingError
from probing.evaluation.measure import Cell, LayerMeasure, Result, reason_of, row_for
from probing.evaluation.request import Measured, Request
from probing.evaluation.tree_table import Gold, Projected
from probing.log import info
from probing.probes.structural import KINDS, Fit, Schedule, fit, starting_map
from probing.probes.tree_scores import RULES
from probing.store.reading import Rows, Vectors
from probing.store.results import key_of
from probing.types import Estimate, Representation


@dataclass
class Structural(LayerMeasure):
    """A row for each layer, pooling, rank and rule. Metrics (0-1; losses in arcs): uuas, root_accuracy, dspr, nspr, distance_loss,
    depth_loss on test; dev_uuas, to choose by; uuas and dspr of the linear chain and of an untrained map of the same rank, and what
    the probe has above them.

    Args:
        ranks: rows of the maps; the paper's default is the width of the layer.
        rules: which words UUAS and root accuracy score: listed (without seven Penn tags, as released), punct (without UPOS PUNCT),
            or all.
        batch, epochs, rate, patience: see `probing.probes.structural.Schedule`.
        memory: GiB of vectors of train and dev that are held at once; layers are fitted together as far as they fit, one at least.
    """

    ranks: list[int] = field(default_factory=lambda: [64])
    rules: list[str] = field(default_factory=lambda: ["listed", "punct"])
    batch: int = 20
    epochs: int = 40
    rate: float = 1e-3
    patience: int = 5
    memory: float = 3.0

    name = "structural"
    version = 1

    def __post_init__(self) -> None:
        if not self.ranks or min(self.ranks) < 1 or len(set(self.ranks)) < len(self.ranks):
            raise ConfigError(f"structural.ranks={list(self.ranks)} must hold at least one number, all different and at least 1")
        if not self.rules or not set(self.rules) <= set(RULES) or len(set(self.rules)) < len(self.rules):
            raise ConfigError(f"structural.rules={list(self.rules)} must hold at least one of {', '.join(RULES)}, each once")
        for name in ("batch", "epochs", "patience"):
            if getattr(self, name) < 1:
                raise ConfigError(f"structural.{name}={getattr(self, name)} must be at least 1")
        for name in ("rate", "memory"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"structural.{name}={getattr(self, name)} must be above 0")

    @property
    def schedule(self) -> Schedule:
        return Schedule(batch=self.batch, epochs=self.epochs, rate=self.rate, patience=self.patience)

    def group(self, task: Task) -> Mapping[str, Any]:
        settings = {name: getattr(self, name) for name in ("batch", "epochs", "rate", "patience")}
        return {"measure": self.name, "version": self.version, **settings}

    def cells(self, task: Task, measured: Measured | None, request: Request, seed: int) -> Iterable[Cell]:
        trees = set(FACTS) <= set(task.test.facts)
        if measured is None:
            if seed == request.seeds[0]:
                self._announce(task, trees)
            return
        if not trees:
            return
        row = replace(row_for(task, measured, request), measure=self.name, seed=measured.seed)
        columns: list[Representation | None] = [column for column in measured.columns if column != measured.static]
        for column in columns or [None]:
            if column and measured.encoder and max(self.ranks) > (width := measured.encoder.dims[column.layer]):
                raise ConfigError(f"structural.ranks={list(self.ranks)}: layer {column.layer} of {measured.name} has {width} units")
            for rank in self.ranks:
                for rule in self.rules:
                    inputs = {"data": task.sha256, "encoder": measured.fingerprint or {"name": measured.name}, **self.group(task)}
                    chosen = {"rank": rank, "rule": rule, "seed": measured.seed}
                    inputs |= chosen
                    own = replace(row, probe=f"rank {rank}, {rule}")
                    if column is not None:
                        inputs |= {"layer": column.layer, "pooling": column.pooling}
                        own = replace(own, layer=column.layer, pooling=column.pooling)
                    inputs |= request.stored
                    own = replace(own, cell=key_of(inputs))
                    yield Cell(inputs, own, task, self, measured.encoder, column, own=chosen, failure=measured.failure)

    def _announce(self, task: Task, trees: bool) -> None:
        """Says why a task is left out, and what the list of tags misses."""
        if not trees:
            info(f"{task.name}: structural is not measured: its items have no trees (data=conllu task=tree has them)")
            return
        punct, listed = (np.asarray(task.test.facts[name], bool) for name in ("punct", "listed"))
        missed = int((punct & ~listed).sum())
        if "listed" in self.rules and 2 * missed > punct.sum():
            info(
                f"{task.name}: {missed} of {int(punct.sum())} PUNCT words of test have none of the listed Penn tags: the rule "
                "listed scores them as words (structural.rules=[punct] does not)"
            )

    def run(self, cells: Sequence[Cell], vectors: Vectors | None) -> Iterator[tuple[Cell, Result | str]]:
        assert vectors is not None
        task = cells[0].task
        try:
            rows = [vectors.of(split) for split in task.splits.values()]
            bench = _Bench(task, rows)
        except (ProbingError, MemoryError) as error:
            yield from ((cell, reason_of(error)) for cell in cells)
            return
        groups: dict[tuple[int, int, int], list[Cell]] = {}  # of one seed, width and place in memory
        widths = {cell.place: vectors.widths[cell.place.pooling][cell.place.layer] for cell in cells}
        size = 4 * (len(task.train) + len(task.dev)) / 2**30
        for cell in sorted(cells, key=lambda cell: (place_in_tables(cell.place.pooling), cell.place.layer)):
            seed, width = cell.own["seed"], widths[cell.place]
            together = max(1, int(self.memory / (size * width)))
            same = [place for place in dict.fromkeys(sorted(widths)) if widths[place] == width]
            groups.setdefault((seed, width, same.index(cell.place) // together), []).append(cell)
        for (seed, _, _), group in groups.items():
            places = list(dict.fromkeys(cell.place for cell in group))
            ranks = sorted({cell.own["rank"] for cell in group})
            try:
                fits = bench.fit(places, ranks, seed, self.schedule)
            except (ProbingError, MemoryError) as error:
                yield from ((cell, reason_of(error)) for cell in group)
                continue
            for place, own in zip(places, fits, strict=True):
                of_place = [cell for cell in group if cell.place == place]
                try:
                    results = bench.results(place, own, of_place)
                except (ProbingError, MemoryError) as error:
                    yield from ((cell, reason_of(error)) for cell in of_place)
                else:
                    yield from zip(of_place, results, strict=True)


class _Bench:
    """The trees of a task, and where its vectors are."""

    def __init__(self, task: Task, rows: Sequence[Rows]):
        self.task, self.rows = task, rows
        names = [f"{task.name}, {name}" for name in task.splits]
        self.trees = [Trees.of(split, name) for split, name in zip(task.splits.values(), names, strict=True)]
        self._gold: dict[tuple[str, str], Gold] = {}
        self.left_out = [0, 0]  # sentences of train and dev, by the last fit

    def gold(self, split: str, rule: str) -> Gold:
        if (split, rule) not in self._gold:
            number = list(self.task.splits).index(split)
            self._gold[split, rule] = Gold(self.trees[number], rule, self.task.splits[split].clusters)
        return self._gold[split, rule]

    def fit(self, places: Sequence[Representation], ranks: Sequence[int], seed: int, schedule: Schedule) -> list[dict[Any, Fit]]:
        """The probes of these layers. A sentence of train or dev with a word that has no piece in any of them is left out."""
        read = [[rows.get(place) for rows in self.rows[:2]] for place in places]
        own, self.left_out = [], [0, 0]
        for k in range(2):
            lost = np.any([~one[k].any(1) for one in read], axis=0)
            whole = np.flatnonzero(np.bincount(self.trees[k].sentence[lost], minlength=len(self.trees[k])) == 0)
            trees = self.trees[k]
            if len(whole) < len(trees):
                self.left_out[k] = len(trees) - len(whole)
                trees, words = trees.take(whole)
                for one in read:
                    one[k] = one[k][words]
            own.append(trees)
        return fit([(one[0], one[1]) for one in read], (own[0], own[1]), ranks, seed, schedule)

    def results(self, place: Representation, fits: Mapping[Any, Fit], cells: Sequence[Cell]) -> list[Result]:
        """The results of one layer's cells."""
        dev, test = (rows.get(place) for rows in self.rows[1:])
        made = []
        for cell in cells:
            rank, rule, seed = (cell.own[name] for name in ("rank", "rule", "seed"))
            maps = [fits[kind, rank].B for kind in KINDS]
            starts = [starting_map(kind, rank, test.shape[1], seed).numpy() for kind in KINDS]
            gold = self.gold("test", rule)
            table = gold.table(Projected(*(test @ B.T for B in maps)), Projected(*(test @ B.T for B in starts)))
            scores = {**table.scores, "dev_uuas": Estimate(self.gold("dev", rule).uuas(dev @ maps[0].T), np.nan, np.nan)}
            facets = {"rank": rank, **table.facets, "words_without_vector": int((~test.any(1)).sum())}
            details = {kind: dict(zip(Fit._fields[1:], fits[kind, rank][1:], strict=True)) for kind in KINDS}
            details["sentences_left_out"] = dict(zip(("train", "dev"), self.left_out, strict=True))
            made.append(Result(scores, facets, details, {**table.items, "groups": gold.groups}))
        return made
