"""Frozen encoders. `load(name, **options)` builds one from its preset in `conf/encoder`, without Hydra."""

from __future__ import annotations

from typing import Any

from probing.config import build, read
from probing.encoders.base import Encoder


def load(preset: str, /, **options: Any) -> Encoder:
    """The encoder of a preset (`probing list encoders`), with options of the preset replaced.

    >>> load("hf", name="bert-base-uncased").name
    'bert-base-uncased'

    Raises:
        ConfigError: unknown preset or option, or an option of the wrong type.
    """
    encoder: Encoder = build({**read("encoder", preset), **options}, f"encoder {preset}")
    return encoder
