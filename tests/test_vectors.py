"""Vectors from a file: what was written comes back, in either form and format, and what cannot be used is named."""

import json
import re
import shutil
import warnings
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.torch import save_file

from probing import Store, load_encoder
from probing.encoders.base import Encoder, fingerprint
from probing.encoders.vectors import VectorsEncoder
from probing.errors import EncoderError, StatesError
from probing.store.extraction import extract
from probing.types import Representation

TEXTS = ["a dog ran .", "Cats sat ;", "été / naïve", "a dog ran . "]
ONE = np.arange(8, dtype=np.float32).reshape(4, 2)
TWO = -np.arange(12, dtype=np.float64).reshape(4, 3)

sentences = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
numbers = st.floats(-1e3, 1e3, width=16)


def write(path, form, texts, layers):
    """The same content in any form: `layers` is {name: (n, d)}; by sentence, all of one width."""
    if form == "layers":
        if path.suffix == ".npz":
            np.savez(path, sentences=np.array(texts, dtype=str), **layers)
        else:
            tensors = {name: torch.from_numpy(layer) for name, layer in layers.items()}
            save_file(tensors, path, metadata={"sentences": json.dumps(texts), "layers": json.dumps(list(layers))})
        return
    stacked = np.stack(list(layers.values()), 1)  # (n, layers, d)
    by_sentence = {text: stacked[i] for i, text in enumerate(texts)}
    if path.suffix == ".npz":
        with zipfile.ZipFile(path, "w") as archive:  # np.savez takes no key `file`
            for text, rows in by_sentence.items():
                with archive.open(f"{text}.npy", "w") as file:
                    np.lib.format.write_array(file, rows)
    else:
        save_file({text: torch.from_numpy(rows.copy()) for text, rows in by_sentence.items()}, path)


def vectors(encoder, texts):
    return extract(encoder, encoder.tokenize(texts)[0], encoder.poolings)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("form", ["layers", "sentences"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_was_written_comes_back(tmp_path, suffix, form, data):
    texts = data.draw(st.lists(sentences, min_size=1, max_size=6, unique_by=lambda text: text.rstrip("\0")))
    names = data.draw(st.lists(st.sampled_from(["b", "layer 10", "layer 2", "z"]), min_size=1, unique=True))
    dtype = data.draw(st.sampled_from([np.float16, np.float32, np.float64]))
    layers = {name: data.draw(hnp.arrays(dtype, (len(texts), 3), elements=numbers)) for name in names}
    path = tmp_path / f"vectors{suffix}"
    write(path, form, texts, layers)
    encoder = VectorsEncoder(str(path))
    request = data.draw(st.permutations(texts))
    columns = vectors(encoder, request)
    assert encoder.layer_names == (tuple(names) if form == "layers" else tuple(f"layer {k}" for k in range(len(names))))
    for k, layer in enumerate(layers.values()):
        expected = layer[[texts.index(text) for text in request]].astype(np.float32)
        np.testing.assert_array_equal(columns[Representation(k, "sentence")], expected)
    encoder.release()


def test_layers_may_differ_in_width_and_the_store_takes_them(tmp_path):
    np.savez(tmp_path / "v.npz", sentences=np.array(TEXTS), embedding=ONE, top=TWO)
    encoder = load_encoder("vectors", path=str(tmp_path / "v.npz"))
    assert isinstance(encoder, Encoder)
    assert (encoder.name, encoder.dims, encoder.layer_names) == ("v.npz", (2, 3), ("embedding", "top"))
    assert encoder.poolings == ("sentence",) and encoder.word_ids(TEXTS) == [[None]] * 4 and encoder.random_twin(0) is None
    rows = Store(tmp_path / "store").vectors(encoder, TEXTS, ["sentence"]).rows(TEXTS[::-1])
    np.testing.assert_array_equal(rows.get(Representation(1, "sentence")), TWO[::-1])


def test_a_compressed_npz_and_one_vector_a_sentence(tmp_path):
    np.savez_compressed(tmp_path / "v.npz", **dict(zip(TEXTS, ONE, strict=True)))
    encoder = VectorsEncoder(str(tmp_path / "v.npz"))
    assert encoder.layer_names == ("vectors",)
    np.testing.assert_array_equal(vectors(encoder, TEXTS)[Representation(0, "sentence")], ONE)


def test_safetensors_without_an_order_sorts_names_by_their_numbers_and_bfloat16_is_read(tmp_path):
    layers = {f"layer {k}": torch.full((4, 2), k + 0.5, dtype=torch.bfloat16) for k in (10, 2, 1)}
    save_file(layers, tmp_path / "v.safetensors", metadata={"sentences": json.dumps(TEXTS)})
    encoder = VectorsEncoder(str(tmp_path / "v.safetensors"))
    assert encoder.layer_names == ("layer 1", "layer 2", "layer 10")
    assert [vectors(encoder, TEXTS)[Representation(k, "sentence")][0, 0] for k in range(3)] == [1.5, 2.5, 10.5]


def test_a_sentence_may_end_in_npy(tmp_path):
    write(tmp_path / "v.npz", "sentences", ["a", "a.npy"], {"x": ONE[:2]})
    np.testing.assert_array_equal(
        vectors(VectorsEncoder(str(tmp_path / "v.npz")), ["a.npy", "a"])[Representation(0, "sentence")], ONE[1::-1]
    )


def test_the_key_is_the_files_content(tmp_path):
    write(tmp_path / "a.npz", "layers", TEXTS, {"x": ONE})
    shutil.copy(tmp_path / "a.npz", tmp_path / "b.npz")
    write(tmp_path / "c.npz", "layers", TEXTS, {"x": ONE + np.eye(4, 2, dtype=np.float32) * 1e-6})
    one, same, other = (fingerprint(VectorsEncoder(str(tmp_path / f"{name}.npz"), label=name)) for name in "abc")
    assert one == same != other


def test_sentences_that_are_missing_are_counted_and_the_first_is_named(tmp_path):
    np.savez(tmp_path / "v.npz", sentences=np.array(TEXTS), x=ONE)
    encoder = VectorsEncoder(str(tmp_path / "v.npz"))
    with pytest.raises(EncoderError, match=r"v.npz: no vector for 2 of 3 sentences, the first: 'cats sat ;'"):
        encoder.tokenize([TEXTS[0], "cats sat ;", "no"])


def test_a_repeated_sentence_needs_the_same_vectors(tmp_path):
    twice = np.array([*TEXTS, TEXTS[1]])
    np.savez(tmp_path / "v.npz", sentences=twice, x=np.vstack([ONE, ONE[1]]))
    np.testing.assert_array_equal(vectors(VectorsEncoder(str(tmp_path / "v.npz")), TEXTS)[Representation(0, "sentence")], ONE)
    np.savez(tmp_path / "v.npz", sentences=twice, y=np.vstack([ONE, ONE[1]]), x=np.vstack([ONE, ONE[2]]))
    with pytest.raises(EncoderError, match="'Cats sat ;' is there twice, with different vectors"):
        _ = VectorsEncoder(str(tmp_path / "v.npz")).dims
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of a name that is there already
        for row in ONE[:2]:
            with archive.open("a.npy", "w") as file:
                np.lib.format.write_array(file, row)
    with pytest.raises(EncoderError, match="'a' is there twice"):
        _ = VectorsEncoder(str(tmp_path / "w.npz")).dims


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"sentences": np.array([*TEXTS[:3], None], dtype=object), "x": ONE}, r"`sentences` is object, expected text: .*dtype=str"),
        ({"sentences": np.array([b"a", b"b"]), "x": ONE[:2]}, r"`sentences` is bytes8, expected text"),
        ({"sentences": np.array(TEXTS), "x": ONE.astype(object)}, r"'x' is object \(4, 2\), expected floats"),
        ({"sentences": np.array(TEXTS), "x": ONE.astype(int)}, r"'x' is int64 \(4, 2\), expected floats \(n, d\) for n = 4"),
        ({"sentences": np.array(TEXTS), "x": ONE[:3]}, r"'x' is float32 \(3, 2\)"),
        ({"sentences": np.array(TEXTS), "x": ONE[:, 0]}, r"'x' is float32 \(4,\)"),
        ({"sentences": np.array(TEXTS)}, r"4 sentences and 0 layers"),
        ({}, r"it is empty"),
        ({"a": ONE, "b": ONE[:2]}, r"'b' is float32 \(2, 2\), expected floats \(d,\) or \(layers, d\), .* first is \(4, 2\)"),
        ({"a": ONE[None], "b": ONE[None]}, r"'a' is float32 \(1, 4, 2\), expected floats \(d,\)"),
        ({"a": np.array(3.0), "b": ONE}, r"'a' is float64 \(\), expected floats"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, arrays, message):
    np.savez(tmp_path / "v.npz", **arrays)
    with pytest.raises(EncoderError, match=message):
        vectors(VectorsEncoder(str(tmp_path / "v.npz")), ["a", "b"])


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"sentences": "a, b"}, "the metadata `sentences` is not a JSON list of strings"),
        ({"sentences": "[1, 2]"}, "is not a JSON list of strings"),
        ({"sentences": '["a", "b"]', "layers": '["y"]'}, r"`layers` names \['y'\], the file has \['x'\]"),
        ({"sentences": '["a"]'}, r"'x' is F32 \(2, 2\), expected floats \(n, d\) for n = 1"),
    ],
)
def test_metadata_that_does_not_fit_is_named(tmp_path, metadata, message):
    save_file({"x": torch.zeros(2, 2)}, tmp_path / "v.safetensors", metadata=metadata)
    with pytest.raises(EncoderError, match=message):
        _ = VectorsEncoder(str(tmp_path / "v.safetensors")).dims


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("form", ["layers", "sentences"])
def test_vectors_that_are_not_finite_are_named(tmp_path, suffix, form):
    layer = ONE.astype(np.float64)
    layer[2, 1] = 1e300  # not in float32
    write(tmp_path / f"v{suffix}", form, TEXTS, {"x": layer})
    encoder = VectorsEncoder(str(tmp_path / f"v{suffix}"))
    assert len(vectors(encoder, TEXTS[:2])[Representation(0, "sentence")]) == 2
    with pytest.raises(StatesError, match=r"not finite .* for 'été / naïve'"):
        vectors(encoder, TEXTS)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("form", ["layers", "sentences"])
@pytest.mark.parametrize("keep", [0, 5, 0.5, -3])
def test_a_file_cut_short_is_refused(tmp_path, suffix, form, keep):
    path = tmp_path / f"v{suffix}"
    write(path, form, TEXTS, {"x": ONE})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if keep == 0.5 else keep])
    with pytest.raises(EncoderError, match=re.escape(f"{path}: damaged or cut short")):
        vectors(VectorsEncoder(str(path)), TEXTS)


def test_a_damaged_array_is_refused(tmp_path):
    path = tmp_path / "v.npz"
    write(path, "layers", TEXTS, {"x": ONE})
    content = path.read_bytes()
    at = content.index(ONE.tobytes())
    path.write_bytes(content[:at] + b"\x01" + content[at + 1 :])
    with pytest.raises(EncoderError, match="damaged or cut short: Bad CRC-32"):
        vectors(VectorsEncoder(str(path)), TEXTS)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "v.pkl").touch()
    with pytest.raises(EncoderError, match=r"v.pkl: .pkl \(allowed: .npz, .safetensors\)"):
        VectorsEncoder(str(tmp_path / "v.pkl"))
    with pytest.raises(EncoderError, match="no such file"):
        VectorsEncoder(str(tmp_path / "v.npz"))
