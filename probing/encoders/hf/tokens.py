"""Turns texts into items with the tokenizer of a `transformers` model, and makes the sentences on which a model is inspected.

An item is a list of token ids where the model's other inputs (token types, languages) are all zero, else of tuples (id, others).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from probing.encoders.base import Item, words_of_spans
from probing.encoders.hf.loading import load_tokenizer, tokenizer_file
from probing.errors import EncoderError, StatesError, foreign
from probing.log import info

TEXTS = (
    "It rains.",
    "The cat runs near the sea, and dogs bark.",
    "She said that he had never seen the old boats by the sea, but that he would like to go there now and see them today; "
    "and the man who lives next door, who has always wanted a boat, asked them whether they would take him along with them.",
)
"""Sentences on which a model is inspected."""

SAMPLES = (
    *TEXTS,
    "In 2023 she paid 1,234.50 for 650841823 of them!",
    "Zürich, naïve café -- don't (really)  \t ask",
    "日本語 и русский 🙂",
)
"""Sentences on which the library's ids are compared with those of tokenizer.json when a tokenizer is loaded."""

_LONGEST = 64
"""Most tokens of a sentence on which a model is inspected."""
_ENOUGH, _NEARLY_ALL = 20, 0.95
"""A tokenizer is refused if more than this share, of at least so many tokens or texts, is unknown or alike."""
_OF_FILE = {"input_ids": "ids", "token_type_ids": "type_ids", "offset_mapping": "offsets", "word_ids": "word_ids"}
"""The names of a model's inputs in the library `tokenizers`."""


class Sentence(NamedTuple):
    """A test sentence, variants of it with another token at one place, and these places: of the first and of a middle word."""

    item: Item
    variants: list[Item]
    places: list[int]


class Tokens:
    """The tokenizer of a folder; where there is a tokenizer.json, the ids are those of this file, not of the library's class.

    `input_names` gives the names of the model's inputs; it is called when the first text is tokenized. `bare`: no special tokens
    are added, as a chat template writes them. `trust`: Python code of the folder may be run.
    """

    def __init__(self, name: str, folder: Path, input_names: Callable[[], frozenset[str]], bare: bool = False, trust: bool = False):
        self.name, self.folder, self._input_names, self._special = name, folder, input_names, not bare
        self.tokenizer = load_tokenizer(folder, trust)
        self._file = tokenizer_file(folder)
        self._compare(SAMPLES)

    def items(self, texts: Sequence[str]) -> list[Item]:
        """Items of the texts, not cut; raises EncoderError if nearly all tokens are unknown, or nearly all texts are alike."""
        items: list[Item] = []
        for start in range(0, len(texts), 4096):  # in parts, as the tokenizer's own objects are large
            items += self.cut(texts[start : start + 4096], None)
        self._compare(texts[:64])
        self._refuse(texts, items)
        return items

    def cut(self, texts: Sequence[str], length: int | None) -> list[Item]:
        """Items of at most `length` tokens, cut on the tokenizer's side of truncation."""
        encoded = self._encoded(texts, length, self.others)
        ids, others = encoded["input_ids"], [encoded[name] for name in self.others]
        if not any(any(row) for rows in others for row in rows):
            return ids
        return [list(zip(*rows, strict=True)) if any(map(any, rows[1:])) else rows[0] for rows in zip(ids, *others, strict=True)]

    def word_ids(self, texts: Sequence[str], length: int | None) -> list[list[int | None]]:
        """The word of `text.split()` that each token lies in, by character offsets."""
        return [words_of_spans(text, pairs) for text, pairs in zip(texts, self.spans(texts, length), strict=True)]

    def spans(self, texts: Sequence[str], length: int | None) -> list[list[tuple[int, int]]]:
        """Character spans of the tokens; raises EncoderError for a tokenizer that gives none."""
        if not self.tokenizer.is_fast and self._file is None:
            raise EncoderError(f"{self.name}: tokens cannot be aligned with words: its tokenizer gives no character offsets")
        return self._encoded(texts, length, ("offset_mapping",))["offset_mapping"]

    def pretokens(self, texts: Sequence[str], length: int | None) -> list[list[int | None]]:
        """For each token the word that the tokenizer cut the text into before its pieces; None for special tokens."""
        if self._file is None and not self.tokenizer.is_fast:
            raise EncoderError(
                f"{self.name}: its tokenizer gives no word of a piece (a slow tokenizer): take masking=original, or a model with a "
                "tokenizer.json"
            )
        if self._file is None:
            with foreign(f"{self.name}: its tokenizer"):
                how: dict[str, Any] = {"truncation": True, "max_length": length} if length else {}
                encoded = self.tokenizer(list(texts), verbose=False, add_special_tokens=self._special, **how)
                return [encoded.word_ids(row) for row in range(len(texts))]
        return self._encoded(texts, length, ("offset_mapping", "word_ids"))["word_ids"]

    @cached_property
    def added(self) -> int:
        """Number of special tokens that the tokenizer adds to a sentence."""
        return len(self._encoded([""], None)["input_ids"][0])

    @property
    def first_id(self) -> int | None:
        """The id with which a sentence begins."""
        return next(iter(self._encoded(["a"], None)["input_ids"][0]), None)

    def _encoded(self, texts: Sequence[str], length: int | None, names: Sequence[str] = ()) -> dict[str, Any]:
        """`input_ids` and the inputs `names`: for each text a list with an entry for each token."""
        with foreign(f"{self.name}: its tokenizer"):
            if self._file is None:
                how: dict[str, Any] = {"truncation": True, "max_length": length} if length else {}
                how |= {"return_token_type_ids": True} if "token_type_ids" in names else {}
                how |= {} if self._special else {"add_special_tokens": False}
                return self.tokenizer(list(texts), verbose=False, return_offsets_mapping="offset_mapping" in names, **how)
            if length:
                self._file.enable_truncation(length, direction=self.tokenizer.truncation_side)
            encode = self._file.encode_batch if "offset_mapping" in names else self._file.encode_batch_fast
            try:
                encodings = encode(list(texts), add_special_tokens=self._special)
            finally:
                self._file.no_truncation()
        return {name: [getattr(encoding, _OF_FILE[name]) for encoding in encodings] for name in ("input_ids", *names)}

    def _compare(self, texts: Sequence[str]) -> None:
        """Logs, once, that the library's ids are not those of tokenizer.json."""
        if self._file is None or self._differs:
            return
        with foreign(f"{self.name}: its tokenizer"):
            library_ids = self.tokenizer(list(texts), verbose=False)["input_ids"]
            file_ids = [encoding.ids for encoding in self._file.encode_batch_fast(list(texts))]
        if library_ids != file_ids:
            self._differs = True
            kind = type(self.tokenizer).__name__
            info(f"{self.folder}: transformers' {kind} gives other token ids than tokenizer.json; those of the file are taken")

    _differs = False

    @cached_property
    def others(self) -> tuple[str, ...]:
        """Names of the model's inputs besides ids and mask for which the tokenizer gives a number for each token.

        Token types that it does not give by default are included if some special token has one and no word has, as XLNet's <cls>.
        """
        input_names = self._input_names()
        given = self.tokenizer("a")
        if "token_type_ids" in input_names and "token_type_ids" not in given:
            types = self.tokenizer("a", return_token_type_ids=True).get("token_type_ids", ())
            of_words = [t for t, token in zip(types, given["input_ids"], strict=False) if token not in self.special]
            given = {**given, "token_type_ids": types} if any(types) and not any(of_words) else given
        names = [name for name in given if name not in ("input_ids", "attention_mask") and name in input_names]
        if self._file is not None:
            names = [name for name in names if name in _OF_FILE]
        return tuple(name for name in names if len(given[name]) == len(given["input_ids"]))

    def unknown(self, items: Sequence[Item]) -> dict[str, int]:
        """The number of `tokens` of the items without special ones, and of `unknown` ones among them."""
        mark, bare = self.tokenizer.unk_token_id, numbers(self.cut([""], None)[0])  # some end a text with the unknown token
        tokens = sum(map(len, items)) - len(items) * len(bare)
        return {"tokens": tokens, "unknown": sum(numbers(item).count(mark) for item in items) - len(items) * bare.count(mark)}

    def _refuse(self, texts: Sequence[str], items: Sequence[Item]) -> None:
        """Raises EncoderError if nearly all tokens are unknown, or nearly all texts have the ids of another one."""
        counts, n_texts = self.unknown(items), len(set(texts))
        alike = n_texts - len({tuple(item) for item in items})
        for n, among, what in (
            (counts["unknown"], counts["tokens"], "tokens are unknown"),
            (alike, n_texts, "sentences have the tokens of another one"),
        ):
            if among >= _ENOUGH and n > _NEARLY_ALL * among:
                raise EncoderError(
                    f"{self.name}: {n} of {among} {what}: the tokenizer of {self.folder} is not for these texts, or its vocabulary "
                    "is incomplete"
                )

    def sentence(self, length: int | None, rows: float, padding: int | None) -> Sentence:
        """A test sentence of at most `length` tokens, whose ids have `rows` in the embedding matrix.

        Ids of unknown words, and the model's `padding` id, are replaced, since some models skip them.
        """
        [item] = self.cut(TEXTS[1:2], min(_LONGEST, length or _LONGEST))
        special = {*self.tokenizer.all_special_ids, padding}
        words = [
            k for k, token in enumerate(numbers(item)) if token not in {*self.special, padding} - {self.tokenizer.unk_token_id}
        ]
        spare = (token for token in count() if token not in special)
        for k in words:
            if numbers(item)[k] in special:
                item = with_token(item, k, next(spare))
        if not words or max(numbers(item)) >= rows:
            raise StatesError(f"{self.name}: the vocabulary of its tokenizer makes no test sentence that fits the embedding matrix")
        other = next(token for token in count() if token not in special | set(numbers(item)))
        places = [words[0], words[len(words) // 2]]
        return Sentence(item, [with_token(item, place, other) for place in places], places)

    @cached_property
    def special(self) -> frozenset[int]:
        return frozenset(self.tokenizer.all_special_ids) - {self.tokenizer.unk_token_id}

    def samples(self, sentence: Sentence, length: int | None) -> list[Item]:
        """Test sentences of different lengths, and several of one length, of at most `length` tokens."""
        return [*self.cut(TEXTS, min(_LONGEST, length or _LONGEST)), sentence.item, *sentence.variants]


def with_token(item: Item, place: int, token: int) -> Item:
    """The item with another token id at one place."""
    old = item[place]
    return [*item[:place], (token, *old[1:]) if isinstance(old, tuple) else token, *item[place + 1 :]]


def numbers(item: Item, k: int = 0) -> Sequence[int]:
    """Input number k of each token of an item: number 0 is the ids; the others are zero in an item of plain ids."""
    if len(item) and isinstance(item[0], tuple):
        return [token[k] for token in item]
    return item if k == 0 else [0] * len(item)
