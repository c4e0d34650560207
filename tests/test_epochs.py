"""Probes trained for epochs: the softmax-twice cases of the reference, a plain torch loop, stopping, schedule, seeds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from probing import load_probe
from probing.errors import ConfigError
from probing.probes.base import SplitFeatures, SplitLabels
from probing.types import Representation


def data(n=240, d=6, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(n, d)).astype(np.float32), rng.normal(size=(d, classes))
    y = (x @ w + 0.3 * rng.normal(size=(n, classes))).argmax(1)
    return SplitFeatures(x[: n // 2], x[n // 2 : 3 * n // 4], x[3 * n // 4 :]), SplitLabels(y[: n // 2], y[n // 2 : 3 * n // 4])


def fit(protocol, blocks, labels, seed=0, classes=3):
    [(_, _, result)] = protocol.fit(lambda _: blocks, [Representation(0, "mean")], {"true": labels}, "t", classes, seed)
    return result


@pytest.mark.parametrize("k", [2, 20, 1000])
def test_softmax_twice_has_the_floor_that_its_formula_gives(k):
    """The least loss of a right and certain prediction is ln(1 + (K - 1) / e)."""
    probe = load_probe("holmes2024")
    certain = torch.zeros(1, k)
    certain[0, 0] = 1e4
    assert float(probe._loss(certain, torch.tensor([0]))) == pytest.approx(np.log(1 + (k - 1) / np.e), rel=1e-5)
    once = load_probe("holmes2024", softmax_twice=False)
    assert float(once._loss(certain, torch.tensor([0]))) == 0


def test_adi_is_a_plain_loop():
    """Written out with torch: the same draws in the same order give the same predictions."""
    blocks, labels = data()
    result = fit(load_probe("adi2017", epochs=4), blocks, labels, seed=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        first, last, drop = torch.nn.Linear(6, 6), torch.nn.Linear(6, 3), torch.nn.Dropout(0.8)
        net = torch.nn.Sequential(first, torch.nn.ReLU(), drop, last)
        steps = torch.optim.Adagrad(net.parameters(), lr=0.01)
        x, y = torch.from_numpy(blocks.train), torch.from_numpy(labels.train)
        best, kept = -1.0, None
        for _ in range(4):
            net.train()
            for rows in torch.randperm(len(x)).split(64):
                steps.zero_grad()
                torch.nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
                steps.step()
            net.eval()
            with torch.no_grad():
                accuracy = float((net(torch.from_numpy(blocks.dev)).argmax(1).numpy() == labels.dev).mean())
                if accuracy > best:
                    best, kept = accuracy, net(torch.from_numpy(blocks.test)).argmax(1).numpy()
    assert result.dev_accuracy == pytest.approx(best) and result.predictions.tolist() == kept.tolist()


def test_the_rate_of_holmes_rises_and_falls():
    probe = load_probe("holmes2024")
    rates = [probe._factor(step, 100) for step in range(101)]
    assert rates[0] == 0 and rates[10] == 1 and rates[100] == 0 and rates[5] == 0.5 and rates[55] == 0.5
    assert load_probe("adi2017")._factor(77, 100) == 1


def test_training_stops_after_the_patience_and_keeps_the_best():
    """Labels of dev that no epoch can learn: the accuracy curve ends five epochs after its best."""
    blocks, labels = data()
    noise = SplitLabels(labels.train, np.random.default_rng(1).permutation(labels.dev))
    curve = [accuracy for accuracy, _ in fit(load_probe("adi2017"), blocks, noise).tried[0]["dev_curve"]]
    assert len(curve) < 100 and int(np.argmax(curve)) == len(curve) - 6
    kept = fit(load_probe("holmes2024", epochs=200, lr=0.3, warmup=None), blocks, noise)
    losses = [loss for _, loss in kept.tried[0]["dev_curve"]]
    assert kept.chosen["epoch"] - 1 == int(np.argmin(losses)) == len(losses) - 6


def test_the_seed_decides_and_the_global_state_stays():
    blocks, labels = data()
    before = torch.random.get_rng_state()
    one, again, other = (fit(load_probe("holmes2024"), blocks, labels, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert one.tried == again.tried != other.tried
    assert one.model().predict(blocks.test).tolist() == one.predictions.tolist()


def test_constant_features_widen_no_hidden_layer():
    blocks, labels = data()
    padded = SplitFeatures(*(np.hstack([x, np.zeros((len(x), 4), np.float32)]) for x in blocks[:3]))
    assert fit(load_probe("adi2017", epochs=1), padded, labels).model().decision_function.args[0][0].out_features == 6


@pytest.mark.parametrize("wrong", [{"hidden": "x"}, {"optimizer": "sgd"}, {"keep": "f1"}, {"dropout": 1.0}, {"patience": 0}])
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"probe.{next(iter(wrong))}"):
        load_probe("adi2017", **wrong)
