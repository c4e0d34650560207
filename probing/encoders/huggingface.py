"""Any `transformers` model, from a local folder or the hub, as a frozen encoder.

Layer 0 is the embedding output and layer k the output of block k. In pre-norm decoders (GPT-2, Llama) the last entry of
`hidden_states` is the state *after the final norm*, not the last block's output; the layer's name says so. Loaded in float32
unless told otherwise (transformers follows the checkpoint: a bfloat16 file would give bfloat16 features), in eval mode, padded
on the right with an attention mask (left padding shifts GPT-2's positions), encoder half only for encoder-decoder models.

The fingerprint covers the files that decide the vectors (weights, config, tokenizer), the options below, and, for random
weights, the seed and the library versions that drew them. Where a file lies, and under which name, is not part of it.

For poolings the states are taken by hooks as they appear (`probing.encoders.hooks`), and float32 products on AMD processors go
through oneDNN (`probing.encoders.packed`). `device=cuda` runs the same code in larger batches; it was never run on a GPU here.

Left out: attentions and heads; quantised loading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

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
    words_of_spans,
)
from probing.errors import EncoderError
from probing.shards import file_sha256

VERSION = 1
"""Raise when the same weights and options would give other vectors."""

_TEXT_FILES = (
    "tokenizer.json tokenizer_config.json vocab.json vocab.txt merges.txt special_tokens_map.json added_tokens.json "
    "tokenizer.model spiece.model sentencepiece.bpe.model spm.model source.spm target.spm bpe.codes vocab.bpe dict.txt"
).split()
_DTYPES = ("float32", "float16", "bfloat16")
_NAMED = ("dtype", "max_length", "special_tokens", "detokenize", "autocast", "compile")
_AUTOCAST = ("bfloat16", "float16")
_FINAL_NORMS = ("ln_f", "norm", "final_norm", "final_layer_norm", "final_layernorm", "norm_f", "layer_norm")


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
        from transformers import AutoConfig

        try:
            config = AutoConfig.from_pretrained(self.folder)
        except (OSError, ValueError, KeyError) as error:
            raise EncoderError(f"{self.folder}: config.json cannot be used: {str(error).splitlines()[0]}") from None
        return config.get_text_config()

    @cached_property
    def files(self) -> dict[str, str]:
        """sha256 of each file that decides the vectors."""
        weights = sorted(self.folder.glob("*.safetensors")) or sorted(self.folder.glob("pytorch_model*.bin"))
        if not weights and not self.random_weights:
            raise EncoderError(f"{self.folder} holds no weights (*.safetensors or pytorch_model*.bin)")
        names = ["config.json", *_TEXT_FILES]
        paths = [self.folder / name for name in names if (self.folder / name).is_file()]
        return {path.name: file_sha256(path) for path in paths + ([] if self.random_weights else weights)}

    @cached_property
    def description(self) -> Mapping[str, Any]:
        said: dict[str, Any] = {
            "kind": "huggingface",
            "version": VERSION,
            "model_type": self.config.model_type,
            "files": self.files,
            "dtype": self.dtype,
            "max_length": self.limit,
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
        bounds = [n for n in (self.max_length, self._positions, self.tokenizer.model_max_length) if n and 0 < n < 10**6]
        return min(bounds, default=None)

    @property
    def _positions(self) -> int | None:
        positions = getattr(self.config, "max_position_embeddings", None)
        if positions and self.config.model_type in ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "longformer"):
            positions -= self.config.pad_token_id + 1  # their positions start after the padding index
        return positions

    @cached_property
    def poolings(self) -> tuple[str, ...]:
        ids = self.tokenizer("a")["input_ids"]
        has_cls = self.tokenizer.cls_token_id is not None and ids and ids[0] == self.tokenizer.cls_token_id
        return ("cls", "mean", "max", "last") if has_cls else ("mean", "max", "last")

    @property
    def dims(self) -> tuple[int, ...]:
        if not hasattr(self.config, "hidden_size") or not hasattr(self.config, "num_hidden_layers"):
            raise EncoderError(f"{self.folder}: a {self.config.model_type} config names no hidden_size and num_hidden_layers")
        return (self.config.hidden_size,) * (self.config.num_hidden_layers + 1)

    @cached_property
    def layer_names(self) -> tuple[str, ...]:
        names = ["embeddings", *(f"block {k}" for k in range(1, self.config.num_hidden_layers + 1))]
        if self._has_final_norm:
            names[-1] += " + final norm"
        return tuple(names)

    @property
    def _skeleton(self) -> Any:
        """The architecture without its weights."""
        import torch
        from transformers import AutoModel

        with torch.device("meta"):
            skeleton = AutoModel.from_config(self.config)
        return skeleton.get_encoder() if self.config.is_encoder_decoder else skeleton

    @property
    def _has_final_norm(self) -> bool:
        skeleton = self._skeleton
        stacks = (skeleton, getattr(skeleton, "encoder", None), getattr(skeleton, "decoder", None))  # T5, OPT: on the stack
        return any(getattr(stack, norm, None) is not None for stack in stacks for norm in _FINAL_NORMS)

    # What it does.

    @cached_property
    def tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self.folder)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise EncoderError(f"{self.folder}: the tokenizer cannot be loaded: {str(error).splitlines()[0]}") from None
        return tokenizer

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
    def model(self) -> Any:
        import torch
        from transformers import AutoModel
        from transformers.utils import logging

        from probing import onednn
        from probing.encoders import packed

        logging.disable_progress_bar()  # we show our own
        dtype = getattr(torch, self.dtype)
        if self.random_weights:
            with torch.random.fork_rng(devices=[]):  # transformers draws from the global generator; put it back as it was
                torch.manual_seed(self.init_seed)
                model = AutoModel.from_config(self.config, dtype=dtype)
        else:
            try:
                model, report = AutoModel.from_pretrained(self.folder, dtype=dtype, output_loading_info=True)
            except Exception as error:  # safetensors, zip and shape errors come in many kinds; all mean unusable weights
                raise EncoderError(f"{self.folder}: the weights cannot be loaded: {str(error).splitlines()[0]}") from None
            lost = sorted(key for key in report["missing_keys"] if "pooler" not in key)
            if lost or report.get("mismatched_keys"):
                bad = lost or [str(key) for key in report["mismatched_keys"]]
                raise EncoderError(
                    f"{self.folder}: {len(bad)} weights of {self.config.model_type} are missing or of another shape "
                    f"({', '.join(bad[:3])}…): the states would be partly random"
                )
        if self.config.is_encoder_decoder:
            model = model.get_encoder()
        if isinstance(getattr(model, "pooler", None), torch.nn.Module):
            model.pooler = torch.nn.Identity()  # BERT's head on [CLS]: nobody reads what it gives
        model = model.eval().requires_grad_(False).to(self._device)
        if self._device == "cpu" and not self.autocast and not self.compile and onednn.pays():
            packed.pack(model)
        return torch.compile(model, dynamic=True) if self.compile else model

    def release(self) -> None:
        """Frees the weights and the tokenizer; they are loaded again when they are needed."""
        for loaded in ("model", "_sites", "tokenizer"):
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
        items: list[Item] = []
        for start in range(0, len(texts), 4096):  # the tokenizer's own objects are large: a part at a time
            items += self.tokenizer(list(texts[start : start + 4096]), verbose=False)["input_ids"]
        if self.limit is None:
            return items, 0
        long = [i for i, ids in enumerate(items) if len(ids) > self.limit]
        if long:
            short = self.tokenizer([texts[i] for i in long], truncation=True, max_length=self.limit)["input_ids"]
            for i, ids in zip(long, short, strict=True):
                items[i] = ids
        return items, len(long)

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        """The word of `text.split()` that each token of `tokenize` lies in, by character offsets.

        Raises:
            EncoderError: a tokenizer without offsets, or `detokenize=true`, after which the words are no longer the text's.
        """
        if self.detokenize or not self.tokenizer.is_fast:
            why = "encoder.detokenize=true changes the words" if self.detokenize else "its tokenizer gives no character offsets"
            raise EncoderError(f"{self.name}: tokens cannot be aligned with words: {why}")
        cut = {"truncation": True, "max_length": self.limit} if self.limit else {}
        spans = self.tokenizer(list(texts), return_offsets_mapping=True, verbose=False, **cut)["offset_mapping"]
        return [words_of_spans(text, found) for text, found in zip(texts, spans, strict=True)]

    def forward(self, items: Sequence[Item]) -> States:
        ids, real = self._padded(items)
        states = self._run(ids, real, output_hidden_states=True).hidden_states
        if len(states) != self.config.num_hidden_layers + 1:
            raise EncoderError(f"{self.name} returned {len(states)} layers, {self.config.num_hidden_layers + 1} were expected")
        return States(states, self._counted(ids, real))

    def pooled(self, items: Sequence[Item], poolings: Sequence[str]) -> Pooled:
        """What `forward` and poolings give, without holding the states of all layers; the vectors are on the CPU."""
        import torch

        from probing.encoders.hooks import find_sites, watched

        if "_sites" not in self.__dict__:
            # compiled code runs no hooks, and a subclass may have made other states
            hookable = not self.compile and type(self).forward is HuggingFaceEncoder.forward
            self._sites = find_sites(self.model, lambda: self.forward(items[:2]).layers) if hookable else None
        if self._sites is None:
            return pooled_states(self.forward(items), poolings)
        ids, real = self._padded(items)
        mask = self._counted(ids, real)
        pooler, found = Pooler(mask), {}

        def see(layer: int, state: torch.Tensor) -> None:
            state = state.reshape(*mask.shape, -1).float()  # (batch, tokens, dim)
            found[layer] = torch.stack([pooler(state, p) for p in poolings])  # (poolings, batch, dim)

        with watched(self._sites, see):
            self._run(ids, real)
        if len(found) != len(self._sites):  # its way through its modules changed: hooks are no help with this model
            self._sites = None
            return pooled_states(self.forward(items), poolings)
        vectors = torch.stack([found[layer] for layer in range(len(found))], 1).cpu()  # (poolings, layers, batch, dim): one copy
        return Pooled(dict(zip(poolings, vectors, strict=True)), mask.sum(1).cpu())

    def _run(self, ids: Any, real: Any, **more: Any) -> Any:
        import torch

        how = {"dtype": getattr(torch, self.autocast or "bfloat16"), "enabled": self.autocast is not None}
        try:
            with torch.inference_mode(), torch.autocast(self._device, **how):
                return self.model(input_ids=ids, attention_mask=real, **more)
        except Exception as error:  # torch raises many kinds, from its own compiler and from the machine's
            if self.compile and type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                why = str(error).strip().splitlines()[0]
                raise EncoderError(f"encoder.compile=true, but torch cannot compile the model here ({why})") from None
            raise

    def _padded(self, items: Sequence[Item]) -> tuple[Any, Any]:
        """Token ids and attention mask, both (batch, tokens)."""
        import torch

        width = max(map(len, items))
        pad = self.tokenizer.pad_token_id or 0
        ids = torch.tensor([[*item, *[pad] * (width - len(item))] for item in items])  # (batch, tokens)
        real = torch.tensor([[1] * len(item) + [0] * (width - len(item)) for item in items])  # (batch, tokens)
        if self._device == "cpu":
            return ids, real
        return ids.pin_memory().to(self._device, non_blocking=True), real.pin_memory().to(self._device, non_blocking=True)

    def _counted(self, ids: Any, real: Any) -> Any:
        """The mask of what poolings see: (batch, tokens)."""
        import torch

        mask = real.bool()
        if not self.special_tokens:
            special = torch.tensor(sorted(set(self.tokenizer.all_special_ids) - {self.tokenizer.unk_token_id}), device=ids.device)
            mask &= ~torch.isin(ids, special)
        return mask
