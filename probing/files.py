"""Files that are whole or absent, some with a checksum; hashes and errors of files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from probing.errors import ConfigError, StoreError
from probing.log import info


def process() -> str:
    """Return a name that no other running process has, on this machine or another."""
    return f"{socket.gethostname()}-{os.getpid()}"


def writer() -> str:
    """Return a name that no other running thread has, of this process or another."""
    return f"{process()}.{threading.get_ident()}"


@contextmanager
def atomic(path: Path, clear: bool = False) -> Iterator[Path]:
    """Yield a temporary name beside `path`, for a file or a folder; rename it to `path` at the end, remove it after an exception.

    Args:
        clear: also remove the temporary files that killed writers of the same file left. If a writer that shares no lock with this
            one has removed its temporary file, the other writer's `path` stays: it has the same content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{writer()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except FileNotFoundError:
        if not (clear and path.exists()):
            raise
    finally:
        remove(temporary)
    for left in path.parent.glob(f".{path.name}.*.tmp") if clear else ():
        remove(left)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it exists."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file that is whole or absent."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def page_file(given: str) -> Path:
    """The file that `html=…` names; ConfigError for what names none (a folder, nothing), before any work."""
    try:
        path = Path(given).expanduser()
        free = path.name not in ("", "..") and not path.is_dir() and "\0" not in given
    except (OSError, RuntimeError, ValueError):  # a name too long, ~ of nobody, a zero byte
        free = False
    if not free:
        why = "is a folder" if given and "\0" not in given and Path(given).is_dir() else "names no file"
        raise ConfigError(f"html={given!r} {why}: give the name of a file, such as html=words.html")
    return path


def write_page(given: str, page: str) -> None:
    """Write the page that `html=…` names, and log where it is; ConfigError where it cannot be written."""
    path = page_file(given)
    try:
        replace_file(path, page.encode())
    except OSError as error:
        raise ConfigError(f"html={given!r} cannot be written ({error.strerror}): name a file in another folder") from None
    info(f"{path}: the page")


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file, and the position of its data.

    The format: 8 bytes little-endian header length, a JSON header with `dtype`, `shape`, `data_offsets`, then the data.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(length)), 8 + length


def sealed(record: Mapping[str, Any]) -> bytes:
    """Return a record as JSON whose first entry is the sha256 of all bytes after it."""
    body = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)[1:].encode()
    return _seal(body) + body


def read_sealed(path: Path) -> dict[str, Any] | None:
    """Read the record of a sealed file; None if it is missing, or any byte has changed."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    body = content[len(_seal(b"")) :]
    if content != _seal(body) + body:
        return None
    record = json.loads(content)
    del record["sha256"]
    return record


def _seal(body: bytes) -> bytes:
    return f'{{\n "sha256": "{hashlib.sha256(body).hexdigest()}",'.encode()


@contextmanager
def os_errors_as_store_error(folder: Path) -> Iterator[None]:
    """Convert OS errors (disk full, no permission, read-only) to a `StoreError` with advice."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            why = f"the disk of {folder} is full; free some space, then run the same command again: finished work is kept"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            why = f"{folder} cannot be written ({error.strerror}); choose another folder with run.dir=… or run.store=…"
        elif error.errno in (errno.ENOTDIR, errno.EEXIST):
            why = f"{folder} cannot be made: a file of that name is in the way; choose another folder with run.dir=… or run.store=…"
        else:
            raise
        raise StoreError(why) from None
