"""Reads bytes, text, lines or JSON from a path; every reader of a format goes through this module.

Text is UTF-8, plain, .gz or .xz. A byte order mark at the head of a file is dropped; at the head of a later line it is an error,
since files were joined there. A file in UTF-16 or UTF-32, an archive or another binary file raises an error that names its kind. A
line ends at LF or CRLF, and in a file without any LF at CR; any other CR is a blank within its line, and U+2028 and the like are
characters.
"""

from __future__ import annotations

import gzip
import importlib
import io
import json
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from probing.errors import DataError, EncoderError, ProbingError

MARK = b"\xef\xbb\xbf"
"""The byte order mark of UTF-8: U+FEFF."""
SUFFIXES = ("", ".gz", ".xz")
"""Endings of file names that are unpacked while reading, after the ending of the format; none for a plain file."""

_OPEN: Mapping[str, Callable[..., Any]] = {"": open, ".gz": gzip.open, ".xz": lzma.open}
_UNREADABLE = (OSError, EOFError, lzma.LZMAError, zlib.error)
_UNPACK = "unpack it and give the text file that is in it"
_CONVERT = "text in {0}, not in UTF-8; convert it: iconv -f {0} -t UTF-8 FILE > NEW".format
_KINDS = {
    rb"\xff\xfe\x00\x00|\x00\x00\xfe\xff": _CONVERT("UTF-32"),
    rb"\xff\xfe|\xfe\xff": _CONVERT("UTF-16"),
    rb"[^\0]\0[^\0]\0": _CONVERT("UTF-16LE"),
    rb"\0[^\0]\0[^\0]": _CONVERT("UTF-16BE"),
    rb"[^\0]\0\0\0[^\0]\0\0\0": _CONVERT("UTF-32LE"),
    rb"\0\0\0[^\0]\0\0\0[^\0]": _CONVERT("UTF-32BE"),
    rb"PK\x03\x04": f"a zip archive; {_UNPACK}",
    rb"\x1f\x8b\x08": "a file packed by gzip; give its name the ending .gz, or unpack it",
    rb"\xfd7zXZ\x00": "a file packed by xz; give its name the ending .xz, or unpack it",
    rb"BZh[1-9]1AY&SY": f"a file packed by bzip2; {_UNPACK}",
    rb"\x28\xb5\x2f\xfd": f"a file packed by zstd; {_UNPACK}",
    rb"7z\xbc\xaf\x27\x1c": f"a 7z archive; {_UNPACK}",
    rb"Rar!\x1a\x07": f"a rar archive; {_UNPACK}",
    rb"%PDF-\d": "a PDF; extract its text",
    rb"version https://git-lfs": "a pointer of Git LFS, not the file itself; fetch that with git lfs pull",
    rb"\x89HDF\r\n": "HDF5, not text",
    rb"\x93NUMPY": "an array of numpy, not text",
}


def bare_name(path: Path) -> str:
    """The file's name without .gz and .xz."""
    return path.name.removesuffix(".gz").removesuffix(".xz")


def bare_suffix(path: Path) -> str:
    """The ending of the file's name in lower case, without .gz and .xz."""
    return Path(bare_name(path)).suffix.lower()


def find_file(root: Path, name: str) -> Path | None:
    """The file `name` in `root`, plain or compressed (.gz, .xz), or None.

    Raises:
        DataError: there is more than one copy of it.
    """
    copies = [path for suffix in SUFFIXES if (path := root / f"{name}{suffix}").is_file()]
    if len(copies) > 1:
        names = " and ".join(path.name for path in copies)
        raise DataError(f"{root} holds {names}: keep one of them, so that it is clear which one is read")
    return copies[0] if copies else None


def read_bytes(path: Path, error: type[ProbingError] = DataError) -> bytes:
    """The file's content, unpacked.

    Raises:
        error: the file is missing, a folder, unreadable, cut short, or not packed as its suffix says.
    """
    try:
        with _opened(path) as file:
            return file.read()
    except _UNREADABLE as problem:
        raise error(_unreadable(path, problem)) from None


def read_text(path: Path, error: type[ProbingError] = DataError) -> str:
    r"""The file's text, lines ended by "\n".

    Raises:
        error: see `read_bytes` and `decoded`.
    """
    return decoded(read_bytes(path, error), path, error)


def text_lines(path: Path, error: type[ProbingError] = DataError) -> list[str]:
    r"""The lines of the file's text, which "\n" alone parts: U+2028 and other breaks of `str.splitlines` stand inside a line.

    Raises:
        error: see `read_bytes` and `decoded`.
    """
    lines = read_text(path, error).split("\n")
    return lines if lines[-1] else lines[:-1]


def decoded(content: bytes, where: object, error: type[ProbingError] = DataError) -> str:
    r"""The text of a file's bytes, lines ended by "\n"; `where` names the file in error messages.

    Raises:
        error: it is not UTF-8 (the byte is named), another kind of file, or has a byte order mark at the head of a later line.
    """
    lines = list(_lines(io.BufferedReader(io.BytesIO(content)), where, error))
    for number, line in enumerate(lines, start=1):
        if line.startswith(MARK):
            raise error(
                f"{where}, line {number}: it begins with a byte order mark (U+FEFF), as where files were joined; look whether "
                "this line is a second header, and take the mark out, e.g. with sed 's/^\\xEF\\xBB\\xBF//'"
            )
        if b"\t" + MARK in line:
            raise error(
                f"{where}, line {number}: a column begins with a byte order mark (U+FEFF), as where files were pasted side by "
                "side; take the marks out, e.g. with sed 's/\\xEF\\xBB\\xBF//g'"
            )
    try:
        content.decode()
    except UnicodeDecodeError as problem:
        number = content.count(b"\n", 0, problem.start) + 1
        raise error(
            f"{where} is not UTF-8: byte {problem.start}, in line {number} ({problem.reason}); convert it, e.g. with iconv"
        ) from None
    return b"".join(lines).decode()


def read_lines(path: Path, error: type[ProbingError] = DataError) -> Iterator[bytes]:
    r"""The lines of a long text file one by one, not decoded; each ends with b"\n", except perhaps the last.

    Raises:
        error: see `read_bytes`; or another kind of file than text in UTF-8.
    """
    try:
        with _opened(path) as file:
            yield from _lines(file, path, error)
    except _UNREADABLE as problem:
        if isinstance(problem, OSError) and problem.errno:
            raise error(_unreadable(path, problem)) from None
        raise error(f"{path}: cannot be read, it may be cut short: {problem}; fetch it again") from None


def read_json(path: Path, what: str, hint: str) -> Any:
    """The content of a JSON file that an encoder needs; `what` names its option, `hint` says what to give.

    Raises:
        EncoderError: there is no such file, it cannot be read, or it is not JSON.
    """
    require_file(path, what, hint)
    try:
        return json.loads(read_text(path, EncoderError))
    except (EncoderError, ValueError, RecursionError) as problem:
        raise EncoderError(f"{what} is not JSON ({problem}); {hint}") from None


def require_file(path: Path, what: str, hint: str = "") -> None:
    """Check that an encoder's file can be opened; `what` names its option, `hint` says what to give.

    Raises:
        EncoderError: it is missing, a folder, or closed to this user.
    """
    hint = hint and f"; {hint}"
    if os.path.isdir(path):
        raise EncoderError(f"{what} is a folder, and a file is needed{hint}")
    if not os.path.isfile(path):
        raise EncoderError(f"{what}: no such file{hint}")
    if not os.access(path, os.R_OK):
        raise EncoderError(f"{what} may not be read by this user: change its permissions")


def library(name: str) -> Any:
    """Import nltk or conllu, which only the readers of brackets and CoNLL-U need.

    Raises:
        ProbingError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ProbingError(f"reading this file needs the package {name}: pip install 'probing-bench[treebank]'") from None


def kind_of_file(head: bytes) -> str:
    """A file's kind and what to do, by its first bytes; empty for text in UTF-8 and unknown kinds.

    >>> kind_of_file(b"BZh91AY&SY")
    'a file packed by bzip2; unpack it and give the text file that is in it'
    """
    return next((kind for magic, kind in _KINDS.items() if re.match(magic, head)), "")


def _opened(path: Path) -> Any:
    return _OPEN[path.suffix if path.suffix in SUFFIXES else ""](path, "rb")


def _unreadable(path: Path, problem: Exception) -> str:
    if isinstance(problem, FileNotFoundError):
        return f"no file {path}: it cannot be read"
    reason = getattr(problem, "strerror", None) or problem
    hint = "" if isinstance(problem, OSError) and problem.errno else "; it may be cut short, fetch it again"
    return f"{path} cannot be read: {reason}{hint}"


def _lines(file: Any, where: object, error: type[ProbingError]) -> Iterator[bytes]:
    if kind := kind_of_file(file.peek(16)):
        raise error(f"{where} is {kind}")
    for number, line in enumerate(file):
        if number == 0:
            while line.startswith(MARK):
                line = line[len(MARK) :]
            if not line.endswith(b"\n"):  # the whole file: there is no LF
                yield from line.replace(b"\r", b"\n").splitlines(keepends=True)
                return
        end = b"\n" if line.endswith((b"\n", b"\r")) else b""
        yield line.rstrip(b"\r\n") + end
