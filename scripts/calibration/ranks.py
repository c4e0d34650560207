"""Measures the error of `probing compare` where the truth is known: pairs called different, and rank intervals over tasks.

Usage: python scripts/calibration/ranks.py OUT [--runs 200]

Planted: whether each entry has each test item right, with one difficulty of an item for all entries. Counted in each setting: runs
in which a pair of equal entries is separated on a task or over the tasks, and runs in which the rank interval of every entry holds
all ranks that its true score allows. OUT: README.md, ranks.csv, manifest.json.
"""

import argparse
import itertools
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from run import COVERED, ERROR
from scipy.stats import norm

from probing.evaluation.rows import Row
from probing.evaluation.run_comparison import ALPHA, RunComparison
from probing.evaluation.statistics import wilson
from probing.evaluation.table import ResultTable

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import manifest, table, write_json

SETTINGS = {
    "4 equal entries, 3 tasks of 400 items": ((0.7, 0.7, 0.7, 0.7), 3, 400, 1),
    "4 equal entries, 3 tasks of 400 items in 100 groups": ((0.7, 0.7, 0.7, 0.7), 3, 400, 4),
    "2 equal entries 4 points above 2 equal ones, 3 tasks of 1,000 items": ((0.74, 0.74, 0.7, 0.7), 3, 1000, 1),
}
"""About -> true scores of the entries, tasks, test items of a task, items of a group."""


def planted(rng: np.random.Generator, shares: tuple[float, ...], n: int, size: int) -> list[np.ndarray]:
    """Whether each entry is right, (n,) each: difficulty of an item and of its group, and chance, of equal variance."""
    shared = rng.normal(size=n) + (np.repeat(rng.normal(size=n // size), size) if size > 1 else 0.0)
    scale = np.sqrt(3.0 if size > 1 else 2.0)
    own = [np.repeat(rng.normal(size=n // size), size) if size > 1 else rng.normal(size=n) for _ in shares]
    return [(shared + one) / scale < norm.ppf(share) for one, share in zip(own, shares, strict=True)]


def one_run(seed: int, shares: tuple[float, ...], tasks: int, n: int, size: int) -> RunComparison:
    rng, rows, right = np.random.default_rng(seed), [], dict[str, np.ndarray]()
    groups = np.repeat(np.arange(n // size), size) if size > 1 else None
    for task in range(tasks):
        for k, correct in enumerate(planted(rng, shares, n, size)):
            cell = f"{task}-{k}"
            right[cell], score = correct, float(correct.mean())
            entries = {"accuracy": score, "accuracy_low": score, "accuracy_high": score, "dev_accuracy": score, "macro_f1": score}
            where = {"task": f"t{task}", "paper_name": f"t{task}", "test_sha256": f"t{task}", "data_sha256": f"t{task}"}
            more = {"n_test": n, "n_groups": n // size, "n_classes": 2, "majority": 0.5, "n_train": 1, "cell": cell}
            rows.append(Row.flat(role="probe", encoder=f"e{k}", layer=1, pooling="mean", probe="p", **where, **more, **entries))
    gold = np.zeros(n, int)
    return RunComparison.of({"run": ResultTable.of(rows, lambda cell: (gold, np.where(right[cell], 0, 1)), lambda cell: groups)})


def counts(runs: int, shares: tuple[float, ...], tasks: int, n: int, size: int) -> dict[str, int]:
    """In how many runs each statement is made."""
    equal = {frozenset((f"e{i}", f"e{j}")) for i, j in itertools.combinations(range(len(shares)), 2) if shares[i] == shares[j]}
    first = {f"e{k}": 1 + sum(other > share for other in shares) for k, share in enumerate(shares)}
    last = {f"e{k}": len(shares) - sum(other < share for other in shares) for k, share in enumerate(shares)}
    total = {"task": 0, "over tasks": 0, "ranks": 0}
    for seed in range(runs):
        compared = one_run(seed, shares, tasks, n, size)
        for name, frame in (("task", compared.pairs), ("over tasks", compared.over_tasks)):
            total[name] += any(row.p_holm < ALPHA and frozenset((row.a, row.b)) in equal for row in frame.itertuples())
        rows = compared.ranks.itertuples()
        total["ranks"] += all(row.rank_low <= first[row.entry] and row.rank_high >= last[row.entry] for row in rows)
    return total


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=int, default=200)
    args = parser.parse_args()
    lines, start = [], time.process_time()
    for about, setting in SETTINGS.items():
        own = counts(args.runs, *setting)
        for statement, kind, count in (
            ("equal entries separated on a task", ERROR, own["task"]),
            ("equal entries separated over the tasks", ERROR, own["over tasks"]),
            ("rank intervals of all entries", COVERED, own["ranks"]),
        ):
            share = wilson(count, args.runs)
            line = {"statement": statement, "setting": about, "runs": args.runs, "kind": kind}
            lines.append(line | {"share": share.value, "low": share.lower, "high": share.upper})
        print(about, own, f"{time.process_time() - start:.0f} s", flush=True)
    frame = pd.DataFrame(lines)
    args.out.mkdir(parents=True, exist_ok=True)
    frame.round(4).to_csv(args.out / "ranks.csv", index=False)
    write_json(args.out / "manifest.json", manifest(processor_seconds=round(time.process_time() - start)))
    shown = []
    for row in frame.itertuples():
        text = f"{100 * row.share:.1f} % [{100 * row.low:.1f}, {100 * row.high:.1f}]"
        shown.append([row.statement, row.setting, row.runs, *(text if row.kind == kind else "" for kind in (ERROR, COVERED))])
    body = table(["statement", "planted", "runs", "error", "coverage"], shown)
    (args.out / "README.md").write_text("\n".join([HEAD, "", *body]) + "\n", encoding="utf-8")


HEAD = """# Calibration of `probing compare`

Entries whose true scores are known, on the same test items. Error: share of runs that separate two equal entries (promised: at
most 5 %). Coverage: share of runs in which the rank interval of every entry holds all ranks that its true score allows. In
brackets the 95 % interval of the share.

    python scripts/calibration/ranks.py results/calibration-ranks"""

if __name__ == "__main__":
    main()
