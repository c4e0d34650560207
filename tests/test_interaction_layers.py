"""T per layer beside probing accuracy: planted growth is told, equal layers are not; accuracies are those of evaluate."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from probing import config as presets
from probing import evaluate
from probing.data.sources import SentEvalFolder
from probing.errors import ConfigError
from probing.evaluation.paired_tests import paired
from probing.evaluation.statistics import ratio
from probing.interactions.game import all_coalitions
from probing.interactions.text.game import JointGame, TextGame
from probing.interactions.text.many import draw_cases, layer_interactions
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.studies import Context
from probing.studies.interaction_layers import InteractionLayers, averages, steps, verdict

SMALL = {"sentences": 3, "words": [4, 6], "lengths": [2, 3], "probe": "sklearn"}


@pytest.fixture
def context(toy_encoder, toy_root, tmp_path):
    def tasks():
        return SentEvalFolder(str(toy_root)).tasks(["bigram_shift"])

    return Context(lambda: toy_encoder, tasks, (0,), ResultStore(tmp_path / "kept"), Store(tmp_path / "store"), tmp_path)


def test_several_values_come_from_the_same_rows(toy_encoder, tmp_path):
    games = [TextGame(toy_encoder, "a b c d", value, "delete") for value in ("cls", "mean")]
    joint, coalitions = JointGame(games), all_coalitions(4)
    before = toy_encoder.sentences
    values = joint(coalitions)
    assert toy_encoder.sentences - before == 16 and joint.values == ("cls",) * 3 + ("mean",) * 3
    np.testing.assert_array_equal(values, np.concatenate([game(coalitions) for game in games], axis=1))
    cases = draw_cases(["a b c d e f", "b c a f e d"], 2, words=(6, 6), lengths=(3,))
    both = layer_interactions(toy_encoder, cases, tmp_path, ["mean", "max"], "delete")
    for value in ("mean", "max"):
        alone = layer_interactions(toy_encoder, cases, tmp_path, value, "delete")
        mine = both[both.value == value].reset_index(drop=True)
        pd.testing.assert_frame_equal(mine.drop(columns="phi"), alone.drop(columns="phi"))
        np.testing.assert_allclose(*(np.array(list(map(json.loads, frame.phi))) for frame in (mine, alone)), atol=1e-12)


def test_a_run_measures_layers_and_accuracies_and_draws_them_on_one_axis(context, toy_root, tmp_path):
    asked = InteractionLayers(**SMALL, probing=str(toy_root))
    frame = asked.measure(context)
    inner = frame[frame.kind == "interaction"]
    assert set(inner.value) == {"cls", "mean"} and set(inner.masking) == {"delete"} and set(inner.layer) == {0, 1, 2}
    assert inner.groupby(["value", "layer"]).text.nunique().eq(3).all() and set(inner.data) == {"bigram_shift"}
    table = evaluate(
        SentEvalFolder(str(toy_root)).tasks(None), [context.encoder], store=context.store, probe="sklearn", poolings=["mean"],
        controls=(), floors=(), cells=tmp_path / "cells",
    )  # fmt: skip
    accuracies = frame[frame.kind == "probing"].set_index(["task", "layer"]).accuracy
    assert accuracies.to_dict() == {(r.task, r.layer): r.accuracy for r in table.frame.itertuples()} and len(accuracies) == 6
    before = context.encoder.sentences
    pd.testing.assert_frame_equal(asked.measure(context), frame)
    assert context.encoder.sentences == before  # both halves are read
    table.to_csv(tmp_path / "rows.csv")
    for path in (tmp_path, tmp_path / "rows.csv"):
        again = InteractionLayers(**SMALL, probing=str(path)).measure(context)
        assert again[again.kind == "probing"].set_index(["task", "layer"]).accuracy.to_dict() == accuracies.to_dict()
    out = tmp_path / "report"
    out.mkdir()
    frame.to_csv(out / "rows.csv", index=False)
    other = inner.assign(data="other", encoder="without accuracies")
    asked.report(pd.concat([pd.read_csv(out / "rows.csv"), other], ignore_index=True), out)
    assert (out / "figure-layers-other-delete.svg").is_file() and not list(out.glob("figure-profile-other*"))
    drawn = (out / "figure-profile-bigram_shift-delete.svg").read_text()
    for word in ("BShift", "TreeDepth", "test accuracy (%)", "median T_relative", "interaction, mean"):
        assert f"<!-- {word} -->" in drawn
    assert "toy" in (out / "figure-layers-bigram_shift-delete.svg").read_text()
    means = pd.read_csv(out / "layers.csv")
    here = inner[(inner.value == "mean") & (inner.layer == 2)]
    means = means[means.data == "bigram_shift"]
    [row] = means[(means.measure == "T") & (means.value == "mean") & (means.layer == 2)].to_dict("records")
    assert row["estimate"] == pytest.approx(here["T"].mean()) and row["sentences"] == 3
    assert "## T_relative, bigram_shift" in (out / "table.md").read_text()


def planted(*layers):
    """Rows of 30 sentences with T of each layer as given, plus noise that is the sentence's own."""
    own = np.random.default_rng(0).normal(size=30)
    lines = [
        {"text": str(i), "layer": k, "column": f"{k} x", "T": mean + own[i] + 0.01 * ((i * 7 + k) % 3), "B": 0.0}
        for k, mean in enumerate(layers)
        for i in range(30)
    ]
    frame = pd.DataFrame(lines).assign(data="d", encoder="e", value="mean", masking="pad", method="exact")
    return frame.assign(T_relative=np.where(frame.layer > 0, 2.0, np.nan))


def test_growth_is_told_from_pairs_where_intervals_overlap():
    frame = planted(1.0, 1.1, 1.1, 1.0)
    means = averages(frame).query("measure == 'T'")
    assert means.low.max() < means.high.min()  # unpaired, nothing could be told
    moves = steps(frame)
    inner = moves[(moves.measure == "T") & ~moves.whole]
    assert verdict(inner) == "grows at 1 of 3 steps, falls at 1, 1 not told"
    wide = frame.pivot(index="text", columns="layer", values="T")
    expected = [stats.ttest_rel(wide[k + 1], wide[k]) for k in range(3)]
    np.testing.assert_allclose(inner.p, [test.pvalue for test in expected])
    np.testing.assert_allclose(inner.low, [test.confidence_interval().low for test in expected])
    assert (inner.p_holm >= inner.p).all() and inner.p_holm.max() <= 1
    [whole] = moves[(moves.measure == "T") & moves.whole].to_dict("records")
    assert (whole["from_"], whole["to"]) == (0, 3) and whole["difference"] == pytest.approx((wide[3] - wide[0]).mean())
    relative = moves[(moves.measure == "T_relative") & ~moves.whole]
    assert relative.sentences.tolist() == [0, 30, 30] and verdict(relative) == "grows at 0 of 3 steps, falls at 0, 3 not told"


def test_each_masking_has_its_lines_on_the_same_sentences_and_one_can_turn_the_answer(tmp_path):
    """T of layer 0 is 0 with pad, so that T grows; with delete it is large, and T falls. Both stand in the table."""
    grows, falls = planted(0.0, 1.0), planted(2.0, 1.0).assign(masking="delete")
    grows.loc[grows.layer == 0, "T"] = 1e-8
    frame = pd.concat([grows, falls], ignore_index=True)
    whole = steps(frame).query("whole and measure == 'T'")
    assert (whole.difference > 0).tolist() == [True, False] and (whole.p_holm < 0.05).all()
    np.testing.assert_allclose(whole.p_holm, multipletests(whole.p, method="holm")[1])
    InteractionLayers().report(frame.assign(kind="interaction"), tmp_path)
    said = (tmp_path / "table.md").read_text().split("## T, d")[0]
    assert said.count("| d | e | mean |") == 2 and said.count("0: forced to grow") == 1
    assert (tmp_path / "figure-layers-d-pad.svg").is_file() and (tmp_path / "figure-layers-d-delete.svg").is_file()


def test_a_run_measures_every_masking_on_the_same_segments(tmp_path):
    encoder = presets.build({**presets.read("encoder", "transformer"), "embedding_dim": 8, "heads": 2, "buckets": 50}, "encoder")
    texts = tuple(f"a{i} b{i} c{i} d{i} e{i}" for i in range(4))
    task = SimpleNamespace(name="t", splits={"test": SimpleNamespace(texts=texts)})
    context = Context(lambda: encoder, lambda: [task], (0,), ResultStore(tmp_path / "kept"), Store(tmp_path / "s"), tmp_path)
    options = {"sentences": 4, "words": [5, 5], "lengths": [3]}
    frame = InteractionLayers(**options, maskings=["pad", "attention", "delete"]).measure(context)
    assert frame.groupby(["masking", "value"]).size().to_dict() == {
        (masking, value): 4 * len(encoder.dims)
        for masking in ("pad", "attention", "delete")
        for value in encoder.poolings if value in ("cls", "mean")
    } | {(masking, "all"): 4 * len(encoder.dims) for masking in ("pad", "attention")}  # fmt: skip
    segments = frame.groupby("masking")[["text", "start", "stop"]].apply(lambda part: set(part.itertuples(index=False)))
    assert segments.pad == segments.attention == segments.delete
    first = frame[(frame.layer == 0) & (frame.value == "mean")].groupby("masking")["T"].mean()
    assert first.pad < 1e-6 and first.attention > 1e-3 and first.delete > 1e-3
    for wrong, message in ((["mask", "mask"], "different maskings"), ([], "list of different")):
        with pytest.raises(ConfigError, match=message):
            InteractionLayers(**options, maskings=wrong)
    for wrong in ("replace", "deleted"):
        with pytest.raises(ConfigError, match=f"'{wrong}' is not possible for transformer.*allowed: .*pad.*delete"):
            InteractionLayers(**options, maskings=[wrong]).measure(context)


def test_an_encoder_of_one_layer_has_no_steps(tmp_path):
    frame = planted(1.0).assign(kind="interaction")
    assert steps(frame).empty
    InteractionLayers().report(frame, tmp_path)
    assert "| e | mean | pad | 30 |" in (tmp_path / "table.md").read_text()


def test_paired_and_ratio_against_scipy_and_by_hand():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 40))
    value, p = paired(a - b)
    test = stats.ttest_rel(a, b)
    assert p == pytest.approx(test.pvalue) and value.lower == pytest.approx(test.confidence_interval().low)
    value, p = paired(a - b, robust=True)
    assert value.value == np.median(a - b) and p == stats.wilcoxon(a, b).pvalue and value.lower < value.value < value.upper
    assert paired([0.0, 0.0])[1] == 1 and paired([1.0, 1.0])[1] == 0 and np.isnan(paired([1.0])[1])
    wholes = rng.integers(1, 5, 200)
    parts = rng.binomial(wholes, 0.3)
    found = ratio(parts, wholes)
    assert found.value == parts.sum() / wholes.sum()
    half = 1.96 * (parts - found.value * wholes).std() * np.sqrt(200) / wholes.sum()  # linearised
    assert (found.upper - found.lower) / 2 == pytest.approx(half, rel=0.1)
    assert np.isnan(ratio([0, 0], [0, 0]).value)


def test_options_that_cannot_be_are_refused(context, toy_root, tmp_path):
    for options, message in (
        ({"words": [8]}, "give the fewest and the most"),
        ({"sentences": 0}, "must be at least 1"),
        ({"split": "validation"}, "allowed: train, dev, test"),
    ):
        with pytest.raises(ConfigError, match=message):
            InteractionLayers(**options)
    for options, message in (
        ({"values": ["all"]}, r"toy with masking=delete has no 'all' \(cls, mean, max, last\)"),
        ({"values": ["logit"]}, "has no 'logit'"),
        ({"probing": str(tmp_path / "nowhere")}, "no such file or folder"),
    ):
        with pytest.raises(ConfigError, match=message):
            InteractionLayers(**SMALL | options).measure(context)
    with pytest.raises(ConfigError, match=r"seed=\[0, 1\]: this study draws once"):
        InteractionLayers(**SMALL).measure(replace(context, seeds=(0, 1)))
    strange = tmp_path / "rows.csv"
    strange.write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="is no rows.csv of probing run"):
        InteractionLayers(**SMALL, probing=str(strange)).measure(context)
    other = evaluate(
        SentEvalFolder(str(toy_root)).tasks(["tree_depth"]), [context.encoder.random_twin(0)], store=context.store, probe="sklearn",
        poolings=["mean"], controls=(), floors=(),
    )  # fmt: skip
    other.to_csv(strange)
    with pytest.raises(ConfigError, match="holds no accuracies of toy at mean pooling"):
        InteractionLayers(**SMALL, probing=str(strange)).measure(context)
