"""Studies: measurements that are no probing table. `probing run +experiment=NAME` runs the one that the preset's `study` names.

A study is a dataclass; its fields are its options, written in `conf/experiment/NAME.yaml` under `study`. It makes tidy rows, and a
report from nothing but rows, so that the runs of a multirun (one an encoder, say) end in one report.

    DIR/runs/<study>-<data>-<encoder>-<hash>/rows.csv       what was measured
                                            /manifest.json  configuration, encoder, versions, seconds
                                            /table.md …     what the study's `report` makes
    DIR/cells/                                              finished parts (probing.store.results), shared by all runs
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Protocol

import pandas as pd

from probing.data.task import Task
from probing.encoders.base import Encoder
from probing.errors import ConfigError
from probing.store.results import ResultStore
from probing.store.vectors import Store


@dataclass(frozen=True)
class Context:
    """What a run gives to a study; encoder and tasks are built when they are first asked for.

    Attributes:
        results: finished parts.
        store: vectors, shared with the probing tables.
        home: run.dir.
    """

    make_encoder: Callable[[], Encoder]
    make_tasks: Callable[[], list[Task]]
    seeds: tuple[int, ...]
    results: ResultStore
    store: Store
    home: Path

    @property
    def seed(self) -> int:
        """The seed of a study that draws once.

        Raises:
            ConfigError: several were given.
        """
        if len(self.seeds) > 1:
            raise ConfigError(f"seed={list(self.seeds)}: this study draws once, give one number (and -m for several runs)")
        return self.seeds[0]

    @cached_property
    def encoder(self) -> Encoder:
        return self.make_encoder()

    @cached_property
    def tasks(self) -> list[Task]:
        return self.make_tasks()


class Study(Protocol):
    """A measurement by name. `uses` says which groups of the configuration it reads (encoder, data): they name its folder."""

    name: ClassVar[str]
    uses: ClassVar[tuple[str, ...]]

    def measure(self, context: Context) -> pd.DataFrame:
        """Tidy rows; what was finished before is read, not computed again.

        Raises:
            ProbingError: options or inputs that cannot be used. Finished parts stay.
        """
        ...

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        """Writes tables and figures of the rows of one or several runs."""
        ...
