"""The states of each layer while a model runs, seen by forward hooks on its modules.

`transformers` hands out all L + 1 states at once (`output_hidden_states`), so all of them are in memory together. A state is the
output, or the input, of some module: a hook on that module sees it as it appears, and the memory is free again once the next layer
has read it. Which modules these are is not written down per family: one small batch is run both ways (`trace`), and each state is
matched with the values that modules took and gave (`sites_of`). That covers final norms, embeddings under a dropout, and layers
that share one module (ALBERT: the k-th call of it).

A model of which some state is made between modules has no sites; it is read by the states that it hands out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Site:
    """Where a state appears: in call number `call` of `module` in a run, tensor `part` of its input (`enters`) or its output."""

    module: nn.Module
    call: int
    enters: bool
    part: int = 0


@dataclass(frozen=True)
class Seen:
    """One value in a trace: its site, the module's name, a copy of the value, and when the call began and ended (a count)."""

    site: Site
    name: str
    value: torch.Tensor
    begun: int
    ended: int


def trace(model: nn.Module, run: Callable[[], Any]) -> tuple[Any, list[Seen]]:
    """What `run` returns, and every floating-point tensor that modules of `model` took and gave meanwhile, in order of calls."""
    names = {module: name for name, module in model.named_modules()}
    taken: dict[tuple[nn.Module, int], tuple[int, list[torch.Tensor]]] = {}
    seen: list[Seen] = []
    clock = iter(range(10**9))

    def enter(module: nn.Module, call: int, given: list[torch.Tensor]) -> None:
        taken[module, call] = next(clock), [value.clone() for value in given]

    def leave(module: nn.Module, call: int, out: list[torch.Tensor]) -> None:
        begun, given = taken.pop((module, call))
        ended = next(clock)
        for enters, values in ((True, given), (False, [value.clone() for value in out])):
            seen.extend(
                Seen(Site(module, call, enters, part), names[module], value, begun, ended) for part, value in enumerate(values)
            )

    with _hooks(names, enter, leave):
        result = run()
    return result, seen


def sites_of(
    states: Sequence[torch.Tensor], seen: Sequence[Seen], likely: Sequence[Sequence[Seen]] | None = None
) -> tuple[Site, ...] | None:
    """For each state (batch, tokens, dim) the first site of its values, also as (batch * tokens, dim); None if one has no site.

    Args:
        likely: for each state the places to look at first.
    """
    sites = []
    for state, places in zip(states, likely or [()] * len(states), strict=True):
        shapes = (state.shape, state.reshape(-1, state.shape[-1]).shape)
        fits = (s.site for s in (*places, *seen) if s.value.shape in shapes and torch.equal(s.value.reshape(state.shape), state))
        if (site := next(fits, None)) is None:
            return None
        sites.append(site)
    return tuple(sites)


@contextmanager
def watched(sites: Sequence[Site], see: Callable[[int, torch.Tensor], None]) -> Iterator[None]:
    """Calls `see(layer, state)` for each state as it appears."""
    layers: dict[Site, list[int]] = {}
    for layer, site in enumerate(sites):
        layers.setdefault(site, []).append(layer)

    def show(module: nn.Module, call: int, values: list[torch.Tensor], enters: bool) -> None:
        for part, value in enumerate(values):
            for layer in layers.get(Site(module, call, enters, part), ()):
                see(layer, value)

    with _hooks({site.module for site in sites}, partial(show, enters=True), partial(show, enters=False)):
        yield


@contextmanager
def _hooks(
    modules: Iterable[nn.Module],
    enter: Callable[[nn.Module, int, list[torch.Tensor]], None],
    leave: Callable[[nn.Module, int, list[torch.Tensor]], None],
) -> Iterator[None]:
    calls: Counter[nn.Module] = Counter()

    def before(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        enter(module, calls[module], _tensors([*args, *kwargs.values()]))

    def after(module: nn.Module, args: tuple, kwargs: dict[str, Any], out: Any) -> None:
        leave(module, calls[module], _tensors(out))
        calls[module] += 1

    handles = []
    for module in modules:
        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(module.register_forward_hook(after, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tensors(value: Any) -> list[torch.Tensor]:
    """The floating-point tensors of a value, or of the parts of a tuple, list or mapping."""
    parts = [value] if isinstance(value, torch.Tensor) else value.values() if isinstance(value, Mapping) else value
    if not isinstance(parts, Iterable):
        return []
    return [part for part in parts if isinstance(part, torch.Tensor) and part.is_floating_point()]
