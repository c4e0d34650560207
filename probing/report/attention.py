"""The report of the study `attention`: taus beside the published ones, what other weights could say, accuracies by weights."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probing.evaluation.statistics import mean_ci, median_ci, wilson
from probing.files import replace_file
from probing.paths import PUBLISHED
from probing.report.markdown import md_table
from probing.types import Estimate

HEAD = """# Attention as an explanation

Kendall's tau-b over the words of a sentence, mean over test sentences [95 %]; all trainings of a network pooled. In brackets the
values that Jain and Wallace 2019 (NAACL) released for the same kind of network and attention on their SST. The last column is the
yardstick: how well gradient and leave-one-out agree with each other."""
OTHERS = """## Would other weights say the same?

Permuted: median change of the probability (0-1) over shuffles of the weights. Adversarial: the largest Jensen-Shannon divergence
(nats, at most 0.693) of weights whose probability is within 0.05, exact. Medians over sentences [95 % bootstrap], and the share
of sentences whose adversary is further than 0.5 [95 %]. Seeds: divergence of the weights of two trainings, beside that from
uniform."""
LADDER = """## What attention is needed for

Accuracy on test (%) [95 %, Wilson], a mean over trainings: weights learned, uniform (mean), and drawn and never trained
(frozen)."""
COLUMNS = {
    "attention_gradient": "attention vs gradient",
    "attention_loo": "attention vs leave-one-out",
    "gradient_loo": "gradient vs leave-one-out",
}
THEIRS = {"average": "average", "cnn": "cnn(1,3,5,7)", "bilstm": "lstm"}


def write(frame: pd.DataFrame, folder: Path) -> None:
    """Writes table.md and attention.csv."""
    sentences, accuracy, seeds = (frame[frame.kind == kind] for kind in ("sentence", "accuracy", "seeds"))
    known, rows = published(), dict[str, list[dict[str, Any]]](taus=[], others=[], ladder=[])
    for (data, network, pooling), part in sentences.groupby(["data", "network", "pooling"], sort=False):
        about = {"data": data, "network": network, "attention": pooling}
        theirs = {name: known.get((THEIRS[str(network)], str(pooling), title)) for name, title in COLUMNS.items()}
        own = {COLUMNS[name]: _shown(mean_ci(part[name], part.sentence.to_numpy(int)), theirs[name]) for name in COLUMNS}
        rows["taus"].append(about | own | {"sentences": part.sentence.nunique(), "trainings": part.seed.nunique()})
        far = part.adversarial > 0.5
        pairs = seeds[(seeds.network == network) & (seeds.pooling == pooling)] if len(seeds) else seeds
        between = f"{pairs.jsd.mean():.3f} ({pairs.uniform.mean():.3f})" if len(pairs) else "-"
        rows["others"].append(
            about
            | {"permuted": _shown(median_ci(part.permuted)), "adversarial": _shown(median_ci(part.adversarial))}
            | {"further than 0.5 (%)": _percent(wilson(int(far.sum()), len(far))), "seeds (uniform)": between}
        )
    for (data, network, pooling), part in accuracy.groupby(["data", "network", "pooling"], sort=False):
        n = int(part.n.iloc[0])
        mean = float(part.accuracy.mean())
        line = {"data": data, "network": network, "weights": pooling, "accuracy (%)": _percent(wilson(mean * n, n))}
        rows["ladder"].append(line | {"trainings": len(part)})
    tables = {name: pd.DataFrame(own) for name, own in rows.items()}
    blocks = [HEAD, md_table(tables["taus"]), OTHERS, md_table(tables["others"]), LADDER, md_table(tables["ladder"])]
    replace_file(folder / "table.md", ("\n\n".join(blocks) + "\n").encode())
    replace_file(folder / "attention.csv", pd.concat(tables, names=["table"]).reset_index(0).to_csv(index=False).encode())


def published() -> dict[tuple[str, str, str], float]:
    """(network, attention, pair of columns) -> the mean tau on SST that Jain and Wallace released."""
    values = {}
    with (PUBLISHED / "jain_wallace2019_stats_and_scores.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["task"] == "sst" and row["metric"].startswith("Kendall tau ") and row["metric"].endswith(" mean"):
                kind = "attention" if row["pretraining"] == "tanh attention" else "attention-dot"
                values[row["encoder"], kind, row["metric"].removeprefix("Kendall tau ").removesuffix(" mean")] = float(row["value"])
    return values


def _shown(x: Estimate, theirs: float | None = None) -> str:
    interval = "" if np.isnan(x.lower) else f" [{x.lower:.3f}, {x.upper:.3f}]"
    return f"{x.value:.3f}{interval}" + ("" if theirs is None else f" ({theirs:.3f})")


def _percent(x: Estimate) -> str:
    return f"{100 * x.value:.1f} [{100 * x.lower:.1f}, {100 * x.upper:.1f}]"
