"""Models of `transformers` with a causal or masked head as language models."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch

from probing.behaviour.base import LanguageModel
from probing.encoders.base import Item
from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.errors import EncoderError


class WithHead(LanguageModel):
    """A model of `transformers`, `whole`, whose fingerprint covers the weights that begin with `covered`; None: none."""

    def __init__(self, encoder: HuggingFaceEncoder, whole: Any, covered: str | None):
        super().__init__(encoder)
        self.whole, self._covered = whole, covered

    @property
    def head_sha256(self) -> str | None:
        if getattr(self.encoder, "loaded", None) is None:
            return None  # the fingerprint covers the files
        digest = hashlib.sha256()
        for name, value in sorted(self.whole.state_dict().items()):
            if self._covered is None or not name.startswith(self._covered):
                digest.update(name.encode() + value.detach().cpu().float().numpy().tobytes())
        return digest.hexdigest()

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return list(self.encoder.tokenizer.convert_ids_to_tokens(list(ids)))

    def release(self) -> None:
        self.whole = None
        super().release()


class TransformersModel(WithHead):
    """A model of `transformers` with a causal or masked head."""

    def __init__(self, encoder: HuggingFaceEncoder, kind: str, whole: Any):
        super().__init__(encoder, whole, f"{whole.base_model_prefix}.")
        self.kind = kind
        self.direction = "forward" if kind == "causal" else "all"
        tokenizer, config = encoder.tokenizer, encoder.config
        self.unknown, self.special, self.limit = tokenizer.unk_token_id, encoder._tokens.special, encoder.limit
        self.begin = _first(tokenizer.bos_token_id, getattr(config, "bos_token_id", None), tokenizer.cls_token_id)
        self.end = _first(tokenizer.eos_token_id, getattr(config, "eos_token_id", None), tokenizer.sep_token_id)
        self.mask = tokenizer.mask_token_id if kind == "masked" else None
        if kind == "masked" and self.mask is None:
            raise EncoderError(f"{encoder.name}: its tokenizer has no mask token, so no word can be hidden")
        self.special |= frozenset(token for token in (self.begin, self.end) if token is not None)

    def pretokens(self, texts: Sequence[str]) -> list[list[int | None]]:
        return self.encoder.pretokens(texts)

    def log_probabilities(self, items: Sequence[Item]) -> list[torch.Tensor]:
        logits = self.encoder.logits(self.whole, items).float()
        with torch.inference_mode():
            rows = logits.log_softmax(-1)
            if self.kind == "causal":
                rows = torch.cat([torch.full_like(rows[:, :1], torch.nan), rows[:, :-1]], 1)
        return [row[: len(item)] for row, item in zip(rows, items, strict=True)]

    @property
    def company(self) -> str:  # type: ignore[override]
        return str(self.encoder.company)

    def picked(
        self, items: Sequence[Item], places: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
    ) -> list[torch.Tensor]:
        """As `LanguageModel.picked`; the head is applied at the places alone."""
        shift, width = int(self.kind == "causal"), max(map(len, places))
        if not width:
            return [torch.zeros(0) for _ in items]
        wanted = torch.tensor([[*(max(0, t - shift) for t in some), *[0] * (width - len(some))] for some in places])
        ids = torch.tensor([[*some, *[0] * (width - len(some))] for some in targets])
        logits = self.encoder.logits(self.whole, items, wanted).float()  # (batch, width, vocabulary)
        with torch.inference_mode():
            rows = logits.log_softmax(-1).gather(2, ids.to(logits.device)[..., None])[..., 0]
        results = [row[: len(some)] for row, some in zip(rows, places, strict=True)]
        if shift:
            results = [
                row.masked_fill(torch.tensor([t == 0 for t in some], device=row.device), torch.nan)
                for row, some in zip(results, places, strict=True)
            ]
        return results


def _first(*ids: int | list[int] | None) -> int | None:
    """The first id that there is; some configs hold several of a kind."""
    for given in ids:
        if given is not None:
            return given[0] if isinstance(given, list) else given
    return None
