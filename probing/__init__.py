"""What a text encoder knows, layer by layer: probing tasks on frozen encoders.

>>> from probing import Store, evaluate, load_encoder, load_task

Names are loaded when they are first used, so that `import probing` costs nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
_PUBLIC = {
    "load_task": ("probing.data.loading", "load"),
    "load_encoder": ("probing.encoders", "load"),
    "load_probe": ("probing.probes", "load"),
    "Store": ("probing.store.vectors", "Store"),
    "evaluate": ("probing.evaluation.evaluate", "evaluate"),
    "flash": ("probing.evaluation.adaptive", "flash"),
    "ModuleStates": ("probing.encoders.user.modules", "ModuleStates"),
    "ResultTable": ("probing.evaluation.table", "ResultTable"),
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        module, attribute = _PUBLIC[name]
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module 'probing' has no attribute {name!r}")
