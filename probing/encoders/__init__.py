"""Frozen encoders. `load(name, **options)` builds one from its preset in `conf/encoder`, without Hydra."""

from __future__ import annotations

from typing import Any

from probing.config import build, read
from probing.encoders.base import Encoder


def load(preset: str, /, **options: Any) -> Encoder:
    """The encoder of a preset, with options of the preset replaced; raises ConfigError for those that are unknown or do not fit.

    >>> load("hf", name="bert-base-uncased").name
    'bert-base-uncased'
    """
    encoder: Encoder = build({**read("encoder", preset), **options}, f"encoder {preset}")
    return encoder
