"""What the calibration scripts share: their arguments, a line of a statement, and the files of a result."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from run import COVERED, ERROR

from probing.evaluation.statistics import wilson
from probing.provenance import processor

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import manifest, table, write_json


def arguments() -> argparse.Namespace:
    """`out`, `scratch` and `share`, of the runs of every setting; the simulations that follow use one thread."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--scratch", type=Path, default=Path("probing-out/calibration"))
    parser.add_argument("--share", type=float, default=1.0, help="of the runs of every setting")
    torch.set_num_threads(1)
    return parser.parse_args()


def line(statement: str, setting: str, kind: str, count: int, runs: int) -> dict[str, Any]:
    """How often a statement was made in these runs, 0-1, with its 95 % interval; `kind`: ERROR or COVERED."""
    share = wilson(int(count), runs)
    return {
        "statement": statement, "setting": setting, "runs": runs, "kind": kind,
        "share": share.value, "low": share.lower, "high": share.upper,
    }  # fmt: skip


def write(out: Path, name: str, head: str, lines: Sequence[dict[str, Any]], seconds: float) -> None:
    """NAME.csv, manifest.json, and README.md: `head`, then the lines as a table in percent."""
    frame = pd.DataFrame(lines)
    out.mkdir(parents=True, exist_ok=True)
    frame.round(4).to_csv(out / f"{name}.csv", index=False)
    write_json(out / "manifest.json", manifest(processor=processor(), processor_seconds=round(seconds)))
    shown = []
    for row in frame.itertuples():
        text = f"{100 * row.share:.1f} % [{100 * row.low:.1f}, {100 * row.high:.1f}]"
        shown.append([row.statement, row.setting, row.runs, *(text if row.kind == kind else "" for kind in (ERROR, COVERED))])
    body = table(["statement", "planted", "runs", "error", "coverage"], shown)
    (out / "README.md").write_text("\n".join([head, "", *body]) + "\n", encoding="utf-8")
    print(f"{seconds:.0f} processor seconds")
