"""One sentence explained by a model under a masking: scores of each method, their judgement, and the layers, as kept rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from probing.attributions.attribution import Attribution
from probing.attributions.coalitions import CoalitionTable, coalition_table, table_inputs
from probing.attributions.faithfulness import faithfulness
from probing.attributions.indices import GAMES
from probing.attributions.methods import Settings, explain
from probing.attributions.plausibility import ceiling, chance, gold_of, plausibility
from probing.attributions.ranks import tau
from probing.encoders.base import Encoder
from probing.errors import ConfigError
from probing.interactions.game import TableGame, pair_orders, shapley
from probing.interactions.segment import segment_interactions
from probing.interactions.text.heads import LinearHead
from probing.store.results import ResultStore
from probing.types import Values

VERSION = 1
"""Raise when the same inputs would give other numbers."""


@dataclass(frozen=True)
class Model:
    """What is explained: an encoder and a head; `control`: empty for the model itself."""

    control: str
    encoder: Encoder
    head: LinearHead


@dataclass(frozen=True)
class Sentence:
    """A sentence of a task; `cluster`: the number of its source; `marks`: (annotators, words), None without gold words."""

    number: int
    text: str
    label: str
    cluster: int
    marks: np.ndarray | None

    @property
    def words(self) -> list[str]:
        return self.text.split()


@dataclass(frozen=True)
class Explained:
    """The rows of a sentence; `gold`: majority or union of annotators."""

    results: ResultStore
    model: Model
    masking: str
    sentence: Sentence
    layers: tuple[int, ...]
    gold: str
    settings: Settings

    @property
    def of_table(self) -> tuple[Encoder, LinearHead, str, str]:
        return self.model.encoder, self.model.head, self.sentence.text, self.masking

    @cached_property
    def table(self) -> CoalitionTable:
        return coalition_table(*self.of_table, layers=self.layers, results=self.results)

    def scored(self, method: str) -> list[dict[str, Any]]:
        """One row: scores as JSON, gap, model rows, and all measures; `note` instead where the method does not apply."""
        part: dict[str, Any] = {"method": method}
        if method in ("random", "frequency"):
            part |= {"seed": self.settings.seed, "counts": len(self.settings.counts)}
        return self._kept(part, lambda: [self._judged(method)])

    def of_layers(self) -> list[dict[str, Any]]:
        """None without layers: a row for each layer (kind=layer) with T, tau of its Shapley values with the head's, their entropy
        and share on gold; and one for each layer and order of interactions of pairs (kind=order)."""
        if not self.layers:
            return []
        return self._kept({"of": "layers"}, self._by_layer) + self._kept({"of": "orders"}, self._by_order)

    def _kept(self, part: dict[str, Any], compute: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """The rows of a part, from the results where they are there; with what a reader of rows needs to know of the sentence."""
        marks = None if self.sentence.marks is None else self.sentence.marks.astype(int).tolist()
        inputs = {"kind": "explanation", "version": VERSION, "table": table_inputs(*self.of_table, self.layers)}
        inputs |= {"gold": self.gold, "marks": marks} | part
        rows = self.results.get(inputs)
        if rows is None:
            rows = self.results.put(inputs, compute())
        of = self.sentence
        head = {
            "control": self.model.control,
            "masking": self.masking,
            "sentence": of.number,
            "cluster": of.cluster,
            "text": of.text,
        }
        return [head | {"n": len(of.words), "label": of.label} | row for row in rows]

    def _judged(self, method: str) -> dict[str, Any]:
        table = self.table
        row: dict[str, Any] = {"kind": "scores", "method": method, "predicted": table.classes[table.predicted]}
        try:
            own = self._explained(method)
        except ConfigError as error:
            return row | {"note": str(error)}
        row |= {"target": own.target, "scores": json.dumps(own.scores.tolist()), "ranks": own.ranks, "gap": own.gap}
        row |= {"whole": own.whole, "empty": own.empty, "rows": own.rows}
        return row | faithfulness(table, own.scores) | self._plausible(own.scores)

    def _explained(self, method: str) -> Attribution:
        encoder, head, text, masking = self.of_table
        table = self.table if method in GAMES else None
        return explain(encoder, head, text, method, masking, table=table, settings=self.settings)

    def _plausible(self, scores: Values) -> dict[str, float]:
        """Plausibility, its chance and what annotators reach; nothing without gold words."""
        if self.sentence.marks is None:
            return {}
        gold = gold_of(self.sentence.marks, self.gold)
        by_chance, human = chance(len(gold), int(gold.sum())), ceiling(self.sentence.marks, self.gold)
        names = ("average_precision", "f1", "pointing")
        row = {f"gold_{name}": value for name, value in plausibility(scores, gold).items()}
        row |= {"gold_words": float(gold.sum())} | {f"chance_{name}": by_chance[name] for name in names}
        return row | {f"human_{name}": human[name] for name in names}

    def _by_layer(self) -> list[dict[str, Any]]:
        table = self.table
        of_head = shapley(table.value())
        gold = None if self.sentence.marks is None else gold_of(self.sentence.marks, self.gold)
        strengths = segment_interactions(TableGame(table.v_f), (0, table.n_players))
        rows = []
        for layer, phi, strength in zip(table.layers, shapley(table.v_f).T, strengths, strict=True):
            size = np.abs(phi) / max(float(np.abs(phi).sum()), 1e-300)
            entropy = float(-(size[size > 0] * np.log(size[size > 0])).sum() / np.log(len(phi)))
            row = {"kind": "layer", "layer": layer, "T": strength.T, "tau_head": tau(phi, of_head), "entropy": entropy}
            if gold is not None:
                row |= {"gold_share": float(size[gold].sum()), "gold_chance": float(gold.mean())}
            rows.append(row)
        return rows

    def _by_order(self) -> list[dict[str, Any]]:
        """Means over pairs of words of |I^(m)|, `strength`, and I^(m), `signed`, for each layer and m other words."""
        orders = pair_orders(self.table.v_f)  # (n - 1, pairs, layers)
        strengths, signed = np.abs(orders).mean(1), orders.mean(1)
        return [
            {"kind": "order", "layer": layer, "order": m, "strength": float(strengths[m, k]), "signed": float(signed[m, k])}
            for k, layer in enumerate(self.table.layers)
            for m in range(len(orders))
        ]
