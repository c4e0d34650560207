"""Reads SentEval's probing files: one sentence a line, tab-separated `split, label, ..., sentence`.

Definition (facebookresearch/SentEval, data/probing/README.md): the first field is the partition (tr, va, te), the second the
label, the last the sentence in space-delimited tokens; fields in between are allowed and ignored. A file may carry a leading
task column (`task, split, label, sentence`), as some copies do. Lines are those of `probing.data.readers.files`; quote characters
are text.

Left out: no tokenisation and no filtering; what the file says is what the probes see.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from probing.data.readers.files import SUFFIXES, decoded, read_bytes
from probing.errors import DataError

SPLITS = {"tr": "train", "va": "dev", "te": "test"}


@dataclass(frozen=True)
class Line:
    """One row of a file: `task` is None where the file has no task column; `number` counts from 1."""

    number: int
    task: str | None
    split: str
    label: str
    sentence: str
    path: Path


def find_file(root: Path, name: str) -> Path | None:
    """The file `name` in `root`, plain or compressed (.gz, .xz), or None.

    Raises:
        DataError: two copies of it lie there, so that a choice would be a guess.
    """
    found = [path for suffix in SUFFIXES if (path := root / f"{name}{suffix}").is_file()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise DataError(f"{root} holds {names}: keep one of them, so that it is clear which one is read")
    return found[0] if found else None


def groups_name(path: Path) -> str:
    """The name of the file that names the groups of the lines of `path`: NAME.groups.txt for NAME.txt."""
    name = path.name
    for suffix in SUFFIXES[1:]:
        name = name.removesuffix(suffix)
    return f"{name.removesuffix('.txt')}.groups.txt"


def read_groups(path: Path, lines: int) -> list[str] | None:
    """The group of every line of the file at `path`, from the file of groups beside it; None where there is none.

    Raises:
        DataError: it holds another number of lines than `lines`, or an empty one.
    """
    beside = find_file(path.parent, groups_name(path))
    if beside is None:
        return None
    groups = decoded(read_bytes(beside), beside).removesuffix("\n").split("\n")
    if len(groups) != lines:
        raise DataError(
            f"{beside} holds {len(groups)} lines and {path} {lines}: line i names the group of line i there; make both again, "
            f"or remove {beside.name}"
        )
    if empty := [number for number, group in enumerate(groups, start=1) if not group.strip()]:
        raise DataError(f"{beside}, line {empty[0]}: empty, but every line names a group")
    return groups


def read_lines(path: Path, content: bytes | None = None) -> Iterator[Line]:
    """Yields every row of the file, checked; `content` is what `read_bytes` gave, where it was read before.

    Raises:
        DataError: a row that is not of the format; the message names file, line number, what stands there and what should.
    """
    text = decoded(read_bytes(path) if content is None else content, path)
    for number, row in enumerate(text.removesuffix("\n").split("\n"), start=1):
        fields = row.split("\t")
        task = None
        if len(fields) > 3 and fields[0] not in SPLITS and fields[1] in SPLITS:
            task, *fields = fields
        where = f"{path}, line {number}"
        if len(fields) < 3:
            raise DataError(
                f"{where}: {len(fields)} tab-separated field(s), but a row is 'split<TAB>label<TAB>sentence': {row[:80]!r}"
            )
        if fields[0] not in SPLITS:
            raise DataError(f"{where}: the first field is {fields[0][:40]!r}, but a split is one of tr, va, te")
        if not fields[1].strip():
            raise DataError(f"{where}: the label (second field) is empty")
        if not fields[-1].strip():
            raise DataError(f"{where}: the sentence (last field) is empty; remove the row or mend it")
        yield Line(number, task, SPLITS[fields[0]], fields[1], fields[-1], path)


def is_row(line: str) -> bool:
    """Whether a line of text is a row of this format: three fields or more, the first or the second a split.

    >>> [is_row(line) for line in ("tr\\tI\\tIt ran .", "task\\tte\\tI\\tIt ran .", "It\\tran .", "tr I It ran .")]
    [True, True, False, False]
    """
    fields = line.split("\t")
    return len(fields) > 2 and not SPLITS.keys().isdisjoint(fields[:2])
