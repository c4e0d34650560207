"""Dry runs of papers: commands and scripts from end to end, on miniatures of the official files and random models of their form."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import processes
import pytest
from toys import write_task

from probing import config
from probing.data.card import SENTEVAL, load_card
from probing.errors import ConfigError
from probing.evaluation.rows import Row
from probing.evaluation.runs import Run
from probing.evaluation.table import ResultTable
from probing.report import paper

ROOT = Path(__file__).resolve().parents[1]
PAPERS = sorted(name for name in config.names("experiment") if config.read("experiment", name).get("paper"))
SMALL = {"bilstm": ["encoder.hidden=6", "encoder.embedding_dim=6"]}


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """SentEval's ten files in miniature: their names, three columns, labels of the cards; a label is a word of its sentence."""
    folder, rng = tmp_path_factory.mktemp("senteval"), np.random.default_rng(0)
    for name in SENTEVAL:
        card = load_card(name)
        labels = [str(label) for label in card.get("classes") or ["alpha", "beta", "gamma"]]
        rows = []
        for split, n in (("tr", 100), ("va", 30), ("te", 30)):
            for i in range(n):
                words = rng.choice([f"w{k}" for k in range(20)], rng.integers(5, 9)).tolist()
                rows.append((split, labels[i % len(labels)], " ".join([*words, f"w{20 + i % min(len(labels), 20)}"])))
        write_task(folder / card["file"], rows)
    return folder


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """A text, one sentence a line, with frequent and rare words."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("text") / "text.txt"
    share = 1 / (np.arange(300) + 20)
    path.write_text(
        "\n".join(" ".join(f"w{k}" for k in rng.choice(300, rng.integers(5, 30), p=share / share.sum())) for _ in range(240))
    )
    return path


@pytest.fixture(scope="module")
def mteb_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mteb")
    (folder / "Banking77Classification").mkdir()
    for split, n in (("train", 60), ("test", 40)):
        rows = [{"text": f"w{k % 3} w{k % 7 + 5} w{k}", "label": k % 3} for k in range(n)]
        (folder / "Banking77Classification" / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture
def run(tmp_path):
    """Runs an experiment; gives the runs that it made and the text of the terminal."""

    def run(name, *words):
        given = [f"+experiment={name}", f"run.dir={tmp_path / 'out'}", *map(str, words)]
        done = processes.run("-m", "probing", "run", *given, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        runs = [Run.read(path.parent) for path in sorted((tmp_path / "out" / "runs").glob("*/run.json"))]
        return runs, done.stdout

    return run


def script(name):
    return runpy.run_path(str(ROOT / "scripts" / "reproduce" / f"{name}.py"))["main"]


def cells(rows, *roles):
    return {row.cell for row in rows if row.role in roles}


def same_cells(runs, table, roles=("probe", "floor", "random")):
    """The command and the script measured the same, to the key of each cell; and all is done."""
    assert cells([row for run in runs for row in run.rows], *roles) == cells(table.frame.itertuples(), *roles)
    assert table.frame.status.eq("done").all() and all(len(run.state()["done"]) == len(run.keys) for run in runs)


def title_of(run):
    first = (run.folder / "table.md").read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    assert f"<h1>{first}</h1>" in (run.folder / "report.html").read_text(encoding="utf-8").replace("&#39;", "'").replace(
        "&amp;", "&"
    )
    return first


def test_every_paper_has_a_page_a_script_and_its_line_in_the_list():
    assert len(PAPERS) >= 8
    listed = processes.run("-m", "probing", "list", "experiments").stdout
    index = (ROOT / "docs" / "papers" / "index.md").read_text(encoding="utf-8")
    for name in PAPERS:
        assert (ROOT / "docs" / "papers" / f"{name}.md").is_file() and f"]({name}.md)" in index
        assert 20 <= len((ROOT / "scripts" / "reproduce" / f"{name}.py").read_text().splitlines()) <= 60
        assert f"paper: {config.read('experiment', name)['paper']['cite']}" in listed


FAST = {"max_epoch": 1, "epoch_size": 1, "tenacity": 0}


def test_conneau2018(official, run, tmp_path):
    some = tmp_path / "some"  # a user's folder may hold some of the ten files
    some.mkdir()
    for name in ("word_content", "tree_depth"):
        (some / f"{name}.txt").write_bytes((official / f"{name}.txt").read_bytes())
    runs, text = run("conneau2018", f"data.root={some}", *(f"probe.{key}={value}" for key, value in FAST.items()))
    table = script("conneau2018")(str(some), store=tmp_path / "store", **FAST)
    same_cells(runs, table)
    assert set(table.frame.pooling[table.frame.role == "probe"]) == {"max"} and table.frame.layer.dropna().eq(1).all()
    chosen = json.loads(table.frame[table.frame.task == "tree_depth"].query("role == 'probe'").chosen.iloc[0])
    assert set(chosen) == {"nhid", "dropout", "l2"}  # of nine cells, and WordContent is linear
    assert json.loads(table.frame[table.frame.task == "word_content"].query("role == 'probe'").chosen.iloc[0])["nhid"] == 0
    assert title_of(runs[0]).startswith("Conneau et al. 2018, Table 2: its protocol but for ") and text.startswith("Conneau et al.")
    assert title_of(runs[0]).endswith("data: not the paper's files; encoder: bilstm (untrained 0), not the paper's")


def test_conneau2018_baselines(official, run, tmp_path):
    words = ["task=past_present", *(f"probe.{key}={value}" for key, value in FAST.items())]
    words += ["probe.nhid=[50]", "probe.l2=[1e-4,1e-3]"]
    runs, _ = run("conneau2018_baselines", f"data.root={official}", *words)
    assert [len({row.encoder for row in one.rows if row.role == "probe"}) for one in runs] == [1] * 4
    [table] = (tmp_path / "out" / "tables").glob("*/table.md")
    text = table.read_text(encoding="utf-8")
    assert text.startswith("# Conneau et al. 2018, Table 2, baselines: ") and "nb-bigram" in text
    own = {(row.encoder, row.pooling) for one in runs for row in one.rows if row.role == "probe"}
    assert own == {
        ("embeddings of minilm", "mean"), ("bilstm-last (untrained 0)", "last"), ("bilstm (untrained 0)", "max"),
        ("gated-cnn (untrained 0)", "max"),
    }  # fmt: skip


def test_jawahar2019(official, run, tmp_path, tiny):
    """Under its own protocol, to the letter; the title says that files and encoder are not the paper's."""
    words = [f"encoder.name={tiny('bert')}", "encoder.revision=null", "encoder.label=null", "twins=2"]
    runs, text = run("jawahar2019", f"data.root={official}", "task=bigram_shift,word_content", *words)
    assert (
        title_of(runs[0])
        == text.splitlines()[0]
        == ("Jawahar et al. 2019, Table 2: its protocol; data: not the paper's files; encoder: tiny-bert, not the paper's")
    )
    rows = [row for row in runs[0].rows if row.role == "probe"]
    assert {row.layer for row in rows} == {1, 2} and {row.pooling for row in rows} == {"cls"}  # no embeddings
    assert len({row.seed for row in runs[0].rows if row.role == "random"}) == 2
    against = processes.run("-m", "probing", "report", runs[0].folder, "--against", "jawahar2019,conneau2018").stdout
    assert against.count("## Against") == 2 and "| WC | bert-base-uncased | 1 | 24.9 | second hand | tiny-bert | 1/cls |" in against


def test_zhu2022(official, run, tmp_path, tiny):
    words = [f"encoder.name={tiny('bert')}", "encoder.revision=null", "encoder.label=null", "per_class=20"]
    runs, _ = run("zhu2022", f"data.root={official}", "task=bigram_shift,tree_depth", *words)
    main = script("zhu2022")
    table = main(str(official), [str(tiny("bert"))], tmp_path / "store", per_class=20, tasks=["bigram_shift", "tree_depth"])
    same_cells(runs, table)
    sizes = table.frame[table.frame.role == "probe"].groupby("task").n_train.unique().to_dict()
    assert [n.tolist() for n in sizes.values()] == [[40], [100]]  # two classes; eight of at most 13 sentences each
    assert set(table.frame.seed[table.frame.task == "bigram_shift"].dropna()) == set(range(5))
    assert table.best().seeds.tolist() == [5, 1] and "its protocol" not in title_of(runs[0])  # tree_depth: all of train


def test_holmes2024(official, run, tmp_path, tiny):
    words = [f"encoder.name={tiny('bert')}", "encoder.revision=null", "encoder.label=null"]
    runs, _ = run("holmes2024", f"data.root={official}", "task=past_present", *words)
    one = runs[0].table()
    assert one.best().seeds.tolist() == [5] and set(one.frame.layer.dropna()) == {2} and one.frame.macro_f1.notna().all()
    assert "Holmes), SentEval's tasks: its protocol; data: not the paper's files" in title_of(runs[0])


def test_adi2017(lines, run, tmp_path):
    words = ["encoder=bilstm", *SMALL["bilstm"], "probe.epochs=2", "layer=-1"]
    runs, _ = run("adi2017", f"data.path={lines}", *words)
    table = runs[0].table()
    assert len(table.tasks) == 8 and table.frame.status.eq("done").all() and runs[0].rows[-1].n_groups < runs[0].rows[-1].n_test
    assert table.frame[table.frame.role == "probe"].encoder.str.endswith("+words").all()
    words_alone = table.frame[(table.frame.task == "adi_content_words") & (table.frame.role == "probe")]
    assert words_alone.accuracy.eq(0.5).all()
    assert "Adi et al. 2017: its protocol but for epochs=2; data: not the paper's files" in title_of(runs[0])


def test_skean2025(mteb_folder, run, tmp_path, tiny):
    runs, _ = run("skean2025", f"data.root={mteb_folder}", f"encoder.name={tiny('gpt2')}", "seed=[0,1,2]")
    assert {row.encoder for one in runs for row in one.rows if row.role == "probe"} == {"tiny-gpt2", "tiny-gpt2[final_norm=True]"}
    table = script("skean2025")(str(tiny("gpt2")), str(mteb_folder), tmp_path / "store")
    planned = {row.cell for one in runs for row in one.rows}
    assert planned <= set(table.frame.cell) and table.best().seeds.tolist() == [10, 10]
    last = table.frame[(table.frame.layer == 2) & (table.frame.role == "probe")]
    assert last.groupby("seed").accuracy.nunique().eq(1).all()  # the last layer is normed either way


def test_zhang2021(official, run, tmp_path):
    """The studies that need a classifier's head get one on a small task; prototypes are left out without trees."""
    data = tmp_path / "sst2"
    data.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for split, n in (("tr", 80), ("va", 40), ("te", 40)):
        for i in range(n):
            words = " ".join(rng.choice([f"w{k}" for k in range(20)], rng.integers(7, 9)).tolist())
            rows.append((split, "IO"[i % 2], f"{words} w{20 + i % 2}"))
    write_task(data / "bigram_shift.txt", rows)
    studies = {
        "layers": {"sentences": 2, "lengths": "[3]"},
        "accuracy": {"sentences": 2, "lengths": "[3]", "repeats": 2, "steps": "[1]", "learned": "false", "shapiq": "[]"},
        "stability": {"sentences": 2, "lengths": "[3]", "repeats": 2, "steps": "[1]", "partitions": "[5,10]"},
        "wrong_predictions": {"sentences": 2, "budget": 64},
        "synthetic": {"functions": 2, "large": 1, "learned": 1, "variables": "[[5,6]]", "methods": "[exact]"},
    }
    words = [f"studies.{name}.study.{key}={value}" for name, own in studies.items() for key, value in own.items()]
    words += [
        "data=senteval",
        f"data.root={data}",
        "task=bigram_shift",
        "encoder=lstm",
        "encoder.hidden=6",
        "encoder.embedding_dim=6",
    ]
    done = processes.run("-m", "probing", "run", "+experiment=zhang2021", f"run.dir={tmp_path / 'out'}", *words, cwd=tmp_path)
    made = {path.parent.name.split("-")[0] for path in (tmp_path / "out" / "runs").glob("*/table.md")}
    assert "prototypes: left out, as studies.prototypes.study.trees is not set" in done.stderr
    assert len(made) == 5 and done.returncode == 0, done.stderr[-1500:]


def row(**values):
    usual = {"role": "probe", "task": "t", "paper_name": "T", "encoder": "bert-base-uncased", "layer": 1, "pooling": "cls",
             "probe": "jawahar2019", "accuracy": 0.5, "dev_accuracy": 0.5, "macro_f1": 0.5, "cell": "c"}  # fmt: skip
    return Row.flat(**usual | values)


@pytest.mark.parametrize(
    ("change", "official", "expected"),
    [
        ({}, (True,), "its protocol; data: the paper's files; encoder: bert-base-uncased"),
        ({"encoder": "BERT-base-uncased"}, (True, True), "its protocol; data: the paper's files; encoder: BERT-base-uncased"),
        ({"encoder": "minilm"}, (True,), "its protocol; data: the paper's files; encoder: minilm, not the paper's"),
        ({"probe": "fast"}, (True,), "protocol: fast, not the paper's; data: the paper's files; encoder: bert-base-uncased"),
        ({"pooling": "mean"}, (False,), "its protocol; pooling: mean, not the paper's; data: not the paper's files; "
                                        "encoder: bert-base-uncased"),
        ({}, (True, False), "its protocol; data: the paper's files for 1 of 2 tasks; encoder: bert-base-uncased"),
    ],
)  # fmt: skip
def test_a_title_says_what_is_the_papers(change, official, expected):
    cards = {f"t{k}": {"official": own, "task": f"t{k}", "source": "x"} for k, own in enumerate(official)}
    about = config.read("experiment", "jawahar2019")["paper"]
    assert paper.title_of(about, ResultTable.of([row(**change)]), cards) == f"Jawahar et al. 2019, Table 2: {expected}"


def test_a_data_set_of_the_hub_is_the_papers_and_a_folder_is_not():
    about = config.read("experiment", "skean2025")["paper"]
    for source, expected in (
        ("mteb/banking77", "data: the paper's files;"),
        ("copy/Banking77Classification", "data: not the paper's"),
    ):
        cards = {"Banking77Classification": {"official": False, "task": "Banking77Classification", "source": source}}
        assert expected in paper.title_of(about, ResultTable.of([row(probe="mteb", pooling="mean")]), cards)


def test_what_a_config_says_of_a_paper_is_checked():
    assert config.paper(None) is None
    for wrong in ("Conneau", {"probe": "fast"}, {"cite": "x", "encoder": "bert"}):
        with pytest.raises(ConfigError, match="paper="):
            config.paper(wrong)
