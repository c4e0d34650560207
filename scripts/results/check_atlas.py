"""Checks every verdict of an atlas against its rows, by the rules of docs/atlas.md, without the suite's own code.

Usage: python scripts/results/check_atlas.py FOLDER...

FOLDER: with atlas.json, whose lines are checked, and rows.csv or rows.csv.xz where it is there; else the rows of atlas.json.
Prints a line for each verdict that the rows do not give, with the layers of *encoded* and the direction of *interacting*; exit
code 1 if there is one.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd

LEVEL, MARGIN, GONE, ROUNDING = 0.01, 0.02, 0.01, 1e-6
COLUMNS = ("encoded", "where", "used", "interacting", "transfers")


def holm(p: pd.Series) -> pd.Series:
    """Holm's (1979) adjusted p-values of one family; NaN is no test."""
    tested = p.dropna().sort_values()
    return (tested * np.arange(len(tested), 0, -1)).cummax().clip(upper=1).reindex(p.index)


def rows_of(folder: Path, twin: dict) -> pd.DataFrame:
    """The rows with `facets` as mappings and `q`, p after Holm over the column of an encoder; scores, drops and derivatives apart;
    of losses on pairs the share of draws whose largest statistic of all properties is as large; and `control`, as `q` of the test
    against control labels."""
    raw = next((folder / name for name in ("rows.csv", "rows.csv.xz") if (folder / name).is_file()), None)
    rows = pd.DataFrame(twin["rows"]) if raw is None else pd.read_csv(raw)
    rows["facets"] = [json.loads(one) if isinstance(one, str) else one or {} for one in rows.facets]
    rows = rows.astype(dict.fromkeys(["layer", "value", "low", "high", "p", "against_value"], float))
    family = [rows.encoder, rows.column, rows.role, rows.metric.isin(["drop", "derivative"])]
    rows["q"] = rows.p.groupby(family, group_keys=False).apply(holm)
    used = rows.column == "used"
    for _, own in rows[used & rows.role.eq("best") & rows.metric.eq("points lost")].groupby("encoder"):
        largest = np.max([one["null"] for one in own.facets], axis=0)
        rows.loc[own.index, "q"] = [(1 + np.sum(largest > one["statistic"] - 1e-9)) / (1 + len(largest)) for one in own.facets]
    both = [name for name, own in rows[used].groupby("encoder") if {"points lost", "derivative"} <= {*own.metric}]
    rows.loc[used & rows.encoder.isin(both), "q"] *= 2
    controls = pd.Series([one.get("p_control", np.nan) for one in rows.facets], rows.index, dtype=float)
    rows["control"] = controls.groupby(rows.encoder, group_keys=False).apply(holm)
    return rows


def layers_above(own: pd.DataFrame) -> list[int]:
    """The layers that are above what they stand against."""
    return sorted(own.layer[(own.q <= LEVEL) & (own.value > own.against_value)].astype(int))


def verdict(column: str, own: pd.DataFrame) -> str:
    """The verdict of one column of a property, from its rows."""
    if (own.status != "done").all():
        return str(own.status.iloc[0])
    own = own[own.status == "done"]
    best, layers = own[own.role == "best"].set_index("metric"), own[own.role == "layer"]
    if column == "encoded":
        yes = bool(layers_above(layers))
    elif column == "where":
        yes = best.control["best units"] <= LEVEL and best.q["less rotated"] <= LEVEL
    elif column == "interacting":
        largest = layers[layers.metric == "T"].value.abs().max()
        yes = "T last less first" in best.index and best.q["T last less first"] <= LEVEL and largest >= ROUNDING
    elif column == "transfers":
        scores = own[own.metric != "drop"]
        yes = bool(((scores.q <= LEVEL) & (scores.value > scores.against_value)).all())
    else:
        points, slopes = layers[layers.metric == "points lost"], layers[layers.metric == "derivative"]
        yes = bool(layers_above(slopes))
        if len(points):
            chance = all(one["above_chance"] for one in points.facets)
            lost = best.loc["points lost"]
            yes |= bool(chance and lost.q <= LEVEL and lost.low > 0)
            gone = all(one["left"] <= one["majority"] + GONE for one in points.facets)
            if not yes and chance and gone and (points.low > -MARGIN).all() and (points.high < MARGIN).all():
                return "no"
    return "yes" if yes else "not shown"


def layers_named(words: str, every: list[int]) -> list[int]:
    """The layers that the words of *encoded* name."""
    if "in every layer" in words:
        return every
    if start := re.search(r"from layer (\d+) on", words):
        return [layer for layer in every if layer >= int(start[1])]
    named = re.search(r"in layers? ([\d, -]+) above", words)
    ends = [[int(end) for end in part.split("-")] for part in named[1].split(", ")] if named else []
    return [layer for part in ends for layer in range(part[0], part[-1] + 1)]


def disagreements(folder: Path) -> list[str]:
    """A line for each verdict of atlas.json that the rows do not give."""
    twin = json.loads((folder / "atlas.json").read_text(encoding="utf-8"))
    rows, wrong = rows_of(folder, twin), []
    for line in twin["lines"]:
        part = rows[(rows.encoder == line["encoder"]) & (rows.property == line["property"])]
        for column in COLUMNS:
            own, shown = part[part.column == column], line.get(column)
            given = verdict(column, own) if len(own) else None
            name = f"{folder}: {line['encoder']}, {line['property']}, {column}"
            if shown != given:
                wrong.append(f"{name}: {shown!r}, but the rows give {given!r}")
            elif shown == "yes" and column == "encoded":
                layers = own[own.role == "layer"]
                named = layers_named(line["encoded_words"], sorted(layers.layer.astype(int)))
                if named != layers_above(layers):
                    wrong.append(f"{name}: layers {named}, but the rows give {layers_above(layers)}")
            elif shown == "yes" and column == "interacting":
                more = own[own.metric == "T last less first"].value.iloc[0] > 0
                if (" less in the last" in line["interacting_words"]) == more:
                    wrong.append(f"{name}: {line['interacting_words']!r}, but T of the last layer is {'more' if more else 'less'}")
    return wrong


def main() -> None:
    wrong = [one for folder in sys.argv[1:] for one in disagreements(Path(folder))]
    print("\n".join(wrong) or "every verdict agrees with the rows")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
