"""The traps of transformers: padding, special tokens, the final norm, dtype, random twins, and fingerprints that tell."""

import hashlib
import shutil

import numpy as np
import pytest
import torch
from toys import save_tiny

from probing import load_encoder
from probing.encoders.base import Encoder, fingerprint
from probing.encoders.hf import folders as hub
from probing.encoders.hf.huggingface import HuggingFaceEncoder
from probing.errors import ConfigError, EncoderError
from probing.store.extraction import extract
from probing.types import Representation

TEXTS = ["the cat runs .", "dogs", "the big dog sees the small cat because they run .", "it ran and they saw ."]
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def vectors(encoder, texts=TEXTS):
    return extract(encoder, encoder.tokenize(texts)[0], encoder.poolings)


def plain(folder, text):
    """The hidden states of one sentence by transformers alone, special tokens included."""
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")["input_ids"]
    model = model.get_encoder() if model.config.is_encoder_decoder else model
    with torch.no_grad():
        return [h[0].numpy() for h in model(input_ids=ids, output_hidden_states=True).hidden_states]


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama", "t5"])
def test_a_batch_gives_what_each_sentence_gives_alone(tiny, kind):
    encoder = HuggingFaceEncoder(str(tiny(kind)))
    assert isinstance(encoder, Encoder)
    together = vectors(encoder)
    for i, text in enumerate(TEXTS):
        for layer, states in enumerate(plain(tiny(kind), text)):
            expected = {"cls": states[0], "mean": states.mean(0), "max": states.max(0), "last": states[-1]}
            for pooling in encoder.poolings:
                np.testing.assert_allclose(together[Representation(layer, pooling)][i], expected[pooling], atol=2e-5)


def test_every_token_knows_its_word(tiny):
    encoder = HuggingFaceEncoder(str(tiny("bert")))
    assert encoder.word_ids(["the cat  runs.", ""]) == [[None, 0, 1, 2, 2, None], [None, None]]
    long = "cat " * 100
    assert [len(ids) for ids in encoder.word_ids([long])] == [len(item) for item in encoder.tokenize([long])[0]]
    with pytest.raises(EncoderError, match="cannot be aligned"):
        HuggingFaceEncoder(str(tiny("bert")), detokenize=True).word_ids(["a"])


@pytest.mark.parametrize(
    ("kind", "last"), [("bert", "block 2"), ("gpt2", "block 2 + final norm"), ("llama", "block 2 + final norm")]
)
def test_the_last_layer_says_whether_it_is_normed(tiny, kind, last):
    encoder = HuggingFaceEncoder(str(tiny(kind)))
    assert encoder.layer_names == ("embeddings", "block 1", last)
    assert encoder.dims == (16, 16, 16)


def test_the_last_state_of_gpt2_is_after_the_final_norm(tiny):
    encoder = HuggingFaceEncoder(str(tiny("gpt2")))
    assert encoder.layer_names[-1] == "block 2 + final norm"  # and the model has been inspected
    caught = []
    hook = encoder.model.h[-1].register_forward_hook(
        lambda module, given, out: caught.append(out if torch.is_tensor(out) else out[0])
    )
    states = encoder.forward(encoder.tokenize(TEXTS[:1])[0]).layers
    hook.remove()
    with torch.no_grad():
        normed = encoder.model.ln_f(caught[0])
    assert torch.allclose(states[-1], normed, atol=1e-5)
    assert not torch.allclose(states[-1], caught[0], atol=1e-2)


def test_decoders_have_no_cls(tiny):
    assert HuggingFaceEncoder(str(tiny("bert"))).poolings == ("cls", "mean", "max", "last")
    assert HuggingFaceEncoder(str(tiny("gpt2"))).poolings == ("mean", "max", "last")


def test_special_tokens_in_or_out_is_a_setting_that_counts(tiny):
    inside, outside = (HuggingFaceEncoder(str(tiny("bert")), special_tokens=s) for s in (True, False))
    states = plain(tiny("bert"), TEXTS[0])[2]
    np.testing.assert_allclose(vectors(inside)[Representation(2, "mean")][0], states.mean(0), atol=1e-5)
    np.testing.assert_allclose(vectors(outside)[Representation(2, "mean")][0], states[1:-1].mean(0), atol=1e-5)
    np.testing.assert_allclose(vectors(outside)[Representation(2, "last")][0], states[-2], atol=1e-5)
    np.testing.assert_allclose(vectors(outside)[Representation(2, "cls")][0], states[0], atol=1e-5)
    assert fingerprint(inside) != fingerprint(outside)


def test_an_unknown_word_is_a_word_when_special_tokens_are_out(tiny):
    encoder = HuggingFaceEncoder(str(tiny("bert")), special_tokens=False)
    assert encoder.forward(encoder.tokenize(["zzz qqq"])[0]).mask.sum() == 2


def test_truncation_keeps_the_end_marker_and_is_counted(tiny):
    encoder = HuggingFaceEncoder(str(tiny("bert")), max_length=5)
    items, truncated = encoder.tokenize(["the cat", "the cat sees the dog because it runs"])
    assert truncated == 1
    assert [len(item) for item in items] == [4, 5]
    assert items[1][0] == 2 and items[1][-1] == 3
    assert HuggingFaceEncoder(str(tiny("bert"))).limit == 24


def test_a_bfloat16_checkpoint_is_computed_in_float32(tmp_path):
    folder = save_tiny("llama", tmp_path / "half", dtype=torch.bfloat16)
    assert next(HuggingFaceEncoder(str(folder)).model.parameters()).dtype == torch.float32
    assert next(HuggingFaceEncoder(str(folder), dtype="bfloat16").model.parameters()).dtype == torch.bfloat16


def test_the_encoder_is_frozen(tiny):
    model = HuggingFaceEncoder(str(tiny("bert"))).model
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_a_random_twin_is_seeded_and_leaves_the_global_generator_alone(tiny):
    encoder = HuggingFaceEncoder(str(tiny("bert")))
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    first, again, other = (vectors(encoder.random_twin(seed))[Representation(2, "mean")] for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    assert np.abs(first - vectors(encoder)[Representation(2, "mean")]).max() > 1e-3
    marks = {fingerprint(e) for e in (encoder, encoder.random_twin(0), encoder.random_twin(1))}
    assert len(marks) == 3


def test_the_fingerprint_changes_with_weights_config_and_tokenizer_and_not_with_the_folder(tiny, tmp_path):
    original = fingerprint(HuggingFaceEncoder(str(tiny("bert"))))
    copy = tmp_path / "elsewhere"
    shutil.copytree(tiny("bert"), copy)
    assert fingerprint(HuggingFaceEncoder(str(copy), label="other name")) == original
    (copy / "README.md").write_text("not a weight")
    assert fingerprint(HuggingFaceEncoder(str(copy))) == original
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        changed = tmp_path / f"changed-{name}"
        shutil.copytree(tiny("bert"), changed)
        content = bytearray((changed / name).read_bytes())
        if name == "model.safetensors":
            content[-1] ^= 1
        else:
            content += b"\n"
        (changed / name).write_bytes(bytes(content))
        assert fingerprint(HuggingFaceEncoder(str(changed))) != original, name


@pytest.mark.parametrize("option", [{"dtype": "float16"}, {"max_length": 9}, {"special_tokens": False}, {"detokenize": True}])
def test_the_fingerprint_changes_with_every_option_that_changes_vectors(tiny, option):
    folder = str(tiny("bert"))
    assert fingerprint(HuggingFaceEncoder(folder, **option)) != fingerprint(HuggingFaceEncoder(folder))


def test_detokenize_undoes_moses_tokens(tiny):
    encoder = HuggingFaceEncoder(str(tiny("bert")), detokenize=True)
    assert encoder._detokenizer.detokenize("You can 't run , really .".split()) == "You can't run, really."
    assert encoder.tokenize(["the cat ."])[0] == HuggingFaceEncoder(str(tiny("bert"))).tokenize(["the cat."])[0]


def test_weights_that_do_not_fit_are_refused(tiny, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "holes"
    shutil.copytree(tiny("bert"), folder)
    weights = load_file(folder / "model.safetensors")
    weights.pop("encoder.layer.1.attention.self.query.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=r"1 weights of bert are missing .*query.weight.*partly random"):
        _ = HuggingFaceEncoder(str(folder)).model
    (folder / "model.safetensors").write_bytes((tiny("bert") / "model.safetensors").read_bytes()[:2000])
    with pytest.raises(EncoderError, match="the weights cannot be loaded"):
        _ = HuggingFaceEncoder(str(folder)).model
    (folder / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match="holds no weights"):
        _ = HuggingFaceEncoder(str(folder)).description


def test_an_unknown_hub_name_offline_says_what_to_do(monkeypatch):
    monkeypatch.setattr(hub, "snapshot", lambda name, revision, offline: (None, "no network"))
    with pytest.raises(EncoderError, match=r"neither a folder nor in the hub's cache.*no network.*\n.*hf download no/such-model"):
        _ = HuggingFaceEncoder("no/such-model").folder
    with pytest.raises(EncoderError, match="no such folder"):
        _ = HuggingFaceEncoder("./no-such-folder").folder


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, "float32, float16, bfloat16"),
        ({"device": "tpu"}, "cpu, cuda, auto"),
        ({"max_length": 1}, "at least 3"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(EncoderError, match=message):
        HuggingFaceEncoder("x", **options)


def test_presets_are_checked():
    with pytest.raises(ConfigError, match=r"unknown encoder 'minlm'; did you mean 'minilm'\?"):
        load_encoder("minlm")
    with pytest.raises(ConfigError, match=r"unknown option 'max_lenght'; did you mean 'max_length'\?"):
        load_encoder("hf", name="x", max_lenght=3)
    with pytest.raises(ConfigError, match="max_length"):
        load_encoder("hf", name="x", max_length="long")
    with pytest.raises(ConfigError, match="set encoder.name="):
        load_encoder("hf")


def test_minilm_is_the_genuine_model_and_equals_plain_transformers():
    encoder = load_encoder("minilm")
    with (encoder.folder / "model.safetensors").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == MINILM_SHA256
    texts = ["A quick brown fox jumps .", "No ."]
    columns = vectors(encoder, texts)
    for i, text in enumerate(texts):
        for layer, states in enumerate(plain(encoder.folder, text)):
            np.testing.assert_allclose(columns[Representation(layer, "mean")][i], states.mean(0), atol=1e-5)
    assert np.ptp(columns[Representation(0, "cls")], axis=0).max() == 0, "the embedding of [CLS] is the same in every sentence"
    assert np.ptp(columns[Representation(1, "cls")], axis=0).max() > 0
