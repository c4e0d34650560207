"""Stratified, seeded draws of row numbers.

`clusters` is the group of each row, 0..m-1, or None where each row is its own; a group stays whole.
"""

from __future__ import annotations

import numpy as np

from probing.types import Labels


def spread(labels: Labels, rng: np.random.Generator) -> np.ndarray:
    """All row numbers in an order in which every prefix holds about the same share of every class, even of classes of few rows.

    The r-th member, in random order, of a class of m is placed at (r + u) / m, u uniform: systematic sampling within the class.
    """
    place = np.empty(len(labels))
    for k in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == k))
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.argsort(place, kind="stable")


def share(labels: Labels, size: int, rng: np.random.Generator) -> list[int]:
    """About `size` rows, the same share of every class and at least one of each; a larger subset of one seed holds the smaller."""
    rows: list[int] = []
    for k in np.unique(labels):
        members = np.flatnonzero(labels == k)
        rows.extend(rng.permutation(members)[: max(1, round(size / len(labels) * len(members)))])
    return rows


def first_of_each(labels: Labels, size: int, rng: np.random.Generator) -> list[int]:
    """`size` rows of every class, of a class with fewer all; a larger draw of one seed holds the smaller."""
    return [row for k in np.unique(labels) for row in rng.permutation(np.flatnonzero(labels == k))[:size].tolist()]


def half(labels: Labels, clusters: Labels | None, rng: np.random.Generator) -> np.ndarray:
    """Half of the rows, in ascending order, the same share of every class; a group counts for the class of its first row."""
    if clusters is None:
        return np.sort(spread(labels, rng)[: len(labels) // 2])
    _, first, sizes = np.unique(clusters, return_index=True, return_counts=True)
    order = spread(labels[first], rng)
    drawn = order[: np.abs(np.cumsum(sizes[order]) - len(labels) / 2).argmin() + 1]
    return np.flatnonzero(np.isin(clusters, drawn))


def equal_parts(labels: Labels, clusters: Labels | None, n: int, rng: np.random.Generator) -> list[np.ndarray]:
    """`n` disjoint sets of rows of equal size; the rows that would make them unequal are in none.

    Without groups every class is within one row of its share in every part. With groups the largest is placed first, each into the
    part that then has the fewest rows, counting rows of the group's main class twice; rows beyond the smallest part are dropped.
    """
    if clusters is None:
        kept = spread(labels, rng)[: len(labels) // n * n]
        ordered = kept[np.argsort(labels[kept], kind="stable")]  # class after class, so that each goes round all parts
        return [ordered[k::n] for k in range(n)]
    members = [np.flatnonzero(clusters == k) for k in rng.permutation(int(clusters.max()) + 1)]
    rows: list[list[int]] = [[] for _ in range(n)]
    counts = np.zeros((n, labels.max() + 1))  # rows of each class in each part
    for group in sorted(members, key=len, reverse=True):
        main = np.bincount(labels[group]).argmax()
        part = min(range(n), key=lambda k: (len(rows[k]) + counts[k, main], k))
        rows[part].extend(group)
        np.add.at(counts[part], labels[group], 1)
    return [np.array(part[: min(map(len, rows))], dtype=np.int64) for part in rows]
