"""Where the data folders are: beside this package in a wheel, one level up in a checkout."""

from pathlib import Path

_here = Path(__file__).resolve().parent
_root = _here if (_here / "conf").is_dir() else _here.parent

CONF = _root / "conf"
TASKS = _root / "tasks"
PUBLISHED = _here / "published" if (_here / "published").is_dir() else _here.parent / "results" / "published"
