"""Study `errors`: which tokens a language model predicts and n-grams do not, and what the others depend on.

n-grams (`probing.behaviour.kneser_ney`) count the first part of a text; tokens of what follows are judged under the model and the
n-grams. An error is a token whose probability is below a threshold (Karpathy et al. 2016). Lines (`facet`, `value`): all tokens
against n-grams of each order, and against that of the highest order alone closing marks by the distance from their opening, words
by their last occurrence, and by how often the n-gram's text has them (`probing.behaviour.long_range`).

A model of characters reads parts of the text, each behind characters that are not judged, and n-grams the whole text. Any other
model reads a line at a time, and no n-gram goes beyond its line. The intervals are over openings, else over blocks of the text.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probing.behaviour.base import LanguageModel
from probing.behaviour.kneser_ney import Smoothed, smoothed
from probing.behaviour.long_range import Stream, binned, by_character, by_line, closings, counts_before, last_occurrence
from probing.behaviour.models import language_model
from probing.behaviour.networks import NetworkModel
from probing.behaviour.scores import Convention, convention_key
from probing.data.readers.files import read_text
from probing.errors import DataError
from probing.evaluation.statistics import mean_ci
from probing.log import bar, human_count, info
from probing.report import long_range as report
from probing.studies import Context, require
from probing.types import Labels, Values

VERSION = 1
"""Raise when the same options would give other rows."""

DISTANCES, AGO, COUNTS = (10, 20, 40, 80), (10, 100, 1000), (5, 50)
"""Ends of the bins: tokens since the opening, words since the last occurrence, occurrences in the counted text."""


@dataclass
class LongRange:
    """Options.

    Args:
        file: a text in UTF-8, plain or .gz, .xz.
        train, judged: characters from the start that n-grams count, and characters behind them that are judged.
        orders: of the n-grams; the highest is compared by facets.
        threshold: a token below it is an error.
        size, before: a model of characters reads so many at a time, behind so many that are not judged.
        block: tokens of a block, the unit of intervals.
        words: as_is, or split (punctuation and clitics apart); null: split for networks of probing train.
    """

    file: str | None = None
    train: int = 200_000
    judged: int = 20_000
    orders: list[int] = field(default_factory=lambda: [1, 2, 3, 5, 10, 20])
    threshold: float = 0.5
    size: int = 1000
    before: int = 100
    block: int = 200
    words: str | None = None

    name = "errors"
    uses = ("encoder",)

    def __post_init__(self) -> None:
        require(self.file is not None, "set study.file=… (a text in UTF-8)")
        require(0 < self.threshold < 1, f"study.threshold={self.threshold} must lie between 0 and 1")
        require(self.words in (None, "as_is", "split"), f"study.words={self.words!r} is unknown (allowed: null, as_is, split)")
        for option, least in (("train", 1000), ("judged", 1000), ("size", 1), ("before", 0), ("block", 1)):
            require(getattr(self, option) >= least, f"study.{option}={getattr(self, option)} must be at least {least}")
        whole = bool(self.orders) and all(isinstance(n, int) and 1 <= n <= 50 for n in self.orders)
        require(whole, f"study.orders={self.orders} must be a list of whole numbers from 1 to 50")

    def measure(self, context: Context) -> pd.DataFrame:
        model = language_model(context.encoder, "forward")
        text = read_text(Path(str(self.file)).expanduser()).lstrip("\ufeff")[: self.train + self.judged]
        if len(text) < self.train + 1000:
            raise DataError(
                f"study.file={self.file} has {human_count(len(text), 'character')}: study.train={self.train} leaves too few"
            )
        options = {name: value for name, value in vars(self).items() if name != "file"}
        part = {"study": self.name, "version": VERSION, **convention_key(model, Convention()), "options": options}
        part["text"] = hashlib.sha256(text.encode()).hexdigest()
        head = {"encoder": model.name, "file": Path(str(self.file)).name}
        if context.force or (rows := context.results.get(part)) is None:
            rows = context.results.put(part, [head | row for row in self._rows(model, text)])
        return pd.DataFrame(rows)

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        """errors.csv, table.md, figure-errors-*.svg."""
        report.write(frame, folder)

    def _rows(self, model: LanguageModel, text: str) -> list[dict[str, Any]]:
        if model.by_letters:
            stream = by_character(model, text, self.train, self.size, self.before)
        else:
            split = self.words == "split" or (self.words is None and isinstance(model, NetworkModel))
            stream = by_line(model, text, self.train, split)
        known = ~np.isnan(stream.log_p)
        unit = "character" if model.by_letters else "token"
        if not known.any():
            raise DataError(f"{model.name} can judge no {unit} of study.file={self.file}")
        info(
            f"{human_count(stream.n_train, unit)} counted, {human_count(int(known.sum()), unit)} judged, {int((~known).sum())} not"
        )
        made: dict[int, Smoothed] = {}
        with bar("n-grams", len(self.orders)) as advance:
            for order in sorted(self.orders):
                made[order] = self._ngram(stream, order)
                advance(1)
        head = {"unit": unit, "n_train": stream.n_train, "not_judged": int((~known).sum()), "threshold": self.threshold}
        rows = []
        for order, ngram in made.items():
            absolute = f", absolute discount 0.75 at order {', '.join(map(str, ngram.absolute))}" if ngram.absolute else ""
            more = {"order": order, "smoothing": f"modified Kneser-Ney{absolute}"}
            facets = self._facets(stream)[: None if order == max(made) else 1]
            for facet, names, groups in facets:
                for value in sorted(set(names) - {""}, key=_place):
                    own = known & (names == value)
                    if own.any():
                        line = compared(stream.log_p[own], ngram.log_p[own], groups[own], self.threshold)
                        rows.append(head | more | {"facet": facet, "value": value} | line)
        return rows

    def _ngram(self, stream: Stream, order: int) -> Smoothed:
        """The n-gram's log p of the tokens behind the first, a mark before each part."""
        place = np.arange(len(stream.ids)) + np.cumsum(stream.begins)
        ids, marks = np.zeros((2, len(stream.ids) + int(stream.begins.sum())), np.int64)
        ids[place], marks[place[stream.begins] - 1] = stream.ids, 1
        n = int(place[stream.n_train - 1]) + 1
        own = smoothed(ids, marks.astype(bool), n, order)
        return Smoothed(own.log_p[place[stream.n_train :] - n], own.absolute)

    def _blocks(self, stream: Stream) -> Labels:
        return np.arange(len(stream.log_p)) // self.block

    def _facets(self, stream: Stream) -> list[tuple[str, np.ndarray, Labels]]:
        """Name of a facet, the value of each judged token, empty where it has none, and the unit of the interval."""
        n, blocks = stream.n_train, self._blocks(stream)
        resets = stream.begins.copy()
        resets[2:] |= [a == b == "\n" for a, b in zip(stream.tokens[:-2], stream.tokens[1:-1], strict=True)]  # behind an empty line
        close, opening = closings(stream.tokens[n:], resets[n:])
        closing = np.full(len(blocks), "", object)
        closing[close] = binned(close - opening, DISTANCES)
        facets = [("all", np.full(len(blocks), "all"), blocks), ("closing mark", closing, np.arange(len(blocks)))]
        before = int(stream.owner[:n].max(initial=-1)) + 1
        ago, counts = last_occurrence(stream.words), counts_before(stream.words, before)
        for name, values, ends in (("last occurrence", ago, AGO), ("occurrences", counts, COUNTS)):
            names = np.array([*binned(values, ends), ""], object)  # of words, and for tokens of none
            facets.append((name, names[stream.owner[n:]], blocks))
        return facets


def compared(model: Values, ngram: Values, groups: Labels, threshold: float) -> dict[str, float]:
    """Two models on the same tokens, from their log p in nats, (n,): mean probabilities, their difference with a 95 % interval over
    groups, (n,), bits a token, and shares of errors: of each, of one alone, of both."""
    p, q = np.exp(model), np.exp(ngram)
    wrong, other = p < threshold, q < threshold
    own = np.unique(groups, return_inverse=True)[1]
    d = mean_ci(p - q, own)
    made = {"n": len(p), "groups": int(own.max()) + 1, "p_model": p.mean(), "p_ngram": q.mean()}
    made |= {"difference": d.value, "low": d.lower, "high": d.upper}
    made |= {f"bits_{name}": -x.mean() / np.log(2) for name, x in (("model", model), ("ngram", ngram))}
    made |= {"errors_model": wrong.mean(), "errors_ngram": other.mean()}
    sets = {"model_only": wrong & ~other, "ngram_only": other & ~wrong, "both": wrong & other}
    return {name: float(value) for name, value in (made | {name: x.mean() for name, x in sets.items()}).items()}


def _place(name: str) -> float:
    """Bins by their lower end, never behind them."""
    first = name.rstrip("+").partition("-")[0]
    return float(first) if first.isdigit() else np.inf
