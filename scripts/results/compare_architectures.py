"""Compares the probing accuracies of architectures over training seeds, at equal epochs and at equal perplexity.

Usage: python scripts/results/compare_architectures.py OUT --epochs RUN [RUN ...] --perplexity RUN [RUN ...]
RUN: folders of `probing run encoder=checkpoint encoder.path=FOLDER …`, FOLDER a language model of `probing train objective=lm`. A
checkpoint may have several runs (of several data), and a run may stand in both lists. Networks are named by the encoder.label that
they were trained with, else by their kind; each has the same number of training seeds, three or more, in each list. The checkpoints
of --epochs were trained for the same number of epochs; those of --perplexity should have similar perplexities (see the table).

Writes README.md, scores.csv (a line per list, task and checkpoint), table.csv (per list, task and network), pairs.csv (every two
networks on every task), layers.csv, rows.csv.xz (all cells), manifest.json.

Two things vary: training (the seed) and the test sentences (or groups of them). Intervals are over both, see
`probing.evaluation.statistics.mean_accuracy` and `compare`; a floor is compared seed by seed. Two networks have seeds of their own
and the same sentences: see `between`.
"""

import argparse
import json
import lzma
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from architectures_report import HEAD, profile, ranking, training
from scipy.optimize import brentq
from scipy.stats import t

from probing.encoders.base import CONTEXTUAL
from probing.evaluation.paired_tests import compare, holm, letters
from probing.evaluation.runs import Run
from probing.evaluation.statistics import mean_accuracy, standard_error
from probing.evaluation.table import ResultTable, merge
from probing.paths import portable
from probing.types import Estimate

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import manifest

SEEDS = 3
"""The fewest training seeds of a network."""
LEAST_P = 1e-30
"""The least p-value by bisection."""
TITLES = {"epochs": "Matched by epochs", "perplexity": "Matched by perplexity"}


class Checkpoint(NamedTuple):
    """A trained network: name in the rows, network, training seed, and its manifest."""

    name: str
    network: str
    seed: int
    manifest: dict


def main(options: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    for name in TITLES:
        parser.add_argument(f"--{name}", type=Path, nargs="+", required=True, metavar="RUN")
    args = parser.parse_args(options)
    args.out.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[pd.DataFrame]] = {"scores": [], "table": [], "pairs": [], "layers": []}
    text, runs_by_folder, trained = [HEAD], {}, {}
    for name, title in TITLES.items():
        runs = [runs_by_folder.setdefault(folder.resolve(), Run.read(folder)) for folder in dict.fromkeys(getattr(args, name))]
        table = merge(run.table() for run in runs)
        table.check()
        checkpoints = of_runs(runs, name)
        trained |= {checkpoint.name: checkpoint.manifest for checkpoint in checkpoints}
        frames = compared(table, checkpoints)
        for key, frame in frames.items():
            parts[key].append(frame.assign(matched=name))
        text += [f"## {title}", training(checkpoints, name), *ranking(frames["table"]), *profile(frames["layers"])]
    for key, frames in parts.items():
        frame = pd.concat(frames, ignore_index=True)
        frame.insert(0, "matched", frame.pop("matched"))
        frame.to_csv(args.out / f"{key}.csv", index=False)
    runs = list(runs_by_folder.values())
    rows = merge(run.table() for run in runs).sorted().to_csv(index=False)
    (args.out / "rows.csv.xz").write_bytes(lzma.compress(rows.encode()))
    done = {record["key"]: record for run in runs for record in run.state()["done"]}
    facts = {
        "command": " ".join(["python", "scripts/results/compare_architectures.py", *map(str, options)]),
        "lists": {name: [folder.name for folder in getattr(args, name)] for name in TITLES},
        "runs": {run.folder.name: {k: run.config[k] for k in ("encoder", "probe", "pooling", "seed")} for run in runs},
        "cells": len({key for run in runs for key in run.keys}),
        "done": len(done),
        "fit_seconds": round(sum(record["details"]["seconds"] for record in done.values())),
        "data": {name: {k: card[k] for k in ("sha256", "n")} for run in runs for name, card in run.data_cards().items()},
        "encoders": {name: text for run in runs for name, text in run.encoder_descriptions().items()},
        "training": trained,
    }
    record = json.dumps(portable(manifest(**facts)), indent=1, ensure_ascii=False) + "\n"
    homes = {str(Path(run.config["encoder"]["path"]).parent) for run in runs} | {str(run.folder.parent) for run in runs}
    for home in sorted({*homes, *map(portable, homes)}, key=len, reverse=True):  # no folders of this machine
        record = record.replace(f"{home}/", "")
    (args.out / "manifest.json").write_text(record, encoding="utf-8")
    (args.out / "README.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")


def of_runs(runs: Sequence[Run], matched: str) -> list[Checkpoint]:
    """The checkpoints of the runs, by network and seed; ends the script where they cannot be compared."""
    by_name: dict[str, Checkpoint] = {}
    for run in runs:
        path = Path(run.config["encoder"].get("path") or "nowhere").expanduser() / "manifest.json"
        if not path.is_file():
            sys.exit(f"{run.folder}: no checkpoint of probing train at {path.parent}; give runs of encoder=checkpoint")
        made = json.loads(path.read_text(encoding="utf-8"))
        if "perplexity" not in made["dev"]:
            sys.exit(f"{path.parent} is no language model: its manifest has no perplexity")
        kind = made["architecture"]["_target_"].rpartition(".")[2]
        name = run.config["encoder"]["label"] or path.parent.name
        by_name[name] = Checkpoint(name, made["architecture"]["label"] or kind, made["seed"], made)
    checkpoints = sorted(by_name.values(), key=lambda one: (one.network, one.seed))
    seeds = pd.DataFrame(checkpoints).groupby("network").seed.apply(list).to_dict()
    if len(seeds) < 2 or any(len(set(of)) < SEEDS or len(set(of)) < len(of) for of in seeds.values()):
        sys.exit(f"--{matched}: two networks or more, each with {SEEDS} or more different training seeds; given: {seeds}")
    if len({len(of) for of in seeds.values()}) > 1:
        sys.exit(f"--{matched}: the networks have different numbers of training seeds: {seeds}")
    for name, values in {
        "training data": {one.name: one.manifest["data"]["sha256"] for one in checkpoints},
        **({"numbers of epochs": {one.name: one.manifest["epochs"] for one in checkpoints}} if matched == "epochs" else {}),
    }.items():
        if len(set(values.values())) > 1:
            sys.exit(f"--{matched}: the checkpoints have different {name}: {values}")
    return checkpoints


def compared(table: ResultTable, checkpoints: Sequence[Checkpoint]) -> dict[str, pd.DataFrame]:
    """The frames scores, table, pairs and layers (see the head of this file)."""
    frame = table.frame[table.frame.status == "done"]
    if len(probes := sorted(set(frame.probe[frame.role == "probe"]))) > 1:
        sys.exit(f"these runs are of several probes ({', '.join(probes)}): compare them one by one")

    def right(rows: pd.DataFrame) -> np.ndarray:
        """Share of the rows (one, or one per seed of the probe) that have a test item right, (n,)."""
        return np.mean([np.equal(*table.predictions(cell)) for cell in rows.cell], axis=0)

    networks = list(dict.fromkeys(one.network for one in checkpoints))
    scores, lines, pairs, layers = [], [], [], []
    for task in [name for name in table.tasks if name in set(frame.task[frame.role == "probe"])]:
        of_task = frame[frame.task == task]
        title, groups = of_task.paper_name.iloc[0], table.groups(of_task.cell.iloc[0])
        texts = {name: right(rows) for name, rows in of_task[of_task.role == "floor"].groupby("encoder", sort=False)}
        items = {}
        for network in networks:
            per_seed: dict[str, list[np.ndarray]] = {"accuracy": [], "static": [], "random": []}
            for one in [one for one in checkpoints if one.network == network]:
                probed = of_task[(of_task.role == "probe") & (of_task.encoder == one.name)]
                if probed.empty:
                    sys.exit(f"{one.name} has no finished cell of {task}: every network needs every task")
                best = dev_best(probed)
                own = {"accuracy": right(best)}
                static = of_task[of_task.role.isin(["probe", "static"]) & (of_task.encoder == one.name)]
                static = static[(static.layer == 0) & (static.pooling == "mean") & ~static.layer_name.str.contains(CONTEXTUAL)]
                if len(static):
                    own["static"] = right(static)
                twins = of_task[(of_task.role == "random") & (of_task.twin_of == one.name)].groupby(
                    ["encoder", "seed"], dropna=False
                )
                if len(twins):
                    own["random"] = np.mean([right(dev_best(rows)) for _, rows in twins], axis=0)
                at = {"layer": best.layer.iloc[0], "pooling": best.pooling.iloc[0]}
                line = {"task": task, "network": network, "seed": one.seed, "checkpoint": one.name, **at}
                line["dev_accuracy"] = best.dev_accuracy.mean()
                scores.append(line | {name: values.mean() for name, values in own.items()})
                for (pooling, layer), rows in probed.groupby(["pooling", "layer"]):
                    line = {"task": task, "network": network, "pooling": pooling, "layer": layer, "seed": one.seed}
                    layers.append(line | {"accuracy": rows.accuracy.mean(), "chosen": (layer, pooling) == tuple(at.values())})
                for name, values in own.items():
                    per_seed[name].append(values)
            items[network] = values = np.stack(per_seed.pop("accuracy"))  # (seeds, items)
            floors = {name: np.tile(floor, (len(values), 1)) for name, floor in texts.items()}
            floors |= {name: np.stack(floor) for name, floor in per_seed.items() if len(floor) == len(values)}
            mean = mean_accuracy(values, groups)
            line = {"task": task, "paper_name": title, "network": network, "n_test": values.shape[1], "seeds": len(values)}
            line |= {"accuracy": mean.value, "low": mean.lower, "high": mean.upper, "seed_sd": values.mean(1).std(ddof=1)}
            text = max(texts, key=lambda name: texts[name].mean(), default="")
            line |= {"text_floor": text, "text_floor_accuracy": texts[text].mean() if text else np.nan}
            line |= {name: floors[name].mean() if name in floors else np.nan for name in per_seed}
            line["floor"] = floor = max(floors, key=lambda name: floors[name].mean(), default="")
            above = compare(values, floors[floor], groups)[0] if floor else Estimate(np.nan, np.nan, np.nan)
            lines.append(line | {"above_floor": above.value, "above_floor_low": above.lower, "above_floor_high": above.upper})
        for i, a in enumerate(networks):
            for b in networks[i + 1 :]:
                difference, p = between(items[a], items[b], groups)
                line = {"task": task, "a": a, "b": b, "a_accuracy": items[a].mean(), "b_accuracy": items[b].mean()}
                line |= {"difference": difference.value, "low": difference.lower, "high": difference.upper}
                pairs.append(line | {"p": p})
    frames = {"scores": pd.DataFrame(scores), "table": pd.DataFrame(lines), "pairs": pd.DataFrame(pairs)}
    frames["pairs"]["p_holm"] = holm(frames["pairs"].p)
    frames["table"]["letters"] = letters_of(frames["table"], frames["pairs"])
    by = ["task", "network", "pooling", "layer"]
    grouped = pd.DataFrame(layers).groupby(by, sort=False)
    frames["layers"] = grouped.agg(
        accuracy=("accuracy", "mean"), seed_sd=("accuracy", "std"), chosen=("chosen", "sum")
    ).reset_index()
    return frames


def dev_best(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the pooling and layer with the highest dev accuracy; of equal ones the first."""
    pooling, layer = rows.groupby(["pooling", "layer"]).dev_accuracy.mean().idxmax()
    return rows[(rows.pooling == pooling) & (rows.layer == layer)]


def between(a: np.ndarray, b: np.ndarray, groups: np.ndarray | None = None) -> tuple[Estimate, float]:
    """Difference of two networks' mean accuracies (a - b, 0-1): 95 % interval over seeds and items, and two-sided p-value.

    Seeds: Welch's standard error and degrees of freedom (1947). Items: the error of the mean of the items' differences. The squares
    of the two half-widths add (Howe 1974), which errs on the safe side also where seeds are few and the level is strict.

    Args:
        a, b: share that is right, (seeds, items), each network with its own seeds.
        groups: numbers 0..m-1 of the items' groups, (items,), or None.
    """
    value = float(a.mean() - b.mean())
    own = [group.mean(1).var(ddof=1) / len(group) for group in (a, b)]
    seeds = sum(own)
    freedom = seeds**2 / sum(v**2 / (len(group) - 1) for v, group in zip(own, (a, b), strict=True)) if seeds else 1.0
    errors = np.array([np.sqrt(seeds), standard_error(a.mean(0) - b.mean(0), groups)])
    degrees = np.array([freedom, (a.shape[1] if groups is None else groups.max() + 1) - 1])

    def half(level: float) -> float:
        return float(np.linalg.norm(t.isf(level / 2, degrees) * errors))

    width = half(0.05)
    interval = Estimate(value, value - width, value + width)
    if abs(value) >= half(LEAST_P):
        return interval, LEAST_P if value else 1.0
    return interval, float(np.exp(brentq(lambda p: half(np.exp(p)) - abs(value), np.log(LEAST_P), 0.0)))


def letters_of(table: pd.DataFrame, pairs: pd.DataFrame, alpha: float = 0.05) -> list[str]:
    """Letters of each line of the table: networks of a task that share one are not separated (p_holm >= alpha)."""
    apart = {(pair.task, *sorted((pair.a, pair.b))) for pair in pairs.itertuples() if pair.p_holm < alpha}
    column = pd.Series("", index=table.index)
    for task, rows in table.groupby("task", sort=False):
        ranked = rows.sort_values("accuracy", ascending=False, kind="stable")
        separated = [[(task, *sorted((a, b))) in apart for b in ranked.network] for a in ranked.network]
        column[ranked.index] = letters(separated)
    return column.tolist()


if __name__ == "__main__":
    main(sys.argv[1:])
