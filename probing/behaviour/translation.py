"""Models of `transformers` with encoder and decoder: log-probabilities of a target given its source, teacher forced.

    log p(y_t | x, y_<t)     decoder input: the model's start token, then y_1 ... y_n-1

The start token is decoder_start_token_id: of T5 and Marian the padding, of BART the mark of the end.

A text is source and target with `BETWEEN` between them. The source is read as the encoder reads a sentence, with its marks, its
`encoder.prompt` (T5's "translate English to German: "), and its bound; the target as the tokenizer reads targets (`text_target`).
Marks of the target are conditions and never scored, but that of the end with `end=score`, as published contrastive scores have it.
Padding never counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from probing.behaviour.base import BETWEEN
from probing.behaviour.transformers_models import WithHead
from probing.encoders.base import Item
from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.encoders.hf.tokens import numbers
from probing.errors import DataError, EncoderError


class TranslationModel(WithHead):
    """A model with encoder and decoder. A token of its items is a pair: its id, and the source of the text."""

    starts = reads_source = True

    def __init__(self, encoder: HuggingFaceEncoder, whole: Any):
        super().__init__(encoder, whole, None)
        self.sources = dict[str, Item]()
        tokenizer, config = encoder.tokenizer, whole.config
        first = [getattr(one, "decoder_start_token_id", None) for one in (config, getattr(whole, "generation_config", None))]
        self.first = next((token for token in first if token is not None), None)
        if self.first is None:
            raise EncoderError(f"{encoder.name}: its config has no decoder_start_token_id, with which a target begins")
        self.start = self.pieces([int(self.first)])[0]
        self.end, self.unknown = tokenizer.eos_token_id, tokenizer.unk_token_id
        self.padding = tokenizer.pad_token_id or 0
        self.special = encoder._tokens.special | {self.first}
        self.limit = getattr(config, "max_position_embeddings", None)

    @property
    def company(self) -> str:  # type: ignore[override]
        return "padded" if self.encoder.company == "padded" else "alone"

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Item], int]:
        parts = [text.partition(BETWEEN)[::2] for text in texts]
        sources = list(dict.fromkeys(source for source, _ in parts))
        read, n_cut = self.encoder.tokenize(sources)
        cut = {source for source in sources if n_cut and self.encoder.tokenize([source])[1]}
        self.sources |= dict(zip(sources, read, strict=True))
        rows = self.encoder.tokenizer(text_target=[target for _, target in parts], verbose=False)["input_ids"]
        for (source, target), row in zip(parts, rows, strict=True):
            if not set(row) - self.special:
                raise DataError(f"{target!r}, a translation of {source!r}, has no token")
        items: list[Item] = [[(number, source) for number in row] for (source, _), row in zip(parts, rows, strict=True)]
        return items, sum(source in cut for source, _ in parts)

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        """All tokens but marks are of one word, 0: slow tokenizers of translation models know no words."""
        return [[None if number in self.special else 0 for number in row] for row in self.targets(texts)]

    def log_probabilities(self, items: Sequence[Item]) -> list[torch.Tensor]:
        rows, width = [numbers(item) for item in items], max(map(len, items))
        inputs = [[self.first, *row[:-1], *[self.padding] * (width - len(row))] for row in rows]
        mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
        device = next(self.whole.parameters()).device
        decoder = {"decoder_input_ids": torch.tensor(inputs).to(device), "decoder_attention_mask": torch.tensor(mask).to(device)}
        logits = self.encoder.logits(self.whole, [self.sources[item[0][1]] for item in items], **decoder, use_cache=False)
        with torch.inference_mode():
            log_p = logits.float().log_softmax(-1)  # (batch, tokens, vocabulary)
        return [one[: len(row)] for one, row in zip(log_p, rows, strict=True)]
