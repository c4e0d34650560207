"""Whether a run is up to date: the same options, the same inputs and the same code as when it ended, so that nothing is loaded.

At its end a run records the state of every file that it read outside of its own folder and of Python's installation (data, weights,
code of the user), and of the folders of these files. The state is size, times of change of content and of the entry, and inode, as
`git status` uses it. A file that changed, is added or is gone, or another version of a package makes the next run read everything
again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from probing.files import replace_file
from probing.provenance import versions

CODE = Path(__file__).resolve().parents[1]
_CODE_SUFFIXES = (".py", ".pyc", ".so")

_opened: set[str] = set()
"""Files that this process opened, once `watch` was called."""


def watch() -> None:
    """Note every file that this process opens from now on."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
            _opened.add(os.path.abspath(os.fsdecode(arguments[0])))

    sys.addaudithook(hook)


def record(options: Mapping[str, Any], home: Path, folder: Path, cells: Iterable[Path], text: str) -> None:
    """Record that the run in `folder` with these cells is finished, and the text that the terminal showed."""
    made = tuple(str(home.resolve() / part) + os.sep for part in ("store", "cells", "runs", "hydra", "finished"))
    if matplotlib := sys.modules.get("matplotlib"):
        made += (matplotlib.get_cachedir() + os.sep,)  # its list of fonts, which it makes again where it is absent
    written = [path.resolve() for path in (*folder.iterdir(), *cells) if path.is_file()]
    read = [path for path in sorted(_opened) if _is_input(path) and not path.startswith(made)]
    folders = sorted({os.path.dirname(path) for path in read})  # a file that is added beside them may be another task
    entry = {"folder": str(folder), "text": text, "files": {path: _state(path) for path in [*read, *folders, *map(str, written)]}}
    replace_file(_place(options, home), json.dumps(entry, indent=1).encode())


def recall(options: Mapping[str, Any], home: Path) -> tuple[Path, str] | None:
    """The folder of the finished run of these options and the text that it showed; None if anything changed since."""
    try:
        entry = json.loads(_place(options, home).read_text(encoding="utf-8"))
        if all(_state(path) == state for path, state in entry["files"].items()):
            return Path(entry["folder"]), entry["text"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _place(options: Mapping[str, Any], home: Path) -> Path:
    """The file that says how the run of these options ended; its name covers options, folder, code and versions of packages."""
    run = {name: value for name, value in (options.get("run") or {}).items() if name != "force"}
    code = {str(path): _state(path) for path in sorted(CODE.rglob("*.py"))}
    variables = {name: value for name, value in os.environ.items() if name.startswith(("HF_", "PROBING_", "TRANSFORMERS_"))}
    variables.pop("PROBING_RUN_PID", None)
    whole = json.dumps([dict(options) | {"run": run}, os.getcwd(), code, versions(), variables], sort_keys=True, default=str)
    return home / "finished" / f"{hashlib.sha256(whole.encode()).hexdigest()[:20]}.json"


def _is_input(path: str) -> bool:
    installed = path.startswith((sys.prefix, sys.base_prefix)) and path.endswith(_CODE_SUFFIXES)
    return not installed and not path.startswith(("/proc/", "/sys/", "/dev/", str(CODE))) and os.path.isfile(path)


def _state(path: str | Path) -> list[int] | None:
    try:
        info = os.stat(path)
    except OSError:
        return None
    return [info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino]
