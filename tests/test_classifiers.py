"""The classifier of a study's encoder: its own head on its own task, else a fitted one, made once."""

import numpy as np
import pytest

from probing import load_encoder, load_task
from probing.encoders.networks.checkpoint import CheckpointEncoder
from probing.encoders.networks.convolutional import CNN
from probing.errors import ConfigError, EncoderError
from probing.interactions.text.heads import classifier, head_of
from probing.interactions.text.masking import published
from probing.training.classification import Classification
from probing.training.train import train


@pytest.fixture
def sst2(tmp_path):
    rng = np.random.default_rng(0)
    for split, n in (("train", 80), ("dev", 20), ("test", 20)):
        texts = [" ".join(rng.choice(list("abcdef"), 5)) for _ in range(n)]
        (tmp_path / f"stsa.binary.{split}").write_text("".join(f"{int('a' in text)} {text}\n" for text in texts))
    return load_task("sst2", tmp_path)


def test_a_trained_encoder_keeps_its_own_head_and_needs_another_for_another_task(sst2, toy_root, tmp_path):
    architecture = CNN(filters=4, embedding_dim=8, dropout=0.0)
    encoder = CheckpointEncoder(str(train(architecture, Classification(min_count=1, epochs=1), tmp_path, tmp_path / "made")))
    for head in (None, "fit"):
        found = classifier(encoder, sst2, head, tmp_path)
        assert found.sha256 == head_of(encoder).sha256 and not (tmp_path / "heads").exists()
    other = load_task("bigram_shift", toy_root)
    with pytest.raises(ConfigError, match="has a head of sst2: for bigram_shift take .* or set study.head=fit"):
        classifier(encoder, other, None, tmp_path)
    assert classifier(encoder, other, "fit", tmp_path).made["task"] == "bigram_shift"


def test_a_head_is_fitted_once_kept_and_read_by_name(toy_encoder, sst2, toy_root, tmp_path, capsys):
    with pytest.raises(ConfigError, match="toy has no head: for sst2"):
        classifier(toy_encoder, sst2, None, tmp_path)
    first = classifier(toy_encoder, sst2, "fit", tmp_path)
    assert first.made["dev"] > 0.8 and first.classes == ("0", "1") and "toy: fitting a head on sst2" in capsys.readouterr().err
    before = toy_encoder.calls
    again = classifier(toy_encoder, sst2, "fit", tmp_path)
    assert again.sha256 == first.sha256 and toy_encoder.calls == before
    [folder] = (tmp_path / "heads").iterdir()
    assert classifier(toy_encoder, sst2, str(folder), tmp_path).sha256 == first.sha256
    with pytest.raises(ConfigError, match="has the classes 0, 1; bigram_shift: I, O"):
        classifier(toy_encoder, load_task("bigram_shift", toy_root), str(folder), tmp_path)
    with pytest.raises(EncoderError, match="is no folder of a fitted head"):
        classifier(toy_encoder, sst2, str(tmp_path), tmp_path)
    twin = toy_encoder.random_twin(1)  # other vectors, another head
    assert classifier(twin, sst2, "fit", tmp_path).sha256 != first.sha256 and len(list((tmp_path / "heads").iterdir())) == 2


def test_the_published_masking_is_a_token_or_else_zero(toy_encoder):
    assert published(load_encoder("lstm")) == "pad" and published(load_encoder("elmo-style")) == "zero"
    assert published(toy_encoder) == "delete"
