"""What a loss of accuracy says, set against the losses by controls: is what was taken out used? `used`:

    yes         the extra loss over the mean of the controls has a 95 % interval above 0, and no control loses as much
                (p = (1 + controls that lose at least as much) / (1 + controls) <= 0.05, so 19 controls at least)
    no          that interval lies within the margin on both sides
    not erased  so it does, but a linear classifier still reads the property, more than a point above the majority
    not shown   neither, or fewer than 20 items, or the model's accuracy is not above chance, so that there is no behaviour to lose

The interval is over items and controls.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from scipy.stats import binom, sem, t
from statsmodels.stats.proportion import proportion_confint

from probing.types import Estimate, Values

FEWEST = 20
"""Items, below which nothing is said of a loss."""


def used(before: Values, after: Values, control: Values, margin: float, chance: float = 0.5) -> dict[str, Any]:
    """Whether accuracy falls by more than under the controls.

    Args:
        before, after: credits of n items (0-1), (n,).
        control: credits under each control, (draws, n).
        margin: change of accuracy (0-1) that counts as none.
        chance: accuracy (0-1) of guesses.

    Returns:
        loss with bounds over items; the controls' mean loss with their 2.5 % and 97.5 % quantiles; extra loss with bounds over
        items and controls (NaN below `FEWEST` items); p; `used`: yes, no, or not shown; whether the accuracy before is above chance
        (exact binomial test); and the loss under each control as JSON, `draws`.
    """
    losses = before - after  # (n,)
    of_controls = (before - control).mean(1)
    extra = losses - (before - control).mean(0)
    over_draws = of_controls.var(ddof=1) / len(control) * t.ppf(0.975, len(control) - 1) ** 2 if len(control) > 1 else 0.0
    above, own = _around(extra, over_draws), _around(losses)
    p = float((1 + np.sum(of_controls >= own.value - 1e-12)) / (1 + len(control)))
    low, high = np.quantile(of_controls, [0.025, 0.975])
    within = -margin < above.lower and above.upper < margin
    verdict = "yes" if above.lower > 0 and p <= 0.05 else "no" if within else "not shown"
    right = int(np.floor(before.sum() + 1e-9))
    above_chance = bool(binom.sf(right - 1, len(before), chance) <= 0.025)
    if not above_chance:
        verdict = "not shown"
    controls_mean = float(of_controls.mean())
    return {
        "loss": own.value, "loss_low": own.lower, "loss_high": own.upper,
        "control_loss": controls_mean, "control_loss_low": float(low), "control_loss_high": float(high),
        "extra": above.value, "extra_low": above.lower, "extra_high": above.upper, "p": p, "used": verdict,
        "above_chance": above_chance, "draws": json.dumps(of_controls.round(6).tolist()),
    }  # fmt: skip


def _around(losses: Values, more: float = 0.0) -> Estimate:
    """The mean of losses of items, each from -1 to 1, (n,), with its 95 % interval; NaN below `FEWEST` items.

    Half its width is that of the t interval, and at least that of Clopper and Pearson's interval of the mean absolute loss: few
    items that change say little about how many would, and none of n leaves up to 3.7 / n. `more`: another half's square, which is
    added.
    """
    n, value = len(losses), float(losses.mean())
    if n < FEWEST:
        return Estimate(value, np.nan, np.nan)
    changed = min(float(np.abs(losses).sum()), n)
    low, high = proportion_confint(changed, n, method="beta")
    half = max(sem(losses) * t.ppf(0.975, n - 1), high - changed / n, changed / n - low)
    half = float(np.sqrt(half**2 + more))
    return Estimate(value, value - half, value + half)
