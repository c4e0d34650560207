"""The sources of tasks that a preset of `conf/data` names: a folder of files, the built-in grammar, or random expressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from probing.data.card import SENTEVAL, load_card
from probing.data.card import names as names_of_cards
from probing.data.expressions import BINDING
from probing.data.expressions.tasks import make_task
from probing.data.loading import file_names, find_files, load
from probing.data.task import Task
from probing.errors import ConfigError, DataError, did_you_mean
from probing.log import info


@dataclass
class SentEvalFolder:
    """SentEval's files, or any files that cards name, in one folder.

    Args:
        root: the folder.
        train_size: train on a stratified subset of about this size, drawn with the run's seed; null: on all.
        name: name of the source in the names of runs.
        default: the tasks where none is named; null: the probing tasks whose file is in the folder.
    """

    root: str
    train_size: int | None = None
    name: str = "senteval"
    default: list[str] | None = None

    def tasks(self, names: Sequence[str] | None) -> list[Task]:
        """The tasks by name or card path; None: `default`, or the tasks of `tasks/` whose single file is in the folder."""
        root = Path(self.root).expanduser()
        names = names or self.default
        if names is None:
            if not root.is_dir():
                raise DataError(f"no folder {root} (data.root must name the folder that holds the task files)")
            cards = [card for card in map(load_card, names_of_cards()) if "file" in card]  # SST-2 and CoLA by name only
            names = [card["name"] for card in cards if find_files(card, root)]
            if not names:
                files = ", ".join(map(file_names, cards))
                raise DataError(f"{root} holds none of the task files ({files}; plain, .gz or .xz)")
            if absent := [name for name in SENTEVAL if name not in names]:
                info(f"{root} has no file for {', '.join(absent)}, so these tasks are not in the run")
        return [load(name, root) for name in names]


@dataclass
class GrammarCorpus:
    """The ten tasks made from the built-in English grammar, without a download; their numbers compare with no paper's.

    Args:
        root: folder in which the files are made, once.
        n: distinct sentences that the grammar yields.
        grammar_seed: of the grammar and the splits.
        sizes: about so many sentences in train, dev and test of every task, shared between tasks; null: all, in shares of 80/10/10.
        train_size: train on a stratified subset of about this size; null: on all.
        name: name of the source in the names of runs.
    """

    root: str = "probing-out/grammar"
    n: int = 5000
    grammar_seed: int = 0
    sizes: list[int] | None = None
    train_size: int | None = None
    name: str = "grammar"

    def tasks(self, names: Sequence[str] | None) -> list[Task]:
        """The tasks by name; None: all that the grammar's sentences allow."""
        from probing.data.builders.make import grammar_tasks, left_out

        if self.sizes is not None and (len(self.sizes) != 3 or min(self.sizes) < 1):
            raise ConfigError(f"data.sizes={self.sizes} must be three numbers above 0: sentences of train, dev and test")
        for name in names or ():
            if name not in SENTEVAL and not name.endswith((".yaml", ".yml")):
                near = did_you_mean(name, SENTEVAL)
                raise DataError(f"unknown task {name!r}{near} (allowed, of the grammar: {', '.join(SENTEVAL)})")
        sizes = None if self.sizes is None else dict(zip(("tr", "va", "te"), self.sizes, strict=True))
        folder = grammar_tasks(self.root, self.grammar_seed, self.n, sizes)
        reasons = left_out(folder)
        for name in names or ():
            if name in reasons:
                raise DataError(f"{name} cannot be made from {self.n} sentences of the grammar: {reasons[name]} (data.n=5000)")
        return SentEvalFolder(str(folder)).tasks(names)


@dataclass
class ExpressionCorpus:
    """The first three families of expressions as tasks (`probing.data.expressions.tasks`): the value of a formula from its tokens.

    Args:
        root: folder in which the files are made, once; `probing train objective=add_multiply data.root=…` reads them there.
        count: distinct expressions of a family.
        variables: fewest and most variables.
        inputs: sentences of an expression, at most.
        operators: of the requested family, e.g. [*, +, +], where + is drawn twice as often; null: its own.
        expressions_seed: of the draw.
        train_size: train on a stratified subset of about this size; null: on all.
        name: name of the source in the names of runs.
    """

    root: str = "probing-out/expressions"
    count: int = 600
    variables: list[int] = field(default_factory=lambda: [5, 10])
    inputs: int = 32
    operators: list[str] | None = None
    expressions_seed: int = 0
    train_size: int | None = None
    name: str = "expressions"

    def tasks(self, names: Sequence[str] | None) -> list[Task]:
        """The tasks by name; None: all three."""
        if len(self.variables) != 2:
            raise ConfigError(f"data.variables={self.variables} must be two numbers, fewest and most")
        least, most = self.variables
        tasks = []
        for name in names or BINDING:
            make_task(name, self.root, self.count, (least, most), self.inputs, self.operators, self.expressions_seed)
            tasks.append(load(name, Path(self.root).expanduser()))
        return tasks
