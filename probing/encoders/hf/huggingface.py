"""Any `transformers` model, from a local folder or the hub, as a frozen encoder.

Layer 0 is the embedding output and layer k the output of block k; in pre-norm decoders (GPT-2, Llama) the last layer is the state
*after the final norm*, and its name says so. Which state is which is seen by running the model (`probing.encoders.hf.inspection`).
Loaded in float32 unless told otherwise (transformers follows the checkpoint: a bfloat16 file would give bfloat16 features), in
eval mode, encoder half only for encoder-decoder models, text tower only for models of texts and images. What was loaded is
compared with the files (`probing.encoders.hf.loading`).

A batch is padded on the right, with an attention mask, if that leaves a sentence's states as they are alone. That is tried on a
few sentences when the model is loaded, and again on batches that are half as wide again as those tried before; models that fail it
(FNet, ConvBERT) run on sentences of one length, or on one at a time (experts with a capacity).

The model gets every input that its tokenizer gives (token types, languages). An item is a list of token ids where the other inputs
are all zero, else a list of tuples (id, other inputs).

The fingerprint covers the files that decide the vectors (weights, config, tokenizer), the options below, and, for random
weights, the seed and the library versions that drew them. Where a file lies, and under which name, is not part of it.

For poolings the states are taken by hooks as they appear (`probing.encoders.hf.hooks`), and float32 products on AMD processors go
through oneDNN (`probing.encoders.hf.packed`). `device=cuda` runs the same code in larger batches; it was never run on a GPU here.

Left out: attentions and heads; quantised loading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probing.encoders.base import (
    TOKEN_BUDGET,
    Item,
    Pooled,
    States,
    check_device,
    name_in_tables,
    resolve_device,
)
from probing.encoders.hf import hub
from probing.encoders.hf.company import LARGE, Company
from probing.encoders.hf.loading import load_model, weight_files
from probing.encoders.hf.tokens import Tokens
from probing.errors import EncoderError, ForeignError, described
from probing.files import file_sha256

if TYPE_CHECKING:
    from probing.encoders.hf.textmodel import TextModel

VERSION = 2
"""Raise when the same weights and options would give other vectors."""

_DTYPES = ("float32", "float16", "bfloat16")
_NAMED = ("dtype", "max_length", "special_tokens", "detokenize", "autocast", "compile")
_AUTOCAST = ("bfloat16", "float16")
_UNREAD = ("generation_config.json", "trainer_state.json", "modules.json", "README.md")
"""Files of a folder that match the hub's patterns and that neither the model nor the tokenizer reads."""

_TOLERANCE = {"float32": 1e-4, "float16": 0.05, "bfloat16": 0.05}
"""By how much of a layer's largest entry the states of a sentence may differ between two batches: rounding stays below."""


@dataclass(frozen=True)
class Inspection:
    """What running a model on a few sentences tells of it; plain values, so that they can be kept beside its vectors.

    Attributes:
        layer_names: from layer 0 on.
        dims: width of each layer.
        context_free: whether layer 0 depends on no other word.
        positions: rows of its position matrix, of which tokens can use as many; None where it has none.
        company: one of `probing.encoders.hf.company.COMPANIES`.
        longest: tokens of the test sentences of company, at most; None: no bound of the model's.
        versions: of the libraries that ran it.
    """

    layer_names: tuple[str, ...]
    dims: tuple[int, ...]
    context_free: bool
    positions: int | None
    company: str
    longest: int | None
    versions: tuple[str, ...]


@dataclass
class HuggingFaceEncoder:
    """Options of the encoder; nothing is loaded before it is needed.

    Args:
        name: a local folder, or a hub id such as "bert-base-uncased".
        revision: commit, tag or branch on the hub; pin a commit to be reproducible.
        package: an installed package whose folder `model` carries the files, taken when the hub's cache lacks them.
        dtype: float32, float16 or bfloat16, of weights and states.
        max_length: tokens kept, special ones included; None: as many as the model has positions for.
        special_tokens: whether mean, max and last see special tokens such as [CLS] and [SEP].
        detokenize: undo Moses tokenisation ("can 't ." -> "can't.") before the tokenizer; needs the extra `moses`.
        random_weights: draw the weights from `init_seed` instead of loading them.
        device: cpu, cuda, or auto.
        autocast: bfloat16 or float16: weights in float32, products in that type; None: float32 throughout. float16 is for GPUs.
            bfloat16 on a CPU that multiplies it (Zen 4) took two thirds of the time of float32 for MiniLM, and moved features by
            0.6 % of their standard deviation (median), those of [CLS] in the first layers by up to 10 %.
        compile: compile the model with torch.compile; a minute or more at first. It rounds differently.
        label: name in tables; None: the last part of `name`. Options that change vectors are added to it.
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
        self._given = self.name
        label = self.label or Path(self._given).name
        self.name = name_in_tables(self, label, _NAMED)

    def random_twin(self, seed: int) -> HuggingFaceEncoder:
        """The same config and tokenizer, weights drawn by the model's own initialisation from `seed`."""
        label = self.label or Path(self._given).name
        return replace(self, name=self._given, random_weights=True, init_seed=seed, label=label)

    # What it is: answered from the files, without loading the model.

    @cached_property
    def folder(self) -> Path:
        """The folder that holds the files: a local one, the hub's cache, the package, or a fresh download, in this order."""
        return hub.find(self._given, self.revision, self.package)

    @property
    def origin(self) -> str:
        found = hub.said(self.folder, self._given, self.package)
        return f"random weights, architecture and tokenizer of {found}" if self.random_weights else found

    @cached_property
    def config(self) -> Any:
        """The config of the part that reads text."""
        try:
            return self._whole_config.get_text_config()
        except ValueError:  # several: the text part that is kept has its own
            return self._whole_config

    @cached_property
    def _whole_config(self) -> Any:
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(self.folder, trust_remote_code=False)
        except Exception as error:  # each config class checks its values in its own way
            raise EncoderError(f"{self.folder}: config.json cannot be used: {described(error)}") from None

    @cached_property
    def files(self) -> dict[str, str]:
        """sha256 of each file that the model or the tokenizer may read."""
        weights = [] if self.random_weights else weight_files(self.folder)
        texts = {path for pattern in hub.TEXTS for path in self.folder.glob(pattern) if path.name not in _UNREAD}
        return {path.name: file_sha256(path) for path in [*sorted(texts), *weights]}

    @cached_property
    def description(self) -> Mapping[str, Any]:
        said: dict[str, Any] = {
            "kind": "huggingface",
            "version": VERSION,
            "model_type": self.config.model_type,
            "files": self.files,
            "dtype": self.dtype,
            "max_length": self.max_length,
            "special_tokens": self.special_tokens,
            "detokenize": self.detokenize,
            "padding": "right",
        }
        said |= {option: getattr(self, option) for option in ("autocast", "compile") if getattr(self, option)}
        if self.detokenize:
            _ = self._detokenizer
            said["sacremoses"] = version("sacremoses")
        if self.random_weights:
            import torch
            import transformers

            said["random_weights"] = {"seed": self.init_seed, "torch": torch.__version__, "transformers": transformers.__version__}
        return said

    @cached_property
    def limit(self) -> int | None:
        """Tokens that a sentence may have, special ones included; None where the model has no bound."""
        limit, added = _least(self.max_length, self._positions, self.tokenizer.model_max_length), self._tokens.added
        if limit is not None and limit <= added:
            raise EncoderError(
                f"{self.name}: sentences may have {limit} tokens (encoder.max_length={self.max_length}, model_max_length="
                f"{self.tokenizer.model_max_length}), of which the tokenizer adds {added}: no room for a word"
            )
        return limit

    @property
    def _positions(self) -> int | None:
        return _least(self.inspection.positions, getattr(self.config, "max_position_embeddings", None))

    @cached_property
    def poolings(self) -> tuple[str, ...]:
        first = self._tokens.first_id
        has_cls = first is not None and first == self.tokenizer.cls_token_id
        return ("cls", "mean", "max", "last") if has_cls else ("mean", "max", "last")

    @property
    def dims(self) -> tuple[int, ...]:
        return self.inspection.dims

    @property
    def layer_names(self) -> tuple[str, ...]:
        return self.inspection.layer_names

    @property
    def context_free(self) -> bool:
        """Whether layer 0 depends on no other word, so that its mean is a floor."""
        return self.inspection.context_free

    @cached_property
    def inspection(self) -> Inspection:
        """What running the model on a few sentences tells; see `recall`.

        Raises:
            StatesError: a model whose layers cannot be told, or whose states change from run to run.
            ForeignError: the model fails.
        """
        layers, longest = self._text.layers, self._sampled
        try:
            company = self._text.company(longest)
        except ForeignError:  # it may fail on long sentences alone, which then fail by themselves
            longest = _least(longest, 16)
            company = self._text.company(longest)
        return Inspection(layers.names, layers.dims, layers.context_free, layers.positions, company, longest, versions_used())

    @cached_property
    def obeys_mask(self) -> bool:
        """Whether a word that the attention mask leaves out moves no state of the other words."""
        return self._text.obeys_mask(self._cut)

    def remembered(self) -> dict[str, Any]:
        """The inspection as plain JSON, for `recall`."""
        return asdict(self.inspection)

    def recall(self, remembered: Mapping[str, Any]) -> None:
        """Takes an earlier inspection of the same encoder, so that the model need not be loaded to plan.

        What another version of this package or of the libraries wrote is not taken: the model is inspected again.
        """
        if not isinstance(remembered, Mapping) or remembered.keys() != {field.name for field in fields(Inspection)}:
            return
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in remembered.items()}
        if values["versions"] == versions_used():
            self.__dict__.setdefault("inspection", Inspection(**values))

    @property
    def company(self) -> str:
        """In which company a sentence is run, one of `probing.encoders.hf.company.COMPANIES`."""
        return self._company.kind

    @cached_property
    def _company(self) -> Company:
        lengths = [len(item) for item in self._text.samples(self.inspection.longest)]
        return Company(self.name, self.inspection.company, self._tolerance, max(lengths), max(lengths) - min(lengths))

    @property
    def _tolerance(self) -> float:
        return _TOLERANCE[self.autocast or self.dtype]

    # What it does.

    @cached_property
    def _tokens(self) -> Tokens:
        return Tokens(self.name, self.folder, lambda: self._text.takes)

    @property
    def tokenizer(self) -> Any:
        return self._tokens.tokenizer

    @cached_property
    def _device(self) -> str:
        import torch

        device = resolve_device(self.device)
        if self.autocast == "float16" and device == "cpu":
            raise EncoderError("encoder.autocast=float16 is for GPUs; on the CPU use bfloat16 or null")
        if self.autocast == "bfloat16" and device == "cuda" and not torch.cuda.is_bf16_supported():
            raise EncoderError("encoder.autocast=bfloat16, but this GPU has no bfloat16; use float16 or null")
        return device

    @property
    def token_budget(self) -> int:
        """Tokens in a batch of extraction: more on a GPU, which small products leave idle (a guess, not tried)."""
        return TOKEN_BUDGET if self._device == "cpu" else 16 * TOKEN_BUDGET

    def _loaded(self) -> Any:
        """The part of the model that reads text, ready to run."""
        import torch

        from probing.encoders.hf import onednn, packed

        seed = self.init_seed if self.random_weights else None
        module = load_model(self.folder, self._whole_config, getattr(torch, self.dtype), seed)
        if isinstance(getattr(module, "pooler", None), torch.nn.Module):
            module.pooler = torch.nn.Identity()  # BERT's head on [CLS]: nobody reads what it gives
        module = module.eval().requires_grad_(False).to(self._device)
        if hasattr(module, "config"):
            module.config.return_dict = True  # old folders may say false
        if self._device == "cpu" and not self.autocast and not self.compile and onednn.pays():
            packed.pack(module)
        return module

    @property
    def _running(self) -> dict[str, Any]:
        """Options of `TextModel`."""
        return {
            "device": self._device,
            "autocast": self.autocast,
            "compiled": self.compile,
            "special_tokens": self.special_tokens,
            "tolerance": self._tolerance,
        }

    @cached_property
    def _text(self) -> TextModel:
        from probing.encoders.hf.textmodel import TextModel

        text = TextModel(self.name, self._loaded(), self._tokens, **self._running)
        self.__dict__["_text"] = text  # for the tokenizer, which asks it for the names of its inputs
        try:
            text.find_layers(self._cut)
        except Exception:
            del self.__dict__["_text"]
            raise
        return text

    @property
    def model(self) -> Any:
        return self._text.model

    @property
    def _cut(self) -> int | None:
        """Tokens of a test sentence, as far as options and files tell."""
        positions = getattr(self.config, "max_position_embeddings", None) or 0
        bound = _least(self.max_length, self.tokenizer.model_max_length, positions - 4)  # some families use a few rows otherwise
        return None if bound is None else max(bound, self._tokens.added + 2)

    @property
    def _sampled(self) -> int | None:
        """Tokens of the test sentences of company."""
        return _least(self._cut, self._text.layers.positions)

    def release(self) -> None:
        """Frees the weights and the tokenizer; they are loaded again when they are needed."""
        for loaded in ("_text", "_tokens"):
            self.__dict__.pop(loaded, None)

    @cached_property
    def _detokenizer(self) -> Any:
        try:
            from sacremoses import MosesDetokenizer
        except ImportError:
            raise EncoderError("encoder.detokenize=true needs the extra: pip install 'probing[moses]'") from None
        return MosesDetokenizer("en")

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Item], int]:
        if self.detokenize:
            texts = [self._detokenizer.detokenize(text.split(" ")) for text in texts]
        items = self._tokens.items(texts)
        long = [i for i, item in enumerate(items) if self.limit is not None and len(item) > self.limit]
        if long:
            for i, item in zip(long, self._tokens.cut([texts[i] for i in long], self.limit), strict=True):
                items[i] = item
        return items, len(long)

    def unknown_tokens(self, items: Sequence[Item]) -> dict[str, int]:
        """`tokens` of the items, and how many of them are `unknown`."""
        return self._tokens.unknown(items)

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        """The word of `text.split()` that each token of `tokenize` lies in, by character offsets.

        Raises:
            EncoderError: a tokenizer without offsets, or `detokenize=true`, after which the words are no longer the text's.
        """
        if self.detokenize:
            raise EncoderError(f"{self.name}: tokens cannot be aligned with words: encoder.detokenize=true changes the words")
        return self._tokens.word_ids(texts, self.limit)

    def forward(self, items: Sequence[Item]) -> States:
        return self._company.states(items, self._text.forward)

    def try_company(self, items: Sequence[Item]) -> None:
        """Finds out, once, whether a large batch of one length changes its sentences: before `together`."""
        if len(items) >= LARGE and not self._company.tried:
            self.forward(items)

    def together(self, items: Sequence[Item]) -> States:
        """`forward` of items of one length in one batch, for masks that were set for these very rows."""
        return self._text.forward(items)

    def pooled(self, items: Sequence[Item], poolings: Sequence[str]) -> Pooled:
        """What `forward` and poolings give, without holding the states of all layers; the vectors are on the CPU."""
        return self._company.pooled(items, lambda some: self._text.pooled(some, poolings))


def _least(*bounds: int | None) -> int | None:
    """The least bound that is one."""
    return min((n for n in bounds if n and 0 < n < 10**6), default=None)


def versions_used() -> tuple[str, ...]:
    """Of what an inspection depends on."""
    return (f"inspection {VERSION}", *(f"{name} {version(name)}" for name in ("torch", "transformers")))
