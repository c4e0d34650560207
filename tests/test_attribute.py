"""The command `probing attribute`: its table, its colours, and what it says of mistakes."""

import re

import numpy as np
import processes
import pytest
from test_gradients import head_for
from toys import ToyEncoder

from probing import load_encoder
from probing.attributions.command import Attribute
from probing.attributions.methods import default_masking, explain
from probing.encoders.base import fingerprint
from probing.errors import ConfigError
from probing.interactions.text.heads import LinearHead, load_head

TEXT = "the dog's cat runs near"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A CNN's options and the folder of a head on it."""
    options = {"embedding_dim": 12, "filters": 4, "buckets": 200}
    encoder = load_encoder("cnn", **options)
    folder = tmp_path_factory.mktemp("heads") / "head"
    plain = head_for(encoder, pooling="max")
    made = {"fingerprint": fingerprint(encoder), "encoder": encoder.name, "task": "sentiment"}
    LinearHead(plain.coef, plain.intercept, plain.classes, plain.layer, plain.pooling, made).save(folder)
    return encoder, options, str(folder)


def test_the_table_has_each_methods_scores_sum_gap_and_rows(small, tmp_path):
    encoder, _, folder = small
    wanted = "shapley,ig,loo,gradient,random"
    text = Attribute(TEXT, wanted, "zero", head=folder, html=str(tmp_path / "a.html")).run(encoder)
    head = load_head(folder, encoder)
    lines = text.splitlines()
    assert lines[1].startswith("head: sentiment, layer 1, max; masking=zero; logit of ") and "(predicted)" in lines[1]
    assert lines[3].split() == wanted.split(",")
    scores = np.array([[float(x) for x in line.split()[1:]] for line in lines[4:9]]).T
    for row, method in zip(scores, wanted.split(","), strict=True):
        np.testing.assert_allclose(row, explain(encoder, head, TEXT, method, "zero").scores, atol=6e-5)
    assert [line.split()[0] for line in lines[10:12]] == ["sum", "gap"]
    assert lines[12].split()[2:][:1] == ["32"], "2^5 coalitions"
    page = (tmp_path / "a.html").read_text()
    assert page.count("<h2>") == 7 and page.count("<span") == 25 and "dog&#x27;s" in page and f"<p>{lines[1]}. Orange" in page


def test_what_is_not_applicable_is_said_in_words_and_no_baseline_is_put_in_its_place(small):
    encoder, _, folder = small
    text = Attribute(TEXT, "shapley,ig", "delete", head=folder).run(encoder)
    assert re.search(r"^ig: n/a, masking=delete puts no vector .*cnn.* that do: mask, pad, unknown, zero, mean; ", text, re.M)
    with pytest.raises(ConfigError, match="masking=delete puts no vector"):
        Attribute(TEXT, "ig", "delete", head=folder).run(encoder)


def test_equal_scores_are_marked_as_no_ranking(tmp_path):
    toy = ToyEncoder(n_layers=1)
    head = head_for(toy)
    head.made["fingerprint"] = fingerprint(toy)
    text = Attribute("the the the", "loo,position", "delete", head=str(head.save(tmp_path / "head"))).run(toy)
    assert "loo °: all scores are equal, which is no ranking" in text and "position °" not in text


def test_a_long_sentence_has_sampled_scores_with_errors(small):
    encoder, _, folder = small
    long = " ".join(f"w{k}" for k in range(13))
    text = Attribute(long, "shapley,loo", "zero", head=folder, budget=520).run(encoder)
    assert text.count(" ± ") == 13 and "w12" in text
    with pytest.raises(ConfigError, match=r"^budget=20: method=shapley needs at least 520 model rows on 13 words"):
        Attribute(long, "shapley", "zero", head=folder, budget=20).run(encoder)


def test_the_default_masking_is_the_one_that_was_trained_if_there_is_one(tiny):
    expected = {"bert": "mask", "gpt2": "attention"}
    assert {kind: default_masking(load_encoder("hf", name=str(tiny(kind)))) for kind in expected} == expected
    assert default_masking(load_encoder("lstm")) == "pad" and default_masking(ToyEncoder()) == "delete"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "shaply"}, "method='shaply' is unknown; did you mean 'shapley'"),
        ({"method": " , "}, "names no method"),
        ({"text": " "}, "holds no word"),
        ({"target": "d"}, r"target='d' is no class .*predicted, a, b, c"),
        ({"masking": "attention", "method": "loo"}, r"masking=attention is not possible for cnn"),
        ({"head": None}, r"cnn.* has no head, so there is no prediction to explain: take head=FOLDER"),
        ({"method": "frequency"}, "needs counts of words"),
        ({"method": "gradcam", "layer": 7}, "layer=7: cnn.* has the layers 0 to 1, -1 is the last"),
    ],
)
def test_mistakes_in_the_options_have_a_message(given, message, small):
    encoder, _, folder = small
    with pytest.raises(Exception, match=message) as caught:
        Attribute(**({"text": TEXT, "method": "loo", "masking": "zero", "head": folder} | given)).run(encoder)
    assert type(caught.value).__module__.startswith("probing")


def test_the_command_line(small, tmp_path):
    _, options, folder = small
    words = ["encoder=cnn", *(f"encoder.{key}={value}" for key, value in options.items()), f"head={folder}", "masking=zero"]
    done = processes.run("-m", "probing", "attribute", *words, "method=loo,shapley", "text=It isn't = a, (bad) film", "target=a-b")
    assert done.returncode == 0 and "logit of a-b, whole" in done.stdout and "isn't" in done.stdout, done.stderr
    (tmp_path / "a.py").write_text("import numpy as np\ndef read(texts):\n    return np.ones((len(texts), 3), np.float32)\n")
    words = ["encoder=python", f"encoder.target={tmp_path / 'a.py'}:read", "text=a film"]
    done = processes.run("-m", "probing", "attribute", *words, "method=shapley,ig")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "is read from outside, so no gradient passes through it: take a method that needs none (shapley" in done.stderr
