"""Encoders as people have them in Python: a preset's name, a folder or hub id, a loaded model with its tokenizer, a function."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from probing import config
from probing.encoders.base import Encoder
from probing.errors import ConfigError, did_you_mean

ALLOWED = (
    "allowed: a preset's name ('minilm'), a folder or hub id of a model, FILE.py:NAME, a pair (model, tokenizer) of transformers, "
    "a SentenceTransformer, ModuleStates, a function of n texts to an array (n, d) or {layer: array}, or an Encoder"
)
_METHODS = ("tokenize", "word_ids", "forward", "release", "random_twin")


def as_encoders(given: Any) -> list[Encoder]:
    """One encoder or many, as objects (`as_encoder`); a mapping gives their names in tables. None in a list: floors alone."""
    if isinstance(given, Mapping):
        return [as_encoder(one, str(label)) for label, one in given.items()]
    alone = isinstance(given, str | Path) or is_encoder(given) or is_pair(given) or callable(given) or hasattr(given, "__array__")
    return [as_encoder(one) for one in ([given] if alone or not isinstance(given, Iterable) else list(given))]


def as_encoder(given: Any, label: str | None = None, **reading: Any) -> Encoder:
    """The encoder that `given` is or names; `label`: its name in tables; `reading`: options of `options_of`.

    Raises:
        ConfigError: an object that is none, or a name near that of a preset.
        EncoderError: a model in memory that cannot be used.
    """
    if isinstance(given, str | Path):
        return _named(str(given), label)
    if is_encoder(given):
        return given if label in (None, given.name) else _labelled(given, str(label))
    if _is_sentence_transformer(given):
        from probing.encoders.hf.sentence_transformer import of_object

        return of_object(given, label, **reading)
    if is_pair(given):
        from probing.encoders.hf.huggingface import label_of
        from probing.encoders.hf.loaded import LoadedModel

        model, tokenizer = given
        return LoadedModel(label or label_of(model), loaded=model, loaded_tokenizer=tokenizer, label=label, **reading)
    if why := _refused(given):
        raise ConfigError(f"encoder: {why}; {ALLOWED}")
    from probing.encoders.user.objects import ObjectEncoder, name_of

    return ObjectEncoder(label or name_of(given), thing=given, label=label)


def options_of(given: Any) -> tuple[str, ...]:
    """The options that can be given with an object."""
    if not (is_pair(given) or _is_sentence_transformer(given)):
        return ("label",)
    from probing.encoders.hf.loaded import READING

    return ("label", *READING)


def is_encoder(given: Any) -> bool:
    """Whether an object has the methods of an `Encoder`; its properties, which may load a model, are not read."""
    return not isinstance(given, type) and all(callable(inspect.getattr_static(given, name, None)) for name in _METHODS)


def is_pair(given: Any) -> bool:
    """Whether it is a torch module with a tokenizer."""
    return (
        isinstance(given, tuple)
        and len(given) == 2
        and _is_module(given[0])
        and callable(getattr(given[1], "save_pretrained", None))
    )


def _is_module(given: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(given, torch.nn.Module)


def _is_sentence_transformer(given: Any) -> bool:
    return any(one.__module__.startswith("sentence_transformers") for one in type(given).__mro__)


def _named(name: str, label: str | None) -> Encoder:
    more = {} if label is None else {"label": label}
    presets = config.names("encoder")
    if name in presets:
        options = config.read("encoder", name)
        if needed := [key for key, value in options.items() if value == "???"]:
            raise ConfigError(
                f"encoder {name!r} needs {', '.join(needed)}: load_encoder({name!r}, {', '.join(f'{key}=…' for key in needed)})"
            )
        encoder: Encoder = config.build(options | more, f"encoder {name}")
        return encoder
    if name.endswith(".py") or ".py:" in name:
        preset, options = "python", {"target": name}
    else:
        plain = not Path(name).expanduser().is_dir() and "/" not in name
        if plain and (near := did_you_mean(name, presets)):
            raise ConfigError(f"unknown encoder {name!r}{near} (presets: {', '.join(presets)}; or a folder or hub id)")
        preset, options = "sentence-transformer" if _has_modules(name) else "hf", {"name": name}
    made: Encoder = config.build({**config.read("encoder", preset), **options, **more}, f"encoder {name}")
    return made


def _has_modules(name: str) -> bool:
    """Whether a folder or hub id, which is fetched, is a sentence-transformers model."""
    from probing.encoders.hf.folders import find

    folder = Path(name).expanduser()
    return ((folder if folder.is_dir() else find(name)) / "modules.json").is_file()


def _labelled(encoder: Any, label: str) -> Encoder:
    if not hasattr(encoder, "label"):
        raise ConfigError(
            f"encoder {encoder.name!r} has no option label, so it cannot be called {label!r}: set its name where it is made"
        )
    if hasattr(encoder, "_source"):  # whose `name` became the name in tables
        return replace(encoder, name=encoder._source, label=label)
    return replace(encoder, label=label)


def _refused(given: Any) -> str:
    """Why an object is no encoder; empty if it may be one."""
    kind = type(given).__name__
    if _is_module(given):
        if hasattr(given, "config"):
            return f"a {kind} alone has no tokenizer: give the pair (model, tokenizer)"
        return f"a {kind} alone has no tokenizer: give ModuleStates(module, tokenize, layers=[…])"
    members = [name for name in _METHODS if hasattr(given, name)]
    if len(members) > 2 and not isinstance(given, type):
        return f"a {kind} lacks {', '.join(name for name in _METHODS if name not in members)} of an Encoder"
    has_batcher = callable(getattr(given, "batcher", None))
    states = type(given).__name__ == "ModuleStates"
    return "" if callable(given) or has_batcher or states else f"{kind} was given"
