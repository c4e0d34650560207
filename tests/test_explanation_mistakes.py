"""What the commands and studies of explanations say of options that cannot be: one message, before any work."""

from __future__ import annotations

import pytest
from test_explanations import Source, context, planted

from probing.attributions.command import Attribute
from probing.commands.results import explain
from probing.errors import ConfigError
from probing.files import page_file, write_page
from probing.interactions.options import Estimator
from probing.store.results import ResultStore
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


def test_a_page_that_cannot_be_written(tmp_path):
    with pytest.raises(ConfigError, match="is a folder"):
        page_file(str(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"html=.* cannot be written \(.*\): name a file in another folder"):
        write_page(str(tmp_path / "file" / "a.html"), "<p>")
    write_page(str(tmp_path / "new" / "a.html"), "<p>")
    assert (tmp_path / "new" / "a.html").read_text() == "<p>"


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
