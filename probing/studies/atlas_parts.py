"""The columns of an atlas as rows: each is measured by the study or table that it is named after, at the size of the atlas."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from probing.behaviour.erasing import NothingScored
from probing.behaviour.models import language_model
from probing.behaviour.treebank_pairs import PROPERTIES as PAIRS
from probing.behaviour.treebank_pairs import TreebankPairs
from probing.data.task import Task
from probing.errors import ConfigError, DataError, EncoderError, ProbingError
from probing.evaluation.evaluate import evaluate
from probing.evaluation.table import ResultTable
from probing.evaluation.transfer import transfer
from probing.log import info
from probing.probes.controls import unsuited
from probing.report.atlas_verdicts import LEVEL
from probing.studies import Context
from probing.studies.atlas_inputs import classifier_of, corpora_of, treebank_of, words_of
from probing.studies.atlas_rows import (
    Noted,
    Row,
    card_of_study,
    code_rows,
    encoded_rows,
    interacting_rows,
    row,
    transfers_rows,
    used_rows,
    where_rows,
)
from probing.studies.causal import PROPERTIES as TASK_OF_PAIRS
from probing.studies.causal import Causal
from probing.studies.concepts import ConceptsStudy
from probing.studies.interaction_layers import InteractionLayers
from probing.studies.neurons import NeuronsStudy
from probing.studies.properties import pairs_of, with_task
from probing.studies.sources import Given

if TYPE_CHECKING:
    from probing.studies.atlas import Atlas, Size

COLUMNS = ("encoded", "where", "used", "interacting", "transfers")
"""Of the atlas, in their order; `Parts` has a method of each name."""

WORDS = "word-mean"
"""The pooling of properties of words."""
UNITS = 10
"""Units that `where` is about."""
PAIRS_OF = {task: name for name, task in TASK_OF_PAIRS.items()} | {"Number": "number", "Tense": "tense"}
"""Task -> the property whose pairs show its use."""
NO_CORPUS = "no other corpus: corpora={NAME: FOLDER} names one with tasks of these names"


class Parts:
    """The columns of one encoder; each method gives the rows of one."""

    def __init__(self, study: Atlas, size: Size, context: Context):
        self.study, self.size, self.context, self.encoder = study, size, context, context.encoder
        self.treebank = treebank_of(study.treebank)
        self.classifier = classifier_of(study.classifier if "used" in study.chosen else None, context.home)
        drawn = size.items or (None, None, None)
        given = [*context.tasks, *words_of(self.treebank)]
        self.tasks = [task.subset(drawn[0], context.seed, *drawn[1:]) for task in given]
        self.of_sentences = [task for task in self.tasks if not task.of_words]
        others = study.corpora if "transfers" in study.chosen else None
        self.corpora = corpora_of(others, context.home, (context.source.name, self.of_sentences), size.items, context.seed)

    def without(self, column: str, reason: str, tasks: Sequence[Task] | None = None, status: str = "not applicable") -> list[Row]:
        """A row for each task that says why the column has no number."""
        none = {"status": status, "reason": reason}
        return [row(task, column, "", np.nan, **none) for task in (self.tasks if tasks is None else tasks)]

    def _each(
        self, column: str, tasks: Sequence[Task], rows_of: Callable[[Task], Iterator[Row]], absent: type[ProbingError] | None = None
    ) -> Iterator[Row]:
        """The rows of each task; one that cannot be measured has its reason, and the others go on. `absent`: the error of a task
        that the column does not apply to."""
        for task in tasks:
            try:
                yield from list(rows_of(task))
            except ProbingError as error:
                lost = absent is None or not isinstance(error, absent)
                if lost:
                    info(f"{column}: {task.name} is not measured: {error}")
                yield from self.without(column, str(error), [task], "failed" if lost else "not applicable")

    def pooling(self, task: Task) -> str:
        if task.of_words:
            return WORDS
        return "mean" if "mean" in self.encoder.poolings else self.encoder.poolings[0]

    # Encoded.

    def options(self, pooling: str) -> dict[str, Any]:
        """Options of the table of a pooling, as `evaluate` takes them."""
        more = {"seeds": [self.context.seed], "floors": None, "controls": None, "twins": self.size.twins}
        return {"probe": self.study.probe, "poolings": pooling, **more}

    @cached_property
    def tables(self) -> dict[str, ResultTable]:
        """Task -> the table that holds it."""
        made = dict[str, ResultTable]()
        for pooling in dict.fromkeys(self.pooling(task) for task in self.tasks):
            tasks = [task for task in self.tasks if self.pooling(task) == pooling]
            context, options = self.context, self.options(pooling)
            table = evaluate(tasks, [self.encoder], store=context.store, cells=context.results, force=context.force, **options)
            made |= dict.fromkeys((task.name for task in tasks), table)
        return made

    @cached_property
    def best(self) -> dict[str, Any]:
        """Task -> its line of `ResultTable.best`."""
        lines = dict[str, Any]()
        for table in {id(table): table for table in self.tables.values()}.values():
            lines |= {line.task: line for line in table.of_measure("probe").best().itertuples()}
        return lines

    def encoded(self) -> Iterator[Row]:
        for task in self.tasks:
            line = self.best[task.name]
            if line.seeds:
                yield from encoded_rows(task, self.tables[task.name], line, self.context.results)
                if self.size.code and not task.of_words:
                    yield from code_rows(task, self.context, self.pooling(task), int(line.layer))
            else:
                yield from self.without("encoded", line.missing, [task], "failed")

    # Where.

    def neurons(self, task: Task, layer: int) -> NeuronsStudy:
        pooling = "mean" if task.of_words else self.pooling(task)
        return NeuronsStudy(
            layer=[layer], pooling=pooling, rankings=["linear"], top=UNITS, rotations=self.size.rotations, samples=2
        )

    def where(self) -> Iterator[Row]:
        yield from self._each("where", self.tasks, self._where)

    def _where(self, task: Task) -> Iterator[Row]:
        if task.kind != "classification":
            yield from self.without("where", "units are ranked for classes, and this is a number", [task])
            return
        if not self.best[task.name].seeds:
            yield from self.without("where", self.best[task.name].missing, [task], "failed")
            return
        layer = int(self.best[task.name].layer)
        study = self.neurons(task, layer)
        kept = Noted(self.context.results)
        frame = study.measure(replace(with_task(self.context, task), results=kept))
        [own] = frame[frame.kind == "layer"].to_dict("records")
        if own["live"] <= UNITS:
            reason = f"layer {layer} has {int(own['live'])} units that vary: the best {UNITS} are all of it, as in any basis"
            yield from self.without("where", reason, [task])
            return
        if pd.isna(own.get("p_control")):
            reason = unsuited(task, "word" if task.of_words else "permuted")
            yield from self.without("where", f"no control labels to stand against: {reason}", [task])
            return
        made: Row = {"cell": next(iter(kept.keys)), "card": card_of_study(study, self.context, task, kept.keys)}
        yield from where_rows(task, own, UNITS, made)

    # Used.

    def used(self) -> list[Row]:
        """A failure stands first: it is the reason of a property without a number, before that one of two ways does not apply."""
        rows = list(self._by_pairs())
        if self.classifier is not None:
            try:
                rows += self._by_classifier(self.classifier)
            except ProbingError as error:
                info(f"used: the classifier is not followed: {error}")
                rows += self.without("used", f"classifier: {error}", self.followed, "failed")
        return sorted(rows, key=lambda one: one["status"] != "failed")

    @cached_property
    def no_pairs(self) -> str:
        """Why use cannot be measured on pairs; empty if it can."""
        try:
            language_model(self.encoder)
        except EncoderError as error:
            return str(error)
        return "" if self.treebank else "no pairs: treebank=DIR names a folder of CoNLL-U"

    @cached_property
    def given_pairs(self) -> dict[str, TreebankPairs]:
        """Task -> its pairs, of those that the treebank has any of."""
        made = dict[str, TreebankPairs]()
        for task in self.tasks if self.treebank is not None else ():
            with suppress(DataError):  # no sentence of dev or test gives one
                if PAIRS_OF.get(task.name) in PAIRS and (pairs := self.pairs(task, self.size.pairs)).items:
                    made[task.name] = pairs
        return made

    @property
    def with_pairs(self) -> list[Task]:
        return [task for task in self.tasks if task.name in self.given_pairs]

    @property
    def draws(self) -> int:
        """Of random directions; where a classifier has the other half of the level, the smallest p must be half as large."""
        return self.size.draws * (1 if self.classifier is None else 2)

    def pairs(self, task: Task, most: int | None) -> TreebankPairs:
        assert self.treebank is not None
        return pairs_of(self.treebank, PAIRS_OF[task.name], ["dev", "test"], most, self.context.seed)

    def erasing(self, task: Task, layers: Any = "all") -> Causal:
        return Causal(
            method="erase", property=task.name, labels=Given(task), train=2000, layers=layers, draws=self.draws, kl=0, whole=True
        )

    def _by_pairs(self) -> Iterator[Row]:
        if self.treebank is None or self.no_pairs:
            yield from self.without("used", self.no_pairs)
            return
        for task in self.tasks:
            if task.name not in self.given_pairs:
                about = PAIRS_OF.get(task.name) in PAIRS
                none = "no sentence of dev and test of the treebank gives a pair" if about else "no pairs are about this property"
                yield from self.without("used", none, [task])
        yield from self._each("used", self.with_pairs, self._lost, NothingScored)

    def _lost(self, task: Task) -> Iterator[Row]:
        study, kept = self.erasing(task), Noted(self.context.results)
        drawn = int.from_bytes(hashlib.sha256(task.name.encode()).digest()[:3])  # maxT: each property has directions of its own
        given = replace(with_task(self.context, task, self.given_pairs[task.name]), seeds=(self.context.seed + drawn,))
        frame = study.measure(replace(given, results=kept))
        yield from used_rows(task, frame.assign(cell=list(kept.keys)), card_of_study(study, given, task))
        info(f"used: {task.name} is done")

    @property
    def followed(self) -> list[Task]:
        """Tasks that a classifier's logit may follow."""
        return [task for task in self.of_sentences if task.kind == "classification"]

    def _by_classifier(self, classifier: Task) -> list[Row]:
        tasks = [task for task in self.followed if len(task.classes) <= min(self.encoder.dims)]
        reason = "its classes are more than the features of a layer, and their directions would be all of it"
        rows = self.without("used", reason, [task for task in self.followed if task not in tasks])
        context = replace(self.context, make_tasks=lambda: [classifier])
        tests = len(tasks) * len(self.encoder.dims)
        draws = max(999, round(2 * tests / LEVEL))  # the smallest p passes Holm's test of all of them at half of the level
        study = ConceptsStudy(labels=Given(*tasks), sizes=[1000, 300, 300], games=0, permutations=draws)
        names = {task.name: task for task in tasks}
        for own in study.derivatives(context).to_dict("records") if tasks else ():
            size = {"value": own["white_size"], "p": own["white_size_p"], "against_value": own["white_size_null"]}
            rows.append(row(
                names[own["task"]], "used", "derivative", role="layer", layer=int(own["layer"]), n=study.sentences,
                against="permuted labels", card=card_of_study(study, context, names[own["task"]]), **size,
            ))  # fmt: skip
        return rows

    # Interacting.

    def interactions(self, sentences: int) -> InteractionLayers:
        least, most = self.size.words
        values = ["mean" if "mean" in self.encoder.poolings else self.encoder.poolings[0]]
        return InteractionLayers(sentences=sentences, words=[least, most], lengths=[3, min(5, least)], values=values)

    def interacting(self) -> Iterator[Row]:
        of_words = [task for task in self.tasks if task.of_words]
        yield from self.without("interacting", "T is of sentences, and this is a property of words", of_words)
        yield from self._each("interacting", self.of_sentences, self._interacting, ConfigError)

    def _interacting(self, task: Task) -> Iterator[Row]:
        study = self.interactions(self.size.sentences)
        frame = study.measure(with_task(self.context, task))
        yield from interacting_rows(task, frame, card_of_study(study, self.context, task))

    # Transfers.

    def transfers(self) -> Iterator[Row]:
        if not self.corpora:
            yield from self.without("transfers", NO_CORPUS)
            return
        first, names = next(iter(self.corpora)), {task.name: task for task in self.of_sentences}
        made = transfer(
            self.corpora, self.encoder, floors=None, twins=self.size.twins, sizes=self.size.items, probe=self.study.probe,
            poolings=self.pooling(self.of_sentences[0]), seeds=[self.context.seed], store=self.context.store,
            cells=self.context.results, force=self.context.force,
        )  # fmt: skip
        lines = made.lines()
        lines = lines[(lines.source == first) & (lines.target != first)]
        for own in lines.itertuples():
            if own.cell:
                yield from transfers_rows(names[own.property], made, own, self.context.results)
            else:
                yield from self.without("transfers", own.missing, [names[own.property]], "failed")
        lost = [task for task in self.tasks if task.name not in set(lines.property)]
        yield from self.without("transfers", "no other corpus has this task with these classes", lost)
