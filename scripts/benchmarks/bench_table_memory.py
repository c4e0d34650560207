"""Peak memory of one task of the whole table: the sixty-line script and `evaluate`, each in a fresh process, nothing stored.

Usage: python scripts/benchmarks/bench_table_memory.py DATA OUT [--task word_content] [--encoder minilm] [--option KEY=VALUE]…
       [--fraction 1.0]

The script holds all columns of all splits and fits one of them (its fits come one after the other); ours fits all. `peak`: the
kernel's high water of all resident pages, so with libraries, weights and mapped shards; `anonymous`: of the pages that are no
file's, sampled every 5 ms; `before`: these before the sentences are read through the model. OUT: memory.json, memory.md.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from bench_scaling import Measured, fresh
from bench_table import build, load, ours
from sixty_lines import fit, loop, tokenizer_and_model

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import manifest, table, write_json


def by_script(args) -> dict:
    [task], model = load(args, 0), tokenizer_and_model(build(args.encoder).folder)
    with Measured() as measured:
        features = {split: loop(*model, part.texts) for split, part in task.splits.items()}
        fit(task, features, next(iter(features["train"])))
    return measured.figures


def by_ours(args) -> dict:
    [task], encoder = load(args, 0), build(args.encoder, *args.option)
    with tempfile.TemporaryDirectory() as home, Measured() as measured:
        ours(task, encoder, Path(home))
    return measured.figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--task", dest="tasks", default="word_content")
    parser.add_argument("--encoder", default="minilm", help="a preset, or the folder of a model")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="of our encoder")
    parser.add_argument("--fraction", type=float, default=1.0)
    args = parser.parse_args()
    [task] = load(args, 0)
    measured = {"script": fresh(by_script, args), "ours": fresh(by_ours, args)}
    sizes = ", ".join(f"{len(part)} {split}" for split, part in task.splits.items())
    rows = [
        [side, *(f"{figures[name] / 2**20:.0f}" for name in ("peak_bytes", "anonymous_bytes", "anonymous_before"))]
        for side, figures in measured.items()
    ]
    text = [
        "# Peak memory of one task, from nothing",
        "",
        f"{task.name} ({sizes}), every layer and pooling of {' '.join([args.encoder, *args.option])}; MiB, each side in a fresh "
        "process. The script fits one column, ours all. Anonymous: pages that belong to no file.",
        "",
        *table(("side", "peak", "anonymous", "before"), rows),
    ]
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "memory.json", manifest(task=task.name, sizes=sizes, **measured))
    (args.out / "memory.md").write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
