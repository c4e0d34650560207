"""Wrong predictions: does masking the strongest coalition for the predicted class flip the prediction?

Of sentences that a classifier gets wrong, and as many that it gets right: the sentence is one segment, phi([C]) = v(C) -
v(empty), v the logit of the predicted class, the best partition is exact, and its part of 2 to n - 1 words with the largest
phi is the coalition. It is masked in the whole sentence, and so is every other interval of the same length (see `compared`).
The claim that the coalition says more than its words rests on flips - flips_alone and flips - flips_words.

Each wrong prediction is paired with one right prediction, without replacement, with the smallest sum of the differences of
margins (logit of the predicted class less the next one's). Sentences without a coalition are counted, and take no part in
comparisons.

Reference: Zhang et al. 2021 (AAAI 35) show such coalitions as examples; the test is ours.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from probing.data.task import Task
from probing.encoders.base import Encoder, fingerprint
from probing.evaluation.paired_tests import holm, mcnemar
from probing.evaluation.statistics import ratio
from probing.interactions.game import Game, shapley_values
from probing.interactions.options import Masking
from probing.interactions.partition import Partition, square
from probing.interactions.text.game import TextGame
from probing.interactions.text.heads import LinearHead, classifier
from probing.interactions.text.many import Case, layer_interactions
from probing.interactions.text.masking import published
from probing.log import bar
from probing.store.extraction import extract
from probing.studies import Context, check_words, require
from probing.studies.layout import columns, grouped, view, write
from probing.types import Representation, Values

VERSION = 2
"""Raise when the same inputs would give other numbers."""

CONTROLS = {"others": "other intervals", "alone": "interval by words alone", "words": "interval by words"}
"""The intervals that the coalition is compared with, and their names in tables."""

HEAD = """# Wrong predictions: masking the top coalition of the predicted class

Share of sentences (%) whose predicted class changes when an interval is masked: the coalition; the mean over the other intervals of
its length; the interval of that length whose words, each alone, have the largest sum of phi; and the one whose words have the
largest sum of Shapley values."""
DIFFERENCES = """## The coalition less the controls

In points [95 % bootstrap interval over sentences]. p: exact McNemar test (of the other intervals one a sentence, drawn), Holm over
all tests of this table."""
DROPS = """## Fall of the logit without the coalition, less that without the controls

In units of the logit [95 % bootstrap interval over sentences]."""
PAIRS = """## Wrong and right predictions of the same margin

Pairs of one wrong and one right prediction with nearly the same margin (logit of the predicted class less the next one's).
Differences, wrong less right, in points [95 % bootstrap interval over pairs]; p: exact McNemar test of the flips without the
coalition, Holm over the lines. The last column: flips less those without the interval by words, wrong less right."""


NAMES = "data encoder predictions"
FLIPS = {"with a coalition": "with_coalition", "words in it": "words:.1f", "coalition": "flips:%"}
FLIPS |= {title: f"flips_{control}:%" for control, title in CONTROLS.items()} | {
    "coalition is that by words alone, by words": "same"
}
TESTS = {
    title: column
    for control, name in CONTROLS.items()
    for title, column in ((f"less {name}", f"difference_{control}:%"), (f"p, {name}", f"p_{control}_holm:.2g"))
}
FALLS = {f"less {title}": f"drop_difference_{control}:.2f" for control, title in CONTROLS.items()}
MARGINS = {"margin, wrong": "margin_wrong:.3f", "margin, right": "margin_right:.3f", "mean gap": "margin_gap:.4f"}
MATCHED = MARGINS | {"flips, wrong (%)": "flips_wrong:%", "flips, right (%)": "flips_right:%", "difference": "difference:%"}
MATCHED |= {"p": "p_holm:.2g", "difference, less interval by words": "difference_words:%"}


@dataclass
class WrongPredictions:
    sentences: int = 200
    words: list[int] = field(default_factory=lambda: [5, 20])
    splits: list[str] = field(default_factory=lambda: ["dev", "test"])
    head: str | None = "fit"
    masking: str | None = None
    budget: int = 1024

    name: ClassVar[str] = "wrong_predictions"
    uses: ClassVar[tuple[str, ...]] = ("encoder", "data")

    def __post_init__(self) -> None:
        check_words(self.words, 3, "[5, 20]")
        splits = f"study.splits={self.splits} must be a list of train, dev, test"
        require(len(self.splits) > 0 and set(self.splits) <= {"train", "dev", "test"}, splits)
        require(self.sentences >= 1, f"study.sentences={self.sentences} must be at least 1")
        least = 2 * self.words[1]
        require(self.budget >= least, f"study.budget={self.budget} must be at least {least}: a random order and its reverse")

    def measure(self, context: Context) -> pd.DataFrame:
        encoder, seed, lines = context.encoder, context.seed, []
        masking = Masking(self.masking or published(encoder))
        for task in context.tasks:
            head = classifier(encoder, task, self.head, context.home, context.store)
            cases, drawn = self._draw(encoder, task, head, seed)
            rows = layer_interactions(encoder, cases, context.results.root, "logit", masking, head=head)
            with bar(f"masking {encoder.name}", len(rows)) as advance:
                for row, pair in zip(rows.to_dict("records"), drawn, strict=True):
                    line = {name: row[name] for name in ("encoder", "text", "n_words", "masking", "predicted", "label")}
                    line |= {"data": task.name, "wrong": row["predicted"] != row["label"], "seed": seed, **pair}
                    lines.append(line | self._flips(context, row, masking, head))
                    advance(1)
            encoder.release()
        return pd.DataFrame(lines)

    def _flips(self, context: Context, row: Mapping[str, Any], masking: Masking, head: LinearHead) -> dict[str, Any]:
        """Flips of a sentence, from its row of interactions; nothing where it has no coalition."""
        phi, seed, text = square(json.loads(row["phi"]), row["n_words"]), context.seed, row["text"]
        coalition = top(ast.literal_eval(row["max_partition"]), phi)
        if coalition is None:
            return {}

        def game() -> TextGame:
            return TextGame(context.encoder, text, "logit", masking, target="all", head=head)

        def values() -> list[dict[str, Any]]:
            return [{"values": of_word} for of_word in shapley_values(game(), self.budget, seed).tolist()]

        settings = {"version": VERSION, "encoder": fingerprint(context.encoder), "head": head.sha256, "masking": masking.kind}
        part = {"kind": "masked coalitions", **settings, "text": text, "coalition": list(coalition)}
        intervals = context.finished(part, lambda: masked(game(), coalition))
        words = context.finished({"kind": "words", **settings, "text": text, "budget": self.budget, "seed": seed}, values)
        line = compared(intervals, coalition, phi.diagonal(), np.array([word["values"] for word in words]), seed)
        return line | {"words": " ".join(text.split()[slice(*coalition)])}

    def _draw(self, encoder: Encoder, task: Task, head: LinearHead, seed: int) -> tuple[list[Case], list[dict[str, Any]]]:
        """Wrong sentences of the splits and their right partners, each text once, as whole segments; with margin and pair of
        each."""
        parts = [task.splits[split] for split in self.splits]
        labels = {text: task.classes[k] for part in parts for text, k in zip(part.texts, part.labels, strict=True)}
        texts = [text for text in labels if self.words[0] <= len(text.split()) <= self.words[1]]
        require(bool(texts), f"study.words={self.words}: {', '.join(self.splits)} of {task.name} have no sentence of that length")
        vectors = extract(encoder, encoder.tokenize(texts)[0], [head.pooling])[Representation(head.layer, head.pooling)]
        logits = head.logits(vectors.astype(np.float64))
        wrong = np.array([head.classes[k] != labels[text] for k, text in zip(logits.argmax(1), texts, strict=True)])
        message = (
            f"{encoder.name} gets {'none' if wrong.all() else 'all'} of {len(texts)} sentences of {task.name} right: there is "
            "nothing to compare; give more sentences by study.splits and study.words"
        )
        require(0 < wrong.sum() < len(wrong), message)
        *_, second, first = np.sort(logits, 1).T
        margins, right = first - second, np.flatnonzero(~wrong)
        chosen = np.random.default_rng(seed).permutation(np.flatnonzero(wrong))[: min(self.sentences, len(right))]
        drawn = [(i, n) for n, both in enumerate(zip(chosen, nearest(margins, chosen, right), strict=True)) for i in both]
        cases = [Case(texts[i], (0, len(texts[i].split())), labels[texts[i]]) for i, _ in drawn]
        return cases, [{"pair": n, "margin": float(margins[i])} for i, n in drawn]

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        """table.csv, matched.csv, table.md."""
        within, between = scores(frame), matched(frame)
        some = within[within.with_coalition > 0]
        blocks = [HEAD, "No sentence has a coalition."]
        if len(some):
            same = [f"{100 * row.same_alone:.0f} %, {100 * row.same_words:.0f} %" for row in some.itertuples()]
            blocks = [HEAD, view(some.assign(same=same), f"{NAMES} masking sentences", FLIPS)]
            blocks += [DIFFERENCES, view(some, NAMES, TESTS), DROPS, view(some, NAMES, FALLS)]
        if len(between):
            blocks += [PAIRS, view(between, "data encoder pairs", MATCHED)]
        flipped = frame[frame.wrong & frame.get("flips", pd.Series(index=frame.index)).eq(1)]
        if len(flipped):
            examples = flipped.groupby(["data", "encoder"], sort=False).head(3)
            blocks.append("## Wrong predictions that flip, the first three of each encoder")
            blocks.append(view(examples, "encoder predicted", {"coalition": "words", "sentence": "text"}))
        write(folder, blocks, {"table.csv": within, "matched.csv": between})


def top(partition: Partition, phi: Values) -> tuple[int, int] | None:
    """The part of 2 to n - 1 words with the largest phi, (n, n) by first and last word; None where there is none.

    >>> top(((0, 2), (2, 3)), np.array([[0, 5.0, 9], [0, 0, 1], [0, 0, 0]]))
    (0, 2)
    """
    parts = [part for part in partition if 1 < part[1] - part[0] < len(phi)]
    return max(parts, key=lambda part: phi[part[0], part[1] - 1], default=None)


def masked(game: Game, coalition: tuple[int, int]) -> list[dict[str, Any]]:
    """Logits of the whole sentence (start -1), and without each interval of the coalition's length: start, logits."""
    n, length = game.n_players, coalition[1] - coalition[0]
    starts = np.arange(n - length + 1)
    present = np.ones((len(starts) + 1, n), bool)
    for row, start in enumerate(starts, start=1):
        present[row, start : start + length] = False
    return [{"start": k - 1, "logits": row} for k, row in enumerate(game(present).tolist())]


def compared(rows: list[dict[str, Any]], coalition: tuple[int, int], alone: Values, words: Values, seed: int) -> dict[str, Any]:
    """Flips and drops of an interval of a sentence when it is masked: from the rows of `masked`, phi of the words in the value of
    the predicted class, (n,), and their Shapley values, (n, classes).

        flips          whether the predicted class changes without the coalition
        flips_others   the share of the other intervals of the same length whose masking changes it
        flips_one      whether masking one of the others, drawn by the seed, changes it
        flips_alone    whether it changes without the interval of that length whose single words have the largest sum of phi
        flips_words    the same with the words' Shapley values, all words of the sentence being players

    `drop*` are the same for the fall of the predicted class' logit; `same_*`: whether the interval is the coalition.
    """
    whole, *without = (np.array(row["logits"]) for row in rows)
    now = int(whole.argmax())
    flips = np.array([row.argmax() != now for row in without])
    drops = np.array([whole[now] - row[now] for row in without])
    start = coalition[0]
    others = np.arange(len(without)) != start
    one = np.random.default_rng([seed, start, len(without)]).choice(np.flatnonzero(others))
    line = {"start": start, "stop": coalition[1], "flips": int(flips[start]), "drop": float(drops[start])}
    line |= {"flips_one": int(flips[one]), "flips_others": float(flips[others].mean()), "drop_others": float(drops[others].mean())}
    for name, values in (("alone", alone), ("words", words[:, now])):
        at = int(np.convolve(values, np.ones(coalition[1] - start), "valid").argmax())
        line |= {f"start_{name}": at, f"same_{name}": at == start}
        line |= {f"flips_{name}": int(flips[at]), f"drop_{name}": float(drops[at])}
    return line


def nearest(margins: Values, chosen: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each of `chosen` one of `others` (at least as many), each once: the sum of differences of margins is the smallest.

    >>> nearest(np.array([1.0, 5.0, 0.9, 4.0, 9.0]), np.array([0, 1]), np.array([2, 3, 4])).tolist()
    [2, 3]
    """
    return others[linear_sum_assignment(np.abs(margins[chosen][:, None] - margins[others]))[1]]


def scores(frame: pd.DataFrame) -> pd.DataFrame:
    """One line per data, encoder and kind of prediction (wrong, right): flips, and their paired differences from the controls
    (shares of sentences, drops in units of the logit) with 95 % bootstrap bounds; `p_CONTROL`: exact McNemar tests, and with
    `_holm` Holm's over all tests of the frame."""
    lines = []
    for key, group in grouped(frame, "data encoder wrong"):
        line = {"data": key["data"], "encoder": key["encoder"], "predictions": "wrong" if key["wrong"] else "right"}
        line |= {"masking": group.masking.iloc[0], "sentences": len(group)}
        group = _with_coalition(group)
        line["with_coalition"] = len(group)
        if len(group):
            line["words"] = float((group.stop - group.start).mean())
            names = ("same_alone", "same_words", "margin", "flips", *(f"flips_{control}" for control in CONTROLS))
            line |= {name: float(group[name].astype(float).mean()) for name in names}
            for control in CONTROLS:
                line |= _mean(f"difference_{control}", group.flips - group[f"flips_{control}"])
                line |= _mean(f"drop_difference_{control}", group["drop"] - group[f"drop_{control}"])
                tested = group.flips_one if control == "others" else group[f"flips_{control}"]
                line[f"p_{control}"] = mcnemar(group.flips == 1, tested == 1)
        lines.append(line)
    rates = pd.DataFrame(lines)
    if "p_words" in rates:
        tested, tests = rates.p_words.notna(), [f"p_{control}" for control in CONTROLS]
        corrected = holm(rates.loc[tested, tests].to_numpy().ravel()).reshape(-1, len(tests))
        rates.loc[tested, [f"{name}_holm" for name in tests]] = corrected
    return rates


def matched(frame: pd.DataFrame) -> pd.DataFrame:
    """One line per data and encoder: wrong less right predictions of pairs of nearly the same margin, both with a coalition:
    `difference` of flips without it, `difference_words` of flips less those without the interval by words, with 95 % bootstrap
    bounds over pairs; `p`: exact McNemar test of flips, `p_holm`: Holm's over the lines."""
    lines = []
    for line, group in grouped(_with_coalition(frame), "data encoder"):
        group = group.assign(excess=group.flips - group.flips_words)
        wide = group.pivot(index=["seed", "pair"], columns="wrong", values=["margin", "flips", "excess"]).astype(float).dropna()
        if wide.empty or group.wrong.nunique() < 2:
            continue
        wrong, right = wide.xs(True, axis=1, level=1), wide.xs(False, axis=1, level=1)
        line |= {"pairs": len(wide), "margin_wrong": float(wrong.margin.mean()), "margin_right": float(right.margin.mean())}
        line |= {"margin_gap": float((wrong.margin - right.margin).abs().mean())}
        line |= {"flips_wrong": float(wrong.flips.mean()), "flips_right": float(right.flips.mean())}
        line |= _mean("difference", wrong.flips - right.flips) | _mean("difference_words", wrong.excess - right.excess)
        lines.append(line | {"p": mcnemar(wrong.flips == 1, right.flips == 1)})
    differences = pd.DataFrame(lines)
    return differences.assign(p_holm=holm(differences.p)) if lines else differences


def _with_coalition(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.dropna(subset="flips") if "flips" in frame else frame.iloc[:0]


def _mean(name: str, values: pd.Series) -> dict[str, float]:
    return columns(name, ratio(values, np.ones(len(values))))
