"""Finds the layers of a `transformers` model by running it: their names and widths, and the number of positions.

A small batch goes through the model once under hooks, and each of the model's hidden states is compared with the inputs and outputs
of every module:

- *blocks* are the members of the list of modules whose outputs match the most states; block k is the k-th call of one of them;
- a state that no block precedes is layer 0; if there is none (Mamba, RWKV), the input of block 1 becomes layer 0. It is called
  "embeddings" only if it does not change at a token when another token changes;
- a state made after block k is named by the modules between: "block 12 + final norm" is not the output of block 12.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from probing.encoders.base import CONTEXTUAL
from probing.encoders.hf.hooks import Seen, Site, sites_of, trace
from probing.errors import StatesError


@dataclass(frozen=True)
class Layers:
    """The layers of a model.

    Attributes:
        first: the site of layer 0, where it is not among the model's hidden states, which then begin with layer 1; else None.
        sites: of every layer; None if a state is made between modules.
        context_free: whether layer 0 depends on no other word.
        positions: rows of the position matrix, from that of the first token on.
    """

    names: tuple[str, ...]
    dims: tuple[int, ...]
    first: Site | None
    sites: tuple[Site, ...] | None
    context_free: bool
    positions: int | None


def find_layers(name: str, model: nn.Module, run: Callable[[], Sequence[torch.Tensor]], tokens: int, changed: int) -> Layers:
    """Finds the layers of a model from two sentences of as many `tokens`, which differ in the one of index `changed`.

    `run` sends the two through the model and returns its hidden states, (2, tokens, dim) each. Raises StatesError if they are not
    one vector a token, or none of them is the input or output of a block.
    """
    states, seen = trace(model, run)
    for state in states:
        if not isinstance(state, torch.Tensor) or state.ndim != 3 or state.shape[1] < tokens:
            form = f"states of shape {tuple(state.shape)}" if isinstance(state, torch.Tensor) else f"a {type(state).__name__}"
            raise StatesError(f"{name}: the model hands out {form} for a layer, expected (2, {tokens}, dim); it cannot be read")
    blocks = _blocks(model, states, seen)
    if not blocks:
        raise StatesError(f"{name}: no state that the model hands out is what one of its blocks takes or gives; it cannot be read")
    names: list[str] = []
    done = 0
    for state, following in zip(states, [*states[1:], None], strict=True):
        name_of_state, done = _name(state, following, blocks, seen, done)
        names.append(name_of_state)
    first = None
    if names[0] != _EMBEDDINGS:
        taken = next((s for s in blocks[0].taken if s.value.shape[:2] == states[0].shape[:2]), None)
        if taken is None:
            raise StatesError(f"{name}: the model hands out no state before its first block; it cannot be read")
        first, states, names = taken.site, (taken.value, *states), [_EMBEDDINGS, *names]
    others = [k for k in range(tokens) if k != changed]
    context_free = torch.equal(states[0][0, others], states[0][1, others])
    if not context_free:
        names[0] = f"input of block 1, which {CONTEXTUAL}"
    dims = tuple(state.shape[2] for state in states)
    outputs = {f"block {k}": block.given for k, block in enumerate(blocks, 1)}
    sites = sites_of(states, seen, [outputs.get(name_of_state, ()) for name_of_state in names])
    return Layers(tuple(names), dims, first, sites, context_free, _positions(seen))


_EMBEDDINGS = "embeddings"


@dataclass(frozen=True)
class _Block:
    """One call of a block: when it began and ended, its inputs and its outputs."""

    begun: int
    ended: int
    taken: list[Seen]
    given: list[Seen]


def _blocks(model: nn.Module, states: Sequence[torch.Tensor], seen: Sequence[Seen]) -> list[_Block]:
    """The calls of the blocks, in order. Blocks are the list of modules that explains the most states, of several the outermost."""
    best: tuple[int, list[_Block]] = (0, [])
    for part in model.modules():  # from the outside inwards
        if isinstance(part, nn.ModuleList | nn.Sequential):
            blocks = sorted((block for member in part for block in _calls(member, seen)), key=lambda block: block.begun)
            values = [s for block in blocks for s in block.given] + [s for block in blocks[:1] for s in block.taken]
            explained = sum(any(_same(s.value, state) for s in values) for state in states)
            if explained > best[0]:
                best = (explained, blocks)
    return best[1]


def _calls(module: nn.Module, seen: Sequence[Seen]) -> list[_Block]:
    """The calls of a module. Where hooks do not see its `forward` (SqueezeBERT), the calls of its parts count as one call."""
    calls: dict[int, list[Seen]] = {}
    for s in seen:
        if s.site.module is module:
            calls.setdefault(s.site.call, []).append(s)
    if not calls:
        parts = set(module.modules())
        if inside := [s for s in seen if s.site.module in parts]:
            calls[0] = inside
    return [
        _Block(
            begun := min(s.begun for s in values),
            ended := max(s.ended for s in values),
            [s for s in values if s.site.enters and s.begun == begun],
            [s for s in values if not s.site.enters and s.ended == ended],
        )
        for values in calls.values()
    ]


def _name(
    state: torch.Tensor, following: torch.Tensor | None, blocks: Sequence[_Block], seen: Sequence[Seen], done: int
) -> tuple[str, int]:
    """The name of a state, and the number of blocks before it; `done` is that of the previous state.

    Where a block adds nothing, several places hold the same values; the state is then named by the first block whose output is not
    an earlier state. The `following` state distinguishes the embeddings from the output of a block 1 that adds nothing.
    """
    gives = [any(_same(s.value, state) for s in block.given) for block in blocks]
    enters = [any(_same(s.value, state) for s in block.taken) for block in blocks]
    block_1_follows = following is not None and any(_same(s.value, following) for s in blocks[0].given)
    if enters[0] and not done and (not gives[0] or block_1_follows):
        return _EMBEDDINGS, 0
    for k in range(done, len(blocks)):
        if gives[k]:
            return f"block {k + 1}", k + 1
    made = [s for s in seen if not s.site.enters and _same(s.value, state)]
    outside = [s for s in made if all(s.ended < block.begun or block.ended < s.begun for block in blocks)]
    since = [s for s in outside if not done or blocks[done - 1].ended < s.begun]
    for s in sorted(since, key=lambda s: s.begun):  # the outermost module that gives this value, after the block of the last state
        follows = sum(block.ended < s.begun for block in blocks)
        return (_after(s, follows, blocks, seen), follows) if follows else (_EMBEDDINGS, 0)
    for k in range(done, len(blocks)):
        if enters[k]:  # made between modules, e.g. by a factor
            return f"input of block {k + 1}", k
    if made:
        inside = next(k for k, block in enumerate(blocks, 1) if block.begun < made[0].begun and made[0].ended < block.ended)
        return f"block {inside}, {_leaf(made[0])}", inside - 1
    return "state made by no module", done


def _after(last: Seen, done: int, blocks: Sequence[_Block], seen: Sequence[Seen]) -> str:
    """The name of a state made after a block, by the modules between."""
    since = [s for s in seen if not s.site.enters and blocks[done - 1].ended < s.begun and s.ended <= last.ended]
    outer = [s for s in since if not any(o.begun < s.begun and s.ended < o.ended for o in since)]
    norm = "final norm" if done == len(blocks) else "norm"
    active = [s for s in outer if not isinstance(s.site.module, nn.Dropout | nn.Identity)]
    parts = [norm if "norm" in type(s.site.module).__name__.lower() else _leaf(s) for s in active]
    return " + ".join([f"block {done}", *dict.fromkeys(parts)])


def _leaf(seen: Seen) -> str:
    """The last part of a module's name that is not a number."""
    return next((part for part in reversed(seen.name.split(".")) if not part.isdigit()), seen.name)


def _same(value: torch.Tensor, state: torch.Tensor) -> bool:
    """Whether a module's value is the state (batch, tokens, dim): as it is, flat, transposed, or with more tokens (padding)."""
    if value.ndim == 2 and value.numel() == state.numel():
        return _equal(value.reshape(state.shape), state)
    if value.ndim != 3 or state.ndim != 3:
        return value.shape == state.shape and _equal(value, state)
    for order in ((0, 1, 2), (1, 0, 2), (0, 2, 1)):
        turned = value.permute(order)
        fits = turned.shape[0] == state.shape[0] and turned.shape[2] == state.shape[2] and turned.shape[1] >= state.shape[1]
        if fits and _equal(turned[:, : state.shape[1]], state):
            return True
    return False


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors of one shape have the same entries, or NaN at the same places."""
    return torch.equal(a, b) or (torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(), b.nan_to_num()))


def _positions(seen: Sequence[Seen]) -> int | None:
    """The rows, from that of the first token on, of the shortest matrix whose rows a module gave one after another."""
    bounds, have_inputs = [], {(s.site.module, s.site.call) for s in seen if s.site.enters}
    for s in seen:
        weight: Any = getattr(s.site.module, "weight", None)
        is_matrix = isinstance(weight, torch.Tensor) and weight.ndim == 2
        if not is_matrix or s.value.ndim < 2 or (s.site.module, s.site.call) in have_inputs:
            continue
        rows = s.value.reshape(-1, *s.value.shape[-2:])[0]  # (tokens, dim)
        if len(rows) < 3 or rows.shape[1] != weight.shape[1]:
            continue
        for start in (weight[:, 0] == rows[0, 0]).nonzero().flatten().tolist():
            if torch.equal(weight[start : start + len(rows)], rows):
                bounds.append(len(weight) - start)
    return min(bounds, default=None)
