"""A table of trained networks: accuracy, Matthews correlation or perplexity over the seeds, and the cost of training.

Usage: python scripts/results/training_table.py CHECKPOINTS OUT      (CHECKPOINTS: a folder of checkpoint folders)
Writes OUT/README.md, OUT/scores.csv (a line per checkpoint) and OUT/manifest.json (each checkpoint's own manifest).
The usual figures beside the table are from memory of the papers, unchecked.
"""

import json
import sys
from pathlib import Path

import pandas as pd

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import table, write_json

USUAL = {
    "sst2": "usual for words alone: about 80 % (Kim 2014 gives 82.7 for random vectors, trained on phrases; unverified)",
    "cola": "usual for words alone: Matthews correlation below 0.2, pretrained LSTMs about 0.3 (Warstadt et al. 2019; unverified)",
}


def main(home: Path, out: Path) -> None:
    manifests = {path.parent.name: json.loads(path.read_text()) for path in sorted(home.glob("*/manifest.json"))}
    lines = []
    for name, manifest in manifests.items():
        objective = _objective(manifest)
        encoder = name.removesuffix(f"-{objective}-seed{manifest['seed']}-{manifest['key'][:8]}")
        line = {"objective": objective, "encoder": encoder, "seed": manifest["seed"]}
        for split in ("dev", "test"):
            line |= {f"{split} {metric}": value for metric, value in manifest[split].items() if metric != "loss"}
        line |= {"epochs": manifest["epochs"], "cpu_seconds": manifest["cpu_seconds"]}
        lines.append(line | {"million parameters": manifest["parameters"]["network"] / 1e6})
    frame = pd.DataFrame(lines)
    if (twice := frame.duplicated(["objective", "encoder", "seed"])).any():
        sys.exit(f"{home} holds several trainings of one encoder, objective and seed: {frame[twice].iloc[0].to_dict()}")
    out.mkdir(parents=True, exist_ok=True)
    frame.to_csv(out / "scores.csv", index=False)
    text = [
        "# Networks trained from random vectors",
        "",
        "Mean (lowest to highest) over the seeds; the epoch was chosen on dev. Made by",
        "`probing train -m encoder=… objective=… seed=…` (manifest.json has each checkpoint's options) and",
        "`python scripts/results/training_table.py CHECKPOINTS OUT`.",
        "",
    ]
    for objective, group in frame.groupby("objective"):
        metrics = [c for c in group.columns if c.split(" ")[0] in ("dev", "test") and group[c].notna().any()]
        data = next(manifest["data"] for manifest in manifests.values() if _objective(manifest) == objective)
        floor = "".join(f"majority {split} {data['majority'][split]:.3f}; " for split in ("dev", "test") if "majority" in data)
        text += [f"## {objective}", "", f"{floor}{USUAL.get(objective, '')}", ""]
        rows = []
        for encoder, runs in group.groupby("encoder"):
            cells = [f"{runs[m].mean():.3f} ({runs[m].min():.3f}–{runs[m].max():.3f})" for m in metrics]
            cost = [f"{runs.epochs.mean():.1f}", f"{runs.cpu_seconds.mean():.0f}", f"{runs['million parameters'].mean():.1f}"]
            rows.append([encoder, len(runs), *cells, *cost])
        text += [*table(["encoder", "seeds", *metrics, "epochs", "CPU seconds", "million parameters"], rows), ""]
    (out / "README.md").write_text("\n".join(text), encoding="utf-8")
    write_json(out / "manifest.json", manifests)


def _objective(manifest: dict) -> str:
    return Path(manifest["objective"].get("task", "lm")).stem


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
