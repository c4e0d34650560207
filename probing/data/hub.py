"""Tasks from data sets of the package `datasets`: of the Hugging Face hub, local parquet, CSV, JSON or Arrow files, or in memory.

Rows become a task by `probing.data.rows`, so that the same rows give the same results, whatever they were read from.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probing.data.card import card_of
from probing.data.rows import SPLITS, Rows, task_of_rows
from probing.data.task import Task
from probing.data.words import task_of_tags
from probing.errors import ConfigError, DataError, ForeignError, did_you_mean
from probing.log import info

FILES = ("parquet", "csv", "json", "arrow")
"""Values of `data.path` that name a format of local files, which `data.files` names."""

NAMES = {"train": ("train",), "dev": ("validation", "dev", "valid", "val"), "test": ("test",)}
"""Names of splits that are looked for where none are given, the first that is there."""


@dataclass
class DatasetSource:
    """One task from a data set: a hub id, a folder (of data files, or written by save_to_disk), or files of a format of `FILES`.

    Args:
        path: hub id, folder or format.
        config, revision: of a hub id.
        files: of a format: a path, a list of paths, or a mapping of splits to them.
        text, label: columns. The names of a ClassLabel are the classes; else text, whole numbers and truth values as they are.
        splits: train, dev and test -> name of the split in the data; null: the names of `NAMES`.
        dev_from_train: share of train that becomes dev where the data has no dev split, drawn stratified.
        dev_seed: of that draw.
        streaming: read `max_rows` rows without a download of the rest.
        max_rows: the first rows of each split; null: all.
        train_size: train on a stratified subset of about this size, drawn with the run's seed; null: on all.
        name: name of the task and of the source; null: the end of the path.
        kind, metric, ordered: as in a card (`probing.data.card.CARD_FIELDS`); `ordered` may be the classes in their order. Sets of
            labels are lists, of text or of a ClassLabel.
    """

    path: str
    config: str | None = None
    revision: str | None = None
    files: Any = None
    text: Any = "text"
    label: Any = "label"
    splits: dict[str, str | None] | None = None
    dev_from_train: float = 0.1
    dev_seed: int = 0
    streaming: bool = False
    max_rows: int | None = None
    train_size: int | None = None
    name: str | None = None
    kind: str = "classification"
    metric: str | None = None
    ordered: Any = False

    def __post_init__(self) -> None:
        if self.path in FILES and not self.files:
            raise ConfigError(f"data.path={self.path} is a format of files: name them with data.files=… (a path, list or splits)")
        if self.files is not None and self.path not in FILES:
            raise ConfigError(f"data.files goes with data.path={'|'.join(FILES)}, not with data.path={self.path}")
        if self.max_rows is not None and self.max_rows < 1:
            raise ConfigError(f"data.max_rows={self.max_rows} must be at least 1; null reads all")
        if self.streaming and self.max_rows is None:
            raise ConfigError("data.streaming=true reads rows one by one: say how many of each split with data.max_rows=…")
        self.name = self.name or self._name()
        card_of("data", self.kind, self.metric, self.ordered)

    def tasks(self, names: Sequence[str] | None) -> list[Task]:
        """The task; `names` may only name it.

        Raises:
            ConfigError: another name, an unknown column or split.
            DataError: no network, no such data set, no test split, rows that are no task.
        """
        if names and list(names) != [self.name]:
            raise ConfigError(f"task={','.join(names)}: data=hf holds one task, {self.name} (another name: data.name=…)")
        where = f"{self.path}" + "".join(f", {k} {v}" for k in ("config", "revision", "files") if (v := getattr(self, k)))
        return [
            task_of_datasets(
                self.load(where),
                self.text,
                self.label,
                str(self.name),
                splits=self.splits,
                dev_from_train=self.dev_from_train,
                seed=self.dev_seed,
                max_rows=self.max_rows,
                source=where,
                prefix="data.",
                card=card_of(str(self.name), self.kind, self.metric, self.ordered),
            )
        ]

    def _name(self) -> str:
        if self.path not in FILES:
            return Path(self.path).name or self.path
        first = next(iter(self.files.values())) if isinstance(self.files, Mapping) else self.files
        path = Path(first if isinstance(first, str) else first[0])
        return path.name.partition(".")[0] if isinstance(self.files, str) else path.absolute().parent.name or self.path

    def load(self, where: str) -> Mapping[str, Any]:
        """The data set's splits by their names there."""
        datasets = library()
        if not sys.stderr.isatty():
            datasets.disable_progress_bars()
        folder = Path(self.path).expanduser()
        try:
            if any((folder / name).is_file() for name in ("dataset_dict.json", "state.json")):
                saved = datasets.load_from_disk(str(folder))
                return saved if isinstance(saved, Mapping) else {"train": saved}
            loaded: Mapping[str, Any] = datasets.load_dataset(
                str(folder) if folder.exists() else self.path, self.config, revision=self.revision,
                data_files=_expanded(self.files), streaming=self.streaming, **self._format_options(),
            )  # fmt: skip
            return loaded
        except ConnectionError as error:
            raise DataError(
                f"{where}: the hub cannot be reached and the data is not in the cache ({error}); fetch it with a network, "
                "or give local files with data.path=parquet data.files=…"
            ) from None
        except (FileNotFoundError, ValueError) as error:  # no such data set, config, revision or file
            raise DataError(f"{where} cannot be read: {' '.join(str(error).split())}") from None
        except datasets.exceptions.DatasetGenerationError as error:  # a damaged file, or of another format
            cause = error.__cause__ or error
            raise DataError(f"{where} cannot be read: {type(cause).__name__}: {' '.join(str(cause).split())}") from None
        except Exception as error:
            raise ForeignError.of(f"{where}: reading it with datasets", error) from error

    def _format_options(self) -> dict[str, Any]:
        """Options that make CSV files read as other formats are: `NA` and the like are text; .tsv has tabs and no quotes."""
        if self.path != "csv":
            return {}
        tabs = {"sep": "\t", "quoting": csv.QUOTE_NONE} if ".tsv" in json.dumps(self.files) else {}
        return {"keep_default_na": False, **tabs}


def task_of_datasets(
    data: Mapping[str, Any],
    text: Any,
    label: Any,
    name: str,
    *,
    splits: Mapping[str, str | None] | None = None,
    dev_from_train: float = 0.1,
    seed: int = 0,
    max_rows: int | None = None,
    source: str = "a DatasetDict",
    prefix: str = "",
    card: Mapping[str, Any] | None = None,
    kind: str = "classification",
    metric: str | None = None,
    ordered: bool | Sequence[str] = False,
) -> Task:
    """The task of a DatasetDict (or IterableDatasetDict): see `DatasetSource`; `prefix`: of options in error messages; `card`: that
    of kind, metric and order, if it is made already.

    Raises:
        ConfigError: an unknown column or split.
        DataError: no test split, a column that is not one text or label a row, rows that are no task.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{name}: a task needs a DatasetDict with train and test, not {type(data).__name__}")
    for option, column in (("text", text), ("label", label)):
        if not isinstance(column, str):
            raise ConfigError(
                f"{prefix}{option}={column!r}: a probe reads one sentence and one label a row; name one column, and write a pair "
                "of texts into one column first (dataset.map)"
            )
    card = card_of(name, kind, metric, ordered) if card is None else card
    sets = card.get("kind") == "multilabel"
    chosen = _splits(data, splits, source, prefix)
    rows = {
        split: _rows(data[own], (text, label), f"{source}, split {own}", prefix, max_rows, sets) for split, own in chosen.items()
    }

    def place(split: str, i: int) -> str:
        return f"{source}, split {chosen[split]}, row {i}"

    if any(isinstance(text, list | tuple) for text in rows["train"][0][:1]):
        return task_of_tags(rows, card, source, place, dev_from_train=dev_from_train, seed=seed)
    return task_of_rows(name, rows, source=source, card=card, place=place, dev_from_train=dev_from_train, seed=seed)


def _splits(data: Mapping[str, Any], given: Mapping[str, str | None] | None, source: str, prefix: str) -> dict[str, str]:
    """Split of the task -> its name in the data; without dev where the data has none."""
    have = f"{source} has the splits {', '.join(data)}"
    if given is None:
        chosen = {split: own for split, names in NAMES.items() for own in names if own in data}
        chosen = {split: next(own for own in NAMES[split] if own in data) for split in chosen}
    else:
        if unknown := [split for split in given if split not in SPLITS]:
            raise ConfigError(f"{prefix}splits: {unknown[0]!r} is unknown (allowed: {', '.join(SPLITS)}, with a name in the data)")
        chosen = {split: own for split in SPLITS if (own := given.get(split))}
    for split, own in chosen.items():
        if own not in data:
            raise ConfigError(f"{prefix}splits: no split {own!r} for {split}{did_you_mean(own, data)}; {have}")
    for split in ("train", "test"):
        if split not in chosen:
            other = next((own for own in data if own not in chosen.values()), "validation")
            example = f"{{train: {chosen.get('train', 'train')}, test: {chosen.get('dev', other)}}}"
            raise DataError(
                f"{have}, and none is the {split} split: name it, such as {prefix}splits='{example}' (without dev, a share of "
                "train becomes dev), or make one with dataset.train_test_split and save_to_disk"
            )
    if len(set(chosen.values())) < len(chosen):
        raise ConfigError(f"{prefix}splits={chosen}: train, dev and test must not be the same split")
    return chosen


def _rows(dataset: Any, columns: tuple[str, str], where: str, prefix: str, max_rows: int | None, sets: bool) -> Rows:
    """Sentences and labels of one split, a ClassLabel's by name; `sets`: a label is a list."""
    lazy = not hasattr(dataset, "__len__")  # an IterableDataset, which may not know its columns before it is read
    if max_rows is not None:
        dataset = dataset.take(max_rows) if lazy else dataset.select(range(min(max_rows, len(dataset))))
    elif lazy:
        info(f"{where}: reading all rows; data.max_rows=… limits them")
    features = dataset.features
    if features is None:
        read = list(dataset)
        _require(columns, list(read[0]) if read else [], where, prefix)
        return [row[columns[0]] for row in read], [row[columns[1]] for row in read]
    _require(columns, list(features), where, prefix)
    text, label = (features[name] for name in columns)
    of_words = _is_list(text) and _is_list(label) and not sets
    if getattr(text, "dtype", None) not in ("string", "large_string") and not of_words:
        mend = (
            "join its parts in a column of their own (dataset.map), or name a column of tags, one for each word"
            if _is_list(text)
            else "choose another column, or make it text"
        )
        raise DataError(f"{where}: {prefix}text={columns[0]} is {_kind(text)}, but a probe reads one sentence a row; {mend}")
    if isinstance(label, Mapping) or (_is_list(label) and not sets and not of_words):
        several = "; kind=multilabel takes lists" if _is_list(label) else ""
        raise DataError(f"{where}: {prefix}label={columns[1]} is {_kind(label)}, but a row of a task has one label{several}")
    if lazy:
        read = list(dataset.select_columns(list(columns)))
        texts, labels = [row[columns[0]] for row in read], [row[columns[1]] for row in read]
    else:
        table = dataset.select_columns(list(columns)).with_format(None)[:]
        texts, labels = table[columns[0]], table[columns[1]]
    names = getattr(getattr(label, "feature", label), "names", None)
    if names is None:
        return texts, labels
    if sets or of_words:
        return texts, [
            None if own is None else [None if k is None or (of_words and k < 0) else names[k] for k in own] for own in labels
        ]
    if unlabelled := [i for i, k in enumerate(labels) if k is not None and k < 0]:
        raise DataError(
            f"{where}: row {unlabelled[0]} and {len(unlabelled) - 1} more have no label (-1), as test splits of GLUE; take a "
            f"labelled split for test, such as {prefix}splits='{{train: train, test: validation}}'"
        )
    return texts, [None if k is None else names[k] for k in labels]


def _require(columns: Sequence[str], have: Sequence[str], where: str, prefix: str) -> None:
    for option, column in zip(("text", "label"), columns, strict=True):
        if column not in have:
            near = did_you_mean(column, have)
            raise ConfigError(f"{where}: no column {column!r}{near} (columns: {', '.join(have)}; choose with {prefix}{option}=…)")


def _is_list(feature: Any) -> bool:
    return isinstance(feature, list) or hasattr(feature, "feature")


def _kind(feature: Any) -> str:
    return "a list" if _is_list(feature) else "a group of columns" if isinstance(feature, Mapping) else f"of type {feature.dtype}"


def _expanded(files: Any) -> Any:
    """Paths with ~ expanded, in the shape in which they were given."""
    if isinstance(files, Mapping):
        return {split: _expanded(own) for split, own in files.items()}
    return [_expanded(own) for own in files] if isinstance(files, list) else files and str(Path(files).expanduser())


def library() -> Any:
    """The package datasets.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import datasets
    except ModuleNotFoundError:
        raise ConfigError("this needs the package datasets: pip install 'probing-bench[data]'") from None
    return datasets
