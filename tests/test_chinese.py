"""Chinese text from a treebank to a table, a figure and the interactions of words; fonts of the figures."""

import os
import re
import warnings
from pathlib import Path

import processes
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure
from toys import save_tiny

from probing.data.builders import make_tasks, read_source
from probing.report import figures, fonts

TREEBANK = Path(__file__).parent / "labels" / "chinese.conllu"
ENV = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def chinese(tmp_path_factory):
    """A folder with the tasks of the treebank, and a tiny encoder that knows its words."""
    folder = tmp_path_factory.mktemp("chinese")
    sentences = read_source(TREEBANK).sentences
    made = make_tasks(sentences, folder / "data", language="zh", min_per_split=1)
    words = sorted({token for sentence in sentences for token in sentence.tokens})
    save_tiny("bert", folder / "小模型", words=words)
    (folder / "语序.yaml").write_text("name: 语序\npaper_name: 语序\nfile: bigram_shift.txt\n", encoding="utf-8")
    return folder, made, sentences


def test_a_chinese_treebank_gives_tasks_and_reasons(chinese):
    folder, made, sentences = chinese
    assert len(sentences) >= 30
    assert {name for name, card in made.items() if isinstance(card, dict)} == {
        "sentence_length",
        "ud_top_relations",
        "bigram_shift",
    }
    for name in ("ud_past_present", "ud_subj_number", "ud_obj_number"):
        assert "does not mark the contrast there" in made[name]
    rows = [line.split("\t") for line in (folder / "data" / "bigram_shift.txt").read_text(encoding="utf-8").splitlines()]
    known = {frozenset(sentence.tokens) for sentence in sentences}
    texts = {" ".join(sentence.tokens) for sentence in sentences}
    for _, label, text in rows:
        assert frozenset(text.split()) in known and (text in texts) == (label == "O")


def test_a_table_and_a_figure_of_chinese_text(chinese):
    folder, _, _ = chinese
    words = [
        f'task="{folder}/语序.yaml"',
        "data=senteval",
        f"data.root={folder}/data",
        "encoder=hf",
        f'encoder.name="{folder}/小模型"',
    ]
    words += ["pooling=mean", f"run.dir={folder}/out"]
    done = processes.run("-m", "probing", "run", *words, env=ENV)
    assert done.returncode == 0, done.stderr
    [run] = (folder / "out" / "runs").iterdir()
    table = (run / "table.md").read_text(encoding="utf-8")
    assert "| 语序 | 小模型 |" in table and "0 % of the tokens unknown" in table
    assert list(run.glob("figure-*.svg"))
    assert "Glyph" not in done.stderr and "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if "no font of this machine has" in line]
    assert bool(lines) == (fonts.families() == ["DejaVu Sans"])  # boxes are named, and only where there are boxes


def test_the_players_of_chinese_text_are_the_words_between_blanks(chinese):
    folder, _, _ = chinese
    words = ["encoder=hf", f'encoder.name="{folder}/小模型"', "value=mean", "masking=mask", f"run.dir={folder}/out"]
    done = processes.run("-m", "probing", "interact", *words, "text=这 部 电影 并 不 好看 。", "segment=3:6", env=ENV)
    assert done.returncode == 0, done.stderr
    assert "segment 3:6 [并 不 好看] of 7 words" in done.stdout
    done = processes.run("-m", "probing", "interact", *words, "text=这部电影并不好看。", "segment=3:6", env=ENV)
    assert done.returncode == 2 and "give start:stop in words" in done.stderr


def test_a_font_is_named_only_where_the_machine_has_it(monkeypatch):
    class Manager:
        ttflist = [font for font in font_manager.fontManager.ttflist if font.name not in fonts.CJK]

    monkeypatch.setattr(fonts.font_manager, "fontManager", Manager)
    assert fonts.families() == ["DejaVu Sans"]

    class Font:
        name = "SimSun"

    monkeypatch.setattr(Manager, "ttflist", [*Manager.ttflist, Font])
    assert fonts.families() == ["DejaVu Sans", "SimSun"]


def test_characters_without_a_font_are_named_once_and_other_warnings_pass(monkeypatch):
    lines = []
    monkeypatch.setattr(fonts, "info", lines.append)
    fonts._name.cache_clear()
    for _ in range(2):
        figure = Figure(figsize=(2, 1))
        figure.text(0, 0.5, "ab \ue000\ue001")  # private use: no font should have them
        figures.svg(figure)
    assert len(lines) == 1 and re.search("has \ue000\ue001, boxes", lines[0])
    with pytest.warns(RuntimeWarning, match="another"), fonts.missing_characters_named():
        warnings.warn("another", RuntimeWarning, stacklevel=1)
    assert len(lines) == 1
