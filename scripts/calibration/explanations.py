"""Measures how often the study `explanations` calls one method of scoring better than another, or above chance, where none is.

Usage: python scripts/calibration/explanations.py OUT [--scratch DIR] [--share 1.0]

Sentences are games of 4 to 7 words: effects of words, of pairs and of larger sets, logits of two classes. Methods score at random;
as a positive control one gives Shapley values. In `twins` two sentences of a cluster have nearly the same game and the same scores.
Statements are made by the study's own functions from rows as it writes them. Finished settings stay in SCRATCH. OUT: README.md,
explanations.csv, manifest.json.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from page import arguments, line, write
from run import COVERED, ERROR, kept

from probing.attributions.coalitions import CoalitionTable
from probing.attributions.faithfulness import deletion
from probing.attributions.plausibility import chance
from probing.interactions.game import all_coalitions, shapley
from probing.report.explanation_numbers import COMPARED, agreement, comparisons, of_scores, summary

LEVEL = 0.05
UNUSED = (
    *("comprehensiveness", "sufficiency", "words_to_flip", "infidelity", "beta", "tau_shapley", "tau_loo"),
    *("human_average_precision", "gold_f1", "human_f1", "gold_pointing"),
)
"""Columns of which no statement is made."""


def table_of(rng: np.random.Generator, n: int, like: CoalitionTable | None = None) -> CoalitionTable:
    """A random sentence; or one whose logits are nearly those of another."""
    if like is None:
        size = all_coalitions(n).sum(1)
        dividends = rng.standard_normal(2**n) * 0.6 ** np.maximum(size - 1, 0)
        logit = all_coalitions(n)[:, None, :] <= all_coalitions(n)[None]  # (T, S, n): whether T lies in S
        logits = np.zeros((2**n, 2))
        logits[:, 1] = dividends @ logit.all(2)
    else:
        logits = like.logits + 0.05 * rng.standard_normal(like.logits.shape)
    words = tuple(f"w{k}" for k in range(n))
    return CoalitionTable(words, "mask", ("0", "1"), logits, (), np.zeros((2**n, 0)), 2**n)


def rows_of(rng: np.random.Generator, sentences: int, twins: bool, shapley_too: bool) -> pd.DataFrame:
    """The rows of a study with the methods a and b, which score at random (or a by Shapley values), and gold words at random."""
    rows: list[dict[str, Any]] = []
    previous: tuple[CoalitionTable, dict[str, np.ndarray], np.ndarray] | None = None
    for number in range(sentences):
        if twins and number % 2 and previous is not None:
            table, (scores, gold) = table_of(rng, previous[0].n_players, previous[0]), previous[1:]
        else:
            n = int(rng.integers(4, 8))
            table, gold = table_of(rng, n), rng.permutation(n) < 2
            scores = {name: rng.standard_normal(n) for name in ("a", "b")}
            if shapley_too:
                scores["a"] = shapley(table.value())
        previous = (table, scores, gold)
        shared = {"kind": "scores", "data": "d", "encoder": "e", "control": "", "masking": "mask", "accuracy": 1.0, "n": len(gold)}
        shared |= {"sentence": number, "cluster": number // 2 if twins else number, "label": "1", "predicted": "1"}
        by_chance = chance(len(gold), int(gold.sum()))["average_precision"]
        for name, own in scores.items():
            row = shared | {"method": name, "ranks": True, "gap": np.nan, "rows": 0, "scores": json.dumps(own.tolist())}
            row["comprehensiveness_scaled"], row["sufficiency_scaled"] = deletion(table.logits, own).scaled(table.probabilities)
            ranked = gold[np.argsort(-own)]
            precision = np.cumsum(ranked) / np.arange(1, len(own) + 1)
            row |= {"gold_average_precision": precision[ranked].mean(), "chance_average_precision": by_chance}
            rows.append(row)
    return of_scores(pd.DataFrame(rows).assign(**dict.fromkeys(UNUSED, np.nan)))


def counted(runs: int, sentences: int, twins: bool = False, shapley_too: bool = False) -> dict[str, int]:
    counts: Counter[str] = Counter(runs=runs)
    for run in range(runs):
        rows = rows_of(np.random.default_rng([run, sentences, twins, shapley_too]), sentences, twins, shapley_too)
        pairs = comparisons(rows)
        counts["family"] += int((pairs.p_holm < LEVEL).any())
        for measure in COMPARED:
            counts[measure] += int((pairs[pairs.measure == measure].p < LEVEL).any())
        first, second = (row for _, row in summary(rows).iterrows())
        counts["above chance"] += int(second.comprehensiveness_scaled_low > 0)
        counts["above chance there"] += int(first.comprehensiveness_scaled_low > 0)
        counts["gold above chance"] += int(second.gold_above_chance_low > 0)
        agreed = agreement(*(rows[rows.method == name] for name in ("a", "b")))
        counts["agreement"] += int(agreed["p"] < LEVEL)
    return dict(counts)


SETTINGS: dict[str, dict[str, Any]] = {
    "two random scorings, 50 sentences": {"runs": 1000, "sentences": 50},
    "two random scorings, 12 sentences": {"runs": 300, "sentences": 12},
    "two random scorings, 6 sentences": {"runs": 300, "sentences": 6},
    "two random scorings, 50 sentences in 25 pairs of twins": {"runs": 150, "sentences": 50, "twins": True},
    "Shapley values and a random scoring, 50 sentences": {"runs": 30, "sentences": 50, "shapley_too": True},
}
STATEMENTS = {
    "A better than B, any measure after Holm": "family",
    "A better than B, comprehensiveness alone": "comprehensiveness_scaled",
    "A better than B, average precision of gold alone": "gold_average_precision",
    "random comprehensiveness above chance": "above chance",
    "random average precision above chance": "gold above chance",
    "agreement of A and B other than that of other sentences": "agreement",
}
RIGHT = {"A better than B, any measure after Holm": "family", "A's comprehensiveness above chance": "above chance there"}


def main() -> None:
    args = arguments()
    lines, seconds = list[dict[str, Any]](), 0.0
    for about, options in SETTINGS.items():
        right, given = "shapley_too" in options, options | {"runs": max(2, round(options["runs"] * args.share))}
        counts, spent = kept(args.scratch, f"explanations {about}", given["runs"], lambda own=given: counted(**own))
        seconds += spent
        for statement, name in (RIGHT if right else STATEMENTS).items():
            kind, wrong = (COVERED if right else ERROR), "" if not right else " (right there)"
            lines.append(line(statement + wrong, about, kind, counts.get(name, 0), counts["runs"]))
    write(args.out, "explanations", HEAD, lines, seconds)


HEAD = """# Calibration of the study of explanations

Error: share of runs that make the statement though it is wrong (promised: at most 5 %; above chance: at most 2.5 %, one end of a
95 % interval). In the column of coverage: share of runs that make it where it is right. In brackets the 95 % interval of the share
itself. Sentences are random games of 4 to 7 words, two of them gold at random; scores are normal draws.

    python scripts/calibration/explanations.py results/calibration-explanations"""


if __name__ == "__main__":
    main()
