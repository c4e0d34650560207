"""Rows of sentences and labels become a `Task`: the one conversion that files, data sets and tables of any kind go through.

Equal rows give equal tasks, whatever they were read from: the hash of a task covers the rows alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from probing.data.draws import spread
from probing.data.labels import arrays_of
from probing.data.split import Split, groups_or_none, word_form
from probing.data.task import Task
from probing.errors import DataError

SPLITS = ("train", "dev", "test")
SAME_WORDS = "sentences of the same words"
"""The groups of sentences whose source is not known: those that hold the same words in another order or letter case."""

Rows = tuple[Sequence[str], Sequence[Any]]
"""Sentences and their labels, of one length."""


def task_of_rows(
    name: str,
    rows: Mapping[str, Rows],
    *,
    source: str,
    card: Mapping[str, Any] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    groups_from: str = SAME_WORDS,
    spans: Mapping[str, np.ndarray] | None = None,
    facts: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    place: Callable[[str, int], str] | None = None,
    dev_from_train: float | None = None,
    seed: int = 0,
    file_sha256: str = "",
    git_blob: str = "",
) -> Task:
    """The task of rows by split: train, test, and dev, or a share of train as dev.

    Args:
        rows: split -> (sentences, labels); a label is one of the card's `kind` (`probing.data.labels`).
        source: where the rows are from, in words; it is in the data card, and not in the hash of the task.
        groups: split -> the group of each sentence; None: sentences of the same words are a group.
        spans, facts: split -> the fields of these names of its `Split`.
        place: names row i of a split in error messages; by default "row i of the SPLIT split", counted from 0.
        dev_from_train: without dev rows, this share of train (0-0.5) becomes dev (`held_out`), and the data card says so.

    Raises:
        DataError: a split without rows, an empty sentence, labels that are not of their kind (`labels.arrays_of`).
    """
    place = place or (lambda split, i: f"{name}, row {i} of the {split} split")
    about = {"name": name, **(card or {})}
    texts, labels = dict[str, tuple[str, ...]](), dict[str, Sequence[Any]]()
    for split in (split for split in SPLITS if split in rows):
        texts[split], labels[split] = tuple(rows[split][0]), rows[split][1]
        if len(texts[split]) != len(labels[split]):
            raise DataError(f"{name}: {len(texts[split])} sentences and {len(labels[split])} labels in the {split} split")
        for i, text in enumerate(texts[split]):
            if not isinstance(text, str) or not text.strip():
                what = "empty" if text is None or text == text and not str(text).strip() else f"{text!r}, which is no text"
                raise DataError(f"{place(split, i)}: the sentence is {what}; remove the row or mend it")
    for split in SPLITS:
        if not texts.get(split) and (split != "dev" or dev_from_train is None):
            raise DataError(f"{name}: no row of the {split} split; a task needs train, dev and test")
    classes, numbers = arrays_of(labels, about, place, f"{name} ({source})")
    splits = {
        split: Split(
            own,
            numbers[split],
            groups_or_none(groups[split] if groups is not None else map(word_form, own)),
            None if spans is None else spans[split],
            {} if facts is None else facts[split],
        )
        for split, own in texts.items()
    }
    if dev_from_train is not None and not texts.get("dev"):
        kept, drawn = held_out(splits["train"], dev_from_train, seed, name)
        splits |= {"train": kept, "dev": drawn}
        note = f"dev is {len(drawn)} sentences of the train split, drawn stratified with seed {seed}: the data has no dev split"
        about["notes"] = [*about.get("notes", ()), note]
    return Task(
        name=name,
        classes=classes,
        train=splits["train"],
        dev=splits["dev"],
        test=splits["test"],
        card=about,
        source=source,
        file_sha256=file_sha256,
        git_blob=git_blob,
        groups_from=groups_from,
    )


def held_out(split: Split, share: float, seed: int, name: str) -> tuple[Split, Split]:
    """The rest of a split, and about this share of it, the same share of every class; groups, and equal sentences, stay whole.

    A class with a single group stays in the rest.

    Raises:
        DataError: the share is not above 0 and at most 0.5, or one of the two would be empty.
    """
    if not isinstance(share, float | int) or isinstance(share, bool) or not 0 < share <= 0.5:
        raise DataError(f"dev_from_train={share!r} must be a share of the train split above 0 and at most 0.5, such as 0.1")
    clusters = np.arange(len(split)) if split.clusters is None else split.clusters
    _, first, sizes = np.unique(clusters, return_index=True, return_counts=True)
    of_group = split.strata[first]  # a group counts for the class of its first row
    order = spread(of_group, np.random.default_rng([seed, 6]))
    order = order[np.bincount(of_group)[of_group[order]] > 1]
    so_far = np.cumsum(sizes[order])
    drawn = order[: np.abs(so_far - share * len(split)).argmin() + 1] if len(order) else order
    is_dev = np.isin(clusters, drawn)
    rest = split.take(np.flatnonzero(~is_dev))
    if not is_dev.any() or set(split.strata[~is_dev].tolist()) != set(split.strata.tolist()):
        raise DataError(f"{name}: the {len(split)} train sentences are too few to take dev from; give a dev split")
    return rest, split.take(np.flatnonzero(is_dev))
