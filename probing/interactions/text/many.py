"""Interactions of words in many sentences, per layer or class: tidy rows, and their mean over sentences.

One job is a segment of a sentence. Its columns (layers or classes) come from the same model rows, and give one row each. Finished
jobs are kept (`probing.store.results`), so a killed run goes on.

The mean over sentences has a 95 % t interval: it says how the mean would move with other sentences of the same kind. Segments of
one sentence are averaged first. Left out: comparisons between layers, figures.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from probing.encoders.base import Encoder, fingerprint
from probing.errors import ConfigError, ProbingError
from probing.interactions.intervals import check_segment, planned_rows
from probing.interactions.text.game import CLASS_VALUES, JointGame, TextGame, seconds_per_row, text_interactions
from probing.interactions.text.heads import LinearHead, head_of
from probing.log import bar, human_seconds, info
from probing.store.results import ResultStore

VERSION = 2
"""Raise when the same inputs would give other numbers."""


class Case(NamedTuple):
    """A segment (start, stop) of a sentence's words; `label` is the class that target=true means."""

    text: str
    segment: tuple[int, int]
    label: str | None = None


def draw_cases(
    texts: Sequence[str],
    count: int,
    labels: Sequence[str] | None = None,
    words: tuple[int, int] = (8, 12),
    lengths: Sequence[int] = (3, 4, 5),
    seed: int = 0,
) -> list[Case]:
    """Sentences of `words` (least, most) words, each with one segment at random.

    Args:
        count: sentences, drawn without replacement; all that there are if fewer.
        labels: of the texts, one each.
        lengths: of segments, drawn uniformly, then the start among all that fit.

    Raises:
        ConfigError: no sentence of that length, or a segment longer than the shortest sentence.
    """
    if not lengths or min(lengths) < 1 or max(lengths) > words[0]:
        raise ConfigError(f"segments of {list(lengths)} words do not fit into sentences of {words[0]} to {words[1]} words")
    rows = [i for i, text in enumerate(texts) if words[0] <= len(text.split()) <= words[1]]
    if not rows:
        raise ConfigError(f"none of {len(texts)} sentences has {words[0]} to {words[1]} words")
    rng = np.random.default_rng(seed)
    cases = []
    for i in rng.permutation(rows)[:count]:
        length = int(rng.choice(lengths))
        start = int(rng.integers(len(texts[i].split()) - length + 1))
        cases.append(Case(texts[i], (start, start + length), None if labels is None else labels[i]))
    return cases


def layer_interactions(
    encoder: Encoder,
    cases: Iterable[Case],
    folder: str | Path,
    value: str | Sequence[str] | None = None,
    masking: str = "pad",
    replacement: str | None = None,
    layers: tuple[int, ...] | None = None,
    target: str = "predicted",
    head: LinearHead | None = None,
    method: str = "exact",
    budget: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per case and column: B, B_max, B_min, T with standard errors, T_split, T_relative, v(N), v(empty), partitions, rows.

    `phi`: interval values in the order of np.triu_indices, as JSON; `max_optima`, `min_optima`: how many partitions tie.

    Args:
        folder: where finished cases are kept.
        value: see `TextGame`; several values of layers come from the same forward passes.
        target: of class values: predicted, true (the case's label), all, or a name.
        The others: see `TextGame` and `segment_interaction`.

    Raises:
        ConfigError, GameError, EncoderError: a case that cannot be measured, named by its sentence; finished ones stay.
    """
    cases = [Case(*case) for case in cases]
    several = [] if value is None or isinstance(value, str) else list(value)
    head = (head or head_of(encoder)) if not several and value in (None, *CLASS_VALUES) else None
    value = several or value or ("logit" if head else "mean")
    asked = {"value": value, "masking": masking, "replacement": replacement, "layers": layers}
    settings = {
        "kind": "text interactions",
        "version": VERSION,
        "encoder": fingerprint(encoder),
        "head": None if head is None else head.sha256,
        **asked,
        "method": method,
        "budget": budget,
        "seed": seed,
    }
    targets = [case.label if target == "true" else target for case in cases]
    for case, wanted in zip(cases, targets, strict=True):
        with _named(case):
            check_segment(case.segment, len(case.text.split()))
            if wanted is None and head:
                raise ConfigError("target=true needs a label, and the case has none")
    parts = [
        {**settings, "target": wanted if head else None, "case": [*case.text.split(), *case.segment]}
        for case, wanted in zip(cases, targets, strict=True)
    ]
    results = ResultStore(folder)
    finished = [results.get(part) for part in parts]
    open_ = [i for i, rows in enumerate(finished) if rows is None]

    def game_of(i: int) -> TextGame | JointGame:
        games = [
            TextGame(encoder, cases[i].text, **{**asked, "value": one}, target=str(targets[i]), head=head)
            for one in several or [value]
        ]
        return JointGame(games) if several else games[0]

    _announce(encoder, cases, open_, game_of, method, budget)
    with bar(f"interactions {encoder.name}", len(open_)) as advance:
        for i in open_:
            case = cases[i]
            with _named(case):
                game = game_of(i)
                found, rows = text_interactions(game, case.segment, method, budget, seed)
            finished[i] = results.put(
                parts[i],
                [
                    {
                        "encoder": encoder.name,
                        "text": case.text,
                        "n_words": game.n_players,
                        "start": case.segment[0],
                        "stop": case.segment[1],
                        "value": one.value,
                        "masking": game.sentence.masking,
                        "method": method,
                        "column": one.column,
                        "predicted": game.predicted,
                        "label": case.label,
                        "v_whole": one.whole,
                        "v_empty": one.empty,
                        **{name: getattr(one.found, name) for name in ("B", "B_max", "B_min", "T")},
                        **{f"{name}_stderr": getattr(one.found, f"{name}_stderr") for name in ("B", "B_max", "B_min", "T")},
                        "T_split": one.found.T_split,
                        "T_relative": None if math.isnan(one.T_relative) else one.T_relative,
                        "max_partition": str(one.found.max_partition),
                        "min_partition": str(one.found.min_partition),
                        "max_optima": len(one.found.max_partitions),
                        "min_optima": len(one.found.min_partitions),
                        "phi": json.dumps(one.found.phi[np.triu_indices(len(one.found.phi))].tolist()),
                        "model_rows": rows,
                    }
                    for one in found
                ],
            )
            advance(1)
    encoder.release()
    rows = [row for part in finished for row in part or []]
    return pd.DataFrame(rows).astype({"T_relative": float}) if rows else pd.DataFrame()


def summary(frame: pd.DataFrame, of: str = "T") -> pd.DataFrame:
    """Mean of a number over sentences, per encoder, value, masking and column, with its 95 % t interval.

    Columns: mean, low, high, sentences (those where the number exists); low and high are NaN below two sentences.
    """
    by = ["encoder", "value", "masking", "method", "column"]
    found = []
    for key, group in frame.groupby(by, sort=False):
        values = group.groupby("text")[of].mean().dropna().to_numpy()
        n = len(values)
        mean = values.mean() if n else math.nan
        half = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n) if n > 1 else math.nan
        found.append((*key, mean, mean - half, mean + half, n))
    return pd.DataFrame(found, columns=[*by, "mean", "low", "high", "sentences"])


@contextmanager
def _named(case: Case) -> Iterator[None]:
    """Puts the sentence before the message of an error."""
    try:
        yield
    except ProbingError as error:
        raise type(error)(f"{case.text!r}: {error}") from None


def _announce(
    encoder: Encoder,
    cases: list[Case],
    open_: list[int],
    game_of: Callable[[int], TextGame | JointGame],
    method: str,
    budget: int | None,
) -> None:
    """Says what is done and how long the rest will take, from a few rows of the first open case."""
    done = f"{encoder.name}: {len(cases)} segments, {len(cases) - len(open_)} done"
    if not open_:
        info(done)
        return
    rows = 0
    for i in open_:
        (start, stop), n = cases[i].segment, len(cases[i].text.split())
        rows += planned_rows(stop - start, n - (stop - start), method, budget)
    with _named(cases[open_[0]]):
        seconds = rows * seconds_per_row(game_of(open_[0]))
    info(f"{done}; about {rows:,} model rows, {human_seconds(seconds)}")
