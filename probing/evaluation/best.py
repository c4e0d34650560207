"""The dev-best layer of each task and encoder, with floors, controls, the layers not separated from it, and power."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest, norm, t

from probing.encoders.base import CONTEXTUAL
from probing.evaluation.comparisons import KEYS, cells_of, dev_first, families, halves_of, same_seeds
from probing.evaluation.metrics import of_constant
from probing.evaluation.paired_tests import DEPENDENCE, holm, smallest_difference
from probing.evaluation.rows import IDENTITY, probe_metrics
from probing.evaluation.statistics import degrees, mean_accuracy, mean_score, standard_error
from probing.types import Estimate

if TYPE_CHECKING:
    from probing.evaluation.table import ResultTable


_ENDS = ("", "_low", "_high")

OF_LENGTH = ("length",)
"""Floors that read the number of words alone: one that has all test items right has the label itself."""


def best(table: ResultTable, alpha: float = 0.05) -> pd.DataFrame:
    """One line per task, encoder, probe and size of the train split: the dev-best layer and pooling, and its test scores.

    `score`, `dev_score`: the main metric of the task, `metric`, by which the layer is chosen and all else is compared; the others
    are beside it. With several seeds all are means over them, and `seed_sd` is the standard deviation of the score.
    `interval_over`: what intervals and tests go over: test items, or groups of them; seeds; train halves. `static`: layer 0,
    mean. `random`: mean of the random-weights twins, each at its own dev-best layer and pooling, `random_sd` their standard
    deviation, `random_n` their number.

    Scores on control tasks are those at the same layer and pooling: `control_permuted` with `leak_p` (`_leaks`);
    `control_word`, `selectivity` (score - control_word), and the ceilings of that control, `ceiling` (bag of words) and
    `ceiling_lookup`.

    `not_separated`: the columns (layer, pooling) not separated from the best on the same test items (`compare_layers`), with
    the best; `better`: those separated and better on test; `n_columns`: how many were compared. `can_show`: the smallest
    difference of two scores that this test split shows with a probability of 80 % at the first, strictest step of that family:
    exact McNemar test, at the median of the observed shares of items that exactly one of best and other column has right; with
    groups, train halves or another metric from the median width of the intervals of the differences, by t distributions; inf
    where the test can separate nothing, NaN with several seeds, or a single column.

    `beats_floors`: the score is above every floor of the line (those that read the text, static, each random twin at its
    dev-best column), and each test on the same items says so (two-sided p < 0.05; never over train halves): an
    intersection-union test, whose level needs no correction (Berger 1982). NA without floors or predictions. `floor`: the
    highest that is not beaten, or the highest.

    `edge`: the chosen C (or L2) is at this end of its grid. `missing`: which cells that the line reads are failed or not
    measured yet; a line without a single finished layer has no layer.
    """
    lines = []
    table.check()
    layers = table.compare_layers(alpha) if table.predictions is not None else pd.DataFrame()
    own = dict(list(layers.groupby(list(KEYS), sort=False))) if len(layers) else {}
    for (task, encoder, probe, n_train), family in families(table):
        done = family[family.status == "done"]
        missing = _missing(table, task, encoder, probe, n_train)
        if done.empty:
            lines.append(_nothing(table, family.iloc[0], missing))
            continue
        mean = dev_first(done)
        pooling, layer = mean.index[0]
        scores = done[(done.pooling == pooling) & (done.layer == layer)].sort_values("seed")
        first = scores.iloc[0]
        line = {name: first[name] for name in (*KEYS[:3], "paper_name", "layer", "layer_name", "pooling", "n_train")}
        line |= {"metric": first.metric, "dev_score": mean.dev_score.iloc[0], f"dev_{first.metric}": mean.dev_score.iloc[0]}
        halves = halves_of(table, task, encoder, probe, n_train).get((pooling, layer), {})
        for name in probe_metrics(scores):
            line |= interval(table, name, scores, [getattr(row, name) for row in halves.values()])
        line |= {f"score{end}": line[f"{first.metric}{end}"] for end in _ENDS}
        line["interval_over"] = _over(first, len(scores), len(halves))
        line |= {name: first[name] for name in ("majority", "n_test", "n_groups", "cell")}
        line |= {"converged": bool(scores.converged.all()), "edge": next(filter(None, scores.edge), "")}
        line["seeds"] = len(scores)
        line["seed_sd"] = float(scores.score.std(ddof=1)) if len(scores) > 1 else np.nan
        same = {"task": task, "probe": probe, "n_train": n_train}
        for kind in table.controls:
            at = {"control": kind, "encoder": encoder, "layer": layer, "pooling": pooling}
            line[f"control_{kind}"] = table.mean(role="control", **at, **same)
        if "word" in table.controls:
            line["selectivity"] = line["score"] - line["control_word"]
            at = {"control": "word", "encoder": encoder, "layer": layer, "pooling": pooling}
            line |= _selectivity(table, table.where(role="control", **at, **same), scores)
            for name, reader in (("ceiling", "word bag"), ("ceiling_lookup", "word look-up")):
                line[name] = table.mean(role="ceiling", encoder=reader, task=task, n_train=n_train)
        floors = floors_of(table, task, encoder, probe, n_train)
        twins = [_score(twin) for twin in floors.get("random weights", [])]
        line |= {"random": np.mean(twins) if twins else np.nan, "random_n": len(twins)}
        line["random_sd"] = np.std(twins, ddof=1) if len(twins) > 1 else np.nan
        line["static"] = _score(floors["static"][0]) if "static" in floors else np.nan
        line |= against_floors(table, floors, cells_of(scores.itertuples()))
        line |= _family(own.get((task, encoder, probe, n_train)), first, alpha, line["interval_over"])
        lines.append(line | {"missing": missing})
    frame = pd.DataFrame(lines)
    if "permuted" in table.controls:
        frame["leak_p"] = _leaks(table, frame)
    return frame.astype({"layer": "Int64", "beats_floors": "boolean"}) if len(frame) else frame


def shown(lines: pd.DataFrame) -> pd.DataFrame:
    """The lines of `best` for a notebook, in percent: score, interval, majority rate, selectivity, verdict on the floors."""
    beats = [{True: "yes", False: f"not shown: {row.floor}"}.get(row.beats_floors, "") for row in lines.itertuples()]
    mixed = ["metric"] if set(lines.metric) - {"", "accuracy"} else []
    text = lines[["paper_name", "encoder", "probe", "layer", "pooling", *mixed]].rename(columns={"paper_name": "task"})
    names = [f"{'score' if mixed else 'accuracy'}{end}" for end in _ENDS]
    names += ["majority", *(["selectivity"] if "selectivity" in lines else [])]
    lines = lines.assign(majority=lines.majority.where(lines.metric.isin(["", "accuracy"])))
    return text.join(100 * lines[names].astype(float)).assign(**{"above every floor": beats})


def _leaks(table: ResultTable, best: pd.DataFrame) -> np.ndarray:
    """For each line of `best` the p-value of the probe of permuted labels being no better than a constant, Holm over the lines: of
    accuracy the one-sided exact binomial test of the hits of all seeds against the majority rate; of other metrics the one-sided t
    test, over items or groups, against the best constant of test. NaN without this control or predictions."""
    p = np.full(len(best), np.nan)
    for at, line in enumerate(best.itertuples()):
        where = {name: getattr(line, name) for name in (*KEYS, "layer", "pooling")} | {"control": "permuted"}
        rows = table.where(role="control", **where) if line.cell else table.frame.head(0)
        if table.predictions is None or not len(rows):
            continue
        pairs = [table.predictions(cell) for cell in rows.cell]
        if line.metric == "accuracy":
            hits, n = sum(int((a == b).sum()) for a, b in pairs), sum(len(gold) for gold, _ in pairs)
            p[at] = binomtest(hits, n, np.bincount(pairs[0][0]).max() / len(pairs[0][0]), alternative="greater").pvalue
            continue
        above = [table.by_item(cell) - of_constant(gold) for cell, (gold, _) in zip(rows.cell, pairs, strict=True)]
        mean, groups = np.mean(above, axis=0), table.groups(rows.cell.iloc[0])
        error = standard_error(mean, groups)
        p[at] = t.sf(mean.mean() / error, degrees(mean, groups)) if 0 < error < np.inf else 1.0
    measured = ~np.isnan(p)
    p[measured] = holm(p[measured])
    return p


def _nothing(table: ResultTable, row: pd.Series, missing: str) -> dict[str, Any]:
    names = ["dev_accuracy", "dev_score", *(f"{name}{end}" for name in ("score", *probe_metrics(table.frame)) for end in _ENDS)]
    names += ["seed_sd", "random", "random_sd", "static", "can_show"]
    names += [f"control_{kind}" for kind in table.controls]
    names += ["selectivity", "selectivity_low", "selectivity_high", "ceiling", "ceiling_lookup"] if "word" in table.controls else []
    line = {name: row[name] for name in (*KEYS, "paper_name", "majority", "n_test", "n_groups")} | dict.fromkeys(names, np.nan)
    line |= {"metric": "", "interval_over": ""}
    line |= {"layer": None, "layer_name": "", "pooling": "", "cell": "", "converged": True, "edge": "", "seeds": 0}
    line |= {"random_n": 0, "beats_floors": None, "floor": "", "label_floor": "", "not_separated": [], "better": [], "n_columns": 0}
    return line | {"missing": "; ".join(filter(None, [missing, " ".join(row.error.split())]))}


def _missing(table: ResultTable, task: str, encoder: str, probe: str, n_train: int) -> str:
    """Which cells that a line of `best` reads are failed or not measured, by role; an empty string if none is."""
    same = (table.frame.task == task) & (table.frame.n_train == n_train)
    if (table.frame.status[same] == "done").all():
        return ""
    frame = table.frame[same]
    own = (frame.encoder == encoder) & (frame.probe == probe)
    twins = (frame.twin_of == encoder) & (frame.probe == probe)
    parts = []
    for name, rows in (
        ("layers", frame[own & (frame.role == "probe")]),
        ("static", frame[own & (frame.role == "static")]),
        ("train halves", frame[own & (frame.role == "resample")]),
        *((f"control {kind}", frame[own & (frame.role == "control") & (frame.control == kind)]) for kind in table.controls),
        ("ceilings", frame[frame.role == "ceiling"]),
        ("random weights", frame[twins & (frame.role == "random")]),
        *((f"floor {name}", rows) for name, rows in frame[frame.role == "floor"].groupby("encoder", sort=False)),
    ):
        lost = rows[rows.status != "done"]
        if len(lost):
            places = [place for row in lost.itertuples() if (place := _place(row))] if len(lost) < len(rows) else []
            few = f" ({', '.join(places[:3])}{', …' if places[3:] else ''})" if places else ""
            parts.append(f"{name}: {len(lost)} of {len(rows)}{few}")
    return "; ".join(parts)


def interval(table: ResultTable, name: str, scores: pd.DataFrame, halves: Sequence[float]) -> dict[str, float]:
    """Mean of a score over the seeds of a column, with its interval."""
    if name == "accuracy" and len(scores) > 1 and table.predictions is not None:
        one = mean_accuracy([table.by_item(cell) for cell in scores.cell], table.groups(scores.cell.iloc[0]), halves)
    else:
        bounds = scores[[name, f"{name}_low", f"{name}_high"]].itertuples(index=False)
        one = mean_score([Estimate(*row) for row in bounds], halves)
    return {name: one.value, f"{name}_low": one.lower, f"{name}_high": one.upper}


def floors_of(table: ResultTable, task: str, encoder: str, probe: str, n_train: int) -> dict[str, list[list[Any]]]:
    """The floors of a line by the name of their column in the report: lists of finished rows, one for each random twin."""
    own = (table.frame.task == task) & (table.frame.n_train == n_train) & (table.frame.status == "done")
    frame = table.frame.loc[own, [*IDENTITY, "probe", "layer", "pooling", "seed", "dev_score", "score", "status"]]
    reads_text = frame[frame.role == "floor"].groupby("encoder", sort=False)
    floors = {name: [list(rows.itertuples())] for name, rows in reads_text}
    frame = frame[frame.probe == probe]
    layer_0 = frame.role.isin(["probe", "static"]) & (frame.layer == 0) & frame.pooling.isin(["mean", "word-mean"])
    static = list(frame[layer_0 & (frame.encoder == encoder)].itertuples())
    names = table.frame.layer_name[(table.frame.encoder == encoder) & (table.frame.layer == 0)]
    if static and not names.str.contains(CONTEXTUAL).any():  # else layer 0 is no embedding output
        floors["static"] = [static]
    twins = []
    for _, rows in frame[(frame.role == "random") & (frame.twin_of == encoder)].groupby(["encoder", "seed"], dropna=False):
        pooling, layer = dev_first(rows).index[0]
        twins.append(list(rows[(rows.pooling == pooling) & (rows.layer == layer)].itertuples()))
    return floors | ({"random weights": twins} if twins else {})


def against_floors(table: ResultTable, floors: Mapping[str, list[list[Any]]], cells: Mapping[int, str]) -> dict[str, Any]:
    """`label_floor`, `beats_floors` and `floor` as in `best`, of one layer and pooling: `floors` are those of `floors_of`, `cells`
    by seed."""
    own = next((name for name in OF_LENGTH if name in floors and _score(floors[name][0]) == 1), "")
    means = {name: np.mean([_score(rows) for rows in draws]) for name, draws in floors.items() if name != own}
    order = sorted(means, key=lambda name: -means[name])
    if not order or table.predictions is None:
        return {"label_floor": own, "beats_floors": None, "floor": next(iter(order), "")}
    for name in order:
        for rows in floors[name]:
            result = table.compare_cells(*same_seeds(cells, cells_of(rows), or_first=True))
            if not (result.difference > 0 and result.p < 0.05):
                return {"label_floor": own, "beats_floors": False, "floor": name}
    return {"label_floor": own, "beats_floors": True, "floor": order[0]}


def _over(row: Any, seeds: int, halves: int) -> str:
    """What the intervals and tests of a column are over, in words."""
    grouped = pd.notna(row.n_groups) and row.n_groups < row.n_test
    parts = ["test items" + (f" in {row.n_groups} groups" if grouped else "")]
    parts += ["seeds"] * (seeds > 1) + ["train halves"] * (halves > 1)
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _family(own: pd.DataFrame | None, first: pd.Series, alpha: float, over: str) -> dict[str, Any]:
    """What `best` says of the other columns of a line, from its lines of `compare_layers` (None: nothing was compared)."""
    if own is None:
        return {"not_separated": None, "better": None, "n_columns": 0, "can_show": np.nan}
    compared = own[own.missing == ""]
    line: dict[str, Any] = {
        name: [(int(row.layer), row.pooling) for row in compared[compared[name]].sort_values(["pooling", "layer"]).itertuples()]
        for name in ("not_separated", "better")
    }
    others = compared[~compared.best]
    level, shown = alpha / max(1, len(others)), np.nan
    if over == "test items" and len(others) and others.discordance.notna().any():
        discordance = others.discordance.median()
        dependence = 1.0 if pd.isna(first.n_folds) else DEPENDENCE
        shown = smallest_difference(int(first.n_test), float(discordance), 2 * norm.sf(norm.isf(level / 2) * dependence))
    elif "seeds" not in over and len(others):
        free = int(first.n_groups if pd.notna(first.n_groups) else first.n_test) - 1
        shown = np.inf
        t_test = "halves" in over or first.metric != "accuracy"
        if free > 0 and (t_test or 2.0**-free <= level):  # the least p-value of the sign-flip test
            error = (others.difference_high - others.difference_low).median() / 2 / t.isf(0.025, free)
            shown = float(error * (t.isf(level / 2, free) + t.isf(0.2, free)))
        shown = shown if shown <= 1 else np.inf
    return line | {"n_columns": len(compared), "can_show": shown}


def _selectivity(table: ResultTable, controls: pd.DataFrame, scores: pd.DataFrame) -> dict[str, float]:
    """The 95 % interval of selectivity: of the paired difference by test item, over groups, for these draws of the control."""
    cells = same_seeds(cells_of(scores.itertuples()), cells_of(controls.itertuples()))
    if table.predictions is None or not cells[0]:
        return {"selectivity_low": np.nan, "selectivity_high": np.nan}
    result = table.compare_cells(*cells)
    return {"selectivity_low": result.low, "selectivity_high": result.high}


def _score(rows: Iterable[Any]) -> float:
    return float(np.mean([row.score for row in rows]))


def _place(row: Any) -> str:
    """Layer, pooling and seed of a row, as far as it has them."""
    parts = [] if pd.isna(row.layer) else [f"layer {row.layer} {row.pooling}"]
    which = "half" if row.role == "resample" else "seed"
    return " ".join(parts + ([] if pd.isna(row.seed) else [f"{which} {row.seed}"]))
