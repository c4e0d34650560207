"""The study erasure: planted vectors in which two properties share a direction and a third does not."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from probing.data.task import Task
from probing.encoders.base import States
from probing.errors import ConfigError
from probing.probes.erasure import leace
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.studies import Context, erasure, layers_of
from probing.studies.erasure import ErasureMatrix

N, D = 900, 12


@dataclass
class Looked:
    """An encoder of one token a sentence, whose vectors are given: text -> (layers, D)."""

    vectors: Any
    name: str = "looked"
    layer_names: tuple[str, ...] = ("embeddings", "one")
    dims: tuple[int, ...] = (D, D)
    poolings: tuple[str, ...] = ("mean",)
    origin: str = "the test"

    @property
    def description(self):
        return {"kind": "looked", "sum": float(sum(v.sum() for v in self.vectors.values()))}

    def tokenize(self, texts):
        return [[text] for text in texts], 0

    def word_ids(self, texts):
        return [[0] for _ in texts]

    def forward(self, items):
        x = torch.tensor(np.stack([self.vectors[item[0]] for item in items])).float()  # (batch, layers, D)
        return States([x[:, None, layer] for layer in range(2)], torch.ones(len(items), 1, dtype=torch.bool))

    def release(self):
        pass

    def random_twin(self, seed):
        return None


@pytest.fixture(scope="module")
def made():
    """Tasks a and b read the same planted direction, c another one; layer 0 holds nothing."""
    rng = np.random.default_rng(0)
    texts = [f"s{k}" for k in range(N)]
    z = rng.standard_normal((N, 2))
    x = rng.standard_normal((N, 2, D))
    x[:, 1, 3] += 4 * z[:, 0]
    x[:, 1, 7] += 4 * z[:, 1]
    labels = {"a": z[:, 0] > 0, "b": z[:, 0] + 0.3 * rng.standard_normal(N) > 0, "c": z[:, 1] > 0}
    parts = ["train"] * 500 + ["dev"] * 150 + ["test"] * 250
    tasks = [Task.from_lists(texts, [str(int(v)) for v in y], parts, name=name) for name, y in labels.items()]
    return Looked(dict(zip(texts, x, strict=True))), tasks, x, labels


def measured(made, home, **options):
    encoder, tasks, *_ = made
    context = Context(lambda: encoder, lambda: tasks, (0,), ResultStore(home / "cells"), Store(home / "store"), home)
    study = ErasureMatrix(**{"draws": 3} | options)
    frame = study.measure(context)
    study.report(frame, home / "out")
    return frame


@pytest.fixture(scope="module")
def frame(made, tmp_path_factory):
    return measured(made, tmp_path_factory.mktemp("m"), erasure=["leace", "means"])


@pytest.mark.parametrize("method", ["leace", "means"])
def test_what_shares_directions_is_lost_and_the_rest_is_not(frame, method):
    rows = frame[(frame.layer == 1) & (frame.method == method)].set_index(["erased", "read"])
    for erased, read in (("a", "a"), ("a", "b"), ("b", "a"), ("c", "c")):
        row = rows.loc[erased, read]
        assert row.before > 0.85 and row.after < row.majority + 0.12 and row.loss_low > row.control_loss_high
    for erased, read in (("a", "c"), ("c", "a"), ("b", "c")):
        assert abs(rows.loc[erased, read].loss) < 0.05
    assert set(rows["rank"]) == {1} and set(rows.n_test) == {250}


def test_nothing_is_lost_where_there_was_nothing(frame):
    rows = frame[frame.layer == 0]
    assert len(rows) == 18 and (rows.before < 0.62).all() and (rows.loss_low < 0).all()


def test_the_erased_vectors_are_those_of_the_maps(made, frame):
    """The accuracy of scikit-learn's probe on vectors erased by hand."""
    from sklearn.linear_model import LogisticRegression

    _, _, x, labels = made
    x = x[:, 1].astype(np.float32)
    erased = leace(x[:500], labels["a"][:500].astype(int))(x)
    model = LogisticRegression(C=1.0).fit(erased[:500], labels["b"][:500])
    row = frame[(frame.layer == 1) & (frame.method == "leace")].set_index(["erased", "read"]).loc["a", "b"]
    assert row.after == pytest.approx(model.score(erased[650:], labels["b"][650:]), abs=0.05)


def test_the_report_and_what_is_kept(made, tmp_path, monkeypatch):
    first = measured(made, tmp_path, layers=[1])
    text = (tmp_path / "out" / "table.md").read_text()
    assert "layer 1 (one)" in text and "| random, mean |" in text and "*" in text
    assert pd.read_csv(tmp_path / "out" / "erasure.csv").shape[0] == 9
    assert "layer 1" in (tmp_path / "out" / "figure-erasure-0.svg").read_text()
    monkeypatch.setattr(erasure, "erase", None)
    assert measured(made, tmp_path, layers=[1]).equals(first)


def test_layers_count_from_the_last_too():
    assert [layers_of(given, 4) for given in ("all", 2, [-1, 0, 3])] == [[0, 1, 2, 3], [2], [0, 3]]
    for wrong in (4, [0, -5]):
        with pytest.raises(ConfigError, match="the encoder has the layers 0 to 3, -1 is the last"):
            layers_of(wrong, 4)


@pytest.mark.parametrize("name", ["causal", "erasure", "cells", "properties"])
def test_the_option_layer_is_that_of_the_study(name):
    from hydra import compose, initialize_config_dir

    from probing.paths import CONF

    with initialize_config_dir(str(CONF), version_base=None):
        assert compose("config", [f"+experiment={name}", "layer=[1,2]"]).study.layers == [1, 2]
        assert compose("config", [f"+experiment={name}", "layer=1", "study.layers=0"]).study.layers == 0
        assert compose("config", [f"+experiment={name}"]).study.layers == "all"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"erasure": "random"}, "allowed: leace, inlp, means"),
        ({"layers": [5]}, "has the layers 0 to 1"),
        ({"pooling": "cls"}, "has mean"),
        ({"draws": 1}, "at least 2"),
        ({"sizes": [3, 40, 40]}, "three numbers from 20"),
    ],
)
def test_bad_options_are_one_sentence(made, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        measured(made, tmp_path, **options)
