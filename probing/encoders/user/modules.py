"""A `torch.nn.Module` as an encoder; its layers are named submodules, whose outputs are caught by forward hooks.

Only sentences of one length share a batch, so the module gets no padding and needs neither a mask nor packing. `States.backward` is
not set: the pooling "last" of a bidirectional layer is the state of the last token in both directions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from probing.encoders.base import Item
from probing.encoders.pooling import TOKEN_POOLINGS
from probing.encoders.user.adapters import Adapter, Rows
from probing.encoders.user.usercode import reraise_user_errors
from probing.errors import EncoderError, ForeignError, StatesError, did_you_mean
from probing.log import info


@dataclass
class ModuleStates:
    """A module, its tokenizer and its layers, for `encoder=python`.

    Args:
        module: called with token ids (batch, tokens) without padding; its parameters are not changed.
        tokenize: a list of sentences -> for each a list of token ids.
        layers: names of submodules ("lstm", "encoder.layers.0"; "" is the module itself), the embedding first: layer 0 is the
            floor `static`. Each is called once per batch and returns a tensor (batch, tokens, d), or a tuple that starts with
            one, as an LSTM does.
        word_ids: a list of sentences -> for each, the index in `text.split()` of each token's word, or None. Not needed where
            each word is one token.
    """

    module: torch.nn.Module
    tokenize: Callable[[list[str]], Sequence[Sequence[int]]]
    layers: Sequence[str]
    word_ids: Callable[[list[str]], list[list[int | None]]] | None = None


class Module(Adapter):
    """The adapter of `ModuleStates`."""

    form = "module"
    poolings = TOKEN_POOLINGS

    def __init__(self, subject: str, what: ModuleStates, batch_size: int):
        super().__init__(subject, [what.module, what.tokenize], batch_size)
        self.what = what
        has_layers = bool(what.layers) and not isinstance(what.layers, str)
        if not isinstance(what.module, torch.nn.Module) or not callable(what.tokenize) or not has_layers:
            raise EncoderError(
                f"{subject}: ModuleStates takes a torch.nn.Module, a function texts -> token ids, and a list of layers"
            )
        known = dict(what.module.named_modules())
        for name in what.layers:
            if name not in known:
                hint, names = did_you_mean(name, known), ", ".join(known)[2:]  # the first name is empty: the module itself
                raise EncoderError(f"{subject}: the module has no submodule {name!r}{hint} (there are: {names})")
        what.module.eval()

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Item], int]:
        with reraise_user_errors(f"{self.subject}: tokenize", ForeignError):
            items: list[Item] = [[int(token) for token in ids] for ids in self.what.tokenize(list(texts))]
        if len(items) != len(texts):
            raise StatesError(f"{self.subject}: tokenize gave {len(items)} lists of token ids for {len(texts)} sentence(s)")
        return items, 0

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        items = self.tokenize(texts)[0]
        if self.what.word_ids is None:
            return [list(range(self._one_row_a_word(text, len(item)))) for text, item in zip(texts, items, strict=True)]
        with reraise_user_errors(f"{self.subject}: word_ids", ForeignError):
            owners = [list(words) for words in self.what.word_ids(list(texts))]
        if list(map(len, owners)) != list(map(len, items)):
            raise StatesError(f"{self.subject}: word_ids does not have one entry for each token of tokenize")
        return owners

    def rows(self, items: Sequence[Item]) -> Rows:
        device = next((parameter.device for parameter in self.what.module.parameters()), torch.device("cpu"))
        rows: Rows = {name: [torch.empty(0)] * len(items) for name in self.what.layers}
        for length in sorted(set(map(len, items))):
            batch = [i for i, item in enumerate(items) if len(item) == length]
            ids = torch.tensor([items[i] for i in batch], device=device)  # (batch, tokens)
            for name, outputs in self._run(ids).items():
                for i, states in zip(batch, self._states(name, outputs, (len(batch), length)), strict=True):
                    rows[name][i] = states
        return rows

    def _run(self, ids: torch.Tensor) -> dict[str, list[Any]]:
        """The outputs of each layer, call by call."""
        caught: dict[str, list[Any]] = {name: [] for name in self.what.layers}
        hooks = [
            self.what.module.get_submodule(name).register_forward_hook(lambda module, given, out, to=to: to.append(out))
            for name, to in caught.items()
        ]
        try:
            with reraise_user_errors(f"{self.subject}: the module, on token ids of shape {tuple(ids.shape)}", ForeignError):
                self.what.module(ids)
        finally:
            for hook in hooks:
                hook.remove()
        return caught

    def _states(self, name: str, outputs: list[Any], shape: tuple[int, int]) -> torch.Tensor:
        """The output of a layer's only call, or the first part of it: (batch, tokens, d)."""
        if len(outputs) != 1:
            raise StatesError(f"{self.subject}: layer {name!r} was called {len(outputs)} times in one pass, expected once")
        out = outputs[0]
        states = out[0] if isinstance(out, tuple) and out else out
        if not isinstance(states, torch.Tensor) or states.ndim != 3 or states.shape[:2] != shape:
            is_tensor = isinstance(states, torch.Tensor)
            turned = is_tensor and states.ndim == 3 and states.shape[:2] == shape[::-1]
            raise StatesError(
                f"{self.subject}: the output of layer {name!r} is {tuple(states.shape) if is_tensor else type(states).__name__}, "
                f"expected (batch, tokens, d) = {(*shape, 'd')}" + ("; set batch_first=True" if turned else "")
            )
        return states.float().cpu()

    def random_twin(self, seed: int) -> Module | None:
        try:
            with reraise_user_errors(f"{self.subject}: copying the module and drawing its parameters", ForeignError):
                module, undrawn = redrawn(self.what.module, seed)
        except EncoderError as error:  # the run goes on without this floor
            info(str(error))
            return None
        if undrawn:
            names = ", ".join(undrawn[:3]) + ("…" if undrawn[3:] else "")
            info(f"{self.subject}: no reset_parameters draws {names}, so it has no random twin")
            return None
        twin = ModuleStates(module, self.what.tokenize, self.what.layers, self.what.word_ids)
        return Module(self.subject, twin, self.batch_size)


def redrawn(module: torch.nn.Module, seed: int) -> tuple[torch.nn.Module, list[str]]:
    """A copy with the parameters drawn by `reset_parameters` of its submodules, and the names of those that none of them draws."""
    twin = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.fill_(float("nan"))  # parameters that stay NaN were not drawn

    def reset(part: torch.nn.Module) -> None:
        draw = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
        if draw:
            draw()

    with torch.random.fork_rng(devices=[]):  # initialisers draw from the global generator
        torch.manual_seed(0x70726F6265 + seed)  # far from the small seeds of untrained modules
        twin.apply(reset)
    return twin, [name for name, parameter in twin.named_parameters() if parameter.isnan().any()]
