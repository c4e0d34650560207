"""A measure of one's own: one file, and it appears in run, status, report, comparisons and explain."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import processes
import pytest
from toys import ToyEncoder

from probing import evaluate
from probing.errors import ConfigError
from probing.evaluation.measure import LayerMeasure, load_measures

QUIET = {"poolings": ["mean"], "floors": (), "controls": ()}

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "howto.md").read_text(encoding="utf-8"), re.S)
[NORM] = [block for block in BLOCKS if "LayerMeasure" in block]


class Norm(LayerMeasure):
    name = "norm"

    def score(self, vectors, task):
        return {"norm": np.linalg.norm(vectors.test, axis=1)}


@pytest.fixture
def norm(tmp_path):
    path = tmp_path / "norm.py"
    path.write_text(NORM)
    return path


def command(*words):
    return processes.run("-m", "probing", *words)


def test_a_measure_in_a_file_appears_in_every_command(norm, tmp_path):
    out = tmp_path / "out"
    words = [
        "run",
        "data=grammar",
        "data.n=400",
        "task=sentence_length,bigram_shift",
        "encoder=lstm",
        "encoder.hidden=4",
        "encoder.embedding_dim=4",
        "pooling=mean",
        f"run.dir={out}",
    ]
    done = command(*words, f"measures={norm}")
    assert done.returncode == 0, done.stderr
    [folder] = (out / "runs").iterdir()
    rows = pd.read_csv(folder / "rows.csv")
    assert set(rows.measure) == {"norm"} and set(rows.metric) == {"norm"} and set(rows.role) == {"probe"}
    one = rows[(rows.metric == "norm") & (rows.role == "probe")].iloc[0]
    assert one.low < one.value < one.high and one.n == rows.n_test.iloc[0]
    assert (
        "norm: norm, lstm[embedding_dim=4,hidden=4] (untrained 0), mean" in (folder / "table.md").read_text()
        and (folder / "figure-norm-norm.svg").is_file()
    )
    assert "norm: paired comparisons" in (folder / "report.html").read_text()
    assert f"{one.cell}" in command("explain", one.cell, "--dir", out).stdout
    assert "0 failed, 0 missing" in command("status", folder).stdout
    again = command(*words, f"measures=probe,{norm}", "floors=majority", "controls=none")
    assert again.returncode == 0 and f"{len(set(rows.cell[rows.role == 'probe']))} done" in again.stderr
    both = next(path for path in (out / "runs").iterdir() if path != folder)
    text = (both / "table.md").read_text()
    assert "Test accuracy in percent" in text and "norm: norm, lstm[embedding_dim=4,hidden=4] (untrained 0), mean" in text
    assert set(pd.read_csv(both / "rows.csv").metric) == {"accuracy", "dev_accuracy", "macro_f1", "norm"}
    norm.write_text(NORM.replace("axis=1)}", "axis=1) / 2}"))
    halved = command(*words, f"measures={norm}")
    assert "0 done" in halved.stderr, "a changed file is measured again"


def test_encoders_are_compared_on_the_same_items(toy_root, tmp_path):
    from probing import load_task

    task = load_task("tree_depth", toy_root)
    encoders = [ToyEncoder(name="a"), ToyEncoder(name="b", seed=1)]
    table = evaluate([task], encoders, store=tmp_path / "s", probe=None, **QUIET, measures=[Norm()])
    pairs = table.compare_measure("norm")
    values = {row.encoder: table.items(row.cell)["norm"] for row in table.frame[table.frame.layer == 1].itertuples()}
    line = pairs[(pairs.encoder == "b") & (pairs.layer == 1) & (pairs.against == "a")].iloc[0]
    assert line.difference == pytest.approx((values["b"] - values["a"]).mean()) and line.low < line.difference < line.high
    assert len(pairs[pairs.against == "layer 0"]) == 2 and (pairs.p_holm >= pairs.p).all()
    same = evaluate([task], [encoders[0]], store=tmp_path / "s", probe=None, **QUIET, measures=[Norm()])
    assert same.frame.norm.tolist() == table.frame.norm[table.frame.encoder == "a"].tolist()


class Broken(Norm):
    name = "broken"

    def score(self, vectors, task):
        raise IndexError("no such column")


class Short(Norm):
    name = "short"

    def score(self, vectors, task):
        return {"short": [1.0, 2.0]}


@pytest.mark.parametrize(("measure", "reason"), [(Broken(), "no such column"), (Short(), "must have the shape")])
def test_a_measure_that_fails_fails_its_cells_alone(toy_root, tmp_path, measure, reason):
    from probing import load_task

    task = load_task("tree_depth", toy_root)
    table = evaluate(
        [task], [ToyEncoder()], store=tmp_path / "s", poolings=["mean"], floors=["majority"], controls=(), measures=[measure]
    )
    assert set(table.frame.status[table.frame.measure != "probe"]) == {"failed"}
    assert table.frame.error[table.frame.measure != "probe"].str.contains(reason).all()
    assert set(table.frame.status[table.frame.measure == "probe"]) == {"done"} and len(table.best()) == 1


def test_files_without_a_measure_are_refused(tmp_path):
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(ConfigError, match="no subclass of probing.evaluation.measure.LayerMeasure"):
        load_measures([str(tmp_path / "empty.py")])
    done = command("run", "data=grammar", "encoder=lstm", f"measures={tmp_path / 'nowhere.py'}", f"run.dir={tmp_path / 'o'}")
    assert done.returncode == 2 and "no file" in done.stderr and "Traceback" not in done.stderr
