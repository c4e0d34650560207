"""Notes below the tables: intervals, tests, controls, power, data, encoders and versions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from probing.evaluation.metrics import in_words, title
from probing.evaluation.paired_tests import DEPENDENCE
from probing.evaluation.table import ResultTable
from probing.probes.controls import LEAK_ALPHA, LOW_CEILING
from probing.report.summary import MARKS, percent

FLASH = (
    "These are the last samples of a search by flash: its answer is flash.md. Tests are at 5 % and intervals at 95 % of these "
    "samples alone; they do not account for the looks at smaller samples before, nor for the choice of the size."
)
"""The first lines of the tables of such a run."""

_NAMES = [columns for n in (1, 2, 3) for columns in combinations(("paper_name", "encoder", "probe"), n)]
_LOST = (("failed", "failed and are missing from the tables"), ("missing", "are not measured yet"))


def footer(table: ResultTable, best: pd.DataFrame) -> list[str]:
    """Notes on the numbers of the probes, line by line."""
    frame = table.frame
    probes = ", ".join(dict.fromkeys(p for p in frame.probe if p))
    seeds = sorted({int(s) for s in frame.seed[frame.role != "resample"].dropna()})
    test = tests_of(best)
    lines = [
        f"Protocol: {probes}. Best layer and pooling chosen on dev; scores are test. Intervals: 95 %, for accuracy Wilson's.",
        *_metric_notes(best),
        *over(best, drawn_subsets(table)),
        f"Not separated from it: the layers and poolings for which the test against the best, on the same items ({test}), gives "
        "p ≥ 0.05 after Holm over the layers and poolings of the line; other tasks, encoders and probes play no part. The best is "
        "among them; + marks layers that are separated from it and better on test, which are not counted. All in layers.csv.",
        f"† {MARKS['†'].meaning} (those that read the text, static, each draw of random weights): it is "
        "not above one of them, or the test on the same items gives p ≥ 0.05 (all must be passed, each at 0.05). "
        f"‡ {MARKS['‡'].meaning}. ¶ {MARKS['¶'].meaning}.",
        f"Seeds: {seeds or 'none matters'} (train subsets, control labels, random weights, and probes that draw; a cell that no "
        "seed can change is measured once); with several, scores are means over them.",
        *_control_notes(table),
    ]
    if (best.random_n > 0).any():
        lines.append("Random weights: each draw at its own dev-best layer and pooling; mean ± standard deviation over draws.")
    if untested := best[(best.floor == "") & (best.seeds > 0)].paper_name.unique().tolist():
        lines.append(f"No floor was measured, so that a missing † says nothing: {', '.join(untested)}.")
    if table.frame.n_folds.notna().any():
        lines.append(
            f"Cross-validated tasks: fits share train sentences; standard errors of differences are multiplied by {DEPENDENCE}."
        )
    if best.groupby(["task", "probe"]).encoder.nunique().max() > 1:
        lines.append(
            f"Encoders compared: {test} on the same items, each at its dev-best layer, Holm over all pairs, tasks and probes "
            "of the table; encoders of a task that share a letter are not separated at 0.05."
        )
    lines += _power(best)
    fits = frame[(frame.status == "done") & (frame.role != "floor")].drop_duplicates("cell")
    if ends := [f"{n} at the {end}" for end, n in fits.edge.value_counts().items() if end]:
        lines.append(
            f"¶ {' and '.join(ends)} of the grid, of {len(fits)} fitted cells (edge in the column facets of rows.csv). "
            "At the upper end of a grid of C the dev accuracy is a lower bound: a wider grid can only raise it; the test accuracy "
            "may move either way."
        )
    if not_converged := table.not_converged():
        lines.append(f"{not_converged} of {len(frame)} cells did not converge (converged in the column facets of rows.csv).")
    counts = frame.drop_duplicates("cell").status.value_counts()
    if lost := [f"{counts[status]} cells {reason}" for status, reason in _LOST if status in counts]:
        lines.append(
            f"§ {' and '.join(lost)}: see the column missing, and rows.csv for the reasons. Best layers are chosen and compared "
            "among the others."
        )
    return lines


def _metric_notes(best: pd.DataFrame) -> list[str]:
    """How scores other than accuracy are chosen by, tested, and measured by a constant."""
    if in_words(best.metric) == "accuracy":
        return []
    mains = {name: best.paper_name[best.metric == name] for name in dict.fromkeys(best.metric) if name}
    chosen = ", ".join(f"{title(name)} ({', '.join(dict.fromkeys(tasks))})" for name, tasks in mains.items())
    return [
        f"Score: the metric by which the layers of a task are chosen and compared: {chosen}. Intervals and tests of those other "
        "than accuracy are t intervals and t tests of their linearised values by item (of AUROC after DeLong et al. 1988); metrics "
        "beside the score have bootstrap intervals. A constant has AUROC 50, the mean of test R² 0. All × 100."
    ]


def made_of(cards: Mapping[str, Any], encoders: Mapping[str, Any], versions: Sequence[Mapping[str, str]]) -> list[str]:
    """Data, encoders and versions that made the numbers; no date, so that the same cells give the same bytes."""
    lines = []
    for name, card in cards.items():
        note = f"; {'; '.join(card['notes'])}" if card["notes"] else ""
        sizes = "/".join(str(n) for n in card["n"].values())
        drawn = f"; train is a subset, drawn by the seed (train_size={size})" if (size := card.get("train_size")) else ""
        labels = f"{card['n_classes']} classes" if "n_classes" in card else "numbers"
        unit = card.get("unit", "sentences")
        lines.append(f"Data {name}: {sizes} {unit} (train/dev/test{drawn}), {labels}, sha256 {card['sha256'][:16]}{note}.")
    for name, about in encoders.items():
        lines.append(f"Encoder {name}: {about['origin']}; fingerprint {about['fingerprint'][:16]}; {_reading(about['reading'])}.")
    lines += ["Computed with " + ", ".join(f"{k} {v}" for k, v in one.items()) + "." for one in versions]
    return lines


def drawn_subsets(table: ResultTable) -> set[str]:
    """The tasks with another train subset for each seed, so that the variance between seeds holds that between train subsets."""
    of_layers = table.frame[table.frame.role == "probe"]
    return {str(task) for task, n in of_layers.groupby("task").data_sha256.nunique().items() if n > 1}


def over(best: pd.DataFrame, drawn: Collection[str] = ()) -> list[str]:
    """The sources of variance that intervals and tests contain, and those that they do not; `drawn`: see `drawn_subsets`."""
    best = best[best.seeds > 0]
    if best.empty:
        return []
    within, sources = "".join(best.interval_over), best.interval_over.str
    over_train = sources.contains("train halves") | (sources.contains("seeds") & best.task.isin(drawn))
    if over_train.all():
        reach = "and other train splits of this size."
    elif over_train.any():
        reach = f"and other train splits of this size, but those of {_told_apart(best, over_train)[False]} only for these fits."
    else:
        reach = "and these fits; they do not contain the variance between train splits."
    lines = [f"Intervals and tests are over {interval_over(best)}: they hold for other test sentences of the same kind {reach}"]
    if "groups" in within:
        lines.append("Groups: test items of one source; they are drawn, and their differences change sign, together.")
    if "seeds" in within:
        lines.append("Seeds: the interval is one of the mean over seeds, and holds the variance between them.")
    if "train halves" in within:
        lines.append(
            "Train halves: the layers were fitted again on random halves of the train split, and the variance between these fits "
            "estimates that between train splits of the full size (rows resample of rows.csv). Floors have none: † is not over it."
        )
    return lines


def interval_over(best: pd.DataFrame) -> str:
    """What intervals and tests are over, in words, with the names of the lines where these differ."""
    best = best[best.seeds > 0]
    kinds = best.interval_over.unique()
    if len(kinds) < 2:
        return "".join(kinds)
    return "; ".join(f"{over} ({names})" for over, names in _told_apart(best, best.interval_over).items())


def _told_apart(best: pd.DataFrame, kinds: pd.Series) -> dict[Any, str]:
    """Kind -> the names of its lines: those of tasks, encoders or probes, or several of them, if no other kind has the same."""
    for columns in _NAMES:
        names = best[[*columns]].agg(" ".join, axis=1)
        if kinds.groupby(names).nunique().max() == 1:
            break
    return {kind: ", ".join(names[kinds == kind].unique()) for kind in kinds.unique()}


def tests_of(best: pd.DataFrame) -> str:
    """The paired tests of the table, by name."""
    done = best[best.seeds > 0]
    kinds = {"t test" if "seeds" in over or "halves" in over or metric != "accuracy" else
             "exact sign-flip test of groups" if "groups" in over else "exact McNemar test"
             for over, metric in zip(done.interval_over, done.metric, strict=True)}  # fmt: skip
    return " or ".join(sorted(kinds)) or "exact McNemar test"


def _power(best: pd.DataFrame) -> list[str]:
    """A line per task: the smallest difference between layers that its test split could have shown."""
    lines = []
    several = best.encoder.nunique() > 1 or best.probe.nunique() > 1
    for _, rows in best[best.can_show.notna()].groupby("task", sort=False):
        parts = []
        for row in rows.itertuples():
            who = " ".join([row.encoder] + [row.probe] * (best.probe.nunique() > 1)) + ": " if several else ""
            parts.append(who + (f"{percent(row.can_show)} points" if np.isfinite(row.can_show) else "none, however large"))
        lines.append(
            f"Power, {rows.paper_name.iloc[0]} ({rows.n_test.iloc[0]} test items): the smallest difference between a layer and the "
            f"best that is separated with a probability of 80 % at the first step of Holm: {', '.join(parts)}."
        )
    return lines


def _control_notes(table: ResultTable) -> list[str]:
    """What the columns of the control tasks mean."""
    notes = []
    reached = table.role("ceiling").groupby(["encoder", "task"], sort=False).score.mean()
    bag, look_up = (reached.get(name, pd.Series(dtype=float)) for name in ("word bag", "word look-up"))
    of_words = [task for task in look_up.index if task not in bag]
    if "word" in table.controls and (len(bag) or not of_words):
        known = [f"at least {percent(reached[name].min())} % by {how}" for name, how in _CEILINGS if name in reached]
        notes.append(
            "Control (word): each sentence has the random label of one of its words, with the label histogram of the task. "
            "Selectivity: score minus score on this control task, same layer, pooling and probe (Hewitt & Liang 2019). "
            f"Ceiling: what words alone reach there{': ' * bool(known)}{', '.join(known)}. A task that few words decide is easier "
            "than this control, whose words are many, so that word identity alone can give a positive selectivity: compare with "
            "nb-unigram and the ceiling. n/a: too few words for the classes."
        )
        if low := [task for task, value in bag.items() if value < LOW_CEILING]:
            notes.append(
                f"◊ Warning: a bag of words reaches less than {100 * LOW_CEILING:.0f} % on the word control of {', '.join(low)}: "
                "it is hard to learn there, and selectivity says little."
            )
    if of_words:
        notes.append(
            f"Control (word) of {', '.join(of_words)}: each word type, with letter case, has one random label in all splits, drawn "
            "from the shares of the labels in train (Hewitt & Liang 2019). Ceiling: the control labels of the types of train, else "
            "its most frequent one. A probe that remembers words reaches it, so that selectivity cannot fall far below score minus "
            "ceiling: compare selectivities of one draw and one ceiling. Intervals are over test items, for these draws."
        )
    if "permuted" in table.controls:
        notes.append(
            "Leak check: test score on labels shuffled within each split, where nothing can be learned; but a sentence that "
            "occurs in several splits (the same words, in any order and letter case) has one label in all of them. ‖ above the "
            f"share of the largest class (one-sided binomial test, p < {LEAK_ALPHA} after Holm over the lines): such sentences, or "
            "an error in the set-up. It sees copies as far as the probe remembers its train labels, and no near-copies with other "
            "words."
        )
    return notes


_CEILINGS = (("word look-up", "a look-up of the deciding word"), ("word bag", "logistic regression on the bag of words"))


def _reading(reading: Mapping[str, int]) -> str:
    """How an encoder reads the sentences, in words."""
    parts = [f"{reading.get('truncated', 0)} sentences truncated"]
    if reading.get("alike"):
        parts.append(f"{reading['alike']} with the tokens of another one")
    if reading.get("tokens"):
        parts.append(f"{100 * reading['unknown'] / reading['tokens']:.2g} % of the tokens unknown")
    return ", ".join(parts)
