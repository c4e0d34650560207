"""Study `neurons`: which neurons of a layer tell a label, and whether they tell more than directions of a random basis do.

For each task and layer: curves of the first k neurons of every ranking (`probing.neurons.curves`), the same after random rotations
and with control labels, the minimal set, what is left without it, overlap of rankings, and stability over bootstrap samples of
train. A finished layer is kept. Test labels choose nothing: rankings read train (gaussian also dev), sizes of sets are chosen on
dev.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from probing.config import listed
from probing.data.task import Task
from probing.encoders.base import fingerprint
from probing.errors import StatesError, did_you_mean
from probing.log import bar, human_count, human_seconds, info
from probing.neurons.classifiers import CLASSIFIERS
from probing.neurons.curves import Basis, Targets, bootstrap, orders, overlap
from probing.neurons.ranking import L2, RANKINGS
from probing.report.neurons import write
from probing.store.reading import Vectors
from probing.studies import Context, layers_of, require
from probing.studies.neuron_between import between_row, encoder_of, same_depth
from probing.studies.neuron_layers import REPEATED, Measured, commonest, replace_train, targets_of
from probing.types import Representation

VERSION = 1
"""Raise when the same options would give other rows."""


@dataclass
class NeuronsStudy:
    """Options that are lists are one value or many.

    Args:
        layer: all, or numbers; negative ones count from the last.
        pooling: of sentences a pooling; of words mean, first or last of their pieces.
        rankings: of `RANKINGS`; the first is the one that verdicts are about.
        classifier: of `CLASSIFIERS`.
        sizes: numbers of neurons; null: 1, 2, 5, 10, 20, 50, 100, 200; all live ones are added.
        top: the number of neurons that verdicts are about.
        rotations, draws, controls, samples: random bases, random sets of each size, sets of control labels, bootstrap samples.
        tolerance: accuracy (0-1) that the minimal set may lose on dev.
        l2: penalty of the regression that ranks, and of ridge.
        classes: the commonest classes of train that are kept; null: all.
        others: encoders whose neurons are matched with these (`probing.studies.neuron_between`): presets or checkpoint folders.
    """

    layer: Any = "all"
    pooling: str = "mean"
    rankings: Any = "all"
    classifier: str = "ridge"
    sizes: Any = None
    top: int = 10
    rotations: int = 10
    draws: int = 5
    controls: int = 5
    samples: int = 5
    tolerance: float = 0.01
    l2: float = L2
    classes: int | None = None
    others: Any = None

    name = "neurons"
    uses = ("data", "encoder")

    def __post_init__(self) -> None:
        self.names = listed(self.rankings, str, "study.rankings", every=RANKINGS)
        for name in self.names:
            near = did_you_mean(name, RANKINGS)
            require(name in RANKINGS, f"study.rankings: unknown ranking {name!r}{near} (allowed: {', '.join(RANKINGS)})")
        require(self.classifier in CLASSIFIERS, f"study.classifier={self.classifier!r} (allowed: {', '.join(CLASSIFIERS)})")
        require(self.top >= 1, f"study.top={self.top} must be at least 1")
        for name, least in (("rotations", 2), ("draws", 2), ("controls", 2), ("samples", 2)):
            require(
                getattr(self, name) >= least, f"study.{name}={getattr(self, name)} must be at least {least}: a variance needs two"
            )
        require(0 <= self.tolerance < 1, f"study.tolerance={self.tolerance} is an accuracy from 0 to 1, such as 0.01")
        require(self.l2 > 0, f"study.l2={self.l2} must be above 0")
        require(self.classes is None or self.classes >= 2, f"study.classes={self.classes} must be at least 2, or null")
        given = None if self.sizes is None else listed(self.sizes, int, "study.sizes", every=())
        require(given is None or min(given) >= 1, f"study.sizes={self.sizes} must hold numbers of neurons, at least 1")
        self.numbers = sorted({*(given or (1, 2, 5, 10, 20, 50, 100, 200)), self.top})

    def measure(self, context: Context) -> pd.DataFrame:
        encoder, seed = context.encoder, context.seed
        layers = layers_of(self.layer, len(encoder.dims))
        tasks = [commonest(task, self.classes) for task in context.tasks]
        for task in tasks:
            task.need_classes("a ranking of neurons")
            require(not task.folds, f"{task.name} is cross-validated: a ranking of neurons needs train, dev and test splits")
        parts = [(task, layer, self._part(context, task, layer, seed)) for task in tasks for layer in layers]
        done = {
            k: rows for k, (*_, part) in enumerate(parts) if not context.force and (rows := context.results.get(part)) is not None
        }
        others = [
            encoder_of(given) for given in ([] if self.others is None else listed(self.others, str, "study.others", every=()))
        ]
        vectors: dict[bool, list[Vectors]] = {}
        for of_words in sorted({parts[k][0].of_words for k in range(len(parts)) if k not in done}):
            texts = [text for task in tasks if task.of_words == of_words for split in task.splits.values() for text in split.texts]
            pooling = self._pooling(of_words, encoder.poolings)
            vectors[of_words] = [context.store.vectors(one, texts, [pooling]) for one in (encoder, *others)]
        open_, start = len(parts) - len(done), time.perf_counter()
        rows = []
        with bar("layers of tasks", len(parts)) as advance:
            for k, (task, layer, part) in enumerate(parts):
                if k in done:
                    rows += done[k]
                else:
                    (own, *beside), pooling = vectors[task.of_words], self._pooling(task.of_words, encoder.poolings)
                    x = {name: own.of(split).get(Representation(layer, pooling)) for name, split in task.splits.items()}
                    basis = Basis.of(x["train"], x["dev"], x["test"])
                    if basis.n_live == 0:
                        raise StatesError(f"{encoder.name}: no neuron of layer {layer} varies over the train items of {task.name}")
                    if open_ > 1 and k == min(set(range(len(parts))) - set(done)):
                        about = human_seconds(open_ * self.seconds(basis, task))
                        info(f"{human_count(open_, 'layer')} of tasks to measure, about {about}")
                    head = {"data": part["data"], "task": task.name, "encoder": encoder.name, "layer": layer}
                    head["layer_name"] = encoder.layer_names[layer]
                    made = self.layer_rows(basis, task, seed)
                    if others:
                        at = [Representation(same_depth(layer, len(encoder.dims), len(one.dims)), pooling) for one in others]
                        states = [v.of(task.train).get(column) for v, column in zip(beside, at, strict=True)]
                        names = dict(zip((one.name for one in others), states, strict=True))
                        made.append(between_row(basis, names, self.top, seed))
                    rows += context.results.put(part, [head | row for row in made])
                advance(1)
        if open_:
            info(f"{human_count(open_, 'layer')} of tasks measured in {human_seconds(time.perf_counter() - start)}")
        return pd.DataFrame(rows)

    def report(self, frame: pd.DataFrame, folder: Any) -> None:
        """neurons.csv, layers.csv, overlap.csv, stability.csv, table.md, figure-curves-*.svg, figure-layers.svg."""
        write(frame, folder)

    def _part(self, context: Context, task: Task, layer: int, seed: int) -> dict[str, Any]:
        options = {name: getattr(self, name) for name in ("classifier", "top", "rotations", "draws", "controls", "samples")}
        options |= {"rankings": list(self.names), "sizes": self.numbers, "tolerance": self.tolerance, "l2": self.l2}
        if self.others is not None:
            options["others"] = [fingerprint(encoder_of(given)) for given in listed(self.others, str, "study.others", every=())]
        key = {"study": self.name, "version": VERSION, "encoder": fingerprint(context.encoder), "task": task.sha256, "layer": layer}
        return key | {"pooling": self.pooling, "seed": seed, "options": options, "data": context.source.name}

    def _pooling(self, of_words: bool, allowed: Sequence[str]) -> str:
        allowed = ("mean", "first", "last") if of_words else allowed
        require(self.pooling in allowed, f"study.pooling={self.pooling!r} (allowed here: {', '.join(allowed)})")
        return f"word-{self.pooling}" if of_words else self.pooling

    def seconds(self, basis: Basis, task: Task) -> float:
        """About how long one layer takes, from one product of its size."""
        n, d, K = *basis.train.shape, len(task.classes)
        start = time.perf_counter()
        for _ in range(3):
            basis.train @ np.ones((d, K))
        product = (time.perf_counter() - start) / 3
        share = 1 + (len(basis.dev) + len(basis.test)) / n
        fits, curves = 1 + self.rotations + self.controls + self.samples, len(self.names) * len(self.numbers)
        scored = (1 + self.rotations + self.controls) * curves * product * share
        return fits * 60 * product + (1 + self.rotations) * 3 * product * share * d / K + scored + 0.3

    def layer_rows(self, basis: Basis, task: Task, seed: int) -> list[dict[str, Any]]:
        """The rows of one layer, of kinds curve, layer, overlap and stability."""
        y = targets_of(task)
        made = orders(basis, y, self.names, self.l2, seed, steps=min(50, max(k for k in self.numbers if k <= 50)))
        measured = Measured(self, basis, y, task, seed, made)
        rows = [row for name in self.names for row in measured.curve(name)]
        rows.append(measured.summary(rows))
        rows += self._overlaps(basis, made)
        return rows + self._stability(basis, y, task, made, seed)

    def _overlaps(self, basis: Basis, made: Mapping[str, np.ndarray]) -> Iterator[dict[str, Any]]:
        for (a, of_a), (b, of_b) in combinations(made.items(), 2):
            for k in self._below(basis):
                yield {"kind": "overlap", "ranking": a, "other": b, "k": k, **overlap(of_a, of_b, k, basis.n_live)._asdict()}

    def _below(self, basis: Basis) -> list[int]:
        """Sizes that leave some neurons out."""
        return [k for k in self.numbers if k < basis.n_live]

    def _stability(self, basis: Basis, y: Targets, task: Task, made: Mapping[str, np.ndarray], seed: int) -> list[dict[str, Any]]:
        names = [name for name in self.names if name in REPEATED and name != "random"]
        samples: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for s in range(self.samples if names else 0):
            rows = bootstrap(len(y.train), task.train.clusters, seed * 1000 + s)
            drawn_basis = replace_train(basis, basis.train[rows])
            for name, order in orders(drawn_basis, y._replace(train=y.train[rows]), names, self.l2, seed).items():
                samples[name].append(order)
        result = []
        for name, own in samples.items():
            places = [np.argsort(order) for order in own]
            rank = float(np.mean([spearmanr(a, b).statistic for a, b in combinations(places, 2)])) if basis.n_live > 1 else 1.0
            for k in self._below(basis):
                shared = np.mean([overlap(a, b, k, basis.n_live).shared for a, b in combinations(own, 2)])
                row = {"ranking": name, "k": k, "shared": float(shared), "chance": k * k / basis.n_live, "spearman": rank}
                result.append({"kind": "stability", **row, "samples": self.samples})
        return result
