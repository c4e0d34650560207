"""`probing explain CELL --answer SENTENCE`: the training items with most influence on a probe's answer.

The probe is solved again in float64 on the stored vectors (`probing.attributions.examples`); the recorded answers are compared with
its own. Items are listed by their influence, those whose loss would lower the log-odds of the answer first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from probing.attributions.examples import LogisticProbe
from probing.data.split import Split
from probing.errors import ConfigError, DataError
from probing.evaluation.folds import FoldData
from probing.evaluation.measure import Cell
from probing.evaluation.probe import Probe, label_set
from probing.evaluation.rows import scores_of
from probing.evaluation.runs import Run, rows_that_show
from probing.jobs import planned_again
from probing.probes.logistic import Design
from probing.probes.path import LogisticPath
from probing.report.card import Card
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.types import Values

SHOWN = 4
"""Training items on each side."""

SOLVED_AGAIN = 1500
"""Numbers in a probe's theta up to which it is solved again without each item that is shown, for the true change."""


class Read(NamedTuple):
    """The probe of a cell in float64, its training items, and how items become its features."""

    probe: LogisticProbe
    train: Split
    design: Design
    test: np.ndarray

    def features(self, x: np.ndarray) -> Values:
        """Vectors (m, d) as the probe reads them, with a last column of ones: (m, d + 1)."""
        return np.c_[self.design.transform(x).double().numpy(), np.ones(len(x))]


def influences(key: str, home: Path, answer: str) -> Card:
    """The answer to a sentence, and the training items with most influence on it, in lines of a card.

    Args:
        key: of a finished cell in `home`.
        answer: the number of a test item, from 0; or a sentence, of the test split or not.

    Raises:
        ConfigError: no L2 logistic probe of one fit; no such item; too many weights for a Hessian.
        DataError: the run that made it cannot be planned again, or its data changed.
    """
    results = ResultStore(home / "cells")
    record = results.find(key)
    cell, store = _planned(record["key"], home)
    read = _solved(cell, store, record)
    gold, recorded = results.predictions(record["key"])
    names = cell.task.classes
    item, title = _item(cell, store, read, answer)
    best, second, target = read.probe.target(item)
    influence, (shares, rest) = read.probe.influence(item, target), read.probe.representers(item, target)
    value = float(shares.sum()) + rest
    own = np.array([read.probe.target(one)[0] for one in read.features(read.test)])
    agree = int((own == recorded).sum())
    if agree < 0.99 * len(own):
        raise DataError(
            f"cell {record['key']}: the probe solved again gives {len(own) - agree} of {len(own)} test items another class than "
            "was recorded: the data or the encoder changed; run the same command again"
        )
    lines = [
        ("item", title),
        ("answer", f"{names[best]} rather than {names[second]}: log-odds {value:.3f}, of which {rest:.3f} of the intercept"),
        ("probe", f"solved again in float64: {agree} of {len(own)} test items as recorded, {len(read.train)} training items"),
        ("", "without the item: log-odds change by (estimate / true); its share of the log-odds; its label"),
    ]
    exact = read.probe.theta.size <= SOLVED_AGAIN
    for side, order in (("for", np.argsort(influence, kind="stable")), ("against", np.argsort(-influence, kind="stable"))):
        for k in order[: min(SHOWN, len(order) // 2)]:
            true = f"{read.probe.change_without(int(k), item, target):+.4f}" if exact else "not solved"
            label = names[read.probe.y[k]]
            lines.append((side, f"{influence[k]:+.4f} / {true}  {shares[k]:+.4f}  {label}  {read.train.places[k]}"))
    return lines


def _planned(key: str, home: Path) -> tuple[Cell, Store]:
    """The cell of a run in `home`, planned again from the run's configuration."""
    shown = rows_that_show(key, home)
    if not shown:
        raise DataError(f"no run in {home} shows cell {key}, so its data is not known: run the command that made it again")
    run = Run.read(home / "runs" / shown[0]["run"])
    planned, store = planned_again(run.config, home)
    for cell in planned:
        if cell.key == key:
            return cell, store
    raise DataError(
        f"{run.folder} planned again has no cell {key}: its data, encoder or options changed; run the same command again"
    )


def _solved(cell: Cell, store: Store, record: Mapping[str, Any]) -> Read:
    """The probe of a cell at the C of its record."""
    measure, task = cell.measure, cell.task
    protocol = measure.protocol if isinstance(measure, Probe) else None
    if not isinstance(protocol, LogisticPath) or cell.column is None or cell.encoder is None:
        name = cell.row.encoder if protocol is None or cell.column is None else protocol.name
        raise ConfigError(f"--answer reads L2 logistic probes of an encoder (probe=fast, sklearn); this cell is of {name}")
    if task.folds:
        raise ConfigError(f"{task.name} is cross-validated: it has a probe for each of {len(task.folds)} folds, and no single one")
    if record["status"] != "done":
        raise ConfigError(f"cell {record['key']} is not finished, so it has no answers: run the command that made it again")
    texts = [text for split in task.splits.values() for text in split.texts]
    vectors = store.vectors(cell.encoder, texts, [cell.column.pooling])
    part = FoldData.of(task, task, [label_set(cell)], cell.own.half)
    train = task.train.rows(part.rows[0]) if part.rows else task.train
    x, labels = vectors.of(train).get(cell.column), part.label_sets[label_set(cell)].train
    design = Design.prepare(x, protocol.standardize)
    features = np.c_[design.transform(x).double().numpy(), np.ones(len(x))]
    penalty = np.r_[np.full(x.shape[1], 1 / json.loads(scores_of(record)["facets"]["chosen"])["C"]), 0.0]
    probe = LogisticProbe.fit(features, labels, len(task.classes), penalty)
    return Read(probe, train, design, vectors.of(task.test).get(cell.column))


def _item(cell: Cell, store: Store, read: Read, answer: str) -> tuple[Values, str]:
    """The features (d + 1,) of an item, and its name."""
    test, column = cell.task.test, cell.place
    if re.fullmatch(r"[+-]?[0-9]+", answer.strip()):
        if not 0 <= int(answer) < len(test):
            raise ConfigError(f"--answer {answer}: {cell.task.name} has the test items 0 to {len(test) - 1}")
        k = int(answer)
    elif answer in test.places:
        k = test.places.index(answer)
    elif cell.task.of_words or not answer.strip():
        raise ConfigError(f"--answer {answer!r}: give the number of a test item of {cell.task.name}, 0 to {len(test) - 1}")
    else:
        assert cell.encoder is not None
        x = store.vectors(cell.encoder, [answer], [column.pooling]).of(Split((answer,), np.zeros(1, np.int64))).get(column)
        return read.features(x)[0], f"{answer} (not in test)"
    gold = cell.task.classes[test.labels[k]]
    return read.features(read.test[k : k + 1])[0], f"{test.places[k]} (test item {k}, label {gold})"
