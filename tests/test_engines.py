"""Engines give the vectors of the model in float64, sentence by sentence; what they do not run is torch's, in log and key."""

from importlib.metadata import PackageNotFoundError, version

import architectures
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probing import load_encoder
from probing.encoders.base import fingerprint
from probing.encoders.conformance import check
from probing.encoders.hf import engines
from probing.encoders.interventions import Intervention, intervened
from probing.errors import EncoderError
from probing.provenance import multiplies_bfloat16
from probing.store.extraction import extract
from probing.types import Representation

pytest.importorskip("openvino", reason="the extra openvino is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

LONG = " ".join(architectures.WORDS[k % 20] for k in range(58))
TEXTS = (*architectures.TEXTS, "Dogs today", LONG)
POOLS = {"cls": lambda x: x[0], "mean": lambda x: x.mean(0), "max": lambda x: x.max(0), "last": lambda x: x[-1]}
CASES = [("openvino", family) for family in engines.FAMILIES] + [("onnx", family) for family in ("bert", "roberta")]


def vectors(encoder, texts=TEXTS):
    return extract(encoder, encoder.tokenize(list(texts))[0], encoder.poolings)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders of tiny models by family, each with the states of its texts in float64, one text at a time."""
    made = {}

    def get(family):
        if family not in made:
            model, tokens = architectures.build(family), architectures.tokenizer()
            folder = architectures.save(model, tmp_path_factory.mktemp(family), tokens)
            made[family] = folder, architectures.plain_states(model.double(), tokens, TEXTS)
        return made[family]

    return get


@pytest.mark.parametrize(("engine", "family"), CASES)
def test_vectors_are_those_of_each_sentence_alone_in_float64(saved, engine, family):
    folder, states = saved(family)
    encoder = load_encoder("hf", name=str(folder), engine=engine)
    assert encoder.description["engine"] == {"name": engine, "version": version(engines.PACKAGES[engine])}
    assert encoder.config.model_type == family
    for column, rows in vectors(encoder).items():
        exact = np.stack([POOLS[column.pooling](text[column.layer]) for text in states])
        np.testing.assert_allclose(rows, exact, rtol=0, atol=1e-5 * max(1, np.abs(exact).max()), err_msg=str(column))


@pytest.mark.parametrize("engine", engines.PACKAGES)
def test_special_tokens_and_the_limit_are_those_of_torch(saved, engine):
    options = {"name": str(saved("bert")[0]), "special_tokens": False, "max_length": 9}
    plain, other = (load_encoder("hf", **options, engine=one) for one in ("torch", engine))
    assert plain.tokenize(list(TEXTS))[1] == other.tokenize(list(TEXTS))[1] > 0
    expected = vectors(plain)
    for column, rows in vectors(other).items():
        np.testing.assert_allclose(rows, expected[column], rtol=0, atol=1e-5)
    assert fingerprint(plain) != fingerprint(other) and "engine" not in plain.description


@pytest.fixture(scope="module")
def ours(saved):
    return load_encoder("hf", name=str(saved("roberta")[0]), engine="openvino")


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.lists(st.integers(5, 30), min_size=1, max_size=40), min_size=1, max_size=9))
def test_a_sentence_in_any_batch_is_the_sentence_alone(ours, rows):
    items = [[2, *row, 3] for row in rows]
    together = ours.pooled(items, ours.poolings)
    for k, item in enumerate(items):
        alone = ours.pooled([item], ours.poolings)
        for pooling, layers in alone.vectors.items():
            for layer, x in enumerate(layers):
                torch.testing.assert_close(
                    together.vectors[pooling][layer][k], x[0], rtol=0, atol=1e-5 * max(1, float(x.abs().max()))
                )


def test_an_engine_keeps_the_rules_of_the_store(saved):
    found = check(lambda: load_encoder("hf", name=str(saved("bert")[0]), engine="openvino"))
    assert found.ok, str(found)
    matrix = load_encoder("embeddings", name=str(saved("bert")[0]), engine="openvino")
    assert "engine" not in matrix.description and len(vectors(matrix)) == 3


def test_states_and_changed_passes_are_torchs(ours, saved):
    plain = load_encoder("hf", name=str(saved("roberta")[0]))
    items, _ = ours.tokenize([TEXTS[1]])
    for x, y in zip(plain.forward(items).layers, ours.forward(items).layers, strict=True):
        assert torch.equal(x, y)
    unchanged, changed = ours.pooled(items, ["mean"]).vectors["mean"][-1], []
    for encoder in (plain, ours):
        with intervened(encoder, [Intervention(1, "zero", [[2]])]):
            changed.append(encoder.pooled(items, ["mean"]).vectors["mean"][-1])
    assert torch.equal(*changed) and not torch.allclose(changed[1], unchanged, atol=1e-3)
    np.testing.assert_array_equal(ours.pooled(items, ["mean"]).vectors["mean"][-1], unchanged)


def test_the_vectors_of_a_sentence_transformer_are_in_the_graph(saved, tmp_path):
    library = pytest.importorskip("sentence_transformers")
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    parts = [
        modules.Transformer(str(saved("bert")[0])),
        modules.Pooling(32, "lasttoken"),
        modules.Dense(32, 5),
        modules.Normalize(),
    ]
    model = library.SentenceTransformer(modules=parts, device="cpu")
    model.save(str(tmp_path), create_model_card=False)
    encoder = load_encoder("sentence-transformer", name=str(tmp_path), engine="openvino")
    assert encoder.description["engine"]["name"] == "openvino"
    encoded = model.encode(list(TEXTS), convert_to_numpy=True)
    np.testing.assert_allclose(vectors(encoder)[Representation(3, "sentence")], encoded, rtol=0, atol=1e-5)


@pytest.mark.skipif(not multiplies_bfloat16(), reason="this processor has no bfloat16 products")
def test_bfloat16_is_near_float32_and_counts_in_the_key(ours, saved):
    half = load_encoder("hf", name=str(saved("roberta")[0]), engine="openvino", autocast="bfloat16")
    full, rough = vectors(ours), vectors(half)
    apart = max(np.abs(full[c] - rough[c]).max() / np.abs(full[c]).max() for c in full)
    assert 1e-5 < apart < 0.05 and fingerprint(half) != fingerprint(ours)


def test_what_an_engine_does_not_run_is_torchs_in_one_sentence_and_in_the_key(tiny, saved, capsys):
    for name, options, why in (
        (tiny("gpt2"), {}, "it does not convert a model of type gpt2"),
        (saved("bert")[0], {"compile": True}, "it does not go with encoder.compile=True"),
    ):
        plain, other = (load_encoder("hf", name=str(name), **options, engine=one) for one in ("torch", "openvino"))
        assert fingerprint(plain) == fingerprint(other)
        said = [line for line in capsys.readouterr().err.splitlines() if "torch runs the model in place of openvino" in line]
        assert len(said) == 1 and why in said[0]
    plain, other = (load_encoder("hf", name=str(tiny("gpt2")), engine=one) for one in ("torch", "openvino"))
    for column, rows in vectors(plain, ["the cat runs ."]).items():
        np.testing.assert_array_equal(rows, vectors(other, ["the cat runs ."])[column])


def test_a_graph_that_gives_other_vectors_than_torch_is_refused(saved, monkeypatch):
    monkeypatch.setattr(engines._Pooling, "_pool", lambda self, x, *more: x[:, 1])
    encoder = load_encoder("hf", name=str(saved("bert")[0]), engine="openvino")
    with pytest.raises(EncoderError, match=r"openvino gives other vectors than torch \(layer 0, cls.*set encoder.engine=torch"):
        vectors(encoder)
    monkeypatch.setattr(engines, "onnx_of", lambda *given: 1 / 0)
    with pytest.raises(EncoderError, match=r"openvino does not run this model \(ZeroDivisionError.*set encoder.engine=torch"):
        vectors(load_encoder("hf", name=str(saved("bert")[0]), engine="openvino"))


def absent(name):
    raise PackageNotFoundError(name)


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({"engine": "onxx"}, None, r"encoder.engine='onxx' is unknown; did you mean 'onnx'\? \(allowed: torch, openvino, onnx\)"),
        ({"engine": "onnx", "autocast": "bfloat16"}, None, "encoder.engine=onnx has float32 products alone"),
        ({"autocast": "int8"}, None, "encoder.autocast='int8' is unknown.*int8 is refused: .* depend on the other sentences"),
        ({"engine": "onnx"}, ("version", absent), r"needs the extra: pip install 'probing-bench\[onnx\]'"),
        ({"autocast": "bfloat16"}, ("multiplies_bfloat16", lambda: False), "this processor has no instructions for it"),
    ],
)
def test_what_cannot_be_is_refused(saved, monkeypatch, options, change, message):
    if change:
        monkeypatch.setattr(engines, *change)
    with pytest.raises(EncoderError, match=message):
        vectors(load_encoder("hf", name=str(saved("bert")[0]), **options))
