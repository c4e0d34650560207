"""What goes out of a run: files for other programs, each read back by its library; loggers; interactions for shapiq."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import types
from importlib.machinery import ModuleSpec

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from test_report import Bench, full
from toys import ToyEncoder

from probing.errors import ConfigError, ForeignError
from probing.evaluation.runs import Run
from probing.interactions import TableGame, segment_interaction, table
from probing.interactions.exchange import shapiq_values
from probing.interactions.text.command import Interact
from probing.interactions.text.game import TextGame
from probing.jobs import run_job
from probing.paths import CONF
from probing.report import loggers
from probing.report.exports import EXPORTS, export

# Interactions: shapiq.


@pytest.mark.parametrize("index, order", [("SV", 1), ("SII", 2), ("SII", 3), ("Moebius", 4)])
def test_interactions_are_those_of_shapiq(index, order):
    """Of every column of a random game: each interaction, the empty one too, by a library that shares no code with ours."""
    shapiq = pytest.importorskip("shapiq")
    v = np.random.default_rng(order).normal(size=(16, 2))
    made = shapiq_values(TableGame(v), index, order)
    for column, values in zip(v.T, made, strict=True):
        exact = shapiq.ExactComputer(lambda rows, c=column: c[rows.astype(int) @ (1 << np.arange(4))], n_players=4)(
            index, order=order
        )
        assert values.dict_values.keys() == exact.dict_values.keys()
        assert values.dict_values == pytest.approx(exact.dict_values, abs=1e-9)
        assert (values.index, values.max_order, values.min_order) == (exact.index, exact.max_order, exact.min_order)
        assert values.baseline_value == pytest.approx(exact.baseline_value) and not values.estimated


def test_a_game_of_shapiq_is_a_game_of_ours():
    """A subclass of its `Game`, normalised as usual: its table, and the interaction of a segment against its exact values."""
    shapiq = pytest.importorskip("shapiq")
    v = np.random.default_rng(0).normal(size=16)

    class Theirs(shapiq.Game):
        def value_function(self, coalitions):
            return v[coalitions.astype(int) @ (1 << np.arange(4))]

    game = Theirs(n_players=4, normalize=True, normalization_value=float(v[0]))
    assert table(game) == pytest.approx(v - v[0])
    ours = segment_interaction(game, (1, 3))
    merged = shapiq.ExactComputer(  # the players 1 and 2 as one, in the game of 0, [12] and 3
        lambda rows: game(rows[:, [0, 1, 1, 2]].astype(bool)), n_players=3
    )("SV", order=1)
    alone = [
        shapiq.ExactComputer(lambda rows, keep=keep: game(rows[:, [0, 1, 1, 2]].astype(bool) & keep), n_players=3)("SV", order=1)
        for keep in ([True, True, False, True], [True, False, True, True])
    ]
    assert ours.phi[0, 1] == pytest.approx(merged[(1,)])
    assert ours.B == pytest.approx(merged[(1,)] - sum(one[(1,)] for one in alone))


@pytest.mark.parametrize("options, message", [({"index": "SI"}, "no index 'SI'; did you mean"), ({"order": 3}, "order=3 must be")])
def test_indices_that_are_not_known(options, message):
    with pytest.raises(ConfigError, match=message):
        shapiq_values(TableGame(np.arange(4.0)), **options)


def test_interact_writes_a_file_for_each_layer(tmp_path):
    shapiq = pytest.importorskip("shapiq")
    options = {"text": "a movie not good", "value": "mean", "masking": "delete"}
    Interact(**options, shapiq=str(tmp_path / "out")).run(ToyEncoder(n_layers=2))
    game = TextGame(ToyEncoder(n_layers=2), "a movie not good", "mean", "delete")
    paths = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in paths] == ["0-toy-0.json", "1-toy-1.json"]
    for path, wanted, v in zip(paths, shapiq_values(game), table(game).T, strict=True):
        values = shapiq.InteractionValues.load(path).dict_values
        assert values == pytest.approx(wanted.dict_values) and len(values) == 1 + 4 + 6
        assert sum(x for players, x in values.items() if len(players) == 1) == pytest.approx(v[-1] - v[0])  # efficiency
        assert json.loads(path.read_text())["parameters"]["words"] == ["a", "movie", "not", "good"]


# Exports of a run.


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return full(Bench(tmp_path_factory.mktemp("run") / "out"))


@pytest.fixture(scope="module")
def best(run):
    return run.table().best()


def test_a_data_set_of_a_run_is_its_rows_and_its_best_layers(run, best, tmp_path):
    datasets = pytest.importorskip("datasets")
    folder = export(run, "datasets", tmp_path / "set")
    run.table().to_csv(tmp_path / "rows.csv")
    rows, lines = (
        datasets.load_dataset(str(folder), name, split="train", cache_dir=str(tmp_path / "cache")) for name in ("rows", "best")
    )
    assert rows.to_csv(tmp_path / "again.csv") and (tmp_path / "again.csv").read_bytes() == (tmp_path / "rows.csv").read_bytes()
    assert lines["accuracy"][:] == best.accuracy.tolist() and lines["layer"][:] == best.layer.tolist()
    assert lines["not_separated"][0] == [f"{layer}/{pooling}" for layer, pooling in best.not_separated[0]]
    text = (folder / "README.md").read_text()
    assert "| Tense | my_encoder | logreg_x | 1 mean | 85.0 |" in text


def test_parquet_is_the_rows(run, tmp_path):
    run.table().to_csv(tmp_path / "rows.csv")
    pd.read_parquet(export(run, "parquet")).to_csv(tmp_path / "again.csv", index=False)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "rows.csv").read_bytes()


def test_latex_has_both_layouts(run):
    """Task × encoder, and task × layer for each encoder and pooling, the dev-best layer in bold; each number is that of a row."""
    path = export(run, "latex")
    [encoders] = path.read_text().split(r"\begin{table}")[1:]
    tables = path.with_stem(f"{path.stem}-layers").read_text().split(r"\begin{table}")[1:]
    assert len(tables) == 3 and r"my\_encoder" in encoders  # my_encoder with two poolings, other with one
    rows = [re.sub(r"\s+", " ", line) for line in tables[1].splitlines() if line.startswith(("Tense", "BShift"))]
    assert rows == [r"Tense & 60.0 & \textbf{85.0} & 75.0 \\", r"BShift & 52.5 & \textbf{77.5} & 67.5 \\"]
    assert r"my\_encoder, cls, logreg\_x" in tables[0] and "my_encoder" not in tables[1]


def test_a_model_card_is_read_by_the_library_that_defines_it(run, best, tmp_path):
    """Every dev-best number is in the metadata that huggingface_hub reads from the card, with its layer and data."""
    from huggingface_hub import ModelCard

    folder = export(run, "eval-results", tmp_path / "cards")
    assert sorted(path.name for path in folder.iterdir()) == ["my_encoder.md", "other.md"]
    card = ModelCard.load(folder / "my_encoder.md")
    wanted = {
        (row.task, metric): (round(getattr(row, name), 6), row.layer)
        for row in best[best.encoder == "my_encoder"].itertuples()
        for metric, name in (("accuracy", "accuracy"), ("f1", "macro_f1"))
    }
    read = {(r.dataset_type, r.metric_type): (r.metric_value, r.metric_args["layer"]) for r in card.data.eval_results}
    assert read == wanted and len(read) == 4
    assert {r.dataset_args["sha256"] for r in card.data.eval_results} == {"d" * 64} and card.data.model_name == "my_encoder"


def test_results_of_mteb_are_read_by_mteb(run, best, tmp_path):
    """The dev-best accuracies in the layout that its `ResultCache` reads; read by the library where it is installed."""
    folder = export(run, "mteb", tmp_path / "cache")
    wanted = {(row.encoder, row.task, row.probe): row.accuracy for row in best.itertuples()}
    read = {}
    for meta in folder.glob("results/*/*/model_meta.json"):
        about = json.loads(meta.read_text())
        assert about["revision"] == meta.parent.name
        for path in set(meta.parent.iterdir()) - {meta}:
            result = json.loads(path.read_text())
            for score in result["scores"]["test"]:
                assert path.stem == result["task_name"] and score["main_score"] == score["accuracy"]
                read[about["name"], result["task_name"], score["hf_subset"]] = score["main_score"]
    assert read == wanted and len(read) > 2
    if importlib.util.find_spec("mteb"):
        from mteb.cache import ResultCache

        results = ResultCache(folder).load_results(validate_and_filter=False, require_model_meta=True)
        assert len(results.model_results) == 2
        loaded = {(one.model_name, task.task_name): task.get_score() for one in results.model_results for task in one.task_results}
        assert loaded == pytest.approx({(encoder, task): value for (encoder, task, _), value in wanted.items()})


def test_every_eval_ever_has_what_its_schema_requires(run, best, tmp_path):
    """The same bytes each time; against the schema itself where its package is installed."""
    folder = export(run, "eee", tmp_path / "eee")
    written = (folder / "other.json").read_bytes()
    assert export(run, "eee", tmp_path / "again").joinpath("other.json").read_bytes() == written
    content = json.loads(written)
    accuracies = best[best.encoder == "other"].set_index("task").accuracy.to_dict()
    results = content["evaluation_results"]
    assert {
        r["evaluation_name"]: r["score_details"]["score"] for r in results if r["metric_config"]["metric_id"] == "accuracy"
    } == (accuracies)
    for result in results:
        interval = result["score_details"]["uncertainty"]["confidence_interval"]
        assert interval["lower"] <= result["score_details"]["score"] <= interval["upper"]
        assert all(isinstance(value, str) for value in result["score_details"]["details"].values())
    if importlib.util.find_spec("every_eval_ever"):
        from importlib.resources import files

        import jsonschema

        schema = files("every_eval_ever").joinpath("schemas/eval.schema.json").read_text()
        jsonschema.validate(content, json.loads(schema))


@pytest.mark.parametrize(
    "to, message",
    [("datset", "--to datset is unknown; did you mean 'datasets'"), ("shapiq", r"probing interact … shapiq=FOLDER writes them")],
)
def test_an_unknown_export_names_the_known_ones(run, to, message):
    with pytest.raises(ConfigError, match=message):
        export(run, to)


def test_a_file_is_no_folder_and_nothing_is_no_export(run, tmp_path):
    with pytest.raises(ConfigError, match="latex writes a file, and this is the other"):
        export(run, "latex", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="eee writes a folder, and this is the other"):
        export(run, "eee", tmp_path / "file")
    bench = Bench(tmp_path / "out")
    bench.add(0, fail=True)
    for to in EXPORTS.keys() - {"parquet"}:
        with pytest.raises(ConfigError, match="has no finished layer of an encoder"):
            export(bench.run("failed"), to)


# Loggers. mlflow, trackio and wandb are not installed here: stand-ins with the calls that are made of them.


class Recorder(types.ModuleType):
    """A stand-in for a logger: any attribute is a function that keeps its calls; some return an object of the same kind."""

    def __init__(self, name):
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)  # libraries look whether loggers are there
        self.calls = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*given, **options):
            self.calls.append((name, given, options))
            return self

        return call

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.calls.append(("exit", (), {}))

    @property
    def summary(self):
        return self

    def of(self, *names):
        return [(given, options) for name, given, options in self.calls if name in names]


@pytest.fixture
def logger(monkeypatch, request):
    stand_in = Recorder(request.param)
    monkeypatch.setitem(sys.modules, request.param, stand_in)
    return stand_in


@pytest.mark.parametrize("logger", ["trackio", "wandb", "mlflow"], indirect=True)
def test_a_logger_gets_the_best_lines_the_curves_and_the_report(run, best, logger):
    name = logger.__name__
    files = [run.folder / "table.md", run.folder / "report.html"]
    for path in files:
        path.write_text("a report")
    loggers.check([name])
    loggers.log([name], run)
    curves: dict[int, dict[str, float]] = {}
    for given, options in logger.of("log", "log_metrics"):
        if "step" in options:
            curves.setdefault(options["step"], {}).update(given[0])
    rows = run.table().role("probe")
    assert sorted(curves) == [0, 1, 2]
    for row in rows.itertuples():
        assert curves[row.layer][f"{row.task}/{row.encoder}/{row.pooling}/accuracy"] == row.accuracy
    numbers = {}
    for given, _ in logger.of("log", "log_metrics", "update"):
        numbers |= given[0]
    for row in best.itertuples():
        at = f"{row.task}/{row.encoder}/best"
        assert (numbers[f"{at}/accuracy"], numbers[f"{at}/macro_f1"], numbers[f"{at}/layer"]) == (
            row.accuracy,
            row.macro_f1,
            row.layer,
        )
    kept = {given[0] for given, _ in logger.of("add_file", "log_artifact") if isinstance(given[0], str)}
    assert {str(path) for path in files} <= kept and str(run.folder / "run.json") in kept
    assert {"by": "hand"} in [value for given, options in logger.of("init", "log_params") for value in (*given, *options.values())]
    assert logger.calls[-1][0] in ("finish", "exit")


@pytest.mark.parametrize("logger", ["mlflow"], indirect=True)
def test_names_of_metrics_hold_only_what_all_loggers_allow(logger, tmp_path):
    bench = Bench(tmp_path / "out")
    bench.add(150, encoder="x[store=float16]:é", layer=0)
    loggers.log(["mlflow"], bench.run())
    names = {name for given, _ in logger.of("log_metrics") for name in given[0]}
    assert "past_present/x_store_float16__é/mean/accuracy" in names and all(re.fullmatch(r"[\w./ -]+", name) for name in names)


@pytest.mark.parametrize(
    "name, message",
    [
        ("mlflo", "log=mlflo is unknown; did you mean 'mlflow'"),
        ("wandb", r"pip install 'probing-bench\[wandb\]'"),
    ],
)
def test_a_logger_that_is_not_there_is_said_before_anything_is_measured(name, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    options = OmegaConf.to_container(composed(f"log={name}"))
    monkeypatch.setattr("probing.config.build", lambda *given: pytest.fail("something was built"))
    with pytest.raises(ConfigError, match=message):
        run_job(options)


def composed(*words):
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", ["run.dir=out", *words])


@pytest.mark.parametrize("logger", ["mlflow"], indirect=True)
def test_a_run_is_logged_when_its_report_is_written(logger, toy_root, tiny, tmp_path, monkeypatch):
    """And a logger that fails leaves the run and its report as they are."""
    monkeypatch.setattr("probing.report.write._pictures", lambda *given: [])
    words = [
        "data=senteval",
        f"data.root={toy_root}",
        "task=[bigram_shift]",
        "encoder=hf",
        f"encoder.name={tiny('bert')}",
        "log=mlflow",
    ]
    words += ["log=mlflow", "pooling=[mean]", "layer=[1]", "controls=none", "floors=[majority]", "probe=senteval-logreg-lbfgs"]
    options = OmegaConf.to_container(composed(*words, f"run.dir={tmp_path / 'out'}"), resolve=True)
    done = run_job(options)
    assert done.failed == 0
    [accuracy] = {
        value for given, _ in logger.of("log_metrics") for name, value in given[0].items() if name.endswith("mean/accuracy")
    }
    assert accuracy == Run.read(done.folder).table().role("probe").accuracy.item()
    assert any("report.html" in given[0] for given, _ in logger.of("log_artifact"))
    logger.log_metrics = lambda *given, **options: 1 / 0
    (done.folder / "report.html").unlink()
    with pytest.raises(ForeignError, match="log=mlflow: the run is finished, but logging it failed: ZeroDivisionError"):
        run_job(options)
    assert (done.folder / "report.html").is_file()
