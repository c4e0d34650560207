"""Architectures compared: one table of several runs, and what it answers, task by task. After Peters et al. 2018b.

Usage: python scripts/architectures.py OUT RUN RUN [...]      (RUN: folders of `probing run encoder=checkpoint …`)
Writes the report of all runs (table.md, rows.csv, report.html, figures), pairs.csv (every two encoders on every task: exact McNemar
test on the same items, Holm over the table), README.md (training, ranking per task, profile over layers) and manifest.json.
"""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd

from probing.paths import portable
from probing.provenance import versions
from probing.report import write
from probing.runs import Run
from probing.tables import ResultTable, letters_of, merge


def main(out: Path, folders: list[Path]) -> None:
    runs = [Run.read(folder) for folder in folders]
    write(runs, out)
    (out / "rows.parquet").unlink()
    table = merge(run.table() for run in runs)
    pairs = table.compare_encoders()
    pairs.to_csv(out / "pairs.csv", index=False)
    trained = {}
    for run in runs:
        path = Path(run.config["encoder"].get("path") or "nowhere") / "manifest.json"
        if path.is_file():
            trained[run.config["encoder"]["label"] or path.parent.name] = json.loads(path.read_text())
    text = ["# Architectures compared", "", *training(trained), *ranking(table, pairs), *profile(table)]
    (out / "README.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    done = [record for run in runs for record in run.state()["done"]]
    manifest = {
        "runs": {run.folder.name: {k: run.config[k] for k in ("encoder", "probe", "pooling", "seed")} for run in runs},
        "cells": len({key for run in runs for key in run.keys}),
        "done": len({record["key"] for record in done}),
        "fit_seconds": round(sum(record["details"]["seconds"] for record in done)),
        "commit": subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip(),
        "versions": versions(),
        "data": {name: {k: card[k] for k in ("sha256", "n")} for run in runs for name, card in run.data_cards().items()},
        "encoders": {name: said for run in runs for name, said in run.encoder_descriptions().items()},
        "training": trained,
    }
    (out / "manifest.json").write_text(json.dumps(portable(manifest), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    homes = {str(Path(run.config["encoder"]["path"]).parent) for run in runs if run.config["encoder"].get("path")}
    for path in (
        p for p in out.iterdir() if p.suffix in (".json", ".md", ".html", ".tex")
    ):  # where the checkpoints lay is nobody's
        said = path.read_text(encoding="utf-8")
        for home in {*homes, *map(portable, homes)}:
            said = said.replace(f"{home}/", "")
        path.write_text(said, encoding="utf-8")


def training(trained: dict) -> list[str]:
    if not trained:
        return []
    lines = [
        "## Training",
        "",
        "| encoder | reads | parameters without embeddings | train sentences | epochs | dev | test |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, said in trained.items():
        told = ("perplexity", "accuracy", "matthews")
        scores = [", ".join(f"{k} {v:.4g}" for k, v in said[s].items() if k.startswith(told)) for s in ("dev", "test")]
        size, n = said["parameters"]["without embeddings"], said["data"]["n"]["train"]
        reads = said["architecture"]["reads"]
        lines.append(f"| {name} | {reads} | {size:,} | {n:,} | {said['epochs']} | {' | '.join(scores)} |")
    return [*lines, ""]


def ranking(table: ResultTable, pairs: pd.DataFrame) -> list[str]:
    """Per task the encoders from best to worst, each at its dev-best layer, with letters for which are not separated."""
    lines = [
        "## Which encoder holds what",
        "",
        "Test accuracy at the dev-best layer, † where it is not shown to be above every floor (table.md); encoders of a task that "
        "share a letter are not separated (paired tests, Holm over all pairs and tasks, 0.05).",
        "",
    ]
    best = table.best()
    best = best.assign(letters=letters_of(best, pairs))
    for _, group in best[best.seeds > 0].groupby("task", sort=False):
        rows = list(group.sort_values("accuracy", ascending=False).itertuples())
        said = []
        for row in rows:
            interval = f"[{100 * row.accuracy_low:.1f}, {100 * row.accuracy_high:.1f}]"
            random = f", random weights {100 * row.random:.1f}" if row.random == row.random else ""
            mark = "†" if pd.notna(row.beats_floors) and not row.beats_floors else ""
            said.append(f"{row.encoder} {100 * row.accuracy:.1f}{mark} {row.letters} {interval} (layer {row.layer}{random})")
        lines.append(f"- **{rows[0].paper_name}**: {'; '.join(said)}")
    return [*lines, ""]


def profile(table: ResultTable) -> list[str]:
    """Accuracy per layer, the dev-best layer bold, layers that are not separated from it marked =."""
    layers = table.compare_layers()
    lines = [
        "## Layer by layer",
        "",
        "Percent, mean pooling; **bold** is the layer chosen on dev, = is not separated from it (McNemar, Holm over the row).",
        "",
    ]
    for encoder in table.encoders:
        mine = layers[layers.encoder == encoder]
        if mine.empty:
            continue
        numbers = sorted(mine.layer.unique())
        lines += [
            f"### {encoder}",
            "",
            "| task | " + " | ".join(f"layer {k}" for k in numbers) + " |",
            "|---" * (len(numbers) + 1) + "|",
        ]
        for task, rows in mine.groupby("task", sort=False):
            cells = {
                r.layer: f"**{100 * r.accuracy:.1f}**" if r.best else f"{100 * r.accuracy:.1f}{' =' * bool(r.not_separated)}"
                for r in rows.itertuples()
            }
            lines.append(f"| {task} | " + " | ".join(cells.get(k, "") for k in numbers) + " |")
        lines.append("")
    return lines


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]])
