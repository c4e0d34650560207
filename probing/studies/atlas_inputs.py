"""What an atlas reads beside its data: a treebank, other corpora, the data of a classifier; read before anything is measured, so
that a wrong option ends it at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from probing.data.conllu import Treebank
from probing.data.task import Task
from probing.errors import ConfigError, DataError
from probing.evaluation.corpora import pairs_of
from probing.log import info, quiet
from probing.studies import require
from probing.studies.sources import CORPUS, named_source

FEATURES = ("upos", "Number", "Tense", "tree")
"""Tasks of words that a treebank adds, where it has them."""


@contextmanager
def _option(name: str) -> Iterator[None]:
    """Puts the option that names it before the message of what cannot be read."""
    try:
        yield
    except (ConfigError, DataError) as error:
        raise ConfigError(f"{name}: {error}") from None


def treebank_of(given: Any) -> Treebank | None:
    """The treebank of a folder, whose files are read; ConfigError for one without files of CoNLL-U."""
    if given is None:
        return None
    require(isinstance(given, str | Path), f"treebank={given!r} must be one folder of .conllu files")
    require(Path(given).expanduser().is_dir(), f"treebank={given}: no such folder (name the one that holds the .conllu files)")
    treebank = Treebank(str(given))
    with _option("treebank"):
        _ = treebank.corpora
    return treebank


def words_of(treebank: Treebank | None) -> list[Task]:
    """The tasks of words of a treebank; those that it lacks are left out, with one line."""
    made: list[Task] = []
    for name in FEATURES if treebank is not None else ():
        try:
            made += treebank.tasks([name])  # type: ignore[union-attr]
        except DataError as error:  # no such feature, one value of it alone, or no trees
            info(f"{name}: left out: {error}")
    return made


def corpora_of(given: Any, home: Path, own: tuple[str, list[Task]], sizes: Sequence[int] | None, seed: int) -> dict[str, Any]:
    """Name -> tasks or a folder: first the atlas's own, then those that it names; empty where it names none.

    Raises:
        ConfigError, DataError: what is no corpus, cannot be read, or has no task in common with the others.
    """
    if given is None or given == {}:
        return {}
    require(isinstance(given, Mapping), f"corpora={given!r} must be {{NAME: CORPUS}}, where a corpus is {CORPUS}")
    corpora: dict[str, Any] = dict([own])
    for name, one in given.items():
        require(name != own[0], f"corpora.{name}: the data of the atlas has this name: give the other corpus another one")
        source = named_source(f"corpora.{name}", one, home)
        with _option(f"corpora.{name}"):
            corpora[str(name)] = source if isinstance(source, str) else source.tasks(None)
    with quiet():  # whose lines come where the corpora are measured
        pairs_of(corpora, None, sizes, seed)
    return corpora


def classifier_of(given: Any, home: Path) -> Task | None:
    """The task of a classifier; ConfigError for an option that is no preset of data, or for data of several tasks."""
    if given is None:
        return None
    example = "such as classifier={data: sst2, root: DIR}"
    if isinstance(given, str):
        raise ConfigError(f"classifier={given} must be a preset of data with its options, {example}")
    source = named_source("classifier", given, home)
    with _option("classifier"):
        tasks = source.tasks(None)
        several = f"a classifier decides one task, and this data has {', '.join(task.name for task in tasks)}; name data of one"
        require(len(tasks) == 1, f"{several}, {example}")
        tasks[0].need_classes("a classifier")
    return tasks[0]
