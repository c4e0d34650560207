"""Downloads a task's official file from its pinned commit and verifies it by git blob id before it is kept."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from probing.errors import DataError
from probing.progress import bar, say


def git_blob_id(content: bytes) -> str:
    """Git's name for a file's content: sha1 of `blob <length>\\0` and the bytes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def fetch(cards: Sequence[Mapping[str, Any]], root: Path) -> None:
    """Every card's file into `root`; files that are there and verified are left alone.

    Raises:
        DataError: no network, or a file whose content is not the pinned one; what was verified before stays.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{root} cannot be made ({error.strerror}); choose another folder with --root") from None
    say(f"{len(cards)} files of the pinned commit into {root}, about 80 MB in all; licence: {cards[0]['licence']}")
    with bar("downloading", len(cards)) as advance:
        for card in cards:
            path = root / card["file"]
            if not (path.is_file() and git_blob_id(path.read_bytes()) == card["git_blob"]):
                _download(card, path)
            advance(1)
    say(f"{len(cards)} files verified by git blob id")


def _download(card: Mapping[str, Any], path: Path) -> None:
    try:
        with urllib.request.urlopen(card["source"], timeout=60) as answer:
            content = answer.read()
    except (urllib.error.URLError, OSError) as error:
        raise DataError(
            f"{card['source']} cannot be reached ({getattr(error, 'reason', error)}).\nWithout a network, copy {card['file']} "
            f"from someone who has it into a folder (plain, .gz or .xz) and give data.root=FOLDER"
        ) from None
    if (found := git_blob_id(content)) != card["git_blob"]:
        raise DataError(
            f"{card['source']}: the content has the git blob id {found}, the official file {card['git_blob']}; nothing was kept"
        )
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(content)
    os.replace(temporary, path)
