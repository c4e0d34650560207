"""Your own Python code as a frozen encoder: `encoder=python encoder.target=file.py:make encoder.options={…}`.

The target is `my.module:name` or `folder/file.py:name`. The name may be that of:

- A function that can be called with the options alone, or a class: it is called so, and returns one of the following.
- Any other function, or a callable object. It is called with a list of n sentences (and the options), and returns an
  array (n, d): sentence vectors; a list of n arrays (tokens, d): token states; or a dict {layer name: one of these}.
- `ModuleStates(module, tokenize, layers)`: outputs of named submodules of a torch module (`probing.encoders.user.modules`).
- Anything with a function `batcher`, also a module (then without `:name`): SentEval's `prepare(params, samples)` and
  `batcher(params, batch)` unchanged, the options added to `params` (`probing.encoders.user.adapters`).
- An `Encoder` (`probing.encoders.base`): used as it is.

Token states have the poolings mean, max and last, sentence vectors the one pooling `sentence`. The first layer should be the
embedding output: the floor `static` is its mean.

When the encoder is made, it is run on a few fixed sentences, on one of them also alone. If that one has other vectors alone
(padding that is not masked, training mode, a result in another order, a `prepare` that weighs words by frequency), the encoder is
refused; `encoder.batch_size=1` gives each sentence alone.

The fingerprint covers the source files, the arrays reachable from the code (`probing.encoders.user.usercode`, also for the limits),
the options, an attribute `version` of the object, the target or its module (change it where no hash covers a change), and the
vectors of the fixed sentences to 4 digits. It may change where the vectors do not: with a comment in the source, or on another
machine. Sentences are not truncated.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from probing.encoders.base import Encoder, Item, Named, States
from probing.encoders.user.adapters import Adapter, Batcher, Function, WholeEncoder
from probing.encoders.user.modules import Module, ModuleStates
from probing.encoders.user.usercode import Code, arrays_sha256, find, reraise_user_errors, sources
from probing.errors import EncoderError, StatesError

VERSION = 1
"""Raise when the same code and options would give other vectors."""

SENTENCES = (
    "The old man who lives next door said that he had never seen the sea , but that he would like to .",
    "Cats sat .",
    "Dogs ran .",
    "Pigs ate .",
    "It 's 7 o'clock and nobody has called",
    "colourless green ideas sleep furiously",
    "Zürich , Qwertyuiop & 3,141.59 -- naïve ?",
)
"""Every encoder is run on these when it is made."""

ALONE = 2
"""Index of the sentence that is also run alone; it has neighbours of its length, and sorting by length moves it."""

TOLERANCE = 0.02
"""Largest difference of equal vectors, as a share of the largest entry; half precision differs by less, mistakes by more."""


@dataclass(frozen=True)
class Facts:
    """Facts about loaded code; `states` are those of the fixed sentences, (tokens, d), sentence by sentence, layer by layer."""

    description: Mapping[str, Any]
    poolings: tuple[str, ...]
    states: list[np.ndarray]


@dataclass(repr=False)
class PythonEncoder(Named):
    """Options of the encoder; the code is not imported before it is needed.

    Args:
        target: `my.module:name` or `folder/file.py:name`; see above.
        options: keyword arguments of the function that `target` names, or keys of SentEval's `params`.
        batch_size: most sentences in one call of the code.
        init_seed: draw the parameters from this seed (see `random_twin`).
        label: name in tables; None: the target without its folder.
    """

    target: str
    options: dict[str, Any] | None = None
    batch_size: int = 128
    init_seed: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise EncoderError(f"encoder.batch_size={self.batch_size} must be at least 1")
        try:
            json.dumps(self.options)
        except (TypeError, ValueError):
            raise EncoderError(f"encoder.options={self.options!r} must hold plain values: text, numbers, lists, dicts") from None
        self.subject = f"encoder.target={self.target}"  # the code, as messages name it
        self.name = self.label or Path(self.target).name
        if self.options:
            self.name += "[" + ",".join(f"{key}={value}" for key, value in self.options.items()) + "]"
        if self.init_seed is not None:
            self.name += f" (random {self.init_seed})"

    @property
    def origin(self) -> str:
        return f"{'random weights, ' * (self.init_seed is not None)}{self.description['form']} of the Python code {self.target}"

    @property
    def description(self) -> Mapping[str, Any]:
        return self._facts.description

    @property
    def layer_names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.description["layers"])

    @property
    def dims(self) -> tuple[int, ...]:
        return tuple(dim for _, dim in self.description["layers"])

    @property
    def poolings(self) -> tuple[str, ...]:
        return self._facts.poolings

    @cached_property
    def _facts(self) -> Facts:
        """Known once the code was loaded, and kept when it is released."""
        _ = self._adapter  # which sets them
        return self._facts

    @cached_property
    def _adapter(self) -> Adapter:
        """The loaded code; after a release it is loaded again and must not have changed."""
        adapter, code = self._made()
        if "_facts" not in vars(self):
            self._facts = self._find_facts(adapter, code)
        elif far(run_fixed_sentences(adapter), self._facts.states) or sources(code) != self.description["sources"]:
            raise StatesError(
                f"{self.subject}: loaded again, it gives other vectors or is other code; seed what it draws at random"
            )
        return adapter

    def _find_facts(self, adapter: Adapter, code: Code) -> Facts:
        arrays = arrays_sha256([code.thing, *adapter.objects], code)  # before the code is called, which may change them
        states = run_fixed_sentences(adapter)
        description: dict[str, Any] = {"kind": "python", "version": VERSION, "form": adapter.form, "sources": sources(code)}
        description |= {
            "options": self.options or {},
            "arrays": arrays,
            "layers": [list(layer) for layer in zip(adapter.layer_names, adapter.dims, strict=True)],
            "behaviour": digest(states),
        }
        declared = (getattr(thing, "version", None) for thing in (adapter.objects[0], code.thing, code.module))
        if versions := [value for value in declared if isinstance(value, str | int | float)]:
            description["declared"] = versions[0]
        if isinstance(adapter, WholeEncoder):
            description["encoder"] = adapter.description
        return Facts(description, adapter.poolings, states)

    def _code(self) -> Code:
        return find(self.target)

    def _made(self) -> tuple[Adapter, Code]:
        code = self._code()
        with reraise_user_errors(f"{self.subject}: making the encoder"):
            adapter = self._adapt(code)
        if self.init_seed is not None:
            twin = adapter.random_twin(self.init_seed)
            if twin is None:
                raise EncoderError(f"{self.subject}: encoder.init_seed is set, but there are no weights to draw")
            adapter = twin
        return adapter, code

    def _adapt(self, code: Code) -> Adapter:
        thing, options = code.thing, self.options or {}
        if _has_batcher(thing):
            return Batcher(self.subject, thing, options, self.batch_size)
        if not code.attribute:
            raise EncoderError(f"{self.subject}: it has no function `batcher`; name what to use: {self.target}:NAME")
        if callable(thing) and not isinstance(thing, ModuleStates | torch.nn.Module) and not _is_encoder(thing):
            how = _takes(thing, options)
            if how == "options":
                thing = thing(**options)
            elif how == "texts":
                return Function(self.subject, partial(thing, **options) if options else thing, self.batch_size)
            else:
                raise EncoderError(
                    f"{self.subject}{how} can be called neither with the options {options} nor with sentences and these"
                )
        elif options:
            raise EncoderError(f"{self.subject} is a {type(thing).__name__}, which takes no encoder.options")
        if _has_batcher(thing):
            return Batcher(self.subject, thing, {}, self.batch_size)
        if isinstance(thing, ModuleStates):
            return Module(self.subject, thing, self.batch_size)
        if _is_encoder(thing):
            return WholeEncoder(self.subject, thing, self.batch_size)
        if isinstance(thing, torch.nn.Module):
            raise EncoderError(
                f"{self.subject} gives a bare torch.nn.Module; give ModuleStates(module, tokenize, layers=[…]), "
                "or a function texts -> vectors that calls it"
            )
        if callable(thing) and not inspect.isclass(thing):
            return Function(self.subject, thing, self.batch_size)
        members = sorted({*Encoder.__annotations__, *(name for name in vars(Encoder) if not name.startswith("_"))})
        lacks = [name for name in members if not hasattr(thing, name)]
        nearly = f", an Encoder but for {', '.join(lacks)}" if len(lacks) < len(members) / 2 else ""
        raise EncoderError(
            f"{self.subject} gives a {type(thing).__name__}{nearly};\nallowed: a function texts -> vectors, ModuleStates, "
            "an Encoder, something with a function `batcher`, or a function of the options that makes one of these"
        )

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Item], int]:
        return self._adapter.tokenize(texts)

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        """The words in order, or None for a vector of the sentence; raises EncoderError if the tokens are not one a word."""
        return self._adapter.word_ids(texts)

    def forward(self, items: Sequence[Item]) -> States:
        """States of a batch; raises StatesError for an exception in the code, a result of a wrong form, and values not finite."""
        return self._adapter.forward(items)

    def release(self) -> None:
        self.__dict__.pop("_adapter", None)

    def random_twin(self, seed: int) -> PythonEncoder | None:
        """`ModuleStates` with parameters drawn by the submodules' `reset_parameters`, or the twin of an `Encoder`; else None."""
        return None if self._adapter.random_twin(seed) is None else replace(self, init_seed=seed)


def _has_batcher(thing: Any) -> bool:
    return callable(getattr(thing, "batcher", None)) and not inspect.isclass(thing)


def _is_encoder(thing: Any) -> bool:
    return isinstance(thing, Encoder) and not inspect.isclass(thing)


def _takes(thing: Any, options: Mapping[str, Any]) -> str:
    """How it can be called: with the "options" alone, with the "texts" before them, or neither: then its signature."""
    try:
        signature = inspect.signature(thing)
    except ValueError:  # a built-in function has no signature
        return "texts"
    for how, arguments in (("options", ()), ("texts", ([],))):
        try:
            signature.bind(*arguments, **options)
            return how
        except TypeError:
            continue
    return str(signature)


def run_fixed_sentences(adapter: Adapter) -> list[np.ndarray]:
    """States (tokens, d) of each sentence in each layer; raises EncoderError if one has other states alone than in a batch."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the order of sums depends on the number of threads
    try:
        with threadpool_limits(1):
            alone = _states(adapter, [SENTENCES[ALONE]])
            together = _states(adapter, SENTENCES)
    finally:
        torch.set_num_threads(threads)
    if far(alone, together[ALONE * len(alone) : (ALONE + 1) * len(alone)]):
        raise EncoderError(
            f"{adapter.subject}: {SENTENCES[ALONE]!r} has other vectors alone than in a batch (padding that is not masked, "
            "training mode, another order, a prepare that counts?);\nmend it; encoder.batch_size=1 gives each sentence alone"
        )
    return together


def _states(adapter: Adapter, texts: Sequence[str]) -> list[np.ndarray]:
    states = adapter.forward(adapter.tokenize(list(texts))[0])
    return [layer[i][mask].float().cpu().numpy() for i, mask in enumerate(states.mask) for layer in states.layers]


def far(some: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> bool:
    """Whether two lists of arrays differ: in length, in a shape, or by more than `TOLERANCE`."""

    def differ(a: np.ndarray, b: np.ndarray) -> bool:
        return a.shape != b.shape or bool(np.abs(a - b).max(initial=0) > TOLERANCE * np.abs(b).max(initial=0))

    return len(some) != len(others) or any(differ(a, b) for a, b in zip(some, others, strict=True))


def digest(arrays: Sequence[np.ndarray]) -> str:
    """A hash of arrays, each rounded to 4 digits of its largest entry: hardly ever changed by the last bits of a sum."""
    sha256 = hashlib.sha256()
    for array in arrays:
        scale = float(np.abs(array).max(initial=0)) or 1.0
        sha256.update(f"{array.shape} {scale:.3e}".encode())
        sha256.update((np.round(array / scale, 4) + 0.0).astype(np.float32).tobytes())  # + 0.0: no negative zero
    return sha256.hexdigest()
