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
from probing.encoders.huggingface import HuggingFaceEncoder, Inspection, versions_used


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
        return Inspection(("embedding matrix",), (self.model.weight.shape[1],), True, None, "padded", versions_used())

    @cached_property
    def model(self) -> Any:
        matrix = self._module.get_input_embeddings()
        del self.__dict__["_module"]  # the rest of the model is not needed
        return matrix

    @property
    def _rows(self) -> float:
        return self.model.weight.shape[0]

    @cached_property
    def _takes(self) -> frozenset[str]:
        return frozenset()

    def _forward(self, items: Sequence[Item]) -> States:
        inputs, mask = self._inputs(items)
        return States([self.model(inputs["input_ids"])], self._counted(inputs["input_ids"], mask))
