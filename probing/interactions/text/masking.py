"""How words of a sentence are made absent, for every encoder: the players are the words of `text.split()`.

A word's tokens (subwords, characters) follow it; tokens that belong to no word, such as [CLS], always stay.

    mask, pad, unknown   the word vectors become that of the mask, padding or unknown token; positions and attention stay
    zero, mean           the word vectors become zero, or the mean row of the embedding matrix
    attention            nothing attends to the tokens, and pooling omits them; offered where a test on one sentence shows that
                         the token at an absent word's place changes no state of the others
    delete               the tokens are removed, what follows moves up
    replace              the word is replaced in the text by a given string, and the text is read anew

Possible are: in Hugging Face encoders all (mask, pad, unknown where the tokenizer has the token; attention not with
`encoder=embeddings`); in networks (`probing.encoders.networks`) all, where pad is the zero vector, and attention only in a
Transformer with reads=all; in ELMo and elmo-style zero (of the token vectors), delete, replace; in others delete, replace.

Where neither a word nor a special token remains (delete, attention, in encoders without special tokens), the encoder is not
run and there are no states; who reads states takes the zero vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from probing.encoders.base import TOKEN_BUDGET, Encoder, Item, States
from probing.encoders.elmo.elmo import ELMoEncoder
from probing.encoders.elmo.elmo_style import ELMoStyle
from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.encoders.networks.architecture import NetworkEncoder
from probing.encoders.networks.transformer import Transformer
from probing.encoders.networks.vocabulary import MASK, PAD, UNKNOWN
from probing.errors import ConfigError, EncoderError, did_you_mean
from probing.store.extraction import batches
from probing.types import Coalitions

REREAD = ("delete", "replace")
"""Maskings that any encoder allows: the words are taken out of the text, or replaced in it, and the text is tokenized anew."""

Way = Callable[[torch.Tensor], AbstractContextManager[None]]
"""Masks while the context is open: takes the absent tokens of the batch that is to come, bool (batch, tokens)."""


class MaskedSentence:
    """A sentence whose words (split at blanks) may be absent; for `replace`, `replacement` stands in an absent word's place.

    Raises:
        ConfigError: no word, a masking that is unknown or not possible for the encoder, a sentence longer than it reads.
    """

    def __init__(self, encoder: Encoder, text: str, masking: str = "pad", replacement: str | None = None):
        self.encoder, self.words = encoder, tuple(text.split())
        if not self.words:
            raise ConfigError("the text holds no word")
        if getattr(encoder, "stateful", False):
            raise ConfigError("encoder.stateful=true: its states depend on what was read before, they are no function of the words")
        allowed, known = possible(encoder), (*MASKINGS, *REREAD)
        if masking not in known:
            raise ConfigError(f"masking={masking!r} is unknown{did_you_mean(masking, known)} (allowed: {', '.join(allowed)})")
        if masking not in allowed:
            raise ConfigError(f"masking={masking} is not possible for {encoder.name} (allowed: {', '.join(allowed)})")
        if (masking == "replace") != (replacement is not None) or (replacement is not None and not replacement.strip()):
            raise ConfigError(
                f"masking={masking}, replacement={replacement!r}: give replacement=WORD with masking=replace, and only then"
            )
        self.masking = f"replace {replacement!r}" if replacement is not None else masking
        self.keeps_tokens = masking not in REREAD
        self._replacement = replacement
        self._by_tokens = masking != "replace" and _family(encoder) is not None
        self._way = MASKINGS[masking](encoder) if self.keeps_tokens else None
        [self.item] = self._read([" ".join(self.words)])
        if self._by_tokens:
            [self.owners] = encoder.word_ids([" ".join(self.words)])
            if without := [word for k, word in enumerate(self.words) if k not in self.owners]:
                raise ConfigError(
                    f"{encoder.name} has no token for {', '.join(map(repr, without))}, so masking={masking} changes nothing there; "
                    "use masking=replace, which reads the text anew, or leave the word out"
                )

    @property
    def baseline(self) -> torch.Tensor | None:
        """What the tokens of an absent word get at the lookup, (d,) or (1,); None where words are absent in another way."""
        return self._way.vector if isinstance(self._way, WordVectors) else None

    def run(self, coalitions: Coalitions, budget: int = TOKEN_BUDGET) -> Iterator[tuple[list[int], States]]:
        """States of coalitions (m, words), batch by batch of at most `budget` tokens: the rows, and their states. A row with
        nothing left is in no batch. The mask says which states count: with `attention` those of present tokens, else of all
        that are left."""
        if self._way is None:
            items = self._items(coalitions)
            some = [i for i, item in enumerate(items) if len(item)]
            for batch in batches([len(items[i]) for i in some], budget):
                rows = [some[k] for k in batch]
                yield rows, self.encoder.forward([items[i] for i in rows])
            return
        present = self._present(coalitions)
        off = self.masking == "attention"
        left = np.flatnonzero(present.any(1)) if off else np.arange(len(present))
        step = max(1, budget // len(self.item))
        forward = self.encoder.forward
        if isinstance(self.encoder, HuggingFaceEncoder):
            self.encoder.try_company([self.item] * min(step, len(left)))
            step = 1 if self.encoder.company == "alone" else step
            forward = self.encoder.together
        for start in range(0, len(left), step):
            part = left[start : start + step]
            tokens = torch.from_numpy(present[part])  # (batch, tokens)
            with self._way(~tokens):
                states = forward([self.item] * len(part))
            if off:
                states = States(states.layers, states.mask & tokens.to(states.mask.device), states.backward)
            yield part.tolist(), states

    def _present(self, coalitions: Coalitions) -> Coalitions:
        """The tokens of the item that are present, (m, tokens)."""
        always = np.array([owner is None for owner in self.owners])
        return always | coalitions[:, [owner or 0 for owner in self.owners]]

    def _items(self, coalitions: Coalitions) -> list[Item]:
        if self._by_tokens:
            return [[token for token, there in zip(self.item, row, strict=True) if there] for row in self._present(coalitions)]
        gone = [] if self._replacement is None else [self._replacement]
        kept = ([part for w, there in zip(self.words, row, strict=True) for part in ([w] if there else gone)] for row in coalitions)
        return self._read([" ".join(words) for words in kept])

    def _read(self, texts: list[str]) -> list[Item]:
        items, cut = self.encoder.tokenize(texts)
        if cut:
            raise ConfigError(
                f"a sentence of {len(self.words)} words is longer than {self.encoder.name} reads; take a shorter one, or raise "
                "encoder.max_length if it was set"
            )
        return items


def possible(encoder: Encoder) -> tuple[str, ...]:
    """The maskings that the encoder allows, in the order of `MASKINGS`."""
    return (*(name for name, way in MASKINGS.items() if way(encoder) is not None), *REREAD)


def with_vectors(encoder: Encoder) -> tuple[str, ...]:
    """The maskings that put a vector in the place of an absent word, which `MaskedSentence.baseline` gives."""
    return tuple(name for name, way in MASKINGS.items() if isinstance(way(encoder), WordVectors))


def published(encoder: Encoder) -> str:
    """The masking of the released experiments: pad (BERT, CNN), or zero where there is no such token (ELMo)."""
    return next((name for name in ("pad", "zero") if MASKINGS[name](encoder) is not None), "delete")


def _family(encoder: Encoder) -> str | None:
    if isinstance(encoder, HuggingFaceEncoder):
        return "huggingface"
    if isinstance(encoder, ELMoEncoder) or (isinstance(encoder, NetworkEncoder) and isinstance(encoder.architecture, ELMoStyle)):
        return "elmo"
    return "network" if isinstance(encoder, NetworkEncoder) else None


class WordVectors:
    """Gives absent tokens the vector of the token `put`, the zero vector, or the mean of all tokens' vectors."""

    def __init__(self, encoder: Any, put: int | str):
        self.encoder, self.put = encoder, put

    @cached_property
    def vector(self) -> torch.Tensor:
        """What is put in, (d,), or (1,) for zero; looked up, not read from the weights, since some models scale it."""
        if self.put == "zero":
            return torch.zeros(1)
        embedding = self.encoder.lookup
        size, device = embedding.weight.shape[0], embedding.weight.device
        with torch.no_grad():
            if isinstance(self.put, int):
                return embedding(torch.tensor(self.put, device=device))
            return sum(embedding(ids).double().sum(0) for ids in torch.arange(size, device=device).split(4096)) / size

    @contextmanager
    def __call__(self, absent: torch.Tensor) -> Iterator[None]:
        vector = self.vector  # looked up before the lookup is changed

        def put_in(vectors: torch.Tensor) -> torch.Tensor:
            if vectors.shape[:2] != absent.shape:
                raise EncoderError(f"{self.encoder.name} does not look up one vector a token; use masking=delete")
            return torch.where(absent[..., None].to(vectors.device), vector.to(vectors), vectors)

        with self.encoder.lookup_changed_by(put_in):
            yield


@contextmanager
def _unattended(modules: Callable[[], Any], name: str, off: int | bool, absent: torch.Tensor) -> Iterator[None]:
    """Sets the argument `name` of the modules, an attention mask (batch, tokens), to `off` for absent tokens."""

    def switch(module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, name: kwargs[name].masked_fill(absent.to(kwargs[name].device), off)}

    with ExitStack() as hooks:
        for module in modules():
            hooks.enter_context(module.register_forward_pre_hook(switch, with_kwargs=True))
        yield


def _put(encoder: Any, vector: int | str | None) -> Way | None:
    """Absent words get the vector of this token, the vector "zero", or the "mean" of all; None where there is no such thing."""
    family = _family(encoder)
    if vector is None or family is None or (family == "elmo" and vector != "zero"):
        return None
    return WordVectors(encoder, vector)


def _token(encoder: Encoder, of_network: int, of_tokenizer: str) -> Way | None:
    return _put(encoder, getattr(encoder.tokenizer, of_tokenizer) if isinstance(encoder, HuggingFaceEncoder) else of_network)


def _attention(encoder: Any) -> Way | None:
    family = _family(encoder)
    if family == "huggingface" and encoder.obeys_mask:
        return partial(_unattended, lambda: [encoder.model], "attention_mask", 0)
    if family == "network" and isinstance(encoder.architecture, Transformer) and encoder.architecture.reads == "all":
        return partial(_unattended, lambda: encoder.network.forwards.blocks, "src_key_padding_mask", True)
    return None


MASKINGS: dict[str, Callable[[Encoder], Way | None]] = {
    "mask": partial(_token, of_network=MASK, of_tokenizer="mask_token_id"),
    "pad": partial(_token, of_network=PAD, of_tokenizer="pad_token_id"),
    "unknown": partial(_token, of_network=UNKNOWN, of_tokenizer="unk_token_id"),
    "zero": partial(_put, vector="zero"),
    "mean": partial(_put, vector="mean"),
    "attention": _attention,
}
"""Name -> function of an encoder to how it masks in place, None where it cannot. To add one, write a function and name it here."""
