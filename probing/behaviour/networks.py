"""The suite's own networks, and textgenrnn, as language models."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import SimpleNamespace

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from probing.behaviour.base import LanguageModel, no_head
from probing.encoders.base import Item
from probing.encoders.elmo.elmo_style import ELMoStyle
from probing.encoders.elmo.textgenrnn import START, TextgenrnnEncoder
from probing.encoders.networks.checkpoint import VOCABULARY, CheckpointEncoder
from probing.encoders.networks.vocabulary import CLOSE, MASK, OPEN, PAD, UNKNOWN, TrainedVocabulary
from probing.errors import EncoderError

HEAD = "head.safetensors"


class NetworkModel(LanguageModel):
    """A network of `probing train objective=lm` with its adaptive softmax, of one direction."""

    unknown, special = UNKNOWN, frozenset((PAD, OPEN, CLOSE, MASK))

    def __init__(self, encoder: CheckpointEncoder, direction: str | None):
        super().__init__(encoder)
        architecture = encoder.architecture
        self.reads = architecture.reads
        self.direction = self.reads if self.reads != "both" else "backward" if direction == "backward" else "forward"
        self.kind, self.mask = ("masked", MASK) if self.reads == "all" else ("causal", None)
        self.from_letters = isinstance(architecture, ELMoStyle)
        self.starts = self.from_letters  # its network puts the marks at the ends itself
        self.begin, self.end = (None, None) if self.from_letters else (OPEN, CLOSE)
        states = list(getattr(architecture, "states", ["hidden"]))
        if "hidden" not in states:
            raise EncoderError(f"{encoder.name}: encoder.states={states} leaves out hidden, which its language-model head reads")
        self.top = states.index("hidden") - len(states)
        self.width = architecture.state_width
        self.limit = encoder.max_length
        self.counted = TrainedVocabulary(encoder._text(VOCABULARY))
        _ = self.head  # a classifier's head is refused at once

    @cached_property
    def _tensors(self) -> Mapping[str, torch.Tensor]:
        try:
            return load(self.encoder._bytes(HEAD))
        except SafetensorError as error:
            raise EncoderError(f"{self.encoder.folder / HEAD} cannot be read: {error}") from None

    @property
    def head_sha256(self) -> str:
        if self.encoder.random_weights:
            return "drawn"
        return hashlib.sha256(self.encoder._bytes(HEAD)).hexdigest()

    @cached_property
    def head(self) -> nn.AdaptiveLogSoftmaxWithLoss | Softmax:
        """The trained head, or one drawn from the encoder's seed, in the sizes of the file."""
        tensors = {name.removeprefix("head."): value for name, value in self._tensors.items()}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.encoder.init_seed)
            head = head_like(tensors)
        if head is None:
            raise no_head(self.encoder)
        if not self.encoder.random_weights:
            head.load_state_dict(tensors)
        return head.eval().requires_grad_(False).to(next(self.encoder.network.parameters()).device)

    def pretokens(self, texts: Sequence[str]) -> list[list[int | None]]:
        if self.from_letters:
            return self.word_ids(texts)
        return [self.encoder._cut(owners, None) for owners in self.counted.pretokens(texts)]

    def targets(self, texts: Sequence[str]) -> list[list[int]]:
        if self.from_letters:  # items are letters; its softmax is over words
            return [ids[1:-1][: self.limit] for ids in self.counted.ids(texts)]
        return super().targets(texts)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return self.counted.pieces(ids)

    def _predicting(self, items: Sequence[Item]) -> torch.Tensor:
        """The states from which each position is predicted, (batch, tokens, width), NaN where there is none."""
        network = self.encoder.network
        top = network(*network.batch(items))[self.top]
        top = top[..., -self.width :] if self.direction == "backward" else top[..., : self.width]
        if self.direction == "all":
            return top
        none = torch.full_like(top[:, :1], torch.nan)
        if self.direction == "forward":
            shifted = torch.cat([none, top[:, :-1]], 1)
        else:  # padding stands on the right: the last position of an item reads what lies behind it, and is not used
            shifted = torch.cat([top[:, 1:], none], 1)
        return shifted[:, network.margin : shifted.shape[1] - network.margin]

    def log_probabilities(self, items: Sequence[Item]) -> list[torch.Tensor]:
        with torch.inference_mode():
            states, rows = self._predicting(items), []
            for state, item in zip(states, items, strict=True):
                usable = [t for t in range(len(item)) if self.predicts(t, len(item))]
                row = state.new_full((len(item), self.head.n_classes), torch.nan)
                if usable:
                    row[usable] = self.head.log_prob(state[usable])
                rows.append(row)
        return rows

    def picked(
        self, items: Sequence[Item], places: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
    ) -> list[torch.Tensor]:
        """As `LanguageModel.picked`; the softmax is computed at the places, and for the clusters of the targets alone."""
        sizes = [len(some) for some in places]
        with torch.inference_mode():
            states = self._predicting(items)
            row = [k for k, size in enumerate(sizes) for _ in range(size)]
            flat = states[row, [t for some in places for t in some]]  # (all places, width)
            ids = torch.tensor([number for some in targets for number in some], device=states.device)
            values = self.head(flat, ids).output if len(row) else flat.new_zeros(0)
            usable = [self.predicts(t, len(items[k])) for k, some in enumerate(places) for t in some]
            values = values.masked_fill(~torch.tensor(usable, dtype=torch.bool, device=values.device), torch.nan)
        return list(values.split(sizes))


class Softmax(nn.Linear):
    """A linear map to the logits of all words, with the methods of the adaptive softmax that are used."""

    @property
    def n_classes(self) -> int:
        return self.out_features

    def log_prob(self, states: torch.Tensor) -> torch.Tensor:
        return super().forward(states).log_softmax(-1)

    def forward(self, states: torch.Tensor, targets: torch.Tensor) -> SimpleNamespace:  # type: ignore[override]
        return SimpleNamespace(output=self.log_prob(states).gather(1, targets[:, None])[:, 0])


def head_like(tensors: Mapping[str, torch.Tensor]) -> nn.AdaptiveLogSoftmaxWithLoss | Softmax | None:
    """A head with weights of these names and shapes, drawn anew; None where they are no language model's.

    The shortlist of the adaptive softmax has one row for each of its words and one for each cluster, so its cut-offs follow.
    """
    if tensors.keys() <= {"weight", "bias"} and "weight" in tensors:
        return Softmax(tensors["weight"].shape[1], len(tensors["weight"]), bias="bias" in tensors)
    sizes = [len(tensors[f"tail.{k}.1.weight"]) for k in range(len(tensors)) if f"tail.{k}.1.weight" in tensors]
    if not sizes or "head.weight" not in tensors:
        return None
    cutoffs = [len(tensors["head.weight"]) - len(sizes)]
    for size in sizes:
        cutoffs.append(cutoffs[-1] + size)
    return nn.AdaptiveLogSoftmaxWithLoss(
        tensors["head.weight"].shape[1], cutoffs[-1], cutoffs[:-1], head_bias="head.bias" in tensors
    )


class CharacterModel(LanguageModel):
    """textgenrnn: characters, each read in its window; its mark of the beginning stands before every item, and also ends a text."""

    starts = by_letters = True
    unknown = 0

    def __init__(self, encoder: TextgenrnnEncoder):
        super().__init__(encoder)
        self.end = encoder.ids[START]
        self.special = frozenset({self.end})
        self.limit = encoder.max_length

    def word_ids(self, texts: Sequence[str]) -> list[list[int | None]]:
        """Blanks after the last word belong to it."""
        rows = self.encoder.word_ids(texts)
        return [[max(0, len(text.split()) - 1) if k is None else k for k in row] for text, row in zip(texts, rows, strict=True)]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        letters = {number: character for character, number in self.encoder.ids.items()}
        return [letters.get(number, "<unk>") for number in ids]

    def log_probabilities(self, items: Sequence[Item]) -> list[torch.Tensor]:
        weights, bias = self.encoder.softmax
        top = self.encoder.forward(items).layers[-1]  # (batch, tokens, width)
        with torch.inference_mode():
            before = self.encoder.at_start[None].expand(len(items), -1, -1)  # (batch, 1, width)
            rows = (torch.cat([before, top[:, :-1]], 1) @ weights + bias).log_softmax(-1)
        return [row[: len(item)] for row, item in zip(rows, items, strict=True)]
