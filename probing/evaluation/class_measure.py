"""What our measures of classes share: a dataclass whose fields are its options; tasks that it cannot measure are left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from probing.data.task import Task
from probing.errors import ConfigError, did_you_mean
from probing.evaluation.measure import Cell, LayerMeasure
from probing.evaluation.request import Measured, Request
from probing.log import info


class ClassMeasure(LayerMeasure):
    """A `LayerMeasure` of tasks with classes and one train split; a subclass is a dataclass."""

    def group(self, task: Task) -> Mapping[str, Any]:
        options: Any = self
        return {**super().group(task), "options": asdict(options)}

    def unsuited(self, task: Task) -> str:
        """Why the task cannot be measured, as a clause; empty if it can."""
        if task.kind != "classification":
            return "it reads classes"
        return "it needs one train split, and the task is cross-validated" if task.folds else ""

    def lacks(self, task: Task) -> str:
        """What is left out of the measure for this task, as a sentence; empty if nothing is."""
        return ""

    def cells(self, task: Task, measured: Measured | None, request: Request, seed: int) -> Iterable[Cell]:
        reason = self.unsuited(task)
        if measured is None and reason:
            info(f"{task.name}: the measure {self.name} is left out: {reason}")
        elif measured is None and (lacks := self.lacks(task)):
            info(f"{task.name}: {lacks}")
        return () if reason else self.planned(task, measured, request, seed)

    def planned(self, task: Task, measured: Measured | None, request: Request, seed: int) -> Iterable[Cell]:
        return super().cells(task, measured, request, seed)

    def check_choice(self, option: str, allowed: Iterable[str]) -> None:
        """ConfigError if the option is none of the values."""
        value, allowed = getattr(self, option), list(allowed)
        if value not in allowed:
            raise ConfigError(
                f"{self.name}.{option}={value!r} is unknown{did_you_mean(value, allowed)} (allowed: {', '.join(allowed)})"
            )

    def check_whole(self, least: int, *options: str) -> None:
        """ConfigError if an option is no whole number of at least so much."""
        for option in options:
            value = getattr(self, option)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"{self.name}.{option}={value!r} must be a whole number of at least {least}")

    def check_positive(self, option: str) -> None:
        """ConfigError if the option is no list of numbers above 0."""
        if not (values := list(getattr(self, option))) or not all(0 < value < float("inf") for value in values):
            raise ConfigError(f"{self.name}.{option}={values} must hold at least one value, all above 0")
