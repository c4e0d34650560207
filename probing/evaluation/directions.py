"""`directions`: the angles between the probes of a table, with a null.

Two probes of one encoder, layer and pooling (or of one task and two layers) are compared by the cosine of their raw weights and the
correlation of their scores (`probing.probes.directions`); S is the mean of the covariances of the two train splits, each centred by
itself, so that the distance of two corpora is no part of it. Between layers there is the cosine alone: their features are others.

Null: both probes are fitted again with the same solver and C on permuted train labels, `draws` times each; the null values are
those of all draws² pairs, and the p-value is (1 + null values at least as far from 0) / (1 + draws²). It says what probes of
nothing give on these features, not that two tasks are related: tasks whose labels are correlated on shared sentences have
correlated directions for that reason alone, so the correlation of the labels stands beside it (phi of two classes each, else
Cramér's V).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from probing.data.task import Task
from probing.errors import ConfigError, foreign
from probing.evaluation.measure import Cell
from probing.evaluation.paired_tests import holm
from probing.evaluation.probe import Probe
from probing.evaluation.refit import Refit
from probing.evaluation.table import ResultTable
from probing.log import bar, info
from probing.probes.base import SplitFeatures, SplitLabels
from probing.probes.directions import centred, cosine, cosines, permutation_p, root_of
from probing.store.results import ResultStore, key_of
from probing.types import Values

VERSION = 1
"""Part of the key of a pair: raise it where the same weights would give other numbers."""

MOST_CLASSES = 20
"""A task of more classes is left out: its permuted probes are many, and its subspace is most of the space."""

LAYERS, TASKS, SAME_CORPUS = "layer", "task", "corpus"
Line = Any
"""A line of a table's frame (a named tuple)."""

_NUMBERS = ("cosine", "null_low", "null_high", "p")
_ALIGNED = ("aligned", "aligned_null_low", "aligned_null_high", "aligned_p")
_OF_SCORES = ("correlation", "correlation_null_low", "correlation_null_high", "correlation_p")


def directions(table: ResultTable, across: str = TASKS, *, draws: int = 40, seed: int = 0, **where: Any) -> pd.DataFrame:
    """Every pair of the table's probes across tasks (of one encoder, layer and pooling) or across layers (of one task and pooling).

    Columns: the two probes; `cosine` of their weights, with `null_low` and `null_high` (2.5 and 97.5 % of the null), `p` and
    `p_holm` (over all lines); the same of `aligned`, the cosine of all weights class by class, across layers or corpora (of two
    classes it is `cosine`), and of `correlation`, of their scores, but across layers; `label_correlation` on the `n_shared` train
    sentences that both tasks have, NaN where these are fewer than two or of one class.

    Args:
        across: "task" or "layer".
        draws: probes of permuted labels for each probe.
        where: columns of the frame that choose rows, such as layer=6, pooling="mean", task=("subj_number", "obj_number").

    Raises:
        ConfigError: no pair; a table that was read from files; a probe that is not linear, or has no single C.
    """
    if across not in (TASKS, LAYERS):
        raise ConfigError(f"across={across!r} is unknown (allowed: {TASKS}, {LAYERS})")
    if unknown := [name for name in where if name not in table.frame]:
        raise ConfigError(f"directions: the table has no column {unknown[0]!r}")
    rows = table.where(role="probe", measure="probe", **where)
    other = [name for name in ("task", "layer") if name != across]
    pairs = []
    for _, group in rows.groupby([*other, "encoder", "probe", "pooling"], sort=False, dropna=False):
        lines = list(group.sort_values("seed", kind="stable").drop_duplicates(across).itertuples())
        pairs += [(a, b) for i, a in enumerate(lines) for b in lines[i + 1 :]]
    return directions_of_pairs(table, pairs, draws, seed, across)


def directions_of_pairs(table: ResultTable, pairs: Sequence[tuple[Line, Line]], draws: int, seed: int, across: str) -> pd.DataFrame:
    """The lines of `directions` for these pairs of the table's rows; finished pairs are read from the result store."""
    refit = table.refit
    if not isinstance(refit, Refit):
        raise ConfigError(
            "directions: this table was read from files or merged: make it with evaluate(...), finished cells are kept"
        )
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 7:
        raise ConfigError(
            f"draws={draws!r} must be a whole number of at least 7, so that 95 % of the {7 * 7} null values are an interval"
        )
    kept = [pair for pair in pairs if all(_suited(refit.cells[one.cell].task) for one in pair)]
    for name in dict.fromkeys(one.task for pair in pairs for one in pair if not _suited(refit.cells[one.cell].task)):
        info(f"{name}: no direction is measured: it has numbers, sets of labels, or more than {MOST_CLASSES} classes")
    if not kept:
        raise ConfigError(f"directions: the table has no two finished probes of classes to compare (across={across})")
    drawn = Drawn(refit, draws, seed)
    lines = []
    with bar("directions", len(kept)) as advance:
        for a, b in kept:
            lines.append(_names(a, b, across) | _pair(drawn, refit.results, a.cell, b.cell, across))
            advance(1)
    frame = pd.DataFrame(lines)
    known = frame.p.notna()
    frame.loc[known, "p_holm"] = holm(frame.p[known])
    return frame


def _suited(task: Task) -> bool:
    return task.kind == "classification" and len(task.classes) <= MOST_CLASSES and not task.folds


def _names(a: Line, b: Line, across: str) -> dict[str, Any]:
    line = {"encoder": a.encoder, "probe": a.probe, "pooling": a.pooling}
    if across == SAME_CORPUS:
        return line | {"task": a.property, "layer": a.layer, "a_corpus": a.source, "b_corpus": b.source}
    if across == LAYERS:
        return line | {"task": a.task, "a_layer": a.layer, "b_layer": b.layer}
    return line | {"layer": a.layer, "a_task": a.task, "b_task": b.task}


def _pair(drawn: Drawn, results: ResultStore, a: str, b: str, across: str) -> dict[str, Any]:
    """The numbers of a pair of cells, kept in the result store."""
    inputs = {"directions": VERSION, "cells": [a, b], "draws": drawn.draws, "seed": drawn.seed, "across": across}
    kept = results.get(inputs)
    if kept is None:
        numbers = _measured(drawn, a, b, across)
        kept = results.put(inputs, [{name: None if x != x else x for name, x in numbers.items()}])
    return {name: np.nan if x is None else x for name, x in kept[0].items()}


def _measured(drawn: Drawn, a: str, b: str, across: str) -> dict[str, Any]:
    one, other = drawn.of(a), drawn.of(b)
    task, other_task = (drawn.refit.cells[key].task for key in (a, b))
    label, n = label_correlation(task, other_task)
    numbers = dict.fromkeys((*_NUMBERS, *_ALIGNED, *_OF_SCORES), np.nan) | {"label_correlation": label, "n_shared": n}
    if one.weights.shape[1] != other.weights.shape[1]:
        return numbers  # layers of different width
    numbers |= dict(zip(_NUMBERS, _against_null(one.weights, one.null, other.weights, other.null), strict=True))
    if across != TASKS and task.classes == other_task.classes:
        rows = [[centred(w).reshape(1, -1) for w in (own.weights, *own.null)] for own in (one, other)]
        numbers |= dict(zip(_ALIGNED, _against_null(rows[0][0], rows[0][1:], rows[1][0], rows[1][1:]), strict=True))
    if across != LAYERS:
        root = root_of(one.covariance, other.covariance)
        seen = [[w @ root for w in (own.weights, *own.null)] for own in (one, other)]
        numbers |= dict(zip(_OF_SCORES, _against_null(seen[0][0], seen[0][1:], seen[1][0], seen[1][1:]), strict=True))
    return numbers


def _against_null(w: Values, null: Sequence[Values], other: Values, other_null: Sequence[Values]) -> tuple[float, ...]:
    """The cosine, the 2.5 and 97.5 % quantiles of the null, and the p-value."""
    value, by_chance = cosine(w, other), cosines(null, other_null).ravel()
    if np.isnan(value) or np.isnan(by_chance).any():
        return value, np.nan, np.nan, np.nan
    low, high = np.quantile(by_chance, [0.025, 0.975])
    return value, float(low), float(high), permutation_p(value, by_chance)


def label_correlation(task: Task, other: Task) -> tuple[float, int]:
    """The correlation of the labels of the train sentences that two tasks share, and their number: phi of two classes each (with a
    sign), else Cramér's V; NaN where one task has a single class on them, as on fewer than two sentences."""
    labels = dict(zip(task.train.places, task.train.labels.tolist(), strict=True))
    pairs = [(labels[text], y) for text, y in zip(other.train.places, other.train.labels.tolist(), strict=True) if text in labels]
    if not pairs:
        return np.nan, 0
    counts = np.zeros((len(task.classes), len(other.classes)))
    np.add.at(counts, tuple(np.array(pairs).T), 1)
    counts = counts[counts.sum(1) > 0][:, counts.sum(0) > 0]
    if min(counts.shape) < 2:
        return np.nan, len(pairs)
    n, rows, columns = counts.sum(), counts.sum(1, keepdims=True), counts.sum(0, keepdims=True)
    expected = rows @ columns / n
    v = float(np.sqrt(((counts - expected) ** 2 / expected).sum() / n / (min(counts.shape) - 1)))
    signed = len(task.classes) == len(other.classes) == 2 and counts[1, 1] < expected[1, 1]
    return -v if signed else v, len(pairs)


class Weights(NamedTuple):
    """Raw weights of a probe, (rows, d), those of probes of permuted labels, and the covariance of its train features, (d, d)."""

    weights: Values
    null: Sequence[Values]
    covariance: Values


@dataclass(frozen=True)
class Drawn:
    """Fits of the cells of a table with true and permuted labels, each cell once."""

    refit: Refit
    draws: int
    seed: int
    _kept: dict[str, Weights] = field(default_factory=dict, init=False, repr=False, compare=False)

    def of(self, key: str) -> Weights:
        """The weights of a cell.

        Raises:
            ConfigError: its probe is not linear, or has no single C.
        """
        if key not in self._kept:
            self._kept[key] = self._fitted(key, self.refit.cells[key])
        return self._kept[key]

    def _fitted(self, key: str, cell: Cell) -> Weights:
        task, protocol = cell.task, _at_chosen(self.refit.results, key, cell)
        assert cell.encoder is not None
        texts = [*task.train.texts, *task.dev.texts]
        vectors = self.refit.store.vectors(cell.encoder, texts, [cell.place.pooling])
        train, dev = (vectors.of(split).get(cell.place) for split in (task.train, task.dev))
        rng = np.random.default_rng([self.seed, int(key_of({"cell": key})[:12], 16)])
        sets = {"true": SplitLabels(task.train.labels, task.dev.labels)}
        sets |= {f"permuted:{k}": SplitLabels(rng.permutation(task.train.labels), task.dev.labels) for k in range(self.draws)}
        blocks = SplitFeatures(train, dev, dev, np.lexsort((task.train.strata, task.train.lengths)))
        with foreign(f"probe {protocol.name}"):
            fits = protocol.fit(lambda _: blocks, [cell.place], sets, task.name, len(task.classes), cell.own.seed)
            models = {name: result.model and result.model() for _, name, result in fits}
        if not all(hasattr(model, "coef_") for model in models.values()):
            raise ConfigError(f"directions: probe {protocol.name} has no weights (coef_); take a linear one, such as fast")
        weights = [np.atleast_2d(np.asarray(models[name].coef_, np.float64)) for name in sets]
        x = train.astype(np.float64) - train.mean(0, dtype=np.float64)
        return Weights(weights[0], weights[1:], x.T @ x / len(x))


def _at_chosen(results: ResultStore, key: str, cell: Cell) -> Any:
    """The protocol of a cell at the C that it chose."""
    assert isinstance(cell.measure, Probe)
    protocol: Any = cell.measure.protocol
    chosen = json.loads(results.state(key)[1]["rows"][0]["facets"]["chosen"])
    own: Iterable[str] = [one.name for one in fields(protocol)] if is_dataclass(protocol) else []
    if set(chosen) != {"C"} or "grid" not in own:
        raise ConfigError(
            f"directions: probe {protocol.name} has no single C (it chose {chosen}); take fast, sklearn or senteval-logreg"
        )
    return replace(protocol, grid=[chosen["C"]], **({"by_classes": False} if "by_classes" in own else {}))
