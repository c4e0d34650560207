"""The parts of the study `concepts`, each kept when it is finished."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probing.attributions.and_or import Terms, alike, and_or
from probing.attributions.coalitions import coalition_table
from probing.attributions.concepts import Concept, along, concept, slopes_at
from probing.attributions.learned_absence import RADIUS, STEPS, check_learned, learned
from probing.attributions.methods import default_masking
from probing.data.sources import SentEvalFolder
from probing.data.task import Task
from probing.encoders.base import Encoder, fingerprint
from probing.encoders.given import as_encoder
from probing.encoders.gradients import check_gradients
from probing.encoders.interventions import Intervention, intervened
from probing.errors import ConfigError, EncoderError, did_you_mean
from probing.evaluation.best import against_floors, floors_of
from probing.evaluation.comparisons import cells_of
from probing.evaluation.evaluate import evaluate
from probing.interactions.game import TableGame
from probing.interactions.segment import segment_interaction
from probing.interactions.text.game import JointGame, TextGame, text_interactions
from probing.interactions.text.heads import LinearHead, classifier
from probing.interactions.text.masking import with_vectors
from probing.log import bar
from probing.probes.erasure import erase, random
from probing.store.extraction import extract
from probing.studies import Context, layers_of
from probing.studies.sources import named_source
from probing.types import Representation, Values

if TYPE_CHECKING:
    from probing.studies.concepts import ConceptsStudy

VERSION = 1
"""Raise when the same options would give other rows."""
Key = tuple[str, int]
"""The name of a concept, and a layer."""


def _other(name: str) -> Encoder:
    """An encoder of study.others; ConfigError, in one line, for a name that is none."""
    try:
        return as_encoder(name)
    except EncoderError as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(f"study.others: {why}: give a preset's name, or a folder or hub id of a model") from None


class Parts:
    def __init__(self, study: ConceptsStudy, context: Context):
        self.study, self.context, self.encoder = study, context, context.encoder
        (check_learned if study.learned else check_gradients)(self.encoder)
        if len(context.tasks) != 1:
            raise ConfigError("+experiment=concepts explains one classifier: name one task of the data with task=…")
        self.others = [_other(name) for name in study.others]  # an unknown name ends the run before a head is fitted
        self.concepts = self._labelled()
        [self.task] = context.tasks
        self.layers = layers_of(study.layers, len(self.encoder.dims))
        self.head = classifier(self.encoder, self.task, study.head, context.home, context.store)
        target = study.target or self.head.classes[-1]
        if target not in self.head.classes:
            near = did_you_mean(target, self.head.classes)
            raise ConfigError(f"study.target={target!r} is no class{near} (allowed: {', '.join(self.head.classes)})")
        self.target = self.head.classes.index(target)
        self.of = {"encoder": self.encoder.name, "data": self.task.name, "target": target, "head_layer": self.head.layer}

    def _labelled(self) -> list[Task]:
        """The concepts: the tasks that are followed."""
        source = named_source("study.labels", self.study.labels, self.context.home)
        source = SentEvalFolder(str(Path(source).expanduser())) if isinstance(source, str) else source
        train, dev, test = self.study.sizes
        tasks = [task.subset(train, self.context.seed, dev, test) for task in source.tasks(self.study.concepts)]
        for task in tasks:
            task.need_classes("the study concepts")
        return tasks

    @cached_property
    def masking(self) -> str:
        return self.study.masking or default_masking(self.encoder)

    def _part(self, of: str, **more: Any) -> dict[str, Any]:
        key = {"study": "concepts", "version": VERSION, "of": of, "encoder": fingerprint(self.encoder)}
        return key | {"head": self.head.sha256, "data": self.task.sha256, "seed": self.context.seed} | more

    def encoded(self) -> dict[Key, dict[str, Any]]:
        """Score of each probe, and whether it is above every floor of the task, as `probing.evaluation.best` says it of a layer."""
        table = evaluate(
            self.concepts, [self.encoder], store=self.context.store, cells=self.context.results, layers=self.layers,
            poolings="mean", controls=(), seeds=(self.context.seed,), force=self.context.force,
        )  # fmt: skip
        rows = {}
        for row in table.where(role="probe").itertuples():
            floors = floors_of(table, row.task, row.encoder, row.probe, row.n_train)
            verdict = against_floors(table, floors, cells_of([row]))
            rows[row.task, int(row.layer)] = {
                "task": row.task, "layer": int(row.layer), "score": row.score, "score_low": row.score_low, "majority": row.majority,
                "score_high": row.score_high, "above_floors": verdict["beats_floors"], "floor": verdict["floor"],
                "floor_score": float(np.mean([np.mean([cell.score for cell in draw]) for draw in floors[verdict["floor"]]])),
            }  # fmt: skip
        return rows

    def _vectors(self, task: Task, layer: int) -> list[Values]:
        """Train and dev vectors of a concept."""
        splits = [task.train, task.dev]
        texts = dict.fromkeys(text for split in splits for text in split.texts)
        vectors = self.context.store.vectors(self.encoder, texts, ["mean"])
        return [np.asarray(vectors.of(split).get(Representation(layer, "mean")), float) for split in splits]

    def _concept(self, task: Task, layer: int, draws: int) -> Concept:
        x, dev = self._vectors(task, layer)
        return concept(x, task.train.labels, (dev, task.dev.labels), draws, self.context.seed)

    @cached_property
    def _test(self) -> Task:
        return self.task.subset(None, self.context.seed, None, self.study.test)

    _slopes: tuple[int, Values] | None = None

    def derivative(self, task: Task, layer: int) -> dict[str, Any]:
        """The target's logit along the concept."""
        study = self.study
        options = {"concept": task.sha256, "layer": layer, "target": self.target, "draws": study.permutations, "n": study.sentences}

        def compute() -> list[dict[str, Any]]:
            if self._slopes is None or self._slopes[0] != layer:
                texts = self.task.subset(None, self.context.seed, None, study.sentences).test.texts
                self._slopes = layer, slopes_at(self.encoder, self.head, texts, layer, self.target)
            given = self._concept(task, layer, study.permutations)
            row: dict[str, Any] = {"ridge": given.accuracy}
            for name, whitened in (("", False), ("white_", True)):
                own = along(self._slopes[1], given, whitened)
                row |= {f"{name}{key}": value for key, value in vars(own).items() if key != "constant"} | {"constant": own.constant}
            return [row]

        return self.context.finished(self._part("derivative", **options), compute)[0]

    def _right(self, change: Intervention | None) -> np.ndarray:
        """Whether the classifier is right, for each test sentence."""
        texts, column = self._test.test.texts, Representation(self.head.layer, self.head.pooling)
        with intervened(self.encoder, [change] if change else []):
            x = extract(self.encoder, self.encoder.tokenize(texts)[0], [self.head.pooling])[column]
        return np.asarray(self.head.logits(x.astype(np.float64)).argmax(1) == self._test.test.labels)

    @cached_property
    def _drawn(self) -> dict[tuple[int, int], list[float]]:
        """Accuracies after erasing random directions, by layer and rank."""
        return {}

    def erased(self, task: Task, layer: int) -> dict[str, Any]:
        """Loss of the classifier's accuracy where the concept is erased; a note where the layer cannot be changed."""
        options = {"concept": task.sha256, "layer": layer, "n": self.study.test, "directions": self.study.directions}

        def compute() -> list[dict[str, Any]]:
            x, _ = self._vectors(task, layer)
            own = erase("leace", x, task.train.labels)
            before = float(self._right(None).mean())
            try:
                loss = before - float(self._right(Intervention(layer, own.projection)).mean())
            except EncoderError as error:
                return [{"erasing": str(error)}]
            if (layer, own.rank) not in self._drawn:
                draws = (random(x, own.rank, k).projection for k in range(self.study.directions))
                self._drawn[layer, own.rank] = [before - float(self._right(Intervention(layer, one)).mean()) for one in draws]
            drawn = np.array(self._drawn[layer, own.rank])
            p = float((1 + (drawn >= loss - 1e-12).sum()) / (1 + len(drawn)))
            row = {"accuracy": before, "loss": loss, "random_loss": float(drawn.mean()), "random_most": float(drawn.max())}
            return [row | {"rank": own.rank, "loss_p": p}]

        return self.context.finished(self._part("erased", **options), compute)[0]

    @cached_property
    def texts(self) -> list[str]:
        """Sentences of the games, drawn from test."""
        least, most = self.study.words
        short = [text for text in dict.fromkeys(self.task.test.texts) if least <= len(text.split()) <= most]
        order = np.random.default_rng(self.context.seed).permutation(len(short))
        return [short[k] for k in order[: self.study.games]]

    def interacting(self) -> dict[Key, dict[str, Any]]:
        """Medians over sentences of T of each probe's score, as a share of what all words change."""
        if not self.texts:
            return {}
        keys = [(task, layer) for task in self.concepts for layer in self.layers]
        heads = [self._score(task, layer) for task, layer in keys]
        options = {"heads": [head.sha256 for head in heads], "masking": self.masking}
        shares = []
        with bar(f"interactions {self.encoder.name}", len(self.texts)) as advance:
            for text in self.texts:

                def compute(text: str = text) -> list[dict[str, Any]]:
                    games = [TextGame(self.encoder, text, "logit", self.masking, target="yes", head=head) for head in heads]
                    return [{"T": one.interaction.T, "share": one.T_relative} for one in text_interactions(JointGame(games))[0]]

                rows = self.context.finished(self._part("interacting", text=text, **options), compute)
                shares.append([np.nan if row["share"] is None else row["share"] for row in rows])
                advance(1)
        medians = np.nanmedian(np.array(shares, float), axis=0)
        return {(task.name, layer): {"T_share": float(m)} for (task, layer), m in zip(keys, medians, strict=True)}

    def _score(self, task: Task, layer: int) -> LinearHead:
        """The concept's direction as the logit of a class."""
        w = self._concept(task, layer, 0).directions[0]
        return LinearHead(np.stack([np.zeros_like(w), w]), np.zeros(2), ("no", "yes"), layer, "mean")

    def terms(self) -> list[dict[str, Any]]:
        """AND and OR terms of each model on each sentence, of the logit of the class that the encoder predicts."""
        own = self._tables(self.encoder, self.head)
        targets = [int(logits[-1].argmax()) for logits in own]

        def of_target(tables: list[Values]) -> list[Values]:
            return [logits[:, k] for logits, k in zip(tables, targets, strict=True)]

        own_terms = [and_or(v) for v in of_target(own)]
        rows = self._rows_of("itself", of_target(own), own_terms)
        for name, encoder, head in self._others():
            rows += self._rows_of(name, of_target(self._tables(encoder, head)), own_terms)
        if self.study.learned and self.texts:
            fixed = with_vectors(self.encoder)
            for masking in fixed:
                rows += self._rows_of(f"itself, {masking}", of_target(self._tables(self.encoder, self.head, masking)), own_terms)
            first = self.masking if self.masking in fixed else fixed[0]
            values = [self._learned(text, first, self.head.classes[k]) for text, k in zip(self.texts, targets, strict=True)]
            rows += self._rows_of(f"itself, learned from {first}", values, own_terms)
        return rows

    def _learned(self, text: str, masking: str, target: str) -> Values:
        """v of all sets of words under learned vectors of absent words, (2^n,)."""
        options = {"text": text, "masking": masking, "class": target, "radius": RADIUS, "steps": STEPS}

        def compute() -> list[dict[str, Any]]:
            return [{"v": json.dumps(learned(self.encoder, self.head, text, masking, target)[1].tolist())}]

        return np.array(json.loads(self.context.finished(self._part("learned", **options), compute)[0]["v"]))

    def _others(self) -> list[tuple[str, Encoder, LinearHead]]:
        """The random twin with the trained head, and other encoders with heads of their own."""
        twin = self.encoder.random_twin(self.context.seed) if self.texts else None
        made = [] if twin is None else [("random twin", twin, replace(self.head, made={}))]
        for other in self.others if self.texts else ():
            made.append((other.name, other, classifier(other, self.task, "fit", self.context.home, self.context.store)))
        return made

    def _tables(self, encoder: Encoder, head: LinearHead, masking: str | None = None) -> list[Values]:
        masking = masking or self.study.masking or default_masking(encoder)
        return [coalition_table(encoder, head, text, masking, results=self.context.results).logits for text in self.texts]

    def _rows_of(self, model: str, values: list[Values], reference: list[Terms]) -> list[dict[str, Any]]:
        rows = []
        for k, (text, v, other) in enumerate(zip(self.texts, values, reference, strict=True)):
            own, n = and_or(v), len(v)
            same = [x for j, x in enumerate(reference) if j != k and len(x.conjunctions) == n]
            apart = float(np.mean([alike(own, x) for x in same])) if same else np.nan
            counts = {"salient_and": int(own.salient[:n].sum()), "salient_or": int(own.salient[n:].sum()), "terms": 2 * n}
            row = {"kind": "terms", "model": model, "sentence": k, "text": text, "words": len(text.split()), **counts}
            strength = segment_interaction(TableGame(v), (0, len(text.split())), listed=1)
            row |= {"strength": float(own.strengths.sum()), "effect": abs(float(v[-1] - v[0])), "T": strength.T}
            rows.append(row | {"explained": own.explained, "alike": alike(own, other), "alike_other_sentence": apart})
        return rows
