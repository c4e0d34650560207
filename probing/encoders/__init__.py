"""Frozen encoders. `load(name, **options)` builds one from its preset in `conf/encoder`, without Hydra."""

from __future__ import annotations

from typing import Any

from probing.config import build, names, read
from probing.encoders.base import Encoder
from probing.errors import ConfigError


def load(preset: Any, /, **options: Any) -> Encoder:
    """The encoder of a preset, with options of the preset replaced; or any encoder as `probing.encoders.given` reads it, with its
    `label`. ConfigError for options that are unknown or do not fit.

    >>> load("hf", name="bert-base-uncased").name
    'bert-base-uncased'
    """
    if isinstance(preset, str) and (preset in names("encoder") or options.keys() - {"label"}):
        encoder: Encoder = build({**read("encoder", preset), **options}, f"encoder {preset}")
        return encoder
    from probing.encoders.given import as_encoder

    if unknown := options.keys() - {"label"}:
        kind = type(preset).__name__
        raise ConfigError(f"load_encoder of a {kind}: unknown option {', '.join(sorted(unknown))} (options: label)")
    return as_encoder(preset, options.get("label"))
