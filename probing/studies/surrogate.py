"""Study `surrogate`: how far a decision tree over words, or over linguistic properties, imitates a classifier.

The classifier is a linear head on a layer of the encoder. Questions of the tree are words of the sentence, or values of properties
as probes of the same layer read them (the ten tasks of the built-in grammar, or of any corpus); properties that probes read badly
make bad questions, so their accuracy stands beside. Trees are fitted to the classifier's classes on train, their depth is chosen on
dev, and fidelity is measured on test (`probing.attributions.surrogate`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from probing.attributions.surrogate import DEPTHS, Features, Surrogate, properties, surrogate, word_presence
from probing.config import listed
from probing.data.frames import as_tasks
from probing.data.task import Task
from probing.encoders.base import fingerprint
from probing.evaluation.evaluate import evaluate
from probing.evaluation.paired_tests import holm, paired
from probing.evaluation.statistics import mean_ci
from probing.interactions.text.heads import LinearHead, classifier
from probing.log import info
from probing.studies import Context, require
from probing.studies.layout import columns, view, write
from probing.studies.sources import named_source
from probing.types import Representation

VERSION = 1
"""Raise when the same options would give other rows."""

HEAD = """# A decision tree in the place of the classifier

Fidelity: share of test sentences (%) to which the tree gives the classifier's class [95 % interval over sentences or their
groups]. Floors: the class that the classifier gives most often in train, and a tree of one question. Gain: fidelity less the better
floor, in points; p: paired t test, Holm over the lines. A fidelity without gain says nothing about the classifier."""
READ = """## How well the probes read the properties

Accuracy (%) of the probe of each property on its own corpus, at the classifier's layer. A tree over properties asks these."""
TITLES = {"fidelity (%)": "fidelity:%", "most frequent class (%)": "majority:%", "one question (%)": "one_question:%"}
TITLES |= {"gain": "gain:%", "p": "p_holm:.2g", "depth": "depth", "leaves": "leaves", "classifier's accuracy (%)": "accuracy:%"}


@dataclass
class SurrogateStudy:
    """Options:

    Args:
        questions: of words, properties, or all.
        head: as in the study `wrong_predictions`.
        properties: the corpus of the properties: grammar, a folder of task files, or a mapping (`probing.studies.sources`).
        names: the properties; null: all of the corpus.
        train: train sentences of each property's probe.
        depths: of trees, one is chosen on dev.
        words: most words that may be questions.
    """

    questions: Any = "all"
    head: str | None = "fit"
    properties: Any = "grammar"
    names: Any = None
    train: int = 1000
    depths: Any = None
    words: int = 2000

    name: ClassVar[str] = "surrogate"
    uses: ClassVar[tuple[str, ...]] = ("data", "encoder")

    def __post_init__(self) -> None:
        self.kinds = listed(self.questions, str, "study.questions", every=("words", "properties"))
        require(set(self.kinds) <= {"words", "properties"}, f"study.questions={self.questions} (words, properties or all)")
        self.sizes = DEPTHS if self.depths is None else listed(self.depths, int, "study.depths", every=())
        require(min(self.sizes) >= 1, f"study.depths={self.depths} must hold numbers of at least 1")
        require(self.train >= 50 and self.words >= 1, f"study.train={self.train} must be at least 50, study.words at least 1")

    def measure(self, context: Context) -> pd.DataFrame:
        rows = []
        for task in context.tasks:
            task.need_classes("a decision tree")
            require(not task.folds, f"{task.name} is cross-validated: a tree needs train, dev and test splits")
            head = classifier(context.encoder, task, self.head, context.home, context.store)
            part = {"study": self.name, "version": VERSION, "encoder": fingerprint(context.encoder), "head": head.sha256}
            part |= {"task": task.sha256, "kinds": list(self.kinds), "train": self.train, "depths": list(self.sizes)}
            part |= {"names": self.names, "words": self.words, "seed": context.seed, "corpus": self._corpus(context)}
            rows += context.finished(part, lambda task=task, head=head: self._rows(context, task, head))  # type: ignore[misc]
            info(f"{task.name}: trees done")
        return pd.DataFrame(rows)

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        """table.md, trees.txt."""
        trees = frame[frame.kind == "tree"].reset_index(drop=True)
        trees["p_holm"] = holm(trees.p.tolist())
        read = frame[frame.kind == "property"]
        blocks = [HEAD, view(trees, "data encoder layer questions", TITLES)]
        if len(read):
            blocks += [READ, view(read, "encoder layer property", {"accuracy (%)": "accuracy:%"})]
        text = "\n".join(f"{row.data}, {row.encoder}, {row.questions}\n{row.text}" for row in trees.itertuples())
        write(folder, blocks, {"trees.txt": text})

    def _corpus(self, context: Context) -> str | None:
        return str(self.properties) if "properties" in self.kinds else None

    def _rows(self, context: Context, task: Task, head: LinearHead) -> list[dict[str, Any]]:
        encoder, column = context.encoder, Representation(head.layer, head.pooling)
        vectors = context.store.vectors(encoder, [t for split in task.splits.values() for t in split.texts], [head.pooling])
        x = {name: vectors.of(split).get(column) for name, split in task.splits.items()}
        predicted = {name: head.logits(own.astype(np.float64)).argmax(1) for name, own in x.items()}
        about = {"data": task.name, "encoder": encoder.name, "layer": head.layer}
        rows: list[dict[str, Any]] = []
        for kind in self.kinds:
            if kind == "words":
                features = word_presence({name: split.texts for name, split in task.splits.items()}, self.words)
            else:
                features, read = self._properties(context, column, x)
                rows += [about | one for one in read]
            tree = surrogate(features, predicted, task.classes, self.sizes)
            right = mean_ci(predicted["test"] == task.test.labels, task.test.clusters)
            rows.append(about | {"kind": "tree", "questions": kind, **_row(tree, task), **columns("accuracy", right)})
        return rows

    def _properties(self, context: Context, column: Representation, x: dict[str, Any]) -> tuple[Features, list[dict[str, Any]]]:
        """What probes of the properties read off the vectors of each split, and rows of their accuracy."""
        names = None if self.names is None else listed(self.names, str, "study.names", every=())
        source = named_source("study.properties", self.properties, context.home)
        tasks = [task.subset(self.train, context.seed) for task in as_tasks(names or "all", source)]
        table = evaluate(
            tasks, context.encoder, store=context.store, cells=context.results, layers=[column.layer], poolings=[column.pooling],
            seeds=context.seed, controls=(), floors=(), force=context.force,
        )  # fmt: skip
        read, rows = {}, []
        for task in tasks:
            probe = table.probe(task=task.name, role="probe")
            read[task.name] = {split: probe.predict(own).tolist() for split, own in x.items()}
            row = table.where(task=task.name, measure="probe", role="probe").iloc[0]
            estimate = {"accuracy": row.accuracy, "accuracy_low": row.accuracy_low, "accuracy_high": row.accuracy_high}
            rows.append({"kind": "property", "property": task.name, **estimate})
        return properties(read), rows


def _row(tree: Surrogate, task: Task) -> dict[str, Any]:
    groups, agrees = task.test.clusters, tree.agrees.astype(float)
    floors = {"majority": tree.majority, "one_question": tree.one_question}
    best = max(floors.values(), key=np.mean)
    gain, p = paired(agrees - best, groups=groups)
    row: dict[str, Any] = {
        "depth": tree.depth,
        "leaves": tree.leaves,
        "n": len(agrees),
        **columns("fidelity", mean_ci(agrees, groups)),
    }
    row |= {name: float(own.mean()) for name, own in floors.items()}
    return row | {**columns("gain", gain), "p": p, "text": tree.text}
