"""Light classifiers on frozen features. `load(name, **options)` builds a protocol from its preset in `conf/probe`."""

from __future__ import annotations

from typing import Any

from probing.config import build, read
from probing.probes.base import ProbeProtocol


def load(preset: str, /, **options: Any) -> ProbeProtocol:
    """Return the protocol of a preset (`probing list probes`), with options replaced; ConfigError if one is unknown or wrong."""
    probe: ProbeProtocol = build({**read("probe", preset), **options}, f"probe {preset}")
    return probe


def as_probe(given: Any) -> ProbeProtocol:
    """Return the protocol that `given` is, or names, or that a scikit-learn classifier makes; ConfigError for anything else."""
    if isinstance(given, str):
        return load(given)
    if not isinstance(given, type) and all(hasattr(given, name) for name in ("name", "settings", "columns", "fit")):
        protocol: ProbeProtocol = given
        return protocol
    from probing.probes.estimator import EstimatorProbe, check_object

    check_object(given)
    return EstimatorProbe(given)
