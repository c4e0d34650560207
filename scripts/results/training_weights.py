"""What weights of training sentences do to accuracy and to explanations, beside what another seed does.

Usage: python scripts/results/training_weights.py DATA OUT      (DATA: the sentence-level files of SST-2)
Trains a CNN with each `objective.weights` and each seed, and explains test sentences by exact Shapley values of the logit of the
positive class less that of the negative one. Agreement of two networks is Kendall's tau-b by sentence, its null that of different
sentences of the same length. Writes OUT/table.md, accuracy.csv, rows.csv (tau by sentence and pair of networks) and manifest.json;
checkpoints stay in probing-out/training-weights, and finished ones are not trained again.
"""

import hashlib
import json
import sys
import time
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd

from probing.attributions.coalitions import coalition_table
from probing.attributions.indices import GAMES
from probing.attributions.sanity import Agreement
from probing.data.loading import load
from probing.encoders.networks.checkpoint import CheckpointEncoder
from probing.encoders.networks.convolutional import CNN
from probing.evaluation.statistics import mean_ci
from probing.interactions.text.heads import head_of
from probing.training.classification import WEIGHTS, Classification
from probing.training.train import train

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import manifest, table, write_json

HOME = Path("probing-out") / "training-weights"
SEEDS = (0, 1)
SENTENCES, WORDS = 60, (4, 8)
NETWORK = {"embedding_dim": 64, "filters": 32, "widths": [1, 2, 3], "pooling": "max"}
OBJECTIVE = {"epochs": 12, "batch_tokens": 512, "dropout": 0.3}


def explained(folder, texts):
    """Shapley values of the words of each text."""
    encoder = CheckpointEncoder(str(folder))
    head = head_of(encoder)
    tables = (coalition_table(encoder, head, text, "pad") for text in texts)
    return [GAMES["shapley"](one.value(f"{head.classes[1]}-{head.classes[0]}")) for one in tables]


def pairs():
    """(comparison, first network, second network), a network being (weights, seed)."""
    for a, b in permutations(SEEDS, 2):
        if a < b:
            yield "none, another seed", ("none", a), ("none", b)
        for kind in WEIGHTS[1:]:
            if a < b:
                yield f"{kind}, another seed", (kind, a), (kind, b)
            yield f"{kind} against none, another seed", (kind, a), ("none", b)
    for seed in SEEDS:
        for kind in WEIGHTS[1:]:
            yield f"{kind} against none, same seed", (kind, seed), ("none", seed)


def main(data: Path, out: Path) -> None:
    begun, cpu = time.perf_counter(), time.process_time()
    task = load("sst2", data)
    short = [text for text in dict.fromkeys(task.test.texts) if WORDS[0] <= len(text.split()) <= WORDS[1]]
    texts = [short[k] for k in np.random.default_rng(0).permutation(len(short))[:SENTENCES]]
    scores, accuracies = {}, []
    for kind in WEIGHTS:
        for seed in SEEDS:
            folder = train(CNN(**NETWORK), Classification(**OBJECTIVE, weights=kind), data, HOME, seed)
            made = json.loads((folder / "manifest.json").read_text())
            accuracies.append({"weights": kind, "seed": seed, "dev": made["dev"]["accuracy"], "test": made["test"]["accuracy"]})
            scores[kind, seed] = explained(folder, texts)
    accuracy = pd.DataFrame(accuracies)
    rows = []
    for name, a, b in pairs():
        agreed = Agreement.of(scores[a], scores[b])
        for text, tau, null in zip(texts, agreed.tau, agreed.null, strict=True):
            digest = hashlib.sha256(text.encode()).hexdigest()[:12]
            row = {"comparison": name, "first": "{}, seed {}".format(*a), "second": "{}, seed {}".format(*b), "text": digest}
            rows.append(row | {"words": len(text.split()), "tau": tau, "null": null})
    frame = pd.DataFrame(rows)
    out.mkdir(parents=True, exist_ok=True)
    accuracy.to_csv(out / "accuracy.csv", index=False)
    frame.round(6).to_csv(out / "rows.csv", index=False)
    (out / "table.md").write_text("\n".join(report(accuracy, frame)), encoding="utf-8")
    spent = {"seconds": round(time.perf_counter() - begun, 1), "processor_seconds": round(time.process_time() - cpu, 1)}
    write_json(out / "manifest.json", manifest(network=NETWORK, objective=OBJECTIVE, seeds=SEEDS, sentences=len(texts), **spent))


def report(accuracy, frame):
    """The lines of table.md."""
    yield f"""# Weights of training sentences: accuracy and explanations

A CNN on SST-2, {len(SEEDS)} seeds. Accuracy in percent: mean (lowest to highest). tau: Kendall's tau-b of exact Shapley values of
{SENTENCES} test sentences of {WORDS[0]} to {WORDS[1]} words (masking=pad, logit of the positive class less the negative one's),
mean over pairs of networks, then over sentences [95 % t interval]; null: the same networks on different sentences of the same
length. Difference: tau less that of two networks without weights and of different seeds, on the same sentences.
"""
    lines = []
    for kind, part in accuracy.groupby("weights", sort=False):
        lines.append(
            [
                kind,
                *(f"{100 * part[s].mean():.1f} ({100 * part[s].min():.1f} to {100 * part[s].max():.1f})" for s in ("dev", "test")),
            ]
        )
    yield from table(["weights", "dev", "test"], lines)
    yield ""
    by_text = frame.groupby(["comparison", "text"], sort=False)[["tau", "null"]].mean()
    lines, plain = [], by_text.loc["none, another seed"].tau
    for name in dict.fromkeys(frame.comparison):
        own = by_text.loc[name]
        mean, less = mean_ci(own.tau), mean_ci(own.tau - plain)
        told = "-" if name == "none, another seed" else f"{less.value:z.3f} [{less.lower:z.3f}, {less.upper:z.3f}]"
        lines.append([name, f"{mean.value:.3f} [{mean.lower:.3f}, {mean.upper:.3f}]", f"{own.null.mean():z.3f}", told])
    yield from table(["networks", "tau", "null", "difference"], lines)
    yield ""


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
