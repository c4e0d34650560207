"""Options that travel together: how words are made absent, and how interval values are estimated."""

from __future__ import annotations

from dataclasses import dataclass

from probing.errors import ConfigError


@dataclass(frozen=True)
class Masking:
    """How words are made absent: by name (`probing.interactions.text.masking`), with the replacement that `replace` puts in."""

    kind: str = "pad"
    replacement: str | None = None

    @classmethod
    def of(cls, masking: Masking | str, replacement: str | None = None) -> Masking:
        return masking if isinstance(masking, Masking) else cls(masking, replacement)


@dataclass(frozen=True)
class Estimator:
    """How interval values are estimated: a method of `probing.interactions.intervals`, its budget of model rows, and its seed."""

    method: str = "exact"
    budget: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"seed={self.seed} must not be below 0")

    @classmethod
    def of(cls, method: Estimator | str, budget: int | None = None, seed: int = 0) -> Estimator:
        return method if isinstance(method, Estimator) else cls(method, budget, seed)


EXACT = Estimator()
