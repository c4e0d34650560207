"""One explanation: a score for each word of a sentence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probing.types import Values


@dataclass(frozen=True)
class Attribution:
    """Scores of the words of one sentence for one value of a classifier.

    Args:
        scores: (words,) in the unit of the value; a higher score speaks for the target.
        masking: how an absent word is read, which is the baseline of paths of gradients, too; None where the method has none.
        target: the class, or two classes `a-b` whose values are subtracted.
        whole, empty: the value of the whole sentence, and with all words absent (NaN where the method needs none).
        additive: whether the scores claim to sum to whole - empty.
        rows: model rows spent; a forward and backward pass counts three.
        stderr: standard errors (words,) of sampled scores; None: exact.
    """

    method: str
    scores: Values
    masking: str | None
    target: str
    whole: float
    empty: float
    additive: bool
    rows: int
    stderr: Values | None = None

    @property
    def gap(self) -> float:
        """|sum of scores - (whole - empty)| / |whole - empty|: NaN where the scores claim no sum, or nothing is to be explained."""
        effect = self.whole - self.empty
        if not self.additive or not abs(effect) > 1e-9 * max(abs(self.whole), abs(self.empty)):
            return float("nan")
        return abs(float(self.scores.sum()) - effect) / abs(effect)

    @property
    def ranks(self) -> bool:
        """Whether the scores tell words apart: equal scores are no ranking (those of |gradient| in a bag of words)."""
        spread = float(np.ptp(self.scores)) if len(self.scores) > 1 else 0.0
        return spread > 1e-9 * max(1e-300, float(np.abs(self.scores).max(initial=0.0)))
