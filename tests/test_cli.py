"""The command line: what it prints, what it refuses in one or two lines with exit code 2, and what survives a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import processes
import pytest

ENV = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}

SMALL = ["layer=1", "floors=majority", "controls=none"]
"""Of a run that only has to end."""


def fresh(*words):
    """In an interpreter of its own: for what depends on its start, and for a launcher that starts processes itself."""
    return subprocess.run([sys.executable, "-m", "probing", *words], env=ENV, capture_output=True, text=True, timeout=300)


def probing(*words, cwd=None, **environment):
    return processes.run("-m", "probing", *words, cwd=cwd, env=ENV | environment)


@pytest.fixture
def here(toy_root, tiny, tmp_path):
    """A run on the toy data with a tiny BERT: the words of the command, and where it writes."""
    out = tmp_path / "out"
    words = [
        "data=senteval",
        f"data.root={toy_root}",
        "encoder=hf",
        f"encoder.name={tiny('bert')}",
        "pooling=mean,cls",
        f"run.dir={out}",
    ]
    return words, out


def fresh_imports(*words, code=0):
    """The large packages that a command imports, in an interpreter of its own, and its messages."""
    lines = ["import sys", "code = 0", f"sys.argv = {['probing', *words]}", "from probing.cli import main", "try: main()"]
    lines += [
        "except SystemExit as end: code = end.code",
        "large = {'torch', 'hydra', 'sklearn', 'transformers', 'scipy', 'pandas'}",
    ]
    lines += ["print('imported', *large & set(sys.modules))", "sys.exit(code)"]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], env=ENV, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return {*done.stdout.splitlines()[-1].split()[1:]}, done.stderr


def the_run(out: Path) -> Path:
    [folder] = (out / "runs").iterdir()
    return folder


def test_list_answers_without_torch():
    for kind, expected in (
        ("tasks", "TreeDepth"),
        ("encoders", "minilm"),
        ("probes", "jawahar2019"),
        ("experiments", "flash"),
        ("data", "senteval"),
    ):
        done = probing("list", kind)
        assert done.returncode == 0 and expected in done.stdout
    assert not fresh_imports("list", "tasks")[0]


@pytest.mark.parametrize(
    "words", [["rnu"], ["run", "encoder=minlm"], ["run", "taks=past_present"], ["run", "task=past_presnt"], ["run", "layers=3"]]
)
def test_a_typo_is_answered_without_torch(words):
    assert fresh_imports(*words, code=2)[0] <= {"hydra"}


def test_a_run_from_end_to_end(here):
    words, out = here
    done = probing("run", *words)
    assert done.returncode == 0, done.stderr
    folder = the_run(out)
    assert "no file for" in done.stderr and "about" in done.stderr and "tiny-bert" in done.stderr
    for name in ("run.json", "rows.csv", "rows.parquet", "table.csv", "table.md", "table.tex", "report.html"):
        assert (folder / name).stat().st_size > 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    imported, messages = fresh_imports(*words)  # without the verb, and with another hash seed
    assert imported <= {"hydra"} and f"{folder}: nothing to do" in messages
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    status = probing("status", folder)
    assert status.returncode == 0 and "0 failed, 0 missing" in status.stdout
    key = json.loads((folder / "run.json").read_text())["rows"][-1]["cell"]
    explained = json.loads(probing("explain", key[:10], "--json", "--dir", out).stdout)
    assert explained["key"] == key
    assert {"inputs", "measured", "details"} <= set(explained)
    assert {"made", "versions", "data", "encoder", "tried", "seconds"} <= set(explained["details"])
    listed = probing("store", "list", "--root", out / "store").stdout
    assert "tiny-bert" in listed and "tiny-bert (random 0)" in listed
    assert "0 damaged" in probing("store", "verify", "--root", out / "store").stdout

    next((out / "cells").glob(f"{key}.json")).unlink()
    status = probing("status", folder)
    assert status.returncode == 1 and "1 missing" in status.stdout

    compared = probing("report", folder, "--against", "jawahar2019")
    assert compared.returncode == 0
    assert "not the same measurement" in compared.stdout and "second hand" in compared.stdout and "BShift" in compared.stdout


def test_a_multirun_sweeps_encoders_and_its_table_compares_them(here, tiny):
    words, out = here
    models = f"{tiny('bert')},{tiny('gpt2')}"
    words = [w for w in words if not w.startswith(("encoder.name", "pooling"))]
    done = probing("run", "-m", *words, f"encoder.name={models}", "pooling=mean", "task=bigram_shift", "seed=0,1", *SMALL)
    assert done.returncode == 0, done.stderr
    runs = sorted((out / "runs").iterdir())
    assert len(runs) == 2
    assert probing("report", *runs, "--out", out / "both").returncode == 0
    table = (out / "both" / "table.md").read_text()
    assert "tiny-bert" in table and "tiny-gpt2" in table and "Encoders compared" in table
    refused = probing("report", *runs)
    assert refused.returncode == 2 and "--out DIR" in refused.stderr


def test_a_list_in_brackets_is_a_job_and_one_that_fails_stops_no_other(toy_root, tmp_path):
    out = tmp_path / "out"
    words = [
        "data=senteval",
        f"data.root={toy_root}",
        "encoder=lstm",
        "encoder.hidden=4",
        "encoder.embedding_dim=4",
        "pooling=mean",
        f"run.dir={out}",
        "layer=1",
    ]
    tasks = "task=[bigram_shfit],[bigram_shift],[tree_depth,bigram_shift]"
    done = fresh("run", "+sweep=local", "hydra.launcher.n_jobs=2", *words, tasks, "floors=none", "controls=none")
    assert done.returncode == 2 and "did you mean 'bigram_shift'" in done.stderr and "Traceback" not in done.stderr
    runs = [json.loads(path.read_text())["config"]["task"] for path in out.glob("runs/*/run.json")]
    assert sorted(runs) == [["bigram_shift"], ["tree_depth", "bigram_shift"]]
    assert all(probing("status", path.parent).returncode == 0 for path in out.glob("runs/*/run.json"))
    [table] = (out / "tables").glob("*/table.md")
    assert "TreeDepth" in table.read_text() and "lstm[embedding_dim=4,hidden=4]" in table.read_text(), (
        "one table of the jobs that ended"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["encoder=minlm"], "unknown encoder 'minlm'; did you mean 'minilm'?"),
        (["+sweep=slrum"], "unknown sweep 'slrum'; did you mean 'slurm'?"),
        (["+experiment=jawahar"], "unknown experiment 'jawahar'; did you mean 'jawahar2019'?"),
        (["data=senteval"], "data.root"),
        (["encoder=hf"], "set encoder.name="),
        (["encoder.max_lenght=3"], "unknown key 'encoder.max_lenght'; did you mean 'encoder.max_length'?"),
        (["poling=mean"], "unknown key 'poling'; did you mean 'pooling'?"),
        (["encoder.max_length=long"], "max_length"),
        (["run.threads=0"], "at least 1"),
        (["layer=two"], "layer='two' is not a whole number"),
        (["pooling=maen"], "pooling='maen' is unknown; did you mean 'mean'?"),
        (["seed=-1"], "none below 0"),
        (["controls=word,permute"], "controls='permute' is unknown; did you mean 'permuted'?"),
        (["floors=lenght"], "floors='lenght' is unknown; did you mean 'length'?"),
        (["probe.grid=[0]"], "all above 0"),
        (["encoder=minilm,bert"], "-m"),
        (["task=tree_dept"], "unknown task 'tree_dept'; did you mean 'tree_depth'?"),
        (["encoder=hf", "encoder.name=no/such-model"], "hf download no/such-model"),
        (["encoder=hf", "encoder.name=./nowhere"], "no such folder"),
        (["data=senteval", "data.root=/nowhere"], "no folder /nowhere"),
        (["study=synthetic"], "study=synthetic: choose a study by +experiment=NAME"),
        (["run.name=../elsewhere"], "run.name='../elsewhere' is the name of a folder in runs/"),
        (["probe=null"], "probe=null names no probe (allowed: "),
        (["measures="], "leaves nothing to do"),
        (["layers=3"], "layers=3: layers holds the options of a measure (layers.OPTION=…); layers to probe: layer=3"),
        (["mdl=true"], "to measure it: measures=mdl"),
    ],
)
def test_a_mistake_is_said_in_two_lines_with_exit_code_2(tmp_path, words, message):
    done = probing(
        "run", "data.n=300" if not any(w.startswith("data=") for w in words) else "run.force=false", *words, cwd=tmp_path
    )
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) <= 3, done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["store", "list", "--root", "nowhere"], "nowhere is no folder of a store"),
        (["store", "verify", "--root", "file"], "file is no folder of a store"),
        (["report", "file"], "file is a file; a run is a folder"),
        (["make-expressions", "--out", "o", "--variables", "9-3"], "variables=9-3"),
    ],
)
def test_a_file_or_nothing_in_the_place_of_a_folder(tmp_path, words, message):
    (tmp_path / "file").write_text("")
    done = probing(*words, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_a_sweep_on_slurm_needs_slurm(tmp_path):
    words = ["+sweep=slurm", "data.n=300", "encoder=lstm", f"run.dir={tmp_path}"]
    done = processes.run("-m", "probing", "run", *words, env=ENV | {"PATH": str(tmp_path)}, cwd=tmp_path)
    assert done.returncode == 2 and "this machine has no Slurm" in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_text_of_which_no_task_can_be_made_is_an_error_after_the_reasons(tmp_path):
    (tmp_path / "few.txt").write_text("One sentence of some words .\nAnother sentence of some words .\n")
    done = probing("make-tasks", "--from", "few.txt", "--out", "made", cwd=tmp_path)
    assert done.returncode == 2 and "no task was made of few.txt" in done.stderr and "Traceback" not in done.stderr
    assert "sentence_length" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "task"], "did you mean 'tasks'?"),
        (["status", "nowhere"], "holds no run"),
        (["report", "nowhere"], "holds no run"),
        (["explain", "abc"], "no such cell"),
        (["fetch", "sentevl"], "did you mean 'senteval'?"),
        (["store", "prune", "abc"], "is no folder of a store"),
        (["store", "prune", "abc", "--root", "."], "no encoder 'abc'"),
        (["make-tasks", "--from", "nowhere.mrg", "--out", "x"], "nowhere.mrg"),
    ],
)
def test_the_other_commands_refuse_alike(tmp_path, words, message):
    done = probing(*words, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_against_an_unknown_table_names_the_known_ones(here):
    words, out = here
    assert probing("run", *words, *SMALL).returncode == 0
    done = probing("report", the_run(out), "--against", "jawahar")
    assert done.returncode == 2 and "did you mean 'jawahar2019'?" in done.stderr


def test_a_broken_line_is_named_and_nothing_is_lost(here, toy_root):
    words, out = here
    words = [*words, *SMALL]
    assert probing("run", *words, "task=bigram_shift").returncode == 0
    cells = len(list((out / "cells").glob("*.json")))
    path = toy_root / "tree_depth.txt"
    lines = path.read_text().splitlines()
    lines[6] = "tr\t5"
    path.write_text("\n".join(lines) + "\n")
    done = probing("run", *words)
    assert done.returncode == 2 and f"{path}, line 7: 2 tab-separated field(s)" in done.stderr
    assert len(list((out / "cells").glob("*.json"))) == cells


def test_a_folder_that_cannot_be_written_is_said(here, tmp_path):
    words, _ = here
    (tmp_path / "file").write_text("")
    done = probing("run", *words, f"run.dir={tmp_path / 'file' / 'out'}")
    assert (
        done.returncode == 2
        and "a file of that name is in the way; choose another folder with run.dir" in done.stderr
        and "Traceback" not in done.stderr
    )


def test_a_failed_cell_gives_exit_code_1_and_is_listed(here):
    words, out = here
    broken = "import probing.probes.logistic as m\ndef bad(*a, **k): raise ArithmeticError('no luck')\nm.fit_paths = bad\n"
    words = [*words, *SMALL]
    code = f"import sys\n{broken}sys.argv = ['probing', 'run', *{words!r}]\nfrom probing.cli import main\nmain()"
    done = processes.run("-c", code, env=ENV)
    assert done.returncode == 1 and "no luck" in done.stderr and "probing status" in done.stderr
    status = probing("status", the_run(out))
    assert status.returncode == 1 and "ArithmeticError: no luck" in status.stdout
    assert probing("run", *words).returncode == 0
    assert probing("status", the_run(out)).returncode == 0


@pytest.mark.slow
def test_killed_in_extraction_and_in_probing_the_table_has_the_same_bytes(here, tmp_path):
    words, out = here
    other = [w for w in words if not w.startswith("run.dir")]
    assert probing("run", *other, f"run.dir={tmp_path / 'whole'}").returncode == 0
    stages = {
        "extraction": lambda: next(out.glob("store/*/*/*/sentences.json"), None),
        "probing": lambda: len(list(out.glob("cells/*.json"))) > 12,
    }
    for stage, reached in stages.items():
        process = processes.Started("-m", "probing", "run", *words, env=ENV)
        while process.poll() is None and not reached():
            time.sleep(0.002)
        assert process.poll() is None, f"finished before it could be killed in {stage}"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert probing("run", *words).returncode == 0
    whole, resumed = the_run(tmp_path / "whole"), the_run(out)
    for name in ("rows.csv", "table.csv", "table.md", "table.tex", "report.html"):
        assert (whole / name).read_bytes() == (resumed / name).read_bytes(), name


def test_two_runs_at_once_agree(here):
    words, out = here
    words = [*(w for w in words if not w.startswith("pooling")), "pooling=mean", "controls=none"]
    both = [processes.Started("-m", "probing", "run", *words, env=ENV) for _ in range(2)]
    errors = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert probing("status", the_run(out)).returncode == 0


def test_make_tasks_makes_files_that_the_runner_reads(tmp_path):
    from probing.data.builders import grammar_tasks  # the grammar's own trees serve as a treebank
    from probing.data.grammar import grammar

    trees = tmp_path / "trees.mrg"
    sentences = grammar.corpus(400, 0).sentences
    trees.write_text("\n".join(str(s.tree) for s in sentences) + "\n")
    done = probing("make-tasks", "--from", trees, "--out", tmp_path / "made", "--tasks", "sentence_length,bigram_shift")
    assert done.returncode == 0, done.stderr
    assert "bigram_shift" in done.stdout and (tmp_path / "made" / "bigram_shift.card.json").is_file()
    assert grammar_tasks(tmp_path / "g", n=400).is_dir()
