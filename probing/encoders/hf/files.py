"""A `transformers` model by its options and its files, without loading it: folder, config, fingerprint, an earlier inspection."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from probing.encoders.base import Named, check_device, name_in_tables
from probing.encoders.hf.adapter import QUANTIZATIONS, adapter_files, find_adapter
from probing.encoders.hf.folders import TEXTS, find, weight_files
from probing.encoders.hf.loading import read_config
from probing.errors import EncoderError, did_you_mean
from probing.files import file_sha256

VERSION = 2
"""Raise when the same weights and options would give other vectors, or another inspection."""

_UNREAD = ("generation_config.json", "trainer_state.json", "modules.json", "README.md")
"""Files that match `TEXTS` and that neither the model nor the tokenizer reads."""

_DTYPES = ("float32", "float16", "bfloat16")
_AUTOCAST = ("bfloat16", "float16")
_ENGINES = ("torch", "openvino", "onnx")


@dataclass(repr=False)
class ModelFiles(Named):
    """The options of an encoder, and the model's files.

    Args:
        name: a local folder, or a hub id such as "bert-base-uncased".
        revision: commit, tag or branch on the hub, named in tables if there is no `label`; pin a commit to be reproducible.
        package: an installed package whose folder `model` holds the files, used when the hub's cache lacks them.
        dtype: float32, float16 or bfloat16, of weights and states.
        max_length: tokens kept of a sentence, special ones included; None: as many as the model has positions for.
        special_tokens: whether the poolings mean, max and last include special tokens such as [CLS] and [SEP].
        detokenize: undo Moses tokenisation ("can 't ." -> "can't.") before the tokenizer; needs the extra `moses`.
        random_weights: draw the weights from `init_seed` instead of loading them.
        twin_blocks: with random weights, so many blocks alone; None: as many as the model has.
        device: cpu, cuda, mps, or auto (cuda, else cpu).
        autocast: bfloat16 or float16: weights in float32, products in that type; None: float32 throughout. float16 is for GPUs.
        engine: torch, or openvino or onnx (ONNX Runtime): what runs the model where sentences are pooled, see
            `probing.encoders.hf.engines`.
        compile: compile the model with torch.compile, which takes a minute or more and rounds differently.
        label: name in tables, to which options that change vectors are added; None: the last part of `name`.
        prompt: text put before each sentence, such as "query: ".
        chat: read each sentence as the user's turn of the tokenizer's chat template.
        generation_prompt: with `chat`, end with the template's beginning of an answer.
        span: what the poolings mean, max and last read: all, or sentence: without the tokens of prompt or template.
        adapter: folder or hub id of a PEFT adapter for the layers of the model.
        quantization: 8bit or 4bit: load the weights so, on a GPU with bitsandbytes.
        trust_remote_code: run Python code that comes with the model, which some need; read it first.
        final_norm: apply the model's final norm to the states of every layer, as a model cut to so many blocks would (Skean et
            al. 2025); for models that have one (GPT-2, Pythia, Llama, Mamba).
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
    twin_blocks: int | None = None
    device: str = "cpu"
    autocast: str | None = None
    engine: str = "torch"
    compile: bool = False
    label: str | None = None
    prompt: str | None = None
    chat: bool = False
    generation_prompt: bool = True
    span: str = "all"
    adapter: str | None = None
    quantization: str | None = None
    trust_remote_code: bool = False
    final_norm: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise EncoderError(f"encoder.dtype={self.dtype!r} is unknown (allowed: {', '.join(_DTYPES)})")
        if self.autocast not in (None, *_AUTOCAST):
            why = "; int8 is refused: its scale is that of the batch, so vectors depend on the other sentences"
            raise EncoderError(
                f"encoder.autocast={self.autocast!r} is unknown (allowed: null, {', '.join(_AUTOCAST)}"
                f"{why if self.autocast == 'int8' else ''})"
            )
        if self.engine not in _ENGINES:
            raise EncoderError(
                f"encoder.engine={self.engine!r} is unknown{did_you_mean(self.engine, _ENGINES)} (allowed: {', '.join(_ENGINES)})"
            )
        if self.autocast and self.dtype != "float32":
            raise EncoderError(f"encoder.autocast={self.autocast} needs encoder.dtype=float32, not {self.dtype}; set one of them")
        check_device(self.device)
        if self.max_length is not None and self.max_length < 3:
            raise EncoderError(f"encoder.max_length={self.max_length} leaves no room for a word (at least 3)")
        if self.quantization not in (None, *QUANTIZATIONS):
            raise EncoderError(f"encoder.quantization={self.quantization!r} is unknown (allowed: null, {', '.join(QUANTIZATIONS)})")
        if self.span not in ("all", "sentence"):
            raise EncoderError(f"encoder.span={self.span!r} is unknown (allowed: all, sentence)")
        if self.chat and self.prompt:
            raise EncoderError(f"encoder.chat=true and encoder.prompt={self.prompt!r} exclude each other; set one of them")
        if self.span == "sentence" and not self.chat and not self.prompt:
            raise EncoderError(
                "encoder.span=sentence needs something around the sentence: encoder.chat=true or encoder.prompt=… "
                "(to leave out [CLS] and the like set encoder.special_tokens=false)"
            )
        if self.random_weights and (self.adapter or self.quantization):
            raise EncoderError("encoder.random_weights=true goes without encoder.adapter and encoder.quantization; set one of them")
        self._source = self.name  # `name` becomes the name in tables
        self._label = self.label or Path(self._source).name
        of_vectors = ("dtype", "max_length", "special_tokens", "detokenize", "autocast", "compile")
        of_reading = ("chat", "generation_prompt", "span", "quantization", "final_norm")
        self.name = name_in_tables(self, self._label + self._parts, (*of_vectors, *of_reading), self._shown)

    _parts = ""
    """What a subclass adds to the label."""

    @property
    def _shown(self) -> dict[str, str]:
        """More of the label: prompt, adapter, blocks of random weights; the revision of a hub's model."""
        shown = {"prompt": self.prompt} if self.prompt else {}
        shown |= {"adapter": Path(self.adapter).name} if self.adapter else {}
        shown |= {"blocks": str(self.twin_blocks)} if self.random_weights and self.twin_blocks is not None else {}
        if self.revision and not self.label and not Path(self._source).expanduser().is_dir():
            shown["revision"] = self.revision[:8] if re.fullmatch("[0-9a-f]{40}", self.revision) else self.revision
        return shown

    @cached_property
    def folder(self) -> Path:
        more = (["*.py"] if self.trust_remote_code else []) + (["*.jinja"] if self.chat else [])
        return find(self._source, self.revision, self.package, more)

    @cached_property
    def _adapter(self) -> Path | None:
        return find_adapter(self.adapter) if self.adapter else None

    @property
    def origin(self) -> str:
        place = f"the folder {self.folder}"
        if "site-packages" in str(self.folder):
            place = f"{self._source} from the installed package {self.package}"
        elif "snapshots" in str(self.folder):
            place = f"{self._source} from the hub's cache, {self.folder.name}"
        place += f" with the adapter of {self._adapter}" if self._adapter else ""
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
        config = read_config(self.folder, self.trust_remote_code)
        if self.random_weights and self.twin_blocks is not None:
            text = config.get_text_config()
            if not 1 <= self.twin_blocks <= getattr(text, "num_hidden_layers", 0):
                have = getattr(text, "num_hidden_layers", "an unknown number of")
                raise EncoderError(f"encoder.twin_blocks={self.twin_blocks}: the model has {have} blocks, so 1 to that or null")
            text.num_hidden_layers = self.twin_blocks
        return config

    @cached_property
    def description(self) -> Mapping[str, Any]:
        description: dict[str, Any] = {
            "kind": "huggingface",
            "version": VERSION,
            "model_type": self.config.model_type,
            "files": {path.name: file_sha256(path) for path in self._files()},
            "dtype": self.dtype,
            "max_length": self.max_length,
            "special_tokens": self.special_tokens,
            "detokenize": self.detokenize,
            "padding": "right",
        }
        used = ("autocast", "compile", "prompt", "quantization", "trust_remote_code", "final_norm")
        description |= {option: getattr(self, option) for option in used if getattr(self, option)}
        description |= {"span": self.span} if self.span != "all" else {}
        if self._adapter:
            description["adapter"] = {path.name: file_sha256(path) for path in adapter_files(self._adapter)}
        if self.detokenize:
            _ = self._detokenizer
            description["sacremoses"] = version("sacremoses")
        if self.random_weights:
            import torch
            import transformers

            versions = {"torch": torch.__version__, "transformers": transformers.__version__}
            description["random_weights"] = {"seed": self.init_seed} | versions
            if self.twin_blocks is not None:
                description["random_weights"]["blocks"] = self.twin_blocks
        return description

    def _files(self) -> list[Path]:
        """Each file that the model or the tokenizer may read."""
        patterns = (*TEXTS, "*.py") if self.trust_remote_code else TEXTS
        texts = {path for pattern in patterns for path in self.folder.glob(pattern) if path.name not in _UNREAD}
        return [*sorted(texts), *(() if self.random_weights else weight_files(self.folder))]

    @cached_property
    def _detokenizer(self) -> Any:
        try:
            from sacremoses import MosesDetokenizer
        except ImportError:
            raise EncoderError("encoder.detokenize=true needs the extra: pip install 'probing-bench[moses]'") from None
        return MosesDetokenizer("en")


@dataclass(frozen=True)
class Inspection:
    """Facts found by running a model, stored beside its vectors, so that later runs need not load it; the fields are keys on disk.

    Attributes:
        context_free: whether layer 0 depends on no other word.
        positions: rows of its position matrix, which bound the tokens of a sentence; None where it has none.
        company: which sentences can share a batch, one of `probing.encoders.hf.batching.BATCHINGS`.
        longest: most tokens of the sentences on which `company` was found; None: not bounded by the model.
    """

    layer_names: tuple[str, ...]
    dims: tuple[int, ...]
    context_free: bool
    positions: int | None
    company: str
    longest: int | None
    versions: tuple[str, ...] = field(default_factory=lambda: versions_used())

    @classmethod
    def of_record(cls, record: Any) -> Inspection | None:
        """The inspection from its JSON; None where another version of this package or of the libraries wrote it."""
        if not isinstance(record, Mapping) or record.keys() != {field.name for field in fields(cls)}:
            return None
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
        return cls(**values) if values["versions"] == versions_used() else None


def versions_used() -> tuple[str, ...]:
    """Versions of this package and of the libraries on which an inspection depends."""
    return (f"inspection {VERSION}", *(f"{name} {version(name)}" for name in ("torch", "transformers")))
