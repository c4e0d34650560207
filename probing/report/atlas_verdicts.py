"""What the rows of an atlas say: one verdict for each property and column, by rules that read p-values and intervals alone.

Each column of an encoder is one family of tests at a fifth of 0.05, so that the five columns together say yes where nothing is in
at most 5 % of atlases (Bonferroni). Within a column p-values are adjusted by Holm's method: in `encoded` every layer of every
property against its highest floor, in the others a test for each property. A verdict says no more than its test:

    encoded      the layers whose score is above every floor (p of the floor that is hardest to tell from it)
    where        "axis-aligned" where the best units are above control labels and above random bases; else nothing is claimed of
                 units
    used         the loss that stands out most over the layers does so more than that of any property under random directions
                 (maxT instead of Holm, which would need draws for each property), its interval above 0; "not used" where at every
                 layer the interval lies within the margin; else "not shown". Of a classifier, the derivative is above that of
                 permuted labels; where both are measured, each has half of the level
    interacting  T of the last layer is above or below that of the first layer in which T is more than rounding: that words act
                 together at all is so in any network that mixes them
    transfers    the score on the other corpus is above every floor that was fitted on the first
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from probing.evaluation.metrics import title
from probing.evaluation.paired_tests import holm, max_t
from probing.report.summary import ranges

LEVEL = 0.05 / 5
SURE = 1e-6
"""T below this is rounding of float32 states."""
KEY = ["encoder", "property"]


def adjusted(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with `p_holm`: over the rows of an encoder with the same column and role; drops and scores of transfers are
    families of their own. So are losses on pairs, of which maxT takes the place of Holm, and derivatives; they share the level of
    their column: p of both is doubled."""
    frame = frame.reset_index(drop=True).assign(p_holm=np.nan)
    tested = frame[frame.p.notna()].assign(own=frame.metric.isin(["drop", "derivative"]))
    for (_, column, role, own), part in tested.groupby(["encoder", "column", "role", "own"], sort=False):
        frame.loc[part.index, "p_holm"] = _over_draws(part) if (column, role, own) == ("used", "best", False) else holm(part.p)
    used = frame[(frame.column == "used") & frame.p_holm.notna()]
    for _, part in used.groupby("encoder", sort=False):
        if part.metric.nunique() > 1:
            frame.loc[part.index, "p_holm"] = np.minimum(2 * part.p_holm, 1)
    controls = pd.Series([facets(one).get("p_control") for one in frame.facets], index=frame.index, dtype=float)
    for _, part in frame[controls.notna()].groupby("encoder", sort=False):
        frame.loc[part.index, "p_holm"] = holm(controls[part.index])
    return frame


def _over_draws(part: pd.DataFrame) -> np.ndarray:
    """Adjusted p-values of the losses that stand out most, one of each property, from the statistics of their draws."""
    about = [facets(one) for one in part.facets]
    return max_t([one["statistic"] for one in about], [one["null"] for one in about])


def facets(text: Any) -> dict[str, Any]:
    return json.loads(text) if isinstance(text, str) and text else {}


def verdicts(frame: pd.DataFrame) -> pd.DataFrame:
    """A line for each encoder and property: `claims` (column -> shown: yes, no, not shown, not applicable) and `words`.

    Args:
        frame: rows of an atlas with `p_holm` (`adjusted`).
    """
    lines = []
    for (encoder, name), part in frame.groupby(KEY, sort=False):
        line = {"encoder": encoder, "property": name, "paper_name": part.paper_name.iloc[0]}
        for column, own in part.groupby("column", sort=False):
            shown, words = RULES[str(column)](own)
            line |= {str(column): shown, f"{column}_words": words}
        lines.append(line)
    return pd.DataFrame(lines)


def sentence(line: Mapping[str, Any]) -> str:
    """The verdict of a property in one sentence, without columns that do not apply."""
    parts = [line[f"{name}_words"] for name in RULES if line.get(name) not in (None, "not applicable") and pd.notna(line.get(name))]
    return f"{line['paper_name']}: {'; '.join(parts) or 'none of the columns applies'}."


def percent(row: Any) -> str:
    low = "" if pd.isna(row.low) else f" [{100 * row.low:z.1f}, {100 * row.high:z.1f}]"
    return f"{100 * row.value:z.1f}{low}"


def score(row: Any) -> str:
    """A score in percent, with its name where it is not accuracy."""
    return f"{'' if row.metric == 'accuracy' else f'{title(row.metric)} '}{percent(row)}"


def _absent(part: pd.DataFrame) -> tuple[str, str] | None:
    lost = part[part.status != "done"]
    if len(lost) < len(part):
        return None
    status, reasons = str(lost.status.iloc[0]), "; ".join(dict.fromkeys(lost.reason))
    return status, f"{lost.column.iloc[0]}: {'not measured: ' * (status == 'failed')}{reasons}"


def _row(part: pd.DataFrame, role: str, *metrics: str) -> Any:
    own = part[(part.role == role) & (part.metric.isin(metrics) if metrics else True) & (part.status == "done")]
    return next(own.itertuples(), None)


def encoded(part: pd.DataFrame) -> tuple[str, str]:
    if lost := _absent(part):
        return lost
    layers, above = part[part.role == "layer"].sort_values("layer"), layers_above(part)
    best = _row(scores(part), "best")
    at = f"{score(best)} at layer {int(best.layer)}"
    label = facets(best.facets).get("label_floor")
    note = f" (the floor {label} has the label itself, and is not among them)" if label else ""
    if "random weights" not in facets(best.facets).get("floors", {"random weights": 0}):
        note += " (random weights are not among the floors)"
    if not above:
        return "not shown", f"not shown to be encoded above every floor ({at}; {best.against} {100 * best.against_value:.1f}){note}"
    every = layers.layer.astype(int).tolist()
    if above == every:
        where = "in every layer"
    elif above == every[every.index(above[0]) :]:
        where = f"from layer {above[0]} on"
    else:
        where = f"in {in_layers(above)}"
    return "yes", f"encoded {where} above every floor{note}, {at}"


def scores(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of *encoded* at dev-best layers that hold the score, measured or not."""
    return frame[(frame.column == "encoded") & (frame.role == "best") & ~frame.metric.isin(["selectivity", "compression"])]


def layers_above(part: pd.DataFrame) -> list[int]:
    """The layers whose score is above every floor, of rows of a property."""
    layers = part[(part.column == "encoded") & (part.role == "layer")].sort_values("layer")
    return layers.layer[(layers.p_holm <= LEVEL) & (layers.value > layers.against_value)].astype(int).tolist()


def where(part: pd.DataFrame) -> tuple[str, str]:
    if lost := _absent(part):
        return lost
    units, rotated = _row(part, "best", "best units"), _row(part, "best", "less rotated")
    about = facets(units.facets)
    size = (
        ""
        if about.get("minimal") is None
        else f"; {int(about['minimal'])} of {int(about['live'])} units come within a point on dev"
    )
    if not units.p_holm <= LEVEL:
        return "not shown", f"its best {about['units']} units are not shown to tell it ({percent(units)}){size}"
    if rotated.p_holm <= LEVEL:
        reach = f"{percent(units)}, {percent(rotated)} more than in random bases"
        return "yes", f"axis-aligned: its best {about['units']} units reach {reach}{size}"
    return "not shown", f"its best {about['units']} units are not told from a random basis{size}"


def used(part: pd.DataFrame) -> tuple[str, str]:
    if lost := _absent(part):
        return lost
    pairs, follow = on_pairs(part), followed(part)
    words = [] if pairs is None else [pairs[1]]
    if follow is not None:
        words.append(f"the classifier's logit {f'follows it in {in_layers(follow)}' if follow else 'is not shown to follow it'}")
    return "yes" if follow else "not shown" if pairs is None else pairs[0], "; ".join(words)


def on_pairs(part: pd.DataFrame) -> tuple[str, str] | None:
    """What the losses on pairs say of a property's use; None without them."""
    if (most := _row(part, "best", "points lost")) is None:
        return None
    states = [facets(one) for one in part.facets[(part.role == "layer") & (part.metric == "points lost")]]
    at = f"{percent(most)} points lost on pairs by erasing it at layer {int(most.layer)}, beside random directions"
    if most.p_holm <= LEVEL and most.low > 0 and all(one["above_chance"] for one in states):
        return "yes", f"used: {at}"
    if all(one["used"] == "no" for one in states):
        return "no", f"not used on these pairs: {at}"
    return "not shown", f"not shown to be used: {at}"


def followed(part: pd.DataFrame) -> list[int] | None:
    """The layers whose direction the classifier's logit follows; None without a classifier."""
    slopes = part[part.metric == "derivative"]
    above = (slopes.p_holm <= LEVEL) & (slopes.value > slopes.against_value)
    return slopes.layer[above].astype(int).tolist() if len(slopes) else None


def in_layers(layers: Sequence[int]) -> str:
    """
    >>> in_layers([1]), in_layers([0, 1, 3])
    ('layer 1', 'layers 0-1, 3')
    """
    return f"layer{'s' * (len(layers) > 1)} {ranges(layers)}"


def interacting(part: pd.DataFrame) -> tuple[str, str]:
    if lost := _absent(part):
        return lost
    whole = _row(part, "best", "T last less first")
    first, last = ends_of_T(part)
    at = f"{last.value:.3g} [{last.low:.3g}, {last.high:.3g}] in layer {int(last.layer)}"
    ends = f"T {first.value:.3g} in layer {int(first.layer)}, {at}"
    if max(abs(first.value), abs(last.value)) < SURE:
        return "not shown", f"no interaction beyond rounding (T {at})"
    if whole is None or pd.isna(whole.p):
        return "not shown", f"one layer alone mixes words (T {at})"
    if whole.p_holm <= LEVEL:
        more = "more" if whole.value > 0 else "less"
        return "yes", f"words interact {more} in the last layer than in the first that mixes them ({ends})"
    return "not shown", f"interaction is not shown to change ({ends})"


def ends_of_T(part: pd.DataFrame) -> tuple[Any, Any]:
    """The rows of T of the first layer in which it is more than rounding, and of the last."""
    layers = list(part[part.metric == "T"].sort_values("layer").itertuples())
    return next((row for row in layers if abs(row.value) >= SURE), layers[0]), layers[-1]


def transfers(part: pd.DataFrame) -> tuple[str, str]:
    if lost := _absent(part):
        return lost
    drops = {facets(row.facets)["target"]: row for row in part[part.metric == "drop"].itertuples()}
    shown, words = "yes", []
    for row in part[(part.metric != "drop") & (part.status == "done")].itertuples():
        about = facets(row.facets)
        above = row.p_holm <= LEVEL and row.value > row.against_value
        drop = drops[about["target"]]
        shown = shown if above else "not shown"
        words.append(
            f"{'transfers' if above else 'not shown to transfer'} to {about['target']} ({score(row)}, drop {percent(drop)})"
        )
    return shown, "; ".join(words)


RULES = {"encoded": encoded, "where": where, "used": used, "interacting": interacting, "transfers": transfers}
