"""Seeded splits and balance, for all builders: labelled rows get a split, and some are dropped until classes have equal size in it.

Splits: the corpus' own where it has all three, else 80/10/10 within each class, drawn with the seed; or by target form, so that a
form occurs in one split only (Conneau et al. 2018). Where a tenth of a class is less than `min_per_split`, dev and test get
`min_per_split` of it each, and train the rest, which is never less than half.

The frequency limits of the paper (100-5,000 for target forms, 40-400 for odd man out) apply to 120,000 sentences a task; for n
eligible sentences below that they are scaled by n / 120,000, never below 2 occurrences.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np

from probing.data.readers.parsed import Node, Sentence
from probing.errors import DataError

SHARES = {"tr": 0.8, "va": 0.1, "te": 0.1}
PAPER_SIZE = 120_000


class LeftOut(DataError):
    """The reason why a task cannot be made from this corpus."""


@dataclass(frozen=True)
class Row:
    """A line of a task's file, or a candidate for one; `group` names its target form or its document.

    The split of a candidate is the corpus' own, if it has one, until `by_class` or `by_form` gives it another.
    """

    split: str | None
    label: str
    tokens: tuple[str, ...]
    group: str = ""

    @classmethod
    def of(cls, sentence: Sentence, label: str, tokens: tuple[str, ...] | None = None) -> Row:
        """The candidate of a sentence, whose group is its document; `tokens`: the changed ones."""
        return cls(sentence.split, label, sentence.tokens if tokens is None else tokens, sentence.document or "")


@dataclass(frozen=True)
class Built:
    """A task: its rows, and the contents of its card; `groups` says in words what the group of a row is."""

    rows: tuple[Row, ...]
    definition: str
    split: str
    filters: dict[str, int]
    details: dict[str, Any] = field(default_factory=dict)
    groups: str = "document"


@dataclass(frozen=True)
class Options:
    """Options of all builders.

    Attributes:
        min_per_split: the fewest sentences of a class in a split.
        official: whether the corpus' own splits are used.
        words, per_word: most target words of word content, and the fewest sentences of each.
    """

    min_per_split: int
    official: bool
    words: int = 1000
    per_word: int = 10

    @property
    def split(self) -> str:
        return "the corpus' own" if self.official else f"seeded within each class, {self.shares}"

    @property
    def shares(self) -> str:
        return f"80/10/10, dev and test at least {self.min_per_split} of each"

    def suffices(self, counts: Counter[str | None]) -> bool:
        """Whether a class with these sentences in the corpus' splits can have `min_per_split` in each split of the task."""
        if self.official:
            return all(counts[split] >= self.min_per_split for split in SHARES)
        return held_out(counts.total(), self.min_per_split) >= self.min_per_split


def with_trees(sentences: Sequence[Sentence], instead: str) -> list[tuple[Sentence, Node]]:
    """Sentences with their constituency trees.

    Raises:
        LeftOut: no sentence has one; `instead` is the task for dependencies.
    """
    pairs = [(s, s.tree) for s in sentences if s.tree is not None]
    if not pairs:
        raise LeftOut(f"no constituency trees in this corpus; a dependency treebank has {instead} instead")
    return pairs


def scaled(low: int, high: int, n: int) -> tuple[int, int]:
    """Frequency limits of the paper for n eligible sentences."""
    share = min(1.0, n / PAPER_SIZE)
    lower = max(2, round(low * share))
    return lower, max(lower, 10, round(high * share))


def held_out(n: int, least: int) -> int:
    """Size of dev, and of test, for n sentences: a tenth; `least` where that is more, but a quarter at most; one from three on.

    >>> [held_out(n, 30) for n in (1000, 200, 120, 100, 3)]
    [100, 30, 30, 25, 1]
    """
    return max(round(n * SHARES["te"]), min(least, n // 4), 1 if n >= 3 else 0)


def shares_of(n: int, rng: np.random.Generator, least: int = 0) -> list[str]:
    """n splits, dev and test of size `held_out`, in random order."""
    small = held_out(n, least)
    return [str(s) for s in rng.permutation(["te"] * small + ["va"] * small + ["tr"] * (n - 2 * small))]


def large_classes(labelled: Iterable[tuple[str, Sentence]], options: Options) -> tuple[set[str], dict[str, int]]:
    """The classes that can have `min_per_split` sentences in every split, and the others with their numbers of sentences."""
    counts: dict[str, Counter[str | None]] = defaultdict(Counter)
    for label, sentence in labelled:
        counts[label][sentence.split] += 1
    large = {label for label, count in counts.items() if options.suffices(count)}
    return large, {label: count.total() for label, count in sorted(counts.items()) if label not in large}


def by_class(candidates: Sequence[Row], options: Options, rng: np.random.Generator) -> list[Row]:
    """Give every candidate a split: the corpus' own, or one drawn within its class."""
    if options.official:
        return [replace(row, split=row.split or "tr") for row in candidates]
    rows: list[Row] = []
    for label in sorted({row.label for row in candidates}):
        members = [row for row in candidates if row.label == label]
        splits = shares_of(len(members), rng, options.min_per_split)
        rows += [replace(row, split=split) for row, split in zip(members, splits, strict=True)]
    return rows


def by_form(candidates: Sequence[Row], options: Options, rng: np.random.Generator) -> list[Row]:
    """Give every target form (`group`), with all its sentences, one split, drawn in proportion to what each split still lacks.

    A form with both labels (`read`) is one form; the lack is counted for the label it has most often. Since chance makes some
    splits smaller than their target, the target of dev and test is a quarter more than `min_per_split`.
    """
    forms: dict[str, Counter[str]] = defaultdict(Counter)
    for row in candidates:
        forms[row.group][row.label] += 1
    lack: dict[str, dict[str, float]] = {}
    for label, n in Counter(row.label for row in candidates).items():
        small = held_out(n, -(-5 * options.min_per_split // 4))
        lack[label] = {"tr": n - 2 * small, "va": small, "te": small}
    split_of: dict[str, str] = {}
    for form in rng.permutation(sorted(forms)):
        label, _ = forms[form].most_common(1)[0]
        weights = np.array([max(0.0, lack[label][s]) for s in SHARES])
        weights = weights if weights.sum() > 0 else np.array(list(SHARES.values()))
        split_of[str(form)] = list(SHARES)[int(rng.choice(3, p=weights / weights.sum()))]
        for name, n in forms[form].items():
            lack[name][split_of[str(form)]] -= n
    return [replace(row, split=split_of[row.group]) for row in candidates]


def balanced(rows: Sequence[Row], options: Options, rng: np.random.Generator) -> list[Row]:
    """Keep as many rows of each class in every split as its smallest class has; in random order, splits in the order tr, va, te.

    Raises:
        LeftOut: fewer than two classes, or a class with fewer than `min_per_split` sentences in a split.
    """
    classes = sorted({row.label for row in rows})
    if len(classes) < 2:
        qualified = f"only {classes[0]!r}" if classes else "no sentence"
        raise LeftOut(f"{qualified} qualifies, and a task needs two classes; give a larger or other corpus")
    members: dict[tuple[str | None, str], list[Row]] = {(split, label): [] for split in SHARES for label in classes}
    for row in rows:
        members[row.split, row.label].append(row)
    chosen: list[Row] = []
    for split in SHARES:
        n = min(len(members[split, label]) for label in classes)
        for label in classes:
            group = members[split, label]
            chosen += [group[i] for i in sorted(rng.permutation(len(group))[:n])]
    check_size(chosen, classes, options)
    return shuffled(chosen, rng)


def check_size(rows: Sequence[Row], classes: Sequence[str], options: Options) -> None:
    """Check that every class has `min_per_split` rows in every split.

    Raises:
        LeftOut: a class has fewer.
    """
    counts = Counter((row.split, row.label) for row in rows)
    least, split, label = min((counts[split, label], split, label) for split in SHARES for label in classes)
    if least < options.min_per_split:
        raise LeftOut(
            f"too small: {least} sentences of class {label!r} in the split {split} after filters and balancing, at least "
            f"{options.min_per_split} are needed; give a larger corpus or lower min_per_split"
        )


def shuffled(rows: Sequence[Row], rng: np.random.Generator) -> list[Row]:
    """The rows in random order within each split, splits in the order tr, va, te (as in SentEval's files)."""
    mixed = [rows[i] for i in rng.permutation(len(rows))]
    return [row for split in SHARES for row in mixed if row.split == split]


def decorrelated(values: Sequence[int], lengths: Sequence[int], allowed: range, least: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Numbers to draw per (value, length) so that value and length are independent.

    The target is a bivariate Gaussian with diagonal covariance, as in the tasks' README, over the longest run of values in
    `allowed` in which each has at least `least` sentences; its means and spreads are those that draw the most sentences. Lengths
    are counted in pairs (5-6, 7-8, ...); at most 2 % of the target, and 20 % of a value, may be missing.

    Returns:
        counts, shape (values, length pairs), and the fitted target for the card.

    Raises:
        LeftOut: no run of three values is large enough.
    """
    pairs = np.arange(12)  # lengths 5-28
    available = np.zeros((max(allowed) + 1, 12))  # (values, length pairs)
    for value, length in zip(values, lengths, strict=True):
        if value in allowed:
            available[value, (length - 5) // 2] += 1
    for width in range(len(allowed), 2, -1):
        best: tuple[float, np.ndarray, dict[str, Any]] | None = None
        for first in range(allowed.start, allowed.stop - width + 1):
            run = np.arange(first, first + width)
            have = available[run]
            if have.sum(1).min() < least:
                continue
            middles = np.arange(run[0], run[-1] + 0.1, 0.5)
            for middle, spread, centre, deviation in product(middles, (2.0, 2.5, 3.0), pairs, (0.8, 1.2, 1.6, 2.2, 3.0)):
                over_values = np.exp(-0.5 * ((run - middle) / spread) ** 2)
                over_pairs = np.exp(-0.5 * ((pairs - centre) / deviation) ** 2)
                over_pairs[over_pairs < 0.05] = 0
                target = np.outer(over_values / over_values.sum(), over_pairs / over_pairs.sum())
                size = largest(target, have)
                bound = size * target.sum(1).min() + len(pairs) / 2  # of the counts of the rarest value, which are rounded
                if bound < least or (best is not None and size <= best[0]):
                    continue
                size = min(size, *(largest(t, h, 0.2 * t.sum()) for t, h in zip(target, have, strict=True)))
                if best is not None and size <= best[0]:
                    continue
                counts = np.minimum(have, np.rint(size * target)).astype(int)
                if counts.sum(1).min() >= least:
                    fitted = {"values": run.tolist(), "value": {"mean": float(middle), "sd": spread}}
                    fitted["length"] = {"mean": float(2 * centre + 5.5), "sd": 2 * deviation}
                    best = size, counts, fitted
        if best is not None:
            full = np.zeros(available.shape, dtype=int)
            full[best[2]["values"]] = best[1]
            return full, best[2]
    raise LeftOut(f"too small: no three values with {least} sentences each at like lengths; give a larger corpus")


def largest(target: np.ndarray, have: np.ndarray, tolerance: float = 0.02) -> float:
    """The largest size such that sum max(0, size * target - have) is at most tolerance * size."""
    used = target > 0
    t, h = target[used], have[used]
    order = np.argsort(h / t)
    # at a given size, the cells with have/target below it are short: a prefix of this order
    short_t, short_h, ratio = np.cumsum(t[order]), np.cumsum(h[order]), (h / t)[order]
    excess = short_t - tolerance
    sizes = np.where(excess > 0, short_h / np.where(excess > 0, excess, 1.0), np.inf)
    return float(sizes[np.argmax(sizes <= np.append(ratio[1:], np.inf))])
