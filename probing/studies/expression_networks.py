"""Networks that compute the value of formulas: where neighbours are bound, by probe and by interactions, against known links.

A network trained on a task of `probing.data.expressions.tasks` is frozen. On formulas of the test split, which no training saw:

    probe         layer by layer, from the states of two neighbouring variables side by side (not of the operator between them,
                  input all ones): does the formula bind them? Logistic regression, C chosen on dev; splits by expression.
                  Beside it: the majority class of train, and the same probe on permuted labels.
    interactions  the network is the game and the variables are its players (operators always stay, an absent variable is
                  written 0, as in training). `output` is the expected value sum_k p_k k of its classes; of a layer the value is
                  v_f (`probing.interactions.text.game`), f by pooling. Links of the best partition are scored against the formula's
                  (`probing.interactions.scoring`), with the finest partition within `tolerance` of the largest |phi|.
    formula       the same procedure with the formula itself as the game: what it finds at best.

Controls: the same network with random weights, its output a linear head fitted on them; and layer 0, whose states know no
operator, so that its probe can only be as good as the majority class or what a position tells.

`accuracy` is what the network reached on the test split, `game_accuracy` on the coalitions of the games. Probe intervals are
Wilson's over pairs, those of links are bootstraps over formulas. Left out: segments inside a formula; the worst partition, about
which these families say nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from probing.data.expressions import BINDING, Expression, chain
from probing.data.task import Task
from probing.encoders.base import Encoder, fingerprint
from probing.errors import ConfigError, DataError
from probing.evaluation import statistics
from probing.files import replace_file
from probing.interactions.partition import links
from probing.interactions.scoring import FoundLinks, count
from probing.interactions.segment import segment_interactions
from probing.interactions.text.game import TextGame
from probing.interactions.text.heads import LinearHead, fit_head, head_of
from probing.log import bar, info
from probing.probes.logistic import Design, best, fit_path
from probing.store.extraction import batches
from probing.studies import Context
from probing.studies.synthetic import scores, shown, without_nan
from probing.types import Coalitions, Features, Labels, Values

VERSION = 1
"""Raise when the same inputs would give other numbers."""

ABSENT = "0"

NOTE = """# Networks on formulas: a probe for bound neighbours beside recovered coalitions

accuracy: of the network on held-out formulas, and on the coalitions of the games (in brackets). probe: accuracy in % of a logistic
probe from the states of two neighbouring variables, [95 %, Wilson over pairs], then the majority class and the probe on permuted
labels. links: of the best partition, accuracy in % [95 %, bootstrap over formulas] · F1 of the bound links; then the same without
those that are exact ties in the formula. (random k): the same network with weights drawn from seed k, its output a
linear head fitted on them. An interval without width says that no formula had an error."""


@dataclass
class ExpressionNetworks:
    """Options of the study.

    Args:
        poolings: f of a layer's game, by pooling; those that the encoder has not are left out.
        expressions: test formulas of the games, at most, the first ones.
        tolerance: sums of two partitions that differ by less, relative to the largest |phi|, tie; the finest is taken.
        grid: values of C of the probe, one chosen on dev.
        head_size: train sentences for the head of a network that has none.
    """

    poolings: list[str] = field(default_factory=lambda: ["mean", "last"])
    expressions: int = 200
    tolerance: float = 0.1
    grid: list[float] = field(default_factory=lambda: [0.001, 0.01, 0.1, 1.0, 10.0])
    head_size: int = 3000

    name: ClassVar[str] = "expression_networks"
    uses: ClassVar[tuple[str, ...]] = ("data", "encoder")

    def __post_init__(self) -> None:
        if self.expressions < 1 or self.head_size < 1 or not 0 <= self.tolerance < 1 or not self.grid or min(self.grid) <= 0:
            raise ConfigError(
                f"study.expressions={self.expressions}, head_size={self.head_size}, tolerance={self.tolerance}, grid={self.grid}: "
                "counts are at least 1, tolerance is at least 0 and below 1, values of C are above 0"
            )

    def measure(self, context: Context) -> pd.DataFrame:
        """A row for each family, network (trained, random) and game: output, and layers by pooling."""
        rows: list[dict[str, Any]] = []
        twins = [context.encoder.random_twin(seed) for seed in context.seeds]
        for task in self._tasks(context):
            for encoder in (context.encoder, *(twin for twin in twins if twin is not None)):
                poolings = [pooling for pooling in self.poolings if pooling in encoder.poolings]
                part = {"kind": self.name, "version": VERSION, "encoder": fingerprint(encoder), "task": task.sha256}
                part |= {"family": task.name, "poolings": poolings, "expressions": self.expressions, "tolerance": self.tolerance}
                part |= {"grid": self.grid, "head_size": self.head_size, "seed": context.seeds[0]}
                named = {"encoder": encoder.name, "trained": context.encoder.name, "family": task.name}
                made = context.results.get(part)
                if made is None:
                    made = context.results.put(part, self._rows(encoder, task, poolings, context.seeds[0]))
                rows += [named | row for row in made]
        return pd.DataFrame(rows)

    def _tasks(self, context: Context) -> list[Task]:
        tasks, head = context.tasks, head_of(context.encoder)
        if other := [task.name for task in tasks if task.name not in BINDING]:
            raise ConfigError(f"task={','.join(other)}: {self.name} measures {', '.join(BINDING)}; take data=expressions")
        learned = None if head is None else head.made["data"]
        if learned is None or learned["task"] not in BINDING:
            return tasks
        if not (own := [task for task in tasks if task.name == learned["task"]]):
            names = ", ".join(task.name for task in tasks)
            raise ConfigError(f"{context.encoder.name} was trained on {learned['task']}, and the tasks are {names}")
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
        found: dict[tuple[str, int | None], list[Values]] = {("formula", None): []}
        right = total = 0
        with bar(f"interactions {encoder.name}", len(tested)) as advance:
            for e in tested:
                game = NetworkGame(encoder, e, head, poolings)
                found["formula", None].append(link_counts(e, e, self.tolerance)[0])
                for key, counts in zip(game.columns, link_counts(game, e, self.tolerance), strict=True):
                    found.setdefault(key, []).append(counts)
                right, total = right + game.right, total + game.rows
                advance(1)
        encoder.release()
        base = {"accuracy": accuracy, "game_accuracy": right / total, "majority": task.data_card["majority"]["test"]}
        rows = []
        for (game_name, layer), counts in found.items():
            where = {"game": game_name, "layer": layer, "layer_name": None if layer is None else encoder.layer_names[layer]}
            probe = {} if layer is None else {f"probe_{key}": value for key, value in probes[layer].items()}
            links_of = {f"links_{key}": value for key, value in scores(np.array(counts)).items()}
            rows.append(without_nan(base | where | probe | {"expressions": len(tested)} | links_of))
        return rows

    def _head(self, encoder: Encoder, task: Task, seed: int) -> tuple[LinearHead, float]:
        """The head and its accuracy on test: the trained one, or one fitted on frozen states."""
        head = head_of(encoder)
        if head is not None and head.made["data"]["task"] == task.name:
            return head, head.made["test"]["accuracy"]
        pooling = encoder.architecture.pooling if hasattr(encoder, "architecture") else "mean"
        head = fit_head(encoder, task.subset(self.head_size, seed), pooling=pooling)
        return head, head.made["test"]

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        replace_file(folder / "table.csv", frame.round(6).to_csv(index=False).encode())
        replace_file(folder / "table.md", markdown(frame).encode())


class NetworkGame:
    """A network that reads a formula as a game of the formula's variables.

    Attributes:
        columns: (game, layer) of the value columns: output, then each pooling's layers.
        right, rows: coalitions for which the network's class was the formula's value, of how many that were run.
    """

    def __init__(self, encoder: Encoder, expression: Expression, head: LinearHead, poolings: Sequence[str]):
        def game(value: str, **words: Any) -> TextGame:
            return TextGame(encoder, expression.text, value, "replace", ABSENT, **words)

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


def link_counts(game: Any, e: Expression, tolerance: float) -> list[Values]:
    """Counts (2, 4) for each column of a game of e's variables: links of the best partition of all, ties in and left out."""
    truth = e.truth((0, e.n_players))
    counted = []
    for r in segment_interactions(game, (0, e.n_players), "exact", tolerance=tolerance, listed=1):
        found = FoundLinks(links(r.max_partition), links(r.min_partition), r.n_evaluations)
        counted.append(np.array([count(found, truth, e.sides, free) for free in (True, False)]))
    return counted


def formulas(task: Task, texts: Sequence[str]) -> list[Expression]:
    """The expressions of a split, from its sentences without an absent variable; each once.

    Raises:
        DataError: there is none, or a sentence that is no expression of the family.
    """
    whole = dict.fromkeys(text for text in texts if ABSENT not in text.split())
    if not whole:
        raise DataError(f"{task.source}: a split has no formula with all its variables present")
    return [chain(task.name, text) for text in whole]


def link_probes(
    encoder: Encoder, expressions: dict[str, list[Expression]], grid: Sequence[float], seed: int
) -> list[dict[str, float]]:
    """For each layer the probe for bound neighbours on the test split: accuracy, lower, upper, majority, control, n; all 0-1 but n.

    Args:
        expressions: of train, dev and test.
    """
    y = {split: np.concatenate([e.truth((0, e.n_players)).max for e in es]).astype(int) for split, es in expressions.items()}
    x = {split: pair_states(encoder, es) for split, es in expressions.items()}
    rng = np.random.default_rng(seed)
    permuted = {split: rng.permutation(labels) for split, labels in y.items()}
    majority = np.bincount(y["train"]).argmax()
    found = []
    for layer in range(len(encoder.layer_names)):
        here = {split: states[layer] for split, states in x.items()}
        score = statistics.wilson(_right(here, y, grid), len(y["test"]))
        control = _right(here, permuted, grid) / len(y["test"])
        one = {"accuracy": score.value, "lower": score.lower, "upper": score.upper, "control": control}
        found.append(one | {"majority": float((y["test"] == majority).mean()), "n": len(y["test"])})
    return found


def _right(x: dict[str, Features], y: dict[str, Labels], grid: Sequence[float]) -> int:
    """Test pairs that the probe has right, C chosen on dev (of equally good ones the smallest)."""
    design = Design.prepare(x["train"])
    fits = fit_path(design, y["train"], 2, grid, dev=(design.transform(x["dev"]), y["dev"]))
    return int((fits[best(fits)].predict(design.transform(x["test"])) == y["test"]).sum())


def pair_states(encoder: Encoder, expressions: Sequence[Expression]) -> list[Features]:
    """For each layer the states of neighbouring variables side by side, (pairs, 2 dims[l]), in the order of expressions and links.

    A variable of several tokens has their mean.
    """
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


def markdown(frame: pd.DataFrame) -> str:
    """A table for each family: the games of each network, trained and random, with the probes of the layers."""
    frame = frame.astype(dict.fromkeys(frame.select_dtypes("number").columns, float))
    lines = [NOTE]
    for family, of_family in frame.groupby("family", sort=False):
        first = of_family.iloc[0]
        said = f"{first.expressions:.0f} held-out formulas; majority class of the values {100 * first.majority:.1f} %."
        best = _links(of_family[of_family.game == "formula"].iloc[0])
        lines += ["", f"## {family}", "", f"{said} Formula as the game: {best}."]
        lines += [
            "",
            "| network | accuracy (games) | game | probe | majority | permuted | links | without ties |",
            "|---" * 8 + "|",
        ]
        for encoder, part in of_family[of_family.game != "formula"].groupby("encoder", sort=False):
            head = f"{encoder} | {100 * part.accuracy.iloc[0]:.1f} ({100 * part.game_accuracy.iloc[0]:.1f})"
            for _, row in part.sort_values("layer", na_position="first", kind="stable").iterrows():
                lines.append(f"| {head} | {_probe(row)} | {_links(row, ' | ')} |")
                head = " | "
    return "\n".join(lines) + "\n"


def _probe(row: pd.Series) -> str:
    if np.isnan(row.layer):
        return f"{row.game} | | | "
    probe = f"{100 * row.probe_accuracy:.1f} [{100 * row.probe_lower:.1f}, {100 * row.probe_upper:.1f}]"
    where = f"{row.layer:.0f} {row.layer_name}, {row.game}"
    return f"{where} | {probe} | {100 * row.probe_majority:.1f} | {100 * row.probe_control:.1f}"


def _links(row: pd.Series, between: str = "; without ties ") -> str:
    scores_of = row[[key for key in row.index if key.startswith("links_")]].rename(lambda key: key.removeprefix("links_"))
    return f"{shown(scores_of, '')}{between}{shown(scores_of, '_tied_out')}"
