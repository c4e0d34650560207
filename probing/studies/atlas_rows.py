"""Rows of an atlas: one number each, from tables and from the frames of studies."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from probing.data.task import Task
from probing.evaluation.comparisons import cells_of, same_seeds
from probing.evaluation.table import ResultTable
from probing.report.properties import largest_over_layers
from probing.studies.interaction_layers import averages, steps

Row = dict[str, Any]
NAMES = (
    *("encoder", "data", "size", "property", "paper_name", "column", "role", "layer", "metric", "value", "low", "high", "n", "p"),
    *("against", "against_value", "cell", "status", "reason", "facets", "items", "groups"),
)
"""The columns of the rows."""


def row(task: Task, column: str, metric: str, value: float, **more: Any) -> Row:
    """A number of the atlas.

    Args:
        metric: its name in `probing.report.atlas_verdicts.METRICS`.
        more: role (layer: one of a curve; best: of the dev-best layer, or over all layers), layer, low, high, n, p, against (a
            null or floor), against_value, cell (the key of what made it), facets (a mapping, kept as JSON).
    """
    facets = json.dumps(more.pop("facets", {}), sort_keys=True)
    of = {"property": task.name, "paper_name": task.paper_name, "column": column, "metric": metric, "value": value, "role": "best"}
    return {**of, "status": "done", **more, "facets": facets}


def above_all(table: ResultTable, rows: pd.DataFrame, floors: Mapping[str, list[list[Any]]]) -> Row:
    """The test of a layer against every floor: p is the largest of two-sided p-values, 1 where a floor is as high; `against`: the
    floor that it belongs to (an intersection-union test, as in `ResultTable.best`)."""
    cells, tested = cells_of(rows.itertuples()), list[tuple[float, float, str]]()
    for name, draws in floors.items():
        for draw in draws:
            result = table.compare_cells(*same_seeds(cells, cells_of(draw), or_first=True))
            tested.append((result.p if result.difference > 0 else 1.0, float(np.mean([one.score for one in draw])), name))
    p, value, name = max(tested, default=(np.nan, np.nan, ""))
    return {"p": p, "against": name, "against_value": value}


def used_rows(task: Task, frame: pd.DataFrame) -> Iterator[Row]:
    """Points lost by layer, less those of random directions; and the largest loss of all layers against that of each draw."""
    draws = np.array([json.loads(one) for one in frame.draws])
    p = largest_over_layers(frame.effect.to_numpy(float), draws)
    k = int(frame.effect.to_numpy(float).argmax())
    for j, own in enumerate(frame.to_dict("records")):
        facets = {"before": own["before"], "after": own["after"], "used": own["used"], "rank": own["size"], "draws": draws.shape[1]}
        facets |= {"above_chance": bool(own["above_chance"]), "left": own["left"], "majority": own["majority"]}
        of = {"layer": int(own["layer"]), "low": own["extra_low"], "high": own["extra_high"], "n": own["n"], "facets": facets}
        of |= {"against": "random directions", "against_value": own["control_effect"]}
        yield row(task, "used", "points lost", own["extra"], role="layer", p=own["p"], **of)
        if j == k:
            yield row(task, "used", "points lost", own["extra"], **{**of, "p": p})


def interacting_rows(task: Task, frame: pd.DataFrame) -> Iterator[Row]:
    """T by layer, and the last layer less the first, of the first value and masking."""
    for own in averages(frame).query("measure == 'T'").to_dict("records"):
        yield row(task, "interacting", "T", own["estimate"], role="layer", layer=int(own["layer"]), low=own["low"],
                  high=own["high"], n=own["sentences"], facets={"masking": own["masking"], "value": own["value"]})  # fmt: skip
    for own in steps(frame).query("measure == 'T' and whole").to_dict("records"):
        yield row(task, "interacting", "T last less first", own["difference"], layer=int(own["to"]), low=own["low"],
                  high=own["high"], n=own["sentences"], p=own["p"], against=f"layer {own['from_']}")  # fmt: skip


def groups_of(table: ResultTable, cell: str) -> str | None:
    """The numbers of the items' groups as a JSON list; None where each item is its own."""
    groups = table.groups(cell)
    return None if groups is None else json.dumps(np.asarray(groups).tolist())


def packed(values: np.ndarray) -> str:
    """Whether each item is right, as hexadecimal digits; empty for scores that are no shares of right items."""
    return np.packbits(values).tobytes().hex() if values.dtype == bool else ""
