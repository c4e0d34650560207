"""What flash costs and whether its answer is that of all data: every encoder, precision and seed against the full run.

Usage: python scripts/flash.py DATA OUT [--precisions 0.5,1,2,3] [--seeds 0,1,2] [--encoder minilm,DIR] [--tasks a,b]
                                        [--scratch DIR] [--cold] [--reference RUN]

The full run is `evaluate` with mean pooling, every layer, probe=fast, no floors, no controls, task by task; its extraction and
its fits are timed. Flash then runs on the vectors that are there, so that its own processor time is that of fits and bookkeeping;
the sentences of its last samples are charged at the full run's rate. `--cold` runs the first precision and seed once more with an
empty store, to check that sum. Agreement, task by task: Kendall's tau between the layers' test accuracies, over all pairs (tau-b)
and over the pairs whose 95 % intervals in the full run do not overlap; whether flash's best layer is in the full run's tied set.
Rank resolution, as Holmes has it for FlashHolmes (Waldis et al. 2024): half the width of the 95 % interval of the difference
between a rank in the sample and the rank in the full run (1: the best by test accuracy; equals share the mean of their ranks),
that is the least number that 95 % of the differences, of all that is ranked and all samples, do not exceed in size. Ranked are
the layers in each task, the layers by their mean over the tasks, and, with several encoders, the encoders in each task, at their
dev-best layers. `--reference` takes rows.csv and layers.csv of a run of one encoder that was made before (its mean pooling; Holm
over all its poolings) instead of the full run; the rate is then that of flash's own extraction, and the full run's fits are
unknown and counted 0, so that every ratio is a lower bound. SCRATCH keeps store, cells and times. OUT: flash.csv, tasks.csv,
ranks.csv, table.md, manifest.json.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import kendalltau, rankdata
from threadpoolctl import threadpool_limits

from probing import Store, evaluate, flash, load_encoder
from probing.data.sources import SentEvalFolder
from probing.evaluation.table import ResultTable
from probing.files import replace_file
from probing.paths import portable
from probing.provenance import versions
from probing.store.results import ResultStore

ASKED = {"poolings": ["mean"], "controls": [], "floors": []}


def seconds(work):
    start = time.process_time()
    found = work()
    return found, time.process_time() - start


def full_run(tasks, encoder, store, cells, times: Path):
    """{task: sentences, extraction and fits in processor seconds} of the full run, made where it is not there."""
    known = json.loads(times.read_text()) if times.is_file() else {}
    for task, n in distinct(tasks):
        if task.name not in known:
            texts = [text for split in task.splits.values() for text in split.texts]
            _, extraction = seconds(lambda texts=texts: store.vectors(encoder, texts, ["mean"]))
            _, fits = seconds(lambda task=task: evaluate([task], [encoder], store=store, cells=cells, **ASKED))
            known[task.name] = {"sentences": n, "extraction": extraction, "fits": fits}
            replace_file(times, json.dumps(known, indent=1).encode())
            print(time.strftime("%T"), task.name, known[task.name], flush=True)
    return {task.name: known[task.name] for task in tasks}


def distinct(tasks):
    return [(task, len({text for split in task.splits.values() for text in split.texts})) for task in tasks]


def flash_rate(tasks, encoder, precision, store, known: Path) -> float:
    """Processor seconds a sentence of the extraction that flash itself asks for, in the store that it fills."""
    if not known.is_file():
        flash(tasks, [encoder], store=store, cells=known.with_name("cells-rate"), precision=precision, floors=[])
        if not store.new:
            sys.exit(f"{store.root} holds the vectors already, so that their rate cannot be measured: choose another --scratch")
        replace_file(known, json.dumps({"seconds": store.spent, "sentences": store.new}).encode())
    said = json.loads(known.read_text())
    return said["seconds"] / said["sentences"]


class Reference:
    """The mean-pooling rows of a run that was made before, and its tied layers."""

    def __init__(self, folder: Path, tasks):
        names = [task.name for task in tasks]
        frame = ResultTable.read_csv(folder / "rows.csv").frame
        self.frame = frame[(frame.role == "probe") & (frame.pooling == "mean") & frame.task.isin(names)]
        self.layers = pd.read_csv(folder / "layers.csv").query("pooling == 'mean'")
        data = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["data"]
        cards = {task.name: task.data_card for task in tasks}
        same = {
            name for name, card in cards.items() if name in data and all(data[name][k] == card[k] for k in ("file_sha256", "n"))
        }
        if other := [name for name in cards if name not in same]:
            sys.exit(f"{folder} was made on other data: {', '.join(other)}")

    def best(self):
        first = self.frame.loc[self.frame.groupby("task", sort=False).dev_accuracy.idxmax()]
        near = {task: sorted(part.layer[part.p_holm >= 0.05]) for task, part in self.layers.groupby("task")}
        columns = [[(layer, "mean") for layer in near[task]] for task in first.task]
        return pd.DataFrame({"task": first.task, "layer": first.layer, "not_separated": columns})


class TimedStore(Store):
    """A store that knows the processor seconds of its extraction, and how many sentences were new."""

    spent, new = 0.0, 0

    def vectors(self, encoder, texts, poolings):
        before = sum(entry["sentences"] for entry in self.entries())
        found, spent = seconds(lambda: super(TimedStore, self).vectors(encoder, texts, poolings))
        self.spent, self.new = self.spent + spent, self.new + sum(entry["sentences"] for entry in self.entries()) - before
        return found


def agreement(found, full) -> list[dict]:
    """One line a task: tau over all pairs of layers and over those that the full run tells apart, and the best layers."""
    lines = []
    ours, whole = (table.frame[table.frame.role == "probe"].set_index(["task", "layer"]) for table in (found.table, full))
    bests = full.best().set_index("task")
    for answer in found.answers[found.answers.task.isin(bests.index)].itertuples():
        mine, theirs = ours.loc[answer.task].sort_index(), whole.loc[answer.task].sort_index()
        right = wrong = 0
        for a, b in combinations(theirs.index, 2):
            low, high = sorted((a, b), key=lambda layer: theirs.accuracy[layer])
            if theirs.accuracy_high[low] < theirs.accuracy_low[high]:
                right += mine.accuracy[low] < mine.accuracy[high]
                wrong += mine.accuracy[low] > mine.accuracy[high]
        apart = sum(
            theirs.accuracy_high[a] < theirs.accuracy_low[b] or theirs.accuracy_high[b] < theirs.accuracy_low[a]
            for a, b in combinations(theirs.index, 2)
        )
        best = bests.loc[answer.task]
        tied = [layer for layer, _ in best.not_separated]
        lines.append(
            {
                "task": answer.task, "n_train": answer.n_train, "n_test": answer.n_test, "classes": answer.n_classes,
                "accuracy": answer.accuracy, "full_accuracy": theirs.accuracy[best.layer],
                "best": answer.layer, "full_best": best.layer, "full_tied": " ".join(map(str, tied)),
                "in_tied": answer.layer in tied, "tau": kendalltau(mine.accuracy, theirs.accuracy).statistic,
                "pairs_apart": apart, "tau_apart": (right - wrong) / apart if apart else float("nan"),
                "half_width": answer.half_width, "why": answer.why,
            }
        )  # fmt: skip
    return lines


def ranked(found, full) -> list[dict]:
    """A line a layer and task, "mean" for the mean over the tasks: its rank in the sample and in the full run."""
    lines = []
    frames = (table.frame[table.frame.role == "probe"] for table in (found.table, full))
    ours, whole = (frame.pivot(index="task", columns="layer", values="accuracy") for frame in frames)
    whole = whole.loc[ours.index]
    for task, a, b in [*zip(ours.index, ours.to_numpy(), whole.to_numpy(), strict=True), ("mean", ours.mean(), whole.mean())]:
        ranks = zip(ours.columns, rankdata(-np.asarray(a)), rankdata(-np.asarray(b)), strict=True)
        lines += [{"task": task, "layer": layer, "rank": rank, "full_rank": full_rank} for layer, rank, full_rank in ranks]
    return lines


def resolution(ranks: pd.DataFrame) -> float:
    """The least number that 95 % of the rank differences do not exceed in size."""
    return float(np.quantile((ranks["rank"] - ranks.full_rank).abs(), 0.95, method="inverted_cdf")) if len(ranks) else float("nan")


def ranked_encoders(tasks: pd.DataFrame) -> pd.DataFrame:
    """A line an encoder, task, precision and seed: its rank among the encoders in the sample and in the full run."""
    groups = tasks.groupby(["precision", "seed", "task"])
    ranks = {name: groups[column].rank(ascending=False) for name, column in (("rank", "accuracy"), ("full_rank", "full_accuracy"))}
    return tasks[["precision", "seed", "task", "encoder"]].assign(**ranks)


def cost(found, spent: float, times: dict, rate: float) -> dict:
    """Processor seconds of flash, its vectors charged at the full run's rate, beside the full run of the same tasks."""
    sentences = len({text for task in found.tasks for split in task.splits.values() for text in split.texts})
    whole = {name: sum(times[task.name][name] for task in found.tasks) for name in ("sentences", "extraction", "fits")}
    total = sentences * rate + spent
    return {
        "sentences": sentences, "of": whole["sentences"], "extraction": sentences * rate, "fits": spent, "seconds": total,
        "full_extraction": whole["extraction"], "full_fits": whole["fits"],
        "full_seconds": whole["extraction"] + whole["fits"], "ratio": (whole["extraction"] + whole["fits"]) / total,
    }  # fmt: skip


def markdown(runs: pd.DataFrame, tasks: pd.DataFrame, ranks: pd.DataFrame, rates: dict[str, float], colds: dict) -> str:
    lines = [
        "# Flash against the full run",
        "",
        f"Processor seconds on one thread; extraction: {', '.join(f'{n} {1000 * r:.2f} ms' for n, r in rates.items())} a sentence.",
        "Means over seeds; tau: lowest and mean over tasks and seeds. Apart: over pairs of layers whose 95 % intervals do not",
        "overlap in the full run. Rank resolution: 95 % of the ranks of layers, in each task and by the mean of the tasks, differ",
        "by no more from those in the full run.",
        "",
        "| encoder | precision | n train | rounds | seconds | full | **ratio** | tau, all pairs | tau, pairs apart | "
        "tasks at 0.9: all pairs | apart | best in the tied set | rank resolution: in a task | mean | why |",
        "|---" * 15 + "|",
    ]
    keys = ["encoder", "precision"]
    for key, part in runs.groupby(keys, sort=False):
        mine, own = (frame[(frame[keys] == key).all(axis=1)] for frame in (tasks, ranks))
        lines.append(
            f"| {key[0]} | {key[1]:g} | {part.n.mean():.0f} | {part.rounds.mean():.1f} | {part.seconds.mean():.0f} | "
            f"{part.full_seconds.mean():.0f} | **{part.ratio.mean():.1f}** ({part.ratio.min():.1f}-{part.ratio.max():.1f}) | "
            f"{mine.tau.min():.2f}, {mine.tau.mean():.2f} | {mine.tau_apart.min():.2f}, {mine.tau_apart.mean():.2f} | "
            f"{(mine.tau >= 0.9).sum()} of {mine.tau.count()} | {(mine.tau_apart >= 0.9).sum()} of {mine.tau_apart.count()} | "
            f"{int(mine.in_tied.sum())} of {len(mine)} | {resolution(own[own.task != 'mean']):g} | "
            f"{resolution(own[own.task == 'mean']):g} | {', '.join(dict.fromkeys(part.why))} |"
        )
    if tasks.encoder.nunique() > 1:
        encoders = ranked_encoders(tasks)
        each = [f"{resolution(part):g} at {precision:g}" for precision, part in encoders.groupby("precision", sort=False)]
        lines += ["", f"Rank resolution of the {tasks.encoder.nunique()} encoders in a task, by precision: {', '.join(each)}."]
    for name, cold in colds.items():
        lines += ["", f"{name}, cold, precision {cold['precision']:g}, seed {cold['seed']}: {cold['seconds']:.0f} s measured, "
                  f"{cold['charged']:.0f} s by the sum above."]  # fmt: skip
    shown = tasks.drop(columns="why").round({"tau": 2, "tau_apart": 2, "half_width": 1, "accuracy": 3, "full_accuracy": 3})
    lines += ["", "## Task by task", "", "| " + " | ".join(shown.columns) + " |", "|---" * len(shown.columns) + "|"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in shown.itertuples(index=False)]
    return "\n".join(lines) + "\n"


def measure(name: str, tasks, given, precisions, seeds):
    """Runs, task lines, rank lines, times of the full run, the rate of extraction and the cold run of one encoder."""
    trained = (Path(name) / "head.safetensors").is_file()  # a checkpoint of `probing train`
    options = {"path": name} if trained else {"name": name} if Path(name).is_dir() else {}
    encoder = load_encoder("checkpoint" if trained else "hf" if options else name, **options)
    scratch = given.scratch / encoder.name.replace("/", "_")
    store, cells = TimedStore(scratch / "store"), ResultStore(scratch / "cells")
    runs, lines, ranks, cold = [], [], [], {}
    if given.reference:
        rate = flash_rate(tasks, encoder, precisions[0], store, scratch / "rate.json")
        times = {task.name: {"sentences": n, "extraction": n * rate, "fits": 0.0} for task, n in distinct(tasks)}
    else:
        times = full_run(tasks, encoder, store, cells, scratch / "full.json")
        rate = sum(said["extraction"] for said in times.values()) / sum(said["sentences"] for said in times.values())
    full = Reference(given.reference, tasks) if given.reference else evaluate(tasks, [encoder], store=store, cells=cells, **ASKED)
    for number, (precision, seed) in enumerate((p, s) for p in precisions for s in seeds):
        own = {"precision": precision, "seed": seed, "floors": []}
        fresh = scratch / f"cells-{precision:g}-{seed}"  # no fit of another run is taken over
        done, before = (fresh / "seconds.json").is_file(), store.spent
        found, spent = seconds(lambda own=own, fresh=fresh: flash(tasks, [encoder], store=store, cells=fresh, **own))
        if done:
            spent = json.loads((fresh / "seconds.json").read_text())
        else:
            spent -= store.spent - before  # vectors that were not there are charged at the rate, as all are
            replace_file(fresh / "seconds.json", json.dumps(spent).encode())
        last = found.rounds.iloc[-1]
        key = {"encoder": encoder.name, "precision": precision, "seed": seed}
        run = {"n": last.n, "rounds": last["round"], "why": found.answers.why.iloc[-1]}
        runs.append(key | run | cost(found, spent, times, rate))
        lines += [key | line for line in agreement(found, full)]
        ranks += [key | line for line in ranked(found, full)]
        print(time.strftime("%T"), runs[-1], flush=True)
        if given.cold and number == 0:
            home = scratch / "cold"
            _, spent = seconds(lambda own=own: flash(tasks, [encoder], store=home / "s", cells=home / "c", **own))  # noqa: B023
            cold = {"precision": precision, "seed": seed, "seconds": spent, "charged": runs[-1]["seconds"]}
    return encoder.name, runs, lines, ranks, times, rate, cold


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("data")
    words.add_argument("out", type=Path)
    words.add_argument("--precisions", default="0.5,1,2,3")
    words.add_argument("--seeds", default="0,1,2")
    words.add_argument("--encoder", default="minilm", help="presets, or folders of models, with commas between them")
    words.add_argument("--tasks", default="")
    words.add_argument("--scratch", type=Path, default=Path("probing-out/flash"))
    words.add_argument("--cold", action="store_true")
    words.add_argument("--reference", type=Path)
    given = words.parse_args()
    torch.set_num_threads(1)
    encoders = given.encoder.split(",")
    if given.reference and len(encoders) > 1:
        sys.exit("--reference is the run of one encoder: give one --encoder, or leave --reference out")
    tasks = SentEvalFolder(given.data).tasks(given.tasks.split(",") if given.tasks else None)
    precisions, seeds = [float(p) for p in given.precisions.split(",")], [int(s) for s in given.seeds.split(",")]
    with threadpool_limits(1):
        measured = [measure(name, tasks, given, precisions, seeds) for name in encoders]
    given.out.mkdir(parents=True, exist_ok=True)
    frames = [pd.DataFrame([line for one in measured for line in one[which]]) for which in (1, 2, 3)]
    for name, frame in zip(("flash", "tasks", "ranks"), frames, strict=True):
        frame.round(4).to_csv(given.out / f"{name}.csv", index=False)
    full = {name: times for name, *_, times, _, _ in measured}
    rates, colds = ({one[0]: one[which] for one in measured if one[which]} for which in (5, 6))
    (given.out / "table.md").write_text(markdown(*frames, rates, colds), encoding="utf-8")
    manifest = {
        "command": " ".join(["python", *sys.argv]),
        "commit": subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end",
        "versions": versions(),
        "full_run": full,
        "cold": colds,
    }
    (given.out / "manifest.json").write_text(json.dumps(portable(manifest), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
