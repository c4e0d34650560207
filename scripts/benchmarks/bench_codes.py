"""Measures the cost of the online code on planted data of the size of English web text, and the ratio to the obvious loop.

Usage: python scripts/benchmarks/bench_codes.py [OUT] [--share 1.0]

Planted: 204,577 words in 12,544 sentences, 384 features, 17 classes; three orders of the sentences, with control labels. The
obvious loop fits scikit-learn's LogisticRegression to every prefix of a fifth of these words, at the same C. Seconds are of the
processor. OUT: codes.json.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from probing.data.split import Split
from probing.data.task import Task
from probing.evaluation.codes import OnlineCode
from probing.probes.base import SplitFeatures
from probing.probes.codes.bits import mixed
from probing.probes.codes.online import logistic_code, online_code, shuffled
from probing.probes.codes.solver import Examples
from probing.probes.logistic import Design

sys.path.append(str(Path(__file__).resolve().parents[1]))
from output import manifest, write_json

WORDS, SENTENCES, DIM, CLASSES = 204_577, 12_544, 384, 17


def planted(n, seed=0):
    """Features with a falling spectrum, and labels of a softmax model on them."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0].astype(np.float32)
    x = (rng.normal(size=(n, DIM)) * np.arange(1, DIM + 1) ** -0.35).astype(np.float32) @ rotation
    logits = x @ rng.normal(size=(DIM, CLASSES)) * 3 + np.log(np.arange(CLASSES, 0, -1))
    return x, (logits + rng.gumbel(size=logits.shape)).argmax(1)


def split(labels, start, sentences):
    groups = np.sort(np.random.default_rng(1).integers(sentences, size=len(labels))).astype(str)
    return Split(tuple(f"w{start + i}" for i in range(len(labels))), labels, tuple(groups))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", nargs="?", type=Path)
    parser.add_argument("--share", type=float, default=1.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    n, others = int(WORDS * options.share), int(25_000 * options.share)
    x, y = planted(n + 2 * others)
    ends = [0, n, n + others, len(y)]
    splits = [split(y[a:b], a, max(2, int(SENTENCES * options.share))) for a, b in zip(ends, ends[1:], strict=False)]
    task = Task("planted", tuple(map(str, range(CLASSES))), *splits, card={}, source="planted", file_sha256="", git_blob="")
    features = SplitFeatures(*(x[a:b] for a, b in zip(ends, ends[1:], strict=False)))
    start = time.process_time()
    result = OnlineCode().score(features, task)
    seconds = time.process_time() - start
    few = n // 5
    xs, ys = x[:few], y[:few]
    order, block_ends = shuffled(few, None, 0)
    begun = time.process_time()
    design = Design.prepare(xs)
    own, _ = logistic_code(Examples.of(design, CLASSES).rows(order), ys[order], block_ends, [0.1])
    ours = time.process_time() - begun
    z, ys = ((xs - xs.mean(0)) / xs.std(0))[order], ys[order]

    def block_bits(a, b):
        model = LogisticRegression(C=0.1, max_iter=1000).fit(z[:a], ys[:a])
        logs = np.full((b - a, CLASSES), -np.inf)
        logs[:, model.classes_] = model.predict_log_proba(z[a:b])
        return mixed(logs[np.arange(b - a), ys[a:b]], a, CLASSES)

    begun = time.process_time()
    loop = online_code(CLASSES, block_ends, block_bits)
    theirs = time.process_time() - begun
    record = {
        "words": n, "seconds_three_orders_with_control": round(seconds, 1), "compression": result.scores["compression"].value,
        "loop_words": few, "seconds_ours": round(ours, 2), "seconds_loop": round(theirs, 2), "ratio": round(theirs / ours, 1),
        "bits_ours": own.bits, "bits_loop": loop.bits,
    }  # fmt: skip
    for name, value in record.items():
        print(f"{name}: {value}")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        write_json(options.out / "codes.json", {"manifest": manifest(), **record})


if __name__ == "__main__":
    main()
