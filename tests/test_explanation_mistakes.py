"""What the commands and studies of explanations say of options that cannot be: one message, before any work."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from explanation_nets import head_of_net, text_of
from test_explanations import Source, context, planted

from probing.attributions.coalitions import coalition_table, contrast, exact
from probing.attributions.command import Attribute
from probing.attributions.indices import GAMES
from probing.attributions.methods import Settings
from probing.attributions.methods import explain as explained
from probing.attributions.sampling import LEAST_ROWS, planned_rows, sampled
from probing.commands.results import explain
from probing.config import build, known_keys, nearest_key, read
from probing.data.card import SENTEVAL
from probing.encoders.base import fingerprint
from probing.encoders.given import as_encoder
from probing.encoders.networks.recurrent import LSTM
from probing.errors import ConfigError, ProbingError
from probing.files import page_file, write_page
from probing.interactions.game import all_coalitions
from probing.interactions.options import Estimator
from probing.interactions.text.heads import LinearHead, classifier, fit_head, load_head
from probing.neurons.coloured import spans
from probing.store.results import ResultStore
from probing.store.vectors import Store
from probing.studies.attention import AttentionStudy
from probing.studies.concept_parts import Parts
from probing.studies.concepts import ConceptsStudy
from probing.studies.explanations import Explanations


@pytest.fixture
def silent():
    """An encoder whose passes are a failure: what is refused is refused before them."""
    encoder = planted()
    encoder.forward = lambda items: pytest.fail("the encoder was run")
    return encoder


def test_a_study_in_which_no_method_applies_is_refused_before_any_work(tmp_path, silent):
    study = Explanations(methods=["ig", "gradient-x-change"], maskings=["delete"])
    with pytest.raises(ConfigError, match=r"no method of study.methods=.* applies: ig: masking=delete puts no vector"):
        study.measure(context(tmp_path, silent, Source()))


def test_a_study_whose_only_method_fails_on_every_sentence_is_refused(tmp_path, monkeypatch):
    def refused(*args, **options):
        raise ConfigError("captum is not installed")

    monkeypatch.setattr("probing.studies.explained.explain", refused)
    study = Explanations(sentences=2, words=[4, 4], methods=["deeplift"], maskings=["zero"], controls=[])
    with pytest.raises(ConfigError, match="no method of study.methods applies: deeplift: captum is not installed"):
        study.measure(context(tmp_path, planted(), Source()))


@pytest.mark.parametrize("given", ["", ".", "..", "/", "a/..", "~nobody-of-that-name/a.html", "a\0b"])
def test_a_page_without_a_file_name(given, silent):
    with pytest.raises(ConfigError, match=r"html=.*: give the name of a file, such as html=words.html"):
        page_file(given)
    with pytest.raises(ConfigError, match="html="):
        Attribute("a film", "loo", html=given).run(silent)


def test_a_page_that_cannot_be_written(tmp_path, capsys):
    with pytest.raises(ConfigError, match="is a folder"):
        page_file(str(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"html=.* cannot be written \(.*\): name a file in another folder"):
        write_page(str(tmp_path / "file" / "a.html"), "<p>")
    assert not capsys.readouterr().err, "no place is named where no page is"
    write_page(str(tmp_path / "new" / "a.html"), "<p>")
    assert capsys.readouterr().err == f"{tmp_path / 'new' / 'a.html'}: the page\n"
    assert (tmp_path / "new" / "a.html").read_text() == "<p>"


@pytest.mark.parametrize("given", ["[shapley,loo]", "['shapley', \"loo\"]"])
def test_a_list_of_methods_has_no_brackets(given, silent):
    with pytest.raises(ConfigError, match=r"a list is written without brackets, method=shapley,loo$"):
        Attribute("a film", given).run(silent)


def test_the_two_classes_of_a_contrast_differ():
    for classes in (("0", "1"), ("a-b", "c")):
        with pytest.raises(ConfigError, match="the two classes of a contrast must differ"):
            contrast(classes, f"{classes[0]}-{classes[0]}", 0)
    assert contrast(("a", "a-a"), "a-a", 0).tolist() == [0, 1], "a class may have this name"
    with pytest.raises(ConfigError, match="is no class"):
        contrast(("0", "1"), "2-2", 0)


def test_a_seed_below_zero(silent):
    with pytest.raises(ConfigError, match="seed=-1 must not be below 0"):
        Attribute("a film", "random", seed=-1).run(silent)
    with pytest.raises(ConfigError, match="seed=-1 must not be below 0"):
        Estimator(seed=-1)


def test_a_part_of_a_study_has_no_card(tmp_path):
    results = ResultStore(tmp_path / "cells")
    results.put({"kind": "explanation", "table": "x"}, [{"kind": "scores", "method": "loo"}])
    [path] = (tmp_path / "cells").glob("*.json")
    for answer in (None, "3"):
        with pytest.raises(ConfigError, match="is a part of a study and has no card: --json has all"):
            explain(path.stem, tmp_path, False, answer)
    assert '"method": "loo"' in explain(path.stem, tmp_path, True)


def counted(encoder) -> list[int]:
    """The batches that the encoder reads from now on, by their sizes."""
    sizes, forward = [], encoder.forward
    encoder.forward = lambda items: sizes.append(len(items)) or forward(items)
    return sizes


SEVEN = text_of([3, 5, 6, 7, 8, 9, 10])


def headed(encoder, folder) -> str:
    """The folder of a head of this encoder."""
    head = head_of_net(encoder)
    head.made["fingerprint"] = fingerprint(encoder)
    return str(head.save(folder))


@pytest.mark.parametrize("method", ["loo", "add-one"])
def test_leaving_one_out_alone_reads_a_row_for_each_word(method, tmp_path):
    encoder = planted()
    folder = headed(encoder, tmp_path)
    head = load_head(folder, encoder)
    expected = exact(coalition_table(encoder, head, SEVEN, "zero"), method)
    sizes = counted(encoder)
    made = explained(encoder, head, SEVEN, method, "zero")
    assert made.rows == 9 and sum(sizes) <= 10  # v(N), v(empty) and a row for each word; the game reads the whole sentence once
    np.testing.assert_allclose(made.scores, expected.scores, atol=1e-12)
    text = Attribute(SEVEN, method, "zero", head=folder, budget=9).run(encoder)
    assert text.splitlines()[-1].split() == ["model", "rows", "9"] or "model rows" in text
    both = Attribute(SEVEN, f"{method},banzhaf", "zero", head=folder).run(encoder)
    assert next(line for line in both.splitlines() if line.startswith("model rows")).split()[2:] == ["128", "128"]


def test_the_forecast_of_a_long_sentence_counts_each_game(tmp_path, capsys):
    assert planned_rows("loo", 20) == planned_rows("add-one", 20) == 22 and planned_rows("shapley", 20) == 2000
    encoder, long = planted(), text_of([*range(3, 16), 5, 6, 7])
    folder = headed(encoder, tmp_path)
    Attribute(long, "loo,add-one", "zero", head=folder).run(encoder)
    assert "model rows" not in capsys.readouterr().err
    Attribute(long, "loo,banzhaf", "zero", head=folder).run(encoder)
    assert "about 1,618 model rows" in capsys.readouterr().err


@pytest.mark.parametrize("budget", [-3, 0, 5, 127])
def test_a_budget_that_would_be_exceeded_is_refused(budget, tmp_path):
    encoder = planted()
    folder = headed(encoder, tmp_path)
    with pytest.raises(ConfigError, match=rf"^budget={budget}: up to 12 words all coalitions .* 2\^7 = 128 model rows"):
        Attribute(SEVEN, "shapley", "zero", head=folder, budget=budget).run(encoder)
    with pytest.raises(ConfigError, match=rf"^budget={budget}: method=lime needs at least 520 model rows on 13 words"):
        Attribute(text_of(list(range(3, 16))), "lime", "zero", head=folder, budget=budget).run(encoder)


class Waves:
    """A game of words that act together: a smooth function of weighted sums of them."""

    columns, sentence = ("a", "b"), SimpleNamespace(masking="pad")

    def __init__(self, n_players, seed):
        rng = np.random.default_rng(seed)
        self.n_players, self.alone = n_players, rng.normal(size=n_players)
        self.inner, self.outer = rng.normal(size=(n_players, 6)), rng.normal(size=6)

    def __call__(self, coalitions):
        x = coalitions.astype(float)
        v = x @ self.alone + 3 * np.tanh(0.7 * x @ self.inner) @ self.outer
        return np.column_stack([v, -v])


@pytest.mark.parametrize("method", ["shapley", "banzhaf", "lime"])
def test_standard_errors_of_the_smallest_budget_cover(method, monkeypatch):
    """The exact score lies within 1.96 standard errors in 93 % of the draws at the least budget, in far fewer below it."""
    n, games = 8, [Waves(8, seed) for seed in range(10)]
    truth = [GAMES[method](game(all_coalitions(n))[:, 0]) for game in games]

    def covered(budget):
        draws = [
            (sampled(game, method, "a", budget, seed), own) for game, own in zip(games, truth, strict=True) for seed in range(8)
        ]
        return np.mean([np.abs(draw.scores - own) <= 1.96 * draw.stderr for draw, own in draws])

    assert covered(LEAST_ROWS * n) >= 0.92  # of 640, whose own standard error is .01
    if method == "shapley":
        monkeypatch.setattr("probing.attributions.sampling.LEAST_ROWS", 4)
        assert covered(4 * n) < 0.8


def test_one_word_has_no_mark_and_small_scores_are_seen(tmp_path):
    encoder = planted()
    folder, page = headed(encoder, tmp_path / "head"), tmp_path / "a.html"
    text = Attribute("w3", "shapley,loo", "zero", head=folder, html=str(page)).run(encoder)
    assert "°" not in text
    assert 'title="+0.00123"' in spans(["a"], [0.00123], 1.0)


def test_hints(tmp_path, silent):
    with pytest.raises(ConfigError, match=r"method='LOO' is unknown; did you mean 'loo'\? \(allowed: shapley(?!.*frequency)"):
        Attribute("a film", "LOO").run(silent)
    encoder = LSTM(embedding_dim=6, hidden=4)
    head = LinearHead(np.eye(2, 4), np.zeros(2), ("no", "yes"), len(encoder.dims) - 1, "max")
    with pytest.raises(ConfigError, match=r"layer=-3: lstm.* has the layers 0 to 1, -1 is the last"):
        explained(encoder, head, SEVEN, "gradcam", settings=Settings(layer=-3))
    last, first = (explained(encoder, head, SEVEN, "gradcam", settings=Settings(layer=layer)).scores for layer in (-1, 1))
    np.testing.assert_array_equal(last, first)


def test_one_name_is_a_list_of_one():
    study = Explanations(methods="shapley", maskings="mask", controls="twin")
    assert (study.methods, study.maskings, study.controls) == (["shapley"], ["mask"], ["twin"])
    assert Explanations(controls="none").controls == [] and Explanations(methods="shapley").maskings is None
    options = read("experiment", "explanations")["study"]
    assert build(options | {"methods": "loo", "controls": []}, "study").methods == ["loo"]
    with pytest.raises(ConfigError, match=r"^study: words=6 must be a list: 'study.words=\[6\]'"):
        build(options | {"words": 6}, "study")


@pytest.mark.parametrize(
    ("given", "meant"), [("method", "study.methods"), ("masking", "study.maskings"), ("gold", "study.gold"), ("sed", "seed")]
)
def test_an_option_of_a_study_is_named_with_its_study(given, meant):
    known = known_keys(["+experiment=explanations", f"{given}=x"], "run")
    assert nearest_key(given, known) == f"; did you mean '{meant}'?"
    assert "study.methods" not in known_keys(["method=x"], "run")


def test_attention_is_trained_on_task_files_alone(tmp_path):
    with pytest.raises(ConfigError, match="trains on task files: data=sst2"):
        AttentionStudy().measure(context(tmp_path, planted(), Source()))


class Sentences:
    """A function of sentences, which has a vector of each and no pooling of tokens."""

    def __call__(self, texts):
        return np.array([[text.split().count("w3"), text.split().count("w4"), len(text.split())] for text in texts], np.float32)


def test_a_function_of_sentences_is_explained_by_games_with_its_own_pooling(tmp_path):
    encoder = as_encoder(Sentences())
    assert "mean" not in encoder.poolings
    study = Explanations(sentences=3, words=[4, 5], methods=["shapley", "loo", "ig"], controls=["twin"], layers=True)
    frame = study.measure(context(tmp_path, encoder, Source()))
    scores = frame[(frame.kind == "scores") & frame.scores.notna()]
    assert set(scores.method) == {"shapley", "loo"} and len(scores) == 6 and (frame[frame.kind == "layer"].layer == 0).all()
    for row in scores[scores.method == "shapley"].itertuples():
        own = np.array(json.loads(row.scores))
        assert own.argmax() == [word in ("w3", "w4") for word in row.text.split()].index(True)


def test_a_head_is_fitted_on_the_vectors_of_the_store(tmp_path, monkeypatch):
    encoder, task, store = LSTM(embedding_dim=6, hidden=4), Source().task, Store(tmp_path / "store")
    kept = classifier(encoder, task, "fit", tmp_path / "kept", store)
    np.testing.assert_allclose(kept.coef, fit_head(encoder, task).coef, rtol=1e-3, atol=1e-5)
    monkeypatch.setattr(encoder, "forward", lambda items: pytest.fail("the vectors were not read from the store"))
    again = fit_head(encoder, task, store=store)
    np.testing.assert_array_equal(again.coef, kept.coef)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concepts": ["past_presnt"]}, "unknown task 'past_presnt'; did you mean 'past_present'"),
        ({"others": ["minilmm"]}, "did you mean 'minilm'"),
    ],
)
def test_names_of_the_study_of_concepts_are_read_before_a_head_is_fitted(options, message, tmp_path, monkeypatch):
    monkeypatch.setattr("probing.studies.concept_parts.classifier", lambda *given: pytest.fail("a head was fitted"))
    study = ConceptsStudy(labels=str(tmp_path), **options)
    with pytest.raises(ProbingError, match=message):
        Parts(study, context(tmp_path, planted(), Source()))


def test_names_that_are_none_have_one_line_with_what_is_allowed_here(tmp_path, monkeypatch):
    monkeypatch.setattr("probing.encoders.hf.folders.snapshot", lambda *given, **more: (None, "no network"))
    with pytest.raises(ConfigError, match=r"^study.others: encoder 'nope' is neither .*no network\): give a preset's name[^\n]*$"):
        Parts(ConceptsStudy(others=["nope"]), context(tmp_path, planted(), Source()))
    with pytest.raises(ProbingError, match="unknown task 'nope'") as caught:
        Parts(ConceptsStudy(concepts=["nope"]), context(tmp_path, planted(), Source()))
    assert str(caught.value).split(": ")[1].rstrip(")").split(", ") == SENTEVAL, "the ten tasks of the grammar"
