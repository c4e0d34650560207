"""Does a language model use what a layer encodes? Directions or units of a property are taken out while it runs, and pairs are
scored.

The directions (`probing.probes.erasure`) or units are fitted at a layer on states of a labelled task, in the model itself. The
loss of accuracy is compared with that by random directions of the same rank, or random units of the same number: any damage
costs something (`probing.behaviour.losses`). A second control takes out another property with as many classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from probing.behaviour.base import LanguageModel
from probing.behaviour.counting import credits_of
from probing.behaviour.items import Item
from probing.behaviour.losses import used
from probing.behaviour.patching import target_of
from probing.behaviour.reading import Reading, reading, tokens_of
from probing.behaviour.scores import Convention, scores_of
from probing.data.split import Split
from probing.encoders.interventions import Intervention, intervened
from probing.errors import ConfigError
from probing.log import human_count
from probing.probes.erasure import TOLERANCE, Erasure, controls, erase, left_in
from probing.store.extraction import batches
from probing.types import Labels, Values

PER_SENTENCE = 4
"""Tokens of a sentence whose states are kept."""
Place = tuple[int, str | None]
By = list[Intervention]


@dataclass(frozen=True)
class Labelled:
    """States of a labelled task at one place: (n, u), class numbers (n,)."""

    x: Values
    y: Labels


def units_of(model: LanguageModel, layer: int, state: str | None = None) -> list[int] | None:
    """The units that the model's direction reads; None: all."""
    if getattr(model, "reads", None) != "both" or layer == 0:
        return None
    width = model.encoder.dims[layer] // 2
    if state == "cell":
        width = getattr(model.encoder.architecture, "hidden", width)
    return list(range(width)) if model.direction == "forward" else list(range(width, 2 * width))


def labelled(model: LanguageModel, split: Split, places: Sequence[Place], seed: int) -> dict[Place, Labelled]:
    """States of the tokens of a split at each place: of the labelled words, or of some tokens drawn from each sentence."""
    rng, encoder = np.random.default_rng([seed, 7]), model.encoder
    read = [Intervention(layer, state=state) for layer, state in places]
    items, _ = encoder.tokenize(split.texts)
    owners = encoder.word_ids(split.texts)
    rows: dict[Place, list[np.ndarray]] = {place: [] for place in places}
    labels: list[int] = []
    for batch in batches([len(item) for item in items]):
        with intervened(encoder, read) as change:
            mask = encoder.forward([items[i] for i in batch]).mask.cpu()
        states = {place: change.states(*place).float().cpu() for place in places}
        for k, i in enumerate(batch):
            at = [p for p, word in enumerate(owners[i]) if word is not None and mask[k, p]]
            if split.spans is not None:
                start, stop = split.spans[i][:2]
                at = [p for p in at if start <= (owners[i][p] or 0) < stop]
            elif len(at) > PER_SENTENCE:
                at = sorted(rng.choice(at, PER_SENTENCE, replace=False).tolist())
            labels += [int(split.labels[i])] * len(at)
            for (layer, state), parts in rows.items():
                parts.append(states[layer, state][k, at].numpy())
    y = np.array(labels)
    out = {}
    for (layer, state), parts in rows.items():
        x, units = np.concatenate(parts).astype(np.float64), units_of(model, layer, state)
        out[layer, state] = Labelled(x if units is None else x[:, units], y)
    return out


# What is taken out.


@dataclass(frozen=True)
class Taken:
    """Interventions that take something out, their controls, and how much it is (the rank, or the number of units).

    `left`: of directions, the accuracy (0-1) that a linear classifier has without them, and the majority's share; of several places
    where it has most.
    """

    by: By
    controls: list[By]
    size: int
    note: str = ""
    left: tuple[float, float] | None = None

    @property
    def gone(self) -> bool:
        """Whether no more than INLP's tolerance can be read."""
        return self.left is None or self.left[0] <= self.left[1] + TOLERANCE


def erased(
    model: LanguageModel,
    states: Mapping[Place, Labelled],
    method: str,
    draws: int,
    seed: int,
    dev: Mapping[Place, Labelled] | None = None,
) -> Taken:
    """The directions of a property at some places of one layer, and random ones of the same rank at each.

    `dev`: states by which INLP stops, and by which it is judged whether the property is gone; without them, and of other methods,
    those that it is fitted on.
    """
    decide = {place: (one.x, one.y) for place, one in dev.items()} if dev and method == "inlp" else {}
    fitted = {place: erase(method, one.x, one.y, decide.get(place)) for place, one in states.items()}
    left = [left_in(one, states[place].x, states[place].y, decide.get(place)) for place, one in fitted.items()]
    random = {place: controls(states[place].x, one.rank, draws, seed) for place, one in fitted.items()}

    def by(maps: Mapping[Place, Erasure]) -> By:
        return [
            Intervention(layer, one.projection, units=units_of(model, layer, state), state=state)
            for (layer, state), one in maps.items()
        ]

    first = next(iter(fitted.values()))
    most = max(left, key=lambda pair: pair[0] - pair[1])
    return Taken(by(fitted), [by({p: some[k] for p, some in random.items()}) for k in range(draws)], first.rank, first.guards, most)


def ablated(model: LanguageModel, place: Place, one: Labelled, value: str, k: int, draws: int, seed: int) -> Taken:
    """The k units that differ most between the classes (sum over pairs of classes of |difference of means| in standard deviations),
    and random sets of k others. value: mean, zero, or resample (the states of tokens drawn from the task, the units together)."""
    x, y = one.x, one.y
    scale = np.where(x.std(0) > 0, x.std(0), np.inf)
    of_classes = np.stack([x[y == c].mean(0) for c in np.unique(y)]) / scale  # (K, u)
    order = np.argsort(-np.abs(of_classes[:, None] - of_classes[None]).sum((0, 1)), kind="stable")
    live = np.flatnonzero(np.isfinite(scale))
    if not 1 <= k <= len(live):
        raise ConfigError(f"study.units={k}: layer {place[0]} has {human_count(len(live), 'unit')} of which none is constant")
    layer, state = place
    read = units_of(model, layer, state) or list(range(x.shape[1]))
    rng = np.random.default_rng([seed, 3])

    def by(units: np.ndarray) -> By:
        values = {"zero": "zero", "mean": x.mean(0)[units], "resample": _Resampled(x[:, units], seed)}
        if value not in values:
            raise ConfigError(f"study.value={value!r} is unknown (allowed: {', '.join(values)})")
        return [Intervention(layer, values[value], units=[read[u] for u in units], state=state)]

    rest = np.setdiff1d(live, order[:k])
    if len(rest) < k:
        raise ConfigError(f"study.units={k}: layer {place[0]} has {len(rest)} other units for the controls, fewer than that")
    sets = [rng.choice(rest, k, replace=False) for _ in range(draws)]
    return Taken(by(order[:k]), [by(some) for some in sets], k, f"units {' '.join(str(read[u]) for u in order[:k])}")


class _Resampled:
    """Replaces states (m, u) by rows drawn from a bank (n, u); the same draw for the same number of states."""

    def __init__(self, bank: Values, seed: int):
        self.bank, self.seed = torch.from_numpy(bank), seed

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return self.bank[torch.randint(len(self.bank), (len(x),), generator=generator)].to(x)


# What it costs.


@dataclass(frozen=True)
class Behaviour:
    """A model's behaviour on items: credit of each, (n,), and log p over the vocabulary at some places, (m, vocabulary)."""

    credit: Values
    log_p: torch.Tensor | None = None

    def divergence(self, other: Behaviour) -> float:
        """Mean KL divergence in nats of the other's distributions from these."""
        if self.log_p is None or other.log_p is None:
            return float("nan")
        return float((self.log_p.exp() * (self.log_p - other.log_p)).nan_to_num().sum(1).mean())


def reading_of(model: LanguageModel, items: Sequence[Item], convention: Convention) -> Reading:
    """The texts of items as the model reads them."""
    return reading(model, [(text, item.target) for item in items for text in item.texts], convention)


def behaviour(
    model: LanguageModel, items: Sequence[Item], convention: Convention, by: By, sample: int = 0, texts: Reading | None = None
) -> Behaviour:
    """Credits of items under interventions; of the first `sample` items also the distributions at their tested words. `texts`:
    their `reading_of`, where it is made already."""
    texts = texts or reading_of(model, items, convention)
    with intervened(model.encoder, by):
        sums = np.array([x.sum(dtype=float) if len(x) else np.nan for x in scores_of(model, texts).log_p])
        log_p = _distributions(model, items[:sample], convention) if sample else None
    bounds = np.cumsum([0, *(len(item.texts) for item in items)])
    credit = [credits_of(sums[a : a + 1], sums[None, a + 1 : b])[0] for a, b in zip(bounds, bounds[1:], strict=False)]
    return Behaviour(np.array(credit), log_p)


def _distributions(model: LanguageModel, items: Sequence[Item], convention: Convention) -> torch.Tensor | None:
    """log p at the tested word of each right text, or where there is none at its last word; masked there for a masked model."""
    texts = []
    for item in items:
        place = target_of(item)
        texts.append((item.right, len(item.right.split()) - 1 if place is None else place))
    rows = []
    for one in tokens_of(model, texts, convention)[0]:
        if one is None or not one.places:
            continue
        tokens = model.with_token(one.item, one.places, model.mask or 0) if model.kind == "masked" else one.item
        rows.append(model.log_probabilities([tokens])[0][one.places[0]].float())
    return torch.stack(rows) if rows else None


class NothingScored(ConfigError):
    """Pairs of which the model prefers neither side of any."""


def scored(before: Behaviour) -> np.ndarray:
    """Which items have a credit, (n,); NothingScored if none has, or all are ties."""
    known = ~np.isnan(before.credit)
    if not np.isin(before.credit, (0, 1)).any():
        raise NothingScored(
            f"no item can be scored: each of the {len(known)} is longer than the model reads, or gets the same score for right and "
            "wrong, as where it does not know the words; give pairs (data=…) in the model's vocabulary"
        )
    return known


def compared(
    model: LanguageModel, items: Sequence[Item], convention: Convention, taken: Taken, before: Behaviour, margin: float
) -> dict[str, Any]:
    """`used` of something that was taken out, with the divergence of next-word distributions and that of the controls; "not erased"
    instead of "no" where the property can still be read."""
    sample = 0 if before.log_p is None else len(before.log_p)
    texts = reading_of(model, items, convention)
    after, *of_controls = (behaviour(model, items, convention, by, sample, texts) for by in (taken.by, *taken.controls))
    known = scored(before)
    drawn = np.stack([one.credit[known] for one in of_controls])
    chance = float(np.mean([1 / len(item.texts) for item in items]))
    kls = [before.divergence(one) for one in of_controls] if sample else []
    row = used(before.credit[known], after.credit[known], drawn, margin, chance)
    if row["used"] == "no" and not taken.gone:
        row["used"] = "not erased"
    left, majority = taken.left or (None, None)
    return {
        "n": int(known.sum()), "before": float(before.credit[known].mean()),
        "after": float(after.credit[known].mean()),
        **row, "left": left, "majority": majority,
        "kl": before.divergence(after) if sample else None, "control_kl": float(np.mean(kls)) if sample else None,
        "size": taken.size, "note": taken.note,
    }  # fmt: skip
