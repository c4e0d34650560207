"""Laws of interventions, which every encoder that can be changed must obey; `probing check` tries them.

Base and source are two sentences of as many tokens that differ in one. "The same" is bit by bit where both sides are computed from
the same numbers in the same order, and up to `TOLERANCE` where the batch or the way of computing differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from probing.encoders.base import Encoder, States
from probing.encoders.interventions import Change, Intervention, Place, Projection, intervened
from probing.errors import EncoderError

TOLERANCE = 1e-4
"""Largest difference of two states that count as equal, relative to the largest entry of the layer (or 1)."""


def cell_layers(encoder: Encoder) -> list[int]:
    """The first layer of each LSTM of an encoder whose cells can be changed; [] for encoders without cells."""
    layers: dict[Place, int] = {}
    for layer in range(1, len(encoder.layer_names)):
        try:
            layers.setdefault(Change(encoder, ()).place(layer, "cell"), layer)
        except EncoderError:
            continue
    return list(layers.values())


def tried(encoder: Encoder, texts: Sequence[str], pair: tuple[str, str] | None) -> tuple[bool | None, str]:
    """Whether the laws hold, and a detail; None where the encoder refuses, or no pair of sentences is at hand."""
    if pair is None:
        return None, "no two test sentences of one length differ in their first word alone"
    try:
        broken = Laws(encoder, pair, min(texts, key=len)).broken()
    except EncoderError as error:
        return None, f"refused: {error}"
    return not broken, "; ".join(broken) or f"{len(encoder.layer_names)} layers"


class Laws:
    """An encoder, the two items, and the states of both; each law gives "" or what broke it.

    Raises EncoderError if the encoder cannot be changed, or the items do not fit.
    """

    def __init__(self, encoder: Encoder, pair: tuple[str, str], other: str):
        self.encoder = encoder
        (self.base, self.source), _ = encoder.tokenize(list(pair))
        [self.other], _ = encoder.tokenize([other])
        differ = [k for k, (a, b) in enumerate(zip(self.base, self.source, strict=True)) if a != b]
        if len(differ) != 1:
            raise EncoderError(f"the laws need two sentences that differ in one token; {pair} differ in {len(differ)}")
        self.place, self.tokens = differ[0], len(self.base)
        self.of_base, self.of_source = self.states(self.base), self.states(self.source)
        self.layers = range(len(encoder.layer_names))
        self.recurrent = cell_layers(encoder)

    def broken(self) -> list[str]:
        """The laws that do not hold, with what broke them."""
        laws: dict[str, Callable[[], str]] = {
            "a patch with itself changes nothing": self.itself,
            "nothing at no unit or no position": self.nothing,
            "all positions of a layer make the source": self.whole_layer,
            "layer 0 at the differing token makes the source": self.differing_token,
            "zero is zero there and changes nothing else of its layer": self.zero,
            "tokens that read nothing of a place do not change": self.order,
            "hidden states and cells of all layers at a token make the source from there on": self.cells,
            "the identity as a projection changes nothing, a projection to nothing leaves the centre": self.projection,
            "a batch of different lengths is its items one by one": self.batch,
            "after the context all is as before": self.after,
        }
        return [f"{name}: {why}" for name, law in laws.items() if (why := law())]

    def states(self, *items: Sequence[object], by: Sequence[Intervention] = ()) -> list[torch.Tensor]:
        """The layers (rows, tokens, dim), under interventions if there are some."""
        return list(self._run(items, by).layers)

    def _run(self, items: Sequence[Sequence[object]], by: Sequence[Intervention]) -> States:
        if not by:
            return self.encoder.forward(list(items))
        with intervened(self.encoder, by):
            return self.encoder.forward(list(items))

    def itself(self) -> str:
        for layer in self.layers:
            for positions in (None, [[self.place]]):
                own = self.of_base[layer] if positions is None else self.of_base[layer][:, [self.place]]
                try:
                    changed = self.states(self.base, by=[Intervention(layer, own, positions)])
                except EncoderError as error:
                    if "gate" in str(error) or "only hidden states" in str(error):  # gates are read, not changed
                        continue
                    raise
                if why := self._differ(changed, self.of_base, f"layer {layer}"):
                    return why
        return ""

    def nothing(self) -> str:
        by = [Intervention(0, "zero", units=[]), Intervention(0, "zero", positions=[[]])]
        return self._differ(self.states(self.base, by=by), self.of_base, "layer 0")

    def whole_layer(self) -> str:
        for layer in self._hidden():
            changed = self.states(self.base, by=[Intervention(layer, self.of_source[layer])])
            above = [k for k in self._hidden() if k >= layer]
            if why := self._differ([changed[k] for k in above], [self.of_source[k] for k in above], f"layer {layer}"):
                return why
        return ""

    def differing_token(self) -> str:
        others = [k for k in range(self.tokens) if k != self.place]
        if not torch.equal(self.of_base[0][:, others], self.of_source[0][:, others]):
            return ""  # layer 0 is no embedding of single tokens
        given = self.of_source[0][:, [self.place]]
        return self._differ(self.states(self.base, by=[Intervention(0, given, [self.place])]), self.of_source, "layer 0")

    def zero(self) -> str:
        for layer in self._hidden():
            units = [0, self.of_base[layer].shape[2] - 1]
            changed = self.states(self.base, by=[Intervention(layer, "zero", [[self.place]], units)])[layer]
            expected = self.of_base[layer].clone()
            expected[0, self.place, units] = 0
            if layer in self._recurrent_layers():  # later tokens read the changed one
                changed, expected = changed[:, [self.place]], expected[:, [self.place]]
            if not torch.equal(changed, expected):
                return f"layer {layer}"
        return ""

    def order(self) -> str:
        """Where tokens before the differing one have the same states in both sentences, no patch there may reach them; and the last
        layer, unless it is recurrent, changes at the patched token alone."""
        for layer in self._hidden():
            given = self.of_source[layer][:, [self.place]] + 1
            changed = self.states(self.base, by=[Intervention(layer, given, [self.place])])
            for k, (new, a, b) in enumerate(zip(changed, self.of_base, self.of_source, strict=True)):
                same = [p for p in range(self.tokens) if p != self.place and torch.equal(a[:, p], b[:, p])]
                if not torch.equal(new[:, same], a[:, same]):
                    return f"layer {k} under a patch at layer {layer}"
            if layer not in self._recurrent_layers():
                others = [p for p in range(self.tokens) if p != self.place]
                if not torch.equal(changed[layer][:, others], self.of_base[layer][:, others]):
                    return f"another token of layer {layer} itself"
        return ""

    def cells(self) -> str:
        """Only the directions that read from left to right, whose units come first, from the differing token on."""
        if not self.recurrent:
            return ""
        both = [Intervention(layer, state=state) for layer in self.recurrent for state in ("hidden", "cell")]
        with intervened(self.encoder, both) as change:
            self.encoder.forward([self.source])
        read = {(one.layer, one.state): change.states(one.layer, one.state) for one in both}
        for at in range(self.tokens):
            by = [Intervention(layer, x[:, [at]], [at], state=state) for (layer, state), x in read.items()]
            changed = self.states(self.base, by=by)
            for layer in self._hidden()[1:]:
                back = self._reads_back(layer)
                forward = ~back
                before, after = slice(0, at), slice(at, None)
                a, b, new = self.of_base[layer], self.of_source[layer], changed[layer]
                if not torch.equal(new[:, before][..., forward], a[:, before][..., forward]):
                    return f"layer {layer} before token {at}"
                if at >= self.place and self._far(new[:, after][..., forward], b[:, after][..., forward]):
                    return f"layer {layer} from token {at} on"
                if at <= self.place and self._far(new[:, : at + 1][..., back], b[:, : at + 1][..., back]):
                    return f"layer {layer}, right to left, up to token {at}"
        return ""

    def projection(self) -> str:
        for layer in self._hidden():
            back = self._reads_back(layer)
            halves = [back, ~back] if layer and back.any() and not back.all() else [torch.ones_like(back)]
            for half in halves:
                units = half.nonzero().flatten().tolist()
                centre = torch.linspace(-1, 1, len(units))
                kept = self.states(self.base, by=[Intervention(layer, Projection(torch.eye(len(units)), centre), None, units)])
                if any(self._far(new, a) for new, a in zip(kept, self.of_base, strict=True)):
                    return f"the identity at layer {layer}"
                none = torch.zeros(len(units), len(units))
                gone = self.states(self.base, by=[Intervention(layer, Projection(none, centre), None, units)])[layer]
                if self._far(gone[..., units].cpu(), centre.expand(1, self.tokens, -1)):
                    return f"the projection to nothing at layer {layer}"
        return ""

    def batch(self) -> str:
        items = [self.base, self.other, self.source]
        for layer in self._hidden():
            positions = [[self.place], [len(self.other) - 1, 0], []]
            together = self._run(items, [Intervention(layer, "zero", positions)])
            for row, item in enumerate(items):
                alone = self._run([item], [Intervention(layer, "zero", positions[row : row + 1])])
                for x, y in zip(together.layers, alone.layers, strict=True):
                    if self._far(x[row, : y.shape[1]][alone.mask[0]], y[0][alone.mask[0]]):
                        return f"layer {layer}, row {row}"
        return ""

    def after(self) -> str:
        return self._differ(self.states(self.base), self.of_base, "")

    def _hidden(self) -> list[int]:
        """The layers that are embeddings, outputs of blocks, or hidden states: not cells and gates."""
        names = self.encoder.layer_names
        return [
            k for k in self.layers if not any(f" {kind}" in names[k] for kind in ("cell", "input", "forget", "output", "candidate"))
        ]

    def _recurrent_layers(self) -> range:
        return range(1, len(self.layers)) if self.recurrent else range(0)

    def _reads_back(self, layer: int) -> torch.Tensor:
        backward = self.encoder.forward([self.base]).backward
        return torch.zeros(self.of_base[layer].shape[2], dtype=torch.bool) if backward is None else backward[layer].cpu()

    def _far(self, a: torch.Tensor, b: torch.Tensor) -> bool:
        scale = max(1.0, float(b.abs().max())) if b.numel() else 1.0
        return bool(a.numel() and not ((a - b.to(a)).abs() <= TOLERANCE * scale).all())

    def _differ(self, a: Sequence[torch.Tensor], b: Sequence[torch.Tensor], name: str) -> str:
        return "" if all(torch.equal(x, y) for x, y in zip(a, b, strict=True)) else name or "the states differ"
