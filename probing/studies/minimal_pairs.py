"""Minimal pairs and agreement: does a language model prefer the right sentence, and more often than floors do?

Every item of a source (`probing.behaviour.readers`) is scored by the encoder's language models, by n-gram models of the named text,
by the rule that the shorter text wins, and by the encoder with random weights. Token scores are kept for each paradigm, so that a
killed run goes on, and another normalisation or tolerance needs no model. `rows.csv` has a line for each item and protocol.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probing.behaviour import counting
from probing.behaviour.base import LanguageModel
from probing.behaviour.counting import FLOORS
from probing.behaviour.items import Item, Pairs, by_paradigm
from probing.behaviour.models import language_models
from probing.behaviour.networks import NetworkModel
from probing.behaviour.scores import Convention, Scores, score
from probing.log import human_count, human_seconds, info
from probing.report import behaviour as report
from probing.studies import Context, require
from probing.studies.pair_scores import Scoring, facts_of, strips_of, texts_of
from probing.studies.texts import Counted, counted_text

SAMPLE = 48
"""Sentences on which the time is estimated."""


@dataclass
class MinimalPairs:
    """Options: the convention (`probing.behaviour.scores`), and:

    Args:
        normalise: what scores are divided by: sum (nothing), token, character, byte, word, or slor, which needs `text`.
        context: of items about one word: prefix (what stands before it) or sentence (masked models read what follows, too).
        words: as_is, or split (punctuation and clitics apart); null: split for networks whose text was so.
        directions: of a network that reads both ways: all (forward, backward, and their sum), or forward.
        text: file or folder of the text of n-gram floors; of a checkpoint the data.root of its training.
        floors: a list of `FLOORS`; null: all that are possible.
        tolerance: nats by which two scores may differ and tie.
    """

    start: str = "mark"
    end: str = "leave"
    masking: str = "within_word_l2r"
    normalise: str = "sum"
    context: str = "prefix"
    words: str | None = None
    directions: str = "all"
    text: str | None = None
    floors: list[str] | None = None
    tolerance: float = counting.TOLERANCE

    name = "minimal_pairs"
    uses = ("encoder", "data")

    def __post_init__(self) -> None:
        options = (
            ("normalise", counting.NORMALISED), ("context", ("prefix", "sentence")), ("words", (None, "as_is", "split")),
            ("directions", ("all", "forward")),
        )  # fmt: skip
        for option, allowed in options:
            given = getattr(self, option)
            names = ", ".join("null" if name is None else name for name in allowed)
            require(given in allowed, f"study.{option}={given!r} is unknown (allowed: {names})")
        unknown = sorted(set(self.floors or ()) - set(FLOORS))
        require(not unknown, f"study.floors: {', '.join(unknown)} unknown (allowed: {', '.join(FLOORS)})")
        require(self.tolerance >= 0, f"study.tolerance={self.tolerance} must be at least 0")
        named = self.text is not None
        require(named or self.normalise != "slor", "study.normalise=slor needs study.text=…, whose words are counted")
        require(
            named or not {"unigram", "trigram"} & set(self.floors or ()), "n-gram floors need study.text=…, whose words are counted"
        )
        self.convention = Convention(self.start, self.end, self.masking)

    def measure(self, context: Context) -> pd.DataFrame:
        source = context.source
        require(
            isinstance(source, Pairs),
            "data=… holds no pairs: data=blimp, linzen, gulordava, marvin_linzen, lakretz, pairs or contrastive",
        )
        with_source = {item.source is not None for item in source.items}
        require(len(with_source) == 1, f"some items of data={source.name} have a source, and others none: score them apart")
        models = language_models(context.encoder, with_source.pop())
        models = models[:1] if self.directions == "forward" else models
        counted = counted_text(self.text, context.encoder) if self.text is not None else None
        self._say(source, models, counted)
        items = self._read_as(source, models[0])
        plain = [
            self._cut(item, models[0]).split() if not source.tokenised else self._cut(item, models[0]) for item in source.items
        ]
        run = Scoring(context, self.convention, self.normalise)
        self._estimate(run, models, items)
        floors = self._floors(run, plain, counted)
        twins = self._twins(run, context, items, len(models), counted)
        frames, sums = [], []
        for k, model in enumerate(models):
            scores = run.scores(model, items)
            sums.append(run.sums(model, scores, items, counted))
            more = floors | ({"random": twins[k]} if twins else {})
            frames.append(self._frame(source, items, plain, model, scores, sums[k], more, counted))
        if len(models) == 2:  # no log-probability of a sentence, and named as what it is
            frames.append(self._both(frames, [x + y for x, y in zip(*sums, strict=True)], twins, floors))
        frame = pd.concat(frames, ignore_index=True)
        require(
            bool(frame.credit.notna().any()),
            f"none of {human_count(len(items), 'item')} of data={source.name} could be scored: see why in `unscored`",
        )
        return frame

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        """pairs.csv, facets.csv, compare.csv, table.md, figures."""
        report.write(frame, folder)

    def _say(self, source: Pairs, models: Sequence[LanguageModel], counted: Counted | None) -> None:
        lines = [
            f"{human_count(len(source.items), 'item')} of data={source.name}, {human_count(len(texts_of(source.items)), 'text')}"
        ]
        lines += [note for note in source.notes]
        lines += [f"protocol: {self._protocol(model)}" for model in models]
        lines += [note for note in {self.convention.unused(model) for model in models} if note]
        lines.append(
            counted.about
            if counted
            else "no n-gram floors: study.text=… names their text (of a checkpoint the data.root of its training)"
        )
        for line in lines:
            info(line)

    def _protocol(self, model: LanguageModel) -> str:
        more = [] if self.normalise == "sum" else [f"by {self.normalise}"]
        more += ["both sides of the word"] if self.context == "sentence" and model.kind == "masked" else []
        return ", ".join([self.convention.named(model), *more])

    def _cut(self, item: Item, model: LanguageModel) -> Item:
        """Without what follows the target, which a forward model does not read, and a masked one reads by `context=sentence`."""
        if model.kind == "masked" and self.context == "sentence":
            return item
        return item.cut().closed() if model.by_letters and item.target is not None else item.cut()

    def _read_as(self, source: Pairs, model: LanguageModel) -> list[Item]:
        split = self.words == "split" or (self.words is None and isinstance(model, NetworkModel) and not source.tokenised)
        both = isinstance(model, NetworkModel) and model.reads == "both" and self.directions == "all"
        items = source.items if both else [self._cut(item, model) for item in source.items]  # the backward one reads what follows
        return [item.split() for item in items] if split else list(items)

    def _floors(self, run: Scoring, items: Sequence[Item], counted: Counted | None) -> dict[str, np.ndarray]:
        """Credits of the floors that read words, by name."""
        wanted, credits = self.floors if self.floors is not None else FLOORS, {}
        for order, name in ((1, "unigram"), (3, "trigram")):
            if name in wanted and counted is not None:
                model = counted.ngram(order)
                credits[name] = self._credits(run.sums(model, run.scores(model, items), items, None, "sum"))
        if "shorter" in wanted:
            credits["shorter"] = counting.shorter([item.right for item in items], [item.wrong for item in items])
        return credits

    def _twins(self, run: Scoring, context: Context, items: Sequence[Item], n: int, counted: Counted | None) -> list[np.ndarray]:
        """Credits of the same architecture with random weights, scored as the model is, for each of n models, and for their sum
        where there are two."""
        twin = (
            context.encoder.random_twin(context.seed) if "random" in (self.floors if self.floors is not None else FLOORS) else None
        )
        if twin is None:
            return []
        models = language_models(twin, any(item.source is not None for item in items))[:n]
        sums = [run.sums(model, run.scores(model, items), items, counted) for model in models]
        sums += [[x + y for x, y in zip(*sums, strict=True)]] if n == 2 else []
        return [self._credits(one) for one in sums]

    def _credits(self, sums: Sequence[np.ndarray]) -> np.ndarray:
        """Credit of each item, (n,), from the scores of its texts, right first."""
        return np.array([counting.credits_of(x[:1], x[None, 1:], self.tolerance)[0] for x in sums])

    def _frame(
        self, source: Pairs, items: Sequence[Item], plain: Sequence[Item], model: LanguageModel, scores: Scores,
        sums: Sequence[np.ndarray], *more: Any,
    ) -> pd.DataFrame:  # fmt: skip
        """A line for each item."""
        floors, counted = more
        known, same, why, lost = facts_of(items, scores, model)
        credit = self._credits(sums)
        frame = pd.DataFrame({
            "data": source.name, "kind": type(source).__name__, "encoder": model.name, "protocol": self._protocol(model),
            "direction": model.direction, "item": [item.number for item in items], "paradigm": [item.paradigm for item in items],
            "group": [item.group for item in items], "chance": [1 / len(item.texts) for item in items],
            "difference": [x[0] - x[1:].max() for x in sums], "credit": credit, "in_vocabulary": known, "identical": same,
            "unscored": why, "lost": lost,
        })  # fmt: skip
        for name in FLOORS:
            frame[name] = floors.get(name, np.nan)
        facets = pd.DataFrame([dict(item.facets) for item in source.items]).add_prefix("facet ")
        frame["strip"] = strips_of(items, scores, model, frame.difference.to_numpy(float))
        if counted is not None:
            facets["facet frequency"] = [counting.frequency_bin(counted.rarest(item)) for item in plain]
        return pd.concat([frame, facets], axis=1)

    def _both(
        self, frames: Sequence[pd.DataFrame], sums: Sequence[np.ndarray], twins: Sequence[np.ndarray], floors: Mapping[str, Any]
    ) -> pd.DataFrame:
        credit = self._credits(sums)
        more = {"random": twins[2]} if twins else {}
        protocol = frames[0].protocol.iloc[0].replace("forward", "both", 1)
        values = {
            "strip": None,
            "credit": credit,
            "difference": [x[0] - x[1:].max() for x in sums],
            "protocol": protocol,
            "direction": "both",
        }
        return frames[0].assign(**values, **more)

    def _estimate(self, run: Scoring, models: Sequence[LanguageModel], items: Sequence[Item]) -> None:
        """Says how long it will take, from a few sentences of what is not finished."""
        for model in models:
            left = [part for _, part in by_paradigm(items) if not run.finished(model, part)]
            texts = [text for part in left for text in texts_of(part, model.reads_source)]
            if len(texts) <= 10 * SAMPLE:
                continue
            some = texts[:: max(1, len(texts) // SAMPLE)][:SAMPLE]
            score(model, some[:4], self.convention)  # what is loaded at the first pass
            start = time.perf_counter()
            score(model, some, self.convention)
            seconds = (time.perf_counter() - start) / len(some) * len(texts)
            twin = "; as long again with random weights" if "random" in (FLOORS if self.floors is None else self.floors) else ""
            about = f"{human_count(len(texts), 'text')} in {human_count(len(left), 'part')}, about {human_seconds(seconds)}"
            info(f"{model.name}, {model.direction}: {about}{twin}")
