"""The formula table: every family of expressions x method, links found, and what that cost.

Usage: python scripts/synthetic.py OUT [--functions 1000] [--learned 60] [--large 20] [--methods a,b]
Formulas of 5-7 and 8-12 variables, and `--large` of 13-20; one random segment each. The first `--learned` formulas of a cell go to
learned_p. Sampled methods get a quarter of the exact rows, or their minimum. Scores pool links, with 95 % bootstrap intervals
over formulas; `*_tied_out` leaves out the links that are exact ties. OUT: table.csv, table.md, manifest.json.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from probing.cells import versions
from probing.expressions import FAMILIES, generate, random_segment
from probing.interactions.intervals import exact_rows, minimum_rows
from probing.interactions.scoring import METHODS, count, find_links, pooled

NOTE = """# Links found in formulas

Accuracy over links in % with its 95 % interval (bootstrap over formulas) · F1 of the bound links; - where no link is to be scored.
An interval without width says that no formula had an error: with N formulas an error in fewer than 3 / N of them is not excluded.
Links of the first three families are scored on the best partition, of the others on best and worst.
learned_p has the first formulas of a cell only, at most 60 by default; table.csv has all scores and counts."""


def cell(family: str, variables: tuple[int, int], method: str, functions: int) -> dict:
    counts, rows = [], []
    for i, e in enumerate(generate(family, functions, variables)):
        start, stop = random_segment(e.n_players, np.random.default_rng(i))
        m, k = stop - start, e.n_players - stop + start
        budget = max(exact_rows(m, k) // 4, minimum_rows(m, k, method)) if method in ("sampled", "regression") else None
        found, truth = find_links(e, (start, stop), method, budget, seed=i), e.truth((start, stop))
        counts.append([count(found, truth, e.sides, free) for free in (True, False)])
        rows.append(found.rows)
    size = f"{variables[0]}-{variables[1]}"
    row = {"family": family, "variables": size, "method": method, "functions": functions, "rows": np.mean(rows)}
    for at, column in enumerate(("", "_tied_out")):
        part = np.array(counts)[:, at]
        row[f"links{column}"] = int(part.sum())
        for name, score in pooled(part).items():
            row |= {f"{name}{column}": score.value, f"{name}{column}_lower": score.lower, f"{name}{column}_upper": score.upper}
    return row


def shown(row: pd.Series, column: str) -> str:
    value, lower, upper, f1 = (
        100 * row[name] for name in (f"accuracy{column}", f"accuracy{column}_lower", f"accuracy{column}_upper", f"f1{column}")
    )
    return "-" if np.isnan(value) else f"{value:.1f} [{lower:.1f}, {upper:.1f}]" + ("" if np.isnan(f1) else f" · {f1:.1f}")


def markdown(frame: pd.DataFrame) -> str:
    lines = [NOTE]
    tables = {
        "All links": lambda row: shown(row, ""),
        "Without the links that are exact ties": lambda row: shown(row, "_tied_out"),
        "Model rows a formula": lambda row: f"{row['rows']:,.0f}",
    }
    methods = list(dict.fromkeys(frame.method))
    for title, cell_of in tables.items():
        lines += [
            "",
            f"## {title}",
            "",
            "| family | variables | formulas | " + " | ".join(methods) + " |",
            "|---" * (3 + len(methods)) + "|",
        ]
        for (family, size), part in frame.groupby(["family", "variables"], sort=False):
            found = " | ".join(cell_of(row) for _, row in part.iterrows())
            lines.append(f"| {family} | {size} | {part.functions.max()} | {found} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("out", type=Path)
    words.add_argument("--functions", type=int, default=1000)
    words.add_argument("--learned", type=int, default=60)
    words.add_argument("--large", type=int, default=20)
    words.add_argument("--methods", default=",".join(METHODS))
    given = words.parse_args()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    start, lines = time.time(), []
    for variables in ((5, 7), (8, 12), (13, 20)):
        for family in FAMILIES:
            for method in given.methods.split(","):
                n = given.functions if variables[1] <= 12 else given.large
                lines.append(cell(family, variables, method, min(n, given.learned) if method == "learned_p" else n))
            print(variables, family, f"{time.time() - start:.0f} s", flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(lines)
    frame.round(6).to_csv(given.out / "table.csv", index=False)
    (given.out / "table.md").write_text(markdown(frame), encoding="utf-8")
    manifest = {
        "command": " ".join(["python", *sys.argv]),
        "seed": 0,
        "wall_seconds": round(time.time() - start),
        "commit": commit,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": versions(),
    }
    (given.out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
