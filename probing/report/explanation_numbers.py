"""Numbers of the study `explanations` from its rows: a line for each method and masking, comparisons, agreement of models, layers.

The unit is the sentence; sentences of one source (`cluster`) are one unit. Means have 95 % t intervals over units; methods
are compared on the same sentences by sign-flip tests, Holm over the pairs of methods and the measures of an encoder, data and
masking. Agreement of two scorings is Kendall's tau-b on the same sentence; its null pairs it with another sentence of equal
length.
"""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from probing.attributions.ranks import taus
from probing.evaluation.paired_tests import holm
from probing.evaluation.sign_flips import by_cluster, sign_flips
from probing.evaluation.statistics import mean_ci
from probing.types import Estimate

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
DRAWS = 1000
"""Random pairings of sentences in the null of an agreement."""


def of_scores(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with scores; measures of an order are NaN where the scores rank nothing."""
    rows = frame[(frame.kind == "scores") & frame.get("scores", pd.Series(index=frame.index, dtype=object)).notna()].copy()
    rows["control"] = rows.control.fillna("")
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
        line |= {"accuracy": part.accuracy.iloc[0], "sentences": len(part), "units": part.cluster.nunique()}
        line |= {"unranked": float((~part.ranks.astype(bool)).mean()), "gap": part.gap.median(), "gap_most": part.gap.max()}
        line |= {"rows": part.rows.median(), "infidelity": part.infidelity.median(), "beta": part.beta.median()}
        flips = part.words_to_flip[part.ranks.astype(bool)]
        line |= {"flips": float(flips.notna().mean()) if len(flips) else np.nan, "flip_words": flips.median()}
        line |= part.reindex(columns=MEANS).mean().to_dict()
        for name in WITH_INTERVAL:
            line |= _columns(name, mean_ci(part[name], part.cluster))
        if "gold_average_precision" in part:
            right = part[part.predicted.astype(str) == part.label.astype(str)]
            errors = part.drop(right.index)
            line |= right.reindex(columns=GOLD).mean().to_dict()
            line |= _columns("gold_average_precision", mean_ci(right.gold_average_precision, right.cluster))
            above = right.gold_average_precision - right.chance_average_precision
            line |= _columns("gold_above_chance", mean_ci(above, right.cluster))
            line |= {"right": len(right), "gold_errors": errors.gold_average_precision.mean()}
        lines.append(line)
    return pd.DataFrame(lines)


def comparisons(rows: pd.DataFrame) -> pd.DataFrame:
    """Every two methods on the same sentences, by the measures of `COMPARED`: the mean difference over units, and its p after Holm
    over the pairs and measures of a data, encoder and masking."""
    lines = []
    for key, part in rows[rows.control == ""].groupby(LINE, sort=False):
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
    """Mean tau of two scorings of the same sentences, and the 95 % band of its null, in which the sentences of a length are paired
    at random (one that is alone in its length stays with itself); the share of equal first words.

    Args:
        a, b: rows with `sentence`, `n` and `scores` as JSON.
    """
    both = a[["sentence", "n", "scores"]].merge(b[["sentence", "scores"]], on="sentence", suffixes=("_a", "_b"))
    first, drawn, rng = [], [], np.random.default_rng(seed)
    for _, part in both.groupby("n"):
        x, y = (np.array([json.loads(text) for text in part[name]], float) for name in ("scores_a", "scores_b"))
        first += (x.argmax(1) == y.argmax(1)).tolist()
        order = rng.random((DRAWS, len(part))).argsort(1)
        order[0] = np.arange(len(part))  # the observed pairing is one of them
        drawn.append(taus(x, y)[np.arange(len(part)), order])  # (DRAWS, sentences)
    if not drawn:
        return dict.fromkeys(("pairs", "tau", "first", "null_low", "null_high"), np.nan)
    every = np.concatenate(drawn, 1)
    known = ~np.isnan(every)
    means = np.nansum(every, 1) / np.maximum(known.sum(1), 1)
    low, high = np.quantile(means, 0.025, method="lower"), np.quantile(means, 0.975, method="higher")
    line = {"pairs": float(known[0].sum()), "tau": float(means[0]), "null_low": float(low), "null_high": float(high)}
    return (line if known[0].any() else line | {"tau": np.nan}) | {"first": float(np.mean(first))}


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
                line |= _columns(name, mean_ci(part[name], part.cluster))
        lines.append(line | {"sentences": len(part)})
    return pd.DataFrame(lines)


def _columns(name: str, x: Estimate) -> dict[str, float]:
    return {name: x.value, f"{name}_low": x.lower, f"{name}_high": x.upper}
