"""The conformance suite itself: each rule must fail on an encoder that breaks it, and on no other."""

from dataclasses import dataclass, replace

import pytest
import torch
from toys import ToyEncoder

from probing.encoders.base import States, pooled_states
from probing.encoders.conformance import check
from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.errors import EncoderError


@dataclass
class Bare(ToyEncoder):
    """A toy encoder that conforms; the ones below each break one rule."""

    def forward(self, items):
        if not items:
            raise EncoderError("nothing to read")
        return super().forward(items)


class LeaksPadding(Bare):
    def forward(self, items):
        states = super().forward(items)
        return States([layer + layer.mean((1), keepdim=True) * 0.1 for layer in states.layers], states.mask)


class CarriesState(Bare):
    carried = 0.0

    def forward(self, items):
        states = super().forward(items)
        type(self).carried += 0.01
        return States([layer + self.carried for layer in states.layers], states.mask)


class LooksAtTheBatch(Bare):
    def forward(self, items):
        states = super().forward(items)
        return States([layer + 0.01 * torch.arange(len(items))[:, None, None] for layer in states.layers], states.mask)


class KeepsGradient(Bare):
    def forward(self, items):
        states = super().forward(items)
        return States([layer.requires_grad_() for layer in states.layers], states.mask)


class WrongWidth(Bare):
    @property
    def dims(self):
        return (self.width + 1,) * self.n_layers


class TooFewNames(Bare):
    @property
    def layer_names(self):
        return ("one",)


class Drowned(Bare):
    def forward(self, items):
        states = super().forward(items)
        return States([layer * float("nan") for layer in states.layers], states.mask)


class DrownsAlone(Bare):
    def forward(self, items):
        states = super().forward(items)
        return States([layer * float("nan") for layer in states.layers], states.mask) if len(items) == 1 else states


class DrownsInLength(Bare):
    def forward(self, items):
        states = super().forward(items)
        return States([layer / (max(map(len, items)) < 1000) for layer in states.layers], states.mask)


class DrownsInEmptiness(Bare):
    def forward(self, items):
        states = super().forward(items)
        return States([layer / (min(map(len, items)) > 1) for layer in states.layers], states.mask)


class CrashesOnSymbols(Bare):
    def tokenize(self, texts):
        [text.encode("ascii") for text in texts]
        return super().tokenize(texts)


class LosesWords(Bare):
    def word_ids(self, texts):
        return [[None, *([0] * len(text.split()))] for text in texts]


class TokenizesByBatch(Bare):
    def tokenize(self, texts):
        items, cut = super().tokenize(texts)
        return [[*item, 2] if len(texts) > 1 else item for item in items], cut

    def word_ids(self, texts):
        return [[*ids, None] if len(texts) > 1 else ids for ids in super().word_ids(texts)]


class Amnesiac(Bare):
    def release(self):
        self.seed += 1


class SameTwins(Bare):
    def random_twin(self, seed):
        return replace(self, seed=1000)


class ChangesItsMark(Bare):
    made = 0

    @property
    def description(self):
        type(self).made += 1
        return {"made": type(self).made}


class ForgetsWeights(Bare):
    @property
    def description(self):
        return {"seed": "not mine"}

    def random_twin(self, seed):
        return None


class PoolsAnotherLayer(Bare):
    def pooled(self, items, poolings):
        result = pooled_states(self.forward(items), poolings)
        return replace(result, vectors={pooling: layers[::-1] for pooling, layers in result.vectors.items()})


class CountsPadding(Bare):
    def pooled(self, items, poolings):
        result = pooled_states(self.forward(items), poolings)
        return replace(result, counted=result.counted * 0 + max(map(len, items)))


def failed(report):
    return [rule.rule for rule in report.checks if rule.held is False]


def test_a_sound_encoder_conforms():
    report = check(Bare, changed=Bare(seed=1))
    assert report.ok and all(rule.held for rule in report.checks if "embeddings" not in rule.rule), str(report)
    assert "toy: conforms" in str(report)
    alone = check(Bare())
    assert alone.ok and [rule.rule for rule in alone.checks if rule.held is None] == [
        "layer 0 is called embeddings only if it does not depend on other words",
        "made again, it has the same fingerprint and states",
        "a changed weight changes states and fingerprint",
    ]


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (LeaksPadding, "a sentence alone equals"),
        (CarriesState, "the same batch twice"),
        (LooksAtTheBatch, "the order of sentences"),
        (KeepsGradient, "states carry no gradient"),
        (WrongWidth, "as many layers as names"),
        (TooFewNames, "as many layers as names"),
        (Drowned, "as many layers as names"),
        (DrownsAlone, "a sentence alone equals"),
        (DrownsInLength, "a sentence of 2,000 words"),
        (DrownsInEmptiness, "an empty sentence"),
        (CrashesOnSymbols, "unknown symbols"),
        (LosesWords, "every token knows its word"),
        (TokenizesByBatch, "tokens do not depend"),
        (Amnesiac, "released and loaded again"),
        (SameTwins, "random twins follow their seed"),
        (ChangesItsMark, "made again"),
        (PoolsAnotherLayer, "the poolings that it makes itself"),
        (CountsPadding, "the poolings that it makes itself"),
    ],
)
def test_a_broken_rule_is_found(broken, rule):
    report = check(broken)
    assert not report.ok and any(name.startswith(rule) for name in failed(report)), str(report)
    assert "does not conform" in str(report)


def test_a_fingerprint_that_overlooks_the_weights_is_found():
    report = check(ForgetsWeights, changed=ForgetsWeights(seed=1))
    assert failed(report) == ["a changed weight changes states and fingerprint"]


def test_what_is_no_encoder_is_said_at_once():
    report = check(lambda: object())
    assert not report.ok and "missing: name" in report.checks[0].detail


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama", "t5"])
def test_transformers_models_conform(tiny, kind):
    other = HuggingFaceEncoder(str(tiny(kind)), label="other")
    report = check(lambda: HuggingFaceEncoder(str(tiny(kind))), changed=other.random_twin(5))
    assert report.ok, str(report)
