"""Imports a user's Python code by its target, reports its exceptions in two lines, and hashes it.

Three hashes identify code. *Sources*: the target's file, and the files of its folder, or below, that it imports at the top.
*Arrays*: the state dict of every `torch.nn.Module`, every tensor and every numpy array that is reachable from the globals,
closures, attributes, lists and dicts of that code. *Behaviour*: its vectors of a few sentences, which alone cover code that is
imported in a function or from another folder, and arrays inside objects of installed packages.

While a user's file is imported, the package `senteval` need not be installed: scripts in SentEval's style import it at the top, but
use it under their main guard only. A stub of it has every submodule and attribute, and raises ImportError when one is used.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import json
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from itertools import accumulate
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

from probing.errors import NO_MEMORY, EncoderError, ProbingError, did_you_mean, ends_job, first_line, out_of_memory

_NOT_THE_USERS = ("<", sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), str(Path(__file__).resolve().parents[1]))


@contextmanager
def reraise_user_errors(doing: str, kind: type[EncoderError] = EncoderError) -> Iterator[None]:
    """Turns an exception of the user's code into an error that names its file and line.

    Its `kind` is `EncoderError` while the code is loaded (a mistake of the user), `ForeignError` while it is used.
    """
    try:
        yield
    except (ProbingError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        if ends_job(error):
            raise
        frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        user_frames = [frame for frame in frames if not frame[0].startswith(_NOT_THE_USERS)]
        if isinstance(error, SyntaxError) and error.filename:
            user_frames = [(error.filename, error.lineno)]
        where = "{}, line {}: ".format(*user_frames[-1]) if user_frames else ""
        advice = f"; {NO_MEMORY}" if out_of_memory(error) else ""
        raise kind(f"{doing} failed:\n{where}{type(error).__name__}: {first_line(error)}{advice}") from error


@dataclass(frozen=True)
class Code:
    """The object `thing` that a target names: an attribute of a module, or with the name "" the module.

    Code in `folder` counts as the user's; None for a module without a file.
    """

    module: ModuleType
    attribute: str
    thing: Any
    folder: Path | None


_SOURCE = "__probing_source__"  # attribute of a module: the content of its file when it was imported
_imported: set[str] = set()  # modules of the user that were imported with the last target


def find(target: str, option: str = "encoder.target") -> Code:
    """The code of `my.module:make`, `folder/file.py:make`, or either without an attribute.

    The file's folder, or the current one, is put in front of `sys.path`, as Python does for a script. A file is run anew each
    time, from the bytes that are hashed, and so are modules of its folder that it imports; other modules stay as they are.
    Raises EncoderError for what does not exist, or cannot be imported.
    """
    place, _, attribute = target.rpartition(":") if ":" in target else (target, "", "")
    path = Path(place).expanduser().resolve() if place.endswith(".py") else None
    if path and not path.is_file():
        raise EncoderError(f"{option}={target}: no file {path}")
    for name in _imported:
        sys.modules.pop(name, None)
    home = path.parent if path else Path.cwd()
    sys.path[:] = [str(home), *(entry for entry in sys.path if entry != str(home))]
    before, finder, writes_none = set(sys.modules), _StubFinder(), sys.dont_write_bytecode
    sys.meta_path.append(finder)
    sys.dont_write_bytecode = True  # a .pyc is valid for any file of the same size and second: other code might run than is hashed
    try:
        with reraise_user_errors(f"{option}={target}: importing it"):
            module = thing = _run(path) if path else importlib.import_module(place)
            for part in attribute.split(".") if attribute else ():
                if not hasattr(thing, part):
                    public = sorted(name for name in vars(module) if not name.startswith("_"))
                    raise EncoderError(f"{option}={target}: {place} has no {part!r}{did_you_mean(part, public)}")
                thing = getattr(thing, part)
    finally:
        sys.dont_write_bytecode = writes_none
        sys.meta_path.remove(finder)
        for name in [name for name, module in sys.modules.items() if isinstance(module, _Stub)]:
            del sys.modules[name]
        new = set(sys.modules) - before
        _imported.clear()
        _imported.update(name for name in new if _is_users(getattr(sys.modules[name], "__file__", None), home))
    folder = None
    if file := getattr(module, "__file__", None):
        folder = Path(file).resolve().parents[0 if path else place.count(".") + (Path(file).name == "__init__.py")]
    return Code(module, attribute, thing, folder)


class _Stub(ModuleType):
    """A module of `senteval`, or a name in one."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # such names are looked up to find the kind of an object
            raise AttributeError(name)
        return _Stub(f"{self.__name__}.{name}")

    def __call__(self, *args: Any, **options: Any) -> Any:
        raise ImportError(
            f"{self.__name__} is used, and SentEval is not installed; probing needs prepare and batcher only: put the rest under "
            'if __name__ == "__main__":, or install SentEval',
            name="senteval",
        )

    __iter__ = __getitem__ = __len__ = __enter__ = __exit__ = __mro_entries__ = __call__


class _StubFinder(Loader):
    """Finder and loader of the stub, for the end of `sys.meta_path`: the package itself comes first."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        known = name == "senteval" or (name.startswith("senteval.") and isinstance(sys.modules.get("senteval"), _Stub))
        return ModuleSpec(name, self, is_package=True) if known else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Stub(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def _run(path: Path) -> ModuleType:
    """The module made by running the file."""
    content = path.read_bytes()
    spec = importlib.util.spec_from_file_location(f"_probing_{path.stem}", path)
    assert spec is not None  # for a file with the suffix .py there is one
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look there
    setattr(module, _SOURCE, content)
    exec(compile(content, str(path), "exec"), module.__dict__)
    return module


def sources(code: Code) -> dict[str, str]:
    """sha256 of the target's file, and of the files of its folder, or below, that it imports at the top; by name in that folder."""
    if code.folder is None:
        return {}
    hashes, todo, seen = {}, [code.module], set()
    while todo:
        module = todo.pop()
        path = Path(vars(module)["__file__"]).resolve()
        content = vars(module).setdefault(_SOURCE, path.read_bytes())
        hashes[path.relative_to(code.folder).as_posix()] = hashlib.sha256(content).hexdigest()
        for name in _imports(content, module.__package__) if path.suffix == ".py" else ():
            other = sys.modules.get(name)
            if other is not None and name not in seen and _is_users(getattr(other, "__file__", None), code.folder):
                todo.append(other)
                seen.add(name)
    return hashes


def _imports(content: bytes, package: str | None) -> Iterator[str]:
    """The full names in the import statements outside of functions; some are not modules but names in one."""
    todo: list[ast.AST] = [ast.parse(content)]
    while todo:
        node = todo.pop()
        names = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names = [f"{base}.{alias.name}" for alias in node.names]
        for name in names:
            yield from accumulate(name.split("."), "{}.{}".format)
        todo += ast.iter_child_nodes(node)


def _is_users(file: str | None, folder: Path | None) -> bool:
    return bool(file and folder and Path(file).resolve().is_relative_to(folder) and not file.startswith(_NOT_THE_USERS))


def arrays_sha256(thing: Any, code: Code) -> str:
    """One hash of all tensors and arrays that are reachable from the thing, with their names, types and shapes."""
    import torch

    digest = hashlib.sha256()
    for name, array in sorted(_arrays(thing, code), key=lambda pair: pair[0]):
        digest.update(json.dumps([name, str(array.dtype), list(array.shape)]).encode())
        if isinstance(array, torch.Tensor):
            array = array.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        digest.update(array.tobytes())
    return digest.hexdigest()


def _arrays(thing: Any, code: Code) -> Iterator[tuple[str, Any]]:
    import numpy as np
    import torch

    todo, seen = [("", thing)], {}
    while todo:
        name, value = todo.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value  # kept, so that its id is not given to another
        if isinstance(value, torch.nn.Module):
            todo += [(f"{name}.{key}", tensor) for key, tensor in value.state_dict().items()]
        elif isinstance(value, torch.Tensor) or (isinstance(value, np.ndarray) and value.dtype != object):
            yield name, value
        else:
            todo += [(f"{name}.{key}", part) for key, part in _parts(value, code.folder)]


def _parts(value: Any, folder: Path | None) -> list[tuple[Any, Any]]:
    """The named parts of a value that the user's code can reach through it."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if isinstance(value, MethodType):
        return [("self", value.__self__), ("function", value.__func__)]
    if isinstance(value, partial):
        return [("function", value.func), ("arguments", value.args), ("keywords", value.keywords)]
    if callable(value) and getattr(value, "__wrapped__", None) is not None:  # decorated, as by torch.no_grad() or a cache
        return [("wrapped", value.__wrapped__)]
    if isinstance(value, FunctionType):
        if not _is_users(value.__code__.co_filename, folder):
            return []
        closure = inspect.getclosurevars(value).nonlocals
        return [("globals", value.__globals__), ("closure", closure), ("defaults", [value.__defaults__, value.__kwdefaults__])]
    if isinstance(value, ModuleType):
        return list(vars(value).items()) if _is_users(getattr(value, "__file__", None), folder) else []
    if isinstance(value, type):
        return list(vars(value).items()) if _is_users(getattr(sys.modules.get(value.__module__), "__file__", None), folder) else []
    return [("class", type(value)), *getattr(value, "__dict__", {}).items()] if _parts(type(value), folder) else []
