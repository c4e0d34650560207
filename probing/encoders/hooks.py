"""The states of each layer while a model runs, one after another, instead of all together at its end.

`transformers` hands out all L + 1 states at once (`output_hidden_states`), so all of them are in memory together. What becomes a
state is the output, or the first input, of some module; a hook on that module sees it as it appears, and the memory is free again
once the next layer has read it. Which modules these are is not written down per family, it is found (`find_sites`): one small
batch is run both ways, and each state is traced to the module that held the very same memory with the very same bits. That covers
final norms, embeddings under a dropout, and layers that share one module (ALBERT: the k-th call of it).

Left out: models of which some state is made between modules; `find_sites` returns None for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Site:
    """Where a state appears: at call number `call` of `module` in a run, as its first input (`enters`) or as its output."""

    module: nn.Module
    call: int
    enters: bool


def find_sites(model: nn.Module, run: Callable[[], Sequence[torch.Tensor]]) -> tuple[Site, ...] | None:
    """The site of every state; None if one of them cannot be traced to a module.

    Args:
        run: runs `model` once, and returns the states that it handed out.
    """
    seen: list[tuple[Site, torch.Tensor, torch.Tensor]] = []
    with _hooks(model.modules(), lambda site, tensor: seen.append((site, tensor, tensor.clone()))):
        states = run()  # all tensors of the run are kept, so that no two share their memory by reuse
    sites = []
    for state in states:
        here = [site for site, tensor, copy in seen if tensor.data_ptr() == state.data_ptr() and _same(copy, state)]
        if not here:
            return None
        sites.append(here[0])
    return tuple(sites)


@contextmanager
def watched(sites: Sequence[Site], see: Callable[[int, torch.Tensor], None]) -> Iterator[None]:
    """Calls `see(layer, state)` for each state, when its module is done."""
    layers = {site: [k for k, other in enumerate(sites) if other == site] for site in sites}

    def found(site: Site, tensor: torch.Tensor) -> None:
        for layer in layers.get(site, ()):
            see(layer, tensor)

    with _hooks({site.module for site in sites}, found):
        yield


@contextmanager
def _hooks(modules: Any, found: Callable[[Site, torch.Tensor], None]) -> Iterator[None]:
    calls: Counter[nn.Module] = Counter()

    def hook(module: nn.Module, given: tuple, out: Any) -> None:
        for value, enters in ((given[0] if given else None, True), (out[0] if isinstance(out, tuple) and out else out, False)):
            if isinstance(value, torch.Tensor):
                found(Site(module, calls[module], enters), value)
        calls[module] += 1

    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _same(copy: torch.Tensor, state: torch.Tensor) -> bool:
    return copy.numel() == state.numel() and copy.dtype == state.dtype and torch.equal(copy.reshape(state.shape), state)
