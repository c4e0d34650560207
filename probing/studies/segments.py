"""Studies of estimators on segments of real sentences, whose tables (`SegmentTable`) they share: short segments, in sentences where
the exact answer is cheap; and long ones, in longer sentences, all but `outside` words of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from probing.data.task import Task
from probing.encoders.base import fingerprint
from probing.errors import ConfigError
from probing.interactions.intervals import exact_rows
from probing.interactions.options import Estimator, Masking
from probing.interactions.segment import SegmentInteraction, SegmentTable, run_table, segment_interaction
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
    """A study that tries estimators on the tables of segments; options as in `conf/experiment/interaction_accuracy.yaml`."""

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
        """Segments of dev sentences, and whether they are long; a larger number of them begins with the same."""
        texts, labels = task.dev.texts, [task.classes[k] for k in task.dev.labels]
        cases = [(case, False) for case in draw_cases(texts, self.sentences, labels, self.words, self.lengths, seed)]
        if self.long:
            for case in draw_cases(texts, self.long, labels, self.long_words, (1,), seed):
                n = len(case.text.split())
                start = int(np.random.default_rng([seed, n]).integers(self.outside + 1))
                cases.append((case._replace(segment=(start, start + n - self.outside)), True))
        return cases

    def measure(self, context: Context) -> pd.DataFrame:
        """One row per segment, method and budget; finished segments are kept if another cannot be measured."""
        if len(context.seeds) != 1:
            raise ConfigError(f"seed={list(context.seeds)}: this study draws its sentences with one seed")
        options = {name: value for name, value in asdict(self).items() if name not in _OF_TABLES}
        encoder, rows = context.encoder, []
        for task in context.tasks:
            head = classifier(encoder, task, self.head, context.home, context.store)
            segments = self._segments(context, task, head)
            with bar(f"{self.name} {encoder.name}", len(segments)) as advance:
                for segment in segments:
                    part = {"kind": self.name, "version": VERSION, "table": segment.inputs, "long": segment.long}
                    own_rows = context.finished(part | {"options": options}, partial(self._measured, context, segment))
                    text, (start, stop), _ = segment.case
                    shared = {"encoder": encoder.name, "task": task.name, "accuracy": head.test_accuracy, "text": text}
                    shared |= {"n_words": len(text.split()), "start": start, "stop": stop, "long": segment.long}
                    rows += [shared | row for row in own_rows]
                    advance(1)
        encoder.release()
        return pd.DataFrame(rows)

    def _measured(self, context: Context, segment: _Segment) -> list[dict[str, Any]]:
        return self.estimates(segment.table(context), segment.long)

    def _segments(self, context: Context, task: Task, head: LinearHead) -> list[_Segment]:
        """The segments of a task; logs how many of their tables are there, and an estimate of the time for the others."""
        encoder, masking, segments = context.encoder, Masking(self.masking or published(context.encoder)), []
        for case, long in self.cases(task, context.seeds[0]):
            target = str(case.label) if self.target == "true" else self.target
            inputs = {"kind": "segment table", "version": VERSION, "encoder": fingerprint(encoder), "head": head.sha256}
            inputs |= {"value": self.value, "masking": masking.kind, "target": target, "case": [*case.text.split(), *case.segment]}
            game = partial(TextGame, encoder, case.text, self.value, masking, target=target, head=head)
            segments.append(_Segment(case, long, inputs, game))
        open_ = [segment for segment in segments if context.results.get(segment.inputs) is None]
        line = f"{encoder.name}: {len(segments)} segments, {len(segments) - len(open_)} tables done"
        if open_:
            rows, longest = sum(segment.rows for segment in open_), max(open_, key=lambda segment: segment.rows)
            line += f"; {rows:,} model rows, about {human_seconds(rows * seconds_per_row(longest.game(), 128))}"
        info(line)
        return segments


_OF_TABLES = {field.name for field in fields(OnSegments)} - {"repeats", "steps"}
"""Options that the tables' inputs hold."""


@dataclass(frozen=True)
class _Segment:
    """A segment of a sentence, the inputs of its table, and its game."""

    case: Case
    long: bool
    inputs: dict[str, Any]
    game: Callable[[], TextGame]

    @property
    def rows(self) -> int:
        m = self.case.segment[1] - self.case.segment[0]
        return exact_rows(m, len(self.case.text.split()) - m)

    def table(self, context: Context) -> SegmentTable:
        """The table, computed where it is not yet among the results."""

        def compute() -> list[dict[str, Any]]:
            made = run_table(self.game(), self.case.segment)
            return [{"seconds": round(made.seconds, 4), "values": made.values.tolist()}]

        [row] = context.finished(self.inputs, compute)
        return SegmentTable(np.array(row["values"]), len(self.case.text.split()), self.case.segment, row["seconds"])


def exact_of(table: SegmentTable) -> SegmentInteraction:
    return segment_interaction(table, table.segment, Estimator(budget=table.rows), tolerance=TOLERANCE)


def sampled(table: SegmentTable, method: str, budget: int, seed: int) -> tuple[float, int]:
    """T by a sampled method, and its model rows: those spent; of the paper's sampler, which has no cache, those requested."""
    r = segment_interaction(table, table.segment, Estimator(method, budget, seed), tolerance=TOLERANCE, listed=1)
    return r.T, r.n_requested if method == "permutation" else r.n_evaluations
