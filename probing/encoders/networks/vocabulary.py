"""Vocabularies of the suite's own networks: words or subwords counted on a text, or hashed words where nothing was trained.

Token ids: 0 padding, 1 unknown, 2 and 3 begin and end of a sentence, 4 mask; then the words, counted ones in the order of their
frequency. In a text `<unk>` stands for the unknown word, and the other marks are ordinary words. A text is split at blanks, as the
probing files are; lower case is the only normalisation. A trained vocabulary is a `tokenizer.json` of the library tokenizers.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from probing.encoders.base import words_of_spans
from probing.errors import EncoderError

SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")
_MARKS = re.compile(r"<(?=(?:pad|s|/s|mask)>)|(?<=\S)<(?=unk>)|<(?=unk>\S)")
"""The first letter of a mark that occurs in a text, but not of the word <unk>; it is replaced, so that no mark is read."""

PAD, UNKNOWN, OPEN, CLOSE, MASK = range(5)


class Vocabulary(Protocol):
    """Maps text to token ids. `size` counts ids, special ones included; `description` is plain JSON that determines `ids`."""

    @property
    def size(self) -> int: ...
    @property
    def description(self) -> Mapping[str, Any]: ...

    def ids(self, texts: Sequence[str]) -> list[list[Any]]:
        """Token ids of each sentence; of words made of characters, a tuple of ids each."""
        ...

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        """For each token its word in `text.split()`, by default one token a word; None for the marks at a sentence's ends."""
        return [list(range(len(text.split()))) for text in texts]


@dataclass(frozen=True)
class HashedWords(Vocabulary):
    """Ids from a hash of each word: any word has one, and two words may share it."""

    buckets: int
    lowercase: bool = True

    @property
    def size(self) -> int:
        return len(SPECIAL) + self.buckets

    @property
    def description(self) -> Mapping[str, Any]:
        return {"kind": "hashed words", "buckets": self.buckets, "lowercase": self.lowercase}

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [[self._id(word) for word in (text.lower() if self.lowercase else text).split()] for text in texts]

    def _id(self, word: str) -> int:
        digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
        return len(SPECIAL) + int.from_bytes(digest, "little") % self.buckets


class TrainedVocabulary:
    """Words or byte-level subwords counted on a text, `saved` as the JSON of a `Tokenizer` whose first tokens are `SPECIAL`."""

    def __init__(self, saved: str):
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_str(saved)
        except Exception as error:  # the library raises plain Exception
            raise EncoderError(f"tokenizer.json cannot be read: {error}") from None
        if [self._tokenizer.token_to_id(token) for token in SPECIAL] != list(range(len(SPECIAL))):
            raise EncoderError(f"tokenizer.json must number {', '.join(SPECIAL)} from 0 on; it was not made by probing train")
        self.saved = self._tokenizer.to_str()
        self.size = self._tokenizer.get_vocab_size()

    @property
    def description(self) -> Mapping[str, Any]:
        return {"kind": "trained", "sha256": hashlib.sha256(self.saved.encode()).hexdigest()}

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._encoded(texts)]

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        return [words_of_spans(text, encoding.offsets) for text, encoding in zip(texts, self._encoded(texts), strict=True)]

    def pretokens(self, texts: Sequence[str]) -> list[list[int | None]]:
        """For each token the word that the text is cut into before subwords; None for the marks at a sentence's ends."""
        return [encoding.word_ids for encoding in self._encoded(texts)]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The tokens as they are printed."""
        return [str(self._tokenizer.id_to_token(number)) for number in ids]

    def _encoded(self, texts: Sequence[str]) -> list[Any]:
        return self._tokenizer.encode_batch([_MARKS.sub("‹", text) for text in texts])


def train_vocabulary(
    texts: Iterable[str], kind: str = "words", size: int = 10_000, min_count: int = 2, lowercase: bool = True, ends: bool = False
) -> TrainedVocabulary:
    """Counts a vocabulary on sentences: words (split at blanks), or subwords (byte-level byte-pair encoding).

    `size` includes special ids, and one for each of 256 bytes of subwords; words, or pairs, that occur less than `min_count` times
    get none; `ends` puts <s> and </s> around every sentence, for a language model.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    least = len(SPECIAL) + (256 if kind == "subwords" else 0)
    if size <= least:
        raise EncoderError(f"a vocabulary of {size} has no room beside its {least} special tokens{' and bytes' * (least > 5)}")
    shared: Any = {"vocab_size": size, "min_frequency": min_count, "special_tokens": list(SPECIAL), "show_progress": False}
    trainer: trainers.Trainer
    if kind == "words":
        tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        trainer = trainers.WordLevelTrainer(**shared)
    elif kind == "subwords":
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        trainer = trainers.BpeTrainer(**shared, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    else:
        raise EncoderError(f"tokens={kind!r} is unknown (allowed: words, subwords)")
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    words = (" ".join(word for word in _MARKS.sub("‹", text).split() if word != "<unk>") for text in texts)
    tokenizer.train_from_iterator(words, trainer)
    if ends:
        marks = [("<s>", OPEN), ("</s>", CLOSE)]
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=marks)
    return TrainedVocabulary(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False))
