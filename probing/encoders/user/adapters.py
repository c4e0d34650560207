"""Adapters from a user's code to items and `States`: functions of sentences, SentEval's `prepare` and `batcher`, whole encoders.

An adapter turns a batch into *rows*: for each layer, by name, one array (tokens, d) per sentence, without padding. The names, the
widths and whether a row is one vector per sentence are taken from the first batch; a later batch that differs is refused, and so is
anything but finite numbers of the right shape. Modules of torch: `probing.encoders.user.modules`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from probing.encoders.base import Encoder, Item, States
from probing.encoders.pooling import TOKEN_POOLINGS
from probing.encoders.user.usercode import reraise_user_errors
from probing.errors import ForeignError, StatesError

Rows = dict[str, list["torch.Tensor"]]
"""For each layer, by name, the states of each sentence: shape (tokens, d), or (1, d) for a vector of the sentence."""

EXPECTED = (
    "expected, for n sentences: an array (n, d) of vectors, a list of n arrays (tokens, d) of token states, "
    "or a dict {layer name: one of these}"
)


class Adapter:
    """Checks the rows of a subclass, and makes states of them; `objects` are the user's whose arrays are hashed."""

    form = ""
    """What the user's objects are, in words."""
    layer_names: tuple[str, ...] = ()
    dims: tuple[int, ...] = ()
    poolings: tuple[str, ...] = ()

    def __init__(self, subject: str, objects: Sequence[Any], batch_size: int):
        self.subject, self.objects, self.batch_size = subject, tuple(objects), batch_size

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Item], int]:
        """An item is the sentence split at each blank, so that its length tells the cost and `_text` restores the sentence."""
        return [text.split(" ") for text in texts], 0

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        if self.poolings == ("sentence",):
            return [[None] for _ in texts]
        rows = self._rows(self.tokenize(texts)[0])
        return [
            list(range(self._one_row_a_word(text, len(row)))) for text, row in zip(texts, next(iter(rows.values())), strict=True)
        ]

    def _one_row_a_word(self, text: str, n: int) -> int:
        if n != len(text.split()):
            raise StatesError(
                f"{self.subject}: {n} tokens for the {len(text.split())} words of {text!r}: tokens cannot be aligned with words"
            )
        return n

    def random_twin(self, seed: int) -> Adapter | None:
        return None

    def forward(self, items: Sequence[Item]) -> States:
        rows = self._rows(items)
        lengths = torch.tensor([len(row) for row in next(iter(rows.values()))])
        mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]  # (batch, tokens)
        return States([pad_sequence(layer, batch_first=True) for layer in rows.values()], mask)

    def _rows(self, items: Sequence[Item]) -> Rows:
        joined: Rows = {}
        for start in range(0, len(items), self.batch_size):
            batch = items[start : start + self.batch_size]
            with torch.no_grad():
                rows = self.rows(batch)
            self._check(rows, batch)
            for name, layer in rows.items():
                joined.setdefault(name, []).extend(layer)
        return joined

    def rows(self, items: Sequence[Item]) -> Rows:
        """Rows of a batch; sets `poolings`."""
        raise NotImplementedError

    def _check(self, rows: Rows, items: Sequence[Item]) -> None:
        lengths = [len(row) for row in next(iter(rows.values()))]
        for name, layer in rows.items():
            for item, row, length in zip(items, layer, lengths, strict=True):
                if len(row) != length or not length:
                    raise StatesError(
                        f"{self.subject}: {name!r} has {len(row)} token states for {_shown(item)}, expected {length or 'some'}"
                    )
            if len({row.shape[1] for row in layer}) > 1:
                raise StatesError(f"{self.subject}: {name!r} has vectors of different widths for different sentences")
            if not torch.cat(layer).isfinite().all():
                item = next(item for item, row in zip(items, layer, strict=True) if not row.isfinite().all())
                raise StatesError(f"{self.subject}: {name!r} is not finite (NaN or infinite) for {_shown(item)}")
        names, dims = tuple(rows), tuple(layer[0].shape[1] for layer in rows.values())
        if self.dims and (names, dims) != (self.layer_names, self.dims):
            before, now = (dict(zip(*pair, strict=True)) for pair in ((self.layer_names, self.dims), (names, dims)))
            raise StatesError(f"{self.subject}: gave the layers {before} for one batch and {now} for another")
        self.layer_names, self.dims = names, dims


class Function(Adapter):
    """A function of a list of sentences, which returns one of the forms in `EXPECTED`."""

    def __init__(self, subject: str, function: Callable[[list[str]], Any], batch_size: int):
        super().__init__(subject, [function], batch_size)
        self.function = function

    def rows(self, items: Sequence[Item]) -> Rows:
        texts = [_text(item) for item in items]
        with reraise_user_errors(f"{self.subject}: calling it with {len(texts)} sentence(s)", ForeignError):
            result = self.function(texts)
        layers = result if isinstance(result, Mapping) else {"output": result}
        if not layers or not all(isinstance(name, str) for name in layers):
            raise StatesError(f"{self.subject}: a dict with the keys {list(layers)}; {EXPECTED}")
        rows = {name: read_layer(value, len(texts), f"{self.subject}: {name!r}") for name, value in layers.items()}
        kinds = {kind for kind, _ in rows.values()}
        poolings = ("sentence",) if kinds == {1} else TOKEN_POOLINGS
        if len(kinds) > 1 or self.poolings not in ((), poolings):
            raise StatesError(f"{self.subject}: gave vectors of sentences in one place and states of tokens in another; {EXPECTED}")
        self.poolings, self.form = poolings, "sentence vectors" if kinds == {1} else "token states"
        return {name: layer for name, (_, layer) in rows.items()}


class Batcher(Adapter):
    """SentEval's contract: `prepare(params, samples)`, which may be missing, and `batcher(params, batch)` -> (n, d).

    Samples and batches are lists of token lists. `prepare` is called again, with new `params` and all sentences so far, when a
    batch has a sentence that the last call did not have.
    """

    form = "SentEval batcher"
    poolings = ("sentence",)

    def __init__(self, subject: str, namespace: Any, options: Mapping[str, Any], batch_size: int):
        super().__init__(subject, [namespace, namespace.batcher, getattr(namespace, "prepare", None)], batch_size)
        self.batcher, self.prepare = namespace.batcher, getattr(namespace, "prepare", None)
        self.options = options
        self.met: dict[str, None] = {}
        self.prepared: set[str] = set()

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Item], int]:
        self.met.update(dict.fromkeys(texts))
        return super().tokenize(texts)

    def rows(self, items: Sequence[Item]) -> Rows:
        texts = [_text(item) for item in items]
        if not self.prepared.issuperset(texts):
            self.met.update(dict.fromkeys(texts))
            # SentEval's own keys, of which only `batch_size` has an effect, as the classifier is the probe's
            self.params = Params(usepytorch=True, seed=1111, batch_size=self.batch_size, nhid=0, kfold=5, classifier={"nhid": 0})
            self.params.update(self.options)
            if self.prepare:
                with reraise_user_errors(f"{self.subject}: prepare(params, {len(self.met)} sentences)", ForeignError):
                    self.prepare(self.params, [text.split() for text in self.met])
            self.prepared = set(self.met)
        with reraise_user_errors(f"{self.subject}: batcher(params, {len(texts)} sentences)", ForeignError):
            result = self.batcher(self.params, [text.split() for text in texts])
        kind, layer = read_layer(result, len(texts), f"{self.subject}: batcher's result")
        if kind != 1:
            raise StatesError(f"{self.subject}: batcher gave token states; expected an array (n, d)")
        return {"output": layer}


class Params(dict[str, Any]):
    """A dict whose keys are attributes too, as in SentEval; an attribute that is not there is None."""

    __getattr__ = dict.get
    __setattr__ = dict.__setitem__
    __delattr__ = dict.__delitem__


class WholeEncoder(Adapter):
    """A whole `Encoder` of the user's, for which `batch_size` has no effect."""

    form = "encoder"

    def __init__(self, subject: str, encoder: Encoder, batch_size: int):
        super().__init__(subject, [encoder], batch_size)
        self.encoder = encoder
        with reraise_user_errors(f"{subject}: its layers", ForeignError):
            self.layer_names, self.dims, self.poolings = tuple(encoder.layer_names), tuple(encoder.dims), tuple(encoder.poolings)
            self.description = json.loads(json.dumps(dict(encoder.description)))

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Item], int]:
        with reraise_user_errors(f"{self.subject}: tokenize", ForeignError):
            return self.encoder.tokenize(texts)

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        with reraise_user_errors(f"{self.subject}: word_ids", ForeignError):
            return self.encoder.word_ids(texts)

    def random_twin(self, seed: int) -> WholeEncoder | None:
        with reraise_user_errors(f"{self.subject}: random_twin", ForeignError):
            twin = self.encoder.random_twin(seed)
        return None if twin is None else WholeEncoder(self.subject, twin, self.batch_size)

    def forward(self, items: Sequence[Item]) -> States:
        with reraise_user_errors(f"{self.subject}: forward", ForeignError):
            states = self.encoder.forward(items)
        if not isinstance(states, States):
            raise StatesError(f"{self.subject}: forward gave a {type(states).__name__}, expected probing.encoders.base.States")
        shapes = [tuple(layer.shape) for layer in states.layers]
        expected = [(*states.mask.shape, dim) for dim in self.dims]
        if shapes != expected or len(states.mask) != len(items):
            raise StatesError(
                f"{self.subject}: forward gave layers of the shapes {shapes}, expected {expected} for {len(items)} items"
            )
        return states


def read_layer(value: Any, n: int, subject: str) -> tuple[int, list[torch.Tensor]]:
    """The rows of one layer: 1 and n rows (1, d) for vectors of sentences, 2 and n rows (tokens, d) for states of tokens."""
    if isinstance(value, list | tuple):
        rows = [_numbers(row, subject) for row in value]
        kinds = {row.ndim for row in rows}
        if len(rows) == n and kinds in ({1}, {2}):
            return kinds.pop(), [row if row.ndim == 2 else row[None] for row in rows]
        shapes = ", ".join(str(tuple(row.shape)) for row in rows[:3]) + (", …" if rows[3:] else "")
        form = f"a list of {len(rows)} arrays of the shapes {shapes}"
    elif isinstance(value, np.ndarray | torch.Tensor):
        matrix = _numbers(value, subject)
        if matrix.ndim == 2 and len(matrix) == n:
            return 1, list(matrix[:, None])  # n × (1, d)
        form = f"an array of the shape {tuple(matrix.shape)}"
    else:
        form = f"a {type(value).__name__}"
    raise StatesError(f"{subject} is {form} for {n} sentence(s);\n{EXPECTED}")


def _numbers(value: Any, subject: str) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value.detach().float().cpu()
    try:
        array = np.asarray(value)
    except ValueError:  # ragged
        array = np.asarray(None)
    if array.dtype.kind not in "fiu":
        raise StatesError(f"{subject} holds {type(value).__name__} of {array.dtype}, not numbers;\n{EXPECTED}")
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, and is refused
        return torch.from_numpy(array.astype(np.float32))


def _text(item: Item) -> str:
    return " ".join(item)


def _shown(item: Item) -> str:
    return repr(_text(item) if all(isinstance(part, str) for part in item) else list(item))
