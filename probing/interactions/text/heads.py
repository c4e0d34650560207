"""Linear heads: class logits = coef x + intercept from one pooled layer, of a trained classifier or fitted on a frozen encoder.

A fitted head is a folder of two files: `head.safetensors` and `head.json` (classes, layer, pooling, encoder, data, scores).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from probing.data.readers.files import read_text
from probing.data.task import Task
from probing.encoders.base import Encoder, fingerprint
from probing.encoders.networks.architecture import ATTENTION
from probing.encoders.networks.checkpoint import MANIFEST, CheckpointEncoder
from probing.errors import ConfigError, DataError, EncoderError
from probing.log import bar, info
from probing.store.extraction import extract
from probing.store.results import key_of
from probing.store.vectors import Store
from probing.types import Features, Representation, Values

UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError, EncoderError)
WEIGHTS, CARD = "head.safetensors", "head.json"
VERSION = 2
"""Of `fit_head`: raise it when the same vectors would give another head."""


@dataclass(frozen=True)
class LinearHead:
    """A linear map of one pooled layer to class logits: coef (classes, d), intercept (classes,); `made`: encoder's fingerprint,
    data, scores, as plain JSON."""

    coef: Values
    intercept: Values
    classes: tuple[str, ...]
    layer: int
    pooling: str
    made: dict[str, Any] = field(default_factory=dict)

    def logits(self, x: Values) -> Values:
        return x @ self.coef.T + self.intercept

    @property
    def test_accuracy(self) -> float:
        """Its accuracy on test (0-1); NaN where it is not known."""
        test = self.made.get("test", np.nan)
        return float(test["accuracy"] if isinstance(test, Mapping) else test)

    @property
    def sha256(self) -> str:
        content = json.dumps([self.coef.tolist(), self.intercept.tolist(), self.classes, self.layer, self.pooling])
        return hashlib.sha256(content.encode()).hexdigest()

    def save(self, folder: str | Path) -> Path:
        """Writes the two files; returns the folder."""
        folder = Path(folder).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"coef": self.coef, "intercept": self.intercept}, folder / WEIGHTS)
        card = {"classes": self.classes, "layer": self.layer, "pooling": self.pooling, "made": self.made}
        (folder / CARD).write_text(json.dumps(card, indent=1))
        return folder


def load_head(folder: str | Path, encoder: Encoder) -> LinearHead:
    """A fitted head of this encoder; EncoderError if the folder holds none, or that of another encoder."""
    folder = Path(folder).expanduser()
    try:
        card = json.loads(read_text(folder / CARD, EncoderError))
        arrays = load_file(folder / WEIGHTS)
        head = LinearHead(arrays["coef"], arrays["intercept"], tuple(card["classes"]), card["layer"], card["pooling"], card["made"])
        made_on, name = head.made.get("fingerprint"), head.made.get("encoder")
    except UNREADABLE as error:
        raise EncoderError(f"head={str(folder)!r} is no folder of a fitted head ({type(error).__name__}: {error})") from None
    if made_on != fingerprint(encoder):
        raise EncoderError(f"head={str(folder)!r} was fitted on {name}, other vectors than {encoder.name}'s")
    return head


def head_of(encoder: Encoder) -> LinearHead | None:
    """The head that a checkpoint was trained with; None where there is none, where it reads attention, or where `encoder.states`
    selects other states; EncoderError if it cannot be read."""
    if not isinstance(encoder, CheckpointEncoder) or encoder.random_weights or encoder.states is not None:
        return None
    if not (encoder.folder / WEIGHTS).is_file() or encoder.architecture.pooling in ATTENTION:
        return None
    try:
        manifest = json.loads(read_text(encoder.folder / MANIFEST, EncoderError))
        arrays = load_file(encoder.folder / WEIGHTS)
        classes = manifest["data"].get("classes")
        if classes is None:
            return None  # a language model's softmax
        coef, intercept = (arrays[f"head.1.{name}"].astype(np.float64) for name in ("weight", "bias"))
    except UNREADABLE as error:
        raise EncoderError(f"{encoder.folder}: the head cannot be read ({type(error).__name__}: {error})") from None
    made = {"fingerprint": fingerprint(encoder), "data": manifest["data"], "test": manifest["test"]}
    return LinearHead(coef, intercept, tuple(classes), len(encoder.dims) - 1, encoder.architecture.pooling, made)


def no_head(encoder: Encoder) -> str:
    """That an encoder has no head (`head_of`), and why, where it was trained with one."""
    if isinstance(encoder, CheckpointEncoder) and (encoder.folder / WEIGHTS).is_file():
        if encoder.random_weights:
            return f"{encoder.name} has random weights, and the head of its checkpoint belongs to the trained ones"
        if encoder.states is not None:
            return f"{encoder.name} has no head on encoder.states={encoder.states}: the head of its checkpoint reads other states"
        if (pooling := encoder.architecture.pooling) in ATTENTION:
            return f"{encoder.name} has no head of a pooled vector: its classifier reads encoder.pooling={pooling} over the tokens"
    return f"{encoder.name} has no head"


def fit_head(
    encoder: Encoder,
    task: Task,
    layer: int = -1,
    pooling: str | None = None,
    grid: Sequence[float] = (0.01, 0.1, 1.0, 10.0),
    store: Store | None = None,
) -> LinearHead:
    """Logistic regression on one pooled layer of a frozen encoder, C best on dev; `made` holds dev and test accuracy (0-1).
    `pooling`: None: mean, or the encoder's first where it has no mean (a function of sentences has a vector of its own).
    ConfigError for a layer or pooling that is not there, DataError for fewer than two classes."""
    from sklearn.linear_model import LogisticRegression

    layers = len(encoder.dims)
    if pooling is None:
        pooling = "mean" if "mean" in encoder.poolings else encoder.poolings[0]
    if not -layers <= layer < layers or pooling not in encoder.poolings:
        raise ConfigError(
            f"layer={layer}, pooling={pooling!r}: {encoder.name} has {layers} layers and the poolings {', '.join(encoder.poolings)}"
        )
    if len(task.classes) < 2:
        raise DataError(f"{task.name} has {len(task.classes)} class: a head needs two")
    layer %= layers
    column = Representation(layer, pooling)
    x = {split: vectors.astype(np.float64) for split, vectors in _vectors(encoder, task, column, store).items()}
    mean, spread = x["train"].mean(0), x["train"].std(0)
    varies = spread > 1e-6 * np.abs(mean)  # a constant dim is no feature,
    varies &= spread > 1e-6 * (np.median(spread[varies]) if varies.any() else 0)  # nor is a dead output beside the layer's others
    scale = np.where(varies, spread, np.inf)
    z = {split: (values - mean) / scale for split, values in x.items()}
    fits = [LogisticRegression(C=C, max_iter=5000).fit(z["train"], task.train.labels) for C in grid]
    best = max(fits, key=lambda fit: fit.score(z["dev"], task.dev.labels))  # ties: the smallest C
    coef, intercept = best.coef_, best.intercept_
    if len(coef) == 1:  # two classes: scikit-learn keeps the second's log-odds, shared out evenly here
        coef, intercept = np.concatenate([-coef, coef]) / 2, np.concatenate([-intercept, intercept]) / 2
    coef = coef / scale
    made = {"fingerprint": fingerprint(encoder), "encoder": encoder.name, "task": task.name, "sha256": task.sha256, "C": best.C}
    made |= {split: float(best.score(z[split], task.splits[split].labels)) for split in ("dev", "test")}
    return LinearHead(coef, intercept - coef @ mean, task.classes, layer, pooling, made)


def _vectors(encoder: Encoder, task: Task, column: Representation, store: Store | None) -> dict[str, Features]:
    """Vectors (n, d) of each split: from a store, if there is one that keeps them whole."""
    if store is not None and store.dtype_of([column.pooling]) == "float32":
        texts = [text for part in task.splits.values() for text in part.texts]
        kept = store.vectors(encoder, texts, [column.pooling])
        return {split: kept.rows(part.texts).get(column) for split, part in task.splits.items()}
    made = {}
    with bar(f"{encoder.name}: {task.name}", sum(len(part.texts) for part in task.splits.values())) as advance:
        for split, part in task.splits.items():
            made[split] = extract(encoder, encoder.tokenize(part.texts)[0], [column.pooling], advance)[column]
    return made


def classifier(encoder: Encoder, task: Task, head: str | None, home: Path, store: Store | None = None) -> LinearHead:
    """The head of an encoder for a task, with its scores in `head.made`; `home`: run.dir, fitted heads are kept in its folder
    heads; `store`: of the vectors that a fitted head reads, None: they are not kept.

    Args:
        head: None: the one that the encoder was trained with on this task; fit: that one, or else a fitted one; or a folder.

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
        has = no_head(encoder) if own is None else f"{encoder.name} has a head of {own.made['data']['task']}"
        raise ConfigError(f"{has}: for {task.name} take a checkpoint trained on it, or set study.head=fit")
    short = key_of({"encoder": fingerprint(encoder), "task": task.sha256, "version": VERSION})[:8]
    folder = home / "heads" / "-".join((re.sub(r"\W+", "_", encoder.name), task.name, short))
    if (folder / CARD).is_file():
        return load_head(folder, encoder)
    info(f"{encoder.name}: fitting a head on {task.name}, {sum(len(part.texts) for part in task.splits.values()):,} sentences")
    fitted = fit_head(encoder, task, store=store)
    fitted.save(folder)
    info(f"{folder}: accuracy {fitted.made['dev']:.4f} on dev, {fitted.made['test']:.4f} on test")
    return fitted
