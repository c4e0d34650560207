"""Encoders as language models: the log-probability of what stands at a position, from one forward pass of the encoder's modules.

    causal, forward     log p(x_t | x_1 ... x_t-1)          row t of the state at t - 1, through the head
    causal, backward    log p(x_t | x_t+1 ... x_n)          row t of the state at t + 1
    masked              log p(x_t | the item as it is)      row t of the state at t; the caller puts the masks

Networks that `probing train` made with `objective=lm` have the head that they were trained with; a network that reads both ways is
two models, whose sum is not a log-probability. Models of `transformers` have the head of their own files, textgenrnn its softmax
over characters. Models with encoder and decoder give a target's probabilities given its source, where `sources` says that the texts
have some (`probing.behaviour.translation`). Natural logarithms throughout.
"""

from __future__ import annotations

from probing.behaviour.base import LanguageModel, no_head, no_translation
from probing.behaviour.networks import HEAD, CharacterModel, NetworkModel
from probing.behaviour.transformers_models import TransformersModel
from probing.behaviour.translation import TranslationModel
from probing.encoders.base import Encoder
from probing.encoders.elmo.textgenrnn import TextgenrnnEncoder
from probing.encoders.hf import lm_head
from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.encoders.networks.checkpoint import CheckpointEncoder
from probing.errors import EncoderError

__all__ = ["LanguageModel", "language_model", "language_models"]


def language_model(encoder: Encoder, direction: str | None = None, sources: bool = False) -> LanguageModel:
    """The encoder as a language model; of a network that reads both ways the forward one, or that of `direction`; `sources`: as one
    of targets given their sources.

    Raises:
        EncoderError: it has no files, no language-model head, does not read in this direction, or reads sources where there are
            none, or the reverse.
    """
    model = _model(encoder, direction, sources)
    if direction not in (None, model.direction):
        raise EncoderError(f"{encoder.name} reads {model.direction}, not {direction}")
    return model


def language_models(encoder: Encoder, sources: bool = False) -> list[LanguageModel]:
    """All language models of an encoder: two, forward and backward, of a network that reads both ways."""
    first = language_model(encoder, sources=sources)
    both = isinstance(first, NetworkModel) and first.reads == "both"
    return [first, language_model(encoder, "backward")] if both else [first]


def _model(encoder: Encoder, direction: str | None, sources: bool) -> LanguageModel:
    kind = lm_head.kind_of(encoder) if isinstance(encoder, HuggingFaceEncoder) else None
    if sources and kind != "translation":
        raise no_translation(encoder)
    if kind == "translation" and not sources:
        raise EncoderError(
            f"{encoder.name} is an encoder-decoder model, which scores a text given its source: data=contrastive with "
            "+experiment=minimal_pairs"
        )
    if isinstance(encoder, CheckpointEncoder):
        _ = encoder.architecture  # a folder that is missing, or no checkpoint, is named before the head is
        if (encoder.folder / HEAD).is_file():
            return NetworkModel(encoder, direction)
    if isinstance(encoder, TextgenrnnEncoder):
        return CharacterModel(encoder)
    if isinstance(encoder, HuggingFaceEncoder) and kind is not None and (whole := lm_head.with_head(encoder, kind)) is not None:
        return TranslationModel(encoder, whole) if kind == "translation" else TransformersModel(encoder, kind, whole)
    raise no_translation(encoder) if sources else no_head(encoder)
