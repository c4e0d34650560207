"""Presets: the YAML files of `conf/`, turned into the dataclass that their `_target_` names.

One way for the Python API and for Hydra: every encoder, probe and data source is a dataclass whose fields are its options, so
a preset is checked against them, key by key and type by type, before anything is built.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

import yaml

from probing.errors import ConfigError, did_you_mean
from probing.paths import CONF


def names(group: str) -> list[str]:
    """Names of the presets of a group: encoder, probe, data, objective, suite or experiment."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def about(group: str, name: str) -> str:
    """The preset's first comment line that is not a Hydra directive: what it is, in one line."""
    for line in (CONF / group / f"{name}.yaml").read_text(encoding="utf-8").splitlines():
        if line.startswith("# ") and "@package" not in line:
            return line[2:].strip()
    return ""


def read(group: str, name: str) -> dict[str, Any]:
    """The preset's mapping.

    Raises:
        ConfigError: no preset of that name in the group.
    """
    if name not in names(group):
        raise ConfigError(f"unknown {group} {name!r}{did_you_mean(name, names(group))} (allowed: {', '.join(names(group))})")
    return yaml.safe_load((CONF / group / f"{name}.yaml").read_text(encoding="utf-8"))


def build(options: Mapping[str, Any], what: str) -> Any:
    """The dataclass that `_target_` names, made from the other keys.

    Raises:
        ConfigError: `_target_` missing or not found, a key that the dataclass has not, a value missing or of the wrong type.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

    values = dict(options)
    target = values.pop("_target_", None)
    if not isinstance(target, str) or "." not in target:
        raise ConfigError(f"{what}: _target_ must name a class, such as probing.encoders.hf.huggingface.HuggingFaceEncoder")
    module, _, attribute = target.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except (
        ImportError,
        AttributeError,
        TypeError,
        ValueError,
    ) as error:  # the last two: a name that begins with a dot
        raise ConfigError(f"{what}: _target_ {target!r} cannot be found: {error}") from None
    if not dataclasses.is_dataclass(cls):
        raise ConfigError(f"{what}: _target_ {target!r} is not a dataclass, so its options cannot be checked")
    fields = [field.name for field in dataclasses.fields(cls) if field.init]
    group = what.split()[0]
    try:
        node = OmegaConf.merge(OmegaConf.structured(cls), values)
        missing = sorted(OmegaConf.missing_keys(node))
        if missing:
            raise ConfigError(f"set {' '.join(f'{group}.{key}=…' for key in missing)} (options: {', '.join(fields)})")
        return cls(**OmegaConf.to_container(node, resolve=True))
    except ConfigKeyError as error:
        key = error.key
        raise ConfigError(
            f"{what}: unknown option {key!r}{did_you_mean(str(key), fields)} (options: {', '.join(fields)})"
        ) from None
    except OmegaConfBaseException as error:
        raise ConfigError(f"{what}: {error.full_key or 'value'}: {str(error).splitlines()[0]}") from None
