"""A probing task: its card (`probing.data.card`) and three splits of labelled sentences. `probing.data.loading` reads one.

Labels are the sorted label strings of the train split, numbered 0..k-1, as in SentEval (senteval/probing.py). Sentences of one
source are a group: they are not independent evidence, and intervals and tests go over groups.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from probing.data import draws
from probing.data.card import MAIN, data_card
from probing.data.split import Split
from probing.errors import DataError


@dataclass(frozen=True)
class Task:
    """A loaded task.

    Attributes:
        train_size, seed: of the draw of a subset (`subset`); None: all of train, and no draw.
        folds: the fits of a cross-validated task (`cross_validated`). Its train is that of the first fold, dev holds all sentences
            that choose, test the test sentences of one fold after the other.
        groups_from: the source of the groups of its sentences, in words.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    dev: Split
    test: Split
    card: Mapping[str, Any]
    source: str
    file_sha256: str
    git_blob: str
    train_size: int | None = None
    seed: int | None = None
    folds: tuple[Task, ...] = ()
    groups_from: str = ""

    @classmethod
    def from_dataset(
        cls, data: Mapping[str, Any], text: str = "text", label: str = "label", name: str = "dataset", **options: Any
    ) -> Task:
        """The task of a DatasetDict of the package datasets; options and errors: `probing.data.hub.task_of_datasets`."""
        from probing.data.hub import task_of_datasets

        return task_of_datasets(data, text, label, name, **options)

    @classmethod
    def from_frame(cls, frame: Any, text: str = "text", label: str = "label", split: str | None = "split", **options: Any) -> Task:
        """The task of a pandas DataFrame; options and errors: `probing.data.frames.task_of_frame`."""
        from probing.data.frames import task_of_frame

        return task_of_frame(frame, text, label, split, **options)

    @classmethod
    def from_lists(cls, texts: Iterable[Any], labels: Iterable[Any], splits: Any = None, **options: Any) -> Task:
        """The task of lists; options and errors: `probing.data.frames.task_of_lists`."""
        from probing.data.frames import task_of_lists

        return task_of_lists(texts, labels, splits, **options)

    def __repr__(self) -> str:
        classes = f"{len(self.classes)} {'labels' if self.kind == 'multilabel' else 'classes'}" if self.classes else "numbers"
        return f"Task({self.name}, {classes}, {'/'.join(str(len(split)) for split in self.splits.values())})"

    @property
    def parts(self) -> tuple[Task, ...]:
        """The tasks to fit: the folds, or this one."""
        return self.folds or (self,)

    @property
    def kind(self) -> str:
        """classification, regression or multilabel (`probing.data.labels`)."""
        kind: str = self.card.get("kind", "classification")
        return kind

    @property
    def of_words(self) -> bool:
        """Whether an item is a word, a span of words or a pair of spans, and not a sentence."""
        return self.train.spans is not None

    @property
    def paper_name(self) -> str:
        name: str = self.card.get("paper_name", self.name)
        return name

    @property
    def splits(self) -> dict[str, Split]:
        return {"train": self.train, "dev": self.dev, "test": self.test}

    @cached_property
    def sha256(self) -> str:
        """Hash of all that a probe can see: classes, sentences with labels by split and fold, and groups of test if it has any; and
        of what its scores depend on: kind, main metric and order, where they are not the usual ones.
        """
        groups: dict[str, Any] = {} if self.test.groups is None else {"groups": self.test.groups}
        usual = {"kind": ("classification", None), "metric": (MAIN[self.kind][0], None), "ordered": (False, None)}
        groups |= {name: value for name in usual if (value := self.card.get(name)) not in usual[name]}
        if self.folds:
            return _sha256({"folds": [fold.sha256 for fold in self.folds]} | groups)
        splits = {name: split.content() for name, split in self.splits.items()}
        return _sha256({"classes": self.classes, "splits": splits} | groups)

    @cached_property
    def test_sha256(self) -> str:
        """Hash of classes and test split: two scores are on the same items where it is the same."""
        return _sha256({"classes": self.classes, "test": self.test.content()})

    @cached_property
    def shared_forms(self) -> frozenset[str]:
        """The forms (`word_form`) of the sentences that occur in more than one split."""
        train, dev, test = (frozenset(split.forms) for split in self.splits.values())
        return train & dev | train & test | dev & test

    @cached_property
    def data_card(self) -> dict[str, Any]:
        """The facts about the data, as plain JSON (`probing.data.card.data_card`)."""
        return data_card(self)

    def need_classes(self, what: str) -> None:
        """Raise a `DataError` if the labels are no classes, which `what` needs."""
        if self.kind != "classification":
            raise DataError(f"{self.name} is a task of kind {self.kind}; {what} needs classes")

    def subset(self, train_size: int | None, seed: int, dev_size: int | None = None, test_size: int | None = None) -> Task:
        """This task with about `train_size` train sentences, the same share of every class and at least one of each.

        With `dev_size` or `test_size` exactly so many sentences are drawn of that split, every class within one or so of its share.
        A size of None, or not below the size of the split, changes nothing. Draws of one seed are nested: a larger one holds the
        smaller.

        Raises:
            DataError: `train_size` is below the number of classes, or another size below 1; the task is cross-validated.
        """
        drawn: dict[str, Any] = {}
        if self.folds and (train_size, dev_size, test_size) != (None, None, None):
            raise DataError(f"{self.name} is cross-validated: draw its sentences first, and make folds of those")
        if train_size is not None and train_size < len(self.train):
            if train_size < len(self.classes):
                raise DataError(
                    f"train_size={train_size} is below the {len(self.classes)} classes of {self.name}: every class needs a sentence"
                )
            rng = np.random.default_rng(seed)
            if self.kind == "classification":
                rows = draws.share(self.train.labels, train_size, rng)
            else:
                rows = draws.spread(self.train.strata, rng)[:train_size].tolist()
            drawn = {"train": self.train.take(rows), "train_size": train_size}
        for stream, (name, size) in enumerate((("dev", dev_size), ("test", test_size)), start=1):
            split = self.splits[name]
            if size is not None and size < 1:
                raise DataError(f"{name}_size={size} leaves no {name} sentence of {self.name} (at least 1)")
            if size is not None and size < len(split):
                drawn[name] = split.take(draws.spread(split.strata, np.random.default_rng([seed, stream]))[:size])
        return replace(self, **drawn, seed=seed) if drawn else self

    def with_classes(self, n: int, seed: int) -> Task:
        """This task with `n` of its classes, drawn with `seed`, and all their sentences, or with all of them; draws are nested.

        Raises:
            DataError: `n` is below 2, or a split has no sentence of the classes drawn.
        """
        if n >= len(self.classes):
            return self
        if n < 2:
            raise DataError(f"{n} of the {len(self.classes)} classes of {self.name} are not a task (at least 2)")
        kept = np.sort(np.random.default_rng([seed, 3]).permutation(len(self.classes))[:n])

        def lacking(split: str) -> DataError:
            return DataError(f"none of the {n} classes drawn of {self.name} has a {split} sentence: draw more")

        return replace(self.of_classes(kept, lacking), seed=seed)

    def of_classes(self, kept: np.ndarray, lacking: Callable[[str], Exception]) -> Task:
        """This task with the items of some classes, given by their sorted numbers; raises what `lacking` makes of the name of a
        split that has none of them."""
        parts: dict[str, Any] = {}
        for name, split in self.splits.items():
            part = split.take(np.flatnonzero(np.isin(split.labels, kept)))
            parts[name] = replace(part, labels=np.searchsorted(kept, part.labels))
            if not len(part):
                raise lacking(name)
        return replace(self, classes=tuple(self.classes[k] for k in kept), **parts)

    def cross_validated(self, folds: int, seed: int, choosing: int | None = None) -> Task:
        """A cross-validated task from the train split alone.

        The distinct sentences are split into `folds` stratified parts. A part either reports (test) or chooses layer and
        hyperparameters (dev), so that no sentence does both. Each fit tests one part, chooses on another and trains on all others.
        Groups stay whole; a few sentences are dropped so that all parts have one size.

        Args:
            choosing: how many parts choose, each for as many fits as the others; None: half of them, each for one fit.

        Raises:
            DataError: `folds` is below 4, or no multiple of `choosing` of at least twice its size; fewer than two distinct
                sentences a part; labels that are no classes.
        """
        self.need_classes("a cross-validation")
        if self.train.spans is not None:
            raise DataError(f"{self.name} labels words, and its sentences have splits: a cross-validation takes sentences")
        choosing = folds // 2 if choosing is None else choosing
        if folds < 4 or not 0 < choosing <= folds // 2 or folds % choosing:
            raise DataError(
                f"{self.name} cannot be cross-validated in {folds} parts of which {choosing} choose and {folds - choosing} report: "
                "take at least 4 parts, half of them to choose (such as 10, 5), or fewer that divide their number (such as 10, 2)"
            )
        _, first = np.unique(np.array(self.train.texts, dtype=object), return_index=True)
        pool = self.train.take(first)
        if len(pool) < 2 * folds:
            raise DataError(f"{self.name} has {len(pool)} distinct train sentences: too few for {folds} parts (2 each)")
        if pool.n_groups < folds:
            raise DataError(f"{self.name} has {pool.n_groups} groups of train sentences: too few for {folds} parts (1 each)")
        parts = draws.equal_parts(pool.labels, pool.clusters, folds, np.random.default_rng([seed, 4]))
        each, fits = folds // choosing, []
        for k, reports in enumerate(parts):
            if k % each:  # the first of `each` parts chooses for the others
                chooses = parts[k - k % each]
                train = pool.take(np.setdiff1d(np.concatenate(parts), np.r_[reports, chooses]))
                fits.append(replace(self, train=train, dev=pool.take(chooses), test=pool.take(reports), seed=seed))
        rows = [np.sort(part) for part in parts]  # part after part, each in the order of its fit
        dev = pool.rows(np.concatenate(rows[::each]))
        test = pool.rows(np.concatenate([part for k, part in enumerate(rows) if k % each]))
        return replace(fits[0], dev=dev, test=test, folds=tuple(fits))


def _sha256(content: Any) -> str:
    """Hash of plain content as JSON, so that no text can imitate the boundary between two."""
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()
