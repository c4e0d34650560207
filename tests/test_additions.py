"""The table of CONTRIBUTING.md: each of its ten toys is added where the table says, and appears in what a user sees.

A toy is code that a fork of the test server runs before the command. It does what the change of the file would do: an entry in the
dict that the file holds, or a file in a copy of the folder.
"""

import re
import shutil
from pathlib import Path

import pandas as pd
import processes
import pytest

from probing import paths

ROOT = Path(__file__).resolve().parents[1]


def command(toy, *words):
    code = f"{toy}\nimport sys\nsys.argv = ['probing', *{[str(word) for word in words]!r}]\nfrom probing.cli import main\nmain()"
    done = processes.run("-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def run(toy_root, tmp_path):
    """Runs a small table with a toy and gives the folder of the run; words of the caller replace those of the same key."""
    usual = {
        "data": "senteval", "data.root": toy_root, "task": "bigram_shift", "encoder": "lstm", "encoder.hidden": 8,
        "encoder.embedding_dim": 8, "pooling": "mean", "layer": 1, "controls": "none", "floors": "majority",
        "run.dir": tmp_path / "out",
    }  # fmt: skip

    def run(toy, **words):
        words = {key.replace("__", "."): word for key, word in words.items()}
        kept = {key: word for key, word in usual.items() if "encoder" not in words or not key.startswith("encoder")}
        command(toy, "run", *(f"{key}={word}" for key, word in (kept | words).items()))
        [folder] = (tmp_path / "out" / "runs").iterdir()
        return folder

    return run


def test_each_question_has_one_file():
    lines = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()
    files = [line.split("|")[2].strip() for line in lines if line.startswith(("| a ", "| an "))]
    assert len(files) == 10 and all(re.fullmatch(r"`[\w/.]+`", file) for file in files)


def copy_of_presets(folder):
    """The toy that makes presets of `folder`/conf, a copy, and modules of `folder` known."""
    shutil.copytree(paths.CONF, folder / "conf")
    return (
        f"import sys, pathlib, probing.config, probing.run\nsys.path.insert(0, {str(folder)!r})\n"
        f"probing.config.CONF = probing.run.CONF = pathlib.Path({str(folder / 'conf')!r})"
    )


MIN = """
from probing.encoders.networks.architecture import NetworkEncoder
from probing.encoders.pooling import POOLINGS, TOKEN_POOLINGS
POOLINGS["min"] = lambda batch, layer, backward: -POOLINGS["max"](batch, -layer, backward)
NetworkEncoder.poolings = (*TOKEN_POOLINGS, "min")  # which the file derives from the dict, before encoders import it
"""


def test_a_pooling(run):
    folder = run(MIN, pooling="all", layer="all")
    rows = pd.read_csv(folder / "rows.csv")
    assert set(rows.pooling.dropna()) == {"mean", "max", "last", "min"}
    assert ", min, fast" in (folder / "table.md").read_text() and (folder / "figure-curves-min-fast.svg").is_file()


def test_every_encoder_with_token_states_has_every_pooling_of_tokens():
    from probing.encoders.elmo.elmo import ELMoEncoder
    from probing.encoders.elmo.textgenrnn import TextgenrnnEncoder
    from probing.encoders.hf.embeddings import InputEmbeddings
    from probing.encoders.networks.architecture import NetworkEncoder
    from probing.encoders.pooling import TOKEN_POOLINGS
    from probing.encoders.static import StaticEncoder

    classes = (ELMoEncoder, TextgenrnnEncoder, InputEmbeddings, NetworkEncoder, StaticEncoder)
    assert TOKEN_POOLINGS == ("mean", "max", "last") and all(one.poolings is TOKEN_POOLINGS for one in classes)


REVERSED = """
from probing.probes.controls import CONTROLS, Control
CONTROLS["reversed"] = Control(1, lambda task, seed: [split.labels[::-1] for split in task.splits.values()])
"""


def test_a_control(run):
    folder = run(REVERSED, controls="permuted,reversed")
    rows = pd.read_csv(folder / "rows.csv")
    assert set(rows.control.dropna()) == {"permuted", "reversed"}
    assert (
        "control (reversed)" in (folder / "table.md").read_text() and "control (reversed)" in (folder / "report.html").read_text()
    )


NEAR = """
from probing.evaluation.statistics import METRICS, mean_accuracy
METRICS["near"] = lambda gold, predicted, n_classes, groups: mean_accuracy(abs(predicted - gold) <= 1, groups)
"""


def test_a_metric(run):
    folder = run(NEAR)
    rows = pd.read_csv(folder / "rows.csv")
    assert set(rows.value[rows.metric == "near"]) == {1.0}  # of two classes, neither is farther than one from the other
    assert "| macro F1 | near |" in (folder / "table.md").read_text() and "near_low" in (folder / "table.csv").read_text()


CENTROID = """
from dataclasses import dataclass
import numpy as np
from probing.probes.base import ProbeResult

@dataclass
class Centroid:
    name: str = "centroid"

    def settings(self, task):
        return {"estimator": "centroid", "version": 1}

    def seed(self, seed):
        return None

    def columns(self, columns):
        return list(columns)

    def fit(self, load, columns, label_sets, task, n_classes, seed):
        for column in columns:
            x = load(column)
            for name, y in label_sets.items():
                means = np.stack([x.train[y.train == k].mean(0) for k in range(n_classes)])
                dev, test = (((part[:, None] - means) ** 2).sum(2).argmin(1) for part in (x.dev, x.test))
                yield column, name, ProbeResult(test, float((dev == y.dev).mean()), {}, (), True)
"""


def test_a_probe(run, tmp_path):
    toy = copy_of_presets(tmp_path)
    (tmp_path / "centroid.py").write_text(CENTROID)
    (tmp_path / "conf/probe/centroid.yaml").write_text("# the nearest class mean\n_target_: centroid.Centroid\nname: centroid\n")
    assert re.search("centroid +the nearest class mean", command(toy, "list", "probes"))
    folder = run(toy, probe="centroid")
    assert (
        set(pd.read_csv(folder / "rows.csv").probe.dropna()) == {"centroid"}
        and "mean, centroid" in (folder / "table.md").read_text()
    )


CSV = """
from probing.data.readers.formats import FORMATS, Line

def read_csv(path):
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        split, label, sentence = line.split(",")
        yield Line(path, number, label, sentence, split)

FORMATS["csv"] = read_csv
"""


def test_a_reader(run, tmp_path):
    (tmp_path / "card.yaml").write_text("name: fruit\nfile: fruit.csv\nformat: csv\n")
    rows = [f"{split},{k % 2},{('plum', 'pear')[k % 2]} {k} {split}" for split in ("train", "dev", "test") for k in range(60)]
    (tmp_path / "fruit.csv").write_text("\n".join(rows))
    folder = run(CSV, data__root=tmp_path, task=tmp_path / "card.yaml")
    assert "| fruit |" in (folder / "table.md").read_text() and set(pd.read_csv(folder / "rows.csv").task) == {"fruit"}


SEVEN = """
from functools import partial
from probing.interactions.text.masking import MASKINGS, _put
MASKINGS["seven"] = partial(_put, vector=7)
"""


def test_a_masking():
    words = ("interact", "encoder=lstm", "encoder.hidden=8", "encoder.embedding_dim=8", "text=a b c", "layer=1", "value=mean")
    tables = [command(SEVEN, *words, f"masking={name}") for name in ("seven", "pad")]
    assert "masking=seven" in tables[0] and tables[0].replace("seven", "pad") != tables[1]


LETTERS = """
from dataclasses import dataclass
from functools import cached_property
import torch
from probing.encoders.base import States
from probing.encoders.pooling import TOKEN_POOLINGS

@dataclass
class Letters:
    width: int = 8

    name, layer_names, poolings, origin = "letters", ("letters",), TOKEN_POOLINGS, "drawn from a seed"

    @property
    def dims(self):
        return (self.width,)

    @property
    def description(self):
        return {"kind": "letters", "version": 1, "width": self.width}

    def tokenize(self, texts):
        return [[ord(letter) % 256 for letter in text if letter != " "] for text in texts], 0

    def word_ids(self, texts):
        return [[k for k, word in enumerate(text.split()) for _ in word] for text in texts]

    @cached_property
    def _vectors(self):
        return torch.randn(256, self.width, generator=torch.Generator().manual_seed(0))

    def forward(self, items):
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(item) for item in items], batch_first=True, padding_value=-1)
        return States([self._vectors[ids.clamp(min=0)]], ids >= 0)

    def release(self):
        self.__dict__.pop("_vectors", None)

    def random_twin(self, seed):
        return None
"""


def test_an_encoder_family(run, tmp_path):
    toy = copy_of_presets(tmp_path)
    (tmp_path / "letters.py").write_text(LETTERS)
    (tmp_path / "conf/encoder/letters.yaml").write_text("# letters as tokens\n_target_: letters.Letters\nwidth: 8\n")
    assert re.search("letters +letters as tokens", command(toy, "list", "encoders"))
    assert "fails" not in command(toy, "check", "encoder=letters")
    folder = run(toy, encoder="letters", layer=0)
    assert "letters, mean" in (folder / "table.md").read_text()


BARS = """
from matplotlib.figure import Figure
from probing.report.figures import FIGURES, svg

def bars(table):
    best, figure = table.best(), Figure()
    figure.subplots().bar(best.task, best.accuracy)
    yield "Best layer", "bars", svg(figure)

FIGURES.append(bars)
"""


def test_a_figure(run):
    folder = run(BARS)
    assert "<svg" in (folder / "figure-bars.svg").read_text() and "Best layer" in (folder / "report.html").read_text()


BEST = """
import pathlib, typer
from probing.cli import app

@app.command()
def best(run: pathlib.Path) -> None:
    "The best layer of every task."
    from probing.evaluation.runs import Run
    for line in Run.read(run).table().best().itertuples():
        typer.echo(f"{line.task} {line.layer} {line.pooling}")
"""


def test_a_command(run):
    assert "The best layer of every task." in command(BEST, "--help")
    assert re.fullmatch(r"bigram_shift 1 mean\n", command(BEST, "best", run("")))


def test_a_table_of_a_paper(run, tmp_path):
    shutil.copytree(paths.PUBLISHED, folder := tmp_path / "published")
    head = "paper,table,encoder,pretraining,layer,task,metric,value,note,status"
    (folder / "doe2026.csv").write_text(f"{head}\nDoe 2026,Table 1,lstm,none,1,BShift,accuracy (%),50.0,made up,unverified\n")
    entry = {"file": "doe2026.csv", "cite": "Doe 2026", "probe": "fast", "pooling": "mean", "encoder": "lstm", "data": "made up"}
    with (folder / "sources.yaml").open("a") as file:
        file.write("doe2026:\n" + "".join(f"  {key}: {value}\n" for key, value in entry.items()))
    toy = f"import pathlib, probing.paths\nprobing.paths.PUBLISHED = pathlib.Path({str(folder)!r})"
    assert "| BShift | lstm | 1 | 50.0 | **unverified** |" in command(toy, "report", run(""), "--against", "doe2026")
