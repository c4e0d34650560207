"""MTEB's ten sentence classification tasks of Skean et al. 2025 (arXiv 2502.02013), as data sets of the hub or of folders.

The few-shot protocol (`probing.probes.few_shot`) draws from all train sentences in the order of the data, so none of them may be
held out: where a data set has no validation split its train sentences are also the dev split, by which a layer is chosen. Scores
are on test. The ids and the sizes k are those of mteb 1.14 as we know them; check them against your version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from probing.data.hub import NAMES, DatasetSource, task_of_datasets
from probing.data.task import Task
from probing.errors import ConfigError, did_you_mean


class Mteb(NamedTuple):
    """A data set: its id on the hub, its English configuration if it has several languages, and k, train sentences of a label."""

    path: str
    config: str | None = None
    k: int = 8


TASKS = {
    "AmazonCounterfactualClassification": Mteb("mteb/amazon_counterfactual", "en", 32),
    "AmazonReviewsClassification": Mteb("mteb/amazon_reviews_multi", "en"),
    "Banking77Classification": Mteb("mteb/banking77"),
    "EmotionClassification": Mteb("mteb/emotion", k=16),
    "MTOPDomainClassification": Mteb("mteb/mtop_domain", "en"),
    "MTOPIntentClassification": Mteb("mteb/mtop_intent", "en"),
    "MassiveIntentClassification": Mteb("mteb/amazon_massive_intent", "en"),
    "MassiveScenarioClassification": Mteb("mteb/amazon_massive_scenario", "en"),
    "ToxicConversationsClassification": Mteb("mteb/toxic_conversations_50k", k=16),
    "TweetSentimentExtractionClassification": Mteb("mteb/tweet_sentiment_extraction", k=32),
}


@dataclass
class MtebSource:
    """The tasks of `TASKS`, with the columns text and label.

    Args:
        root: a folder that holds a folder of the task's name for each (data files, or written by save_to_disk), as
            ROOT/Banking77Classification/train.jsonl; null: the hub.
        train_size: train on a stratified subset of about this size; null: on all, which the protocol draws from.
        name: name of the source in the names of runs.
    """

    root: str | None = None
    train_size: int | None = None
    name: str = "mteb"

    def tasks(self, names: Sequence[str] | None) -> list[Task]:
        """The tasks by name; None: those whose folder is in `root`, or all ten of the hub.

        Raises:
            ConfigError: another name.
            DataError: data that cannot be read (`DatasetSource.tasks`).
        """
        for name in names or ():
            if name not in TASKS:
                raise ConfigError(f"task={name} is none of data=mteb{did_you_mean(name, TASKS)} (allowed: {', '.join(TASKS)})")
        root = None if self.root is None else Path(self.root).expanduser()
        wanted = names or [name for name in TASKS if root is None or (root / name).is_dir()]
        if not wanted:
            raise ConfigError(f"data.root={self.root} holds no folder of the name of a task (allowed: {', '.join(TASKS)})")
        return [self._task(name, root) for name in wanted]

    @staticmethod
    def _task(name: str, root: Path | None) -> Task:
        path, config, _ = TASKS[name]
        source = DatasetSource(path, config, name=name) if root is None else DatasetSource(str(root / name), name=name)
        where = str(root / name) if root else path
        data = dict(source.load(where))
        if not any(split in data for split in NAMES["dev"]) and "train" in data:
            data["dev"] = data["train"]
        return task_of_datasets(data, source.text, source.label, name, source=where, prefix="data.")
