"""The input embedding matrix of a `transformers` model as static vectors of subwords.

What layer 0 of the model has before positions, token types and normalisation are added: the same vector for a subword wherever it
stands. Tokenizer, options, files and random twin are those of the whole model (`probing.encoders.hf.huggingface`); special tokens,
which say nothing here, are left out of the poolings unless asked for.

Left out: a factor that the model itself applies (Gemma's root of d), and loading the matrix without the rest of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from probing.encoders.hf.huggingface import HuggingFaceEncoder, Inspection, versions_used

if TYPE_CHECKING:
    from probing.encoders.hf.textmodel import TextModel


@dataclass
class InputEmbeddings(HuggingFaceEncoder):
    """Options as of `HuggingFaceEncoder`, with `special_tokens` off."""

    special_tokens: bool = False

    poolings = ("mean", "max", "last")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.name = f"embeddings of {self.name}"

    @cached_property
    def description(self) -> Mapping[str, Any]:
        return {**super().description, "kind": "input embeddings"}

    @cached_property
    def inspection(self) -> Inspection:
        return Inspection(("embedding matrix",), (self._text.module.weight.shape[1],), True, None, "padded", None, versions_used())

    @cached_property
    def _text(self) -> TextModel:
        from probing.encoders.hf.textmodel import EmbeddingMatrix

        return EmbeddingMatrix(self.name, self._loaded().get_input_embeddings(), self._tokens, **self._running)
