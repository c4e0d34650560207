"""Networks that compute the value of formulas: bound neighbours, found by a probe and by interactions, against known links.

A network trained on a task of `probing.data.expressions.tasks` is frozen. On formulas of the test split:

    probe         layer by layer, from the states of two neighbouring variables side by side (input all ones): does the formula
                  bind them? Logistic regression, C chosen on dev; beside it the majority class of train, and permuted labels.
    interactions  variables are the players (operators always stay, an absent variable is written 0). `output` is the expected
                  value sum_k p_k k of the classes; of a layer the value is v_f (`probing.interactions.text.game`). Links of the
                  best partition, the finest within `tolerance` of the largest |phi|, are scored against the formula's.
    formula       the same procedure with the formula itself as the game: an upper bound.

Controls: the same network with random weights, its output a linear head fitted on them; and layer 0. Probe intervals are
Wilson's over pairs, those of links are bootstraps over formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from probing.data.expressions import BINDING, Expression, chain
from probing.data.task import Task
from probing.encoders.base import Encoder, fingerprint
from probing.errors import ConfigError, DataError
from probing.evaluation.statistics import wilson
from probing.interactions.game import Game
from probing.interactions.options import Masking
from probing.interactions.partition import links
from probing.interactions.scoring import FoundLinks, count
from probing.interactions.segment import segment_interactions
from probing.interactions.text.game import TextGame
from probing.interactions.text.heads import LinearHead, fit_head, head_of
from probing.log import bar, info
from probing.probes.logistic import Design, best, fit_path
from probing.store.extraction import batches
from probing.studies import Context, require
from probing.studies.layout import grouped, percent, shown, write
from probing.studies.synthetic import scores, shown_links, without_nan
from probing.types import Coalitions, Estimate, Features, Labels, Values

VERSION = 1
ABSENT = "0"

NOTE = """# Networks on formulas: a probe for bound neighbours beside recovered coalitions

accuracy: of the network on held-out formulas, and on the coalitions of the games (in brackets). probe: accuracy in % of a logistic
probe from the states of two neighbouring variables, [95 %, Wilson over pairs], then the majority class and the probe on permuted
labels. links: of the best partition, accuracy in % [95 %, bootstrap over formulas] · F1 of the bound links; then the same without
those that are exact ties in the formula. (random k): the same network with weights drawn from seed k, its output a
linear head fitted on them. An interval without width says that no formula had an error."""


@dataclass
class ExpressionNetworks:
    poolings: list[str] = field(default_factory=lambda: ["mean", "last"])
    expressions: int = 200
    tolerance: float = 0.1
    grid: list[float] = field(default_factory=lambda: [0.001, 0.01, 0.1, 1.0, 10.0])
    head_size: int = 3000

    name: ClassVar[str] = "expression_networks"
    uses: ClassVar[tuple[str, ...]] = ("data", "encoder")

    def __post_init__(self) -> None:
        counts = min(self.expressions, self.head_size) >= 1
        require(
            counts and 0 <= self.tolerance < 1 and len(self.grid) > 0 and min(self.grid) > 0,
            f"study.expressions={self.expressions}, head_size={self.head_size}, tolerance={self.tolerance}, grid={self.grid}: "
            "counts are at least 1, tolerance is at least 0 and below 1, values of C are above 0",
        )

    def measure(self, context: Context) -> pd.DataFrame:
        """A row for each family, network (trained, random) and game: output, and layers by pooling."""
        rows: list[dict[str, Any]] = []
        twins, seed = [context.encoder.random_twin(seed) for seed in context.seeds], context.seeds[0]
        for task in self._tasks(context):
            for encoder in (context.encoder, *(twin for twin in twins if twin is not None)):
                poolings = [pooling for pooling in self.poolings if pooling in encoder.poolings]
                part = {"kind": self.name, "version": VERSION, "encoder": fingerprint(encoder), "task": task.sha256}
                part |= {"family": task.name, "poolings": poolings, "expressions": self.expressions, "tolerance": self.tolerance}
                part |= {"grid": self.grid, "head_size": self.head_size, "seed": seed}
                own_rows = context.finished(part, partial(self._rows, encoder, task, poolings, seed))
                rows += [{"encoder": encoder.name, "trained": context.encoder.name, "family": task.name} | row for row in own_rows]
        return pd.DataFrame(rows)

    def _tasks(self, context: Context) -> list[Task]:
        """The tasks of the data; of an encoder that was trained on one of them that one; ConfigError for a task that is no
        family, or not the encoder's, DataError if it was trained on another file of the task."""
        tasks, head = context.tasks, head_of(context.encoder)
        if other := [task.name for task in tasks if task.name not in BINDING]:
            raise ConfigError(f"task={','.join(other)}: {self.name} measures {', '.join(BINDING)}; take data=expressions")
        learned = None if head is None else head.made["data"]
        if learned is None or learned["task"] not in BINDING:
            return tasks
        own = [task for task in tasks if task.name == learned["task"]]
        names = ", ".join(task.name for task in tasks)
        require(bool(own), f"{context.encoder.name} was trained on {learned['task']}, and the tasks are {names}")
        if own[0].sha256 != learned["sha256"]:
            raise DataError(
                f"{context.encoder.name} was trained on another file than {own[0].source}: its test formulas may have been seen in "
                "training; give data.root=… of that file"
            )
        return own

    def _rows(self, encoder: Encoder, task: Task, poolings: Sequence[str], seed: int) -> list[dict[str, Any]]:
        expressions = {name: formulas(task, split.texts) for name, split in task.splits.items()}
        tested = expressions["test"][: self.expressions]
        head, accuracy = self._head(encoder, task, seed)
        n_rows = sum(e.n_players * (e.n_players + 1) // 2 + 1 for e in tested)
        info(f"{encoder.name}, {task.name}: {len(tested)} formulas, {(len(poolings) + 1) * n_rows:,} model rows")
        probes = link_probes(encoder, expressions, self.grid, seed)
        counts: dict[tuple[str, int | None], list[Values]] = {("formula", None): []}
        right = total = 0
        with bar(f"interactions {encoder.name}", len(tested)) as advance:
            for e in tested:
                game = NetworkGame(encoder, e, head, poolings)
                counts["formula", None].append(link_counts(e, e, self.tolerance)[0])
                for key, of_column in zip(game.columns, link_counts(game, e, self.tolerance), strict=True):
                    counts.setdefault(key, []).append(of_column)
                right, total = right + game.right, total + game.rows
                advance(1)
        encoder.release()
        shared = {"accuracy": accuracy, "game_accuracy": right / total, "majority": task.data_card["majority"]["test"]}
        rows = []
        for (name, layer), of_game in counts.items():
            row = shared | {"game": name, "layer": layer, "layer_name": None if layer is None else encoder.layer_names[layer]}
            if layer is not None:
                row |= {f"probe_{key}": value for key, value in probes[layer].items()}
            row |= {"expressions": len(tested)} | {f"links_{key}": value for key, value in scores(np.array(of_game)).items()}
            rows.append(without_nan(row))
        return rows

    def _head(self, encoder: Encoder, task: Task, seed: int) -> tuple[LinearHead, float]:
        """The head and its accuracy on test: the trained one, or one fitted on frozen states."""
        head = head_of(encoder)
        if head is not None and head.made["data"]["task"] == task.name:
            return head, head.made["test"]["accuracy"]
        pooling = encoder.architecture.pooling if hasattr(encoder, "architecture") else "mean"
        pooling = pooling if pooling in encoder.poolings else "mean"  # one of attention is the trained classifier's own
        head = fit_head(encoder, task.subset(self.head_size, seed), pooling=pooling)
        return head, head.made["test"]

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        """table.csv, and table.md: for each family the games of each network, trained and random, with the probes of the layers."""
        numbers, blocks = frame.astype(dict.fromkeys(frame.select_dtypes("number").columns, float)), [NOTE]
        for key, family in grouped(numbers, "family"):
            formula = family[family.game == "formula"].iloc[0]
            majority = f"majority class of the values {percent(formula.majority)} %"
            blocks += [
                f"## {key['family']}",
                f"{formula.expressions:.0f} held-out formulas; {majority}. Formula as the game: {_links(formula)}.",
            ]
            lines = ["| network | accuracy (games) | game | probe | majority | permuted | links | without ties |", "|---" * 8 + "|"]
            for encoder, part in family[family.game != "formula"].groupby("encoder", sort=False):
                head = f"{encoder} | {percent(part.accuracy.iloc[0])} ({percent(part.game_accuracy.iloc[0])})"
                for _, row in part.sort_values("layer", na_position="first", kind="stable").iterrows():
                    lines.append(f"| {head} | {_probe(row)} | {_links(row, ' | ')} |")
                    head = " | "
            blocks.append("\n".join(lines))
        write(folder, blocks, {"table.csv": frame.round(6)})


def formulas(task: Task, texts: Sequence[str]) -> list[Expression]:
    """The expressions of a split, from its sentences without an absent variable, each once; DataError if there is none, or a
    sentence is no expression of the family."""
    whole = dict.fromkeys(text for text in texts if ABSENT not in text.split())
    if not whole:
        raise DataError(f"{task.source}: a split has no formula with all its variables present")
    return [chain(task.name, text) for text in whole]


class NetworkGame:
    """A network that reads a formula as a game of the formula's variables. `columns`: (game, layer) of the value columns: output,
    then each pooling's layers; `right`, `rows`: coalitions for which the network's class was the formula's value, of how many."""

    def __init__(self, encoder: Encoder, expression: Expression, head: LinearHead, poolings: Sequence[str]):
        def game(value: str, **options: Any) -> TextGame:
            return TextGame(encoder, expression.text, value, Masking("replace", ABSENT), **options)

        self.expression, self.n_players = expression, expression.n_players
        self._classes, self._layers = game("probability", target="all", head=head), [game(pooling) for pooling in poolings]
        self._numbers = np.array([int(name) for name in head.classes])
        self.columns: list[tuple[str, int | None]] = [("output", None)]
        self.columns += [(pooling, k) for pooling in poolings for k in range(len(encoder.layer_names))]
        self.right = self.rows = 0

    def __call__(self, coalitions: Coalitions, /) -> Values:
        words = np.ones((len(coalitions), 2 * self.n_players - 1), bool)
        words[:, ::2] = coalitions
        shares = self._classes(words)  # (rows, classes)
        self.rows += len(words)
        self.right += int((self._numbers[shares.argmax(1)] == self.expression(coalitions)).sum())
        layers = [game(words).reshape(len(words), -1) for game in self._layers]
        return np.concatenate([(shares @ self._numbers)[:, None], *layers], 1)


def link_counts(game: Game, e: Expression, tolerance: float) -> list[Values]:
    """Counts (2, 4) for each column of a game of e's variables: links of the best partition, of all and without ties."""
    truth, counts = e.truth((0, e.n_players)), []
    for r in segment_interactions(game, (0, e.n_players), tolerance=tolerance, listed=1):
        called = FoundLinks(links(r.max_partition), links(r.min_partition), r.n_evaluations)
        counts.append(np.array([count(called, truth, e.sides, free) for free in (True, False)]))
    return counts


def link_probes(
    encoder: Encoder, expressions: dict[str, list[Expression]], grid: Sequence[float], seed: int
) -> list[dict[str, float]]:
    """For each layer the probe for bound neighbours on test: accuracy, lower, upper, majority, control, n; all 0-1 but n."""
    y = {split: np.concatenate([e.truth((0, e.n_players)).max for e in es]).astype(int) for split, es in expressions.items()}
    x = {split: pair_states(encoder, es) for split, es in expressions.items()}
    rng, n = np.random.default_rng(seed), len(y["test"])
    permuted = {split: rng.permutation(labels) for split, labels in y.items()}
    majority = float((y["test"] == np.bincount(y["train"]).argmax()).mean())
    probes = []
    for layer in range(len(encoder.layer_names)):
        states = {split: layers[layer] for split, layers in x.items()}
        score, control = wilson(_right(states, y, grid), n), _right(states, permuted, grid) / n
        line = {"accuracy": score.value, "lower": score.lower, "upper": score.upper, "control": control}
        probes.append(line | {"majority": majority, "n": n})
    return probes


def _right(x: dict[str, Features], y: dict[str, Labels], grid: Sequence[float]) -> int:
    """Test pairs that the probe has right, C chosen on dev (of equally good ones the smallest)."""
    design = Design.prepare(x["train"])
    fits = fit_path(design, y["train"], 2, grid, dev=(design.transform(x["dev"]), y["dev"]))
    return int((fits[best(fits)].predict(design.transform(x["test"])) == y["test"]).sum())


def pair_states(encoder: Encoder, expressions: Sequence[Expression]) -> list[Features]:
    """For each layer the states of neighbouring variables side by side, (pairs, 2 dims[l]), by expression and link. A variable of
    several tokens has their mean."""
    texts = [e.text for e in expressions]
    items, _ = encoder.tokenize(texts)
    owners = encoder.word_ids(texts)
    pairs: list[list[Features]] = [[] for _ in texts]
    for batch in batches([len(item) for item in items]):
        layers = [layer.float().cpu().numpy() for layer in encoder.forward([items[i] for i in batch]).layers]
        for row, i in enumerate(batch):
            at = [[t for t, owner in enumerate(owners[i]) if owner == 2 * v] for v in range(expressions[i].n_players)]
            each = [np.stack([layer[row, tokens].mean(0) for tokens in at]) for layer in layers]
            pairs[i] = [np.concatenate([states[:-1], states[1:]], 1) for states in each]
    return [np.concatenate([pair[k] for pair in pairs]) for k in range(len(encoder.layer_names))]


def _probe(row: pd.Series) -> str:
    if np.isnan(row.layer):
        return f"{row.game} | | | "
    score = shown(Estimate(row.probe_accuracy, row.probe_lower, row.probe_upper), "%")
    return f"{row.layer:.0f} {row.layer_name}, {row.game} | {score} | {percent(row.probe_majority)} | {percent(row.probe_control)}"


def _links(row: pd.Series, between: str = "; without ties ") -> str:
    return between.join(shown_links(row, column, "links_") for column in ("", "_tied_out"))
