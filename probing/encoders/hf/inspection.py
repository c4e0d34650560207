"""The inspection of a model: facts found by running it, stored beside its vectors, so that later runs need not load it to plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from typing import Any

VERSION = 2
"""Raise when the same weights and options would give other vectors, or another inspection."""


@dataclass(frozen=True)
class Inspection:
    """Facts about a model, as plain values; the names of the fields are keys on disk.

    Attributes:
        layer_names: from layer 0 on.
        dims: width of each layer.
        context_free: whether layer 0 depends on no other word.
        positions: rows of its position matrix, which bound the tokens of a sentence; None where it has none.
        company: which sentences can share a batch, one of `probing.encoders.hf.batching.BATCHINGS`.
        longest: most tokens of the sentences on which `company` was found; None: not bounded by the model.
        versions: of the libraries that ran it.
    """

    layer_names: tuple[str, ...]
    dims: tuple[int, ...]
    context_free: bool
    positions: int | None
    company: str
    longest: int | None
    versions: tuple[str, ...] = field(default_factory=lambda: versions_used())

    @classmethod
    def of_record(cls, record: Any) -> Inspection | None:
        """The inspection from its JSON; None where another version of this package or of the libraries wrote it."""
        if not isinstance(record, Mapping) or record.keys() != {field.name for field in fields(cls)}:
            return None
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
        return cls(**values) if values["versions"] == versions_used() else None


def versions_used() -> tuple[str, ...]:
    """Versions of this package and of the libraries on which an inspection depends."""
    return (f"inspection {VERSION}", *(f"{name} {version(name)}" for name in ("torch", "transformers")))
