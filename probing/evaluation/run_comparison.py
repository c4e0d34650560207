"""Runs compared on the same test items: `probing compare RUN_A RUN_B …`.

An entry is an encoder with a probe in a run, at its dev-best layer and pooling; where a run has one probe for each task, such as
one of classes and one of numbers, an entry is the encoder with all of them. On each task every pair of entries has a paired
test on the same test items, with the difference of their scores and its 95 % interval (`paired_tests.compare`); the p-values of all
tasks and pairs are one family (Holm). Letters: entries of a task that share one are not separated by these tests.

Ranks over tasks: of the tasks that all entries have the mean difference, items drawn anew and tasks as they are (variances of
independent tasks add; degrees of freedom: Satterthwaite 1946); Holm over the pairs. An entry's rank lies between 1 + the number of
entries separated above it and n - the number separated below it, for all entries at once with 95 % (Al Mohamad, Goeman & van Zwet
2022).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from probing.errors import ConfigError
from probing.evaluation.comparisons import cells_of, differences, halves_of, same_seeds
from probing.evaluation.paired_tests import DEPENDENCE, compare, holm, letters, variances
from probing.evaluation.table import ResultTable
from probing.types import Labels

ALPHA = 0.05


@dataclass(frozen=True)
class Entry(ABC):
    """What is compared, by default an encoder with a probe; `lines`: hash of a test set -> the scores on it (metric, score,
    score_low, score_high, layer)."""

    name: str
    lines: Mapping[str, Any]

    @abstractmethod
    def cells(self, test: str) -> dict[int, str]:
        """Names of the finished measurements on a test set by seed, -1 where no seed can change it."""

    @abstractmethod
    def by_item(self, cell: str) -> np.ndarray:
        """Whether each test item is right, or values by item whose mean is the score, (n,)."""

    @abstractmethod
    def groups(self, cell: str) -> Labels | None:
        """Numbers of the groups of the test items, (n,); None without groups."""

    def halves(self, test: str) -> dict[int, Any]:
        """Rows that were fitted on halves of the train split."""
        return {}

    def dependence(self, test: str) -> float:
        """The factor of standard errors over its test items (`paired_tests.DEPENDENCE`)."""
        return 1.0

    def place(self, test: str) -> str:
        return f"{self.lines[test].layer}"


@dataclass(frozen=True)
class TableEntry(Entry):
    """An encoder with a probe in one run; `lines` are those of `ResultTable.best`."""

    table: ResultTable

    def cells(self, test: str) -> dict[int, str]:
        names = ("task", "encoder", "probe", "n_train", "layer", "pooling")
        where = {name: getattr(self.lines[test], name) for name in names}
        return cells_of(self.table.where(role="probe", **where).itertuples())

    def by_item(self, cell: str) -> np.ndarray:
        return self.table.by_item(cell)

    def groups(self, cell: str) -> Labels | None:
        return self.table.groups(cell)

    def halves(self, test: str) -> dict[int, Any]:
        line = self.lines[test]
        columns = halves_of(self.table, line.task, line.encoder, line.probe, line.n_train)
        return columns.get((line.pooling, line.layer), {})

    def dependence(self, test: str) -> float:
        frame = self.table.frame
        return DEPENDENCE if frame.n_folds[frame.cell == self.lines[test].cell].notna().any() else 1.0

    def place(self, test: str) -> str:
        return f"{self.lines[test].layer}/{self.lines[test].pooling}"


@dataclass(frozen=True)
class RunComparison:
    """The comparison of the entries of runs on the test sets that at least two of them have: `tests`, hash -> name of the task.

    `pairs`, `tasks`, `over_tasks` and `ranks` are frames, scores and differences 0-1.
    """

    entries: tuple[Entry, ...]
    tests: Mapping[str, str]

    @classmethod
    def of(cls, tables: Mapping[str, ResultTable]) -> RunComparison:
        """The entries of tables, given by the names of their runs. An entry's name in tables is that of its encoder; its probe and
        run are added where the runs have several.

        Raises:
            ConfigError: no two entries, or no two with the same test items.
        """
        every = {run: table.best() for run, table in tables.items()}
        keys = [key for best in every.values() for key in _keys(best)]
        entries, tests = list[Entry](), dict[str, str]()
        for run, best in every.items():
            hashes = dict(zip(tables[run].frame.task, tables[run].frame.test_sha256, strict=True))
            for encoder, probes in _keys(best):
                rows = best[(best.encoder == encoder) & best.probe.isin(probes) & (best.cell != "")]
                lines = {hashes[row.task]: row for row in rows.itertuples()}
                tests |= {test: row.paper_name for test, row in lines.items()}
                several, twice = len({one for _, one in keys}) > 1, keys.count((encoder, probes)) > 1
                name = ", ".join([encoder, *(probes if several else []), *([run] if twice else [])])
                entries.append(TableEntry(name, lines, tables[run]))
        shared = {test: name for test, name in tests.items() if sum(test in entry.lines for entry in entries) > 1}
        if not shared:
            have = "; ".join(f"{run}: {', '.join(table.tasks) or 'no task'}" for run, table in tables.items())
            raise ConfigError(
                f"these runs share no test items, so no paired test is possible ({have}): measure the same tasks of the same files"
            )
        return cls(tuple(entries), shared)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Each pair of entries on each task that both have: places, scores, difference (a - b) with its 95 % interval,
        `discordance` (share of items on which one of the two is right), p, and p_holm over the whole frame. Scores and difference
        are over the seeds that both have; `variances`: see `paired_tests.variances`."""
        lines = []
        for test, task in self.tests.items():
            entries = [entry for entry in self.entries if test in entry.lines]
            cells_by, halves = ({e.name: e.cells(test) for e in entries}, {e.name: e.halves(test) for e in entries})
            for a, b in combinations(entries, 2):
                own = same_seeds(cells_by[a.name], cells_by[b.name], or_first=True)
                x, y = (np.stack([e.by_item(cell) for cell in cells]) for e, cells in zip((a, b), own, strict=True))
                how = (a.groups(own[0][0]), differences(halves[a.name], halves[b.name]), a.dependence(test))
                interval, p = compare(x, y, *how)
                one = a.lines[test]
                line = {"task": task, "a": a.name, "b": b.name, "a_at": a.place(test), "b_at": b.place(test), "metric": one.metric}
                line |= {"a_score": float(x.mean()), "b_score": float(y.mean()), "difference": interval.value}
                line |= {"low": interval.lower, "high": interval.upper}
                line["discordance"] = float((x != y).mean()) if x.dtype == bool else np.nan
                lines.append(line | {"p": p, "test": test, "variances": variances(x, y, *how)})
        frame = pd.DataFrame(lines)
        return frame.assign(p_holm=holm(frame.p))

    @cached_property
    def tasks(self) -> pd.DataFrame:
        """Each entry on each common task: place, score with its 95 % interval, letters; the best entry of a task first."""
        lines = []
        for test, task in self.tests.items():
            group = sorted((e for e in self.entries if test in e.lines), key=lambda e: -e.lines[test].score)
            apart = _separated(self.pairs[self.pairs.test == test])
            matrix = [[frozenset((x.name, y.name)) in apart for y in group] for x in group]
            for entry, letter in zip(group, letters(matrix), strict=True):
                own = entry.lines[test]
                line = {"task": task, "entry": entry.name, "at": entry.place(test), "metric": own.metric}
                lines.append(line | {"score": own.score, "low": own.score_low, "high": own.score_high, "letters": letter})
        return pd.DataFrame(lines)

    @cached_property
    def common(self) -> tuple[str, ...]:
        """The test sets that all entries have."""
        return tuple(test for test in self.tests if all(test in entry.lines for entry in self.entries))

    @cached_property
    def over_tasks(self) -> pd.DataFrame:
        """Each pair over the tasks that all entries have: their number, the mean difference with its 95 % interval, p, and p_holm
        over the pairs; empty without such a task."""
        lines = []
        for (a, b), group in self.pairs[self.pairs.test.isin(self.common)].groupby(["a", "b"], sort=False):
            value = float(group.difference.mean())
            scaled, degrees = np.array([one for own in group.variances for one in own]).T
            scaled = scaled / len(group) ** 2
            error, p, half = float(np.sqrt(scaled.sum())), 1.0, 1.0
            if 0 < error < np.inf:
                free = float(scaled.sum() ** 2 / (scaled**2 / degrees).sum())
                p, half = float(2 * t.sf(abs(value) / error, free)), float(error * t.isf(0.025, free))
            line = {"a": a, "b": b, "tasks": len(group), "difference": value}
            lines.append(line | {"low": value - half, "high": value + half, "p": p})
        frame = pd.DataFrame(lines, columns=["a", "b", "tasks", "difference", "low", "high", "p"])
        return frame.assign(p_holm=holm(frame.p))

    @cached_property
    def ranks(self) -> pd.DataFrame:
        """Each entry over the tasks that all have: mean score, rank, and the lowest and highest rank that the tests of `over_tasks`
        leave open; empty without such a task."""
        mean = {e.name: float(np.mean([e.lines[test].score for test in self.common])) for e in self.entries if self.common}
        apart, lines = _separated(self.over_tasks), []
        for name in sorted(mean, key=lambda name: -mean[name]):
            above = [other for other in mean if mean[other] > mean[name]]
            below = [other for other in mean if mean[other] < mean[name]]
            low, high = (sum(frozenset((name, other)) in apart for other in others) for others in (above, below))
            line = {"entry": name, "mean": mean[name], "rank": 1 + len(above)}
            lines.append(line | {"rank_low": 1 + low, "rank_high": len(mean) - high})
        return pd.DataFrame(lines, columns=["entry", "mean", "rank", "rank_low", "rank_high"])


def _keys(best: pd.DataFrame) -> list[tuple[str, tuple[str, ...]]]:
    """Encoders, each with one probe, or with all of its probes where no task has two."""
    keys = list[tuple[str, tuple[str, ...]]]()
    for encoder, rows in best.groupby("encoder", sort=False) if len(best) else ():
        probes = tuple(dict.fromkeys(rows.probe))
        keys += [(str(encoder), (probe,)) for probe in probes] if rows.task.duplicated().any() else [(str(encoder), probes)]
    return keys


def _separated(pairs: pd.DataFrame) -> set[frozenset[str]]:
    return {frozenset((row.a, row.b)) for row in pairs.itertuples() if row.p_holm < ALPHA}
