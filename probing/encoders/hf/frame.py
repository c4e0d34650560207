"""The text around each sentence when a model reads it: a prompt, or a chat template with the sentence as the user's turn.

Tokens of the frame are states like others. `encoder.span=sentence` leaves them out of the poolings mean, max and last, together
with the special tokens around them: `pooling=last` is then the state at the sentence's last token, and with `span=all` that at the
last token of the whole text, after the generation prompt if there is one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from probing.data.readers.files import read_json
from probing.encoders.base import Item, words_of_spans
from probing.encoders.hf.tokens import Tokens, numbers
from probing.errors import EncoderError, StatesError, foreign

Spans = Sequence[tuple[int, int]]
"""Character spans (start, stop) of the tokens of one text; (0, 0) of a token that the tokenizer added."""


@dataclass(frozen=True)
class Frame:
    """The text `before` and `after` each sentence; `render` makes the whole text of a sentence where a template does it."""

    name: str
    before: str = ""
    after: str = ""
    render: Callable[[str], str] | None = None

    @classmethod
    def of_chat(cls, name: str, folder: Path, tokenizer: Any, generation_prompt: bool) -> Frame:
        """The frame of the tokenizer's chat template; raises EncoderError where it has none, or one that cannot be rendered."""
        if not getattr(tokenizer, "chat_template", None):
            raise EncoderError(
                f"{name}: encoder.chat=true, but the tokenizer of {folder} has no chat template (chat_template.jinja, or "
                "chat_template in tokenizer_config.json); set encoder.chat=false, or take the model's instruction-tuned version"
            )

        def render(text: str) -> str:
            turn = [{"role": "user", "content": text}]
            with foreign(f"{name}: its chat template"):
                return tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=generation_prompt)

        pair = [render("a"), render("b")]
        before, after = os.path.commonprefix(pair), os.path.commonprefix([text[::-1] for text in pair])[::-1]
        return cls(name, before, after, render)

    def around(self, text: str) -> str:
        """The whole text that is read; raises EncoderError if a template changes more of the sentence than blanks around it."""
        if self.render is None:
            return self.before + text + self.after
        whole = self.render(text)
        fits = whole.startswith(self.before) and whole.endswith(self.after)
        if not fits or self.content(whole).strip() != text.strip():
            raise StatesError(f"{self.name}: its chat template changes the sentence {text[:60]!r}; its tokens cannot be told apart")
        return whole

    def content(self, whole: str) -> str:
        return whole[len(self.before) : len(whole) - len(self.after)]

    def word_ids(self, whole: str, spans: Spans) -> list[int | None]:
        """The word of the sentence that each token of the whole text lies in; None for those of the frame."""
        content, start = self.content(whole), len(self.before)
        own = [(max(a - start, 0), min(b - start, len(content))) if self._inside(whole, a, b) else (0, 0) for a, b in spans]
        return words_of_spans(content, own)

    def sizes(self, whole: str, spans: Spans) -> tuple[int, int]:
        """The number of tokens before the sentence's first and after its last, those that the tokenizer adds included."""
        inside = [k for k, (a, b) in enumerate(spans) if self._inside(whole, a, b)]
        return (inside[0], len(spans) - 1 - inside[-1]) if inside else (0, 0)

    def _inside(self, whole: str, start: int, stop: int) -> bool:
        """Whether a span holds a character of the sentence."""
        return start < stop and stop > len(self.before) and start < len(whole) - len(self.after)


class FramedTokens:
    """Reads sentences within a frame with a model's tokenizer; `exact`: no token may hold parts of frame and sentence."""

    def __init__(self, frame: Frame, tokens: Tokens, exact: bool):
        self.frame, self.tokens, self.exact = frame, tokens, exact

    @cached_property
    def seams(self) -> tuple[list[int], list[int]]:
        """Ids of the tokens before and after each sentence, those that the tokenizer adds included."""
        whole = self.frame.around("a")
        before, after = self.frame.sizes(whole, self.tokens.spans([whole], None)[0])
        ids = list(numbers(self.tokens.cut([whole], None)[0]))
        return ids[:before], ids[len(ids) - after :]

    def items(self, texts: Sequence[str], limit: int | None) -> tuple[list[Item], int]:
        """Items of at most `limit` tokens, and the number of those that were cut."""
        whole = [self.frame.around(text) for text in texts]
        items = self.tokens.items(whole)
        if self.exact:
            self._check(texts, items)
        long = [] if limit is None else [i for i, item in enumerate(items) if len(item) > limit]
        if long:
            for i, item in zip(long, self._cut([items[i] for i in long], [whole[i] for i in long], limit), strict=True):
                items[i] = item
        return items, len(long)

    def word_ids(self, texts: Sequence[str], limit: int | None) -> list[list[int | None]]:
        """The word of `text.split()` that each token lies in; None for tokens of the frame."""
        whole = [self.frame.around(text) for text in texts]
        spans: Sequence[Any] = self.tokens.spans(whole, None if self.frame.render else limit)
        if self.frame.render and limit:
            spans = [self._inner(pairs, limit) for pairs in spans]
        return [self.frame.word_ids(text, pairs) for text, pairs in zip(whole, spans, strict=True)]

    def _check(self, texts: Sequence[str], items: Sequence[Item]) -> None:
        before, after = self.seams
        for text, item in zip(texts, items, strict=True):
            ids = list(numbers(item))
            if ids[: len(before)] != before or ids[len(ids) - len(after) :] != after:
                raise StatesError(f"{self.frame.name}: a token of {text[:60]!r} holds a part of the text around the sentence too")

    def _cut(self, items: Sequence[Item], whole: Sequence[str], limit: int | None) -> Sequence[Item]:
        """A prompt is cut with its sentence, as sentence-transformers does; a template stays whole."""
        if self.frame.render is None or limit is None:
            return self.tokens.cut(whole, limit)
        return [self._inner(item, limit) for item in items]

    def _inner(self, tokens: Sequence[Any], limit: int) -> list[Any]:
        """The tokens without as many at the sentence's end as are beyond the limit."""
        before, after = map(len, self.seams)
        if limit <= before + after:
            raise EncoderError(
                f"{self.frame.name}: its chat template takes {before + after} tokens of the {limit} that it reads: no room for a "
                "word; raise encoder.max_length"
            )
        return [*tokens] if len(tokens) <= limit else [*tokens[: limit - after], *tokens[len(tokens) - after :]]


def default_prompt(folder: Path) -> str:
    """The prompt that sentence-transformers puts before each sentence by default; empty where the folder configures none."""
    return prompts(folder)[1]


def prompts(folder: Path) -> tuple[dict[str, str], str]:
    """The named prompts of a sentence-transformers folder, and the text of the default one (empty: none)."""
    path = folder / "config_sentence_transformers.json"
    if not path.is_file():
        return {}, ""
    config = read_json(path, str(path), "fetch the model again")
    named = {name: text for name, text in (config.get("prompts") or {}).items() if text}
    return named, named.get(config.get("default_prompt_name"), "")
