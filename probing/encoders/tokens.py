"""From texts to items with the tokenizer of a `transformers` model: token ids, and what else it gives and the model takes.

An item is a list of token ids where the other inputs (token types, languages) are all zero, else a list of tuples (id, others).
The ids of every text are compared with those of the folder's tokenizer.json (`probing.encoders.loading`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from probing.encoders.base import Item, words_of_spans
from probing.encoders.loading import load_tokenizer, of_file, tokenizer_file
from probing.errors import EncoderError, StatesError, foreign

TEXTS = (
    "It rains.",
    "The cat runs near the sea, and dogs bark.",
    "She said that he had never seen the old boats by the sea, but that he would like to go there now and see them today.",
)
"""Sentences that go through a model when it is inspected."""

_LONGEST = 64
"""Tokens of such a sentence, at most."""

_SOME, _NEARLY_ALL = 20, 0.95
"""Of at least so many tokens or texts, the share at which a tokenizer is refused."""


class Sentence(NamedTuple):
    """A test sentence, variants of it with another token at one place, and these places: the first word's and a middle one."""

    item: Item
    variants: list[Item]
    places: list[int]


class Tokens:
    """The tokenizer of a folder.

    Args:
        name: of the encoder, for messages.
        folder: with the tokenizer's files.
        takes: gives the names of the model's inputs; called when the first text is tokenized.

    Attributes:
        tokenizer: the library's, or one made of tokenizer.json where the library's gives other ids.
    """

    def __init__(self, name: str, folder: Path, takes: Callable[[], frozenset[str]]):
        self.name, self.folder, self._takes = name, folder, takes
        self.tokenizer = load_tokenizer(folder)
        self._file = tokenizer_file(folder)

    def items(self, texts: Sequence[str]) -> list[Item]:
        """Items of the texts, as long as they are.

        Raises:
            EncoderError: ids that are not those of tokenizer.json, or that do not tell the texts apart.
            ForeignError: the tokenizer fails.
        """
        items: list[Item] = []
        for start in range(0, len(texts), 4096):  # the tokenizer's own objects are large: a part at a time
            items += self._checked(texts[start : start + 4096])
        self._refuse(texts, items)
        return items

    def cut(self, texts: Sequence[str], length: int) -> list[Item]:
        """Items of at most `length` tokens, cut on the side that the tokenizer cuts."""
        return self._items(texts, truncation=True, max_length=length)

    def word_ids(self, texts: Sequence[str], length: int | None) -> list[list[int | None]]:
        """The word of `text.split()` that each token lies in, by character offsets."""
        if not self.tokenizer.is_fast:
            raise EncoderError(f"{self.name}: tokens cannot be aligned with words: its tokenizer gives no character offsets")
        how = {"truncation": True, "max_length": length} if length else {}
        with foreign(f"{self.name}: its tokenizer"):
            spans = self.tokenizer(list(texts), return_offsets_mapping=True, verbose=False, **how)["offset_mapping"]
        return [words_of_spans(text, pairs) for text, pairs in zip(texts, spans, strict=True)]

    def _checked(self, texts: Sequence[str]) -> list[Item]:
        items = self._items(texts)
        if self._file is None:
            return items
        right = [encoding.ids for encoding in self._file.encode_batch_fast(list(texts))]
        if items != right and [ids_of(item) for item in items] != right:
            self.tokenizer = of_file(self.tokenizer, self._file, self.folder)
            items = self._items(texts)
            for text, item, ids in zip(texts, items, right, strict=True):
                if ids_of(item) != ids:
                    raise EncoderError(f"{self.folder}: transformers does not give the token ids of tokenizer.json for {text!r}")
        return items

    def _items(self, texts: Sequence[str], **how: Any) -> list[Item]:
        names, types = self.others, self._types
        with foreign(f"{self.name}: its tokenizer"):
            encoded = self.tokenizer(list(texts), verbose=False, **types, **how)
            ids, others = encoded["input_ids"], [encoded[name] for name in names]
        if not any(any(row) for rows in others for row in rows):
            return ids
        return [list(zip(*rows, strict=True)) if any(map(any, rows[1:])) else rows[0] for rows in zip(ids, *others, strict=True)]

    @cached_property
    def _types(self) -> dict[str, bool]:
        """Asks for token types where the tokenizer keeps them back though they differ between tokens and the model takes them:
        the <cls> of XLNet is trained with a type of its own, which transformers 5 does not hand out by itself."""
        if "token_type_ids" not in self._takes() or "token_type_ids" in self.tokenizer("a"):
            return {}
        types = self.tokenizer("a", return_token_type_ids=True).get("token_type_ids", ())
        return {"return_token_type_ids": True} if any(types) else {}

    @cached_property
    def others(self) -> tuple[str, ...]:
        """Names of the inputs besides ids and mask that the tokenizer gives, a number for each token, and the model takes."""
        given = self.tokenizer("a", **self._types)
        names = [name for name in given if name not in ("input_ids", "attention_mask") and name in self._takes()]
        return tuple(name for name in names if len(given[name]) == len(given["input_ids"]))

    def unknown(self, items: Sequence[Item]) -> dict[str, int]:
        """How many tokens the items have, and how many of them stand for unknown words."""
        mark, bare = self.tokenizer.unk_token_id, self.tokenizer("")["input_ids"]  # some mark the end with the unknown token
        tokens = sum(map(len, items)) - len(items) * len(bare)
        return {"tokens": tokens, "unknown": sum(ids_of(item).count(mark) for item in items) - len(items) * bare.count(mark)}

    def _refuse(self, texts: Sequence[str], items: Sequence[Item]) -> None:
        """Refuses texts of which nearly all tokens are unknown, or nearly all have the ids of another."""
        counts, n_texts = self.unknown(items), len(set(texts))
        alike = n_texts - len({tuple(item) for item in items})
        for n, among, what in (
            (counts["unknown"], counts["tokens"], "tokens are unknown"),
            (alike, n_texts, "sentences have the tokens of another one"),
        ):
            if among >= _SOME and n > _NEARLY_ALL * among:
                raise EncoderError(
                    f"{self.name}: {n} of {among} {what}: the tokenizer of {self.folder} is not for these texts, or its vocabulary "
                    "is incomplete"
                )

    def sentence(self, length: int | None, rows: float, padding: int | None) -> Sentence:
        """A test sentence of known words. Ids of unknown words, and `padding`, are replaced, since some models skip them.

        Args:
            length: tokens at most.
            rows: of the embedding matrix.
        """
        [item] = self.cut(TEXTS[1:2], min(_LONGEST, length or _LONGEST))
        special = {*self.tokenizer.all_special_ids, padding}
        words = [k for k, token in enumerate(ids_of(item)) if token not in special - {self.tokenizer.unk_token_id}]
        spare = (token for token in count() if token not in special)
        for k in words:
            if ids_of(item)[k] in special:
                item = _with(item, k, next(spare))
        if not words or max(ids_of(item)) >= rows:
            raise StatesError(f"{self.name}: the vocabulary of its tokenizer makes no test sentence that fits the embedding matrix")
        other = next(token for token in count() if token not in special | set(ids_of(item)))
        places = [words[0], words[len(words) // 2]]
        return Sentence(item, [_with(item, place, other) for place in places], places)

    def samples(self, sentence: Sentence, length: int | None) -> list[Item]:
        """Test sentences of different lengths, and several of one length."""
        return [*self.cut(TEXTS, min(_LONGEST, length or _LONGEST)), sentence.item, *sentence.variants]


def _with(item: Item, place: int, token: int) -> Item:
    """The item with another token id at one place."""
    old = item[place]
    return [*item[:place], (token, *old[1:]) if isinstance(old, tuple) else token, *item[place + 1 :]]


def ids_of(item: Item) -> Sequence[int]:
    """The token ids of an item."""
    return [token[0] for token in item] if len(item) and isinstance(item[0], tuple) else item
