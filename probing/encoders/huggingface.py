"""Any `transformers` model, from a local folder or the hub, as a frozen encoder.

Layer 0 is the embedding output and layer k the output of block k; in pre-norm decoders (GPT-2, Llama) the last layer is the state
*after the final norm*, and its name says so. Which state is which is seen by running the model (`probing.encoders.inspection`).
Loaded in float32 unless told otherwise (transformers follows the checkpoint: a bfloat16 file would give bfloat16 features), in
eval mode, encoder half only for encoder-decoder models, text tower only for models of texts and images. What was loaded is
compared with the files (`probing.encoders.loading`).

A batch is padded on the right, with an attention mask, if that leaves a sentence's states as they are alone. That is tried on a
few sentences when the model is loaded, and in every padded batch on one of its sentences; models that fail it (FNet, ConvBERT) run
on sentences of one length, or on one at a time (experts with a capacity).

The model gets every input that its tokenizer gives (token types, languages). An item is a list of token ids where the other inputs
are all zero, else a list of tuples (id, other inputs).

The fingerprint covers the files that decide the vectors (weights, config, tokenizer), the options below, and, for random
weights, the seed and the library versions that drew them. Where a file lies, and under which name, is not part of it.

For poolings the states are taken by hooks as they appear (`probing.encoders.hooks`), and float32 products on AMD processors go
through oneDNN (`probing.encoders.packed`). `device=cuda` runs the same code in larger batches; it was never run on a GPU here.

Left out: attentions and heads; quantised loading.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probing.encoders import hub
from probing.encoders.base import (
    TOKEN_BUDGET,
    Item,
    Pooled,
    Pooler,
    States,
    check_device,
    name_in_tables,
    pooled_states,
    resolve_device,
)
from probing.encoders.company import LARGE, Company
from probing.encoders.loading import load_model
from probing.encoders.tokens import Sentence, Tokens
from probing.errors import EncoderError, StatesError, described, foreign
from probing.shards import file_sha256

if TYPE_CHECKING:
    from probing.encoders.inspection import Layers

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
        company: one of `probing.encoders.company.COMPANIES`.
        versions: of the libraries that ran it.
    """

    layer_names: tuple[str, ...]
    dims: tuple[int, ...]
    context_free: bool
    positions: int | None
    company: str
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
        weights = sorted(self.folder.glob("*.safetensors")) or sorted(self.folder.glob("pytorch_model*.bin"))
        if not weights and not self.random_weights:
            raise EncoderError(f"{self.folder} holds no weights (*.safetensors or pytorch_model*.bin)")
        texts = {path for pattern in hub.TEXTS for path in self.folder.glob(pattern) if path.name not in _UNREAD}
        return {path.name: file_sha256(path) for path in [*sorted(texts), *([] if self.random_weights else weights)]}

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
        return _least(self.max_length, self._positions, self.tokenizer.model_max_length)

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
        from probing.encoders.company import company_of

        layers = self._layers
        samples = self._tokens.samples(self._sentence, _least(self._cut, layers.positions))
        company = company_of(self.name, lambda items: self._layers_of(*self._inputs(items)), samples, self._tolerance)
        return Inspection(layers.names, layers.dims, layers.context_free, layers.positions, company, versions_used())

    def remembered(self) -> dict[str, Any]:
        """The inspection as plain JSON, for `recall`."""
        return asdict(self.inspection)

    def recall(self, remembered: Mapping[str, Any]) -> None:
        """Takes an earlier inspection of the same encoder, so that the model need not be loaded to plan; not of other versions."""
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in remembered.items()}
        if values.get("versions") == versions_used():
            self.__dict__.setdefault("inspection", Inspection(**values))

    @property
    def company(self) -> str:
        """In which company a sentence is run, one of `probing.encoders.company.COMPANIES`."""
        return self._company.kind

    @cached_property
    def _company(self) -> Company:
        return Company(self.name, self.inspection.company, self._tolerance)

    @property
    def _tolerance(self) -> float:
        return _TOLERANCE[self.autocast or self.dtype]

    # What it does.

    @cached_property
    def _tokens(self) -> Tokens:
        return Tokens(self.name, self.folder, lambda: self._takes)

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

    @cached_property
    def _module(self) -> Any:
        import torch

        from probing import onednn
        from probing.encoders import packed

        seed = self.init_seed if self.random_weights else None
        module = load_model(self.folder, self._whole_config, getattr(torch, self.dtype), seed)
        if isinstance(getattr(module, "pooler", None), torch.nn.Module):
            module.pooler = torch.nn.Identity()  # BERT's head on [CLS]: nobody reads what it gives
        module = module.eval().requires_grad_(False).to(self._device)
        if self._device == "cpu" and not self.autocast and not self.compile and onednn.pays():
            packed.pack(module)
        return module

    @cached_property
    def model(self) -> Any:
        import torch

        return torch.compile(self._module, dynamic=True) if self.compile else self._module

    @cached_property
    def _takes(self) -> frozenset[str]:
        """Names of the model's inputs; "*" stands for any."""
        parameters = inspect.signature(self._module.forward).parameters.values()
        return frozenset("*" if p.kind == p.VAR_KEYWORD else p.name for p in parameters)

    @cached_property
    def _layers(self) -> Layers:
        """Names and sites of the layers; holds modules of the model."""
        from probing.encoders.inspection import find_layers

        item, variants, places = self._sentence
        inputs, mask = self._inputs([item, variants[0]])

        def run() -> Any:
            return self._handed_out(self._run(inputs, mask, self._module, output_hidden_states=True))

        return find_layers(self.name, self._module, run, len(item), places[0])

    @cached_property
    def _sentence(self) -> Sentence:
        return self._tokens.sentence(self._cut, self._rows, getattr(self.config, "pad_token_id", None))

    @property
    def _cut(self) -> int | None:
        """Tokens of a test sentence, as far as options and tokenizer tell."""
        positions = getattr(self.config, "max_position_embeddings", None) or 0
        return _least(self.max_length, self.tokenizer.model_max_length, positions - 4)  # some families use a few rows otherwise

    def release(self) -> None:
        """Frees the weights and the tokenizer; they are loaded again when they are needed."""
        for loaded in ("model", "_module", "_layers", "_tokens"):
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
        return self._company.states(items, self._forward)

    def try_company(self, items: Sequence[Item]) -> None:
        """Finds out, once, whether a large batch of one length changes its sentences: before `together`."""
        if len(items) >= LARGE and not self._company.tried:
            self.forward(items)

    def together(self, items: Sequence[Item]) -> States:
        """`forward` of items of one length in one batch, for masks that were set for these very rows."""
        return self._forward(items)

    def pooled(self, items: Sequence[Item], poolings: Sequence[str]) -> Pooled:
        """What `forward` and poolings give, without holding the states of all layers; the vectors are on the CPU."""
        return self._company.pooled(items, lambda some: self._pooled(some, poolings))

    def _forward(self, items: Sequence[Item]) -> States:
        ids, mask = self._inputs(items)
        layers = self._layers_of(ids, mask)
        if len(layers) != len(self.layer_names):
            raise StatesError(f"{self.name} returned {len(layers)} layers, {len(self.layer_names)} were expected")
        return States(layers, self._counted(ids["input_ids"], mask))

    def _layers_of(self, ids: dict[str, Any], mask: Any) -> list[Any]:
        """The states of every layer (batch, tokens, dim)."""
        from probing.encoders.hooks import watched

        first: dict[int, Any] = {}
        site = self._layers.first
        with watched([site], first.__setitem__) if site else nullcontext():
            states = self._handed_out(self._run(ids, mask, self._module if site else self.model, output_hidden_states=True))
        return [state[:, : mask.shape[1]] for state in (*first.values(), *states)]  # some models pad inside

    def _handed_out(self, output: Any) -> Any:
        states = getattr(output, "hidden_states", None)
        if not isinstance(states, tuple | list) or not states:
            raise StatesError(f"{self.name}: a {self.config.model_type} model hands out no states of its layers; it cannot be read")
        return states

    def _pooled(self, items: Sequence[Item], poolings: Sequence[str]) -> Pooled:
        import torch

        from probing.encoders.hooks import watched

        # compiled code runs no hooks, and a subclass may have made other states
        if self.compile or type(self)._forward is not HuggingFaceEncoder._forward or self._layers.sites is None:
            return pooled_states(self._forward(items), poolings)
        ids, mask = self._inputs(items)
        counted = self._counted(ids["input_ids"], mask)
        pooler, vectors = Pooler(counted), {}

        def see(layer: int, state: torch.Tensor) -> None:
            if state.shape[:2] == mask.shape or (state.ndim == 2 and len(state) == mask.numel()):
                state = state.reshape(*mask.shape, -1).float()  # (batch, tokens, dim)
                with torch.autocast(self._device, enabled=False):
                    vectors[layer] = [pooler(state, p) for p in poolings]  # of each pooling (batch, dim)

        with watched(self._layers.sites, see):
            self._run(ids, mask, self.model)
        if len(vectors) != len(self._layers.sites):  # another way through its modules, or padded inside
            self._layers = replace(self._layers, sites=None)
            return pooled_states(self._forward(items), poolings)
        layers = [vectors[layer] for layer in range(len(vectors))]
        by_pooling = {p: [layer[k].cpu() for layer in layers] for k, p in enumerate(poolings)}
        return Pooled(by_pooling, counted.sum(1).cpu())

    def _run(self, inputs: dict[str, Any], mask: Any, model: Any, **more: Any) -> Any:
        import torch

        how = {"dtype": getattr(torch, self.autocast or "bfloat16"), "enabled": self.autocast is not None}
        more |= {"use_cache": False} if "use_cache" in self._takes else {}
        n, width = mask.shape
        with foreign(f"{self.name}: running the model on {n} sentence(s) of up to {width} tokens"):
            try:
                with torch.inference_mode(), torch.autocast(self._device, **how):
                    return model(**inputs, attention_mask=mask, **more)
            except Exception as error:  # torch raises many kinds, from its own compiler and from the machine's
                if self.compile and type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                    why = str(error).strip().splitlines()[0]
                    raise EncoderError(f"encoder.compile=true, but torch cannot compile the model here ({why})") from None
                raise

    def _inputs(self, items: Sequence[Item]) -> tuple[dict[str, Any], Any]:
        """What the model gets, and the attention mask, each (batch, tokens).

        Raises:
            StatesError: a token id without a row in the embedding matrix.
        """
        import torch

        width = max(map(len, items))
        pad = self.tokenizer.pad_token_id or 0
        rows = self._rows
        fill = {"input_ids": pad if pad < rows else 0, "token_type_ids": self.tokenizer.pad_token_type_id}
        plain = [not isinstance(item[0], tuple) if len(item) else True for item in items]
        inputs = {}
        for k, name in enumerate(("input_ids", *self._tokens.others)):
            columns = [
                ([*item] if k == 0 else [0] * len(item)) if bare else [token[k] for token in item]
                for item, bare in zip(items, plain, strict=True)
            ]
            filled = [[*column, *[fill.get(name, column[-1] if column else 0)] * (width - len(column))] for column in columns]
            inputs[name] = torch.tensor(filled)
        if (largest := int(inputs["input_ids"].max())) >= rows:
            raise StatesError(
                f"{self.name}: the token {self.tokenizer.convert_ids_to_tokens(largest)!r} has the id {largest}, but the embedding "
                f"matrix has {rows} rows; tokenizer and weights are not of one model, or the matrix was not resized"
            )
        mask = torch.tensor([[1] * len(item) + [0] * (width - len(item)) for item in items])
        if self._device != "cpu":
            inputs = {name: values.pin_memory().to(self._device, non_blocking=True) for name, values in inputs.items()}
            mask = mask.pin_memory().to(self._device, non_blocking=True)
        return inputs, mask

    @cached_property
    def _rows(self) -> float:
        try:
            return self._module.get_input_embeddings().weight.shape[0]
        except (AttributeError, NotImplementedError):  # CANINE hashes characters: it has no such matrix
            return float("inf")

    def _counted(self, ids: Any, mask: Any) -> Any:
        """The mask of what poolings see: (batch, tokens)."""
        import torch

        counted = mask.bool()
        if not self.special_tokens:
            special = torch.tensor(sorted(set(self.tokenizer.all_special_ids) - {self.tokenizer.unk_token_id}), device=ids.device)
            counted &= ~torch.isin(ids, special)
        return counted

    @cached_property
    def obeys_mask(self) -> bool:
        """Whether what stands at a place that the attention mask leaves out moves no state of the other places."""
        from probing.encoders.company import close

        whole, variants, places = self._sentence
        for gone, variant in zip(places, variants, strict=True):
            states = []
            for ids in (whole, variant):
                inputs, mask = self._inputs([ids])
                mask[0, gone] = 0
                states.append([layer[:, [k for k in range(len(ids)) if k != gone]] for layer in self._layers_of(inputs, mask)])
            if not close(*states, len(whole), self._tolerance):
                return False
        return True


def _least(*bounds: int | None) -> int | None:
    """The least bound that is one."""
    return min((n for n in bounds if n and 0 < n < 10**6), default=None)


def versions_used() -> tuple[str, ...]:
    return tuple(f"{name} {version(name)}" for name in ("torch", "transformers"))
