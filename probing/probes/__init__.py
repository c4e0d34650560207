"""Light classifiers on frozen features. `load(name, **options)` builds a protocol from its preset in `conf/probe`."""

from __future__ import annotations

from typing import Any

from probing.config import build, read
from probing.probes.base import ProbeProtocol


def load(preset: str, /, **options: Any) -> ProbeProtocol:
    """Return the protocol of a preset (`probing list probes`), with options replaced; ConfigError if one is unknown or wrong."""
    probe: ProbeProtocol = build({**read("probe", preset), **options}, f"probe {preset}")
    return probe
