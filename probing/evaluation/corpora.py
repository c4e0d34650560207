"""Corpora of a transfer: their tasks in common, and the task of a pair: train and dev of the source, test of the target.

Two corpora have a task in common if both have one of that name, of the same kind, main metric and order, with the same classes in
the same order. Labels are not translated. Where accuracy is the main metric, the target may have classes that the source lacks, in
at most `UNSEEN` of its test items: no probe of the source can be right on these items, which count as wrong. A task whose classes
differ more is left out of the pair, with one line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from probing.data.card import main_metric
from probing.data.frames import as_tasks
from probing.data.sources import GrammarCorpus, SentEvalFolder
from probing.data.task import Task
from probing.errors import ConfigError, DataError, did_you_mean
from probing.log import info

UNSEEN = 0.1
"""The largest share of a target's test items whose classes the source lacks."""


@dataclass(frozen=True)
class Pair:
    """One task from a source corpus to a target corpus; `own` is the source's own task, and `task`, too, where they are the same
    corpus. `shared`: test sentences of the target whose form (`word_form`) occurs in the source's train split; `unseen`: share of
    its test items whose class the source lacks."""

    name: str
    source: str
    target: str
    task: Task
    own: Task
    shared: int
    unseen: float

    @property
    def title(self) -> str:
        return f"{self.name}: {self.source} → {self.target}"


def pairs_of(corpora: Mapping[str, Any], names: Sequence[str] | None, sizes: Sequence[int | None] | None, seed: int) -> list[Pair]:
    """Every pair of corpora for every task that they have in common, also of a corpus with itself.

    Args:
        corpora: name -> a folder of task files, "grammar", a source (`probing.data.sources`), or tasks as `as_tasks` takes them.
        names: of tasks; None: all.
        sizes: at most so many train, dev and test sentences of each task, drawn stratified with `seed`; None: all.

    Raises:
        ConfigError: fewer than two corpora, no task in common, a cross-validated task, a corpus with two tasks of a name.
        DataError: a corpus that cannot be read.
    """
    if not isinstance(corpora, Mapping) or len(corpora) < 2:
        have = ", ".join(map(str, corpora)) if isinstance(corpora, Mapping) else f"a {type(corpora).__name__}"
        raise ConfigError(f"corpora: a transfer needs at least two, name -> folder, source or tasks (given: {have or 'none'})")
    if sizes is not None and len(sizes) != 3:
        raise ConfigError(f"sizes={list(sizes)} must be three numbers: sentences of train, dev and test (null: all)")
    read = {name: _tasks(name, given, names) for name, given in corpora.items()}
    if sizes is not None:
        train, dev, test = sizes
        read = {name: {t: task.subset(train, seed, dev, test) for t, task in tasks.items()} for name, tasks in read.items()}
    pairs = []
    for name in dict.fromkeys(task for tasks in read.values() for task in tasks):
        pairs += _pairs(name, {corpus: tasks[name] for corpus, tasks in read.items() if name in tasks})
    if not pairs:
        have = "; ".join(f"{corpus}: {', '.join(tasks) or 'none'}" for corpus, tasks in read.items())
        raise ConfigError(f"corpora: no two have a task of one name with the same classes ({have})")
    for pair in pairs:
        if pair.shared and pair.source != pair.target:
            info(f"{pair.title}: {pair.shared} of {len(pair.task.test)} test sentences are in the train split of {pair.source}")
        if pair.unseen:
            lacks = ", ".join(pair.task.classes[len(pair.own.classes) :][:6])
            info(f"{pair.title}: {pair.source} lacks {lacks}: {100 * pair.unseen:.2g} % of the test items, which count as wrong")
    return pairs


def crossed(source: Task, target: Task) -> Task:
    """The task with train and dev of the source and test of the target; classes that the source lacks follow its own."""
    card = {name: value for name, value in source.card.items() if name != "git_blob"}
    from_both = f"train and dev: {source.source}; test: {target.source}"
    test, classes = target.test, source.classes
    if target.classes != classes:
        classes = (*classes, *(one for one in target.classes if one not in classes))
        test = replace(test, labels=np.array([classes.index(one) for one in target.classes])[test.labels])
    return replace(
        source, test=test, classes=classes, card=card, source=from_both, file_sha256="", git_blob="", groups_from=target.groups_from
    )


def _tasks(corpus: str, given: Any, names: Sequence[str] | None) -> dict[str, Task]:
    """The tasks of a corpus by name; those of `names` that it does not have are left out, with one line."""
    source = given
    if isinstance(given, str | Path):
        folder = Path(given).expanduser()
        if str(given) != "grammar" and not folder.is_dir():
            raise DataError(f"corpora: {corpus}: no folder {given}{did_you_mean(str(given), ['grammar'])} (or the word grammar)")
        source = GrammarCorpus() if str(given) == "grammar" else SentEvalFolder(str(folder), name=corpus)
    if not callable(getattr(source, "tasks", None)):
        tasks = [task for task in as_tasks(source) if names is None or task.name in names]
    elif names is None:
        tasks = source.tasks(None)
    else:
        tasks = []
        for name in names:
            try:
                tasks += source.tasks([name])
            except (DataError, ConfigError) as error:
                info(f"{corpus}: {name} is left out: {error}")
    for task in tasks:
        if task.folds:
            raise ConfigError(f"{corpus}: {task.name} is cross-validated; a transfer needs tasks with a train, dev and test split")
    if twice := sorted({task.name for task in tasks if sum(other.name == task.name for other in tasks) > 1}):
        raise ConfigError(f"{corpus}: several tasks of the same name ({', '.join(twice)}): give each its own")
    return {task.name: task for task in tasks}


def _pairs(name: str, of_corpora: Mapping[str, Task]) -> list[Pair]:
    """The pairs of the corpora whose tasks of this name can be transferred, with one line for each corpus that is in none."""
    forms = {corpus: frozenset(task.train.forms) for corpus, task in of_corpora.items()}
    pairs, left = list[Pair](), dict(of_corpora)
    for source, own in of_corpora.items():
        for target, other in of_corpora.items():
            if source != target and (unseen := _unseen(own, other)) <= UNSEEN:
                shared = sum(form in forms[source] for form in other.test.forms)
                pairs.append(Pair(name, source, target, crossed(own, other), own, shared, unseen))
                left.pop(source, None), left.pop(target, None)
    for corpus, task in left.items():
        few = f"{', '.join(task.classes[:6])}{', …' if len(task.classes) > 6 else ''}"
        labels = f"{len(task.classes)} classes ({few})" if task.classes else "numbers"
        others = {one for other in of_corpora.values() for one in other.classes} - set(task.classes)
        lacks = f" without {', '.join(sorted(others)[:6])}" if others else ""
        why = f"has {labels}{lacks}, {task.kind}, {main_metric(task.card)}; the others differ"
        info(f"{name}: {corpus} is left out: it {why if len(of_corpora) > 1 else 'has it alone'}")
    for corpus, task in of_corpora.items():
        if corpus not in left:
            pairs.append(Pair(name, corpus, corpus, task, task, sum(form in forms[corpus] for form in task.test.forms), 0.0))
    place = list(of_corpora).index
    return sorted(pairs, key=lambda pair: (place(pair.source), place(pair.target)))


def _unseen(source: Task, target: Task) -> float:
    """The share of the target's test items whose class the source lacks; 1 where the tasks are not the same."""
    metric, ordered = main_metric(source.card), bool(source.card.get("ordered"))
    if (source.kind, metric, ordered) != (target.kind, main_metric(target.card), bool(target.card.get("ordered"))):
        return 1.0
    if source.classes == target.classes:
        return 0.0
    if source.kind != "classification" or metric != "accuracy" or ordered or len({*source.classes} & {*target.classes}) < 2:
        return 1.0
    return float(np.isin(target.test.labels, [k for k, one in enumerate(target.classes) if one not in source.classes]).mean())
