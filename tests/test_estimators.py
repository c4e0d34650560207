"""Scikit-learn's estimators as probes, ours as an estimator, and fitted probes had again."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from toys import ToyEncoder

from probing import LogisticPathCV, evaluate, load_probe, load_task
from probing.errors import ConfigError, DataError
from probing.probes import as_probe
from probing.probes.estimator import EstimatorProbe
from probing.store.vectors import Store
from probing.types import Representation


@pytest.fixture
def task(toy_root):
    return load_task("bigram_shift", toy_root)


def measured(task, tmp_path, probe, **more):
    options = {"poolings": "mean", "layers": [0, 1], "controls": "permuted", "floors": ["majority", "random-weights"]} | more
    return evaluate(task, ToyEncoder(), store=tmp_path / "store", probe=probe, **options)


def blocks(task, tmp_path, layer):
    vectors = Store(tmp_path / "store").vectors(ToyEncoder(), [t for s in task.splits.values() for t in s.texts], ["mean"])
    return [vectors.rows(split.texts).get(Representation(layer, "mean")) for split in task.splits.values()]


def test_an_estimator_predicts_as_it_does_alone(task, tmp_path):
    model = make_pipeline(StandardScaler(), LinearSVC(C=0.05, random_state=3))
    table = measured(task, tmp_path, model)
    assert set(table.frame.role) == {"probe", "control", "random", "floor"} and (table.frame.status == "done").all()
    train, dev, test = blocks(task, tmp_path, 1)
    model.fit(train, task.train.labels)
    [row] = table.where(role="probe", layer=1).itertuples()
    assert np.array_equal(table.predicted(row.cell)[1], model.predict(test))
    assert row.dev_accuracy == (model.predict(dev) == task.dev.labels).mean()
    assert row.accuracy_low < row.accuracy < row.accuracy_high and row.chosen == "{}"


def test_the_grid_is_chosen_on_dev_and_a_search_on_train(task, tmp_path):
    grid = [1e-4, 1.0]
    own = measured(task, tmp_path, EstimatorProbe(LinearSVC(random_state=0), {"C": grid}), layers=0, controls=())
    search = measured(task, tmp_path, GridSearchCV(LinearSVC(random_state=0), {"C": grid}, cv=3), layers=0, controls=())
    train, dev, test = blocks(task, tmp_path, 0)
    models = [LinearSVC(C=C, random_state=0).fit(train, task.train.labels) for C in grid]
    hits = [(model.predict(dev) == task.dev.labels).mean() for model in models]
    [row] = own.role("probe").itertuples()
    assert row.chosen == f'{{"C": {grid[int(np.argmax(hits))]}}}' and row.dev_accuracy == max(hits)
    [row] = search.role("probe").itertuples()
    by_itself = GridSearchCV(LinearSVC(random_state=0), {"C": grid}, cv=3).fit(train, task.train.labels)
    assert row.chosen == f'{{"C": {by_itself.best_params_["C"]}}}'
    assert np.array_equal(search.predicted(row.cell)[1], by_itself.predict(test))


def test_the_key_covers_class_parameters_and_version(monkeypatch):
    def settings(model):
        return as_probe(model).settings("x")

    models = [LinearSVC(), LinearSVC(C=2), LinearSVC(random_state=0), KNeighborsClassifier(), LogisticPathCV()]
    models += [make_pipeline(StandardScaler(), LinearSVC()), make_pipeline(StandardScaler(with_mean=False), LinearSVC())]
    models += [GridSearchCV(LinearSVC(), {"C": [1]}), GridSearchCV(LinearSVC(), {"C": [2]})]
    keys = [str(settings(model)) for model in models]
    assert len(set(keys)) == len(keys) and keys == [str(settings(model)) for model in models]
    assert len({as_probe(model).name for model in models}) == len(models)
    monkeypatch.setattr("sklearn.__version__", "0")
    assert settings(LinearSVC()) != eval(keys[0])


def test_what_draws_gets_the_seed_of_the_run(task, tmp_path):
    probe = as_probe(MLPClassifier((4,), max_iter=5))
    assert probe.settings("x")["seeded by the run"] == ["random_state"] and probe.seed(7) == 7
    assert as_probe(MLPClassifier(random_state=1)).seed(7) is None and as_probe(KNeighborsClassifier()).seed(7) is None
    table = measured(task, tmp_path, MLPClassifier((4,), max_iter=5), seeds=[0, 1], layers=1, controls=(), floors=())
    train, _, test = blocks(task, tmp_path, 1)
    for row in table.role("probe").itertuples():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = MLPClassifier((4,), max_iter=5, random_state=row.seed).fit(train, task.train.labels)
        assert np.array_equal(table.predicted(row.cell)[1], model.predict(test)) and not row.converged


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (KMeans(), r"probe=KMeans is no classifier and no regressor; allowed: a scikit-learn classifier"),
        (LinearSVC, r"probe=LinearSVC is a class; give an object: LinearSVC\(\)"),
        (3, "int was given; allowed: a preset's name"),
        (MLPClassifier(random_state=np.random.RandomState(0)), "RandomState cannot be part of a key"),
    ],
)
def test_what_is_no_probe(given, message):
    with pytest.raises(ConfigError, match=message):
        as_probe(given)


def test_a_grid_of_unknown_parameters_is_refused():
    with pytest.raises(ConfigError, match="LinearSVC has no parameter 'D'"):
        EstimatorProbe(LinearSVC(), {"D": [1]})
    with pytest.raises(ConfigError, match="C needs a list of values"):
        EstimatorProbe(LinearSVC(), {"C": []})
    with pytest.raises(ConfigError, match="label='fast' is the name of a preset"):
        EstimatorProbe(LinearSVC(), label="fast")


def test_the_preset_names_any_class():
    probe = load_probe("estimator", estimator={"_target_": "sklearn.svm.LinearSVC", "C": 0.1})
    assert probe.settings("x") == as_probe(LinearSVC(C=0.1)).settings("x") and probe.name == "LinearSVC(C=0.1)"
    with pytest.raises(ConfigError, match=r"set probe\.estimator\._target_=…"):
        load_probe("estimator")
    for target, message in (
        ("sklearn.svm.LinearSVM", "cannot be imported"),
        ("x", "cannot be imported"),
        ("sklearn.cluster.KMeans", "no classifier and no regressor"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_probe("estimator", estimator={"_target_": target})


def test_ours_is_an_estimator_of_scikit_learn():
    from sklearn.utils.estimator_checks import check_estimator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of checks that are skipped, and of data made for them
        results = check_estimator(LogisticPathCV(cv=3), on_fail=None)
    failed = [f"{one['check_name']}: {one['exception']}" for one in results if one["status"] == "failed"]
    assert not failed and sum(one["status"] == "passed" for one in results) > 30


@pytest.mark.parametrize("k", [2, 3])
def test_ours_solves_the_problem_of_scikit_learn(k):
    rng = np.random.default_rng(k)
    x = rng.normal(5, [1, 10, 0.1, 3], size=(120, 4))
    y = np.array(["a", "b", "c"])[(x[:, 0] + x[:, 1] / 10 + rng.normal(size=120) > 6).astype(int) + (k > 2) * (x[:, 3] > 6)]
    own = LogisticPathCV(Cs=[0.5]).fit(x, y)
    z = StandardScaler().fit(x)
    reference = LogisticRegression(C=0.5, tol=1e-8, max_iter=5000).fit(z.transform(x), y)
    assert own.coef_.shape == reference.coef_.shape and np.allclose(own.coef_ * z.scale_, reference.coef_, atol=1e-2)
    assert np.allclose(own.predict_proba(x), reference.predict_proba(z.transform(x)), atol=1e-2)
    chosen = LogisticPathCV().fit(x, y)
    assert chosen.C_ == sorted(chosen.Cs)[int(chosen.scores_.argmax())] and len(chosen.scores_) == 6


@pytest.mark.parametrize(
    "probe", ["fast", "sklearn", "senteval-linear", "senteval-logreg", make_pipeline(StandardScaler(), LinearSVC())]
)
def test_a_fitted_probe_is_had_again_in_raw_features(task, tmp_path, probe):
    if isinstance(probe, str):
        probe = load_probe(probe)
    table = measured(task, tmp_path, probe, floors=())
    fitted = table.probe(task="bigram_shift", encoder="toy", layer=1, pooling="mean")
    _, _, test = blocks(task, tmp_path, 1)
    _, recorded = table.predicted(table.where(role="probe", layer=1).cell.iloc[0])
    assert list(fitted.classes_) == ["I", "O"] and np.array_equal(fitted.predict(test), np.array(["I", "O"])[recorded])
    scores = test.astype(float) @ fitted.coef_.T + fitted.intercept_
    of_coef = (scores[:, 0] > 0).astype(int) if scores.shape[1] == 1 else scores.argmax(1)
    assert (of_coef == recorded).mean() > 0.98 and fitted.coef_.shape[1] == test.shape[1]
    assert repr(fitted).startswith("FittedProbe(bigram_shift, toy, layer 1 mean")


def test_the_standardisation_is_undone(task, tmp_path):
    table = measured(task, tmp_path, load_probe("fast", grid=[0.1]), floors=(), controls=())
    train, _, _ = blocks(task, tmp_path, 0)
    z = StandardScaler().fit(train.astype(float))
    reference = LogisticRegression(C=0.1, tol=1e-8, max_iter=5000).fit(z.transform(train.astype(float)), task.train.labels)
    fitted = table.probe(layer=0)
    assert np.allclose(fitted.coef_ * z.scale_, reference.coef_, atol=2e-3)
    assert np.allclose(fitted.decision_function(train), reference.decision_function(z.transform(train.astype(float))), atol=5e-3)


def test_which_probe_must_be_clear(task, tmp_path):
    table = measured(task, tmp_path, KNeighborsClassifier(), floors=())
    best = table.best().iloc[0]
    assert f"layer {best.layer} mean" in repr(table.probe())
    with pytest.raises(AttributeError, match="has no coef_: it gives no scores"):
        _ = table.probe(layer=1).coef_
    with pytest.raises(ConfigError, match="0 finished cells have these values"):
        table.probe(layer=9)
    with pytest.raises(ConfigError, match="no column 'colour'"):
        table.probe(colour=1)
    with pytest.raises(ConfigError, match="this table was read from files"):
        replace(table, refit=None).probe(layer=1)


def test_a_probe_that_predicts_otherwise_than_was_recorded_is_refused(task, tmp_path, monkeypatch):
    table = measured(task, tmp_path, "fast", layers=1, floors=(), controls=())
    [cell] = table.frame.cell
    gold, recorded = table.predicted(cell)
    monkeypatch.setattr(
        "probing.store.results.ResultStore.predictions", lambda self, key: (gold, np.r_[1 - recorded[:1], recorded[1:]])
    )
    with pytest.raises(DataError, match="gives 1 of 60 test sentences another label"):
        table.probe()
