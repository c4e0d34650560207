"""Codes, V-information, mixes and bounded probes: laws, independent references, and the measures through `evaluate`."""

import json

import numpy as np
import processes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from probing import evaluate
from probing.data.split import Split
from probing.data.task import Task
from probing.encoders.vectors import VectorsEncoder
from probing.errors import ConfigError, DataError
from probing.evaluation.codes import OnlineCode, VariationalCode, VInformation
from probing.evaluation.measure import load_measures
from probing.evaluation.pareto import Pareto
from probing.evaluation.several_layers import SeveralLayers
from probing.probes import bounded, load
from probing.probes.base import SplitFeatures, SplitLabels
from probing.probes.codes import bits, online, solver, types, variational
from probing.probes.logistic import Design
from probing.probes.mix import Mix, fit_mix
from probing.report.code_curves import by_kind

RNG = np.random.default_rng(0)


def planted(n, d=6, K=3, strength=2.0, seed=0):
    """Features and labels of a softmax model, and its probabilities."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)).astype(np.float32)
    logits = strength * x @ rng.normal(size=(d, K))
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return x, (rng.random((n, 1)) > p.cumsum(1)).sum(1).clip(0, K - 1), p


def task_of(labels, sizes, K, groups=None):
    ends = np.cumsum((0, *sizes))
    splits = []
    for k, (a, b) in enumerate(zip(ends, ends[1:], strict=False)):
        own = None if groups is None else tuple(f"{k}.{g}" for g in groups[a:b])
        splits.append(Split(tuple(f"s{i}" for i in range(a, b)), labels[a:b].astype(np.int64), own))
    return Task("planted", tuple(map(str, range(K))), *splits, card={}, source="planted", file_sha256="", git_blob="")


def measured(x, labels, sizes, K, measures, tmp_path, groups=None):
    """The table of measures on planted vectors, one array for each layer."""
    layers = x if isinstance(x, list) else [x]
    path = tmp_path / "vectors.npz"
    names = {f"layer{k}": layer for k, layer in enumerate(layers)}
    np.savez(path, sentences=np.array([f"s{i}" for i in range(sum(sizes))]), **names)
    encoder = VectorsEncoder(str(path), label="planted")
    task = task_of(labels, sizes, K, groups)
    return evaluate([task], [encoder], store=tmp_path / "store", probe=None, measures=measures, floors=(), controls=())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=40), st.integers(0, 5))
def test_blocks_hold_whole_sentences_and_every_item_once(sizes, seed):
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    order, ends = online.shuffled(len(clusters), clusters, seed)
    assert sorted(order) == list(range(len(clusters))) and ends[-1] == len(clusters) and (np.diff(ends) > 0).all()
    starts = np.flatnonzero(np.diff(clusters[order], prepend=-1))
    assert len(starts) == len(sizes) and set(ends[:-1]) <= set(starts.tolist())
    again, _ = online.shuffled(len(clusters), clusters, seed)
    assert (order == again).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 10**6))
def test_no_block_is_empty_and_none_is_coded_by_a_probe_of_nothing(n):
    ends = bits.kept_ends(bits.block_ends(n))
    assert ends[0] > 0 and ends[-1] == n and (np.diff(ends) > 0).all()


def test_bad_ends_are_refused():
    for ends in ([], [0], [3, 2], [0, 0]):
        with pytest.raises(DataError, match="must rise"):
            bits.kept_ends(ends)


def test_a_class_that_was_not_seen_costs_a_finite_number_of_bits():
    assert bits.mixed([-np.inf], 9, 4)[0] == pytest.approx(-np.log2(0.1 / 4))
    assert bits.mixed([0.0], 9, 4)[0] == pytest.approx(-np.log2(0.9 + 0.1 / 4))
    x, y, _ = planted(60)
    y[:40] = y[:40] % 2
    y[40:] = 2
    examples = solver.Examples.of(Design.prepare(x), 3)
    fit = examples.span(0, 40).fit(y[:40], 1.0)
    assert set(fit.seen) == {0, 1}
    assert np.allclose(examples.span(40, 60).bits(fit, y[40:]), -np.log2(1 / 41 / 3))
    one = examples.span(0, 1).fit(y[:1], 1.0)
    assert one.weights.shape[0] == 0 and np.isfinite(examples.bits(one, y)).all()


@pytest.mark.parametrize("K", [2, 3, 5])
def test_fits_are_those_of_scikit_learn_wherever_they_start(K):
    x, y, _ = planted(400, K=K, strength=1.0)
    design = Design.prepare(x)
    examples = solver.Examples.of(design, K)
    z = design.z.double().numpy()
    start = examples.span(0, 100).fit(y[:100], 0.3)
    reference = LogisticRegression(C=0.3, tol=1e-10, max_iter=5000).fit(z[:200], y[:200]).predict_log_proba(z[200:])
    for given_start in (None, start):
        fit = examples.span(0, 200).fit(y[:200], 0.3, given_start, loose=False)
        own = examples.span(200, 400).log_probabilities(fit)
        assert np.abs(np.exp(own) - np.exp(reference)).max() < 2e-3


def test_many_classes_are_laid_out_once_and_coded_alike():
    x, y, _ = planted(500, d=8, K=80, strength=1.0)
    design = Design.prepare(x)
    examples = solver.Examples.of(design, 80)
    assert examples.matrix.rotated
    others = examples.others(design, x[400:])
    fit = examples.span(0, 400).fit(y[:400], 1.0, loose=False)
    assert np.allclose(others.log_probabilities(fit), examples.span(400, 500).log_probabilities(fit), atol=1e-3)
    seen = np.unique(y[:400])
    model = LogisticRegression(C=1.0, tol=1e-8, max_iter=5000).fit(design.z[:400].double().numpy(), y[:400])
    own = examples.span(400, 500).log_probabilities(fit)[:, seen]
    assert np.abs(np.exp(own) - model.predict_proba(design.z[400:].double().numpy())).max() < 5e-3


def test_dev_chooses_C_by_bits_and_random_labels_get_the_strongest_penalty():
    x, y, _ = planted(1200, d=20)
    design = Design.prepare(x[:800])
    examples, grid = solver.Examples.of(design, 3), [1e-5, 1e-3, 1e-1, 10.0]
    dev = examples.others(design, x[800:])
    fit = examples.choose(y[:800], grid, (dev, y[800:]))
    each = {C: dev.bits(examples.fit(y[:800], C), y[800:]).mean() for C in grid}
    assert fit.C == min(each, key=each.get)
    random = RNG.integers(3, size=1200)
    assert examples.choose(random[:800], grid, (dev, random[800:])).C == 1e-5


def test_random_labels_do_not_compress_and_planted_ones_do_by_what_the_model_knows():
    x, y, p = planted(6000, d=8)
    order, ends = online.shuffled(5000, None, 1)
    design = Design.prepare(x[:5000])
    examples = solver.Examples.of(design, 3)
    dev = examples.others(design, x[5000:])
    code, C = online.logistic_code(examples.rows(order), y[:5000][order], ends, [0.01, 0.1, 1.0], (dev, y[5000:]))
    entropy = -np.log2(p[np.arange(6000), y])[:5000].sum()
    assert entropy < code.bits < 1.25 * entropy and code.extra == pytest.approx(np.log2(3))
    assert code.shares.sum() + code.extra / code.bits == pytest.approx(1)
    random = np.random.default_rng(3).integers(3, size=6000)
    control, _ = online.logistic_code(examples.rows(order), random[:5000][order], ends, [1e-4, 0.01, 1.0], (dev, random[5000:]))
    assert 0.97 < control.compression < 1.0


def test_the_code_of_one_block_is_the_uniform_code():
    x, y, _ = planted(1)
    examples = solver.Examples.of(Design.prepare(np.repeat(x, 2, 0)), 3)
    code, _ = online.logistic_code(examples, np.array([y[0], y[0]]), np.array([2]), [1.0])
    assert code.bits == code.uniform and code.compression == 1.0


def test_the_network_codes_planted_labels_and_repeats_itself():
    from probing.probes.codes.network import network_code

    x, y, _ = planted(900, d=4, K=2)
    ends = bits.kept_ends(bits.block_ends(700))
    codes = [network_code((x[:700], y[:700]), (x[700:], y[700:]), 2, ends, ([16], 5, 0)) for _ in range(2)]
    assert codes[0].bits == codes[1].bits and np.isfinite(codes[0].bits)


def test_variational_code_of_known_weights_and_of_random_labels():
    x, y, _ = planted(1500, d=4, K=2, strength=3.0)
    training = variational.Training((), epochs=60, batch_size=100, learning_rate=1e-2)
    layers = variational.fit(x, y, 2, training, 0)
    code = variational.code_of(layers, x, y, 2, 10)
    assert code.bits < 0.8 * code.uniform and code.standard_error < 0.02 * code.bits
    random = RNG.integers(2, size=1500)
    assert variational.code_of(variational.fit(x, random, 2, training, 0), x, random, 2, 10).compression < 1
    start = variational.fit(x, y, 2, variational.Training((3,), epochs=0), 0)
    for layer in start:  # the released start
        assert abs(float(layer.z_mean.mean()) - 1) < 0.05 and abs(float(layer.w_log_variance.mean()) + 9) < 0.05
        assert not layer.b_mean.any()


def test_one_hot_types_know_the_counts_of_train():
    units = [tuple("aabbbc"), tuple("ab"), tuple("abz")]
    labels = [np.array([0, 0, 1, 1, 0, 1]), np.array([0, 1]), np.array([0, 1, 0])]
    own, C = types.one_hot_bits(units, labels, 2, [0.1, 1.0, 100.0])
    assert own.shape == (3,) and own[0] < 1 and own[1] < 1 and C in (0.1, 1.0, 100.0)
    rows = types.random_embeddings(units, 5, 0)
    assert (rows[0][0] == rows[1][0]).all() and not rows[2][2].any() and not (rows[0][0] == rows[0][2]).all()


def test_a_planted_mixture_of_layers_is_recovered():
    rng = np.random.default_rng(5)
    layers = [rng.normal(size=(4000, 5)).astype(np.float32) for _ in range(4)]
    s = np.array([0.1, 0.0, 0.7, 0.2])
    mixed = sum(share * layer for share, layer in zip(s, layers, strict=True))
    y = (mixed @ rng.normal(size=(5, 3)) * 8 + rng.gumbel(size=(4000, 3))).argmax(1)
    mix = fit_mix(layers, y, 3, C=100.0)
    assert np.abs(mix.shares - s).max() < 0.03 and mix.converged and mix.moved > 1
    assert mix.centre == pytest.approx(2.0, abs=0.1)
    swapped = fit_mix([layers[k] for k in (2, 1, 0, 3)], y, 3, C=100.0)
    assert np.abs(swapped.shares[[2, 1, 0, 3]] - mix.shares).max() < 0.01
    random = fit_mix(layers, rng.integers(3, size=4000), 3, C=1e-6)
    assert random.moved < 0.1 and random.centre == pytest.approx(1.5, abs=0.05)


def test_rescaled_shares_undo_the_scale_of_layers():
    mix = Mix(np.log([0.2, 0.8]), np.array([8.0, 2.0]))
    assert mix.rescaled == pytest.approx([0.5, 0.5])


def test_rank_and_nuclear_norm_are_bounded_and_agree_with_a_reference():
    x, y, _ = planted(3000, d=10, K=5, strength=3.0)
    z = bounded.normalised(x)
    train, dev = bounded.Data.of(z[:2000], y[:2000], 5), bounded.Data.of(z[2000:], y[2000:], 5)
    accuracies = []
    for rank in (1, 2, 4):
        probe = bounded.fit_rank(train, dev, rank, 0)
        assert (probe.singular_values > 1e-5 * probe.singular_values[0]).sum() <= rank
        accuracies.append((probe.predict(z[2000:]) == y[2000:]).mean())
    assert accuracies[0] < accuracies[1] < accuracies[2] + 0.02
    norms, ranks, last = [], [], None
    for alpha in (0.1, 0.01, 0.001):
        last = bounded.fit_nuclear(train, alpha, last)
        fresh = bounded.fit_nuclear(train, alpha)
        objective = [p.bits(z[:2000], y[:2000]).mean() + alpha * p.nuclear_norm for p in (last, fresh)]
        assert objective[0] == pytest.approx(objective[1], abs=2e-4), "convex: the start does not matter"
        u, _, v = np.linalg.svd(np.column_stack([last.W, last.b]), full_matrices=False)
        _, gradient = train.loss(_tensor(last))
        assert np.linalg.svd(gradient.numpy(), compute_uv=False)[0] < 1.05 * alpha, (
            "optimal: the dual norm of the gradient is alpha"
        )
        norms.append(last.size)
        ranks.append(last.rank)
    assert norms[0] < norms[1] < norms[2] and ranks[0] <= ranks[1] <= ranks[2]


def _tensor(probe):
    import torch

    return torch.from_numpy(np.column_stack([probe.W, probe.b])).float()


def test_the_sparse_path_takes_up_planted_features_first():
    x, _, _ = planted(3000, d=30)
    y = (x[:, [7, 3, 11]] * 3 + RNG.gumbel(size=(3000, 3))).argmax(1)
    order = bounded.order_of_features(bounded.Data.of(bounded.standardised(x), y, 3), 5)
    assert set(order[:3]) == {3, 7, 11}
    probe = bounded.fit_few(x, y, 3, order[:3])
    assert probe.size == 3 and np.flatnonzero(probe.W.any(0)).tolist() == [3, 7, 11]
    reference = LogisticRegression(C=1.0, max_iter=1000).fit(bounded.standardised(x[:, [3, 7, 11]]), y)
    assert (probe.predict(x) == reference.predict(bounded.standardised(x[:, [3, 7, 11]]))).mean() > 0.998
    two = bounded.fit_few(x, (x[:, 2] > 0).astype(np.int64), 2, [2])
    assert ((two.predict(x) == 1) == (x[:, 2] > 0)).mean() > 0.98


def test_the_front_keeps_what_no_smaller_probe_equals():
    assert bounded.front([1, 2, 4, 4], [0.5, 0.5, 0.9, 0.8]).tolist() == [True, False, True, False]


@pytest.mark.parametrize("options", [{}, {"hidden": [8]}, {"hidden": [8, 8], "dropout": 0.1}, {"rank": 1}])
def test_the_probes_of_hewitt_and_liang(options):
    x, y, _ = planted(1400, d=6, K=3, strength=3.0)
    blocks, labels = SplitFeatures(x[:1000], x[1000:1200], x[1200:]), {"true": SplitLabels(y[:1000], y[1000:1200])}
    runs = [list(load("hewitt-liang", max_epoch=15, **options).fit_column(blocks, labels, "t", 3, 0)) for _ in range(2)]
    [(_, result)], [(_, again)] = runs
    assert (result.predictions == again.predictions).all() and (result.model().predict(x[1200:]) == result.predictions).all()
    accuracy = (result.predictions == y[1200:]).mean()
    assert accuracy > (0.5 if options == {"rank": 1} else 0.7)
    logits = result.model().decision_function(x[1200:])
    if options == {"rank": 1}:
        assert np.linalg.matrix_rank(logits - logits.mean(0), tol=1e-4) == 1


@pytest.mark.parametrize("options", [{"rank": 0}, {"hidden": [0]}, {"dropout": 1.0}, {"items": 0.0}, {"weight_decay": -1.0}])
def test_bad_options_of_a_probe_are_refused(options):
    with pytest.raises(ConfigError, match=f"probe.{next(iter(options))}"):
        load("hewitt-liang", **options)


def test_codes_and_information_in_a_table(tmp_path):
    x, y, p = planted(2600, d=8)
    groups = [i // 2 for i in range(2600)]
    sizes = (1600, 400, 600)
    measures = [OnlineCode(), VInformation(control="static", beyond=0), VariationalCode(hidden=[], epochs=5)]
    table = measured(x, y, sizes, 3, measures, tmp_path, groups)
    frame = table.frame.set_index("measure")
    assert (frame.status == "done").all(), frame.error.tolist()
    code = frame.loc["mdl"]
    assert code.compression > 1.3 and code.compression_low < code.compression < code.compression_high
    assert code.control_compression < min(1.02, code.label_compression + 0.02)
    assert code.uniform_bits == pytest.approx(1600 * np.log2(3))
    info = frame.loc["v_information"]
    truth = (np.log2(3) + np.log2(p[np.arange(2600), y]))[2000:].mean()
    assert info.v_information_low < truth < info.v_information_high and info.gain == pytest.approx(0)
    assert table.items(info.cell)["v_information"].mean() == pytest.approx(info.v_information)
    assert set(table.items(info.cell)) >= {"groups", "bits"}
    assert frame.loc["mdl_variational"].kl_bits > 0


def test_bits_beyond_a_layer_are_those_that_it_lacks(tmp_path):
    x, y, _ = planted(2400, d=6)
    half = np.concatenate([x[:, :3], RNG.normal(size=(2400, 3)).astype(np.float32)], 1)
    noise = RNG.normal(size=x.shape).astype(np.float32)
    table = measured([half, x, noise, half], y, (1500, 400, 500), 3, [VInformation(beyond=0)], tmp_path)
    row = {line.layer: line for line in table.frame.itertuples()}
    assert np.isnan(row[0].beyond)
    assert row[1].beyond == pytest.approx(row[1].v_information - row[0].v_information, abs=0.02) and row[1].beyond_low > 0.1
    assert abs(row[2].beyond) < 0.02 and row[2].v_information < 0.01
    assert abs(row[3].beyond) < 0.01, "a copy adds nothing"


def test_layers_in_one_probe_and_bounds_in_a_table(tmp_path):
    x, y, _ = planted(1500, d=8, strength=4.0)
    noise = RNG.normal(size=x.shape).astype(np.float32)
    methods = ["single", "concat", "mix", "average", "best", "expected"]
    measures = [SeveralLayers(methods=methods), Pareto(ranks=[1, 3, 9], alphas=[0.01], features=[2])]
    table = measured([noise, (x + noise) / 2, x], y, (900, 300, 300), 3, measures, tmp_path)
    frame = table.frame
    assert (frame.status == "done").all(), frame.error.tolist()
    layers = frame[frame.measure == "layers"].set_index("probe")
    assert layers.layer.isna().all() and (layers.layers == "0 1 2").all() and layers.loc["single"].chosen_layer == 2
    assert layers.loc["mix"].centre > 1.5 and layers.loc["mix"].moved > 1
    dev = layers.loc[methods[:4]].dev_accuracy
    assert layers.loc["best"].dev_accuracy == dev.max() and layers.loc["best"].chosen_method == dev.idxmax()
    assert 1 <= layers.loc["expected"].expected_layer <= 2
    assert (
        layers.loc["expected"].expected_layer_low
        <= layers.loc["expected"].expected_layer
        <= layers.loc["expected"].expected_layer_high
    )
    bounds = frame[(frame.measure == "pareto") & (frame.layer == 2)].set_index("probe")
    assert set(bounds.index) == {"rank=1", "rank=3", "alpha=0.01", "features=2"}, "no rank above the number of classes"
    assert bounds.loc["rank=1"].accuracy < bounds.loc["rank=3"].accuracy
    from probing.report.markdown import measure_tables

    titles = [title for title, _ in measure_tables(table)]
    assert any(title.startswith("pareto: accuracy") and title.endswith("rank=3") for title in titles)
    [mix] = [frame for title, frame in measure_tables(table) if title.startswith("layers: accuracy") and title.endswith("mix")]
    assert list(mix.columns) == ["task", "all layers"]


def test_vectors_that_are_not_finite_are_refused():
    x, y, _ = planted(300)
    bad = x.copy()
    bad[:2, 0] = np.nan
    with pytest.raises(DataError, match="not finite"):
        fit_mix([x, bad], y, 3)
    with pytest.raises(DataError, match="2 of 300 vectors are not finite"):
        bounded.normalised(bad)


def test_an_expected_layer_without_a_gain_is_undefined(tmp_path):
    y = RNG.integers(2, size=900)
    layers = [RNG.normal(size=(900, 4)).astype(np.float32) for _ in range(3)]
    table = measured(layers, y, (500, 200, 200), 2, [SeveralLayers(methods=["expected"])], tmp_path)
    [row] = table.frame.itertuples()
    assert np.isnan(row.expected_layer) and "twice its standard error" in row.undefined


def test_measures_by_name_take_their_options_and_wrong_ones_are_refused():
    [code] = load_measures(["mdl"], {"mdl": {"shuffles": 5}})
    assert code == OnlineCode(shuffles=5) and json.dumps(dict(code.group(task_of(np.zeros(3), (1, 1, 1), 2))))
    for name, cls in {
        "v_information": VInformation,
        "layers": SeveralLayers,
        "pareto": Pareto,
        "mdl_variational": VariationalCode,
    }.items():
        assert load_measures([name]) == (cls(),), "the preset has the defaults of the class"
    for name, options, text in (
        ("mdl", {"probe": "svm"}, "mdl.probe='svm' is unknown"),
        ("mdl", {"shuffles": 0}, "mdl.shuffles=0 must be"),
        ("mdl", {"C": []}, "mdl.C"),
        ("mdl", {"shufles": 3}, "unknown option"),
        ("layers", {"methods": ["mixx"]}, "layers.methods"),
        ("layers", {"methods": ["best"]}, "nothing to choose from"),
        ("pareto", {"ranks": [0]}, "pareto.ranks"),
        ("v_information", {"control": "types"}, "v_information.control"),
    ):
        with pytest.raises(ConfigError, match=text.replace("(", r"\(")):
            load_measures([name], {name: options})
    with pytest.raises(ConfigError, match="measures=mld is unknown.*mdl"):
        load_measures(["mld"])


def test_curves_of_codes_are_bits_per_label_by_kind_over_all_orders():
    codes = [
        {"labels": "code", "ends": [4, 10], "bits": [8.0, 3.0]},
        {"labels": "control_code", "ends": [4, 10], "bits": [8.0, 12.0]},
        {"labels": "code", "ends": [6, 10], "bits": [12.0, 6.0]},
    ]
    drawn = {kind: (ends.tolist(), bits.tolist()) for kind, ends, bits in by_kind(codes)}
    assert drawn == {"code": ([5, 10], [[2, 0.5], [2, 1.5]]), "control_code": ([4, 10], [[2, 2]])}


@pytest.mark.slow
def test_measures_on_the_command_line(tmp_path):
    words = [
        "run",
        "data=grammar",
        "data.n=300",
        "task=subj_number",
        "encoder=lstm",
        "encoder.embedding_dim=8",
        "pooling=mean",
        "floors=none",
        f"run.dir={tmp_path}",
    ]
    done = processes.run("-m", "probing", *words, "measures=mdl,layers", "mdl.shuffles=2", "layers.methods=[single,concat]")
    assert done.returncode == 0, done.stderr
    [folder] = (tmp_path / "runs").iterdir()
    text = (folder / "table.md").read_text()
    assert (
        "mdl: compression, lstm[embedding_dim=8] (untrained 0), mean" in text
        and "layers: accuracy, lstm[embedding_dim=8] (untrained 0), mean, concat" in text
    )
    assert "code-curves" in " ".join(path.name for path in folder.glob("figure-*.svg"))
    wrong = processes.run("-m", "probing", *words, "measures=mdl", "mdl.shuffles=none")
    assert wrong.returncode == 2 and "Traceback" not in wrong.stderr and "mdl" in wrong.stderr


def test_tasks_without_classes_are_left_out_with_a_line(tmp_path, caplog):
    y = RNG.normal(size=60)
    path = tmp_path / "v.npz"
    np.savez(path, sentences=np.array([f"s{i}" for i in range(60)]), planted=RNG.normal(size=(60, 3)).astype(np.float32))
    splits = [Split(tuple(f"s{i}" for i in range(a, a + 20)), y[a : a + 20]) for a in (0, 20, 40)]
    task = Task("depth", (), *splits, card={"kind": "regression"}, source="p", file_sha256="", git_blob="")
    with caplog.at_level("INFO", "probing"):
        measures = [OnlineCode(), SeveralLayers(), Pareto(), VInformation()]
        table = evaluate(
            [task], [VectorsEncoder(str(path), label="p")], store=tmp_path / "s", probe=None, measures=measures, floors=()
        )
    assert len(table.frame) == 0
    lines = [record.message for record in caplog.records if "is left out: it reads classes" in record.message]
    assert len(lines) == 4
