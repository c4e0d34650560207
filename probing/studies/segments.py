"""Studies of estimators on segments of real sentences, whose tables (`probing.interactions.segment_table`) they share.

There are two kinds of segment: short ones, in sentences where the exact answer is cheap (the settings of the released experiments);
and long ones, in longer sentences, all but `outside` words of each, so that the table stays affordable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from probing.data.task import Task
from probing.encoders.base import fingerprint
from probing.errors import ConfigError
from probing.interactions.intervals import exact_rows
from probing.interactions.options import Estimator, Masking
from probing.interactions.segment import SegmentInteraction, segment_interaction
from probing.interactions.segment_table import SegmentTable, run_table
from probing.interactions.text.game import CLASS_VALUES, TOLERANCE, TextGame, seconds_per_row
from probing.interactions.text.heads import LinearHead, classifier
from probing.interactions.text.many import Case, draw_cases
from probing.interactions.text.masking import published
from probing.log import bar, human_seconds, info
from probing.studies import Context, require
from probing.types import Values

VERSION = 1
"""Raise when the same inputs would give other numbers."""


@dataclass
class OnSegments:
    """A study that tries estimators on the tables of segments; the options that all such studies share.

    Args:
        head: see `probing.interactions.text.heads.classifier`.
        value: of the class: logit, log-odds or probability.
        target: the class: predicted, true, or a name.
        masking: null: as in the released experiments, pad where the encoder has it, else zero (`masking.published`).
        sentences: short sentences of the dev split, drawn by the run's seed.
        words: their least and most words.
        lengths: of segments in them.
        long: long sentences.
        long_words: their least and most words.
        outside: words outside of the segments in them.
        repeats: of every sampled estimate, with seeds of its own.
        steps: budgets in model rows, as multiples of the smallest that method=sampled takes.
    """

    head: str | None = "fit"
    value: str = "logit"
    target: str = "predicted"
    masking: str | None = None
    sentences: int = 24
    words: tuple[int, int] = (8, 12)
    lengths: tuple[int, ...] = (3, 4, 5)
    long: int = 0
    long_words: tuple[int, int] = (18, 24)
    outside: int = 10
    repeats: int = 10
    steps: tuple[int, ...] = (1, 2, 4, 8, 16)

    name = ""
    uses = ("encoder", "data")

    def __post_init__(self) -> None:
        require(self.value in CLASS_VALUES, f"study.value={self.value!r} is unknown (allowed: {', '.join(CLASS_VALUES)})")
        for option in ("words", "long_words"):
            words = list(getattr(self, option))
            message = f"study.{option}={words} must be the least and the most words, such as [8, 12]"
            require(len(words) == 2 and 1 < words[0] <= words[1], message)
        lengths = f"study.lengths={list(self.lengths)} must be from 2 to below {self.words[0]} words"
        require(len(self.lengths) > 0 and 2 <= min(self.lengths) and max(self.lengths) < self.words[0], lengths)
        outside = f"study.outside={self.outside} must be from 1 to {self.long_words[0] - 2}: a segment has two words at least"
        require(1 <= self.outside <= self.long_words[0] - 2, outside)
        some = min(self.sentences, self.long) >= 0 and self.sentences + self.long > 0
        require(some, "study.sentences and study.long must be at least 0, and not both 0")
        enough = self.repeats >= 2 and len(self.steps) > 0 and min(self.steps) >= 1
        require(enough, "study.repeats must be at least 2, and study.steps numbers of at least 1")

    def estimates(self, table: SegmentTable, long: bool) -> list[dict[str, Any]]:
        """Rows of one segment, plain JSON."""
        raise NotImplementedError

    def repeated(self, estimate: Callable[[int], tuple[float, int]]) -> tuple[Values, Values]:
        """T and model rows of an estimate of a seed, repeated independently: both (repeats,)."""
        T, rows = zip(*map(estimate, range(self.repeats)), strict=True)
        return np.array(T), np.array(rows)

    def cases(self, task: Task, seed: int) -> list[tuple[Case, bool]]:
        """Segments of dev sentences, and whether they are long; a larger number of them begins with the same.

        Raises:
            ConfigError: no sentence of such a length.
        """
        texts, labels = task.dev.texts, [task.classes[k] for k in task.dev.labels]
        cases = [(case, False) for case in draw_cases(texts, self.sentences, labels, self.words, self.lengths, seed)]
        if self.long:
            for case in draw_cases(texts, self.long, labels, self.long_words, (1,), seed):
                n = len(case.text.split())
                start = int(np.random.default_rng([seed, n]).integers(self.outside + 1))
                cases.append((case._replace(segment=(start, start + n - self.outside)), True))
        return cases

    def measure(self, context: Context) -> pd.DataFrame:
        """One row per segment, method and budget.

        Raises:
            ConfigError: see `classifier` and `cases`; or several seeds.
            GameError, EncoderError: a sentence that cannot be measured; finished ones are kept.
        """
        if len(context.seeds) != 1:
            raise ConfigError(f"seed={list(context.seeds)}: this study draws its sentences with one seed")
        options = {name: value for name, value in asdict(self).items() if name not in _OF_TABLES}
        encoder, rows = context.encoder, []
        for task in context.tasks:
            head = classifier(encoder, task, self.head, context.home)
            tables = _Tables(self, context, head, self.cases(task, context.seeds[0]))
            test: float | Mapping[str, float] | None = head.made.get("test")
            accuracy = test["accuracy"] if isinstance(test, Mapping) else test
            with bar(f"{self.name} {encoder.name}", len(tables.cases)) as advance:
                for at, (case, long) in enumerate(tables.cases):
                    part = {"kind": self.name, "version": VERSION, "table": tables.inputs[at], "long": long, "options": options}
                    own_rows = context.finished(part, lambda at=at, long=long, tables=tables: self.estimates(tables[at], long))
                    (start, stop), n = case.segment, len(case.text.split())
                    shared = {"encoder": encoder.name, "task": task.name, "accuracy": accuracy, "text": case.text}
                    shared |= {"n_words": n, "start": start, "stop": stop, "long": long}
                    rows += [shared | row for row in own_rows]
                    advance(1)
        encoder.release()
        return pd.DataFrame(rows)


_OF_TABLES = {field.name for field in fields(OnSegments)} - {"repeats", "steps"}
"""Options that the tables' inputs hold."""


class _Tables:
    """The tables of segments by number, computed when they are first read; logs at the start how long that may take."""

    def __init__(self, study: OnSegments, context: Context, head: LinearHead, cases: list[tuple[Case, bool]]):
        self.study, self.context, self.head, self.cases = study, context, head, cases
        self.masking = Masking(study.masking or published(context.encoder))
        shared = {"kind": "segment table", "version": VERSION, "encoder": fingerprint(context.encoder), "head": head.sha256}
        shared |= {"value": study.value, "masking": self.masking.kind}
        self.inputs = [shared | {"target": self._target(case), "case": [*case.text.split(), *case.segment]} for case, _ in cases]
        open_ = [case for (case, _), inputs in zip(cases, self.inputs, strict=True) if context.results.get(inputs) is None]
        info(f"{context.encoder.name}: {len(cases)} segments, {len(cases) - len(open_)} tables done{self._time(open_)}")

    def __getitem__(self, at: int) -> SegmentTable:
        case, _ = self.cases[at]

        def compute() -> list[dict[str, Any]]:
            made = run_table(self._game(case), case.segment)
            return [{"seconds": round(made.seconds, 4), "values": made.values.tolist()}]

        [row] = self.context.finished(self.inputs[at], compute)
        return SegmentTable(np.array(row["values"]), len(case.text.split()), case.segment, row["seconds"])

    def _game(self, case: Case) -> TextGame:
        encoder, study = self.context.encoder, self.study
        return TextGame(encoder, case.text, study.value, self.masking, target=self._target(case), head=self.head)

    def _target(self, case: Case) -> str:
        return str(case.label) if self.study.target == "true" else self.study.target

    def _time(self, open_: list[Case]) -> str:
        if not open_:
            return ""
        lengths = [(case.segment[1] - case.segment[0], len(case.text.split())) for case in open_]
        rows = [exact_rows(m, n - m) for m, n in lengths]
        longest = open_[int(np.argmax(rows))]  # its time a row stands for all
        return f"; {sum(rows):,} model rows, about {human_seconds(sum(rows) * seconds_per_row(self._game(longest), 128))}"


def exact_of(table: SegmentTable) -> SegmentInteraction:
    """The exact answer, from the table."""
    return segment_interaction(table, table.segment, Estimator(budget=table.rows), tolerance=TOLERANCE)


def sampled(table: SegmentTable, method: str, budget: int, seed: int) -> tuple[float, int]:
    """T by a sampled method, and its model rows: those spent; of the paper's sampler, which has no cache, those requested."""
    r = segment_interaction(table, table.segment, Estimator(method, budget, seed), tolerance=TOLERANCE, listed=1)
    return r.T, r.n_requested if method == "permutation" else r.n_evaluations
