"""A stub of the package `senteval`: scripts in SentEval's style import it at the top, but use it under their main guard only.

While a user's file is imported and the package is not installed, `import senteval`, its submodules and names from them succeed. The
stub has every attribute, and raises ImportError when it is called, iterated or subclassed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGE = "senteval"


@contextmanager
def senteval_stub() -> Iterator[None]:
    """Makes the stub importable while the block runs, unless the package itself can be imported."""
    finder = _Finder()
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name, module in sys.modules.items() if isinstance(module, _Module)]:
            del sys.modules[name]


class _Finder(Loader):
    """Finder and loader of the import system."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name == PACKAGE or (name.startswith(f"{PACKAGE}.") and isinstance(sys.modules.get(PACKAGE), _Module)):
            return ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        return _attribute(self.__name__, name)


class _NotInstalled:
    """A name of the package."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return _attribute(self._name, name)

    def __call__(self, *args: Any, **options: Any) -> Any:
        raise ImportError(
            f"{self._name} is used, and SentEval is not installed; probing needs prepare and batcher only: put the rest under "
            'if __name__ == "__main__":, or install SentEval',
            name=PACKAGE,
        )

    __iter__ = __getitem__ = __len__ = __enter__ = __exit__ = __mro_entries__ = __call__


def _attribute(of: str, name: str) -> _NotInstalled:
    if name.startswith("__"):  # such names are looked up to find the kind of an object
        raise AttributeError(name)
    return _NotInstalled(f"{of}.{name}")
