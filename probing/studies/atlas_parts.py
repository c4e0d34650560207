"""The columns of an atlas as rows: each is measured by the study or table that it is named after, at the size of the atlas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from probing.behaviour.erasing import NothingScored
from probing.behaviour.models import language_model
from probing.behaviour.treebank_pairs import PROPERTIES as PAIRS
from probing.behaviour.treebank_pairs import TreebankPairs
from probing.data.conllu import Treebank
from probing.data.task import Task
from probing.errors import ConfigError, DataError, EncoderError
from probing.evaluation.best import floors_of
from probing.evaluation.evaluate import evaluate
from probing.evaluation.table import ResultTable
from probing.evaluation.transfer import transfer
from probing.log import info
from probing.studies import Context
from probing.studies.atlas_rows import (
    Noted,
    Row,
    above_all,
    card_of_cell,
    card_of_study,
    encoded_rows,
    interacting_rows,
    row,
    used_rows,
)
from probing.studies.causal import PROPERTIES as TASK_OF_PAIRS
from probing.studies.causal import Causal
from probing.studies.concepts import ConceptsStudy
from probing.studies.interaction_layers import InteractionLayers
from probing.studies.neurons import NeuronsStudy
from probing.studies.properties import pairs_of, with_task
from probing.studies.sources import Given, named_source

if TYPE_CHECKING:
    from probing.studies.atlas import Atlas, Size

COLUMNS = ("encoded", "where", "used", "interacting", "transfers")
"""Of the atlas, in their order; `Parts` has a method of each name."""

WORDS = "word-mean"
"""The pooling of properties of words."""
UNITS = 10
"""Units that `where` is about."""
FEATURES = ("upos", "Number", "Tense", "tree")
"""Tasks of words that a treebank adds, where it has them."""
OF_WORDS = {"Number": "number", "Tense": "tense"}
PAIRS_OF = {task: name for name, task in TASK_OF_PAIRS.items()} | OF_WORDS
"""Task -> the property whose pairs show its use."""
NO_CORPUS = "no other corpus: corpora={NAME: FOLDER} names one with tasks of these names"


class Parts:
    """The columns of one encoder; each method gives the rows of one."""

    def __init__(self, study: Atlas, size: Size, context: Context):
        self.study, self.size, self.context, self.encoder = study, size, context, context.encoder
        drawn = size.items or (None, None, None)
        given = [*context.tasks, *self._of_words()]
        self.tasks = [task.subset(drawn[0], context.seed, *drawn[1:]) for task in given]

    @cached_property
    def treebank(self) -> Treebank | None:
        return None if self.study.treebank is None else Treebank(self.study.treebank)

    def _of_words(self) -> list[Task]:
        if self.treebank is None:
            return []
        made: list[Task] = []
        for name in FEATURES:
            try:
                made += self.treebank.tasks([name])
            except DataError as error:  # no such feature, one value of it alone, or no trees
                info(f"{name}: left out: {error}")
        return made

    def without(self, column: str, reason: str, tasks: Sequence[Task] | None = None, status: str = "not applicable") -> list[Row]:
        """A row for each task that says why the column has no number."""
        none = {"status": status, "reason": reason}
        return [row(task, column, "", np.nan, **none) for task in (self.tasks if tasks is None else tasks)]

    def pooling(self, task: Task) -> str:
        if task.of_words:
            return WORDS
        return "mean" if "mean" in self.encoder.poolings else self.encoder.poolings[0]

    # Encoded.

    def options(self, pooling: str) -> dict[str, Any]:
        """Options of the table of a pooling, as `evaluate` takes them."""
        return {
            "probe": self.study.probe, "poolings": pooling, "seeds": [self.context.seed], "floors": None, "controls": None,
            "twins": self.size.twins, "measures": ("mdl",) if self.size.code and pooling != WORDS else (),
        }  # fmt: skip

    @cached_property
    def tables(self) -> dict[str, ResultTable]:
        """Task -> the table that holds it."""
        made = dict[str, ResultTable]()
        for pooling in dict.fromkeys(self.pooling(task) for task in self.tasks):
            tasks = [task for task in self.tasks if self.pooling(task) == pooling]
            options = self.options(pooling)
            table = evaluate(
                tasks, [self.encoder], store=self.context.store, cells=self.context.results, force=self.context.force, **options
            )
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
            else:
                yield from self.without("encoded", line.missing, [task], "failed")

    # Where.

    def neurons(self, task: Task, layer: int) -> NeuronsStudy:
        pooling = "mean" if task.of_words else self.pooling(task)
        return NeuronsStudy(
            layer=[layer], pooling=pooling, rankings=["linear"], top=UNITS, rotations=self.size.rotations, samples=2
        )

    def where(self) -> Iterator[Row]:
        for task in self.tasks:
            if task.kind != "classification":
                yield from self.without("where", "units are ranked for classes, and this is a number", [task])
                continue
            layer = int(self.best[task.name].layer)
            study = self.neurons(task, layer)
            kept = Noted(self.context.results)
            frame = study.measure(replace(with_task(self.context, task), results=kept))
            made: Row = {"cell": next(iter(kept.keys)), "card": card_of_study(study, self.context, task, kept.keys)}
            [own] = frame[frame.kind == "layer"].to_dict("records")
            facets = {name: own[name] for name in ("first", "live", "minimal", "minimal_accuracy", "without_minimal", "random")}
            facets |= {"p_control": own["p_control"], "p_random": own["p_random"], "units": UNITS, "full": own["full"]}
            yield row(
                task, "where", "best units", own["accuracy"], layer=layer, low=own["accuracy_low"], high=own["accuracy_high"],
                n=own["n_test"], facets=facets, **made,
            )  # fmt: skip
            yield row(
                task, "where", "less rotated", own["less_rotated"], layer=layer, low=own["less_rotated_low"],
                high=own["less_rotated_high"], n=own["n_test"], p=own["p_rotated"], against="random bases",
                against_value=own["rotated"], **made,
            )  # fmt: skip

    # Used.

    def used(self) -> Iterator[Row]:
        yield from self._by_pairs()
        if self.study.classifier is not None:
            yield from self._by_classifier()

    @cached_property
    def no_pairs(self) -> str:
        """Why use cannot be measured on pairs; empty if it can."""
        try:
            language_model(self.encoder)
        except EncoderError as error:
            return str(error)
        return "" if self.treebank else "no pairs: treebank=DIR names a folder of CoNLL-U"

    @cached_property
    def with_pairs(self) -> list[Task]:
        return [task for task in self.tasks if PAIRS_OF.get(task.name) in PAIRS]

    @property
    def draws(self) -> int:
        """Of random directions: with fewer the smallest p could not pass Holm's test of all properties with pairs, at half of the
        level where a classifier has the other."""
        return self.size.draws * len(self.with_pairs) * (1 if self.study.classifier is None else 2)

    def pairs(self, task: Task, most: int | None) -> TreebankPairs:
        assert self.treebank is not None
        return pairs_of(self.treebank, PAIRS_OF[task.name], ["dev", "test"], most, self.context.seed)

    def erasing(self, task: Task, layers: Any = "all") -> Causal:
        return Causal(method="erase", property=task.name, labels=Given(task), train=2000, layers=layers, draws=self.draws, kl=0)

    def _by_pairs(self) -> Iterator[Row]:
        if self.treebank is None or self.no_pairs:
            yield from self.without("used", self.no_pairs)
            return
        yield from self.without(
            "used", "no pairs are about this property", [one for one in self.tasks if one not in self.with_pairs]
        )
        for task in self.with_pairs:
            pairs, study = self.pairs(task, self.size.pairs), self.erasing(task)
            kept = Noted(self.context.results)
            try:
                frame = study.measure(replace(with_task(self.context, task, pairs), results=kept))
            except NothingScored as error:
                yield from self.without("used", str(error), [task])
                continue
            frame = frame.assign(cell=list(kept.keys))
            frame = frame[~frame.duplicated("layer", keep="last")]  # of an LSTM the erasure that takes the cell, too
            yield from used_rows(task, frame, card_of_study(study, self.context, task))
            info(f"used: {task.name} is done")

    def _by_classifier(self) -> Iterator[Row]:
        source = named_source("study.classifier", self.study.classifier, self.context.home)
        given = [task for task in self.tasks if task.kind == "classification" and not task.of_words]
        tasks = [task for task in given if len(task.classes) <= min(self.encoder.dims)]
        reason = "its classes are more than the features of a layer, and their directions would be all of it"
        yield from self.without("used", reason, [task for task in given if task not in tasks])
        context = replace(self.context, make_tasks=lambda: source.tasks(None), make_source=lambda: source)
        tests = len(tasks) * len(self.encoder.dims)  # the smallest p passes Holm's test of all of them at half of the level
        study = ConceptsStudy(labels=Given(*tasks), sizes=[1000, 300, 300], games=0, permutations=max(999, 40 * tests))
        names = {task.name: task for task in tasks}
        for own in study.derivatives(context).to_dict("records"):
            size = {"value": own["white_size"], "p": own["white_size_p"], "against_value": own["white_size_null"]}
            yield row(names[own["task"]], "used", "derivative", role="layer", layer=int(own["layer"]), n=study.sentences,
                      against="permuted labels", card=card_of_study(study, context, names[own["task"]]), **size)  # fmt: skip

    # Interacting.

    def interactions(self, sentences: int) -> InteractionLayers:
        least, most = self.size.words
        values = ["mean" if "mean" in self.encoder.poolings else self.encoder.poolings[0]]
        return InteractionLayers(sentences=sentences, words=[least, most], lengths=[3, min(5, least)], values=values)

    def interacting(self) -> Iterator[Row]:
        study = self.interactions(self.size.sentences)
        for task in self.tasks:
            if task.of_words:
                yield from self.without("interacting", "T is of sentences, and this is a property of words", [task])
                continue
            try:
                frame = study.measure(with_task(self.context, task))
            except ConfigError as error:
                yield from self.without("interacting", str(error), [task])
                continue
            yield from interacting_rows(task, frame, card_of_study(study, self.context, task))

    # Transfers.

    @cached_property
    def of_sentences(self) -> list[Task]:
        return [task for task in self.tasks if not task.of_words]

    @cached_property
    def corpora(self) -> dict[str, Any]:
        """Name -> tasks or source: first the atlas's own, then those that it names."""
        named = {name: named_source(f"corpora.{name}", given, self.context.home) for name, given in self.study.corpora.items()}
        return {self.context.source.name: self.of_sentences} | named

    def transfers(self) -> Iterator[Row]:
        if not self.study.corpora:
            yield from self.without("transfers", NO_CORPUS)
            return
        tasks, corpora = self.of_sentences, self.corpora
        first = next(iter(corpora))
        made = transfer(
            corpora, self.encoder, sizes=self.size.items, store=self.context.store, cells=self.context.results,
            probe=self.study.probe, poolings=self.pooling(tasks[0]), seeds=[self.context.seed], force=self.context.force,
        )  # fmt: skip
        lines = made.lines()
        lines = lines[(lines.source == first) & (lines.target != first)]
        names = {task.name: task for task in tasks}
        for own in lines.itertuples():
            task = names[own.property]
            if not own.cell:
                yield from self.without("transfers", own.missing, [task], "failed")
                continue
            of = {"layer": int(own.layer), "n": own.n_test, "facets": {"target": own.target, "shared": int(own.shared)}}
            of["card"] = card_of_cell(self.context.results, own.cell)
            floors = floors_of(made.table, own.task, own.encoder, own.probe, own.n_train)
            rows = made.frame[made.frame.cell == own.cell]
            yield row(task, "transfers", own.metric, own.score, low=own.score_low, high=own.score_high, cell=own.cell,
                      **above_all(made.table, rows, floors), **of)  # fmt: skip
            yield row(task, "transfers", "drop", own.drop, low=own.drop_low, high=own.drop_high, p=own.drop_p, **of)
        lost = [task for task in self.tasks if task.name not in set(lines.property)]
        yield from self.without("transfers", "no other corpus has this task", lost)
