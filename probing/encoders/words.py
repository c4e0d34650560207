"""An encoder that reads a sentence and words: rows `sentence ||| w1 w2` become [sentence vector; vector of w1; vector of w2].

A word's vector is the mean of its pieces in layer 0 of the encoder, read alone: in the suite's own networks the word embedding; in
a transformers model the embedding output, with what the model adds to it there (position, token type, norm). A word that is not
there has zeros, and so has the sentence of a row of words alone. The vectors of the words are the same in every layer and
pooling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from probing.data.adi2017 import WORDS
from probing.encoders.base import TOKEN_BUDGET, Encoder, Item, Named, Pooled, States, pooled
from probing.encoders.pooling import TOKEN_POOLINGS
from probing.errors import StatesError

VERSION = 1
MOST = 2
"""Words of a row."""
BATCH = 64
"""Words that are read at once."""
KEPT = 2**29
"""Most bytes of sentence vectors that are kept, so that a sentence is read once for all of its rows."""


class Pair(list[Any]):
    """The item of a row: the tokens of the sentence and the words, as a list; `tokens`: of the sentence alone, as the encoder reads
    them; `words`: text."""

    def __init__(self, tokens: Item, words: Sequence[str]):
        super().__init__([*tokens, *words])
        self.tokens, self.words = tokens, tuple(words)


@dataclass(repr=False)
class WithWords(Named):
    """The encoder around another one; `poolings` are those of its token states."""

    encoder: Encoder
    _known: dict[str, torch.Tensor] = field(default_factory=dict, init=False)
    _kept: dict[tuple[Any, ...], tuple[torch.Tensor, int]] = field(default_factory=dict, init=False)

    @property
    def name(self) -> str:
        return f"{self.encoder.name}+words"

    @property
    def layer_names(self) -> tuple[str, ...]:
        return tuple(self.encoder.layer_names)

    @property
    def dims(self) -> tuple[int, ...]:
        return tuple(dim + MOST * self.encoder.dims[0] for dim in self.encoder.dims)

    @property
    def poolings(self) -> tuple[str, ...]:
        return tuple(name for name in self.encoder.poolings if name in ("cls", *TOKEN_POOLINGS))

    @property
    def description(self) -> Mapping[str, Any]:
        return {"kind": "sentence and words", "version": VERSION, "words": MOST, "encoder": dict(self.encoder.description)}

    @property
    def origin(self) -> str:
        return f"{self.encoder.origin}; words from its layer 0"

    @property
    def context_free(self) -> bool:
        return bool(getattr(self.encoder, "context_free", True))

    @property
    def token_budget(self) -> int:
        return int(getattr(self.encoder, "token_budget", TOKEN_BUDGET))

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Item], int]:
        parted = [_parted(text) for text in texts]
        items, cut = (
            self.encoder.tokenize([sentence for sentence, _ in parted if sentence]) if any(s for s, _ in parted) else ([], 0)
        )
        tokens = iter(items)
        return [Pair(next(tokens) if sentence else (), words) for sentence, words in parted], cut

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        """Those of the sentence; the words behind it are no words of it."""
        parted = [_parted(text) for text in texts]
        own = iter(self.encoder.word_ids([sentence for sentence, _ in parted if sentence]))
        return [[*(next(own) if sentence else ()), *[None] * len(words)] for sentence, words in parted]

    def forward(self, items: Sequence[Any]) -> States:
        """States of the sentences' tokens, each with the vectors of the words beside it: (batch, tokens, dim)."""
        rows = [k for k, item in enumerate(items) if len(item.tokens)]
        once = {tuple(items[k].tokens): items[k].tokens for k in rows}  # the two rows of a sentence are often in one batch
        place = torch.tensor([list(once).index(tuple(items[k].tokens)) for k in rows], dtype=torch.long)
        words = self._words_of(items)
        states = self.encoder.forward(list(once.values())) if rows else None
        width = states.mask.shape[1] if states else 1
        mask = torch.zeros(len(items), width, dtype=torch.bool)
        mask[:, 0] = True  # of words alone one token of zeros
        layers = []
        for k, dim in enumerate(self.encoder.dims):
            layer = torch.zeros(len(items), width, dim)
            if states is not None:
                layer[rows] = states.layers[k].float().cpu()[place]
                mask[rows] = states.mask.cpu()[place]
            layers.append(torch.cat([layer, words[:, None].expand(-1, width, -1)], 2))
        backward = None
        if states is not None and states.backward is not None:
            backward = [torch.cat([own.cpu(), torch.zeros(words.shape[1], dtype=torch.bool)]) for own in states.backward]
        return States(layers, mask, backward)

    def pooled(self, items: Sequence[Any], poolings: Sequence[str]) -> Pooled:
        """The poolings of `forward`. The rows of a sentence, in all tasks, share its vectors, which are kept up to `KEPT` bytes."""
        new = {key: item.tokens for item in items if len(item.tokens) and (key := (*poolings, *item.tokens)) not in self._kept}
        made: dict[tuple[Any, ...], tuple[torch.Tensor, int]] = {}
        if new:
            own = pooled(self.encoder, list(new.values()), poolings)
            rows = torch.cat([layer.cpu() for name in poolings for layer in own.vectors[name]], 1)  # (batch, poolings x all dims)
            made = dict(zip(new, zip(rows, own.counted.tolist(), strict=True), strict=True))
            if (len(self._kept) + len(made)) * rows.shape[1] * rows.element_size() <= KEPT:
                self._kept |= {key: (row.clone(), n) for key, (row, n) in made.items()}
        alone = (torch.zeros(len(poolings) * sum(self.encoder.dims)), 1)
        keys = [(*poolings, *item.tokens) if len(item.tokens) else None for item in items]
        both = [alone if key is None else made.get(key) or self._kept[key] for key in keys]
        words = self._words_of(items)
        parts = iter(torch.stack([row for row, _ in both]).split([*self.encoder.dims] * len(poolings), 1))
        vectors = {name: [torch.cat([next(parts), words], 1) for _ in self.encoder.dims] for name in poolings}
        return Pooled(vectors, torch.tensor([n for _, n in both]))

    def _words_of(self, items: Sequence[Any]) -> torch.Tensor:
        """The vectors of the words of each item, zeros where there is none: (batch, MOST x width of layer 0)."""
        self._read({word for item in items for word in item.words})
        zeros = torch.zeros(self.encoder.dims[0])
        vectors = ([*(self._known[word] for word in item.words), *[zeros] * (MOST - len(item.words))] for item in items)
        return torch.stack([torch.cat(own) for own in vectors])

    def _read(self, words: set[str]) -> None:
        """Adds the vectors of words that are not known."""
        new = sorted(words - self._known.keys())
        for start in range(0, len(new), BATCH):
            some = new[start : start + BATCH]
            items, _ = self.encoder.tokenize(some)
            owners = self.encoder.word_ids(some)
            states = self.encoder.forward(items)
            for word, owner, layer in zip(some, owners, states.layers[0], strict=True):
                places = [k for k, own in enumerate(owner) if own is not None]
                if not places:
                    raise StatesError(f"{self.encoder.name}: the word {word!r} has no token")
                self._known[word] = layer[places].mean(0).float().cpu()

    def release(self) -> None:
        self.encoder.release()
        self._known.clear()
        self._kept.clear()

    def random_twin(self, seed: int) -> WithWords | None:
        twin = self.encoder.random_twin(seed)
        return None if twin is None else WithWords(twin)


def _parted(text: str) -> tuple[str, list[str]]:
    """The sentence of a row, empty where there is none, and its words."""
    mark = WORDS.lstrip()
    if text.startswith(mark):
        return "", text.removeprefix(mark).split()
    sentence, _, words = text.partition(WORDS)
    return sentence, words.split()
