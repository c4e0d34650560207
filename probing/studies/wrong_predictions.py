"""Wrong predictions: does masking the strongest coalition for the predicted class flip the prediction?

For sentences that a classifier gets wrong (v the logit of the wrong, predicted class), and as a control for those it gets right:
the sentence is one segment, phi([C]) = v(C) - v(empty), the best partition is exact, and its part of 2 to n - 1 words with the
largest phi is the coalition. It is masked in the whole sentence, and so is every other interval of the same length:

    flips     whether the predicted class changes without the coalition
    control   the share of the other intervals of the same length whose masking changes it
    drop, drop_control    by how much the logit of the class falls

The difference flips - control is paired within sentences: its mean has a percentile bootstrap over sentences, and an exact McNemar
test compares the coalition with one of the other intervals, drawn by the seed. Sentences whose best partition has no such part
are counted and left out.

Reference: Zhang et al. 2021 (AAAI 35) show such coalitions as examples; the test is ours. Left out: coalitions against the class.
"""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from probing.encoders.base import Encoder, fingerprint
from probing.errors import ConfigError
from probing.extraction import extract
from probing.heads import LinearHead
from probing.interactions.game import Game
from probing.interactions.masking import published
from probing.interactions.partition import Partition
from probing.interactions.text import TextGame
from probing.layers import Case, layer_interactions
from probing.progress import bar
from probing.report import md_table
from probing.statistics import mcnemar, ratio
from probing.studies import Context
from probing.studies.classifiers import classifier
from probing.task import Task
from probing.types import Column

VERSION = 1
"""Raise when the same inputs would give other numbers."""


@dataclass
class WrongPredictions:
    """Flips by masking the top coalition of the predicted class, against other intervals of its length.

    Args:
        sentences: at most so many wrong ones, and as many right ones, drawn by the run's seed.
        words: fewest and most words of a sentence.
        splits: where they are drawn from.
        head: see `probing.studies.classifiers.classifier`.
        masking: null: the published one, pad, or zero where the encoder has no such token.
    """

    sentences: int = 200
    words: list[int] = field(default_factory=lambda: [5, 20])
    splits: list[str] = field(default_factory=lambda: ["dev", "test"])
    head: str | None = "fit"
    masking: str | None = None

    name: ClassVar[str] = "wrong_predictions"
    uses: ClassVar[tuple[str, ...]] = ("encoder", "data")

    def __post_init__(self) -> None:
        if len(self.words) != 2 or not 3 <= self.words[0] <= self.words[1]:
            raise ConfigError(f"study.words={self.words}: give the fewest (3 at least) and the most words, such as [5, 20]")
        if not self.splits or set(self.splits) - {"train", "dev", "test"}:
            raise ConfigError(f"study.splits={self.splits} must be a list of train, dev, test")
        if self.sentences < 1:
            raise ConfigError(f"study.sentences={self.sentences} must be at least 1")

    def measure(self, context: Context) -> pd.DataFrame:
        encoder, found = context.encoder, []
        masking, seed = self.masking or published(encoder), context.seed
        for task in context.tasks:
            head = classifier(encoder, task, self.head, context.home)
            cases = self._draw(encoder, task, head, seed)
            rows = layer_interactions(encoder, cases, context.kept.root, "logit", masking, head=head)
            said = {"kind": "masked coalitions", "version": VERSION, "encoder": fingerprint(encoder), "head": head.sha256}
            with bar(f"masking {encoder.name}", len(rows)) as advance:
                for row in rows.to_dict("records"):
                    line = {name: row[name] for name in ("encoder", "text", "n_words", "masking", "predicted", "label")}
                    line |= {"data": task.name, "wrong": row["predicted"] != row["label"], "seed": seed}
                    coalition = top(ast.literal_eval(row["max_partition"]), json.loads(row["phi"]))
                    if coalition is not None:
                        part = {**said, "masking": masking, "text": row["text"], "coalition": list(coalition)}
                        kept = context.kept.read(part)
                        if kept is None:
                            game = TextGame(encoder, row["text"], "logit", masking, target="all", head=head)
                            kept = context.kept.write(part, masked(game, coalition))
                        line |= compared(kept, coalition, seed) | {"words": " ".join(row["text"].split()[slice(*coalition)])}
                    found.append(line)
                    advance(1)
            encoder.release()
        return pd.DataFrame(found)

    def _draw(self, encoder: Encoder, task: Task, head: LinearHead, seed: int) -> list[Case]:
        """Wrong and right sentences of the splits, each text once, as whole segments."""
        least, most = self.words
        labels = {
            text: task.classes[label]
            for split in self.splits
            for text, label in zip(task.splits[split].texts, task.splits[split].labels, strict=True)
            if least <= len(text.split()) <= most
        }
        if not labels:
            raise ConfigError(f"study.words={self.words}: {', '.join(self.splits)} of {task.name} have no sentence of that length")
        texts = list(labels)
        vectors = extract(encoder, encoder.tokenize(texts)[0], [head.pooling])[Column(head.layer, head.pooling)]
        predicted = head.logits(vectors.astype(np.float64)).argmax(1)
        wrong = np.array([head.classes[k] != labels[text] for k, text in zip(predicted, texts, strict=True)])
        rng, cases = np.random.default_rng(seed), []
        for kind in (True, False):
            drawn = rng.permutation(np.flatnonzero(wrong == kind))[: self.sentences]
            cases += [Case(texts[i], (0, len(texts[i].split())), labels[texts[i]]) for i in drawn]
        return cases

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        table = scores(frame)
        table.to_csv(folder / "table.csv", index=False)
        (folder / "table.md").write_text(_markdown(table, frame), encoding="utf-8")


def top(partition: Partition, phi: list[float]) -> tuple[int, int] | None:
    """The part of 2 to n - 1 words with the largest phi (given in the order of np.triu_indices); None where there is none.

    >>> top(((0, 2), (2, 3)), [0, 5.0, 9, 0, 1, 0])
    (0, 2)
    """
    n = partition[-1][1]
    square = np.zeros((n, n))
    square[np.triu_indices(n)] = phi
    parts = [part for part in partition if 1 < part[1] - part[0] < n]
    return max(parts, key=lambda part: square[part[0], part[1] - 1], default=None)


def masked(game: Game, coalition: tuple[int, int]) -> list[dict[str, Any]]:
    """Logits of the whole sentence (start -1), and without each interval of the coalition's length: start, logits."""
    n, length = game.n_players, coalition[1] - coalition[0]
    starts = np.arange(n - length + 1)
    present = np.ones((len(starts) + 1, n), bool)
    for row, start in enumerate(starts, start=1):
        present[row, start : start + length] = False
    return [{"start": k - 1, "logits": row} for k, row in enumerate(game(present).tolist())]


def compared(rows: list[dict[str, Any]], coalition: tuple[int, int], seed: int) -> dict[str, Any]:
    """Flips and drops of the coalition and of the other intervals of its length, from what `masked` found.

    `flips_one` is one of the others, drawn by the seed; flips are 0 or 1, drops in units of the logit.
    """
    whole, *without = (np.array(row["logits"]) for row in rows)
    now = int(whole.argmax())
    flips = np.array([row.argmax() != now for row in without])
    drops = np.array([whole[now] - row[now] for row in without])
    others = np.arange(len(without)) != coalition[0]
    one = np.random.default_rng([seed, coalition[0], len(without)]).choice(np.flatnonzero(others))
    return {
        "start": coalition[0],
        "stop": coalition[1],
        "flips": int(flips[coalition[0]]),
        "control": float(flips[others].mean()),
        "flips_one": int(flips[one]),
        "drop": float(drops[coalition[0]]),
        "drop_control": float(drops[others].mean()),
    }


def scores(frame: pd.DataFrame) -> pd.DataFrame:
    """One line per data, encoder and kind (wrong, right): flips, control and their paired difference with bootstrap bounds."""
    lines = []
    for (data, encoder, wrong), here in frame.groupby(["data", "encoder", "wrong"], sort=False):
        line = {"data": data, "encoder": encoder, "predictions": "wrong" if wrong else "right", "masking": here.masking.iloc[0]}
        line |= {"sentences": len(here)}
        here = here.dropna(subset="flips") if "flips" in here else here.iloc[:0]
        line["with_coalition"] = len(here)
        if len(here):
            one = np.ones(len(here))
            line["words"] = float((here.stop - here.start).mean())
            for name, parts in (
                ("flips", here.flips),
                ("control", here.control),
                ("difference", here.flips - here.control),
                ("drop_difference", here["drop"] - here.drop_control),
            ):
                value = ratio(parts, one)
                line |= {name: value.value, f"{name}_low": value.lower, f"{name}_high": value.upper}
            line["p_mcnemar"] = mcnemar(here.flips == 1, here.flips_one == 1)
        lines.append(line)
    return pd.DataFrame(lines)


def _markdown(table: pd.DataFrame, frame: pd.DataFrame) -> str:
    shown = [
        {
            "data": row.data, "encoder": row.encoder, "predictions": row.predictions, "masking": row.masking,
            "sentences": row.sentences, "with a coalition": row.with_coalition, "words in it": f"{row.words:.1f}",
            "flips (%)": f"{100 * row.flips:.1f}", "other intervals (%)": f"{100 * row.control:.1f}",
            "difference": f"{100 * row.difference:.1f} [{100 * row.difference_low:.1f}, {100 * row.difference_high:.1f}]",
            "drop of the logit less the others'": f"{row.drop_difference:.2f} [{row.drop_difference_low:.2f}, "
            f"{row.drop_difference_high:.2f}]",
            "McNemar p": f"{row.p_mcnemar:.2g}",
        }
        for row in table[table.with_coalition > 0].itertuples()
    ]  # fmt: skip
    examples = (
        frame[frame.wrong & frame.get("flips", pd.Series(index=frame.index)).eq(1)].groupby(["data", "encoder"], sort=False).head(3)
    )
    seen = [
        {"encoder": row.encoder, "predicted": row.predicted, "coalition": row.words, "sentence": row.text}
        for row in examples.itertuples()
    ]
    return "\n".join(
        [
            "# Wrong predictions: masking the top coalition of the predicted class",
            "",
            "Share of sentences whose predicted class changes when the coalition, or another interval of its length, is masked;",
            "difference in points [95 % bootstrap interval over sentences]; McNemar: against one other interval a sentence.",
            "",
            md_table(pd.DataFrame(shown)) if shown else "No sentence has a coalition.",
            *(
                ["", "## Wrong predictions that flip, the first three of each encoder", "", md_table(pd.DataFrame(seen))]
                if seen
                else []
            ),
            "",
        ]
    )
