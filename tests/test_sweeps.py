"""Locks, the presets of sweeps, and the trial on Slurm without Slurm."""

import copy
import csv
import errno
import fcntl
import importlib
import json
import re
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from toys import ToyEncoder

from probing import run
from probing.paths import CONF
from probing.store import locks
from probing.store import vectors as store

SCRIPT = Path(__file__).parents[1] / "scripts" / "trials" / "slurm_trial.py"


@pytest.fixture
def trial(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module("slurm_trial")


def test_what_another_process_holds_comes_last_and_nothing_comes_twice(tmp_path):
    other = FileLock(tmp_path / "1")
    other.acquire()
    groups = locks.claims(lambda item: tmp_path / str(item), [0, 1, 2])
    assert next(groups) == [0, 2]
    with locks.locked(tmp_path / "0", wait=False) as held:
        assert not held  # while the group is worked on, its locks are held
    other.release()
    assert next(groups) == [1]
    with locks.locked(tmp_path / "0", wait=False) as held:
        assert held
    assert list(groups) == []


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_the_file_system_has_no_locks_the_work_goes_on(tmp_path, monkeypatch, capsys, code):
    def refuse(fd, how):
        raise OSError(code, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    for _ in range(2):  # nothing is left behind that blocks the second
        assert list(locks.claims(lambda item: tmp_path / str(item), [3, 4])) == [[3, 4]]
    assert capsys.readouterr().err.count("has no locks") == 1


def test_another_refusal_of_the_machine_is_not_swallowed(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), locks.locked(tmp_path / "file" / "5"):
        pass


@pytest.mark.parametrize(
    ("words", "launcher", "expected"),
    [
        (["+sweep=local"], "JoblibLauncher", {"n_jobs": -1}),
        (
            ["+sweep=slurm", "hydra.launcher.partition=debug"],
            "SlurmLauncher",
            {"partition": "debug", "additional_parameters": {"requeue": True}, "max_num_timeout": 20},
        ),
    ],
)
def test_a_sweep_preset_names_its_launcher(words, launcher, expected):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", ["hydra.runtime.output_dir=here", *words], return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        said = OmegaConf.to_container(config.hydra.launcher, resolve=False)
    assert said["_target_"].endswith(launcher) and config.hydra.mode.name == "MULTIRUN"
    assert {key: said[key] for key in expected} == expected


def test_the_trial_writes_a_cluster_of_two_nodes(trial, tmp_path):
    text = importlib.import_module("slurm_cluster").slurm_conf(tmp_path, [7001, 7002, 7003], "host")
    nodes = re.findall(r"^NodeName=(\w+) NodeHostname=host NodeAddr=127.0.0.1 Port=(\d+)", text, re.M)
    assert nodes == [("n1", "7002"), ("n2", "7003")] and "SlurmctldPort=7001" in text
    for key in ("SlurmdPidFile", "SlurmdLogFile", "SlurmdSpoolDir"):  # each node its own
        assert "%n" in re.search(rf"^{key}=(.*)$", text, re.M)[1]
    assert "Nodes=n1,n2" in text


def test_the_trial_sees_tables_that_differ(trial, tmp_path):
    for home, content in (("a", b"x"), ("b", b"x"), ("c", b"y")):
        for name in ("runs/one", "tables/all"):
            (tmp_path / home / name).mkdir(parents=True)
            (tmp_path / home / name / "rows.csv").write_bytes(b"x" if "tables" in name else content)
    a, b, c = (trial.tables(tmp_path / home) for home in "abc")
    assert len(a) == 2 and trial.differences(a, b) == []
    assert trial.differences(a, c) == ["one"]
    assert trial.differences(a, {}) == sorted(a)


def test_the_log_of_shards_counts_each_sentence(trial, tmp_path, monkeypatch):
    for name in ("extract", "write_shard", "SHARD_BYTES"):  # so that they are put back
        monkeypatch.setattr(store, name, getattr(store, name))
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.setenv("SLURMD_NODENAME", "n2")
    trial.shard_log.ShardLog(tmp_path / "log").on_job_start(None)
    texts = [f"a word and {i}" for i in range(40)]
    for folder in ("one", "one", "other"):
        store.Store(tmp_path / folder).vectors(ToyEncoder(), texts, ["mean"])
        found = trial.shard_log.counts(trial.shard_log.read(tmp_path / "log"))
        again = folder == "other"  # a control: whoever computes again is seen
        assert found["sentences"] == 40 and found["sentences_written_twice"] == (40 if again else 0)
        assert found["shards"] == found["shards_by_node"]["n2"] == found["shards_by_start_of_a_job"]["7_3-0"] == (6 if again else 3)
        assert found["lost"] == {}


def test_the_trial_tells_each_start_of_a_job_what_ended_it(trial, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.import_module("slurm_sweep"), "jobs", list)
    monkeypatch.setattr(trial, "output_of", lambda *command: " ".join(command) + "\n")  # `sinfo` is not everywhere
    sweep = trial.Sweep("limit", None, tmp_path / "home", [], 0)
    sweep.struck = {"1_0": "SIGKILL"}
    said = {"1_0": "9 cells: 4 done, 5 to compute\n", "1_1": "3 cells: 0 done, 3 to compute\nthis job is timed-out.\n" * 2}
    said["1_1"] += "3 cells: 2 done, 1 to compute\n"
    for job, text in said.items():
        (tmp_path / "home" / "hydra" / job).mkdir(parents=True)
        (tmp_path / "home" / "hydra" / job / f"{job}_0_log.err").write_text(text)
    for job, restarts in (("1_0", "0"), ("1_0", "1"), ("1_1", "0"), ("1_1", "1"), ("1_1", "2")):
        place = {"sweep": "limit", "job": job, "restarts": restarts, "node": "n1", "start": f"12:0{restarts}", "end": "13:00"}
        sweep.starts[job, restarts] = place | {"state": "COMPLETED", "exit": "0:0"}
    report = sweep.report()
    assert report["cells"] == {"asked for": 12, "done before": 6, "to compute": 6}
    report["shards"] |= {"shards_by_start_of_a_job": {"1_0-1": 2}, "lost": {"1_0-0": 1}}
    trial.write(tmp_path / "out", {"sweeps": {"limit": report}}, [sweep])
    with (tmp_path / "out" / "jobs.csv").open() as file:
        lines = {(line["job"], line["restarts"]): line for line in csv.DictReader(file)}
    faults = {start: line["fault"] for start, line in lines.items()}
    assert faults == {
        ("1_0", "0"): "SIGKILL",
        ("1_0", "1"): "",
        ("1_1", "0"): "time limit",
        ("1_1", "1"): "time limit",
        ("1_1", "2"): "",
    }
    assert {start for start, line in lines.items() if line["state"] == "COMPLETED"} == {("1_0", "1"), ("1_1", "2")}
    assert (lines["1_0", "0"]["lost"], lines["1_0", "1"]["shards"]) == ("1", "2")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["slurm"] == "sinfo --version"


def test_the_trial_says_what_is_amiss(trial):
    shards = {"sentences_written_twice": 0, "shards_written_twice": 0, "shards": 4}
    sweep = {"struck": {}, "exit_code": 0, "cells": {"to compute": 6}, "shards": shards}
    sweeps = {title: copy.deepcopy(sweep) for title in ("main", "again", "limit passed", "limit")}
    sweeps["main"] |= {"exit_code": 130, "struck": {f"1_{i}": fault for i, fault in enumerate(trial.FAULTS)}}
    sweeps["again"]["shards"]["shards"] = 0
    sweeps["limit passed"]["exit_code"] = 1
    stores = {"alone": (4, 0), "shared": (4, 0), "limited": (8, 0)}
    good = {"sweeps": sweeps, "tables_different": [], "shards_intact_and_damaged": stores, "cells": {"failed": 0, "missing": 0}}
    assert trial.wrong(good) == []
    for place, value in (
        (("tables_different",), ["all 0"]), (("cells", "missing"), 1), (("shards_intact_and_damaged", "limited"), (7, 1)),
        (("sweeps", "main", "struck"), {"1_0": "SIGKILL"}), (("sweeps", "main", "exit_code"), 0),
        (("sweeps", "main", "shards", "sentences_written_twice"), 2), (("sweeps", "again", "shards", "shards"), 1),
        (("sweeps", "again", "cells", "to compute"), 0),
    ):  # fmt: skip
        bad = copy.deepcopy(good)
        inner = bad
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        assert trial.wrong(bad), place


def test_without_slurm_the_trial_says_so_in_one_line(trial, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(tmp_path / "out"), str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        trial.main()
    assert end.value.code.startswith("skipped: Slurm is not installed here") and "\n" not in end.value.code


def test_a_sweep_knows_the_runs_of_jobs_in_other_processes(tmp_path, monkeypatch):
    """Mutant: `probing atlas +sweep=local … --out DIR` wrote no DIR."""
    monkeypatch.setattr(run, "folders", [Path("/runs/of-2")])
    monkeypatch.setattr(run, "_sweeps", [str(tmp_path)])
    monkeypatch.setattr(run, "_hydra", lambda *given: 0)
    monkeypatch.setattr(run, "_one_table", lambda folders: None)
    for number in (0, 2, 10):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / run._FOLDER).write_text(f"/runs/of-{number}", encoding="utf-8")
    assert run.main([]) == 0
    assert run.folders == [Path("/runs/of-2"), Path("/runs/of-0"), Path("/runs/of-10")], "each once"
