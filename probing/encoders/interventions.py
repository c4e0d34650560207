"""Interventions: within a context, the states of some layers of an encoder's network are changed while it runs.

    with intervened(encoder, [Intervention(3, "zero", units=[17])]) as change:
        states = encoder.forward(items)                 # or a language-model head on the same network
        change.states(3)                                # what layer 3 was, after the change

The place of layer k is where its states are read, and all that comes after it in the network sees the change: later layers, and in
a recurrent layer later tokens. Ablation, patching (interchange), steering and erasure are this object with another value. The laws
that it obeys are tried by `probing.encoders.laws`.

An encoder that can be changed has a method `changed_by(change)`, a context manager within which its network calls the change with
the states of each place (layer, state). A state is `hidden`; LSTMs also have `cell`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from probing.encoders.base import Encoder
from probing.errors import EncoderError

WORDS = ("keep", "zero")
STATES = ("hidden", "cell")
Place = tuple[int, str]
"""A layer of the network, and `hidden` or `cell`."""
_ACTIVE: set[int] = set()
"""The encoders, by `id`, that are within a context."""


@dataclass(frozen=True)
class Projection:
    """x -> centre + matrix (x - centre), for states x of u units; matrix (u, u), centre (u,)."""

    matrix: Any
    centre: Any

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        matrix, centre = (torch.as_tensor(part).to(x) for part in (self.matrix, self.centre))
        if matrix.shape != (x.shape[1], x.shape[1]) or centre.shape != x.shape[1:]:
            shapes = f"{tuple(matrix.shape)} with a centre of {tuple(centre.shape)}"
            raise EncoderError(f"a projection of shape {shapes} does not fit states of {x.shape[1]} units")
        return centre + (x - centre) @ matrix.T


@dataclass(frozen=True)
class Intervention:
    """A change of states of one layer.

    Attributes:
        layer: index into `encoder.layer_names`; 0 is the embedding output.
        value: "zero"; "keep" (nothing changes, but `Change.states` has the layer); a number; a vector (u,), such as a mean; a
            tensor (rows, positions, u), such as another run's states; a `Projection` (or its two parts); a function of states
            (m, u), by position, without side effects. u: as many as `units`, or as the layer has, of which `units` are taken.
        positions: None for all; or for each row of the batch the positions of its tokens, as in `encoder.word_ids` and `States`: a
            list, or one number. A given tensor has its positions in the order of this list, filled up to the longest row.
        units: None for all, or their numbers.
        state: None for the layer's own; or hidden or cell, of its LSTM. A changed cell is what the next token reads.
    """

    layer: int
    value: Any = "keep"
    positions: Sequence[Sequence[int] | int] | None = None
    units: Sequence[int] | None = None
    state: str | None = None


@contextmanager
def intervened(encoder: Encoder, interventions: Sequence[Intervention]) -> Iterator[Change]:
    """Changes every pass of the encoder's network within the context; one batch, whose rows are those of the interventions.

    Raises:
        EncoderError: the encoder cannot be changed; or an intervention names what is not there, or does not fit the batch.
    """
    method = getattr(encoder, "changed_by", None)
    if method is None:
        raise EncoderError(
            f"{encoder.name} is read from outside: its states cannot be changed while it runs (encoders that can be: lstm, "
            "gated-cnn, cnn, transformer, elmo-style, elmo, checkpoint, hf)"
        )
    change = Change(encoder, interventions)
    if id(encoder) in _ACTIVE:
        raise EncoderError(f"{encoder.name} is changed already: give all interventions to one `intervened`")
    _ACTIVE.add(id(encoder))
    try:
        with method(change):
            yield change
    finally:
        _ACTIVE.discard(id(encoder))


class Change:
    """What a list of interventions does to the states of a pass, in their order. `rows`: the rows of the batch that the network has
    at the moment; None: all."""

    def __init__(self, encoder: Encoder, interventions: Sequence[Intervention]):
        self.encoder = encoder
        self.rows: Sequence[int] | None = None
        self._places: dict[Place, list[_Prepared]] = {}
        self._pieces: dict[Place, list[tuple[Any, ...]]] = {}
        for one in interventions:
            self._places.setdefault(self.place(one.layer, one.state), []).append(_Prepared(encoder, one))

    def place(self, layer: int, state: str | None = None) -> Place:
        """The place in the network of a layer."""
        names = self.encoder.layer_names
        if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer < len(names):
            raise EncoderError(f"an intervention at layer {layer!r}: {self.encoder.name} has the layers 0 to {len(names) - 1}")
        if state is not None and state not in STATES:
            raise EncoderError(f"an intervention on the state {state!r} (allowed: {', '.join(STATES)})")
        own = getattr(self.encoder, "place_of", None)
        if own is not None:
            return own(layer, state)
        if state == "cell":
            raise EncoderError(f"{self.encoder.name} has no cells; an intervention on state=cell is for LSTMs")
        return layer, "hidden"

    def has(self, *places: Place) -> bool:
        """Whether one of the places is changed or read."""
        return any(place in self._places for place in places)

    @property
    def layers(self) -> list[int]:
        """The layers of the network that are changed or read."""
        return sorted({layer for layer, _ in self._places})

    def begin(self) -> None:
        """Forgets what was read in a pass before."""
        self._pieces.clear()

    def __call__(
        self, place: Place, x: torch.Tensor, where: torch.Tensor, first: int = 0, total: int | None = None
    ) -> torch.Tensor:
        """The changed states of a place, which `states` then gives (`apply`)."""
        if place not in self._places:
            return x
        changed = self.apply(place, x, where, first, total)
        self.read(place, changed, where, first)
        return changed

    def apply(self, place: Place, x: torch.Tensor, where: torch.Tensor, first: int = 0, total: int | None = None) -> torch.Tensor:
        """The changed states.

        Args:
            x: states (rows, n, width) of n tokens of each row.
            where: the tokens' positions, (rows, n) or (1, n); -1 for one that is no token of the item.
            first: number of the first of these units; above 0 in the second of two directions.
            total: units of the place; None: these are all.
        """
        for one in self._places.get(place, ()):
            x = one.apply(x, where.expand(x.shape[:2]), self.rows, range(first, first + x.shape[2]), total or x.shape[2])
        return x

    def read(self, place: Place, x: torch.Tensor, where: torch.Tensor, first: int = 0) -> None:
        """Keeps states for `states`."""
        if place in self._places:
            rows = range(len(x)) if self.rows is None else self.rows
            for one in self._places[place]:
                one.check(where.expand(x.shape[:2]), rows)
            self._pieces.setdefault(place, []).append((rows, where.expand(x.shape[:2]), first, x))

    def states(self, layer: int, state: str | None = None) -> torch.Tensor:
        """The states (rows, tokens, width) of a layer that an intervention names, after the change, in the last pass."""
        place = self.place(layer, state)
        if not (pieces := self._pieces.get(place)):
            raise EncoderError(
                f"no states of layer {layer} were read: name it in an intervention, and run the network in the context"
            )
        n = 1 + max(max(rows) for rows, *_ in pieces)
        tokens = 1 + max(int(where.max()) for _, where, *_ in pieces)
        width = max(first + x.shape[2] for *_, first, x in pieces)
        whole = pieces[0][-1].new_zeros(n, tokens, width)
        for rows, where, first, x in pieces:
            row, column = (where >= 0).nonzero(as_tuple=True)
            whole[torch.tensor(rows, device=x.device)[row], where[row, column], first : first + x.shape[2]] = x[row, column]
        return whole


class _Prepared:
    """One intervention, its parts checked and as tensors."""

    def __init__(self, encoder: Encoder, given: Intervention):
        self.name, value = f"an intervention at layer {given.layer} of {encoder.name}", _as_projection(given.value)
        self.units = None if given.units is None else self._numbers(given.units, "units")
        if self.units is not None and len(set(self.units)) < len(self.units):
            raise EncoderError(f"{self.name}: units={self.units[:8]} names one twice")
        self.table, self.most = None, 0
        if given.positions is not None:
            listed = [[one] if isinstance(one, int) else list(one) for one in given.positions]
            rows = [self._numbers(row, "positions") for row in listed]
            self.most = max(map(len, rows), default=0)
            self.table = torch.full((len(rows), 1 + max((p for row in rows for p in row), default=0)), -1)
            for i, row in enumerate(rows):
                self.table[i, row] = torch.arange(len(row))
        if isinstance(value, str) and value not in WORDS:
            raise EncoderError(f"{self.name}: value={value!r} is unknown (allowed: {', '.join(WORDS)}, numbers, tensors, …)")
        self.kind, self.map = value if isinstance(value, str) else "map" if callable(value) else "given", value
        if self.kind == "given":
            try:
                self.tensor = torch.as_tensor(value, dtype=torch.get_default_dtype() if isinstance(value, int | float) else None)
            except (TypeError, ValueError, RuntimeError):
                raise EncoderError(
                    f"{self.name}: value is a {type(value).__name__}, no number, tensor, projection or function"
                ) from None
            if self.tensor.ndim not in (0, 1, 3):
                shape = tuple(self.tensor.shape)
                raise EncoderError(f"{self.name}: value has the shape {shape}; allowed are (units,) and (rows, positions, units)")
            if not self.tensor.isfinite().all():
                raise EncoderError(f"{self.name}: value is not finite (NaN or infinite)")

    def _numbers(self, given: Sequence[int], what: str) -> list[int]:
        try:
            numbers = [int(n) for n in given]
        except (TypeError, ValueError):
            raise EncoderError(f"{self.name}: {what} must be whole numbers, not {given!r}") from None
        if any(n < 0 for n in numbers):
            raise EncoderError(f"{self.name}: {what} count from 0; {min(numbers)} is below")
        return numbers

    def apply(self, x: torch.Tensor, where: torch.Tensor, rows: Sequence[int] | None, span: range, total: int) -> torch.Tensor:
        """The changed states (rows, n, width); `span`: the numbers of their units, of `total`."""
        if self.units and max(self.units) >= total:
            raise EncoderError(f"{self.name}: unit {max(self.units)}, but there are {total} (0 to {total - 1})")
        units = list(span) if self.units is None else [unit for unit in self.units if unit in span]
        if self.kind == "keep" or not units:
            return x
        row = torch.arange(len(x)) if rows is None else torch.tensor(rows)  # rows of the interventions, of each row of x
        order = self._order(row, where, rows is None)  # (rows, n): number among the positions, -1 for others
        row_of, column = (order >= 0).nonzero(as_tuple=True)
        index = torch.tensor([unit - span.start for unit in units], device=x.device)
        before = x[row_of, column][:, index]  # (m, u)
        if self.kind == "map":
            if len(units) < (total if self.units is None else len(self.units)):
                raise EncoderError(
                    f"{self.name}: its two directions run apart, so a projection or a function cannot see both; name units of one"
                )
            value = self.map(before)
            if not isinstance(value, torch.Tensor) or value.shape != before.shape:
                raise EncoderError(f"{self.name}: the function must give states of shape {tuple(before.shape)}, as it gets them")
        elif self.kind == "zero":
            value = torch.zeros_like(before)
        else:
            value = self._given(units, row.to(x.device)[row_of], order[row_of, column], x)
        changed = x.clone()
        changed[row_of[:, None], column[:, None], index[None]] = value.to(x)
        return changed

    def check(self, where: torch.Tensor, rows: Sequence[int]) -> None:
        """Raises EncoderError for a position that no token of the batch has, or for other rows."""
        if self.table is None:
            return
        if max(rows, default=-1) >= len(self.table):
            raise EncoderError(f"{self.name}: positions of {len(self.table)} rows, but the batch has more")
        listed = (self.table[list(rows)] >= 0).any(0).nonzero().flatten()
        if len(listed) and int(listed[-1]) > int(where.max()):
            raise EncoderError(f"{self.name}: position {int(listed[-1])}, but the longest item has {int(where.max()) + 1} tokens")

    def _order(self, row: torch.Tensor, where: torch.Tensor, all_rows: bool) -> torch.Tensor:
        if self.table is None:
            return where
        if all_rows and len(row) != len(self.table):
            raise EncoderError(f"{self.name}: positions of {len(self.table)} rows, but the batch has {len(row)}")
        table = self.table.to(where.device)[row.to(where.device)]  # (rows, positions + 1)
        within = where.clamp(0, table.shape[1] - 1)
        return torch.where((where >= 0) & (where < table.shape[1]), table.gather(1, within), -1)

    def _given(self, units: list[int], row: torch.Tensor, order: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The given values of m states: (m, u)."""
        value = self.tensor.to(x)
        if not value.ndim:
            return value.expand(len(row), len(units))
        if value.ndim == 3:
            n = self.most if self.table is not None else int(order.max()) + 1 if len(order) else 0
            if value.shape[1] < n or (len(row) and int(row.max()) >= len(value)):
                raise EncoderError(
                    f"{self.name}: value has {value.shape[0]} rows of {value.shape[1]} positions, which are fewer than the batch's"
                )
            value = value[row, order]  # (m, width)
        if self.units is not None and value.shape[-1] == len(self.units):
            place = {unit: k for k, unit in enumerate(self.units)}
            units = [place[unit] for unit in units]
        elif value.shape[-1] <= max(units) or (self.units is None and value.shape[-1] < len(units)):
            raise EncoderError(f"{self.name}: value has {value.shape[-1]} units, which are not those of the layer")
        return value[..., units].expand(len(row), len(units))


def _as_projection(value: Any) -> Any:
    """A projection from its two parts, or from an object that has them, such as an erasure; other values as they are."""
    parts = value if isinstance(value, tuple) and len(value) == 2 else (getattr(value, n, None) for n in ("matrix", "centre"))
    matrix, centre = parts
    return value if matrix is None or centre is None else Projection(matrix, centre)
