"""Frozen encoders. `load(name, **options)` builds one from its preset in `conf/encoder`, without Hydra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from probing.config import build, names, read
from probing.encoders.base import Encoder
from probing.errors import ConfigError

_PLAIN = (str, bool, int, float, list, tuple, dict, Path, type(None))


def load(preset: Any, /, **options: Any) -> Encoder:
    """The encoder of a preset, with options of the preset replaced; or any encoder as `probing.encoders.given` reads it, with its
    `label`; a model in memory also with options of how it reads a sentence (`prompt`, `chat`, `max_length`, …). ConfigError for
    options that are unknown or do not fit.

    Examples:
        >>> from probing import load_encoder
        >>> load_encoder("hf", name="bert-base-uncased").name
        'bert-base-uncased'
    """
    if objects := [name for name, value in options.items() if not isinstance(value, _PLAIN)]:
        raise ConfigError(
            f"load_encoder: {objects[0]} is a {type(options[objects[0]]).__name__}, but an option is text, a number or a list; "
            "a model in memory: load_encoder((model, tokenizer))"
        )
    if isinstance(preset, str) and (preset in names("encoder") or options.keys() - {"label"}):
        encoder: Encoder = build({**read("encoder", preset), **options}, f"encoder {preset}")
        return encoder
    from probing.encoders.given import as_encoder, options_of

    if unknown := options.keys() - set(allowed := options_of(preset)):
        kind = type(preset).__name__
        raise ConfigError(f"load_encoder of a {kind}: unknown option {', '.join(sorted(unknown))} (options: {', '.join(allowed)})")
    return as_encoder(preset, **options)
