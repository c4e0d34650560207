"""Studies: measurements other than probing tables. `probing run +experiment=NAME` runs the one that the preset's `study` names.

A study is a dataclass; its fields are its options, written in `conf/experiment/NAME.yaml` under `study`.

    DIR/runs/<study>-<data>-<encoder>-<hash>/rows.csv       measured rows
                                            /manifest.json  configuration, encoder, versions, seconds
                                            /table.md …     the study's report, made from the rows of one or several runs
    DIR/cells/                                              finished parts (probing.store.results), shared by all runs
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pandas as pd

from probing.data.task import Task
from probing.encoders.base import Encoder
from probing.errors import ConfigError
from probing.store.results import ResultStore
from probing.store.vectors import Store


def require(condition: bool, message: str) -> None:
    """Raises a `ConfigError` if the condition on the options does not hold."""
    if not condition:
        raise ConfigError(message)


def check_words(words: Sequence[int], least: int = 1, example: str = "[8, 12]") -> None:
    """Raises a `ConfigError` if study.words is no pair of the fewest and the most words of a sentence, at least `least`."""
    fewest = f"the fewest ({least} at least)" if least > 1 else "the fewest"
    message = f"study.words={words}: give {fewest} and the most words of a sentence, such as {example}"
    require(len(words) == 2 and least <= words[0] <= words[1], message)


@dataclass(frozen=True)
class Context:
    """The inputs of a study's run; encoder and tasks are built at their first use. `results`: finished parts; `home`: run.dir."""

    make_encoder: Callable[[], Encoder]
    make_tasks: Callable[[], list[Task]]
    seeds: tuple[int, ...]
    results: ResultStore
    store: Store
    home: Path

    @property
    def seed(self) -> int:
        """The seed of a study that draws once; ConfigError if several were given."""
        if len(self.seeds) > 1:
            raise ConfigError(f"seed={list(self.seeds)}: this study draws once, give one number (and -m for several runs)")
        return self.seeds[0]

    def finished(self, part: Mapping[str, Any], compute: Callable[[], Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
        """The rows of a part, which are computed and kept where they are not yet among the results."""
        rows = self.results.get(part)
        return self.results.put(part, compute()) if rows is None else rows

    @cached_property
    def encoder(self) -> Encoder:
        return self.make_encoder()

    @cached_property
    def tasks(self) -> list[Task]:
        return self.make_tasks()


class Study(Protocol):
    """A measurement by name. `uses`: the groups of the configuration that it reads (encoder, data) and its folder is named by."""

    name: ClassVar[str]
    uses: ClassVar[tuple[str, ...]]

    def measure(self, context: Context) -> pd.DataFrame:
        """Tidy rows; finished parts are read, and stay if an option or input cannot be used (ProbingError)."""
        ...

    def report(self, frame: pd.DataFrame, folder: Path) -> None: ...
