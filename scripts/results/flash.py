"""Compares the cost and the answers of flash with those of the full run, for every encoder, precision and seed.

Usage: python scripts/results/flash.py DATA OUT [--precisions 0.5,1,2,3] [--seeds 0,1,2] [--encoder minilm,DIR] [--tasks a,b]
                                        [--scratch DIR] [--cold] [--reference RUN]

The full run is `evaluate` with mean pooling, every layer, probe=fast, no floors, no controls, task by task; its extraction and its
fits are timed. Flash then runs on stored vectors, so that its own processor time is that of fits and bookkeeping; the sentences of
its last samples are charged at the full run's rate. `--cold` runs the first precision and seed once more with an empty store, to
check that sum. Agreement by task: Kendall's tau between the layers' test accuracies, over all pairs (tau-b) and over the pairs
whose 95 % intervals in the full run do not overlap; whether flash's best layer is in the full run's tied set. Rank resolution
(Waldis et al. 2024, FlashHolmes): half the width of the 95 % interval of the difference between a rank in the sample and the rank
in the full run (1: the best by test accuracy; equals share the mean of their ranks), that is the least number that 95 % of the
absolute differences do not exceed. Ranked are the layers in each task, the layers by their mean over the tasks, and, with several
encoders, the encoders in each task, at their dev-best layers. `--reference` reads rows.csv and layers.csv of an earlier run of one
encoder (its mean pooling; Holm over all its poolings) instead of the full run; the rate is then that of flash's own extraction, and
the fits of the full run are unknown and counted 0, so that every ratio is a lower bound. SCRATCH keeps store, cells and times. OUT:
flash.csv, tasks.csv, ranks.csv, table.md, manifest.json.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import pandas as pd
import torch
from flash_agreement import agreement, markdown, ranked
from threadpoolctl import threadpool_limits

from probing import Store, evaluate, flash, load_encoder
from probing.data.sources import SentEvalFolder
from probing.evaluation.table import ResultTable
from probing.files import replace_file
from probing.store.results import ResultStore

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import manifest, write_json

REQUEST = {"poolings": ["mean"], "controls": [], "floors": []}


def timed(work):
    """The result of `work` and its processor seconds."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def full_run(tasks, encoder, store, cells, times: Path):
    """{task: sentences, extraction and fits in processor seconds} of the full run, which is made where it is missing."""
    known = json.loads(times.read_text()) if times.is_file() else {}
    for task, n in distinct(tasks):
        if task.name not in known:
            texts = [text for split in task.splits.values() for text in split.texts]
            _, extraction = timed(lambda texts=texts: store.vectors(encoder, texts, ["mean"]))
            _, fits = timed(lambda task=task: evaluate([task], [encoder], store=store, cells=cells, **REQUEST))
            known[task.name] = {"sentences": n, "extraction": extraction, "fits": fits}
            replace_file(times, json.dumps(known, indent=1).encode())
            print(time.strftime("%T"), task.name, known[task.name], flush=True)
    return {task.name: known[task.name] for task in tasks}


def distinct(tasks):
    return [(task, len({text for split in task.splits.values() for text in split.texts})) for task in tasks]


def flash_rate(tasks, encoder, precision, store, known: Path) -> float:
    """Processor seconds a sentence of flash's own extraction, in the store that it fills."""
    if not known.is_file():
        flash(tasks, [encoder], store=store, cells=known.with_name("cells-rate"), precision=precision, floors=[])
        if not store.new:
            sys.exit(f"{store.root} holds the vectors already, so that their rate cannot be measured: choose another --scratch")
        replace_file(known, json.dumps({"seconds": store.spent, "sentences": store.new}).encode())
    rate = json.loads(known.read_text())
    return rate["seconds"] / rate["sentences"]


class Reference:
    """The mean-pooling rows of an earlier run, and its tied layers."""

    def __init__(self, folder: Path, tasks):
        names = [task.name for task in tasks]
        frame = ResultTable.read_csv(folder / "rows.csv").frame
        self.frame = frame[(frame.role == "probe") & (frame.pooling == "mean") & frame.task.isin(names)]
        self.layers = pd.read_csv(folder / "layers.csv").query("pooling == 'mean'")
        data = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["data"]
        cards = {task.name: task.data_card for task in tasks}
        facts = ("file_sha256", "n")
        if other := [name for name, card in cards.items() if any(data.get(name, {}).get(k) != card[k] for k in facts)]:
            sys.exit(f"{folder} was made on other data: {', '.join(other)}")

    def best(self):
        first = self.frame.loc[self.frame.groupby("task", sort=False).dev_accuracy.idxmax()]
        near = {task: sorted(part.layer[part.p_holm >= 0.05]) for task, part in self.layers.groupby("task")}
        columns = [[(layer, "mean") for layer in near[task]] for task in first.task]
        return pd.DataFrame({"task": first.task, "layer": first.layer, "not_separated": columns})


class TimedStore(Store):
    """A store that counts the processor seconds of its extraction and its new sentences."""

    spent, new = 0.0, 0

    def vectors(self, encoder, texts, poolings):
        before = sum(entry["sentences"] for entry in self.entries())
        vectors, spent = timed(lambda: super(TimedStore, self).vectors(encoder, texts, poolings))
        self.spent, self.new = self.spent + spent, self.new + sum(entry["sentences"] for entry in self.entries()) - before
        return vectors


def cost(result, spent: float, times: dict, rate: float) -> dict:
    """Processor seconds of flash, its vectors charged at the full run's rate, beside the full run of the same tasks."""
    sentences = len({text for task in result.tasks for split in task.splits.values() for text in split.texts})
    whole = {name: sum(times[task.name][name] for task in result.tasks) for name in ("sentences", "extraction", "fits")}
    total = sentences * rate + spent
    return {
        "sentences": sentences, "of": whole["sentences"], "extraction": sentences * rate, "fits": spent, "seconds": total,
        "full_extraction": whole["extraction"], "full_fits": whole["fits"],
        "full_seconds": whole["extraction"] + whole["fits"], "ratio": (whole["extraction"] + whole["fits"]) / total,
    }  # fmt: skip


def measure(name: str, tasks, args, precisions, seeds):
    """Runs, task lines, rank lines, times of the full run, the rate of extraction and the cold run of one encoder."""
    trained = (Path(name) / "head.safetensors").is_file()  # a checkpoint of `probing train`
    options = {"path": name} if trained else {"name": name} if Path(name).is_dir() else {}
    encoder = load_encoder("checkpoint" if trained else "hf" if options else name, **options)
    scratch = args.scratch / encoder.name.replace("/", "_")
    store, cells = TimedStore(scratch / "store"), ResultStore(scratch / "cells")
    runs, lines, ranks, cold = [], [], [], {}
    if args.reference:
        rate = flash_rate(tasks, encoder, precisions[0], store, scratch / "rate.json")
        times = {task.name: {"sentences": n, "extraction": n * rate, "fits": 0.0} for task, n in distinct(tasks)}
    else:
        times = full_run(tasks, encoder, store, cells, scratch / "full.json")
        rate = sum(one["extraction"] for one in times.values()) / sum(one["sentences"] for one in times.values())
    full = Reference(args.reference, tasks) if args.reference else evaluate(tasks, [encoder], store=store, cells=cells, **REQUEST)
    for number, (precision, seed) in enumerate((p, s) for p in precisions for s in seeds):
        own = {"precision": precision, "seed": seed, "floors": []}
        fresh = scratch / f"cells-{precision:g}-{seed}"  # without the fits of other runs
        done, before = (fresh / "seconds.json").is_file(), store.spent
        result, spent = timed(lambda own=own, fresh=fresh: flash(tasks, [encoder], store=store, cells=fresh, **own))
        if done:
            spent = json.loads((fresh / "seconds.json").read_text())
        else:
            spent -= store.spent - before  # new vectors are charged at the rate, as all are
            replace_file(fresh / "seconds.json", json.dumps(spent).encode())
        last = result.rounds.iloc[-1]
        key = {"encoder": encoder.name, "precision": precision, "seed": seed}
        run = {"n": last.n, "rounds": last["round"], "why": result.answers.why.iloc[-1]}
        runs.append(key | run | cost(result, spent, times, rate))
        lines += [key | line for line in agreement(result, full)]
        ranks += [key | line for line in ranked(result, full)]
        print(time.strftime("%T"), runs[-1], flush=True)
        if args.cold and number == 0:
            home = scratch / "cold"
            _, spent = timed(lambda own=own: flash(tasks, [encoder], store=home / "s", cells=home / "c", **own))  # noqa: B023
            cold = {"precision": precision, "seed": seed, "seconds": spent, "charged": runs[-1]["seconds"]}
    return encoder.name, runs, lines, ranks, times, rate, cold


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--precisions", default="0.5,1,2,3")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--encoder", default="minilm", help="presets, or folders of models, with commas between them")
    parser.add_argument("--tasks", default="")
    parser.add_argument("--scratch", type=Path, default=Path("probing-out/flash"))
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--reference", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    encoders = args.encoder.split(",")
    if args.reference and len(encoders) > 1:
        sys.exit("--reference is the run of one encoder: give one --encoder, or leave --reference out")
    tasks = SentEvalFolder(args.data).tasks(args.tasks.split(",") if args.tasks else None)
    precisions, seeds = [float(p) for p in args.precisions.split(",")], [int(s) for s in args.seeds.split(",")]
    with threadpool_limits(1):
        measured = [measure(name, tasks, args, precisions, seeds) for name in encoders]
    args.out.mkdir(parents=True, exist_ok=True)
    frames = [pd.DataFrame([line for one in measured for line in one[which]]) for which in (1, 2, 3)]
    for name, frame in zip(("flash", "tasks", "ranks"), frames, strict=True):
        frame.round(4).to_csv(args.out / f"{name}.csv", index=False)
    full = {name: times for name, *_, times, _, _ in measured}
    rates, colds = ({one[0]: one[which] for one in measured if one[which]} for which in (5, 6))
    (args.out / "table.md").write_text(markdown(*frames, rates, colds), encoding="utf-8")
    write_json(args.out / "manifest.json", manifest(full_run=full, cold=colds))


if __name__ == "__main__":
    main()
