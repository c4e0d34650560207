"""Reads parsed text: Penn brackets, CoNLL-U, GUM's table of trees, and plain sentences, plain or compressed (.gz, .xz).

One door, `read_source`, picks the reader from the file's name or its first line; the readers are in
`probing.data.readers.brackets` and `probing.data.readers.dependencies`, what they yield in `probing.data.readers.parsed`. Plain
text is one sentence a line, tokens between blanks: enough for the tasks that need no parse. A table is no plain text: a line with a
tab is refused, and so is a file that is called one (`TABLES`).

Left out: no parsing and no tokenisation.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from probing.data.readers.brackets import read_gum, read_penn
from probing.data.readers.dependencies import read_conllu
from probing.data.readers.files import read_bytes, read_text
from probing.data.readers.parsed import Corpus, Dependencies, Node, Sentence
from probing.data.readers.senteval import is_row
from probing.errors import DataError

__all__ = [
    "Corpus",
    "Dependencies",
    "Node",
    "Sentence",
    "kind_of",
    "read_conllu",
    "read_gum",
    "read_penn",
    "read_plain",
    "read_source",
]
KINDS = {".mrg": "penn", ".ptb": "penn", ".penn": "penn", ".conllu": "conllu", ".conll": "conllu"}


TABLES = (".csv", ".tsv", ".json", ".jsonl")


def read_plain(path: Path) -> Iterator[Sentence]:
    """One sentence a line, tokens between blanks; no tags and no parse.

    Raises:
        DataError: a line with a tab, or a file whose name is that of a table; file and line are named.
    """
    suffix = bare_suffix(path)
    if suffix in TABLES:
        raise DataError(f"{path}: {suffix} is a table, not plain sentences; give a .txt of its sentences alone, one a line")
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if "\t" in line:
            fields = line.split("\t")
            what = "a table, not a plain sentence"
            if is_row(line):
                what = "the format of a finished task; read its folder with data=senteval data.root=FOLDER"
            raise DataError(
                f"{path}, line {number}: {len(fields)} columns with tabs between them ({line[:60]!r}) are {what}; to make tasks "
                f"of its sentences, give that column alone, e.g. cut -f{len(fields)} FILE > sentences.txt"
            )
        if tokens := tuple(line.split()):
            yield Sentence(tokens)


def bare_suffix(path: Path) -> str:
    """The ending of the file's name in small letters, without .gz and .xz."""
    return Path(path.name.removesuffix(".gz").removesuffix(".xz")).suffix.lower()


def kind_of(path: Path) -> str:
    """penn, gum, conllu or plain, by the name without .gz and .xz, else by the first line that says something."""
    suffix = bare_suffix(path)
    if suffix in KINDS:
        return KINDS[suffix]
    first = next((line for line in read_text(path).split("\n") if line.strip() and not line.startswith("# ")), "")
    if re.match(r"\S+-\d+\t\(", first):
        return "gum"
    if re.match(r"\d+(-\d+)?\t", first):
        return "conllu"
    return "penn" if re.match(r"\s*\(\s*(\(|[A-Z]\S*\s*\()", first) else "plain"


def read_source(path: str | Path, split_file: str | Path | None = None) -> Corpus:
    """Reads a file, or all files of a folder of one kind, with the reader that its name or content asks for.

    Args:
        path: brackets (.mrg, .ptb), CoNLL-U (.conllu), GUM's table, or plain sentences; .gz and .xz of them.
        split_file: GUM's splits.md; without it a splits.md beside the table is taken.

    Raises:
        DataError: nothing there, an empty file, or a line that cannot be read; file and line are named.
    """
    path = Path(path).expanduser()
    files = [path]
    if path.is_dir():
        bare = {file: bare_suffix(file) for file in sorted(path.rglob("*"))}
        files = [file for file, suffix in bare.items() if suffix in KINDS]
        if not files or len({KINDS[bare[file]] for file in files}) > 1:
            raise DataError(f"{path} must hold treebank files of one kind ({', '.join(KINDS)}); name one file instead")
    sentences: list[Sentence] = []
    for file in files:
        kind = kind_of(file)
        beside = file.parent / "splits.md"
        splits = Path(split_file) if split_file else (beside if kind == "gum" and beside.is_file() else None)
        readers = {"penn": read_penn, "conllu": read_conllu, "plain": read_plain}
        sentences.extend(read_gum(file, splits) if kind == "gum" else readers[kind](file))
    if not sentences:
        raise DataError(f"{path} holds no sentence; give brackets, CoNLL-U, or one sentence a line")
    return Corpus("+".join(file.name for file in files[:4]), sha256_of(files), tuple(sentences))


def sha256_of(files: Iterable[Path]) -> str:
    """Of the unpacked content of the files, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(read_bytes(file))
    return digest.hexdigest()
