"""Token scores of items, kept by model, convention and paradigm, and what they say of each item."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from itertools import accumulate, islice
from typing import Any

import numpy as np

from probing.behaviour import counting
from probing.behaviour.base import BETWEEN, LanguageModel
from probing.behaviour.items import Item, by_paradigm
from probing.behaviour.reading import Text
from probing.behaviour.scores import Convention, Scores, convention_key, score
from probing.behaviour.strips import strip
from probing.log import bar
from probing.store.results import key_of
from probing.studies import Context
from probing.studies.texts import Counted

SHOWN = 10
"""Items at each end whose tokens are shown."""


class Scoring:
    """Token scores of items, kept in the result store by paradigm."""

    def __init__(self, context: Context, convention: Convention, normalise: str):
        self.context, self.convention, self.normalise = context, convention, normalise

    def finished(self, model: LanguageModel, part: Sequence[Item]) -> bool:
        return not self.context.force and self.context.results.done(key_of(self.inputs(model, part)))

    def inputs(self, model: LanguageModel, part: Sequence[Item]) -> dict[str, Any]:
        content = hashlib.sha256(json.dumps(texts_of(part, model.reads_source)).encode()).hexdigest()
        return {"part": "token scores", **convention_key(model, self.convention), "texts": content}

    def scores(self, model: LanguageModel, items: Sequence[Item]) -> Scores:
        """Token scores of all texts of the items, in their order; each paradigm is kept as soon as it is done."""
        parts = list(by_paradigm(items))
        done: list[tuple[list[Item], Scores]] = []
        with bar(f"{model.name}, {model.direction}", sum(len(texts_of(part)) for _, part in parts)) as advance:
            for name, part in parts:
                done.append((part, self._part(model, name, part)))
                advance(len(texts_of(part)))
        in_parts = [item for part, _ in done for item in part]
        ends = accumulate((len(item.texts) for item in in_parts), initial=0)
        first = {item.number: start for item, start in zip(in_parts, ends, strict=False)}  # its place among the texts of all parts
        order = [first[item.number] + k for item in items for k in range(len(item.texts))]
        log_p, ids = ([x for _, scores in done for x in getattr(scores, name)] for name in ("log_p", "ids"))
        cut, lost = (np.concatenate([getattr(scores, name) for _, scores in done]) for name in ("cut", "lost"))
        return Scores([log_p[k] for k in order], [ids[k] for k in order], cut[order], lost[order])

    def _part(self, model: LanguageModel, name: str, part: Sequence[Item]) -> Scores:
        inputs, store, start = self.inputs(model, part), self.context.results, time.perf_counter()
        if self.finished(model, part):
            return Scores.of_arrays(store.items(key_of(inputs)))
        scores = score(model, texts_of(part, model.reads_source), self.convention)
        rows = [{"paradigm": name, "texts": len(scores.log_p), "seconds": round(time.perf_counter() - start, 2)}]
        store.put(inputs, rows, items=scores.arrays())
        return scores

    def sums(
        self, model: LanguageModel, scores: Scores, items: Sequence[Item], counted: Counted | None, how: str | None = None
    ) -> list[np.ndarray]:
        """For each item the scores of its texts, right first, normalised; NaN where a text is not scored."""
        how = how or self.normalise
        texts = [text for item in items for text in item.texts]
        unigram = None
        if how == "slor":
            assert counted is not None
            unigram = counted.unigrams(model, scores)
        values = iter(counting.normalised(scores.log_p, texts, how, unigram).tolist())
        return [np.array(list(islice(values, len(item.texts)))) for item in items]


def texts_of(items: Sequence[Item], sources: bool = False) -> list[Text]:
    """All texts of the items, right first; `sources`: each behind its source, as models of translations read it."""
    before = {item.number: f"{item.source}{BETWEEN}" if sources else "" for item in items}
    return [(before[item.number] + text, item.target) for item in items for text in item.texts]


def strips_of(items: Sequence[Item], scores: Scores, model: LanguageModel, difference: np.ndarray) -> list[str | None]:
    """Of the `SHOWN` items with the largest differences above 0, (n,), and the smallest below, the right and the best wrong text
    side by side, as JSON: what stands before the scored word, then pieces and log p of both for each part; None of the others."""
    order = np.argsort(difference, kind="stable")
    order = order[~np.isnan(difference[order])]
    chosen = {k for k in order[:SHOWN] if difference[k] < 0} | {k for k in order[::-1][:SHOWN] if difference[k] > 0}
    made: list[str | None] = [None] * len(items)
    at = 0
    for k, item in enumerate(items):
        rows, at = range(at, at + len(item.texts)), at + len(item.texts)
        if k in chosen:
            best = max(rows[1:], key=lambda row: scores.log_p[row].sum())
            (a, b) = (model.pieces(scores.ids[row].tolist()) for row in (rows[0], best))
            before = "" if item.target is None else " ".join(item.right.split()[: item.target])
            parts = strip(a, scores.log_p[rows[0]], b, scores.log_p[best])
            made[k] = json.dumps([before, *parts], ensure_ascii=False)
    return made


def facts_of(items: Sequence[Item], scores: Scores, model: LanguageModel) -> tuple[list[bool], list[bool], list[str], list[bool]]:
    """For each item: whether the model knows all words that are scored; whether it reads right and wrong as one text; why it has no
    score, or an empty text; whether a token at an end is not scored, as nothing predicts it."""
    known, same, why, lost = [], [], [], []
    at = 0
    for item in items:
        rows = range(at, at + len(item.texts))
        at += len(item.texts)
        ids = [scores.ids[k].tolist() for k in rows]
        known.append(all(model.unknown not in one for one in ids))
        reasons = []
        if any(scores.cut[k] for k in rows):
            reasons.append("longer than the model can read")
        elif any(not len(one) for one in ids):
            reasons.append("its word is the first, which nothing predicts" if any(scores.lost[k] for k in rows) else "no word")
        same.append(not reasons and ids[0] in ids[1:])
        why.append(", ".join(reasons))
        lost.append(any(scores.lost[k] for k in rows))
    return known, same, why, lost
