"""Data sets of the package datasets as tasks, and vectors and tables as data sets."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from toys import ToyEncoder, write_task

from probing import Store, evaluate, load_encoder, load_task
from probing.config import build, read
from probing.data.hub import DatasetSource
from probing.data.rows import task_of_rows
from probing.data.task import Task
from probing.encoders.base import fingerprint
from probing.errors import ConfigError, DataError, StatesError
from probing.store.embed import embed, encoder_of
from probing.types import Representation

datasets = pytest.importorskip("datasets")
CODES = {"train": "tr", "dev": "va", "test": "te"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def sentences(n, seed, first=0):
    """Sentences with a label of three (3, 10 or NA), which one of their words shows; some hold quotes, commas or no ASCII."""
    rng = np.random.default_rng(seed)
    labels = [("3", "10", "NA")[k] for k in rng.integers(3, size=n)]
    words = ["w1", 'a "b"', "é,", "None", "null", "x\u2028y"]
    return [f"{first + i} {words[rng.integers(6)]} is {label} w{rng.integers(9)}" for i, label in enumerate(labels)], labels


ROWS = {"train": sentences(90, 0), "dev": sentences(30, 1, 90), "test": sentences(30, 2, 120)}


def dataset_dict(rows=ROWS, names=("train", "validation", "test")):
    columns = [{"sentence": texts, "label": labels} for texts, labels in rows.values()]
    return datasets.DatasetDict(dict(zip(names, map(datasets.Dataset.from_dict, columns), strict=True)))


def saved(form, data, folder):
    """The options of `DatasetSource` that read the data set back from files of a form."""
    if form == "disk":
        data.save_to_disk(str(folder))
        return {"path": str(folder)}
    folder.mkdir()
    writers = {"parquet": "to_parquet", "csv": "to_csv", "json": "to_json"}
    files = {split: str(folder / f"{split}.{form}") for split in data}
    for split, path in files.items():
        options = {"force_ascii": False} if form == "json" else {}
        getattr(data[split], writers[form])(path, **options)
    return {"path": form, "files": files}


def test_equal_rows_give_equal_results_bit_for_bit(tmp_path):
    """Text, a DatasetDict in memory and on disk, parquet, CSV and JSON Lines: the same key, and the same bytes of rows.csv."""
    rows = [
        (CODES[split], label, text) for split, (texts, labels) in ROWS.items() for text, label in zip(texts, labels, strict=True)
    ]
    root = tmp_path / "tsv"
    root.mkdir()
    write_task(root / "mine.txt", rows)
    (root / "mine.yaml").write_text("name: mine\nfile: mine.txt\n")
    data = dataset_dict()
    tasks = [load_task(str(root / "mine.yaml"), root), Task.from_dataset(data, "sentence", name="mine")]
    for form in ("disk", "parquet", "csv", "json"):
        options = saved(form, data, tmp_path / form)
        tasks += DatasetSource(**options, text="sentence", name="mine").tasks(None)
    assert tasks[0].classes == ("10", "3", "NA")
    assert {task.sha256 for task in tasks} == {tasks[0].sha256}
    written = set()
    for k, task in enumerate(tasks):  # cells of their own: each is measured
        table = evaluate(
            [task], [ToyEncoder(n_layers=2)], store=tmp_path / "store", cells=tmp_path / f"cells{k}", poolings=["mean"],
            floors=["majority"], controls=[], probe="senteval-logreg-lbfgs",
        )  # fmt: skip
        table.to_csv(tmp_path / "rows.csv")
        written.add((tmp_path / "rows.csv").read_bytes())
    assert len(written) == 1 and b"done" in written.pop()
    other = {**ROWS, "test": (["another sentence", *ROWS["test"][0][1:]], ROWS["test"][1])}
    assert task_of_rows("mine", other, source="").sha256 != tasks[0].sha256


def test_class_labels_are_classes_by_name(tmp_path):
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    part = {"text": ["a b", "c d"], "label": [1, 0]}
    one = datasets.Dataset.from_dict(part, features)
    task = Task.from_dataset({"train": one, "validation": one, "test": one})
    assert task.classes == ("neg", "pos") and task.train.labels.tolist() == [1, 0]
    datasets.DatasetDict({"train": one, "dev": one, "test": one}).save_to_disk(str(tmp_path / "set"))
    [read_back] = DatasetSource(str(tmp_path / "set")).tasks(["set"])
    assert read_back.sha256 == task.sha256 and read_back.name == "set"
    unlabelled = datasets.Dataset.from_dict({"text": ["a b", "c d"], "label": [-1, -1]}, features)
    with pytest.raises(DataError, match=r"row 0 and 1 more have no label \(-1\).*splits='{train: train, test: validation}'"):
        Task.from_dataset({"train": one, "validation": one, "test": unlabelled})


@pytest.mark.parametrize("values, classes", [([2, 10], ("10", "2")), ([True, False], ("False", "True")), ([1.0, 2.0], ("1", "2"))])
def test_numbers_and_truth_values_are_classes(values, classes):
    one = datasets.Dataset.from_dict({"text": ["a b", "c d"], "label": values})
    assert Task.from_dataset({"train": one, "dev": one, "test": one}).classes == classes


def without_dev():
    return dataset_dict({split: ROWS[split] for split in ("train", "test")}, ("train", "test"))


def test_dev_is_taken_from_train_where_there_is_none():
    """Stratified, seeded, the rest stays; the data card says so."""
    make = lambda **options: Task.from_dataset(without_dev(), "sentence", dev_from_train=0.2, **options)  # noqa: E731
    task = make()
    assert sorted((*task.train.texts, *task.dev.texts)) == sorted(ROWS["train"][0])
    assert abs(len(task.dev) - 18) <= 1
    whole, drawn = (np.bincount(labels, minlength=3) for labels in (np.r_[task.train.labels, task.dev.labels], task.dev.labels))
    assert (abs(drawn - whole * 0.2) <= 1.5).all()
    assert make().sha256 == task.sha256 != make(seed=1).sha256
    [note] = [note for note in task.data_card["notes"] if "of the train split" in note]
    assert note.startswith(f"dev is {len(task.dev)} sentences of the train split, drawn stratified with seed 0")
    assert not [n for n in Task.from_dataset(dataset_dict(), "sentence").data_card["notes"] if "of the train split" in n]


def test_twins_do_not_come_between_dev_and_train():
    """Sentences of the same words are a group, which stays whole; a class with a single group stays in train."""
    texts = [f"{a} {b}" for i in range(30) for a, b in ((f"a{i}", "b"), ("b", f"a{i}"))] + ["one alone"]
    labels = ["x", "y"] * 30 + ["z"]
    task = task_of_rows("t", {"train": (texts, labels), "test": (texts, labels)}, source="", dev_from_train=0.3)
    words = [{" ".join(sorted(text.split())) for text in split.texts} for split in (task.train, task.dev)]
    assert not words[0] & words[1] and 16 <= len(task.dev) <= 20
    assert "one alone" in task.train.texts


@pytest.mark.parametrize("share", [0, 0.6, -1, True])
def test_a_share_of_dev_that_cannot_be(share):
    with pytest.raises(DataError, match="above 0 and at most 0.5"):
        Task.from_dataset(without_dev(), "sentence", dev_from_train=share)
    one = datasets.Dataset.from_dict({"text": ["a b", "c d"], "label": [0, 1]})
    with pytest.raises(DataError, match="the 2 train sentences are too few to take dev from"):
        Task.from_dataset({"train": one, "test": one})


def test_streaming_reads_so_many_rows_and_no_more(tmp_path):
    options = saved("parquet", dataset_dict(), tmp_path / "files") | {"text": "sentence", "name": "mine"}
    [streamed] = DatasetSource(**options, streaming=True, max_rows=25).tasks(None)
    [read_whole] = DatasetSource(**options, max_rows=25).tasks(None)
    assert streamed.sha256 == read_whole.sha256 and streamed.train.texts == tuple(ROWS["train"][0][:25])
    options = saved("json", dataset_dict(), tmp_path / "lines") | {"text": "sentence", "name": "mine"}  # its features are not known
    assert DatasetSource(**options, streaming=True, max_rows=25).tasks(None)[0].sha256 == streamed.sha256
    with pytest.raises(ConfigError, match="no column 'label2'.*columns: sentence, label"):
        DatasetSource(**options | {"label": "label2"}, streaming=True, max_rows=25).tasks(None)
    with pytest.raises(ConfigError, match="say how many of each split with data.max_rows"):
        DatasetSource("parquet", files="x", streaming=True)


def test_tabs(tmp_path):
    """A .tsv file with a header: quotes are text."""
    for split in ("train", "test"):
        lines = [f"{text}\t{label}" for text, label in zip(*ROWS[split], strict=True)]
        (tmp_path / f"{split}.tsv").write_text("\n".join(["sentence\tlabel", *lines]), encoding="utf-8")
    files = {split: str(tmp_path / f"{split}.tsv") for split in ("train", "test")}
    [task] = DatasetSource("csv", files=files, text="sentence", name="mine").tasks(None)
    assert task.sha256 == Task.from_dataset(without_dev(), "sentence").sha256


def of(**columns):
    one = datasets.Dataset.from_dict({"text": ["a b", "c d"], "label": [0, 1]} | columns)
    return {"train": one, "dev": one, "test": one}


@pytest.mark.parametrize(
    "data, options, message",
    [
        (of(), {"text": "txt"}, r"no column 'txt'; did you mean 'text'\? \(columns: text, label; choose with text=…\)"),
        (of(), {"text": ["a", "b"]}, r"text=\['a', 'b'\]: a probe reads one sentence"),
        (of(text=[["a", "b"], ["c"]]), {}, "text=text is a list, but a probe reads one sentence a row; join its parts"),
        (of(text=[{"en": "a"}, {"en": "b"}]), {}, "text=text is a group of columns, but"),
        (of(text=[1, 2]), {}, "text=text is of type int64, but"),
        (of(label=[[1], [2]]), {}, "label=label is a list, but a row of a task has one label"),
        (of(label=[0.5, 1.0]), {}, "split train, row 0: the label is 0.5, but classes are text"),
        (of(label=["a", None]), {}, "split train, row 1: the label is empty"),
        (of(label=["a", "a"]), {}, r"the train split holds one label only \('a'\)"),
        (of(text=["a", " "]), {}, "split train, row 1: the sentence is empty"),
        (of(text=["a", None]), {}, "split train, row 1: the sentence is empty"),
        (of(), {"splits": {"train": "train", "test": "tset"}}, r"no split 'tset' for test; did you mean 'test'\?; .* has the"),
        (of(), {"splits": {"train": "train", "tests": "test"}}, "splits: 'tests' is unknown"),
        (of(), {"splits": {"train": "train", "dev": "test", "test": "test"}}, "must not be the same split"),
        ({"train": of()["train"], "dev": of()["dev"]}, {}, r"none is the test split: name it, .*{train: train, test: dev}"),
        (of()["train"], {}, "a task needs a DatasetDict with train and test, not Dataset"),
        ({**of(), "test": of(label=[1, 2])["test"]}, {}, "split test, row 1: label '2' of the test split does not occur in train"),
    ],
)  # fmt: skip
def test_what_is_no_task_is_refused_in_one_sentence(data, options, message):
    with pytest.raises((ConfigError, DataError), match=message) as caught:
        Task.from_dataset(data, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"path": "parquet"}, "name them with data.files="),
        ({"path": "x/y", "files": "a.csv"}, r"data.files goes with data.path=parquet\|csv\|json\|arrow, not with data.path=x/y"),
        ({"path": "x/y", "max_rows": 0}, "data.max_rows=0 must be at least 1"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(ConfigError, match=message):
        build(read("data", "hf") | options, "data")


def test_the_words_of_the_command_line_make_the_source(tmp_path):
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from probing.paths import CONF

    options = saved("parquet", dataset_dict(), tmp_path / "files")
    files = ", ".join(f"{split}: '{path}'" for split, path in options["files"].items())
    words = [
        "data=hf",
        "data.path=parquet",
        f"data.files={{{files}}}",
        "data.text=sentence",
        "data.splits={train: train, test: validation}",
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = OmegaConf.to_container(compose("config", words), resolve=True)
    [task] = build(composed["data"], "data").tasks(None)
    assert task.name == "files" and task.test.texts == tuple(ROWS["dev"][0]) and len(task.train) == 81


def test_what_cannot_be_read_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="owner/set, config c: the hub cannot be reached .*data.path=parquet data.files="):
        DatasetSource("owner/set", "c").tasks(None)
    with pytest.raises(DataError, match="cannot be read: Unable to find"):
        DatasetSource("csv", files=str(tmp_path / "none.csv")).tasks(None)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"bad.parquet cannot be read: Parquet file size"):
        DatasetSource("parquet", files=str(tmp_path / "bad.parquet")).tasks(None)
    options = saved("parquet", dataset_dict(), tmp_path / "files")
    with pytest.raises(ConfigError, match="task=other: data=hf holds one task, files"):
        DatasetSource(**options, text="sentence").tasks(["other"])
    with pytest.raises(ConfigError, match=r"choose with data.text="):
        DatasetSource(**options, text="txt").tasks(None)


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'probing-bench[data]'")):
        DatasetSource("owner/set").tasks(None)


# Out: vectors and tables.


def test_vectors_as_a_data_set_are_those_of_the_store(tmp_path):
    task, encoder, store = Task.from_dataset(dataset_dict(), "sentence"), ToyEncoder(width=5), Store(tmp_path / "store")
    data = store.to_dataset(encoder, task, layers=[2, 0], pooling="max")
    assert data.column_names == ["sentence", "split", "label", "layer_2", "layer_0"] and len(data) == 150
    assert data.features["layer_2"].length == 5 and data.features["layer_2"].feature.dtype == "float32"
    rows = store.vectors(encoder, task.dev.texts, ["max"]).rows(task.dev.texts)
    dev = data.filter(lambda row: row["split"] == "dev").with_format("numpy")
    assert np.array_equal(dev["layer_2"][:], rows.get(Representation(2, "max")))
    again = Task.from_dataset(
        datasets.DatasetDict({s: data.filter(lambda row, s=s: row["split"] == s) for s in task.splits}), "sentence",
        splits={s: s for s in task.splits},
    )  # fmt: skip
    assert again.sha256 == task.sha256
    twice = store.to_dataset(encoder, ["a b", "c", "a b"])
    assert twice.column_names == ["sentence", "layer_0", "layer_1", "layer_2"]
    assert twice[0] == twice[2] != twice[1]


@pytest.mark.parametrize(
    "given, options, message",
    [
        (["a"], {"layers": [3]}, r"layer=3: toy has the layers 0 \(embeddings\) to 2"),
        (["a"], {"pooling": "mena"}, "pooling=mena; did you mean 'mean'.*: toy allows cls, mean, max, last"),
        ([], {}, "no sentence"),
        ("a b", {}, "a list of sentences or a task, not one text"),
    ],
)
def test_columns_that_the_encoder_has_not(tmp_path, given, options, message):
    with pytest.raises(ConfigError, match=message):
        Store(tmp_path).to_dataset(ToyEncoder(), given, **options)


def test_a_table_as_a_data_set(tmp_path, toy_root):
    table = evaluate([load_task("bigram_shift", toy_root)], [], store=tmp_path / "store", floors=["majority"], controls=[])
    table.to_csv(tmp_path / "rows.csv")
    table.to_dataset().to_csv(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "rows.csv").read_bytes()


def embedded(file, tmp_path, *, out="vectors.parquet", **options):
    encoder = options.pop("encoder", None) or ToyEncoder()
    embed(file, encoder, Store(tmp_path / "store"), tmp_path / out, **{"to": "parquet", **options})
    return datasets.Dataset.from_parquet(str(tmp_path / out)), encoder


def test_embed_writes_line_i_as_row_i_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    texts = [f"w{i % 7} is no {i}" for i in range(40)] + ["w1 is no 1"]
    (tmp_path / "lines.txt").write_text("\n".join(texts) + "\n")
    monkeypatch.setattr("probing.store.columns.PIECE", 1000)  # several row groups
    poisoned = ToyEncoder(poison="no 39")
    with pytest.raises(StatesError, match="no vectors for 1 of 40"):
        embedded(tmp_path / "lines.txt", tmp_path, encoder=poisoned)
    assert not (tmp_path / "vectors.parquet").exists() and poisoned.sentences >= 40
    data, encoder = embedded(tmp_path / "lines.txt", tmp_path)
    assert data["sentence"][:] == texts and encoder.sentences <= 40
    again, encoder = embedded(tmp_path / "lines.txt", tmp_path, out="again.parquet", layers="1")
    assert again.column_names == ["sentence", "layer_1"] and encoder.sentences == 0
    assert again["layer_1"][:] == data["layer_1"][:]
    about = json.loads(pq.read_schema(tmp_path / "again.parquet").metadata[b"probing"])
    assert about == {"encoder": "toy", "fingerprint": fingerprint(encoder), "pooling": "mean", "layers": {"layer_1": "toy 1"}}


def test_embed_reads_a_task_file_with_its_columns(toy_root, tmp_path):
    data, _ = embedded(toy_root / "bigram_shift.txt", tmp_path)
    task = load_task("bigram_shift", toy_root)
    assert data["sentence"][:] == [*task.train.texts, *task.dev.texts, *task.test.texts]
    assert data["label"][:60] == [task.classes[k] for k in task.train.labels[:60]] and set(data["split"]) == set(task.splits)


@pytest.mark.parametrize(
    "content, options, message",
    [
        ("a\n\nb\n", {}, "line 2: empty; each line is one sentence"),
        ("", {}, "lines.txt: empty"),
        ("a\n", {"to": "parqet"}, "--to parqet is unknown; did you mean 'parquet'"),
        ("a\n", {"layers": "last"}, "--layers last: give all, or whole numbers"),
        ("a\n", {"out": "."}, "is a folder: name the file"),
    ],
)
def test_what_cannot_be_embedded_is_said(tmp_path, content, options, message):
    (tmp_path / "lines.txt").write_text(content)
    with pytest.raises((ConfigError, DataError), match=message):
        embedded(tmp_path / "lines.txt", tmp_path, **options)


def test_the_encoder_of_embed(tmp_path):
    assert encoder_of(["encoder=some/model", "encoder.max_length=64", "device=cpu"]) == load_encoder(
        "hf", name="some/model", max_length=64
    )
    assert encoder_of([f"encoder={tmp_path}"]).name == tmp_path.name
    with pytest.raises(ConfigError, match="unknown encoder 'minlm'; did you mean 'minilm'"):
        encoder_of(["encoder=minlm"])
    with pytest.raises(ConfigError, match="'cuda' is not KEY=VALUE"):
        encoder_of(["cuda"])


def test_the_reader_of_the_documentation_reads_the_store(tmp_path, monkeypatch):
    """The reader in docs/how-to/read-the-store.md, in at most ten lines, gives what the store gives."""
    text = (Path(__file__).parents[1] / "docs" / "how-to" / "read-the-store.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    texts, encoder, store = [f"w{i} is {i % 3}" for i in range(50)], ToyEncoder(), Store(tmp_path / "probing-out" / "store")
    monkeypatch.setattr("probing.store.vectors.SHARD_BYTES", 1000)  # three shards
    store.vectors(encoder, texts[:20], ["mean"])
    rows = store.vectors(encoder, texts, ["mean"]).rows(texts)  # a second segment
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(code.replace("FINGERPRINT", fingerprint(encoder)[:20]), scope)
    assert set(scope["vectors"]) == set(texts)
    assert np.array_equal([scope["vectors"][text] for text in texts], rows.get(Representation(2, "mean")))
