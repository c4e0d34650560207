"""Flash with each engine and precision of the extraction: processor seconds, and whether the answers stay.

Usage: python scripts/benchmarks/bench_flash.py OUT DATA [--model minilm] [--tasks bigram_shift,past_present,tree_depth]
       [--points 3] [--seeds 0,1]

DATA: a folder of SentEval files. Each seed draws its own samples; every variant starts with empty stores, one thread, in the same
process, in turn, and pays for loading and converting the model. Answers: for each task and seed the best layer, and whether it is
in the tied set of float32 with torch. OUT: flash.json, flash.md.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch
from extraction_variants import encoder_of

from probing import flash
from probing.data.sources import SentEvalFolder
from probing.provenance import multiplies_bfloat16

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import manifest, table, write_json

VARIANTS = {
    "torch, float32": {},
    "openvino, float32": {"engine": "openvino"},
    "torch, bfloat16": {"autocast": "bfloat16"},
    "openvino, bfloat16": {"engine": "openvino", "autocast": "bfloat16"},
}
FIRST = "torch, float32"


def measured(tasks, model: str, options: dict, points: float, seed: int) -> dict:
    """Seconds and answers by task of one run."""
    with tempfile.TemporaryDirectory() as folder:
        encoder, start = encoder_of(model, **options), time.process_time()
        result = flash(tasks, [encoder], store=f"{folder}/store", cells=f"{folder}/cells", precision=points, seed=seed, floors=[])
        spent = time.process_time() - start
    answers = result.answers[result.answers.task.isin([task.name for task in tasks])]
    best = {r.task: [int(r.layer), [int(one) for one, _ in r.tied], float(r.accuracy)] for r in answers.itertuples()}
    sentences = len({text for task in result.tasks for split in task.splits.values() for text in split.texts})
    return {"seconds": spent, "sentences": sentences, "answers": best}


def markdown(runs: dict, args) -> str:
    rows = []
    for name, own in runs.items():
        pairs = [(a["answers"][t], b["answers"][t]) for a, b in zip(own, runs[FIRST], strict=True) for t in b["answers"]]
        ratios = sorted(b["seconds"] / a["seconds"] for a, b in zip(own, runs[FIRST], strict=True))
        moved = max(abs(a[2] - b[2]) for a, b in pairs)
        rows.append(
            [
                name, " ".join(f"{run['seconds']:.0f}" for run in own), f"{sum(ratios) / len(ratios):.2f}",
                " ".join(str(run["sentences"]) for run in own), f"{sum(a[0] == b[0] for a, b in pairs)} of {len(pairs)}",
                f"{sum(a[0] in b[1] for a, b in pairs)} of {len(pairs)}", f"{100 * moved:.1f}",
            ]
        )  # fmt: skip
    head = ["", "processor seconds, by seed", "× torch, float32", "sentences", "same best layer", "in its tied set"]
    lines = [
        "# Flash by engine and precision of the extraction",
        "",
        f"{args.model}, mean pooling, tasks {args.tasks}, {args.points:g} points, seeds {args.seeds}; with load and conversion.",
        "",
        *table([*head, "largest change of accuracy, points"], rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("data")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--tasks", default="bigram_shift,past_present,tree_depth")
    parser.add_argument("--points", type=float, default=3.0)
    parser.add_argument("--seeds", default="0,1")
    args = parser.parse_args()
    torch.set_num_threads(1)
    tasks = SentEvalFolder(args.data).tasks(args.tasks.split(","))
    seeds = [int(seed) for seed in args.seeds.split(",")]
    chosen = {name: options for name, options in VARIANTS.items() if multiplies_bfloat16() or "autocast" not in options}
    runs: dict[str, list] = {name: [] for name in chosen}
    for seed in seeds:
        for name, options in chosen.items():
            runs[name].append(measured(tasks, args.model, options, args.points, seed))
            print(time.strftime("%T"), name, runs[name][-1], flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "flash.json", {"runs": runs} | manifest())
    (args.out / "flash.md").write_text(markdown(runs, args), encoding="utf-8")


if __name__ == "__main__":
    main()
