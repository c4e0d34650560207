"""Finds the best layers on samples of the tasks, which grow until the intervals of differences are narrow enough ("flash").

Let b be the layer and pooling with the best dev accuracy, averaged over the tasks, and d_j the mean over the tasks of the
difference of test accuracy between b and another one, j, on the same test sentences. The search stops when every j is either
*separated* from b (0 is outside d_j's simultaneous interval) or *within precision*: the half-width of d_j's 95 % interval is
at most `precision` points. For several encoders this holds for the layers of each, and for their bests against the best of
them. It also stops, *data exhausted*, when all train splits are used up.

n train sentences of each task, stratified and nested, are cross-validated in ten parts (`Task.cross_validated`), of which two
choose and eight report (Bayle et al. 2020; see `DEPENDENCE`). n starts at `START`, is doubled, then grows to the size that the
widths need, at most twofold in a round. Dev and test splits stay untouched. Differences are paired (standard error of Agresti
& Min 2005, summed over tasks). With groups of sentences the error is that between groups, quantiles are t's, and nothing is
separated where the sign-flip test of so many groups could not reach the level.

Round r tests at the level 0.05 / 2^r: separation from b (divided by the number of comparisons of the family: the layers of an
encoder, or the bests of several encoders), ties within a task (Holm), intervals of accuracies. Half-widths are those of 95 %:
stopping by a width needs no correction (Chow & Robbins 1965). The search does not stop before the best layer of the round was,
on every task, tied with the best of the round before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import t

from probing.data.frames import as_tasks
from probing.data.task import Task
from probing.encoders.base import Encoder
from probing.encoders.given import as_encoders
from probing.errors import ConfigError
from probing.evaluation.evaluate import compute, stores, table_of
from probing.evaluation.paired_tests import DEPENDENCE, holm, paired_difference
from probing.evaluation.planning import plan
from probing.evaluation.request import Request
from probing.evaluation.statistics import mean_accuracy, mean_of, n_units
from probing.evaluation.table import ResultTable
from probing.log import info
from probing.store.results import ResultStore
from probing.store.vectors import Store

START = 720
"""Half of the sentences that are read before an answer; smaller samples hardly separate layers."""
FOLDS, CHOOSING = 10, 2
"""Parts, and those that choose: with five of ten a width needs 1.3 times the sentences, even though they are less dependent."""
SHOTS = 10
CHEAP_FLOORS = ("majority", "length", "nb-unigram")
_KEY = ["encoder", "pooling", "layer"]
Key = tuple[Any, ...]
_NOTE = """Samples of the tasks, grown until differences of layers, averaged over tasks, were as precise as asked for. Accuracies
are cross-validated on the train split, to rank with and not to publish; by default all layers of a task are fitted at one C, 0.01
times the number of classes less one. Some sentences choose the layer (dev), others report (test); train: of one fit. Tied:
layer/pooling, the best among them; of a task, after Holm's correction; of the mean, those that are not separated. Tests and
intervals are at 0.05 / 2^r in round r, so that they hold with 95 % over all rounds, and go over groups where sentences have
groups; with few groups the interval of an accuracy is too narrow (12: 83 of 100 hold the truth, 40: 96). ±: half-width of the
widest 95 % interval of a difference to the best of those not separated, in points. Of all: share of the task's sentences used.
"""


@dataclass(frozen=True)
class Flash:
    """The result of `probing.flash`.

    Attributes:
        answers: a line per encoder and task, and one for the mean over tasks: best layer and pooling (by dev), test accuracy
            (0-1) with its interval, `tied` pairs (layer, pooling), sizes, the widest half-width (points), why it stopped.
        rounds: a line per round, encoder, layer and pooling: mean accuracies, difference to the best of the mean, half-width
            (points), whether it is separated, and the `family` of the comparison: the encoder, or "encoders" for their bests.
        tasks, table: the samples of the last round, and their rows.
    """

    answers: pd.DataFrame
    rounds: pd.DataFrame
    tasks: tuple[Task, ...]
    table: ResultTable

    def write(self, folder: Path) -> None:
        tied = [" ".join(f"{layer}/{pooling}" for layer, pooling in columns) for columns in self.answers.tied]
        answers = self.answers.assign(tied=tied)
        answers.to_csv(folder / "flash.csv", index=False)
        self.rounds.to_csv(folder / "flash-rounds.csv", index=False)
        head = "| task | encoder | layer | tied | accuracy | interval | train / dev / test | classes | of all | ± | why |"
        lines = ["# Flash", "", _NOTE, head, "|---" * 11 + "|"]
        for row in answers.itertuples():
            interval = f"{100 * row.accuracy_low:.1f}–{100 * row.accuracy_high:.1f}"
            lines.append(
                f"| {row.task} | {row.encoder} | {row.layer} {row.pooling} | {row.tied} | {100 * row.accuracy:.1f} | {interval} | "
                f"{row.n_train} / {row.n_dev} / {row.n_test} | {row.n_classes} | {100 * row.share:.0f} % | {row.half_width:.1f} | "
                f"{row.why} |"
            )
        last = self.rounds[self.rounds["round"] == self.rounds["round"].max()] if len(self.rounds) else self.rounds
        for row in last[last.family == "encoders"].itertuples() if len(last) else ():
            verdict, side = "separated" if row.separated else "not separated", "above" if row.difference < 0 else "below"
            difference = f"{abs(row.difference):.1f} points {side} {row.against} in the mean, ± {row.half_width:.1f}"
            lines += ["", f"{row.encoder} {row.pooling} {row.layer}: {difference}: {verdict}."]
        (folder / "flash.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def flash(
    tasks: Any,
    encoders: Any,
    *,
    data: Any = None,
    store: Store | str | Path | None = None,
    precision: float = 1.0,
    cells: ResultStore | str | Path | None = None,
    probe: Any = "flash",
    layers: int | Iterable[int] | None = None,
    poolings: str | Iterable[str] | None = "mean",
    seed: int = 0,
    controls: str | Iterable[str] | None = (),
    floors: str | Iterable[str] | None = CHEAP_FLOORS,
) -> Flash:
    """Find the best layers on samples that grow until `precision` (accuracy points, a number above 0) is reached; see the module.
    The other arguments are `evaluate`'s; controls and floors are measured on the last samples only."""
    store, results = stores(store, cells)
    tasks, encoders = as_tasks(tasks, data), as_encoders(encoders)
    request = Request.of(probe, layers, poolings, (seed,), controls, floors, store_dtype=store.dtype)
    result = search(tasks, encoders, request, precision, store, results)
    planned = plan(result.tasks, encoders, request, store)
    compute(planned, store, results)
    return replace(result, table=table_of([cell.row for cell in planned], results))


def search(
    tasks: Sequence[Task],
    encoders: Sequence[Encoder],
    request: Request,
    precision: float,
    store: Store,
    results: ResultStore,
    force: bool = False,
) -> Flash:
    """Run the rounds, without floors and controls of `request`: the caller plans these on the samples that are returned."""
    check(precision, request)
    for task in tasks:
        task.need_classes("flash")
    [seed] = request.seeds
    bare = replace(request, floors=(), controls=())
    n, records, largest = START, list[dict[str, Any]](), max((len(task.train) for task in tasks), default=0)
    previous: Round | None = None
    for number in range(1, 100):
        samples = tuple(sample(task, n, seed) for task in tasks)
        planned = plan(samples, encoders, bare, store)
        info(f"flash, round {number}: n = {min(n, largest)}")
        compute(planned, store, results, force)
        table = table_of([cell.row for cell in planned], results)
        if (table.frame.status != "done").any():
            answers = _answers(tasks, samples, table, None, _level(number), precision, "cells failed")
            return Flash(answers, pd.DataFrame(records), samples, table)
        current = Round.of(table, number, precision)
        records += [{"round": number, "n": min(n, largest)} | line for line in current.lines]
        exhausted = n >= largest
        if exhausted or (current.growth <= 1 and previous is not None and current.steady(previous)):
            why = "data exhausted" if current.growth > 1 else "within precision" if current.growth else "separated"
            answers = _answers(tasks, samples, table, current, _level(number), precision, why)
            return Flash(answers, pd.DataFrame(records), samples, table)
        factor = 2.0 if previous is None or current.growth <= 1 else min(2.0, max(1.1, 1.05 * current.growth))
        n, previous = math.ceil(factor * n), current
    raise AssertionError("1.1^99 is 12,527: samples that grow reach the whole")


def check(precision: Any, request: Request) -> None:
    """Raise a `ConfigError` if the precision is no number above 0, or the request has a train size or several seeds."""
    if isinstance(precision, bool) or not isinstance(precision, (int, float)) or not 0 < precision < math.inf:
        raise ConfigError(f"precision={precision!r} must be a number of accuracy points above 0, such as 1.0")
    if len(request.seeds) > 1:
        raise ConfigError(f"precision={precision:g} takes one seed, for one sample of each task, not seed={list(request.seeds)}")
    if request.resample:
        raise ConfigError(f"precision={precision:g} cross-validates its samples: set resample=null, or precision=null")
    if request.train_size is not None:
        size = f"data.train_size={request.train_size}"
        raise ConfigError(f"precision={precision:g} finds the sizes itself: leave out {size}, or set precision=null")


def sample(task: Task, n: int, seed: int) -> Task:
    """Return about n train sentences (or all) to cross-validate, of fewer classes if a fold would train on under `SHOTS` of one.
    Samples of one seed are nested: drawn classes keep the sentences that they would have among all classes."""
    shots = min(SHOTS / (1 - 2 / FOLDS), len(task.train) / len(task.classes))
    smallest = math.ceil(shots * len(task.classes))
    train_only = replace(task, dev=task.train, test=task.train)  # classes are drawn by their train sentences
    part = train_only.subset(max(n, smallest), seed).with_classes(max(2, int(n / shots)), seed)
    return part.cross_validated(FOLDS, seed, CHOOSING)


def _level(number: int) -> float:
    return 0.05 / 2.0**number


@dataclass(frozen=True)
class Round:
    """The comparisons of one round: the best (encoder, pooling, layer) of each encoder, averaged over the tasks; lines (see
    `Flash.rounds`); `growth`, the largest squared ratio of half-width and precision among the layers that are not separated,
    or 0; and the best of each task, the leaders, with all that are tied with them."""

    best: tuple[Key, ...]
    lines: tuple[dict[str, Any], ...]
    growth: float
    leaders: frozenset[Key]
    ties: frozenset[Key]

    @classmethod
    def of(cls, table: ResultTable, number: int, precision: float) -> Round:
        frame = table.frame
        mean = frame.groupby(_KEY)[["dev_accuracy", "accuracy"]].mean().sort_values("dev_accuracy", ascending=False, kind="stable")
        best = tuple(mean[mean.index.get_level_values("encoder") == encoder].index[0] for encoder in table.encoders)
        families = [(first[0], first, [key for key in mean.index if key[0] == first[0]]) for first in best]
        top = max(best, key=lambda key: mean.dev_accuracy[key])
        families += [("encoders", top, [key for key in best if key != top])] if len(best) > 1 else []
        lines, cells = [], _cells(frame)
        for family, first, keys in families:
            alpha = _level(number) / max(1, sum(key != first for key in keys))
            for key in keys:
                line = dict(zip(_KEY, key, strict=True)) | {"against": " ".join(map(str, first)), **mean.loc[key], "family": family}
                difference = _difference(cells, table, first, key)
                lines.append(line | difference | {"separated": difference["p"] < alpha})
        growth = max(((line["half_width"] / precision) ** 2 for line in lines if not line["separated"]), default=0.0)
        ties = _ties(table, _level(number))
        leaders = frozenset((task, *first) for (task, _), (first, _) in ties.items())
        tied = frozenset((task, *key) for (task, _), (_, keys) in ties.items() for key in keys)
        return cls(best, tuple(lines), growth, leaders, tied)

    def steady(self, previous: Round) -> bool:
        """Whether the best layer of this round was, on every task, tied with the best of the previous round."""
        return self.leaders <= previous.ties


def _cells(frame: pd.DataFrame) -> dict[Key, dict[str, str]]:
    """(encoder, pooling, layer) -> task -> cell."""
    cells: dict[Key, dict[str, str]] = {}
    for *key, task, cell in frame[[*_KEY, "task", "cell"]].itertuples(index=False, name=None):
        cells.setdefault(tuple(key), {})[task] = cell
    return cells


def _difference(cells: Mapping[Key, Mapping[str, str]], table: ResultTable, first: Key, key: Key) -> dict[str, float]:
    """Return how much better `first` is than a column on the tasks that have both: points, 95 % half-width, two-sided p-value."""
    if key == first:
        return {"difference": 0.0, "half_width": 0.0, "p": 1.0}
    tasks = [task for task in cells[first] if task in cells[key]]
    of_first, of_key = ([table.by_item(cells[column][task]) for task in tasks] for column in (first, key))
    groups = [table.groups(cells[first][task]) for task in tasks]
    value, error, degrees = paired_difference(of_first, of_key, groups)
    error *= DEPENDENCE
    units = sum(n_units(len(right), own) for right, own in zip(of_first, groups, strict=True))
    p = max(2 * float(t.sf(abs(value) / error, degrees)), 2.0 ** (1 - units))  # the least p-value of a sign-flip test of units
    return {"difference": 100 * value, "half_width": 100 * float(t.isf(0.025, degrees)) * error, "p": p}


def _ties(table: ResultTable, alpha: float) -> dict[tuple[str, str], tuple[Key, list[Key]]]:
    """Return by task and encoder the best (encoder, pooling, layer) on dev, and those that Holm's test does not tell from it."""
    ties = {}
    done = table.frame[table.frame.status == "done"].sort_values(["pooling", "layer"])
    for by, part in done.sort_values("dev_accuracy", ascending=False, kind="stable").groupby(["task", "encoder"], sort=False):
        cells = _cells(part)
        first, *others = cells
        p_values = holm([_difference(cells, table, first, key)["p"] for key in others])
        ties[by] = first, [first, *(key for key, p in zip(others, p_values, strict=True) if p >= alpha)]
    return ties


def _answers(
    tasks: Sequence[Task], samples: Sequence[Task], table: ResultTable, last: Round | None, alpha: float, precision: float, why: str
) -> pd.DataFrame:
    n_sentences = {task.name: sum(map(len, task.splits.values())) for task in tasks}
    sample_of = {task.name: task for task in samples}

    def answer(name: str, key: Key, tied: Iterable[Key], cells: Iterable[str], parts: Sequence[Task]) -> dict[str, Any]:
        encoder, pooling, layer = key
        accuracy = mean_of([mean_accuracy(table.by_item(cell), table.groups(cell), alpha=alpha) for cell in cells])
        line = {"task": name, "encoder": encoder, "layer": layer, "pooling": pooling}
        line["tied"] = sorted((int(layer), pooling) for _, pooling, layer in tied)
        line |= {"accuracy": accuracy.value, "accuracy_low": accuracy.lower, "accuracy_high": accuracy.upper}
        sizes = {f"n_{split}": sum(len(part.splits[split]) for part in parts) for split in ("train", "dev", "test")}
        sizes |= {"n_classes": sum(len(part.classes) for part in parts)}
        return line | sizes | {"share": (sizes["n_dev"] + sizes["n_test"]) / sum(n_sentences[part.name] for part in parts)}

    lines, ties = [], _ties(table, alpha)
    best = table.best() if len(table.frame) else table.frame
    for row in best[best.seeds > 0].itertuples() if len(best) else ():  # without a finished layer there is no answer
        cells = _cells(table.frame[table.frame.task == row.task])
        first, tied = ties[row.task, row.encoder]
        width = max(_difference(cells, table, first, key)["half_width"] for key in tied)
        separated = "separated" if len(cells) > 1 else "one layer and pooling"
        own_reason = separated if len(tied) == 1 else "within precision" if width <= precision else ""
        reason = (own_reason if not row.missing else "") or (f"mean {why}" if len(tasks) > 1 else why)
        line = answer(row.task, (row.encoder, row.pooling, row.layer), tied, [row.cell], [sample_of[row.task]])
        lines.append(line | {"half_width": width, "why": reason})
    best_of, compared = (last.best, last.lines) if last is not None and len(tasks) > 1 else ((), ())
    for key in best_of:
        close = [line for line in compared if line["family"] == key[0] and not line["separated"]]
        tied = [tuple(line[name] for name in _KEY) for line in close]
        line = answer(f"mean of {len(tasks)} tasks", key, tied, _cells(table.frame)[key].values(), samples)
        lines.append(line | {"half_width": max(line["half_width"] for line in close), "why": why})
    return pd.DataFrame(lines)
