"""Another distribution that owns the import `probing`: the package index has a tool of that name.

Where both are installed each overwrites files of the other, whatever the order. The search lists only those folders of `sys.path`
that have a package `probing`, and imports nothing.
"""

import os
import sys

_PACKAGE = os.path.dirname(os.path.realpath(__file__))


def other_owner() -> str | None:
    """One sentence on a distribution `probing` in a folder of `sys.path` and what to do about it; None if there is none.

    A distribution counts if its record lists `probing/__init__.py`: an editable installation has no files of the package.
    """
    for place in sys.path:
        for name in _names_beside(os.path.join(place, "probing")):
            if name.startswith("probing-") and name.endswith(".dist-info") and _has_package(os.path.join(place, name)):
                version = name.removeprefix("probing-").removesuffix(".dist-info")
                mixed = os.path.realpath(os.path.join(place, "probing")) == _PACKAGE
                return (
                    f"probing: {place} has the distribution probing {version}, another tool than this one (probing-bench), "
                    + ("and its files are mixed with ours" if mixed else "and either may be imported")
                    + ": pip uninstall probing"
                    + ("; pip install --force-reinstall --no-deps probing-bench" if mixed else "")
                )
    return None


def _names_beside(package: str) -> list[str]:
    try:
        return os.listdir(os.path.dirname(package) or ".") if os.path.isfile(os.path.join(package, "__init__.py")) else []
    except OSError:
        return []


def _has_package(info: str) -> bool:
    try:
        with open(os.path.join(info, "RECORD"), encoding="utf-8") as lines:
            return any(line.startswith("probing/__init__.py,") for line in lines)
    except OSError:
        return False
