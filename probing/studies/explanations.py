"""Study `explanations`: how faithful and how plausible each method's scores of words are, per masking, with controls.

A sentence of at most 12 words has the table of all its coalitions (`probing.attributions.coalitions`): from it come the scores of
games, and the judgement of every method's scores between chance and the best set. Longer sentences are left out and counted. The
target is the class predicted for the whole sentence. Gold words are those of the source, if it has any (`gold`).

    controls   twin       the encoder with random weights, and the trained head: scores without the model
               refitted   the same with a head of its own: what the words alone allow, no control of plausibility
               labels     the encoder with a head fitted on permuted labels: a head without information
    floors     random, frequency, length, position (`probing.attributions.methods`)

With `layers` the same model rows give v_f of every layer: T, Shapley values beside those of the head, and their share on gold
words. Finished parts are kept, one for each sentence, masking and method.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from probing.attributions.coalitions import MAX_WORDS, table_inputs
from probing.attributions.indices import GAMES
from probing.attributions.methods import METHODS, OF_TEXT, Settings, check, counted, default_masking
from probing.data.task import Task
from probing.encoders.base import Encoder
from probing.errors import ConfigError, did_you_mean
from probing.evaluation.evaluate import evaluate
from probing.interactions.text.game import TextGame, seconds_per_row
from probing.interactions.text.heads import LinearHead, classifier
from probing.interactions.text.masking import possible
from probing.log import bar, human_seconds, info
from probing.probes.controls import control_task
from probing.report.explanations import write
from probing.store.results import ResultStore
from probing.studies import Context, check_words, require
from probing.studies.explained import Explained, Model, Sentence

DEFAULT = (*GAMES, "ig", "gradient", "gradient-x-input", "gradient-x-change", *OF_TEXT)
CONTROLS = ("twin", "refitted", "labels")


@dataclass
class Explanations:
    sentences: int = 50
    words: list[int] = field(default_factory=lambda: [4, 10])
    split: str = "test"
    head: str | None = "fit"
    methods: Any = None
    maskings: Any = None
    controls: Any = field(default_factory=lambda: ["twin"])
    gold: str = "majority"
    layers: bool = False
    train_size: int | None = 2000

    name: ClassVar[str] = "explanations"
    uses: ClassVar[tuple[str, ...]] = ("encoder", "data")

    def __post_init__(self) -> None:
        check_words(self.words, 2, "[4, 10]")
        most = f"study.words={self.words}: at most {MAX_WORDS} words, which have {2**MAX_WORDS:,} coalitions, a model row each"
        require(self.words[1] <= MAX_WORDS, most)
        require(self.sentences >= 1, f"study.sentences={self.sentences} must be at least 1")
        require(self.split in ("train", "dev", "test"), f"study.split={self.split!r} is unknown (allowed: train, dev, test)")
        require(self.gold in ("majority", "union"), f"study.gold={self.gold!r} is unknown (allowed: majority, union)")
        for option in ("methods", "maskings", "controls"):
            given = getattr(self, option)
            setattr(self, option, [given] if isinstance(given, str) and given != "none" else [] if given == "none" else given)
        for option, allowed in (("methods", METHODS), ("controls", CONTROLS)):
            given = getattr(self, option) or []
            require(isinstance(given, list), f"study.{option}={given!r} must be a name, or a list of names")
            for name in given:
                message = f"study.{option}: {name!r} is unknown{did_you_mean(name, allowed)} (allowed: {', '.join(allowed)})"
                require(name in allowed, message)
            require(len(set(given)) == len(given), f"study.{option}={given} must be a list of different names")
        require(
            self.maskings is None or isinstance(self.maskings, list), f"study.maskings={self.maskings!r} must be a list of names"
        )
        several = f"study.maskings={self.maskings} must be a list of different maskings, such as [mask, attention]"
        require(self.maskings is None or 0 < len(set(self.maskings)) == len(self.maskings), several)

    def measure(self, context: Context) -> pd.DataFrame:
        encoder, rows = context.encoder, list[dict[str, Any]]()
        maskings = self.maskings or [default_masking(encoder)]
        for masking in maskings:
            allowed = [name for name in possible(encoder) if name != "replace"]
            message = f"study.maskings: {masking!r} is not possible for {encoder.name} (allowed: {', '.join(allowed)})"
            require(masking in allowed, message)
        self._some_method_applies(encoder, maskings)
        for task in context.tasks:
            head = classifier(encoder, task, self.head, context.home, context.store)
            sentences = self._drawn(context, task)
            settings = Settings(seed=context.seed, counts=counted(task.train.texts))
            models = [Model("", encoder, head), *self._controls(context, task, head)]
            layers = tuple(range(len(encoder.dims))) if self.layers else ()
            jobs = [
                Explained(context.results, model, masking, sentence, () if model.control else layers, self.gold, settings)
                for model in models
                for masking in maskings
                for sentence in sentences
            ]
            _estimate(context.results, jobs)
            shared = {"data": task.name, "encoder": encoder.name, "accuracy": head.test_accuracy}
            with bar(f"explanations {encoder.name}", len(jobs)) as advance:
                for job in jobs:
                    rows += [shared | row for method in self.methods or DEFAULT for row in job.scored(method)]
                    rows += [shared | row for row in job.of_layers()]
                    advance(1)
            for model in models:
                model.encoder.release()
            if self.layers:
                rows += [shared | row for row in self._probed(context, task, head.pooling)]
        scored = [row for row in rows if row.get("kind") == "scores"]
        reasons = dict.fromkeys(f"{row['method']}: {row['note']}" for row in scored if "scores" not in row and row.get("note"))
        require(any("scores" in row for row in scored), f"no method of study.methods applies: {'; '.join(reasons)}")
        return pd.DataFrame(rows)

    def _some_method_applies(self, encoder: Encoder, maskings: Sequence[str]) -> None:
        """ConfigError, with the reasons, before any work where no method has scores under any of the maskings."""
        reasons = dict[str, None]()
        for masking in maskings:
            for method in self.methods or DEFAULT:
                try:
                    check(encoder, method, masking)
                except ConfigError as error:
                    reasons[f"{method}: {error}"] = None
                else:
                    return
        raise ConfigError(f"no method of study.methods={self.methods} applies: {'; '.join(reasons)}")

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        """summary.csv, comparisons.csv, table.md; with layers also layers.csv."""
        write(frame, folder)

    def _drawn(self, context: Context, task: Task) -> list[Sentence]:
        """Sentences of the wanted lengths, drawn by the seed; logs how many others there are."""
        split, source = task.splits[self.split], context.source
        lengths = np.array([len(text.split()) for text in split.texts])
        fits = np.flatnonzero((lengths >= self.words[0]) & (lengths <= self.words[1]))
        require(len(fits) > 0, f"study.words={self.words}: {self.split} of {task.name} has no sentence of that length")
        drawn = np.random.default_rng(context.seed).permutation(fits)[: self.sentences]
        info(
            f"{task.name}, {self.split}: {len(drawn)} of {len(fits)} sentences of {self.words[0]} to {self.words[1]} words; "
            f"{int((lengths > self.words[1]).sum())} are longer, {int((lengths < self.words[0]).sum())} shorter"
        )
        gold = getattr(source, "gold", None)
        marks = {i: None if gold is None else np.asarray(gold(split.texts[i]).marks, bool) for i in drawn.tolist()}
        clusters = np.arange(len(lengths)) if split.groups is None else np.unique(split.groups, return_inverse=True)[1]
        return [Sentence(i, split.texts[i], task.classes[split.labels[i]], int(clusters[i]), own) for i, own in marks.items()]

    def _controls(self, context: Context, task: Task, head: LinearHead) -> Iterator[Model]:
        wanted = {"twin", "refitted"} & set(self.controls)
        twin = context.encoder.random_twin(context.seed) if wanted else None
        if wanted and twin is None:
            info(f"{context.encoder.name} has no random twin: left out, {', '.join(sorted(wanted))}")
        if twin is not None and "twin" in wanted:
            yield Model("twin", twin, head)
        if twin is not None and "refitted" in wanted:
            yield Model("refitted", twin, classifier(twin, task, "fit", context.home, context.store))
        if "labels" in self.controls:
            permuted = replace(control_task(task, "permuted", context.seed), name=f"{task.name}-permuted")
            yield Model("labels", context.encoder, classifier(context.encoder, permuted, "fit", context.home, context.store))

    def _probed(self, context: Context, task: Task, pooling: str) -> list[dict[str, Any]]:
        """Probing accuracy of each layer on the task itself, for the table of layers."""
        cells = ResultStore(context.home / "cells")
        table = evaluate(
            [task], [context.encoder], store=context.store, cells=cells, probe="fast", poolings=(pooling,), seeds=(context.seed,),
            controls=(), floors=(), train_size=self.train_size,
        )  # fmt: skip
        frame = table.frame[(table.frame.role == "probe") & (table.frame.status == "done")]
        numbers = {"layer": "layer", "accuracy": "probe", "accuracy_low": "probe_low", "accuracy_high": "probe_high"}
        return [{"kind": "probe", **row} for row in frame[[*numbers]].rename(columns=numbers).to_dict("records")]


def _estimate(results: ResultStore, jobs: list[Explained]) -> None:
    """Logs the model rows of the tables that are not there, and the time that they take."""
    open_ = [job for job in jobs if results.get(table_inputs(*job.of_table, job.layers)) is None]
    if not open_:
        return
    model, sentence = open_[0].model, open_[0].sentence
    game = TextGame(model.encoder, sentence.text, "logit", open_[0].masking, target="all", head=model.head)
    rows = sum(2 ** len(job.sentence.words) for job in open_)
    info(
        f"{model.encoder.name}: {len(open_)} tables of {len(jobs)} are to be made, {rows:,} model rows, about "
        f"{human_seconds(rows * seconds_per_row(game))}; gradients come on top"
    )
