"""Every architecture gives the states of the plain model, under names that say what they are, or is refused in one sentence."""

import numpy as np
import pytest
from architectures import ARCHITECTURES, TEXTS, block_states, build, plain_states, save, tokenizer

from probing import load_encoder
from probing.encoders.conformance import check
from probing.errors import EncoderError
from probing.store.extraction import extract
from probing.types import Representation

REFUSED = {
    "pegasus-x": "hands out a tuple for a layer",
    "gemma3n-text": r"states of shape \(2, 2, \d+, 32\) for a layer",
    "canine": r"states of shape \(2, \d+, 32\) for a layer, expected \(2, \d+, dim\)",
    "flaubert-pre-norm": "TypeError: 'EncoderDecoderCache' object is not subscriptable",
    "lilt": "RuntimeError: mat1 and mat2 shapes cannot be multiplied",
    "bros": "ValueError: You have to specify bbox",
    "perceiver": "TypeError: .*missing 1 required positional argument: 'inputs'",
    "funnel": r"states of shape",
    "funnel-base": r"states of shape",
}
DEPEND = {
    "fnet": "one length", "convbert": "one length", "mobilebert": "one length", "nystromformer": "one length", "yoso": "one length",
    "reformer": "one length", "bigbird": "one length", "bigbird-pegasus": "one length",
}  # fmt: skip


def far(ours: np.ndarray, right: np.ndarray) -> float:
    return float(np.abs(ours - right).max() / np.abs(right).max())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_states_and_names_are_those_of_the_plain_model(name, tmp_path):
    model, tokens = build(name), tokenizer()
    encoder = load_encoder("hf", name=str(save(model, tmp_path / name)))
    if name in REFUSED:
        with pytest.raises(EncoderError, match=REFUSED[name]):
            _ = encoder.layer_names
        return
    vectors = extract(encoder, encoder.tokenize(TEXTS)[0], ("mean",))
    right = [np.stack([state.mean(0) for state in states]) for states in zip(*plain_states(model, tokens), strict=True)]
    names = encoder.layer_names
    added = len(names) - len(right)  # the input of block 1, where the model does not hand it out
    assert added == (names[:2] == ("embeddings", "block 1") and name.startswith(("mamba", "falcon-mamba", "rwkv")))
    assert encoder.dims == tuple(vectors[Representation(k, "mean")].shape[1] for k in range(len(names)))
    for k, state in enumerate(right):
        assert far(vectors[Representation(k + added, "mean")], state) < 1e-4, names[k + added]

    assert encoder.company == DEPEND.get(name, "padded")
    if (blocks := block_states(name, model, tokens, TEXTS[1])) is None:
        return
    taken, given = blocks
    [layers] = [[layer[0].numpy() for layer in encoder.forward(encoder.tokenize(TEXTS[1:2])[0]).layers]]
    assert taken is None or far(layers[0], taken) < 1e-5
    for k, state in enumerate(given[:-1], 1):
        assert names[k] == f"block {k}" and far(layers[k], state) < 1e-5
    raw = layers[-1].shape == given[-1].shape and far(layers[-1], given[-1]) < 1e-5
    assert (names[-1] == f"block {len(given)}") == raw and names[-1].startswith(f"block {len(given)}")
    assert raw or "norm" in names[-1] or name == "opt-350m"


@pytest.mark.parametrize("name", ["bert", "mamba", "rwkv", "mobilebert", "gpt2", "albert"])
def test_layer_0_is_called_embeddings_only_where_no_other_word_matters(name, tmp_path):
    encoder = load_encoder("hf", name=str(save(build(name), tmp_path / name)))
    states = encoder.forward(encoder.tokenize(["The cat runs .", "Dogs cat runs ."])[0]).layers
    moved = bool((states[0][0, 2:] - states[0][1, 2:]).abs().max() > 0)
    assert moved == (not encoder.context_free) == (encoder.layer_names[0] != "embeddings") == (name == "mobilebert")


@pytest.mark.parametrize("name", ["bert", "fnet", "mobilebert", "mamba", "longformer"])
def test_probing_check_agrees(name, tmp_path):
    """Padded, one length, that with a layer 0 that sees other words, no attention, and one that pads by itself."""
    folder = str(save(build(name), tmp_path / name))
    result = check(lambda: load_encoder("hf", name=folder), texts=TEXTS)
    assert result.ok, str(result)
