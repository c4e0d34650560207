"""Downloads the official files of tasks from a pinned commit; a file is kept only if its git blob id is the pinned one."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from probing.data.readers.files import find_file, read_bytes
from probing.errors import DataError
from probing.files import replace_file
from probing.log import bar, info


def git_blob_id(content: bytes) -> str:
    """Git's id of a file's content: sha1 of `blob <length>\\0` and the bytes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def fetch(cards: Sequence[Mapping[str, Any]], root: Path) -> None:
    """Download the file of every card into `root`, unless the verified file is there.

    Raises:
        DataError: no network, or a file whose content is not the pinned one; files verified before stay.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{root} cannot be made ({error.strerror}); choose another folder with --root") from None
    info(f"{len(cards)} files of the pinned commit into {root}, about 80 MB in all; licence: {cards[0]['licence']}")
    with bar("downloading", len(cards)) as advance:
        for card in cards:
            path = find_file(root, card["file"])
            if path is None or git_blob_id(read_bytes(path)) != card["git_blob"]:
                if path is not None and path.name != card["file"]:
                    raise DataError(f"{path} is not the official file (git blob id differs); move it away, or take another --root")
                _download(card, root / card["file"])
            advance(1)
    info(f"{len(cards)} files verified by git blob id")


def _download(card: Mapping[str, Any], path: Path) -> None:
    try:
        with urllib.request.urlopen(card["source"], timeout=60) as answer:
            content = answer.read()
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise DataError(
            f"{card['source']} cannot be reached ({getattr(error, 'reason', error)}).\nWithout a network, copy {card['file']} "
            f"from someone who has it into a folder (plain, .gz or .xz) and give data.root=FOLDER"
        ) from None
    if (blob := git_blob_id(content)) != card["git_blob"]:
        raise DataError(
            f"{card['source']}: the content has the git blob id {blob}, the official file {card['git_blob']}; nothing was kept"
        )
    try:
        replace_file(path, content)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}); choose another folder with --root") from None
