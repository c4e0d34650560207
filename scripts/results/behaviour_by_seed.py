"""Compares language models on minimal pairs over their training seeds: the mean of the seeds of a network, beside floors.

Usage: python scripts/results/behaviour_by_seed.py OUT RUN...
RUN: folders of `probing run +experiment=minimal_pairs encoder=checkpoint encoder.path=…`, of networks that `probing train
objective=lm` made; a network is the encoder.label of its training, and has the same training seeds, two or more, on each data set.

Writes into OUT seeds.md, seeds.csv (a line per data, network and level: all, groups, facets), seeds-figure-….svg (accuracy by
attractors and by distance), seeds-manifest.json. The mean over seeds has a 95 % interval over training seeds and items
(`probing.evaluation.statistics.mean_accuracy`); networks are compared as in compare_architectures.py (`between`), Holm over all
pairs and data sets; networks with the same letter are not separated.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from compare_architectures import between
from matplotlib.figure import Figure

from probing.behaviour.counting import FLOORS
from probing.evaluation.paired_tests import holm, letters
from probing.evaluation.plots import PALETTE
from probing.evaluation.statistics import mean_accuracy
from probing.report.figures import RC, legend, svg
from probing.report.markdown import md_table

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import manifest, write_json

NOTE = """# Language models over training seeds

Accuracy (%) on minimal pairs: mean over training seeds, a tie counts half [95 % interval over seeds and items]; sd over seeds;
letters: networks that share one are not separated on the data set (Welch over seeds, widened by the items; Holm over all of this
file). in vocabulary: items whose words the network knows all, and the accuracy there. Floors on the same items: n-grams of the text
and tokens of the network's training, the shorter text, the network with random weights (the mean of its draws)."""


def main(out: Path, *runs: Path) -> None:
    frame, trained = read(runs)
    lines = pd.DataFrame(list(measured(frame)))
    lines["letters"] = letters_of(frame, lines)
    out.mkdir(parents=True, exist_ok=True)
    lines.to_csv(out / "seeds.csv", index=False)
    (out / "seeds.md").write_text("\n\n".join(blocks(lines, trained)) + "\n", encoding="utf-8")
    for (data, facet), part in lines[lines.level.str.startswith("facet")].groupby(["data", "level"], sort=False):
        if facet in ("facet attractors", "facet distance"):
            (out / f"seeds-figure-{facet.removeprefix('facet ')}-{data}.svg").write_text(curves(part), encoding="utf-8")
    write_json(out / "seeds-manifest.json", manifest(runs=[run.name for run in runs], training=trained.to_dict("records")))


def read(runs: tuple[Path, ...]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The items of all runs with the network and seed of each, and a line for each training."""
    frames, trained = [], {}
    for run in runs:
        config = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["config"]
        named = config["encoder"]["path"].replace("$TMPDIR", tempfile.gettempdir())  # as `probing.paths.portable` writes it
        path = Path(named).expanduser()
        made = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        network, seed = made["architecture"]["label"], made["seed"]
        trained[path.name] = {
            "network": network, "seed": seed, "parameters": made["parameters"]["network"], "epochs": made["epochs"],
            "minutes": made["cpu_seconds"] / 60, "dev perplexity": made["dev"]["perplexity"],
            "test perplexity": made["test"]["perplexity"],
            "options": {"encoder": made["architecture"], "objective": made["objective"]},
        }  # fmt: skip
        frames.append(pd.read_csv(run / "rows.csv", low_memory=False).assign(network=network, seed=seed))
    frame = pd.concat(frames, ignore_index=True)
    frame = frame[frame.direction == "forward"]
    seeds = frame.groupby(["data", "network"]).seed.unique().map(lambda own: tuple(sorted(own)))
    if len(set(seeds)) > 1 or len(seeds.iloc[0]) < 2 or frame.groupby(["data", "network", "seed"]).item.nunique().lt(2).any():
        sys.exit(f"each network needs the same training seeds, two or more, on each data set; given:\n{seeds.to_string()}")
    return frame, pd.DataFrame(trained.values()).sort_values(["network", "seed"])


def measured(frame: pd.DataFrame) -> Iterator[dict[str, object]]:
    """The lines of seeds.csv."""
    for (data, network), part in frame.groupby(["data", "network"], sort=False):
        about = {"data": data, "network": network}
        yield about | {"level": "all", "name": "all"} | numbers(part)
        if part.group.nunique() > 1:
            yield from (about | {"level": "group", "name": name} | numbers(rows) for name, rows in part.groupby("group"))
        for facet in [name for name in part if name.startswith("facet ") and part[name].nunique() > 1]:
            values = part[facet].map(BINS[facet]) if facet in BINS else part[facet].astype(str).str.removesuffix(".0")
            for value in sorted(values[part[facet].notna()].unique(), key=place):
                yield about | {"level": facet, "name": value} | numbers(part[values == value])


def binned(distance: float) -> str:
    """Words from subject to verb, as in Tang et al. (2018), but in bins from 5 on, where few items are."""
    d = int(distance)
    return str(d) if d < 5 else "5-6" if d < 7 else "7-9" if d < 10 else "10-15" if d < 16 else ">15"


BINS = {"facet distance": binned, "facet attractors": lambda n: str(int(n)) if n < 4 else "4+"}


def place(value: str) -> float:
    digits = value.lstrip("><").partition("-")[0].rstrip("+")
    return float(digits) + (0.5 if value[:1] == ">" else 0) if digits.replace(".", "").isdigit() else np.inf


def credits(part: pd.DataFrame) -> np.ndarray:
    """Credit of each item for each training seed, (seeds, items); items that one of them cannot score are left out."""
    return part.pivot(index="seed", columns="item", values="credit").dropna(axis=1).to_numpy()


def numbers(part: pd.DataFrame) -> dict[str, object]:
    own = credits(part)
    x = mean_accuracy(own)
    line: dict[str, object] = {"n": own.shape[1], "seeds": len(own), "accuracy": x.value, "low": x.lower, "high": x.upper}
    known = part[part.in_vocabulary.astype(bool)]
    line |= {"sd": own.mean(1).std(ddof=1), "ties": float(part.credit.between(0, 1, inclusive="neither").mean())}
    line |= {"in_vocabulary": len(known) / len(part), "accuracy_there": known.credit.mean()}
    return line | {name: part[name].mean() for name in FLOORS}


def letters_of(frame: pd.DataFrame, lines: pd.DataFrame) -> list[str]:
    """Letters of the lines of all items; "" elsewhere."""
    networks = {key: credits(part) for key, part in frame.groupby(["data", "network"], sort=False)}
    pairs = [(a, b) for a, b in combinations(networks, 2) if a[0] == b[0]]
    p = holm([between(networks[a], networks[b])[1] for a, b in pairs])
    apart = {frozenset(pair) for pair, value in zip(pairs, p, strict=True) if value < 0.05}
    column = pd.Series("", index=lines.index)
    for data, rows in lines[lines.level == "all"].groupby("data", sort=False):
        ranked = rows.sort_values("accuracy", ascending=False, kind="stable")
        keys = [(data, network) for network in ranked.network]
        column[ranked.index] = letters([[frozenset((a, b)) in apart for b in keys] for a in keys])
    return column.tolist()


def blocks(lines: pd.DataFrame, trained: pd.DataFrame) -> Iterator[str]:
    yield NOTE
    yield "## Training"
    shown = trained.drop(columns="options").assign(parameters=trained.parameters.map("{:,}".format))
    yield md_table(shown.round({"minutes": 1, "dev perplexity": 1, "test perplexity": 1}))
    for data, part in lines.groupby("data", sort=False):
        yield f"## {data}"
        for level, rows in part.groupby("level", sort=False):
            if level != "all":
                yield f"### {data}: {level.removeprefix('facet ')}"
            ordered = rows.sort_values("name", key=lambda names: names.map(place), kind="stable")
            yield md_table(pd.DataFrame([line(one, level) for one in ordered.to_dict("records")]).fillna(""))


def line(one: dict, level: str) -> dict[str, object]:
    cells = {"network": one["network"]} | ({} if level == "all" else {"value": one["name"]}) | {"n": one["n"]}
    cells["accuracy"] = f"{100 * one['accuracy']:.1f} [{100 * one['low']:.1f}, {100 * one['high']:.1f}]"
    cells |= {"letters": one["letters"]} if level == "all" else {}
    names = ("sd", "ties", "in_vocabulary", "accuracy_there", *FLOORS)
    return cells | {name.replace("_", " "): "" if pd.isna(one[name]) else f"{100 * one[name]:.1f}" for name in names}


def curves(part: pd.DataFrame) -> str:
    """Accuracy by the values of a facet, a line with its band for each network; dashed: the trigram and unigram of words."""
    names = sorted(dict.fromkeys(part.name), key=place)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(5.2, 3.6), layout="constrained")
        panel, x = figure.subplots(), np.arange(len(names))
        for (network, rows), colour in zip(part.groupby("network", sort=False), PALETTE, strict=False):
            own = rows.set_index("name").reindex(names)
            style = "--" if "subwords" in network else "-"
            panel.plot(x, 100 * own.accuracy, ls=style, marker="o", ms=3, lw=1.2, color=colour, label=network)
            panel.fill_between(x, 100 * own.low, 100 * own.high, color=colour, alpha=0.12, lw=0)
        for floor, style in (("trigram", ":"), ("unigram", "-.")):
            panel.plot(x, 100 * part.groupby("name")[floor].mean().reindex(names), ls=style, lw=1, color="#777777", label=floor)
        panel.axhline(50, color="#bbbbbb", lw=0.8)
        panel.set(
            xticks=x, xticklabels=names, xlabel=part.level.iloc[0].removeprefix("facet "), ylabel="accuracy (%)", ylim=(0, 100)
        )
        legend(figure, [panel], 3)
        return svg(figure)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
