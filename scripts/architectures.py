"""Architectures compared over training seeds: which network holds what, at equal epochs and at equal perplexity.

Usage: python scripts/architectures.py OUT --epochs RUN [RUN ...] --perplexity RUN [RUN ...]
RUN: folders of `probing run encoder=checkpoint encoder.path=FOLDER …`, FOLDER a language model of `probing train objective=lm`. A
checkpoint may have several runs (of several data), and a run may stand in both lists. Networks are named by the encoder.label that
they were trained with, else by their kind; each has the same number of training seeds, three or more, in each list. Of one list
all checkpoints were trained for the same number of epochs; of the other, perplexities should be close (the table shows how close).

Writes README.md, scores.csv (a line per list, task and checkpoint), table.csv (per list, task and network), pairs.csv (every two
networks on every task), layers.csv, rows.csv.xz (all cells), manifest.json.

Two things vary: training (the seed) and the test sentences (or groups of them). Intervals are over both, see
`probing.evaluation.statistics.mean_accuracy` and `compare`; a floor is compared seed by seed. Two networks have seeds of their own
and the same sentences: see `between`.
"""

import argparse
import json
import lzma
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import t

from probing.encoders.base import CONTEXTUAL
from probing.evaluation.paired_tests import compare, holm, letters
from probing.evaluation.runs import Run
from probing.evaluation.statistics import mean_accuracy, standard_error
from probing.evaluation.table import ResultTable, merge
from probing.paths import portable
from probing.provenance import versions
from probing.report.markdown import md_table
from probing.types import Estimate

SEEDS = 3
"""The fewest training seeds of a network."""
LEAST_P = 1e-30
"""Of a p-value that is found by bisection."""
TITLES = {"epochs": "Matched by epochs", "perplexity": "Matched by perplexity"}


class Checkpoint(NamedTuple):
    """A trained network: name in the rows, network, training seed, and its manifest."""

    name: str
    network: str
    seed: int
    manifest: dict


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    for name in TITLES:
        parser.add_argument(f"--{name}", type=Path, nargs="+", required=True, metavar="RUN")
    given = parser.parse_args(words)
    given.out.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[pd.DataFrame]] = {"scores": [], "table": [], "pairs": [], "layers": []}
    text, read, trained = [HEAD], {}, {}
    for name, title in TITLES.items():
        runs = [read.setdefault(folder.resolve(), Run.read(folder)) for folder in dict.fromkeys(getattr(given, name))]
        table = merge(run.table() for run in runs)
        table.check()
        checkpoints = of_runs(runs, name)
        trained |= {checkpoint.name: checkpoint.manifest for checkpoint in checkpoints}
        found = compared(table, checkpoints)
        for key, frame in found.items():
            parts[key].append(frame.assign(matched=name))
        text += [f"## {title}", training(checkpoints, name), *ranking(found["table"]), *profile(found["layers"])]
    for key, frames in parts.items():
        frame = pd.concat(frames, ignore_index=True)
        frame.insert(0, "matched", frame.pop("matched"))
        frame.to_csv(given.out / f"{key}.csv", index=False)
    runs = list(read.values())
    rows = merge(run.table() for run in runs).sorted().to_csv(index=False)
    (given.out / "rows.csv.xz").write_bytes(lzma.compress(rows.encode()))
    done = {record["key"]: record for run in runs for record in run.state()["done"]}
    manifest = {
        "command": " ".join(["python", "scripts/architectures.py", *map(str, words)]),
        "lists": {name: [folder.name for folder in getattr(given, name)] for name in TITLES},
        "runs": {run.folder.name: {k: run.config[k] for k in ("encoder", "probe", "pooling", "seed")} for run in runs},
        "cells": len({key for run in runs for key in run.keys}),
        "done": len(done),
        "fit_seconds": round(sum(record["details"]["seconds"] for record in done.values())),
        "commit": subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip(),
        "versions": versions(),
        "data": {name: {k: card[k] for k in ("sha256", "n")} for run in runs for name, card in run.data_cards().items()},
        "encoders": {name: said for run in runs for name, said in run.encoder_descriptions().items()},
        "training": trained,
    }
    said = json.dumps(portable(manifest), indent=1, ensure_ascii=False) + "\n"
    homes = {str(Path(run.config["encoder"]["path"]).parent) for run in runs} | {str(run.folder.parent) for run in runs}
    for home in sorted({*homes, *map(portable, homes)}, key=len, reverse=True):  # where checkpoints and runs lay is nobody's
        said = said.replace(f"{home}/", "")
    (given.out / "manifest.json").write_text(said, encoding="utf-8")
    (given.out / "README.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")


def of_runs(runs: Sequence[Run], matched: str) -> list[Checkpoint]:
    """The checkpoints of the runs, by network and seed; ends the script where they cannot be compared."""
    found: dict[str, Checkpoint] = {}
    for run in runs:
        path = Path(run.config["encoder"].get("path") or "nowhere").expanduser() / "manifest.json"
        if not path.is_file():
            sys.exit(f"{run.folder}: no checkpoint of probing train at {path.parent}; give runs of encoder=checkpoint")
        said = json.loads(path.read_text(encoding="utf-8"))
        if "perplexity" not in said["dev"]:
            sys.exit(f"{path.parent} is no language model: its manifest has no perplexity")
        kind = said["architecture"]["_target_"].rpartition(".")[2]
        name = run.config["encoder"]["label"] or path.parent.name
        found[name] = Checkpoint(name, said["architecture"]["label"] or kind, said["seed"], said)
    checkpoints = sorted(found.values(), key=lambda one: (one.network, one.seed))
    seeds = pd.DataFrame(checkpoints).groupby("network").seed.apply(list).to_dict()
    if len(seeds) < 2 or any(len(set(of)) < SEEDS or len(set(of)) < len(of) for of in seeds.values()):
        sys.exit(f"--{matched}: two networks or more, each with {SEEDS} or more different training seeds; given: {seeds}")
    if len({len(of) for of in seeds.values()}) > 1:
        sys.exit(f"--{matched}: the networks have different numbers of training seeds: {seeds}")
    for what, values in {
        "training data": {one.name: one.manifest["data"]["sha256"] for one in checkpoints},
        **({"numbers of epochs": {one.name: one.manifest["epochs"] for one in checkpoints}} if matched == "epochs" else {}),
    }.items():
        if len(set(values.values())) > 1:
            sys.exit(f"--{matched}: the checkpoints have different {what}: {values}")
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
        here = frame[frame.task == task]
        title, groups = here.paper_name.iloc[0], table.groups(here.cell.iloc[0])
        texts = {name: right(rows) for name, rows in here[here.role == "floor"].groupby("encoder", sort=False)}
        items = {}
        for network in networks:
            per_seed: dict[str, list[np.ndarray]] = {"accuracy": [], "static": [], "random": []}
            for one in [one for one in checkpoints if one.network == network]:
                probed = here[(here.role == "probe") & (here.encoder == one.name)]
                if probed.empty:
                    sys.exit(f"{one.name} has no finished cell of {task}: every network needs every task")
                best = dev_best(probed)
                own = {"accuracy": right(best)}
                static = here[here.role.isin(["probe", "static"]) & (here.encoder == one.name)]
                static = static[(static.layer == 0) & (static.pooling == "mean") & ~static.layer_name.str.contains(CONTEXTUAL)]
                if len(static):
                    own["static"] = right(static)
                twins = here[(here.role == "random") & (here.twin_of == one.name)].groupby(["encoder", "seed"], dropna=False)
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
    given = pd.Series("", index=table.index)
    for task, rows in table.groupby("task", sort=False):
        ranked = rows.sort_values("accuracy", ascending=False, kind="stable")
        separated = [[(task, *sorted((a, b))) in apart for b in ranked.network] for a in ranked.network]
        given[ranked.index] = letters(separated)
    return given.tolist()


def training(checkpoints: Sequence[Checkpoint], matched: str) -> str:
    lines = []
    for network in dict.fromkeys(one.network for one in checkpoints):
        own = [one for one in checkpoints if one.network == network]
        said = own[0].manifest
        line = {
            "network": network,
            "reads": said["architecture"]["reads"],
            "parameters without embeddings": f"{said['parameters']['without embeddings']:,}",
            "training sentences": f"{said['data']['n']['train']:,}",
            "training seeds": ", ".join(str(one.seed) for one in own),
            "epochs": ", ".join(map(str, sorted({one.manifest["epochs"] for one in own}))),
        }
        for split in ("dev", "test"):
            values = [one.manifest[split]["perplexity"] for one in own]
            line[f"{split} perplexity"] = f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}"
        lines.append(line)
    frame = pd.DataFrame([(one.network, one.manifest["dev"]["perplexity"]) for one in checkpoints], columns=["network", "dev"])
    means = frame.groupby("network").dev.mean()
    said = "Perplexity: mean ± standard deviation over training seeds. The highest mean dev perplexity is "
    said += f"{means.max() / means.min():.2f} times the lowest{', so fit differs with the network' * (matched == 'epochs')}."
    return f"{said}\n\n{md_table(pd.DataFrame(lines))}"


def ranking(table: pd.DataFrame) -> list[str]:
    lines = []
    for row in table.itertuples():
        mark = "" if not row.floor or row.above_floor_low > 0 else " †"
        line = {"task": row.paper_name, "test sentences": f"{row.n_test:,}", "network": row.network}
        line["accuracy [95 %]"] = f"{100 * row.accuracy:.1f} [{100 * row.low:.1f}, {100 * row.high:.1f}]{mark}"
        line |= {"letters": row.letters, "sd over seeds": f"{100 * row.seed_sd:.1f}"}
        line["best text floor"] = f"{row.text_floor} {100 * row.text_floor_accuracy:.1f}" if row.text_floor else "–"
        for name, value in (("static", row.static), ("random weights", row.random)):
            line[name] = "–" if np.isnan(value) else f"{100 * value:.1f}"
        lines.append(line)
    return ["### Which network holds what", RANKING, md_table(pd.DataFrame(lines))]


def profile(layers: pd.DataFrame) -> list[str]:
    text = ["### Layer by layer", PROFILE]
    for network, own in layers.groupby("network", sort=False):
        poolings = list(dict.fromkeys(own.pooling))
        numbers, lines = sorted(own.layer.unique()), []
        for (task, pooling), rows in own.groupby(["task", "pooling"], sort=False):
            cells = {row.layer: f"{100 * row.accuracy:.1f} ± {100 * row.seed_sd:.1f} ({row.chosen})" for row in rows.itertuples()}
            line = {"task": task} | ({"pooling": pooling} if len(poolings) > 1 else {})
            lines.append(line | {f"layer {k}": cells.get(k, "") for k in numbers})
        text += [f"#### {network}", md_table(pd.DataFrame(lines))]
    return text


HEAD = """# Architectures compared

Language models of one text, each trained with several seeds, probed layer by layer. Two comparisons: after the same number of
epochs, and at nearly the same perplexity. Numbers are test accuracies in percent."""

RANKING = """Accuracy: mean over training seeds, each at its own dev-best layer, with a 95 % interval over training seeds and test
sentences. Networks of a task that share a letter are not separated (Welch's t test over training seeds, widened by the sentences;
Holm over all pairs and tasks of this table, 0.05). †: not above the highest of the three floors: the 95 % interval of the
difference on the same sentences reaches 0 or lies below it. Best text floor: the best of those that read the text alone. Static:
mean of the embedding layer. Random weights: the untrained network at its own dev-best layer."""

PROFILE = """Mean ± standard deviation over training seeds; in brackets for how many seeds dev chose the layer."""


if __name__ == "__main__":
    main(sys.argv[1:])
