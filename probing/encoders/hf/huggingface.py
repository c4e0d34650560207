"""Any `transformers` model, from a local folder or the hub, as a frozen encoder.

Layer 0 is the embedding output and layer k the output of block k. In pre-norm decoders (GPT-2, Llama) the last layer is the state
*after the final norm*, and its name says so; the layers are found by running the model (`probing.encoders.hf.layers`). Weights are
loaded in float32 unless `dtype` is set (transformers would follow the checkpoint). Sentences share a padded batch if that leaves
their states as they are alone, which is checked (`probing.encoders.hf.batching`).

The fingerprint covers the files that decide the vectors (weights, config, tokenizer, adapter), the options, the text around a
sentence (`probing.encoders.hf.frame`), and, for random weights, the seed and the library versions that drew them. Not supported:
attentions and heads as layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from probing.encoders.base import TOKEN_BUDGET, Item, States, resolve_device
from probing.encoders.hf.adapter import quantized
from probing.encoders.hf.batching import LARGE, BatchRunner
from probing.encoders.hf.changes import Changeable
from probing.encoders.hf.engines import ByEngine, check_products, engine_key
from probing.encoders.hf.files import Inspection, ModelFiles
from probing.encoders.hf.frame import Frame, FramedTokens, default_prompt
from probing.encoders.hf.loading import load_model
from probing.encoders.hf.textmodel import TextModel
from probing.encoders.hf.tokens import Tokens
from probing.encoders.pooling import TOKEN_POOLINGS
from probing.errors import EncoderError, ForeignError
from probing.log import info

_TOLERANCE = {"float32": 1e-4, "float16": 0.05, "bfloat16": 0.05}
"""Largest difference of equal states between two batches, as a share of the layer's largest entry; rounding stays below."""

TYPES_AS_WORDS = ("gpt2", "openai-gpt", "ctrl", "gptj", "codegen", "xlm", "flaubert")
"""Families without a matrix for token types: a type would add the vector of the word with its number to every token."""


@dataclass(repr=False)
class HuggingFaceEncoder(ByEngine, Changeable, ModelFiles):
    """The encoder, with the options of `ModelFiles`; nothing is loaded before it is needed."""

    def random_twin(self, seed: int) -> HuggingFaceEncoder:
        drawn = replace(
            self, name=self._source, label=self._label, random_weights=True, init_seed=seed, adapter=None, quantization=None
        )
        return drawn  # an adapter, or 8 bits, are of trained weights

    @cached_property
    def description(self) -> Mapping[str, Any]:
        return {**super().description, **self._template, **engine_key(self._engine)}

    @property
    def _template(self) -> dict[str, Any]:
        """The text of the chat template, for the key, and that token types are not given to a model that reads them as words."""
        if not self.chat:
            types = self.config.model_type in TYPES_AS_WORDS and "token_type_ids" in self.tokenizer.model_input_names
            return {"token_types": "not given"} if types else {}
        frame = self._frame
        assert frame is not None
        return {"chat": {"before": frame.before, "after": frame.after}}

    @cached_property
    def limit(self) -> int | None:
        """Most tokens of a sentence, special ones included; None where the model has no bound."""
        positions = _least(self.inspection.positions, getattr(self.config, "max_position_embeddings", None))
        limit, added = _least(self.max_length, positions, self.tokenizer.model_max_length), self._tokens.added
        if limit is not None and limit <= added:
            raise EncoderError(
                f"{self.name}: sentences may have {limit} tokens (encoder.max_length={self.max_length}, model_max_length="
                f"{self.tokenizer.model_max_length}), of which the tokenizer adds {added}: no room for a word"
            )
        return limit

    @cached_property
    def poolings(self) -> tuple[str, ...]:
        first = self._tokens.first_id
        has_cls = first is not None and first == self.tokenizer.cls_token_id
        return ("cls", *TOKEN_POOLINGS) if has_cls else TOKEN_POOLINGS

    @property
    def dims(self) -> tuple[int, ...]:
        return self.inspection.dims

    @property
    def layer_names(self) -> tuple[str, ...]:
        return self.inspection.layer_names

    @property
    def context_free(self) -> bool:
        """Whether layer 0 depends on no other word, so that it can be the floor `static`."""
        return self.inspection.context_free

    @cached_property
    def inspection(self) -> Inspection:
        """Facts that running the model gives, unless `recall` set them; raises StatesError for layers that cannot be identified."""
        layers = self._text.layers
        longest = _least(self._test_length, layers.positions)
        try:
            batching = self._text.batching(longest)
        except ForeignError:  # it may fail only on long sentences, which then fail by themselves
            longest = _least(longest, 16)
            batching = self._text.batching(longest)
        return Inspection(layers.names, layers.dims, layers.context_free, layers.positions, batching, longest)

    @cached_property
    def obeys_mask(self) -> bool:
        """Whether a word that the attention mask hides changes no state of the other words."""
        return self._text.obeys_mask(self._test_length)

    def remembered(self) -> dict[str, Any]:
        """The inspection as plain JSON, for `recall`."""
        return asdict(self.inspection)

    def recall(self, remembered: Mapping[str, Any]) -> None:
        """Takes an earlier inspection of the same encoder, unless other versions made it."""
        if (inspection := Inspection.of_record(remembered)) is not None:
            self.__dict__.setdefault("inspection", inspection)

    @property
    def company(self) -> str:
        """Which sentences share a batch, one of `probing.encoders.hf.batching.BATCHINGS`."""
        return self._batches.batching

    @cached_property
    def _batches(self) -> BatchRunner:
        lengths = [len(item) for item in self._text.samples(self.inspection.longest)]
        return BatchRunner(self.name, self.inspection.company, self._tolerance, max(lengths), max(lengths) - min(lengths))

    @property
    def _tolerance(self) -> float:
        return _TOLERANCE[self.autocast or self.dtype]

    @cached_property
    def _tokens(self) -> Tokens:
        absent = {"token_type_ids"} if self.config.model_type in TYPES_AS_WORDS else set()
        tokens = Tokens(self.name, self.folder, lambda: self._text.input_names - absent, self.chat, self.trust_remote_code)
        self._tell_unused()
        return tokens

    def _tell_unused(self) -> None:
        """Logs what of a sentence-transformers folder is not used: its modules, its prompt for each sentence."""
        if not self.random_weights and not self.package and (self.folder / "modules.json").is_file():
            info(f"{self.name}: its transformer alone is read; encoder=sentence-transformer has its other modules too")
        if not self.prompt and not self.random_weights and (text := default_prompt(self.folder)):
            info(f"{self.name}: its default prompt {text!r} is not put before the sentences; encoder.prompt={text!r} does that")

    @cached_property
    def _frame(self) -> Frame | None:
        """The text around each sentence; None: nothing."""
        if self.chat:
            return Frame.of_chat(self.name, self.folder, self.tokenizer, self.generation_prompt)
        return Frame(self.name, self.prompt) if self.prompt else None

    @cached_property
    def _framed(self) -> FramedTokens | None:
        """What reads a sentence with that around it."""
        return None if self._frame is None else FramedTokens(self._frame, self._tokens, exact=self.chat or self.span == "sentence")

    @property
    def _skipped(self) -> tuple[int, int]:
        """How many tokens at the beginning and at the end of each sentence the poolings leave out."""
        if self.span == "all" or self._framed is None:
            return (0, 0)
        before, after = self._framed.seams
        return len(before), len(after)

    def _head(self) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None:
        """What makes the pooling `sentence` (`TextModel.head`)."""
        return None

    @property
    def tokenizer(self) -> Any:
        return self._tokens.tokenizer

    @cached_property
    def _device(self) -> str:
        device = resolve_device(self.device)
        check_products(self.autocast, device)
        return device

    @property
    def token_budget(self) -> int:
        """Most tokens in a batch of extraction; more on a GPU, where small products leave it idle (the factor is a guess)."""
        return TOKEN_BUDGET if self._device == "cpu" else 16 * TOKEN_BUDGET

    def _module(self) -> Any:
        """The part of the model that reads text, with the folder's weights or drawn ones."""
        seed, dtype = self.init_seed if self.random_weights else None, getattr(torch, self.dtype)
        how = quantized(self.quantization, dtype, self._device) if self.quantization else {}
        return load_model(self.folder, self._whole_config, dtype, seed, self.trust_remote_code, self._adapter, **how)

    def _load(self) -> Any:
        """The part of the model that reads text, ready to run."""
        module = self._module()
        if isinstance(getattr(module, "pooler", None), torch.nn.Module):
            module.pooler = torch.nn.Identity()  # BERT's head on [CLS], whose output is not used
        module = module.eval().requires_grad_(False)
        module = module if self.quantization else module.to(self._device)  # quantised weights are there already
        if hasattr(module, "config"):
            module.config.return_dict = True  # old folders may say false
        return module

    @cached_property
    def _text(self) -> TextModel:
        text = TextModel(self, self._load(), self._tokens, self._device, self._tolerance)
        self.__dict__["_text"] = text  # `_tokens` reads the names of its inputs
        try:
            text.skipped, text.head = self._skipped, self._head()
            text.find_layers(self._test_length)
        except Exception:
            del self.__dict__["_text"]
            raise
        return text

    @property
    def model(self) -> Any:
        return self._text.model

    @property
    def _test_length(self) -> int | None:
        """Most tokens of a test sentence, by options and files."""
        positions = getattr(self.config, "max_position_embeddings", None) or 0
        bound = _least(self.max_length, self.tokenizer.model_max_length, positions - 4)  # some families reserve a few rows
        return None if bound is None else max(bound, self._tokens.added + 2)

    def release(self) -> None:
        for name in ("_graph", "_text", "_tokens", "_framed", "_frame"):
            self.__dict__.pop(name, None)

    def tokenize(self, texts: Sequence[str]) -> tuple[list[Item], int]:
        if self.detokenize:
            texts = [self._detokenizer.detokenize(text.split(" ")) for text in texts]
        if self._framed is not None:
            return self._framed.items(texts, self.limit)
        items = self._tokens.items(texts)
        long = [i for i, item in enumerate(items) if self.limit is not None and len(item) > self.limit]
        if long:
            for i, item in zip(long, self._tokens.cut([texts[i] for i in long], self.limit), strict=True):
                items[i] = item
        return items, len(long)

    def unknown_tokens(self, items: Sequence[Item]) -> dict[str, int]:
        return self._tokens.unknown(items)

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        """The words, by character offsets; raises EncoderError for a tokenizer without them, and for `detokenize=true`."""
        if self.detokenize:
            raise EncoderError(f"{self.name}: tokens cannot be aligned with words: encoder.detokenize=true changes the words")
        return (self._framed or self._tokens).word_ids(texts, self.limit)

    def forward(self, items: Sequence[Item]) -> States:
        return self._batches.run(items, self._text.forward)

    def try_company(self, items: Sequence[Item]) -> None:
        """Checks, once, whether a large batch of one length changes its sentences; to be called before `together`."""
        if len(items) >= LARGE and not self._batches.checked_large:
            self.forward(items)

    def together(self, items: Sequence[Item]) -> States:
        """`forward` of items of one length in one batch, for masks that were set for these rows."""
        return self._text.forward(items)

    def logits(self, whole: Any, items: Sequence[Item], places: torch.Tensor | None = None, **decoder: Any) -> torch.Tensor:
        """What `whole`, a model with a head whose base is this encoder's `model`, predicts: (batch, tokens, vocabulary), or at
        `places` (batch, k) alone; `decoder`: inputs of a decoder, whose tokens they then are."""
        return self._text.logits(whole, items, places, **decoder)

    def pretokens(self, texts: Sequence[str]) -> list[list[int | None]]:
        """For each token the word of the tokenizer's own pre-tokenizer; EncoderError for a tokenizer without them."""
        return self._tokens.pretokens(texts, self.limit)


def label_of(model: Any) -> str:
    """The last part of the name under which a model was loaded, else its class."""
    name = getattr(getattr(model, "config", None), "_name_or_path", "") or type(model).__name__
    return Path(str(name)).name


def _least(*bounds: int | None) -> int | None:
    """The smallest bound; None, 0 and a tokenizer's huge default are none."""
    return min((n for n in bounds if n and 0 < n < 10**6), default=None)
