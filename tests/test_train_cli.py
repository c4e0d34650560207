"""`probing train`, `check` and `interact` on the command line, and what a multirun leaves."""

import os
import re
from pathlib import Path

import pandas as pd
import processes
import pytest

ROOT = Path(__file__).resolve().parents[1]
ENV = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
SMALL = ["encoder.embedding_dim=6", "objective.epochs=1", "objective.min_count=1"]


def probing(*words, cwd=None):
    return processes.run("-m", "probing", *words, cwd=cwd, env=ENV)


@pytest.fixture
def reviews(tmp_path) -> Path:
    root = tmp_path / "reviews"
    root.mkdir()
    for split in ("train", "dev", "test"):
        (root / f"stsa.binary.{split}").write_text(
            "".join(f"{k % 2} {'good' if k % 2 else 'bad'} film {k % 7}\n" for k in range(60))
        )
    return root


@pytest.mark.slow
def test_networks_are_trained_probed_and_compared_in_one_table(reviews, toy_root, tmp_path):
    """train -m, then run -m over the checkpoints: one table with both encoders, their twins, and a paired comparison."""
    out = tmp_path / "out"
    done = probing("train", "-m", "encoder=lstm,cnn", "objective=sst2", f"data.root={reviews}", *SMALL, f"run.dir={out}")
    assert done.returncode == 0, done.stderr
    folders = sorted((out / "checkpoints").iterdir())
    assert [folder.name.split("-")[0] for folder in folders] == ["cnn", "lstm"]
    again = probing("train", "-m", "encoder=lstm,cnn", "objective=sst2", f"data.root={reviews}", *SMALL, f"run.dir={out}")
    assert again.returncode == 0 and again.stderr.count("already trained") == 2
    words = ["data=senteval", f"data.root={toy_root}", f"encoder.path={','.join(map(str, folders))}", "pooling=mean"]
    words += ["task=bigram_shift", "controls=none"]
    done = probing("run", "-m", "encoder=checkpoint", *words, f"run.dir={out}")
    assert done.returncode == 0, done.stderr
    [table] = re.findall(r"(\S+): one table of 2 runs", done.stderr)
    rows = pd.read_csv(Path(table) / "rows.csv")
    assert set(rows.encoder) >= {folder.name for folder in folders}
    assert set(rows[rows.role == "random"].twin_of) == {folder.name for folder in folders}
    assert (Path(table) / "report.html").is_file()

    done = processes.run(ROOT / "scripts" / "results" / "training_table.py", out / "checkpoints", tmp_path / "training")
    assert done.returncode == 0, done.stderr
    said = (tmp_path / "training" / "README.md").read_text()
    assert "| cnn | 1 |" in said and "| lstm | 1 |" in said


@pytest.mark.slow
def test_the_report_on_encoders_finds_them_all_conforming(tmp_path):
    done = processes.run(ROOT / "scripts" / "results" / "encoders.py", tmp_path, "--small", env=ENV)
    assert done.returncode == 0, done.stderr
    said = (tmp_path / "README.md").read_text()
    assert "**no**" not in said and "NOTHING" not in said and said.count("| yes |") >= 20


def test_check_prints_the_rules_and_their_outcome():
    done = probing("check", "encoder=gated-cnn", "encoder.channels=4", "encoder.embedding_dim=4", "encoder.buckets=9")
    assert done.returncode == 0 and "gated-cnn[embedding_dim=4,channels=4,buckets=9] (untrained 0): conforms" in done.stdout
    assert done.stdout.count("\n  holds") >= 12


def test_interact_prints_interactions_of_a_trained_classifier(reviews, tmp_path):
    from probing.encoders.networks.recurrent import LSTM
    from probing.training.classification import Classification
    from probing.training.train import train as train_it

    folder = train_it(LSTM(embedding_dim=6, hidden=5), Classification(min_count=1, epochs=1), reviews, tmp_path / "made")
    words = ["interact", "encoder=checkpoint", f"encoder.path={folder}", 'text=good film isn\'t "${bad}", (film) 3', "segment=1:4"]
    done = probing(*words, "target=all", "value=probability", "masking=delete", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f'{folder.name}: good film isn\'t "${{bad}}", (film) 3'
    assert lines[1] == (
        'segment 1:4 [film isn\'t "${bad}",] of 6 words, masking=delete, value=probability of class, method=exact: 56 model rows'
    )
    assert re.fullmatch(r"predicted class: [01]", lines[2])
    assert lines[4].split() == ["class", "v(N)", "v(empty)", "B", "B_max", "B_min", "T", "T/|v(N)-v(empty)|"]
    zero, one = (list(map(float, line.split())) for line in lines[5:7])
    assert zero[1] + one[1] == pytest.approx(1, abs=2e-4) and zero[6] == pytest.approx(one[6], abs=2e-4)
    assert any(line.startswith("B_max  good ") for line in lines) and any(line.startswith("B_min  good ") for line in lines)
    done = probing(*words, "masking=pad", "method=sampled", "budget=42", "value=mean", "layer=1,0", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.count(" ± ") >= 4 and "\n1 lstm 1 hidden" in done.stdout, done.stderr
    assert "T split" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["interact", "encoder=lstm"], 'set text="…"'),
        (["interact", "encoder=lstm", "text=a b", "segmnt=0:2"], "unknown key 'segmnt'; did you mean 'segment'?"),
        (
            ["interact", "encoder=lstm", "text=a b", "masking=attention"],
            "(allowed: mask, pad, unknown, zero, mean, delete, replace)",
        ),
        (["interact", "encoder=lstm", "text=a b", "budget=many"], "budget: "),
        (["interact", "encoder=lstm", f"text={'a ' * 30}", "segment=0:3"], "use method=regression or sampled (from "),
        (["train", "encoder=lstm"], "set data.root=…"),
        (["train", "encoder=minilm", "objective=sst2", "data.root=."], "can be trained here"),
        (["train", "encoder=lstm", "objective=sst2", "data.root=.", "objective.lrr=1"], "did you mean 'objective.lr'?"),
        (["train", "encoder=lstm", "objective=sst2", "data.root=nowhere"], "no folder nowhere"),
        (["train", "encoder=lstm", "objective=sts2", "data.root=."], "unknown objective 'sts2'; did you mean 'sst2'?"),
        (["train", "encoder=lstm", "objective=lm", "data.root=."], "holds no text file"),
        (["train", "encoder=lstm", "objective=sst2", "data.root=.", "objective.lr=fast"], "objective: lr: Value 'fast'"),
        (["train", "encoder=lstm", "objective=sst2", "data.root=.", "seed=-1"], "seed=[-1] must hold no number below 0"),
        (["train", "encoder=lstm", "data=senteval"], "set data.root=…"),
        (["check", "encoder=checkpoint", "encoder.path=nowhere"], "encoder.path='nowhere': no such folder"),
        (["run", "encoder=checkpoint", "encoder.path=.", "encoder.device=tpu"], "encoder.device='tpu' is unknown"),
        (["run", "encoder=checkpoint", "encoder.path=.", "encoder.max_length=-2"], "leaves no room for a word"),
        (["run", "-m", "encoder=lstm,bilstm", "encoder.hidden=4"], "in a sweep over the group write ++encoder.hidden=…"),
        (["run", "encoder=checkpoint"], "set encoder.path=…"),
        (["run", "+experiment=synthetic", "study.functions=0"], "study.functions=0 must be at least 1"),
        (["run", "+experiment=expression_networks", "encoder=lstm", "task=sst2"], "is no family that is a task"),
        (["train", "encoder=lstm", "objective=and_or", "data.root=."], "no and_or.txt"),
    ],
)
def test_mistakes_are_said_in_one_message_with_exit_code_2(words, message, tmp_path):
    done = probing(*words, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr, done.stderr
