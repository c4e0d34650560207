"""Which layer, which encoder, at a fraction of the cost: samples of the tasks grow until the intervals are as narrow as asked.

What `precision` (accuracy points) promises. Let b be the layer and pooling with the best dev accuracy, averaged over the tasks, and
d_j the mean over the tasks of the difference of test accuracy between b and another one, j, on the same test sentences. The run
stops when every j is either *separated* from b (0 is outside d_j's simultaneous interval) or *within precision*: the half-width of
d_j's 95 % interval is at most `precision`. One task alone: d_j is that task's. Of several encoders each is decided so among its own
layers, and their bests against the best of them. The intervals of a single task stand in the answer and are wider, by about the
square root of the number of tasks.

Why it is cheap. Differences are paired: only sentences that one of the two has right and the other wrong count (standard error of
Agresti & Min 2005, summed over tasks). And every sentence that is extracted is tested: n train sentences of each task, stratified
and nested, are cross-validated in ten folds, and the mean over folds has the interval of as many independent sentences (Bayle et
al. 2020). Dev and test splits stay untouched, for the run that is to be published. A round extracts only what is new; n starts
at `START`, is doubled, then grows to what the widths call for, at most twofold in a round.
A width says nothing of the sign of d_j, so stopping on it needs no correction (Chow & Robbins 1965); a separation does: in round r
it is tested at 0.05 / 2^r, divided by the number of comparisons. Where every train split is used up, widths cannot shrink any
more: the run stops there (*data exhausted*), and the answer says how wide they are.

The preset `flash` fits all layers of a task at one C, 0.01 (K - 1) for K classes, since each class has a K-th of the sentences for
weights of its own. Where each layer gets its own C (`fast`), one that knows little is best on dev with everything in the majority
class, and how little it knows is not seen (MiniLM on BigramShift, six samples of 1,400: mean tau 0.80 with a C for each layer, 1.00
at 0.01, 0.98 at 0.1 and 1). At 0.01 for any K, layers of WordContent that need a weak penalty stood too low (tau 0.87 in each of
three samples).

A small train split may rank layers otherwise than a large one. Two guards: the run does not stop before the best layer of the round
before, on every task, is among those tied with the best of this one; and where a class would have fewer than `SHOTS` train
sentences, classes are drawn instead of sentences (measured on 1,000 classes: one sentence a class ranks the layers falsely, 100
classes with fourteen each as all the data do). What the guards do not exclude: a ranking that turns only at sizes never seen.

Cells of a round are ordinary cells. Left out: other sizes for other tasks, and dropping layers on the way, since all come out of
one pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from probing.cells import Cells
from probing.encoders.base import Encoder
from probing.errors import ConfigError
from probing.evaluation import compute, opened, table
from probing.plan import Settings, plan
from probing.probes.protocols import ProbeProtocol
from probing.progress import say
from probing.statistics import paired_difference
from probing.store import Store
from probing.tables import ResultTable
from probing.task import Task

START = 640
"""Half of what is read before an answer: with under a thousand train sentences MiniLM's layers hardly differ on BigramShift."""
FOLDS = 10
SHOTS = 10
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
            (points), whether it is separated.
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
        head = (
            "| task | encoder | layer | tied layers | accuracy | 95 % interval | train / dev / test | classes | of all | ± | why |"
        )
        lines = ["# Flash", "", _NOTE, "", head, "|---" * 11 + "|"]
        for row in answers.itertuples():
            sizes = f"{row.n_train} / {row.n_dev} / {row.n_test}"
            interval = "" if math.isnan(row.accuracy_low) else f"{100 * row.accuracy_low:.1f}–{100 * row.accuracy_high:.1f}"
            place, accuracy = (
                ("none", "") if math.isnan(row.accuracy) else (f"{row.layer} {row.pooling}", f"{100 * row.accuracy:.1f}")
            )
            lines.append(
                f"| {row.task} | {row.encoder} | {row.layer} {row.pooling} | {row.tied} | {100 * row.accuracy:.1f} | {interval} | "
                f"{sizes} | {row.n_classes} | {100 * row.share:.0f} % | {row.half_width:.1f} | {row.why} |"
            )
        (folder / "flash.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


_NOTE = """Samples of the tasks, grown until the differences of layers, averaged over the tasks, were as precise as asked for.
Accuracies are those of a cross-validation on sentences of the train split, to rank with and not to publish (train, dev: of one
fold), unless asked otherwise all layers of a task at one C, 0.01 times its classes less one; layers are chosen on dev. Tied: a
task's, by exact McNemar tests after Holm; the mean's, not separated. ±: half-width of the widest 95 % interval of a difference to
the best among the layers that are not separated, in points. Of all: share of the task's sentences that was used."""


def flash(
    tasks: Sequence[Task],
    encoders: Sequence[Encoder],
    *,
    store: Store | str | Path,
    precision: float = 1.0,
    cells: Cells | str | Path | None = None,
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
    store, cells, settings = opened(store, cells, probe, layers, poolings, (seed,), controls, floors)
    found = search(tasks, encoders, settings, precision, store, cells)
    planned = plan(found.tasks, encoders, settings, store)
    compute(planned, settings.probe, store, cells)
    return replace(found, table=table(planned, cells))


def search(
    tasks: Sequence[Task],
    encoders: Sequence[Encoder],
    settings: Settings,
    precision: float,
    store: Store,
    cells: Cells,
    force: bool = False,
) -> Flash:
    """The rounds. Floors and controls of `settings` are left to the caller, who plans them on the samples that are returned.

    Raises:
        ConfigError: a precision that is no number above 0, a train size beside it, or several seeds.
    """
    check(precision, settings)
    [seed] = settings.seeds
    bare = replace(settings, floors=(), controls=())
    n, records, before = START, [], None
    for number in range(1, 100):
        samples = tuple(sample(task, n, seed) for task in tasks)
        planned = plan(samples, encoders, bare, store)
        say(f"flash, round {number}: n = {n}")
        compute(planned, settings.probe, store, cells, force)
        found = table(planned, cells)
        if (found.frame.status != "done").any():
            return Flash(_answers(tasks, samples, found, None, precision, "cells failed"), pd.DataFrame(records), samples, found)
        state = Round.of(found, number, precision)
        records += [{"round": number, "n": n} | line for line in state.lines]
        whole = all(
            len(part.test) > len(set(task.train.texts)) - len(part.folds) for part, task in zip(samples, tasks, strict=True)
        )
        if whole or (state.wanting <= 1 and before is not None and state.steady(before)):
            why = "data exhausted" if state.wanting > 1 else "within precision" if state.wanting else "separated"
            return Flash(_answers(tasks, samples, found, state, precision, why), pd.DataFrame(records), samples, found)
        wanted = 2.0 if before is None or state.wanting <= 1 else min(2.0, max(1.1, 1.05 * state.wanting))
        n, before = math.ceil(wanted * n), state
    raise AssertionError("samples that grow reach the whole")  # 1.1^99 is 12,527


def check(precision: Any, settings: Settings) -> None:
    """
    Raises:
        ConfigError: see `search`.
    """
    if isinstance(precision, bool) or not isinstance(precision, (int, float)) or not 0 < precision < math.inf:
        raise ConfigError(f"precision={precision!r} must be a number of accuracy points above 0, such as 1.0")
    if len(settings.seeds) > 1:
        raise ConfigError(
            f"precision={precision:g} takes one seed, not seed={list(settings.seeds)}: it draws one sample of each task"
        )
    if settings.train_size is not None:
        raise ConfigError(
            f"precision={precision:g} finds the sizes itself: leave out data.train_size={settings.train_size}, "
            "or set precision=null"
        )


def sample(task: Task, n: int, seed: int) -> Task:
    """About n train sentences to cross-validate, or all; fewer classes where a fold would train on less than `SHOTS` of one.

    Samples of one seed are nested: of drawn classes the sentences are those that all classes would have at `SHOTS` a class.
    """
    shots = min(SHOTS / (1 - 2 / FOLDS), len(task.train) / len(task.classes))
    least = math.ceil(shots * len(task.classes))
    alone = replace(task, dev=task.train, test=task.train)  # classes are drawn by what train holds
    part = alone.subset(max(n, least), seed).with_classes(max(2, int(n / shots)), seed)
    return part.cross_validated(FOLDS, seed)


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
        families = [(first, [key for key in mean.index if key[0] == first[0]]) for first in best]
        top = max(best, key=lambda key: mean.dev_accuracy[key])
        families += [(top, [key for key in best if key != top])] if len(best) > 1 else []
        lines, cells = [], _cells(frame)
        for first, keys in families:
            for key in keys:
                line = dict(zip(_KEY, key, strict=True)) | {"against": " ".join(map(str, first)), **mean.loc[key]}
                alpha = 0.05 / 2**number / max(1, sum(key != first for key in keys))
                lines.append(line | _difference(cells, found.predictions, first, key, alpha))
        wanting = max(((line["half_width"] / precision) ** 2 for line in lines if not line["separated"]), default=0.0)
        layers = found.compare_layers()
        keyed = list(layers[["task", *_KEY]].itertuples(index=False, name=None))
        leaders = frozenset(key for key, is_best in zip(keyed, layers.best, strict=True) if is_best)
        ties = frozenset(key for key, tied in zip(keyed, layers.not_separated, strict=True) if tied)
        return cls(best, tuple(lines), wanting, leaders, ties)

    def steady(self, before: Round) -> bool:
        """Whether the best layer of the round before is, on every task, tied with the best of this one."""
        return before.leaders <= self.ties


Cellmap = Mapping[tuple, Mapping[str, str]]
"""(encoder, pooling, layer) -> task -> cell."""


def _cells(frame: pd.DataFrame) -> Cellmap:
    found: dict[tuple, dict[str, str]] = {}
    for *key, task, cell in frame[[*_KEY, "task", "cell"]].itertuples(index=False, name=None):
        found.setdefault(tuple(key), {})[task] = cell
    return found


def _difference(cells: Cellmap, predictions: Callable, first: tuple, key: tuple, alpha: float) -> dict[str, Any]:
    """How much worse a column is than `first`, over the tasks that have both: points, 95 % half-width, separated at `alpha`."""
    if key == first:
        return {"difference": 0.0, "half_width": 0.0, "separated": False}
    tasks = [task for task in cells[first] if task in cells[key]]
    right = [[np.equal(*predictions(cells[column][task])) for task in tasks] for column in (first, key)]
    value, error = paired_difference(*right)
    separated = abs(value) > NormalDist().inv_cdf(1 - alpha / 2) * error
    return {"difference": 100 * value, "half_width": 100 * _Z * error, "separated": separated}


def _answers(
    tasks: Sequence[Task], samples: Sequence[Task], found: ResultTable, state: Round | None, precision: float, why: str
) -> pd.DataFrame:
    whole = {task.name: sum(map(len, task.splits.values())) for task in tasks}
    drawn = {task.name: task for task in samples}
    lines = []
    best = found.best() if len(found.frame) else ()
    for row in best[best.seeds > 0].itertuples() if len(best) else ():  # without a finished layer there is no answer
        part = drawn[row.task]
        sizes = {f"n_{name}": len(split) for name, split in part.splits.items()} | {"n_classes": len(part.classes)}
        share = len(part.test) / whole[row.task]
        mine = _cells(found.frame[found.frame.task == row.task])
        layers = [layer for layer, pooling in row.not_separated if pooling == row.pooling]
        first, tied = (row.encoder, row.pooling, row.layer), [(row.encoder, row.pooling, layer) for layer in layers]
        widths = [_difference(mine, found.predictions, first, key, 0.05)["half_width"] for key in tied]
        own = "separated" if len(layers) == 1 else "within precision" if max(widths) <= precision else ""
        own = own if not row.missing else ""
        reason = own or (f"mean {why}" if len(tasks) > 1 else why)
        line = {"task": row.task, "encoder": row.encoder, "layer": row.layer, "pooling": row.pooling, "tied": layers}
        line |= {"accuracy": row.accuracy, "accuracy_low": row.accuracy_low, "accuracy_high": row.accuracy_high}
        lines.append(line | sizes | {"share": share, "half_width": max(widths), "why": reason})
    for encoder, pooling, layer in state.best if state is not None and len(tasks) > 1 else ():
        own = [line for line in state.lines if line["encoder"] == encoder and line["against"].startswith(f"{encoder} ")]
        tied = [line for line in own if not line["separated"]]
        line = {"task": f"mean of {len(tasks)} tasks", "encoder": encoder, "layer": layer, "pooling": pooling}
        line["tied"] = sorted(line["layer"] for line in tied if line["pooling"] == pooling)
        line |= {"accuracy": own[0]["accuracy"], "accuracy_low": np.nan, "accuracy_high": np.nan}
        sizes = {f"n_{name}": sum(len(part.splits[name]) for part in samples) for name in ("train", "dev", "test")}
        sizes |= {"n_classes": sum(len(part.classes) for part in samples), "share": sizes["n_test"] / sum(whole.values())}
        lines.append(line | sizes | {"half_width": max(line["half_width"] for line in tied), "why": why})
    return pd.DataFrame(lines)
