"""The classifier of a study's encoder: the head it was trained with on the task, a fitted one, or one in a folder.

DIR/heads/<encoder>-<task>-<hash>/    fitted heads (`probing.interactions.text.heads`), shared by all studies
"""

from __future__ import annotations

import re
from pathlib import Path

from probing.data.task import Task
from probing.encoders.base import Encoder, fingerprint
from probing.errors import ConfigError
from probing.interactions.text.heads import CARD, VERSION, LinearHead, fit_head, head_of, load_head
from probing.log import info
from probing.store.results import key_of


def classifier(encoder: Encoder, task: Task, head: str | None, home: Path) -> LinearHead:
    """The head of an encoder for a task, with its scores in `head.made`.

    Args:
        head: None: the one that the encoder was trained with on this task; fit: that one, or else one fitted by logistic
            regression on the mean of the last layer; or the folder of a fitted one.
        home: run.dir.

    Raises:
        ConfigError: the encoder has no head for the task, and head is None; or a folder's head has other classes.
        EncoderError: the folder holds no head of this encoder.
    """
    if head not in (None, "fit"):
        given = load_head(head, encoder)
        if given.classes != task.classes:
            raise ConfigError(f"head={head!r} has the classes {', '.join(given.classes)}; {task.name}: {', '.join(task.classes)}")
        return given
    own = head_of(encoder)
    if own is not None and own.classes == task.classes and own.made["data"]["task"] == task.name:
        return own
    if head is None:
        has = "no head" if own is None else f"a head of {own.made['data']['task']}"
        raise ConfigError(f"{encoder.name} has {has}: for {task.name} take a checkpoint trained on it, or set study.head=fit")
    short = key_of({"encoder": fingerprint(encoder), "task": task.sha256, "version": VERSION})[:8]
    folder = home / "heads" / "-".join((re.sub(r"\W+", "_", encoder.name), task.name, short))
    if (folder / CARD).is_file():
        return load_head(folder, encoder)
    info(f"{encoder.name}: fitting a head on {task.name}, {sum(len(part.texts) for part in task.splits.values()):,} sentences")
    fitted = fit_head(encoder, task)
    fitted.save(folder)
    info(f"{folder}: accuracy {fitted.made['dev']:.4f} on dev, {fitted.made['test']:.4f} on test")
    return fitted
