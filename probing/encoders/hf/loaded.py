"""A `transformers` model that is loaded, with its tokenizer, as a frozen encoder: the pair `(model, tokenizer)` in Python.

The model is run through a copy that shares its weights, so that it stays as it is (training mode, heads, gradients). Its key covers
the parameters and buffers, the structure, the config, and the tokenizer as it is saved. Weights that change after the encoder was
made, by training on, are refused.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.encoders.hf.loading import text_part
from probing.encoders.hf.tokens import SAMPLES
from probing.encoders.memory import config_of, shared_copy, tokenizer_files, weights_sha256
from probing.errors import EncoderError, described

VERSION = 1
"""Raise when the same model would give other vectors."""


READING = ("max_length", "special_tokens", "detokenize", "autocast", "prompt", "chat", "generation_prompt", "span")
"""Options that say how a model in memory reads a sentence."""


@dataclass(repr=False)
class LoadedModel(HuggingFaceEncoder):
    """The encoder; of the options of `HuggingFaceEncoder` `READING` may be given; dtype and device are the model's."""

    loaded: Any = None
    loaded_tokenizer: Any = None

    def __post_init__(self) -> None:
        self._peft = getattr(self.loaded, "peft_config", None) if hasattr(self.loaded, "get_base_model") else None
        self._base = base_of(self.loaded)
        self.dtype, self.device = str(self._base.dtype).removeprefix("torch."), self._base.device.type
        super().__post_init__()
        _ = self.description  # of the weights as they are now

    @property
    def origin(self) -> str:
        drawn = "random weights, architecture and tokenizer of " if self.random_weights else ""
        return f"{drawn}a {type(self.loaded).__name__} in memory"

    @cached_property
    def folder(self) -> Path:
        """A folder with config and tokenizer, which lives as long as the encoder."""
        folder = Path(tempfile.mkdtemp(prefix="probing-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        try:
            self.loaded_tokenizer.save_pretrained(folder)
            self._saved = tokenizer_files(folder)
            self._base.config.save_pretrained(folder)
        except Exception as error:  # any tokenizer's own code
            raise EncoderError(f"{self.name}: its tokenizer cannot be saved, as its key needs: {described(error)}") from None
        return folder

    @cached_property
    def _whole_config(self) -> Any:
        return self._base.config

    @cached_property
    def description(self) -> Mapping[str, Any]:
        _ = self.folder
        description: dict[str, Any] = {
            "kind": "transformers model in memory",
            "version": VERSION,
            "class": type(self._base).__qualname__,
            "config": config_of(self._base.config),
            "tokenizer": self._saved,
        }
        names = ("dtype", "max_length", "special_tokens", "detokenize", "autocast", "compile")
        description |= {name: getattr(self, name) for name in names} | self._template
        description |= {"prompt": self.prompt} if self.prompt else {}
        description |= {"span": self.span} if self.span != "all" else {}
        if self._peft is not None and not self.random_weights:
            active = getattr(self.loaded, "active_adapters", None)
            description["adapters"] = {"active": str(active), **{name: str(one) for name, one in self._peft.items()}}
        if self.random_weights:
            import transformers

            versions = {"torch": torch.__version__, "transformers": transformers.__version__}
            return description | {"random_weights": {"seed": self.init_seed} | versions}
        return description | {"weights": weights_sha256(self._base)}

    def _module(self) -> Any:
        if self.random_weights:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.init_seed)
                return text_part(type(self._base)(copy.deepcopy(self._base.config)).to(self._base.dtype))
        given, saved = (one(list(SAMPLES), verbose=False)["input_ids"] for one in (self.loaded_tokenizer, self.tokenizer))
        if given != saved:
            raise EncoderError(f"{self.name}: its tokenizer gives other token ids after it is saved and loaded again")
        if weights_sha256(self._base) != self.description["weights"]:
            raise EncoderError(
                f"{self.name}: its weights have changed since the encoder was made; make it again: (model, tokenizer)"
            )
        whole = (
            copy.deepcopy(self._base) if self._base.config.model_type == "rwkv" else shared_copy(self._base)
        )  # RWKV writes to them
        return text_part(whole)

    def random_twin(self, seed: int) -> LoadedModel:
        return replace(self, name=self._source, random_weights=True, init_seed=seed, label=self._label)


def base_of(model: Any) -> Any:
    """The model without a head of its task, and without PEFT's wrapper; EncoderError for what is no model of transformers."""
    from transformers import PreTrainedModel

    if hasattr(model, "get_base_model") and hasattr(model, "peft_config"):
        if any(getattr(one, "is_prompt_learning", False) for one in model.peft_config.values()):
            raise EncoderError("a PEFT model with learned prompts cannot be probed: its prompts are no part of the base model")
        model = model.get_base_model()
    if not isinstance(model, PreTrainedModel):
        raise EncoderError(
            f"(model, tokenizer): the model is a {type(model).__name__}, but must be one of transformers; "
            "a torch module of your own: ModuleStates(module, tokenize, layers)"
        )
    return model.base_model
