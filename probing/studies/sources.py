"""Corpora that an option of a study names beside `data`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from probing import config
from probing.data.task import Task
from probing.errors import ConfigError, did_you_mean

CORPUS = (
    "grammar, a folder of task files, or a preset of data with its options, such as "
    "{reviews: {data: hf, path: FOLDER, name: polarity}}"
)


def named_source(option: str, given: Any, home: Path) -> Any:
    """The source of a corpus of the command line; a folder or a source as it is given; ConfigError, with the option, for what is
    none."""
    if callable(getattr(given, "tasks", None)):
        return given
    if given == "grammar":
        given = {"data": "grammar"}
    if isinstance(given, str):
        return given
    if not isinstance(given, Mapping) or not isinstance(given.get("data"), str):
        raise ConfigError(f"{option}: {given!r} is no corpus; give {CORPUS}")
    preset = given["data"]
    if preset not in config.names("data"):
        near = did_you_mean(preset, config.names("data"))
        raise ConfigError(f"{option}: unknown data {preset!r}{near} (allowed: {', '.join(config.names('data'))})")
    options = config.read("data", preset)
    if str(options.get("root", "")).startswith("${run.dir}"):
        options["root"] = str(home / preset)
    return config.build(options | {key: value for key, value in given.items() if key != "data"}, option)


class Given:
    """A source of tasks that are there."""

    def __init__(self, *tasks: Task):
        self.given = tasks

    def tasks(self, names: Sequence[str] | None) -> list[Task]:
        return list(self.given)
