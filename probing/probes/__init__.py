"""Light classifiers on frozen features. `load(name, **options)` builds a protocol from its preset in `conf/probe`."""

from __future__ import annotations

from typing import Any

from probing.presets import build, read
from probing.probes.protocols import ProbeProtocol


def load(name: str, **options: Any) -> ProbeProtocol:
    """The protocol of the preset `name` (`probing list probes`), with options replaced.

    Raises:
        ConfigError: unknown preset or option, or an option of the wrong type.
    """
    return build({**read("probe", name), **options}, f"probe {name}")
