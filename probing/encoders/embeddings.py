"""The input embedding matrix of a `transformers` model as static vectors of subwords.

What layer 0 of the model has before positions, token types and normalisation are added: the same vector for a subword wherever it
stands. Tokenizer, options, files and random twin are those of the whole model (`probing.encoders.huggingface`); special tokens,
which say nothing here, are left out of the poolings unless asked for.

Left out: a factor that the model itself applies (Gemma's root of d), and loading the matrix without the rest of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from probing.encoders.base import Item, States
from probing.encoders.huggingface import HuggingFaceEncoder


@dataclass
class InputEmbeddings(HuggingFaceEncoder):
    """Options as of `HuggingFaceEncoder`, with `special_tokens` off."""

    special_tokens: bool = False

    layer_names = ("embedding matrix",)
    poolings = ("mean", "max", "last")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.name = f"embeddings of {self.name}"

    @cached_property
    def description(self) -> Mapping[str, Any]:
        return {**super().description, "kind": "input embeddings"}

    @cached_property
    def dims(self) -> tuple[int, ...]:
        return (self._skeleton.get_input_embeddings().weight.shape[1],)

    @cached_property
    def model(self) -> Any:
        return super().model.get_input_embeddings()

    def forward(self, items: Sequence[Item]) -> States:
        ids, real = self._padded(items)
        return States([self.model(ids)], self._counted(ids, real))
