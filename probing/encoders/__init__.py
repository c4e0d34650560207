"""Frozen encoders. `load(name, **options)` builds one from its preset in `conf/encoder`, without Hydra."""

from __future__ import annotations

from typing import Any

from probing.encoders.base import Encoder
from probing.presets import build, read


def load(name: str, **options: Any) -> Encoder:
    """The encoder of the preset `name` (`probing list encoders`), with options of the preset replaced.

    >>> load("hf", name="bert-base-uncased").name
    'bert-base-uncased'

    Raises:
        ConfigError: unknown preset or option, or an option of the wrong type.
    """
    return build({**read("encoder", name), **options}, f"encoder {name}")
