"""Published tables: their form and honesty, and our numbers set beside them."""

from __future__ import annotations

import csv
import itertools
from collections import Counter

import pytest

from probing import paths
from probing.data import adi2017, mteb
from probing.data import card as cards
from probing.errors import ConfigError
from probing.evaluation.rows import Row
from probing.evaluation.table import ResultTable
from probing.report import published

COLUMNS = ["paper", "table", "encoder", "pretraining", "layer", "task", "metric", "value", "note", "status"]
FILES = sorted(paths.PUBLISHED.glob("*.csv"))
_count = itertools.count()


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def row(paper_name, layer, test, **more) -> Row:
    """A probe's row as Jawahar et al. would have made it: same encoder, probe, pooling, official data."""
    said = {
        "role": "probe", "task": paper_name.lower(), "encoder": "bert-base-uncased", "layer_name": "", "pooling": "cls",
        "probe": "jawahar2019", "control": "", "seed": None, "n_train": 100_000, "n_dev": 10_000, "n_test": 10_000, "n_classes": 6,
        "majority": 0.2, "dev_accuracy": test, "macro_f1": test, "official_data": True, "cell": f"cell{next(_count)}",
    } | more  # fmt: skip
    return Row.flat(paper_name=paper_name, layer=layer, accuracy=test, **said)


def beside(name, *rows):
    return published.beside(ResultTable.of(rows), name)


# The files.


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_value_says_where_it_is_from_and_how_sure_it_is(path):
    rows = rows_of(path)
    assert rows and list(rows[0]) == COLUMNS
    for entry in rows:
        assert entry["status"] in {"verified", "second hand", "unverified"}
        assert None not in entry and all(entry[name] for name in ("paper", "table", "task", "metric", "value", "note"))


def test_conneaus_values_from_memory_are_unverified_but_for_eleven():
    """And the eleven are those, value for value, that the second-hand source holds."""
    rows = rows_of(paths.PUBLISHED / "conneau2018_table2_from_memory.csv")
    assert Counter(entry["status"] for entry in rows) == {"unverified": 289, "second hand": 11}
    assert all("memory" in entry["note"] for entry in rows if entry["status"] == "unverified")
    key = ("task", "value")
    confirmed = Counter(tuple(entry[k] for k in key) for entry in rows if entry["status"] == "second hand")
    fragment = rows_of(paths.PUBLISHED / "conneau2018_table2_fragment_secondhand.csv")
    assert confirmed == Counter(tuple(entry[k] for k in key) for entry in fragment)


def test_every_source_has_its_file_and_says_how_it_was_made():
    sources = published.sources()
    assert len({said["file"] for said in sources.values()}) == len(sources) >= 7
    for said in sources.values():
        assert set(said) - {"rows"} == {"file", "cite", "probe", "pooling", "encoder", "data"}
        assert paths.PUBLISHED / said["file"] in FILES
        theirs = {f"{entry['encoder']}, {entry['pretraining']}" for entry in rows_of(paths.PUBLISHED / said["file"])}
        assert set(said.get("rows", {})) <= theirs


@pytest.mark.parametrize("name", list(published.sources()))
def test_scores_are_fractions(name):
    """Percent becomes a fraction, a fraction stays, and nothing else changes."""
    frame = published.load(name)
    plain = rows_of(paths.PUBLISHED / published.sources()[name]["file"])
    plain = [entry for entry in plain if "range" not in entry["metric"]]
    assert len(frame) == len(plain) and frame.score.between(0, 1).all()
    expected = [float(entry["value"]) / (100 if "%" in entry["metric"] else 1) for entry in plain]
    assert frame.score.tolist() == pytest.approx(expected)
    assert frame.layer.tolist() == [entry["layer"] for entry in plain]
    ours = {cards.load_card(card)["paper_name"] for card in cards.SENTEVAL} | set(mteb.TASKS) | set(adi2017.KINDS.values())
    assert set(frame.task) & ours  # else nothing could ever be compared with it


def test_an_unknown_table_gets_the_nearest_name():
    with pytest.raises(ConfigError) as caught:
        published.load("jawahar2018")
    assert "'jawahar2018'" in str(caught.value) and "did you mean 'jawahar2019'?" in str(caught.value)
    assert all(name in str(caught.value) for name in published.sources())


# Beside ours.


def test_numbers_stand_beside_the_same_layer():
    """Jawahar et al.: SentLen, layer 1, 93.9; WC, layer 1, 24.9. Differences by hand."""
    frame = beside("jawahar2019", row("SentLen", 1, 0.95), row("SentLen", 2, 0.5), row("WC", 1, 0.2))
    found = {(line.task, line.their_layer): line for line in frame.itertuples()}
    length = found["SentLen", "1"]
    assert (length.theirs, length.ours, length.our_layer) == (pytest.approx(0.939), 0.95, "1/cls")
    assert length.difference == pytest.approx(0.011) and length.differs == "" and length.status == "second hand"
    assert found["SentLen", "2"].ours == 0.5
    assert found["WC", "1"].difference == pytest.approx(-0.049)
    assert set(found) == {("SentLen", "1"), ("SentLen", "2"), ("WC", "1")}  # layers that we do not have are left out


def test_the_same_measurement_is_said_to_be_the_same():
    """The negative control of what follows."""
    text = published.compare(ResultTable.of([row("SentLen", 1, 0.95)]), "jawahar2019")
    assert "same encoder, probe, pooling and data" in text and "not the same measurement**" not in text and "+1.1 |" in text


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"probe": "logreg"}, ["probe: logreg against jawahar2019"]),
        ({"encoder": "minilm"}, ["encoder: minilm against bert-base-uncased"]),
        ({"pooling": "mean"}, ["pooling: mean against cls"]),
        ({"official_data": False, "n_train": 777, "n_classes": 5}, ["data:", "777 train sentences", "5 classes", "100k"]),
        ({"probe": "mlp", "pooling": "max", "official_data": False}, ["probe: mlp", "pooling: max", "data:"]),
    ],
)
def test_what_differs_is_named(change, parts):
    """One by one and together, and nothing that does not differ."""
    differs = beside("jawahar2019", row("SentLen", 1, 0.95, **change)).differs[0]
    assert len(differs.split("; ")) == len([key for key in change if not key.startswith("n_")])
    text = published.compare(ResultTable.of([row("SentLen", 1, 0.95, **change)]), "jawahar2019")
    for part in parts:
        assert part in differs and part in text
    assert "not the same measurement" in text and "+1.1 ≠ |" in text


def test_a_smaller_train_split_of_the_official_file_is_named():
    """The module's promise: the size of the train split is among what differs."""
    assert "1200" in beside("jawahar2019", row("SentLen", 1, 0.95, n_train=1200)).differs[0].replace(",", "")


def test_the_sources_pooling_is_preferred_where_we_have_it():
    rows = [row("SentLen", 1, 0.9, pooling="mean"), row("SentLen", 1, 0.8, pooling="cls")]
    line = beside("jawahar2019", *rows).iloc[0]
    assert (line.our_layer, line.ours, line.differs) == ("1/cls", 0.8, "")


def test_best_and_last_stand_beside_our_best_and_last():
    """Jo & Myaeng: SentLen, best 87.8, last 57.95 for bert-base-uncased. Our dev-best is layer 1, our last layer 3."""
    rows = [row("SentLen", 1, 0.9), row("SentLen", 2, 0.99, dev_accuracy=0.1), row("SentLen", 3, 0.6)]
    frame = beside("jo-myaeng2020", *rows)
    frame = frame[frame.their_encoder == "bert-base-uncased"].set_index("their_layer")
    assert (frame.our_layer["best"], frame.our_layer["last"]) == ("1/cls", "3/cls")
    assert frame.difference[["best", "last"]].tolist() == pytest.approx([0.9 - 0.878, 0.6 - 0.5795])
    assert not frame.differs.str.contains("encoder:").any()


def test_macro_f1_is_set_beside_macro_f1():
    """Holmes prints macro F1; our accuracy of 0.9 must not stand beside it."""
    frame = beside("holmes2024", row("BShift", 4, 0.9, macro_f1=0.4))
    assert len(frame) > 10 and set(frame.ours) == {0.4} and set(frame.metric) == {"macro F1"}
    pythia = frame[frame.their_encoder == "EleutherAI/pythia-1b"].iloc[0]
    assert pythia.theirs == 0.8429 and pythia.difference == pytest.approx(0.4 - 0.8429)
    frame = beside("holmes2024", row("BShift", 4, 0.9, encoder="pythia-1b"))
    same = frame[frame.their_encoder == "EleutherAI/pythia-1b"].differs.iloc[0]
    assert "encoder:" not in same  # the owner's name is no difference


def test_several_encoders_and_seeds():
    """Each encoder gets its lines; seeds are averaged."""
    rows = [row("SentLen", 1, 0.90, seed=0), row("SentLen", 1, 0.94, seed=1), row("SentLen", 1, 0.5, encoder="minilm")]
    frame = beside("jawahar2019", *rows)
    assert dict(zip(frame.our_encoder, frame.ours, strict=True)) == {"bert-base-uncased": pytest.approx(0.92), "minilm": 0.5}


def test_floors_controls_and_failures_are_not_set_beside():
    rows = [row("SentLen", 1, 0.9), row("SentLen", 1, 0.1, role="control", control="word"), row("WC", 1, 0.3, status="failed")]
    frame = beside("jawahar2019", *rows)
    assert frame.ours.tolist() == [0.9]


def test_nothing_in_common_is_an_error_that_names_their_tasks():
    for table in (ResultTable.of([row("Own", 1, 0.9)]), ResultTable.of([])):
        with pytest.raises(ConfigError) as caught:
            published.compare(table, "jawahar2019")
        assert "jawahar2019" in str(caught.value) and "SentLen" in str(caught.value)


def test_the_comparison_shows_status_and_source():
    text = published.compare(ResultTable.of([row("SentLen", 1, 0.9)]), "conneau2018")
    assert "unverified" in text and "second hand" in text and "written from memory" in text and "senteval-paper" in text
    lines = [line for line in text.splitlines() if line.startswith("| SentLen")]
    assert len(lines) == sum(
        entry["task"] == "SentLen" for entry in rows_of(paths.PUBLISHED / "conneau2018_table2_from_memory.csv")
    )
    majority = next(line for line in lines if "Majority" in line)
    assert "| 20.0 | **unverified** |" in majority and "| 90.0 | - | - | +70.0 ≠ |" in majority
    assert {line.count("|") for line in lines} == {12}


def test_floors_stand_beside_floors_and_encoders_beside_their_counterparts():
    probe = {"probe": "senteval-paper", "official_data": False, "n_train": 700}
    floor = {"role": "floor", "probe": "", "pooling": "", "official_data": False, "n_train": 700}
    rows = [
        row("SentLen", 1, 0.4, encoder="bilstm-last (untrained 0)", pooling="last", **probe),
        row("SentLen", None, 0.2, encoder="majority", **floor),
        row("SentLen", None, 0.3, encoder="nb-unigram", **floor),
    ]
    frame = beside("conneau2018", *rows)
    pairs = set(zip(frame.their_encoder + ", " + frame.training, frame.our_encoder, strict=True))
    assert pairs == {
        ("baseline, Majority vote", "floor majority"), ("baseline, NB-uni-tfidf", "floor nb-unigram"),
        ("BiLSTM-last, Untrained", "bilstm-last (untrained 0)"),
    }  # fmt: skip
    text = published.compare(ResultTable.of(rows), "conneau2018")
    assert text.count("data: other files") == 1 and "SentLen 700 train sentences, 6 classes" in text
    assert "encoder: bilstm-last (untrained 0) for BiLSTM-last Untrained" in text


def test_our_interval_is_that_of_the_row_and_says_whether_theirs_lies_in_it():
    """Jawahar et al.: SentLen, layer 1, 93.9; layer 2, 95.9."""
    wide = row("SentLen", 1, 0.95, accuracy_low=0.938, accuracy_high=0.96)
    narrow = row("SentLen", 2, 0.95, accuracy_low=0.94, accuracy_high=0.958)
    frame = beside("jawahar2019", wide, narrow).set_index("their_layer")
    assert frame.inside.to_dict() == {"1": True, "2": False}
    assert frame.loc["1", ["low", "high"]].tolist() == [0.938, 0.96]
    lines = published.compare(ResultTable.of([wide, narrow]), "jawahar2019").splitlines()
    assert [line.split(" | ")[8:10] for line in lines if line.startswith("| SentLen")] == [
        ["93.8–96.0", "yes"],
        ["94.0–95.8", "no"],
    ]


def test_several_tables_in_one_call():
    """One part each, in the order given; a table without a task of ours has a line, and an error if all are so."""
    table = ResultTable.of([row("SentLen", 1, 0.9)])
    text = published.compare(table, "jawahar2019, holmes2024,jawahar2019,skean2025")
    parts = [part.splitlines()[0] for part in text.split("## Against ")[1:]]
    assert parts == ["jawahar2019", "holmes2024", "skean2025"]
    assert "No task and layer in common" in text.split("## Against skean2025")[1] and "**unverified**" not in text
    assert "**unverified**: no source" in published.compare(table, ["jawahar2019", "conneau2018"])
    with pytest.raises(ConfigError, match="skean2025, zhu2022 and this run"):
        published.compare(ResultTable.of([row("Own", 1, 0.9)]), "skean2025,zhu2022")
    for wrong in ("", "jawahar2019,", "jawahar2019,conneau"):
        with pytest.raises(ConfigError, match="no published table"):
            published.compare(table, wrong)


def test_values_on_a_validation_split_stand_beside_nothing():
    """Skean et al. print test and validation: Banking77, Pythia-70m, layer 2, has one value of each split."""
    frame = beside("skean2025", row("AmazonReviewsClassification", 2, 0.3, encoder="pythia-70m", pooling="mean", probe="mteb"))
    theirs = frame[frame.their_encoder == "Pythia-70m"]
    entries = rows_of(paths.PUBLISHED / "skean2025_mteb_classification_layers.csv")
    where = ("Pythia-70m", "2", "AmazonReviewsClassification")
    values = {e["note"].split(";")[0]: float(e["value"]) for e in entries if (e["encoder"], e["layer"], e["task"]) == where}
    assert set(values) == {"split test", "split validation"} and theirs.theirs.tolist() == [values["split test"]]
    assert not theirs.differs.str.contains("encoder:|probe:|pooling:").any()  # letter case of the name is no difference
