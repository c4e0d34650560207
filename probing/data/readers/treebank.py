"""Reads a corpus: Penn brackets, CoNLL-U, GUM's table of trees, or plain sentences, plain or compressed (.gz, .xz).

`read_source` picks the reader by the file's name or its first line. Plain text is one sentence a line, blanks between tokens, for
the tasks that need no parse; a table is an error: a line with a tab, or a file with an ending of `TABLES`. Nothing is parsed or
tokenised.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from probing.data.readers.brackets import read_gum, read_penn
from probing.data.readers.dependencies import read_conllu
from probing.data.readers.files import read_bytes, read_text
from probing.data.readers.parsed import Corpus, Sentence
from probing.data.readers.senteval import is_row
from probing.errors import DataError

KINDS = {".mrg": "penn", ".ptb": "penn", ".penn": "penn", ".conllu": "conllu", ".conll": "conllu"}
TABLES = (".csv", ".tsv", ".json", ".jsonl")


def read_plain(path: Path) -> Iterator[Sentence]:
    """The sentences of a plain file, one a line, blanks between tokens; without tags and parse.

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
    """The ending of the file's name in lower case, without .gz and .xz."""
    return Path(path.name.removesuffix(".gz").removesuffix(".xz")).suffix.lower()


def kind_of(path: Path) -> str:
    """penn, gum, conllu or plain: by the ending of the name, else by the first line that is neither blank nor a comment."""
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
    """Read a file, or all files of a folder, which must be of one kind.

    Args:
        path: brackets (.mrg, .ptb), CoNLL-U (.conllu), GUM's table, or plain sentences; .gz and .xz of them.
        split_file: GUM's splits.md; None: the splits.md beside the table, if there is one.

    Raises:
        DataError: no file, an empty file, or a line that cannot be read; file and line are named.
    """
    path = Path(path).expanduser()
    files = [path]
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*")) if bare_suffix(file) in KINDS]
        if len({KINDS[bare_suffix(file)] for file in files}) != 1:
            raise DataError(f"{path} must hold treebank files of one kind ({', '.join(KINDS)}); name one file instead")
    sentences: list[Sentence] = []
    for file in files:
        if (kind := kind_of(file)) == "gum":
            beside = file.parent / "splits.md"
            sentences.extend(read_gum(file, Path(split_file) if split_file else beside if beside.is_file() else None))
        else:
            sentences.extend({"penn": read_penn, "conllu": read_conllu, "plain": read_plain}[kind](file))
    if not sentences:
        raise DataError(f"{path} holds no sentence; give brackets, CoNLL-U, or one sentence a line")
    digest = hashlib.sha256()
    for file in files:
        digest.update(read_bytes(file))
    return Corpus("+".join(file.name for file in files[:4]), digest.hexdigest(), tuple(sentences))
