"""Numbers of the study `explanations` from its rows: a line for each method and masking, comparisons, agreement of models, layers.

The unit is the sentence; sentences of one source (`cluster`) are one unit. Means have 95 % t intervals over units; methods
are compared on the same sentences by sign-flip tests, Holm over the pairs of methods and the measures of an encoder, data and
masking; a method that does not apply to part of the sentences is in no comparison. Fewer than `LEAST_UNITS` units have no
intervals. Agreement of two scorings is Kendall's tau-b on the same sentence; its null pairs it with another sentence of equal
length and another source.
"""

from __future__ import annotations

import json
import math
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from probing.attributions.ranks import by_length
from probing.evaluation.paired_tests import holm
from probing.evaluation.sign_flips import by_cluster, sign_flips
from probing.evaluation.statistics import mean_ci
from probing.types import Estimate, Values

LINE = ["data", "encoder", "masking"]
RANKED = ("comprehensiveness_scaled", "sufficiency_scaled", "comprehensiveness", "sufficiency", "words_to_flip", "monotonicity",
          "comprehensiveness_eraser", "sufficiency_eraser", "log_odds", "gold_f1", "gold_jaccard")  # fmt: skip
"""Measures of an order of the words: scores that are all equal have none."""
WITH_INTERVAL = ("comprehensiveness_scaled", "sufficiency_scaled")
MEANS = ("comprehensiveness", "sufficiency", "comprehensiveness_eraser", "sufficiency_eraser", "log_odds", "monotonicity",
         "tau_shapley", "tau_loo")  # fmt: skip
GOLD = ("chance_average_precision", "human_average_precision", "gold_f1", "human_f1", "gold_pointing", "gold_trapezoid")
COMPARED = {"comprehensiveness_scaled": 1, "sufficiency_scaled": 1, "gold_average_precision": 1}
"""Measures by which methods are compared, and the sign of better."""
LEAST_UNITS = 6
"""The fewest units of which an interval is given: a sign-flip test of five has no p below 0.05."""
DRAWS = 1000
"""Random pairings of sentences in the null of an agreement."""


def of_scores(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with scores; measures of an order are NaN where the scores rank nothing. `of`: the sentences of the data, encoder,
    masking and control, with those to which the method does not apply."""
    frame = frame[frame.kind == "scores"].assign(control=lambda own: own.control.fillna(""))
    frame["of"] = frame.groupby([*LINE, "control"]).sentence.transform("nunique")
    rows = frame[frame.get("scores", pd.Series(index=frame.index, dtype=object)).notna()].copy()
    unranked = ~rows.ranks.astype(bool)
    for name in RANKED:
        if name in rows:
            rows.loc[unranked, name] = np.nan
    return rows


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """A line for each data, encoder, masking, control and method; means with `_low` and `_high`, shares 0-1, plausibility of right
    predictions alone (`gold_errors`: mean average precision of the others)."""
    lines = []
    for key, part in rows.groupby([*LINE, "control", "method"], sort=False):
        line: dict[str, Any] = dict(zip([*LINE, "control", "method"], key, strict=True))
        line |= {"accuracy": part.accuracy.iloc[0], "sentences": len(part), "of": part.of.iloc[0]}
        line["units"] = part.cluster.nunique()
        line |= {"unranked": float((~part.ranks.astype(bool)).mean()), "gap": part.gap.median(), "gap_most": part.gap.max()}
        line |= {"rows": part.rows.median(), "infidelity": part.infidelity.median(), "beta": part.beta.median()}
        flips = part.words_to_flip[part.ranks.astype(bool)]
        line |= {"flips": float(flips.notna().mean()) if len(flips) else np.nan, "flip_words": flips.median()}
        line |= part.reindex(columns=MEANS).mean().to_dict()
        for name in WITH_INTERVAL:
            line |= _columns(name, mean_of_units(part[name], part.cluster))
        if "gold_average_precision" in part:
            right = part[part.predicted.astype(str) == part.label.astype(str)]
            errors = part.drop(right.index)
            line |= right.reindex(columns=GOLD).mean().to_dict()
            line |= _columns("gold_average_precision", mean_of_units(right.gold_average_precision, right.cluster))
            above = right.gold_average_precision - right.chance_average_precision
            line |= _columns("gold_above_chance", mean_of_units(above, right.cluster))
            line |= {"right": len(right), "gold_errors": errors.gold_average_precision.mean()}
        lines.append(line)
    return pd.DataFrame(lines)


def whole(rows: pd.DataFrame) -> pd.Series:
    """Whether the method of a row has scores of all sentences, (rows,)."""
    return rows.groupby([*LINE, "control", "method"]).sentence.transform("nunique") == rows.of


def mean_of_units(values: pd.Series, clusters: pd.Series | None = None) -> Estimate:
    """Their mean with its 95 % t interval over clusters, which is NaN for fewer than `LEAST_UNITS` of them."""
    known = values.dropna().astype(float)
    own = known.reset_index(drop=True) if clusters is None else clusters[known.index]
    units = len(known) if clusters is None else own.nunique()
    if units >= LEAST_UNITS:
        return mean_ci(known, None if clusters is None else own)
    return Estimate(float(known.mean()), np.nan, np.nan)


def comparisons(rows: pd.DataFrame) -> pd.DataFrame:
    """Every two methods on the same sentences, by the measures of `COMPARED`: the mean difference over units, and its p after Holm
    over the pairs and measures of a data, encoder and masking. Methods with scores of part of the sentences are left out: they may
    have chosen those (DeepLIFT those where its gap is small)."""
    lines = []
    for key, part in rows[(rows.control == "") & whole(rows)].groupby(LINE, sort=False):
        family = []
        for measure in COMPARED:
            if measure not in part or part[measure].isna().all():
                continue
            own = part if not measure.startswith("gold") else part[part.predicted.astype(str) == part.label.astype(str)]
            wide = own.pivot_table(measure, ["cluster", "sentence"], "method", sort=False, dropna=False)
            pairs = list(
                combinations([name for name in dict.fromkeys(part.method) if name in wide and wide[name].notna().any()], 2)
            )
            if not pairs:
                continue
            differences = np.stack([wide[a] - wide[b] for a, b in pairs], 1) * COMPARED[measure]
            units = by_cluster(differences, wide.index.get_level_values("cluster").to_numpy())
            with np.errstate(invalid="ignore"):
                means = np.nansum(units, 0) / (~np.isnan(units)).sum(0)
            for (a, b), mean, p in zip(pairs, means, sign_flips(units), strict=True):
                family.append(dict(zip(LINE, key, strict=True)) | {"measure": measure, "a": a, "b": b, "difference": mean, "p": p})
        tested = [line for line in family if not np.isnan(line["p"])]
        for line, p in zip(tested, holm([line["p"] for line in tested]), strict=True):
            line["p_holm"] = p
        lines += family
    return pd.DataFrame(lines)


def agreement(a: pd.DataFrame, b: pd.DataFrame, seed: int = 0) -> dict[str, float]:
    """Mean tau of two scorings of the same sentences, against other sentences of equal length.

    `tau`: over the `pairs` sentences that have another one of their length to be paired with (if none has, over all; the null is
    NaN then); `alone`: the others. `null`: mean tau with other sentences; `null_low`, `null_high`: 95 % of random pairings in which
    no sentence stays with itself. `p`: two-sided permutation test within lengths, in which the observed pairing is one of all, so
    that few sentences give no small p; NaN, as the band, where none below 0.05 is possible. `first`: share of equal first words.
    Of the sentences of a source (twins) with the same length the first one counts.

    Args:
        a, b: rows with `sentence`, `cluster`, `n` and `scores` as JSON.
    """
    columns = ["sentence", "cluster", "n", "scores"]
    both = a[columns].merge(b[["sentence", "scores"]], on="sentence", suffixes=("_a", "_b")).drop_duplicates(["cluster", "n"])
    x, y = ([np.array(json.loads(text), float) for text in both[name]] for name in ("scores_a", "scores_b"))
    rng, parts, alone = np.random.default_rng(seed), list[Values](), list[float]()
    for _, level, _ in by_length(x, y, both.cluster.to_numpy()):
        if len(level) > 1:
            parts.append(level)
        else:
            alone += level.diagonal().tolist()
    line = dict.fromkeys(("pairs", "alone", "tau", "null", "null_low", "null_high", "p", "first"), np.nan)
    line |= {"pairs": sum(map(len, parts)), "alone": len(alone)}
    if x:
        line["first"] = float(np.mean([u.argmax() == v.argmax() for u, v in zip(x, y, strict=True)]))
    if not parts:
        return line | ({"pairs": len(alone), "alone": 0, "tau": float(np.mean(alone))} if alone else {})
    line["tau"] = float(np.concatenate([level.diagonal() for level in parts]).mean())
    line["null"] = float(np.concatenate([(level.sum(1) - level.diagonal()) / (len(level) - 1) for level in parts]).mean())
    if 2 / math.prod(math.factorial(len(level)) for level in parts) > 0.05:
        return line
    line["null_low"], line["null_high"] = np.quantile(_paired(parts, rng, apart=True), [0.025, 0.975]).tolist()
    drawn = np.append(_paired(parts, rng, apart=False), line["tau"])  # the observed pairing is one of them
    sides = [(drawn >= line["tau"] - 1e-12).mean(), (drawn <= line["tau"] + 1e-12).mean()]
    return line | {"p": min(1.0, 2 * float(min(sides)))}


def _paired(parts: list[Values], rng: np.random.Generator, apart: bool) -> Values:
    """Mean tau of random pairings within each part, (DRAWS,); `apart`: of those in which no sentence stays with itself."""
    sums = np.zeros(DRAWS)
    for level in parts:
        own, orders = np.arange(len(level)), list[np.ndarray]()
        while len(orders) < DRAWS:
            drawn = rng.random((DRAWS, len(level))).argsort(1)
            orders += list(drawn[(drawn != own).all(1)] if apart else drawn)
        sums += level[own, np.array(orders[:DRAWS])].sum(1)
    return sums / sum(map(len, parts))


def agreements(rows: pd.DataFrame) -> pd.DataFrame:
    """Agreement of each method with itself: of the model with its random twin, of two maskings, of two encoders of a frame."""
    lines = []
    for (data, method), part in rows.groupby(["data", "method"], sort=False):
        kinds = {key: own for key, own in part.groupby(["encoder", "masking", "control"], sort=False)}
        for (one, a), (other, b) in combinations(kinds.items(), 2):
            differs = [x != y for x, y in zip(one, other, strict=True)]
            what = {(True, False, False): "encoders", (False, True, False): "maskings", (False, False, True): "control"}
            kind = what.get((differs[0], differs[1], differs[2]))
            if kind is None or (kind != "control" and one[2]) or (kind == "control" and "" not in (one[2], other[2])):
                continue
            line = {"data": data, "method": method, "kind": kind, "encoder": one[0], "masking": one[1]}
            line["other"] = (other if one[2] == "" else one)[{"encoders": 0, "maskings": 1, "control": 2}[kind]]
            lines.append(line | agreement(a, b))
    return pd.DataFrame(lines)


def of_layers(frame: pd.DataFrame) -> pd.DataFrame:
    """A line for each layer: probing accuracy, and means over sentences of T, tau with the head's Shapley values, entropy and the
    share of |phi| on gold words beside the share of words that are gold."""
    if "layer" not in frame:
        return pd.DataFrame()
    rows, lines = frame[frame.kind == "layer"], []
    probe = frame[frame.kind == "probe"].groupby(["data", "encoder", "layer"]).first() if (frame.kind == "probe").any() else None
    for key, part in rows.groupby([*LINE, "layer"], sort=False):
        line: dict[str, Any] = dict(zip([*LINE, "layer"], key, strict=True))
        place = (line["data"], line["encoder"], line["layer"])
        if probe is not None and place in probe.index:
            line |= {name: probe.loc[place, name] for name in ("probe", "probe_low", "probe_high")}
        for name in ("T", "tau_head", "entropy", "gold_share", "gold_chance"):
            if name in part:
                line |= _columns(name, mean_of_units(part[name], part.cluster))
        lines.append(line | {"sentences": len(part)})
    return pd.DataFrame(lines)


def _columns(name: str, x: Estimate) -> dict[str, float]:
    return {name: x.value, f"{name}_low": x.lower, f"{name}_high": x.upper}
