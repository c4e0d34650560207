"""The input embedding matrix of a `transformers` model as static vectors of subwords.

These are the vectors of layer 0 before positions, token types and normalisation. Tokenizer, options, files and random twin are
those of the whole model, which is loaded too. A factor that the model applies (Gemma's root of d) is not applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from probing.encoders.hf.files import Inspection
from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.encoders.hf.textmodel import EmbeddingMatrix, TextModel
from probing.encoders.pooling import TOKEN_POOLINGS


@dataclass(repr=False)
class InputEmbeddings(HuggingFaceEncoder):
    """The options of `HuggingFaceEncoder`, with `special_tokens` off."""

    special_tokens: bool = False

    poolings = TOKEN_POOLINGS
    obeys_mask = False  # it takes no attention mask
    _engine = "torch"  # a look-up is nothing to convert

    def __post_init__(self) -> None:
        super().__post_init__()
        self.name = f"embeddings of {self.name}"

    @property
    def lookup(self) -> Any:
        return self.model

    @cached_property
    def description(self) -> Mapping[str, Any]:
        return {**super().description, "kind": "input embeddings"}

    @cached_property
    def inspection(self) -> Inspection:
        matrix: Any = self._text.module
        return Inspection(("embedding matrix",), (matrix.weight.shape[1],), True, None, "padded", None)

    @cached_property
    def _text(self) -> TextModel:
        matrix = self._load().get_input_embeddings()
        return EmbeddingMatrix(self, matrix, self._tokens, self._device, self._tolerance)
