"""Loads a task from the files in a folder that its card names.

Checked on load: each split has sentences, dev and test have no label that train lacks, and every row is of the card's format. Facts
that are no error are reported in the data card.

NAME.groups.txt beside NAME.txt (plain, .gz or .xz) names the group of every line of it; without that file, sentences of a split
that hold the same words in another order or letter case are a group (twins of BigramShift and CoordinationInversion).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from probing.data.card import load_card
from probing.data.readers.download import git_blob_id
from probing.data.readers.files import bare_name, find_file, read_bytes, read_text
from probing.data.readers.formats import FORMATS, SPLITS, Line
from probing.data.rows import SAME_WORDS, task_of_rows
from probing.data.task import Task
from probing.errors import DataError

DEV_SHARE = 20
"""Of a card without dev files: one in so many sentences of train is dev, by the hash of the sentence."""


def load(name: str, root: str | Path, train_size: int | None = None, seed: int = 0) -> Task:
    """Load a task from a folder.

    Args:
        name: a name of `probing.data.card.names()`, or the path of a card of your own.
        root: the folder that holds the card's file or files, plain, .gz or .xz.
        train_size: at most about this many train sentences, drawn stratified with `seed`; None takes all.
        seed: of that draw; without effect where nothing is drawn.

    Raises:
        DataError: unknown card, missing file, broken line (file and number named), missing split, label unknown to train.
    """
    if not isinstance(name, str | Path):
        raise DataError(
            f"load_task takes the name of a task or the path of a card, not a {type(name).__name__}; tables, lists and data sets: "
            "Task.from_frame, Task.from_lists, Task.from_dataset, or evaluate takes them as they are"
        )
    card = load_card(str(name))
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"no folder {root} (data.root must name the folder that holds {file_names(card)})")
    files = find_files(card, root)
    if files is None:
        raise DataError(
            f"task {card['name']}: no {file_names(card)} (nor .gz, .xz) in {root}; "
            "point data.root at the folder that has it, or leave the task out"
        )
    return _task(card, files).subset(train_size, seed)


def file_names(card: Mapping[str, Any]) -> str:
    return ", ".join(_names(card).values())


def find_files(card: Mapping[str, Any], root: Path) -> dict[str, Path] | None:
    """The paths of a card's files by split ("" for a single file), from the first of its folders with all of them; else None."""
    for folder in card.get("folders", ["."]) if card.get("files") else ["."]:
        paths = {split: path for split, name in _names(card).items() if (path := find_file(root / folder, name))}
        if len(paths) == len(_names(card)):
            return paths
    return None


def _names(card: Mapping[str, Any]) -> dict[str, str]:
    files: dict[str, str] = card.get("files") or {"": card["file"]}
    return files


def _task(card: Mapping[str, Any], files: Mapping[str, Path]) -> Task:
    """The task of a card from its files (as `find_files` gives them); of a file with a task column, the rows of the card's name."""
    content = b"".join(map(read_bytes, files.values()))
    form = card.get("format", "senteval")
    lines = [(split, line) for split, path in files.items() for line in FORMATS[form](path)]
    path = files[""] if "" in files else files["train"].parent
    groups = _groups(path, len(lines)) if "" in files else None
    rows: dict[str, list[Line]] = {split: [] for split in SPLITS.values()}
    for split, line in lines:
        if line.task not in (None, card["name"]):
            continue
        if line.split is None and not split:
            raise DataError(f"{path}: the format {form} has no column for the split; the card must name a file for each (files)")
        if line.split is None and split == "train" and "dev" not in files:
            digest = hashlib.blake2b(line.sentence.encode(), digest_size=8).digest()
            split = "train" if int.from_bytes(digest, "little") % DEV_SHARE else "dev"
        rows[line.split or split].append(line)
    for code, split in SPLITS.items():
        if not rows[split]:
            raise DataError(f"{path}: no row of the {split} split ({code}) for {card['name']}; a task needs tr, va and te")
    return task_of_rows(
        card["name"],
        {split: ([line.sentence for line in part], [line.label for line in part]) for split, part in rows.items()},
        source=str(path),
        card=card,
        groups=None if groups is None else {s: [groups[line.number - 1] for line in part] for s, part in rows.items()},
        groups_from=_groups_name(path) if groups else SAME_WORDS,
        place=lambda split, i: f"{rows[split][i].path}, line {rows[split][i].number}",
        file_sha256=hashlib.sha256(content).hexdigest(),
        git_blob=git_blob_id(content),
    )


def _groups_name(path: Path) -> str:
    """The name of the file that names the groups of the lines of `path`: NAME.groups.txt for NAME.txt."""
    return f"{bare_name(path).removesuffix('.txt')}.groups.txt"


def _groups(path: Path, lines: int) -> Sequence[str] | None:
    """The group of every line of the file at `path`, from the file of groups beside it; None where there is none.

    Raises:
        DataError: it holds another number of lines than `lines`, or an empty one.
    """
    beside = find_file(path.parent, _groups_name(path))
    if beside is None:
        return None
    groups = read_text(beside).removesuffix("\n").split("\n")
    if len(groups) != lines:
        raise DataError(
            f"{beside} holds {len(groups)} lines and {path} {lines}: line i names the group of line i there; make both again, "
            f"or remove {beside.name}"
        )
    if empty := [number for number, group in enumerate(groups, start=1) if not group.strip()]:
        raise DataError(f"{beside}, line {empty[0]}: empty, but every line names a group")
    return groups
