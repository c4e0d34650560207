"""A probing task: a card (what it is) and three splits of labelled sentences (what it is measured on).

A card is one YAML file of data, the project's own in `tasks/` or a user's by path; its fields are `CARD_FIELDS`. The sentences
come from a folder of three-column files (`probing.data.readers.senteval`). Labels are the sorted label strings of the train split,
numbered 0..k-1, as in SentEval (senteval/probing.py).

Checked on load: every split is there, no label of dev or test is unknown to train, the file is well formed; found and reported
(`data_card`): counts, balance, classes missing from a split, duplicates, and whether the file is the official one by its git
blob id. Subsets are drawn stratified by class and seeded, never by prefix.

Sentences of one source are a group: they are no independent evidence, and intervals and tests go over groups. NAME.groups.txt
beside NAME.txt (plain, .gz or .xz) names the group of every line of it; without that file, sentences of a split that hold the same
words in another order, or in other letter case, are a group (twins of BigramShift and CoordinationInversion).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from probing.data.readers import classification, senteval
from probing.data.readers.download import git_blob_id
from probing.data.readers.files import read_bytes, read_text
from probing.errors import DataError, did_you_mean
from probing.paths import TASKS
from probing.types import Labels

CARD_FIELDS = {
    "name": "short name, the one used on the command line",
    "paper_name": "name in the paper's tables",
    "group": "surface, syntactic, semantic or classification",
    "about": "one sentence: what is asked",
    "file": "file name in the data folder, without .gz or .xz",
    "files": "instead of file: split to file name (train, dev, test; without dev a part of train is taken)",
    "folders": "with files: folders below the data folder, tried in this order",
    "format": "with files: label-sentence, glue or cola",
    "classes": "labels of the official file",
    "n_classes": "their number, where they are too many to list",
    "metric": "accuracy",
    "reference": "paper",
    "source": "address of the official file",
    "git_blob": "git blob id (sha1) of the official file",
    "licence": "licence of the official file",
}
_KINDS = {
    "files": (dict, "a mapping of splits to file names"),
    "folders": (list, "a list of names"),
    "classes": (list, "a list of labels (a number goes into n_classes)"),
    "n_classes": (int, "a whole number"),
}
SENTEVAL = (
    "sentence_length word_content tree_depth top_constituents bigram_shift past_present subj_number obj_number odd_man_out "
    "coordination_inversion"
).split()
"""The ten tasks of Conneau et al. 2018, in the order of the paper's table."""


@dataclass(frozen=True)
class Split:
    """Sentences and their class indices, in file order; `groups` names what each comes from, None where all have their own."""

    texts: tuple[str, ...]
    labels: Labels
    groups: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int] | np.ndarray) -> Split:
        """The rows of these numbers, in file order."""
        rows = sorted(rows)
        groups = None if self.groups is None else shared(self.groups[i] for i in rows)
        return Split(tuple(self.texts[i] for i in rows), self.labels[rows], groups)

    @cached_property
    def clusters(self) -> Labels | None:
        """Numbers 0..m-1 of the sentences' groups, (n,); None where each has its own."""
        return None if self.groups is None else np.unique(np.array(self.groups, dtype=object), return_inverse=True)[1]

    @property
    def n_groups(self) -> int:
        return len(self) if self.clusters is None else int(self.clusters.max()) + 1

    def half(self, number: int) -> np.ndarray:
        """The rows of a random half, drawn without replacement, the same share of every class: another one for each number.

        Groups stay whole; a group counts to the class of its first sentence.
        """
        rng = np.random.default_rng([number, 5])
        if self.clusters is None:
            return np.sort(_spread(self.labels, rng)[: len(self) // 2])
        _, first, sizes = np.unique(self.clusters, return_index=True, return_counts=True)
        order = _spread(self.labels[first], rng)
        drawn = order[: np.abs(np.cumsum(sizes[order]) - len(self) / 2).argmin() + 1]
        return np.flatnonzero(np.isin(self.clusters, drawn))


@dataclass(frozen=True)
class Task:
    """A loaded task. `train_size` and `seed` say how it was drawn (None: all of train; no draw, and no seed matters).

    With `folds` (see `cross_validated`) it is measured by cross-validation: train is that of the first fold, dev holds all
    sentences that choose, test the test sentences of one fold after the other. `groups_from` says where the groups of its sentences
    come from.
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

    @property
    def parts(self) -> tuple[Task, ...]:
        """The tasks to fit: the folds, or this one."""
        return self.folds or (self,)

    @property
    def paper_name(self) -> str:
        return self.card.get("paper_name", self.name)

    @property
    def splits(self) -> dict[str, Split]:
        return {"train": self.train, "dev": self.dev, "test": self.test}

    @cached_property
    def sha256(self) -> str:
        """Hash of all that a probe can see: classes, and sentences with labels, split by split, fold by fold; and of the groups
        of the test sentences, where there are any, since they determine intervals."""
        groups = {} if self.test.groups is None else {"groups": self.test.groups}
        if self.folds:
            return _sha256({"folds": [fold.sha256 for fold in self.folds]} | groups)
        splits = {name: [split.labels.tolist(), split.texts] for name, split in self.splits.items()}
        return _sha256({"classes": self.classes, "splits": splits} | groups)

    @cached_property
    def data_card(self) -> dict[str, Any]:
        """What was found in the data, as plain JSON: counts per class and split, majority rates (0-1), duplicates, identity.

        `notes` lists in words what a reader of a table must know: file not the official one, other classes, classes missing from
        a split, sentences in two splits, sentences with two labels. Of a cross-validated task it is the first fold's, but for `n`.
        """
        if self.folds:
            n = {name: len(split) for name, split in self.splits.items()}
            first = self.folds[0].data_card
            note = (
                f"cross-validated on sentences of the train split in {len(self.folds)} folds: {n['dev']} sentences choose (dev), "
                f"{n['test']} others report (test); train is the first fold's"
            )
            return first | {"sha256": self.sha256, "n": n, "folds": len(self.folds), "notes": [note, *first["notes"]]}
        counts = {s: np.bincount(part.labels, minlength=len(self.classes)) for s, part in self.splits.items()}
        texts = {s: set(part.texts) for s, part in self.splits.items()}
        shared = {f"{a}/{b}": len(texts[a] & texts[b]) for a, b in (("train", "dev"), ("train", "test"), ("dev", "test"))}
        labels_of: dict[str, set[int]] = {}
        for part in self.splits.values():
            for text, label in zip(part.texts, part.labels, strict=True):
                labels_of.setdefault(text, set()).add(int(label))
        contradictory = sum(len(labels) > 1 for labels in labels_of.values())
        official = bool(self.card.get("git_blob")) and self.git_blob == self.card["git_blob"]

        notes = []
        if self.card.get("git_blob") and not official:
            notes.append("not the official file (git blob id differs): its numbers are not comparable with the paper's")
        if expected := self.card.get("classes"):
            if sorted(map(str, expected)) != list(self.classes):
                notes.append(f"classes {list(self.classes)} differ from the card's {list(expected)}")
        elif (n := self.card.get("n_classes")) and n != len(self.classes):
            notes.append(f"{len(self.classes)} classes, the card says {n}")
        for split, count in counts.items():
            if missing := int((count == 0).sum()):
                notes.append(f"{missing} of {len(self.classes)} classes have no sentence in {split}")
        for pair, n in shared.items():
            if n:
                notes.append(f"{n} sentence(s) occur in both {pair}")
        if contradictory:
            notes.append(f"{contradictory} sentence(s) carry two labels")
        if self.test.groups is not None:
            notes.append(
                f"the {len(self.test)} test sentences are of {self.test.n_groups} groups ({self.groups_from or 'given'}): "
                "intervals and tests go over groups"
            )
        return {
            "task": self.name,
            "source": self.source,
            "file_sha256": self.file_sha256,
            "git_blob": self.git_blob,
            "official": official,
            "sha256": self.sha256,
            "train_size": self.train_size,
            "n": {s: len(part) for s, part in self.splits.items()},
            "n_groups": {s: part.n_groups for s, part in self.splits.items()},
            "groups_from": self.groups_from,
            "n_classes": len(self.classes),
            "classes": {
                s: {c: int(k) for c, k in zip(self.classes, count, strict=True)}
                if len(self.classes) <= 30
                else {"smallest": int(count.min()), "largest": int(count.max())}
                for s, count in counts.items()
            },
            "majority": {s: float(count.max() / count.sum()) for s, count in counts.items()},
            "tokens": {
                s: dict(zip(("min", "median", "max"), (int(q) for q in np.quantile(lengths(part), (0, 0.5, 1))), strict=True))
                for s, part in self.splits.items()
            },
            "duplicates": {
                "within": {s: sum(n - 1 for n in Counter(part.texts).values()) for s, part in self.splits.items()},
                "across": shared,
                "two_labels": contradictory,
            },
            "notes": notes,
        }

    @cached_property
    def test_sha256(self) -> str:
        """Hash of classes and test split: two scores are on the same items where it is the same."""
        return _sha256({"classes": self.classes, "test": [self.test.labels.tolist(), self.test.texts]})

    def subset(self, train_size: int | None, seed: int, dev_size: int | None = None, test_size: int | None = None) -> Task:
        """This task with a train split of about `train_size` sentences, the same share of every class (at least one each).

        Dev and test stay whole unless a size is given; then exactly so many sentences are drawn, every class within one or so of
        its share. A size of None, or not below the size of the split, changes nothing. Draws of one seed are nested: a larger one
        holds the smaller.

        Raises:
            DataError: `train_size` is below the number of classes, or another size below 1; the task is cross-validated.
        """
        drawn = {}
        if self.folds and (train_size, dev_size, test_size) != (None, None, None):
            raise DataError(f"{self.name} is cross-validated: draw its sentences first, and make folds of those")
        if train_size is not None and train_size < len(self.train):
            if train_size < len(self.classes):
                raise DataError(
                    f"train_size={train_size} is below the {len(self.classes)} classes of {self.name}: every class needs a sentence"
                )
            rng = np.random.default_rng(seed)
            share = train_size / len(self.train)
            chosen: list[int] = []
            for k in range(len(self.classes)):
                members = np.flatnonzero(self.train.labels == k)
                chosen.extend(rng.permutation(members)[: max(1, round(share * len(members)))])
            drawn = {"train": self.train.take(chosen), "train_size": train_size}
        for stream, (name, size) in enumerate((("dev", dev_size), ("test", test_size)), start=1):
            split = self.splits[name]
            if size is not None and size < 1:
                raise DataError(f"{name}_size={size} leaves no {name} sentence of {self.name} (at least 1)")
            if size is not None and size < len(split):
                drawn[name] = split.take(_spread(split.labels, np.random.default_rng([seed, stream]))[:size])
        return replace(self, **drawn, seed=seed) if drawn else self

    def with_classes(self, n: int, seed: int) -> Task:
        """This task with `n` of its classes, drawn with `seed`, and all their sentences; draws of one seed are nested.

        An `n` not below the number of classes changes nothing.

        Raises:
            DataError: `n` is below 2.
        """
        if n >= len(self.classes):
            return self
        if n < 2:
            raise DataError(f"{n} of the {len(self.classes)} classes of {self.name} are not a task (at least 2)")
        kept = np.sort(np.random.default_rng([seed, 3]).permutation(len(self.classes))[:n])
        parts = {}
        for name, split in self.splits.items():
            part = split.take(np.flatnonzero(np.isin(split.labels, kept)))
            parts[name] = replace(part, labels=np.searchsorted(kept, part.labels))
            if not len(part):
                raise DataError(f"none of the {n} classes drawn of {self.name} has a {name} sentence: draw more")
        return replace(self, classes=tuple(self.classes[k] for k in kept), **parts, seed=seed)

    def cross_validated(self, folds: int, seed: int, choosing: int | None = None) -> Task:
        """The train split alone, as a task: some of its sentences choose layer and hyperparameters (dev), the others report (test).

        The sentences are dealt into `folds` parts, stratified. A fit tests one part, chooses on another and trains on all others.
        Every part either reports, in one fit, or chooses, so that no sentence does both. A sentence that occurs twice counts once,
        and the last few are left out where they would make parts unequal. Sentences of one group are in one part.

        Args:
            choosing: how many parts choose, each for as many fits as the others; None: half of them, each for one fit.

        Raises:
            DataError: `folds` is below 4, or no multiple of `choosing` of at least twice its size; fewer than two distinct
                sentences a part.
        """
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
        dealt = _dealt(pool, folds, np.random.default_rng([seed, 4]))
        each, fits = folds // choosing, []
        for k, test in enumerate(dealt):
            if k % each:  # the first of `each` parts chooses for the others
                dev = dealt[k - k % each]
                train = np.setdiff1d(np.concatenate(dealt), np.r_[test, dev])
                fits.append(replace(self, train=pool.take(train), dev=pool.take(dev), test=pool.take(test), seed=seed))
        dev, test = dealt[::each], [part for k, part in enumerate(dealt) if k % each]
        return replace(fits[0], dev=_joined(pool, dev), test=_joined(pool, test), folds=tuple(fits))


def _joined(pool: Split, parts: Sequence[np.ndarray]) -> Split:
    """One part after the other, each in the order in which `Split.take` leaves it."""
    rows = np.concatenate([np.sort(part) for part in parts])
    groups = None if pool.groups is None else shared(pool.groups[i] for i in rows)
    return Split(tuple(pool.texts[i] for i in rows), pool.labels[rows], groups)


def _dealt(pool: Split, parts: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows dealt into parts of equal size; the last few rows may be in none.

    Where every sentence is its own group, every class is within one sentence of its share. Else the largest groups go first, each
    to the part that is smallest then; no two parts hold sentences of one group, and what a part has more than the smallest is left
    out.
    """
    if pool.clusters is None:
        kept = _spread(pool.labels, rng)[: len(pool) // parts * parts]
        ordered = kept[np.argsort(pool.labels[kept], kind="stable")]  # class after class, so that each goes round all parts
        return [ordered[k::parts] for k in range(parts)]
    members = [np.flatnonzero(pool.clusters == k) for k in rng.permutation(pool.n_groups)]
    dealt: list[list[int]] = [[] for _ in range(parts)]
    held = np.zeros((parts, pool.labels.max() + 1))  # sentences of each class in each part
    for group in sorted(members, key=len, reverse=True):
        most = np.bincount(pool.labels[group]).argmax()
        part = min(range(parts), key=lambda k: (len(dealt[k]) + held[k, most], k))  # small, and poor in the group's class
        dealt[part].extend(group)
        np.add.at(held[part], pool.labels[group], 1)
    return [np.array(part[: min(map(len, dealt))], dtype=np.int64) for part in dealt]  # folds side by side train on as many


def _sha256(content: Any) -> str:
    """Hash of plain content as JSON, in which no text can pass for the boundary between two."""
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()


def _spread(labels: Labels, rng: np.random.Generator) -> np.ndarray:
    """All rows in an order in which every beginning holds about the same share of every class, few or many they may be.

    The r-th member, in random order, of a class of m stands at (r + u) / m, u uniform: systematic sampling within the class.
    """
    place = np.empty(len(labels))
    for k in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == k))
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.argsort(place, kind="stable")


def shared(groups: Iterable[str]) -> tuple[str, ...] | None:
    """The groups, or None where no two are the same."""
    groups = tuple(groups)
    return groups if len(set(groups)) < len(groups) else None


def names() -> list[str]:
    """Names of the project's own cards; SentEval's ten first, in the order of the paper's table."""
    return [*SENTEVAL, *sorted({path.stem for path in TASKS.glob("*.yaml")} - set(SENTEVAL))]


def load_card(name: str) -> dict[str, Any]:
    """The card of a task, by its name or by the path of a YAML file.

    Raises:
        DataError: no such card, an unknown or missing field, or a file that is not a YAML mapping.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else TASKS / f"{name}.yaml"
    if not path.is_file():
        if path.parent != TASKS:
            raise DataError(f"no card {path}")
        raise DataError(
            f"unknown task {name!r}{did_you_mean(name, names())} (allowed: {', '.join(names())}, or the path of a card.yaml)"
        )
    try:
        card = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a ValueError: a date that is none
        raise DataError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(card, dict):
        raise DataError(f"{path} must be a mapping with the fields {', '.join(CARD_FIELDS)}")
    for key in card:
        if key not in CARD_FIELDS:
            raise DataError(f"{path}: unknown field {key!r}{did_you_mean(str(key), CARD_FIELDS)}")
    card = {key: value for key, value in card.items() if value is not None}
    for key, value in card.items():
        kind, parts = _KINDS.get(key, (str, ""))
        inner = value.values() if kind is dict and isinstance(value, dict) else value if kind is list else ()
        if not isinstance(value, kind) or any(type(part) not in (str, int)[: 1 + (key == "classes")] for part in inner):
            hint = "; in YAML, put quotes around text that looks like a number, yes, no, on or off"
            raise DataError(f"{path}: {key} must be {parts or 'text'}, not {value!r} ({CARD_FIELDS[key]}){hint}")
    for key in ("name", *(() if card.get("files") else ("file",))):
        if not card.get(key):
            raise DataError(f"{path}: the field {key!r} is missing ({CARD_FIELDS[key]})")
    if files := card.get("files"):
        if not isinstance(files, dict) or not {"train", "test"} <= set(files) <= {"train", "dev", "test"}:
            raise DataError(f"{path}: files must be a mapping with train and test, and dev if there is one, not {files!r}")
        if card.get("format") not in classification.FORMATS:
            raise DataError(f"{path}: format={card.get('format')!r} is unknown (allowed: {', '.join(classification.FORMATS)})")
    if card.get("metric", "accuracy") != "accuracy":
        raise DataError(f"{path}: metric {card['metric']!r} is unknown (allowed: accuracy; macro F1 is reported with it)")
    return card


def load(name: str, root: str | Path, train_size: int | None = None, seed: int = 0) -> Task:
    """Reads a task from a folder of three-column files.

    Args:
        name: a name of `names()`, or the path of a card of your own.
        root: the folder that holds the card's file, plain, .gz or .xz.
        train_size: at most about this many train sentences, drawn stratified with `seed`; None takes all.
        seed: of that draw; without effect where nothing is drawn.

    Raises:
        DataError: unknown card, missing file, broken line (file and number named), missing split, label unknown to train.
    """
    card = load_card(name)
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"no folder {root} (data.root must name the folder that holds {file_names(card)})")
    found = find(card, root)
    if found is None:
        raise DataError(
            f"task {card['name']}: no {file_names(card)} (nor .gz, .xz) in {root}; "
            "point data.root at the folder that has it, or leave the task out"
        )
    if isinstance(found, Path):
        return from_lines(card, found).subset(train_size, seed)
    content = b"".join(read_bytes(path) for path in found.values())
    rows = list(classification.read(found, card["format"]))
    return _from_rows(card, rows, found["train"].parent, content).subset(train_size, seed)


def find(card: Mapping[str, Any], root: Path) -> Path | dict[str, Path] | None:
    """The card's file in the folder, or its files by split; None where they are not there."""
    return classification.find_files(root, card) if "files" in card else senteval.find_file(root, card["file"])


def file_names(card: Mapping[str, Any]) -> str:
    return ", ".join(card["files"].values()) if "files" in card else card["file"]


def from_lines(card: Mapping[str, Any], path: Path) -> Task:
    """The whole task in the file at `path`; with a leading task column, the rows of this card's name."""
    content = read_bytes(path)
    lines = list(senteval.read_lines(path, content))
    groups = senteval.read_groups(path, len(lines))
    return _from_rows(card, [row for row in lines if row.task in (None, card["name"])], path, content, groups)


def _from_rows(
    card: Mapping[str, Any], rows: Sequence[senteval.Line], path: Path, content: bytes, named: Sequence[str] | None = None
) -> Task:
    """The task of these rows; `named` holds the group of every line of the file, by its number."""
    by_split = {split: [row for row in rows if row.split == split] for split in senteval.SPLITS.values()}
    for code, split in senteval.SPLITS.items():
        if not by_split[split]:
            raise DataError(f"{path}: no row of the {split} split ({code}) for {card['name']}; a task needs tr, va and te")
    classes = tuple(sorted({row.label for row in by_split["train"]}))
    if len(classes) < 2:
        raise DataError(f"{path}: the train split holds one label only ({classes[0]!r}); nothing can be probed")
    index = {label: k for k, label in enumerate(classes)}
    for row in (*by_split["dev"], *by_split["test"]):
        if row.label not in index:
            near = did_you_mean(row.label, classes)
            raise DataError(
                f"{row.path}, line {row.number}: label {row.label!r} of the {row.split} split does not occur in train{near}"
            )
    splits = {}
    for name, part in by_split.items():
        groups = (named[row.number - 1] if named else " ".join(sorted(row.sentence.lower().split())) for row in part)
        labels = np.array([index[row.label] for row in part], dtype=np.int64)
        splits[name] = Split(tuple(row.sentence for row in part), labels, shared(groups))
    return Task(
        name=card["name"],
        classes=classes,
        card=dict(card),
        source=str(path),
        file_sha256=hashlib.sha256(content).hexdigest(),
        git_blob=git_blob_id(content),
        groups_from=senteval.groups_name(path) if named else "sentences of the same words",
        **splits,
    )


def lengths(split: Split) -> Labels:
    """Sentence lengths in space-delimited tokens: shape (n,)."""
    return np.array([len(text.split()) for text in split.texts], dtype=np.int64)
