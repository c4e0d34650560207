"""The guard: what `pip install` gives works from an empty folder, data folders included, and leaks nothing."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_wheel_built_from_the_sdist_runs_a_multirun_in_an_empty_folder(tmp_path, toy_root):
    built = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path / "dist", ROOT], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    [wheel] = (tmp_path / "dist").glob("*.whl")
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    words = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run(words, check=True, capture_output=True)
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    # the dependencies are taken from this environment; a path line in a .pth does not bring its editable installs along
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}

    def run(*words):
        return subprocess.run(words, cwd=empty, env=environment, capture_output=True, text=True)

    where = run(python, "-c", "import probing, probing.paths as p; print(probing.__file__, p.CONF, p.TASKS, p.PUBLISHED)")
    assert all(part.startswith(str(site)) for part in where.stdout.split()), where.stdout + where.stderr
    assert (site / "probing" / "py.typed").is_file()
    words = ["data=senteval", f"data.root={toy_root}", "encoder=lstm,bilstm", "++encoder.hidden=4", "pooling=mean"]
    words += ["++encoder.embedding_dim=4", "task=bigram_shift", "layer=1", "floors=majority", "controls=none"]
    done = run(tmp_path / "venv" / "bin" / "probing", "run", "-m", *words)
    assert done.returncode == 0, done.stderr
    runs = sorted((empty / "probing-out" / "runs").iterdir())
    assert len(runs) == 2
    compared = run(tmp_path / "venv" / "bin" / "probing", "report", runs[0], "--against", "zhu2022")
    assert compared.returncode == 0 and "BShift" in compared.stdout
    leaked = run(
        python, "-c", "import importlib.util as u; print([n for n in ('conf', 'tasks', 'scripts', 'tests') if u.find_spec(n)])"
    )
    assert leaked.stdout.strip() == "[]"
