"""ELMo against the original's own values, and against its equations written out in numpy; what batches, files and seeds may do."""

import json
import shutil
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from probing import load_encoder
from probing.encoders.base import Encoder, fingerprint
from probing.encoders.elmo.elmo import ELMoEncoder, ELMoNetwork
from probing.encoders.elmo.elmo_format import ELMoOptions, character_ids, read_options, shapes
from probing.errors import EncoderError, StatesError
from probing.store.extraction import extract
from probing.types import Representation

SMALL = ELMoOptions(4, ((1, 4), (2, 6), (3, 8)), dim=12, projection_dim=5, cell_clip=0.8, proj_clip=0.4)
TEXTS = ["the cat ran", "a", "Äpfel & 東京 " + "x" * 60 + "yz", "dogs saw it . they ran"]


@pytest.fixture
def small(tmp_path):
    """Paths of a small model whose weights are large enough for both clips to bite: `small()`, or with other options."""

    def made(name="small", **changes):
        network = ELMoNetwork(replace(SMALL, **changes), seed=1)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(3)
        return network.save(tmp_path / name)

    return made


def encoder_of(paths, **options):
    return ELMoEncoder(*map(str, paths), **options)


def vectors(encoder, texts=TEXTS):
    return extract(encoder, encoder.tokenize(texts)[0], encoder.poolings)


def by_hand(paths, text, start=None):
    """States (words, 2p) of every layer of one sentence, loop by loop from the files, and the states that the LSTMs end with."""
    options = json.loads(paths[0].read_text())
    cnn, lstm = options["char_cnn"], options["lstm"]
    with h5py.File(paths[1]) as file:
        w = {}
        file.visititems(lambda name, node: w.update({name: node[()]}) if isinstance(node, h5py.Dataset) else None)

    def sigma(x):
        return 1 / (1 + np.exp(-x))

    def clip(x, bound):
        return x if bound is None else np.clip(x, -bound, bound)

    def token(content):
        ids = [258, *content[: cnn["max_characters_per_token"] - 2], 259]
        ids += [260] * (cnn["max_characters_per_token"] - len(ids))
        characters = w["char_embed"][ids]
        maxima = []
        for k, (width, number) in enumerate(cnn["filters"]):
            best = np.full(number, -np.inf)
            for at in range(len(ids) - width + 1):
                best = np.maximum(best, np.einsum("we,wef->f", characters[at : at + width], w[f"CNN/W_cnn_{k}"][0]))
            maxima.append(best + w[f"CNN/b_cnn_{k}"])
        y = {"relu": lambda x: np.maximum(x, 0), "tanh": np.tanh}[cnn["activation"]](np.concatenate(maxima))
        for k in range(cnn["n_highway"]):
            high = f"CNN_high_{k}"
            gate = sigma(y @ w[f"{high}/W_carry"] + w[f"{high}/b_carry"])
            y = gate * np.maximum(y @ w[f"{high}/W_transform"] + w[f"{high}/b_transform"], 0) + (1 - gate) * y
        return y @ w["CNN_proj/W_proj"] + w["CNN_proj/b_proj"]

    x = np.stack([token(c) for c in ([256], *(list(word.encode()) for word in text.split()), [257])])
    layers, ends = [np.concatenate([x, x], 1)], {}
    streams = [x, x[::-1]]
    for layer in range(lstm["n_layers"]):
        for direction in (0, 1):
            cell = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
            h, m = (start or {}).get(cell, (np.zeros(lstm["projection_dim"]), np.zeros(lstm["dim"])))
            out = []
            for step in streams[direction]:
                i, j, f, o = np.split(np.concatenate([step, h]) @ w[f"{cell}/W_0"] + w[f"{cell}/B"], 4)
                m = clip(sigma(f + 1) * m + sigma(i) * np.tanh(j), lstm["cell_clip"])
                h = clip((sigma(o) * np.tanh(m)) @ w[f"{cell}/W_P_0"], lstm["proj_clip"])
                out.append(h + step if layer and lstm["use_skip_connections"] else h)
            streams[direction], ends[cell] = np.stack(out), (h, m)
        layers.append(np.concatenate([streams[0], streams[1][::-1]], 1))
    return [layer[1:-1] for layer in layers], ends


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"activation": "tanh", "n_highway": 0, "n_layers": 1},
        {"cell_clip": None, "proj_clip": None, "use_skip_connections": False, "n_layers": 3},
        {"max_characters": 8},
    ],
)
def test_the_equations_one_step_at_a_time(small, changes):
    paths = small(**changes)
    encoder = encoder_of(paths)
    states = encoder.forward(encoder.tokenize(TEXTS)[0])
    for row, text in enumerate(TEXTS):
        for layer, expected in zip(states.layers, by_hand(paths, text)[0], strict=True):
            np.testing.assert_allclose(layer[row, : len(expected)], expected, atol=2e-5)
    if not changes:
        unclipped = by_hand(small("unclipped", cell_clip=None, proj_clip=None), TEXTS[0])[0]
        assert np.abs(unclipped[2] - by_hand(paths, TEXTS[0])[0][2]).max() > 0.1, "the clips do not bite, so nothing was tested"


def test_a_sentence_does_not_depend_on_batch_padding_or_order(small):
    encoder = encoder_of(small())
    assert isinstance(encoder, Encoder)
    together, backwards = vectors(encoder), vectors(encoder, TEXTS[::-1])
    for i, text in enumerate(TEXTS):
        alone = vectors(encoder, [text])
        for column, rows in together.items():
            np.testing.assert_allclose(rows[i], alone[column][0], atol=1e-6)
            np.testing.assert_allclose(rows[i], backwards[column][len(TEXTS) - 1 - i], atol=1e-6)


def test_the_backward_half_has_read_the_whole_sentence_at_its_first_word(small):
    encoder = encoder_of(small())
    assert encoder.dims == (10, 10, 10) and encoder.layer_names == ("token (char CNN)", "biLSTM 1", "biLSTM 2")
    columns = vectors(encoder)
    states = encoder.forward(encoder.tokenize(TEXTS[:1])[0]).layers
    np.testing.assert_allclose(columns[Representation(0, "last")][0], states[0][0, -1], atol=1e-6)
    np.testing.assert_allclose(columns[Representation(2, "last")][0, :5], states[2][0, -1, :5], atol=1e-6)
    np.testing.assert_allclose(columns[Representation(2, "last")][0, 5:], states[2][0, 0, 5:], atol=1e-6)
    changed = encoder.forward(encoder.tokenize(["the cat sat"])[0]).layers[2][0]
    assert torch.equal(changed[:2, :5], states[2][0, :2, :5]), "the forward half has not read what comes after"
    assert (changed[:2, 5:] - states[2][0, :2, 5:]).abs().min(1).values.max() > 0


def test_words_are_bytes_between_marks():
    assert character_ids("é", 6) == (259, 0xC3 + 1, 0xA9 + 1, 260, 261, 261)
    assert character_ids("", 4) == (259, 260, 261, 261)
    assert character_ids("<S>", 4) == (259, 257, 260, 261) and character_ids("</S>", 4) == (259, 258, 260, 261)
    assert character_ids("a" * 48 + "b", 50) == character_ids("a" * 48 + "c", 50) != character_ids("a" * 47 + "b", 50)
    assert character_ids("ok\udcff", 6) == character_ids("ok", 6)
    assert all(len(character_ids(word, 50)) == 50 for word in ("", "東" * 40, "x"))


def test_tokens_are_words_and_truncation_is_counted(small):
    encoder = encoder_of(small(), max_length=2)
    items, truncated = encoder.tokenize(["the  cat ran", "a b", ""])
    assert [len(item) for item in items] == [2, 2, 0] and truncated == 1
    assert encoder.word_ids(["the  cat ran", "a b", ""]) == [[0, 1], [0, 1], []]
    assert encoder.name == "weights[max_length=2]"
    with pytest.raises(StatesError, match="no token at all, the first at row 1"):
        vectors(encoder, ["a", " "])


def test_stateful_goes_on_where_the_batch_before_ended(small):
    paths = small()
    encoder = encoder_of(paths, stateful=True)
    ends = [{}, {}]
    for batch in (TEXTS[:2], TEXTS[3:], TEXTS[1:3]):  # the second batch has one sentence: row 1 keeps its state
        states = encoder.forward(encoder.tokenize(batch)[0])
        for row, text in enumerate(batch):
            expected, ends[row] = by_hand(paths, text, ends[row])
            np.testing.assert_allclose(states.layers[2][row, : len(expected[2])], expected[2], atol=2e-5)
    encoder.release()
    again = encoder.forward(encoder.tokenize(TEXTS[:1])[0]).layers[2][0]
    np.testing.assert_allclose(again, by_hand(paths, TEXTS[0])[0][2], atol=2e-5)
    more = encoder.forward(encoder.tokenize(TEXTS[:2])[0]).layers[2]
    np.testing.assert_allclose(more[1, :1], by_hand(paths, TEXTS[1])[0][2], atol=2e-5)


def test_gradients_reach_every_weight():
    network = ELMoNetwork(SMALL)
    items = [[character_ids(word, 50) for word in text.split()] for text in ("the cat ran", "dogs saw it")]
    before = torch.get_rng_state()
    layers = network(torch.tensor(items), torch.tensor([3, 3]))
    assert [tuple(layer.shape) for layer in layers] == [(2, 5, 10)] * 3
    layers[-1].pow(2).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_written_is_what_is_read(small, tmp_path):
    paths = small()
    options = read_options(paths[0])
    assert options == SMALL
    network = ELMoNetwork.load(options, paths[1])
    copies = network.save(tmp_path / "copy")
    assert [copy.read_bytes() for copy in copies] == [path.read_bytes() for path in paths]
    assert {name: tuple(weight.shape) for name, weight in network.weights.items()} == shapes(options)


def test_the_fingerprint_changes_when_a_weight_or_an_option_does_and_not_otherwise(small, tmp_path):
    options, weights = small()
    original = fingerprint(encoder_of((options, weights)))
    elsewhere = shutil.copytree(weights.parent, tmp_path / "elsewhere")
    loose = json.loads(options.read_text()) | {"n_train_tokens": 5}
    (elsewhere / "options.json").write_text(json.dumps(loose))
    assert fingerprint(encoder_of((elsewhere / "options.json", elsewhere / "weights.hdf5"), label="x")) == original
    with h5py.File(elsewhere / "weights.hdf5", "r+") as file:
        file["CNN_proj/b_proj"][0] += 1e-3
    marks = {original, fingerprint(encoder_of((options, elsewhere / "weights.hdf5")))}
    loose["lstm"]["cell_clip"] = 5
    (elsewhere / "options.json").write_text(json.dumps(loose))
    marks.add(fingerprint(encoder_of((elsewhere / "options.json", weights))))
    marks |= {fingerprint(encoder_of((options, weights), **changed)) for changed in ({"stateful": True}, {"max_length": 9})}
    assert len(marks) == 5


def test_a_random_twin_is_seeded_and_leaves_the_global_generator_alone(small):
    encoder = encoder_of(small())
    before = torch.get_rng_state()
    first, again, other = (vectors(encoder.random_twin(seed))[Representation(2, "mean")] for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4 and np.ptp(first, axis=0).min() > 0
    assert len({fingerprint(e) for e in (encoder, encoder.random_twin(0), encoder.random_twin(1))}) == 3
    assert encoder.random_twin(1).name == "weights (random 1)"


def test_the_preset_takes_the_two_files(small):
    options, weights = map(str, small())
    encoder = load_encoder("elmo", options=options, weights=weights, label="elmo")
    assert encoder.name == "elmo" and encoder.origin == f"the file {weights}"
    encoder.release()
    assert np.isfinite(vectors(encoder)[Representation(2, "max")]).all()


def edited(path, key, *value):
    """Sets an option of a JSON file, or takes it away."""
    options = json.loads(path.read_text())
    *parents, last = key.split(".")
    node = options
    for parent in parents:
        node = node[parent]
    node.pop(last)
    if value:
        node[last] = value[0]
    path.write_text(json.dumps(options))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda o, w: o.unlink(), r"encoder.options='.*options.json': no such file; give the options.json"),
        (lambda o, w: o.write_text("{"), r"encoder.options='.*' is not JSON \(.*\); give"),
        (lambda o, w: o.write_bytes(b"\xff\xfe"), "is not JSON"),
        (lambda o, w: o.write_text("[]"), "lacks char_cnn.activation, char_cnn.embedding.dim, "),
        (lambda o, w: edited(o, "lstm.dim"), "lacks lstm.dim; give"),
        (lambda o, w: edited(o, "lstm.dim", "many"), r'lstm.dim="many" cannot be used \(allowed: a whole number from 1\)'),
        (lambda o, w: edited(o, "lstm.cell_clip", -3), r"lstm.cell_clip=-3 cannot be used \(allowed: a number above 0, or null"),
        (lambda o, w: edited(o, "lstm.use_skip_connections", 1), "allowed: true, false"),
        (lambda o, w: edited(o, "char_cnn.activation", "gelu"), r'activation="gelu" .*allowed: relu, tanh'),
        (lambda o, w: edited(o, "char_cnn.filters", [[1]]), r"char_cnn.filters=\[\[1\]\] .*a list of \[width, number\]"),
        (lambda o, w: edited(o, "char_cnn.filters", [[51, 2]]), "a filter of 51 characters, wider than a word"),
        (lambda o, w: edited(o, "char_cnn.n_characters", 300), "n_characters=300 .*262, or 261 in the options of training"),
        (lambda o, w: w.unlink(), r"encoder.weights='.*weights.hdf5': no such file; give the HDF5 file"),
        (lambda o, w: w.write_bytes(w.read_bytes()[:3000]), "is cut short or no HDF5 file .*fetch it again"),
        (lambda o, w: w.write_text("<html>"), "is cut short or no HDF5 file"),
        (lambda o, w: h5py.File(w, "r+").__delitem__("CNN/b_cnn_1"), r"has no weight 'CNN/b_cnn_1'; did you mean"),
        (
            lambda o, w: edited(o, "lstm.projection_dim", 7),
            r"'CNN_proj/W_proj' has the shape \(18, 5\), the model's other files ask for \(18, 7\)",
        ),
    ],
)
def test_files_that_cannot_be_used_are_named(small, spoil, message):
    options, weights = small()
    spoil(options, weights)
    encoder = encoder_of((options, weights))
    with pytest.raises(EncoderError, match=message):
        _ = encoder.description, encoder.network


def test_without_h5py_one_line_says_what_to_install(small, monkeypatch):
    encoder = encoder_of(small())
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(EncoderError, match=r"pip install 'probing-bench\[elmo\]'"):
        _ = encoder.network
    assert encoder.random_twin(0).forward(encoder.tokenize(TEXTS)[0]).mask.sum() == 14


@pytest.mark.parametrize(("options", "message"), [({"device": "tpu"}, "cpu, cuda, auto"), ({"max_length": 0}, "at least 1")])
def test_bad_options_are_named(options, message):
    with pytest.raises(EncoderError, match=message):
        ELMoEncoder("o", "w", **options)


# The original's own values: AllenNLP's test model (Apache-2.0).


@pytest.fixture(scope="module")
def original(shared):
    folder = shared / "data" / "elmo_fixture"
    streams = json.loads((folder / "sentences.json").read_text())
    top = []
    for k in range(len(streams)):
        with h5py.File(folder / f"lm_embeddings_{k}.hdf5") as file:
            top.append([np.concatenate(file[str(i)][()], 1) for i in range(len(streams[k]))])  # (words, 2p) each
    return (folder / "options.json", folder / "lm_weights.hdf5"), streams, top


@pytest.mark.shared
def test_token_vectors_are_the_originals_to_8e7(shared, original):
    folder = shared / "data" / "elmo_fixture"
    words = (folder / "vocab_test.txt").read_text(encoding="utf-8").split("\n")
    with h5py.File(folder / "elmo_token_embeddings.hdf5") as file:
        expected = file["embedding"][()]
    token_vectors = encoder_of(original[0]).network.token_vectors(torch.tensor([character_ids(word, 50) for word in words]))
    assert token_vectors.shape == (458, 16)
    assert np.abs(token_vectors.numpy() - expected).max() < 1e-5


@pytest.mark.shared
@pytest.mark.parametrize("stateful", [True, False])
def test_contextual_states_are_the_originals_to_1e6_if_state_is_carried(original, stateful):
    paths, streams, top = original
    encoder = encoder_of(paths, stateful=stateful)
    for i in range(10):
        states = encoder.forward(encoder.tokenize([stream[i] for stream in streams])[0]).layers[2]
        worst = [np.abs(states[k, : len(top[k][i])].numpy() - top[k][i]).max() for k in range(3)]
        if stateful or i == 0:
            assert max(worst) < 1e-5
        else:
            assert min(worst) > 0.1, "from the second sentence on the original's state is another"
