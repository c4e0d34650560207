"""Small corpora for transfers: tasks on sentences of random words, and the rows of a transfer without their names."""

import numpy as np
from toys import ToyEncoder

from probing import Task, transfer

WORDS = [f"w{i}" for i in range(30)]
SIZES = {"train": 160, "dev": 60, "test": 80}


def corpus(seed, words=WORDS, names=("marked", "length"), groups=False):
    """Tasks on shared sentences: whether a marker word occurs, and length modulo 3; `groups`: four test sentences share a
    source."""
    rng = np.random.default_rng(seed)
    texts = list(dict.fromkeys(" ".join(rng.choice(words, size=rng.integers(4, 11))) for _ in range(2000)))[: sum(SIZES.values())]
    splits = [split for split, n in SIZES.items() for _ in range(n)]
    labels = {
        "marked": ["yes" if {"w1", "w2", "w3", "w4"} & set(text.split()) else "no" for text in texts],
        "length": [str(len(text.split()) % 3) for text in texts],
    }
    own = [f"g{k // 4}" for k in range(len(texts))] if groups else None
    return [Task.from_lists(texts, labels[name], splits, name=name, groups=own) for name in names]


def run(corpora, tmp_path, encoder=None, **options):
    options = {"poolings": "mean", "store": tmp_path / "store"} | options
    return transfer(corpora, encoder or ToyEncoder(), **options)


def cells(result, role="probe"):
    """The rows by task, source, target, layer and pooling, without names."""
    frame = result.frame[result.frame.role == role]
    return frame.set_index(["property", "source", "target", "layer", "pooling"]).sort_index()
