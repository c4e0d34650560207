"""Training: it learns what can be learned and not what cannot, the same seed gives the same bytes, and a kill loses nothing."""

import json
import math
import signal
import time

import numpy as np
import processes
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import accuracy_score, matthews_corrcoef

from probing import load_encoder
from probing.encoders import conformance
from probing.encoders.base import fingerprint
from probing.encoders.networks.checkpoint import CheckpointEncoder
from probing.encoders.networks.network import run
from probing.encoders.networks.recurrent import LSTM
from probing.errors import ConfigError, DataError, EncoderError
from probing.training.classification import Classification
from probing.training.language_model import HIDDEN_SHARE, LanguageModel
from probing.training.train import batched, load_model, train

WORDS = list("abcdefghijklmnopqrst")


def write_sst(root, label, n=(300, 60, 60), seed=0):
    """Sentence-level files of the SST-2 card; `label` maps the words to 0 or 1."""
    rng = np.random.default_rng(seed)
    for split, size in zip(("train", "dev", "test"), n, strict=True):
        rows = [list(rng.choice(WORDS, size=rng.integers(3, 9))) for _ in range(size)]
        (root / f"stsa.binary.{split}").write_text("".join(f"{label(words, rng)} {' '.join(words)}\n" for words in rows))
    return root


@pytest.fixture
def separable(tmp_path):
    (tmp_path / "data").mkdir()
    return write_sst(tmp_path / "data", lambda words, rng: int(bool({"a", "b", "c"} & set(words))))


def small(name="bilstm", **options):
    sizes = {"bilstm": {"hidden": 8}, "lstm": {"hidden": 8}, "cnn": {"filters": 4}, "gated-cnn": {"channels": 8, "layers": 2}}
    sizes["transformer"] = {"heads": 2, "feedforward": 16, "embedding_dim": 16}
    sizes["elmo-style"] = {"hidden": 8, "character_dim": 4, "filters": [8, 8], "characters": 12}
    return load_encoder(name, **{"embedding_dim": 8, "dropout": 0.1} | sizes[name] | options)


QUICK = {"epochs": 6, "lr": 0.02, "warmup": 5, "batch_tokens": 200, "min_count": 1, "dropout": 0.1}


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


@pytest.mark.parametrize("name", ["lstm", "bilstm", "cnn", "gated-cnn", "transformer"])
def test_every_architecture_learns_a_word_and_conforms_when_frozen(name, separable, tmp_path):
    folder = train(
        small(name, pooling="max"),
        Classification(**QUICK | {"epochs": 15, "patience": 15, "lr": 0.006 if name == "transformer" else 0.02}),
        separable,
        tmp_path,
    )
    said = manifest_of(folder)
    assert said["test"]["accuracy"] > 0.9 > said["data"]["majority"]["test"] + 0.05
    encoder = load_encoder("checkpoint", path=str(folder))
    found = conformance.check(lambda: load_encoder("checkpoint", path=str(folder)), changed=encoder.random_twin(0))
    assert found.ok and found.difference < 1e-5, str(found)


def test_subwords_are_counted_trained_on_and_conform(separable, tmp_path):
    options = QUICK | {"tokens": "subwords", "vocabulary": 300, "epochs": 10, "patience": 10}
    folder = train(small("cnn"), Classification(**options), separable, tmp_path)
    assert manifest_of(folder)["test"]["accuracy"] > 0.9
    encoder = load_encoder("checkpoint", path=str(folder))
    found = conformance.check(lambda: load_encoder("checkpoint", path=str(folder)), changed=encoder.random_twin(0))
    assert found.ok, str(found)
    assert encoder.word_ids(["zebra a"])[0][0] == 0 and len(encoder.tokenize(["zebra a"])[0][0]) > 2


def test_labels_drawn_at_random_are_not_learned(tmp_path):
    root = write_sst(tmp_path, lambda words, rng: rng.integers(2), n=(300, 300, 300))
    said = manifest_of(train(small(), Classification(**QUICK), root, tmp_path / "out"))
    assert 0.4 < said["test"]["accuracy"] < 0.6  # 3.5 standard errors around a half


def test_the_manifest_says_what_the_weights_do(separable, tmp_path):
    """Scores, read again from the folder by scikit-learn; and what made them."""
    folder = train(small(), Classification(**QUICK), separable, tmp_path, seed=3)
    model, prepared = load_model(folder, separable)
    said = manifest_of(folder)
    for split in ("dev", "test"):
        with torch.no_grad():
            found = [int(model([item]).argmax()) for item in prepared.items[split]]
        gold = prepared.labels[split].numpy()
        assert said[split]["accuracy"] == pytest.approx(accuracy_score(gold, found))
        assert said[split]["matthews"] == pytest.approx(matthews_corrcoef(gold, found))
    assert said["dev"]["accuracy"] == max(epoch["accuracy"] for epoch in said["history"])
    assert said["seed"] == 3 and said["data"]["n"] == {"train": 300, "dev": 60, "test": 60} and said["versions"]["torch"]
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "model.safetensors", "head.safetensors", "tokenizer.json", "manifest.json",
    }  # fmt: skip
    with pytest.raises(EncoderError, match="does not hold the data"):
        load_model(folder, write_sst(tmp_path, lambda words, rng: int("a" in words)))


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(separable, tmp_path):
    folders = [
        train(small(), Classification(**QUICK), separable, tmp_path / name, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    one, again, other = ((folder / "model.safetensors").read_bytes() for folder in folders)
    assert one == again != other
    assert folders[0].name == folders[1].name != folders[2].name


def test_what_is_finished_is_not_trained_again_unless_forced(separable, tmp_path, capsys):
    folder = train(small(), Classification(**QUICK), separable, tmp_path)
    before = (folder / "manifest.json").stat().st_mtime_ns
    assert train(small(), Classification(**QUICK), separable, tmp_path) == folder
    assert "already trained" in capsys.readouterr().err
    assert (folder / "manifest.json").stat().st_mtime_ns == before
    train(small(), Classification(**QUICK), separable, tmp_path, force=True)
    assert (folder / "manifest.json").stat().st_mtime_ns > before


def test_training_leaves_torchs_generator_alone(separable, tmp_path):
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    train(small(), Classification(**QUICK), separable, tmp_path)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["sst2", "lm"])
def test_a_killed_training_goes_on_and_ends_with_the_same_bytes(objective, separable, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n".join(line[2:] for line in (separable / "stsa.binary.train").read_text().splitlines()))
    root = separable if objective == "sst2" else text
    words = ["encoder=lstm", "encoder.hidden=8", "encoder.embedding_dim=8", f"objective={objective}", f"data.root={root}"]
    words += ["objective.epochs=8", "objective.batch_tokens=100", "objective.patience=8", "run.threads=1"]

    def command(out):
        code = "import sys; from probing.cli import main; sys.exit(main())"
        return ["-c", code, "train", *words, f"run.dir={out}"]

    assert processes.run(*command(tmp_path / "whole")).returncode == 0
    started = processes.Started(*command(tmp_path / "killed"))
    deadline = time.monotonic() + 60
    while not list((tmp_path / "killed").glob("checkpoints/*/progress.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.01)
    started.send_signal(signal.SIGKILL)
    started.wait()
    assert not list((tmp_path / "killed").glob("checkpoints/*/manifest.json"))
    again = processes.run(*command(tmp_path / "killed"))
    assert again.returncode == 0 and "goes on after epoch" in again.stderr
    [whole], [resumed] = ((tmp_path / name / "checkpoints").iterdir() for name in ("whole", "killed"))
    for name in ("config.json", "model.safetensors", "head.safetensors", "tokenizer.json"):
        assert (whole / name).read_bytes() == (resumed / name).read_bytes(), name
    assert manifest_of(whole)["history"] == manifest_of(resumed)["history"]


def test_damaged_progress_starts_again(separable, tmp_path, capsys):
    folder = train(small(), Classification(**QUICK), separable, tmp_path / "a")
    other = tmp_path / "b" / folder.name
    other.mkdir(parents=True)
    (other / "progress.safetensors").write_bytes(b"not this")
    train(small(), Classification(**QUICK), separable, tmp_path / "b")
    assert "training starts again" in capsys.readouterr().err
    assert (other / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_batches_hold_every_row_once_within_the_budget():
    rng = np.random.default_rng(0)
    items = [[1] * n for n in rng.integers(1, 30, 500)]
    for drawn in (None, np.random.default_rng(1)):
        made = batched(items, 64, drawn)
        assert sorted(i for rows in made for i in rows) == list(range(500))
        assert all(len(rows) * max(len(items[i]) for i in rows) <= 64 for rows in made)
    assert batched(items, 64, np.random.default_rng(1)) != batched(items, 64, np.random.default_rng(2))


# Language models.


@pytest.fixture
def cycle(tmp_path):
    """Sentences in which every word decides the next one and the previous one: a b c d e f g h, from a random start on."""
    rng = np.random.default_rng(0)
    letters = "abcdefgh" * 4
    starts, lengths = rng.integers(0, 8, 300), rng.integers(4, 22, 300)
    text = tmp_path / "cycle.txt"
    text.write_text("\n".join(" ".join(letters[s : s + n]) for s, n in zip(starts, lengths, strict=True)))
    return text


LM = {"epochs": 10, "lr": 0.03, "warmup": 5, "batch_tokens": 64, "patience": 10, "min_count": 1, "dropout": 0.0, "dev_share": 6}


@pytest.mark.parametrize(
    ("name", "reads"),
    [
        ("lstm", "forward"),
        ("lstm", "backward"),
        ("lstm", "both"),
        ("gated-cnn", "both"),
        ("transformer", "both"),
        ("gated-cnn", "all"),
        ("elmo-style", "both"),
    ],
)
def test_a_language_model_learns_a_cycle_in_each_direction(name, reads, cycle, tmp_path):
    folder = train(small(name, reads=reads), LanguageModel(**LM), cycle, tmp_path / "out")
    scores = manifest_of(folder)["dev"]
    directions = [v for k, v in scores.items() if k.startswith("perplexity")]
    assert len(directions) == (3 if reads == "both" else 1)
    assert max(directions) < 3.0  # eight letters and an end; where a sentence begins and ends cannot be known
    assert load_encoder("checkpoint", path=str(folder)).architecture.reads == reads


def test_an_elmo_style_model_is_read_alike_from_the_originals_format(cycle, tmp_path):
    folder = train(small("elmo-style"), LanguageModel(**LM | {"epochs": 1}), cycle, tmp_path / "out")
    ours = load_encoder("checkpoint", path=str(folder))
    original = load_encoder("elmo", options=str(folder / "options.json"), weights=str(folder / "weights.hdf5"))
    texts = ["a b c d", "zebra", "d e f g h a b c d e"]
    assert ours.layer_names == original.layer_names and ours.dims == original.dims
    states = [encoder.forward(encoder.tokenize(texts)[0]) for encoder in (ours, original)]
    assert all(torch.equal(a[states[0].mask], b[states[0].mask]) for a, b in zip(states[0].layers, states[1].layers, strict=True))
    found = conformance.check(lambda: load_encoder("checkpoint", path=str(folder)), changed=ours.random_twin(0))
    assert found.ok, str(found)


def test_perplexity_is_the_mean_over_words_of_an_independent_sum(cycle, tmp_path):
    folder = train(small("lstm", reads="both"), LanguageModel(**LM | {"epochs": 2}), cycle, tmp_path / "out")
    model, prepared = load_model(folder, cycle)
    sums = {"forward": [], "backward": []}
    with torch.no_grad():
        for ids in prepared.items["test"]:
            top = run(model.network, [ids]).layers[-1][0]
            logp = {"forward": model.head.log_prob(top[:, :8]), "backward": model.head.log_prob(top[:, 8:])}
            sums["forward"] += [float(logp["forward"][t, ids[t + 1]]) for t in range(len(ids) - 1)]
            sums["backward"] += [float(logp["backward"][t, ids[t - 1]]) for t in range(1, len(ids))]
    said = manifest_of(folder)["test"]
    for direction, found in sums.items():
        assert said[f"perplexity {direction}"] == pytest.approx(math.exp(-np.mean(found)), rel=1e-4)
    assert said["perplexity"] == pytest.approx(math.exp(-np.mean(sums["forward"] + sums["backward"])), rel=1e-4)


def test_a_checkpoint_has_the_key_and_the_names_of_the_first_layout(tmp_path):
    """The folder's name as commit 071aa5f gave it, before the modules moved; and its config and manifest with the names of then."""
    rows = [f"{s}\t{'IO'[k % 2]}\tword{k} and word{k % 7}\n" for s in ("tr", "va", "te") for k in range(40)]
    (tmp_path / "bigram_shift.txt").write_text("".join(rows))
    objective = Classification(task="bigram_shift", epochs=1, vocabulary=200, min_count=1)
    folder = train(LSTM(embedding_dim=6, hidden=6), objective, tmp_path, tmp_path / "home")
    assert folder.name == "lstm-bigram_shift-seed0-0f028e4e"
    for name in ("config.json", "manifest.json"):
        text = (folder / name).read_text()
        text = text.replace("probing.encoders.networks.recurrent.LSTM", "probing.encoders.recurrent.LSTM")
        text = text.replace("probing.training.classification.Classification", "probing.objectives.Classification")
        (folder / name).write_text(text)
    _, prepared = load_model(folder, tmp_path)
    assert prepared.objective == objective


def test_masks_hide_fifteen_percent_and_change_nothing_else(cycle):
    objective = LanguageModel(**LM)
    prepared = objective.prepare(cycle, small("lstm"))
    architecture = small("transformer")
    from probing.encoders.networks.network import Network

    model = prepared.model(Network(architecture, prepared.vocabulary.size, 0), architecture)
    ids = torch.full((40, 30), 5)
    hidden = torch.from_numpy(np.random.default_rng([0, 0]).random(ids.shape) < HIDDEN_SHARE)
    shown = model._masked(ids, hidden, 0)
    assert 0.1 < hidden.float().mean() < 0.2
    assert torch.equal(shown[~hidden], ids[~hidden])
    share = [(shown[hidden] == 4).float().mean(), (shown[hidden] == 5).float().mean()]
    assert 0.7 < share[0] < 0.9 and 0.05 < share[1] < 0.3


def test_what_reads_alike_is_one_sentence(cycle):
    cycle.write_text(cycle.read_text() + "\n" + cycle.read_text().upper())
    items = LanguageModel(**LM).prepare(cycle, small("lstm")).items
    sentences = [tuple(item) for found in items.values() for item in found]
    assert len(sentences) == len(set(sentences))


def test_each_sentence_is_in_one_split_and_counted_once(cycle):
    prepared = LanguageModel(**LM).prepare(cycle, small("lstm"))
    sentences = {split: {tuple(item) for item in items} for split, items in prepared.items.items()}
    assert not sentences["train"] & sentences["dev"] and not sentences["dev"] & sentences["test"]
    assert sum(map(len, sentences.values())) == len(set(cycle.read_text().splitlines()))
    assert sum(prepared.data["n"].values()) == len(set(cycle.read_text().splitlines()))


# Bad input.


def test_a_checkpoint_that_is_not_whole_is_refused_and_says_why(separable, tmp_path):
    folder = train(small("lstm"), Classification(**QUICK), separable, tmp_path)

    def load():
        encoder = CheckpointEncoder(str(folder))
        fingerprint(encoder)
        return encoder.network

    load()
    weights = folder / "model.safetensors"
    whole, tensors = weights.read_bytes(), load_file(weights)
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EncoderError, match="model.safetensors cannot be read.*cut short"):
        load()
    save_file({k: v for k, v in tensors.items() if "bias_hh" not in k}, weights)
    with pytest.raises(EncoderError, match=r"missing weights .1.: forwards.layers.0.bias_hh_l0"):
        load()
    save_file(tensors | {"extra": torch.ones(1)}, weights)
    with pytest.raises(EncoderError, match=r"unknown weights .1.: extra"):
        load()
    save_file(tensors | {"embedding.weight": tensors["embedding.weight"][:-1].contiguous()}, weights)
    with pytest.raises(EncoderError, match=r"embedding.weight has the shape \(\d+, 8\), the architecture wants \(\d+, 8\)"):
        load()
    save_file(tensors | {"embedding.weight": tensors["embedding.weight"] / 0}, weights)
    with pytest.raises(EncoderError, match="embedding.weight is not finite"):
        load()
    weights.unlink()
    with pytest.raises(EncoderError, match="holds no model.safetensors .it holds config.json"):
        load()
    weights.write_bytes(whole)
    config = folder / "config.json"
    said = json.loads(config.read_text())
    config.write_text(json.dumps({"_target_": "probing.encoders.networks.convolutional.GatedCNN", "embedding_dim": 8}))
    with pytest.raises(EncoderError, match=r"missing weights .\d+.: forwards.blocks"):
        load()
    config.write_text(json.dumps(said | {"hiden": 3}))
    with pytest.raises(EncoderError, match="config.json is not a checkpoint of this version: .*hiden"):
        load()
    config.write_text(json.dumps({"_target_": "probing.training.classification.Classification"}))
    with pytest.raises(EncoderError, match="is not an architecture that probing train makes"):
        load()
    config.write_text("[")
    with pytest.raises(EncoderError, match="config.json is not JSON"):
        load()
    with pytest.raises(EncoderError, match="no such folder"):
        CheckpointEncoder(str(folder / "nowhere")).network  # noqa: B018


def test_one_changed_weight_changes_the_fingerprint_and_another_file_is_noticed(separable, tmp_path):
    folder = train(small("lstm"), Classification(**QUICK | {"epochs": 1}), separable, tmp_path)
    before = CheckpointEncoder(str(folder))
    mark, states = fingerprint(before), before.forward(before.tokenize(["a b"])[0]).layers[1]
    tensors = load_file(folder / "model.safetensors")
    tensors["forwards.layers.0.bias_hh_l0"][0] += 1
    save_file(tensors, folder / "model.safetensors")
    after = CheckpointEncoder(str(folder))
    assert fingerprint(after) != mark and not torch.equal(after.forward(after.tokenize(["a b"])[0]).layers[1], states)
    with pytest.raises(EncoderError, match="model.safetensors was replaced since it was read first"):
        fingerprint(before)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"note": "nothing that changes a vector"}))
    assert fingerprint(CheckpointEncoder(str(folder))) == fingerprint(after)


def test_other_states_of_a_trained_lstm_are_shown_on_request(separable, tmp_path):
    folder = train(small("lstm"), Classification(**QUICK), separable, tmp_path)
    encoder = load_encoder("checkpoint", path=str(folder), states=["cell", "forget"])
    assert encoder.layer_names == ("embeddings", "lstm 1 cell", "lstm 1 forget")
    assert fingerprint(encoder) != fingerprint(load_encoder("checkpoint", path=str(folder)))
    cnn = train(small("cnn"), Classification(**QUICK | {"epochs": 1}), separable, tmp_path)
    with pytest.raises(EncoderError, match="only an LSTM has inner states"):
        load_encoder("checkpoint", path=str(cnn), states=["cell"]).network  # noqa: B018


def test_a_loss_that_is_not_finite_ends_the_training(separable, tmp_path):
    with pytest.raises(EncoderError, match="the loss is nan; try a smaller objective.lr"):
        train(small("cnn"), Classification(**QUICK | {"lr": 1e30, "clip": 1e30}), separable, tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Classification(select="f1"), r"objective.select='f1' is unknown \(allowed: accuracy, matthews\)"),
        (lambda: Classification(tokens="bytes"), "objective.tokens='bytes' is unknown"),
        (lambda: LanguageModel(decay="cosine"), "objective.decay='cosine' is unknown"),
        (lambda: Classification(lr=0), "objective.lr=0 must be above 0"),
        (lambda: Classification(dropout=1), "objective.dropout"),
    ],
)
def test_options_out_of_range_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_the_text_files_of_a_folder_are_taken(cycle, tmp_path):
    (tmp_path / "lm").mkdir()
    whole = LanguageModel(**LM).prepare(cycle, small("lstm")).data
    cycle.rename(tmp_path / "lm" / "cycle.txt")
    assert LanguageModel(**LM).prepare(tmp_path, small("lstm")).data == whole


def test_a_head_that_is_not_its_own_is_refused(separable, tmp_path):
    folder = train(small("lstm"), Classification(**QUICK | {"epochs": 1}), separable, tmp_path)
    save_file({"other": torch.ones(1)}, folder / "head.safetensors")
    for path in (folder, str(folder)):
        with pytest.raises(EncoderError, match="is not the head of this checkpoint: head.1.weight, head.1.bias, other"):
            load_model(path, separable)
    (folder / "manifest.json").unlink()
    with pytest.raises(EncoderError, match="is not a finished checkpoint"):
        load_model(folder, separable)


def test_text_that_is_too_short_or_a_folder_is_refused(tmp_path):
    (tmp_path / "none").mkdir()
    (tmp_path / "short.txt").write_text("one sentence only .\n")
    with pytest.raises(DataError, match="1 sentences leave none for"):
        LanguageModel().prepare(tmp_path / "short.txt", small("lstm"))
    with pytest.raises(ConfigError, match="holds no text file"):
        LanguageModel().prepare(tmp_path / "none", small("lstm"))
    (tmp_path / "rare.txt").write_text("".join(f"word{k} other{k}\n" for k in range(300)))
    with pytest.raises(DataError, match="no word occurs 2 times; lower objective.min_count"):
        LanguageModel().prepare(tmp_path / "rare.txt", small("lstm"))
    (tmp_path / "some.txt").write_text("".join(f"a b{k % 7} c{k}\n" for k in range(300)))
    with pytest.raises(ConfigError, match="use words"):
        options = LM | {"tokens": "subwords", "vocabulary": 300}
        LanguageModel(**options).prepare(tmp_path / "some.txt", small("elmo-style"))
    with pytest.raises(ConfigError, match="training reads the hidden states"):
        train(small("lstm", states=["cell"]), LanguageModel(**LM), tmp_path / "some.txt", tmp_path)
    with pytest.raises(DataError, match="no file .*absent.txt"):
        LanguageModel(files=["absent.txt"]).prepare(tmp_path, small("lstm"))


@pytest.mark.shared
def test_one_epoch_on_real_reviews_beats_the_majority(shared, tmp_path):
    folder = train(load_encoder("cnn", filters=20, embedding_dim=50), Classification(epochs=2, lr=0.003), shared / "data", tmp_path)
    said = manifest_of(folder)
    assert said["data"]["n"] == {"train": 6920, "dev": 872, "test": 1821}
    assert said["test"]["accuracy"] > 0.65 > said["data"]["majority"]["test"] + 0.1
