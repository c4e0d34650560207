"""States seen by hooks are the model's own states, bit for bit; options that a device lacks."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from toys import ToyEncoder

from probing.encoders.base import Encoder, fingerprint, pooled, pooled_states
from probing.encoders.hf.embeddings import InputEmbeddings
from probing.encoders.hf.hooks import Site, sites_of, trace, watched
from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.encoders.hf.textmodel import TextModel
from probing.errors import EncoderError
from probing.provenance import multiplies_bfloat16
from probing.store.extraction import extract
from probing.types import Representation

TEXTS = ["the cat runs .", "dogs", "the big dog sees the small cat because they run .", "it ran and they saw .", "dogs and cats"]
SMALL = {
    "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 40,
}  # fmt: skip
FAMILIES = {
    "bert": lambda: transformers.BertConfig(**SMALL),
    "albert": lambda: transformers.AlbertConfig(embedding_size=8, **SMALL),  # one layer, called three times
    "gpt2": lambda: transformers.GPT2Config(vocab_size=50, n_embd=16, n_layer=3, n_head=2, bos_token_id=1, eos_token_id=2),
    "llama": lambda: transformers.LlamaConfig(**SMALL),
    "bloom": lambda: transformers.BloomConfig(vocab_size=50, hidden_size=16, n_layer=3, n_head=2),
    "modernbert": lambda: transformers.ModernBertConfig(
        pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2, **SMALL
    ),
    "xlnet": lambda: transformers.XLNetConfig(vocab_size=50, d_model=16, n_layer=3, n_head=2, d_inner=32),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_hooks_see_the_states_that_the_model_hands_out(family):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(FAMILIES[family]()).eval().requires_grad_(False)
        ids = torch.randint(5, 50, (3, 9))
    real = torch.ones_like(ids)
    real[1, 5:] = ids[1, 5:] = 0

    def states(rows, width):
        return model(input_ids=ids[:rows, :width], attention_mask=real[:rows, :width], output_hidden_states=True).hidden_states

    with torch.inference_mode():
        sites = sites_of(*trace(model, lambda: states(2, 6)))
        if family == "xlnet":  # its states are transposed copies, which no module puts out
            assert sites is None
            return
        seen, expected = [], states(3, 9)
        with watched(sites, lambda layer, state: seen.append((layer, state.clone()))):
            model(input_ids=ids, attention_mask=real)
    assert [layer for layer, _ in seen] == [0, 1, 2, 3]
    for (_, state), expected_state in zip(seen, expected, strict=True):
        assert torch.equal(state.reshape(expected_state.shape), expected_state)
    assert not any(hook for module in model.modules() for hook in module._forward_hooks.values() if "_hooks" in hook.__qualname__)


def test_a_state_made_between_modules_has_no_site():
    layer = nn.Linear(3, 3)
    x = torch.ones(2, 3)
    assert sites_of(*trace(layer, lambda: [layer(x), layer(x) + 1])) is None
    assert len(sites_of(*trace(layer, lambda: [x, layer(x)]))) == 1 + 1


def test_a_state_that_is_changed_in_place_later_has_no_site():
    layer = nn.Linear(3, 3).requires_grad_(False)
    assert sites_of(*trace(layer, lambda: [layer(torch.ones(2, 3)).add_(1)])) is None


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama", "t5"])
def test_pooled_by_hooks_equals_pooled_from_the_states(tiny, kind, special):
    encoder = HuggingFaceEncoder(str(tiny(kind)), special_tokens=special)
    items, _ = encoder.tokenize(TEXTS)
    for batch in (items, items[:1], [items[0]] * 3):  # padded, alone, of one length
        expected = pooled_states(encoder.forward(batch), encoder.poolings)
        own = pooled(encoder, batch, encoder.poolings)
        assert encoder._text.layers.sites is not None and torch.equal(own.counted, expected.counted)
        for pooling in encoder.poolings:
            for x, y in zip(own.vectors[pooling], expected.vectors[pooling], strict=True):
                np.testing.assert_allclose(x, y, atol=1e-6)


def test_an_encoder_without_its_own_poolings_is_pooled_from_its_states(toy_encoder, tiny):
    assert isinstance(toy_encoder, Encoder) and not hasattr(toy_encoder, "pooled")
    items, _ = toy_encoder.tokenize(TEXTS)
    assert torch.equal(pooled(toy_encoder, items, ["max"]).vectors["max"][1], toy_encoder.forward(items).layers[1].masked_fill(
        ~toy_encoder.forward(items).mask[..., None], -torch.inf).amax(1))  # fmt: skip
    embeddings = InputEmbeddings(str(tiny("bert")))  # another forward than the model's: hooks would see other states
    columns = extract(embeddings, embeddings.tokenize(TEXTS)[0], ["mean"])
    assert set(columns) == {Representation(0, "mean")}


def test_vectors_are_the_same_in_any_order_and_batch(tiny, monkeypatch):
    encoder = HuggingFaceEncoder(str(tiny("bert")))
    items, _ = encoder.tokenize(TEXTS)
    first = extract(encoder, items, encoder.poolings)
    for budget in (1, 16, 4096):
        monkeypatch.setattr(HuggingFaceEncoder, "token_budget", budget)
        order = np.random.default_rng(budget).permutation(len(items))
        other = extract(encoder, [items[i] for i in order], encoder.poolings)
        for column, vectors in first.items():
            np.testing.assert_allclose(other[column], vectors[order], atol=1e-5)


def test_extraction_never_asks_for_all_states_after_the_first_batch(tiny, monkeypatch):
    encoder = HuggingFaceEncoder(str(tiny("bert")))
    items, _ = encoder.tokenize(TEXTS)
    extract(encoder, items, ["mean"])
    monkeypatch.setattr(
        TextModel,
        "_run",
        lambda self, *given, plain=encoder._text._run, **more: plain(*given) if not more else 1 / 0,
    )
    extract(encoder, items, ["mean"])


def test_a_model_that_leaves_its_way_is_pooled_from_its_states(tiny):
    encoder = HuggingFaceEncoder(str(tiny("bert")))
    items, _ = encoder.tokenize(TEXTS)
    expected = extract(encoder, items, ["mean"])
    sites = (*encoder._text.layers.sites[:-1], Site(nn.Linear(1, 1), 0, False))  # never called
    encoder._text.layers = replace(encoder._text.layers, sites=sites)
    columns = extract(encoder, items, ["mean"])
    assert encoder._text.layers.sites is None
    for column, vectors in expected.items():
        np.testing.assert_allclose(columns[column], vectors, atol=1e-6)


def test_what_was_released_is_gone_and_comes_back(tiny):
    encoder = HuggingFaceEncoder(str(tiny("bert")))
    items, _ = encoder.tokenize(TEXTS)
    extract(encoder, items, ["mean"])
    alive = [weakref.ref(encoder.model.encoder.layer[0].output.dense.weight), weakref.ref(encoder.tokenizer)]
    encoder.release()
    gc.collect()
    assert [one() for one in alive] == [None, None]
    assert encoder.tokenize(TEXTS)[0] == items


# Options


needs_bfloat16 = pytest.mark.skipif(not multiplies_bfloat16(), reason="this processor has no bfloat16 products")


@needs_bfloat16
def test_autocast_is_near_float32_and_counts_in_the_key(tiny):
    plain, half = (HuggingFaceEncoder(str(tiny("bert")), autocast=a) for a in (None, "bfloat16"))
    assert next(half.model.parameters()).dtype == torch.float32
    full, rough = (extract(e, e.tokenize(TEXTS)[0], e.poolings) for e in (plain, half))
    apart = max(np.abs(full[c] - rough[c]).max() for c in full)
    assert 1e-5 < apart < 0.2 and all(x.dtype == np.float32 for x in rough.values())
    assert fingerprint(plain) != fingerprint(half) and half.name.endswith("[autocast=bfloat16]")


def test_compile_goes_through_torch_and_counts_in_the_key(tiny, monkeypatch):
    compiled = []

    def fake(model, dynamic):
        compiled.append(dynamic)
        return lambda **given: model(**given)

    monkeypatch.setattr(torch, "compile", fake)
    plain, fast = (HuggingFaceEncoder(str(tiny("bert")), compile=c) for c in (False, True))
    one, other = (extract(e, e.tokenize(TEXTS)[0], e.poolings) for e in (plain, fast))
    assert compiled == [True] and fingerprint(plain) != fingerprint(fast)
    for column, vectors in one.items():
        np.testing.assert_allclose(other[column], vectors, atol=1e-5)


def test_a_machine_that_cannot_compile_says_so(tiny, monkeypatch):
    def broken(model, dynamic):
        def run(**given):
            raise torch._inductor.exc.InductorError(RuntimeError("no C++ compiler"), None)

        return run

    import torch._inductor.exc

    monkeypatch.setattr(torch, "compile", broken)
    encoder = HuggingFaceEncoder(str(tiny("bert")), compile=True)
    with pytest.raises(EncoderError, match=r"encoder.compile=true, but torch cannot compile the model here .*no C\+\+ compiler"):
        encoder.forward(encoder.tokenize(TEXTS)[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"autocast": "int8"}, "allowed: null, bfloat16, float16"),
        ({"autocast": "bfloat16", "dtype": "float16"}, "needs encoder.dtype=float32, not float16"),
        ({"autocast": "float16"}, "is for GPUs; on the CPU use bfloat16 or null"),
    ],
)
def test_options_that_cannot_be_are_refused(tiny, options, message):
    with pytest.raises(EncoderError, match=message):
        _ = HuggingFaceEncoder(str(tiny("bert")), **options).model


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_refused_before_anything_is_loaded(tiny):
    encoder = HuggingFaceEncoder(str(tiny("bert")), device="cuda")
    with pytest.raises(EncoderError, match="torch sees no GPU; use cpu or auto"):
        extract(encoder, encoder.tokenize(TEXTS)[0], ["mean"])
    assert "model" not in encoder.__dict__


def test_an_encoder_may_set_its_own_token_budget():
    encoder = ToyEncoder()
    encoder.token_budget = 1
    extract(encoder, encoder.tokenize(TEXTS)[0], ["mean"])
    assert encoder.calls == len(TEXTS)
