"""Which layer, which encoder, at a fraction of the cost: samples of the tasks grow until the intervals are as narrow as asked.

What `precision` (accuracy points) promises. Let b be the layer and pooling with the best dev accuracy, averaged over the tasks, and
d_j the mean over the tasks of the difference of test accuracy between b and another one, j, on the same test sentences. The run
stops when every j is either *separated* from b (0 is outside d_j's simultaneous interval) or *within precision*: the half-width of
d_j's 95 % interval is at most `precision`. One task alone: d_j is that task's. Of several encoders each is decided so among its own
layers, and their bests against the best of them. The intervals of a single task stand in the answer and are wider, by about the
square root of the number of tasks.

Why it is cheap. Differences are paired: only sentences that one of the two has right and the other wrong count (standard error of
Agresti & Min 2005, summed over tasks). And every sentence that is extracted chooses or reports: n train sentences of each task,
stratified and nested, are cross-validated in ten parts (`Task.cross_validated`), of which two choose and eight report; the mean
over the eight has about the interval of as many independent sentences (Bayle et al. 2020; see `DEPENDENCE`). Few sentences are
enough to choose: a choice that is off costs what the layer lacks, and no statement of the answer is less true for it. Dev and test
splits stay untouched, for the run that is to be published. A round extracts only what is new; n starts at `START`, is doubled,
then grows to what the widths call for, at most twofold in a round.

What holds at any look. No sentence on which b is chosen is among those on which b is compared, so that b is given, and the columns
less one are the comparisons of a family: those of an encoder, or the bests of several encoders. A run is looked at after every
round, and stops when the answer is there; so round r has 0.05 / 2^r, 0.05 in all. At this level b is separated from others (divided
by the number of comparisons, for each family), a task's layers are told from its best one (Holm), and the intervals of accuracies
are made. Half-widths are those of 95 %: to stop on a width needs no correction (Chow & Robbins 1965), since it does not depend on
the sign of d_j. Where every train split is used up, widths cannot shrink any more: the run stops there (*data exhausted*), and the
answer says how wide they are. `scripts/calibration_folds.py` measures all this where no layer is better.

The preset `flash` fits all layers of a task at one C, 0.01 (K - 1) for K classes, since each class has a K-th of the sentences for
weights of its own. Where each layer gets its own C (`fast`), one that knows little is best on dev with everything in the majority
class, and how little it knows is not seen (MiniLM on BigramShift, six samples of 1,400: mean tau 0.80 with a C for each layer, 1.00
at 0.01, 0.98 at 0.1 and 1). At 0.01 for any K, layers of WordContent that need a weak penalty stood too low (tau 0.87 in each of
three samples).

A small train split may rank layers otherwise than a large one. Two guards: the run does not stop before the best layer of the
round, on every task, was among those tied with the best of the round before; and where a class would have fewer than `SHOTS` train
sentences, classes are drawn instead of sentences (measured on 1,000 classes: one sentence a class ranks the layers falsely, 100
classes with fourteen each as all the data do). What the guards do not exclude: a ranking that turns only at sizes never seen.

Cells of a round are ordinary cells. Left out: other sizes for other tasks, and dropping layers on the way, since all come out of
one pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from probing.data.task import Task
from probing.encoders.base import Encoder
from probing.errors import ConfigError
from probing.evaluation.engine import compute, plan, table_of
from probing.evaluation.evaluate import stores
from probing.evaluation.paired_tests import holm, paired_difference
from probing.evaluation.request import Request
from probing.evaluation.statistics import mean_of, wilson
from probing.evaluation.table import ResultTable
from probing.log import info
from probing.probes.base import ProbeProtocol
from probing.store.results import ResultStore
from probing.store.vectors import Store

START = 720
"""Half of what is read before an answer: with under a thousand train sentences MiniLM's layers hardly differ on BigramShift."""
FOLDS = 10
CHOOSING = 2
"""Parts of the ten that choose: with five a width needs 1.3 times the sentences, what they are less dependent counted."""
SHOTS = 10
DEPENDENCE = 1.25
"""What standard errors of differences are multiplied by. Sentences that report are not quite independent: each trains fits that
test others, and fits differ by more than their test sentences tell. Where no layer is better, differences of layers varied 1.10 to
1.24 times as much as independent sentences would (120 to 360 of them, 640 and 1,280 sentences, 384 dims, `flash` and `fast`)."""
CHEAP_FLOORS = ("majority", "length", "nb-unigram")
_Z = NormalDist().inv_cdf(0.975)
_KEY = ["encoder", "pooling", "layer"]


@dataclass(frozen=True)
class Flash:
    """What was found.

    Attributes:
        answers: a line per encoder and task, and one for their mean: best layer and pooling (by dev), test accuracy (0-1) with its
            interval, `tied` layers, sizes, the widest half-width among what is not separated (points), and why it stopped there.
        rounds: a line per round, encoder, layer and pooling: mean accuracies, difference to the best of the mean, its half-width
            (points), whether it is separated, and the `family` of the comparison: the encoder, or "encoders" for their bests.
        tasks: the samples of the last round.
        table: its rows.
    """

    answers: pd.DataFrame
    rounds: pd.DataFrame
    tasks: tuple[Task, ...]
    table: ResultTable

    def write(self, folder: Path) -> None:
        """flash.csv, flash-rounds.csv and flash.md."""
        answers = self.answers.assign(tied=[" ".join(map(str, layers)) for layers in self.answers.tied])
        answers.to_csv(folder / "flash.csv", index=False)
        self.rounds.to_csv(folder / "flash-rounds.csv", index=False)
        head = "| task | encoder | layer | tied layers | accuracy | interval | train / dev / test | classes | of all | ± | why |"
        lines = ["# Flash", "", _NOTE, "", head, "|---" * 11 + "|"]
        for row in answers.itertuples():
            interval = f"{100 * row.accuracy_low:.1f}–{100 * row.accuracy_high:.1f}"
            lines.append(
                f"| {row.task} | {row.encoder} | {row.layer} {row.pooling} | {row.tied} | {100 * row.accuracy:.1f} | {interval} | "
                f"{row.n_train} / {row.n_dev} / {row.n_test} | {row.n_classes} | {100 * row.share:.0f} % | {row.half_width:.1f} | "
                f"{row.why} |"
            )
        rounds = self.rounds[self.rounds["round"] == self.rounds["round"].max()] if len(self.rounds) else ()
        for row in rounds[rounds.family == "encoders"].itertuples() if len(rounds) else ():
            said = "separated" if row.separated else "not separated"
            lines += ["", f"{row.encoder} {row.pooling} {row.layer}: {row.difference:.1f} points below {row.against} in the mean, "
                      f"± {row.half_width:.1f}: {said}."]  # fmt: skip
        (folder / "flash.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


_NOTE = """Samples of the tasks, grown until the differences of layers, averaged over the tasks, were as precise as asked for.
Accuracies are those of a cross-validation on sentences of the train split, to rank with and not to publish; unless asked otherwise
all layers of a task are fitted at one C, 0.01 times its classes less one. Some of the sentences choose the layer (dev), the others
report (test); train: of one fit. Tied: a task's, after Holm; the mean's, not separated. Tests and intervals
are at 0.05 / 2^r in round r, so that they hold with 95 % over all rounds. ±: half-width of the widest 95 % interval of a
difference to the best among the layers that are not separated, in points. Of all: share of the task's sentences that was used."""


def flash(
    tasks: Sequence[Task],
    encoders: Sequence[Encoder],
    *,
    store: Store | str | Path,
    precision: float = 1.0,
    cells: ResultStore | str | Path | None = None,
    probe: ProbeProtocol | str = "flash",
    layers: Iterable[int] | None = None,
    poolings: Iterable[str] | None = ("mean",),
    seed: int = 0,
    controls: Iterable[str] = (),
    floors: Iterable[str] = CHEAP_FLOORS,
) -> Flash:
    """Finds the best layers on samples that grow until `precision` (accuracy points) is reached; see the module.

    The other arguments are `evaluate`'s; controls and floors are measured on the last samples only.

    Raises:
        ConfigError: a precision that is no number above 0, or bad arguments of `evaluate`.
    """
    store, results = stores(store, cells)
    request = Request.of(probe, layers, poolings, (seed,), controls, floors, store_dtype=store.dtype)
    found = search(tasks, encoders, request, precision, store, results)
    planned = plan(found.tasks, encoders, request, store)
    compute(planned, store, results)
    return replace(found, table=table_of([cell.row for cell in planned], results))


def search(
    tasks: Sequence[Task],
    encoders: Sequence[Encoder],
    request: Request,
    precision: float,
    store: Store,
    results: ResultStore,
    force: bool = False,
) -> Flash:
    """The rounds. Floors and controls of `request` are left to the caller, who plans them on the samples that are returned.

    Raises:
        ConfigError: a precision that is no number above 0, a train size beside it, or several seeds.
    """
    check(precision, request)
    [seed] = request.seeds
    bare = replace(request, floors=(), controls=())
    n, records, before = START, [], None
    for number in range(1, 100):
        samples = tuple(sample(task, n, seed) for task in tasks)
        planned = plan(samples, encoders, bare, store)
        info(f"flash, round {number}: n = {n}")
        compute(planned, store, results, force)
        found = table_of([cell.row for cell in planned], results)
        if (found.frame.status != "done").any():
            answers = _answers(tasks, samples, found, None, _spent(number), precision, "cells failed")
            return Flash(answers, pd.DataFrame(records), samples, found)
        state = Round.of(found, number, precision)
        records += [{"round": number, "n": n} | line for line in state.lines]
        whole = all(n >= len(task.train) for task in tasks)
        if whole or (state.wanting <= 1 and before is not None and state.steady(before)):
            why = "data exhausted" if state.wanting > 1 else "within precision" if state.wanting else "separated"
            answers = _answers(tasks, samples, found, state, _spent(number), precision, why)
            return Flash(answers, pd.DataFrame(records), samples, found)
        wanted = 2.0 if before is None or state.wanting <= 1 else min(2.0, max(1.1, 1.05 * state.wanting))
        n, before = math.ceil(wanted * n), state
    raise AssertionError("samples that grow reach the whole")  # 1.1^99 is 12,527


def check(precision: Any, request: Request) -> None:
    """
    Raises:
        ConfigError: see `search`.
    """
    if isinstance(precision, bool) or not isinstance(precision, (int, float)) or not 0 < precision < math.inf:
        raise ConfigError(f"precision={precision!r} must be a number of accuracy points above 0, such as 1.0")
    if len(request.seeds) > 1:
        raise ConfigError(
            f"precision={precision:g} takes one seed, not seed={list(request.seeds)}: it draws one sample of each task"
        )
    if request.train_size is not None:
        raise ConfigError(
            f"precision={precision:g} finds the sizes itself: leave out data.train_size={request.train_size}, or set precision=null"
        )


def sample(task: Task, n: int, seed: int) -> Task:
    """About n train sentences to cross-validate, or all; fewer classes where a fold would train on less than `SHOTS` of one.

    Samples of one seed are nested: of drawn classes the sentences are those that all classes would have at `SHOTS` a class.
    """
    shots = min(SHOTS / (1 - 2 / FOLDS), len(task.train) / len(task.classes))
    least = math.ceil(shots * len(task.classes))
    alone = replace(task, dev=task.train, test=task.train)  # classes are drawn by what train holds
    part = alone.subset(max(n, least), seed).with_classes(max(2, int(n / shots)), seed)
    return part.cross_validated(FOLDS, seed, CHOOSING)


def _spent(number: int) -> float:
    """The level of every statement of a round: over all rounds, 1, 2, …, it comes to 0.05."""
    return 0.05 / 2**number


@dataclass(frozen=True)
class Round:
    """One round: what its rows decide.

    Attributes:
        best: (encoder, pooling, layer) of the best layer of each encoder, averaged over the tasks.
        lines: every layer and pooling beside the best (see `Flash.rounds`).
        wanting: the largest squared ratio of half-width and precision among what is not separated; 0 where everything is.
        leaders: the best (encoder, pooling, layer) of each task; ties: all that are tied with them.
    """

    best: tuple[tuple, ...]
    lines: tuple[dict[str, Any], ...]
    wanting: float
    leaders: frozenset
    ties: frozenset

    @classmethod
    def of(cls, found: ResultTable, number: int, precision: float) -> Round:
        frame = found.frame
        mean = frame.groupby(_KEY)[["dev_accuracy", "accuracy"]].mean().sort_values("dev_accuracy", ascending=False, kind="stable")
        best = tuple(mean[mean.index.get_level_values("encoder") == encoder].index[0] for encoder in found.encoders)
        families = [(first[0], first, [key for key in mean.index if key[0] == first[0]]) for first in best]
        top = max(best, key=lambda key: mean.dev_accuracy[key])
        families += [("encoders", top, [key for key in best if key != top])] if len(best) > 1 else []
        lines, cells = [], _cells(frame)
        for family, first, keys in families:
            alpha = _spent(number) / max(1, sum(key != first for key in keys))
            for key in keys:
                line = dict(zip(_KEY, key, strict=True)) | {"against": " ".join(map(str, first)), **mean.loc[key], "family": family}
                difference = _difference(cells, found, first, key)
                lines.append(line | difference | {"separated": difference["p"] < alpha})
        wanting = max(((line["half_width"] / precision) ** 2 for line in lines if not line["separated"]), default=0.0)
        ties = _ties(found, _spent(number))
        leaders = frozenset((task, *first) for (task, _), (first, _) in ties.items())
        tied = frozenset((task, *key) for (task, _), (_, keys) in ties.items() for key in keys)
        return cls(best, tuple(lines), wanting, leaders, tied)

    def steady(self, before: Round) -> bool:
        """Whether the best layer of this round was, on every task, tied with the best of the round before."""
        return self.leaders <= before.ties


Cellmap = Mapping[tuple, Mapping[str, str]]
"""(encoder, pooling, layer) -> task -> cell."""


def _cells(frame: pd.DataFrame) -> Cellmap:
    found: dict[tuple, dict[str, str]] = {}
    for *key, task, cell in frame[[*_KEY, "task", "cell"]].itertuples(index=False, name=None):
        found.setdefault(tuple(key), {})[task] = cell
    return found


def _difference(cells: Cellmap, found: ResultTable, first: tuple, key: tuple) -> dict[str, float]:
    """How much worse a column is than `first`, over the tasks that have both: points, 95 % half-width, two-sided p-value."""
    if key == first:
        return {"difference": 0.0, "half_width": 0.0, "p": 1.0}
    tasks = [task for task in cells[first] if task in cells[key]]
    right = [[np.equal(*found.predictions(cells[column][task])) for task in tasks] for column in (first, key)]
    value, error = paired_difference(*right, [found.groups(cells[first][task]) for task in tasks])
    error *= DEPENDENCE
    return {"difference": 100 * value, "half_width": 100 * _Z * error, "p": 2 * NormalDist().cdf(-abs(value) / error)}


def _ties(found: ResultTable, alpha: float) -> dict[tuple[str, str], tuple[tuple, list[tuple]]]:
    """By task and encoder: the best (encoder, pooling, layer) on dev, and what is not told from it at `alpha` after Holm."""
    ties = {}
    done = found.frame[found.frame.status == "done"].sort_values(["pooling", "layer"])
    for by, part in done.sort_values("dev_accuracy", ascending=False, kind="stable").groupby(["task", "encoder"], sort=False):
        cells = _cells(part)
        first, *others = cells
        p = holm([_difference(cells, found, first, key)["p"] for key in others])
        ties[by] = first, [first, *(key for key, one in zip(others, p, strict=True) if one >= alpha)]
    return ties


def _answers(
    tasks: Sequence[Task],
    samples: Sequence[Task],
    found: ResultTable,
    state: Round | None,
    alpha: float,
    precision: float,
    why: str,
) -> pd.DataFrame:
    whole = {task.name: sum(map(len, task.splits.values())) for task in tasks}
    drawn = {task.name: task for task in samples}

    def interval(cells: Iterable[str]) -> dict[str, float]:
        right = [np.equal(*found.predictions(cell)) for cell in cells]
        value = mean_of([wilson(int(one.sum()), len(one), alpha) for one in right])
        return {"accuracy": value.value, "accuracy_low": value.lower, "accuracy_high": value.upper}

    lines = []
    best = found.best() if len(found.frame) else ()
    ties = _ties(found, alpha)
    for row in best[best.seeds > 0].itertuples() if len(best) else ():  # without a finished layer there is no answer
        part = drawn[row.task]
        sizes = {f"n_{name}": len(split) for name, split in part.splits.items()} | {"n_classes": len(part.classes)}
        share = (len(part.dev) + len(part.test)) / whole[row.task]
        mine = _cells(found.frame[found.frame.task == row.task])
        first, tied = ties[row.task, row.encoder]
        widths = [_difference(mine, found, first, key)["half_width"] for key in tied]
        own = "separated" if len(tied) == 1 else "within precision" if max(widths) <= precision else ""
        own = own if not row.missing else ""
        reason = own or (f"mean {why}" if len(tasks) > 1 else why)
        line = {"task": row.task, "encoder": row.encoder, "layer": row.layer, "pooling": row.pooling}
        line["tied"] = sorted(layer for _, pooling, layer in tied if pooling == row.pooling)
        line |= interval([row.cell])
        lines.append(line | sizes | {"share": share, "half_width": max(widths), "why": reason})
    for key in state.best if state is not None and len(tasks) > 1 else ():
        encoder, pooling, layer = key
        tied = [line for line in state.lines if line["family"] == encoder and not line["separated"]]
        line = {"task": f"mean of {len(tasks)} tasks", "encoder": encoder, "layer": layer, "pooling": pooling}
        line["tied"] = sorted(line["layer"] for line in tied if line["pooling"] == pooling)
        line |= interval(_cells(found.frame)[key].values())
        sizes = {f"n_{name}": sum(len(part.splits[name]) for part in samples) for name in ("train", "dev", "test")}
        sizes |= {"n_classes": sum(len(part.classes) for part in samples)}
        sizes["share"] = (sizes["n_dev"] + sizes["n_test"]) / sum(whole.values())
        lines.append(line | sizes | {"half_width": max(line["half_width"] for line in tied), "why": why})
    return pd.DataFrame(lines)
