"""Tasks of equal size that share their sentences, so that a first table takes few of them: for the built-in corpus.

Every task keeps its own definition. Its rows are split anew, in other proportions than 80/10/10, and at most so many of each class
are kept in each split; rows whose sentence another task holds are taken first. Rows of one group (`Row.group`) stay in one split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from probing.data.builders.sampling import Built, Row, shuffled


def share_sentences(built: Mapping[str, Built], sizes: Mapping[str, int], rng: np.random.Generator) -> dict[str, Built]:
    """The tasks with about `sizes` rows in each split (fewer where a task has fewer), with equal classes where the task had them.

    Tasks with few rows choose first, so that those with many can take the sentences of the others.
    """
    taken: set[tuple[str, ...]] = set()
    shared: dict[str, Built] = {}
    for name in sorted(built, key=lambda name: len(built[name].rows)):
        counts = Counter((row.split, row.label) for row in built[name].rows)
        equal = all(len({n for (at, _), n in counts.items() if at == split}) == 1 for split in sizes)
        parts = _split(_units(built[name].rows), sizes, rng)
        mixed = {split: [parts[split][i] for i in rng.permutation(len(parts[split]))] for split in sizes}  # rows of many groups
        rows = [row for split, size in sizes.items() for row in _at_most(mixed[split], size, equal, taken)]
        taken.update(row.tokens for row in rows)
        about = f"at most {', '.join(f'{n} {split}' for split, n in sizes.items())}, drawn within each class; groups are whole"
        shared[name] = replace(built[name], rows=tuple(shuffled(rows, rng)), split=about)
    return {name: shared[name] for name in built}


def _units(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows group by group; those without a group one by one."""
    groups: dict[Any, list[Row]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row.group or i, []).append(row)
    return list(groups.values())


def _split(units: Sequence[list[Row]], sizes: Mapping[str, int], rng: np.random.Generator) -> dict[str, list[list[Row]]]:
    """The rows of each split in random order, in the proportions of `sizes` within each class, as far as whole units allow.

    Of a unit that holds several classes (odd man out: two forms that are exchanged in both directions) the rows stay together, as
    what is balanced in it is balanced in the whole of it only; those of other units are apart.
    """
    total = sum(sizes.values())
    counts = Counter(row.label for unit in units for row in unit)
    # of each class the rows that a split lacks, times `total`: whole numbers, whose sums are the same in every Python
    lack = {split: {label: n * size for label, n in counts.items()} for split, size in sizes.items()}
    parts: dict[str, list[list[Row]]] = {split: [] for split in sizes}
    for unit in (units[i] for i in rng.permutation(len(units))):
        split = max(sizes, key=lambda split: sum(lack[split][row.label] for row in unit) / sizes[split])
        for row in unit:
            lack[split][row.label] -= total
        rows = [replace(row, split=split) for row in unit]
        parts[split] += [rows] if len({row.label for row in rows}) > 1 else [[row] for row in rows]
    return parts


def _at_most(parts: Sequence[list[Row]], size: int, equal: bool, taken: set[tuple[str, ...]]) -> list[Row]:
    """About `size` rows: of each class as many as the smallest has if classes are `equal`, else the same share of each."""
    counts = Counter(row.label for part in parts for row in part)
    share = min(1.0, size / max(1, counts.total()))
    room = {label: round(n * share) for label, n in counts.items()}
    if equal:
        room = dict.fromkeys(counts, min(-(-size // len(counts)), *counts.values()))
    chosen: list[Row] = []
    for part in sorted(parts, key=lambda part: part[0].tokens not in taken):
        wanted = Counter(row.label for row in part)
        if all(room[label] >= n for label, n in wanted.items()):
            chosen += part
            room = {label: n - wanted[label] for label, n in room.items()}
    return chosen
