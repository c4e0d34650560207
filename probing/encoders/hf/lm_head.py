"""The language-model head of a `transformers` model, on top of the very modules that the encoder runs.

The whole model is loaded by the library's class with a head; its base is then replaced by the encoder's own module, so that hooks
on the encoder reach the head too, and tied weights are tied again. Of a model with encoder and decoder the encoder is replaced, and
the decoder with its head is the whole model's.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from probing.encoders.hf.embeddings import InputEmbeddings
from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.encoders.hf.loaded import LoadedModel
from probing.encoders.hf.loading import refused, transformers_quiet
from probing.encoders.memory import shared_copy
from probing.errors import EncoderError

KINDS = {"masked": "AutoModelForMaskedLM", "causal": "AutoModelForCausalLM", "translation": "AutoModelForSeq2SeqLM"}


def kind_of(encoder: HuggingFaceEncoder) -> str | None:
    """translation of a model with encoder and decoder; else masked or causal, by the class that the config names, else by the
    family; None where the family has no such head."""
    import transformers

    if isinstance(encoder, InputEmbeddings):
        return None
    config = encoder._whole_config
    if getattr(config, "is_encoder_decoder", False) and type(config) in transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING:
        return "translation"
    mappings = {"masked": transformers.MODEL_FOR_MASKED_LM_MAPPING, "causal": transformers.MODEL_FOR_CAUSAL_LM_MAPPING}
    own = getattr(config, "auto_map", None) or {}
    families = {kind for kind, mapping in mappings.items() if type(config) in mapping or KINDS[kind] in own}
    named = getattr(config, "architectures", None) or ()
    for kind in families:
        cls = mappings[kind][type(config)] if type(config) in mappings[kind] else None
        if cls is not None and cls.__name__ in named:
            return kind
    first = ("causal", "masked") if getattr(config, "is_decoder", False) else ("masked", "causal")
    return next((kind for kind in first if kind in families), None)


def with_head(encoder: HuggingFaceEncoder, kind: str) -> Any:
    """The whole model with the encoder's module as its base; None where the files hold no weights of the head.

    Raises:
        EncoderError: the head does not sit on the part of the model that is read as an encoder.
    """
    body = encoder.model
    whole = _whole(encoder, kind)
    if whole is None:
        return None
    inner = getattr(body, "_orig_mod", body)  # torch.compile wraps the module
    if kind == "translation":
        return _with_encoder(encoder.name, whole, body, inner)
    if whole.base_model is whole or type(inner) is not type(whole.base_model):
        raise EncoderError(
            f"{encoder.name}: the head of a {type(whole).__name__} sits on a {type(whole.base_model).__name__}, but the encoder is "
            f"its {type(inner).__name__}"
        )
    setattr(whole, whole.base_model_prefix, body)
    if not encoder.compile:
        whole.tie_weights()
    return whole.eval().requires_grad_(False)


def _with_encoder(name: str, whole: Any, body: Any, inner: Any) -> Any:
    """The model with encoder and decoder with this module as its encoder."""
    own = whole.get_encoder()
    if type(inner) is not type(own):
        raise EncoderError(f"{name}: its model has a {type(own).__name__} as encoder, but what is read is a {type(inner).__name__}")
    path = next(path for path, module in whole.named_modules() if module is own)
    owner, _, last = path.rpartition(".")
    setattr(whole.get_submodule(owner), last, body)
    return whole.eval().requires_grad_(False)


def _whole(encoder: HuggingFaceEncoder, kind: str) -> Any:
    """The model with a head of its own: a copy of the one in memory, drawn, or loaded."""
    import transformers

    cls, config, trust = getattr(transformers, KINDS[kind]), encoder._whole_config, encoder.trust_remote_code
    why = f"{encoder.name}: its language-model head cannot be loaded"
    if isinstance(encoder, LoadedModel) and not encoder.random_weights:
        given = encoder.loaded
        given = given.get_base_model() if hasattr(given, "get_base_model") else given
        if not given.can_generate() and not type(given).__name__.endswith("MaskedLM"):
            return None
        if kind == "translation":
            return shared_copy(given)
        whole = copy.copy(given)
        whole._modules = dict(given._modules)  # the user's model keeps its own base
        return whole
    if encoder.random_weights:
        with torch.random.fork_rng(devices=[]), transformers_quiet(), refused(why):
            torch.manual_seed(encoder.init_seed)
            code = {"trust_remote_code": True} if trust else {}
            return cls.from_config(config, dtype=getattr(torch, encoder.dtype), **code).to(encoder._device)
    with transformers_quiet(), refused(why):
        whole, report = cls.from_pretrained(
            encoder.folder, dtype=getattr(torch, encoder.dtype), output_loading_info=True, trust_remote_code=trust
        )
    base = f"{whole.base_model_prefix}." if kind != "translation" else "none of its names"
    if any(not key.startswith(base) for key in (*report["missing_keys"], *map(str, report.get("mismatched_keys", ())))):
        return None
    return whole.to(encoder._device)
