"""The first calls of a user in Python: each works, or fails with one sentence."""

import copy
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import ToyEncoder

import probing
from probing import ModuleStates, ResultTable, Store, Task, evaluate, load_encoder, load_task
from probing.data import sources
from probing.data.frames import as_tasks
from probing.encoders.base import fingerprint, pool
from probing.encoders.given import as_encoder, as_encoders
from probing.encoders.memory import content_sha256, shared_copy, weights_sha256
from probing.errors import ConfigError, DataError, EncoderError, ProbingError

FEW = {"poolings": "mean", "controls": (), "floors": "majority"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The current folder, an empty one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def task(toy_root):
    return load_task("bigram_shift", toy_root)


def pair(tiny, kind="bert"):
    from transformers import AutoModel, AutoTokenizer

    return AutoModel.from_pretrained(tiny(kind)), AutoTokenizer.from_pretrained(tiny(kind))


def test_a_pipeline_is_a_probe(task, home):
    """P1."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    table = evaluate([task], [ToyEncoder()], probe=make_pipeline(StandardScaler(), LinearSVC(C=0.1)), **FEW)
    assert list(table.best().probe) == ["StandardScaler+LinearSVC(C=0.1)"] and (table.frame.status == "done").all()


def test_names_stand_for_objects(toy_root, tiny, home):
    """P2, P3 and P4: a name or a folder, one or many, without a store."""
    table = evaluate("bigram_shift", tiny("bert"), data=toy_root, layers=0, **FEW)
    again = evaluate(["bigram_shift", "tree_depth"], [str(tiny("bert"))], data=toy_root, layers=[0], **FEW)
    assert table.tasks == ["bigram_shift"] and again.tasks == ["bigram_shift", "tree_depth"]
    assert set(table.frame.cell) < set(again.frame.cell)
    assert sorted(path.name for path in (home / "probing-out").iterdir()) == ["cells", "store"]


def test_python_and_the_command_line_share_cells(toy_root, tiny, home, monkeypatch):
    from probing import config
    from probing.jobs import run_job

    group = {name: config.read(name, preset) for name, preset in (("data", "senteval"), ("encoder", "hf"), ("probe", "fast"))}
    group["data"]["root"], group["encoder"]["name"] = str(toy_root), str(tiny("bert"))
    options = {"task": "bigram_shift", "layer": 0, "pooling": "mean", "seed": 0, "measures": "probe", "controls": "none"}
    options |= {"floors": "majority", "twins": 1, "resample": None, "resamples": 20, "precision": None, "study": None}
    done = run_job({**group, **options, "run": {"dir": "probing-out", "name": "one"}})
    assert done.failed == 0
    computed = []
    monkeypatch.setattr("probing.evaluation.evaluate._record", lambda *given: computed.append(given))
    table = evaluate("bigram_shift", tiny("bert"), data=toy_root, layers=0, **FEW)
    assert not computed and (table.frame.status == "done").all()


def test_without_data_a_name_is_of_the_grammar(toy_root, home, monkeypatch):
    calls = []
    monkeypatch.setattr("probing.data.builders.make.grammar_tasks", lambda *given: calls.append(given) or toy_root)
    assert evaluate("tree_depth", ToyEncoder(), layers=0, **FEW).tasks == ["tree_depth"]
    assert calls == [(sources.GrammarCorpus().root, 0, 5000, None)]


def test_rows_of_a_table_and_of_lists_are_a_task(toy_root, home):
    """P5: the same rows by file, DataFrame and lists are the same cells, and the same table byte by byte."""
    fields = [line.split("\t") for line in (toy_root / "bigram_shift.txt").read_text().splitlines()]
    frame = pd.DataFrame(fields, columns=["split", "label", "text"])
    long = {"tr": "train", "va": "validation", "te": "test"}
    lists = Task.from_lists(frame.text, frame.label, [long[split] for split in frame.split])
    (toy_root / "card.yaml").write_text("name: frame\nfile: bigram_shift.txt\n")
    tables = [
        evaluate(given, ToyEncoder(), cells=f"cells-{k}", **{**FEW, "controls": "permuted"})
        for k, given in enumerate((load_task(str(toy_root / "card.yaml"), toy_root), frame, {"frame": lists}))
    ]
    for k, table in enumerate(tables):
        table.to_csv(f"{k}.csv")
    contents = {(home / f"{k}.csv").read_bytes() for k in range(3)}
    assert len(contents) == 1
    with pytest.raises(DataError, match=r"load_task takes the name of a task.*Task\.from_frame"):
        load_task(frame, toy_root)
    with pytest.raises(DataError, match=r"'a/b' is no task's name; a data set is read by data=hf data\.path=a/b"):
        load_task("a/b", toy_root)


def test_a_folder_of_a_data_set_is_a_task(toy_root, home):
    """P5: as a hub id is, which needs a network."""
    frame = pd.DataFrame([line.split("\t") for line in (toy_root / "bigram_shift.txt").read_text().splitlines()])
    (home / "sets").mkdir()
    for split, rows in frame.groupby(0):
        name = {"tr": "train", "va": "validation", "te": "test"}[split]
        pd.DataFrame({"text": rows[2], "label": rows[1]}).to_csv(home / "sets" / f"{name}.csv", index=False)
    [task] = as_tasks("./sets")
    assert task.sha256 == load_task("bigram_shift", toy_root).sha256 and task.name == "sets"


@settings(max_examples=20, deadline=None)
@given(st.integers(40, 80), st.integers(2, 4), st.integers(0, 3))
def test_a_test_split_is_drawn_where_none_is_named(n, per_group, seed):
    """A fifth of the rows, to within a group; each group is in one split."""
    texts = [f"w{i} w{i * seed} x" for i in range(n)]
    task = Task.from_lists(texts, [i // per_group % 2 for i in range(n)], groups=[i // per_group for i in range(n)], seed=seed)
    assert sorted(text for split in task.splits.values() for text in split.texts) == sorted(texts)
    assert abs(len(task.test) - n / 5) <= per_group
    of_split = [{texts.index(text) // per_group for text in split.texts} for split in task.splits.values()]
    assert not of_split[0] & of_split[1] and not of_split[0] & of_split[2] and not of_split[1] & of_split[2]
    assert "drawn stratified" in task.card["notes"][0]
    frame = pd.DataFrame({"text": texts, "label": [i // per_group % 2 for i in range(n)], "g": [i // per_group for i in range(n)]})
    assert Task.from_frame(frame, group="g", seed=seed).sha256 == task.sha256


def test_too_few_rows_to_draw_from():
    with pytest.raises(DataError, match="lists: 2 sentences are too few to draw a test split from; name the split of each"):
        Task.from_lists(["a b", "c"], [0, 1])
    with pytest.raises(DataError, match="row 1: the split 'tst' is unknown; did you mean 'test'"):
        Task.from_lists(["a b", "c"], [0, 1], ["train", "tst"])


def test_a_sentence_transformer_is_an_encoder(tiny, home):
    """P8: its last layer is its own `encode`."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    model = SentenceTransformer(modules=[Transformer(str(tiny("bert"))), Pooling(16), Normalize()], device="cpu")
    encoder, texts = as_encoder(model), ["the cat sees a dog .", "they ran"]
    own = pool(encoder.forward(encoder.tokenize(texts)[0]), "sentence")[-1]
    assert encoder.name == "tiny-bert+mean+Normalize" and np.allclose(own.numpy(), model.encode(texts), atol=1e-5)
    assert fingerprint(as_encoder(model, "other")) == fingerprint(encoder)
    model.save(str(home / "folder"), create_model_card=False)
    named, whole = as_encoder("folder"), load_encoder("sentence-transformer", name="folder")
    assert named.name == whole.name and fingerprint(named) == fingerprint(whole), "a folder is not its transformer alone"
    asked = load_encoder(model, prompt="the big ")
    own = pool(asked.forward(asked.tokenize(texts)[0]), "sentence")[-1]
    assert asked.name.endswith("[prompt=the big ]") and np.allclose(own.numpy(), model.encode(texts, prompt="the big "), atol=1e-5)


def test_a_job_is_planned_without_torch():
    code = "import sys, probing, probing.jobs\nprobing.evaluate\nprint({'torch', 'matplotlib', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_reprs_are_short(task, home):
    """P6."""
    assert repr(task) == "Task(bigram_shift, 2 classes, 400/60/60)" and repr(task.train) == "Split(400 sentences)"
    assert repr(load_encoder("hf", name="bert-base-uncased")) == "HuggingFaceEncoder(bert-base-uncased)"
    assert repr(load_encoder("lstm")).startswith("LSTM(")
    table = evaluate(task, ToyEncoder(), layers=[0, 1], **FEW)
    assert repr(table) == "ResultTable(1 task × 1 encoder, 3 rows)"
    assert repr(Store("probing-out/store")) == "Store(probing-out/store, 1 encoder)"
    html = table._repr_html_()
    assert "BShift" in html and html.count("<tr") == 2 and len(html) < 2000
    assert "0 tasks" in ResultTable(table.frame.iloc[:0])._repr_html_()


def test_tab_shows_the_public_names_alone():
    """P7."""
    assert dir(probing) == sorted([*probing.__all__, "__version__"]) and {"evaluate", "Store", "Task"} <= set(dir(probing))
    for name in probing.__all__:
        assert getattr(probing, name).__doc__, name


@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5"])
def test_a_model_in_memory_has_the_vectors_of_its_folder(tiny, home, kind):
    """P8: bit by bit; and the model is as it was."""
    model, tokenizer = pair(tiny, kind)
    model.train()
    before = weights_sha256(model), [parameter.requires_grad for parameter in model.parameters()], str(model.config)
    loaded, folder = as_encoder((model, tokenizer)), as_encoder(tiny(kind))
    texts = ["the cat sees a dog .", "they ran"]
    for a, b in zip(
        loaded.forward(loaded.tokenize(texts)[0]).layers, folder.forward(folder.tokenize(texts)[0]).layers, strict=True
    ):
        assert torch.equal(a, b)
    assert loaded.layer_names == folder.layer_names and loaded.poolings == folder.poolings
    assert model.training and before == (
        weights_sha256(model), [parameter.requires_grad for parameter in model.parameters()], str(model.config),
    )  # fmt: skip
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("options", [{"prompt": "the big "}, {"prompt": "the big ", "span": "sentence"}, {"max_length": 4}])
def test_a_model_in_memory_reads_a_sentence_as_its_folder_does(tiny, options):
    loaded = load_encoder(pair(tiny), label="x", **options)
    folder = load_encoder("hf", name=str(tiny("bert")), label="x", **options)
    texts = ["the cat sees a dog .", "they ran"]
    items = loaded.tokenize(texts)
    assert items == folder.tokenize(texts) and loaded.name == folder.name
    states = [encoder.pooled(items[0], ["mean"]).vectors["mean"] for encoder in (loaded, folder)]
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    keys = [fingerprint(load_encoder(pair(tiny), **given)) for given in ({}, options, {"prompt": "a "})]
    assert len(set(keys)) == 3 and fingerprint(loaded.random_twin(0)) != fingerprint(load_encoder(pair(tiny)).random_twin(0))


def test_the_key_of_a_model_in_memory(tiny):
    model, tokenizer = pair(tiny)
    key = fingerprint(as_encoder((model, tokenizer)))
    tokenizer(["the cat", "a dog runs"], padding=True, truncation=True, max_length=3)  # which is kept in the tokenizer's state
    assert fingerprint(as_encoder((copy.deepcopy(model), tokenizer), "other name")) == key
    encoder = as_encoder((model, tokenizer))
    with torch.no_grad():
        model.encoder.layer[1].output.dense.bias[3] += 1e-3
    assert fingerprint(as_encoder((model, tokenizer))) != key
    with pytest.raises(EncoderError, match="weights have changed since"):
        encoder.forward(encoder.tokenize(["the cat"])[0])
    tokenizer.add_tokens(["w99"])
    assert fingerprint(as_encoder((pair(tiny)[0], tokenizer))) != key
    twins = [as_encoder((model, tokenizer)).random_twin(seed) for seed in (0, 1)]
    assert len({fingerprint(twin) for twin in twins}) == 2
    states = [twin.forward(twin.tokenize(["the cat"])[0]).layers[2] for twin in (*twins, twins[0].random_twin(0))]
    assert not torch.equal(states[0], states[1]) and torch.equal(states[0], states[2])


def test_a_classifier_is_read_without_its_head(tiny):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(tiny("bert"), num_labels=2)
    encoder, folder = as_encoder((model, AutoTokenizer.from_pretrained(tiny("bert")))), as_encoder(tiny("bert"))
    states = [one.forward(one.tokenize(["the cat"])[0]).layers[-1] for one in (encoder, folder)]
    assert torch.equal(*states)


def lengths(texts):
    return np.array([[len(text), text.count("w1")] for text in texts], float)


def test_a_function_is_an_encoder(task, home):
    table = evaluate(task, {"counts": lengths, "two": lambda texts: {"a": lengths(texts), "b": lengths(texts) ** 2}}, controls=())
    frame = table.frame[table.frame.role == "probe"]
    assert dict(frame.groupby("encoder").size()) == {"counts": 1, "two": 2} and (frame.pooling == "sentence").all()


def test_the_key_of_a_function_is_its_content():
    def made(power, table):
        return lambda texts: lengths(texts) ** power + table

    zeros = np.zeros(2)
    key = content_sha256(made(1, zeros))
    assert content_sha256(made(1, np.zeros(2))) == key
    assert len({key, content_sha256(made(2, zeros)), content_sha256(made(1, zeros + 1)), content_sha256(lengths)}) == 4
    before = content_sha256(uses_globals)
    globals()["SCALE"] = 3
    try:
        assert content_sha256(uses_globals) != before
    finally:
        globals()["SCALE"] = 2


SCALE = 2


def uses_globals(texts):
    return SCALE * lengths(texts)


def test_a_torch_module_is_an_encoder_and_stays_as_it_is(task, home):
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Embedding(50, 6), torch.nn.Dropout(0.5), torch.nn.Linear(6, 6)).train()
    states = ModuleStates(module, lambda texts: [[len(word) for word in text.split()] for text in texts], layers=["0", "2"])
    [encoder] = as_encoders(states)
    ids = encoder.tokenize(["w3 w14"])[0]
    assert torch.equal(encoder.forward(ids).layers[0][0], module[0].weight[[2, 3]].detach())
    assert module.training and all(parameter.requires_grad for parameter in module.parameters())
    assert fingerprint(as_encoder(ModuleStates(shared_copy(module), states.tokenize, ["0", "2"]))) == fingerprint(encoder)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("minilmm", "did you mean 'minilm'"),
        ("hf", r"needs name: load_encoder\('hf', name=…\)"),
        (3, "int was given; allowed: a preset's name"),
        (np.zeros((2, 2)), "ndarray was given"),
        (torch.nn.Linear(2, 2), r"no tokenizer: give ModuleStates\(module"),
        (("minilm", 3), "int was given"),
    ],
)
def test_what_is_no_encoder(task, home, given, message):
    with pytest.raises(ConfigError, match=message) as refused:
        evaluate(task, given, **FEW)
    assert "\n" not in str(refused.value)


def test_a_model_needs_its_tokenizer(tiny):
    model, tokenizer = pair(tiny)
    with pytest.raises(ConfigError, match=r"a BertModel alone has no tokenizer: give the pair \(model, tokenizer\)"):
        as_encoder(model)
    with pytest.raises(EncoderError, match="the model is a Linear, but must be one of transformers"):
        as_encoder((torch.nn.Linear(2, 2), tokenizer))
    with pytest.raises(ConfigError, match="unknown option name"):
        load_encoder((model, tokenizer), name="x")
    with pytest.raises(ConfigError, match=r"model is a BertModel, .* a model in memory: load_encoder\(\(model, tokenizer\)\)"):
        load_encoder("hf", model=model)
    assert load_encoder((model, tokenizer), label="mine").name == "mine"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "int was given; allowed: a task's name"),
        ("tree_dept", "unknown task 'tree_dept'; did you mean 'tree_depth'"),
        (pd.DataFrame({"sentence": ["a"], "label": [1]}), r"no column 'text' \(columns: sentence, label; choose with text=…\)"),
        ((["a b", "c"], [0]), "2 texts, 1 labels: give one of each"),
        ([], "at least one task"),
    ],
)
def test_what_is_no_task(toy_root, home, given, message):
    with pytest.raises(ProbingError, match=message) as refused:
        evaluate(given, ToyEncoder(), data=toy_root, **FEW)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"data": 3}, "data: int was given; allowed: the folder"),
        ({"store": 3}, "store: int was given; allowed: a folder, or a Store"),
        ({"probe": "fats"}, "unknown probe 'fats'; did you mean 'fast'"),
        ({"poolings": "maen"}, "pooling='maen' is unknown; did you mean 'mean'"),
    ],
)
def test_other_mistakes(toy_root, home, more, message):
    with pytest.raises(ConfigError, match=message):
        evaluate("bigram_shift", ToyEncoder(), **{**FEW, "data": toy_root, **more})


def test_tables_draw_on_axes(toy_root, home):
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    table = evaluate(
        ["bigram_shift", "tree_depth"], ToyEncoder(), data=toy_root, poolings="mean", floors="majority", controls="permuted"
    )
    own = pyplot.figure().subplots()
    panel = table.plot_layers(own, task="bigram_shift")
    drawn = {line.get_label(): line.get_ydata() for line in panel.lines}
    assert panel is own and {"toy", "toy, control (permuted)", "majority"} == set(drawn)
    rows = table.where(role="probe", task="bigram_shift").sort_values("layer")
    assert np.allclose(drawn["toy"], 100 * rows.accuracy)
    assert {line.get_label() for line in table.plot_layers().lines} == {"BShift", "TreeDepth"}
    shown = table.plot_heat_map().texts
    assert [text.get_text() for text in shown][::2] == [f"{100 * score:.0f}" for score in rows.accuracy]
    with pytest.raises(ConfigError, match="task='x' is not in the table"):
        table.plot_layers(own, task="x")
    pyplot.close("all")
