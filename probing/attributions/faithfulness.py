"""Faithfulness of scores: whether the words that they name are those that the classifier uses, from the table of all coalitions.

p(S) is the probability of the class predicted for the whole sentence, r_k the k words of highest signed score for that class:

    comprehensiveness   p(N) - p(N without r_k)      higher is better   (DeYoung et al. 2020)
    sufficiency         p(N) - p(r_k)                lower is better; below 0 where the words alone say more
    log-odds            log p/(1-p) of N less that of N without r_k     (Shrikumar et al. 2017)
    AOPC                mean over k = 1 … n-1, or over ERASER's bins of 1, 5, 10, 20 and 50 % of the words
    scaled              (mean - chance) / (best - chance), chance the mean over all sets of k words, best the best set of each k;
                        0 = chance, 1 = best; below 1 even for the best order, which must be nested; NaN where best = chance
    flip                the least k whose removal changes the predicted class; NaN where none does
    infidelity          mean over all S of (sum of a in S - [v(N) - v(N without S)])^2   (Yeh et al. 2019), raw, and with the
                        factor beta of the scores that makes it least; beta = 1: the scores have the size of the effects
    correlation         for each m, over the sets S of m words, of the sum of a in S with v(N) - v(N without S)
                        (sensitivity-n of Ancona et al. 2018; faithfulness correlation of Bhatt et al. 2020)
    monotonicity        words added from the least |score| to the greatest: the share of |gains of v| that are not below the one
                        before (after Luss et al. 2019), by more than 1e-12 of the largest

Equal scores keep the order of the words; scores are equal if they differ by less than 1e-12 of the largest one.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from scipy.special import logsumexp

from probing.attributions.coalitions import CoalitionTable
from probing.attributions.indices import leave_one_out, sizes_of
from probing.attributions.ranks import order, tau
from probing.errors import ConfigError
from probing.interactions.game import all_coalitions, players_of, shapley
from probing.types import Values

ERASER = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Shares of the words that ERASER removes (DeYoung et al. 2020)."""


def log_probabilities(logits: Values) -> Values:
    return logits - logsumexp(logits, axis=1, keepdims=True)


@dataclass(frozen=True)
class Bounds:
    """What sets of k = 1 … n words give at chance (the mean over all of them) and at best, (n,) each."""

    chance_comprehensiveness: Values
    best_comprehensiveness: Values
    chance_sufficiency: Values
    best_sufficiency: Values


def bounds(p: Values) -> Bounds:
    """The bounds of probabilities of all coalitions, (2^n,)."""
    n, size = players_of(p), sizes_of(players_of(p))
    of_size = [p[size == k] for k in range(n + 1)]
    mean, low, high = (np.array([f(part) for part in of_size]) for f in (np.mean, np.min, np.max))
    k = np.arange(1, n + 1)
    return Bounds(p[-1] - mean[n - k], p[-1] - low[n - k], p[-1] - mean[k], p[-1] - high[k])


@dataclass(frozen=True)
class Deletion:
    """What is lost with the k words of highest score, and with all others, k = 1 … n: (n,) each; `log_odds` and the class, too."""

    order: np.ndarray
    comprehensiveness: Values
    sufficiency: Values
    log_odds: Values
    predicted: np.ndarray

    def aopc(self, bins: str = "all", rounding: str = "up") -> tuple[float, float]:
        """Comprehensiveness and sufficiency, means over k (`bins_of`)."""
        k = bins_of(len(self.order), bins, rounding)
        without, alone = np.append(0.0, self.comprehensiveness), np.append(self.empty_sufficiency, self.sufficiency)
        return (float(without[k].mean()), float(alone[k].mean())) if len(k) else (np.nan, np.nan)

    @property
    def empty_sufficiency(self) -> float:
        return float(self.comprehensiveness[-1])  # p(N) - p(empty), from both sides

    @property
    def words_to_flip(self) -> float:
        """The least number of words whose removal, in this order, changes the class; NaN where none does."""
        changed = np.flatnonzero(self.predicted[1:] != self.predicted[0])
        return float(changed[0] + 1) if len(changed) else np.nan

    def scaled(self, p: Values) -> tuple[float, float]:
        """Comprehensiveness and sufficiency over k = 1 … n-1, with 0 for chance and 1 for the best set of each size."""
        b, inner = bounds(p), slice(0, len(self.order) - 1)
        return (
            _between(self.comprehensiveness[inner], b.chance_comprehensiveness[inner], b.best_comprehensiveness[inner]),
            _between(self.sufficiency[inner], b.chance_sufficiency[inner], b.best_sufficiency[inner]),
        )


def _between(own: Values, chance: Values, best: Values) -> float:
    if not len(own):
        return np.nan
    reach = float(best.mean() - chance.mean())
    return float(own.mean() - chance.mean()) / reach if abs(reach) > 1e-9 else np.nan


def bins_of(n: int, bins: str = "all", rounding: str = "up") -> np.ndarray:
    """The numbers of words k that an AOPC averages: all (1 … n-1), or ERASER's shares of n words, rounded up (one at least) or down
    (0 is the whole sentence).

    >>> bins_of(6, "eraser").tolist(), bins_of(6, "eraser", "down").tolist()
    ([1, 1, 1, 2, 3], [0, 0, 0, 1, 3])
    """
    if bins == "all":
        return np.arange(1, n)
    if bins != "eraser" or rounding not in ("up", "down"):
        raise ConfigError(f"bins={bins}, rounding={rounding}: allowed are all and eraser, up and down")
    return np.array([(max(1, ceil(share * n - 1e-9)) if rounding == "up" else floor(share * n + 1e-9)) for share in ERASER])


def deletion(logits: Values, scores: Values) -> Deletion:
    """The deletion curve of scores for the class predicted for the whole sentence, from the logits of all coalitions, (2^n,
    classes)."""
    ranked = order(scores)
    removed = np.concatenate([[0], np.cumsum(2**ranked)])  # bit masks of the first k words, k = 0 … n
    full, now = len(logits) - 1, int(logits[-1].argmax())
    log_p = log_probabilities(logits)
    p = np.exp(log_p[:, now])
    rest = logsumexp(np.delete(log_p, now, 1), axis=1)
    odds = log_p[:, now] - rest
    without = full - removed[1:]
    return Deletion(
        ranked, p[full] - p[without], p[full] - p[removed[1:]], odds[full] - odds[without], logits[full - removed].argmax(1)
    )


@dataclass(frozen=True)
class Infidelity:
    """Mean squared errors of the scores' sums, raw and at the best factor `beta`, in the squared unit of v; correlation by size."""

    raw: float
    least: float
    beta: float
    by_size: Values


def infidelity(v: Values, scores: Values) -> Infidelity:
    """Exact, over all 2^n sets removed, from the table v (2^n,)."""
    n = len(scores)
    sums = all_coalitions(n) @ np.asarray(scores, float)
    drops = v[-1] - v[::-1]  # the complement of set s is 2^n - 1 - s
    square = float(sums @ sums)
    beta = float(sums @ drops) / square if square else np.nan
    least = float(((np.nan_to_num(beta) * sums - drops) ** 2).mean())
    size = sizes_of(n)
    by_size = [_correlation(sums[size == m], drops[size == m]) for m in range(1, n)]
    return Infidelity(float(((sums - drops) ** 2).mean()), least, beta, np.array(by_size))


def _correlation(a: Values, b: Values) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 1e-12 * max(1.0, len(a)) else np.nan


def monotonicity(v: Values, scores: Values) -> float:
    """See the module; NaN for one word."""
    added = np.concatenate([[0], np.cumsum(2 ** order(-np.abs(scores)))])
    gains = np.abs(np.diff(v[added]))
    return float((np.diff(gains) >= -1e-12 * gains.max()).mean()) if len(gains) > 1 else np.nan


def faithfulness(held: CoalitionTable, scores: Values) -> dict[str, float]:
    """All measures of one scoring for the predicted class, by name (see the module); log-odds at k = 1 … n-1, their mean."""
    v, curve = held.value(), deletion(held.logits, scores)
    aopc, eraser, scaled = curve.aopc(), curve.aopc("eraser"), curve.scaled(held.probabilities)
    error, n = infidelity(v, scores), held.n_players
    return {
        "comprehensiveness": aopc[0],
        "sufficiency": aopc[1],
        "comprehensiveness_eraser": eraser[0],
        "sufficiency_eraser": eraser[1],
        "comprehensiveness_scaled": scaled[0],
        "sufficiency_scaled": scaled[1],
        "words_to_flip": curve.words_to_flip,
        "log_odds": float(curve.log_odds[:-1].mean()) if n > 1 else np.nan,
        "infidelity": error.raw,
        "infidelity_least": error.least,
        "beta": error.beta,
        "monotonicity": monotonicity(v, scores),
        "tau_shapley": tau(scores, shapley(v)),
        "tau_loo": tau(scores, leave_one_out(v)),
    }
