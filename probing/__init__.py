"""What a text encoder knows, layer by layer: probing tasks on frozen encoders.

>>> from probing import Store, evaluate, load_encoder, load_task

Names are loaded when they are first used, so that `import probing` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from probing.owner import other_owner

if TYPE_CHECKING:
    from probing.data.loading import load as load_task
    from probing.data.task import Task
    from probing.encoders import load as load_encoder
    from probing.encoders.user.modules import ModuleStates
    from probing.evaluation.adaptive import flash
    from probing.evaluation.evaluate import evaluate
    from probing.evaluation.register import register_control, register_floor, register_metric, register_pooling
    from probing.evaluation.table import ResultTable
    from probing.probes import load as load_probe
    from probing.probes.logistic_cv import LogisticPathCV
    from probing.store.vectors import Store

__version__ = "0.1.0"
__all__ = [
    "LogisticPathCV", "ModuleStates", "ResultTable", "Store", "Task", "evaluate", "flash", "load_encoder", "load_probe",
    "load_task", "register_control", "register_floor", "register_metric", "register_pooling",
]  # fmt: skip

_PUBLIC = {
    "load_task": ("probing.data.loading", "load"),
    "load_encoder": ("probing.encoders", "load"),
    "load_probe": ("probing.probes", "load"),
    "Store": ("probing.store.vectors", "Store"),
    "evaluate": ("probing.evaluation.evaluate", "evaluate"),
    "flash": ("probing.evaluation.adaptive", "flash"),
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


if _message := other_owner():
    import logging

    logging.getLogger("probing").warning(_message)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
