"""The report of a run made by hand: all files, the same bytes, the numbers in each of them."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from markupsafe import escape
from matplotlib.figure import Figure

from probing.encoders.pooling import place_in_tables
from probing.evaluation.paired_tests import smallest_difference
from probing.evaluation.rows import Row
from probing.evaluation.runs import Run
from probing.evaluation.statistics import wilson
from probing.evaluation.table import ResultTable, merge
from probing.report import figures, notes
from probing.report.summary import MARKS
from probing.report.write import write
from probing.store.results import ResultStore, key_of

N = 200
VOID = {"meta", "br", "hr", "img", "link", "input", "use", "path", "rect", "image", "stop", "line"}


def markup(text: str) -> str:
    """The text as Jinja writes it."""
    return str(escape(text))


class Bench:
    """Collects cells in a folder and makes runs of them."""

    def __init__(self, folder: Path):
        self.folder, self.cells = folder, ResultStore(folder / "cells")
        self.rows: list[Row] = []

    def add(self, right: int, dev: float | None = None, fail: bool = False, **more) -> None:
        """A cell with `right` of `N` test items right (the first ones), and its row with Wilson's interval."""
        said = {
            "role": "probe", "task": "past_present", "paper_name": "Tense", "encoder": "my_encoder", "layer": 0, "layer_name": "",
            "pooling": "mean", "probe": "logreg_x", "control": "", "seed": None, "n_train": 400, "n_dev": N, "n_test": N,
            "n_classes": 2, "majority": 0.5, "encoder_fingerprint": "f" * 64,
        } | more  # fmt: skip
        inputs = {"cell": len(self.rows), "folder": str(self.folder)}
        said["cell"] = key_of(inputs)
        if fail:
            self.rows.append(Row.flat(**said, status="failed"))
            self.cells.put_failure(inputs, [], "broken")
            return
        hits = wilson(right, N)
        said |= {"dev_accuracy": right / N if dev is None else dev, "accuracy": hits.value, "macro_f1": hits.value - 0.01}
        said |= {"accuracy_low": hits.lower, "accuracy_high": hits.upper, "macro_f1_low": 0.1, "macro_f1_high": 0.9}
        gold = np.arange(N) % 2
        predicted = np.where(np.arange(N) < right, gold, 1 - gold)
        card = {
            "task": said["task"],
            "source": "/home/of/someone/file.txt",
            "n": {"train": 400, "dev": N, "test": N},
            "n_classes": 2,
            "sha256": "d" * 64,
            "notes": ["not the <official> file"],
        }
        details = {"data": card, "encoder": {"origin": "made & by hand", "reading": {"truncated": 0}}}
        self.rows.append(Row.flat(**said))
        self.cells.put(
            inputs,
            [{"encoder_fingerprint": self.rows[-1].encoder_fingerprint} | self.rows[-1].measured()],
            details,
            {"gold": gold, "predicted": predicted},
        )

    def floor(self, name: str, right: int, **more) -> None:
        self.add(right, role="floor", encoder=name, layer=None, pooling="", probe="", **more)

    def run(self, name: str = "run") -> Run:
        Run.write(self.folder / "runs" / name, {"by": "hand"}, self.rows, self.cells)
        return Run.read(self.folder / "runs" / name)


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path / "out")


@pytest.fixture
def no_pictures(monkeypatch):
    """Drawing is nearly all of a report's time."""
    monkeypatch.setattr("probing.report.write._pictures", lambda *given: [])


def test_a_figure_that_fails_costs_no_table_and_no_other_figure(bench, tmp_path, monkeypatch, capfd):
    def broken(table):
        raise KeyError("selectivity")

    monkeypatch.setattr(figures, "FIGURES", (broken, *figures.FIGURES[-1:]))
    for layer in (1, 2):
        bench.add(150, layer=layer)
    write([bench.run()], tmp_path)
    assert "figure broken: KeyError: 'selectivity'" in capfd.readouterr().err
    assert (tmp_path / "table.md").is_file() and (tmp_path / "report.html").is_file() and list(tmp_path.glob("figure-*.svg"))


def test_a_pooling_of_another_version_comes_last(bench, tmp_path, no_pictures):
    for pooling in ("range", "mean"):
        bench.add(150, layer=1, pooling=pooling)
    write([bench.run()], tmp_path)
    assert "mean" in (tmp_path / "table.md").read_text(encoding="utf-8")
    assert place_in_tables("mean") < place_in_tables("sentence") < place_in_tables("range")


def full(bench: Bench) -> Run:
    """Two tasks, two encoders, three layers, two poolings, every floor, a twin and a control."""
    for task, paper_name, base in (("past_present", "Tense", 120), ("bigram_shift", "BShift", 105)):
        same = {"task": task, "paper_name": paper_name}
        for layer, gain in ((0, 0), (1, 50), (2, 30)):
            bench.add(base + gain, layer=layer, **same)
            bench.add(base + gain - 20, layer=layer, pooling="cls", **same)
            bench.add(base + gain // 2, layer=layer, encoder="other", **same)
            bench.add(base + 5, layer=layer, role="random", encoder="my_encoder (random)", twin_of="my_encoder", seed=0, **same)
            bench.add(base - 15, layer=layer, role="control", control="word", seed=0, **same)
        for k, name in enumerate(("majority", "length", "nb-unigram", "nb-bigram")):
            bench.floor(name, 100 + k, **same)
    return bench.run()


def table_of(text: str, header: str = "| task |") -> list[dict[str, str]]:
    """The first Markdown table whose header begins so, as dictionaries."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(header))
    names = [cell.strip() for cell in lines[start].strip("|").split("|")]
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append(dict(zip(names, (cell.strip() for cell in line[1:-1].split("|")), strict=True)))
    return found


class Page(HTMLParser):
    """Checks that tags close in order, and collects tags, addresses and cells."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href", "xlink:href", "data", "srcset", "action")]
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open and self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open[-2:]):
            self.cells[-1] += data


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> tuple[Run, Path]:
    """The run `full` and the folder of its report, with pictures."""
    folder = tmp_path_factory.mktemp("full")
    run = full(Bench(folder / "out"))
    write([run], folder / "report")
    return run, folder / "report"


def test_all_files_are_there_and_the_same_bytes_twice(drawn, tmp_path):
    run, one = drawn
    write([run], tmp_path)
    names = sorted(path.name for path in one.iterdir())
    pictures = ["figure-curves-cls-logreg-x.svg", "figure-curves-mean-logreg-x.svg", "figure-1-my-encoder-logreg-x.svg"]
    pictures.append("figure-2-other-logreg-x.svg")
    assert names == sorted(
        ["report.html", "layers.csv", "layers.tex", "pairs.csv", "rows.csv", "rows.parquet", "table.csv", "table.md", "table.tex"]
        + pictures
    )
    for name in names:
        assert (one / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_a_picture_has_the_same_bytes_each_time_wherever_it_is_saved():
    figure = Figure()
    figure.subplots().imshow([[0, 1]])
    assert figures.svg(figure) == figures.svg(figure)


def test_rows_hold_every_cell(drawn):
    run, folder = drawn
    frame = ResultTable.read_csv(folder / "rows.csv").frame
    assert sorted(frame.cell) == sorted(run.keys) and len(frame) == 2 * (3 * 5 + 4)
    parquet = pd.read_parquet(folder / "rows.parquet")
    accuracies = parquet[parquet.metric == "accuracy"]
    assert accuracies.cell.tolist() == frame.cell.tolist() and accuracies.value.tolist() == frame.accuracy.tolist()
    entries = csv.DictReader((folder / "table.csv").read_text(encoding="utf-8").splitlines())
    (line,) = [entry for entry in entries if (entry["task"], entry["encoder"]) == ("past_present", "other")]
    assert (line["layer"], float(line["accuracy"]), float(line["majority"])) == ("1", 145 / N, 0.5)


def test_markdown_holds_score_interval_floors_control_and_twin(drawn):
    """Tense: 170 of 200 right at layer 1, control 105, twin 125, layer 0 120, floors 100 to 103."""
    _, folder = drawn
    text = (folder / "table.md").read_text(encoding="utf-8")
    lines = {(line["task"], line["encoder"]): line for line in table_of(text)}
    assert set(lines) == {(t, e) for t in ("Tense", "BShift") for e in ("my_encoder", "other")}
    line = lines["Tense", "my_encoder"]
    hits = wilson(170, N)
    expected = {
        "layer": "1 mean", "accuracy": "85.0", "macro F1": "84.0",
        "95 % interval": f"{100 * hits.lower:.1f}–{100 * hits.upper:.1f}",
        "control (word)": "52.5", "selectivity": "32.5", "majority": "50.0", "length": "50.5", "nb-unigram": "51.0",
        "nb-bigram": "51.5", "static": "60.0", "random weights": "62.5",
        "not separated from it": "mean 1 (1 of 6)",
    }  # fmt: skip
    assert {name: line[name] for name in expected} == expected
    assert lines["Tense", "other"]["random weights"] == lines["Tense", "other"]["selectivity"] == ""  # not measured is not zero
    layers = table_of(text[text.index("## my_encoder, mean") :])
    assert layers[0] == {"task": "Tense", "layer 0": "60.0", "layer 1": "**85.0**", "layer 2": "75.0"}
    pairs = table_of(text, "| task | probe | a |")
    assert [(p["a_accuracy"], p["b_accuracy"], p["difference"]) for p in pairs] == [
        ("85.0", "72.5", "12.5"),
        ("77.5", "65.0", "12.5"),
    ]
    assert [(p["p"], p["p_holm"]) for p in pairs] == [("<0.001", "<0.001")] * 2
    exact = pd.read_csv(folder / "pairs.csv")
    assert exact.p.tolist() == pytest.approx([2 / 2**25] * 2) and exact.p_holm.tolist() == pytest.approx([4 / 2**25] * 2)
    for part in (
        "Data past_present: 400/200/200",
        "not the <official> file",
        "Encoder my_encoder: made & by hand",
        "Computed with python",
    ):
        assert part in text


@pytest.mark.parametrize("kind", ["floor", "static", "random"])
@pytest.mark.parametrize("lost", [5, 6])
def test_the_dagger_stands_exactly_where_a_paired_test_does_not_separate_the_score_from_its_floors(
    bench, tmp_path, no_pictures, kind, lost
):
    """Five items that only the score has right: p = 2/2^5 = .06; six: .03. The interval of 150 of 200 reaches far below both."""
    assert wilson(150, N).lower < (150 - lost) / N
    bench.add(150, layer=1)
    bench.floor("majority", 60)
    if kind == "floor":
        bench.floor("nb-unigram", 150 - lost)
    elif kind == "static":
        bench.add(150 - lost, layer=0, dev=0.1)
    else:
        bench.add(130 - lost, role="random", encoder="twin 0", twin_of="my_encoder", seed=0)
        bench.add(150 - lost, role="random", encoder="twin 1", twin_of="my_encoder", seed=1)
    write([bench.run()], tmp_path)
    expected = "75.0†" if lost == 5 else "75.0"
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    [line] = table_of(text)
    assert line["accuracy"] == expected
    assert line.get("random weights", "") == (f"{(140 - lost) / 2:.1f} ± 7.1 (2)" if kind == "random" else "")  # sd: 10 / sqrt(2)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert expected in Page(page).cells and ("75.0†" in Page(page).cells) == (lost == 5)
    assert "† not shown to be above every floor of the line" in text


def test_layers_not_separated_are_named_by_pooling_counted_and_those_better_marked(bench, tmp_path, no_pictures):
    """Of 150: 147 and 148 are not separated, 100 is worse, 180 (not chosen by dev) is better."""
    bench.add(150, layer=2)
    for layer, right, pooling in (
        (0, 148, "mean"),
        (1, 147, "mean"),
        (3, 180, "mean"),
        (4, 149, "mean"),
        (0, 100, "cls"),
        (5, 150, "cls"),
    ):
        bench.add(right, dev=0.1, layer=layer, pooling=pooling)
    write([bench.run()], tmp_path)
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert table_of(text)[0]["not separated from it"] == "mean 0-2, 3+, 4, cls 5 (5 of 7)"
    assert "Holm over the layers and poolings of the line; other tasks, encoders and probes play no part" in text
    best = pd.read_csv(tmp_path / "table.csv")
    assert (best.not_separated[0], best.better[0]) == ("5/cls 0/mean 1/mean 2/mean 4/mean", "3/mean")
    layers = pd.read_csv(tmp_path / "layers.csv").set_index(["pooling", "layer"])
    assert layers.not_separated.sum() == 5 and layers.better.sum() == 1 and layers.difference["mean", 3] == pytest.approx(0.15)


def test_encoders_that_share_a_letter_are_not_separated_and_no_chain_hides_a_difference(bench, tmp_path, no_pictures):
    """Neighbours that differ in nine items (p = .004) are separated; in five (p = .06) they are not, but the outer two are."""
    for task, step in (("past_present", 9), ("bigram_shift", 5)):
        for k, name in enumerate(("one", "two", "three")):
            bench.add(150 - k * step, layer=1, encoder=name, task=task, paper_name=task)
    write([bench.run()], tmp_path)
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    wide = {line["task"]: line for line in table_of(text[text.index("## Task × encoder") :])}
    assert [wide["bigram_shift"][name] for name in ("one", "two", "three")] == ["75.0 a", "72.5 ab", "70.0 b"]
    assert [wide["past_present"][name] for name in ("one", "two", "three")] == ["75.0 a", "70.5 b", "66.0 c"]
    assert "share a letter are not separated" in text[: text.index("## Task × encoder") + 200]


def test_the_smallest_difference_that_the_test_split_shows_stands_in_the_foot(bench, tmp_path, no_pictures):
    """One line a task: of 200 items, two other columns that differ from the best on 10 and 20 items."""
    for right, dev in ((150, 0.9), (140, 0.1), (130, 0.1)):
        bench.add(right, dev=dev, layer=right)
    for layer in (0, 1):
        bench.add(3, layer=layer, task="tiny", paper_name="Tiny", n_test=5)
    bench.add(150, layer=0, task="bigram_shift", paper_name="BShift")
    write([bench.run()], tmp_path)
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    shown = 100 * smallest_difference(200, 0.075, 0.05 / 2)
    [line] = [line for line in text.splitlines() if "Power, Tense" in line]
    assert "(200 test items)" in line and line.endswith(f"first step of Holm: {shown:.1f} points.")
    assert "Power, Tiny (5 test items)" in text and "Holm: none, however large." in text
    assert "Power, BShift" not in text, "a single column has nothing to be separated from"


def test_a_chosen_C_at_the_end_of_its_grid_is_marked_and_counted(bench, tmp_path, no_pictures):
    bench.add(190, layer=1, edge="upper end")
    bench.add(150, dev=0.1, layer=2, edge="lower end")
    bench.add(100, layer=1, role="control", control="word", seed=0, edge="upper end")
    bench.add(190, layer=1, task="bigram_shift", paper_name="BShift")
    write([bench.run()], tmp_path)
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert [line["accuracy"] for line in table_of(text)] == ["95.0¶", "95.0"]
    assert "¶ 2 at the upper end and 1 at the lower end of the grid, of 4 fitted cells" in text
    assert "lower bound" in text and pd.read_csv(tmp_path / "table.csv", keep_default_na=False).edge.tolist() == ["upper end", ""]
    assert ResultTable.read_csv(tmp_path / "rows.csv").frame.edge.value_counts().to_dict() == {
        "upper end": 2,
        "": 1,
        "lower end": 1,
    }


def test_the_double_dagger_marks_what_did_not_converge(bench, tmp_path, no_pictures):
    bench.add(190, layer=1, converged=False)
    bench.add(190, layer=1, task="bigram_shift", paper_name="BShift")
    write([bench.run()], tmp_path)
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert [line["accuracy"] for line in table_of(text)] == ["95.0‡", "95.0"]
    assert "1 of 2 cells did not converge" in text


def test_html_is_one_sound_self_contained_file_with_figures_and_numbers(drawn):
    """Tags close in order, nothing is loaded, every figure is in it whole, and every number of the Markdown table too."""
    _, folder = drawn
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.loads and all(address.startswith(("#", "data:image/png;base64,")) for address in page.loads)
    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(page.tags) and page.tags.count("script") == 2
    assert "fetch(" not in text and "XMLHttpRequest" not in text and "import" not in text[text.index('"use strict"') :]
    assert "@import" not in text and not re.search(r"url\((?!#|['\"]?#)", text)
    svgs = sorted(folder.glob("figure-*.svg"))
    assert page.tags.count("svg") == len(svgs) == 4
    for path in svgs:
        svg = path.read_text(encoding="utf-8")
        assert svg[svg.index("<svg") :] in text
    shown = set(page.cells)
    for part in ("85.0 a", "32.5", "task", "encoder"):
        assert part in shown
    assert "made &amp; by hand" in text and "not the &lt;official&gt; file" in text and "<official>" not in text


def marked(bench: Bench) -> Run:
    """Two tasks, two encoders under one probe and one of them under another; every mark of a line occurs."""
    for task, paper_name in (("past_present", "Tense"), ("bigram_shift", "BShift_&")):
        same = {"task": task, "paper_name": paper_name}
        first = task == "past_present"
        for encoder, probe, right in (("my_encoder", "x", 170), ("other", "x", 150), ("my_encoder", "y[nhid=[1]]", 180)):
            at = same | {"encoder": encoder, "probe": probe}
            bench.add(right, layer=1, converged=not (first and encoder == "other"), edge="upper end" * (probe != "x"), **at)
            bench.add(right - 40, layer=0, **at)
            bench.add(right - 60, layer=2, dev=0.1, fail=not first and encoder == "other", **at)
            bench.add(right - 50, layer=1, role="control", control="word", seed=0, **at)
            bench.add(150 if first else 100, layer=1, role="control", control="permuted", seed=0, **at)
            bench.add(right - 45, layer=1, role="random", **at | {"encoder": "twin", "twin_of": encoder, "seed": 0})
        bench.floor("majority", 100, **same)
        bench.floor("nb-unigram", 120 if first else 147, **same)
        ceiling = {
            "role": "ceiling",
            "control": "word",
            "seed": 0,
            "encoder": "word bag",
            "layer": None,
            "pooling": "",
            "probe": "",
        }
        bench.add(160 if first else 195, **same | ceiling)
    return bench.run()


@pytest.fixture(scope="module")
def every_mark(tmp_path_factory) -> tuple[Run, Path]:
    """The run `marked` and the folder of its report, without pictures."""
    folder = tmp_path_factory.mktemp("marked")
    run = marked(Bench(folder / "out"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("probing.report.write._pictures", lambda *given: [])
        write([run], folder / "report")
    return run, folder / "report"


UNMARKED = {r"\textdagger{}": "†", r"\textdaggerdbl{}": "‡", r"\textparagraph{}": "¶", r"\textsection{}": "§", r"$\|$": "‖"}
UNMARKED |= {r"$\diamond$": "◊", r"\_": "_", r"\&": "&", r"$\pm$": "±", "--": ""}


def read_latex(text: str) -> list[list[str]]:
    """The rows of the tables of a document, the titles that span columns repeated over them; commands of marks as marks."""
    rows = []
    body = text[text.index(r"\begin{document}") :]
    for line in (line.removesuffix(r"\\") for line in body.splitlines() if line.endswith(r"\\")):
        row = []
        for cell in re.split(r"(?<!\\)&", line):
            span = re.fullmatch(r"\s*\\multicolumn\{(\d+)\}\{\w\}\{(.*)\}\s*", cell)
            for command, mark in UNMARKED.items():
                cell = cell.replace(command, mark)
            cell = re.sub(r"\\textsuperscript\{(\w+)\}", r" \1", re.sub(r"\\textbf\{([^}]*)\}", r"\1", cell)).strip()
            row += [re.sub(r".*\{(.*)\}", r"\1", cell)] * int(span[1]) if span else [cell]
        rows.append(row)
    return rows


def read_page(text: str) -> list[dict[str, list[str]]]:
    """The main table of a page: column -> the texts of the cell, of each row."""
    root = ElementTree.fromstring(re.search(r"<table>.*?</table>", text, re.S)[0])
    heads = ["".join(head.itertext()) for head in root.findall("thead/tr/th")]
    rows = root.findall("tbody/tr")
    assert all(head.get("scope") == "col" for head in root.findall("thead/tr/th")) and root.find("caption") is not None
    assert all(row[0].tag == "th" and row[0].get("scope") == "row" for row in rows)
    return [dict(zip(heads, ([t.strip() for t in cell.itertext() if t.strip()] for cell in row), strict=True)) for row in rows]


def test_the_three_forms_of_the_table_have_the_same_numbers_and_marks(every_mark):
    _, folder = every_mark
    text, page, tex = ((folder / name).read_text(encoding="utf-8") for name in ("table.md", "report.html", "table.tex"))
    lines, rows = table_of(text), read_page(page)
    assert len(lines) == len(rows) == 6 and set("†‡¶§‖◊") <= set("".join(text for line in lines for text in line.values()))
    top, heads, *body = read_latex(tex)
    latex = {row[0]: dict(zip(zip(top, heads, strict=True), row, strict=True)) for row in body}
    wide = {line["task"]: line for line in table_of(text[text.index("## Task × encoder") :])}
    floors = ["majority", "nb-unigram", "static", "random weights"]
    for line, row in zip(lines, rows, strict=True):
        column = f"{line['encoder']}, {line['probe']}"
        both = wide[line["task"]][column]  # with the letter
        assert both.split()[0] == line["accuracy"] and row["accuracy"] == [both]
        other = ["layer", "95 % interval", "macro F1", "not separated from it", "control (word)", "selectivity", "missing"]
        for name in [*other, "ceiling (bag of words)", "leak check (permuted labels)"]:
            assert row[name] == [line[name]] * bool(line[name]), name
        best, *beside = row["best floor"]
        assert dict(zip(beside[::2], beside[1::2], strict=True)) == {name: line[name] for name in floors}
        assert best == max(floors, key=lambda name: float(line[name])) + f" {max(float(line[name]) for name in floors)}"
        cells = latex[line["task"]]
        leak = "‖" if "‖" in line["leak check (permuted labels)"] else ""
        assert cells[column, "accuracy"] == both.replace(line["accuracy"], line["accuracy"] + leak)
        assert (cells[column, "random"], cells[column, "static"]) == (line["random weights"], line["static"])
        assert cells[column, "selectivity"] == line["selectivity"] + "◊" * ("◊" in line["ceiling (bag of words)"])
        assert cells["", "best floor"] == f"nb-unigram {line['nb-unigram']}"
    for mark, meaning in MARKS.items():
        assert meaning.latex in tex and f"{mark} {meaning.meaning}" in page and mark in text
    shown = set(Page(page).cells)
    for section in re.split(r"\n## ", text)[2:]:
        for line in section.splitlines():
            if line.startswith("| ") and "|---" not in line:
                assert {cell.strip(" *") for cell in line.strip("|").split(" | ") if cell.strip()} <= shown, line
    notes_ = [line.removeprefix("- ") for line in text[text.index("\n---\n") :].splitlines() if line.startswith("- ")]
    assert len(notes_) > 5 and all(f"<li>{markup(line)}</li>" in page for line in notes_)
    words = [
        line.removeprefix("- ").split(": ", 1) for line in text[text.index("## In words") :].split("\n## ")[0].splitlines()[2:]
    ]
    assert len([one for one in words if len(one) == 2]) == 6 and all(markup(one[1]) in page for one in words if len(one) == 2)


def test_the_verdict_names_tied_layers_floors_and_selectivity(every_mark):
    _, folder = every_mark
    text = (folder / "table.md").read_text(encoding="utf-8")
    words = dict(line.removeprefix("- ").split(": ", 1) for line in text[text.index("## In words") :].splitlines() if ": 8" in line)
    assert words["Tense, my_encoder, x"].startswith("85.0 at layer 1 mean; separated from every other layer; above every floor")
    assert "(the best: static 65.0)" in words["Tense, my_encoder, x"]
    assert "selectivity 25.0 (ceiling 80.0◊); ‖ the leak check fails" in words["Tense, my_encoder, x"]
    assert "- BShift_&, other, x: 75.0†§ at layer 1 mean" in text and "not shown to be above the floor nb-unigram 73.5" in text


def test_each_number_of_the_main_table_opens_a_card_that_names_what_made_it(every_mark):
    run, folder = every_mark
    page = (folder / "report.html").read_text(encoding="utf-8")
    made = json.loads(re.search(r'<script type="application/json" id="cards">(.*?)</script>', page, re.S)[1])
    assert len(set(map(tuple, made["lines"]))) == len(made["lines"])
    cards = {key: dict(made["lines"][k] for k in numbers) for key, numbers in made["cards"].items()}
    root = ElementTree.fromstring(re.search(r"<table>.*?</table>", page, re.S)[0])
    opened = [(button.text, button.get("data-cell")) for button in root.iter("button")]
    assert {key for _, key in opened} == set(cards) and all(len(card) >= 8 for card in cards.values())
    shown = {row.cell: row for row in run.rows}
    [best] = {key for text, key in opened if text.startswith("85.0") and shown[key].task == "past_present"}
    assert (shown[best].layer, shown[best].role) == (1, "probe") and cards[best]["cell"] == best
    assert "accuracy 85.0 %" in cards[best]["number"] and "400/200/200" in cards[best]["task"]
    floors = {shown[key].encoder for text, key in opened if text == "60.0" and shown[key].role == "floor"}
    assert floors == {"nb-unigram"}, "a floor opens its own cell"
    assert "someone" not in page and "20" not in cards[best].get("made", ""), "no path and no date: the same cells, the same bytes"


@pytest.mark.parametrize("name", ["table.tex", "layers.tex"])
def test_a_latex_file_is_a_whole_document_of_balanced_tables(every_mark, name):
    """What can be seen without LaTeX: braces and environments close, rows are as wide as the head, nothing is unescaped."""
    _, folder = every_mark
    text = (folder / name).read_text(encoding="utf-8")
    code = re.sub(r"(?m)^%.*\n", "", text)
    assert code.startswith(r"\documentclass{article}") and code.rstrip().endswith(r"\end{document}") and r"booktabs" in code
    assert code.isascii(), "compiles with any engine"
    plain = re.sub(r"\\[{}%&_$#]", "", code)
    assert plain.count("{") == plain.count("}") and "%" not in plain and "#" not in plain and plain.count("$") % 2 == 0
    open_ = []
    for kind, environment in re.findall(r"\\(begin|end)\{(\w+)\}", code):
        assert kind == "begin" or open_.pop() == environment
        open_ += [environment] * (kind == "begin")
    assert open_ == []
    tables = re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", code, re.S)
    assert len(tables) == (1 if name == "table.tex" else 3)
    for columns, body in tables:
        assert [body.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
        assert {len(row) for row in read_latex(r"\begin{document}" + body)} == {len(columns)}
        assert "_" not in re.sub(r"\\_", "", body)
    known = {"documentclass", "usepackage", "begin", "end", "centering", "caption", "label", "toprule", "midrule", "bottomrule"}
    known |= {"multicolumn", "textbf", "textsuperscript", "clearpage", "diamond", "pm", "times", "ge", "textless", "textgreater"}
    known |= {one.latex.strip("\\{}") for one in MARKS.values() if one.latex[1:].startswith("text")}
    assert set(re.findall(r"\\([a-zA-Z]+)", code)) <= known
    labels = re.findall(r"\\label\{([^}]*)\}", code)
    assert len(labels) == len(set(labels)) == len(tables)


def test_bold_in_latex_compares_encoders_under_one_probe(every_mark):
    """Of 170 and 150 under one probe the first; 180 under another probe has no other encoder beside it."""
    _, folder = every_mark
    text = (folder / "table.tex").read_text(encoding="utf-8")
    assert re.findall(r"\\textbf\{([\d.]+)\}", text) == ["85.0", "85.0"] and "90.0" in text
    layers = (folder / "layers.tex").read_text(encoding="utf-8")
    assert layers.count(r"\textbf{85.0}") == 2 and layers.count(r"\textbf{90.0}") == 2  # the layers that dev chooses


def test_the_caption_bounds_both_ends_of_every_interval(bench, tmp_path, no_pictures):
    """Of 198 of 200 the lower end is farther than the upper one."""
    bench.add(198, layer=1)
    write([bench.run()], tmp_path)
    hits = wilson(198, N)
    bound = float(re.search(r"farther than ([\d.]+) points", (tmp_path / "table.tex").read_text(encoding="utf-8"))[1])
    assert hits.upper - hits.value < 0.8 * (hits.value - hits.lower) and 0 <= bound - 100 * (hits.value - hits.lower) <= 0.1


def test_lines_stand_task_by_task_in_the_order_that_was_planned(tmp_path, no_pictures):
    """Two runs of two tasks each: their encoders stand together under each task."""
    runs = []
    for name in ("zeta", "alpha"):
        bench = Bench(tmp_path / name)
        for task in ("past_present", "bigram_shift"):
            bench.add(150, layer=1, encoder=name, task=task, paper_name=task)
        runs.append(bench.run())
    write(runs, tmp_path / "report")
    lines = table_of((tmp_path / "report" / "table.md").read_text(encoding="utf-8"))
    expected = [(task, name) for task in ("past_present", "bigram_shift") for name in ("zeta", "alpha")]
    assert [(line["task"], line["encoder"]) for line in lines] == expected
    assert pd.read_csv(tmp_path / "report" / "table.csv").encoder.tolist() == ["zeta", "alpha"] * 2


def test_bands_of_the_curves_are_the_intervals_of_the_table(bench, monkeypatch):
    """Three seeds that differ widely: the mean of their own intervals would leave the seeds out."""
    for seed, right in enumerate((120, 150, 180)):
        bench.add(right, layer=1, seed=seed)
        bench.add(right, layer=2, dev=0.1, seed=seed)
    table, drawn = bench.run().table(), []
    monkeypatch.setattr("probing.evaluation.plots.band", lambda panel, values, *style: drawn.append(values))
    figures.curves(table, "logreg_x", "mean")
    [values], [line] = drawn, table.best().itertuples()
    assert values.loc[1].tolist() == pytest.approx([100 * line.accuracy, 100 * line.accuracy_low, 100 * line.accuracy_high])
    assert values.accuracy_high[1] - values.accuracy_low[1] > 30, "one seed's interval is 14 points wide"


@pytest.mark.parametrize("panels", [1, 4])
def test_a_legend_lies_within_the_figure_and_takes_nothing_of_the_panels(panels):
    made = figures.grid(panels, 4, (2.7, 2.1))
    bare = figures.grid(panels, 4, (2.7, 2.1))
    for _, axes in (made, bare):
        for k in range(7):
            axes[0, 0].plot([0, 1], [k, k], label=f"a rather long name of an encoder {k}")
    figures.legend(made[0], made[1].ravel(), 4)
    heights = []
    for figure, axes in (made, bare):
        figure.draw_without_rendering()
        heights.append(axes[0, 0].get_window_extent().height)
    box = made[0].legends[0].get_window_extent()
    assert -0.1 < box.x0 and box.x1 < made[0].bbox.width + 0.1 and box.y0 > 0
    assert heights[0] >= 0.9 * heights[1]


def test_figures_have_titles_for_screen_readers_and_no_name_twice_in_the_page(bench, tmp_path):
    bench.add(150, layer=1, encoder="a<b & c")
    write([bench.run()], tmp_path)
    [path] = tmp_path.glob("figure-*.svg")
    root = ElementTree.parse(path).getroot()
    title = root.find("{http://www.w3.org/2000/svg}title").text
    assert title == root.get("aria-label") == "Layer × task, a<b & c, logreg_x" and root.get("role") == "img"
    assert "prefers-color-scheme: dark" in path.read_text(encoding="utf-8")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    ids = re.findall(r' id="([^"]+)"', re.sub(r"<defs>.*?</defs>", "", text, flags=re.S))
    assert len(ids) == len(set(ids)), [one for one in ids if ids.count(one) > 1]
    assert {address[1:] for address in re.findall(r'<a href="(#[^"]+)"', text)} <= set(ids)


def test_without_floors_or_other_encoders_the_report_is_made(bench, tmp_path):
    bench.add(150, layer=3)
    write([bench.run()], tmp_path)
    assert [line["accuracy"] for line in table_of((tmp_path / "table.md").read_text(encoding="utf-8"))] == ["75.0"]
    assert r"Tense & 75.0 \\" in (tmp_path / "table.tex").read_text(encoding="utf-8")
    Page((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_seeds_are_shown_with_their_standard_deviation(bench, tmp_path, no_pictures):
    for seed, right in enumerate((150, 160, 170)):
        bench.add(right, layer=1, seed=seed)
    write([bench.run()], tmp_path)
    (line,) = table_of((tmp_path / "table.md").read_text(encoding="utf-8"))
    assert (line["accuracy"], line["sd over seeds"]) == ("80.0", "5.0 (3)")  # sample sd of 75, 80, 85


def test_of_tied_layers_the_lowest_is_bold_in_every_order(bench, tmp_path, no_pictures):
    """The same layer that the summary names."""
    for layer in (2, 1, 0):
        bench.add(100 + 10 * layer, dev=0.9 if layer else 0.1, layer=layer)
    write([bench.run()], tmp_path)
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert table_of(text)[0]["layer"] == "1 mean"
    assert table_of(text[text.index("## my_encoder") :])[0] == {
        "task": "Tense",
        "layer 0": "50.0",
        "layer 1": "**55.0**",
        "layer 2": "60.0",
    }


def test_failed_cells_are_counted_marked_and_named(bench, tmp_path):
    bench.add(150, layer=1)
    bench.add(0, fail=True, layer=2, cell="failed-cell")
    write([bench.run()], tmp_path)
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "1 cells failed and are missing" in text
    [line] = table_of(text)
    assert (line["layer"], line["accuracy"], line["missing"]) == ("1 mean", "75.0§", "layers: 1 of 2 (layer 2 mean)")
    assert table_of(text[text.index("## my_encoder") :]) == [{"task": "Tense", "layer 1": "**75.0**", "layer 2": "failed"}]
    assert sorted(ResultTable.read_csv(tmp_path / "rows.csv").frame.status) == ["done", "failed"]


def test_a_run_with_nothing_finished_gives_its_rows_and_the_reason(bench, tmp_path):
    bench.add(0, fail=True, layer=2, cell="failed-cell")
    write([bench.run()], tmp_path / "failed")
    write([Bench(tmp_path / "empty").run()], tmp_path / "nothing")
    assert sorted(path.name for path in (tmp_path / "nothing").iterdir()) == ["rows.csv", "rows.parquet"]
    assert [len(ResultTable.read_csv(tmp_path / name / "rows.csv").frame) for name in ("failed", "nothing")] == [1, 0]
    [line] = table_of((tmp_path / "failed" / "table.md").read_text(encoding="utf-8"))
    assert (line["layer"], line["accuracy"], line["missing"]) == ("none", "§", "layers: 1 of 1; broken")
    assert r"--\textsection{}" in (tmp_path / "failed" / "table.tex").read_text(encoding="utf-8")


def test_control_columns_say_what_is_missing_hard_to_learn_or_wrong(bench, tmp_path, monkeypatch):
    """Tense has a word control that its bag of words does not learn, and a leak; BShift is without the word control."""
    monkeypatch.setattr("probing.report.write._pictures", lambda *given: [])
    for task, paper_name, leak in (("past_present", "Tense", 150), ("bigram_shift", "BShift", 101)):
        same = {"task": task, "paper_name": paper_name}
        bench.add(170, **same)
        bench.add(160, encoder="other", **same)
        bench.add(leak, role="control", control="permuted", seed=0, **same)
    same = {"task": "past_present", "paper_name": "Tense", "control": "word", "seed": 0}
    bench.add(120, role="control", **same)
    for name, right in (("word look-up", 198), ("word bag", 178)):
        bench.add(right, role="ceiling", encoder=name, layer=None, pooling="", probe="", **same)
    write([bench.run()], tmp_path)
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    lines = {(line["task"], line["encoder"]): line for line in table_of(text)}
    names = ("control (word)", "ceiling (bag of words)", "selectivity", "leak check (permuted labels)")
    shown = {key: tuple(line[name] for name in names) for key, line in lines.items()}
    assert shown["Tense", "my_encoder"] == ("60.0", "89.0◊", "25.0", "75.0‖")
    assert shown["BShift", "my_encoder"] == ("n/a", "n/a", "n/a", "50.5")
    assert shown["Tense", "other"] == shown["BShift", "other"] == ("", "", "", "")
    assert "at least 99.0 % by a look-up of the deciding word, at least 89.0 % by logistic regression on the bag of words" in text
    assert (
        "less than 90 % on the word control of past_present: it is hard to learn there" in text
        and "‖ above the share of the largest class" in text
    )


def partly(bench: Bench, *lost: dict) -> Run:
    """Two tasks, two encoders, three layers, two seeds, floors, a twin, a control, a static vector; cells like `lost` failed."""
    for task, paper_name in (("past_present", "Tense"), ("bigram_shift", "BShift")):
        same = {"task": task, "paper_name": paper_name}
        for seed in (0, 1):
            for layer, right in ((1, 140), (2, 170), (3, 150)):
                kinds = [{"role": "probe", "encoder": name} for name in ("my_encoder", "other")]
                kinds += [{"role": "random", "encoder": f"twin {seed}", "twin_of": "my_encoder"}]
                kinds += [{"role": "control", "control": "word"}]
                for kind in kinds:
                    cell = {"layer": layer, "seed": seed} | same | kind
                    bench.add(right - seed, fail=any(one.items() <= cell.items() for one in lost), **cell)
        for cell in ({"role": "static", "layer": 0}, {"role": "floor", "encoder": "majority", "layer": None, "pooling": ""}):
            cell |= same | ({"probe": ""} if cell["role"] == "floor" else {})
            bench.add(100, fail=any(one.items() <= cell.items() for one in lost), **cell)
    return bench.run()


PROBE = {"role": "probe", "encoder": "my_encoder", "task": "past_present"}


@pytest.mark.parametrize(
    ("lost", "layer", "missing"),
    [
        (PROBE | {"layer": 2, "seed": 0}, "2 mean", "layers: 1 of 6 (layer 2 mean seed 0)"),
        (PROBE | {"layer": 2}, "3 mean", "layers: 2 of 6 (layer 2 mean seed 0, layer 2 mean"),
        (PROBE, "none", "layers: 6 of 6"),
        ({"role": "control"}, "2 mean", "control word: 6 of 6"),
        ({"role": "control", "layer": 2, "seed": 1}, "2 mean", "control word: 1 of 6 (layer 2 mean seed 1)"),
        ({"role": "random"}, "2 mean", "random weights: 6 of 6"),
        ({"role": "static"}, "2 mean", "static: 1 of 1"),
        ({"role": "floor"}, "2 mean", "floor majority: 1 of 1"),
    ],
)
def test_what_failed_is_named_and_the_best_is_that_of_the_others(bench, lost, layer, missing):
    table = partly(bench, lost).table()
    best = table.best().set_index(["task", "encoder"])
    line, own = best.loc["past_present", "my_encoder"], lost["role"] == "probe"
    assert ("none" if np.isnan(line.accuracy) else f"{line.layer} {line.pooling}") == layer
    assert line.missing.startswith(missing)
    assert bool(best.missing["bigram_shift", "my_encoder"]) != own, "named where it failed and nowhere else"
    assert np.isnan(line.control_word) == (lost == {"role": "control"} or layer == "none")
    assert np.isnan(line.random) == (lost == {"role": "random"} or layer == "none")


@pytest.mark.parametrize("layer", ["3 mean", "none"])
def test_what_failed_is_marked_in_every_table_and_nothing_breaks(bench, tmp_path, monkeypatch, layer):
    if layer != "none":
        monkeypatch.setattr("probing.report.write._pictures", lambda *given: [])  # one case draws
    run = partly(bench, PROBE if layer == "none" else PROBE | {"layer": 2})
    write([run], tmp_path / "r", against="jawahar2019")
    text = (tmp_path / "r" / "table.md").read_text(encoding="utf-8")
    lines = {(line["task"], line["encoder"]): line for line in table_of(text)}
    line = lines["Tense", "my_encoder"]
    assert (line["layer"], line["accuracy"][-1]) == (layer, "§") and line["missing"].startswith("layers: ")
    assert not lines["BShift", "my_encoder"]["accuracy"].endswith("§"), "marked where it failed and nowhere else"
    assert "§ " in text and "Best layers are chosen and compared among the others" in text
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    shown = Page(page).cells
    assert any(cell.split(" ")[0] == line["accuracy"] for cell in shown) and line["missing"] in shown
    tex = (tmp_path / "r" / "table.tex").read_text(encoding="utf-8")
    assert r"\textsection{}" in tex and r"\textsection{} cells of the line failed" in tex
    layers = pd.read_csv(tmp_path / "r" / "layers.csv", keep_default_na=False)
    assert (layers.missing == "failed").sum() == {"3 mean": 1, "none": 0}[layer]
    pairs = table_of(text, "| task | probe | a |")
    assert len(pairs) == (1 if layer == "none" else 2)
    assert [pair.get("missing", "") for pair in pairs if pair["task"] == "past_present"] == (
        [] if layer == "none" else ["my_encoder"]
    )
    table = run.table()
    assert len(merge([table, table]).frame) == len(table.frame)
    assert len(table.pivot("task", "layer", role="probe", encoder="other")) == 2


def test_a_best_layer_without_its_first_seed_is_compared_on_the_next(bench):
    """Layer 2 is best, its seed 0 failed: seed 1 is compared, on which layer 3 is there; of layer 1 both seeds are."""
    lines = partly(bench, PROBE | {"layer": 2, "seed": 0}, PROBE | {"layer": 3, "seed": 1}).table().compare_layers()
    own = lines[(lines.task == "past_present") & (lines.encoder == "my_encoder")].set_index("layer")
    assert own.best.to_dict() == {1: False, 2: True, 3: False} and own.missing.to_dict() == {1: "", 2: "", 3: "failed"}
    assert (
        own.p[1] < 0.01
        and np.isnan(own.p[3])
        and np.isnan(own.p_holm[3])
        and own.not_separated.to_dict() == {1: False, 2: True, 3: False}
    )


def test_cells_that_are_not_measured_yet_are_missing_and_no_failure(bench, tmp_path, monkeypatch):
    monkeypatch.setattr("probing.report.write._pictures", lambda *given: [])
    run = partly(bench)
    key = next(row.cell for row in run.rows if row.role == "probe" and row.layer == 2)
    (run.cells.root / f"{key}.npz").unlink()
    write([Run.read(run.folder)], tmp_path)
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "1 cells are not measured yet" in text and table_of(text)[0]["missing"] == "layers: 1 of 6 (layer 2 mean seed 0)"


def test_two_runs_make_one_report(tmp_path, no_pictures):
    """Their encoders stand together and are compared; a run given twice adds nothing."""
    one, two = Bench(tmp_path / "a"), Bench(tmp_path / "b")
    one.add(150, layer=1)
    two.add(170, layer=1, encoder="other")
    runs = [one.run(), two.run()]
    write(runs, tmp_path / "report")
    write([*runs, runs[0]], tmp_path / "again")
    text = (tmp_path / "report" / "table.md").read_text(encoding="utf-8")
    assert [(line["encoder"], line["accuracy"]) for line in table_of(text)] == [("my_encoder", "75.0"), ("other", "85.0")]
    assert table_of(text, "| task | probe | a |")[0]["difference"] == "-10.0"
    assert (tmp_path / "again" / "table.md").read_text(encoding="utf-8") == text


def test_against_a_published_table(bench, tmp_path, no_pictures):
    """The comparison is a file and a part of the page."""
    bench.add(150, layer=1, pooling="cls")
    write([bench.run()], tmp_path, against="jawahar2019")
    text = (tmp_path / "against-jawahar2019.md").read_text(encoding="utf-8")
    assert "| Tense |" in text and "| 75.0 |" in text and "encoder: my_encoder against bert-base-uncased" in text
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Against published numbers" in page and "encoder: my_encoder against bert-base-uncased" in page


def lines_over(overs, paper_names=("A", "B", "C"), encoders=("e",) * 3, seeds=(1, 1, 1)) -> pd.DataFrame:
    """Three lines of `best`, as far as the notes on intervals read them."""
    names = {"task": [*paper_names], "paper_name": [*paper_names], "encoder": encoders, "probe": "p"}
    return pd.DataFrame({**names, "interval_over": overs, "seeds": seeds, "metric": "accuracy"})


FOOT = [
    (["test items"] * 2, "exact McNemar test", ["are over test items: ", "and these fits; they do not"]),
    (
        ["test items in 7 groups", "test items"],
        "exact McNemar test or exact sign-flip test of groups",
        ["test items in 7 groups (A); test items (B): ", "and these fits; ", "Groups: "],
    ),
    (["test items and seeds"] * 2, "t test", ["are over test items and seeds: ", "and these fits; ", "Seeds: "]),
    (["test items and train halves"] * 2, "t test", ["and other train splits of this size.", "Train halves: "]),
    (
        ["test items and train halves", "test items"],
        "exact McNemar test or t test",
        ["and other train splits of this size, but those of B only for these fits.", "Train halves: "],
    ),
]


@pytest.mark.parametrize(("overs", "test", "said"), FOOT)
def test_the_foot_says_over_what_intervals_and_tests_go(overs, test, said):
    best = lines_over([*overs, ""], seeds=[1, 1, 0])
    text = "\n".join(notes.over(best))
    assert all(part in text for part in said) and "(C)" not in text
    for part in ("Groups: ", "Seeds: ", "Train halves: ", "and these fits; "):
        assert (part in text) == (part in " ".join(said)), part
    assert notes.tests_of(best) == test and notes.over(best[best.seeds == 0]) == []


def test_lines_of_one_task_that_differ_are_told_apart_by_encoder_or_by_both():
    """A note that names the same task for two kinds of intervals says nothing of either."""
    halves = "test items and train halves"
    text = "\n".join(notes.over(lines_over([halves, "test items", halves], "AAB", ["one", "two", "one"])))
    assert f"{halves} (one); test items (two): " in text and "but those of two only for these fits." in text
    assert notes.interval_over(lines_over([halves, "test items", halves], "AAB", ["one", "two", "two"])) == (
        f"{halves} (A one, B two); test items (A two)"
    )
    assert notes.interval_over(lines_over(["test items"] * 3, "AAA", ["one"] * 3)) == "test items"


def test_the_variance_between_seeds_is_that_of_train_splits_only_where_each_seed_draws_one(bench, tmp_path, no_pictures):
    for seed in (0, 1):
        bench.add(150 + seed, layer=1, seed=seed, data_sha256=f"subset {seed}")
        bench.add(150 + seed, layer=1, seed=seed, data_sha256="all", task="bigram_shift", paper_name="BShift")
    write([bench.run()], tmp_path)
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "over test items and seeds: they hold for other test sentences of the same kind and other train splits" in text
    assert "but those of BShift only for these fits." in text


def test_a_drawn_train_subset_is_said_beside_its_size():
    card = {"n": {"train": 300, "dev": 20, "test": 20}, "n_classes": 2, "sha256": "d" * 64, "notes": []}
    [whole], [drawn] = (notes.made_of({"t": card | more}, {}, []) for more in ({}, {"train_size": 300}))
    assert "(train/dev/test; train is a subset, drawn by the seed (train_size=300))" in drawn
    assert "subset" not in whole and "(train/dev/test), " in whole


def test_the_tables_of_a_search_by_flash_say_that_their_tests_do_not_know_of_the_looks(bench, tmp_path, no_pictures):
    bench.add(150)
    Run.write(bench.folder / "runs" / "flash", {"precision": 1.0}, bench.rows, bench.cells)
    for name, run in (("usual", bench.run()), ("flash", Run.read(bench.folder / "runs" / "flash"))):
        write([run], tmp_path / name)
        for file in ("table.md", "report.html", "table.tex"):
            text = (tmp_path / name / file).read_text(encoding="utf-8")
            assert ("do not account for the looks" in text) == (name == "flash"), (name, file)
