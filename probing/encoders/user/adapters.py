"""What a user's code gives, as items and `States`: functions of sentences, SentEval's `prepare` and `batcher`, whole encoders.

An adapter turns a batch into *rows*: for each layer, by name, one array (tokens, d) per sentence. The names, the widths and
whether a row is one vector per sentence are learned from the first batch; a later batch that differs is refused, and so is
anything that is not finite numbers of the right shape. Modules of torch: `probing.encoders.user.modules`.

Padding. A function or batcher pads as it likes, inside; the arrays it returns hold real tokens only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from probing.encoders.base import Encoder, Item, States
from probing.encoders.user.usercode import users_code
from probing.errors import ForeignError, StatesError

if TYPE_CHECKING:
    import torch

Rows = dict[str, list["torch.Tensor"]]
"""For each layer, by name, the states of each sentence: shape (tokens, d), or (1, d) for a vector of the sentence."""

EXPECTED = (
    "expected, for n sentences: an array (n, d) of vectors, a list of n arrays (tokens, d) of token states, "
    "or a dict {layer name: one of these}"
)


class Adapter:
    """What adapters share: from rows to states, and the checks between.

    Args:
        said: how messages call the user's code.
        given: the objects that the user gave, to be hashed.
        batch_size: sentences in one call of the user's code, at most.
    """

    form = ""
    layer_names: tuple[str, ...] = ()
    dims: tuple[int, ...] = ()
    poolings: tuple[str, ...] = ()

    def __init__(self, said: str, given: Sequence[Any], batch_size: int):
        self.said, self.given, self.batch_size = said, tuple(given), batch_size

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Item], int]:
        """An item is the sentence cut at blanks, so that its length tells the cost, and `_text` gives it back unchanged."""
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
                f"{self.said}: {n} tokens for the {len(text.split())} words of {text!r}: tokens cannot be aligned with words"
            )
        return n

    def random_twin(self, seed: int) -> Adapter | None:
        return None

    def forward(self, items: Sequence[Item]) -> States:
        import torch
        from torch.nn.utils.rnn import pad_sequence

        rows = self._rows(items)
        lengths = torch.tensor([len(row) for row in next(iter(rows.values()))])
        mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]  # (batch, tokens)
        return States([pad_sequence(layer, batch_first=True) for layer in rows.values()], mask)

    def _rows(self, items: Sequence[Item]) -> Rows:
        import torch

        found: Rows = {}
        for start in range(0, len(items), self.batch_size):
            batch = items[start : start + self.batch_size]
            with torch.no_grad():
                rows = self.rows(batch)
            self._check(rows, batch)
            for name, layer in rows.items():
                found.setdefault(name, []).extend(layer)
        return found

    def rows(self, items: Sequence[Item]) -> Rows:
        """Rows of a batch; sets `poolings`."""
        raise NotImplementedError

    def _check(self, rows: Rows, items: Sequence[Item]) -> None:
        import torch

        lengths = [len(row) for row in next(iter(rows.values()))]
        for name, layer in rows.items():
            for item, row, length in zip(items, layer, lengths, strict=True):
                if len(row) != length or not length:
                    raise StatesError(
                        f"{self.said}: {name!r} has {len(row)} token states for {_shown(item)}, expected {length or 'some'}"
                    )
            if len({row.shape[1] for row in layer}) > 1:
                raise StatesError(f"{self.said}: {name!r} has vectors of different widths for different sentences")
            if not torch.cat(layer).isfinite().all():
                item = next(item for item, row in zip(items, layer, strict=True) if not row.isfinite().all())
                raise StatesError(f"{self.said}: {name!r} is not finite (NaN or infinite) for {_shown(item)}")
        names, dims = tuple(rows), tuple(layer[0].shape[1] for layer in rows.values())
        if self.dims and (names, dims) != (self.layer_names, self.dims):
            was, now = (dict(zip(*pair, strict=True)) for pair in ((self.layer_names, self.dims), (names, dims)))
            raise StatesError(f"{self.said}: gave the layers {was} for one batch and {now} for another")
        self.layer_names, self.dims = names, dims


class Function(Adapter):
    """A function of a list of sentences; what it returns is described by `EXPECTED`."""

    def __init__(self, said: str, function: Callable[[list[str]], Any], batch_size: int):
        super().__init__(said, [function], batch_size)
        self.function = function

    @property
    def form(self) -> str:
        return "sentence vectors" if self.poolings == ("sentence",) else "token states"

    def rows(self, items: Sequence[Item]) -> Rows:
        texts = [_text(item) for item in items]
        with users_code(f"{self.said}: calling it with {len(texts)} sentence(s)", ForeignError):
            given = self.function(texts)
        layers = given if isinstance(given, Mapping) else {"output": given}
        if not layers or not all(isinstance(name, str) for name in layers):
            raise StatesError(f"{self.said}: a dict with the keys {list(layers)}; {EXPECTED}")
        read = {name: read_layer(value, len(texts), f"{self.said}: {name!r}") for name, value in layers.items()}
        kinds = {kind for kind, _ in read.values()}
        poolings = ("sentence",) if kinds == {1} else ("mean", "max", "last")
        if len(kinds) > 1 or self.poolings not in ((), poolings):
            raise StatesError(f"{self.said}: gave vectors of sentences in one place and states of tokens in another; {EXPECTED}")
        self.poolings = poolings
        return {name: layer for name, (_, layer) in read.items()}


class Batcher(Adapter):
    """SentEval's contract: `prepare(params, samples)`, which may be missing, and `batcher(params, batch)` -> (n, d).

    Samples and batches are lists of token lists. SentEval calls `prepare` with all sentences of a task. Here it is called again,
    with fresh `params`, when a batch has a sentence that the last call had not, and then with every sentence met so far: what
    only collects the words it sees, and their vectors, gives what it gives in SentEval.
    """

    form = "SentEval batcher"
    poolings = ("sentence",)

    def __init__(self, said: str, namespace: Any, options: Mapping[str, Any], batch_size: int):
        super().__init__(said, [namespace, namespace.batcher, getattr(namespace, "prepare", None)], batch_size)
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
            self.params = Params(senteval_params(self.batch_size) | self.options)
            if self.prepare:
                with users_code(f"{self.said}: prepare(params, {len(self.met)} sentences)", ForeignError):
                    self.prepare(self.params, [text.split() for text in self.met])
            self.prepared = set(self.met)
        with users_code(f"{self.said}: batcher(params, {len(texts)} sentences)", ForeignError):
            given = self.batcher(self.params, [text.split() for text in texts])
        kind, layer = read_layer(given, len(texts), f"{self.said}: batcher's result")
        if kind != 1:
            raise StatesError(f"{self.said}: batcher gave token states; expected an array (n, d)")
        return {"output": layer}


class Params(dict):
    """A dict whose keys are attributes too, None where there is none, as SentEval's is."""

    __getattr__ = dict.get
    __setattr__ = dict.__setitem__
    __delattr__ = dict.__delitem__


def senteval_params(batch_size: int) -> dict[str, Any]:
    """The keys that SentEval sets itself; of these only `batch_size` means anything here, the classifier being the probe's."""
    return {"usepytorch": True, "seed": 1111, "batch_size": batch_size, "nhid": 0, "kfold": 5, "classifier": {"nhid": 0}}


class Own(Adapter):
    """A whole `Encoder` of the user's; `batch_size` does not touch it."""

    form = "encoder"

    def __init__(self, said: str, encoder: Encoder, batch_size: int):
        super().__init__(said, [encoder], batch_size)
        self.encoder = encoder
        with users_code(f"{said}: its layers", ForeignError):
            self.layer_names, self.dims, self.poolings = tuple(encoder.layer_names), tuple(encoder.dims), tuple(encoder.poolings)
            self.description = json.loads(json.dumps(dict(encoder.description)))

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Item], int]:
        with users_code(f"{self.said}: tokenize", ForeignError):
            return self.encoder.tokenize(texts)

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        with users_code(f"{self.said}: word_ids", ForeignError):
            return self.encoder.word_ids(texts)

    def random_twin(self, seed: int) -> Own | None:
        with users_code(f"{self.said}: random_twin", ForeignError):
            twin = self.encoder.random_twin(seed)
        return None if twin is None else Own(self.said, twin, self.batch_size)

    def forward(self, items: Sequence[Item]) -> States:
        with users_code(f"{self.said}: forward", ForeignError):
            states = self.encoder.forward(items)
        if not isinstance(states, States):
            raise StatesError(f"{self.said}: forward gave a {type(states).__name__}, expected probing.encoders.base.States")
        shapes = [tuple(layer.shape) for layer in states.layers]
        expected = [(*states.mask.shape, dim) for dim in self.dims]
        if shapes != expected or len(states.mask) != len(items):
            raise StatesError(
                f"{self.said}: forward gave layers of the shapes {shapes}, expected {expected} for {len(items)} items"
            )
        return states


def read_layer(value: Any, n: int, said: str) -> tuple[int, list[torch.Tensor]]:
    """One layer as the user gave it: 1 and n rows (1, d) for vectors of sentences, 2 and n rows (tokens, d) for token states."""
    import torch

    if isinstance(value, list | tuple):
        rows = [_numbers(row, said) for row in value]
        kinds = {row.ndim for row in rows}
        if len(rows) == n and kinds in ({1}, {2}):
            return kinds.pop(), [row if row.ndim == 2 else row[None] for row in rows]
        found = f"a list of {len(rows)} arrays of the shapes {_some([tuple(row.shape) for row in rows])}"
    elif isinstance(value, np.ndarray | torch.Tensor):
        matrix = _numbers(value, said)
        if matrix.ndim == 2 and len(matrix) == n:
            return 1, list(matrix[:, None])  # n × (1, d)
        found = f"an array of the shape {tuple(matrix.shape)}"
    else:
        found = f"a {type(value).__name__}"
    raise StatesError(f"{said} is {found} for {n} sentence(s);\n{EXPECTED}")


def _numbers(value: Any, said: str) -> torch.Tensor:
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().float().cpu()
    try:
        array = np.asarray(value)
    except ValueError:  # ragged
        array = np.asarray(None)
    if array.dtype.kind not in "fiu":
        raise StatesError(f"{said} holds {type(value).__name__} of {array.dtype}, not numbers;\n{EXPECTED}")
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, and is refused
        return torch.from_numpy(array.astype(np.float32))


def _text(item: Item) -> str:
    return " ".join(item)


def _shown(item: Item) -> str:
    return repr(_text(item) if all(isinstance(part, str) for part in item) else list(item))


def _some(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values[:3])) + (", …" if len(values) > 3 else "")
