"""The comparison of runs (`probing.evaluation.run_comparison`) as Markdown, and its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from probing.evaluation.run_comparison import ALPHA, RunComparison
from probing.files import replace_file
from probing.report.markdown import md_table
from probing.report.summary import p_value, percent, span


def text_of(compared: RunComparison) -> str:
    """Letters by task, pairs with effect sizes in points, and ranks over the common tasks."""
    parts = ["# Runs compared", about(compared), md_table(letters_table(compared)), "## Pairs", md_table(pairs_table(compared))]
    if len(compared.common):
        tasks = len(compared.common)
        parts += [f"## Over the {tasks} task{'s' * (tasks != 1)} that all entries have", about_ranks(compared)]
        parts += [md_table(over_tasks_table(compared)), md_table(ranks_table(compared))]
    else:
        parts.append("No task is common to all entries, so there are no ranks.")
    return "\n\n".join(parts) + "\n"


def about(compared: RunComparison) -> str:
    n = len(compared.pairs)
    return (
        f"Paired tests on the same test items; every entry at its dev-best layer. Family of Holm's correction: all {n} "
        f"comparison{'s' * (n != 1)} of the second table. Entries of a task that share a letter are not separated ({ALPHA:g}). "
        "Scores in percent, differences (a - b) in points with their 95 % interval."
    )


def about_ranks(compared: RunComparison) -> str:
    n = len(compared.over_tasks)
    return (
        f"Mean over the tasks as they are; test items are what is drawn anew. Holm over these {n} pair{'s' * (n != 1)}. "
        "A rank's interval holds for all entries at once (95 %)."
    )


def letters_table(compared: RunComparison) -> pd.DataFrame:
    """A line for each task and entry: place, score, interval, letters."""
    return pd.DataFrame(
        [
            {
                "task": row.task, "entry": row.entry, "layer": row.at, "score": percent(row.score),
                "95 % interval": span(row.low, row.high, "–"), "letters": row.letters,
            }
            for row in compared.tasks.itertuples()
        ]
    )  # fmt: skip


def pairs_table(compared: RunComparison) -> pd.DataFrame:
    """A line for each task and pair: difference, interval, p."""
    return pd.DataFrame(
        [
            {"task": row.task, "a": f"{row.a} {row.a_at}", "b": f"{row.b} {row.b_at}", **_effect(row)}
            for row in compared.pairs.itertuples()
        ]
    )


def over_tasks_table(compared: RunComparison) -> pd.DataFrame:
    """A line for each pair over the common tasks."""
    return pd.DataFrame([{"a": row.a, "b": row.b, **_effect(row)} for row in compared.over_tasks.itertuples()])


def ranks_table(compared: RunComparison) -> pd.DataFrame:
    """A line for each entry over the common tasks: mean score, rank and its interval."""
    return pd.DataFrame(
        [
            {
                "entry": row.entry, "mean score": percent(row.mean), "rank": row.rank,
                "rank interval": f"{row.rank_low}-{row.rank_high}",
            }
            for row in compared.ranks.itertuples()
        ]
    )  # fmt: skip


def _effect(row: Any) -> dict[str, str]:
    value, low, high = (f"{100 * x:+.1f}" for x in (row.difference, row.low, row.high))
    return {"difference": value, "95 % interval": f"{low} to {high}", "p": p_value(row.p), "p_holm": p_value(row.p_holm)}


def write(compared: RunComparison, folder: Path) -> None:
    """compare.md, and the frames with exact numbers, 0-1: pairs.csv, tasks.csv, over_tasks.csv, ranks.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = {name: getattr(compared, name) for name in ("tasks", "over_tasks", "ranks")}
    frames["pairs"] = compared.pairs.drop(columns=["variances"])
    for name, frame in frames.items():
        replace_file(folder / f"{name}.csv", frame.to_csv(index=False).encode())
    replace_file(folder / "compare.md", text_of(compared).encode())
