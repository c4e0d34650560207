"""Tasks from tables and lists in memory: `Task.from_frame`, `Task.from_lists`; and tasks as people have them in Python.

Rows become a task by `probing.data.rows`: the same rows give the same results, whatever they were read from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from probing.data.card import card_of
from probing.data.hub import DatasetSource
from probing.data.labels import arrays_of
from probing.data.rows import SAME_WORDS, SPLITS, held_out, task_of_rows
from probing.data.split import Split, groups_or_none, word_form
from probing.data.task import Task
from probing.errors import ConfigError, DataError, did_you_mean

SPLIT_OF = {name: split for split, names in (
    ("train", ("train", "training", "tr")), ("dev", ("dev", "validation", "valid", "val", "va")), ("test", ("test", "te")),
) for name in names}  # fmt: skip
"""The names that rows may give their split."""

TEST_SHARE = 0.2
"""Share of the rows that becomes test where no split is named."""

ALLOWED = (
    "allowed: a task's name ('tree_depth'), 'all', the path of a card.yaml, a hub id or folder of a data set, a Task, a pandas "
    "DataFrame with columns text, label and split, a pair of lists (texts, labels), a DatasetDict, a list of these, or a dict "
    "name -> one of these"
)


def task_of_frame(
    frame: Any,
    text: str = "text",
    label: str = "label",
    split: str | None = "split",
    *,
    group: str | None = None,
    name: str = "frame",
    dev_from_train: float = 0.1,
    seed: int = 0,
    kind: str = "classification",
    metric: str | None = None,
    ordered: bool | Sequence[str] = False,
) -> Task:
    """The task of a table with a row for each sentence.

    Args:
        frame: a pandas DataFrame, or anything with `columns` and columns by name.
        text, label, split: names of columns; the split of a row is one of `SPLIT_OF`. Without the column split, or with None, a
            fifth of the rows becomes test, drawn stratified with `seed`; without dev rows `dev_from_train` of train becomes dev.
        group: a column that names the source of each sentence; None: sentences of the same words are a group.
        kind, metric, ordered: as in a card (`probing.data.card.CARD_FIELDS`); `ordered` may be the classes in their order.

    Raises:
        DataError: no such column, an unknown split, rows that are no task.
    """
    columns = [str(column) for column in frame.columns]
    for option, column in (("text", text), ("label", label), ("group", group)):
        if column is not None and column not in columns:
            near = did_you_mean(str(column), columns)
            raise DataError(f"{name}: no column {column!r}{near} (columns: {', '.join(columns)}; choose with {option}=…)")
    splits = list(frame[split]) if split in columns else None
    if splits is None and split not in (None, "split"):
        raise DataError(f"{name}: no column {split!r} (columns: {', '.join(columns)}; split=None draws a test split)")
    groups = None if group is None else [str(one) for one in frame[group]]
    card, own = card_of(name, kind, metric, ordered), {"groups_from": f"the column {group}"} if group else {}
    return _task(card, list(frame[text]), list(frame[label]), splits, groups, dev_from_train, seed, source="a table", **own)


def task_of_lists(
    texts: Iterable[Any],
    labels: Iterable[Any],
    splits: Iterable[Any] | None = None,
    *,
    groups: Iterable[Any] | None = None,
    name: str = "lists",
    dev_from_train: float = 0.1,
    seed: int = 0,
    kind: str = "classification",
    metric: str | None = None,
    ordered: bool | Sequence[str] = False,
) -> Task:
    """The task of lists with an entry for each sentence; see `task_of_frame`."""
    columns = {"texts": texts, "labels": labels, "splits": splits, "groups": groups}
    given = {what: _listed(one, what, name) for what, one in columns.items() if one is not None}
    if len(set(map(len, given.values()))) > 1:
        sizes = ", ".join(f"{len(one)} {what}" for what, one in given.items())
        raise DataError(f"{name}: {sizes}: give one of each for every sentence")
    of_groups = None if groups is None else [str(one) for one in given["groups"]]
    card = card_of(name, kind, metric, ordered)
    return _task(card, given["texts"], given["labels"], given.get("splits"), of_groups, dev_from_train, seed, source="lists")


def _listed(given: Any, what: str, name: str) -> list[Any]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise DataError(f"{name}: {what} must be a list with an entry for each sentence, not {type(given).__name__}")
    return list(given)


def _task(
    card: dict[str, Any], texts: list[Any], labels: list[Any], splits: list[Any] | None, groups: list[str] | None, share: float,
    seed: int, *, source: str, groups_from: str = "given",
) -> Task:  # fmt: skip
    name = card["name"]
    if splits is None:
        splits = _drawn(card, texts, labels, groups, seed)
        drawn = f"test is {splits.count('test')} of {len(texts)} sentences, drawn stratified with seed {seed}: no split was named"
        card["notes"] = [drawn]
    places: dict[str, list[int]] = {split: [] for split in SPLITS}
    for row, own in enumerate(splits):
        if str(own) not in SPLIT_OF:
            near = did_you_mean(str(own), SPLIT_OF)
            raise DataError(f"{name}, row {row}: the split {own!r} is unknown{near} (allowed: {', '.join(SPLIT_OF)})")
        places[SPLIT_OF[str(own)]].append(row)
    if not places["dev"]:
        del places["dev"]
    rows = {split: ([texts[row] for row in own], [labels[row] for row in own]) for split, own in places.items()}
    return task_of_rows(
        name, rows, source=source, card=card, dev_from_train=share, seed=seed,
        groups=None if groups is None else {split: [groups[row] for row in own] for split, own in places.items()},
        groups_from=SAME_WORDS if groups is None else groups_from,
    )  # fmt: skip


def _drawn(card: dict[str, Any], texts: list[Any], labels: list[Any], groups: list[str] | None, seed: int) -> list[str]:
    """The split of each row, train or test, where none is named: the same share of every class; groups stay whole."""
    name = card["name"]
    _, own = arrays_of({"train": labels}, card, lambda _, i: f"{name}, row {i}", name)
    numbers = tuple(map(str, range(len(texts))))
    rows = Split(numbers, own["train"], groups_or_none(groups or map(word_form, map(str, texts))))
    try:
        _, test = held_out(rows, TEST_SHARE, seed, name)
    except DataError:
        raise DataError(f"{name}: {len(texts)} sentences are too few to draw a test split from; name the split of each") from None
    of_test = set(test.texts)
    return ["test" if number in of_test else "train" for number in numbers]


def as_tasks(given: Any, data: Any = None) -> list[Task]:
    """One task or many, as objects: see `ALLOWED`.

    Args:
        data: where tasks of a name are: a folder, or a source with a method `tasks` (`probing.data.sources`); None: the built-in
            grammar, in `probing-out/grammar`.

    Raises:
        ConfigError: an object that is no task.
        DataError: a name or rows that are no task.
    """
    if isinstance(given, Mapping) and not _is_dataset(given):
        return [_named(_one(own, data), str(name)) for name, own in given.items()]
    if _is_many(given):
        tasks: list[Task] = []
        for own in given:
            tasks += _source(data).tasks(None) if isinstance(own, str) and own == "all" else [_one(own, data)]
        if not tasks:
            raise ConfigError(f"give at least one task; {ALLOWED}")
        return tasks
    return _source(data).tasks(None) if isinstance(given, str) and given == "all" else [_one(given, data)]


def _is_many(given: Any) -> bool:
    alone = isinstance(given, str | Path | Task) or _is_pair(given) or hasattr(given, "columns") or _is_dataset(given)
    return not alone and isinstance(given, Iterable) and not hasattr(given, "__array__")


def _is_pair(given: Any) -> bool:
    """Whether it is two lists, (texts, labels); two names of tasks are none."""
    return isinstance(given, tuple) and len(given) == 2 and all(_is_list(one) for one in given)


def _is_list(given: Any) -> bool:
    return isinstance(given, list | tuple | np.ndarray) or (hasattr(given, "tolist") and hasattr(given, "__len__"))


def _is_dataset(given: Any) -> bool:
    return any(one.__module__.startswith("datasets.") for one in type(given).__mro__)


def _one(given: Any, data: Any) -> Task:
    if isinstance(given, Task):
        return given
    if isinstance(given, str | Path):
        name = str(given)
        is_dataset = "/" in name and not name.endswith((".yaml", ".yml"))
        [task] = DatasetSource(name).tasks(None) if is_dataset else _source(data).tasks([name])
        return task
    if _is_pair(given):
        return task_of_lists(*given)
    if _is_dataset(given):
        return Task.from_dataset(given)
    if hasattr(given, "columns"):
        return task_of_frame(given)
    raise ConfigError(f"task: {type(given).__name__} was given; {ALLOWED}")


def _named(task: Task, name: str) -> Task:
    return replace(task, name=name, card={**task.card, "name": name, "paper_name": name})


def _source(data: Any) -> Any:
    from probing.data.sources import GrammarCorpus, SentEvalFolder

    if data is None:
        return GrammarCorpus()
    if isinstance(data, str | Path):
        return SentEvalFolder(str(data))
    if callable(getattr(data, "tasks", None)):
        return data
    raise ConfigError(
        f"data: {type(data).__name__} was given; allowed: the folder of the task files, or a source (probing.data.sources)"
    )
