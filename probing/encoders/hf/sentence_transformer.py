"""A sentence-transformers model: the states of its transformer in every layer, and the sentence vectors that its own modules make.

The transformer is read as `encoder=hf` reads it. The modules behind it (Pooling, Dense, Normalize, …), which are loaded by the
library's own classes, make one more pooling, `sentence`: of the last layer what `SentenceTransformer.encode` gives, of the layers
below what it would give if the transformer ended there. A prompt is put before each sentence; where the model's Pooling leaves its
tokens out (`include_prompt=false`), mean, max and last leave them out too.

The library's `encode` itself is not called: it gives the last layer alone, and its batches do not keep to the rules of the store.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from probing.data.readers.files import read_json
from probing.encoders.gradients import mode
from probing.encoders.hf.files import Inspection
from probing.encoders.hf.folders import checked, find
from probing.encoders.hf.frame import prompts
from probing.encoders.hf.huggingface import HuggingFaceEncoder, label_of
from probing.encoders.hf.loading import tokenizer_file
from probing.encoders.hf.tokens import Tokens
from probing.errors import EncoderError, described
from probing.files import file_sha256
from probing.log import info

MODULES = ("Pooling", "Dense", "Normalize", "LayerNorm", "Dropout")
"""Modules that may follow the transformer; others read more than the states of one layer."""


@dataclass(repr=False)
class SentenceTransformerEncoder(HuggingFaceEncoder):
    """The options of `HuggingFaceEncoder`. `prompt`: None: the model's default prompt, as `encode` uses it; "": none."""

    def __post_init__(self) -> None:
        if self.chat:
            raise EncoderError("encoder.chat=true is for encoder=hf; a sentence-transformers model has prompts (encoder.prompt=…)")
        self._path = self.name
        named, default = prompts(self._home)
        if not self.random_weights:
            self._tell(named, default)
        self.prompt = default if self.prompt is None else self.prompt
        super().__post_init__()

    def _tell(self, named: Mapping[str, str], default: str) -> None:
        """Logs whether the model's prompts are used."""
        listed = ", ".join(f"{name}: {text!r}" for name, text in named.items())
        if default and self.prompt is None:
            info(f"{self._home}: its default prompt {default!r} is put before each sentence; encoder.prompt='' leaves it out")
        elif default and self.prompt != default:
            info(f"{self._home}: its default prompt {default!r} is not used, but encoder.prompt={self.prompt!r}")
        elif named and self.prompt is None:
            info(f"{self._home}: no prompt is put before the sentences; it names some for encoder.prompt ({listed})")

    @property
    def _parts(self) -> str:  # type: ignore[override]
        """What the modules do, for the label."""
        return "".join(f"+{part}" for module in self._modules if (part := _label(module))) + (
            f"+first {self._truncated}" if self._truncated else ""
        )

    @cached_property
    def _home(self) -> Path:
        """The folder with modules.json."""
        path = Path(self._path).expanduser()
        home = path if path.is_dir() else find(self._path, self.revision, self.package, ["[0-9]*/*"])
        if not (home / "modules.json").is_file():
            raise EncoderError(f"{home} is no sentence-transformers model: it holds no modules.json; encoder=hf reads it as it is")
        return home

    @cached_property
    def _listed(self) -> list[tuple[str, Path]]:
        """Class name and folder of each module; the first is the transformer."""
        entries = read_json(self._home / "modules.json", str(self._home / "modules.json"), "fetch the model again")
        listed = [(entry["type"].rpartition(".")[2], self._home / entry["path"]) for entry in entries]
        names = [name for name, _ in listed]
        unknown = [name for name in names[1:] if name not in MODULES]
        if names[:1] != ["Transformer"] or unknown or "Pooling" not in names:
            raise EncoderError(
                f"{self._home}: its modules are {', '.join(names)}; a Transformer, a Pooling, and any of {', '.join(MODULES[1:])} "
                "can be read (encoder=hf reads a transformer alone, encoder=python any function)"
            )
        made = [folder for name, folder in listed if name not in ("Normalize", "Dropout")]  # these may have no file
        if lost := [str(folder) for folder in made if not folder.is_dir()]:
            raise EncoderError(f"{self._home} lacks {', '.join(lost)}; fetch the whole model (hf download {self._path})")
        return listed

    @property
    def folder(self) -> Path:
        """The folder of the transformer."""
        return checked(self._listed[0][1])

    @cached_property
    def _modules(self) -> list[Any]:
        """The modules behind the transformer, as the library loads them; of a random twin with weights from its seed."""
        library = _library()
        modules = []
        for name, folder in self._listed[1:]:
            try:
                module = getattr(library, name).load(str(self._home), subfolder=self._inside(folder), local_files_only=True)
            except Exception as error:
                raise EncoderError(f"{folder}: the module {name} cannot be loaded: {described(error)}") from None
            modules.append(module.eval().requires_grad_(False))
        if self.random_weights:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.init_seed)
                for part in (part for module in modules for part in module.modules() if hasattr(part, "reset_parameters")):
                    part.reset_parameters()
        return modules

    def _inside(self, folder: Path) -> str:
        return "" if folder == self._home else folder.relative_to(self._home).as_posix()

    @cached_property
    def _reading(self) -> Mapping[str, Any]:
        """The library's options of the transformer module."""
        options = _library().Transformer.load_config(str(self._home), subfolder=self._inside(self._listed[0][1]))
        if options.get("transformer_task", "feature-extraction") != "feature-extraction" or "message" in options["modality_config"]:
            raise EncoderError(
                f"{self._home}: its transformer reads chat messages or gives no states (transformer_task, modality_config); "
                "encoder=hf encoder.chat=true reads the transformer alone"
            )
        return options

    @cached_property
    def _truncated(self) -> int | None:
        """How many dims `encode` keeps, where the model's config says so."""
        path = self._home / "config_sentence_transformers.json"
        return read_json(path, str(path), "fetch the model again").get("truncate_dim") if path.is_file() else None

    @cached_property
    def sentence_width(self) -> int:
        """Width of the pooling `sentence`."""
        width = next(module.get_embedding_dimension() for module in self._modules[::-1] if _makes_width(module))
        return min(width, self._truncated or width)

    @cached_property
    def poolings(self) -> tuple[str, ...]:
        return (*super().poolings, "sentence")

    @cached_property
    def inspection(self) -> Inspection:
        inspection = super().inspection
        reads = next(module.embedding_dimension for module in self._modules if type(module).__name__ == "Pooling")
        if set(inspection.dims) != {reads}:
            raise EncoderError(
                f"{self.name}: its Pooling reads {reads} dims, but the layers have {', '.join(map(str, inspection.dims))}"
            )
        return inspection

    @cached_property
    def description(self) -> Mapping[str, Any]:
        modules = [
            {"type": name} | {path.name: file_sha256(path) for path in sorted(folder.glob("*")) if self._decides(path)}
            for name, folder in self._listed[1:]
        ]
        own = {"kind": "sentence-transformer", "modules": modules, "truncate_dim": self._truncated}
        return {**super().description, **own}

    def _decides(self, path: Path) -> bool:
        weights = path.suffix in (".safetensors", ".bin")
        return path.suffix == ".json" or (weights and not self.random_weights)

    @cached_property
    def _tokens(self) -> Tokens:
        tokens = super()._tokens
        if longest := self._reading.get("max_seq_length"):
            tokens.tokenizer.model_max_length = longest
        return tokens

    def _tell_unused(self) -> None:
        """Said in `_tell`."""

    def tokenize(self, texts: Any) -> Any:
        return super().tokenize([text.lower() for text in texts] if self._reading.get("do_lower_case") else texts)

    @cached_property
    def _prompt_length(self) -> int:
        """Tokens of the prompt that the model's Pooling leaves out, counted as the library counts them."""
        kept = all(getattr(module, "include_prompt", True) for module in self._modules)
        if kept or not self.prompt:
            return 0
        ids = self.tokenizer(self.prompt, verbose=False)["input_ids"]
        return len(ids) - (ids[-1] in self.tokenizer.all_special_ids)

    @property
    def _skipped(self) -> tuple[int, int]:
        before, after = super()._skipped
        return max(before, self._prompt_length), after

    def _head(self) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        modules, prompt_length, width = [module.to(self._device) for module in self._modules], self._prompt_length, self._truncated

        def head(layer: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            """(batch, tokens, dim) and the attention mask to (batch, width)."""
            features: dict[str, Any] = {"token_embeddings": layer.float(), "attention_mask": mask}
            features |= {"prompt_length": prompt_length} if prompt_length else {}
            with mode():
                for module in modules:
                    features = module(features)
            return features["sentence_embedding"][:, :width]

        return head


def of_object(model: Any, label: str | None = None, **options: Any) -> SentenceTransformerEncoder:
    """The encoder of a SentenceTransformer in memory, with options of its class; its folder lasts as long as this process."""
    folder = tempfile.mkdtemp(prefix="probing-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        model.save(folder, create_model_card=False)
        for path in Path(folder).rglob("tokenizer.json"):  # without the truncation and padding of the last call
            tokenizer_file(path.parent).save(str(path))
    except Exception as error:  # any module's own code
        raise EncoderError(f"the SentenceTransformer cannot be saved, as its key needs: {described(error)}") from None
    return SentenceTransformerEncoder(folder, label=label or label_of(getattr(model[0], "auto_model", model)), **options)


def _library() -> Any:
    try:
        from sentence_transformers.sentence_transformer import modules
    except ImportError:
        raise EncoderError(
            "a sentence-transformers model needs the extra: pip install 'probing-bench[sentence-transformers]' "
            "(encoder=hf reads its transformer alone)"
        ) from None
    return modules


def _makes_width(module: Any) -> bool:
    return type(module).__name__ in ("Pooling", "Dense")


def _label(module: Any) -> str:
    """What a module does, in few letters."""
    kind = type(module).__name__
    if kind == "Pooling":
        mode = module.pooling_mode if isinstance(module.pooling_mode, str) else "&".join(module.pooling_mode)
        return mode if module.include_prompt else f"{mode}, prompt left out"
    return f"Dense {module.out_features}" if kind == "Dense" else "" if kind == "Dropout" else kind
