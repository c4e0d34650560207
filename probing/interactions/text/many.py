"""Interactions of words in many sentences, per layer or class, as tidy rows; finished cases are kept (`probing.store.results`)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from probing.encoders.base import Encoder, fingerprint
from probing.errors import ConfigError, ProbingError
from probing.interactions.intervals import check_segment, planned_rows
from probing.interactions.options import Estimator, Masking
from probing.interactions.text.game import (
    CLASS_VALUES,
    JointGame,
    TextGame,
    TextInteraction,
    seconds_per_row,
    text_interactions,
)
from probing.interactions.text.heads import LinearHead, head_of
from probing.log import bar, human_seconds, info
from probing.store.results import ResultStore

VERSION = 2
"""Raise when the same inputs would give other numbers."""


class Case(NamedTuple):
    """A segment (start, stop) of a sentence's words; `label` is its class, for target=true."""

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
    """`count` sentences (or all) of `words` (least, most) words, drawn without replacement, each with one segment at random: its
    length uniformly from `lengths`, then the start among all that fit. ConfigError if no sentence has that length, or a
    segment is longer than the shortest."""
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
    masking: Masking | str = "pad",
    replacement: str | None = None,
    *,
    layers: tuple[int, ...] | None = None,
    target: str = "predicted",
    head: LinearHead | None = None,
    method: Estimator | str = "exact",
    budget: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per case and column: B, B_max, B_min, T with standard errors, T_split, T_relative, v(N), v(empty), partitions,
    rows; `phi`: interval values in the order of np.triu_indices, as JSON; `max_optima`, `min_optima`: number of tied
    partitions.

    Args:
        folder: of the finished cases, which stay if another cannot be measured; errors name its sentence.
        value, masking, replacement, layers, head: see `TextGame`; several values of layers come from the same forward passes.
        target: of class values: predicted, true (the case's label), all, or a name.
        method, budget, seed: see `segment_interaction`.
    """
    masking, estimator = Masking.of(masking, replacement), Estimator.of(method, budget, seed)
    cases = [Case(*case) for case in cases]
    several = [] if value is None or isinstance(value, str) else list(value)
    head = (head or head_of(encoder)) if not several and value in (None, *CLASS_VALUES) else None
    single = value if value and isinstance(value, str) else "logit" if head else "mean"
    settings = {
        "kind": "text interactions",
        "version": VERSION,
        "encoder": fingerprint(encoder),
        "head": None if head is None else head.sha256,
        "value": several or single,
        "masking": masking.kind,
        "replacement": masking.replacement,
        "layers": layers,
        **asdict(estimator),
    }
    parts: list[dict[str, Any]] = []
    for case in cases:
        name = case.label if target == "true" else target
        with _named(case):
            check_segment(case.segment, len(case.text.split()))
            if name is None and head:
                raise ConfigError("target=true needs a label, and the case has none")
        parts.append({**settings, "target": name if head else None, "case": [*case.text.split(), *case.segment]})
    results = ResultStore(folder)
    finished = [results.get(part) for part in parts]
    open_ = [i for i, rows in enumerate(finished) if rows is None]

    def game_of(i: int) -> TextGame | JointGame:
        options: dict[str, Any] = {"layers": layers, "target": str(parts[i]["target"]), "head": head}
        games = [TextGame(encoder, cases[i].text, one, masking, **options) for one in several or [single]]
        return JointGame(games) if several else games[0]

    done = f"{encoder.name}: {len(cases)} segments, {len(cases) - len(open_)} done"
    if open_:  # an estimate from a few rows of the first open case
        sizes = [(stop - start, len(text.split())) for text, (start, stop), _ in (cases[i] for i in open_)]
        n_rows = sum(planned_rows(m, n - m, estimator) for m, n in sizes)
        with _named(cases[open_[0]]):
            done += f"; about {n_rows:,} model rows, {human_seconds(n_rows * seconds_per_row(game_of(open_[0])))}"
    info(done)
    with bar(f"interactions {encoder.name}", len(open_)) as advance:
        for i in open_:
            with _named(cases[i]):
                game = game_of(i)
                interactions, n_rows = text_interactions(game, cases[i].segment, estimator)
            rows = [_row(encoder, cases[i], game, one) | {"model_rows": n_rows} for one in interactions]
            finished[i] = results.put(parts[i], rows)
            advance(1)
    encoder.release()
    rows = [row for part in finished for row in part or []]
    return pd.DataFrame(rows).astype({"T_relative": float}) if rows else pd.DataFrame()


def _row(encoder: Encoder, case: Case, game: TextGame | JointGame, one: TextInteraction) -> dict[str, Any]:
    r, names = one.interaction, ("B", "B_max", "B_min", "T")
    return {
        "encoder": encoder.name,
        "text": case.text,
        "n_words": game.n_players,
        "start": case.segment[0],
        "stop": case.segment[1],
        "value": one.value,
        "masking": game.sentence.masking,
        "method": r.method,
        "column": one.column,
        "predicted": game.predicted,
        "label": case.label,
        "v_whole": one.whole,
        "v_empty": one.empty,
        **{name: getattr(r, name) for name in (*names, *(f"{name}_stderr" for name in names), "T_split")},
        "T_relative": None if math.isnan(one.T_relative) else one.T_relative,
        "max_partition": str(r.max_partition),
        "min_partition": str(r.min_partition),
        "max_optima": len(r.max_partitions),
        "min_optima": len(r.min_partitions),
        "phi": json.dumps(r.phi[np.triu_indices(len(r.phi))].tolist()),
    }


@contextmanager
def _named(case: Case) -> Iterator[None]:
    """Puts the sentence before the message of an error."""
    try:
        yield
    except ProbingError as error:
        raise type(error)(f"{case.text!r}: {error}") from None
