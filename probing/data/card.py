"""Cards: the YAML file that describes a task, and the data card that describes the data found for it.

A task's card is a file in `tasks/`, or a user's own by path; its fields are `CARD_FIELDS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from probing.data.readers.files import read_text
from probing.data.readers.formats import FORMATS
from probing.errors import DataError, did_you_mean
from probing.paths import TASKS

if TYPE_CHECKING:
    from probing.data.task import Task

CARD_FIELDS = {
    "name": "short name, the one used on the command line",
    "paper_name": "name in the paper's tables",
    "group": "surface, syntactic, semantic or classification",
    "about": "one sentence: what is asked",
    "file": "file name in the data folder, without .gz or .xz",
    "files": "instead of file: split to file name (train, dev, test; without dev a part of train is taken)",
    "folders": "with files: folders below the data folder, tried in this order",
    "format": f"{', '.join(FORMATS)} (default of file: senteval)",
    "classes": "labels of the official file",
    "n_classes": "their number, where they are too many to list",
    "kind": "classification (the default), regression (labels are numbers) or multilabel (sets of labels, with | between them)",
    "ordered": "true: the classes have an order, that of the field classes, or of the numbers that they are",
    "metric": "the score by which layers are chosen and compared: accuracy or auroc; r2 of numbers; sample_f1 of sets of labels",
    "reference": "paper",
    "source": "address of the official file",
    "git_blob": "git blob id (sha1) of the official file",
    "licence": "licence of the official file",
}
MAIN = {"classification": ("accuracy", "auroc"), "regression": ("r2",), "multilabel": ("sample_f1",)}
"""Kind of labels -> the metrics that a card may name, the default first."""

KINDS = tuple(MAIN)

_KINDS = {
    "ordered": (bool, "true or false"),
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


def names() -> list[str]:
    """Names of the cards in `tasks/`; SentEval's ten first, in the order of the paper's table."""
    return [*SENTEVAL, *sorted({path.stem for path in TASKS.glob("*.yaml")} - set(SENTEVAL))]


def load_card(name: str) -> dict[str, Any]:
    """The card of a task, by its name or by the path of a YAML file.

    Raises:
        DataError: no such card, an unknown or missing field, or a file that is not a YAML mapping.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else TASKS / f"{name}.yaml"
    if not path.is_file():
        if name.endswith((".yaml", ".yml")):
            raise DataError(f"no card {path}")
        if "/" in name:
            raise DataError(
                f"{name!r} is no task's name; a data set is read by data=hf data.path={name}, in Python by "
                f"Task.from_dataset(datasets.load_dataset({name!r}))"
            )
        raise DataError(
            f"unknown task {name!r}{did_you_mean(name, names())} (allowed: {', '.join(names())}, or the path of a card.yaml)"
        )
    try:
        card = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a ValueError: an impossible date
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
    files = card.get("files")
    if files and not {"train", "test"} <= set(files) <= {"train", "dev", "test"}:
        raise DataError(f"{path}: files must be a mapping with train and test, and dev if there is one, not {files!r}")
    if (form := card.get("format", None if files else "senteval")) not in FORMATS:
        raise DataError(f"{path}: format={form!r} is unknown (allowed: {', '.join(FORMATS)})")
    check_labels(card, str(path))
    return card


def check_labels(card: Mapping[str, Any], where: str) -> None:
    """Raise a `DataError` if kind, metric or order of a card do not go together; `where` is named first."""
    kind = card.get("kind", "classification")
    if kind not in KINDS:
        raise DataError(f"{where}: kind={kind!r} is unknown{did_you_mean(str(kind), KINDS)} (allowed: {', '.join(KINDS)})")
    metric = card.get("metric", MAIN[kind][0])
    if metric not in MAIN[kind]:
        raise DataError(
            f"{where}: layers of a {kind} task are not chosen by the metric {metric!r} (allowed: {', '.join(MAIN[kind])}); "
            "others are reported beside it with metrics=[…]"
        )
    if card.get("ordered") and kind != "classification":
        raise DataError(f"{where}: ordered is for classes, not for kind={kind}")


def card_of(name: str, kind: str, metric: str | None, ordered: bool | Sequence[str]) -> dict[str, Any]:
    """The card of a task that is given in Python; DataError for a kind, metric and order that do not go together."""
    card: dict[str, Any] = {"name": name, "kind": kind} if kind != "classification" else {"name": name}
    card |= {} if metric is None else {"metric": metric}
    if ordered is not False:
        card |= {"ordered": True} | ({} if ordered is True else {"classes": list(ordered)})
    check_labels(card, name)
    return card


def main_metric(card: Mapping[str, Any]) -> str:
    """The metric by which layers of the card's task are chosen and compared."""
    metric: str = card.get("metric", MAIN[card.get("kind", "classification")][0])
    return metric


def data_card(task: Task) -> dict[str, Any]:
    """The facts about a task's data, as plain JSON: counts per class and split, majority rates (0-1), duplicates, identity.

    `notes` warns readers of a table in words: a file that is not the official one, other classes than the card's, classes missing
    from a split, sentences in two splits (as `Split.forms` compares them), sentences with two labels. For a cross-validated task,
    all but `n` is about its first fold.
    """
    import numpy as np  # not at the top: a command whose words are wrong ends sooner without it

    if task.folds:
        sizes = {name: len(split) for name, split in task.splits.items()}
        first = task.folds[0].data_card
        note = (
            f"cross-validated on sentences of the train split in {len(task.folds)} folds: {sizes['dev']} sentences choose (dev), "
            f"{sizes['test']} others report (test); train is the first fold's"
        )
        return first | {"sha256": task.sha256, "n": sizes, "folds": len(task.folds), "notes": [note, *first["notes"]]}
    from probing.data.labels import counts_of  # with numpy, which a mistyped command does not wait for

    facts = counts_of({s: split.labels for s, split in task.splits.items()}, task.classes)
    forms = {s: set(split.forms) for s, split in task.splits.items()}
    overlaps = {f"{a}/{b}": len(forms[a] & forms[b]) for a, b in (("train", "dev"), ("train", "test"), ("dev", "test"))}
    labelled = {pair for split in task.splits.values() for pair in zip(split.places, map(str, split.labels.tolist()), strict=True)}
    contradictory = sum(n > 1 for n in Counter(text for text, _ in labelled).values())
    official = bool(task.card.get("git_blob")) and task.git_blob == task.card["git_blob"]

    one = "item" if task.of_words else "sentence"
    same = "the same place of a sentence, in any letter case" if task.of_words else "the same words, in any order and letter case"
    notes = list(task.card.get("notes", ()))  # of the reader, no field of a card's file
    if task.card.get("git_blob") and not official:
        notes.append("not the official file (git blob id differs): its numbers are not comparable with the paper's")
    if expected := task.card.get("classes"):
        if sorted(map(str, expected)) != sorted(task.classes):
            notes.append(f"classes {list(task.classes)} differ from the card's {list(expected)}")
    elif (n := task.card.get("n_classes")) and n != len(task.classes):
        notes.append(f"{len(task.classes)} classes, the card says {n}")
    for s, split in task.splits.items() if task.classes else ():
        present = split.labels.any(0).sum() if task.kind == "multilabel" else len(np.unique(split.labels))
        if missing := len(task.classes) - int(present):
            notes.append(f"{missing} of {len(task.classes)} classes have no {one} in {s}")
    for pair, n in overlaps.items():
        if n:
            notes.append(f"{n} {one}(s) occur in both {pair} ({same})")
    if contradictory:
        notes.append(f"{contradictory} {one}(s) carry two labels")
    if task.test.groups is not None:
        notes.append(
            f"the {len(task.test)} test {one}s are of {task.test.n_groups} groups ({task.groups_from or 'given'}): "
            "intervals and tests go over groups"
        )
    return {
        "task": task.name,
        "source": task.source,
        "file_sha256": task.file_sha256,
        "git_blob": task.git_blob,
        "official": official,
        "sha256": task.sha256,
        "train_size": task.train_size,
        "n": {s: len(split) for s, split in task.splits.items()},
        **({} if task.kind == "classification" else {"kind": task.kind}),
        **({"unit": "items"} if task.of_words else {}),
        "n_groups": {s: split.n_groups for s, split in task.splits.items()},
        "groups_from": task.groups_from,
        "tokens": {
            s: dict(zip(("min", "median", "max"), (int(q) for q in np.quantile(split.lengths, (0, 0.5, 1))), strict=True))
            for s, split in task.splits.items()
        },
        "duplicates": {
            "within": {s: sum(n - 1 for n in Counter(split.places).values()) for s, split in task.splits.items()},
            "across": overlaps,
            "two_labels": contradictory,
        },
        "notes": notes,
    } | facts
