"""The options of the encoders of `transformers` models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from probing.encoders.base import check_device, name_in_tables
from probing.errors import EncoderError

_DTYPES = ("float32", "float16", "bfloat16")
_AUTOCAST = ("bfloat16", "float16")
_NAMED = ("dtype", "max_length", "special_tokens", "detokenize", "autocast", "compile")
"""Options that change vectors, and so are added to the name in tables."""


@dataclass
class Options:
    """Options of the encoder.

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
