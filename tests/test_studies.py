"""Studies as runs: folder, rows, manifest, one report of a multirun, and parts that are kept."""

import importlib
import json
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd
import processes
import pytest

from probing import config as presets
from probing import studies as job
from probing.errors import ConfigError, DataError
from probing.store.results import ResultStore
from probing.store.vectors import Store


@dataclass
class Counting:
    """A study of one number an encoder, which says how often it was measured."""

    factor: int = 2
    name = "counting"
    uses = ("encoder",)
    measured = 0

    def measure(self, context):
        part = {"factor": self.factor, "encoder": context.encoder.name}
        rows = context.results.get(part)
        if rows is None:
            type(self).measured += 1
            rows = context.results.put(part, [{"encoder": context.encoder.name, "value": 0.1 * self.factor}])
        return pd.DataFrame(rows)

    def report(self, frame, folder):
        (folder / "table.md").write_text(f"{len(frame)} rows, mean {frame.value.mean():.3f}\n")


@pytest.fixture
def said(toy_root):
    return lambda encoder, factor=2: {
        "study": {"_target_": f"{__name__}.Counting", "factor": factor},
        "encoder": {"_target_": f"probing.encoders.{encoder}"},
        "data": {"name": "toy"},
        "task": "all",
        "seed": 0,
        "run": {"name": None},
    }


def test_a_study_writes_its_rows_once_and_says_what_made_them(said, tmp_path):
    Counting.measured = 0
    config = said("networks.recurrent.LSTM")
    folder = job.run(config, tmp_path, Store(tmp_path / "store"), None, (0,))
    assert folder.parent == tmp_path / "runs" and folder.name.startswith("counting-lstm_untrained_0_-")
    assert job.run(config, tmp_path, Store(tmp_path / "store"), None, (0,)) == folder
    assert Counting.measured == 1  # the second time it was read
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (
        manifest["config"]["study"]["factor"] == 2 and manifest["encoder"]["name"] == "lstm (untrained 0)" and manifest["versions"]
    )
    assert (folder / "table.md").read_text() == "1 rows, mean 0.200\n" and job.is_run(folder)
    assert job.run(said("networks.recurrent.LSTM", 3), tmp_path, Store(tmp_path / "store"), None, (0,)) != folder
    (tmp_path / "manifest.json").write_text('{"command": "a folder of results", "runs": []}')
    assert not job.is_run(tmp_path)


def test_several_runs_make_one_report(said, tmp_path):
    folders = [
        job.run(said(e), tmp_path, Store(tmp_path / "s"), None, (0,))
        for e in ("networks.recurrent.LSTM", "networks.convolutional.CNN")
    ]
    job.together(folders, tmp_path / "out")
    assert set(pd.read_csv(tmp_path / "out" / "rows.csv").encoder.str.split().str[0]) == {"lstm", "cnn"}
    assert (tmp_path / "out" / "table.md").read_text().startswith("2 rows")
    from typer.testing import CliRunner

    from probing.cli import app

    words = ["report", *map(str, folders), "--out", str(tmp_path / "again")]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert (tmp_path / "again" / "rows.csv").read_bytes() == (tmp_path / "out" / "rows.csv").read_bytes()
    with pytest.raises(ConfigError, match="say where it goes with --out DIR"):
        CliRunner().invoke(app, ["report", str(folders[0])], catch_exceptions=False)
    script = Path(__file__).parents[1] / "scripts" / "results" / "study_results.py"
    done = processes.run(script, tmp_path / "result", *folders)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "result").iterdir()} == {"table.md", "rows.csv.xz", "manifest.json"}
    made = json.loads((tmp_path / "result" / "manifest.json").read_text())
    assert [run["name"] for run in made["runs"]] == [folder.name for folder in folders] and made["runs"][0]["versions"]
    assert made["command"].split()[3:] == [folder.name for folder in folders]
    said = json.loads((folders[1] / "manifest.json").read_text())
    said["config"]["study"]["_target_"] = "probing.studies.Other"
    (folders[1] / "manifest.json").write_text(json.dumps(said))
    with pytest.raises(ConfigError, match="several studies \\(Counting, Other\\)"):
        job.together(folders, tmp_path / "out")


def test_commands_of_committed_studies_name_runs_and_not_where_they_lay():
    commands = [
        json.loads(path.read_text()).get("command", "")
        for path in sorted((Path(__file__).parents[1] / "results").glob("*/manifest.json"))
    ]
    of_studies = [command.split() for command in commands if "study_results.py" in command]
    assert of_studies and not [words for words in of_studies if any("/" in run for run in words[3:])]


def test_a_damaged_part_is_no_part(tmp_path):
    results, inputs = ResultStore(tmp_path), {"a": 1}
    assert results.get(inputs) is None
    results.put(inputs, [{"x": 1.5}])
    [path] = Path(tmp_path).glob("*.json")
    assert results.get(inputs) == [{"x": 1.5}] and results.get({"a": 2}) is None
    path.write_text(path.read_text().replace("1.5", "2.5"))
    assert results.get(inputs) is None


def test_data_with_a_default_task(tmp_path):
    source = presets.build(presets.read("data", "sst2") | {"root": str(tmp_path)}, "data")
    with pytest.raises(DataError, match=r"stsa\.binary\.train"):
        source.tasks(None)


@pytest.mark.parametrize("name", [name for name in presets.names("experiment") if "study" in presets.read("experiment", name)])
def test_every_experiment_of_a_study_names_every_option(name):
    options = presets.read("experiment", name)["study"]
    module, _, cls = options.pop("_target_").rpartition(".")
    study = getattr(importlib.import_module(module), cls)
    assert list(options) == [field.name for field in fields(study) if field.init]


@pytest.mark.slow
def test_a_multirun_over_encoders_ends_in_one_table_and_one_picture(toy_root, tmp_path):
    words = ["run", "-m", "+experiment=interaction_layers", "encoder=lstm,cnn", "data=senteval", f"data.root={toy_root}"]
    words += ["task=bigram_shift", "study.sentences=3", "study.words=[4,6]", "study.lengths=[2,3]", f"study.probing={toy_root}"]
    words += [f"run.dir={tmp_path / 'out'}", "run.threads=1", "++encoder.embedding_dim=8"]
    done = processes.run("-m", "probing", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [folder] = (tmp_path / "out" / "tables").iterdir()
    drawn = (folder / "figure-profile-bigram_shift-pad.svg").read_text()
    assert "lstm[embedding_dim=8] (untrained 0)" in drawn and "cnn[embedding_dim=8] (untrained 0)" in drawn and "TreeDepth" in drawn
