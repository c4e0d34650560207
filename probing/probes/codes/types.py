"""Control representations that know the type of an item and nothing of its context (Pimentel et al. 2020): one-hot, and random
embeddings. Types are compared as written; a test item of a type that train lacks has a row of zeros."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix

from probing.probes.codes.bits import mixed
from probing.types import Features, Labels, Values


def numbered(splits: Sequence[Sequence[str]]) -> tuple[list[np.ndarray], int]:
    """Numbers of the items' types, split by split, and the number of types of train; -1 for a type that train lacks."""
    place: dict[str, int] = {}
    for unit in splits[0]:
        place.setdefault(unit, len(place))
    return [np.array([place.get(unit, -1) for unit in units], dtype=np.int64) for units in splits], len(place)


def random_embeddings(splits: Sequence[Sequence[str]], d: int, seed: int) -> list[Features]:
    """A Gaussian vector (d,) of each type, split by split, (n, d) each."""
    numbers, n_types = numbered(splits)
    rows = np.random.default_rng(seed).normal(size=(n_types + 1, d)).astype(np.float32)
    rows[-1] = 0
    return [rows[own] for own in numbers]


def one_hot_bits(
    splits: Sequence[Sequence[str]], labels: Sequence[Labels], n_classes: int, grid: Sequence[float]
) -> tuple[Values, float]:
    """Bits of the test labels, (n_test,), by logistic regression on one-hot types of train, and its C, chosen by dev cross-entropy;
    items of one type and label are one row with their number as weight."""
    from sklearn.linear_model import LogisticRegression

    numbers, n_types = numbered(splits)
    pairs, counts = np.unique(np.stack([numbers[0], labels[0]]), axis=1, return_counts=True)

    def one_hot(own: np.ndarray) -> csr_matrix:
        known = np.flatnonzero(own >= 0)
        return csr_matrix((np.ones(len(known)), (known, own[known])), (len(own), n_types))

    best: tuple[float, Values, float] | None = None
    for C in sorted(grid):
        model = LogisticRegression(C=C, max_iter=2000, tol=1e-4).fit(one_hot(pairs[0]), pairs[1], sample_weight=counts)

        def bits(k: int, model: LogisticRegression = model) -> Values:
            logs = np.full((len(labels[k]), n_classes), -np.inf)
            logs[:, model.classes_] = model.predict_log_proba(one_hot(numbers[k]))
            return mixed(logs[np.arange(len(logs)), labels[k]], len(labels[0]), n_classes)

        dev = float(bits(1).mean())
        if best is not None and dev >= best[0]:
            break
        best = (dev, bits(2), C)
    assert best is not None
    return best[1], best[2]
