"""Study `interaction_stability`: how far T moves when it is estimated again, by the number of samples, on real sentences.

    instability = mean over pairs u != v of repeats of |T_u - T_v|, divided by |mean of T over all repeats and numbers of samples|

Repeats are independent. (The released code crosses five maxima with five minima, so its 25 values share terms; and a slip makes it
look at the last part of each partition only. The formula is its, the slip is not.)

    learned_p            the paper's: link probabilities learned once and kept, T sampled anew with links x prefixes = 500 to 2,500
                         samples; they are learned with exact interval values, so that only sampling noise is left to measure
    sampled, regression  ours, at multiples of the smallest budget

The slope of log instability on log samples is fitted in each segment, where instability is not 0; an error that falls as
1 / sqrt(samples) has slope -1/2. Encoders are compared in pairs, on the same segments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probing.errors import ConfigError, did_you_mean
from probing.interactions.learned import PUBLISHED, frozen_T, learned_p
from probing.interactions.segment import segment_interaction
from probing.interactions.text.game import TOLERANCE
from probing.studies.accuracy import budgets, exact_of
from probing.studies.segment_tables import OnSegments, SegmentTable


def instability(found: np.ndarray, level: float) -> float | None:
    """Mean |T_u - T_v| over the pairs of repeats, as a share of |level|; None where the level is 0.

    >>> instability(np.array([1.0, 2.0, 4.0]), 2.0)
    1.0
    """
    u, v = np.triu_indices(len(found), 1)
    return float(np.abs(found[u] - found[v]).mean() / abs(level)) if level else None


@dataclass
class InteractionStability(OnSegments):
    """Options of `OnSegments`, and:

    Args:
        settings: of learned_p, by name: how the link probabilities are learned, and the prefixes of each sample of links.
        partitions: samples of links in the paper's estimate; times the prefixes, they are the numbers of samples.
        claimed: the encoder of which it is claimed that its instability falls fastest: the beginning of its name.
    """

    settings: str = "instability-cnn"
    partitions: tuple[int, ...] = (10, 20, 30, 40, 50)
    claimed: str = "cnn"

    name = "interaction_stability"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.settings not in PUBLISHED:
            hint = did_you_mean(self.settings, PUBLISHED)
            raise ConfigError(f"study.settings={self.settings!r} is unknown{hint} (allowed: {', '.join(PUBLISHED)})")
        if len(self.partitions) < 2 or min(self.partitions) < 1:
            raise ConfigError(f"study.partitions={list(self.partitions)} must be at least two numbers of at least 1")

    def estimates(self, table: SegmentTable, long: bool) -> list[dict[str, Any]]:
        exact, settings = exact_of(table), PUBLISHED[self.settings]
        frozen = learned_p(table, table.segment, settings, phi=exact.phi)

        def paper(count: int, seed: int) -> tuple[float, int]:
            return frozen_T(table, table.segment, frozen.p_max, frozen.p_min, count, settings.prefixes, [count, seed])

        found = {"learned_p": [(str(count), count * settings.prefixes, self._again(paper, count)) for count in self.partitions]}
        for method in ("sampled", "regression"):

            def ours(budget: int, seed: int, method: str = method) -> tuple[float, int]:
                r = segment_interaction(table, table.segment, method, budget, seed, TOLERANCE, listed=1)
                return r.T, r.n_evaluations

            wanted = {step: rows for step, rows in budgets(table, self.steps).items() if rows < table.rows}  # exact does not move
            found[method] = [(step, rows, self._again(ours, rows)) for step, rows in wanted.items()]
        rows = []
        for method, each in found.items():
            level = float(np.mean([T.mean() for *_, (T, _) in each])) if each else 0.0
            for step, samples, (T, spent) in each:
                row = {"method": method, "step": step, "samples": samples, "rows": float(spent.mean()), "T": exact.T}
                row |= {"mean_T": float(T.mean()), "instability": instability(T, level), "repeats": self.repeats}
                rows.append(row)
        return rows

    def _again(self, estimate: Callable[[int, int], tuple[float, int]], size: int) -> tuple[np.ndarray, np.ndarray]:
        """T of independent repeats, and their model rows, both (repeats,)."""
        T, rows = zip(*(estimate(size, seed) for seed in range(self.repeats)), strict=True)
        return np.array(T), np.array(rows)

    def report(self, frame: pd.DataFrame, folder: Path) -> None:
        from probing.studies.stability_report import write

        write(frame, folder, self.claimed)
