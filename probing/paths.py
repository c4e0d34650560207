"""The data folders (inside the package in a wheel, one level up in a checkout), and paths as records name them."""

import os
import re
import tempfile
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parent
_ROOT = _PACKAGE if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent

OUT = Path("probing-out")
"""Where a run puts store, cells and tables unless run.dir names another folder."""

CONF = _ROOT / "conf"
TASKS = _ROOT / "tasks"
PUBLISHED = _PACKAGE / "published" if (_PACKAGE / "published").is_dir() else _PACKAGE.parent / "results" / "published"

_ABSOLUTE = re.compile(r"""(?<![^\s"'=:,;(\[{])/(?!/)[^\s"',;:)\]}]+""")
"""An absolute path, alone or inside a command; not the `//` of an address, and not the slash of `</s>` or `and/or`."""


def portable(value: Any) -> Any:
    """Return the value with all absolute paths in its texts shortened, so that a manifest means the same on another machine.

    A path inside the repository becomes relative to it; one inside the folder that PROBING_SHARED names, the temporary folder or
    the home folder begins with `$PROBING_SHARED`, `$TMPDIR` or `$HOME`; any other keeps its last part only.

    >>> portable({"command": "python scripts/results/flash.py /srv/corpora/sst --seeds 0", "sizes": [1, 2]})
    {'command': 'python scripts/results/flash.py …/sst --seeds 0', 'sizes': [1, 2]}
    """
    if isinstance(value, dict):
        return {portable(key): portable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [portable(item) for item in value]
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    return _ABSOLUTE.sub(_shortened, value) if isinstance(value, str) else value


def _shortened(match: re.Match[str]) -> str:
    path = match[0]
    for folder, name in _named_folders():
        if path.rstrip("/") == folder:
            return name or "."
        if path.startswith(folder + "/"):
            return "/".join(filter(None, (name, path.removeprefix(folder + "/"))))
    parts = path.strip("/").split("/")
    return f"…/{parts[-1]}" if len(parts) > 1 else path


def _named_folders() -> list[tuple[str, str]]:
    """Folders of this machine with the names that replace them; an inner folder before the one around it."""
    named = [
        ("" if _ROOT != _PACKAGE else "$SITE_PACKAGES/probing", _ROOT),
        ("$PROBING_SHARED", os.environ.get("PROBING_SHARED") or None),
        ("$HOME", Path.home()),
        ("$TMPDIR", tempfile.gettempdir()),
    ]
    spelled = {str(p): name for name, path in named if path for p in (Path(path), Path(path).resolve()) if p.is_absolute()}
    spelled.pop("/", None)
    return sorted(spelled.items(), key=lambda item: -len(item[0]))
