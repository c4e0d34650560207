"""Objects in memory as part of an encoder's key: hashes of weights and content; a copy of a module that shares its weights."""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
import json
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

from probing.errors import EncoderError

MOST = 200_000
"""Most objects that a hash of content reads; an object that reaches more must declare its `version`."""

_INSTALLED = ("<frozen", sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), str(Path(__file__).resolve().parents[1]))
_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_NO_EFFECT = (
    "_name_or_path name_or_path _commit_hash transformers_version architectures id2label label2id torch_dtype dtype use_cache "
    "return_dict output_hidden_states output_attentions is_local local_files_only truncation padding"
).split()
"""Entries of configs and of tokenizer files that change no state; the last two are what the last call left in a tokenizer.json."""


def shared_copy(module: torch.nn.Module) -> torch.nn.Module:
    """A copy of the module with its own submodules, attributes and buffers, whose parameters share the memory of the module's, so
    that eval mode, hooks and replaced parts of the copy leave the module as it is. EncoderError if it cannot be copied."""
    shared: dict[int, Any] = {
        id(value): torch.nn.Parameter(value.detach(), requires_grad=False)
        for value in module.parameters()
        if type(value) is torch.nn.Parameter
    }
    try:
        return copy.deepcopy(module, shared)
    except Exception as error:  # any code of a module's parts
        raise EncoderError(
            f"a {type(module).__name__} cannot be copied ({type(error).__name__}), so it is not probed: it would be changed"
        ) from None


def weights_sha256(module: torch.nn.Module) -> str:
    """One hash of parameters and buffers with their names, types and shapes, and of the module's structure as it is printed."""
    digest = hashlib.sha256(repr(module).encode())
    for name, tensor in sorted([*module.named_parameters(), *module.named_buffers()], key=lambda pair: pair[0]):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def config_of(config: Any) -> dict[str, Any]:
    """A transformers config as plain JSON, without the entries that change no state."""
    return json.loads(json.dumps(_effective(config.to_dict()), sort_keys=True, default=str))


def _effective(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _effective(part) for key, part in value.items() if key not in _NO_EFFECT}
    return [_effective(part) for part in value] if isinstance(value, list | tuple) else value


def tokenizer_files(folder: Path) -> dict[str, str]:
    """Hashes of the files of a tokenizer that was saved in `folder`, by name; of JSON without the entries without effect."""
    hashes = {}
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        if path.suffix == ".json":
            content = json.dumps(_effective(json.loads(content)), sort_keys=True).encode()
        hashes[path.name] = hashlib.sha256(content).hexdigest()
    return hashes


def content_sha256(thing: Any) -> str:
    """One hash of an object: code of its functions and classes (of installed packages their names), what they read of globals and
    closures, arrays, weights and attributes. An object with an attribute `version` is hashed by its name and version alone.

    Raises:
        EncoderError: it reaches more than `MOST` objects.
    """
    version = getattr(thing, "version", None)
    if isinstance(version, str | int | float) and not isinstance(thing, type):
        return hashlib.sha256(json.dumps([_name(thing), version]).encode()).hexdigest()
    digest, todo, seen = hashlib.sha256(), [("", thing)], dict[int, Any]()
    while todo:
        name, value = todo.pop()
        if not isinstance(value, _PLAIN):
            if id(value) in seen:
                continue
            seen[id(value)] = value  # kept, so that its id is not given to another
        if len(seen) > MOST:
            raise EncoderError(
                f"{_name(thing)} reaches more than {MOST} objects, too many to tell it from another: give it an attribute `version`"
            )
        head, parts = _content(value)
        digest.update(json.dumps([name, head]).encode())
        todo += [(f"{name}.{key}", part) for key, part in parts]
    return digest.hexdigest()


def _content(value: Any) -> tuple[str, Iterable[tuple[Any, Any]]]:
    """What an object is, as text, and its parts by name, in an order that does not depend on the run."""
    if isinstance(value, _PLAIN):
        return repr(value), ()
    if isinstance(value, torch.nn.Module):
        return weights_sha256(value), ()
    if isinstance(value, torch.Tensor):
        return f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(_bytes(value)).hexdigest()}", ()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}", ()
    if isinstance(value, Mapping):
        return "mapping", sorted(((repr(key) if isinstance(key, _PLAIN) else "", part) for key, part in value.items()), key=_first)
    if isinstance(value, list | tuple):
        return type(value).__name__, enumerate(value)
    if isinstance(value, set | frozenset):
        return "set " + " ".join(sorted(map(repr, (part for part in value if isinstance(part, _PLAIN))))), ()
    if isinstance(value, MethodType):
        return "method", [("self", value.__self__), ("function", value.__func__)]
    if isinstance(value, functools.partial):
        return "partial", [("function", value.func), ("arguments", value.args), ("keywords", value.keywords)]
    if isinstance(value, FunctionType):
        return _function(value)
    if isinstance(value, ModuleType | BuiltinFunctionType) or (isinstance(value, type) and _installed(value)):
        return f"{_name(value)} {getattr(value, '__version__', '')}", ()
    if isinstance(value, type):
        return _name(value), [*enumerate(value.__bases__), *sorted((k, v) for k, v in vars(value).items() if _is_code(v))]
    if isinstance(value, property | staticmethod | classmethod):
        return "", [("function", getattr(value, "fget", None) or getattr(value, "__func__", None))]
    return _object(value)


def _function(value: FunctionType) -> tuple[str, Iterable[tuple[Any, Any]]]:
    if _installed(value):
        return _name(value), ()
    reads = inspect.getclosurevars(value)
    parts = {"defaults": value.__defaults__, "keywords": value.__kwdefaults__, **reads.nonlocals, **reads.globals}
    return _source(value), sorted(parts.items())


def _object(value: Any) -> tuple[str, Iterable[tuple[Any, Any]]]:
    if hasattr(value, "convert_ids_to_tokens") and hasattr(value, "save_pretrained"):  # a tokenizer: its state changes with use
        with tempfile.TemporaryDirectory() as folder:
            value.save_pretrained(folder)
            return json.dumps(tokenizer_files(Path(folder)), sort_keys=True), ()
    wrapped = getattr(value, "__wrapped__", None)  # a function with a cache
    parts: list[tuple[Any, Any]] = [("class", type(value))] if wrapped is None else [("wrapped", wrapped)]
    try:
        state = value.__getstate__()
    except Exception:  # of a lock, a file or a generator
        state = None
    return _name(type(value)), [*parts, ("state", state)]


def _is_code(value: Any) -> bool:
    return isinstance(value, FunctionType | property | staticmethod | classmethod | int | float | str) or callable(value)


def _source(value: FunctionType) -> str:
    """The source of a function; its bytecode where there is no source."""
    try:
        return inspect.getsource(value)
    except (OSError, TypeError):
        code = value.__code__
        return f"{code.co_code.hex()} {code.co_names} {_constants(code)}"


def _constants(code: Any) -> str:
    return " ".join(
        f"{part.co_code.hex()} {_constants(part)}" if hasattr(part, "co_code") else repr(part) for part in code.co_consts
    )


def _installed(value: Any) -> bool:
    """Whether the code of a function or class is of an installed package, the standard library or this one."""
    if isinstance(value, FunctionType):
        file = value.__code__.co_filename
    else:
        module = sys.modules.get(value.__module__)
        file = getattr(module, "__file__", None) or ("" if value.__module__ == "__main__" else "<frozen")
    return file.startswith(_INSTALLED)


def _name(value: Any) -> str:
    kind = value if hasattr(value, "__qualname__") or isinstance(value, ModuleType) else type(value)
    return f"{getattr(kind, '__module__', None) or ''}.{getattr(kind, '__qualname__', None) or getattr(kind, '__name__', '')}"


def _first(pair: tuple[str, Any]) -> str:
    return pair[0]
