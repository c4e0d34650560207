"""textgenrnn against its Keras equations written out in numpy, in both layouts of the file, and as the language model it is."""

import json
import math

import h5py
import numpy as np
import pytest
import torch

from probing import load_encoder
from probing.encoders.base import Encoder, fingerprint
from probing.encoders.elmo.textgenrnn import TextgenrnnEncoder
from probing.errors import EncoderError, StatesError
from probing.store.extraction import extract
from probing.types import Representation

CHARACTERS = "abcdefg hij.k"
IDS = {character: i + 1 for i, character in enumerate(CHARACTERS)} | {"<s>": len(CHARACTERS) + 1}
TEXTS = ["a bad cab", "k", "face the big jade hedge . a fig", "Ж a Ж"]
WINDOW = 6


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hard_sigmoid(x):
    return np.clip(0.2 * x + 0.5, 0, 1)


def keras(w, windows, recurrent=sigmoid):
    """Embeddings, outputs of both LSTMs (n, window, d), and the attention's average (n, D), of windows of ids (n, window).

    `w` are weights in the layout of Keras' LSTM: x @ kernel + h @ recurrent_kernel + bias, gates i, f, c, o.
    """
    states = [w["embedding"][windows]]
    for k in (1, 2):
        kernel, of_state, bias = (w[f"{part} {k}"] for part in ("kernel", "recurrent_kernel", "bias"))
        h = m = np.zeros((len(windows), len(of_state)), np.float32)
        out = []
        for t in range(windows.shape[1]):
            i, f, c, o = np.split(states[-1][:, t] @ kernel + h @ of_state + bias, 4, axis=1)
            m = recurrent(f) * m + recurrent(i) * np.tanh(c)
            h = recurrent(o) * np.tanh(m)
            out.append(h)
        states.append(np.stack(out, 1))
    joined = np.concatenate(states, 2)
    shares = np.exp(joined @ w["attention"])  # (n, window, 1)
    return *states, (shares / shares.sum(1, keepdims=True) * joined).sum(1)


def windows_of(ids, start, width):
    """For each id the last `width` of zeros, the start mark, and the ids up to it."""
    return np.array([([0] * width + [start] + list(ids[: k + 1]))[-width:] for k in range(len(ids))])


def drawn(seed=0, e=5, units=(4, 3)):
    rng = np.random.default_rng(seed)
    w = {"embedding": rng.normal(size=(len(IDS) + 1, e)), "attention": rng.normal(size=(e + sum(units), 1))}
    for k, (inputs, u) in enumerate(zip((e, *units), units, strict=False), 1):
        w |= {f"kernel {k}": rng.normal(size=(inputs, 4 * u)), f"recurrent_kernel {k}": rng.normal(size=(u, 4 * u))}
        w[f"bias {k}"] = rng.normal(size=4 * u)
    return {name: array.astype(np.float32) for name, array in w.items()}


def write(folder, w, cudnn):
    """The two files, with LSTMs in the layout of Keras' LSTM or CuDNNLSTM."""
    folder.mkdir()
    with h5py.File(folder / "weights.hdf5", "w") as file:
        file["embedding/embedding/embeddings:0"] = w["embedding"]
        file["attention/attention/attention_W:0"] = w["attention"]
        for k in (1, 2):
            kernel, recurrent, bias = (w[f"{part} {k}"] for part in ("kernel", "recurrent_kernel", "bias"))
            if cudnn:
                half = np.linspace(-1, 1, len(bias), dtype=np.float32)
                kernel = np.concatenate([gate.T.reshape(gate.shape) for gate in np.split(kernel, 4, axis=1)], 1)
                recurrent = np.concatenate([gate.T for gate in np.split(recurrent, 4, axis=1)], 1)
                bias = np.concatenate([half, bias - half])
            for part, array in (("kernel", kernel), ("recurrent_kernel", recurrent), ("bias", bias)):
                file[f"rnn_{k}/rnn_{k}/{part}:0"] = array
    (folder / "vocab.json").write_text(json.dumps(IDS))
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "model", drawn(), cudnn=True)


def encoder_of(folder, **options):
    return TextgenrnnEncoder(str(folder / "weights.hdf5"), str(folder / "vocab.json"), **({"window": WINDOW} | options))


def vectors(encoder, texts=TEXTS):
    return extract(encoder, encoder.tokenize(texts)[0], encoder.poolings)


@pytest.mark.parametrize("cudnn", [True, False])
def test_the_equations_in_both_layouts(tmp_path, cudnn):
    encoder = encoder_of(write(tmp_path / "model", drawn(), cudnn))
    assert isinstance(encoder, Encoder)
    assert encoder.layer_names == ("embeddings", "LSTM 1", "LSTM 2", "attention") and encoder.dims == (5, 4, 3, 12)
    states = encoder.forward(encoder.tokenize(TEXTS)[0])
    for row, text in enumerate(TEXTS):
        windows = windows_of([IDS.get(character, 0) for character in text], IDS["<s>"], WINDOW)
        *read, attention = keras(drawn(), windows)
        assert states.mask[row].sum() == len(text)
        for layer, expected in zip(states.layers, [*(state[:, -1] for state in read), attention], strict=True):
            np.testing.assert_allclose(layer[row, : len(text)], expected, atol=1e-5)


def test_a_sentence_does_not_depend_on_batch_padding_or_order(folder):
    encoder = encoder_of(folder)
    together = vectors(encoder)
    for i, text in enumerate(TEXTS):
        alone = vectors(encoder, [text])
        for column, rows in together.items():
            np.testing.assert_allclose(rows[i], alone[column][0], atol=1e-6)


def test_a_state_has_read_its_window_and_no_more(folder):
    encoder = encoder_of(folder)
    first, second = encoder.forward(encoder.tokenize(["a bad cab", "k bad caj"])[0]).layers[3]
    assert torch.allclose(first[6:8], second[6:8], atol=1e-6), "six characters ago, and what comes after, are out of sight"
    assert (first[5] - second[5]).abs().max() > 1e-4 and (first[8] - second[8]).abs().max() > 1e-4


def test_tokens_are_characters_and_know_their_words(folder):
    encoder = encoder_of(folder, max_length=5)
    texts = ["a bad cab", " b ", ""]
    items, truncated = encoder.tokenize(texts)
    assert items == [[IDS[character] for character in "a bad"], [IDS[character] for character in " b "], []] and truncated == 1
    assert encoder.word_ids(texts) == [[0, 1, 1, 1, 1], [0, 0, None], []]
    assert encoder.tokenize(["aЖb"])[0] == [[1, 0, 2]], "unknown characters keep their place"
    assert encoder.name == "textgenrnn[window=6,max_length=5]"
    with pytest.raises(StatesError, match="no token at all"):
        vectors(encoder, ["a", ""])


def test_the_fingerprint_changes_with_weights_vocabulary_and_options(folder, tmp_path):
    original = fingerprint(encoder_of(folder))
    same = write(tmp_path / "same", drawn(), cudnn=True)
    assert fingerprint(encoder_of(same, label="x")) == original
    marks = {original, *(fingerprint(encoder_of(folder, **o)) for o in ({"window": 7}, {"max_length": 4}))}
    marks.add(fingerprint(encoder_of(write(tmp_path / "other", drawn(seed=1), cudnn=True))))
    (same / "vocab.json").write_text(json.dumps(IDS | {"a": IDS["b"], "b": IDS["a"]}))
    marks.add(fingerprint(encoder_of(same)))
    assert len(marks) == 5


def test_a_random_twin_is_seeded_and_leaves_the_global_generator_alone(folder):
    encoder = encoder_of(folder)
    before = torch.get_rng_state()
    first, again, other = (vectors(encoder.random_twin(seed))[Representation(2, "mean")] for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4 and np.ptp(first, axis=0).min() > 0
    assert len({fingerprint(e) for e in (encoder, encoder.random_twin(0), encoder.random_twin(1))}) == 3
    lstm = encoder.random_twin(0)._network[1][0]
    assert torch.allclose(lstm.weight_hh_l0.T @ lstm.weight_hh_l0, torch.eye(4), atol=1e-5)
    assert lstm.bias_ih_l0.tolist() == [0] * 4 + [1] * 4 + [0] * 8


def test_weights_are_loaded_again_after_release(folder):
    encoder = load_encoder("textgenrnn", weights=str(folder / "weights.hdf5"), vocab=str(folder / "vocab.json"), window=WINDOW)
    before = vectors(encoder)
    encoder.release()
    np.testing.assert_array_equal(before[Representation(3, "last")], vectors(encoder)[Representation(3, "last")])


def rewrite(folder, name, array=None):
    with h5py.File(folder / "weights.hdf5", "r+") as file:
        del file[name]
        if array is not None:
            file[name] = array


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "vocab.json").unlink(), "encoder.vocab='.*': no such file"),
        (lambda f: (f / "vocab.json").write_text("{"), "is not JSON"),
        (lambda f: (f / "vocab.json").write_text("[1]"), "must map characters to the ids 1, 2, 3, …, each once"),
        (lambda f: (f / "vocab.json").write_text('{"a": 1, "<s>": [2]}'), "must map characters to the ids"),
        (lambda f: (f / "vocab.json").write_text('{"a": 1, "b": 2}'), "must hold single characters and '<s>'"),
        (lambda f: (f / "vocab.json").write_text('{"cat": 1, "<s>": 2}'), "word-level models are not supported"),
        (lambda f: (f / "vocab.json").write_text('{"a": 1, "<s>": 2}'), r"embeddings:0' has the shape \(15, 5\), .*\(3, any\)"),
        (lambda f: (f / "weights.hdf5").unlink(), "encoder.weights='.*': no such file"),
        (lambda f: (f / "weights.hdf5").write_bytes(b"no"), "is cut short or no HDF5 file"),
        (lambda f: rewrite(f, "rnn_1/rnn_1/kernel:0"), "has no weight 'rnn_1/rnn_1/kernel:0'; did you mean"),
        (lambda f: rewrite(f, "rnn_2"), r"attention_W:0' has the shape \(12, 1\), .*\(9, 1\)"),
        (lambda f: rewrite(f, "rnn_2/rnn_2/bias:0", np.zeros(9)), r"bias:0' has the shape \(9,\), .*\(12\)"),
    ],
)
def test_files_that_cannot_be_used_are_named(folder, spoil, message):
    spoil(folder)
    with pytest.raises(EncoderError, match=message):
        _ = encoder_of(folder).description


@pytest.mark.parametrize(
    ("options", "message"),
    [({"device": "tpu"}, "cpu, cuda, auto"), ({"max_length": 0}, "encoder.max_length=0"), ({"window": 0}, "encoder.window=0")],
)
def test_bad_options_are_named(folder, options, message):
    with pytest.raises(EncoderError, match=message):
        encoder_of(folder, **options)


@pytest.mark.shared
def test_the_genuine_model_predicts_english_and_its_gates_are_logistic(shared):
    """2.6 bits a character, where guessing among 465 costs 8.9 and the hard sigmoid 3.3."""
    folder = shared / "data" / "weights" / "textgenrnn"
    path = folder / "textgenrnn_weights.hdf5"
    encoder = load_encoder("textgenrnn", weights=str(path), vocab=str(folder / "textgenrnn_vocab.json"))
    with h5py.File(path) as file:
        kernel, bias = file["output/output/kernel:0"][()], file["output/output/bias:0"][()]
        w = {"embedding": file["embedding/embedding/embeddings:0"][()], "attention": file["attention/attention/attention_W:0"][()]}
        for k in (1, 2):
            of_input, of_state, both = (file[f"rnn_{k}/rnn_{k}/{part}:0"][()] for part in ("kernel", "recurrent_kernel", "bias"))
            gates = [gate.reshape(gate.shape[::-1]).T for gate in np.split(of_input, 4, axis=1)]
            w[f"kernel {k}"] = np.concatenate(gates, 1)
            w[f"recurrent_kernel {k}"] = np.concatenate([gate.T for gate in np.split(of_state, 4, axis=1)], 1)
            w[f"bias {k}"] = both[:512] + both[512:]

    def bits(read, item):
        logits = torch.as_tensor(read)[:-1] @ torch.tensor(kernel) + torch.tensor(bias)
        return float(torch.nn.functional.cross_entropy(logits, torch.tensor(item[1:]))) / math.log(2)

    texts = [stream[0] for stream in json.loads((shared / "data" / "elmo_fixture" / "sentences.json").read_text())]
    items, _ = encoder.tokenize(texts)
    soft, hard = [], []
    for item in items:
        read = encoder.forward([item]).layers[3][0]
        windows = windows_of(item, encoder.ids["<s>"], 40)
        np.testing.assert_allclose(read, keras(w, windows)[-1], atol=1e-4)
        soft.append(bits(read, item))
        hard.append(bits(keras(w, windows, hard_sigmoid)[-1], item))
    assert np.mean(soft) < 2.8, soft
    assert np.mean(hard) > np.mean(soft) + 0.4, hard


def test_states_of_the_lstms_are_those_of_the_equations(folder):
    """Cell and gates at the end of each window; the default's vectors and key stay."""
    plain, full = encoder_of(folder), encoder_of(folder, states=["hidden", "cell", "input", "forget", "output", "candidate"])
    assert full.layer_names[1:4] == ("LSTM 1", "LSTM 1 cell", "LSTM 1 input") and full.dims == (5, *[4] * 6, *[3] * 6, 12)
    assert "states" not in plain.description and fingerprint(full) != fingerprint(plain)
    assert full.name == "textgenrnn[window=6,states=hidden+cell+input+forget+output+candidate]"
    w, text = drawn(), "face a big"
    named = dict(zip(full.layer_names, full.forward(full.tokenize([text])[0]).layers, strict=True))
    for name, layer in zip(plain.layer_names, plain.forward(plain.tokenize([text])[0]).layers, strict=True):
        assert torch.equal(named[name], layer), name
    x = w["embedding"][windows_of([IDS[character] for character in text], IDS["<s>"], WINDOW)]
    for k, u in ((1, 4), (2, 3)):
        h = m = np.zeros((len(text), u), np.float32)
        out = []
        for t in range(WINDOW):
            i, f, c, o = np.split(x[:, t] @ w[f"kernel {k}"] + h @ w[f"recurrent_kernel {k}"] + w[f"bias {k}"], 4, axis=1)
            m = sigmoid(f) * m + sigmoid(i) * np.tanh(c)
            h = sigmoid(o) * np.tanh(m)
            out.append(h)
        x = np.stack(out, 1)
        expected = {"cell": m, "input": sigmoid(i), "forget": sigmoid(f), "output": sigmoid(o), "candidate": np.tanh(c)}
        for state, values in expected.items():
            np.testing.assert_allclose(named[f"LSTM {k} {state}"][0], values, atol=1e-5)


def test_a_window_of_one_character_has_no_state_before_it(folder):
    encoder = encoder_of(folder, window=1, states=["hidden", "cell", "input", "forget", "output"])
    named = dict(zip(encoder.layer_names, encoder.forward(encoder.tokenize(["abc"])[0]).layers, strict=True))
    np.testing.assert_allclose(named["LSTM 1"], named["LSTM 1 output"] * torch.tanh(named["LSTM 1 cell"]), atol=1e-6)


@pytest.mark.parametrize("states", [["cell"], ["hidden", "hidden"], ["hidden", "gate"]])
def test_states_that_do_not_exist_are_named(folder, states):
    with pytest.raises(EncoderError, match="must name hidden and any others of hidden, cell, input"):
        encoder_of(folder, states=states)
