"""Study `properties`: what a layer encodes, where, and whether the language model uses it; one table for each property.

    encoded   a probe of the property's words by layer, above its floors, with selectivity (`probing.evaluation`)
    where     the best units against random rotations, the smallest set that does as well (`probing.studies.neurons`)
    used      accuracy lost on pairs about the property when its directions are erased from the layer, or its units ablated, above
              that lost by random directions of the same rank, or random units (`probing.behaviour.erasing`)

Words with labels and pairs are of the treebank of `data`: number and object_number read the feature Number, tense the feature
Tense, word_order which of two sentences has its words in order; pairs are those of `probing.behaviour.treebank_pairs`. "Used" of a
model is a claim about several layers: the largest loss over the layers is compared with the largest loss of each draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from probing.behaviour.erasing import NothingScored
from probing.behaviour.models import language_model
from probing.behaviour.treebank_pairs import PROPERTIES, TreebankPairs
from probing.config import listed
from probing.data.conllu import Treebank
from probing.data.frames import task_of_lists
from probing.data.task import Task
from probing.encoders.base import Encoder
from probing.errors import ConfigError, EncoderError, did_you_mean
from probing.evaluation.evaluate import evaluate
from probing.evaluation.table import ResultTable
from probing.log import info
from probing.report.properties import write
from probing.studies import Context, layers_of, require
from probing.studies.causal import Causal
from probing.studies.neurons import NeuronsStudy
from probing.studies.sources import Given

FEATURES = {"number": "Number", "object_number": "Number", "tense": "Tense"}
FLOORS = ("majority", "nb-unigram", "nb-bigram")
WHERE = (
    *("accuracy", "rotated", "less_rotated", "less_rotated_low", "less_rotated_high", "p_rotated", "random", "full", "first"),
    *("p_control", "p_random", "control", "selectivity"),
    *("minimal", "minimal_accuracy", "without_minimal", "live"),
)
"""Columns of the study `neurons` that are kept, of its rows of layers."""


@dataclass
class Properties:
    """Options:

    Args:
        properties: of `PROPERTIES`, or all.
        layers: all, or numbers, negative ones from the last; `layer` where it is not given.
        splits: of the treebank, whose sentences give pairs.
        pairs: of each property the first so many; null: all.
        train, test: most labelled words (of word order sentences) of train, and of dev and test each.
        probe: a preset's name.
        units: of ablation, and the number of units that `where` is about.
        draws: random directions, and sets of units; 19 at least.
        rotations: random bases.
        erasure, value, margin: see `probing.studies.causal`.
        kl: pairs whose next-word distributions are compared, of erasing.
    """

    properties: Any = "all"
    layers: Any = "all"
    splits: list[str] = field(default_factory=lambda: ["test"])
    pairs: int | None = 300
    train: int = 2000
    test: int = 1000
    probe: str = "fast"
    units: int = 10
    draws: int = 40
    rotations: int = 10
    erasure: str = "leace"
    value: str = "mean"
    margin: float = 0.02
    kl: int = 50

    name = "properties"
    uses = ("data", "encoder")

    def __post_init__(self) -> None:
        self.names = listed(self.properties, str, "study.properties", every=tuple(PROPERTIES))
        for name in self.names:
            near = did_you_mean(name, PROPERTIES)
            require(name in PROPERTIES, f"study.properties: unknown property {name!r}{near} (allowed: {', '.join(PROPERTIES)})")
        require(self.draws >= 19, f"study.draws={self.draws} must be at least 19: with fewer no use can be shown")
        require(self.kl >= 0, f"study.kl={self.kl} must be at least 0")
        for option in ("train", "test"):
            require(getattr(self, option) >= 50, f"study.{option}={getattr(self, option)} must be at least 50")

    def measure(self, context: Context) -> pd.DataFrame:
        source, encoder = context.source, context.encoder
        if not isinstance(source, Treebank):
            raise ConfigError("+experiment=properties reads a treebank: data=conllu data.root=FOLDER")
        layers = layers_of(self.layers, len(encoder.dims))
        try:
            language_model(encoder)
            reason = ""
        except EncoderError as error:
            reason = str(error)
            info(f"used: not applicable: {reason}")
        rows = []
        for name in self.names:
            task = self._task(name, source, context.seed)
            own: dict[int, dict[str, Any]] = {
                layer: {"property": name, "encoder": encoder.name, "data": source.name, "layer": layer} for layer in layers
            }
            for of_layer in (self._encoded(context, task, layers), self._where(context, task, layers)):
                for layer in layers:
                    own[layer] |= of_layer[layer]
            why = reason
            if not why:
                pairs = pairs_of(source, name, list(self.splits), self.pairs, context.seed)
                try:
                    for method in ("erase", "ablate"):
                        for layer, part in self._used(context, task, pairs, method, layers).items():
                            own[layer] |= {f"{method}_{column}": value for column, value in part.items()}
                except NothingScored as error:
                    why = f"{name}: {error}"
                    info(f"used: not applicable: {why}")
            rows += [row | {"not_applicable": why} for row in own.values()]
            info(f"{name}: done")
        return pd.DataFrame(rows)

    def report(self, frame: pd.DataFrame, folder: Any) -> None:
        """table.md, properties.csv, figure-properties-*.svg."""
        write(frame, folder)

    def _task(self, name: str, source: Treebank, seed: int) -> Task:
        """The labelled words of a property, or sentences of word order."""
        if name in FEATURES:
            [task] = source.tasks([FEATURES[name]])
        else:
            task = _order_task(source)
        return task.subset(self.train, seed, self.test, self.test)

    def _encoded(self, context: Context, task: Task, layers: Sequence[int]) -> dict[int, dict[str, Any]]:
        pooling = "word-mean" if task.of_words else "mean"
        table = evaluate(
            [task], [context.encoder], store=context.store, cells=context.results, probe=self.probe, layers=layers,
            poolings=pooling, seeds=context.seeds, floors=FLOORS, controls=("word",), force=context.force,
        )  # fmt: skip
        return {layer: _probed(table, layer) for layer in layers}

    def _where(self, context: Context, task: Task, layers: Sequence[int]) -> dict[int, dict[str, Any]]:
        study = NeuronsStudy(layer=list(layers), rankings=["linear"], top=self.units, rotations=self.rotations)
        frame = study.measure(with_task(context, task))
        kept = frame[frame.kind == "layer"].set_index("layer")
        return {layer: {f"where_{c}": kept.at[layer, c] for c in WHERE if c in kept} for layer in layers}

    def _used(
        self, context: Context, task: Task, pairs: TreebankPairs, method: str, layers: Sequence[int]
    ) -> dict[int, dict[str, Any]]:
        study = Causal(
            method=method, property=task.name, labels=Given(task), train=self.train, layers=list(layers), erasure=self.erasure,
            units=self.units, value=self.value, draws=self.draws, margin=self.margin,
            kl=self.kl if method == "erase" else 0,
        )  # fmt: skip
        frame = study.measure(with_task(context, task, pairs))
        hidden = frame[frame.units == "hidden"].set_index("layer")
        whole = frame[frame.units != "hidden"].set_index("layer")
        rows = {layer: hidden.loc[layer].to_dict() for layer in layers}
        for layer in whole.index:  # an LSTM carries its cell on, too
            rows[layer] = whole.loc[layer].to_dict()
        return rows


def with_task(context: Context, task: Task, pairs: Any = None) -> Context:
    """The context with one task, and with pairs as its data."""
    encoder: Encoder = context.encoder
    source = context.source if pairs is None else pairs
    return replace(context, make_encoder=lambda: encoder, make_tasks=lambda: [task], make_source=lambda: source)


def pairs_of(source: Treebank, *options: Any) -> TreebankPairs:
    """Pairs from the files of the treebank, which are not read again."""
    pairs = TreebankPairs(source.root, *options)
    pairs.corpora = source.corpora
    return pairs


def _order_task(source: Treebank) -> Task:
    """Sentences of the treebank, each once as it is and once with two neighbours in the other order; a pair is a group."""
    texts, labels, splits, groups = list[str](), list[str](), list[str](), list[str]()
    for split in ("train", "dev", "test"):
        for item in pairs_of(source, "word_order", [split]).items:
            texts += item.texts
            labels += ["original", "swapped"]
            splits += [split] * 2
            groups += [f"{split} {item.number}"] * 2
    return task_of_lists(texts, labels, splits, groups=groups, name="word_order")


def _probed(table: ResultTable, layer: int) -> dict[str, Any]:
    """Score of the probe at a layer, its best floor with a paired test, and selectivity with its interval."""
    [row] = table.where(role="probe", layer=layer).itertuples()
    floors = table.role("floor")
    best = floors.loc[floors.score.idxmax()]
    against = table.compare_cells([row.cell], [best.cell])
    made = {"score": row.score, "score_low": row.score_low, "score_high": row.score_high, "n_test": row.n_test}
    made |= {"floor": best.score, "floor_name": best.encoder, "above": against.difference, "above_low": against.low}
    made |= {"above_high": against.high, "above_p": against.p}
    controls = table.where(role="control", layer=layer, control="word")
    if len(controls):
        own = table.compare_cells([row.cell], [controls.cell.iloc[0]])
        made |= {"control": controls.score.iloc[0], "selectivity": own.difference, "selectivity_low": own.low}
        made |= {"selectivity_high": own.high}
    return made
