"""What a text encoder knows, layer by layer: probing tasks on frozen encoders.

>>> from probing import Store, evaluate, load_encoder, load_task

Names are loaded when they are first used, so that `import probing` costs nothing.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probing.data.loading import load as load_task
    from probing.data.task import Task
    from probing.encoders import load as load_encoder
    from probing.encoders.user.modules import ModuleStates
    from probing.evaluation.adaptive import flash
    from probing.evaluation.directions import directions
    from probing.evaluation.evaluate import evaluate
    from probing.evaluation.register import register_control, register_floor, register_metric, register_pooling
    from probing.evaluation.table import ResultTable
    from probing.evaluation.transfer import transfer
    from probing.evaluation.transferred import Transfer
    from probing.probes import load as load_probe
    from probing.probes.logistic_cv import LogisticPathCV
    from probing.store.vectors import Store

__version__ = "0.1.0"
__all__ = [
    "LogisticPathCV", "ModuleStates", "ResultTable", "Store", "Task", "Transfer", "directions", "evaluate", "flash",
    "load_encoder", "load_probe", "load_task", "register_control", "register_floor", "register_metric", "register_pooling",
    "transfer",
]  # fmt: skip

_PUBLIC = {
    "load_task": ("probing.data.loading", "load"),
    "load_encoder": ("probing.encoders", "load"),
    "load_probe": ("probing.probes", "load"),
    "Store": ("probing.store.vectors", "Store"),
    "evaluate": ("probing.evaluation.evaluate", "evaluate"),
    "flash": ("probing.evaluation.adaptive", "flash"),
    "transfer": ("probing.evaluation.transfer", "transfer"),
    "Transfer": ("probing.evaluation.transferred", "Transfer"),
    "directions": ("probing.evaluation.directions", "directions"),
    "ModuleStates": ("probing.encoders.user.modules", "ModuleStates"),
    "ResultTable": ("probing.evaluation.table", "ResultTable"),
    "Task": ("probing.data.task", "Task"),
    "LogisticPathCV": ("probing.probes.logistic_cv", "LogisticPathCV"),
    **{
        f"register_{kind}": ("probing.evaluation.register", f"register_{kind}")
        for kind in ("control", "floor", "metric", "pooling")
    },
}

if not TYPE_CHECKING:  # a type checker would take any name

    def __getattr__(name: str) -> Any:
        if name in _PUBLIC:
            module, attribute = _PUBLIC[name]
            return getattr(import_module(module), attribute)
        raise AttributeError(f"module 'probing' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def _other_owner() -> str | None:
    """One sentence on a distribution `probing` in a folder of `sys.path`, and what to do about it; None if there is none.

    The package index has a tool of that name; where both are installed, each overwrites files of the other. A distribution
    counts if its record lists `probing/__init__.py`: an editable installation has no files of the package.
    """
    for place in sys.path:
        for name in _names_beside(os.path.join(place, "probing")):
            if name.startswith("probing-") and name.endswith(".dist-info") and _has_package(os.path.join(place, name)):
                version = name.removeprefix("probing-").removesuffix(".dist-info")
                mixed = os.path.realpath(os.path.join(place, "probing")) == os.path.dirname(os.path.realpath(__file__))
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


if _message := _other_owner():
    import logging

    logging.getLogger("probing").warning(_message)
