"""What reduced precision costs: errors of planted size are found, and the script at toy size."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import processes
import pytest

from probing.types import Representation

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts" / "benchmarks"
pytest.importorskip("openvino", reason="the extra openvino is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    import precision

    return precision


class Stored:
    """Vectors of one layer and pooling in memory."""

    def __init__(self, vectors):
        self.vectors = vectors

    def rows(self, texts):
        return self

    def get(self, column):
        assert column == Representation(0, "mean")
        return self.vectors


def test_an_error_is_counted_in_deviations_of_the_features_that_vary(script):
    rng = np.random.default_rng(0)
    exact = rng.normal(5, 1, (400, 3)) * [1, 10, 100]
    signs = rng.choice([-1, 1], exact.shape)
    planted = exact + signs * exact.std(0) * [0.01, 0.02, 0.3]
    vectors = {script.REFERENCE: Stored(np.c_[exact, np.full(400, 7.0)]), "rough": Stored(np.c_[planted, rng.normal(7, 1e-9, 400)])}
    [line] = script.errors(vectors, ["x"] * 400, ["rough"], 1, ["mean"]).to_dict("records")
    assert line["features"] == 3 and line["median"] == pytest.approx(0.02) and line["largest"] == pytest.approx(0.3)


def test_tau_counts_the_pairs_that_the_reference_separates(script):
    right = np.array([0.5, 0.7, 0.71, 0.9])
    low, high = pd.Series(right - 0.05), pd.Series(right + 0.05)  # layers 1 and 2 are not apart
    assert script.tau_apart(right[[0, 2, 1, 3]], right, low, high) == 1
    assert script.tau_apart(right[::-1], right, low, high) == -1
    assert script.tau_apart(np.array([0.5, 0.95, 0.71, 0.9]), right, low, high) == pytest.approx(3 / 5)
    assert np.isnan(script.tau_apart(right, right, low - 1, high + 1))


@pytest.mark.slow
def test_the_script_and_what_it_keeps(tmp_path, toy_root, tiny):
    pytest.importorskip("onnx")
    words = ["--model", tiny("bert"), "--train", "80", "--dev", "40", "--test", "50", "--scratch", tmp_path / "scratch"]
    done = processes.run(SCRIPTS / "precision.py", toy_root, tmp_path / "out", *words)
    assert done.returncode == 0, done.stderr
    change = pd.read_csv(tmp_path / "out" / "cells.csv")
    assert len(change) == 3 * 2 * 3 * 4, "precisions × tasks × layers × poolings"
    error = pd.read_csv(tmp_path / "out" / "errors.csv").groupby("precision").largest.max()
    assert error["float32, again"] < 1e-4 < error["bfloat16"] < error["int8"]
    assert (change[change.precision == "float32, again"].change == 0).mean() > 0.9
    seconds = json.loads((tmp_path / "out" / "manifest.json").read_text())["processor_seconds"]
    assert {"extraction, float32", "extraction, int8", "probes"} <= seconds.keys()
    before = (tmp_path / "out" / "cells.csv").read_bytes()
    assert processes.run(SCRIPTS / "precision.py", toy_root, tmp_path / "out", *words).returncode == 0
    assert (tmp_path / "out" / "cells.csv").read_bytes() == before
