"""Agreement of flash with the full run, by layers, ranks and encoders, and the report of `flash.py`."""

import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau, rankdata

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import table


def agreement(result, full) -> list[dict]:
    """A line for each task: tau over all pairs of layers and over those that the full run separates, and the best layers."""
    lines = []
    ours, whole = (one.frame[one.frame.role == "probe"].set_index(["task", "layer"]) for one in (result.table, full))
    bests = full.best().set_index("task")
    for answer in result.answers[result.answers.task.isin(bests.index)].itertuples():
        sample, reference = ours.loc[answer.task].sort_index(), whole.loc[answer.task].sort_index()
        apart = right = wrong = 0
        for a, b in combinations(reference.index, 2):
            low, high = sorted((a, b), key=lambda layer: reference.accuracy[layer])
            if reference.accuracy_high[low] < reference.accuracy_low[high]:
                apart += 1
                right += sample.accuracy[low] < sample.accuracy[high]
                wrong += sample.accuracy[low] > sample.accuracy[high]
        best = bests.loc[answer.task]
        tied = [layer for layer, _ in best.not_separated]
        lines.append(
            {
                "task": answer.task, "n_train": answer.n_train, "n_test": answer.n_test, "classes": answer.n_classes,
                "accuracy": answer.accuracy, "full_accuracy": reference.accuracy[best.layer],
                "best": answer.layer, "full_best": best.layer, "full_tied": " ".join(map(str, tied)),
                "in_tied": answer.layer in tied, "tau": kendalltau(sample.accuracy, reference.accuracy).statistic,
                "pairs_apart": apart, "tau_apart": (right - wrong) / apart if apart else float("nan"),
                "half_width": answer.half_width, "why": answer.why,
            }
        )  # fmt: skip
    return lines


def ranked(result, full) -> list[dict]:
    """The rank in the sample and in the full run of each layer, in each task and by the mean over tasks."""
    lines = []
    frames = (one.frame[one.frame.role == "probe"] for one in (result.table, full))
    ours, whole = (frame.pivot(index="task", columns="layer", values="accuracy") for frame in frames)
    whole = whole.loc[ours.index]
    for task, a, b in [*zip(ours.index, ours.to_numpy(), whole.to_numpy(), strict=True), ("mean", ours.mean(), whole.mean())]:
        ranks = zip(ours.columns, rankdata(-np.asarray(a)), rankdata(-np.asarray(b)), strict=True)
        lines += [{"task": task, "layer": layer, "rank": rank, "full_rank": full_rank} for layer, rank, full_rank in ranks]
    return lines


def resolution(ranks: pd.DataFrame) -> float:
    """The least number that 95 % of the absolute rank differences do not exceed."""
    return float(np.quantile((ranks["rank"] - ranks.full_rank).abs(), 0.95, method="inverted_cdf")) if len(ranks) else float("nan")


def ranked_encoders(tasks: pd.DataFrame) -> pd.DataFrame:
    """The rank in the sample and in the full run of each encoder, by task, precision and seed."""
    groups = tasks.groupby(["precision", "seed", "task"])
    ranks = {name: groups[column].rank(ascending=False) for name, column in (("rank", "accuracy"), ("full_rank", "full_accuracy"))}
    return tasks[["precision", "seed", "task", "encoder"]].assign(**ranks)


def markdown(runs: pd.DataFrame, tasks: pd.DataFrame, ranks: pd.DataFrame, rates: dict[str, float], colds: dict) -> str:
    lines = [
        "# Flash against the full run",
        "",
        f"Processor seconds on one thread; extraction: {', '.join(f'{n} {1000 * r:.2f} ms' for n, r in rates.items())} a sentence.",
        "Means over seeds; tau: lowest and mean over tasks and seeds. Apart: over pairs of layers whose 95 % intervals do not",
        "overlap in the full run. Rank resolution: 95 % of the ranks of layers, in each task and by the mean of the tasks, differ",
        "by no more from those in the full run.",
        "",
    ]
    header = "encoder | precision | n train | rounds | seconds | full | **ratio** | tau, all pairs | tau, pairs apart"
    header += " | tasks at 0.9: all pairs | apart | best in the tied set | rank resolution: in a task | mean | why"
    rows = []
    keys = ["encoder", "precision"]
    for key, part in runs.groupby(keys, sort=False):
        line, rank = (frame[(frame[keys] == key).all(axis=1)] for frame in (tasks, ranks))
        rows.append([
            key[0], f"{key[1]:g}", f"{part.n.mean():.0f}", f"{part.rounds.mean():.1f}", f"{part.seconds.mean():.0f}",
            f"{part.full_seconds.mean():.0f}", f"**{part.ratio.mean():.1f}** ({part.ratio.min():.1f}-{part.ratio.max():.1f})",
            *(f"{tau.min():.2f}, {tau.mean():.2f}" for tau in (line.tau, line.tau_apart)),
            *(f"{(tau >= 0.9).sum()} of {tau.count()}" for tau in (line.tau, line.tau_apart)),
            f"{int(line.in_tied.sum())} of {len(line)}",
            *(f"{resolution(group):g}" for group in (rank[rank.task != "mean"], rank[rank.task == "mean"])),
            ", ".join(dict.fromkeys(part.why)),
        ])  # fmt: skip
    lines += table(header.split(" | "), rows)
    if tasks.encoder.nunique() > 2:
        encoders = ranked_encoders(tasks)
        each = [f"{resolution(part):g} at {precision:g}" for precision, part in encoders.groupby("precision", sort=False)]
        lines += ["", f"Rank resolution of the {tasks.encoder.nunique()} encoders in a task, by precision: {', '.join(each)}."]
    for name, cold in colds.items():
        lines += ["", f"{name}, cold, precision {cold['precision']:g}, seed {cold['seed']}: {cold['seconds']:.0f} s measured, "
                  f"{cold['charged']:.0f} s by the sum above."]  # fmt: skip
    shown = tasks.drop(columns="why").round({"tau": 2, "tau_apart": 2, "half_width": 1, "accuracy": 3, "full_accuracy": 3})
    lines += ["", "## Task by task", "", *table(shown.columns, shown.itertuples(index=False))]
    return "\n".join(lines) + "\n"
