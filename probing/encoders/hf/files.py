"""A `transformers` model by its options and its files, without loading it: folder, config, fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from probing.encoders.base import check_device, name_in_tables
from probing.encoders.hf import hub
from probing.encoders.hf.inspection import VERSION
from probing.encoders.hf.loading import read_config
from probing.errors import EncoderError

_DTYPES = ("float32", "float16", "bfloat16")
_AUTOCAST = ("bfloat16", "float16")
_NAMED = ("dtype", "max_length", "special_tokens", "detokenize", "autocast", "compile")
"""Options that change vectors, and so are added to the name in tables."""


@dataclass
class ModelFiles:
    """The options of an encoder, and the model's files.

    Args:
        name: a local folder, or a hub id such as "bert-base-uncased".
        revision: commit, tag or branch on the hub; pin a commit to be reproducible.
        package: an installed package whose folder `model` holds the files, used when the hub's cache lacks them.
        dtype: float32, float16 or bfloat16, of weights and states.
        max_length: tokens kept of a sentence, special ones included; None: as many as the model has positions for.
        special_tokens: whether the poolings mean, max and last include special tokens such as [CLS] and [SEP].
        detokenize: undo Moses tokenisation ("can 't ." -> "can't.") before the tokenizer; needs the extra `moses`.
        random_weights: draw the weights from `init_seed` instead of loading them.
        device: cpu, cuda, or auto.
        autocast: bfloat16 or float16: weights in float32, products in that type; None: float32 throughout. float16 is for GPUs.
            bfloat16 moved features of MiniLM by 0.6 % of their standard deviation (median), at most 10 % ([CLS], first layers).
        compile: compile the model with torch.compile, which takes a minute or more and rounds differently.
        label: name in tables, to which options that change vectors are added; None: the last part of `name`.
    """

    name: str
    revision: str | None = None
    package: str | None = None
    dtype: str = "float32"
    max_length: int | None = None
    special_tokens: bool = True
    detokenize: bool = False
    random_weights: bool = False
    init_seed: int = 0
    device: str = "cpu"
    autocast: str | None = None
    compile: bool = False
    label: str | None = None

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise EncoderError(f"encoder.dtype={self.dtype!r} is unknown (allowed: {', '.join(_DTYPES)})")
        if self.autocast not in (None, *_AUTOCAST):
            raise EncoderError(f"encoder.autocast={self.autocast!r} is unknown (allowed: null, {', '.join(_AUTOCAST)})")
        if self.autocast and self.dtype != "float32":
            raise EncoderError(f"encoder.autocast={self.autocast} needs encoder.dtype=float32, not {self.dtype}; set one of them")
        check_device(self.device)
        if self.max_length is not None and self.max_length < 3:
            raise EncoderError(f"encoder.max_length={self.max_length} leaves no room for a word (at least 3)")
        self._source = self.name  # `name` becomes the name in tables
        self._label = self.label or Path(self._source).name
        self.name = name_in_tables(self, self._label, _NAMED)

    @cached_property
    def folder(self) -> Path:
        """The folder of the files: a local one, the hub's cache, the package's, or a fresh download, in this order."""
        return hub.find(self._source, self.revision, self.package)

    @property
    def origin(self) -> str:
        place = hub.place(self.folder, self._source, self.package)
        return f"random weights, architecture and tokenizer of {place}" if self.random_weights else place

    @cached_property
    def config(self) -> Any:
        """The config of the part that reads text."""
        try:
            return self._whole_config.get_text_config()
        except ValueError:  # it has several; then the kept part has a config of its own
            return self._whole_config

    @cached_property
    def _whole_config(self) -> Any:
        return read_config(self.folder)

    @cached_property
    def description(self) -> Mapping[str, Any]:
        description: dict[str, Any] = {
            "kind": "huggingface",
            "version": VERSION,
            "model_type": self.config.model_type,
            "files": hub.file_hashes(self.folder, weights=not self.random_weights),
            "dtype": self.dtype,
            "max_length": self.max_length,
            "special_tokens": self.special_tokens,
            "detokenize": self.detokenize,
            "padding": "right",
        }
        description |= {option: getattr(self, option) for option in ("autocast", "compile") if getattr(self, option)}
        if self.detokenize:
            _ = self._detokenizer
            description["sacremoses"] = version("sacremoses")
        if self.random_weights:
            import torch
            import transformers

            versions = {"torch": torch.__version__, "transformers": transformers.__version__}
            description["random_weights"] = {"seed": self.init_seed} | versions
        return description

    @cached_property
    def _detokenizer(self) -> Any:
        try:
            from sacremoses import MosesDetokenizer
        except ImportError:
            raise EncoderError("encoder.detokenize=true needs the extra: pip install 'probing[moses]'") from None
        return MosesDetokenizer("en")
