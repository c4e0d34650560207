"""Interchange: states of one sentence are put into the run of another, which differs in a feature of the tested word.

A contrast is two sentences, base and source, of as many tokens, and two forms of one word, of which the base wants the first and
the source the second. With m = log p(first form) - log p(second form) at the word's place,

    effect = (m_patched - m_base) / (m_source - m_base)

is 0 where a place carries nothing of the difference, and 1 where it carries all. Where |m_source - m_base| < 0.1 nats the ratio
explodes; such contrasts are set apart. Interchange accuracy: the share of patched runs that prefer the source's form (Geiger et
al. 2021); flips: that share where the base's own form was preferred before.

Places are roles rather than positions: the tokens before the words that differ, these, those between them and the place from which
the form is read, that place, and those after it. The control puts in the states of another base of the same forms, which differs
from the base in everything but the feature.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from probing.behaviour.base import LanguageModel
from probing.behaviour.items import Item
from probing.behaviour.reading import Tokens, tokens_of
from probing.behaviour.scores import Convention
from probing.encoders.interventions import Intervention, intervened
from probing.encoders.laws import cell_layers

APART = 0.1
"""Nats of |m_source - m_base| below which an effect is set apart."""
ROLES = ("before", "differing", "between", "read", "after", "all")
BATCH = 16


@dataclass(frozen=True)
class Contrast:
    """Base and source as texts with the word at `place`; `forms`: that of the base, and that of the source."""

    number: int
    paradigm: str
    base: str
    source: str
    place: int
    forms: tuple[str, str]


def target_of(item: Item) -> int | None:
    """The place of the word that is tested: the item's target, or the only word in which right and wrong differ."""
    if len(item.wrong) != 1:
        return None
    right, wrong = item.right.split(), item.wrong[0].split()
    differ = [k for k, (a, b) in enumerate(zip(right, wrong, strict=False)) if a != b]
    if len(right) != len(wrong) or len(differ) != 1:
        return None
    return differ[0] if item.target in (None, differ[0]) else None


def contrasts(items: Iterable[Item], whole: bool) -> tuple[list[Contrast], Counter[str]]:
    """The contrasts of items, and how many are left out, by reason.

    The source of an item is another one of its paradigm and its length that wants the other of the same two forms at the same
    place, and differs in the fewest words before it. `whole`: the words after the tested one are read too, and must be the same.
    """
    left: Counter[str] = Counter()
    alike: dict[Any, list[tuple[Item, list[str], int]]] = defaultdict(list)
    for item in items:
        place = target_of(item)
        if item.left_out is not None or place is None:
            left[item.left_out or "right and wrong differ in other than one word"] += 1
            continue
        words = item.right.split()
        key = (
            item.paradigm,
            place,
            frozenset((words[place], item.wrong[0].split()[place])),
            tuple(words[place + 1 :]) if whole else (),
        )
        alike[key].append((item, words, place))
    made = []
    for group in alike.values():
        for item, words, place in group:
            others = [(_distance(words, other, place), k) for k, (_, other, _) in enumerate(group) if other[place] != words[place]]
            others = [(n, k) for n, k in others if n]
            if not others:
                left["no item of the other form that differs before it"] += 1
                continue
            source = group[min(others)[1]][1]
            end = None if whole else place + 1
            forms = (words[place], source[place])
            made.append(Contrast(item.number, item.paradigm, " ".join(words[:end]), " ".join(source[:end]), place, forms))
    return sorted(made, key=lambda one: one.number), left


def _distance(a: Sequence[str], b: Sequence[str], place: int) -> int:
    return sum(x != y for x, y in zip(a[:place], b[:place], strict=True))


@dataclass(frozen=True)
class Aligned:
    """A contrast as the model reads it.

    Attributes:
        base, source: items of as many tokens, the tested word masked for a masked model.
        place: position whose prediction is read.
        targets: ids of the base's form and of the source's.
        roles: of `ROLES`, the positions.
    """

    contrast: Contrast
    base: Any
    source: Any
    place: int
    targets: tuple[int, int]
    roles: dict[str, list[int]]

    @property
    def shape(self) -> tuple[Any, ...]:
        """What two contrasts must share to stand in for each other."""
        return (*sorted(self.contrast.forms), *((name, tuple(p)) for name, p in self.roles.items()))


def aligned(model: LanguageModel, made: Sequence[Contrast], convention: Convention) -> tuple[list[Aligned], Counter[str]]:
    """The contrasts whose two sentences have the same tokens at the same words, and how many do not, by reason."""
    left: Counter[str] = Counter()
    texts = [(text, one.place) for one in made for text in (one.base, one.source)]
    read, _ = tokens_of(model, texts, convention) if texts else ([], None)
    out = []
    for one, base, source in zip(made, read[::2], read[1::2], strict=True):
        result = _aligned(model, one, base, source)
        if isinstance(result, str):
            left[result] += 1
        else:
            out.append(result)
    return out, left


def _aligned(model: LanguageModel, one: Contrast, base: Tokens | None, source: Tokens | None) -> Aligned | str:
    if base is None or source is None:
        return "longer than the model reads"
    if base.words != source.words:
        return "base and source are not of the same pieces"
    if len(base.places) != 1 or len(source.places) != 1:
        return "a form is several pieces, or its first token has no prediction"
    [place], targets = base.places, (base.targets[base.places[0]], source.targets[source.places[0]])
    if targets[0] == targets[1] or model.unknown in targets:
        return "a form is unknown to the vocabulary"
    differing = [t for t, (a, b) in enumerate(zip(base.targets, source.targets, strict=True)) if a != b and t != place]
    if not differing:
        return "base and source are the same to the vocabulary"
    items = [base.item, source.item]
    if model.kind == "masked":
        items = [model.with_token(item, [place], model.mask or 0) for item in items]
    if model.direction == "backward":
        return "the model reads from right to left, and not what differs"
    read = {"forward": place - 1, "all": place}[model.direction]
    seen = range(place) if model.direction == "forward" else range(len(base.item))
    reached, other = set(differing) | {read}, [t for t in seen if t not in differing and t != read]
    first, last = min(reached), max(reached)
    roles = {
        "before": [t for t in other if t < first],
        "differing": differing,
        "between": [t for t in other if first < t < last],
        "read": [read],
        "after": [t for t in other if t > last],
        "all": list(seen),
    }
    return Aligned(one, items[0], items[1], place, targets, {name: positions for name, positions in roles.items() if positions})


def unit_kinds(encoder: Any, layers: Sequence[int]) -> list[tuple[int, str, list[tuple[int, str | None]]]]:
    """What is patched: (layer, kind, places). Layers alone; of LSTMs also cells, both, and both of all layers (layer -1)."""
    cells = cell_layers(encoder)
    kinds: list[tuple[int, str, list[tuple[int, str | None]]]] = [(layer, "hidden", [(layer, None)]) for layer in layers]
    inner = [layer for layer in cells if layer in layers]
    for layer in inner:
        kinds += [(layer, "cell", [(layer, "cell")]), (layer, "hidden+cell", [(layer, "hidden"), (layer, "cell")])]
    if cells:
        kinds.append((-1, "hidden+cell", [(layer, state) for layer in cells for state in ("hidden", "cell")]))
    return kinds


def patch(model: LanguageModel, made: Sequence[Aligned], layers: Sequence[int]) -> Iterator[dict[str, Any]]:
    """A row for each contrast, layer, kind of units and role: base, source, patched and control (m in nats; NaN without a control),
    kl (of the next word's distribution from the base's, nats)."""
    kinds = unit_kinds(model.encoder, layers)
    places = list(dict.fromkeys(place for *_, some in kinds for place in some))
    read = [Intervention(layer, state=state) for layer, state in places]
    for group in _batches(made):
        base, states_of_base = _run(model, [one.base for one in group], group, read, places)
        source, states = _run(model, [one.source for one in group], group, read, places)
        others = _others(group)
        for layer, kind, some in kinds:
            for role in ROLES:
                if not any(role in one.roles for one in group):
                    continue
                positions = [one.roles.get(role, []) for one in group]

                def at(given: dict[Any, torch.Tensor], rows: Sequence[int], some: Any = some, positions: Any = positions) -> Any:
                    return [Intervention(k, _taken(given[k, s][list(rows)], positions), positions, state=s) for k, s in some]

                patched, _ = _run(model, [one.base for one in group], group, at(states, range(len(group))), ())
                control = _metrics(model, group, at(states_of_base, others))
                for k, one in enumerate(group):
                    if role not in one.roles:
                        continue
                    a, b, c = (_metric(rows[k], one) for rows in (base, source, patched))
                    kl = float((base[k].exp() * (base[k] - patched[k])).nan_to_num().sum())
                    yield {
                        "item": one.contrast.number, "paradigm": one.contrast.paradigm, "layer": layer, "units": kind, "role": role,
                        "base": a, "source": b, "patched": c, "control": control[k] if others[k] != k else np.nan, "kl": kl,
                    }  # fmt: skip


def _run(model: LanguageModel, items: Sequence[Any], group: Sequence[Aligned], by: Any, places: Any) -> Any:
    """For each item log p at its place, (vocabulary,); and the states of places."""
    with intervened(model.encoder, by) as change:
        rows = model.log_probabilities(items)
        states = {(layer, state): change.states(layer, state) for layer, state in places}
    return [row[one.place].double() for row, one in zip(rows, group, strict=True)], states


def _metrics(model: LanguageModel, group: Sequence[Aligned], by: Sequence[Intervention]) -> list[float]:
    """m of each base under interventions, without the other words' probabilities."""
    with intervened(model.encoder, by):
        rows = model.picked([one.base for one in group], [[one.place] * 2 for one in group], [list(one.targets) for one in group])
    return [float(row[0].double() - row[1].double()) for row in rows]


def _metric(row: torch.Tensor, one: Aligned) -> float:
    return float(row[one.targets[0]] - row[one.targets[1]])


def _taken(states: torch.Tensor, positions: Sequence[Sequence[int]]) -> torch.Tensor:
    """States at the listed positions of each row, filled up: (rows, positions, width)."""
    out = states.new_zeros(len(positions), max(map(len, positions)), states.shape[2])
    for k, row in enumerate(positions):
        out[k, : len(row)] = states[k, list(row)]
    return out


def _others(group: Sequence[Aligned]) -> list[int]:
    """For each contrast another one of the batch with the same roles whose base wants the same form; itself where there is none."""
    others = []
    for k, one in enumerate(group):
        alike = [j for j, other in enumerate(group) if (other.shape, other.targets) == (one.shape, one.targets)]
        alike = [j for j in alike if list(group[j].base) != list(one.base)]
        others.append(min(alike, key=[*range(k, len(group)), *range(k)].index, default=k))
    return others


def _batches(made: Sequence[Aligned]) -> Iterator[list[Aligned]]:
    """Contrasts of one length."""
    of: dict[int, list[Aligned]] = defaultdict(list)
    for one in sorted(made, key=lambda one: (len(one.base), str(one.shape), one.targets)):
        of[len(one.base)].append(one)
    for same in of.values():
        for start in range(0, len(same), BATCH):
            yield same[start : start + BATCH]
