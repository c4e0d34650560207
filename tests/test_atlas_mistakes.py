"""Mistakes in what an atlas is given: wrong options end it before anything is measured, a property that has no number loses none of
the others, and --out has the page of the runs that exist."""

import json
import logging

import numpy as np
import pandas as pd
import pytest
import typer
from test_atlas import Ordered, context, lines_of, tasks
from test_atlas_verdicts import marked
from test_properties import SINGULAR, Reader, treebank

from probing import commands, load_encoder, run
from probing.commands.atlas import arguments
from probing.commands.atlas import atlas as command
from probing.data.task import Task
from probing.errors import ConfigError, DataError, EncoderError
from probing.log import logger
from probing.report.atlas_verdicts import facets
from probing.studies import atlas_parts, causal
from probing.studies.atlas import SIZES, Atlas
from probing.studies.atlas_cost import forecast
from probing.studies.atlas_parts import UNITS, ConceptsStudy, Parts
from probing.studies.sources import Given

SMALL = (60, 30, 40)


def network(width=16):
    return load_encoder("gated-cnn", embedding_dim=width, channels=width, layers=1, reads="forward", buckets=500)


@pytest.fixture
def lines():
    """The log."""
    kept = list[str]()
    handler = logging.Handler()
    handler.emit = lambda record: kept.append(record.getMessage())
    logger.addHandler(handler)
    yield kept
    logger.removeHandler(handler)


def test_where_does_not_apply_without_control_labels_and_the_page_is_written(tmp_path):
    (folder := tmp_path / "trees").mkdir()
    study = Atlas(columns=["where"], treebank=str(treebank(folder)))
    made, rows = lines_of(study.measure(context(network(), tasks(n=SMALL), tmp_path)), tmp_path)
    assert made["Number"]["where"] == "not applicable" and "word types" in made["Number"]["where_words"]
    assert made["order"]["where"] != "not applicable", "which has control labels"
    study.report(rows, tmp_path / "report")
    assert "no control labels" in (tmp_path / "report" / "atlas.html").read_text(encoding="utf-8")


def test_where_does_not_apply_in_a_layer_whose_best_units_are_all_of_it(tmp_path):
    for width in (8, UNITS, UNITS + 1):
        frame = Atlas(columns=["where"]).measure(context(network(width), tasks(n=SMALL)[:1], tmp_path / str(width)))
        assert set(frame.status) == ({"not applicable"} if width <= UNITS else {"done"})
        assert width > UNITS or f"{width} units that vary" in frame.reason[0]
        assert width <= UNITS or facets(frame.facets[0])["live"] == width


def without_tense_pairs(folder):
    """The treebank with both tenses, of one verb a sentence: a pair about tense needs two."""
    folder.mkdir()
    for path in treebank(folder).glob("*.conllu"):
        sentences = path.read_text().split("\n\n")
        past = [one.replace("Tense=Pres", "Tense=Past") for one in sentences[::3]]
        sentences[::3] = [one.replace("\topens\t", "\topened\t").replace("\topen\topen", "\topened\topen") for one in past]
        path.write_text("\n\n".join(sentences))
    return str(folder)


@pytest.fixture
def reading(monkeypatch):
    """An encoder whose language model reads the number of a subject."""
    encoder = network()
    reader = Reader(encoder, SINGULAR, [word + "s" for word in SINGULAR])
    for module in (atlas_parts, causal):
        monkeypatch.setattr(module, "language_model", lambda encoder: reader)
    return encoder


def test_a_property_without_pairs_keeps_no_other_from_its_number(tmp_path, monkeypatch, reading):
    texts, labels, _ = marked(np.random.default_rng(0), 120)
    own = Task.from_lists(texts, [f"c{k}" for k in labels], splits=["train"] * 60 + ["dev"] * 30 + ["test"] * 30, name="own")
    study = Atlas(columns=["used"], treebank=without_tense_pairs(tmp_path / "trees"), classifier=Given(own))
    slopes = pd.DataFrame([{"task": "own", "layer": 0, "white_size": 0.5, "white_size_p": 0.001, "white_size_null": 0.1}])
    monkeypatch.setattr(ConceptsStudy, "derivatives", lambda self, context: slopes)
    given = context(reading, [own], tmp_path)
    made, rows = lines_of(study.measure(given), tmp_path)
    assert made["Tense"]["used"] == "not applicable" and "gives a pair" in made["Tense"]["used_words"]
    assert made["Number"]["used_words"].startswith(("used: ", "not ")) and made["own"]["used"] == "yes"
    assert set(rows.status) == {"done", "not applicable"}
    assert set(forecast(Parts(study, SIZES["quick"], given))) == {"used"}

    def lost(self, context):
        raise EncoderError("no gradients")

    monkeypatch.setattr(ConceptsStudy, "derivatives", lost)
    after, rows = lines_of(study.measure(given), tmp_path)
    assert after["own"]["used"] == "failed" and "classifier: no gradients" in after["own"]["used_words"]
    assert after["Number"]["used_words"].startswith(("used: ", "not ")), "pairs have their number all the same"
    assert rows[rows.status == "failed"].property.tolist() == ["own"]


def test_a_property_that_fails_is_told_alone(tmp_path, monkeypatch):
    measure = atlas_parts.InteractionLayers.measure

    def some(self, context):
        if context.tasks[0].name == "order":
            raise EncoderError("no state")
        return measure(self, context)

    monkeypatch.setattr(atlas_parts.InteractionLayers, "measure", some)
    frame = Atlas(columns=["interacting"]).measure(context(Ordered(), tasks(n=SMALL), tmp_path))
    states = frame.groupby("property").status.agg(set)
    assert states["order"] == {"failed"} and states["noise"] == {"done"}


class Unread(Ordered):
    """An encoder that nothing may ask."""

    @property
    def description(self):
        raise AssertionError("options are read before the encoder")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"treebank": "nowhere"}, "treebank=nowhere: no such folder"),
        ({"treebank": "EMPTY"}, "treebank: .* holds no .conllu file"),
        ({"treebank": ["a"]}, "must be one folder"),
        ({"corpora": "EMPTY"}, "corpora='.*' must be {NAME: CORPUS}"),
        ({"corpora": ["a", "b"]}, "must be {NAME: CORPUS}"),
        ({"corpora": {"x": "nowhere"}}, "corpora: x: no folder nowhere"),
        ({"corpora": {"x": "EMPTY"}}, "holds none of the task files"),
        ({"corpora": {"toy": "EMPTY"}}, "the data of the atlas has this name"),
        ({"corpora": {"x": {"data": "hf"}}}, "set corpora.x.path="),
        ({"classifier": "sst2"}, "classifier=sst2 must be a preset of data with its options"),
        ({"classifier": {"data": "nonsense"}}, "classifier: unknown data 'nonsense'"),
        ({"classifier": {"data": "sst2", "rooot": "EMPTY"}}, "unknown option 'rooot'; did you mean 'root'"),
        ({"classifier": {"data": "sst2", "root": "EMPTY"}}, "classifier: "),
        ({"classifier": Given(*tasks(n=SMALL))}, "decides one task, and this data has order, noise"),
    ],
)
def test_wrong_options_end_an_atlas_before_anything_is_measured(tmp_path, options, message):
    (tmp_path / "empty").mkdir()
    given = json.loads(json.dumps(options, default=str).replace("EMPTY", str(tmp_path / "empty")))
    given |= {name: value for name, value in options.items() if isinstance(value, Given)}
    for work in (Atlas.measure, Atlas.forecast):
        with pytest.raises((ConfigError, DataError), match=message):
            work(Atlas(**given), context(Unread(), tasks(n=SMALL), tmp_path))


def test_an_encoder_that_cannot_be_loaded_ends_an_atlas_before_its_columns(tmp_path, monkeypatch, lines):
    def nowhere(self):
        raise EncoderError("no such folder")

    monkeypatch.setattr(Ordered, "description", property(nowhere))
    with pytest.raises(EncoderError):
        Atlas().measure(context(Ordered(), tasks(n=SMALL), tmp_path))
    monkeypatch.undo()
    assert not [line for line in lines if "atlas" in line]
    Atlas(columns=["transfers"]).measure(context(Ordered(), tasks(n=SMALL), tmp_path))
    assert [line for line in lines if "atlas" in line] == ["atlas: transfers"], "which took no time"


def test_keys_of_the_command_that_are_nearly_right(tmp_path):
    for word, right in (("sizes=full", "size"), ("classifiers={data: sst2}", "classifier"), ("column=used", "columns")):
        with pytest.raises(ConfigError, match=f"did you mean '{right}'"):
            arguments([word])
    assert arguments(["seed=1", "task=tense", "run.threads=2"])[1:] == ["seed=1", "task=tense", "run.threads=2"], "keys of run"
    for word in ("layer=0", "twins=2", "probe=senteval", "probe.patience=1"):
        with pytest.raises(ConfigError, match=f"{word} has no effect: an atlas measures every layer"):
            arguments([word])


def test_out_is_looked_at_before_anything_is_measured(tmp_path, monkeypatch):
    (file := tmp_path / "page").write_text("")
    monkeypatch.setattr(run, "main", lambda words: pytest.fail("it is measured"))
    for out in (file, file / "below"):
        with pytest.raises(ConfigError, match="is a file; name a folder"):
            command([], out)
    commands.atlas.free(tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()


def test_out_has_the_page_of_the_runs_that_exist_and_the_log_names_the_others(tmp_path, monkeypatch, lines):
    home = tmp_path / "good"
    home.mkdir()
    frame = Atlas(columns=["transfers"]).measure(context(Ordered(), tasks(n=SMALL), tmp_path))
    frame.to_csv(home / "rows.csv", index=False)
    (home / "manifest.json").write_text(json.dumps({"config": {"study": {"_target_": "probing.studies.atlas.Atlas"}}}))
    monkeypatch.setattr(run, "folders", [])
    monkeypatch.setattr(run, "lost", [])
    (data := tmp_path / "data").mkdir()
    for split in ("train", "test"):
        (data / f"{split}.csv").write_text("text,label\n" + "a b,x\nc d,y\n" * 20)
    words = ["encoder=hf", f"encoder.name={tmp_path / 'bad'},{tmp_path / 'worse'}", "data=hf", f"data.path={data}"]
    main = run.main

    def measured(arguments):
        run.folders.append(home)
        return main(arguments)

    monkeypatch.setattr(run, "main", measured)
    with pytest.raises(typer.Exit) as end:
        command([*words, f"run.dir={tmp_path / 'out'}", f"hydra.sweep.dir={tmp_path / 'sweep'}"], tmp_path / "page")
    assert end.value.exit_code == 2 and (tmp_path / "page" / "atlas.html").is_file()
    lost = [line for line in lines if line.startswith(f"{tmp_path / 'page'}: without ")]
    assert [f"encoder.name={tmp_path / name}," in line for name, line in zip(("bad", "worse"), lost, strict=True)] == [True] * 2


def test_a_dry_atlas_leaves_no_folder_and_counts_what_is_no_column(tmp_path, monkeypatch, lines):
    (data := tmp_path / "data").mkdir()
    for split in ("train", "dev", "test"):
        (data / f"{split}.csv").write_text("text,label\n" + "a b,x\nc d,y\n" * 20)
    (home := tmp_path / "home").mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setattr(run, "_exit_codes", [])
    with pytest.raises(typer.Exit) as end:
        command(["encoder=lstm", "data=hf", f"data.path={data}", "columns=transfers", "dry=true"])
    assert end.value.exit_code == 0 and not [*home.iterdir()]
    fixed, whole = (
        [line.partition(f"{start}: about ")[2].removesuffix(" on this machine as it is now") for line in lines if start in line]
        for start in ("start, loading and page", "all of it")
    )
    assert len(fixed) == 1 and fixed == whole, "no column applies"
