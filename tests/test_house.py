"""The house: arrows, presets that match their classes, cards and scripts that run, the README's example, docstrings."""

import dataclasses
import doctest
import importlib
import json
import pkgutil
import re
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

import processes
import pytest
import yaml

import probing
from probing import config as presets
from probing import paths
from probing.data import card as cards
from probing.data.conllu import KINDS
from probing.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
MODULES = [m.name for m in pkgutil.walk_packages(probing.__path__, "probing.") if m.name != "probing.__main__"]


def test_the_arrows_of_the_house():
    done = subprocess.run([Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_ruff_has_nothing_to_say():
    ruff = Path(sys.executable).parent / "ruff"
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run([ruff, *words, "."], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_mypy_has_nothing_to_say():
    done = subprocess.run([Path(sys.executable).parent / "mypy"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_data_folders_are_beside_the_package_and_not_in_it():
    assert paths.CONF == ROOT / "conf" and paths.TASKS == ROOT / "tasks" and paths.PUBLISHED == ROOT / "results" / "published"
    assert not [name for name in ("conf", "tasks", "published") if (ROOT / "probing" / name).exists()]


@pytest.mark.parametrize("group", ["encoder", "probe", "data", "objective"])
def test_every_preset_names_every_option_of_its_class(group):
    for name in presets.names(group):
        options = presets.read(group, name)
        module, _, cls = options.pop("_target_").rpartition(".")
        fields = [f.name for f in dataclasses.fields(getattr(importlib.import_module(module), cls)) if f.init]
        assert list(options) == fields, f"conf/{group}/{name}.yaml"
        assert presets.about(group, name)


@pytest.mark.parametrize(("old", "new"), presets.MOVED.items())
def test_a_class_that_moved_is_built_by_its_old_name(old, new):
    module, _, name = new.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    assert presets.first_target(cls) == old and cls.__module__ == module
    required = {f.name: "x" for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING}
    assert type(presets.build({"_target_": old, **required}, "encoder")) is cls


def test_a_target_that_is_an_instance_is_refused():
    with pytest.raises(ConfigError, match="is not a dataclass"):
        presets.build({"_target_": "probing.interactions.options.EXACT"}, "encoder")


@pytest.mark.parametrize("group", ["suite", "experiment"])
def test_suites_and_experiments_say_what_they_are(group):
    for name in presets.names(group):
        assert presets.about(group, name)
        content = (paths.CONF / group / f"{name}.yaml").read_text()
        assert "@package _global_" in content
        tasks = yaml.safe_load(content).get("task", "all")
        assert tasks == "all" or set(tasks) <= {*cards.names(), *KINDS}


def test_every_preset_composes():
    import parsed
    from hydra import compose, initialize_config_dir

    parsed.once()

    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        groups = [[f"{group}={name}" for name in presets.names(group)] for group in ("encoder", "probe", "data")]
        for words in zip_longest(*groups):  # a composition has one of each group
            compose("config", [word for word in words if word])
        for name in presets.names("suite"):
            compose("config", [f"suite={name}"])
        for name in presets.names("experiment"):
            compose("config", [f"+experiment={name}"])
        for name in presets.names("objective"):
            compose("train", ["encoder=lstm", f"objective={name}"])
        compose("interact", ["encoder=checkpoint"])


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} does not say what it is"
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_results_name_scripts_that_are_there_and_every_folder_has_its_line():
    for path in (ROOT / "results").rglob("*.*"):
        if path.suffix in (".md", ".json"):
            for name in re.findall(r"scripts/[\w/]+\.py", path.read_text(encoding="utf-8")):
                assert (ROOT / name).is_file(), f"{path.relative_to(ROOT)}: {name}"
    lines = re.findall(r"^\| ([\w-]+) \|", (ROOT / "results" / "README.md").read_text(encoding="utf-8"), re.M)
    assert lines[1:] == sorted(path.name for path in (ROOT / "results").iterdir() if path.is_dir())


def test_import_published_keeps_every_value(tmp_path):
    """The script reads what it wrote: the same columns and values, a status added."""
    done = processes.run(ROOT / "scripts" / "results" / "import_published.py", paths.PUBLISHED, tmp_path)
    assert done.returncode == 0, done.stderr
    for path in paths.PUBLISHED.glob("*.csv"):
        assert (tmp_path / path.name).read_text() == path.read_text()


@pytest.mark.slow
def test_main_table_runs_on_toy_data(toy_root, tmp_path):
    words = [
        "encoder=lstm",
        "encoder.hidden=4",
        "encoder.embedding_dim=4",
        "pooling=mean",
        "controls=none",
        f"run.dir={tmp_path / 'out'}",
    ]
    words += ["layer=1", "floors=majority", "task=bigram_shift"]
    script = ROOT / "scripts" / "results" / "main_table.py"
    done = processes.run(script, toy_root, tmp_path / "table", *words, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert {"table.md", "table.csv", "rows.csv", "manifest.json"} <= {path.name for path in (tmp_path / "table").iterdir()}


def test_bad_inputs_runs_its_first_case(tmp_path):
    done = processes.run(ROOT / "scripts" / "trials" / "bad_inputs.py", tmp_path, "1")
    assert done.returncode == 0, done.stderr
    rows = [row for row in (tmp_path / "README.md").read_text().splitlines() if "| 2 | probing: " in row]
    assert len(rows) == 1


@pytest.mark.slow
def test_failing_models_runs(tmp_path):
    done = processes.run(ROOT / "scripts" / "trials" / "failing_models.py", tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "failing-models.md").read_text()
    assert text.count("(exit code 1)") >= 8 and "Traceback" not in text and "§" in text


def test_parity_runs_on_toy_data(toy_root, tiny, tmp_path):
    """Beside running, it must find parity on the toy data too."""
    script = ROOT / "scripts" / "results" / "parity.py"
    words = ["--tasks", "bigram_shift", "--encoder", tiny("bert"), "--store", tmp_path / "store", "--grid", "0.01,1"]
    done = processes.run(script, toy_root, tmp_path / "parity", *words)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "parity" / "manifest.json").read_text())
    assert summary["worst_relative_objective"] < 1e-3 and summary["worst_points_senteval_logreg"] == 0
