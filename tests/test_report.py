"""The report of a run made by hand: all files, the same bytes, the numbers in each of them."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from probing.evaluation.paired_tests import smallest_difference
from probing.evaluation.rows import Row
from probing.evaluation.runs import Run
from probing.evaluation.statistics import wilson
from probing.evaluation.table import ResultTable, merge
from probing.report import notes
from probing.report.write import write
from probing.store.results import ResultStore, key_of

N = 200
VOID = {"meta", "br", "hr", "img", "link", "input", "use", "path", "rect", "image", "stop", "line"}


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


def test_all_files_are_there_and_the_same_bytes_twice(bench, tmp_path):
    run = full(bench)
    for name in ("one", "two"):
        write([run], tmp_path / name)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    pictures = ["figure-curves-cls-logreg-x.svg", "figure-curves-mean-logreg-x.svg", "figure-1-my-encoder-logreg-x.svg"]
    pictures.append("figure-2-other-logreg-x.svg")
    assert names == sorted(
        ["report.html", "layers.csv", "rows.csv", "rows.parquet", "table.csv", "table.md", "table.tex", *pictures]
    )
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_rows_hold_every_cell(bench, tmp_path):
    run = full(bench)
    write([run], tmp_path)
    frame = ResultTable.read_csv(tmp_path / "rows.csv").frame
    assert sorted(frame.cell) == sorted(run.keys) and len(frame) == 2 * (3 * 5 + 4)
    parquet = pd.read_parquet(tmp_path / "rows.parquet")
    accuracies = parquet[parquet.metric == "accuracy"]
    assert accuracies.cell.tolist() == frame.cell.tolist() and accuracies.value.tolist() == frame.accuracy.tolist()
    entries = csv.DictReader((tmp_path / "table.csv").read_text(encoding="utf-8").splitlines())
    (line,) = [entry for entry in entries if (entry["task"], entry["encoder"]) == ("past_present", "other")]
    assert (line["layer"], float(line["accuracy"]), float(line["majority"])) == ("1", 145 / N, 0.5)


def test_markdown_holds_score_interval_floors_control_and_twin(bench, tmp_path):
    """Tense: 170 of 200 right at layer 1, control 105, twin 125, layer 0 120, floors 100 to 103."""
    write([full(bench)], tmp_path)
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
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
    assert [p["p"] for p in pairs] == [f"{2 / 2**25:.2g}"] * 2 and [p["p_holm"] for p in pairs] == [f"{4 / 2**25:.2g}"] * 2
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
    assert line["random weights"] == (f"{(140 - lost) / 2:.1f} ± 7.1 (2)" if kind == "random" else "")  # sd: 10 / sqrt(2)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"<td>{expected}</td>" in page and ("<td>75.0†</td>" in page) == (lost == 5)
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


def test_the_double_dagger_marks_what_did_not_converge(bench, tmp_path):
    bench.add(190, layer=1, converged=False)
    bench.add(190, layer=1, task="bigram_shift", paper_name="BShift")
    write([bench.run()], tmp_path)
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert [line["accuracy"] for line in table_of(text)] == ["95.0‡", "95.0"]
    assert "1 of 2 cells did not converge" in text


def test_html_is_one_sound_self_contained_file_with_figures_and_numbers(bench, tmp_path):
    """Tags close in order, nothing is loaded, every figure is in it whole, and every number of the Markdown table too."""
    write([full(bench)], tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.loads and all(address.startswith(("#", "data:image/png;base64,")) for address in page.loads)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    assert "@import" not in text and not re.search(r"url\((?!#|['\"]?#)", text)
    svgs = sorted(tmp_path.glob("figure-*.svg"))
    assert page.tags.count("svg") == len(svgs) == 4
    for path in svgs:
        svg = path.read_text(encoding="utf-8")
        assert svg[svg.index("<svg") :] in text
    shown = set(page.cells)
    for line in table_of((tmp_path / "table.md").read_text(encoding="utf-8")):
        assert {value for value in line.values() if value} <= shown
    for part in ("85.0", "62.5", "task", "random weights"):
        assert part in shown
    assert "made &amp; by hand" in text and "not the &lt;official&gt; file" in text and "<official>" not in text


def test_latex_has_rules_and_the_best_of_each_row_bold(bench, tmp_path):
    write([full(bench)], tmp_path)
    text = (tmp_path / "table.tex").read_text(encoding="utf-8")
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == 1
    assert r"\usepackage{booktabs}" in text and r"\caption{" in text and r"\label{tab:probing}" in text
    assert re.search(r"(?<!\\)_", re.sub(r"\\label\{[^}]*\}|(?m:^%.*$)", "", text)) is None  # LaTeX would stop at a bare underscore
    assert all(line.startswith("% ") or not re.search(r"(?<!\\)%", line) for line in text.splitlines())
    head, *rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    columns = [cell.strip(" \\") for cell in head.removesuffix(r"\\").split("&")]
    assert [row.split(" & ")[0] for row in rows] == ["Tense", "BShift"]
    spec = re.search(r"\\begin\{tabular\}\{(l)(r+)\}", text)
    assert len(spec[2]) == len(columns) - 1 == 9  # four floors, two encoders, their two static vectors, one twin
    for row in rows:
        cells = row.removesuffix(r"\\").split("&")[1:]
        values = [float(re.sub(r"\\textbf\{(.*)\}", r"\1", cell.strip())) for cell in cells if "--" not in cell]
        (bold,) = re.findall(r"\\textbf\{([\d.]+)\}", row)
        assert float(bold) == max(values)
    found = dict(zip(columns[1:], (c.strip() for c in rows[0].removesuffix(r"\\").split("&")[1:]), strict=True))
    assert found["majority"] == "50.0" and found[r"my\_encoder"] == r"\textbf{85.0}" and found["other"] == "72.5"
    assert found[r"my\_encoder static"] == "60.0" and found[r"my\_encoder random"] == "62.5"


def test_without_floors_or_other_encoders_the_report_is_made(bench, tmp_path):
    bench.add(150, layer=3)
    write([bench.run()], tmp_path)
    assert [line["accuracy"] for line in table_of((tmp_path / "table.md").read_text(encoding="utf-8"))] == ["75.0"]
    assert r"\textbf{75.0}" in (tmp_path / "table.tex").read_text(encoding="utf-8")
    Page((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_seeds_are_shown_with_their_standard_deviation(bench, tmp_path):
    for seed, right in enumerate((150, 160, 170)):
        bench.add(right, layer=1, seed=seed)
    write([bench.run()], tmp_path)
    (line,) = table_of((tmp_path / "table.md").read_text(encoding="utf-8"))
    assert (line["accuracy"], line["sd over seeds"]) == ("80.0", "5.0 (3)")  # sample sd of 75, 80, 85


def test_of_tied_layers_the_lowest_is_bold_in_every_order(bench, tmp_path):
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
    assert "--§" in (tmp_path / "failed" / "table.tex").read_text(encoding="utf-8")


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
    assert line["accuracy"] in Page(page).cells and line["missing"] in Page(page).cells
    tex = (tmp_path / "r" / "table.tex").read_text(encoding="utf-8")
    assert f"{line['accuracy'].rstrip('†§') or '--'}§" in tex and "§: cells of the line failed" in tex
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


def test_two_runs_make_one_report(tmp_path):
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


def test_against_a_published_table(bench, tmp_path):
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
    return pd.DataFrame({**names, "interval_over": overs, "seeds": seeds})


FOOT = [
    (["test items"] * 2, "exact McNemar test", ["are over test items: ", "of these fits. What another train split"]),
    (
        ["test items in 7 groups", "test items"],
        "exact McNemar test or exact sign-flip test of groups",
        ["test items in 7 groups (A); test items (B): ", "of these fits", "Groups: "],
    ),
    (["test items and seeds"] * 2, "t test", ["are over test items and seeds: ", "of these fits", "Seeds: "]),
    (["test items and train halves"] * 2, "t test", ["and other train splits of this size would show.", "Train halves: "]),
    (
        ["test items and train halves", "test items"],
        "exact McNemar test or t test",
        ["would show. What another train split would change is not in those of B.", "Train halves: "],
    ),
]


@pytest.mark.parametrize(("overs", "test", "said"), FOOT)
def test_the_foot_says_over_what_intervals_and_tests_go(overs, test, said):
    best = lines_over([*overs, ""], seeds=[1, 1, 0])
    text = "\n".join(notes.over(best))
    assert all(part in text for part in said) and "(C)" not in text
    for part in ("Groups: ", "Seeds: ", "Train halves: ", "of these fits"):
        assert (part in text) == (part in " ".join(said)), part
    assert notes.tests_of(best) == test and notes.over(best[best.seeds == 0]) == []


def test_lines_of_one_task_that_differ_are_told_apart_by_encoder_or_by_both():
    """A note that names the same task for two kinds of intervals says nothing of either."""
    halves = "test items and train halves"
    text = "\n".join(notes.over(lines_over([halves, "test items", halves], "AAB", ["one", "two", "one"])))
    assert f"{halves} (one); test items (two): " in text and "is not in those of two." in text
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
    assert "over test items and seeds: what other test sentences of the same kind would show. What another train split" in text
    assert "is not in those of BShift." in text


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
