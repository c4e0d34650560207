"""Reads the states of each layer while a model runs, by forward hooks on its modules.

A state is the output or the input of some module, its site: a hook on that module gets it as soon as it exists, so that not all of
them are in memory together as with `output_hidden_states`. Sites are found by running one small batch both ways (`trace`) and
comparing each state with the inputs and outputs of all modules (`sites_of`). A state that is made between modules has none.
"""

from __future__ import annotations

import copy
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
    """The place of a state: tensor number `part` of the input (if `enters`) or output of call number `call` of `module`."""

    module: nn.Module
    call: int
    enters: bool
    part: int = 0


@dataclass(frozen=True)
class Seen:
    """One value in a trace: its site, the module's name, a copy of the value, and when the call began and ended (counts)."""

    site: Site
    name: str
    value: torch.Tensor
    begun: int
    ended: int


def trace(model: nn.Module, run: Callable[[], Any]) -> tuple[Any, list[Seen]]:
    """The result of `run`, and every floating-point input and output of modules of `model` during it, in the order of calls."""
    names = {module: name for name, module in model.named_modules()}
    started: dict[tuple[nn.Module, int], tuple[int, list[torch.Tensor]]] = {}
    seen: list[Seen] = []
    clock = iter(range(10**9))

    def see(module: nn.Module, call: int, values: list[torch.Tensor], enters: bool) -> None:
        copies = [value.clone() for value in values]
        if enters:
            started[module, call] = next(clock), copies
            return
        begun, inputs = started.pop((module, call))
        ended = next(clock)
        sites = [(Site(module, call, True, part), value) for part, value in enumerate(inputs)]
        sites += [(Site(module, call, False, part), value) for part, value in enumerate(copies)]
        seen.extend(Seen(site, names[module], value, begun, ended) for site, value in sites)

    with _hooks(names, see):
        result = run()
    return result, seen


def sites_of(
    states: Sequence[torch.Tensor], seen: Sequence[Seen], likely: Sequence[Sequence[Seen]] | None = None
) -> tuple[Site, ...] | None:
    """The first site of each state (batch, tokens, dim), where it may be flat; None if one has none. `likely` come first."""
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
    """Calls `see(layer, state)` for each state as soon as it exists."""
    layers: dict[Site, list[int]] = {}
    for layer, site in enumerate(sites):
        layers.setdefault(site, []).append(layer)

    def show(module: nn.Module, call: int, values: list[torch.Tensor], enters: bool) -> None:
        for part, value in enumerate(values):
            for layer in layers.get(Site(module, call, enters, part), ()):
                see(layer, value)

    with _hooks({site.module for site in sites}, show):
        yield


@contextmanager
def changed(
    sites: Mapping[int, Site], root: nn.Module, begin: Callable[[], None], change: Callable[[int, torch.Tensor], torch.Tensor]
) -> Iterator[None]:
    """Replaces the state at each site by `change(layer, state)` in every pass of `root`, which `begin` is told of.

    A state has the shape (batch, tokens, dim); where the module has it flat, it is given back flat.
    """
    calls: Counter[nn.Module] = Counter()
    shape: list[int] = []

    def start(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.clear()
        ids = next((v for v in [kwargs.get("input_ids"), kwargs.get("inputs_embeds"), *args] if isinstance(v, torch.Tensor)), None)
        shape[:] = [] if ids is None else ids.shape[:2]
        begin()

    def replaced(module: nn.Module, value: Any, enters: bool) -> Any:
        for layer, site in sites.items():
            if (site.module, site.call, site.enters) == (module, calls[module], enters):
                value = _with_part(value, site.part, partial(_in_shape, shape, layer, change))
        return value

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        new = replaced(module, [*args, *kwargs.values()], True)
        return tuple(new[: len(args)]), dict(zip(kwargs, new[len(args) :], strict=True))

    def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
        new = replaced(module, out, False)
        calls[module] += 1
        return new

    handle = root.register_forward_pre_hook(start, with_kwargs=True)
    try:
        with _around({site.module for site in sites.values()}, before, after):
            yield
    finally:
        handle.remove()


def _in_shape(
    shape: Sequence[int], layer: int, change: Callable[[int, torch.Tensor], torch.Tensor], state: torch.Tensor
) -> torch.Tensor:
    if state.ndim == 3:
        return change(layer, state)
    return change(layer, state.reshape(*shape, -1)).reshape(state.shape)


def _with_part(value: Any, part: int, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The value with its floating-point tensor number `part` replaced, as `_tensors` counts them."""
    if isinstance(value, torch.Tensor):
        return change(value)
    keys = list(value) if isinstance(value, Mapping) else range(len(value))
    key = [k for k in keys if isinstance(value[k], torch.Tensor) and value[k].is_floating_point()][part]
    if isinstance(value, Mapping):
        new = copy.copy(value)
        new[key] = change(value[key])  # type: ignore[index]  # transformers' outputs are mutable mappings
        return new
    parts = list(value)
    parts[key] = change(parts[key])
    return parts if isinstance(value, list) else tuple(parts)


@contextmanager
def _hooks(modules: Iterable[nn.Module], see: Callable[[nn.Module, int, list[torch.Tensor], bool], None]) -> Iterator[None]:
    """Calls `see(module, call, tensors, enters)` with what enters and what leaves each call of the modules."""
    calls: Counter[nn.Module] = Counter()

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        see(module, calls[module], _tensors([*args, *kwargs.values()]), True)

    def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        see(module, calls[module], _tensors(out), False)
        calls[module] += 1

    with _around(modules, before, after):
        yield


@contextmanager
def _around(modules: Iterable[nn.Module], before: Callable[..., Any], after: Callable[..., Any]) -> Iterator[None]:
    """Hooks before and after each call of the modules, which see keyword arguments."""
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


@contextmanager
def kept(module: nn.Module, places: torch.Tensor) -> Iterator[None]:
    """While it is open, the module hands on its last state (batch, tokens, dim) at `places` (batch, k) alone."""

    def gather(module: nn.Module, args: Any, output: Any) -> Any:
        state = output.last_hidden_state
        output.last_hidden_state = state.gather(1, places[..., None].expand(-1, -1, state.shape[-1]))
        return output

    hook = module.register_forward_hook(gather)
    try:
        yield
    finally:
        hook.remove()
