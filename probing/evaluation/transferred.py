"""The results of a transfer: a matrix source × target for each task, with intervals, drops from the source's own test, and tests.

    drop = score(A → A) - score(A → B)    the same fit on two test splits, of different items: `probing.evaluation.unpaired`
    gap  = score(B → B) - score(A → B)    two fits on the same test items of B: the paired test of a table

The drop holds what is lost and that B may be harder; the gap compares with what can be learned on B. Layers are chosen on dev: of A
for every A → B, of B for B → B.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from probing.errors import ConfigError
from probing.evaluation.best import interval
from probing.evaluation.comparisons import cells_of, differences, same_seeds
from probing.evaluation.directions import SAME_CORPUS, directions_of_pairs
from probing.evaluation.paired_tests import holm
from probing.evaluation.table import ResultTable
from probing.evaluation.unpaired import unpaired
from probing.types import Estimate

if TYPE_CHECKING:
    from probing.evaluation.directions import Line

PAIR = ("property", "source", "target")
_SCORES = [f"{name}{end}" for name in ("score", "drop") for end in ("", "_low", "_high")]
LAYER_COLUMNS = [
    *(*PAIR, "encoder", "probe", "pooling", "layer", "layer_name", "best", "n_test", "n_groups", "shared", "unseen", "majority"),
    *("status", "error", "metric", "dev_score", *_SCORES),
]
_KEYS = ["property", "encoder", "probe", "n_train"]


@dataclass(frozen=True, repr=False)
class Transfer:
    """A result table whose tasks are named "task: source → target", with these names in the columns property, source and target;
    `shared`: test sentences of the target that occur in the source's train split; `unseen`: share of its test items whose class the
    source lacks."""

    table: ResultTable

    @property
    def frame(self) -> pd.DataFrame:
        return self.table.frame

    @property
    def corpora(self) -> list[str]:
        return list(dict.fromkeys(self.frame.source))

    @property
    def properties(self) -> list[str]:
        return list(dict.fromkeys(self.frame.property))

    def __repr__(self) -> str:
        lost = int((self.frame.status != "done").sum())
        sizes = f"{len(self.corpora)} corpora, {len(self.properties)} tasks, {len(self.frame)} rows"
        return f"Transfer({sizes}{f', {lost} not finished' if lost else ''})"

    def to_csv(self, path: str | Path) -> None:
        """As `ResultTable.to_csv`; the names of task and corpora are in the column facets."""
        self.table.to_csv(path)

    def matrix(self, task: str | None = None, encoder: str | None = None, value: str = "score") -> pd.DataFrame:
        """Source × target of one column of `lines`, at the source's dev-best layer; ConfigError where task or encoder is not in the
        table, or several are and none is named."""
        lines = self.lines()
        for name, column, given in (("task", "property", task), ("encoder", "encoder", encoder)):
            have = list(dict.fromkeys(lines[column]))
            if (given is None and len(have) > 1) or (given is not None and given not in have):
                raise ConfigError(f"matrix: {name}={given!r}: choose one of {', '.join(have)}")
            lines = lines if given is None else lines[lines[column] == given]
        if value not in lines:
            raise ConfigError(f"matrix: no column {value!r} (columns: {', '.join(lines.columns)})")
        wide = lines.pivot_table(value, "source", "target", aggfunc="mean", sort=False)
        corpora = [corpus for corpus in self.corpora if corpus in set(lines.source)]
        return wide.reindex(index=corpora, columns=corpora)

    def lines(self) -> pd.DataFrame:
        """One line per task, encoder, source and target, at the layer and pooling that are the best on the source's dev split:
        those of `ResultTable.best`, with `drop` and `gap`, each with 95 % interval, p-value, and Holm's p-value over all lines of
        the table (`drop_p_holm`, `gap_p_holm`); `shared`, `unseen`."""
        return self._lines.copy()

    @cached_property
    def _lines(self) -> pd.DataFrame:
        frame = self.frame.drop_duplicates("task").set_index("task")
        best = self.table.best()
        best = best.assign(**{name: best.task.map(frame[name]) for name in (*PAIR, "shared", "unseen")})
        lines = []
        own = {(line.property, line.encoder, line.probe, line.source): line for line in best.itertuples() if _is_own(line)}
        for line in best.itertuples():
            beside = {name: np.nan for kind in ("drop", "gap") for name in _columns(kind)}
            key = (line.property, line.encoder, line.probe)
            if line.cell and not _is_own(line):
                a, b = own.get((*key, line.source)), own.get((*key, line.target))
                if a is not None and a.cell:
                    beside |= self._drop(line, a, (line.pooling, line.layer))
                if b is not None and b.cell:
                    beside |= self._gap(line, b)
            lines.append(beside)
        best = best.join(pd.DataFrame(lines, index=best.index))
        for kind in ("drop", "gap"):
            known = best[f"{kind}_p"].notna()
            best.loc[known, f"{kind}_p_holm"] = holm(best.loc[known, f"{kind}_p"])
        return best

    def by_layer(self) -> pd.DataFrame:
        """One line per task, encoder, source, target, pooling and layer: dev score (of the source), test score and drop, each with
        its 95 % interval; `best`: chosen on dev. No tests: a claim is made at the chosen layer (`lines`)."""
        chosen = {(line.task, line.encoder, line.probe, line.pooling, line.layer) for line in self._lines.itertuples() if line.cell}
        rows = self.frame[(self.frame.role == "probe") & (self.frame.measure == "probe")]
        lines = []
        for key, column in rows.groupby(["task", "encoder", "probe", "n_train", "pooling", "layer"], sort=False, dropna=False):
            first, place = column.iloc[0], (key[4], key[5])
            line = {name: first[name] for name in (*PAIR, "encoder", "probe", "pooling", "layer", "layer_name")}
            line |= {"best": (*key[:3], *place) in chosen, "n_test": first.n_test, "n_groups": first.n_groups}
            line |= {"shared": first.shared, "unseen": first.unseen, "majority": first.majority}
            done = column[column.status == "done"].sort_values("seed")
            lost = column[column.status != "done"]
            line |= {"status": lost.status.iloc[0] if len(lost) else "done", "error": lost.error.iloc[0] if len(lost) else ""}
            if len(done):
                metric = done.metric.iloc[0]
                halves = self._column(first, place)[1]
                score = interval(self.table, metric, done, [row.score for row in halves.values()])
                line |= {"metric": metric, "dev_score": done.dev_score.mean()}
                line |= {f"score{end}": score[f"{metric}{end}"] for end in ("", "_low", "_high")}
                if first.source != first.target:
                    own = first.copy()
                    own["task"] = f"{first.property}: {first.source} → {first.source}"
                    line |= {name: value for name, value in self._drop(first, own, place, tested=False).items() if name != "drop_p"}
            lines.append(line)
        return pd.DataFrame(lines, columns=LAYER_COLUMNS)

    @cached_property
    def _places(self) -> dict[tuple[Any, ...], tuple[dict[int, str], dict[int, Any]]]:
        """By task, encoder, probe, size of train, pooling and layer: the finished cells by seed (`cells_of`), and the rows of
        halves of train by number."""
        columns = ["task", "encoder", "probe", "n_train", "pooling", "layer", "role", "seed", "status", "cell", "score"]
        places: dict[tuple[Any, ...], tuple[dict[int, str], dict[int, Any]]] = {}
        for row in self.table.role("probe", "resample")[columns].itertuples(index=False):
            cells, halves = places.setdefault(tuple(row[:6]), ({}, {}))
            if row.role == "probe":
                cells |= cells_of([row])
            else:
                halves[int(row.seed)] = row
        return places

    @cached_property
    def _test_sets(self) -> dict[str, str]:
        return dict(zip(self.frame.cell, self.frame.test_sha256, strict=True))

    def _column(self, line: Any, place: tuple[Any, Any]) -> tuple[dict[int, str], Mapping[int, Any]]:
        """The finished cells of a line's task, encoder and probe at a place (pooling, layer), by seed, and those of halves."""
        return self._places.get((line.task, line.encoder, line.probe, line.n_train, *place), ({}, {}))

    def _drop(self, line: Any, own: Any, place: tuple[Any, Any], tested: bool = True) -> dict[str, float]:
        """score(A → A) - score(A → B) at one place: unpaired, or paired where the two test splits are the same."""
        (a, halves_a), (b, halves_b) = self._column(own, place), self._column(line, place)
        cells, others = same_seeds(a, b)
        if not cells:
            return {}
        fits = differences(halves_a, halves_b)
        if self._test_sets[cells[0]] == self._test_sets[others[0]]:
            paired = self.table.compare_cells(cells, others, fits)
            return dict(zip(_columns("drop"), (paired.difference, paired.low, paired.high, paired.p), strict=False))
        x, y = (np.stack([self.table.by_item(cell) for cell in column]) for column in (cells, others))
        estimate, p = unpaired(x, y, self.table.groups(cells[0]), self.table.groups(others[0]), fits, tested)
        return _named("drop", estimate, p)

    def _gap(self, line: Any, own: Any) -> dict[str, float]:
        """score(B → B) - score(A → B), each at its own dev-best place, on the same items."""
        (a, _), (b, _) = self._column(own, (own.pooling, own.layer)), self._column(line, (line.pooling, line.layer))
        paired = self.table.compare_cells(*same_seeds(a, b, or_first=True))
        return _named("gap", Estimate(paired.difference, paired.low, paired.high), paired.p)

    def directions(self, *, draws: int = 40, seed: int = 0) -> pd.DataFrame:
        """The probes of every two corpora for the same task, layer and pooling: cosine of their weights and correlation of their
        scores, with the null of permuted labels (`probing.evaluation.directions`); columns `a_corpus`, `b_corpus`."""
        rows = self.frame[(self.frame.source == self.frame.target)]
        rows = rows.drop_duplicates(["property", "source", "encoder", "probe", "pooling", "layer", "seed", "role"])
        pairs: list[tuple[Line, Line]] = []
        done = rows[(rows.role == "probe") & (rows.status == "done") & (rows.measure == "probe")]
        for _, group in done.groupby([*_KEYS[:3], "pooling", "layer"], sort=False):
            lines = list(group.drop_duplicates("source").itertuples())
            pairs += [(a, b) for i, a in enumerate(lines) for b in lines[i + 1 :]]
        return directions_of_pairs(self.table, pairs, draws, seed, SAME_CORPUS)


def _is_own(line: Any) -> bool:
    return bool(line.source == line.target)


def _columns(kind: str) -> Sequence[str]:
    return (kind, f"{kind}_low", f"{kind}_high", f"{kind}_p", f"{kind}_p_holm")


def _named(kind: str, estimate: Estimate, p: float) -> dict[str, float]:
    return dict(zip(_columns(kind), (estimate.value, estimate.lower, estimate.upper, p), strict=False))
