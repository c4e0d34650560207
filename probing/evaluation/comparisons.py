"""Layers and encoders compared on the same test items: paired tests and their families; letters for encoders not separated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from probing.evaluation.paired_tests import holm, letters, paired
from probing.evaluation.rows import by_metric

if TYPE_CHECKING:
    from probing.evaluation.table import ResultTable

KEYS = ("task", "encoder", "probe", "n_train")
"""Fields that the layers and poolings of a family share."""


class Comparison(NamedTuple):
    """Two columns on the same test items: score of the first less that of the second, mean over seeds, with its 95 % interval;
    share of the items on which exactly one of the two is right (NaN but for accuracy); two-sided p-value of no difference."""

    difference: float
    low: float
    high: float
    discordance: float
    p: float


def compare_layers(table: ResultTable, alpha: float = 0.05) -> pd.DataFrame:
    """Every layer and pooling against the dev-best one of its task, encoder and probe, on the same test items.

    Columns: dev and test score in the main metric of the task (mean over the finished seeds; `rows.by_metric` names them),
    whether it is the best, the difference to the best with its 95 % interval (negative: worse than the best), `discordance` (see
    `Comparison`), the p-value, Holm's over the layers and poolings of this task, encoder, probe and size of the train split,
    `not_separated` (p_holm >= alpha) and `better` (separated, and better on test than the best). A layer that has no finished
    seed in common with the best has no p-value, is neither, and says why in `missing`.
    """
    lines = []
    for key, family in families(table):
        done = family[family.status == "done"]
        if done.empty:
            continue
        chosen = dev_first(done).index[0]
        columns: dict[tuple[str, int], list[Any]] = {}
        for row in family[family.layer.notna()].itertuples():
            columns.setdefault((row.pooling, row.layer), []).append(row)
        best, halves = cells_of(columns[chosen]), halves_of(table, *key)
        for (pooling, layer), rows in columns.items():
            finished = [row for row in rows if row.status == "done"]
            line = dict(zip(KEYS, key, strict=True)) | {"pooling": pooling, "layer": layer}
            line["metric"] = done.metric.iloc[0]
            for name in ("dev_score", "score"):
                line[name] = float(np.mean([getattr(row, name) for row in finished])) if finished else np.nan
            line["best"] = (pooling, layer) == chosen
            cells, others = same_seeds(cells_of(rows), best)
            fits = differences(halves.get((pooling, layer), {}), halves.get(chosen, {}))
            result = Comparison(0.0, 0.0, 0.0, 0.0, 1.0)
            if not line["best"]:
                result = table.compare_cells(cells, others, fits) if cells else Comparison(*[np.nan] * 5)
            line |= {"difference": result.difference, "difference_low": result.low, "difference_high": result.high}
            line |= {"discordance": result.discordance, "p": result.p}
            lost = next((row.status for row in rows if row.status != "done"), "no seed in common")
            lines.append(line | {"missing": "" if cells else lost})
    frame = pd.DataFrame(lines)
    if len(frame):
        frame["p_holm"] = np.where(frame.missing == "", 1.0, np.nan)
        for _, others in frame[~frame.best & (frame.missing == "")].groupby(list(KEYS)):
            frame.loc[others.index, "p_holm"] = holm(others.p)
        frame["not_separated"] = frame.p_holm >= alpha
        frame["better"] = (frame.p_holm < alpha) & (frame.difference > 0)
    return by_metric(frame) if len(frame) else frame


def compare_encoders(table: ResultTable) -> pd.DataFrame:
    """Every pair of encoders on every task and probe, each at its dev-best layer, on the same test items: the two scores in the
    task's main metric, their difference, the p-value, Holm's over the whole table, and `missing`: which of the two are the best of
    those layers only that are finished. Scores, difference and p-value are over the seeds that both encoders have; `seeds` names
    them where one of the two has others, and is empty elsewhere. Encoders without a finished layer are in no pair."""
    best = table.best()
    best = best[best.cell != ""] if len(best) else best
    score, lines = table.frame.drop_duplicates("cell").set_index("cell").score, []
    for (task, probe, n_train), group in best.groupby(["task", "probe", "n_train"], sort=False) if len(best) else ():
        entries = list(group.itertuples()) if len(group) > 1 else []
        columns = [{name: getattr(entry, name) for name in (*KEYS, "layer", "pooling")} for entry in entries]
        cells = [cells_of(table.where(role="probe", **column).itertuples()) for column in columns]
        halves = [halves_of(table, task, entry.encoder, probe, n_train).get((entry.pooling, entry.layer), {}) for entry in entries]
        for i, a in enumerate(entries):
            for j, b in enumerate(entries[i + 1 :], i + 1):
                same = same_seeds(cells[i], cells[j], or_first=True)
                p = table.compare_cells(*same, differences(halves[i], halves[j])).p
                where = {"a_at": f"{a.layer}/{a.pooling}", "b_at": f"{b.layer}/{b.pooling}"}
                scores = {f"{x}_score": float(score[own].mean()) for x, own in zip("ab", same, strict=True)}
                scores["difference"] = scores["a_score"] - scores["b_score"]
                lost = " and ".join(entry.encoder for entry in (a, b) if entry.missing.startswith("layers"))
                line = {"task": task, "probe": probe, "a": a.encoder, "b": b.encoder, **where, "metric": a.metric}
                line |= {**scores, "p": p}
                lines.append(line | {"seeds": _seeds(cells[i], cells[j]), "missing": lost, "n_train": n_train})
    frame = pd.DataFrame(lines)
    if len(frame):
        frame["p_holm"] = holm(frame.p)
    return by_metric(frame) if len(frame) else frame


def _seeds(a: Mapping[int, str], b: Mapping[int, str]) -> str:
    """The seeds of two columns that `same_seeds` compares, where one column has others; else an empty string."""
    if a.keys() == b.keys() or -1 in (*a, *b):
        return ""
    return " ".join(map(str, sorted(a.keys() & b.keys()))) or f"{min(a)} against {min(b)}"


def compare_measure(table: ResultTable) -> pd.DataFrame:
    """Of a measure with values by test item: every layer against the one before it, and at each layer every pair of encoders:
    difference with its 95 % t interval, p (t test on the same items), p_holm (over all lines of the table)."""
    done = table.frame[(table.frame.status == "done") & table.frame.layer.notna() & (table.frame.role == "probe")]
    cells = {(row.task, (row.pooling, row.probe), int(row.layer), row.encoder): row.cell for row in done.itertuples()}
    values = {cell: table.items(cell) for cell in dict.fromkeys(cells.values())}
    lines = []
    for (task, pooling, layer, encoder), cell in cells.items():
        others = {f"layer {layer - 1}": cells.get((task, pooling, layer - 1, encoder))}
        others |= {name: cells[task, pooling, layer, name] for name in table.encoders if (task, pooling, layer, name) in cells}
        where = {"task": task, "encoder": encoder, "pooling": pooling[0], "layer": layer}
        where |= {"probe": pooling[1]} if pooling[1] else {}
        later = table.encoders[table.encoders.index(encoder) :]
        for against, other in others.items():
            for metric in sorted(values[cell].keys() & values.get(other, {}).keys() - {"groups"}) if against not in later else ():
                a, b = values[cell][metric], values[other][metric]
                if len(a) == len(b):
                    estimate, p = paired(a - b)
                    line = {"metric": metric, **where, "against": against}
                    lines.append(line | {"difference": estimate.value, "low": estimate.lower, "high": estimate.upper, "p": p})
    frame = pd.DataFrame(lines)
    return frame.assign(p_holm=holm(frame.p.fillna(1.0))) if len(frame) else frame


def letters_of(best: pd.DataFrame, pairs: pd.DataFrame, alpha: float = 0.05) -> list[str]:
    """For each line of `best`, letters: encoders of one task, probe and train size that share one are not separated by `pairs`."""
    given = [""] * len(best)
    apart = {(p.task, p.probe, p.n_train, *sorted((p.a, p.b))) for p in pairs.itertuples() if p.p_holm < alpha}
    groups: dict[tuple[Any, ...], list[tuple[float, int, str]]] = {}
    for i, line in enumerate(best.itertuples()):
        if line.cell:
            groups.setdefault((line.task, line.probe, line.n_train), []).append((-line.score, i, line.encoder))
    for key, group in groups.items():
        ranked = sorted(group)
        separated = [[(*key, *sorted((a, b))) in apart for _, _, b in ranked] for _, _, a in ranked]
        for (_, i, _), letter in zip(ranked, letters(separated) if len(ranked) > 1 else [""], strict=True):
            given[i] = letter
    return given


def families(table: ResultTable) -> Iterable[tuple[tuple[Any, ...], pd.DataFrame]]:
    """The layers and poolings, whatever their state, of each task, encoder, probe and size of the train split."""
    return table.frame[(table.frame.role == "probe") & (table.frame.measure == "probe")].groupby(list(KEYS), sort=False)


def halves_of(table: ResultTable, *key: Any) -> dict[tuple[str, int], dict[int, Any]]:
    """The rows of a family's columns (pooling, layer) that were fitted on halves of the train split, by number of the half."""
    halves: dict[tuple[str, int], dict[int, Any]] = {}
    for row in table.where(role="resample", **dict(zip(KEYS, key, strict=True))).itertuples():
        halves.setdefault((row.pooling, row.layer), {})[int(row.seed)] = row
    return halves


def dev_first(done: pd.DataFrame) -> pd.DataFrame:
    """Mean dev and test score over seeds by (pooling, layer), the best on dev first."""
    mean = done.groupby(["pooling", "layer"], sort=True)[["dev_score", "score"]].mean()
    return mean.sort_values("dev_score", ascending=False, kind="stable")


def differences(a: Mapping[int, Any], b: Mapping[int, Any]) -> list[float]:
    """Differences of the scores of two columns fitted on the same halves of the train split."""
    return [a[number].score - b[number].score for number in sorted(a.keys() & b.keys())]


def cells_of(rows: Iterable[Any]) -> dict[int, str]:
    """The finished cells of a column by seed; -1 stands for a cell that no seed can change."""
    return {-1 if pd.isna(row.seed) else int(row.seed): row.cell for row in rows if row.status == "done"}


def same_seeds(a: Mapping[int, str], b: Mapping[int, str], or_first: bool = False) -> tuple[list[str], list[str]]:
    """The cells of two columns, seed by seed; a cell that no seed can change stands beside every seed of the other column.
    Without a seed in common none, or, if `or_first`, the first cells of both.

    >>> same_seeds({0: "a", 1: "b"}, {-1: "c"}), same_seeds({0: "a"}, {1: "b"})
    ((['a', 'b'], ['c', 'c']), ([], []))
    """
    seeds = sorted((a.keys() & b.keys()) or (b.keys() if -1 in a else a.keys() if -1 in b else ()))
    if not seeds and or_first:
        return [a[min(a)]], [b[min(b)]]
    return [a.get(seed, a.get(-1, "")) for seed in seeds], [b.get(seed, b.get(-1, "")) for seed in seeds]
